"""A generation of our own tables that is a dictionary: no program, no kernel."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from typing import TYPE_CHECKING

from xdpctl.abi import RuleAction
from xdpctl.errors import TableFullError
from xdpctl.store.tables.tables import TOGETHER, ClosedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from xdpctl.abi import MapName
    from xdpctl.store.store import Store


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
                self.entries[name, key] = hits, RuleAction(action)
        return created

    def remove(self, name: MapName, stored: Sequence[bytes]) -> int:
        with self._lock:
            self._use("remove")
            return sum(self.entries.pop((name, key), None) is not None for key in stored)

    def count(self, name: MapName) -> int:
        return sum(place[0] == name for place in self.entries)

    def room(self, name: MapName) -> int:
        (names,) = (names for names in TOGETHER if name in names)
        return self.size - sum(self.count(each) for each in names)

    @property
    def marked(self) -> bool:
        return self.dirty

    def mark(self, *, dirty: bool) -> None:
        self.dirty = dirty

    def lend(self) -> contextlib.AbstractContextManager[Sequence[int]]:
        raise NotImplementedError("a fake cannot go to another process")

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
