"""The one mirror of xdp/abi.h: numbers, layouts, and codecs for map keys and values.

Owns the meaning of the bytes in the maps. Does not own rules as text (rules/rules.py) or access to
the maps (kernel/). A test compares every number, size and offset with the header, using the host's
compiler. Byte orders are named as in DNSDIST.md: "host" is the order of this machine, "wire" is
network order. Used by every room that reads or writes maps.
"""

from __future__ import annotations

import secrets
import struct
import sys
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from operator import mul
from typing import TYPE_CHECKING, NamedTuple, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_U64 = (1 << 64) - 1

NAME_MAX = 255
"""Octets of a domain name in wire form, root byte included (RFC 1035, 2.3.4)."""

LABEL_MAX = 63
"""Octets of one label (same section); a greater length byte is a pointer or invalid."""

WILDCARD_QTYPE = 65535
"""Query type that means every type, as written by dnsdist 2.0 and later."""

LEGACY_WILDCARD_QTYPE = 255
"""Query type that means every type up to dnsdist 1.9; also the type ANY."""


class RuleAction(IntEnum):
    """Action byte in the value of a rule; every other byte means Pass."""

    PASS = 0
    DROP = 1
    TRUNCATE = 2

    @classmethod
    def from_byte(cls, byte: int) -> RuleAction:
        """Return the action that the program reads from this byte."""
        return cls(byte) if byte in (cls.DROP, cls.TRUNCATE) else cls.PASS


class PacketAction(IntEnum):
    """What the program did with a packet; the lower-case name is the metric label."""

    PASS = 0
    DROP = 1
    TRUNCATE = 2
    REDIRECT = 3


class Reason(IntEnum):
    """Why the program did it; `label` is the metric label. Never renumbered."""

    OTHER = 0
    FRAGMENT = 1
    MALFORMED = 2
    ADDR_V4 = 3
    ADDR_V6 = 4
    CIDR4 = 5
    CIDR6 = 6
    QNAME = 7
    NO_MATCH = 8
    RESPONSE = 9
    OPCODE = 10
    UNANSWERABLE = 11
    REDIRECT = 12
    XSK_INELIGIBLE = 13
    PANIC = 14
    EXEMPT = 15
    ZONE = 16
    LIST_SOURCE = 17
    LIST_NAME = 18
    LIMIT = 19
    UNPROVEN = 20
    ZONE_LIMIT = 21

    @property
    def label(self) -> str:
        """The metric label: `addr-v4`, `no-match`, …"""
        return self.name.lower().replace("_", "-")


class TallyRow(IntEnum):
    """Rows of the table of counters that are no reason: what was looked up on the way."""

    COOKIES = 30
    PROOFS = 31


REASON_SLOTS = 32
"""Rows of the table of counters, with room for later reasons."""


class Book(IntEnum):
    """Whose rules: those of lists are asked after all others."""

    OPERATOR = 0
    LISTS = 1


class ZoneScope(IntEnum):
    """What a rule for a name covers: the name alone, also what is below, or only that."""

    SELF = 0
    ALL = 1
    BELOW = 2


class MapType(IntEnum):
    """The values of `enum bpf_map_type` (linux/bpf.h) that are used here."""

    HASH = 1
    ARRAY = 2
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    XSKMAP = 17
    RINGBUF = 27


BPF_F_NO_PREALLOC = 1
BPF_F_MMAPABLE = 1 << 10
BPF_F_INNER_MAP = 1 << 12


class MapName(StrEnum):
    """Name of a map: the name of its pin, and its metric label.

    The last three are maps of rules that have no map of the kernel's own (TABLES).
    """

    ADDR_V4 = "addr-v4"
    ADDR_V6 = "addr-v6"
    CIDR4 = "cidr4"
    CIDR6 = "cidr6"
    QNAMES = "qnames"
    XSKMAP = "xskmap"
    XSK_DESTINATIONS_V4 = "xsk-destinations-v4"
    XSK_DESTINATIONS_V6 = "xsk-destinations-v6"
    COUNTERS = "counters"
    CONTROL = "control"
    SCRATCH = "scratch"
    NAME_INDEX = "name-index"
    TABLE_HEAD = "table-head"
    NAME_TABLE = "name-table"
    NAME_FILTER = "name-filter"
    SOURCE_TABLE = "source-table"
    SOURCE_FILTER = "source-filter"
    TABLE_REQUESTS = "table-requests"
    FORMER_NAMES = "former-names"
    FORMER_SOURCES = "former-sources"
    LIMITS = "limits"
    LIMIT_CELLS = "limit-cells"
    LIMIT_PROVEN = "limit-proven"
    FLOOD = "flood"
    EXEMPT4 = "exempt4"
    EXEMPT6 = "exempt6"
    ZONE_LIMITS = "zone-limits"
    ZONE_NAMES = "zone-names"
    ZONE_CELLS = "zone-cells"
    HEAVY_ZONES = "heavy-zones"
    ZONE_HEAD = "zone-head"
    SAMPLES = "samples"
    SAMPLE_STATE = "sample-state"
    ZONES = "zones"
    LIST_SOURCES = "list-sources"
    LIST_NAMES = "list-names"


class Scope(Enum):
    """Who uses a map, and how long it lives."""

    SHARED = "the DNS server's too: pinned in its directory, never removed"
    INTERFACE = "one an interface: pinned beside its link, kept by the next service"
    SERVICE = "one a service: pinned beside each link, kept while a program refers to it"
    PROGRAM = "one a program: neither pinned nor kept"
    TABLES = "one a service, made with the first zone or list rule: pinned beside each link"
    LIMITS = "one an installation: pinned, and kept whatever the service or the program does"
    SAMPLES = "one a service, while packets are sampled: neither pinned nor kept"
    WRITER = "only for the program that writes to the tables: neither pinned nor kept"


