"""The target of a rule: text to target and back.

Owns addresses, prefixes and names with types as one kind of value, and how text becomes one
of them (CONTRACT.md, "Targets"). Does not own the text of names and types (names.py) or the
map and key of a target (keys.py). Called by rules.py, keys.py and settings/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias, assert_never

from xdpctl.abi import LEGACY_WILDCARD_QTYPE, WILDCARD_QTYPE
from xdpctl.errors import TargetError
from xdpctl.rules.names import Name, parse_qtype, shown, split_labels

_PREFIX_LENGTH = re.compile(r"[0-9]{1,3}")


class AnyQtype(StrEnum):
    """`--any-qtype`: which types in an entry mean every type (PACKETS.md)."""

    BOTH = "both"
    NEW = "65535"
    LEGACY = "255"

    @property
    def wildcards(self) -> tuple[int, ...]:
        """The types that mean every type to the program; we write the first."""
        match self:
            case AnyQtype.BOTH:
                return WILDCARD_QTYPE, LEGACY_WILDCARD_QTYPE
            case AnyQtype.NEW:
                return (WILDCARD_QTYPE,)
            case AnyQtype.LEGACY:
                return (LEGACY_WILDCARD_QTYPE,)
            case _:
                assert_never(self)


@dataclass(frozen=True, slots=True)
class Question:
    """Queries for one name and one type; with `qtype` None, for every type."""

    name: Name
    qtype: int | None = None


Target: TypeAlias = IPv4Address | IPv6Address | IPv4Network | IPv6Network | Question
"""What a rule matches. An address and its /32 or /128 are different targets."""


def parse_target(text: str, qtype: str | None = None) -> Target:
    """Return the target that `text` means: an address, a prefix, or a name with a type.

    Text with a `:`, or with only digits in the last label before a `/`, is an address or
    prefix. Everything else is a name.

    Args:
        text: the text of an operator.
        qtype: mnemonic, TYPEnnn or number; None or empty: every type.

    Raises:
        TargetError: invalid text, host bits are set, or an address has a type.
    """
    if not _is_address(text):
        return Question(Name.from_text(text), parse_qtype(qtype) if qtype else None)
    target = _parse_address(text)
    if qtype:
        raise TargetError(
            f"cannot use {shown(text)} with query type {shown(qtype)}: an address has no type;"
            " leave out the type",
            text=qtype,
            field="qtype",
        )
    return target


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """Return a prefix, or an address as a prefix of full length.

    Raises:
        TargetError: invalid text, or host bits are set.
    """
    target = _parse_address(text)
    if isinstance(target, IPv4Network | IPv6Network):
        return target
    return ip_network(target)


def _is_address(text: str) -> bool:
    if ":" in text:
        return True
    labels = split_labels(text.partition("/")[0])
    if labels is None:
        return False
    last = labels[-2] if len(labels) > 1 and not labels[-1] else labels[-1]
    return last.isascii() and last.isdigit()


def _parse_address(text: str) -> IPv4Address | IPv6Address | IPv4Network | IPv6Network:
    address_text, slash, length = text.partition("/")
    try:
        address = ip_address(address_text)
    except ValueError as error:
        raise TargetError(
            f"cannot read {shown(text)} as an address: write it like 192.0.2.1 or 2001:db8::1; if"
            " it is a name, write : as \\058 and / as \\047",
            text=text,
        ) from error
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise TargetError(
            f"cannot use {shown(text)} as an address: the source address of a packet has no zone;"
            f" leave out {shown('%' + address.scope_id)}",
            text=text,
        )
    if not slash:
        return address
    if not _PREFIX_LENGTH.fullmatch(length) or int(length) > address.max_prefixlen:
        raise TargetError(
            f"cannot read {shown(text)} as a prefix: its length must be a number from 0 to"
            f" {address.max_prefixlen}",
            text=text,
        )
    network = ip_network((address, int(length)), strict=False)
    if network.network_address != address:
        raise TargetError(
            f"cannot use {shown(text)} as a prefix: it has host bits set; write {network} for the"
            f" prefix or {address} for the address",
            text=text,
        )
    return network


def target_text(target: Target) -> str:
    """Return text that `parse_target` reads as `target`, without the type of a question."""
    return target.name.to_text() if isinstance(target, Question) else str(target)
