"""What a rule is about: text to target and back.

Owns addresses, prefixes and names with types as one kind of value, and which of them text
means (CONTRACT.md, "Targets"). Names and types as text are names.py's, which map and key each
has keys.py's.
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
    """`--any-qtype`: which type of an entry stands for every type (PACKETS.md)."""

    BOTH = "both"
    NEW = "65535"
    LEGACY = "255"

    @property
    def wildcards(self) -> tuple[int, ...]:
        """The types that the program takes as every type; the first is what we write."""
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
    """Queries for one name, of one type; `qtype` None is every type."""

    name: Name
    qtype: int | None = None


Target: TypeAlias = IPv4Address | IPv6Address | IPv4Network | IPv6Network | Question
"""What a rule is about. An address and its /32 or /128 are two targets."""


def parse_target(text: str, qtype: str | None = None) -> Target:
    """Return what `text` means: an address, a prefix, or a name with a type.

    With a `:`, or where the last label before a `/` is all digits, it is an
    address or prefix; everything else is a name.

    Args:
        text: as an operator writes it.
        qtype: mnemonic, TYPEnnn or number; None or empty: every type.

    Raises:
        TargetError: neither; host bits are set; or a type with an address.
    """
    if not _is_address(text):
        return Question(Name.from_text(text), parse_qtype(qtype) if qtype else None)
    target = _parse_address(text)
    if qtype:
        raise TargetError(
            f"cannot block {shown(text)} by query type {shown(qtype)}: an address has none;"
            " leave the type out",
            text=qtype,
            field="qtype",
        )
    return target


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """Return an address (as a prefix of full length) or a prefix.

    Raises:
        TargetError: neither, or host bits are set.
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
            f"cannot read {shown(text)} as an address: write one such as 192.0.2.1 or 2001:db8::1;"
            " in a name that looks like one write : as \\058, / as \\047",
            text=text,
        ) from error
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise TargetError(
            f"cannot take {shown(text)} as an address: a packet's source names no zone; leave out"
            f" {shown('%' + address.scope_id)}",
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
            f"cannot take {shown(text)} as a prefix: bits behind its length are set; {network} is"
            f" the prefix, {address} the address",
            text=text,
        )
    return network


def target_text(target: Target) -> str:
    """Return text that `parse_target` reads as `target`; the type of a question stands apart."""
    return target.name.to_text() if isinstance(target, Question) else str(target)