@dataclass(frozen=True, slots=True)
class MapSpec:
    """One map of the contract.

    Attributes:
        name: the name of its pin.
        ref: its number in the compiled program (enum map_ref).
        type, key_size, value_size (bytes), flags: what the kernel must report.
        entries: default of max_entries where the service makes the map; of a ring buffer octets.
        scope: who uses it, and how long it lives.
        legacy: (key_size, value_size) of dnsdist's format without `external`, or None.
        inner: what the maps in it are like, where it holds maps.
    """

    name: MapName
    ref: int
    type: MapType
    key_size: int
    value_size: int
    flags: int
    entries: int
    scope: Scope
    legacy: tuple[int, int] | None = None
    inner: MapSpec | None = None


def _array(name: MapName, ref: int, size: int, entries: int, scope: Scope) -> MapSpec:
    """Return an array whose values a process can map into its memory."""
    return MapSpec(name, ref, MapType.ARRAY, 4, size, BPF_F_MMAPABLE, entries, scope)


CONTROL_SIZE = 64
COUNTERS_SIZE = REASON_SLOTS * len(PacketAction) * 16
SCRATCH_SIZE = 1280

INDEX_WORD_BITS = 13
INDEX_WORDS = 1 << INDEX_WORD_BITS
INDEX_FACTORS = 64
INDEX_TYPE_FACTOR_OFFSET = 40
INDEX_FACTORS_OFFSET = 64
INDEX_HEADER_SIZE = INDEX_FACTORS_OFFSET + 8 * INDEX_FACTORS
INDEX_FRESH_OFFSET = 8
INDEX_TICKS_OFFSET = 16
INDEX_ASKED_OFFSET = 24
INDEX_EMPTY_OFFSET = 32
EMPTY_TICK_SHIFT = 16
INDEX_SIZE = INDEX_HEADER_SIZE + 2 * 8 * INDEX_WORDS
"""`struct name_index`: u64 heartbeat, fresh, ticks, asked, empty, the factor of the type, spare
room, the factors of the names, two bitmaps."""

TABLE_LAYOUT = 4
TABLE_SLOTS = 4
TABLE_REQUESTS = 4096
TABLE_LEVELS = 16
TABLE_NAME_WORDS = 48
TABLE_SOURCE_BITS = 24
TABLE_EXACT = 255
"""`struct table_head` and around it: number of the layout, slots in a bucket, requests that
wait at once, labels of the deepest zone, words of the longest name, bits of an IPv4 address
in the finest map of those with an entry, prefix length that stands for an exact address."""

BUCKET_SIZE = 64
LINE_SIZE = 64
HEAD_SIZE = 2048
HEAD_LAYOUT_OFFSET = 0
HEAD_BOOK_ID_OFFSET = 8
HEAD_DIRTY_OFFSET = 16
HEAD_COUNTS_OFFSET = 24
HEAD_REMOVED_OFFSET = 48
HEAD_MOVES_OFFSET = 64
HEAD_NAMES_OFFSET = 128
HEAD_SOURCES_OFFSET = 136
HEAD_NAME_BUCKETS_OFFSET = 144
HEAD_SOURCE_BUCKETS_OFFSET = 152
HEAD_SECRETS_OFFSET = 192
HEAD_BIT_NUMBERS_OFFSET = 1920
"""`struct table_head`: u64 each but for the last, which is 64 bytes. The counts are the
entries of each of TABLES; removed is one for names and one for sources; the secrets are
everything up to the bit numbers."""

NAMES_TYPED, NAMES_OPERATOR, NAMES_LISTS, NAMES_ROOT, NAMES_TOP = (1 << n for n in range(33, 38))
SOURCES_V4, SOURCES_V6 = 1 << 33, 1 << 34
SOURCES_SHIFT = 40
"""The head's words `names` and `sources`: shifts, and bits (abi.h)."""

BIT_NUMBER = 0x03F79D71B4CB0A89

REQUEST_SIZE = 288
REQUEST_RESULT_OFFSET = 3
REQUEST_VALUE_OFFSET = 16
REQUEST_NAME_KEY_OFFSET = 29
REQUEST_SOURCE_KEY_OFFSET = 30
"""`struct table_request`: its result, its value, and a key as the state file has it. In the place
of the first one is `struct table_queue`: u64 next, waiting."""

_REQUEST = struct.Struct("=4B3I")


def request_head(op: TableOp, ref: int, action: int = 0, number: int = 0, count: int = 0) -> bytes:
    """Return a request up to where its key is (REQUEST_..._KEY_OFFSET).

    Args:
        op: what is asked for.
        ref: of the table (TABLES).
        action: of PUT.
        number: of CARRY and CARRY_HITS: the first slot of the former table.
        count: of the same: how many slots.
    """
    source = ref == TABLES[MapName.LIST_SOURCES].ref
    size = REQUEST_SOURCE_KEY_OFFSET if source else REQUEST_NAME_KEY_OFFSET
    return _REQUEST.pack(op, ref, action, 0, number, count, 0).ljust(size, b"\0")


