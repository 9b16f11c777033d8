"""Allow rules that do not help, because a more exact Drop decides first.

Owns which entries are more exact than a rule, and the sentences about them. Reads only. Called by
store.py after rules were made. Does not own rules or entries (entries.py).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from itertools import islice
from typing import TYPE_CHECKING

from xdpctl import abi
from xdpctl.abi import MapName, RuleAction
from xdpctl.errors import TargetError
from xdpctl.rules import Question, key_of, map_of, target_of, target_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from xdpctl.abi import RuleValue
    from xdpctl.rules import AnyQtype, Rule, Target
    from xdpctl.store.entries import Entries

WARNINGS_MAX = 20
"""Sentences in the answer to one request; one more says that there are others."""

_MORE_EXACT = {
    MapName.CIDR4: (MapName.ADDR_V4, MapName.CIDR4),
    MapName.CIDR6: (MapName.ADDR_V6, MapName.CIDR6),
    MapName.QNAMES: (MapName.QNAMES,),
}


def warnings(entries: Entries, rules: Iterable[Rule], any_qtype: AnyQtype) -> Iterator[str]:
    """Yield a sentence for each more exact Drop over one of these allow rules. Blocks.

    Args:
        entries: what is in the maps.
        rules: that were just made; those that do not pass are skipped.
        any_qtype: how a name without a type is written.
    """
    found = (
        sentence
        for rule in rules
        if rule.action is RuleAction.PASS
        for sentence in _of_rule(entries, rule, any_qtype)
    )
    yield from islice(found, WARNINGS_MAX)
    if next(found, None) is not None:
        yield "and there are more allow rules that a more exact rule overrides"


def _of_rule(entries: Entries, rule: Rule, any_qtype: AnyQtype) -> Iterator[str]:
    for name in _MORE_EXACT.get(map_of(rule.target), ()):
        for key, value in dict(_drops(entries, name, rule.target, any_qtype)).items():
            try:
                other = target_of(name, key, any_qtype)
            except TargetError:
                continue
            if other == rule.target or not _covers(rule.target, other):
                continue
            (entry,) = entries.with_notes(name, {key: value})
            yield (
                f"allowing {target_text(rule.target)} does not help {target_text(other)}:"
                f" that more exact rule (origin {entry.origin}) drops"
            )


def _drops(
    entries: Entries, name: MapName, wide: Target, any_qtype: AnyQtype
) -> Iterator[tuple[bytes, RuleValue]]:
    """Yield (key, value) of Drop entries that `wide` may cover; quick among a million."""
    for key, value in entries.pairs(name, _choice(name, wide, any_qtype)):
        if value.action is RuleAction.DROP:
            yield key, value


def _choice(
    name: MapName, wide: Target, any_qtype: AnyQtype
) -> Callable[[bytes], Iterable[int]] | None:
    """Return what chooses, of keys end to end, those that `wide` may cover; None: all."""
    if isinstance(wide, Question):
        start, size = key_of(wide, any_qtype)[: abi.NAME_MAX], abi.MAPS[name].key_size
        return lambda keys: (
            number for number in range(len(keys) // size) if keys.startswith(start, number * size)
        )
    if name is not MapName.ADDR_V4 or not isinstance(wide, IPv4Network):
        return None
    shift = wide.max_prefixlen - wide.prefixlen
    prefix = int(wide.network_address) >> shift
    return lambda keys: (
        number
        for number, address in enumerate(memoryview(keys).cast("I"))
        if address >> shift == prefix
    )


def _covers(wide: Target, exact: Target) -> bool:
    """Return whether `exact` decides packets that `wide` also matches."""
    if isinstance(wide, Question) or isinstance(exact, Question):
        return (
            isinstance(wide, Question)
            and isinstance(exact, Question)
            and wide.name == exact.name
            and wide.qtype is None
        )
    prefix, other = _network(wide), _network(exact)
    return prefix.version == other.version and (
        int(other.network_address) >> (other.max_prefixlen - prefix.prefixlen)
        == int(prefix.network_address) >> (prefix.max_prefixlen - prefix.prefixlen)
        and other.prefixlen >= prefix.prefixlen
    )


def _network(
    target: IPv4Address | IPv6Address | IPv4Network | IPv6Network,
) -> IPv4Network | IPv6Network:
    return target if isinstance(target, IPv4Network | IPv6Network) else ip_network(target)
