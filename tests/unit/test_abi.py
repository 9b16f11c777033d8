"""abi.h against abi.py: every number, size and offset, through the host's compiler."""

from __future__ import annotations

import ctypes
import re
import struct
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from xdpctl import abi
from xdpctl.abi import MAPS, MapName, PacketAction, Reason, RuleAction

if TYPE_CHECKING:
    from enum import IntEnum

XDP = Path(__file__).parents[2] / "xdp"
NAME = b"\3www\7example\0"
QTYPE = 0x0102
STRUCTS = re.compile(r"^struct (\w+) \{", re.MULTILINE)
_CONSTANTS = (
    r"^#define ((?:TABLE|NAMES|SOURCES|SLOT|TAG|BIT|LIMITS?|FLOOD|ROW|ZONES?|HEAVY|SAMPLE)_\w+)"
)
NUMBERS = re.compile(r"^\t([A-Z][A-Z0-9_]+) = ", re.MULTILINE)


@pytest.fixture(scope="module")
def header() -> str:
    return (XDP / "abi.h").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def numbers(header: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Every constant of the header, as the compiler sees it."""
    return _ask(tmp_path_factory, {name: name for name in NUMBERS.findall(header)})


@pytest.fixture(scope="module")
def sizes(header: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The size of every struct of the header, and the offsets that abi.py relies on."""
    wanted = {name: f"sizeof(struct {name})" for name in STRUCTS.findall(header)}
    fields = {
        "addr_v4_key": ("saddr_host",),
        "addr_v6_key": ("saddr_be",),
        "cidr4_key": ("prefixlen", "saddr_be"),
        "cidr6_key": ("prefixlen", "saddr_be"),
        "qname_key": ("name", "zero", "qtype"),
        "rule_value": ("hits", "action", "unused"),
        "xsk_destination_v4": ("daddr_be", "port_be", "zero"),
        "xsk_destination_v6": ("daddr_be", "port_be", "zero"),
        "counter": ("packets", "bytes"),
        "counters": ("cell[7][2]",),
        "control": ("panic",),
        "name_index": (
            "heartbeat",
            "fresh",
            "ticks",
            "asked",
            "empty",
            "type_factor",
            "factors",
            "words",
        ),
        "table_head": (
            "layout",
            "book_id",
            "dirty",
            "zones",
            "list_sources",
            "list_names",
            "removed",
            "moves",
            "names",
            "sources",
            "name_buckets",
            "source_buckets",
            "seed_a",
            "bit_numbers",
        ),
        "table_request": (
            *("op", "table", "action", "result", "number", "count", "value"),
            *("scope", "qtype", "name", "family", "length", "address_be"),
        ),
        "limits": (
            *("layout", "dry_run", "slip", "clock", "room", "most", "flood_prices", "flood_rooms"),
            *("cookie_keys", "cookie_rate", "cookie_base", "cookie_keys_used", "proven_lifetime"),
            *("prices", "prices[1].v6", "sets", "proven_shift", "factors", "mix", "salts"),
            *("proven_keys", "proven_mix"),
        ),
        "flood": ("bucket[1].until",),
        "zone_head": ("layout", "levels", "seed_a", "name_keys"),
        "zone_limit": ("price", "room", "most", "number", "names"),
        "zone_names_head": ("layout", "mask", "names"),
        "heavy_zones": ("names", "cell", "cell[1].tag", "cell[0].count", "cell[0].fronts"),
        "heavy_cell": ("length", "end"),
        "sample": ("time", "ifindex", "weight", "length", "captured", "verdict", "depth"),
        "sampling": ("epoch", "lost", "left", "rest", "weight"),
        "sample_state": (
            *("epoch", "patience", "prices", "rooms", "bucket[0].until", "bucket[1].until"),
            *("cpu[0].shift", "cpu[1].shift"),
        ),
    }
    for type_, names in fields.items():
        for name in names:
            wanted[f"{type_}.{name}"] = f"__builtin_offsetof(struct {type_}, {name})"
    return _ask(tmp_path_factory, wanted)


@pytest.fixture(scope="module")
def macros(header: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Every constant that the header defines about tables and limits."""
    names = re.findall(_CONSTANTS, header, re.MULTILINE)
    return _ask(tmp_path_factory, {name: name for name in names})


def _ask(factory: pytest.TempPathFactory, expressions: dict[str, str]) -> dict[str, int]:
    """Let the host's compiler evaluate expressions over abi.h."""
    folder = factory.mktemp("abi")
    values = ", ".join(expressions.values())
    source = folder / "ask.c"
    source.write_text(
        f'#include "abi.h"\nconst long long answers[] = {{ {values} }};\n', encoding="ascii"
    )
    library = folder / "ask.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", f"-I{XDP}", "-o", str(library), str(source)], check=True
    )
    answers = (ctypes.c_longlong * len(expressions)).in_dll(ctypes.CDLL(str(library)), "answers")
    return dict(zip(expressions, answers, strict=True))