def encode_head(
    book_id: int,
    secrets_: bytes,
    *,
    buckets: tuple[int, int],
    words: tuple[int, int],
    shift: int,
) -> bytes:
    """Return `struct table_head` of empty tables.

    Args:
        book_id: names these tables, in the state file too.
        secrets_: HEAD_BIT_NUMBERS_OFFSET - HEAD_SECRETS_OFFSET random bytes.
        buckets: of name-table and source-table; powers of two.
        words: of one half of the name filter, and of IPv6 in one of the source filter; powers
            of two, and eight at least.
        shift: how many bits an IPv4 address loses in the map of addresses, 8 to 16.
    """
    head = bytearray(HEAD_SIZE)
    struct.pack_into("=QQ", head, 0, TABLE_LAYOUT, book_id)
    struct.pack_into(
        "=4Q",
        head,
        HEAD_NAMES_OFFSET,
        words[0] - 1,
        words[1] - 1 | shift << SOURCES_SHIFT,
        buckets[0] - 1,
        buckets[1] - 1,
    )
    head[HEAD_SECRETS_OFFSET:HEAD_BIT_NUMBERS_OFFSET] = secrets_
    for bit in range(64):
        head[HEAD_BIT_NUMBERS_OFFSET + ((1 << bit) * BIT_NUMBER >> 58 & 63)] = bit
    return bytes(head)


ACTION_RENEW = 0x80
"""Beside the action of PUT: the entry's hits start at 0."""


class TableOp(IntEnum):
    """What the table program is asked to do (enum table_op)."""

    LOOK_UP = 1
    PUT = 2
    REMOVE = 3
    ADD_HITS = 4


class TableResult(IntEnum):
    """What came of it (enum table_result)."""

    PENDING = 0
    CREATED = 1
    CHANGED = 2
    SAME = 3
    FOUND = 4
    ABSENT = 5
    FULL = 6
    INVALID = 7
    DONE = 8


LIMIT_LEVELS = 4
LIMIT_WORDS = 4
LIMIT_TAG_MASK = 0xFFFF
FLOOD_BUCKETS = 2
FLOOD_BATCH = 64
FLOOD_TIME_SHIFT = 20
FLOOD_MOST_SHIFT = 10
FLOOD_SHARE_STEPS = 8
"""Of the limits: prefixes of a family, words in a set of limit-cells, a word's tag, total
limits, tickets that a CPU takes at once, shifts of a bucket's ticks and of what it may be
ahead beyond its room, steps of a share."""

LIMITS_LAYOUT = 1
LIMITS_SIZE = 512
LIMITS_LIVE_SIZE = 384
LIMITS_CLOCK_OFFSET = 24
LIMITS_COOKIE_BASE_OFFSET = 120
LIMITS_SECRETS_SIZE = 112
LIMIT_SET_SIZE = 32
PROVEN_LINE_SIZE = 64
FLOOD_SIZE = 128
FLOOD_BUCKET_SIZE = 64
"""`struct limits` and around it: its live part comes first, its secrets last."""

_MIX, _PROVEN_MIX = 5, 13
_LIMITS_LIVE = struct.Struct("=10Q4Q2Q2I56x16Q64x")
_LIMITS_KEPT = struct.Struct("=Q2I14Q")


@dataclass(frozen=True, slots=True)
class LevelPrices:
    """Prices of one packet, level by level (struct limit_prices): multiples of 2^16."""

    v4: tuple[int, ...]
    v6: tuple[int, ...]

    def words(self) -> tuple[int, ...]:
        """Return the eight words; a level that is not there has 0."""
        families = (self.v4, self.v6)
        return tuple(word for prices in families for word in (*prices, 0, 0, 0, 0)[:LIMIT_LEVELS])


@dataclass(frozen=True, slots=True)
class LimitValues:
    """The live part of `struct limits` (abi.h): any field may change at any time.

    Attributes:
        clock, room, most: of the accounts; a clock of 0 is no limit by source.
        prices: of the plain account, and of the other two.
        slip: each slip-th limited packet is answered; 0 is none.
        flood_prices, flood_rooms: of the buckets X and Y; a price of 0 is no such limit.
        dry_run: whether what is over a limit goes on.
        cookie_keys: up to two SipHash keys: the integers of both halves, little-endian.
        cookie_rate, cookie_base: Unix time is ticks * rate + base, in 2^-32 seconds.
        proven_lifetime: in 256 ticks.
    """

    clock: int = 0
    room: int = 0
    most: int = 0
    prices: tuple[LevelPrices, LevelPrices] = (LevelPrices((), ()), LevelPrices((), ()))
    slip: int = 1
    flood_prices: tuple[int, int] = (0, 0)
    flood_rooms: tuple[int, int] = (0, 0)
    dry_run: bool = False
    cookie_keys: tuple[tuple[int, int], ...] = ()
    cookie_rate: int = 0
    cookie_base: int = 0
    proven_lifetime: int = 0


def encode_limits(values: LimitValues) -> bytes:
    """Return the live part of `struct limits`: its first LIMITS_LIVE_SIZE octets."""
    keys = [half for key in values.cookie_keys for half in key]
    return _LIMITS_LIVE.pack(
        *(LIMITS_LAYOUT, values.dry_run, values.slip),
        *(values.clock & _U64, values.room, values.most),
        *values.flood_prices,
        *values.flood_rooms,
        *(*keys, 0, 0, 0, 0)[:4],
        *(values.cookie_rate, values.cookie_base & _U64),
        *(len(values.cookie_keys), values.proven_lifetime),
        *values.prices[0].words(),
        *values.prices[1].words(),
    )


def encode_limits_kept(sets: int, lines: int, drawn: bytes) -> bytes:
    """Return the rest of `struct limits`, which stays while the map exists.

    Args:
        sets: entries of limit-cells, a power of two.
        lines: entries of limit-proven, a power of two, two at least.
        drawn: LIMITS_SECRETS_SIZE random octets; the two factors that must be odd are made so.
    """
    words = list(struct.unpack("=14Q", drawn))
    for odd in (_MIX, _PROVEN_MIX):
        words[odd] |= 1
    return _LIMITS_KEPT.pack(sets - 1, 65 - lines.bit_length(), 0, *words)


