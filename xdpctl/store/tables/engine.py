"""What one generation of our tables can do, as the rest of the store sees it.

A generation is a set of the kernel's maps with the program that works on them. It is made
and closed by generation.py, lent to a worker's process, and replaced by
a dictionary in tests. Keys are as the state file stores them. Everything blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from xdpctl.abi import MapName
    from xdpctl.kernel.bpf.maps import Map


class Engine(Protocol):
    """One generation. Each call is whole before the next one begins, from whatever thread."""

    def look_up(self, name: MapName, stored: Sequence[bytes]) -> list[int | None]:
        """Return for each key its hits << 8 | action, or None where there is no entry."""

    def put(self, name: MapName, stored: Sequence[bytes], actions: Sequence[int]) -> int:
        """Write entries in their order; return how many were made.

        An entry that is there keeps its counter, unless abi.ACTION_RENEW is set in its action.

        Raises:
            TableFullError: `done` keys were written, `created` of them made.
            KernelError: likewise.
        """

    def remove(self, name: MapName, stored: Sequence[bytes]) -> int:
        """Remove entries; return how many were there."""

    def count(self, name: MapName) -> int:
        """Return how many entries there are."""

    def room(self, name: MapName) -> int:
        """Return how many more entries are sure to find room; maps of one table share it."""

    @property
    def marked(self) -> bool:
        """Whether a change had begun and was not whole, when this was last written."""

    def mark(self, *, dirty: bool) -> None:
        """Write into the tables that a change has begun, or that it is whole."""

    def lend(self) -> AbstractContextManager[Sequence[int]]:
        """Return descriptors with which another process has the same generation, in a block.

        That process works through a program and requests of its own.
        """

    def close(self) -> None:
        """Close it; what is pinned, or read by a program, stays."""


class Contents(Protocol):
    """What is in the tables, whichever generation has it (tables.py)."""

    def look_up(self, name: MapName, stored: Sequence[bytes]) -> list[int | None]:
        """Return what `Engine.look_up` gives of the generation that is read."""

    def put(self, name: MapName, stored: Sequence[bytes], actions: Sequence[int]) -> int:
        """Write entries; return how many were made. Raises as `Engine.put`."""

    def remove(self, name: MapName, stored: Sequence[bytes]) -> int:
        """Remove entries; return how many were there."""

    def count(self, name: MapName) -> int:
        """Return how many entries there are."""

    def capacity(self, name: MapName) -> int:
        """Return for how many entries there is room now."""


class Generation(Engine, Protocol):
    """A generation as the service has it, which made it or took it over."""

    @property
    def maps(self) -> Mapping[MapName, Map]:
        """The kernel's maps that the filter reads (Scope.TABLES)."""

    def removed(self, name: MapName) -> int:
        """Return how many entries were removed since it was made; maps of one table share it.

        Each leaves bits in the filter, with which packets are looked up in vain.
        """

    def add_hits_of(self, former: Engine) -> None:
        """Add the counters of the generation before, which no program reads any more.

        Raises:
            KernelError: the kernel refuses; some are lost.
        """


class Generations(Protocol):
    """Makes generations. Everything but `prepare` blocks."""

    async def prepare(self) -> None:
        """Have the program that works on them.

        Raises:
            XdpctlError: it cannot be built.
        """

    def make(
        self, room: Mapping[MapName, int], book: int, former: Engine | None = None
    ) -> Generation:
        """Make a generation without entries, with room for so many of each map.

        Args:
            room: how many.
            book: the number that the state file has, too.
            former: the generation that it follows, whose counters it can add.

        Raises:
            XdpctlError: it cannot be made.
        """

    def adopt(self, maps: Mapping[MapName, Map], book: int) -> Generation | None:
        """Take maps of a former service over; None if they are of another layout or book.

        Args:
            maps: of Scope.TABLES, all of them; the generation owns them, and where there is
                none they are closed.
            book: as `make` has it.

        Raises:
            XdpctlError: they cannot be used.
        """
