"""What a rule would be called in a response policy zone (RPZ): the owner name of its record.

dnstap's `Policy` names a rule so. Owns that translation. Does not own rules (rules/). Pure; called
by dnstap.py.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from xdpctl.abi import ZoneScope
from xdpctl.rules import Zone

if TYPE_CHECKING:
    from xdpctl.rules import Target

_CLIENT_IP = b"rpz-client-ip"
_ANY = b"*"
_ROOT = b"\0"


def owner_name(target: Target, question: bytes | None = None) -> bytes:
    """Return the owner name of a rule, in wire form and relative to the policy zone.

    `.z` is two records there, `z` and `*.z`: the one that the question leads to is meant.

    Args:
        target: what the rule is for.
        question: the name that was asked for, in wire form.
    """
    if isinstance(target, IPv4Address | IPv6Address):
        return _wire(_address_labels(target, target.max_prefixlen))
    if isinstance(target, IPv4Network | IPv6Network):
        return _wire(_address_labels(target.network_address, target.prefixlen))
    wire = target.name.wire
    if isinstance(target, Zone) and not (
        target.scope is ZoneScope.ALL and question in {None, wire}
    ):
        return _label(_ANY) + wire
    return wire


def _address_labels(address: IPv4Address | IPv6Address, length: int) -> list[bytes]:
    if isinstance(address, IPv4Address):
        parts = [str(octet) for octet in address.packed]
    else:
        before, found, after = address.compressed.partition("::")
        parts = [word for word in before.split(":") if word]
        parts += ["zz"] * bool(found) + [word for word in after.split(":") if word]
    return [str(length).encode(), *(part.encode() for part in reversed(parts)), _CLIENT_IP]


def _label(text: bytes) -> bytes:
    return bytes((len(text),)) + text


def _wire(labels: list[bytes]) -> bytes:
    return b"".join(map(_label, labels)) + _ROOT
