"""The guard: refuses rules that are probably mistakes, unless `--force` is used.

Guarded are a Drop on an address of this host, on one in `protect` (health checkers, secondaries,
load balancers) or on a very short prefix, and a Pass on a very short prefix, which lets half the
Internet in and disables every shorter rule. Pure. Called by service/ and store/change.py. Owns
what is guarded. Does not own the local addresses.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING, TypeAlias

from xdpctl import abi
from xdpctl.abi import MapName, RuleAction
from xdpctl.errors import GuardError
from xdpctl.rules.keys import target_of
from xdpctl.rules.targets import AnyQtype, Question, target_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from xdpctl.rules.keys import Row
    from xdpctl.rules.rules import Rule
    from xdpctl.rules.targets import Target

    Network: TypeAlias = IPv4Network | IPv6Network

SHORTEST = {4: 8, 6: 16}
"""Prefix lengths by IP version; shorter prefixes are guarded."""

_ADDRESSES = {spec.ref: name for name, spec in abi.MAPS.items() if name in abi.RULE_MAPS[:4]}
_DROP, _PASS = int(RuleAction.DROP), int(RuleAction.PASS)
_CIDRS = frozenset(abi.MAPS[name].ref for name in (MapName.CIDR4, MapName.CIDR6))
_EXACT = frozenset(abi.MAPS[name].ref for name in (MapName.ADDR_V4, MapName.ADDR_V6))


class Guard:
    """The guard, for the protected addresses at one moment.

    Args:
        protect: prefixes of the setting `protect`.
        local: addresses of this host.
    """

    def __init__(
        self, protect: Iterable[Network], local: Iterable[IPv4Address | IPv6Address]
    ) -> None:
        self._whose = {ip_network(address): "an address of this host" for address in local}
        self._whose |= dict.fromkeys(protect, "which the setting protect lists")
        self._exact = {key for network in self._whose for key in _keys(network)}
        self._wide = [network for network in self._whose if network.num_addresses > 1]

    def reason(self, target: Target, action: RuleAction = RuleAction.DROP) -> str | None:
        """Return why a rule with this action on `target` is guarded, or None."""
        if isinstance(target, Question) or action is RuleAction.TRUNCATE:
            return None
        network = ip_network(target)
        if network.prefixlen < SHORTEST[network.version]:
            return f"is shorter than /{SHORTEST[network.version]}"
        if action is RuleAction.PASS:
            return None
        for guarded, why in self._whose.items():
            if guarded.version == network.version and network.overlaps(guarded):
                return f"covers {_text(guarded)}, {why}"
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

    def passing(self, rows: Iterable[Row], held: Callable[[str], None]) -> Iterator[Row]:
        """Yield the rows of a list that are not guarded.

        Args:
            rows: the rows of the list.
            held: called for each guarded row, with its target and the reason.
        """
        exact, all_wide = self._exact, bool(self._wide)
        for row in rows:
            ref, key, action, _, _, _ = row
            if (
                action == _DROP
                and ref in _ADDRESSES
                and (all_wide or ref not in _EXACT or key in exact)  # else it is not guarded
            ) or (action == _PASS and ref in _CIDRS):
                target = target_of(_ADDRESSES[ref], key, AnyQtype.BOTH)
                if why := self.reason(target, RuleAction(action)):
                    held(f"{target_text(target)} {why}")
                    continue
            yield row


def _keys(network: Network) -> Iterator[bytes]:
    if network.num_addresses == 1:
        address = network.network_address
        if isinstance(address, IPv4Address):
            yield abi.encode_addr_v4(address)
        else:
            yield abi.encode_addr_v6(address)


def _text(network: Network) -> str:
    return str(network.network_address if network.num_addresses == 1 else network)
