"""The guard: refuses rules that are probably mistakes, unless `--force` is used.

Guarded are a Drop on an address of this host, on an address or name in `protect` (health
checkers, secondaries, load balancers), on a very short prefix, on the root or a whole top-level
domain; and a Pass on a very short prefix or on everything below the root, which lets half the
Internet in and disables every rule behind it. Pure: its callers (store/) give it the local
addresses.
"""

from __future__ import annotations

import sys
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING, TypeAlias

from xdpctl.abi import BY_REF, TABLE_EXACT, Book, MapName, RuleAction
from xdpctl.errors import GuardError
from xdpctl.rules.keys import (
    LIST_SOURCES_REF,
    NAMED,
    QNAMES_REF,
    REFS,
    Block,
    full_key,
    stored_place,
    target_of,
)
from xdpctl.rules.targets import ROOT, AnyQtype, Question, Zone, target_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from xdpctl.rules.keys import Row, Rows
    from xdpctl.rules.names import Name
    from xdpctl.rules.rules import Rule
    from xdpctl.rules.targets import Target

    Network: TypeAlias = IPv4Network | IPv6Network
    Named: TypeAlias = Question | Zone
    Protected: TypeAlias = Network | Named

SHORTEST = {4: 8, 6: 16}
"""Prefix lengths by IP version; shorter prefixes are guarded."""

_PROTECTED = "which the setting protect lists"
_DROP, _TRUNCATE = int(RuleAction.DROP), int(RuleAction.TRUNCATE)
_VERSIONS = {REFS[MapName.CIDR4]: 4, REFS[MapName.CIDR6]: 6}
_EXACT = frozenset({REFS[MapName.ADDR_V4], REFS[MapName.ADDR_V6]})