def _named(numbers: dict[str, int], prefix: str, *others: str) -> dict[str, int]:
    return {
        name.removeprefix(prefix): number
        for name, number in numbers.items()
        if name.startswith(prefix) and name not in others
    }


def _members(enum: type[IntEnum]) -> dict[str, int]:
    return {member.name: member.value for member in enum}


def test_rule_actions_have_the_numbers_of_the_header(numbers: dict[str, int]) -> None:
    assert _named(numbers, "RULE_") == _members(RuleAction)


def test_packet_actions_have_the_numbers_of_the_header(numbers: dict[str, int]) -> None:
    assert _named(numbers, "ACTION_", "ACTION_COUNT") == _members(PacketAction)


def test_actions_are_as_many_as_the_header_counts(numbers: dict[str, int]) -> None:
    assert numbers["ACTION_COUNT"] == len(PacketAction)


def test_reasons_have_the_numbers_of_the_header(numbers: dict[str, int]) -> None:
    assert _named(numbers, "REASON_", "REASON_COUNT", "REASON_SLOTS") == _members(Reason)


def test_reasons_are_as_many_as_the_header_counts(numbers: dict[str, int]) -> None:
    assert numbers["REASON_COUNT"] == len(Reason)


def test_counters_have_the_rows_of_the_header(numbers: dict[str, int]) -> None:
    assert numbers["REASON_SLOTS"] == abi.REASON_SLOTS


def test_maps_have_the_numbers_of_the_header(numbers: dict[str, int]) -> None:
    assert _named(numbers, "MAP_") == {name.name: spec.ref for name, spec in MAPS.items()}


@pytest.mark.parametrize(
    ("name", "struct"),
    [
        (MapName.ADDR_V4, "addr_v4_key"),
        (MapName.ADDR_V6, "addr_v6_key"),
        (MapName.CIDR4, "cidr4_key"),
        (MapName.CIDR6, "cidr6_key"),
        (MapName.QNAMES, "qname_key"),
        (MapName.XSK_DESTINATIONS_V4, "xsk_destination_v4"),
        (MapName.XSK_DESTINATIONS_V6, "xsk_destination_v6"),
        (MapName.EXEMPT4, "cidr4_key"),
        (MapName.EXEMPT6, "cidr6_key"),
    ],
)
def test_a_map_has_the_key_size_of_the_headers_struct(
    name: MapName, struct: str, sizes: dict[str, int]
) -> None:
    assert MAPS[name].key_size == sizes[struct]


@pytest.mark.parametrize(
    ("name", "struct"),
    [
        *((name, "rule_value") for name in abi.RULE_MAPS),
        (MapName.COUNTERS, "counters"),
        (MapName.CONTROL, "control"),
        (MapName.SCRATCH, "scratch"),
        (MapName.NAME_INDEX, "name_index"),
        (MapName.TABLE_HEAD, "table_head"),
        (MapName.NAME_TABLE, "table_bucket"),
        (MapName.SOURCE_TABLE, "table_bucket"),
        (MapName.SOURCE_FILTER, "source_line"),
        (MapName.TABLE_REQUESTS, "table_request"),
        (MapName.LIMITS, "limits"),
        (MapName.LIMIT_CELLS, "limit_set"),
        (MapName.LIMIT_PROVEN, "proven_line"),
        (MapName.FLOOD, "flood"),
        (MapName.ZONE_LIMITS, "zone_limit"),
        (MapName.ZONE_CELLS, "zone_cell"),
        (MapName.HEAVY_ZONES, "heavy_zones"),
        (MapName.ZONE_HEAD, "zone_head"),
        (MapName.SAMPLE_STATE, "sample_state"),
    ],
)
def test_a_map_has_the_value_size_of_the_headers_struct(
    name: MapName, struct: str, sizes: dict[str, int]
) -> None:
    assert MAPS[name].value_size == sizes[struct]


