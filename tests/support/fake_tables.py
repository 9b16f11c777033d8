"""A generation of our own tables that is a dictionary: no program, no kernel."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from typing import TYPE_CHECKING

from xdpctl.abi import ACTION_RENEW, MAPS, MapName, RuleAction, Scope, names_of
from xdpctl.errors import TableFullError
from xdpctl.store.tables.tables import TOGETHER, ClosedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.support.fake_kernel import FakeBpf
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.store.store import Store


def together(name: MapName) -> tuple[MapName, ...]:
    """Return the logical maps that share a table with this one."""
    (names,) = (names for names in TOGETHER if name in names)
    return names


class FakeEngine:
    """A generation with room for so many entries in each of its two tables.

    Attributes:
        entries: hits and action of each (map, stored key).
        dirty: the mark.
        failure: raised by the next write, where it is not None.
        closed: whoever reads has the next generation.
    """

    def __init__(self, room: int = 64) -> None:
        self.size = room
        self.entries: dict[tuple[MapName, bytes], tuple[int, RuleAction]] = {}
        self.dirty = False
        self.failure: Exception | None = None
        self.closed = False
        self.runs: Counter[str] = Counter()
        self.gone: Counter[tuple[MapName, ...]] = Counter()
        self._lock = threading.Lock()

    def look_up(self, name: MapName, stored: Sequence[bytes]) -> list[int | None]:
        with self._lock:
            self._use("look_up")
            found = [self.entries.get((name, key)) for key in stored]
            return [None if value is None else value[0] << 8 | value[1] for value in found]

    def put(self, name: MapName, stored: Sequence[bytes], actions: Sequence[int]) -> int:
        created = 0
        with self._lock:
            self._use("put")
            for done, (key, action) in enumerate(zip(stored, actions, strict=True)):
                hits, _ = self.entries.get((name, key), (0, 0))
                if (name, key) not in self.entries:
                    if not self.room(name):
                        error = TableFullError(name, self.size)
                        error.done, error.created = done, created
                        raise error
                    created += 1
                renewed = action & ACTION_RENEW
                self.entries[name, key] = 0 if renewed else hits, RuleAction(action & 3)
        return created

    def remove(self, name: MapName, stored: Sequence[bytes]) -> int:
        with self._lock:
            self._use("remove")
            removed = sum(self.entries.pop((name, key), None) is not None for key in stored)
            self.gone[together(name)] += removed
            return removed

    def count(self, name: MapName) -> int:
        return sum(place[0] == name for place in self.entries)

    def room(self, name: MapName) -> int:
        return self.size - sum(self.count(each) for each in together(name))

    def removed(self, name: MapName) -> int:
        return self.gone[together(name)]

    @property
    def marked(self) -> bool:
        return self.dirty

    def mark(self, *, dirty: bool) -> None:
        self.dirty = dirty

    def lend(self) -> contextlib.AbstractContextManager[Sequence[int]]:
        raise NotImplementedError("a fake cannot go to another process")

    def close(self) -> None:
        self.closed = True

    def hit(self, name: MapName, key: bytes, hits: int) -> None:
        """Let packets have matched an entry so often."""
        self.entries[name, key] = hits, self.entries[name, key][1]

    def _use(self, what: str) -> None:
        self.runs[what] += 1
        if self.closed:
            raise ClosedError("closed")
        if what != "look_up" and self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure


class FakeGeneration(FakeEngine):
    """A generation whose maps are those of a fake kernel, and its entries with the first.

    Args:
        maps: as `FakeBpf` made or opened them.
        entries: what is in it, shared by all who have the same maps.
        book: its number.
        room: as of `FakeEngine`.
    """

    def __init__(
        self,
        maps: Mapping[MapName, Map],
        entries: dict[tuple[MapName, bytes], tuple[int, RuleAction]],
        book: int,
        room: int,
    ) -> None:
        super().__init__(room)
        self.maps = dict(maps)
        self.entries = entries
        self.book = book
        self.follows: object = None

    @property
    def head(self) -> int:
        """The id of its first map, which names it."""
        return self.maps[MapName.TABLE_HEAD].info.id

    def add_hits_of(self, former: object) -> None:
        assert isinstance(former, FakeEngine)
        assert former is self.follows  # else a name has another fingerprint
        for place, (hits, _) in former.entries.items():
            if place in self.entries:
                before, action = self.entries[place]
                self.entries[place] = before + hits, action

    def close(self) -> None:
        super().close()
        for opened in self.maps.values():
            opened.close()


class FakeGenerations:
    """Makes generations on a fake kernel, which keeps their entries as long as it lives.

    Attributes:
        made: all, in their order. `failure`: raised by the next step that can fail.
        least: how much room one has at least.
        prepared: how often the table program was asked for.
    """

    def __init__(self, bpf: FakeBpf) -> None:
        self._bpf = bpf
        self.made: list[FakeGeneration] = []
        self.failure: dict[str, Exception] = {}
        self.least = 8
        self.prepared = 0
        self.known: dict[int, tuple[dict[tuple[MapName, bytes], tuple[int, RuleAction]], int, int]]
        self.known = {}

    async def prepare(self) -> None:
        self.prepared += 1
        self._fail("prepare")

    def make(self, room: Mapping[MapName, int], book: int, former: object = None) -> FakeGeneration:
        assert self.prepared
        self._fail("make")
        maps = {name: self._bpf.create_map(MAPS[name], 1) for name in names_of(Scope.TABLES)}
        size = max(self.least, *(sum(room.get(n, 0) for n in names) for names in TOGETHER))
        made = FakeGeneration(maps, {}, book, size)
        made.follows = former
        made.failure = self.failure.pop("put", None)
        self.known[made.head] = made.entries, book, size
        self.made.append(made)
        return made

    def adopt(self, maps: Mapping[MapName, Map], book: int) -> FakeGeneration | None:
        assert self.prepared
        self._fail("adopt")
        entries, its_book, size = self.known[maps[MapName.TABLE_HEAD].info.id]
        if its_book != book:
            for opened in maps.values():
                opened.close()
            return None
        return FakeGeneration(maps, entries, book, size)

    def _fail(self, what: str) -> None:
        if what in self.failure:
            raise self.failure.pop(what)


class FakeGrowth:
    """Makes room for a store, as the service does, at once.

    Attributes:
        asked: what was asked for. `failure`: raised instead, where it is not None.
    """

    def __init__(self, room: int = 64) -> None:
        self.room = room
        self.asked: list[dict[MapName, int]] = []
        self.failure: Exception | None = None
        self.store: Store | None = None

    def __call__(self, more: Mapping[MapName, int]) -> None:
        """Make the first generation, or a larger one with what is in the present one."""
        assert self.store is not None
        self.asked.append(dict(more))
        if self.failure is not None:
            raise self.failure
        tables = self.store.tables
        if not tables.lacks(more):
            return
        before = tables.current
        room = self.room
        if isinstance(before, FakeEngine):
            room = max(2 * before.size, len(before.entries) + sum(more.values()))
        grown = FakeEngine(max(room, sum(more.values())))
        if isinstance(before, FakeEngine):
            grown.entries = dict(before.entries)
        tables.use(grown)


@contextlib.contextmanager
def crashing_after(engine: FakeEngine, writes: int, error: BaseException) -> Iterator[None]:
    """Let a generation take so many entries and then end the process."""
    put = engine.put

    def limited(name: MapName, stored: Sequence[bytes], actions: Sequence[int]) -> int:
        nonlocal writes
        if len(stored) > writes:
            put(name, stored[:writes], actions[:writes])
            raise error
        writes -= len(stored)
        return put(name, stored, actions)

    engine.put = limited  # type: ignore[method-assign]
    try:
        yield
    finally:
        engine.put = put  # type: ignore[method-assign]
