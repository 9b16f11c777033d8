"""Starts the process that works on rules, gives it its turns to write, and ends it.

Owns the process while one piece of work lasts. Does not own the work (__main__.py) or the lock,
which keeps the writes of several processes apart. Called by store/store.py on threads for
blocking work.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from xdpctl.errors import XdpctlError
from xdpctl.process.child import Child
from xdpctl.process.children import ended
from xdpctl.process.descriptors import send_descriptors
from xdpctl.process.privileges import lending
from xdpctl.store.bulk import BulkResult
from xdpctl.store.worker.messages import (
    Answer,
    AskTurn,
    BulkJob,
    Changed,
    Done,
    EndTurn,
    ExportJob,
    Failed,
    Lent,
    Part,
    ProgressMade,
    Refused,
    Reserve,
    Stepped,
    Writing,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from xdpctl.abi import MapName
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.rules import AnyQtype
    from xdpctl.store.change import Change
    from xdpctl.store.source import RuleSource
    from xdpctl.store.tables.engine import Engine
    from xdpctl.store.tables.tables import Tables
    from xdpctl.store.worker.messages import Job, Message, Reply

LOOK_SECONDS = 0.1
"""Longest time until the process is told that its work is cancelled."""


class Worker(Child):
    """A process that does one piece of work.

    Args:
        job: the work.
        descriptors: descriptors that the process inherits, with the same numbers.

    Attributes:
        result: what a change that failed had done before.

    Raises:
        XdpctlError: it cannot be started.
    """

    def __init__(self, job: Job, descriptors: Iterable[int]) -> None:
        self._cancel_sent = False
        self.result: BulkResult | None = None
        with lending("CAP_BPF"):
            super().__init__(
                "xdpctl.store.worker",
                "the work on the rules",
                job,
                descriptors=descriptors,
                helps="and try again",
            )

    def hear(self, cancelled: threading.Event) -> Message:
        """Wait for the next message; if the work is cancelled, tell the process once.

        Raises:
            XdpctlError: the process failed, or has ended.
        """
        try:
            while not self._connection.poll(LOOK_SECONDS):
                self._tell_if(cancelled)
            self._tell_if(cancelled)
            message: Message = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._gone() from error
        if isinstance(message, Failed):
            self.result = message.result
            raise message.error
        return message

    def _tell_if(self, cancelled: threading.Event) -> None:
        if cancelled.is_set() and not self._cancel_sent:
            self.answer(Answer.CANCEL)
            self._cancel_sent = True

    def answer(self, answer: Reply) -> None:
        """Answer, or cancel."""
        self._send(answer)

    def lend(self, generations: Iterable[Sequence[int]]) -> None:
        """Have the process use these generations of our own tables, given by descriptors."""
        given = [tuple(numbers) for numbers in generations]
        self.answer(Lent(tuple(map(len, given))))
        with contextlib.suppress(OSError):
            for numbers in given:
                send_descriptors(self._connection, numbers)

    def _gone(self) -> XdpctlError:
        return XdpctlError(
            f"the process that worked on the rules {ended(self._process)}: what was done stays,"
            " see that there is memory for it, and try again"
        )


class BulkInWorker:
    """Does long work in processes, on the service's maps and state.

    Args:
        maps: the shared rule maps, open; what may be another map later on.
        tables: our own tables.
        path: the state file.
        turn: at the maps and tables; one is held at a time.
        reserve: see `Store`.
    """

    def __init__(
        self,
        maps: Mapping[MapName, Map],
        tables: Tables,
        path: Path,
        turn: AbstractContextManager[object],
        *,
        reserve: Callable[[Mapping[MapName, int]], None] = lambda _more: None,
    ) -> None:
        self._maps = maps
        self._tables = tables
        self._path = path
        self._turn = turn
        self._reserve = reserve

    def bulk(  # noqa: PLR0913 - whom to tell
        self,
        change: Change,
        source: RuleSource,
        *,
        on_change: Callable[[MapName, int], None],
        on_step: Callable[[BulkResult], None],
        free: Mapping[MapName, int],
        cancelled: threading.Event,
    ) -> BulkResult:
        """Apply a change, as `bulk.Bulk` does; `source` is the change's. Blocks.

        Where the process fails or is ended, `on_step` has been called with all that it did.

        Raises:
            XdpctlError: as `Bulk.run`, or the process ended before its work was done.
        """
        began = self._identities()
        with contextlib.ExitStack() as stack:
            maps = self._lent(stack)
            job = BulkJob(maps, self._path, change.to_send(), dict(free))
            worker = stack.enter_context(Worker(job, (*maps.values(), *source.descriptors)))
            lent = stack.enter_context(_LentTables(worker))
            turn = stack.enter_context(contextlib.ExitStack())
            stack.callback(worker.end)  # before its turn is another's
            steps = _Steps(on_step)
            while not isinstance(message := steps.heard(worker, cancelled), Done):
                match message:
                    case AskTurn():
                        turn.enter_context(self._turn)
                        lent.follow(self._tables.engines())
                        same = self._identities() == began
                        worker.answer(Answer.GO if same else Answer.MOVED)
                    case EndTurn():
                        self._tables.unsure |= not message.whole
                        turn.close()
                    case Changed():
                        steps.changed(message.difference)
                        on_change(message.map, message.difference)
                    case Stepped():
                        steps.done(message.result)
                    case ProgressMade():
                        change.progress(message.what, message.done, message.total)
                    case Reserve() | Writing():
                        worker.answer(self._prepared(message))
                    case _:
                        raise TypeError(f"a list is not answered by {message}")
            source.found = message.found
            return message.result

    def _prepared(self, message: Reserve | Writing) -> Reply:
        """Do what is to be done before the process may write."""
        if isinstance(message, Reserve):
            return self._reserved(message.more)
        if (before := self._maps[message.map].before_write) is not None:
            before(message.keys)
        return Answer.GO

    def _reserved(self, more: Mapping[MapName, int]) -> Reply:
        try:
            self._reserve(more)
        except XdpctlError as error:
            return Refused(error)
        return Answer.GO

    def export(self, any_qtype: AnyQtype, *, everything: bool) -> ExportInWorker:
        """Begin to write rules as lines. Blocks while the process starts.

        Raises:
            XdpctlError: it cannot be started.
        """
        with contextlib.ExitStack() as stack:
            maps = self._lent(stack)
            job = ExportJob(maps, self._path, any_qtype, everything)
            worker = Worker(job, maps.values())
            lent = _LentTables(worker)
            try:
                lent.follow(self._tables.engines()[:1], always=True)
            except BaseException:
                worker.end()
                raise
            return ExportInWorker(worker, lent)

    def _identities(self) -> dict[MapName, int]:
        return {name: opened.info.id for name, opened in self._maps.items()}

    def _lent(self, stack: contextlib.ExitStack) -> dict[MapName, int]:
        """Return duplicates of the maps' descriptors, closed with the stack."""
        lent = {}
        for name, opened in self._maps.items():
            lent[name] = os.dup(opened.fd)
            stack.callback(os.close, lent[name])
        return lent


