"""Which rule it was that decided: the program gives the reason, this finds the rule.

The reason says which map, PACKETS.md in which order the entries of that map are asked for. Reads
only; everything blocks. Owns that order, on this side; a test compares it with the program. Called
by service/operations.py for `xdpctl test`.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from xdpctl import abi
from xdpctl.abi import WILDCARD_QTYPE, MapName, Reason, ZoneScope
from xdpctl.rules import keys_of, map_of
from xdpctl.store.inspection import entries_at, prefixes_of, zone_names, zones_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.rules import AnyQtype, Name, Question
    from xdpctl.store.entries import Entries, Entry, Place

_SEARCHES = (
    *(Reason.ADDR_V4, Reason.ADDR_V6, Reason.CIDR4, Reason.CIDR6, Reason.LIST_SOURCE),
    *(Reason.QNAME, Reason.ZONE, Reason.LIST_NAME),
)
"""The reasons that are a rule's, in the order in which the program asks for them."""

_OF_ANY_RULE = frozenset({Reason.UNANSWERABLE, Reason.REDIRECT, Reason.XSK_INELIGIBLE})
"""Reasons that may hide a rule's: it said Truncate and there was no answer, or it let pass."""

_PREFIXES = frozenset({Reason.CIDR4, Reason.CIDR6})
_ADDRESSES = {
    IPv4Address: (Reason.ADDR_V4, Reason.CIDR4),
    IPv6Address: (Reason.ADDR_V6, Reason.CIDR6),
}
"""The reasons of rules in the shared maps for a source of this family."""


def deciding_rule(
    listing: Entries,
    reason: Reason,
    address: IPv4Address | IPv6Address,
    question: Question,
    any_qtype: AnyQtype,
) -> Entry | None:
    """Return the rule that decided about a query; None if none did.

    Args:
        listing: the entries.
        reason: what the program counted the query as.
        address: the source of the query.
        question: the name and type that it asks for.
        any_qtype: which types mean every type.
    """
    reasons = _SEARCHES if reason in _OF_ANY_RULE else (reason,)
    for each in reasons:
        for group in _places(each, address, question, any_qtype):
            if found := entries_at(listing, group):
                return min(found, key=lambda entry: entry.action) if len(group) > 1 else found[0]
    return None


def _places(
    reason: Reason,
    address: IPv4Address | IPv6Address,
    question: Question,
    any_qtype: AnyQtype,
) -> Iterator[list[Place]]:
    """Yield where the rule of a reason may be, in the order in which it is looked for.

    Of the places of one group, the rule with the lowest action decides: `.z` and `*.z`.
    """
    if reason is Reason.LIST_SOURCE:
        for source in (address, *prefixes_of(address)):
            yield [(MapName.LIST_SOURCES, abi.encode_list_source(source))]
    elif reason in _ADDRESSES.get(type(address), ()):
        targets = prefixes_of(address) if reason in _PREFIXES else (address,)
        for target in targets:
            yield [(map_of(target), key) for key in keys_of(target, any_qtype)]
    elif reason is Reason.QNAME:
        for qtype in dict.fromkeys((question.qtype or 0, *any_qtype.wildcards)):
            yield [(MapName.QNAMES, abi.encode_qname(question.name.wire, qtype))]
    elif reason is Reason.ZONE:
        yield from _zones(MapName.ZONES, question)
    elif reason is Reason.LIST_NAME:
        for qtype in _types(question):
            yield [_scoped(MapName.LIST_NAMES, question.name, qtype, ZoneScope.SELF)]
        yield from _zones(MapName.LIST_NAMES, question)


def _zones(book: MapName, question: Question) -> Iterator[list[Place]]:
    for name in zone_names(question.name):
        for qtype in _types(question):
            scopes = zones_at(name, question.name)
            if group := [_scoped(book, name, qtype, scope) for scope in scopes]:
                yield group


def _types(question: Question) -> tuple[int, int]:
    return question.qtype or 0, WILDCARD_QTYPE


def _scoped(book: MapName, name: Name, qtype: int, scope: ZoneScope) -> Place:
    return book, abi.encode_scoped_name(name.wire, qtype, scope)