def test_an_encoded_name_lies_where_the_header_says(sizes: dict[str, int]) -> None:
    key = abi.encode_qname(NAME, QTYPE)
    at_name, at_zero, at_type = (sizes[f"qname_key.{f}"] for f in ("name", "zero", "qtype"))
    assert len(key) == sizes["qname_key"]
    assert key[at_name : at_zero + 1] == NAME.ljust(at_zero - at_name + 1, b"\0")
    assert key[at_type:] == QTYPE.to_bytes(2, sys.byteorder)


def test_an_encoded_ipv4_address_is_a_host_integer(sizes: dict[str, int]) -> None:
    key = abi.encode_addr_v4(IPv4Address("192.0.2.1"))
    assert sizes["addr_v4_key.saddr_host"] == 0
    assert key == 0xC0000201.to_bytes(sizes["addr_v4_key"], sys.byteorder)


def test_an_encoded_ipv6_address_is_in_wire_order(sizes: dict[str, int]) -> None:
    address = IPv6Address("2001:db8::1")
    assert sizes["addr_v6_key.saddr_be"] == 0
    assert abi.encode_addr_v6(address) == address.packed


@pytest.mark.parametrize(
    ("network", "struct"),
    [
        (IPv4Network("192.0.2.0/24"), "cidr4_key"),
        (IPv6Network("2001:db8::/32"), "cidr6_key"),
    ],
)
def test_an_encoded_prefix_lies_where_the_header_says(
    network: IPv4Network | IPv6Network, struct: str, sizes: dict[str, int]
) -> None:
    key = abi.encode_cidr(network)
    at_length, at_address = sizes[f"{struct}.prefixlen"], sizes[f"{struct}.saddr_be"]
    assert key[at_length:at_address] == network.prefixlen.to_bytes(4, sys.byteorder)
    assert key[at_address:] == network.network_address.packed
    assert len(key) == sizes[struct]


def test_an_encoded_value_lies_where_the_header_says(sizes: dict[str, int]) -> None:
    value = abi.encode_value(RuleAction.TRUNCATE, 0x0102030405060708)
    at_hits, at_action, at_rest = (
        sizes[f"rule_value.{field}"] for field in ("hits", "action", "unused")
    )
    assert value[at_hits : at_hits + 8] == 0x0102030405060708.to_bytes(8, sys.byteorder)
    assert value[at_action] == RuleAction.TRUNCATE
    assert value[at_rest:] == bytes(7)


@pytest.mark.parametrize(
    ("address", "struct"),
    [
        (IPv4Address("198.51.100.53"), "xsk_destination_v4"),
        (IPv6Address("2001:db8::53"), "xsk_destination_v6"),
    ],
)
def test_an_encoded_destination_lies_where_the_header_says(
    address: IPv4Address | IPv6Address, struct: str, sizes: dict[str, int]
) -> None:
    key = abi.encode_xsk_destination(address, 0x1234)
    at_port, at_zero = sizes[f"{struct}.port_be"], sizes[f"{struct}.zero"]
    assert key[sizes[f"{struct}.daddr_be"] : at_port] == address.packed
    assert key[at_port:at_zero] == b"\x12\x34"
    assert key[at_zero:] == bytes(sizes[struct] - at_zero)


def test_counters_are_read_where_the_header_puts_them(sizes: dict[str, int]) -> None:
    value = bytearray(sizes["counters"])
    cell = sizes["counters.cell[7][2]"]
    at_packets, at_bytes = cell + sizes["counter.packets"], cell + sizes["counter.bytes"]
    value[at_packets : at_packets + 8] = (3).to_bytes(8, sys.byteorder)
    value[at_bytes : at_bytes + 8] = (210).to_bytes(8, sys.byteorder)
    counted = {
        key: count for key, count in abi.decode_counters(bytes(value)).items() if count.bytes
    }
    assert counted == {(Reason.QNAME, PacketAction.TRUNCATE): abi.Count(3, 210)}


