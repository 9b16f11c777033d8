"""One service in a soak: its hosts, its packets, what is asked of it, and its end.

A thread each for changes and for scrapes; reloads, kills and starts are taken in turn on
the thread that made it, since a process is killed when the thread ends that started it.
What goes wrong ends the soak.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import re
import signal
import socket
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Self

from tests.lab import Lab, LabError, Service
from tests.lab.hosts import PYTHON, unmeasured
from tests.lab.service import READY
from tests.soak.gauge import Sample, look
from tests.soak.work import RefusedError, Work

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tests.soak.work import Steps

CHANGE_SECONDS = 0.1
LOOK_SECONDS = 0.2
RELOAD_SECONDS = 4.0
START_SECONDS = 60.0
TROUBLE = ("Traceback", "this is a bug", "never awaited", "never retrieved")
"""What a log may not have in it."""

_ROOM = ("--map-size=qnames=4096", "--map-size=addr-v4=8192")
_LIMITS = """rate-limit = 20
rate-limit-table = 1024
flood-limit = 1000
zone-limit = [".soak.example=5"]
"""
_CONFIGS = (f"rate-limit-dry-run = true\n{_LIMITS}", f"tcp = false\n{_LIMITS}")
"""The traffic is over every limit, which acts in one of them and only counts in the other."""
_LIMIT_ACTS = "limit-acts"
_GONE = (OSError, http.client.HTTPException)
"""What a request meets when the service is killed."""


class Site:
    """One service and all that is done to it; runs from entering to leaving.

    Args:
        name: as the results have it.
        life: seconds between a start and the kill; None: it is never killed.

    Attributes:
        samples: what it took, moment by moment.
        done: how often each thing was done to it.
    """

    def __init__(self, name: str, life: float | None) -> None:
        self.name = name
        self.samples: list[Sample] = []
        self.done: Counter[str] = Counter()
        self._failure: BaseException | None = None
        self._life = life
        self._lab = Lab()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._began = time.monotonic()
        self._ready = False
        self._next_reload = self._began + RELOAD_SECONDS

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._lab)
            client, self._host = self._lab.pair()
            self._lab.at_end(self._sink().close)
            self._lab.write("xdpctl.toml", _CONFIGS[-1])
            self._start()
            self._service.process.line(READY, timeout=30)
            work = Work(self._host, self._service.control)
            work.prepare()
            sender = (PYTHON, "-m", "tests.soak.traffic", self._host.v4, self._host.v6)
            client.start("traffic", *unmeasured(*sender))
            self._run("changes", self._steps(work.changes, CHANGE_SECONDS))
            self._run("looks", self._steps(work.looks, LOOK_SECONDS))
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._resources:
            self._stop.set()
            for thread in self._threads:
                thread.join()
            if error is None:
                self._service.process.line(READY, timeout=START_SECONDS)
                status = self._service.stop()
                if status:
                    raise LabError(f"{self.name}: its stop ended with {status}")
            said = "".join(path.read_text() for path in self._lab.directory.glob("service-*.log"))
            if found := [word for word in TROUBLE if word in said]:
                raise LabError(f"{self.name}: its log has {found}:\n{said}")
            lives = error is None and self._life is None  # killed ones may see no whole flood
            if lives and _LIMIT_ACTS not in said:
                raise LabError(f"{self.name}: no flood met a limit:\n{said}")

    def turn(self) -> None:
        """Kill, start or reload it where that is due.

        Raises:
            LabError: something went wrong since.
        """
        if self._failure is not None:
            raise LabError(f"{self.name}: {self._failure!r}") from self._failure
        now = time.monotonic()
        if not self._ready:
            self._await_ready(now)
        elif self._life is not None and now - self._born >= self._life:
            self._service.stop(signal.SIGKILL)
            self.done["killed"] += 1
            self._start()
        elif now >= self._next_reload:
            self._lab.write("xdpctl.toml", _CONFIGS[self.done["reload"] % len(_CONFIGS)])
            self._service.process.send(signal.SIGHUP)
            self.done["reload"] += 1
            self._next_reload = now + RELOAD_SECONDS

    def sample(self) -> None:
        """Note what the service takes now; nothing while it starts."""
        if not self._ready:
            return
        now = time.monotonic()
        pid = self._service.process.pid
        found = look(pid, self._host, now - self._began, now - self._born)
        if found is not None:
            self.samples.append(found)

    def _await_ready(self, now: float) -> None:
        process = self._service.process
        self._ready = bool(re.search(READY, process.text))
        if not self._ready and (process.status is not None or now - self._born > START_SECONDS):
            raise LabError(f"{self.name}: it did not start:\n{process.text}")

    def _sink(self) -> socket.socket:
        """Return a socket that nobody reads: full soon, and packets go nowhere from then on."""
        sink = self._host.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sink.bind(("::", 53))
        return sink

    def _start(self) -> None:
        command = tuple(unmeasured(PYTHON, "-m", "xdpctl"))
        self._service = Service(self._host, *_ROOM, command=command, await_ready=False)
        self._born = time.monotonic()
        self._ready = False

    def _run(self, name: str, function: Callable[[], None]) -> None:
        def run() -> None:
            try:
                function()
            except (LabError, *_GONE) as error:
                self._failure = error

        thread = threading.Thread(target=run, name=f"{self.name}: {name}")
        self._threads.append(thread)
        thread.start()

    def _steps(self, steps: Steps, pause: float) -> Callable[[], None]:
        """Return what goes round the steps; one that a kill cut short is not counted."""

        def run() -> None:
            for what, step in itertools.cycle(steps.items()):
                if self._stop.wait(pause):
                    return
                try:
                    step()
                except (RefusedError, *_GONE):
                    if self._life is None:
                        raise
                else:
                    self.done[what] += 1

        return run
