"""Every codec of abi.py round-trips, and raises only ValueError for what it cannot read."""

from __future__ import annotations

import struct
import sys
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.strategies import wire_names
from xdpctl import abi
from xdpctl.abi import Count, MapName, PacketAction, Reason, RuleAction


@given(st.sampled_from(RuleAction), st.integers(0, 2**64 - 1))
def test_a_rules_value_round_trips_and_has_the_size_of_its_map(
    action: RuleAction, hits: int
) -> None:
    value = abi.encode_value(action, hits)
    assert len(value) == abi.MAPS[MapName.QNAMES].value_size
    assert abi.decode_value(value) == (action, hits)


def test_the_last_seven_bytes_of_a_value_are_written_as_zeros() -> None:
    assert abi.encode_value(RuleAction.TRUNCATE, 2**64 - 1)[9:] == bytes(7)


@given(st.binary(min_size=7, max_size=7))
def test_the_last_seven_bytes_of_a_value_are_not_looked_at(garbage: bytes) -> None:
    value = struct.pack("=Q", 7) + b"\x01" + garbage
    assert abi.decode_value(value) == (RuleAction.DROP, 7)


@given(st.integers(3, 255))
def test_an_unknown_action_byte_means_pass(byte: int) -> None:
    assert RuleAction.from_byte(byte) is RuleAction.PASS


def test_an_ipv4_address_is_a_number_in_the_order_of_the_host() -> None:
    key = abi.encode_addr_v4(IPv4Address("192.0.2.1"))
    assert key == 0xC0000201.to_bytes(4, sys.byteorder)


@given(st.ip_addresses(v=4))
def test_an_ipv4_addresss_key_round_trips(address: IPv4Address) -> None:
    assert abi.decode_addr_v4(abi.encode_addr_v4(address)) == address


def test_an_ipv6_address_is_in_wire_order() -> None:
    key = abi.encode_addr_v6(IPv6Address("2001:db8::42"))
    assert key.hex() == "20010db8000000000000000000000042"


@given(st.ip_addresses(v=6))
def test_an_ipv6_addresss_key_round_trips(address: IPv6Address) -> None:
    assert abi.decode_addr_v6(abi.encode_addr_v6(address)) == address


def test_a_prefix_has_its_length_in_host_order_and_its_address_in_wire_order() -> None:
    key = abi.encode_cidr(IPv4Network("198.51.100.0/24"))
    assert key == (24).to_bytes(4, sys.byteorder) + bytes((198, 51, 100, 0))


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_a_v4_prefixs_key_round_trips(address: IPv4Address, length: int) -> None:
    network = IPv4Network((address, length), strict=False)
    key = abi.encode_cidr(network)
    assert len(key) == abi.MAPS[MapName.CIDR4].key_size
    assert abi.decode_cidr4(key) == network


@given(st.ip_addresses(v=6), st.integers(0, 128))
def test_a_v6_prefixs_key_round_trips(address: IPv6Address, length: int) -> None:
    network = IPv6Network((address, length), strict=False)
    key = abi.encode_cidr(network)
    assert len(key) == abi.MAPS[MapName.CIDR6].key_size
    assert abi.decode_cidr6(key) == network


def test_host_bits_of_a_prefixs_key_are_cleared_as_the_kernel_does_not_look_at_them() -> None:
    key = struct.pack("=I", 24) + bytes((192, 0, 2, 77))
    assert abi.decode_cidr4(key) == IPv4Network("192.0.2.0/24")


@pytest.mark.parametrize("length", [33, 2**31, 2**32 - 1])
def test_a_prefix_longer_than_its_address_is_a_value_error(length: int) -> None:
    with pytest.raises(ValueError, match=str(length)):
        abi.decode_cidr4(struct.pack("=I", length) + bytes(4))


@given(wire_names, st.integers(0, 65535))
@example(b"\0", 0)
@example(b"\x01a" * 127 + b"\0", 65535)
def test_a_names_key_round_trips(wire: bytes, qtype: int) -> None:
    key = abi.encode_qname(wire, qtype)
    assert len(key) == abi.MAPS[MapName.QNAMES].key_size
    assert abi.decode_qname(key) == (wire, qtype)


