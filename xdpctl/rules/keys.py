"""Target to map and key, and back; keys as the state file stores them.

Owns the map of each target (CONTRACT.md, "Targets") and `Row`, one entry of a bulk change. Plain
addresses and names take a fast path; a test compares it with the general one. Does not own the
bytes of keys (abi.py). Called by store/, feeds/ and http/.
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
"""One entry of a bulk change: map number (enum map_ref), key as the state file stores it
(`stored_key`), action, reason, expiry in seconds of CLOCK_BOOTTIME or None, origin."""


def map_of(target: Target) -> MapName:
    """Return the map that holds a rule for `target`."""
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
    """Return the key with which a rule for `target` is written.

    Raises:
        TargetError: the type would mean every type in this mode; field `qtype`.
    """
    return keys_of(target, any_qtype)[0]


def keys_of(target: Target, any_qtype: AnyQtype) -> tuple[bytes, ...]:
    """Return every key that a rule for `target` may have; the first is the one that we write.

    In mode `both` a question without type has two: dnsdist 2.0 writes 65535, 1.9 writes 255.

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
        f" {any_qtype} an entry of type {question.qtype} blocks every type; leave out the type to"
        f" block every type{helps}",
        text=text,
        field="qtype",
    )


def target_of(map_name: MapName, key: bytes, any_qtype: AnyQtype) -> Target:
    """Return the target that the entry with this key matches.

    Host bits of a prefix are cleared, because the kernel ignores them too.

    Raises:
        TargetError: nothing can match the entry; `text` is the key in hexadecimal.
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
    """Return the key of a map as the state file stores it; that of a name without padding."""
    return shorten_qname(key) if ref == QNAMES_REF else key


def full_key(ref: int, stored: bytes) -> bytes:
    """Inverse of `stored_key`."""
    return lengthen_qname(stored) if ref == QNAMES_REF else stored


def place_of(target: str, qtype: str | None, any_qtype: AnyQtype) -> tuple[int, bytes]:
    """Return (map number, stored key) of the text of a target.

    Raises:
        TargetError: as `parse_target` and `key_of`.
    """
    if not qtype and (place := plain_place(target, any_qtype)) is not None:
        return place
    return stored_place(parse_target(target, qtype), any_qtype)


def stored_place(target: Target, any_qtype: AnyQtype) -> tuple[int, bytes]:
    """Return (map number, stored key) of a target; raises as `key_of`."""
    ref = abi.MAPS[map_of(target)].ref
    return ref, stored_key(ref, key_of(target, any_qtype))


def plain_place(text: str, any_qtype: AnyQtype) -> tuple[int, bytes] | None:
    """Return (map number, stored key) of a plain address or name; None for anything else."""
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
