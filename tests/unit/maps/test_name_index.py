"""The index: no key that may be in a map is ever without its bit, no map with one empty."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.engines.entries import FACTORS, index_value
from tests.engines.host_build import HostFilter
from tests.packets.build import Udp, ethernet, ipv4
from tests.packets.case import DEFAULT
from tests.packets.message import labels, query
from xdpctl.abi import (
    INDEX_EMPTY_OFFSET,
    INDEX_FACTORS,
    INDEX_FACTORS_OFFSET,
    INDEX_HEADER_SIZE,
    INDEX_SIZE,
    INDEX_TYPE_FACTOR_OFFSET,
    INDEX_WORDS,
    MAPS,
    RULE_MAPS,
    IndexFactors,
    MapName,
    Reason,
    RuleAction,
    encode_addr_v4,
    encode_empty,
    encode_qname,
    encode_value,
)
from xdpctl.maps.name_index import (
    CLAIM_SECONDS,
    FOLLOW_MAX,
    QUIET_SECONDS,
    REBUILD_SECONDS,
    NameIndex,
)

QNAMES, INDEX = MAPS[MapName.QNAMES].ref, MAPS[MapName.NAME_INDEX].ref
ZERO = bytes(4)
FRESH = 22
NAME = b"\3www\7example\0"


def key(number: int) -> bytes:
    return encode_qname(labels(b"host%d" % number, b"example"), 65535)


class Desk:
    """An index over plain memory, with a clock that only a test moves."""

    def __init__(self) -> None:
        self.memory = bytearray(INDEX_SIZE)
        self.now = 1000.0
        self.index = NameIndex(memoryview(self.memory), fresh=FRESH, clock=lambda: self.now)

    def walk(self, *keys: bytes, tick: int = 500) -> None:
        """Let a walk have found these."""
        self.index.walked(tick, lambda: b"".join(keys), changed=True)

    @property
    def heartbeat(self) -> int:
        return int(struct.unpack_from("=Q", self.memory)[0])

    @property
    def empty(self) -> int:
        return int(struct.unpack_from("=Q", self.memory, INDEX_EMPTY_OFFSET)[0])

    @property
    def secret(self) -> IndexFactors:
        """What the program reads of it."""
        names = struct.unpack_from(f"={INDEX_FACTORS}Q", self.memory, INDEX_FACTORS_OFFSET)
        (qtype,) = struct.unpack_from("=Q", self.memory, INDEX_TYPE_FACTOR_OFFSET)
        return IndexFactors(names, qtype)

    def excludes(self, wanted: bytes) -> bool:
        """Return whether the bitmap in force says that the key is not there."""
        word, bit = divmod(self.secret.bit(wanted), 64)
        at = INDEX_HEADER_SIZE + 8 * ((self.heartbeat & 1) * INDEX_WORDS + word)
        return not struct.unpack_from("=Q", self.memory, at)[0] >> bit & 1


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_before_the_first_walk_it_is_not_to_be_used(desk: Desk) -> None:
    assert desk.heartbeat == 0


def test_the_program_reads_how_old_a_heartbeat_may_be(desk: Desk) -> None:
    assert struct.unpack_from("=Q", desk.memory, 8)[0] == FRESH


def test_a_walk_gives_the_tick_from_before_it(desk: Desk) -> None:
    desk.walk(tick=777)
    assert desk.heartbeat >> 1 == 777


def test_what_a_walk_found_has_its_bit_and_nothing_else(desk: Desk) -> None:
    desk.walk(key(1))
    assert [desk.excludes(key(1)), desk.excludes(key(2))] == [False, True]


def test_what_a_later_walk_found_has_its_bit(desk: Desk) -> None:
    desk.walk(key(1))
    desk.walk(key(1), key(2))
    assert not desk.excludes(key(2))


def test_an_own_write_has_its_bit_at_once(desk: Desk) -> None:
    desk.walk()
    desk.index.on_names(key(3) + key(4))
    assert [desk.excludes(key(number)) for number in (3, 4, 5)] == [False, False, True]


def test_an_own_write_outlives_a_bitmap_made_anew_by_a_walk_from_before_it(desk: Desk) -> None:
    desk.walk(key(1))
    desk.now += REBUILD_SECONDS
    desk.index.on_names(key(2))
    desk.walk()
    assert [desk.excludes(key(1)), desk.excludes(key(2))] == [True, False]


def test_a_key_that_is_gone_loses_its_bit_in_time(desk: Desk) -> None:
    desk.walk(key(1), key(2))
    desk.walk(key(2))
    assert not desk.excludes(key(1))
    desk.now += REBUILD_SECONDS
    desk.walk(key(2))
    assert [desk.excludes(key(1)), desk.excludes(key(2))] == [True, False]


def test_two_bitmaps_are_not_made_in_a_row(desk: Desk) -> None:
    desk.walk(key(1))
    half = desk.heartbeat & 1
    desk.now += REBUILD_SECONDS / 2
    desk.walk()
    assert desk.heartbeat & 1 == half


def test_an_own_write_that_no_walk_found_loses_its_bit_in_the_end(desk: Desk) -> None:
    desk.walk()
    desk.index.on_names(key(1))
    desk.now += CLAIM_SECONDS + 1
    desk.index.on_names(b"")
    desk.walk()
    assert desk.excludes(key(1))


def test_off_it_is_not_to_be_used(desk: Desk) -> None:
    desk.walk(key(1))
    desk.index.turn_off()
    assert [desk.heartbeat, desk.index.on] == [0, False]


def test_more_own_writes_than_are_followed_turn_it_off(desk: Desk) -> None:
    desk.walk()
    desk.index.on_names(b"".join(map(key, range(FOLLOW_MAX + 1))))
    assert desk.heartbeat == 0


def test_after_a_write_that_it_did_not_look_at_it_stays_off_for_a_while(desk: Desk) -> None:
    desk.index.on_names(key(1))
    desk.now += QUIET_SECONDS / 2
    desk.walk()
    assert desk.heartbeat == 0


def test_it_comes_back_with_all_that_is_there(desk: Desk) -> None:
    desk.walk(key(1))
    desk.index.turn_off()
    desk.index.on_names(key(2))
    desk.now += REBUILD_SECONDS
    desk.index.walked(9, lambda: key(1) + key(2), changed=False)
    assert [desk.excludes(key(1)), desk.excludes(key(2))] == [False, False]
    assert desk.heartbeat >> 1 == 9


def test_the_types_of_a_name_are_told_apart(desk: Desk) -> None:
    desk.walk(encode_qname(NAME, 65535))
    others = (1, 2, 5, 6, 12, 15, 16, 28, 33, 64, 65, 255)
    assert all(desk.excludes(encode_qname(NAME, qtype)) for qtype in others)


def test_which_maps_are_empty_stands_beside_the_tick_from_before_the_look(desk: Desk) -> None:
    desk.index.looked(777, [MapName.CIDR4, MapName.QNAMES])
    assert desk.empty == encode_empty(777, [MapName.CIDR4, MapName.QNAMES])


def test_a_map_that_is_about_to_be_written_to_is_empty_no_longer(desk: Desk) -> None:
    desk.index.looked(777, RULE_MAPS)
    desk.index.on_write(MapName.ADDR_V4)
    assert desk.empty == encode_empty(777, set(RULE_MAPS) - {MapName.ADDR_V4})


def test_a_look_from_before_an_own_write_does_not_make_the_map_empty_again(desk: Desk) -> None:
    desk.index.on_write(MapName.ADDR_V4)
    desk.now += QUIET_SECONDS / 2
    desk.index.looked(777, [MapName.ADDR_V4])
    assert desk.empty == encode_empty(777, [])


def test_a_map_whose_entries_are_gone_again_is_empty(desk: Desk) -> None:
    desk.index.on_write(MapName.ADDR_V4)
    desk.now += QUIET_SECONDS
    desk.index.looked(777, [MapName.ADDR_V4])
    assert desk.empty == encode_empty(777, [MapName.ADDR_V4])


def test_with_too_many_names_the_other_maps_may_still_be_empty(desk: Desk) -> None:
    desk.index.looked(777, [MapName.CIDR4])
    desk.index.names_off()
    assert desk.empty == encode_empty(777, [MapName.CIDR4])


def test_off_no_map_is_empty(desk: Desk) -> None:
    desk.index.looked(777, RULE_MAPS)
    desk.index.turn_off()
    assert desk.empty == 0


def test_while_the_maps_are_about_to_be_others_none_is_empty(desk: Desk) -> None:
    desk.index.looked(777, RULE_MAPS)
    desk.index.distrust()
    gone = desk.empty
    desk.now += QUIET_SECONDS / 2
    desk.index.looked(778, RULE_MAPS)
    assert [gone, desk.empty] == [0, encode_empty(778, [])]


def test_what_a_former_service_left_is_not_said_on(desk: Desk) -> None:
    desk.walk(key(1))
    desk.index.looked(777, RULE_MAPS)
    NameIndex(memoryview(desk.memory), fresh=FRESH)
    assert [desk.heartbeat, desk.empty] == [0, 0]


def test_a_secret_is_drawn_for_each_index(desk: Desk) -> None:
    drawn = [desk.secret, Desk().secret]
    assert len({number for one in drawn for number in (*one.names, one.qtype)}) == 2 * 65


def test_a_former_services_secret_stays_as_its_program_is_at_work_with_it(desk: Desk) -> None:
    before = desk.secret
    NameIndex(memoryview(desk.memory), fresh=FRESH)
    assert (desk.secret.names, desk.secret.qtype) == (before.names, before.qtype)


def test_a_new_service_finds_the_bits_that_a_former_one_would(desk: Desk) -> None:
    desk.walk(key(1))
    desk.index = NameIndex(memoryview(desk.memory), fresh=FRESH, clock=lambda: desk.now)
    desk.walk(key(1), key(2))
    assert [desk.excludes(key(number)) for number in (1, 2, 3)] == [False, False, True]


def test_names_that_share_a_bit_for_one_service_do_not_for_others() -> None:
    bits: dict[int, bytes] = {}
    one, other = b"", b""
    for number in range(1_000_000):
        other = key(number)
        one = bits.setdefault(FACTORS.bit(other), other)
        if one is not other:
            break
    assert FACTORS.bit(one) == FACTORS.bit(other)
    secrets = [IndexFactors.random() for _ in range(5)]
    assert sum(secret.bit(one) == secret.bit(other) for secret in secrets) <= 1


def test_types_that_share_a_bit_for_one_service_do_not_for_others() -> None:
    secrets = [IndexFactors.random() for _ in range(3)]
    shared = [
        {qtype for qtype in range(1000) if secret.bit(typed(qtype)) == secret.bit(typed(65535))}
        for secret in secrets
    ]
    assert shared[0] != shared[1] or shared[0] != shared[2]


def typed(qtype: int) -> bytes:
    return encode_qname(NAME, qtype)


_LONG = labels(*[b"abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwxyz0"[:63]] * 3)


@pytest.mark.parametrize("flip", [0x80, 0x40, 0x20, 0x01])
def test_no_change_of_a_name_leaves_its_bit_whatever_the_secret(flip: int) -> None:
    """One bit of each of two words, the uppermost above all: sums modulo 2^64 hide those."""
    secret = IndexFactors.random()
    own = encode_qname(_LONG, 65535)
    same = 0
    for first in range(1, 60):
        other = bytearray(own)
        other[first] ^= flip
        other[first + 8] ^= flip
        same += secret.bit(bytes(other)) == secret.bit(own)
    assert same <= 1


class AnyOrder(RuleBasedStateMachine):
    """Writes of both sides, walks, pauses, in any order."""

    keys = st.integers(0, 60).map(key)

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.map: set[bytes] = set()
        self.vouched: set[bytes] = set()  # theirs are vouched for by a walk, ours at once

    @rule(wanted=keys)
    def we_write(self, wanted: bytes) -> None:
        self.desk.index.on_names(wanted)
        self.map.add(wanted)
        self.vouched.add(wanted)

    @rule(wanted=keys)
    def they_write(self, wanted: bytes) -> None:
        self.map.add(wanted)

    @rule(wanted=keys)
    def one_goes(self, wanted: bytes) -> None:
        self.map.discard(wanted)
        self.vouched.discard(wanted)

    @rule()
    def walk(self) -> None:
        self.desk.walk(*self.map)
        self.vouched = set(self.map)

    @rule(ours=keys)
    def we_write_during_a_walk(self, ours: bytes) -> None:
        found = set(self.map)
        self.we_write(ours)
        self.desk.walk(*found)
        self.vouched = found | {ours}

    @rule(seconds=st.sampled_from((0.05, 1.0, 2.0, 11.0)))
    def pause(self, seconds: float) -> None:
        self.walk()  # nothing that we write takes longer than that to be found
        self.desk.now += seconds

    @rule()
    def off(self) -> None:
        self.desk.index.turn_off()

    @invariant()
    def no_vouched_entry_is_excluded(self) -> None:
        if self.desk.heartbeat:
            assert not [one for one in self.vouched if self.desk.excludes(one)]


AnyOrder.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase


# --- the same in the program -------------------------------------------------------


@pytest.fixture(scope="module")
def program() -> HostFilter:
    return HostFilter(DEFAULT, sanitize=True)


def judge(program: HostFilter, wire: bytes, qtype: int) -> Reason:
    return program.run(ethernet(ipv4(Udp(query(wire, qtype))))).reason


def put(program: HostFilter, wire: bytes, qtype: int, value: bytes) -> None:
    program.clear()
    program.set_entry(QNAMES, encode_qname(wire.lower(), qtype), encode_value(RuleAction.DROP))
    program.set_entry(INDEX, ZERO, value)


_LABEL = st.binary(min_size=1, max_size=63)
_NAMES = (
    st.lists(_LABEL, max_size=8)
    .map(lambda parts: labels(*parts))
    .filter(lambda wire: len(wire) <= 255)
)
_QTYPES = st.one_of(st.sampled_from((1, 28, 255, 65535)), st.integers(0, 65535))


@given(wire=_NAMES, qtype=_QTYPES, half=st.sampled_from((0, 1)))
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_bit_of_a_key_is_the_one_that_the_program_looks_at(
    program: HostFilter, wire: bytes, qtype: int, half: int
) -> None:
    """Only that bit: the entry is found. All but that one: it is not."""
    own = encode_qname(wire.lower(), qtype)
    put(program, wire, qtype, index_value((own,), half=half, fresh=FRESH, tick=100))
    program.set_ticks(100)
    assert judge(program, wire, qtype) is Reason.QNAME
    others = bytearray(b"\xff" * INDEX_SIZE)
    others[:INDEX_HEADER_SIZE] = index_value((), half=half, fresh=FRESH, tick=100)[
        :INDEX_HEADER_SIZE
    ]
    word, bit = divmod(FACTORS.bit(own), 64)
    memoryview(others).cast("Q")[INDEX_HEADER_SIZE // 8 + half * INDEX_WORDS + word] ^= 1 << bit
    program.set_entry(INDEX, ZERO, bytes(others))
    assert judge(program, wire, qtype) is Reason.NO_MATCH


def test_a_stale_index_is_not_believed(program: HostFilter) -> None:
    put(program, NAME, 1, index_value((), half=0, fresh=FRESH, tick=100))
    program.set_ticks(100 + FRESH + 1)
    assert judge(program, NAME, 1) is Reason.QNAME


def test_a_fresh_index_is_believed_to_its_last_tick(program: HostFilter) -> None:
    put(program, NAME, 1, index_value((), half=0, fresh=FRESH, tick=100))
    program.set_ticks(100 + FRESH)
    assert judge(program, NAME, 1) is Reason.NO_MATCH


def test_a_heartbeat_in_the_future_is_not_believed(program: HostFilter) -> None:
    put(program, NAME, 1, index_value((), half=0, fresh=FRESH, tick=101))
    program.set_ticks(100)
    assert judge(program, NAME, 1) is Reason.QNAME


def test_an_index_of_zeros_is_not_believed(program: HostFilter) -> None:
    put(program, NAME, 1, bytes(INDEX_SIZE))
    assert judge(program, NAME, 1) is Reason.QNAME


EMPTY_AT_100 = index_value((), half=0, fresh=FRESH, tick=100, empty=RULE_MAPS)
"""Told in tests about maps that have an entry, so that it is seen who believes it."""


def judge_source(program: HostFilter, tick: int) -> Reason:
    """Return why a packet from a blocked address is decided as it is."""
    program.clear()
    address = encode_addr_v4(IPv4Address("192.0.2.1"))
    program.set_entry(MAPS[MapName.ADDR_V4].ref, address, encode_value(RuleAction.DROP))
    program.set_entry(INDEX, ZERO, EMPTY_AT_100)
    program.set_ticks(tick)
    return program.run(ethernet(ipv4(Udp(query(NAME, 1)), source="192.0.2.1"))).reason


def test_a_map_said_to_be_empty_is_not_looked_into_up_to_the_last_tick(
    program: HostFilter,
) -> None:
    assert judge_source(program, 100 + FRESH) is Reason.NO_MATCH


@pytest.mark.parametrize("tick", [99, 100 + FRESH + 1, 2**60])
def test_what_is_empty_is_not_believed_when_old_or_in_the_future(
    program: HostFilter, tick: int
) -> None:
    assert judge_source(program, tick) is Reason.ADDR_V4


def test_two_names_with_one_bit_are_told_apart_by_the_map(program: HostFilter) -> None:
    bits: dict[int, bytes] = {}
    for number in range(1_000_000):
        other = key(number)
        one = bits.setdefault(FACTORS.bit(other), other)
        if one is not other:
            break
    put(program, one[: one.index(0) + 1], 65535, index_value((one,), half=1, fresh=FRESH, tick=100))
    program.set_ticks(100)
    asked = [found[: found.index(0) + 1] for found in (one, other)]
    assert [judge(program, wire, 1) for wire in asked] == [Reason.QNAME, Reason.NO_MATCH]
