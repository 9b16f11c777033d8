"""The harness around the engines notices what it is there to notice."""

from __future__ import annotations

import struct

import pytest

from tests.engines import EngineError
from tests.engines.entries import counted_between, entry_of, hit_between, rule_entries, value_of
from tests.engines.oracle import Oracle, judge
from tests.fuzz.compare import agree, disagreement, opinions
from tests.fuzz.layout import layout_of
from tests.fuzz.mutate import LONGEST, MUTATIONS, TAPE_OCTETS, mutant
from tests.fuzz.tape import Tape
from tests.packets.build import Tag, Udp, ethernet, hop_by_hop, ipv4, ipv6
from tests.packets.case import Result, Rule, Scene, answered, drop, dropped, passed
from tests.packets.message import query
from tests.packets.table import CASES
from xdpctl.abi import COUNTERS_SIZE, MapName, PacketAction, Reason

FRAME = ethernet(ipv4(Udp(query("www.example"))))


def _counters(**cells: tuple[int, int]) -> bytes:
    """Return counters of two CPUs; `cpu0_7_1=(2, 3)` is 2 packets and 3 octets of (7, 1)."""
    value = bytearray(2 * COUNTERS_SIZE)
    for cell, numbers in cells.items():
        cpu, reason, action = (int(part) for part in cell.removeprefix("cpu").split("_"))
        struct.pack_into("=QQ", value, cpu * COUNTERS_SIZE + (reason * 4 + action) * 16, *numbers)
    return bytes(value)


def test_one_packet_of_the_frames_size_is_read_off_either_cpu() -> None:
    before = _counters(cpu0_7_1=(5, 900), cpu1_7_1=(6, 800))
    after = _counters(cpu0_7_1=(5, 900), cpu1_7_1=(7, 860))
    assert counted_between(before, after, 60) == (Reason.QNAME, PacketAction.DROP)


@pytest.mark.parametrize(
    "after",
    [
        _counters(),
        _counters(cpu0_7_1=(2, 60)),
        _counters(cpu0_7_1=(1, 59)),
        _counters(cpu0_7_1=(1, 0)),
        _counters(cpu0_7_1=(0, 60)),
        _counters(cpu0_7_1=(1, 60), cpu0_8_0=(1, 60)),
        _counters(cpu0_7_1=(1, 60), cpu1_7_1=(1, 60)),
    ],
    ids=["none", "two", "too few octets", "no octets", "no packet", "two cells", "two CPUs"],
)
def test_any_other_count_is_an_error(after: bytes) -> None:
    with pytest.raises(EngineError):
        counted_between(_counters(), after, 60)


def test_a_count_under_no_reason_is_an_error() -> None:
    with pytest.raises(EngineError, match="29, which is no reason"):
        counted_between(_counters(), _counters(cpu0_29_0=(1, 60)), 60)


_VALUES = [value_of(Rule("192.0.2.1", 1, hits=7, unused=b"\xff" * 7)), value_of(drop("x.example"))]


def test_a_rule_that_gained_one_hit_is_found() -> None:
    after = [_VALUES[0], struct.pack("=QB7x", 1, 1)]
    assert hit_between(_VALUES, after) == 1


def test_no_rule_that_gained_a_hit_is_none() -> None:
    assert hit_between(_VALUES, list(_VALUES)) is None


@pytest.mark.parametrize(
    "changed",
    [
        struct.pack("=QB7s", 9, 1, b"\xff" * 7),
        struct.pack("=QB7s", 6, 1, b"\xff" * 7),
        struct.pack("=QB7s", 8, 2, b"\xff" * 7),
        struct.pack("=QB7s", 8, 1, b"\0" * 7),
        struct.pack("=QB7s", 7, 1, b"\0" * 7),
    ],
    ids=["two hits", "one less", "another action", "unused bytes written", "no hit, but written"],
)
def test_any_other_change_of_a_rule_is_an_error(changed: bytes) -> None:
    with pytest.raises(EngineError):
        hit_between(_VALUES, [changed, _VALUES[1]])


def test_two_rules_that_gained_a_hit_are_an_error() -> None:
    gained = [struct.pack("=QB7s", 8, 1, b"\xff" * 7), struct.pack("=QB7x", 1, 1)]
    with pytest.raises(EngineError):
        hit_between(_VALUES, gained)


@pytest.mark.parametrize(
    ("rule", "entry"),
    [
        (drop("192.0.2.1"), (MapName.ADDR_V4, bytes([1, 2, 0, 192]))),
        (drop("192.0.2.0/24"), (MapName.CIDR4, bytes([24, 0, 0, 0, 192, 0, 2, 0]))),
        (drop("2001:db8::1"), (MapName.ADDR_V6, bytes.fromhex("20010db8" + "00" * 11 + "01"))),
        (
            drop("2001:db8::/32"),
            (MapName.CIDR6, bytes.fromhex("20000000" + "20010db8" + "00" * 12)),
        ),
        (drop("ab", 28), (MapName.QNAMES, b"\2ab" + bytes(253) + b"\x1c\0")),
        (drop("face.de", 1), (MapName.QNAMES, b"\4face\2de" + bytes(248) + b"\1\0")),
    ],
    ids=lambda value: value.target if isinstance(value, Rule) else "",
)
def test_a_rule_stands_where_dnsdist_would_put_it(rule: Rule, entry: tuple[MapName, bytes]) -> None:
    assert entry_of(rule) == entry


