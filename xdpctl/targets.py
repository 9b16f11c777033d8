"""What a rule is about: text to target and back, target to map key and back.

Owns addresses, prefixes and names with types as one kind of value, which of
them text means (CONTRACT.md, "Targets"), and which map and key each has.
Names and types as text are names.py's, bytes of keys abi.py's. Called by
rules.py, from which everything else takes these names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias, assert_never

from xdpctl import abi
from xdpctl.abi import LEGACY_WILDCARD_QTYPE, WILDCARD_QTYPE, MapName
from xdpctl.errors import TargetError
from xdpctl.names import Name, parse_qtype, qtype_text, shown, split_labels

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


def map_of(target: Target) -> MapName:
    """Return the map in which a rule for `target` stands."""
    match target:
        case IPv4Address():
            return MapName.ADDR_V4
        case IPv6Address():
            return MapName.ADDR_V6
        case IPv4Network():
            return MapName.CIDR4
        case IPv6Network():
            return MapName.CIDR6
        case Question():
            return MapName.QNAMES
        case _:
            assert_never(target)


def key_of(target: Target, any_qtype: AnyQtype) -> bytes:
    """Return the key under which a rule for `target` is written.

    Raises:
        TargetError: the type would stand for every type in this mode; field `qtype`.
    """
    return keys_of(target, any_qtype)[0]


def keys_of(target: Target, any_qtype: AnyQtype) -> tuple[bytes, ...]:
    """Return every key under which a rule for `target` may stand, the one we write first.

    In mode `both` a question without type has two: dnsdist 2.0 writes 65535, 1.9 wrote 255.

    Raises:
        TargetError: as `key_of`.
    """
    match target:
        case IPv4Address():
            return (abi.encode_addr_v4(target),)
        case IPv6Address():
            return (abi.encode_addr_v6(target),)
        case IPv4Network() | IPv6Network():
            return (abi.encode_cidr(target),)
        case Question():
            return tuple(
                abi.encode_qname(target.name.wire, qtype) for qtype in _types_of(target, any_qtype)
            )
        case _:
            assert_never(target)


def _types_of(question: Question, any_qtype: AnyQtype) -> tuple[int, ...]:
    if question.qtype is None:
        return any_qtype.wildcards
    if question.qtype not in any_qtype.wildcards:
        return (question.qtype,)
    text = qtype_text(question.qtype)
    helps = ", or use --any-qtype 65535" if question.qtype == LEGACY_WILDCARD_QTYPE else ""
    raise TargetError(
        f"cannot write a rule for type {text} of {question.name.to_text()}: with --any-qtype"
        f" {any_qtype} an entry of type {question.qtype} blocks every type; leave the type out if"
        f" that is meant{helps}",
        text=text,
        field="qtype",
    )


def target_of(map_name: MapName, key: bytes, any_qtype: AnyQtype) -> Target:
    """Return what the entry with this key of a rule map matches.

    Host bits of a prefix are cleared: the kernel does not look at them either.

    Raises:
        TargetError: nothing can match it; `text` is the key in hex.
    """
    try:
        match map_name:
            case MapName.ADDR_V4:
                return abi.decode_addr_v4(key)
            case MapName.ADDR_V6:
                return abi.decode_addr_v6(key)
            case MapName.CIDR4:
                return abi.decode_cidr4(key)
            case MapName.CIDR6:
                return abi.decode_cidr6(key)
            case MapName.QNAMES:
                wire, qtype = abi.decode_qname(key)
                return Question(Name(wire), None if qtype in any_qtype.wildcards else qtype)
            case _:
                pass
    except (ValueError, TargetError) as error:
        raise TargetError(
            f"cannot read an entry of {map_name}: {error}; nothing matches it", text=key.hex()
        ) from error
    raise TypeError(f"{map_name} holds no rules")
