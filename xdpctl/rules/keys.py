"""Target to map and key, and back; keys as the state file stores them.

Owns the map of each target in each book (PACKETS.md, "Two books, zones"; CONTRACT.md,
"Targets") and `Row`, one entry of a bulk change. Plain addresses, names and zones take a fast
path; a test compares it with the general one. Does not own the bytes of keys (abi.py). Called
by store/, feeds/ and http/.

The operator's book is in the five maps shared with dnsdist, and its zones in `zones`. The
book of the lists is in `list-sources` and `list-names`.
"""

from __future__ import annotations

import math
import re
import socket
import struct
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, TypeAlias, assert_never

from xdpctl import abi
from xdpctl.abi import (
    BY_REF,
    LEGACY_WILDCARD_QTYPE,
    MAPS,
    RULE_MAPS,
    TABLE_LEVELS,
    TABLES,
    WILDCARD_QTYPE,
    Book,
    MapName,
    ZoneScope,
)
from xdpctl.errors import TargetError
from xdpctl.rules.names import Name, looks_like_address, qtype_text
from xdpctl.rules.targets import (
    ALL_MARK,
    BELOW_MARK,
    AnyQtype,
    Question,
    Target,
    Zone,
    parse_target,
    read_target,
    target_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LIST_PREFIX = "list:"
"""The start of a list's origin, so that no list replaces the rules of an operator."""

REFS = {spec.name: ref for ref, spec in BY_REF.items()}
"""The number of each map of rules: what `map_of` names, and a Row has."""

QNAMES_REF = REFS[MapName.QNAMES]
ZONES_REF = REFS[MapName.ZONES]
LIST_SOURCES_REF = REFS[MapName.LIST_SOURCES]
LIST_NAMES_REF = REFS[MapName.LIST_NAMES]
NAMED = frozenset({QNAMES_REF, ZONES_REF, LIST_NAMES_REF})
"""The maps of names and zones; all others are of addresses and prefixes."""

_V4, _V6 = REFS[MapName.ADDR_V4], REFS[MapName.ADDR_V6]
_CIDR4, _CIDR6 = REFS[MapName.CIDR4], REFS[MapName.CIDR6]
_WILDCARDS = {mode: struct.pack("=H", mode.wildcards[0]) for mode in AnyQtype}
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_LENGTHS = [bytes((length,)) for length in range(abi.LABEL_MAX + 1)]
_EVERY_TYPE = struct.pack("=H", WILDCARD_QTYPE)
_PREFIXES = {scope: bytes((scope,)) + _EVERY_TYPE for scope in ZoneScope}
_PLAIN_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_MARKS = {ZoneScope.SELF: "", ZoneScope.ALL: ALL_MARK, ZoneScope.BELOW: BELOW_MARK}
_MAPPED = bytes(10) + b"\xff\xff"
"""The first octets of an IPv6 address that stands for an IPv4 address."""

_EXACT_V4, _EXACT_V6 = bytes((4, abi.TABLE_EXACT)), bytes((6, abi.TABLE_EXACT))

Row: TypeAlias = tuple[int, bytes, int, str, float | None, str]
"""One entry of a bulk change: map number (enum map_ref, or of a table), key as the state file
stores it (`stored_key`), action, reason, expiry in seconds of CLOCK_BOOTTIME or None, origin."""

Options: TypeAlias = tuple[int, str, float | None, str]
"""What follows the key in a Row."""

NO_END = math.inf
"""The expiry of a row that takes an end away; None says nothing about the end."""

NO_REASON = "\n"
"""The reason of a row that takes a reason away, and no text of a reason; empty says nothing."""


class Block:
    """Rows of one map that differ in their keys only; a key may come twice.

    Attributes:
        ref: the map's number.
        keys: as the state file stores them.
        options: of each of them.
    """

    __slots__ = ("keys", "options", "ref")

    def __init__(self, ref: int, keys: list[bytes], options: Options) -> None:
        self.ref = ref
        self.keys = keys
        self.options = options

    def rows(self) -> Iterator[Row]:
        """Yield the rows one by one."""
        ref, options = self.ref, self.options
        return ((ref, key, *options) for key in self.keys)


Rows: TypeAlias = "Row | Block"
"""What a part of a list consists of."""


def each_row(items: Iterable[Rows]) -> Iterator[Row]:
    """Yield the rows of a part one by one."""
    for item in items:
        if isinstance(item, Block):
            yield from item.rows()
        else:
            yield item


def book_of(origin: str) -> Book:
    """Return the book that the rules of an origin are in."""
    return Book.LISTS if origin.startswith(LIST_PREFIX) else Book.OPERATOR


_MAPS: dict[type, tuple[MapName, MapName]] = {
    IPv4Address: (MapName.ADDR_V4, MapName.LIST_SOURCES),
    IPv6Address: (MapName.ADDR_V6, MapName.LIST_SOURCES),
    IPv4Network: (MapName.CIDR4, MapName.LIST_SOURCES),
    IPv6Network: (MapName.CIDR6, MapName.LIST_SOURCES),
    Question: (MapName.QNAMES, MapName.LIST_NAMES),
    Zone: (MapName.ZONES, MapName.LIST_NAMES),
}
"""The map of each kind of target: in the operator's book, and in that of the lists."""


def map_of(target: Target, book: Book = Book.OPERATOR) -> MapName:
    """Return the map that holds a rule for `target` in this book."""
    return _MAPS[type(target)][book]


def key_of(target: Target, any_qtype: AnyQtype, book: Book = Book.OPERATOR) -> bytes:
    """Return the key with which a rule for `target` is written.

    Raises:
        TargetError: the type would mean every type; field `qtype`.
    """
    return keys_of(target, any_qtype, book)[0]


def keys_of(target: Target, any_qtype: AnyQtype, book: Book = Book.OPERATOR) -> tuple[bytes, ...]:
    """Return every key that a rule for `target` may have; the first is the one that we write.

    In mode `both` a question without type has two in the operator's book: dnsdist 2.0 writes
    65535, 1.9 writes 255.

    Raises:
        TargetError: as `key_of`.
    """
    if isinstance(target, Zone) or book is Book.LISTS:
        return (_table_key(target, any_qtype),)
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


def keys_at(target: Target, any_qtype: AnyQtype, book: Book = Book.OPERATOR) -> tuple[bytes, ...]:
    """Return every key that means `target` where it is found; none: no entry can mean it.

    Our own tables may have rules for type 255 from another mode: what they mean, and what the
    program does, does not depend on the mode there.
    """
    mode = AnyQtype.NEW if map_of(target, book) in TABLES else any_qtype
    try:
        return keys_of(target, mode, book)
    except TargetError:
        return ()


def _table_key(target: Target, any_qtype: AnyQtype) -> bytes:
    """Return the key of a target in our own tables."""
    match target:
        case Question():
            qtype = _type_of(target, any_qtype)
            return abi.encode_scoped_name(target.name.wire, qtype, ZoneScope.SELF)
        case Zone():
            qtype = _type_of(target, any_qtype)
            return abi.encode_scoped_name(target.name.wire, qtype, target.scope)
        case _:
            return abi.encode_list_source(target)


def _types_of(question: Question, any_qtype: AnyQtype) -> tuple[int, ...]:
    """Return the types of a question's entries in the shared maps."""
    if question.qtype is None:
        return any_qtype.wildcards
    _refuse_wildcard(question, question.qtype, any_qtype.wildcards, any_qtype)
    return (question.qtype,)


def _type_of(target: Question | Zone, any_qtype: AnyQtype) -> int:
    """Return the type of a target's entry in our own tables, where 65535 is every type."""
    if target.qtype is None:
        return WILDCARD_QTYPE
    refused = (WILDCARD_QTYPE, *any_qtype.wildcards)
    _refuse_wildcard(target, target.qtype, refused, any_qtype)
    return target.qtype


def _refuse_wildcard(
    target: Question | Zone, qtype: int, wildcards: tuple[int, ...], any_qtype: AnyQtype
) -> None:
    if qtype not in wildcards:
        return
    text = qtype_text(qtype)
    helps = ", or use --any-qtype 65535" if qtype == LEGACY_WILDCARD_QTYPE else ""
    raise TargetError(
        f"cannot write a rule for type {text} of {target_text(target)}: with --any-qtype"
        f" {any_qtype} an entry of type {qtype} blocks every type; leave out the type to"
        f" block every type{helps}",
        text=text,
        field="qtype",
    )


_DECODERS: dict[MapName, Callable[[bytes], Target]] = {
    MapName.ADDR_V4: abi.decode_addr_v4,
    MapName.ADDR_V6: abi.decode_addr_v6,
    MapName.CIDR4: abi.decode_cidr4,
    MapName.CIDR6: abi.decode_cidr6,
    MapName.LIST_SOURCES: abi.decode_list_source,
}


def target_of(map_name: MapName, key: bytes, any_qtype: AnyQtype) -> Target:
    """Return the target that the entry with this key matches.

    Host bits of a prefix are cleared, because the kernel ignores them too.

    Raises:
        TargetError: nothing can match the entry; `text` is the key in hexadecimal.
    """
    try:
        if decode := _DECODERS.get(map_name):
            return decode(key)
        if map_name is MapName.QNAMES:
            wire, qtype = abi.decode_qname(key)
            return Question(Name(wire), None if qtype in any_qtype.wildcards else qtype)
        if map_name in {MapName.ZONES, MapName.LIST_NAMES}:
            return _named(map_name, key)
    except (ValueError, TargetError) as error:
        raise TargetError(
            f"cannot read an entry of {map_name}: {error}; nothing matches it", text=key.hex()
        ) from error
    raise TypeError(f"{map_name} holds no rules")


def _named(map_name: MapName, key: bytes) -> Question | Zone:
    wire, written, scope = abi.decode_scoped_name(key)
    qtype = None if written == WILDCARD_QTYPE else written
    if scope is not ZoneScope.SELF:
        return Zone(Name(wire), qtype, scope)
    if map_name is MapName.ZONES:
        raise ValueError("it is an exact name")
    return Question(Name(wire), qtype)


_SHORTEN: dict[int, Callable[[bytes], bytes]] = {
    QNAMES_REF: abi.shorten_qname,
    ZONES_REF: abi.shorten_scoped_name,
    LIST_NAMES_REF: abi.shorten_scoped_name,
    LIST_SOURCES_REF: abi.shorten_list_source,
}
LENGTHEN: dict[int, Callable[[bytes], bytes]] = {
    QNAMES_REF: abi.lengthen_qname,
    ZONES_REF: abi.lengthen_scoped_name,
    LIST_NAMES_REF: abi.lengthen_scoped_name,
    LIST_SOURCES_REF: abi.lengthen_list_source,
}
"""By map number: the key of a stored one. Maps that are not in it store keys as they are."""


_LENGTHS_OF: dict[int, tuple[tuple[bytes, bytes, int], ...]] = {
    **{MAPS[name].ref: ((b"", b"\xff" * 32, MAPS[name].key_size),) for name in RULE_MAPS},
    QNAMES_REF: (),
    LIST_SOURCES_REF: ((b"\4", b"\5", len(_EXACT_V4) + 4), (b"\6", b"\7", len(_EXACT_V6) + 16)),
}


def lengths_of(ref: int) -> tuple[tuple[bytes, bytes, int], ...]:
    """Return (before, end, length) of stored keys of a map that all have one length.

    They lie between `before` and `end`. None of a map with names.
    """
    return _LENGTHS_OF.get(ref, ())


def stored_key(ref: int, key: bytes) -> bytes:
    """Return the key of a map as the state file stores it; that of a name without padding."""
    shorten = _SHORTEN.get(ref)
    return key if shorten is None else shorten(key)


def full_key(ref: int, stored: bytes) -> bytes:
    """Inverse of `stored_key`."""
    lengthen = LENGTHEN.get(ref)
    return stored if lengthen is None else lengthen(stored)


def place_of(
    target: str, qtype: str | None, any_qtype: AnyQtype, book: Book = Book.OPERATOR
) -> tuple[int, bytes]:
    """Return (map number, stored key) of the text of a target.

    Raises:
        TargetError: as `parse_target` and `key_of`.
    """
    if not qtype and (place := plain_place(target, any_qtype, book)) is not None:
        return place
    return stored_place(parse_target(target, qtype), any_qtype, book)


def place_if_read(text: str, any_qtype: AnyQtype, book: Book) -> tuple[int, bytes] | None:
    """Return `place_of` a text without type; None if it is not a target."""
    if (place := plain_place(text, any_qtype, book)) is not None:
        return place
    try:
        return stored_place(read_target(text), any_qtype, book)
    except TargetError:
        return None


def stored_place(
    target: Target, any_qtype: AnyQtype, book: Book = Book.OPERATOR
) -> tuple[int, bytes]:
    """Return (map number, stored key) of a target; raises as `key_of`."""
    ref = REFS[map_of(target, book)]
    return ref, stored_key(ref, key_of(target, any_qtype, book))


def line_place(target: Target, any_qtype: AnyQtype, book: Book) -> tuple[int, bytes]:
    """Return `stored_place` of a line that `export` may have written; raises as `key_of`.

    In our own tables a rule for type ANY is for that type in every mode, and outlives its mode.
    """
    mode = AnyQtype.NEW if map_of(target, book) in TABLES else any_qtype
    return stored_place(target, mode, book)


def name_place(
    octets: bytes, scope: ZoneScope, any_qtype: AnyQtype, book: Book
) -> tuple[int, bytes]:
    """Return (map number, stored key) of a name or zone of every type.

    Args:
        octets: the lower-case name in wire form, without its root byte.
        scope: what the rule covers; a zone has at most 16 labels.
        any_qtype: how a name with every type is stored in the shared map.
        book: whose rule it is.
    """
    octets = octets.rstrip(b"\0")
    if scope is ZoneScope.SELF and book is Book.OPERATOR:
        return QNAMES_REF, _WILDCARDS[any_qtype] + octets
    return LIST_NAMES_REF if book else ZONES_REF, _PREFIXES[scope] + octets


def name_in(ref: int, stored: bytes) -> tuple[bytes, ZoneScope]:
    """Return the octets, without zeros at their end, and the scope of a stored key of a name."""
    if ref == QNAMES_REF:
        return stored[2:], ZoneScope.SELF
    return stored[3:], ZoneScope(stored[0])


def plain_v4_addresses(texts: Iterable[str], book: Book) -> tuple[int, list[bytes]]:
    """Return (map number, stored keys) of plain IPv4 addresses.

    Raises:
        OSError, ValueError: one is not.
    """
    octets = map(partial(socket.inet_pton, socket.AF_INET), texts)
    if book:
        return LIST_SOURCES_REF, [_EXACT_V4 + each for each in octets]
    return _V4, [each[:: abi.ADDR_V4_STEP] for each in octets]


def plain_place(  # noqa: PLR0911 - each a kind of text that is not plain
    text: str, any_qtype: AnyQtype, book: Book = Book.OPERATOR
) -> tuple[int, bytes] | None:
    """Return (map number, stored key) of a plain address, prefix, name or zone; else None."""
    if (":" in text or text[-1:].isdigit()) and (place := _plain_address(text, book)) is not None:
        return place
    scope = ZoneScope.SELF
    if text[:1] == ALL_MARK:
        text, scope = text[1:], ZoneScope.ALL
    elif text[:2] == BELOW_MARK:
        text, scope = text[2:], ZoneScope.BELOW
    first, _, rest = text.partition(".")
    if _LABEL.fullmatch(first) is None or len(rest) >= abi.NAME_MAX:
        return None
    octets, count = _plain_octets(rest) if rest else (b"", 0)
    if not count and (rest or looks_like_address(first)):
        return None
    if first.isdigit() and looks_like_address(text):  # 192.0.2.x
        return None
    octets = _LENGTHS[len(first)] + first.lower().encode("ascii") + octets
    if len(octets) >= abi.NAME_MAX or (scope is not ZoneScope.SELF and count >= TABLE_LEVELS):
        return None
    if scope is ZoneScope.SELF and not book:
        return QNAMES_REF, _WILDCARDS[any_qtype] + octets
    return LIST_NAMES_REF if book else ZONES_REF, _PREFIXES[scope] + octets


@lru_cache(maxsize=16_384)
def _plain_octets(text: str) -> tuple[bytes, int]:
    """Return octets and number of labels of a plain name; no label where it is not plain.

    Kept, because in a list many names end alike.
    """
    if _PLAIN.fullmatch(text) is None:
        return b"", 0
    labels = text.lower().removesuffix(".").encode("ascii").split(b".")
    if looks_like_address(text):
        return b"", 0
    return b"".join([_LENGTHS[len(label)] + label for label in labels]), len(labels)


def _plain_address(text: str, book: Book) -> tuple[int, bytes] | None:
    try:
        if "/" in text:
            return _plain_prefix(text, book)
        if ":" in text:
            octets = socket.inet_pton(socket.AF_INET6, text)
            if octets.startswith(_MAPPED):
                return None
            return (LIST_SOURCES_REF, _EXACT_V6 + octets) if book else (_V6, octets)
        octets = socket.inet_pton(socket.AF_INET, text)
        return (
            (LIST_SOURCES_REF, _EXACT_V4 + octets) if book else (_V4, octets[:: abi.ADDR_V4_STEP])
        )
    except (OSError, ValueError):
        return None


def _plain_prefix(text: str, book: Book) -> tuple[int, bytes] | None:
    """Return the place of a prefix without host bits.

    Raises:
        OSError, ValueError: it is not one.
    """
    address, _, digits = text.partition("/")
    if len(digits) > 3 or not digits.isascii() or not digits.isdigit():  # noqa: PLR2004 - 128
        return None
    family, ref = (socket.AF_INET6, _CIDR6) if ":" in address else (socket.AF_INET, _CIDR4)
    octets, length = socket.inet_pton(family, address), int(digits)
    bits = 8 * len(octets)
    if length > bits or int.from_bytes(octets, "big") & ((1 << bits - length) - 1):
        return None
    if length >= 8 * len(_MAPPED) and octets.startswith(_MAPPED):
        return None
    if book:
        return LIST_SOURCES_REF, bytes((6 if ref == _CIDR6 else 4, length)) + octets
    return ref, struct.pack("=I", length) + octets


def plain_text(ref: int, stored: bytes, any_qtype: AnyQtype) -> str | None:
    """Return the text of a target that `plain_place` gives this place; None for others."""
    if ref not in NAMED:
        if ref == _V4:
            return socket.inet_ntoa(stored[:: abi.ADDR_V4_STEP])
        is_v4 = ref == LIST_SOURCES_REF and stored[:2] == _EXACT_V4
        return socket.inet_ntoa(stored[2:]) if is_v4 else None
    octets, scope = name_in(ref, stored)
    wildcard = _WILDCARDS[any_qtype] if ref == QNAMES_REF else _EVERY_TYPE
    if not stored.startswith(wildcard, 0 if ref == QNAMES_REF else 1):
        return None
    labels, start = [], 0
    while start < len(octets):
        end = start + octets[start] + 1
        if end > len(octets):  # the last label ends with a zero octet
            return None
        labels.append(octets[start + 1 : end])
        start = end
    text = b".".join(labels).decode("latin-1")
    if (
        _PLAIN_NAME.fullmatch(text) is None
        or text.count(".") >= len(labels)
        or looks_like_address(text)
    ):
        return None
    return _MARKS[scope] + text