@given(st.binary(min_size=258, max_size=258))
@example(b"\x01a" * 127 + bytes(4))
@example(b"\x3f" * 258)
@example(b"\x01" * 258)
def test_any_key_of_a_name_decodes_to_what_encodes_to_it_or_is_a_value_error(key: bytes) -> None:
    try:
        wire, qtype = abi.decode_qname(key)
    except ValueError:
        return
    assert abi.encode_qname(wire, qtype) == key


@given(st.binary(max_size=600).filter(lambda key: len(key) != 258))
def test_a_key_of_another_size_is_a_value_error(key: bytes) -> None:
    with pytest.raises(ValueError, match=r"instead of 258"):
        abi.decode_qname(key)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x01", id="a label without its octets"),
        pytest.param(b"\x01a", id="no root byte"),
        pytest.param(b"\x40" + b"a" * 64 + b"\0", id="a label of 64"),
        pytest.param(b"\xc0\x0c", id="a compression pointer"),
        pytest.param(b"\x01a" * 128 + b"\0", id="257 octets in 128 labels"),
        pytest.param((b"\x3f" + b"a" * 63) * 4 + b"\0", id="257 octets in four labels"),
    ],
)
def test_what_is_no_wire_name_is_a_value_error(octets: bytes) -> None:
    with pytest.raises(ValueError, match="not a domain name in wire form"):
        abi.qname_size(octets)


def test_a_name_of_255_octets_is_the_longest() -> None:
    longest = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\0"
    assert abi.qname_size(longest) == len(longest) == 255


@given(wire_names, st.data())
def test_a_byte_behind_the_end_of_a_name_is_a_value_error(wire: bytes, data: st.DataObject) -> None:
    """Nothing looks such a key up: dnsdist and the program pad with zeros."""
    position = data.draw(st.integers(len(wire), 255))
    key = bytearray(abi.encode_qname(wire, 1))
    key[position] = data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match="after the end"):
        abi.decode_qname(bytes(key))


@given(st.ip_addresses(), st.integers(0, 65535))
def test_a_destinations_key_round_trips(address: IPv4Address | IPv6Address, port: int) -> None:
    key = abi.encode_xsk_destination(address, port)
    name = MapName.XSK_DESTINATIONS_V4 if address.version == 4 else MapName.XSK_DESTINATIONS_V6
    assert len(key) == abi.MAPS[name].key_size
    assert abi.decode_xsk_destination(key) == (address, port)


def test_a_destination_has_its_port_in_wire_order_and_two_zeros() -> None:
    key = abi.encode_xsk_destination(IPv4Address("192.0.2.53"), 53)
    assert key.hex() == "c000023500350000"


@given(st.booleans())
def test_the_control_map_round_trips_panic(panic: bool) -> None:  # noqa: FBT001 - drawn
    value = abi.encode_control(panic=panic)
    assert len(value) == abi.MAPS[MapName.CONTROL].value_size
    assert abi.decode_control(value) is panic


def test_counters_are_summed_over_all_cpus() -> None:
    def one_cpu(packets: int) -> bytes:
        table = bytearray(abi.COUNTERS_SIZE)
        row = (Reason.QNAME * len(PacketAction) + PacketAction.DROP) * 16
        struct.pack_into("=QQ", table, row, packets, packets * 60)
        return bytes(table)

    sums = abi.decode_counters(one_cpu(2) + one_cpu(5))
    assert sums[Reason.QNAME, PacketAction.DROP] == Count(7, 420)
    assert sum(count.packets for count in sums.values()) == 7


