"""Estimates of all packets from samples: sums, shares of actions, error, window, memory."""

from __future__ import annotations

import random

import pytest

from tests.unit.samples.seen import NOW, frame_of, sample_of
from xdpctl.abi import PacketAction, Reason
from xdpctl.samples import talkers as talkers_module
from xdpctl.samples.packets import read_packet
from xdpctl.samples.talkers import By, Talkers


def add(talkers: Talkers, frame: bytes, *args: object, **fields: object) -> None:
    sample = sample_of(frame, *args, **fields)  # type: ignore[arg-type]
    talkers.add(sample, read_packet(frame))


def keys(talkers: Talkers, by: By) -> list[str]:
    return [found.key for found in talkers.most(by, 10)]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (By.SOURCE, ["192.0.2.7", "2001:db8:1:2::3"]),
        (By.SOURCE32, ["192.0.2.7"]),
        (By.SOURCE24, ["192.0.2.0/24"]),
        (By.SOURCE128, ["2001:db8:1:2::3"]),
        (By.SOURCE64, ["2001:db8:1:2::/64"]),
        (By.SOURCE48, ["2001:db8:1::/48"]),
        (By.NAME, ["a.b.c.example", "example"]),
        (By.ZONE2, [".c.example", ".example"]),
        (By.ZONE3, [".b.c.example", ".example"]),
        (By.TYPE, ["A", "AAAA"]),
        (By.PORT, ["udp/53", "udp/5353"]),
        (By.SOURCE_PORT, ["udp/40053"]),
        (By.ACTION, ["drop", "pass"]),
        (By.REASON, ["addr-v4", "no-match"]),
        (By.INTERFACE, ["eth0", "eth1"]),
    ],
)
def test_each_dimension_has_its_keys(by: By, expected: list[str]) -> None:
    talkers = Talkers([by], 5, began=NOW)
    drop = PacketAction.DROP, Reason.ADDR_V4
    add(talkers, frame_of("192.0.2.7", "a.b.c.example"), *drop, weight=10)
    add(talkers, frame_of("2001:db8:1:2::3", "example", 28, 5353), weight=3, interface="eth1")
    assert keys(talkers, by) == expected


def test_every_dimension_is_tried_above() -> None:
    marks = test_each_dimension_has_its_keys.pytestmark  # type: ignore[attr-defined]
    assert {case[0] for case in marks[0].args[1]} == set(By)


def test_the_root_is_a_zone_and_a_name() -> None:
    talkers = Talkers([By.NAME, By.ZONE2], 5, began=NOW)
    add(talkers, frame_of(name="."))
    assert keys(talkers, By.NAME) == keys(talkers, By.ZONE2) == ["."]


def test_weights_are_summed_by_action() -> None:
    talkers = Talkers([By.SOURCE], 5, began=NOW)
    add(talkers, frame_of(), weight=7)
    add(talkers, frame_of(), PacketAction.DROP, Reason.LIMIT, weight=5)
    (found,) = talkers.most(By.SOURCE, 10)
    assert found.packets == 12
    assert found.actions == {PacketAction.PASS: 7, PacketAction.DROP: 5}
    assert talkers.total().packets == 12


def test_where_every_packet_is_a_sample_there_is_no_error() -> None:
    talkers = Talkers([By.SOURCE], 5, began=NOW)
    for _ in range(50):
        add(talkers, frame_of())
    assert talkers.most(By.SOURCE, 1)[0].error == 0


def test_the_error_holds_in_nineteen_of_twenty_cases() -> None:
    """One packet of 20 is a sample; a source sends 2,000 of 10,000."""
    chance = random.Random(7)
    mine, other = frame_of("192.0.2.1"), frame_of("192.0.2.2")
    good = 0
    for _ in range(200):
        talkers = Talkers([By.SOURCE], 5, began=NOW)
        for frame, packets in ((mine, 2_000), (other, 8_000)):
            for _ in range(sum(chance.random() < 0.05 for _ in range(packets // 10)) * 10):
                add(talkers, frame, weight=20)
        found = {row.key: row for row in talkers.most(By.SOURCE, 2)}["192.0.2.1"]
        good += abs(found.packets - 2_000) <= found.error * 10**0.5  # ten at once, so more apart
    assert good >= 180


def test_what_is_older_than_the_window_is_forgotten() -> None:
    talkers = Talkers([By.SOURCE], 5, began=NOW)
    add(talkers, frame_of("192.0.2.1"), time=NOW)
    add(talkers, frame_of("192.0.2.2"), time=NOW + 4)
    talkers.expire(NOW + 6)
    assert keys(talkers, By.SOURCE) == ["192.0.2.2"]
    assert talkers.seconds(NOW + 6) == 5
    talkers.expire(NOW + 60)
    assert talkers.total().packets == 0
    assert not talkers._sums[0]


def test_a_window_is_not_longer_than_samples_were_taken() -> None:
    assert Talkers([By.SOURCE], 60, began=NOW).seconds(NOW + 2) == 2


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talkers_module, "SAMPLES_MAX", 10)
    talkers = Talkers([By.NAME], 60, began=NOW)
    for number in range(100):
        add(talkers, frame_of(name=f"r{number}.example"), time=NOW + number / 10)
    assert len(talkers.most(By.NAME, 1_000)) == 10
    assert 0.8 < talkers.seconds(NOW + 9.9) < 1.2


def test_truncated_addresses_are_shown_as_prefixes() -> None:
    talkers = Talkers([By.SOURCE, By.SOURCE24, By.SOURCE64], 5, kept=(16, 48), began=NOW)
    add(talkers, frame_of("192.0.0.0"))
    add(talkers, frame_of("2001:db8::"))
    assert set(keys(talkers, By.SOURCE)) == {"192.0.0.0/16", "2001:db8::/48"}
    assert keys(talkers, By.SOURCE24) == ["192.0.0.0/16"]
    assert keys(talkers, By.SOURCE64) == ["2001:db8::/48"]
