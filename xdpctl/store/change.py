"""A change of many rules, as one value: what is asked for, and how it goes on.

Owns what an API request, a list and an import may ask of a bulk operation. The same value goes
through every layer: http/ and feeds/ make it, service/ adds the guard, bulk.py works it in, and
store/worker/ sends it to a process of its own. What a later feature asks for is a field here; the
layers between need not know it. Does not own the rules. Made by http/ and feeds/.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from xdpctl.rules.guard import Guard
    from xdpctl.rules.keys import Row

    OnProgress: TypeAlias = Callable[[str, int, int], None]


def unheard(_what: str, _done: int, _total: int) -> None:
    """Take a report of progress that nobody asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of many rules.

    All but `progress` goes between processes, by pickle.

    Attributes:
        source: the rules in parts of rows, read once and on another thread. A
            `source.RuleSource` may also be read in another process.
        origin: whose rules they are.
        replace: the origin's rules become exactly these; else these are merged into them.
        strict: refuse the change where an entry is dnsdist's or guarded, and take over what
            other origins of ours have; else such rules are left out and counted.
        force: the guard is not asked.
        guard: the guard of the moment, which the service adds; None: none.
        progress: called with (what is done, how many, of how many), on the thread that
            works on the change.
    """

    source: Iterable[Iterable[Row]]
    origin: str
    replace: bool = False
    strict: bool = False
    force: bool = False
    guard: Guard | None = None
    progress: OnProgress = unheard

    def to_send(self) -> Change:
        """Return the change as another process can have it: it reports in its own way."""
        return replace(self, progress=unheard)