def test_look_ups_on_the_way_are_summed_over_all_cpus() -> None:
    def one_cpu(packets: int) -> bytes:
        table = bytearray(abi.COUNTERS_SIZE)
        for row, action in ((abi.TallyRow.PROOFS, 1), (abi.TallyRow.COOKIES, 0)):
            struct.pack_into("=Q", table, (row * 4 + action) * 16, packets + action)
        return bytes(table)

    assert abi.decode_tallies(one_cpu(2) + one_cpu(5)) == {
        (abi.TallyRow.COOKIES, False): 7,
        (abi.TallyRow.COOKIES, True): 0,
        (abi.TallyRow.PROOFS, False): 0,
        (abi.TallyRow.PROOFS, True): 9,
    }


def test_the_secrets_of_proofs_are_read_where_they_were_written() -> None:
    drawn = bytes(range(abi.LIMITS_SECRETS_SIZE))
    value = abi.encode_limits(abi.LimitValues()) + abi.encode_limits_kept(64, 4096, drawn)
    words = struct.unpack("=14Q", drawn)
    found = abi.decode_proven_secrets(value)
    assert (found.shift, found.keys) == (52, words[9:13])
    assert found.mix == words[13] | 1


def test_a_reasons_label_is_the_metrics() -> None:
    assert (Reason.ADDR_V4.label, Reason.XSK_INELIGIBLE.label) == ("addr-v4", "xsk-ineligible")


@given(wire_names, st.integers(0, 65535), st.sampled_from(abi.ZoneScope))
@example(b"\0", 0, abi.ZoneScope.BELOW)
@example(b"\x01a" * 127 + b"\0", 65535, abi.ZoneScope.SELF)
def test_a_zones_key_round_trips_also_as_it_is_stored(
    wire: bytes, qtype: int, scope: abi.ZoneScope
) -> None:
    key = abi.encode_scoped_name(wire, qtype, scope)
    assert len(key) == abi.TABLES[MapName.ZONES].key_size == abi.TABLES[MapName.LIST_NAMES].key_size
    assert abi.decode_scoped_name(key) == (wire, qtype, scope)
    assert abi.lengthen_scoped_name(abi.shorten_scoped_name(key)) == key


@pytest.mark.parametrize(
    "key",
    [
        b"",
        abi.encode_qname(b"\0", 1),
        abi.encode_qname(b"\0", 1) + b"\x03\0",
        abi.encode_qname(b"\0", 1) + b"\0\1",
    ],
)
def test_what_is_no_key_of_a_zone_is_a_value_error(key: bytes) -> None:
    with pytest.raises(ValueError, match=r"zone|ZoneScope"):
        abi.decode_scoped_name(key)


@given(
    st.one_of(
        st.ip_addresses(),
        st.builds(
            lambda address, length: IPv4Network((address, length), strict=False),
            st.ip_addresses(v=4),
            st.integers(0, 32),
        ),
        st.builds(
            lambda address, length: IPv6Network((address, length), strict=False),
            st.ip_addresses(v=6),
            st.integers(0, 128),
        ),
    )
)
def test_a_lists_sources_key_round_trips_also_as_it_is_stored(source: abi.ListSource) -> None:
    key = abi.encode_list_source(source)
    assert len(key) == abi.TABLES[MapName.LIST_SOURCES].key_size
    assert abi.decode_list_source(key) == source
    assert abi.lengthen_list_source(abi.shorten_list_source(key)) == key


def test_an_address_of_a_list_is_not_its_prefix_of_full_length() -> None:
    address = abi.encode_list_source(IPv4Address("192.0.2.1"))
    assert address != abi.encode_list_source(IPv4Network("192.0.2.1/32"))


@pytest.mark.parametrize(
    "key",
    [b"", bytes(20), b"\4\x21" + bytes(18), b"\4\x20\1" + bytes(17), b"\4\x20" + b"\1" * 18],
)
def test_what_is_no_key_of_a_source_is_a_value_error(key: bytes) -> None:
    with pytest.raises(ValueError, match=r"source|33|prefix|network"):
        abi.decode_list_source(key)


@given(st.sampled_from(RuleAction), st.integers(0, 2**56 - 1))
def test_a_slots_value_is_its_hits_above_its_action(action: RuleAction, hits: int) -> None:
    assert abi.decode_slot(hits << abi.SLOT_HITS | 0x80 | action) == (action, hits)