class Guard:
    """The guard, for what is protected at one moment.

    Args:
        protect: what the setting `protect` lists.
        local: addresses of this host.
    """

    def __init__(
        self, protect: Iterable[Protected], local: Iterable[IPv4Address | IPv6Address]
    ) -> None:
        given = tuple(protect)
        networks = [each for each in given if not isinstance(each, Question | Zone)]
        self._whose = {ip_network(address): "an address of this host" for address in local}
        self._whose |= dict.fromkeys(networks, _PROTECTED)
        self._wide = any(network.num_addresses > 1 for network in self._whose)
        self._named = [each for each in given if isinstance(each, Question | Zone)]
        self._endings = tuple(_octets(each.name) for each in self._named if isinstance(each, Zone))

    # Keys in long lists are looked up in these; a rule made by hand does not pay for them.

    @cached_property
    def _exact(self) -> set[bytes]:
        return {key for network in self._whose for key in _keys(network)}

    @cached_property
    def _covering(self) -> set[bytes]:
        return {key for network in self._whose for key in _keys_above(network)}

    @cached_property
    def _above(self) -> set[bytes]:
        return {octets for each in self._named for octets in _with_those_above(each.name)}

    def reason(self, target: Target, action: RuleAction = RuleAction.DROP) -> str | None:
        """Return why a rule with this action on `target` is guarded, or None."""
        if action is RuleAction.TRUNCATE:
            return None
        if isinstance(target, Question | Zone):
            return self._reason_of_name(target, action)
        network = ip_network(target)
        if network.prefixlen < SHORTEST[network.version]:
            return f"is shorter than /{SHORTEST[network.version]}"
        if action is RuleAction.PASS:
            return None
        for guarded, why in self._whose.items():
            if guarded.version == network.version and network.overlaps(guarded):
                return f"covers {_text(guarded)}, {why}"
        return None

    def _reason_of_name(self, target: Named, action: RuleAction) -> str | None:
        if isinstance(target, Zone) and target.name == ROOT:
            return "is every name below the root"
        if action is RuleAction.PASS:
            return None
        if target == Question(ROOT):
            return "is the root"
        if isinstance(target, Zone) and len(target.name.labels) == 1:
            return "is a whole top-level domain"
        for guarded in self._named:
            if _meet(target, guarded):
                return f"covers {target_text(guarded)}, {_PROTECTED}"
        return None

    def check(self, rules: Sequence[Rule]) -> None:
        """Refuse guarded rules.

        Raises:
            GuardError: for the first guarded rule.
        """
        for rule in rules:
            if why := self.reason(rule.target, rule.action):
                verb = "pass" if rule.action is RuleAction.PASS else "drop"
                raise GuardError(
                    f"{target_text(rule.target)} {why}: nothing was changed; use --force to"
                    f" {verb} it anyway",
                    text=target_text(rule.target),
                )

    def passing(self, rows: Iterable[Rows], held: Callable[[str], None]) -> Iterator[Rows]:
        """Yield the rows of a list that are not guarded.

        Args:
            rows: the rows of the list.
            held: called for each guarded row, with its target and the reason.
        """
        for part in rows:
            if not isinstance(part, Block):
                yield from self._passing((part,), held)
            elif self._all_pass(part):
                yield part
            else:
                yield from self._passing(part.rows(), held)

    def _all_pass(self, block: Block) -> bool:
        """Return whether no row of a block can be guarded, without a look at their targets."""
        ref, keys, action = block.ref, block.keys, block.options[0]
        if action == _TRUNCATE:
            return True
        exact = ref in _EXACT or (
            ref == LIST_SOURCES_REF and {key[1] for key in keys} == {TABLE_EXACT}
        )
        if exact and action == _DROP and not self._wide:
            return self._exact.isdisjoint(keys)
        return not any(self._may_be_guarded(ref, key, action) for key in keys)

    def _passing(self, rows: Iterable[Row], held: Callable[[str], None]) -> Iterator[Row]:
        may_be_guarded = self._may_be_guarded
        for row in rows:
            ref, key, action, _, _, _ = row
            if action != _TRUNCATE and may_be_guarded(ref, key, action):
                target = target_of(BY_REF[ref].name, full_key(ref, key), AnyQtype.BOTH)
                if why := self.reason(target, RuleAction(action)):
                    held(f"{target_text(target)} {why}")
                    continue
            yield row

    def _may_be_guarded(self, ref: int, key: bytes, action: int) -> bool:
        """Return False for most rules that are not guarded, without a look at their target."""
        if ref in NAMED:
            octets = key[2:] if ref == QNAMES_REF else key[3:]  # as name_in, by the million
            return (
                not octets
                or octets[0] + 1 >= len(octets)  # one label
                or octets in self._above
                or (self._endings != () and octets.endswith(self._endings))
            )
        if ref in _EXACT or (ref == LIST_SOURCES_REF and key[1] == TABLE_EXACT):
            return action == _DROP and (self._wide or key in self._exact)
        if ref == LIST_SOURCES_REF:
            version, length = key[0], key[1]
        else:
            version, length = _VERSIONS[ref], int.from_bytes(key[:4], sys.byteorder)
        if length < SHORTEST[version]:
            return True
        return action == _DROP and (self._wide or key in self._covering)


def _keys(network: Network) -> Iterator[bytes]:
    """Yield the stored keys of an address, one for each book."""
    if network.num_addresses == 1:
        for book in Book:
            yield stored_place(network.network_address, AnyQtype.BOTH, book)[1]


def _keys_above(network: Network) -> Iterator[bytes]:
    """Yield the stored keys of a prefix and of each that covers it, in both books."""
    for length in range(network.prefixlen + 1):
        for book in Book:
            yield stored_place(network.supernet(new_prefix=length), AnyQtype.BOTH, book)[1]


def _text(network: Network) -> str:
    return str(network.network_address if network.num_addresses == 1 else network)


def _octets(name: Name) -> bytes:
    """Return a name as it stands in a stored key: without zeros at its end."""
    return name.wire.rstrip(b"\0")


def _with_those_above(name: Name) -> Iterator[bytes]:
    """Yield the octets of a name and of each name above it."""
    wire = name.wire
    while wire[0]:
        yield wire.rstrip(b"\0")
        wire = wire[wire[0] + 1 :]


def _meet(one: Named, other: Named) -> bool:
    """Return whether a name is covered by both."""
    if isinstance(one, Question):
        return one.name == other.name if isinstance(other, Question) else other.covers(one.name)
    if isinstance(other, Question):
        return one.covers(other.name)
    return one.name.is_within(other.name) or other.name.is_within(one.name)