def test_panic_is_where_the_header_puts_it(sizes: dict[str, int]) -> None:
    value = abi.encode_control(panic=True)
    at = sizes["control.panic"]
    assert len(value) == sizes["control"]
    assert value == bytes(at) + (1).to_bytes(4, sys.byteorder) + bytes(len(value) - at - 4)


def test_the_index_is_laid_out_as_in_the_header(sizes: dict[str, int]) -> None:
    offsets = {
        name.removeprefix("name_index."): at
        for name, at in sizes.items()
        if name.startswith("name_index.")
    }
    assert offsets == {
        "heartbeat": 0,
        "fresh": abi.INDEX_FRESH_OFFSET,
        "ticks": abi.INDEX_TICKS_OFFSET,
        "asked": abi.INDEX_ASKED_OFFSET,
        "empty": abi.INDEX_EMPTY_OFFSET,
        "type_factor": abi.INDEX_TYPE_FACTOR_OFFSET,
        "factors": abi.INDEX_FACTORS_OFFSET,
        "words": abi.INDEX_HEADER_SIZE,
    }


def test_the_tables_constants_are_those_of_the_header(macros: dict[str, int]) -> None:
    mirrored = {name: value for name, value in macros.items() if hasattr(abi, name)}
    assert {"TABLE_LAYOUT", "TABLE_EXACT", "NAMES_ROOT", "SOURCES_SHIFT"} <= mirrored.keys()
    assert {"LIMITS_LAYOUT", "LIMIT_LEVELS", "FLOOD_BATCH"} <= mirrored.keys()
    assert {"ZONES_LAYOUT", "ZONE_NAME_WORDS", "HEAVY_CELLS"} <= mirrored.keys()
    assert mirrored == {name: getattr(abi, name) for name in mirrored}


def test_rules_in_tables_have_the_numbers_of_the_header(numbers: dict[str, int]) -> None:
    found = _named(numbers, "TABLE_")
    assert found == {name.name: spec.ref for name, spec in abi.TABLES.items()}
    assert not {*found.values()} & {spec.ref for spec in MAPS.values()}


def test_rows_that_are_no_reason_have_the_numbers_of_the_header(macros: dict[str, int]) -> None:
    rows = {name: number for name, number in macros.items() if name.startswith("ROW_")}
    assert rows == {f"ROW_{tally.name}": tally.value for tally in abi.TallyRow}
    assert max(Reason) < min(rows.values())


@pytest.mark.parametrize(
    ("prefix", "enum"),
    [
        ("BOOK_", abi.Book),
        ("ZONE_", abi.ZoneScope),
        ("OP_", abi.TableOp),
        ("RESULT_", abi.TableResult),
    ],
)
def test_an_enum_of_the_tables_has_the_numbers_of_the_header(
    prefix: str, enum: type[IntEnum], numbers: dict[str, int]
) -> None:
    assert _named(numbers, prefix) == _members(enum)


def test_the_head_is_laid_out_as_in_the_header(sizes: dict[str, int]) -> None:
    offsets = {
        name.removeprefix("table_head."): at
        for name, at in sizes.items()
        if name.startswith("table_head.")
    }
    assert offsets == {
        "layout": abi.HEAD_LAYOUT_OFFSET,
        "book_id": abi.HEAD_BOOK_ID_OFFSET,
        "dirty": abi.HEAD_DIRTY_OFFSET,
        "zones": abi.HEAD_COUNTS_OFFSET,
        "list_sources": abi.HEAD_COUNTS_OFFSET + 8,
        "list_names": abi.HEAD_COUNTS_OFFSET + 16,
        "removed": abi.HEAD_REMOVED_OFFSET,
        "moves": abi.HEAD_MOVES_OFFSET,
        "names": abi.HEAD_NAMES_OFFSET,
        "sources": abi.HEAD_SOURCES_OFFSET,
        "name_buckets": abi.HEAD_NAME_BUCKETS_OFFSET,
        "source_buckets": abi.HEAD_SOURCE_BUCKETS_OFFSET,
        "seed_a": abi.HEAD_SECRETS_OFFSET,
        "bit_numbers": abi.HEAD_BIT_NUMBERS_OFFSET,
    }


