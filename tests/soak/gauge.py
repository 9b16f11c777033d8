"""What a service takes at one moment: memory, descriptors, threads, processes, files.

Read from /proc and the file systems, never from the service itself. Used by site.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.memory import processes_of, pss_bytes
from tests.lab.hosts import LINKS
from xdpctl.program.cache import FOLDER

if TYPE_CHECKING:
    from tests.lab import Host


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment.

    Attributes:
        at: seconds since the soak began.
        age: seconds since the process began.
        memory: its PSS, octets: also of files, whose pages it shares with whatever else
            runs, so that it gains when another Python ends. `anonymous`: the part that is
            no file's, all of it its own. `processes`: it and those that descend from it.
        descriptors, threads: of the process itself.
        state: octets of the database and of the bytecode that is kept. `journal`: of what
            SQLite has written beside the database and not yet into it.
        pins: on the BPF file system, the shared maps' and its own.
    """

    at: float
    age: float
    memory: int
    anonymous: int
    processes: int
    descriptors: int
    threads: int
    state: int
    journal: int
    pins: int


def look(pid: int, host: Host, at: float, age: float) -> Sample | None:
    """Return what there is now, None if the process has ended since."""
    folder = host.lab.directory
    try:
        return Sample(
            at=round(at, 1),
            age=round(age, 1),
            memory=pss_bytes(pid),
            anonymous=pss_bytes(pid, "Pss_Anon"),
            processes=len(processes_of(pid)),
            descriptors=_count(_proc(pid, "fd")),
            threads=_count(_proc(pid, "task")),
            state=octets(folder, f"{host.name}.db", f"{FOLDER}/*"),
            journal=octets(folder, f"{host.name}.db-*"),
            pins=pins(host),
        )
    except (FileNotFoundError, ProcessLookupError):
        return None


def octets(folder: Path, *patterns: str) -> int:
    """Return the size of all files that match."""
    return sum(_size(path) for pattern in patterns for path in folder.glob(pattern))


def pins(host: Host) -> int:
    """Return how many pins and locks there are of this host's service."""
    own = [path for path in LINKS.iterdir() if path.name.startswith(f"{host.inode}-")]
    return len(own) + _count(host.lab.pins)


def _proc(pid: int, what: str) -> Path:
    return Path("/proc", str(pid), what)


def _count(directory: Path) -> int:
    return sum(1 for _ in directory.iterdir())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a journal comes and goes
        return 0
