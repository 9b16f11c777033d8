"""Gives up the capabilities that this process does not need. Never asks for more.

Owns which capabilities the service keeps. Does not own the system calls (capabilities.py).
Capabilities belong to a thread, so a process calls this before it starts its first thread:
the service before its loop, the compiler's process before it compiles.

What each capability means if an attacker takes the process over:

    CAP_BPF        every map, program and link of this host that is pinned where the user may
                   open it, and new ones; not the kernel's memory
    CAP_NET_ADMIN  the host's network: addresses, routes, firewall, what is attached
    CAP_PERFMON    the memory of the whole host: with CAP_BPF a program may be loaded that
                   reads any of it, each process's included

So the service gives up CAP_PERFMON. The loader (program/loader/), which is started before that,
keeps it. CAP_SYS_ADMIN, which a service run by root has, includes all of these and more.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xdpctl.process import capabilities
from xdpctl.process.capabilities import held, prctl

if TYPE_CHECKING:
    from collections.abc import Iterator

_SETPCAP = 8

NEEDED = {
    "CAP_BPF": 39,  # maps, pins, links
    "CAP_NET_ADMIN": 12,  # attaching
}
"""What the service needs as long as it runs: it attaches to interfaces that return, and opens
pins repeatedly."""

LOADERS = NEEDED | {
    "CAP_PERFMON": capabilities.PERFMON,  # the verifier allows subtracting packet pointers
}
"""What the loader keeps."""

OF_ROOT = {
    "CAP_SYS_ADMIN": 21,  # to mount a BPF file system, to open programs by id
    "CAP_CHOWN": 0,  # --pin-owner, --control-group, what the compiler's user may read
    "CAP_DAC_OVERRIDE": 1,  # pins and files of other users
    "CAP_FOWNER": 3,  # their modes
    "CAP_KILL": 5,  # the compiler's process, which is another user's
    "CAP_SETGID": 6,  # to become that
    "CAP_SETUID": 7,
    "CAP_NET_BIND_SERVICE": 10,  # --listen on a port below 1024
    "CAP_SYS_RESOURCE": 24,  # locked memory before Linux 5.11
}
"""What a service that runs as root also uses."""


def keep_needed() -> bool:
    """Give up all capabilities that the service does not use, also for its child processes.

    Child processes inherit none of the capabilities that a service manager gave to the
    service, and cannot regain one that was given up. Returns False if the kernel (or seccomp)
    does not allow giving something up.
    """
    kept = sum(1 << bit for bit in (NEEDED | OF_ROOT).values())
    done = prctl(capabilities.AMBIENT, capabilities.AMBIENT_CLEAR_ALL) == 0
    done &= prctl(capabilities.SET_NO_NEW_PRIVILEGES, 1) == 0
    effective, permitted, inheritable = held()
    if permitted >> _SETPCAP & 1:
        bit = 0
        while (bounded := prctl(capabilities.BOUNDING_READ, bit)) >= 0:
            if bounded and not kept >> bit & 1:
                done &= prctl(capabilities.BOUNDING_DROP, bit) == 0
            bit += 1
    if (permitted | inheritable) & ~kept:
        done &= capabilities.hold(effective & kept, permitted & kept, inheritable & kept)
    return done


@contextmanager
def lending(*names: str) -> Iterator[None]:
    """Pass capabilities of LOADERS on to programs that this thread starts in the block.

    A capability that the thread does not have, or may not pass on, is left out; programs that
    root starts have it anyway. Ambient capabilities from a service manager are already
    inheritable.
    """
    bits = [LOADERS[name] for name in names]
    effective, permitted, before = held()
    wanted = before | sum(1 << bit for bit in bits) & permitted
    changed = wanted != before and capabilities.hold(effective, permitted, wanted)
    for bit in bits:
        prctl(capabilities.AMBIENT, capabilities.AMBIENT_RAISE, bit)
    try:
        yield
    finally:
        prctl(capabilities.AMBIENT, capabilities.AMBIENT_CLEAR_ALL)
        if changed:
            capabilities.hold(effective, permitted, before)


def give_up_everything() -> None:
    """Give up every capability for good, and forbid tracing of this process.

    Raises:
        OSError: the kernel does not allow it.
    """
    done = prctl(capabilities.SET_NO_NEW_PRIVILEGES, 1) == 0
    prctl(capabilities.SET_DUMPABLE, 0)
    # checked first: a process without capabilities may be forbidden the call by seccomp
    if not done or (held()[1] and not capabilities.hold(0, 0, 0)):
        raise OSError(number := ctypes.get_errno(), os.strerror(number))
