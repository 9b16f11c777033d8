"""The table program over maps of its own, on this machine or in the kernel, and the filter.

Owns the making of such tables for tests of the program itself, in any shape; the packet
engines have theirs (tables.py). `Tables.judge` runs the filter over the same maps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from tests.engines.entries import index_value
from tests.engines.host_build import HostFilter
from tests.engines.made_once import compiled_once
from tests.packets.case import TABLES
from xdpctl.abi import (
    HEAD_COUNTS_OFFSET,
    MAPS,
    MapName,
    Scope,
    names_of,
)
from xdpctl.abi import TABLES as OF_RULES
from xdpctl.kernel.bpf.kind import ProgramKind
from xdpctl.program.config import TableProgram
from xdpctl.store.tables.requests import Requests

if TYPE_CHECKING:
    import contextlib

    from xdpctl.kernel.bpf.programs import Program
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.store.tables.shape import Shape

OWN = names_of(Scope.TABLES)
_FORMER = {
    MapName.FORMER_NAMES: MapName.NAME_TABLE,
    MapName.FORMER_SOURCES: MapName.SOURCE_TABLE,
}
_FIRST = bytes(4)


class Tables(Protocol):
    """Tables of one shape, with their requests."""

    requests: Requests
    memory: dict[MapName, memoryview]

    def judge(self, frame: bytes) -> int:
        """Return the filter's verdict on a frame, with no rule elsewhere."""


def clear(tables: Tables, shape: Shape) -> None:
    """Make the tables empty, with secrets of their own."""
    for name in OWN:
        tables.memory[name][:] = bytes(len(tables.memory[name]))
    tables.memory[MapName.TABLE_HEAD][:] = shape.head(1)


def count(tables: Tables, name: MapName) -> int:
    """Return how many entries the head counts for one of TABLES."""
    words = tables.memory[MapName.TABLE_HEAD].cast("Q")
    return words[HEAD_COUNTS_OFFSET // 8 + list(OF_RULES).index(name)]


class HostTables:
    """The C compiled for this machine, undefined behaviour trapping.

    Args:
        shape: of the tables.
        former: tables whose hits can be added.
    """

    def __init__(self, shape: Shape, former: HostTables | None = None) -> None:
        self._filter = HostFilter(TABLES, sanitize=True)
        own = (*OWN, MapName.TABLE_REQUESTS)
        self.memory = {
            name: self._filter.array(MAPS[name].ref, shape.entries(name)) for name in own
        }
        for name, source in _FORMER.items() if former else ():
            assert former is not None
            there = former.memory[source]
            made = self._filter.array(MAPS[name].ref, len(there) // MAPS[name].value_size)
            made[:] = there
        self._filter.set_entry(
            MAPS[MapName.NAME_INDEX].ref, _FIRST, index_value((), half=0, fresh=0)
        )
        program = cast("Program", self._filter)
        self.requests = Requests(program, self.memory[MapName.TABLE_REQUESTS], lambda _: 0)
        clear(self, shape)

    def judge(self, frame: bytes) -> int:
        return self._filter.run(frame).verdict


class KernelTables:
    """The loaded programs, attached nowhere.

    Args:
        bpf: the kernel.
        stack: closes what is made.
        shape: of the tables.
        former: tables whose hits can be added.
    """

    def __init__(
        self,
        bpf: Bpf,
        stack: contextlib.ExitStack,
        shape: Shape,
        former: KernelTables | None = None,
    ) -> None:
        self.maps = {
            name: stack.enter_context(bpf.create_map(spec, shape.entries(name)))
            for name, spec in MAPS.items()
            if name not in _FORMER
        }
        for name, source in _FORMER.items():
            self.maps[name] = (former or self).maps[source]
        self.memory = {name: self.maps[name].memory() for name in OWN}
        fds = {MAPS[name].ref: opened.fd for name, opened in self.maps.items()}
        table = compiled_once(TableProgram()).relocate(fds)
        self.program = stack.enter_context(
            bpf.load_program(table, "xdpctl_table", ProgramKind.TEST_RUN)
        )
        code = compiled_once(TABLES).relocate(fds)
        self.filter = stack.enter_context(bpf.load_program(code, "filter"))
        memory = self.maps[MapName.TABLE_REQUESTS].memory()
        self.requests = Requests(self.program, memory, lambda _: 0)
        clear(self, shape)

    def judge(self, frame: bytes) -> int:
        return self.filter.test_run(frame).return_value
