"""All our own tables: which generation is read, and which are written.

There are none as long as there is no zone and no list's rule, one generation as a rule, and
two while the tables grow: what is written goes into both then, so that the programs on the
interfaces may be moved from one to the other one after another, and back. Reads are of the
first. Everything blocks; writers hold the store's lock, readers need none.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, cast

from xdpctl.abi import TABLES, MapName
from xdpctl.errors import KernelError, TableFullError, XdpctlError
from xdpctl.store.tables.table import RuleTable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from xdpctl.store.state import State
    from xdpctl.store.tables.engine import Engine, Generation

TOGETHER = ((MapName.ZONES, MapName.LIST_NAMES), (MapName.LIST_SOURCES,))
"""The logical maps that share a table, and so its room."""


class ClosedError(XdpctlError):
    """A generation that is no longer there. Stays in this package."""


class Tables:
    """Our own tables.

    Args:
        state: the notes, which have the keys.

    Attributes:
        maps: the logical maps by name; they are the same objects from one generation to the
            next.
        unsure: whether notes and entries may differ, since a change was cut short.
        nameless: whether there are entries without a note; they go with the generation.
    """

    def __init__(self, state: State) -> None:
        self._generations: tuple[Engine, ...] = ()
        self.maps = {name: RuleTable(name, self, state) for name in TABLES}
        self.unsure = False
        self.nameless = False

    # --- generations --------------------------------------------------------------

    @property
    def current(self) -> Engine | None:
        """The generation that is read, or None."""
        generations = self._generations
        return generations[0] if generations else None

    @property
    def next(self) -> Engine | None:
        """The generation that is being filled, or None."""
        generations = self._generations
        return generations[1] if generations[1:] else None

    @property
    def generation(self) -> Generation | None:
        """The generation that is read, in the service, which has its maps."""
        return cast("Generation | None", self.current)

    def use(self, *generations: Engine) -> None:
        """Read the first of these from now on, and write all; none: there are no tables."""
        self._generations = generations

    def engines(self) -> tuple[Engine, ...]:
        """Return the generations that are written."""
        return self._generations

    def close(self) -> None:
        """Close the generations; there are no tables any more."""
        engines, self._generations = self._generations, ()
        for engine in engines:
            engine.close()

    def lacks(self, more: Mapping[MapName, int]) -> bool:
        """Return whether so many more entries of each map may be too many for what is there."""
        wanted = [sum(more.get(name, 0) for name in names) for names in TOGETHER]
        if not any(wanted):
            return False
        current = self.current
        return current is None or any(
            count > current.room(names[0])
            for names, count in zip(TOGETHER, wanted, strict=True)
            if count
        )

    # --- entries ------------------------------------------------------------------

    def look_up(self, name: MapName, stored: Sequence[bytes]) -> list[int | None]:
        """Return hits << 8 | action of each of these keys, or None."""
        while (current := self.current) is not None:
            try:
                return current.look_up(name, stored)
            except ClosedError:
                if current is self.current:
                    raise
        return [None] * len(stored)

    def put(self, name: MapName, stored: Sequence[bytes], actions: Sequence[int]) -> int:
        """Write entries in their order; return how many were made.

        Raises:
            TableFullError, KernelError: `done` keys were written before, `created` of them
                made.
        """
        current = self.current
        if current is None:
            raise TableFullError(name, 0)
        try:
            created = current.put(name, stored, actions)
        except KernelError as error:
            done = error.done
            self._follow(lambda engine: engine.put(name, stored[:done], actions[:done]))
            raise
        self._follow(lambda engine: engine.put(name, stored, actions))
        return created

    def remove(self, name: MapName, stored: Sequence[bytes]) -> int:
        """Remove entries; return how many were there."""
        current = self.current
        if current is None:
            return 0
        removed = current.remove(name, stored)
        self._follow(lambda engine: engine.remove(name, stored))
        return removed

    def count(self, name: MapName) -> int:
        """Return how many entries there are."""
        current = self.current
        return 0 if current is None else current.count(name)

    def capacity(self, name: MapName) -> int:
        """Return for how many entries there is room now; more make the tables grow."""
        current = self.current
        return 0 if current is None else current.count(name) + current.room(name)

    def _follow(self, work: Callable[[Engine], object]) -> None:
        """Do to the next generation what was done to the present one, or give it up."""
        following = self.next
        if following is None:
            return
        try:
            work(following)
        except KernelError:  # whoever fills it learns that it is not the next any more
            self._generations = self._generations[:1]

    @contextlib.contextmanager
    def writing(self, names: Collection[MapName]) -> Iterator[None]:
        """Mark the tables while notes and entries may differ, if one of these maps is ours.

        A block that ends with an error leaves the mark: notes and entries are compared then,
        at once or at the next start.
        """
        if TABLES.keys().isdisjoint(names):
            yield
            return
        engines = self._generations
        for engine in engines:
            engine.mark(dirty=True)
        try:
            yield
        except BaseException:
            self.unsure = True
            raise
        if not self.unsure:
            for engine in engines:
                engine.mark(dirty=False)

    def compared(self, *, nameless: bool) -> None:
        """Take the mark off, unless there are entries without a note."""
        self.unsure, self.nameless = False, nameless
        for engine in self._generations:
            engine.mark(dirty=nameless)