ZONES_LAYOUT = 1
ZONE_LEVELS = 40
ZONE_NAME_WORDS = 72
ZONE_TAG_FLAGS = 3
ZONE_NAME_ENTRY = 1
ZONE_NAME_BELOW = 2
ZONE_BUCKET_WORDS = 8
ZONE_TIME_SHIFT = 24
ZONES_MAX = 1024
HEAVY_CELLS = 192
HEAVY_SHARE = 16
HEAVY_TEXT = 96
SPREAD = 0x9E3779B97F4A7C15
"""Of the limits of zones (abi.h): words of the longest name, flags beside a tag, words in a
bucket of names, labels that are looked at, shift of a tick in an account, zones at most; cells of
heavy-zones, of how many names one is counted, octets of an end."""

ZONE_SECRETS_SIZE = 16 + 32 * ZONE_NAME_WORDS
ZONE_SECRETS_OFFSET = 48
ZONE_LEVELS_OFFSET = 8
ZONE_HEAD_SIZE = ZONE_SECRETS_OFFSET + ZONE_SECRETS_SIZE
ZONE_LIMIT_SIZE = 32
ZONE_CELL_SIZE = 64
ZONE_ENDS_OFFSET = 8
ZONE_BUCKET_SIZE = 64
HEAVY_CELL_SIZE = 128
HEAVY_CELLS_OFFSET = 64
HEAVY_SIZE = HEAVY_CELLS_OFFSET + HEAVY_CELL_SIZE * HEAVY_CELLS

_ZONE_LIMIT = struct.Struct("=3Q2I")


def encode_zone_head(levels: int, drawn: bytes) -> bytes:
    """Return `struct zone_head`.

    Args:
        levels: bit n: there is a zone of n labels.
        drawn: ZONE_SECRETS_SIZE random octets.
    """
    return struct.pack("=QQ32x", ZONES_LAYOUT, levels) + drawn


class ZoneKnowledge(IntEnum):
    """What is known of a zone's names (enum zone_knowledge)."""

    UNKNOWN = 0
    LISTED = 1
    WHOLE = 2


@dataclass(frozen=True, slots=True)
class ZoneLimitValue:
    """`struct zone_limit`: the limit of one zone, in 2^-24 ticks.

    Attributes:
        price: of one packet.
        room: what may have been spent at one moment.
        most: more than that is not spent, but past.
        number: of its account and its names.
        names: what is known of its names.
    """

    price: int
    room: int
    most: int
    number: int
    names: ZoneKnowledge


def encode_zone_limit(value: ZoneLimitValue) -> bytes:
    """Return the value of zone-limits."""
    return _ZONE_LIMIT.pack(value.price, value.room, value.most, value.number, value.names)


def decode_zone_limit(octets: bytes) -> ZoneLimitValue:
    """Inverse of `encode_zone_limit`."""
    price, room, most, number, names = _ZONE_LIMIT.unpack(octets)
    return ZoneLimitValue(price, room, most, number, ZoneKnowledge(names))


def encode_zone_names_head(mask: int, names: int) -> bytes:
    """Return `struct zone_names_head`: the first bucket of a zone's names."""
    return struct.pack("=3Q40x", ZONES_LAYOUT, mask, names)


class HeavyCell(NamedTuple):
    """One end of names that was seen often: of `struct heavy_cell`.

    Attributes:
        seen: how often, less how often others had the same place.
        fronts: a bit for each of 64 classes of what was in front of it.
        end: its labels with their lengths, without the root.
    """

    seen: int
    fronts: int
    end: bytes


def decode_heavy(value: bytes) -> tuple[int, list[HeavyCell]]:
    """Return how many names were counted, and the cells, of one CPU's HEAVY_SIZE octets."""
    (names,) = struct.unpack_from("=Q", value)
    cells = []
    for at in range(HEAVY_CELLS_OFFSET, HEAVY_SIZE, HEAVY_CELL_SIZE):
        tag, count, fronts, length = struct.unpack_from("=4Q", value, at)
        if tag and count:
            cells.append(
                HeavyCell(count, fronts, value[at + 32 : at + 32 + min(length, HEAVY_TEXT)])
            )
    return names, cells


SAMPLE_ROW = 29
SAMPLE_CPUS = 256
SAMPLE_SHIFT_MAX = 24
SAMPLE_TIME_SHIFT = 20
SAMPLE_LENGTH_MAX = 2048
SAMPLE_DEPTH_NONE = 255
SAMPLE_HEADER_SIZE = 24
"""Of the samples (abi.h): the row of the counters with a CPU's blocks, CPUs with a shift of their
own, the greatest shift, the shift of a tick in a bucket, octets of a frame at most, the depth of
what no zone decided, octets of a record before its frame."""

SAMPLE_STATE_SIZE = 192 + 64 * SAMPLE_CPUS
SAMPLE_EPOCH_OFFSET = 0
SAMPLE_UNTIL_OFFSET = 64
SAMPLE_BUCKET_SIZE = 64
SAMPLE_SHIFTS_OFFSET = 192
SAMPLE_CPU_SIZE = 64
"""`struct sample_state`."""

_SAMPLING_LOST_OFFSET = 16
_SAMPLE = struct.Struct("=Q3IH2B")
_SAMPLE_LIMITS = struct.Struct("=5Q")


