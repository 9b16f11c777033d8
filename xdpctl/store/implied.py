"""What the implied rules of a list do: that depends on the rules of the other lists.

A list's reader adds an implied rule (`IMPLIED`, rules.py) where a zone of the list is wider than
the list means. It ends the search within that list only, but all lists share one book, where a
longer name decides. So it has the action that the search would find without its list: that of
the next rule of another list, or Pass where there is none.

Owns that decision, and the second look at implied rules after a list has changed. The first look
is taken when a list is staged (difference.py). Does not own what is in force where several lists
claim one place (claims.py). Everything blocks; callers of `Implied` hold the store's lock.

A change of a list's rules is noted before it begins, as long as there are implied rules, and the
note is removed when they have been looked at, so that a crash in between is made good.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from xdpctl.abi import Book, MapName, RuleAction, ZoneScope
from xdpctl.rules import AnyQtype
from xdpctl.rules.keys import LIST_NAMES_REF, name_in, name_place, stored_key
from xdpctl.store.state import IS_IMPLIED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from xdpctl.store.claims import Claims, Make
    from xdpctl.store.entries import Place
    from xdpctl.store.state import Note, State

    Select: TypeAlias = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]
    """Runs a query on the state file and returns its rows."""

    Said: TypeAlias = tuple[str, int, bool]
    """Of one claim: origin, action, whether it is implied."""

CLAIMS_AT_ONCE = 1_000
"""Implied claims of one step: some 20 ms."""

KNOWN_MAX = 50_000
"""Places that are kept in memory while a list is staged."""

_KEYS_AT_ONCE = 400
_STALE = "implied-stale"


def _key(octets: bytes, scope: ZoneScope) -> bytes:
    return name_place(octets, scope, AnyQtype.BOTH, Book.LISTS)[1]


def _levels(stored: bytes) -> Iterator[tuple[bytes, ...]]:
    """Yield the places of every type that match what this place matches, the longest first.

    Within one tuple the strongest action counts. Where an implied rule is for a name and all
    below, a rule for what is below that name alone is not among them: it is not for the name.
    """
    octets, scope = name_in(LIST_NAMES_REF, stored)
    if scope is ZoneScope.SELF:
        yield (stored,)
    if scope is ZoneScope.BELOW:
        yield _key(octets, ZoneScope.ALL), stored
    else:
        yield (_key(octets, ZoneScope.ALL),)
    while octets:
        octets = octets[octets[0] + 1 :]
        yield _key(octets, ZoneScope.ALL), _key(octets, ZoneScope.BELOW)


class OtherLists:
    """The claims of all lists, as far as implied rules depend on them; each is read once.

    Args:
        select: reads the state file.
    """

    def __init__(self, select: Select) -> None:
        self._select = select
        self._known: dict[bytes, list[Said]] = {}

    def has_names(self, but: str) -> bool:
        """Return whether a list other than this origin has a rule for a name or zone."""
        return any(
            self._select(
                f"SELECT 1 FROM {table} WHERE map = ? AND origin != ? LIMIT 1",  # noqa: S608 (constants)
                (LIST_NAMES_REF, but),
            )
            for table in ("note", "waiting")
        )

    def read(self, places: Iterable[bytes]) -> None:
        """Read what concerns implied rules at these places (stored keys)."""
        if len(self._known) > KNOWN_MAX:
            self._known.clear()
        wanted = {key for stored in places for level in _levels(stored) for key in level}
        missing = list(wanted - self._known.keys())
        for start in range(0, len(missing), _KEYS_AT_ONCE):
            keys = missing[start : start + _KEYS_AT_ONCE]
            self._known.update((key, []) for key in keys)
            marks = ",".join("?" * len(keys))
            query = " UNION ALL ".join(
                f"SELECT key, origin, action, {IS_IMPLIED} FROM {table}"  # noqa: S608 (constants)
                f" WHERE map = ? AND key IN ({marks})"
                for table in ("note", "waiting")
            )
            values = (LIST_NAMES_REF, *keys)
            for key, origin, action, is_implied in self._select(query, values * 2):
                self._known[key].append((origin, action, bool(is_implied)))

    def action(self, stored: bytes, origin: str) -> RuleAction:
        """Return the action of this origin's implied rule at a place that was read.

        Where another list has an implied rule, the search within that list ends, too.
        """
        ended = {origin}
        for level in _levels(stored):
            said = [one for key in level for one in self._known[key] if one[0] not in ended]
            ended.update(whose for whose, _, is_implied in said if is_implied)
            actions = [action for whose, action, _ in said if whose not in ended]
            if actions:
                return RuleAction(min(actions))  # as claims.rank orders those of one class
        return RuleAction.PASS


class Implied:
    """The implied claims that there are, which are looked at again when a list has changed.

    Args:
        state: the notes, open for writing.
        claims: changes what is in force.
    """

    def __init__(self, state: State, claims: Claims) -> None:
        self._state = state
        self._claims = claims

    def exist(self) -> bool:
        """Return whether any list has an implied rule."""
        return self._state.has_implied()

    def list_changes(self) -> bool:
        """Note that the rules of a list are about to change, if there are implied rules.

        Returns False where that was noted before, by another change that is not done, or was
        cut short: then it is not for this one to remove the note.
        """
        if not self.exist() or self.is_stale():
            return False
        self._state.set_meta(_STALE, "yes")
        return True

    def is_stale(self) -> bool:
        """Return whether a list has changed since the implied rules were looked at."""
        return bool(self._state.get_meta(_STALE))

    def looked_at(self) -> None:
        """Note that all implied rules have been looked at."""
        self._state.set_meta(_STALE, "")

    def look_again(self, after: bytes, *, but: str = "") -> bytes | None:
        """Give some implied claims the action that they have by now.

        Args:
            after: where to begin, empty at first.
            but: an origin whose own are left out.

        Returns:
            Where to read on; None at the end.

        Raises:
            KernelError: a table refused.
        """
        found, following = self._state.implied(after, CLAIMS_AT_ONCE, but)
        there = [(stored_key(LIST_NAMES_REF, claim.key), claim) for claim in found]
        others = OtherLists(self._state.select)
        others.read(stored for stored, _ in there)
        wanted: dict[Place, dict[str, Make | None]] = {}
        for stored, claim in there:
            action = others.action(stored, claim.origin)
            if action is not claim.action:
                place = MapName.LIST_NAMES, claim.key
                wanted.setdefault(place, {})[claim.origin] = _maker(claim, action)
        if wanted:
            self._claims.settle(wanted)
        return following


def _maker(claim: Note, action: RuleAction) -> Make:
    return lambda former: replace(former or claim, action=action)
