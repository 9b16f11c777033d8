"""The maps of the limits of zones: what is written, whose secrets are kept, which numbers."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_kernel import FakeBpf, FakeKernel
from xdpctl.abi import (
    MAPS,
    ZONE_CELL_SIZE,
    ZONE_HEAD_SIZE,
    ZONE_SECRETS_OFFSET,
    ZONE_TIME_SHIFT,
    ZONES_LAYOUT,
    MapName,
    ZoneKnowledge,
    decode_zone_limit,
)
from xdpctl.errors import StateError
from xdpctl.rules.names import Name
from xdpctl.zones.tables import KEYS_FILE, ZoneTables, zone_limit_value

if TYPE_CHECKING:
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map

HZ = 250
ONE, TWO, DEEP = (
    Name.from_text(text) for text in ("example.com", "example.net", "a.b.example.org")
)
_NAMES = (MapName.ZONE_LIMITS, MapName.ZONE_NAMES, MapName.ZONE_CELLS, MapName.ZONE_HEAD)


@pytest.fixture
def maps() -> dict[MapName, Map]:
    bpf = FakeBpf(FakeKernel())
    return {name: bpf.create_map(MAPS[name], MAPS[name].entries) for name in _NAMES}


def tables(maps: dict[MapName, Map], directory: Path) -> ZoneTables:
    return ZoneTables(maps, directory, HZ)


def head(maps: dict[MapName, Map]) -> bytes:
    return bytes(maps[MapName.ZONE_HEAD].memory()[:ZONE_HEAD_SIZE])


def levels(maps: dict[MapName, Map]) -> int:
    return int.from_bytes(head(maps)[8:16], "little")


def limited(maps: dict[MapName, Map]) -> dict[bytes, bytes]:
    return {
        keys[at : at + 8]: values[4 * at : 4 * at + 32]
        for keys, values in maps[MapName.ZONE_LIMITS].chunks()
        for at in range(0, len(keys), 8)
    }


@pytest.mark.parametrize(("limit", "burst"), [(1, 2), (100, 250), (10_000_000, 25_000_000)])
def test_a_limit_in_the_programs_numbers(limit: int, burst: int) -> None:
    value = zone_limit_value(limit, burst, 3, ZoneKnowledge.LISTED, HZ)
    second = HZ << ZONE_TIME_SHIFT
    assert value.price == pytest.approx(second / limit, rel=0.01)
    assert value.room == pytest.approx(max(burst * value.price, 2 << ZONE_TIME_SHIFT), rel=0.01)
    assert value.room < value.most < 1 << 62
    assert (value.number, value.names) == (3, ZoneKnowledge.LISTED)


def test_the_burst_holds_two_ticks_and_a_packet() -> None:
    value = zone_limit_value(1000, 1, 0, ZoneKnowledge.UNKNOWN, HZ)
    assert value.room == (2 << ZONE_TIME_SHIFT) + value.price


def test_exactly_the_wanted_zones_are_limited(maps: dict[MapName, Map], tmp_path: Path) -> None:
    made = tables(maps, tmp_path)
    made.limit_zones({ONE: (10, 25, ZoneKnowledge.UNKNOWN), DEEP: (5, 12, ZoneKnowledge.WHOLE)})
    assert levels(maps) == 1 << 2 | 1 << 4
    values = [decode_zone_limit(value) for value in limited(maps).values()]
    assert {value.number for value in values} == {0, 1}
    assert made.knowledge_of(DEEP) is ZoneKnowledge.WHOLE
    assert made.knowledge_of(TWO) is ZoneKnowledge.UNKNOWN
    made.limit_zones({TWO: (10, 25, ZoneKnowledge.UNKNOWN)})
    assert levels(maps) == 1 << 2
    assert len(limited(maps)) == 1
    made.limit_zones({})
    assert (levels(maps), limited(maps)) == (0, {})


def test_a_zone_keeps_its_number_and_gives_it_back_with_its_names(
    maps: dict[MapName, Map], tmp_path: Path
) -> None:
    made = tables(maps, tmp_path)
    numbers = [made.number_of(name) for name in (ONE, TWO, ONE)]
    assert numbers == [0, 1, 0]
    maps[MapName.ZONE_NAMES].update(bytes(4), b"\7\0\0\0")
    maps[MapName.ZONE_CELLS].memory()[:8] = b"\1" * 8
    made.forget_zones([TWO])
    assert maps[MapName.ZONE_NAMES].lookup(bytes(4)) is None
    assert made.number_of(DEEP) == 0
    assert not any(maps[MapName.ZONE_CELLS].memory()[:8]), "the account is a new one"
    assert made.number_of(TWO) == 1


def test_another_service_finds_what_was_there(maps: dict[MapName, Map], tmp_path: Path) -> None:
    first = tables(maps, tmp_path)
    first.limit_zones({TWO: (10, 25, ZoneKnowledge.UNKNOWN), ONE: (10, 25, ZoneKnowledge.LISTED)})
    second = tables(maps, tmp_path)
    assert second.hashed.drawn == first.hashed.drawn
    assert second.knowledge_of(ONE) is ZoneKnowledge.LISTED
    assert [second.number_of(name) for name in (ONE, TWO, DEEP)] == [1, 0, 2]


def test_the_secrets_outlive_the_maps_and_nobody_else_reads_them(
    maps: dict[MapName, Map], tmp_path: Path
) -> None:
    directory = tmp_path / "zones"
    drawn = tables(maps, directory).hashed.drawn
    assert head(maps)[ZONE_SECRETS_OFFSET:] == drawn
    assert stat.S_IMODE((directory / KEYS_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    bpf = FakeBpf(FakeKernel())
    fresh: dict[MapName, Map] = {name: bpf.create_map(MAPS[name], 4) for name in _NAMES}
    assert tables(fresh, directory).hashed.drawn == drawn


def test_secrets_of_another_length_are_drawn_again(
    maps: dict[MapName, Map], tmp_path: Path
) -> None:
    (tmp_path / KEYS_FILE).write_bytes(b"short")
    drawn = tables(maps, tmp_path).hashed.drawn
    assert (tmp_path / KEYS_FILE).read_bytes() == drawn


def test_maps_of_another_layout_are_begun_again(maps: dict[MapName, Map], tmp_path: Path) -> None:
    made = tables(maps, tmp_path)
    made.limit_zones({ONE: (10, 25, ZoneKnowledge.LISTED)})
    memory = maps[MapName.ZONE_HEAD].memory()
    memory[0] = ZONES_LAYOUT + 1
    again = tables(maps, tmp_path)
    assert (memory[0], limited(maps), levels(maps)) == (ZONES_LAYOUT, {}, 0)
    assert again.knowledge_of(ONE) is ZoneKnowledge.UNKNOWN


def test_secrets_that_cannot_be_kept_are_one_sentence(
    maps: dict[MapName, Map], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StateError, match=r"cannot read .*keys"):
        tables(maps, tmp_path / "file")


def test_a_zone_that_is_watched_limits_nobody_and_its_account_tells(
    maps: dict[MapName, Map], tmp_path: Path
) -> None:
    made = tables(maps, tmp_path)
    made.limit_zones({TWO: (10, 25, ZoneKnowledge.UNKNOWN), ONE: (10, None, ZoneKnowledge.UNKNOWN)})
    value = decode_zone_limit(limited(maps)[made.hashed.tag(ONE.wire).to_bytes(8, "little")])
    now = 7_000_000
    day = 86_400 * HZ << ZONE_TIME_SHIFT
    assert value.room > 1000 * day
    assert value.price == (HZ << ZONE_TIME_SHIFT) // 10
    assert made.spent(ONE, now) == 0.0
    until = maps[MapName.ZONE_CELLS].memory().cast("B").cast("Q")
    place = made.number_of(ONE) * ZONE_CELL_SIZE // 8
    until[place] = (now << ZONE_TIME_SHIFT) + 30 * value.price
    assert made.spent(ONE, now) == pytest.approx(3.0)
    assert made.spent(ONE, now + HZ) == pytest.approx(2.0)
    assert made.spent(ONE, now + 60 * HZ) == 0.0
