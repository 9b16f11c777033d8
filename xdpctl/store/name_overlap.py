"""Rules by name and zone that do less than they seem to, because of another rule.

Owns two kinds of sentences about rules that were just made: an allow rule that a more exact
Drop overrides, and a rule for a bare name while a zone rule decides otherwise about the names
below it. The second kind is also found from the other side, when the zone rule comes later.
Only the operator's book is searched for more exact rules, because it is asked before that of
the lists. Reads only; everything blocks. Called by overlap.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl import abi
from xdpctl.abi import TABLE_LEVELS, WILDCARD_QTYPE, Book, MapName, RuleAction, ZoneScope
from xdpctl.errors import TargetError
from xdpctl.rules import Name, Question, Zone, key_of, map_of, target_of, target_text
from xdpctl.rules.targets import ROOT
from xdpctl.store.entries import pairs_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from xdpctl.abi import RuleValue
    from xdpctl.rules import AnyQtype, Rule, Target
    from xdpctl.store.entries import Entries, Place, Slot

_SEARCHED = (MapName.QNAMES, MapName.ZONES)
_ZONES = {Book.OPERATOR: MapName.ZONES, Book.LISTS: MapName.LIST_NAMES}
"""Where each book has its zones, in the order in which the books are asked."""

_FEW = 16
"""Names up to which a part of a map is first searched for their octets, which is quick."""

_STRONGEST = (RuleAction.PASS, RuleAction.DROP, RuleAction.TRUNCATE)
"""Which of two zone rules of one name decides."""


def warnings(entries: Entries, rules: Sequence[Rule], any_qtype: AnyQtype) -> Iterator[str]:
    """Yield the sentences about these rules of the operator's book.

    Args:
        entries: what is in the maps.
        rules: that were just made; those for addresses are skipped.
        any_qtype: how a name without a type is written.
    """
    made = {rule.target for rule in rules}
    bare = {rule.target: rule.action for rule in rules if isinstance(rule.target, Question)}
    allowed: dict[Question, RuleAction] = {}
    for rule, name, key, value in _at_or_below(entries, rules):
        try:
            other = target_of(name, key, any_qtype)
        except TargetError:
            continue
        if rule.action is not RuleAction.PASS:
            if isinstance(other, Question) and value.action is RuleAction.PASS:
                allowed[other] = value.action
        elif value.action is RuleAction.DROP and _overrides(other, rule.target):
            (entry,) = entries.with_notes(name, {key: value})
            yield (
                f"allowing {target_text(rule.target)} does not help {target_text(other)}:"
                f" that more exact rule (origin {entry.origin}) drops"
            )
    yield from _of_names_below(entries, bare, any_qtype)
    yield from _of_names_below(entries, allowed, any_qtype, only=made)


def _at_or_below(
    entries: Entries, rules: Iterable[Rule]
) -> Iterator[tuple[Rule, MapName, bytes, RuleValue]]:
    """Yield (rule, map, key, value) of each entry whose name is a rule's, or below it.

    Rules for which no such entry matters are skipped: those that stop one name.
    """
    wanted: dict[bytes, list[Rule]] = {}
    for rule in rules:
        stops = rule.action is not RuleAction.PASS
        if isinstance(rule.target, Zone) or (isinstance(rule.target, Question) and not stops):
            wanted.setdefault(rule.target.name.wire, []).append(rule)
    for name in _SEARCHED:
        if not wanted or name not in entries.maps:
            continue
        for keys, values in entries.maps[name].chunks():
            if len(wanted) > _FEW or any(wire in keys for wire in wanted):
                for key, value in pairs_in(entries.maps[name], keys, values):
                    for rule in _rules_above(key, wanted):
                        yield rule, name, key, value


def _rules_above(key: bytes, wanted: Mapping[bytes, list[Rule]]) -> Iterator[Rule]:
    """Yield the rules whose name is that of a key, or above it."""
    try:
        rest = key[: abi.qname_size(key)]
    except ValueError:
        return
    while rest:
        yield from wanted.get(rest, ())
        rest = rest[rest[0] + 1 :]


def _overrides(exact: Target, wide: Target) -> bool:
    """Return whether `exact` decides queries that the rule for `wide` also matches."""
    if not isinstance(wide, Question | Zone) or not isinstance(exact, Question | Zone):
        return False
    if wide.qtype is not None and exact.qtype not in {None, wide.qtype}:
        return False
    if exact.name == wide.name and type(exact) is type(wide):
        return wide.qtype is None and exact.qtype is not None  # its own type is asked first
    if isinstance(wide, Question):
        return False
    if isinstance(exact, Question):
        return wide.covers(exact.name)
    return exact.name.is_within(wide.name)


def _of_names_below(
    entries: Entries,
    bare: Mapping[Question, RuleAction],
    any_qtype: AnyQtype,
    only: Collection[Target] | None = None,
) -> Iterator[str]:
    """Yield a sentence for each name while a zone rule decides otherwise about those below it.

    Args:
        entries: what is in the maps.
        bare: names with exact rules, and the actions of these.
        any_qtype: how a name without a type is written.
        only: the zones that sentences are wanted about; None: all.
    """
    above = {question: list(_zones_above(question)) for question in bare}
    books = [book for book, name in _ZONES.items() if name in entries.maps]
    slots = entries.slots(
        _place(zone, any_qtype, book)
        for levels in above.values()
        for zones in levels
        for zone in zones
        for book in books
    )
    for question, action in bare.items():
        levels = ((zones, book) for book in books for zones in above[question])
        found = (_deciding(zones, slots, any_qtype, book) for zones, book in levels)
        decides = next((pair for pair in found if pair is not None), None)
        if decides is not None and (only is None or decides[0] in only):
            yield from _sentence(question, action, *decides)


def _zones_above(question: Question) -> Iterator[list[Zone]]:
    """Yield the zones that cover the names below one, the deepest first.

    Those of one name and type come together. Type 65535 is every type in our own tables.
    """
    types = dict.fromkeys((None if question.qtype == WILDCARD_QTYPE else question.qtype, None))
    labels = question.name.labels
    if len(labels) > TABLE_LEVELS:
        return
    for start in range(len(labels) + 1):
        name = Name(b"".join(bytes((len(each),)) + each for each in labels[start:]) + b"\0")
        for qtype in types:
            scopes = (ZoneScope.BELOW,) if name == ROOT else (ZoneScope.ALL, ZoneScope.BELOW)
            yield [Zone(name, qtype, scope) for scope in scopes]


def _place(zone: Zone, any_qtype: AnyQtype, book: Book) -> Place:
    return map_of(zone, book), key_of(zone, any_qtype, book)


def _deciding(
    zones: list[Zone], slots: Mapping[Place, Slot], any_qtype: AnyQtype, book: Book
) -> tuple[Zone, Slot] | None:
    """Return which of the rules of these zones decides, None if there is no rule."""
    there = [
        (zone, slot)
        for zone in zones
        if (slot := slots.get(_place(zone, any_qtype, book))) is not None and slot.value is not None
    ]
    return min(
        there,
        key=lambda pair: _STRONGEST.index(pair[1].value.action) if pair[1].value else 0,
        default=None,
    )


def _sentence(question: Question, action: RuleAction, zone: Zone, slot: Slot) -> Iterator[str]:
    passes = slot.value is not None and slot.value.action is RuleAction.PASS
    if (action is RuleAction.PASS) == passes:
        return
    text = target_text(question)
    below = "*." if question.name == ROOT else f".{text}"
    origin = "unknown" if slot.note is None else slot.note.origin
    above = f"{target_text(zone)} (origin {origin})"
    if passes:
        yield f"names below {text} stay allowed by {above}: block {below} to drop them"
    else:
        yield f"names below {text} stay blocked by {above}: allow {below} to let them pass"
