"""Which names of a response policy zone hide what is below them from its wildcards.

In the DNS a wildcard answers only where nothing of the zone is closer (RFC 4592, 3.3.1): with
`*.evil` and `good.evil`, nothing of the zone matches `a.good.evil`. Zone rules know no such
thing, for the longest zone decides. So a name of the zone inside a wildcard gets the rule
`*.name`, Pass, unless the zone has that wildcard itself. An empty non-terminal, and a name
whose record no rule can express, exist too: the wildcard does not match them. A rule `*.name` has
`TABLE_LEVELS` labels at most, so deeper names are kept only right below a wildcard.

Owns only this: names are octets as stored keys have them, without the root byte. The wildcards
have to be known before the first name comes; only names inside one of them are kept. Called by
rpz.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.abi import TABLE_LEVELS, ZoneScope
from xdpctl.errors import ListError

if TYPE_CHECKING:
    from collections.abc import Iterator


INSIDE_MAX = 5_000_000
"""Names that are kept: some hundred octets each. Nearly each of them needs a rule."""


class HiddenNames:
    """The names of one zone that are inside its wildcards."""

    def __init__(self) -> None:
        self._wildcards: dict[bytes, bool] = {}
        self._inside: dict[bytes, bool] = {}

    def add_wildcard(self, octets: bytes, *, stops: bool) -> None:
        """Take the name below which a wildcard rule matches; `stops`: it does not let pass."""
        self._wildcards[octets] = stops

    def __bool__(self) -> bool:
        """Whether there is a wildcard, so that names matter."""
        return bool(self._wildcards)

    def has_above(self, octets: bytes) -> bool:
        """Return whether a name right below this one is inside a wildcard."""
        while self._wildcards:
            if octets in self._wildcards:
                return True
            if not octets:
                return False
            octets = octets[octets[0] + 1 :]
        return False

    def see(self, octets: bytes, *, has_rule: bool) -> None:
        """Take a name of the zone; `has_rule`: it has become an exact rule.

        Raises:
            ListError: too many names are inside wildcards.
        """
        wildcards, above = self._wildcards, octets
        while above:
            above = above[above[0] + 1 :]
            if above in wildcards:
                self._add(octets, has_rule=has_rule)
                return

    def _add(self, octets: bytes, *, has_rule: bool) -> None:
        """Keep a name, and those between it and the highest wildcard above it that stops."""
        chain = [octets]
        inside = 0
        while above := chain[-1]:
            chain.append(above[above[0] + 1 :])
            if self._wildcards.get(chain[-1]):
                inside = len(chain) - 1
        depth = len(chain) - 1
        for at, name in enumerate(chain[:inside]):
            if depth - at <= TABLE_LEVELS or self._wildcards.get(chain[at + 1]):
                self._inside.setdefault(name, False)
        if has_rule and octets in self._inside:
            self._inside[octets] = True
        if len(self._inside) > INSIDE_MAX:
            raise ListError(
                f"more than {INSIDE_MAX:,} of its names are inside its wildcards, and each would"
                " need a rule of its own: remove the wildcards above them, or split the zone"
            )

    def passes(self) -> Iterator[tuple[bytes, ZoneScope]]:
        """Yield the names, each with the scope of the Pass rule that it needs."""
        for name, has_rule in self._inside.items():
            if name not in self._wildcards:
                yield name, ZoneScope.BELOW
            if not has_rule and self._wildcards.get(name[name[0] + 1 :]):
                yield name, ZoneScope.SELF