class Stratum(IntEnum):
    """Packets that are sampled apart, each with a budget (enum stratum)."""

    PASSED = 0
    TAKEN = 1

    @classmethod
    def of(cls, action: PacketAction) -> Stratum:
        """Return where packets of this action are."""
        return cls.TAKEN if action in {PacketAction.DROP, PacketAction.TRUNCATE} else cls.PASSED


class SampleHeader(NamedTuple):
    """`struct sample`, which is before the octets of the frame.

    Attributes:
        time: of CLOCK_MONOTONIC, nanoseconds.
        ifindex: where the packet came in.
        weight: packets that it stands for.
        length: octets of the whole frame; `captured`: of it that follow.
        verdict: reason << 2 | action.
        depth: labels of the zone whose rule decided, or SAMPLE_DEPTH_NONE.
    """

    time: int
    ifindex: int
    weight: int
    length: int
    captured: int
    verdict: int
    depth: int


def encode_sample_header(header: SampleHeader) -> bytes:
    """Return the first SAMPLE_HEADER_SIZE octets of a record."""
    return _SAMPLE.pack(*header)


def decode_sample_header(record: bytes | memoryview) -> SampleHeader:
    """Inverse of `encode_sample_header`; the octets of the frame follow."""
    return SampleHeader(*_SAMPLE.unpack_from(record))


def encode_sample_limits(patience: int, prices: tuple[int, int], rooms: tuple[int, int]) -> bytes:
    """Return `struct sample_state` from behind its epoch up to its buckets: how much is sampled.

    Args:
        patience: ticks after which the program stops, if there is no other epoch.
        prices: of one sample of each stratum, in 2^-20 ticks.
        rooms: what may have been spent at one moment, in the same.
    """
    return _SAMPLE_LIMITS.pack(patience, *prices, *rooms)


def decode_samples_lost(value: bytes) -> int:
    """Return how many samples the ring buffer had no room for, on all CPUs.

    Args:
        value: as `decode_counters`.
    """
    at = SAMPLE_ROW * len(PacketAction) * _COUNTER.size + _SAMPLING_LOST_OFFSET
    return sum(
        struct.unpack_from("=Q", value, base + at)[0]
        for base in range(0, len(value), COUNTERS_SIZE)
    )


_NAMES_OF_A_ZONE = MapSpec(
    MapName.ZONE_NAMES,
    0,
    MapType.ARRAY,
    4,
    ZONE_BUCKET_SIZE,
    BPF_F_MMAPABLE | BPF_F_INNER_MAP,
    2,
    Scope.LIMITS,
)


class ProvenSecrets(NamedTuple):
    """What gives a source its place in limit-proven (xdp/proven.h)."""

    shift: int
    keys: tuple[int, int, int, int]
    mix: int


_PROVEN_SHIFT_OFFSET, _PROVEN_KEYS_OFFSET = 392, 472


def decode_proven_secrets(value: bytes) -> ProvenSecrets:
    """Return the part of `struct limits` that the table of proven sources depends on."""
    (shift,) = struct.unpack_from("=I", value, _PROVEN_SHIFT_OFFSET)
    first, second, third, added, mix = struct.unpack_from("=5Q", value, _PROVEN_KEYS_OFFSET)
    return ProvenSecrets(shift, (first, second, third, added), mix)


