"""The rules that concern one target: exactly its own, and those that contain it.

For `list TARGET`, for `test` (deciding.py), and for the account of what a removal removed. Reads
only; everything blocks. Owns which places can hold such a rule. Called by service/operations.py.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING

from xdpctl.abi import NAME_MAX, TABLE_LEVELS, Book, MapName, ZoneScope
from xdpctl.rules import Name, Question, Zone
from xdpctl.rules.keys import REFS
from xdpctl.rules.targets import ROOT
from xdpctl.store.entries import places_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xdpctl.rules import AnyQtype, Target
    from xdpctl.store.entries import Entries, Entry, Place
    from xdpctl.store.state import State

USUAL_TYPES = (*range(1, 300), 32768, 32769)
"""Query types that a name's rules are looked for under, where no type is asked for: every type
that has a mnemonic, and every type that any rule of ours has."""

_TYPED = {MapName.QNAMES: slice(0, 2), MapName.ZONES: slice(1, 3), MapName.LIST_NAMES: slice(1, 3)}
"""The maps with names, and where a stored key has its type."""


def entries_at(listing: Entries, places: Iterable[Place]) -> list[Entry]:
    """Return the entries at these places, in their order, each with our note if it is ours."""
    wanted = list(dict.fromkeys(places))
    values = listing.values(wanted)
    found: dict[Place, Entry] = {}
    for name in dict.fromkeys(name for name, _ in wanted):
        there = {
            key: value
            for (where, key), value in values.items()
            if where == name and value is not None
        }
        found |= {(name, entry.key): entry for entry in listing.with_notes(name, there)}
    return [found[place] for place in wanted if place in found]


def places_on(target: Target, any_qtype: AnyQtype) -> list[Place]:
    """Return where exactly this target, with its type, can have a rule, in either book."""
    return [place for book in Book for place in places_at(target, any_qtype, book)]


def rules_on(
    listing: Entries, target: Target, any_qtype: AnyQtype, *, contains: bool
) -> list[Entry]:
    """Return the rules for a target; of a name without a type, those of each type too.

    Args:
        listing: the entries.
        target: what the rules are for.
        any_qtype: how a name without a type is written.
        contains: also those of prefixes, names and zones that contain it, the most exact first.
    """
    places: list[Place] = []
    has_types = isinstance(target, Question | Zone) and target.qtype is None
    types = dict.fromkeys((*USUAL_TYPES, *_noted_types(listing.state))) if has_types else {}
    for each in (target, *(containing(target) if contains else ())):
        for typed in _with_types(each, types) if target == each else (each,):
            places += places_on(typed, any_qtype)
    return entries_at(listing, places)


def containing(target: Target) -> Iterator[Target]:
    """Yield every prefix, name or zone that contains a target, the most exact first.

    What has a type is also contained in the same without one.
    """
    if isinstance(target, IPv4Address | IPv6Address):
        yield from prefixes_of(target)
    elif isinstance(target, IPv4Network | IPv6Network):
        for length in range(target.prefixlen - 1, -1, -1):
            yield target.supernet(new_prefix=length)
    else:
        yield from (each for each in _around(target) if each != target)


def prefixes_of(address: IPv4Address | IPv6Address) -> Iterator[IPv4Network | IPv6Network]:
    """Yield every prefix that contains an address, the longest first."""
    for length in range(address.max_prefixlen, -1, -1):
        yield ip_network((address, length), strict=False)


def zone_names(name: Name) -> Iterator[Name]:
    """Yield a name and every name above it that can be a zone's, the longest first, root last."""
    wire = name.wire
    while wire != ROOT.wire:
        suffix = Name(wire)
        if len(suffix.labels) <= TABLE_LEVELS:
            yield suffix
        wire = wire[wire[0] + 1 :]
    yield ROOT


def zones_at(zone: Name, name: Name) -> Iterator[ZoneScope]:
    """Yield the scopes of those zones with this name that cover `name`."""
    if zone != ROOT:
        yield ZoneScope.ALL
    if zone != name:
        yield ZoneScope.BELOW


def _around(target: Question | Zone) -> Iterator[Question | Zone]:
    types = dict.fromkeys((target.qtype, None))
    if isinstance(target, Question):
        yield from (Question(target.name, qtype) for qtype in types)
    for name in zone_names(target.name):
        scopes = [*zones_at(name, target.name)]
        if target == Zone(name, target.qtype, ZoneScope.BELOW):
            scopes.append(ZoneScope.BELOW)
        for scope in scopes:
            yield from (Zone(name, qtype, scope) for qtype in types)


def _with_types(target: Target, types: Iterable[int]) -> Iterator[Target]:
    """Yield a target, and the same with each of these types."""
    yield target
    if isinstance(target, Question | Zone):
        yield from (replace(target, qtype=qtype) for qtype in types)


def _noted_types(state: State) -> Iterator[int]:
    """Yield the types of rules of ours; each costs one step in the order of the notes."""
    for name, at in _TYPED.items():
        after = b""
        while rows := state.select(
            "SELECT key FROM note WHERE map = ? AND key > ? ORDER BY key LIMIT 1",
            (REFS[name], after),
        ):
            key = rows[0][0]
            yield int.from_bytes(key[at], sys.byteorder)
            after = key[: at.stop] + b"\xff" * NAME_MAX
