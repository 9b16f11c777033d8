"""Targets to the owners of a response policy zone's records: the inverse of what rpz.py reads.

Owns the spelling of triggers (draft-vixie-dnsop-dns-rpz): names, wildcards, and addresses as
`LENGTH.LAST.….FIRST.rpz-client-ip`, and which targets no trigger can express. An owner is a tuple
of lower-case labels below the zone's name, from the left. Does not own records or zones
(policy_zone.py, publish/). Called by both.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING, TypeAlias

from xdpctl import abi
from xdpctl.abi import ZoneScope
from xdpctl.errors import TargetError
from xdpctl.feeds.formats.policies import CLIENT_IP, OTHER_TRIGGERS, POLICIES
from xdpctl.rules import Name, Question, Zone, target_text
from xdpctl.rules.names import shown

if TYPE_CHECKING:
    from xdpctl.rules import Target

Owner: TypeAlias = tuple[bytes, ...]
"""Labels of a record's name, without those of its zone."""

POLICY_OF = {action: policy for policy, action in POLICIES.items()}
"""Where the CNAME record of each action leads."""

STAR = b"*"

_ZEROS = b"zz"
_WORDS = 8
"""Groups of 16 bits in an IPv6 address."""


class InexpressibleError(TargetError):
    """No record of a response policy zone means this target.

    Attributes:
        kind: what such targets are, as a plural.
    """

    def __init__(self, target: Target, kind: str, why: str) -> None:
        text = target_text(target)
        super().__init__(f"cannot write {shown(text)} as a record of an RPZ zone: {why}", text=text)
        self.kind = kind


def owners_of(target: Target, zone: Name) -> tuple[Owner, ...]:
    """Return the owners of the records that mean a target; a zone with its own name has two.

    Args:
        target: any.
        zone: the name of the response policy zone.

    Raises:
        InexpressibleError: no record means it.
    """
    match target:
        case Question():
            owners = [_named(target, zone)]
        case Zone(scope=ZoneScope.BELOW):
            owners = [(STAR, *_named(target, zone))]
        case Zone():
            name = _named(target, zone)
            owners = [name, (STAR, *name)]
        case _:
            owners = [_client(target)]
    for owner in owners:
        if owner_size(owner) + len(zone.wire) > abi.NAME_MAX:
            raise InexpressibleError(
                target,
                "names that are too long below the zone",
                f"with {zone.to_text()} behind it, it is longer than a name can be; use a zone with"
                " a shorter name",
            )
    return tuple(owners)


def owner_size(owner: Owner) -> int:
    """Return the octets of an owner in wire form, without its zone."""
    return sum(map(len, owner)) + len(owner)


def owner_wire(owner: Owner, zone: Name) -> bytes:
    """Return the whole name in wire form."""
    return b"".join(bytes((len(label),)) + label for label in owner) + zone.wire


def owner_text(owner: Owner) -> str:
    """Return a relative name as a zone file has it."""
    if owner[-1] == CLIENT_IP or owner == (STAR,):
        return b".".join(owner).decode("ascii")
    if owner[0] == STAR:
        return f"*.{name_of(owner[1:]).to_text()}"
    return name_of(owner).to_text()


def name_of(owner: Owner) -> Name:
    """Return the name that has these labels."""
    return Name(b"".join(bytes((len(label),)) + label for label in owner) + b"\0")


def _named(target: Question | Zone, zone: Name) -> Owner:
    """Return the labels of a name or of a zone's own name."""
    labels = target.name.labels
    if target.qtype is not None:
        raise InexpressibleError(
            target,
            "rules with a query type",
            "a record blocks every query type; leave out the type",
        )
    if not labels and isinstance(target, Question):
        raise InexpressibleError(
            target, "rules for the root itself", f"{zone.to_text()} itself would be its owner"
        )
    if STAR in labels:
        raise InexpressibleError(
            target, "names with a star as a label", "a star is a wildcard there"
        )
    if labels and (labels[-1] == CLIENT_IP or labels[-1] in OTHER_TRIGGERS):
        raise InexpressibleError(
            target,
            "names that end like a trigger of RPZ",
            f"a record whose name ends in {labels[-1].decode()} means something else",
        )
    return labels


def _client(target: IPv4Address | IPv6Address | IPv4Network | IPv6Network) -> Owner:
    network = ip_network(target)
    if not network.prefixlen:
        raise InexpressibleError(
            target, "rules for every address", "a prefix has a length from 1 on there"
        )
    octets = network.network_address.packed
    is_v4 = isinstance(network, IPv4Network)
    parts = [b"%d" % octet for octet in octets] if is_v4 else _words(octets)
    return (b"%d" % network.prefixlen, *reversed(parts), CLIENT_IP)


def _words(octets: bytes) -> list[bytes]:
    """Return the groups of an IPv6 address; `zz` for the first longest run of zeros (RFC 5952)."""
    words = [int.from_bytes(octets[at : at + 2], "big") for at in range(0, 2 * _WORDS, 2)]
    runs = [
        next((size for size, word in enumerate(words[at:]) if word), _WORDS - at)
        for at in range(_WORDS)
    ]
    longest = max(runs)
    parts = [b"%x" % word for word in words]
    if longest > 1:
        at = runs.index(longest)
        parts[at : at + longest] = [_ZEROS]
    return parts
