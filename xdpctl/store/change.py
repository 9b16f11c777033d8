"""A change of many rules, as one value.

Owns what an API request, a list and an import can ask of a bulk operation. The same value goes
through every layer: http/ and feeds/ make it, service/ adds the guard, bulk.py applies it, and
store/worker/ sends it to another process. A new feature adds a field here; the layers between
need not know it. Does not own the rules.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from xdpctl.rules.reach import NO_REACH, Reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from xdpctl.rules.guard import Guard
    from xdpctl.rules.keys import Rows

    OnProgress: TypeAlias = Callable[[str, int, int], None]


def unheard(_what: str, _done: int, _total: int) -> None:
    """Ignore a report of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of many rules.

    All fields but `progress` can be pickled and sent to another process.

    Attributes:
        source: the rules in parts of rows, read once and on another thread. A
            `source.RuleSource` may also be read in another process.
        origin: whose rules they are.
        replace: the origin's rules become exactly these; else these are merged into them.
        strict: refuse the change if an entry is dnsdist's or guarded, and take over rules of
            our other origins; else such rules are left out and counted.
        force: the guard is not applied.
        may_be_empty: whether a list without a rule is applied.
        max_shrink: share of the origin's rules that the list may lack; None: any.
        covered: how much the origin's prefixes cover now, if that is known.
        cover_max: how much they may cover then, if it is more than now; None: any.
        guard: the present guard, which the service adds; None: none.
        progress: called with (step, done, total), on the thread that applies the change.
    """

    source: Iterable[Iterable[Rows]]
    origin: str
    replace: bool = False
    strict: bool = False
    force: bool = False
    may_be_empty: bool = True
    max_shrink: float | None = None
    covered: Reach = NO_REACH
    cover_max: Reach | None = None
    guard: Guard | None = None
    progress: OnProgress = unheard

    def to_send(self) -> Change:
        """Return the change without `progress`, so that it can be sent to another process."""
        return replace(self, progress=unheard)