MAPS: dict[MapName, MapSpec] = {
    spec.name: spec
    for spec in (
        MapSpec(MapName.ADDR_V4, 1, MapType.HASH, 4, 16, 0, 1024, Scope.SHARED, (4, 8)),
        MapSpec(MapName.ADDR_V6, 2, MapType.HASH, 16, 16, 0, 1024, Scope.SHARED, (16, 8)),
        MapSpec(MapName.CIDR4, 3, MapType.LPM_TRIE, 8, 16, BPF_F_NO_PREALLOC, 1024, Scope.SHARED),
        MapSpec(MapName.CIDR6, 4, MapType.LPM_TRIE, 20, 16, BPF_F_NO_PREALLOC, 1024, Scope.SHARED),
        MapSpec(MapName.QNAMES, 5, MapType.HASH, 258, 16, 0, 1024, Scope.SHARED, (255, 16)),
        MapSpec(MapName.XSKMAP, 6, MapType.XSKMAP, 4, 4, 0, 64, Scope.SHARED),
        MapSpec(MapName.XSK_DESTINATIONS_V4, 7, MapType.HASH, 8, 1, 0, 1024, Scope.SHARED),
        MapSpec(MapName.XSK_DESTINATIONS_V6, 8, MapType.HASH, 20, 1, 0, 1024, Scope.SHARED),
        MapSpec(MapName.COUNTERS, 9, MapType.PERCPU_ARRAY, 4, COUNTERS_SIZE, 0, 1, Scope.INTERFACE),
        MapSpec(MapName.CONTROL, 10, MapType.ARRAY, 4, CONTROL_SIZE, 0, 1, Scope.INTERFACE),
        MapSpec(MapName.SCRATCH, 11, MapType.PERCPU_ARRAY, 4, SCRATCH_SIZE, 0, 1, Scope.PROGRAM),
        MapSpec(
            MapName.NAME_INDEX, 12, MapType.ARRAY, 4, INDEX_SIZE, BPF_F_MMAPABLE, 1, Scope.SERVICE
        ),
        _array(MapName.TABLE_HEAD, 13, HEAD_SIZE, 1, Scope.TABLES),
        _array(MapName.NAME_TABLE, 14, BUCKET_SIZE, 64, Scope.TABLES),
        _array(MapName.NAME_FILTER, 15, 8, 128, Scope.TABLES),
        _array(MapName.SOURCE_TABLE, 16, BUCKET_SIZE, 64, Scope.TABLES),
        _array(MapName.SOURCE_FILTER, 17, LINE_SIZE, 2 * (256 + 8), Scope.TABLES),
        _array(MapName.TABLE_REQUESTS, 18, REQUEST_SIZE, 1 + TABLE_REQUESTS, Scope.WRITER),
        _array(MapName.FORMER_NAMES, 19, BUCKET_SIZE, 64, Scope.WRITER),
        _array(MapName.FORMER_SOURCES, 20, BUCKET_SIZE, 64, Scope.WRITER),
        _array(MapName.LIMITS, 21, LIMITS_SIZE, 1, Scope.LIMITS),
        _array(MapName.LIMIT_CELLS, 22, LIMIT_SET_SIZE, 1 << 14, Scope.LIMITS),
        _array(MapName.LIMIT_PROVEN, 23, PROVEN_LINE_SIZE, 1 << 12, Scope.LIMITS),
        _array(MapName.FLOOD, 27, FLOOD_SIZE, 1, Scope.LIMITS),
        MapSpec(MapName.EXEMPT4, 28, MapType.LPM_TRIE, 8, 8, BPF_F_NO_PREALLOC, 2048, Scope.LIMITS),
        MapSpec(
            MapName.EXEMPT6, 29, MapType.LPM_TRIE, 20, 8, BPF_F_NO_PREALLOC, 2048, Scope.LIMITS
        ),
        MapSpec(
            *(MapName.ZONE_LIMITS, 30, MapType.HASH, 8, ZONE_LIMIT_SIZE, 0, ZONES_MAX),
            Scope.LIMITS,
        ),
        MapSpec(
            *(MapName.ZONE_NAMES, 31, MapType.ARRAY_OF_MAPS, 4, 4, 0, ZONES_MAX),
            Scope.LIMITS,
            inner=_NAMES_OF_A_ZONE,
        ),
        _array(MapName.ZONE_CELLS, 32, ZONE_CELL_SIZE, ZONES_MAX, Scope.LIMITS),
        MapSpec(MapName.HEAVY_ZONES, 33, MapType.PERCPU_ARRAY, 4, HEAVY_SIZE, 0, 1, Scope.LIMITS),
        _array(MapName.ZONE_HEAD, 34, ZONE_HEAD_SIZE, 1, Scope.LIMITS),
        MapSpec(MapName.SAMPLES, 35, MapType.RINGBUF, 0, 0, 0, 1 << 16, Scope.SAMPLES),
        _array(MapName.SAMPLE_STATE, 36, SAMPLE_STATE_SIZE, 1, Scope.SAMPLES),
    )
}


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A map of rules that has no map of the kernel's own (enum rule_table).

    Attributes:
        name: as an operator knows it.
        ref: its number in the state file and in requests.
        key_size, value_size: bytes.
        book: whose rules it holds.
    """

    name: MapName
    ref: int
    key_size: int
    book: Book
    value_size: int = 16


TABLES: dict[MapName, TableSpec] = {
    spec.name: spec
    for spec in (
        TableSpec(MapName.ZONES, 24, NAME_MAX + 5, Book.OPERATOR),
        TableSpec(MapName.LIST_SOURCES, 25, 20, Book.LISTS),
        TableSpec(MapName.LIST_NAMES, 26, NAME_MAX + 5, Book.LISTS),
    )
}
"""The maps of rules in our own tables. Keys: `encode_scoped_name`, `encode_list_source`."""

BY_REF: dict[int, MapSpec | TableSpec] = {
    **{spec.ref: spec for spec in MAPS.values()},
    **{spec.ref: spec for spec in TABLES.values()},
}
"""The maps by their number in the compiled program, which the state file uses too."""


def names_of(*scopes: Scope) -> tuple[MapName, ...]:
    """Return the maps of these scopes, in the order of their numbers."""
    return tuple(name for name, spec in MAPS.items() if spec.scope in scopes)


RULE_MAPS = (MapName.ADDR_V4, MapName.ADDR_V6, MapName.CIDR4, MapName.CIDR6, MapName.QNAMES)
"""The five maps that hold rules, in the order of their pins in DNSDIST.md."""

RULE_PLACES = (*RULE_MAPS, *TABLES)
"""All maps that hold rules: the five, and the three in tables of ours."""

DESTINATION_MAPS = (MapName.XSK_DESTINATIONS_V4, MapName.XSK_DESTINATIONS_V6)
"""The two maps of AF_XDP destinations."""

_VALUE = struct.Struct("=QB7x")
_COUNTER = struct.Struct("=QQ")


def encode_value(action: RuleAction, hits: int = 0) -> bytes:
    """Return the 16 bytes of a rule's value: u64 counter (host), action, seven zero bytes."""
    return _VALUE.pack(hits, action)


class RuleValue(NamedTuple):
    """The value of a rule's entry: its action and its counter."""

    action: RuleAction
    hits: int


def decode_value(value: bytes) -> RuleValue:
    """Return the value that 16 bytes hold; the last seven are ignored."""
    if (unhit := _UNHIT.get(value)) is not None:
        return unhit
    hits, action = _VALUE.unpack(value)
    return RuleValue(RuleAction.from_byte(action), hits)


_UNHIT = {encode_value(action): RuleValue(action, 0) for action in RuleAction}
"""The values of rules that were never hit: most of a long list."""

SLOT_HITS = 8
"""Shift of the hits in the value of a slot of our own tables; its action is below."""


def decode_slot(value: int) -> RuleValue:
    """Return the value of a rule that the value of a slot means."""
    return RuleValue(RuleAction.from_byte(value & 3), value >> SLOT_HITS)


