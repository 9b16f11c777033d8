"""Finds the processes that hold a shared map open for writing.

The kernel does not tell who wrote an entry. But dnsdist holds the descriptors of its maps for
its lifetime, and /proc shows every process's descriptors, with the id of each map, to root. A
service that is not root cannot look into another user's process. There, a process counts as a
holder if its name is dnsdist's or its user owns the pin. Used by aging.py and by `resize`. Owns
how a holder is recognised. Does not own what follows from it. Everything blocks, for some
milliseconds.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from xdpctl.process.clock import boot_clock
from xdpctl.process.namespaces import processes_hidden

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

YOUNG_SECONDS = 60.0
"""A process opens its maps soon after its start: until this age each look looks into it."""

AGAIN_SECONDS = 30.0
"""An older process is looked into only so often."""

LOOKS, PAUSE_SECONDS = 3, 0.2
"""How often, and how far apart, is looked for a process that keeps a map open."""

_BPF_MAP = "anon_inode:bpf-map"
_STAT = re.compile(
    rb"[0-9]+ \((?P<name>.*)\) \S (?P<parent>[0-9]+)(?: \S+){4} (?P<flags>[0-9]+)"
    rb"(?: \S+){12} (?P<start>[0-9]+)",
    re.DOTALL,
)
_MAP_ID = re.compile(rb"^map_id:\s*([0-9]+)$", re.MULTILINE)
_FLAGS = re.compile(rb"^flags:\s*([0-7]+)$", re.MULTILINE)
_KERNEL_THREAD = 0x00200000
_DNSDIST = "dnsdist"
_INIT = 1
"""Holds no map, and may have more rights than a service in a container."""


@dataclass(frozen=True, slots=True, order=True)
class Holder:
    """A process; `started` is in clock ticks since boot, so that no number means two."""

    pid: int
    started: int
    name: str = field(compare=False)

    def __str__(self) -> str:
        """Return the name and the pid, as a sentence has them."""
        return f"{self.name} (pid {self.pid})"


def held_open(name: str, entries: int, holders: Collection[Holder]) -> str:
    """Return why a map cannot be replaced while other processes use it, as a sentence."""
    who = " and ".join(str(holder) for holder in sorted(holders))
    has, would, it = ("has", "would", "it") if len(holders) == 1 else ("have", "would", "them")
    return (
        f"cannot resize {name}: {who} {has} the present map open and {would} go on with it: stop"
        f" {it}, run `xdpctl resize {name}={entries}`, then start {it} again"
    )


def perhaps_held(name: str) -> str:
    """Return why a map is not replaced while it is unknown who uses it, as a sentence."""
    return (
        f"cannot resize {name}: it cannot be seen from here which processes have the map open; stop"
        " the DNS server if it uses the map, and run this as root on the host, or use --force"
    )


@dataclass(frozen=True, slots=True)
class Sighting:
    """One look at all processes.

    Attributes:
        holders: by map id; a map that nobody holds is missing.
        whole: whoever is missing is not there: every process could be looked into, or be told by
            its name.
    """

    holders: Mapping[int, frozenset[Holder]]
    whole: bool

    def of(self, number: int) -> frozenset[Holder]:
        """Return the holders of one map."""
        return self.holders.get(number, frozenset())


@dataclass(frozen=True, slots=True)
class _Process:
    """What was found out about one process.

    Attributes:
        holder: None: a kernel thread, or it ended meanwhile.
        parent: the number of its parent; 0: unknown.
        maps: the ids of the maps that it may write; None: it cannot be looked into.
        again: when to look into it again, in seconds of the monotonic clock.
    """

    holder: Holder | None
    parent: int
    maps: frozenset[int] | None
    again: float


class Holders:
    """Looks at processes, and remembers those that it has looked into.

    Args:
        owner: user id of the pins' owner, or None.
        proc: the proc file system.
        own: this process, whose descendants do not count either.
        clock: seconds of the monotonic clock.
        uptime: seconds since boot.
        all_here: every process of this host is visible here; None: find out.
        pause: waits for so many seconds.
    """

    def __init__(  # noqa: PLR0913 - the host, for tests
        self,
        owner: int | None = None,
        *,
        proc: Path = Path("/proc"),
        own: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        uptime: Callable[[], float] = boot_clock,
        all_here: bool | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._all_here = processes_hidden(proc) is None if all_here is None else all_here
        self._owner = owner
        self._proc = proc
        self._own = os.getpid() if own is None else own
        self._clock = clock
        self._pause = pause
        self._uptime = uptime
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._known: dict[int, _Process] = {}

    def look(self, ids: Collection[int]) -> Sighting:
        """Return who holds the maps of these ids for writing, this service left out.

        In a container, whose processes are not all of the host's, nobody is never certain: dnsdist
        may be outside.
        """
        wanted = frozenset(ids)
        former = self._known
        self._known = {pid: self._seen(pid, former.get(pid)) for pid in self._numbers()}
        found: dict[int, set[Holder]] = {}
        whole = self._all_here
        for process in self._known.values():
            if process.holder is None or self._is_ours(process.holder.pid):
                continue
            maps = process.maps
            if maps is None:
                maps = wanted if self._may_be_dnsdist(process.holder) else frozenset()
                whole &= process.holder.pid == _INIT or bool(maps) or self._may_judge(process)
            for number in maps & wanted:
                found.setdefault(number, set()).add(process.holder)
        whole &= _INIT in self._known  # else hidepid=invisible hides other users' processes
        return Sighting({number: frozenset(who) for number, who in found.items()}, whole)

    def keepers(self, number: int) -> Sighting:
        """Return who keeps a map open: who has it open in each of a few looks.

        `bpftool prog show` and its like open every map for a moment.
        """
        for _ in range(LOOKS - 1):
            sighting = self.look([number])
            if not sighting.of(number):
                return sighting
            self._pause(PAUSE_SECONDS)
            for holder in sighting.of(number):
                del self._known[holder.pid]  # to be looked into now
        return self.look([number])

    @staticmethod
    def _may_judge(process: _Process) -> bool:
        """Return whether a process that cannot be looked into can be told by its name."""
        return process.holder is not None and bool(process.holder.name)

    def _numbers(self) -> list[int]:
        """Return the numbers of all processes that are visible; none where no /proc is mounted."""
        try:
            return [int(name) for name in os.listdir(self._proc) if name.isdigit()]  # noqa: PTH208 - see _path
        except OSError:
            return []

    def _seen(self, pid: int, former: _Process | None) -> _Process:
        """Look at a process: at one without maps that is not young only now and then."""
        now = self._clock()
        if former is not None and now < former.again and not former.maps:
            return former
        holder, parent = self._identify(pid)
        if holder is None:
            return _Process(None, parent, frozenset(), now + AGAIN_SECONDS)
        if former is not None and former.holder == holder and now < former.again:
            return former
        maps: frozenset[int] | None
        try:
            maps = frozenset(self._open_maps(self._path(pid)))
        except PermissionError:
            maps = None
        except OSError:  # it has ended
            maps = frozenset()
        young = self._uptime() - holder.started / self._ticks < YOUNG_SECONDS
        return _Process(holder, parent, maps, now if young else now + AGAIN_SECONDS)

    def _identify(self, pid: int) -> tuple[Holder | None, int]:
        """Return a process and its parent; without access only its number is known."""
        try:
            found = _STAT.match(_content(f"{self._path(pid)}/stat"))
        except PermissionError:  # hidepid=
            return Holder(pid, 0, ""), 0
        except OSError:  # it has ended
            return None, 0
        if found is None:
            return None, 0
        parent = int(found["parent"])
        if int(found["flags"]) & _KERNEL_THREAD:
            return None, parent
        name = found["name"].decode("utf-8", "replace")
        return Holder(pid, int(found["start"]), name), parent

    def _is_ours(self, pid: int) -> bool:
        passed: set[int] = set()  # numbers that were used again may form a circle
        while pid and pid not in passed:
            if pid == self._own:
                return True
            passed.add(pid)
            process = self._known.get(pid)
            pid = 0 if process is None else process.parent
        return False

    def _path(self, pid: int) -> str:
        """Return a process's folder as text.

        A `Path` interns what it consists of: with each look at some hundred processes the
        interpreter's table of strings would grow, by two megabytes in the end.
        """
        return f"{self._proc}/{pid}"

    @staticmethod
    def _open_maps(process: str) -> Iterator[int]:
        for name in os.listdir(f"{process}/fd"):  # noqa: PTH208 - see _path
            try:
                if os.readlink(f"{process}/fd/{name}") != _BPF_MAP:  # noqa: PTH115 - the same
                    continue
                text = _content(f"{process}/fdinfo/{name}")
            except FileNotFoundError:  # closed by now
                continue
            found, flags = _MAP_ID.search(text), _FLAGS.search(text)
            writable = flags is None or int(flags[1], 8) & os.O_ACCMODE != os.O_RDONLY
            if found is not None and writable:
                yield int(found[1])

    def _may_be_dnsdist(self, holder: Holder) -> bool:
        if holder.name.startswith(_DNSDIST):
            return True
        try:
            user = (self._proc / str(holder.pid)).stat().st_uid
        except OSError:
            return False
        return user == self._owner and user not in (0, os.geteuid())


def _content(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - see Holders._path
        return file.read()