def test_a_request_is_laid_out_as_in_the_header(sizes: dict[str, int]) -> None:
    """A name's key begins with its scope and type, a source's with its family and length."""
    at_name, at_source = abi.REQUEST_NAME_KEY_OFFSET, abi.REQUEST_SOURCE_KEY_OFFSET
    expected = {
        "op": 0,
        "table": 1,
        "action": 2,
        "result": abi.REQUEST_RESULT_OFFSET,
        "number": 4,
        "count": 8,
        "value": abi.REQUEST_VALUE_OFFSET,
        "scope": at_name,
        "qtype": at_name + 1,
        "name": at_name + 3,
        "family": at_source,
        "length": at_source + 1,
        "address_be": at_source + 2,
    }
    assert expected == {
        name.removeprefix("table_request."): at
        for name, at in sizes.items()
        if name.startswith("table_request.")
    }


def test_the_limits_are_encoded_where_the_header_has_them(sizes: dict[str, int]) -> None:
    prices = abi.LevelPrices((24, 25), (26,)), abi.LevelPrices((28, 29, 30, 31), (32, 33))
    values = abi.LimitValues(
        slip=2,
        clock=3,
        room=4,
        most=5,
        prices=prices,
        dry_run=True,
        flood_prices=(6, 7),
        flood_rooms=(8, 9),
        cookie_keys=((10, 11), (12, 13)),
        cookie_rate=14,
        cookie_base=15,
        proven_lifetime=17,
    )
    live = abi.encode_limits(values)
    kept = abi.encode_limits_kept(1 << 14, 1 << 12, struct.pack("=14Q", *range(100, 114)))
    words = struct.unpack("=64Q", live + kept)
    assert len(live) == sizes["limits.sets"]
    assert len(live + kept) == sizes["limits"]

    def at(field: str, count: int = 1) -> tuple[int, ...]:
        first = sizes[f"limits.{field}"] // 8
        return words[first : first + count]

    assert at("layout", 6) == (abi.LIMITS_LAYOUT, 1, 2, 3, 4, 5)
    assert at("flood_prices", 2) + at("flood_rooms", 2) == (6, 7, 8, 9)
    assert at("cookie_keys", 4) + at("cookie_rate") + at("cookie_base") == (*range(10, 16),)
    assert sizes["limits.layout"] + 3 * 8 == abi.LIMITS_CLOCK_OFFSET
    assert sizes["limits.cookie_base"] == abi.LIMITS_COOKIE_BASE_OFFSET
    assert struct.unpack_from("=II", live, sizes["limits.cookie_keys_used"]) == (2, 17)
    assert at("prices", 8) == (24, 25, 0, 0, 26, 0, 0, 0)
    assert at("prices[1].v6", 4) == (32, 33, 0, 0)
    assert at("sets") == ((1 << 14) - 1,)
    assert struct.unpack_from("=I", live + kept, sizes["limits.proven_shift"]) == (64 - 12,)
    assert at("factors", 5) + at("mix") == (*range(100, 105), 105)
    assert at("salts", 3) + at("proven_keys", 4) == (*range(106, 113),)
    assert at("proven_mix") == (113,)
    assert sizes["flood.bucket[1].until"] == abi.FLOOD_BUCKET_SIZE


