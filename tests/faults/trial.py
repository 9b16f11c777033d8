"""One start of the real service with one system call that fails, and what is wrong with it.

strace lets the call fail (`inject=CALL:error=ERRNO:when=N`: the N-th of each thread). The
service either ends with status 1 and one sentence, or becomes ready and is then ended;
nothing may be left of it in any case, and nobody may see a traceback. Owns a lab's host
and what is put back between two trials.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.errnos import name_of
from tests.lab.hosts import LINKS, PYTHON, remove_pins
from tests.lab.process import LabError, eventually
from tests.lab.service import READY, Service
from xdpctl.program.cache import FOLDER

if TYPE_CHECKING:
    from tests.lab import Host, Lab

START_PATIENCE = 60.0
"""Seconds that a start may take: under strace it is slower, and the machine is shared."""

PATIENCE = 20.0
"""Seconds that an end may take."""

NEVER = (
    "Traceback",
    "this is a bug",
    "Exception in callback",
    "never retrieved",
    "never awaited",
    "Fatal Python error",
    "unhandled",
)
"""What an operator must not read."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The `when`-th use of a system call, in each thread, fails with an errno."""

    call: str
    number: int
    when: str
    paths: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.call} {name_of(self.number)} when={self.when}"

    @property
    def strace(self) -> list[str]:
        """The options of strace."""
        inject = f"inject={self.call}:error={name_of(self.number)}:when={self.when}"
        paths = [word for path in self.paths for word in ("-P", path)]
        return ["-e", f"trace={self.call}", "-e", inject, *paths]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a trial.

    Attributes:
        struck: the calls that failed, as strace shows them; none: there is no such call.
        ready: whether the service became ready.
        wrong: what must not be, sentence by sentence.
        text: what the service said.
    """

    struck: tuple[str, ...]
    ready: bool
    wrong: tuple[str, ...]
    text: str


class Bench:
    """Where trials are made, one after the other."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        for name in [name for name in lab.environ if name.startswith("COVERAGE_")]:
            del lab.environ[name]  # its own files would be what fails
        self.host: Host = lab.pair()[1]
        self.trace = lab.directory / "trace"
        self.temporary = lab.directory / "tmp"
        self.temporary.mkdir(mode=0o777)
        self.temporary.chmod(0o1777)

    @property
    def state(self) -> Path:
        """The state file of the service."""
        return self.lab.directory / f"{self.host.name}.db"

    def run(self, fault: Fault) -> Verdict:
        """Start the service under this fault, end it, clean up."""
        service = self._service(fault)
        process = service.process
        try:
            process.until(
                lambda: re.search(READY, process.text) or process.status is not None,
                "ready or the end",
                START_PATIENCE,
            )
        except LabError:
            return self._verdict(service, ready=False, wrong=["it neither got ready nor ended"])
        if ready := process.status is None:
            try:
                process.stop(timeout=PATIENCE)
            except LabError:
                return self._verdict(service, ready=True, wrong=["it did not stop"])
        return self._verdict(service, ready=ready, wrong=[])

    def _service(self, fault: Fault) -> Service:
        self.trace.unlink(missing_ok=True)
        strace = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-yy", "-o", str(self.trace)]
        return Service(
            self.host,
            "--listen",
            "none",
            command=[*strace, *fault.strace, PYTHON, "-m", "xdpctl"],
            await_ready=False,
            environ={"TMPDIR": str(self.temporary)},
        )

    def _verdict(self, service: Service, *, ready: bool, wrong: list[str]) -> Verdict:
        process, text = service.process, service.process.text
        wrong += [f"it said {words!r}" for words in NEVER if words in text]
        if not wrong:
            wrong += self._ending(process.status, text.splitlines(), ready=ready)
        if process.status is not None:
            eventually(lambda: not is_traced(process.pid), "the end of the trace", PATIENCE)
        trace = self.trace.read_text(errors="replace").splitlines()
        struck = tuple(line for line in trace if "INJECTED" in line)
        kept = "".join(line for line in struck if re.search(r"\b(unlink|rmdir|:lock)", line))
        wrong += [f"left: {one}" for one in self._left(process.pid) if one not in kept]
        process.kill()
        self._clean()
        return Verdict(struck, ready, tuple(wrong), text)

    def _ending(self, status: int | None, lines: list[str], *, ready: bool) -> list[str]:
        sentences = [line for line in lines if line.startswith("xdpctl: ")]
        if ready and status == 0:
            return [] if not sentences else ["it complained and ended with status 0"]
        wrong = []
        if status != 1:
            wrong.append(f"it ended with status {status}")
        if len(sentences) != 1 or lines[-1:] != sentences:
            wrong.append("its last line is not its one sentence")
        return wrong

    def _left(self, pid: int) -> list[str]:
        """Return what is there that should not be."""
        found = []
        if self.host.xdp() is not None:
            found.append("a program is on the interface")
        if LINKS.is_dir():
            prefix = f"{self.host.inode}-"
            found += [str(pin) for pin in LINKS.iterdir() if pin.name.startswith(prefix)]
        found += [str(path) for path in self.temporary.iterdir()]
        if (control := self.lab.directory / f"{self.host.name}.sock").exists():
            found.append(str(control))
        return [*found, *(f"process {one}" for one in session(pid))]

    def _clean(self) -> None:
        """Make the next trial a first start again.

        The pins go first: where a service was killed, the pinned link holds the program.
        """
        if LINKS.is_dir():
            for pin in LINKS.iterdir():
                if pin.name.startswith(f"{self.host.inode}-"):
                    pin.rmdir() if pin.is_dir() else pin.unlink()
        if self.host.xdp() is not None:
            self.host.ip("link", "set", "eth0", "xdp", "off")
        remove_pins(self.lab.pins)
        for path in self.lab.directory.glob(f"{self.host.name}.*"):
            path.unlink()
        shutil.rmtree(self.lab.directory / FOLDER, ignore_errors=True)
        for path in self.temporary.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def session(pid: int) -> list[str]:
    """Return the live processes of a session, strace apart, by name and number."""
    return [f"{name} {number}" for name, number in _members(pid) if name != "strace"]


def is_traced(pid: int) -> bool:
    """Whether strace is still at work in a session: what it saw is not all written."""
    return any(name == "strace" for name, _ in _members(pid))


def _members(pid: int) -> list[tuple[str, str]]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if os.getsid(int(entry.name)) != pid:
                continue
            status = (entry / "stat").read_text()
        except (OSError, ProcessLookupError):
            continue
        name, _, rest = status.partition("(")[2].rpartition(")")
        if rest.split()[0] != "Z":
            found.append((name, entry.name))
    return found
