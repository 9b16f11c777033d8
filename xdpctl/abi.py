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
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from operator import mul
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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

    @property
    def label(self) -> str:
        """The metric label: `addr-v4`, `no-match`, …"""
        return self.name.lower().replace("_", "-")


REASON_SLOTS = 32
"""Rows of the table of counters, with room for later reasons."""


class MapType(IntEnum):
    """The values of `enum bpf_map_type` (linux/bpf.h) that are used here."""

    HASH = 1
    ARRAY = 2
    PERCPU_ARRAY = 6
    LPM_TRIE = 11
    XSKMAP = 17


BPF_F_NO_PREALLOC = 1
BPF_F_MMAPABLE = 1 << 10


class MapName(StrEnum):
    """Name of a map: the name of its pin, and its metric label."""

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


class Scope(Enum):
    """Who uses a map, and how long it lives."""

    SHARED = "the DNS server's too: pinned in its directory, never removed"
    INTERFACE = "one an interface: pinned beside its link, kept by the next service"
    SERVICE = "one a service: pinned beside each link, kept while a program refers to it"
    PROGRAM = "one a program: neither pinned nor kept"


@dataclass(frozen=True, slots=True)
class MapSpec:
    """One map of the contract.

    Attributes:
        name: the name of its pin.
        ref: its number in the compiled program (enum map_ref).
        type, key_size, value_size (bytes), flags: what the kernel must report.
        entries: default of max_entries where the service makes the map.
        scope: who uses it, and how long it lives.
        legacy: (key_size, value_size) of dnsdist's format without `external`, or None.
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


CONTROL_SIZE = 64
COUNTERS_SIZE = REASON_SLOTS * len(PacketAction) * 16
SCRATCH_SIZE = 512

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
    )
}

BY_REF = {spec.ref: spec for spec in MAPS.values()}
"""The maps by their number in the compiled program, which the state file uses too."""


def names_of(*scopes: Scope) -> tuple[MapName, ...]:
    """Return the maps of these scopes, in the order of their numbers."""
    return tuple(name for name, spec in MAPS.items() if spec.scope in scopes)


RULE_MAPS = (MapName.ADDR_V4, MapName.ADDR_V6, MapName.CIDR4, MapName.CIDR6, MapName.QNAMES)
"""The five maps that hold rules, in the order of their pins in DNSDIST.md."""

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


def encode_empty(tick: int, empty: Iterable[MapName]) -> int:
    """Return the word of the index that marks the maps which were empty at this tick."""
    return tick << EMPTY_TICK_SHIFT | sum(1 << MAPS[name].ref for name in empty)


_U64 = (1 << 64) - 1
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


def encode_control(*, panic: bool) -> bytes:
    """Return `struct control`: u32 panic (host), the rest zero."""
    return struct.pack("=I", int(panic)).ljust(CONTROL_SIZE, b"\0")


def decode_control(value: bytes) -> bool:
    """Return whether the panic bit is set."""
    return bool(struct.unpack_from("=I", value)[0])