ADDR_V4_STEP = -1 if sys.byteorder == "little" else 1
"""`octets[::ADDR_V4_STEP]` turns an address in network order into addr-v4's key, and back."""


def encode_addr_v4(address: IPv4Address) -> bytes:
    """Return addr-v4's key: the address as u32 in host order."""
    return struct.pack("=I", int(address))


def decode_addr_v4(key: bytes) -> IPv4Address:
    """Inverse of `encode_addr_v4`."""
    return IPv4Address(struct.unpack("=I", key)[0])


def encode_addr_v6(address: IPv6Address) -> bytes:
    """Return addr-v6's key: the address in wire order."""
    return address.packed


def decode_addr_v6(key: bytes) -> IPv6Address:
    """Inverse of `encode_addr_v6`."""
    return IPv6Address(key)


def encode_cidr(network: IPv4Network | IPv6Network) -> bytes:
    """Return the key of cidr4 or cidr6: u32 prefix length (host), address (wire)."""
    return struct.pack("=I", network.prefixlen) + network.network_address.packed


def decode_cidr4(key: bytes) -> IPv4Network:
    """Inverse of `encode_cidr` for 8 bytes; host bits are cleared."""
    return IPv4Network((key[4:8], struct.unpack_from("=I", key)[0]), strict=False)


def decode_cidr6(key: bytes) -> IPv6Network:
    """Inverse of `encode_cidr` for 20 bytes; host bits are cleared."""
    return IPv6Network((key[4:20], struct.unpack_from("=I", key)[0]), strict=False)


def encode_qname(wire: bytes, qtype: int) -> bytes:
    """Return qnames' key: lower-case wire name, zero padded to 256; u16 type (host)."""
    return wire.ljust(NAME_MAX + 1, b"\0") + struct.pack("=H", qtype)


def qname_size(octets: bytes) -> int:
    """Return the length of the wire name at the start of `octets`, root byte included.

    Raises:
        ValueError: the name does not end within 255 octets, or a label is longer than 63.
    """
    end = 0
    while end < min(len(octets), NAME_MAX):
        length = octets[end]
        if not length:
            return end + 1
        if length > LABEL_MAX:
            break
        end += length + 1
    raise ValueError(f"not a domain name in wire form: {octets[:16].hex()}…")


def decode_qname(key: bytes) -> tuple[bytes, int]:
    """Return (wire name with root byte, type) of a key of 258 bytes.

    The program looks up keys with zero bytes after the name, and dnsdist writes such keys.
    An entry with any other byte there can never match.

    Raises:
        ValueError: wrong size, not a name in wire form, or non-zero bytes after the name.
    """
    if len(key) != NAME_MAX + 3:
        raise ValueError(f"the key has {len(key)} bytes instead of {NAME_MAX + 3}")
    size = qname_size(key)
    if key[size : NAME_MAX + 1].strip(b"\0"):
        raise ValueError(f"bytes after the end of the name: {key[size : size + 16].hex()}…")
    return key[:size], struct.unpack_from("=H", key, NAME_MAX + 1)[0]


def shorten_qname(key: bytes) -> bytes:
    """Return a qnames key without its padding, as the state file stores it: type, then octets."""
    return key[NAME_MAX + 1 :] + key[: NAME_MAX + 1].rstrip(b"\0")


def lengthen_qname(short: bytes) -> bytes:
    """Inverse of `shorten_qname`: the 258 bytes of the map's key."""
    return short[2:].ljust(NAME_MAX + 1, b"\0") + short[:2]


def encode_scoped_name(wire: bytes, qtype: int, scope: ZoneScope) -> bytes:
    """Return the key of zones and list-names: that of qnames, u8 scope, a zero byte."""
    return encode_qname(wire, qtype) + bytes((scope, 0))


def decode_scoped_name(key: bytes) -> tuple[bytes, int, ZoneScope]:
    """Inverse of `encode_scoped_name`.

    Raises:
        ValueError: as `decode_qname`, or there is no such scope.
    """
    if len(key) != NAME_MAX + 5 or key[-1]:
        raise ValueError("it is not a key of a zone")
    wire, qtype = decode_qname(key[:-2])
    return wire, qtype, ZoneScope(key[-2])


def shorten_scoped_name(key: bytes) -> bytes:
    """Return the key as the state file stores it: u8 scope, u16 type (host), octets."""
    return key[-2:-1] + shorten_qname(key[:-2])


def lengthen_scoped_name(short: bytes) -> bytes:
    """Inverse of `shorten_scoped_name`: the 260 bytes of the key."""
    return lengthen_qname(short[1:]) + short[:1] + b"\0"


ListSource: TypeAlias = IPv4Address | IPv6Address | IPv4Network | IPv6Network


def encode_list_source(source: ListSource) -> bytes:
    """Return the key of list-sources.

    u8 family (4, 6), u8 prefix length (TABLE_EXACT for an address), u16 zero, and the address
    in wire order, zero padded to 16.
    """
    if isinstance(source, IPv4Address | IPv6Address):
        length, octets = TABLE_EXACT, source.packed
    else:
        length, octets = source.prefixlen, source.network_address.packed
    return bytes((source.version, length, 0, 0)) + octets.ljust(16, b"\0")


