"""One generation of our own tables in the kernel: its maps, its head, its table program.

Owns how a generation is made, taken over, lent to another process and closed. The sizes are
shape.py's, the requests to the program requests.py's; who pins the maps, and which program
reads them, is not known here. Everything blocks, except `KernelGenerations.prepare`.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, TypeVar

from xdpctl.abi import (
    HEAD_BIT_NUMBERS_OFFSET,
    HEAD_BOOK_ID_OFFSET,
    HEAD_COUNTS_OFFSET,
    HEAD_DIRTY_OFFSET,
    HEAD_LAYOUT_OFFSET,
    HEAD_NAME_BUCKETS_OFFSET,
    HEAD_REMOVED_OFFSET,
    HEAD_SECRETS_OFFSET,
    HEAD_SOURCE_BUCKETS_OFFSET,
    MAPS,
    TABLE_LAYOUT,
    TABLE_SLOTS,
    TABLES,
    MapName,
    Scope,
    names_of,
)
from xdpctl.errors import TableFullError, XdpctlError
from xdpctl.kernel.bpf.kind import ProgramKind
from xdpctl.kernel.bpf.maps import Map
from xdpctl.kernel.bpf.programs import Program
from xdpctl.store.tables.requests import Requests
from xdpctl.store.tables.shape import FULL, Shape
from xdpctl.store.tables.tables import TOGETHER, ClosedError

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence

    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.store.tables.engine import Engine

    _T = TypeVar("_T")

PROGRAM_NAME = "xdpctl_table"

_TABLE_OF = {
    name: MapName.SOURCE_TABLE if name is MapName.LIST_SOURCES else MapName.NAME_TABLE
    for name in TABLES
}
_NUMBERS = {name: HEAD_COUNTS_OFFSET // 8 + number for number, name in enumerate(TABLES)}
_KEY = bytes(4)
_SECRETS = slice(HEAD_SECRETS_OFFSET, HEAD_BIT_NUMBERS_OFFSET)


class _Head:
    """What the head tells, and the mark in it (`struct table_head`).

    Args:
        opened: the map table-head.
    """

    def __init__(self, opened: Map) -> None:
        self._words = opened.memory().cast("Q")

    def __getitem__(self, offset: int) -> int:
        """Return the word at an offset of the head."""
        return self._words[offset // 8]

    def count(self, name: MapName) -> int:
        """Return how many entries a map has."""
        return self._words[_NUMBERS[name]]

    def mark(self, *, dirty: bool) -> None:
        """Write the mark."""
        self._words[HEAD_DIRTY_OFFSET // 8] = int(dirty)

    def release(self) -> None:
        """Be a copy from now on: mapped memory holds a descriptor of the map."""
        self._words = memoryview(bytearray(self._words)).cast("Q")


class _Instance:
    """A table program with requests of its own, over the maps of a generation.

    Args:
        bpf: the kernel.
        bytecode: of the table program.
        maps: the generation's.
        former: the tables of the generation before, whose hits it can add.
        stack: closes what it has.
    """

    def __init__(
        self,
        bpf: Bpf,
        bytecode: Bytecode,
        maps: Mapping[MapName, Map],
        stack: contextlib.ExitStack,
        former: Mapping[MapName, Map] | None = None,
    ) -> None:
        before = former or maps  # what is never asked for may be anything
        self.requests_map = stack.enter_context(_made(bpf, MapName.TABLE_REQUESTS))
        used = {
            **maps,
            MapName.SCRATCH: stack.enter_context(_made(bpf, MapName.SCRATCH)),
            MapName.TABLE_REQUESTS: self.requests_map,
            MapName.FORMER_NAMES: before[MapName.NAME_TABLE],
            MapName.FORMER_SOURCES: before[MapName.SOURCE_TABLE],
        }
        instructions = bytecode.relocate({MAPS[name].ref: each.fd for name, each in used.items()})
        self.program = stack.enter_context(
            bpf.load_program(instructions, PROGRAM_NAME, ProgramKind.TEST_RUN)
        )
        self.requests = Requests(
            self.program, self.requests_map.memory(), lambda name: _slots(maps, name)
        )

    @property
    def descriptors(self) -> tuple[int, int]:
        """What another process needs to use it."""
        return self.requests_map.fd, self.program.fd


class KernelGeneration:
    """A generation (engine.Generation).

    Args:
        bpf: the kernel.
        bytecode: of the table program.
        maps: of Scope.TABLES, all of them; owned from now on, also where this fails.

    Raises:
        KernelError, VerifierError: the table program cannot be loaded, or its requests made.
    """

    def __init__(self, bpf: Bpf, bytecode: Bytecode, maps: Mapping[MapName, Map]) -> None:
        self._bpf = bpf
        self._bytecode = bytecode
        self._lock = threading.Lock()
        self._overflowed: set[MapName] = set()
        self.maps = dict(maps)
        with contextlib.ExitStack() as stack:
            for opened in maps.values():
                stack.enter_context(opened)
            self._head = _Head(self.maps[MapName.TABLE_HEAD])
            one = _Instance(bpf, bytecode, self.maps, stack)
            self._requests: Requests | None = one.requests
            self._resources = stack.pop_all()

    # --- entries ------------------------------------------------------------------

    def look_up(self, name: MapName, stored: Sequence[bytes]) -> list[int | None]:
        """Return for each key its hits << 8 | action, or None where there is no entry."""
        return self._do(lambda requests: requests.look_up(name, stored))

    def put(self, name: MapName, stored: Sequence[bytes], actions: Sequence[int]) -> int:
        """Write entries in their order; return how many were made. Raises as `Engine.put`."""
        try:
            return self._do(lambda requests: requests.put(name, stored, actions))
        except TableFullError:
            self._overflowed.add(_TABLE_OF[name])
            raise

    def remove(self, name: MapName, stored: Sequence[bytes]) -> int:
        """Remove entries; return how many were there."""
        return self._do(lambda requests: requests.remove(name, stored))

    def count(self, name: MapName) -> int:
        """Return how many entries there are."""
        return self._head.count(name)

    def room(self, name: MapName) -> int:
        """Return how many more entries are sure to find room; none if one did not."""
        if _TABLE_OF[name] in self._overflowed:
            return 0
        (names,) = (names for names in TOGETHER if name in names)
        return int(_slots(self.maps, name) * FULL) - sum(map(self.count, names))

    def removed(self, name: MapName) -> int:
        """Return how many entries were removed since it was made; see `Generation.removed`."""
        return self._head[HEAD_REMOVED_OFFSET + 8 * (name is MapName.LIST_SOURCES)]

    @property
    def marked(self) -> bool:
        """Whether a change had begun and was not whole, when this was last written."""
        return self._head[HEAD_DIRTY_OFFSET] != 0

    def mark(self, *, dirty: bool) -> None:
        """Write into the head that a change has begun, or that it is whole."""
        self._head.mark(dirty=dirty)

    def _do(self, work: Callable[[Requests], _T]) -> _T:
        with self._lock:
            if self._requests is None:
                raise ClosedError("these tables are closed")
            return work(self._requests)

    # --- the whole ----------------------------------------------------------------

    @contextlib.contextmanager
    def lend(self) -> Iterator[Sequence[int]]:
        """Give descriptors for another process, to be used with `borrow`, in a block.

        Raises:
            KernelError, VerifierError: another table program cannot be loaded.
        """
        with contextlib.ExitStack() as stack:
            one = _Instance(self._bpf, self._bytecode, self.maps, stack)
            yield (self.maps[MapName.TABLE_HEAD].fd, *one.descriptors)

    def add_hits_of(self, former: Engine) -> None:
        """Add the counters of the generation before; raises as `Generation.add_hits_of`."""
        if not isinstance(former, KernelGeneration):
            return
        with contextlib.ExitStack() as stack:
            one = _Instance(self._bpf, self._bytecode, self.maps, stack, former.maps)
            for name in (MapName.ZONES, MapName.LIST_SOURCES):
                one.requests.add_hits(name, _slots(former.maps, name))

    def close(self) -> None:
        """Close it; what is pinned, or read by a program, stays. May be called twice."""
        with self._lock:
            self._requests = None
            self._head.release()
            self._resources.close()

    @property
    def secrets(self) -> bytes:
        """The keys from which names become fingerprints."""
        return bytes(self.maps[MapName.TABLE_HEAD].memory()[_SECRETS])

    def is_of(self, book: int) -> bool:
        """Return whether it has our layout, this number, and the sizes that its maps have."""
        return (
            self._head[HEAD_LAYOUT_OFFSET] == TABLE_LAYOUT
            and self._head[HEAD_BOOK_ID_OFFSET] == book
            and self._head[HEAD_NAME_BUCKETS_OFFSET] + 1
            == self.maps[MapName.NAME_TABLE].info.max_entries
            and self._head[HEAD_SOURCE_BUCKETS_OFFSET] + 1
            == self.maps[MapName.SOURCE_TABLE].info.max_entries
        )


class KernelGenerations:
    """Makes generations (engine.Generations).

    Args:
        bpf: the kernel.
        compile_program: gives the bytecode of the table program.
    """

    def __init__(
        self, bpf: Bpf, compile_program: Callable[[], Coroutine[None, None, Bytecode]]
    ) -> None:
        self._bpf = bpf
        self._compile = compile_program
        self._bytecode: Bytecode | None = None

    async def prepare(self) -> None:
        """Compile the table program, if that was not done yet.

        Raises:
            CompilerError, KernelError: as the compiler.
        """
        if self._bytecode is None:
            self._bytecode = await self._compile()

    def make(
        self, room: Mapping[MapName, int], book: int, former: Engine | None = None
    ) -> KernelGeneration:
        """Make a generation without entries; see `Generations.make`.

        Raises:
            KernelError, VerifierError: the maps, or the program, cannot be had.
        """
        names, sources = (sum(room.get(name, 0) for name in each) for each in TOGETHER)
        shape = Shape.for_entries(names, sources)
        with contextlib.ExitStack() as stack:
            maps = {
                name: stack.enter_context(self._bpf.create_map(MAPS[name], shape.entries(name)))
                for name in names_of(Scope.TABLES)
            }
            head = bytearray(shape.head(book))
            if isinstance(former, KernelGeneration):  # a name has the same tag in both
                head[_SECRETS] = former.secrets
            maps[MapName.TABLE_HEAD].update(_KEY, bytes(head))
            stack.pop_all()
        return KernelGeneration(self._bpf, self._known(), maps)

    def adopt(self, maps: Mapping[MapName, Map], book: int) -> KernelGeneration | None:
        """Take maps of a former service over; see `Generations.adopt`.

        Raises:
            KernelError, VerifierError: as `make`.
        """
        generation = KernelGeneration(self._bpf, self._known(), maps)
        if generation.is_of(book):
            return generation
        generation.close()
        return None

    def _known(self) -> Bytecode:
        if self._bytecode is None:
            raise XdpctlError(
                "cannot make our own tables: the program that writes to them is not compiled yet;"
                " try again"
            )
        return self._bytecode


class BorrowedGeneration:
    """A generation that another process has lent (engine.Engine).

    Args:
        library: libbpf.
        descriptors: as `KernelGeneration.lend` gave them; owned from now on.
    """

    def __init__(self, library: ctypes.CDLL, descriptors: Sequence[int]) -> None:
        head, requests, program = descriptors
        with contextlib.ExitStack() as stack:
            self._head = _Head(stack.enter_context(Map(library, head, str(MapName.TABLE_HEAD))))
            held = stack.enter_context(Map(library, requests, str(MapName.TABLE_REQUESTS)))
            running = stack.enter_context(Program(library, program, PROGRAM_NAME))
            self._requests = Requests(running, held.memory(), self.count)
            self._resources = stack.pop_all()

    def look_up(self, name: MapName, stored: Sequence[bytes]) -> list[int | None]:
        """Return for each key its hits << 8 | action, or None where there is no entry."""
        return self._requests.look_up(name, stored)

    def put(self, name: MapName, stored: Sequence[bytes], actions: Sequence[int]) -> int:
        """Write entries in their order; return how many were made. Raises as `Engine.put`."""
        return self._requests.put(name, stored, actions)

    def remove(self, name: MapName, stored: Sequence[bytes]) -> int:
        """Remove entries; return how many were there."""
        return self._requests.remove(name, stored)

    def count(self, name: MapName) -> int:
        """Return how many entries there are."""
        return self._head.count(name)

    def room(self, _name: MapName) -> int:
        """Return 0: who lent it makes room."""
        return 0

    @property
    def marked(self) -> bool:
        """Whether a change has begun."""
        return self._head[HEAD_DIRTY_OFFSET] != 0

    def mark(self, *, dirty: bool) -> None:
        """Leave the mark to who lent it, which outlives this process."""

    def lend(self) -> contextlib.AbstractContextManager[Sequence[int]]:
        """Refuse: what is borrowed is not lent.

        Raises:
            XdpctlError: always.
        """
        raise XdpctlError("cannot lend tables that another process has lent; report this")

    def close(self) -> None:
        """Close the descriptors."""
        self._resources.close()


def _made(bpf: Bpf, name: MapName) -> Map:
    return bpf.create_map(MAPS[name], MAPS[name].entries)


def _slots(maps: Mapping[MapName, Map], name: MapName) -> int:
    """Return the number of slots in the table of a logical map."""
    return maps[_TABLE_OF[name]].info.max_entries * TABLE_SLOTS