class _Steps:
    """What a process has done, also of the step at which it ended.

    Args:
        on_step: is told.
    """

    def __init__(self, on_step: Callable[[BulkResult], None]) -> None:
        self._on_step = on_step
        self._so_far = BulkResult()
        self._more = [0, 0]

    def heard(self, worker: Worker, cancelled: threading.Event) -> Message:
        """Return the next message, as `Worker.hear`; if that fails, tell what was done."""
        try:
            message = worker.hear(cancelled)
        except XdpctlError:
            made, removed = self._more
            so_far = replace(
                self._so_far,
                created=self._so_far.created + made,
                removed=self._so_far.removed + removed,
            )
            self._on_step(worker.result or so_far)
            raise
        return message

    def changed(self, difference: int) -> None:
        """Count entries of a step that is not done."""
        self._more[difference < 0] += abs(difference)

    def done(self, so_far: BulkResult) -> None:
        """Take over what was done up to the end of a step."""
        self._so_far, self._more = so_far, [0, 0]
        self._on_step(so_far)


class _LentTables:
    """What of our own tables a process has. A context manager; its end takes it back.

    Args:
        worker: the process.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._engines: tuple[Engine, ...] = ()
        self._loans = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loans.close()

    def follow(self, engines: tuple[Engine, ...], *, always: bool = False) -> None:
        """Have the process use these generations, if it does not yet.

        Raises:
            XdpctlError: one cannot be lent.
        """
        if engines == self._engines and not always:
            return
        with contextlib.ExitStack() as loans:
            self._worker.lend([loans.enter_context(engine.lend()) for engine in engines])
            self._loans.close()
            self._loans = loans.pop_all()
        self._engines = engines


class ExportInWorker:
    """The parts of an export (store.Export)."""

    def __init__(self, worker: Worker, lent: _LentTables) -> None:
        self._worker = worker
        self._lent = lent
        self._never = threading.Event()

    def part(self) -> bytes:
        """Return the next lines, empty at the end. Blocks.

        Raises:
            XdpctlError: as `Worker.hear`.
        """
        message = self._worker.hear(self._never)
        return message.data if isinstance(message, Part) else b""

    def close(self) -> None:
        """End the export, finished or not. Any thread."""
        self._worker.end()
        self._lent.__exit__()
