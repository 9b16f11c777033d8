"""What this process may do, given up where it is not needed. Nothing here asks for more.

Owns which capabilities the service goes on with. They are a thread's own, so all of
this is called before a process starts its first one: by the service before its loop,
by the compiler's process before it compiles. Imports nothing of the package.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERSION_3 = 0x20080522
_BOUNDING_READ, _BOUNDING_DROP, _SET_NO_NEW_PRIVILEGES = 23, 24, 38
_AMBIENT, _AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 47, 2, 4
_SETPCAP = 8

NEEDED = {
    "CAP_BPF": 39,  # maps, programs, pins
    "CAP_NET_ADMIN": 12,  # attaching
    "CAP_PERFMON": 38,  # the verifier's leave to subtract packet pointers
}
"""What the service cannot do without, for as long as it runs: a reload compiles, loads and
swaps, an interface that returns is attached to, and each pin is opened again and again."""

OF_ROOT = {
    "CAP_SYS_ADMIN": 21,  # a BPF file system mounted anew, foreign programs by their id
    "CAP_CHOWN": 0,  # --pin-owner, --control-group
    "CAP_DAC_OVERRIDE": 1,  # pins and files of other users
    "CAP_FOWNER": 3,  # their modes
    "CAP_KILL": 5,  # the compiler's process, which is nobody's
    "CAP_SETGID": 6,  # to become that
    "CAP_SETUID": 7,
    "CAP_NET_BIND_SERVICE": 10,  # --listen on a port below 1024
    "CAP_SYS_RESOURCE": 24,  # locked memory before Linux 5.11
}
"""What a service that is run as root uses besides."""


@dataclass(frozen=True, slots=True)
class _Sets:
    """Capability sets of the calling thread, a bit for each capability."""

    effective: int
    permitted: int
    inheritable: int


def keep_needed() -> bool:
    """Give up, for this process and all that it will start, what the service does not use.

    What a service runs as user gets from its service manager is thereby its own: nothing
    that it starts inherits any of it. False where the kernel (or seccomp) does not allow
    to give something up.
    """
    kept = sum(1 << bit for bit in (NEEDED | OF_ROOT).values())
    done = _prctl(_AMBIENT, _AMBIENT_CLEAR_ALL)
    held = _held()
    if held.permitted >> _SETPCAP & 1:
        bit = 0
        while (bounded := _libc().prctl(_BOUNDING_READ, bit, 0, 0, 0)) >= 0:
            if bounded and not kept >> bit & 1:
                done &= _prctl(_BOUNDING_DROP, bit)
            bit += 1
    if held.permitted & ~kept:
        done &= _set(_Sets(held.effective & kept, held.permitted & kept, 0))
    return done


@contextmanager
def lending(name: str) -> Iterator[None]:
    """Have the programs that this thread starts meanwhile get a capability of NEEDED.

    Where the thread does not have it, or may not pass it on, they get nothing; those that
    root starts get it anyway. What a service manager gave as ambient is inheritable already:
    its seccomp filter may forbid capset(2).
    """
    bit = NEEDED[name]
    held = _held()
    inheritable = held.inheritable | 1 << bit
    changed = inheritable != held.inheritable and _set(
        _Sets(held.effective, held.permitted, inheritable)
    )
    _libc().prctl(_AMBIENT, _AMBIENT_RAISE, bit, 0, 0)
    try:
        yield
    finally:
        _prctl(_AMBIENT, _AMBIENT_CLEAR_ALL)
        if changed:
            _set(held)


def give_up_everything() -> None:
    """Keep no capability, and gain none again by starting a program.

    Raises:
        OSError: the kernel does not allow it.
    """
    done = _prctl(_SET_NO_NEW_PRIVILEGES, 1)
    # asked first: where there is none, seccomp may have forbidden the call
    if not done or (_held().permitted and not _set(_Sets(0, 0, 0))):
        raise OSError(number := ctypes.get_errno(), os.strerror(number))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, argument: int) -> bool:
    return bool(_libc().prctl(option, argument, 0, 0, 0) == 0)


def _header() -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * 2)(_VERSION_3, 0)


def _held() -> _Sets:
    words = (ctypes.c_uint32 * 6)()
    _libc().capget(_header(), words)
    return _Sets(*(words[at] | words[at + 3] << 32 for at in range(3)))


def _set(sets: _Sets) -> bool:
    values = (sets.effective, sets.permitted, sets.inheritable)
    words = [value & 0xFFFFFFFF for value in values] + [value >> 32 for value in values]
    return bool(_libc().capset(_header(), (ctypes.c_uint32 * 6)(*words)) == 0)