def test_what_zones_have_is_encoded_where_the_header_has_it(sizes: dict[str, int]) -> None:
    drawn = bytes(range(256)) * (abi.ZONE_SECRETS_SIZE // 256) + bytes(abi.ZONE_SECRETS_SIZE % 256)
    head = abi.encode_zone_head(0b110, drawn)
    assert len(head) == sizes["zone_head"]
    assert struct.unpack_from("=QQ", head) == (abi.ZONES_LAYOUT, 0b110)
    assert head[sizes["zone_head.seed_a"] :] == drawn
    assert sizes["zone_head.levels"] == abi.ZONE_LEVELS_OFFSET
    value = abi.ZoneLimitValue(1, 2, 3, 4, abi.ZoneKnowledge.WHOLE)
    octets = abi.encode_zone_limit(value)
    assert abi.decode_zone_limit(octets) == value
    assert len(octets) == sizes["zone_limit"]
    for number, name in enumerate(("price", "room", "most", "number"), 1):
        assert octets[sizes[f"zone_limit.{name}"]] == number
    names = abi.encode_zone_names_head(7, 9)
    assert len(names) == sizes["zone_names_head"]
    assert (names[sizes["zone_names_head.mask"]], names[sizes["zone_names_head.names"]]) == (7, 9)


def test_cells_of_heavy_zones_are_read_where_the_header_has_them(sizes: dict[str, int]) -> None:
    value = bytearray(abi.HEAVY_SIZE)
    at = sizes["heavy_zones.cell[1].tag"]
    struct.pack_into("=Q", value, 0, 5)
    struct.pack_into("=4Q", value, at, 77, 3, 6, 2)
    value[at + sizes["heavy_cell.end"] : at + sizes["heavy_cell.end"] + 2] = b"\1a"
    assert abi.decode_heavy(bytes(value)) == (5, [abi.HeavyCell(3, 6, b"\1a")])


def test_a_record_of_a_sample_is_read_where_the_header_has_it(sizes: dict[str, int]) -> None:
    header = abi.SampleHeader(1, 2, 3, 4, 5, 6, 7)
    octets = abi.encode_sample_header(header)
    assert len(octets) == sizes["sample"] == abi.SAMPLE_HEADER_SIZE
    for number, name in enumerate(header._fields, 1):
        assert octets[sizes[f"sample.{name}"]] == number
    assert abi.decode_sample_header(octets + b"frame") == header


def test_the_state_of_the_samples_lies_where_the_header_has_it(sizes: dict[str, int]) -> None:
    at = {name: sizes[f"sample_state.{name}"] for name in ("patience", "prices", "rooms")}
    octets = bytes(at["patience"]) + abi.encode_sample_limits(1, (2, 3), (4, 5))
    assert struct.unpack_from("=Q", octets, at["patience"]) == (1,)
    assert struct.unpack_from("=QQ", octets, at["prices"]) == (2, 3)
    assert struct.unpack_from("=QQ", octets, at["rooms"]) == (4, 5)
    first, second = (sizes[f"sample_state.bucket[{n}].until"] for n in (0, 1))
    assert sizes["sample_state.epoch"] == abi.SAMPLE_EPOCH_OFFSET
    assert (first, second - first) == (abi.SAMPLE_UNTIL_OFFSET, abi.SAMPLE_BUCKET_SIZE)
    first, second = (sizes[f"sample_state.cpu[{n}].shift"] for n in (0, 1))
    assert (first, second - first) == (abi.SAMPLE_SHIFTS_OFFSET, abi.SAMPLE_CPU_SIZE)


def test_lost_samples_are_read_where_the_header_has_them(sizes: dict[str, int]) -> None:
    row = abi.SAMPLE_ROW * len(PacketAction) * sizes["counter"]
    one_cpu = bytearray(sizes["counters"])
    struct.pack_into("=Q", one_cpu, row + sizes["sampling.lost"], 5)
    assert abi.decode_samples_lost(bytes(one_cpu) * 2) == 10


def test_strata_have_the_numbers_of_the_header(numbers: dict[str, int]) -> None:
    assert _named(numbers, "STRATUM_", "STRATUM_COUNT") == _members(abi.Stratum)
    assert len(abi.Stratum) == numbers["STRATUM_COUNT"]


def test_the_factors_that_must_be_odd_are(sizes: dict[str, int]) -> None:
    kept = abi.encode_limits_kept(16, 2, bytes(abi.LIMITS_SECRETS_SIZE))
    for field in ("mix", "proven_mix"):
        at = sizes[f"limits.{field}"] - abi.LIMITS_LIVE_SIZE
        assert kept[at : at + 8] == (1).to_bytes(8, sys.byteorder)


def test_a_map_that_may_be_called_empty_has_its_bit_below_the_tick() -> None:
    refs = [MAPS[name].ref for name in (*abi.RULE_MAPS, *abi.DESTINATION_MAPS)]
    assert max(refs) < abi.EMPTY_TICK_SHIFT


def test_the_longest_name_fits_its_key(header: str, sizes: dict[str, int]) -> None:
    assert f"#define ABI_NAME_MAX {abi.NAME_MAX}\n" in header
    assert sizes["qname_key.zero"] == abi.NAME_MAX