def test_two_rules_of_one_entry_are_an_error() -> None:
    with pytest.raises(EngineError):
        rule_entries(Scene((drop("192.0.2.1"), Rule("192.0.2.1", 0))))


class _Liar:
    """An engine that says the same of every frame."""

    name = "liar"

    def __init__(self, result: Result | None) -> None:
        self._result = result

    @staticmethod
    def takes(frame: bytes) -> bool:
        return len(frame) >= 14

    def judge(self, scene: Scene, frame: bytes) -> Result:
        if self._result is None:
            raise EngineError(f"of {len(frame)} octets, {len(scene.rules)} rules")
        return self._result


HONEST = passed(Reason.NO_MATCH)


@pytest.mark.parametrize(
    "lie",
    [
        dropped(Reason.NO_MATCH),
        passed(Reason.OTHER),
        passed(Reason.NO_MATCH, 0),
        Result(HONEST.verdict, HONEST.reason, PacketAction.DROP),
        Result(HONEST.verdict, HONEST.reason, HONEST.action, b"changed"),
        None,
    ],
    ids=["verdict", "reason", "hit", "action", "frame", "error"],
)
def test_engines_that_differ_in_one_point_do_not_agree(lie: Result | None) -> None:
    said = opinions((Oracle(), _Liar(lie)), Scene((drop("203.0.113.1"),)), FRAME)
    assert not agree(said, FRAME)


def test_engines_that_say_the_same_agree() -> None:
    assert agree(opinions((Oracle(), _Liar(HONEST)), Scene(), FRAME), FRAME)


@pytest.mark.parametrize(
    "result",
    [
        Result(HONEST.verdict, HONEST.reason, HONEST.action, b"changed"),
        answered(Reason.QNAME, FRAME + b"\0", 0),
    ],
    ids=["changed though passed", "answer longer than its query"],
)
def test_what_no_frame_may_meet_is_noticed_though_all_agree(result: Result) -> None:
    said = opinions((_Liar(result), _Liar(result)), Scene(), FRAME)
    assert not agree(said, FRAME)


def test_a_disagreement_is_reported_with_a_frame_and_no_rule_too_many() -> None:
    tape = next(
        tape
        for number in range(1000)
        if (tape := number.to_bytes(TAPE_OCTETS, "little"))
        and mutant(Tape(tape))[0].rules
        and len(mutant(Tape(tape))[1]) > 100
    )
    found = disagreement((Oracle(), _Liar(dropped(Reason.PANIC))), tape) or ""
    assert "frame (14 octets): " in found
    assert "rule: " not in found
    assert "liar: Result(" in found


def test_the_same_tape_is_the_same_mutant() -> None:
    tape = bytes(range(TAPE_OCTETS))
    assert mutant(Tape(tape)) == mutant(Tape(tape))


def test_an_empty_tape_is_a_case_of_the_table() -> None:
    first = next(iter(CASES.values()))
    assert mutant(Tape(b"")) == (first.scene, first.frame)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_mutation_takes_any_frame(mutation: object) -> None:
    frames = (b"", b"\0", FRAME[:13], FRAME[:20], FRAME, bytes(100), b"\xff" * 100)
    assert callable(mutation)
    for frame in frames:
        for number in range(256):
            assert isinstance(mutation(Tape(bytes([number]) * 20), frame), bytes)


def test_no_mutant_is_longer_than_every_engine_takes() -> None:
    tapes = (number.to_bytes(2, "big") * (TAPE_OCTETS // 2) for number in range(2000))
    assert max(len(mutant(Tape(tape))[1]) for tape in tapes) <= LONGEST


def _fields(frame: bytes) -> dict[str, bytes]:
    return {
        field.name: frame[field.at : field.at + field.size] for field in layout_of(frame).fields
    }


def test_fields_of_a_tagged_v4_query_are_found() -> None:
    fields = _fields(ethernet(ipv4(Udp(query("www.example", 28))), tags=(Tag(), Tag())))
    assert fields["source"] == bytes([192, 0, 2, 1])
    assert fields["dport"] == b"\0\x35"
    assert fields["qtype"] == b"\0\x1c"


def test_fields_behind_an_extension_header_are_found() -> None:
    fields = _fields(ethernet(ipv6(Udp(query("www.example", 28)), extensions=(hop_by_hop(2),))))
    assert fields["header length"] == b"\2"
    assert fields["dport"] == b"\0\x35"
    assert fields["qtype"] == b"\0\x1c"


def test_the_oracle_judges_every_mutant() -> None:
    for number in range(3000):
        scene, frame = mutant(Tape(number.to_bytes(2, "big") * (TAPE_OCTETS // 2)))
        assert isinstance(judge(scene, frame), Result)
