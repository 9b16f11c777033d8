"""A scene as the bytes of the maps, and what counters that moved say.

Shared by the two engines that run the C: both fill maps from a scene, run one frame
and read the maps again. The oracle does without.
"""

from __future__ import annotations

import struct
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import TYPE_CHECKING

from tests.engines import EngineError
from xdpctl.abi import (
    COUNTERS_SIZE,
    DESTINATION_MAPS,
    INDEX_FACTORS,
    INDEX_HEADER_SIZE,
    INDEX_SIZE,
    INDEX_WORDS,
    RULE_MAPS,
    Book,
    IndexFactors,
    MapName,
    PacketAction,
    Reason,
    TallyRow,
    encode_addr_v4,
    encode_addr_v6,
    encode_cidr,
    encode_empty,
    encode_list_source,
    encode_qname,
    encode_scoped_name,
    encode_xsk_destination,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.packets.case import Rule, Scene

_VALUE = struct.Struct("=QB7s")
_CELLS = struct.Struct(f"={COUNTERS_SIZE // 8}Q")
_REASONS = min(TallyRow) * len(PacketAction) * 2
"""Words of the counters that are of a reason; those behind count what was looked up."""

Entry = tuple[MapName, bytes]
"""A map and a key in it."""


def entry_of(rule: Rule) -> Entry:
    """Return where the rule stands."""
    if rule.in_tables:
        return table_entry_of(rule)
    match rule.subject:
        case bytes() as wire:
            return MapName.QNAMES, encode_qname(wire, rule.qtype)
        case IPv4Address() as address:
            return MapName.ADDR_V4, encode_addr_v4(address)
        case IPv6Address() as address:
            return MapName.ADDR_V6, encode_addr_v6(address)
        case IPv4Network() as network:
            return MapName.CIDR4, encode_cidr(network)
        case network:
            return MapName.CIDR6, encode_cidr(network)


def table_entry_of(rule: Rule) -> Entry:
    """Return where a rule of our own tables stands."""
    if not isinstance(rule.subject, bytes):
        return MapName.LIST_SOURCES, encode_list_source(rule.subject)
    name = MapName.LIST_NAMES if rule.book is Book.LISTS else MapName.ZONES
    return name, encode_scoped_name(rule.subject, rule.qtype, rule.scope)


def value_of(rule: Rule) -> bytes:
    """Return the rule's 16 bytes, unused ones included."""
    return _VALUE.pack(rule.hits, rule.action, rule.unused)


def rule_entries(scene: Scene) -> dict[Entry, bytes]:
    """Return the values of the rules' entries, in the order of the scene's rules."""
    entries = {entry_of(rule): value_of(rule) for rule in scene.rules}
    if len(entries) != len(scene.rules):
        raise EngineError("two rules of the scene are one entry")
    return entries


def destination_keys(scene: Scene) -> tuple[Entry, ...]:
    """Return the keys of the destination maps."""
    ends = [(ip_address(address), port) for address, port in scene.destinations]
    return tuple(
        (
            MapName.XSK_DESTINATIONS_V4 if end.version == 4 else MapName.XSK_DESTINATIONS_V6,
            encode_xsk_destination(end, port),
        )
        for end, port in ends
    )


class Index(Enum):
    """What the index of names is like for an engine; nothing else may change by it."""

    STALE = "stale index"
    EXACT = "exact index"
    VAIN = "vain index"


_ALWAYS = 2**64 - 1
FACTORS = IndexFactors.random()
"""Of every index made here; the secret of a service is its own."""


def index_of(scene: Scene, state: Index) -> bytes:
    """Return the value of name-index for a scene.

    A stale one says that all maps are empty, and is not to be believed; an exact one
    has the names' bits in one of its halves, and nothing in the other; a vain one
    excludes nothing.
    """
    if state is Index.VAIN:
        return index_value((), half=0, fresh=_ALWAYS, fill=255)
    entries = [*rule_entries(scene), *destination_keys(scene)]
    keys = [key for name, key in entries if name is MapName.QNAMES]
    exact = state is Index.EXACT
    filled = {name for name, _ in entries} if exact else set()
    return index_value(
        keys if exact else (),
        half=len(keys) % 2,
        fresh=_ALWAYS if exact else 0,
        empty=[name for name in (*RULE_MAPS, *DESTINATION_MAPS) if name not in filled],
    )


def index_value(  # noqa: PLR0913 - a layout's fields
    keys: Iterable[bytes],
    *,
    half: int,
    fresh: int,
    tick: int = 1,
    fill: int = 0,
    empty: Iterable[MapName] = (),
) -> bytes:
    """Return a value of name-index: one half has the keys' bits, the other `fill`."""
    value = bytearray([fill]) * INDEX_SIZE
    beats = (tick << 1 | half, fresh, 0, 0, encode_empty(tick, empty))
    header = struct.pack(f"=8Q{INDEX_FACTORS}Q", *beats, FACTORS.qtype, 0, 0, *FACTORS.names)
    value[:INDEX_HEADER_SIZE] = header
    words = memoryview(value).cast("Q")
    for key in keys:
        word, bit = divmod(FACTORS.bit(key), 64)
        words[INDEX_HEADER_SIZE // 8 + half * INDEX_WORDS + word] |= 1 << bit
    return bytes(value)


def hit_between(before: Sequence[bytes], after: Sequence[bytes]) -> int | None:
    """Return the index of the one value whose counter gained one, None where none did."""
    hits = [index for index, value in enumerate(after) if value != before[index]]
    if not hits:
        return None
    index = hits[0]
    count, *rest = _VALUE.unpack(before[index])
    if len(hits) > 1 or after[index] != _VALUE.pack((count + 1) % 2**64, *rest):
        raise EngineError(f"rules {hits} did not gain one hit between them")
    return index


def counted_between(before: bytes, after: bytes, size: int) -> tuple[Reason, PacketAction]:
    """Return the one (reason, action) that counted one packet of `size` bytes.

    Args:
        before: value of the counters map for every CPU, end to end.
        after: the same afterwards.
        size: of the frame as received.
    """
    moved: dict[int, int] = {}
    for cpu in range(0, len(after), COUNTERS_SIZE):
        old, new = before[cpu : cpu + COUNTERS_SIZE], after[cpu : cpu + COUNTERS_SIZE]
        if old == new:
            continue
        for index, (was, now) in enumerate(
            zip(_CELLS.unpack(old), _CELLS.unpack(new), strict=True)
        ):
            if was != now and index < _REASONS:
                moved[index] = moved.get(index, 0) + now - was
    packets = [index for index in moved if index % 2 == 0]
    if len(packets) != 1 or moved != {packets[0]: 1, packets[0] + 1: size}:
        raise EngineError(f"counters moved by {moved} for one frame of {size} octets")
    reason, action = divmod(packets[0] // 2, len(PacketAction))
    if reason not in set(Reason):
        raise EngineError(f"counted under {reason}, which is no reason")
    return Reason(reason), PacketAction(action)
