"""Target to map and key, and back; keys as the state stores them.

Owns which map a target is in (CONTRACT.md, "Targets") and `Row`, one entry as it is staged.
Plain addresses and names go a short way, tested to agree with the long one. Bytes of keys
are abi.py's. Called by store/, feeds/ and http/.
"""

from __future__ import annotations

import re
import socket
import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias, assert_never

from xdpctl import abi
from xdpctl.abi import LEGACY_WILDCARD_QTYPE, MapName, lengthen_qname, shorten_qname
from xdpctl.errors import TargetError
from xdpctl.rules.names import Name, qtype_text
from xdpctl.rules.targets import AnyQtype, Question, Target, parse_target

_V4, _V6 = abi.MAPS[MapName.ADDR_V4].ref, abi.MAPS[MapName.ADDR_V6].ref
QNAMES_REF = abi.MAPS[MapName.QNAMES].ref
_WILDCARDS = {mode: struct.pack("=H", mode.wildcards[0]) for mode in AnyQtype}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")

Row: TypeAlias = tuple[int, bytes, int, str, float | None, str]
"""One entry as it is staged: map number (enum map_ref), key as the state stores it
(`state.stored_key`), action, reason, expiry in seconds of CLOCK_BOOTTIME or None, origin."""


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


def stored_key(ref: int, key: bytes) -> bytes:
    """Return a map's key as the file has it: that of a name without its padding."""
    return shorten_qname(key) if ref == QNAMES_REF else key


def full_key(ref: int, stored: bytes) -> bytes:
    """Inverse of `stored_key`."""
    return lengthen_qname(stored) if ref == QNAMES_REF else stored


def place_of(target: str, qtype: str | None, any_qtype: AnyQtype) -> tuple[int, bytes]:
    """Return (map number, key as stored) of a target's text.

    Raises:
        TargetError: as `rules.parse_target` and `rules.key_of`.
    """
    if not qtype and (place := plain_place(target, any_qtype)) is not None:
        return place
    return stored_place(parse_target(target, qtype), any_qtype)


def stored_place(target: Target, any_qtype: AnyQtype) -> tuple[int, bytes]:
    """Return (map number, key as stored) of a target; raises as `key_of`."""
    ref = abi.MAPS[map_of(target)].ref
    return ref, stored_key(ref, key_of(target, any_qtype))


def plain_place(text: str, any_qtype: AnyQtype) -> tuple[int, bytes] | None:
    """Return where a plain address or name lies; None for all else: the long way reads it."""
    try:
        if ":" in text:
            return _V6, socket.inet_pton(socket.AF_INET6, text)
        return _V4, socket.inet_pton(socket.AF_INET, text)[:: abi.ADDR_V4_STEP]
    except (OSError, ValueError):
        pass
    if _NAME.fullmatch(text) is None:
        return None
    labels = text.lower().removesuffix(".").split(".")
    octets = "".join([chr(len(label)) + label for label in labels])
    if len(octets) >= abi.NAME_MAX or labels[-1].isdigit():
        return None
    return QNAMES_REF, _WILDCARDS[any_qtype] + octets.encode("ascii")
