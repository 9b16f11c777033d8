"""The capability sets of the calling thread: capget(2), capset(2), prctl(2), and no more.

Owns their layout. Imports nothing of the package and little of Python, as the loader, which
is to be small, uses it. Who keeps what is privileges.py's and program/loader/process.py's.
"""

from __future__ import annotations

import ctypes

_VERSION_3 = 0x20080522

PERFMON = 38
"""The bit of CAP_PERFMON; the others are where they are used."""

SET_DEATH_SIGNAL, SET_DUMPABLE = 1, 4
BOUNDING_READ, BOUNDING_DROP, SET_NO_NEW_PRIVILEGES = 23, 24, 38
AMBIENT, AMBIENT_RAISE, AMBIENT_CLEAR_ALL = 47, 2, 4
"""Of prctl(2)."""


def prctl(option: int, argument: int = 0, bit: int = 0) -> int:
    """Call it; -1 where it fails."""
    result: int = _libc().prctl(option, argument, bit, 0, 0)
    return result


def held() -> tuple[int, int, int]:
    """Return the effective, the permitted and the inheritable set, a bit for each capability."""
    words = (ctypes.c_uint32 * 6)()
    _libc().capget(_header(), words)
    effective, permitted, inheritable = (words[at] | words[at + 3] << 32 for at in range(3))
    return effective, permitted, inheritable


def hold(effective: int, permitted: int, inheritable: int) -> bool:
    """Have these sets; False, with ctypes' errno, where the kernel or seccomp forbids it."""
    values = (effective, permitted, inheritable)
    words = [value & 0xFFFFFFFF for value in values] + [value >> 32 for value in values]
    return bool(_libc().capset(_header(), (ctypes.c_uint32 * 6)(*words)) == 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _header() -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * 2)(_VERSION_3, 0)
