"""Which maps are shared under which names, and that nothing of dnsdist's is ever lost."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from tests.support.fake_host import INTERFACE, FakeHost
from xdpctl.abi import DESTINATION_MAPS, MAPS, RULE_MAPS, MapName
from xdpctl.errors import KernelError, PinError, TargetError
from xdpctl.maps.shared import SharedMaps, pins_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_kernel import FakeMap
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.settings import Settings


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHost:
    return FakeHost(monkeypatch, tmp_path)


def opened(host: FakeHost, settings: Settings | None = None) -> SharedMaps:
    """Inspect and open, as a service does."""
    shared = SharedMaps(host.bpf, settings or host.settings())
    shared.inspect()
    shared.open()
    return shared


def dnsdist_makes(host: FakeHost, name: MapName, room: int = 1024) -> int:
    """Make and pin a map as a dnsdist that was first does; return its id."""
    host.pins.mkdir(exist_ok=True)
    with host.bpf.create_map(MAPS[name], room) as made:
        made.pin(host.pins / name)
        return made.info.id


# --- names and sizes --------------------------------------------------------------------------


def test_without_xsk_there_are_the_five_rule_maps(host: FakeHost) -> None:
    assert [pin.name for pin in pins_for(host.settings())] == list(RULE_MAPS)


def test_with_xsk_the_three_of_af_xdp_come_too(host: FakeHost) -> None:
    names = [pin.name for pin in pins_for(host.settings("--xsk"))]
    assert names == [*RULE_MAPS, "xskmap", *DESTINATION_MAPS]


def test_a_further_interface_has_an_xskmap_of_its_own(host: FakeHost) -> None:
    settings = replace(host.settings("--xsk"), interfaces=("eth0", "eth1", "eth0.100"))
    own = {pin.interface: pin.name for pin in pins_for(settings) if pin.map is MapName.XSKMAP}
    assert own == {"eth0": "xskmap", "eth1": "xskmap-eth1", "eth0.100": "xskmap-eth0:100"}


def test_each_map_has_the_size_that_was_asked_for(host: FakeHost) -> None:
    settings = host.settings(
        "--xsk", "-m", "100", "--map-size", "qnames=7", "--number-of-queues", "4"
    )
    sizes = {pin.name: pin.entries for pin in pins_for(settings)}
    assert (sizes["addr-v4"], sizes["qnames"], sizes["xskmap"]) == (100, 7, 4)
    assert sizes["xsk-destinations-v4"] == 100


# --- making and opening -----------------------------------------------------------------------


def test_maps_that_are_missing_are_made_and_pinned(host: FakeHost) -> None:
    with opened(host) as shared:
        assert shared.warnings == ()
    assert host.pinned()["dnsdist"] == set(RULE_MAPS)


def test_a_map_that_dnsdist_made_first_is_used_as_it_is(host: FakeHost) -> None:
    number = dnsdist_makes(host, MapName.QNAMES)
    with opened(host) as shared:
        assert shared.rule_maps()[MapName.QNAMES].info.id == number


def test_another_size_than_asked_for_is_a_warning(host: FakeHost) -> None:
    dnsdist_makes(host, MapName.QNAMES, room=50)
    with opened(host) as shared:
        (warning,) = shared.warnings
        assert shared.rule_maps()[MapName.QNAMES].info.max_entries == 50
    assert "room for 50 entries, not the configured 1024" in warning


def test_pins_outlive_the_service(host: FakeHost) -> None:
    with opened(host):
        pass
    assert (host.pinned()["dnsdist"], host.kernel.open) == (set(RULE_MAPS), {})


def test_a_second_start_finds_the_maps_of_the_first(host: FakeHost) -> None:
    with opened(host) as first:
        numbers = [table.info.id for table in first.rule_maps().values()]
    with opened(host) as second:
        assert [table.info.id for table in second.rule_maps().values()] == numbers


def test_owner_and_mode_are_set_on_directory_and_pins(host: FakeHost) -> None:
    settings = host.settings("--pin-owner", f"{os.getuid()}:{os.getgid()}", "--pin-mode", "0660")
    with opened(host, settings):
        modes = {pin.stat().st_mode & 0o777 for pin in host.pins.iterdir()}
    assert (modes, host.pins.stat().st_mode & 0o777) == ({0o660}, 0o770)


# --- what cannot be used ----------------------------------------------------------------------


def wrong(host: FakeHost, name: MapName, key: int, value: int) -> None:
    """Pin a map of other sizes under a shared name."""
    host.pins.mkdir(exist_ok=True)
    with host.bpf.create_map(replace(MAPS[name], key_size=key, value_size=value), 8) as made:
        made.pin(host.pins / name)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [(MapName.ADDR_V4, (4, 8)), (MapName.ADDR_V6, (16, 8)), (MapName.QNAMES, (255, 16))],
)
def test_the_legacy_layout_is_named(host: FakeHost, name: MapName, sizes: tuple[int, int]) -> None:
    wrong(host, name, *sizes)
    with pytest.raises(PinError, match="without external=true"):
        SharedMaps(host.bpf, host.settings()).inspect()


def test_a_wrong_layout_stops_the_start_before_any_map_is_made(host: FakeHost) -> None:
    wrong(host, MapName.QNAMES, 258, 24)
    with pytest.raises(PinError, match="its value size is 24, not 16"):
        opened(host)
    assert (host.pinned()["dnsdist"], host.kernel.open) == ({"qnames"}, {})


def test_inspecting_makes_nothing(host: FakeHost) -> None:
    assert SharedMaps(host.bpf, host.settings()).inspect() == {}
    assert host.pinned() == {}


def test_inspecting_leaves_no_descriptor(host: FakeHost) -> None:
    for name in RULE_MAPS:
        dnsdist_makes(host, name)
    SharedMaps(host.bpf, host.settings()).inspect()
    assert host.kernel.open == {}


def test_inspecting_says_how_many_slots_each_xskmap_has(host: FakeHost) -> None:
    dnsdist_makes(host, MapName.XSKMAP, room=3)
    settings = replace(host.settings("--xsk", "-q", "9"), interfaces=("eth0", "eth1"))
    assert SharedMaps(host.bpf, settings).inspect() == {"eth0": 3, "eth1": 9}


@pytest.mark.parametrize("call", ["create_map", "map.pin"])
def test_a_failure_half_way_leaves_no_descriptor_and_keeps_what_is_pinned(
    host: FakeHost, call: str
) -> None:
    number = dnsdist_makes(host, MapName.ADDR_V4)
    shared = SharedMaps(host.bpf, host.settings())
    host.kernel.faults.set(call, errno.EPERM)
    with pytest.raises(KernelError), shared:
        shared.open()
    assert host.kernel.open == {}
    with host.bpf.open_map(host.pins / "addr-v4") as kept:
        assert kept.info.id == number


# --- while it runs --------------------------------------------------------------------------------


def test_a_plain_filter_has_no_destination_maps(host: FakeHost) -> None:
    with opened(host) as shared:
        assert (shared.destination_maps(), shared.xskmap_pins()) == ({}, {})


def test_each_interfaces_program_gets_its_own_xskmap(host: FakeHost) -> None:
    settings = replace(host.settings("--xsk"), interfaces=(INTERFACE, "eth1"))
    with opened(host, settings) as shared:
        first, second = (shared.for_interface(name) for name in (INTERFACE, "eth1"))
        different = {name for name in first if first[name] is not second[name]}
        assert (different, set(first)) == ({MapName.XSKMAP}, set(second))
        assert shared.xskmap_pins() == {INTERFACE: "xskmap", "eth1": "xskmap-eth1"}


def test_sound_pins_give_no_reason(host: FakeHost) -> None:
    with opened(host) as shared:
        assert list(shared.replaced()) == []


def test_each_pin_that_is_not_what_we_hold_gives_a_reason(host: FakeHost) -> None:
    with opened(host) as shared:
        (host.pins / "addr-v4").unlink()
        (host.pins / "qnames").unlink()
        dnsdist_makes(host, MapName.QNAMES)
        gone, other = shared.replaced()
    assert "addr-v4 is gone" in gone
    assert "qnames is not the map that the filter reads" in other


def test_a_pin_that_is_no_map_of_the_contract_gives_its_own_reason(host: FakeHost) -> None:
    with opened(host) as shared:
        (host.pins / "addr-v4").unlink()
        wrong(host, MapName.ADDR_V4, 8, 16)
        assert shared.mend() == []
        (reason,) = shared.replaced()
    assert "addr-v4: its key size is 8, not 4" in reason


def test_a_pin_that_cannot_be_made_again_says_why(host: FakeHost) -> None:
    with opened(host) as shared:
        (host.pins / "addr-v4").unlink()
        host.kernel.faults.set("map.pin", errno.EACCES)
        assert shared.mend() == []
        (reason,) = shared.replaced()
    assert "Permission denied" in reason


def test_looking_at_the_pins_leaves_no_descriptor(host: FakeHost) -> None:
    with opened(host) as shared:
        held = set(host.kernel.open)
        list(shared.replaced())
        assert set(host.kernel.open) == held


# --- what the pins' owner may do --------------------------------------------------------------


def freeze(held: Map) -> None:
    cast("FakeMap", held).state.frozen = True


def test_a_frozen_map_is_a_reason_and_can_still_be_read(host: FakeHost) -> None:
    with opened(host) as shared:
        freeze(shared.rule_maps()[MapName.QNAMES])
        assert shared.frozen() == {"qnames"}
        (reason,) = shared.replaced()
        assert f"the map {host.pins / 'qnames'} is frozen" in reason
        assert "stop every program that uses it, remove the pin" in reason
        assert shared.mend() == []
        assert list(shared.rule_maps()[MapName.QNAMES].chunks()) == []


def test_a_frozen_map_in_the_place_of_ours_is_not_moved_to(host: FakeHost) -> None:
    with opened(host) as shared:
        before = shared.rule_maps()[MapName.ADDR_V4].info.id
        (host.pins / "addr-v4").unlink()
        dnsdist_makes(host, MapName.ADDR_V4)
        with host.bpf.open_map(host.pins / "addr-v4") as theirs:
            freeze(theirs)
        assert shared.mend() == []
        assert shared.rule_maps()[MapName.ADDR_V4].info.id == before
        (reason,) = shared.replaced()
        assert "is another map, which is frozen: the filter keeps reading the former" in reason


def test_a_frozen_map_whose_pin_is_removed_makes_way_for_a_new_one(host: FakeHost) -> None:
    with opened(host) as shared:
        held = shared.rule_maps()[MapName.ADDR_V4]
        before = held.info.id
        freeze(held)
        (host.pins / "addr-v4").unlink()
        assert shared.mend() == ["addr-v4"]
        ((pin, number),) = shared.move()
        assert (pin, held.info.id) == ("addr-v4", number)
        assert number != before
        assert list(shared.replaced()) == []
        assert shared.frozen() == frozenset()


def test_a_map_with_less_room_in_the_place_of_ours_is_said(host: FakeHost) -> None:
    with opened(host) as shared:
        for room, said in ((7, "room for 7 entries instead of 1024"), (8, "")):
            (host.pins / "addr-v4").unlink()
            dnsdist_makes(host, MapName.ADDR_V4, room)
            assert shared.mend() == ["addr-v4"]
            shared.move()
            assert said in "".join(shared.shrunk.values())
            assert bool(shared.shrunk) == bool(said)


# --- more room --------------------------------------------------------------------------------


def test_a_map_that_would_take_most_of_the_memory_is_not_made(host: FakeHost) -> None:
    memory = 1 << 30
    with SharedMaps(host.bpf, host.settings(), memory=lambda: memory) as shared:
        shared.open()
        ids = {name: held.info.id for name, held in shared.rule_maps().items()}
        expected: list[int] = []

        with pytest.raises(
            TargetError, match=r"takes 3,\d+ MiB .* half of the 1,024 MiB"
        ) as caught:
            shared.grow(MapName.QNAMES, 10_000_000, expected.append)

        assert caught.value.field == "entries"
        assert expected == []
        assert {name: held.info.id for name, held in shared.rule_maps().items()} == ids
        assert shared.grow(MapName.QNAMES, 1_000_000, expected.append) == 0
        assert shared.rule_maps()[MapName.QNAMES].info.max_entries == 1_000_000


@pytest.mark.parametrize(
    ("name", "memory"), [(MapName.CIDR4, 1), (MapName.QNAMES, None)], ids=["a trie", "not known"]
)
def test_a_map_grows_where_no_memory_is_taken_at_once_or_none_is_known(
    host: FakeHost, name: MapName, memory: int | None
) -> None:
    with SharedMaps(host.bpf, host.settings(), memory=lambda: memory) as shared:
        shared.open()

        assert shared.grow(name, 10_000_000, lambda _: None) == 0
