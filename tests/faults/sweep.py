"""Which trials there are: every call of a start, one after the other, each errno in turn.

The n-th use of a call fails for n = 1, 2, … until no thread of the service comes so far.
The errnos of a call take turns over its uses; bpf(2), which the service is about, gets
several at each.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults.errnos import SYSTEM
from tests.faults.trial import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.trial import Bench, Verdict

AT_EACH_BPF = (errno.EPERM, errno.ENOMEM, errno.EINVAL)
"""Errnos that every single use of bpf(2) meets, beside the one whose turn it is."""

NOT_HERE = ("ioctl", "pread64")
"""Calls that the interpreter and the loader make, too, and cannot do without: the tests on
the fake host let those of xdpctl fail alone."""

CALLS = tuple(call for call in SYSTEM if call not in NOT_HERE)

NETLINK_ONLY = ("socket", "setsockopt", "bind", "listen", "sendto", "recvfrom")
"""Calls that the loop and Python make as well, on pairs of sockets, which cannot fail so: where the
loop cannot wake itself, it waits."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A trial that was made."""

    fault: Fault
    verdict: Verdict


def trials(bench: Bench, calls: tuple[str, ...] = CALLS) -> Iterator[Judged]:
    """Make all trials of these calls, and yield those whose fault was met."""
    for call in calls:
        turn = 0
        while True:
            struck = False
            for number in _errnos(call, turn):
                fault = Fault(call, number, str(turn + 1), _paths(bench, call))
                verdict = bench.run(fault)
                struck |= bool(verdict.struck)
                if verdict.struck and _counts(call, verdict):
                    yield Judged(fault, verdict)
                elif not verdict.struck:
                    break
            if not struck:
                break
            turn += 1


def _errnos(call: str, turn: int) -> tuple[int, ...]:
    failure = SYSTEM[call][turn % len(SYSTEM[call])]
    if call != "bpf":
        return (failure,)
    return (*AT_EACH_BPF, *([failure] if failure not in AT_EACH_BPF else []))


def _paths(bench: Bench, call: str) -> tuple[str, ...]:
    """Return the files whose opening may fail: not those of Python itself."""
    if call != "openat":
        return ()
    return (
        str(bench.state),
        f"{bench.state}-wal",
        f"{bench.state}-journal",
        str(bench.lab.pins),
        "/sys/fs/bpf/xdpctl",
        f"/sys/fs/bpf/xdpctl/{bench.host.inode}-eth0:lock",
        "/proc/self/ns/net",
        "/proc/self/status",
        "/proc/net/tcp",
        "/proc/net/tcp6",
        "/proc/sys/kernel/random/boot_id",
        "/sys/devices/system/cpu/possible",
        str(bench.temporary),
    )


def _counts(call: str, verdict: Verdict) -> bool:
    """Whether all that failed is a call of ours, not one of the loop on its own sockets."""
    ours = ("<NETLINK", "<TCP", "<UDP", "(AF_NETLINK", "(AF_INET")
    return call not in NETLINK_ONLY or all(
        any(mark in line for mark in ours) for line in verdict.struck
    )
