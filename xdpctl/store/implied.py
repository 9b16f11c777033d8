"""What the implied rules of a list do: that depends on the rules of the other lists.

A list's reader adds an implied rule (`IMPLIED`, rules.py) where a zone of the list is wider than
the list means. It ends the search within that list only, but all lists share one book, where a
longer name decides. So it has the action that the search would find without its list: that of
the next rule of another list, or Pass where there is none.

Owns that decision, and the second look at implied rules after a list has changed. The first look
is taken when a list is staged (difference.py). Does not own what is in force where several lists
claim one place (claims.py). Everything blocks; callers of `Implied` hold the store's lock.

Where another list has a rule for one query type that decides otherwise, an implied rule of that
type is added beside the one for every type; it comes and goes with that rule.

A change of a list's rules is noted before it begins, as long as there are implied rules, and the
note is removed when they have been looked at, so that a crash in between is made good.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

from xdpctl.abi import NAME_MAX, Book, MapName, RuleAction, ZoneScope
from xdpctl.rules import AnyQtype
from xdpctl.rules.keys import LIST_NAMES_REF, full_key, name_in, name_place, stored_key
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
_TYPE = slice(1, 3)
"""Where a stored key has its type."""

_EVERY_TYPE = name_place(b"", ZoneScope.ALL, AnyQtype.BOTH, Book.LISTS)[1][_TYPE]
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
        self._found_types: tuple[bytes, ...] | None = None

    def has_names(self, but: str) -> bool:
        """Return whether a list other than this origin has a rule for a name or zone."""
        return any(
            self._select(
                f"SELECT 1 FROM {table} WHERE map = ? AND origin != ? LIMIT 1",  # noqa: S608 (constants)
                (LIST_NAMES_REF, but),
            )
            for table in ("note", "waiting")
        )

    @property
    def _types(self) -> tuple[bytes, ...]:
        """The types of lists' rules that are not for every type, as keys have them."""
        if self._found_types is None:
            found = set[bytes]()
            for table, scope in product(("note", "waiting"), ZoneScope):
                after = bytes((scope,))
                while rows := self._select(
                    f"SELECT key FROM {table} WHERE map = ? AND key > ? ORDER BY key LIMIT 1",  # noqa: S608 (constants)
                    (LIST_NAMES_REF, after),
                ):
                    key = rows[0][0]
                    if key[0] != scope:
                        break
                    found.add(key[_TYPE])
                    after = key[: _TYPE.stop] + b"\xff" * NAME_MAX
            self._found_types = tuple(sorted(found - {_EVERY_TYPE}))
        return self._found_types

    def read(self, places: Iterable[bytes]) -> None:
        """Read what concerns implied rules at these places (stored keys)."""
        if len(self._known) > KNOWN_MAX:
            self._known.clear()
        wanted = {key for stored in places for level in _levels(stored) for key in level}
        wanted |= {_of_type(key, qtype) for qtype in self._types for key in wanted}
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

    def action(self, stored: bytes, origin: str, qtype: bytes = b"") -> RuleAction:
        """Return the action of this origin's implied rule at a place that was read.

        Where another list has an implied rule, the search within that list ends, too.

        Args:
            stored: key of the rule for every type.
            origin: whose rule it is.
            qtype: of the queries, as a key has it; empty: one that no rule names.
        """
        ended = {origin}
        for level in _levels(stored):
            for keys in ([_of_type(key, qtype) for key in level] if qtype else (), level):
                said = [one for key in keys for one in self._known[key] if one[0] not in ended]
                ended.update(whose for whose, _, is_implied in said if is_implied)
                actions = [action for whose, action, _ in said if whose not in ended]
                if actions:
                    return RuleAction(min(actions))  # as claims.rank orders those of one class
        return RuleAction.PASS

    def of_types(self, stored: bytes, origin: str) -> dict[bytes, RuleAction]:
        """Return the implied rules that a place needs for single types: actions by stored key."""
        if not self._types:
            return {}
        of_every_type = self.action(stored, origin)
        found = {}
        for qtype in self._types:
            key = _of_type(stored, qtype)
            if any(whose != origin and not is_implied for whose, _, is_implied in self._known[key]):
                continue  # it decides there itself
            action = self.action(stored, origin, qtype)
            if action is not of_every_type:
                found[key] = action
        return found

    def own(self, stored: bytes, origin: str) -> dict[bytes, int]:
        """Return the actions of the implied rules that an origin has at a place, by stored key."""
        keys = (stored, *(_of_type(stored, qtype) for qtype in self._types))
        return {
            key: action
            for key in keys
            for whose, action, is_implied in self._known[key]
            if is_implied and whose == origin
        }


def is_of_every_type(stored: bytes) -> bool:
    """Return whether a stored key of a name is that of a rule for every type."""
    return stored[_TYPE] == _EVERY_TYPE


def _of_type(stored: bytes, qtype: bytes) -> bytes:
    return stored[: _TYPE.start] + qtype + stored[_TYPE.stop :]


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
        there = [
            (_of_type(stored, _EVERY_TYPE), stored, claim)
            for claim in found
            for stored in (stored_key(LIST_NAMES_REF, claim.key),)
        ]
        others = OtherLists(self._state.select)
        others.read(place for place, _, _ in there)
        wanted: dict[Place, dict[str, Make | None]] = {}
        for place, stored, claim in there:
            has = others.own(place, claim.origin)
            needs: dict[bytes, RuleAction] = {}
            if place in has:  # else the rule for every type has ended
                needs = others.of_types(place, claim.origin)
                needs[place] = others.action(place, claim.origin)
            # the rule for every type brings those of one type; these end with it
            keys = needs.keys() | has.keys() if stored == place else {stored} - needs.keys()
            for key in keys:
                action = needs.get(key)
                if action is None or action != has.get(key):
                    make = None if action is None else _maker(claim, key, action)
                    at = MapName.LIST_NAMES, full_key(LIST_NAMES_REF, key)
                    wanted.setdefault(at, {})[claim.origin] = make
        if wanted:
            self._claims.settle(wanted)
        return following


def _maker(claim: Note, stored: bytes, action: RuleAction) -> Make:
    key = full_key(LIST_NAMES_REF, stored)
    return lambda former: replace(former or claim, key=key, action=action)