def decode_list_source(key: bytes) -> ListSource:
    """Inverse of `encode_list_source`; host bits are cleared.

    Raises:
        ValueError: it is not such a key.
    """
    size = _ADDRESS_SIZES.get(key[0]) if len(key) == 20 else None  # noqa: PLR2004 - its struct
    if size is None or any(key[2:4]) or any(key[4 + size :]):
        raise ValueError(f"it is not a key of a source: {key.hex()}")
    octets, length = key[4 : 4 + size], key[1]
    if length == TABLE_EXACT:
        return ip_address(octets)
    return ip_network((octets, length), strict=False)


def shorten_list_source(key: bytes) -> bytes:
    """Return the key as the state file stores it: family, length, 4 or 16 octets."""
    return key[:2] + key[4 : 4 + _ADDRESS_SIZES[key[0]]]


def lengthen_list_source(short: bytes) -> bytes:
    """Inverse of `shorten_list_source`: the 20 bytes of the key."""
    return short[:2] + b"\0\0" + short[2:].ljust(16, b"\0")


_ADDRESS_SIZES = {4: 4, 6: 16}


def encode_empty(tick: int, empty: Iterable[MapName]) -> int:
    """Return the word of the index that marks the maps which were empty at this tick."""
    return tick << EMPTY_TICK_SHIFT | sum(1 << MAPS[name].ref for name in empty)


_NAME_HALVES = tuple(struct.Struct(f"={2 * count}I") for count in range(33))
_QTYPE = struct.Struct("=H")
_USUAL_TYPES = (1, 2, 5, 6, 12, 15, 16, 28, 33, 64, 65, LEGACY_WILDCARD_QTYPE, WILDCARD_QTYPE)


class IndexFactors:
    """The secret factors that decide which bit of the index belongs to a key.

    Args:
        names: factors of the name, two for each 64-bit word.
        qtype: factor of the query type.
    """

    def __init__(self, names: Sequence[int], qtype: int) -> None:
        self.names = tuple(names)
        self.qtype = qtype
        self._of_halves = tuple(_of_halves(self.names))

    @classmethod
    def random(cls) -> Self:
        """Return random factors with which no two of the usual types of a name share a bit."""
        names = [secrets.randbits(64) for _ in range(INDEX_FACTORS)]
        while True:
            drawn = cls(names, secrets.randbits(64) | 1)
            if len(set(map(drawn.place, _USUAL_TYPES))) == len(_USUAL_TYPES):
                return drawn

    def bit(self, key: bytes) -> int:
        """Return the number of this qnames key's bit in a bitmap, 0 to 64 * INDEX_WORDS - 1.

        abi.h describes the calculation. It works for every key, also one that is not a name.
        """
        used = len(key[: NAME_MAX + 1].rstrip(b"\0")) + 7 >> 3
        total: int = sum(map(mul, _NAME_HALVES[used].unpack_from(key), self._of_halves)) & _U64
        qtype: int = _QTYPE.unpack_from(key, NAME_MAX + 1)[0]
        return total >> (64 - INDEX_WORD_BITS - 6) ^ self.place(qtype)

    def place(self, qtype: int) -> int:
        """Return what the type contributes to the number of the bit, 0 to 63."""
        return ((qtype + 1 & 0xFFFF) * self.qtype & _U64) >> 58


def _of_halves(factors: Sequence[int]) -> Iterator[int]:
    """Yield the factor of each half word, in memory order."""
    for whole, above in zip(factors[::2], factors[1::2], strict=True):
        upper = (whole << 32) + above & _U64
        yield from (whole, upper) if sys.byteorder == "little" else (upper, whole)


def encode_xsk_destination(address: IPv4Address | IPv6Address, port: int) -> bytes:
    """Return the key of a destination map: address and port in wire order, two zero bytes."""
    return address.packed + struct.pack("!H2x", port)


def decode_xsk_destination(key: bytes) -> tuple[IPv4Address | IPv6Address, int]:
    """Inverse of `encode_xsk_destination` for 8 or 20 bytes."""
    address, port = key[:-4], struct.unpack_from("!H", key, len(key) - 4)[0]
    return ip_address(address), port


@dataclass(frozen=True, slots=True)
class Count:
    """Packets and bytes (as received) of one (reason, action)."""

    packets: int
    bytes: int


def decode_counters(value: bytes) -> dict[tuple[Reason, PacketAction], Count]:
    """Return the sums over all CPUs.

    Args:
        value: the result of a look-up in the per-CPU counters map: `struct counters`
            (COUNTERS_SIZE bytes) for each possible CPU.
    """
    sums: dict[tuple[Reason, PacketAction], Count] = {}
    for reason in Reason:
        for action in PacketAction:
            offset = (reason * len(PacketAction) + action) * _COUNTER.size
            cells = [
                _COUNTER.unpack_from(value, base + offset)
                for base in range(0, len(value), COUNTERS_SIZE)
            ]
            sums[reason, action] = Count(
                sum(packets for packets, _ in cells), sum(size for _, size in cells)
            )
    return sums


def decode_tallies(value: bytes) -> dict[tuple[TallyRow, bool], int]:
    """Return how many cookies were bad and good, and how many proofs failed and succeeded.

    Args:
        value: as `decode_counters`.
    """
    return {
        (tally, good): sum(
            _COUNTER.unpack_from(value, base + (tally * len(PacketAction) + good) * _COUNTER.size)[
                0
            ]
            for base in range(0, len(value), COUNTERS_SIZE)
        )
        for tally in TallyRow
        for good in (False, True)
    }


def encode_control(*, panic: bool) -> bytes:
    """Return `struct control`: u32 panic (host), the rest zero."""
    return struct.pack("=I", int(panic)).ljust(CONTROL_SIZE, b"\0")


def decode_control(value: bytes) -> bool:
    """Return whether the panic bit is set."""
    return bool(struct.unpack_from("=I", value)[0])
