"""The process that works on many rules and then ends: `python -m xdpctl.store.worker`.

Receives one job over the socket that is its standard input (messages.py), and the maps as
descriptors. Writes only within its turns. It does not outlive the service: the kernel ends it with
the thread that started it. It logs nothing; errors go over the socket. Started by parent.py. Owns
the process's side of the protocol. Does not own the work (bulk.py, export.py).
"""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from xdpctl.errors import XdpctlError
from xdpctl.kernel.bpf.libbpf import load_library
from xdpctl.kernel.bpf.maps import Map
from xdpctl.process.child import work_as_child
from xdpctl.process.descriptors import receive_descriptors
from xdpctl.store.bulk import Bulk, BulkResult
from xdpctl.store.entries import Entries
from xdpctl.store.export import lines_of
from xdpctl.store.source import RuleSource
from xdpctl.store.state import State
from xdpctl.store.tables.generation import BorrowedGeneration
from xdpctl.store.tables.tables import Tables
from xdpctl.store.worker.messages import (
    Answer,
    AskTurn,
    BulkJob,
    Changed,
    Done,
    EndTurn,
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
    from collections.abc import Mapping
    from multiprocessing.connection import Connection

    from xdpctl.abi import MapName
    from xdpctl.store.worker.messages import ExportJob, Job, Message, Reply

PROGRESS_SECONDS = 0.05
"""Between two reports of progress."""

LINES = 4_000
"""Lines of one part of an export: about 100 kB."""


class _Service:
    """The service's end: its turns as a lock, its request to stop as an event, reports.

    Args:
        connection: the connection to the service.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tables: Tables | None = None
        self._cancelled = False
        self._next_word = 0.0
        self.work: Bulk | None = None

    def send(self, message: Message) -> None:
        """Send a message to the service."""
        self._connection.send(message)

    def __enter__(self) -> None:
        """Wait for a turn."""
        self.send(AskTurn())
        if self._answer() is Answer.MOVED:
            raise XdpctlError(
                "the maps were replaced while the list was worked on: what was done of it is"
                " gone with them, send the list again"
            )

    def __exit__(self, kind: object, *_: object) -> None:
        """Give the turn back."""
        self.send(EndTurn(whole=kind is None))

    def give_to(self, tables: Tables) -> None:
        """Let these tables be what the service lends."""
        self._tables = tables

    def wait_for_tables(self) -> None:
        """Wait until the service has lent its tables."""
        while not isinstance(self._take(self._connection.recv()), Lent):
            pass

    def reserve(self, more: Mapping[MapName, int]) -> None:
        """Have the service make room in the tables."""
        if more:
            self.send(Reserve(dict(more)))
            self._answer()

    def is_set(self) -> bool:
        """Whether the service wants the work to end."""
        while self._connection.poll():
            self._take(self._connection.recv())
        return self._cancelled

    def writing(self, name: MapName, keys: bytes) -> None:
        """Announce keys that are about to be written."""
        self.send(Writing(name, keys))
        self._answer()

    def progress(self, what: str, done: int, total: int) -> None:
        """Report progress, a few times a second and at the end."""
        now = time.monotonic()
        if now >= self._next_word or done == total:
            self._next_word = now + PROGRESS_SECONDS
            self.send(ProgressMade(what, done, total))

    def _answer(self) -> Answer:
        while True:
            answer = self._take(self._connection.recv())
            if isinstance(answer, Answer) and answer is not Answer.CANCEL:
                return answer

    def _take(self, reply: Reply) -> Reply:
        """Do what a reply says beside answering.

        Raises:
            XdpctlError: there is no room.
        """
        if isinstance(reply, Refused):
            raise reply.error
        if isinstance(reply, Lent):
            given = [receive_descriptors(self._connection, count) for count in reply.counts]
            if self._tables is not None:
                self._tables.close()
                library = load_library()
                self._tables.use(*(BorrowedGeneration(library, numbers) for numbers in given))
        self._cancelled |= reply is Answer.CANCEL
        return reply


def _open_maps(numbers: Mapping[MapName, int]) -> dict[MapName, Map]:
    library = load_library()
    return {name: Map(library, number, str(name)) for name, number in numbers.items()}


def _bulk(job: BulkJob, service: _Service) -> Done:
    maps = _open_maps(job.maps)
    for name, opened in maps.items():
        opened.before_write = lambda keys, name=name: service.writing(name, keys)
    with State.to_read(job.path) as state:
        tables = Tables(state)
        service.give_to(tables)
        work = Bulk(
            {**maps, **tables.maps},
            job.path,
            service,
            replace(job.change, progress=service.progress),
            reserve=service.reserve,
            on_change=lambda name, difference: service.send(Changed(name, difference)),
            on_step=lambda so_far: service.send(Stepped(so_far)),
            free=job.free,
            cancelled=service,
        )
        service.work = work
        result, source = work.run(), job.change.source
    return Done(result, source.found if isinstance(source, RuleSource) else None)


def _export(job: ExportJob, service: _Service) -> Done:
    with State.to_read(job.path) as state:
        tables = Tables(state)
        service.give_to(tables)
        service.wait_for_tables()
        entries = Entries({**_open_maps(job.maps), **tables.maps}, state)
        lines = lines_of(entries, job.any_qtype, everything=job.everything, at_once=True)
        while data := "".join([f"{line}\n" for line in islice(lines, LINES)]):
            service.send(Part(data.encode()))
    return Done(BulkResult())


def _work(connection: Connection) -> None:
    service = _Service(connection)
    try:
        job: Job = connection.recv()
        message = _bulk(job, service) if isinstance(job, BulkJob) else _export(job, service)
    except XdpctlError as error:
        service.send(Failed(error, None if service.work is None else service.work.result))
    except (EOFError, ConnectionError):
        raise
    except Exception as error:  # noqa: BLE001 - the service reports any error
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        service.send(
            Failed(XdpctlError(f"cannot finish the work on the rules: {what}; what was done stays"))
        )
    else:
        service.send(message)


def main() -> None:
    """Do one job."""
    gc.disable()
    work_as_child(_work, capable=True)


if __name__ == "__main__":
    main()
