"""Rules that do less than they seem to, because a more exact rule decides first.

Owns which entries by address are more exact than a rule, and the sentences about them;
name_overlap.py does the same for names and zones. Rules of lists are not looked at: theirs is
the book that is asked last. Reads only. Called by store.py after rules were made.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from xdpctl.abi import Book, MapName, RuleAction
from xdpctl.rules import Question, Zone, book_of, map_of, target_of, target_text
from xdpctl.store import name_overlap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from xdpctl.abi import RuleValue
    from xdpctl.rules import AnyQtype, Rule
    from xdpctl.store.entries import Entries

    Source: TypeAlias = IPv4Address | IPv6Address | IPv4Network | IPv6Network

WARNINGS_MAX = 20
"""Sentences in the answer to one request; one more says that there are others."""

_LOOKED_AT = 10 * WARNINGS_MAX
"""Sentences of which the different ones are chosen."""

_MORE_EXACT = {
    MapName.CIDR4: (MapName.ADDR_V4, MapName.CIDR4),
    MapName.CIDR6: (MapName.ADDR_V6, MapName.CIDR6),
}


def warnings(entries: Entries, rules: Iterable[Rule], any_qtype: AnyQtype) -> Iterator[str]:
    """Yield the sentences about rules that were just made, each once. Blocks.

    Args:
        entries: what is in the maps.
        rules: that were just made.
        any_qtype: how a name without a type is written.
    """
    own = [rule for rule in rules if book_of(rule.origin) is Book.OPERATOR]
    found = iter(dict.fromkeys(islice(_all(entries, own, any_qtype), _LOOKED_AT)))
    yield from islice(found, WARNINGS_MAX)
    if next(found, None) is not None:
        yield "and there are more rules that another rule overrides"


def _all(entries: Entries, rules: Sequence[Rule], any_qtype: AnyQtype) -> Iterator[str]:
    for rule in rules:
        if rule.action is RuleAction.PASS:
            yield from _of_rule(entries, rule, any_qtype)
    yield from name_overlap.warnings(entries, rules, any_qtype)


def _of_rule(entries: Entries, rule: Rule, any_qtype: AnyQtype) -> Iterator[str]:
    wide = rule.target
    if isinstance(wide, Question | Zone):
        return
    for name in _MORE_EXACT.get(map_of(wide), ()):
        for key, value in dict(_drops(entries, name, wide)).items():
            other = target_of(name, key, any_qtype)
            if isinstance(other, Question | Zone) or other == wide or not _covers(wide, other):
                continue
            (entry,) = entries.with_notes(name, {key: value})
            yield (
                f"allowing {target_text(wide)} does not help {target_text(other)}:"
                f" that more exact rule (origin {entry.origin}) drops"
            )


def _drops(entries: Entries, name: MapName, wide: Source) -> Iterator[tuple[bytes, RuleValue]]:
    """Yield (key, value) of Drop entries that `wide` may cover; quick among a million."""
    for key, value in entries.pairs(name, _choice(name, wide)):
        if value.action is RuleAction.DROP:
            yield key, value


def _choice(name: MapName, wide: Source) -> Callable[[bytes], Iterable[int]] | None:
    """Return what chooses, of keys end to end, those that `wide` may cover; None: all."""
    if name is not MapName.ADDR_V4 or not isinstance(wide, IPv4Network):
        return None
    shift = wide.max_prefixlen - wide.prefixlen
    prefix = int(wide.network_address) >> shift
    return lambda keys: (
        number
        for number, address in enumerate(memoryview(keys).cast("I"))
        if address >> shift == prefix
    )


def _covers(wide: Source, exact: Source) -> bool:
    """Return whether `exact` decides packets that `wide` also matches."""
    prefix, other = _network(wide), _network(exact)
    return prefix.version == other.version and (
        int(other.network_address) >> (other.max_prefixlen - prefix.prefixlen)
        == int(prefix.network_address) >> (prefix.max_prefixlen - prefix.prefixlen)
        and other.prefixlen >= prefix.prefixlen
    )


def _network(source: Source) -> IPv4Network | IPv6Network:
    return source if isinstance(source, IPv4Network | IPv6Network) else ip_network(source)
