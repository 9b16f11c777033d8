"""Writes rules as a response policy zone that BIND, Knot and NSD load: what rpz.py reads, back.

Owns which claim on a target becomes its record, and the records that keep wildcards as wide as
zone rules are: in the DNS a wildcard does not match below a name that exists, a zone rule does. So
a name inside a zone rule gets the records of that rule, too, where it has none of its own. Does
not own the names of records (owners.py). Does no I/O. Called by cli/verbs/export.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from xdpctl import abi
from xdpctl.abi import ZoneScope
from xdpctl.feeds.formats.account import LeftOut
from xdpctl.feeds.formats.owners import (
    POLICY_OF,
    STAR,
    InexpressibleError,
    Owner,
    owner_size,
    owner_text,
    owners_of,
)
from xdpctl.feeds.formats.policies import CLIENT_IP
from xdpctl.rules import DNSDIST_ORIGIN, Zone, target_text
from xdpctl.rules.rules import IMPLIED, class_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.rules import Name, Rule, Target

TTL_MAX = 2**31 - 1
"""Of a record without an end (RFC 2181, 8): 68 years."""

_HEAD = """\
$ORIGIN {zone}
$TTL {ttl}
@ IN SOA localhost. nobody.invalid. {serial} 60 60 604800 60
@ IN NS localhost.
"""


class _Said(NamedTuple):
    """What a record says.

    Attributes:
        rank: of claims on one target the least is in force (CONTRACT.md, "Claims").
        policy: where the CNAME record leads; empty: there is no record, and nothing around this
            name applies to it (a list's implied rule).
        ttl: seconds that are left; None: no end.
        reason: a comment.
    """

    rank: tuple[int, int, float]
    policy: str
    ttl: int | None
    reason: str

    @property
    def action(self) -> int:
        """Pass comes before Drop, Drop before Truncate."""
        return self.rank[1]


class PolicyZone:
    """A response policy zone that is written.

    Args:
        zone: its name.

    Attributes:
        left_out: rules that no record can express.
        added: records that repeat a zone rule at and below names inside it.
    """

    def __init__(self, zone: Name) -> None:
        self._zone = zone
        self._said: dict[Target, _Said] = {}
        self._owners: dict[Owner, _Said] = {}
        self.left_out = LeftOut()
        self.added = 0

    def add(self, rule: Rule) -> None:
        """Take a claim; of several on one target the one in force becomes the record."""
        end = math.inf if rule.expires_in is None else rule.expires_in
        number = -1 if rule.origin == DNSDIST_ORIGIN else class_of(rule.origin)
        policy = "" if rule.reason == IMPLIED else POLICY_OF[rule.action]
        said = _Said((number, rule.action, -end), policy, rule.expires_in, rule.reason)
        before = self._said.get(rule.target)
        if before is None or said.rank < before.rank:
            self._said[rule.target] = said

    def lines(self, serial: int) -> Iterator[str]:
        """Yield the zone file, a record a line. Call it once, when every rule is there.

        Args:
            serial: of the SOA record.
        """
        self._find_owners()
        yield from _HEAD.format(zone=_absolute(self._zone), ttl=TTL_MAX, serial=serial).splitlines()
        yield from (_line(owner, said) for owner, said in self._owners.items() if said.policy)
        for owner, said in self._around():
            if said.policy and owner_size(owner) + len(self._zone.wire) <= abi.NAME_MAX:
                self.added += 1
                yield _line(owner, said)

    def _find_owners(self) -> None:
        """Give each owner what its record says: what the most exact target of it does."""
        nearest: dict[Owner, tuple[int, int]] = {}
        while self._said:
            target, said = self._said.popitem()
            try:
                owners = owners_of(target, self._zone)
            except InexpressibleError as error:
                self.left_out.add(error.kind, target_text(target))
                continue
            for owner in owners:
                order = _order(target, owner, said)
                if owner not in nearest or order < nearest[owner]:
                    nearest[owner], self._owners[owner] = order, said

    def _around(self) -> Iterator[tuple[Owner, _Said]]:
        """Yield the records of zone rules at and below names inside them."""
        owners = {owner: said for owner, said in self._owners.items() if owner[-1] != CLIENT_IP}
        above: dict[Owner, _Said | None] = {}
        """By name: the zone rule that matches below it."""
        if not any(owner[0] == STAR for owner in owners):
            return
        above[()] = owners.get((STAR,))
        for owner in owners:
            name = owner[1:] if owner[0] == STAR else owner
            way = []
            while name not in above:
                way.append(name)
                name = name[1:]
            for inner in reversed(way):
                outer, own = above[inner[1:]], owners.get((STAR, *inner))
                above[inner] = own or outer
                if outer is None:
                    continue
                if inner not in owners:
                    yield inner, outer
                if own is None:
                    yield (STAR, *inner), outer


def _order(target: Target, owner: Owner, said: _Said) -> tuple[int, int]:
    """Return the order of targets with one owner; that of the first is its record."""
    if not isinstance(target, Zone):
        return int(hasattr(target, "prefixlen")), 0  # an address comes before its full prefix
    if owner[0] == STAR:
        return 0, said.action
    return 1 if target.scope is ZoneScope.ALL else 0, 0


def _line(owner: Owner, said: _Said) -> str:
    ttl = "" if said.ttl is None else f" {min(said.ttl, TTL_MAX)}"
    comment = f" ; {said.reason}" if said.reason else ""
    return f"{owner_text(owner)}{ttl} CNAME {said.policy}{comment}"


def _absolute(name: Name) -> str:
    text = name.to_text()
    return text if text == "." else f"{text}."
