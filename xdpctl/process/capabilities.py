"""The capability sets of the calling thread: capget(2), capset(2) and prctl(2).

Owns the layout of these calls. Does not own the decision which process keeps which capability
(privileges.py, program/loader/process.py). Called by these two. Imports nothing else of the
package and little of Python, because the loader must stay small.
"""

from __future__ import annotations

import ctypes

_VERSION_3 = 0x20080522

PERFMON = 38
"""The bit of CAP_PERFMON; other bits are defined where they are used."""

SET_DEATH_SIGNAL, SET_DUMPABLE = 1, 4
BOUNDING_READ, BOUNDING_DROP, SET_NO_NEW_PRIVILEGES = 23, 24, 38
AMBIENT, AMBIENT_RAISE, AMBIENT_CLEAR_ALL = 47, 2, 4
"""Options and arguments of prctl(2)."""


def prctl(option: int, argument: int = 0, bit: int = 0) -> int:
    """Make the system call; return -1 if it fails."""
    result: int = _libc().prctl(option, argument, bit, 0, 0)
    return result


def held() -> tuple[int, int, int]:
    """Return the effective, permitted and inheritable sets, one bit for each capability."""
    words = (ctypes.c_uint32 * 6)()
    _libc().capget(_header(), words)
    effective, permitted, inheritable = (words[at] | words[at + 3] << 32 for at in range(3))
    return effective, permitted, inheritable


def hold(effective: int, permitted: int, inheritable: int) -> bool:
    """Set these sets; return False, with ctypes' errno set, if the kernel or seccomp forbids it."""
    values = (effective, permitted, inheritable)
    words = [value & 0xFFFFFFFF for value in values] + [value >> 32 for value in values]
    return bool(_libc().capset(_header(), (ctypes.c_uint32 * 6)(*words)) == 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _header() -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * 2)(_VERSION_3, 0)
