"""What is published: counts that are right at once and true soon, and why we are not ready."""

from __future__ import annotations

import errno
import threading
from collections import Counter
from typing import TYPE_CHECKING, cast

import pytest

from tests.support.fake_host import INTERFACE, FakeHost, bytecode
from xdpctl.abi import MAPS, MapName, encode_addr_v4, encode_value
from xdpctl.abi import RuleAction as Action
from xdpctl.errors import VerifierError
from xdpctl.filter.filter import Filter
from xdpctl.maps.shared import SharedMaps
from xdpctl.maps.xsk_destinations import DestinationWatch
from xdpctl.rules import parse_target
from xdpctl.status.observer import LARGE_MAP, LARGE_MAP_SECONDS, Observer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Address
    from pathlib import Path

    from tests.support.fake_kernel import FakeMap
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.status.part import ServicePart

V4 = MapName.ADDR_V4
DROP = encode_value(Action.DROP)


class Watched:
    """A host with a filter on it, and an observer whose clock a test turns."""

    def __init__(self, host: FakeHost, *options: str) -> None:
        self.host = host
        self.faults = host.kernel.faults
        self.now = 100.0
        self.panic = False
        self.parts: list[ServicePart] = []
        settings = host.settings(*options)
        self.filter = Filter(host.bpf, host.netlink, INTERFACE, directory=host.own)
        self.shared = SharedMaps(host.bpf, settings)
        self.shared.inspect()
        self.shared.open()
        self.filter.attach(bytecode(), self.shared.for_interface(INTERFACE), panic=False)
        self.observer = Observer(
            [self.filter],
            self.shared,
            DestinationWatch(self.shared.destination_maps(), host.netlink, restore=False),
            panic=lambda: self.panic,
            parts=self.parts,
            warnings=["it was noted at start"],
            clock=lambda: self.now,
        )

    def close(self) -> None:
        """Let go of everything."""
        self.filter.close()
        self.shared.__exit__()

    @property
    def table(self) -> Map:
        """The map addr-v4."""
        return self.shared.rule_maps()[V4]

    def write(self, *numbers: int) -> None:
        """Write entries as dnsdist does, without telling."""
        for number in numbers:
            self.table.update(key(number), DROP)

    def fill(self, entries: int) -> None:
        """Put many entries into the map at once."""
        state = cast("FakeMap", self.table).state
        state.entries.update((number.to_bytes(4, "big"), DROP) for number in range(entries))

    def entries(self) -> int | None:
        """Return how many entries the last snapshot shows."""
        return next(view.entries for view in self.observer.last.maps if view.name is V4)


def key(number: int) -> bytes:
    return encode_addr_v4(cast("IPv4Address", parse_target(f"192.0.2.{number}")))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHost:
    return FakeHost(monkeypatch, tmp_path)


@pytest.fixture
def watched(host: FakeHost) -> Iterator[Watched]:
    watched = Watched(host)
    yield watched
    watched.close()


# --- counts of entries ----------------------------------------------------------------------


def test_before_the_first_look_the_service_is_starting(watched: Watched) -> None:
    last = watched.observer.last
    assert (last.ready, last.reasons, last.maps) == (False, ("the service is starting",), ())


def test_a_look_counts_every_map(watched: Watched) -> None:
    watched.write(1, 2, 3)
    maps = watched.observer.look().maps
    assert {view.name: view.entries for view in maps} == {
        MapName.ADDR_V4: 3,
        MapName.ADDR_V6: 0,
        MapName.CIDR4: 0,
        MapName.CIDR6: 0,
        MapName.QNAMES: 0,
    }


def test_a_map_is_shown_with_pin_id_and_capacity(watched: Watched) -> None:
    view = watched.observer.look().maps[0]
    assert (view.path, view.id, view.capacity) == (
        watched.host.pins / "addr-v4",
        watched.table.info.id,
        1024,
    )


def test_own_writes_are_counted_at_once(watched: Watched) -> None:
    watched.observer.look()
    watched.observer.changed(V4, 1)
    watched.observer.changed(V4, 1)
    watched.observer.changed(V4, -1)
    assert watched.entries() == 1


def test_the_next_look_shows_the_true_count(watched: Watched) -> None:
    watched.observer.look()
    watched.observer.changed(V4, 5)
    watched.write(1)
    watched.observer.look()
    assert watched.entries() == 1


def test_a_write_before_the_first_count_is_part_of_it(watched: Watched) -> None:
    watched.write(1)
    watched.observer.changed(V4, 1)
    assert watched.entries() is None
    watched.observer.look()
    assert watched.entries() == 1


def test_a_write_while_a_map_is_counted_is_not_lost(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walk does not see it, and what the walk gave must not hide it."""
    watched.observer.look()
    chunks = watched.table.chunks

    def late() -> Iterator[tuple[bytes, bytes]]:
        found = list(chunks())
        watched.write(1)
        watched.observer.changed(V4, 1)
        return iter(found)

    monkeypatch.setattr(watched.table, "chunks", late)
    watched.observer.look()
    assert watched.entries() == 1


@pytest.mark.parametrize(
    ("entries", "later", "shown"),
    [
        (LARGE_MAP, 1.0, LARGE_MAP + 5),
        (LARGE_MAP + 1, 1.0, LARGE_MAP + 1),
        (LARGE_MAP + 1, LARGE_MAP_SECONDS - 0.5, LARGE_MAP + 1),
        (LARGE_MAP + 1, LARGE_MAP_SECONDS, LARGE_MAP + 5),
    ],
)
def test_a_large_map_is_counted_every_ten_seconds(
    watched: Watched, entries: int, later: float, shown: int
) -> None:
    watched.fill(entries)
    watched.observer.look()
    watched.fill(LARGE_MAP + 5)
    watched.now += later
    watched.observer.look()
    assert watched.entries() == shown


def test_own_writes_are_counted_at_once_in_a_large_map_too(watched: Watched) -> None:
    watched.fill(LARGE_MAP + 1)
    watched.observer.look()
    watched.observer.changed(V4, 1)
    watched.observer.look()
    assert watched.entries() == LARGE_MAP + 2


def test_a_map_that_cannot_be_read_keeps_its_last_count_and_is_an_error(
    watched: Watched,
) -> None:
    watched.write(1)
    watched.observer.look()
    watched.faults.set("map.chunks", errno.EAGAIN)
    last = watched.observer.look()
    assert (watched.entries(), last.map_errors) == (1, {(V4, "EAGAIN"): 1})


def test_a_refused_write_is_shown_before_the_next_look(watched: Watched) -> None:
    for _ in range(2):
        watched.observer.failed(V4, "E2BIG")
    assert watched.observer.last.map_errors == {(V4, "E2BIG"): 2}


def test_expired_rules_are_counted_by_map_before_the_next_look(watched: Watched) -> None:
    watched.observer.expired(Counter({V4: 2}))
    watched.observer.expired(Counter({V4: 1, MapName.QNAMES: 1}))
    assert watched.observer.last.expired == {V4: 3, MapName.QNAMES: 1}
    assert watched.observer.look().expired == {V4: 3, MapName.QNAMES: 1}


def test_that_nothing_expired_changes_nothing(watched: Watched) -> None:
    before = watched.observer.last
    watched.observer.expired(Counter())
    assert watched.observer.last is before


def test_writes_from_many_threads_are_all_counted(watched: Watched) -> None:
    watched.observer.look()

    def write() -> None:
        for _ in range(200):
            watched.observer.changed(V4, 1)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watched.entries() == 800


# --- ready, and why not ----------------------------------------------------------------------


def test_attached_with_sound_maps_is_ready(watched: Watched) -> None:
    assert watched.observer.look().ready


def test_an_interface_that_is_lost_is_a_reason(watched: Watched) -> None:
    watched.host.kernel.remove_interface(INTERFACE)
    last = watched.observer.look()
    assert (last.ready, last.reasons) == (
        False,
        ("eth0 is lost: the interface is gone; the filter comes back with it",),
    )


def test_a_detached_interface_is_a_reason(watched: Watched) -> None:
    watched.filter.detach()
    assert watched.observer.look().reasons == (
        "eth0 is detached: `xdpctl attach` attaches the filter again",
    )


def test_what_was_lost_and_is_back_is_ready_again(watched: Watched) -> None:
    watched.host.kernel.remove_interface(INTERFACE)
    watched.observer.look()
    watched.host.kernel.add_interface(INTERFACE)
    last = watched.observer.look()
    assert (last.ready, last.filters[0].reattached) == (True, 1)


def test_a_pin_that_is_gone_is_a_reason(watched: Watched) -> None:
    pin = watched.host.pins / "cidr4"
    pin.unlink()
    (reason,) = watched.observer.look().reasons
    assert reason.startswith(f"the pin {pin} is gone")


def test_a_pin_that_is_another_map_is_a_reason(watched: Watched) -> None:
    pin = watched.host.pins / "cidr4"
    pin.unlink()
    with watched.host.bpf.create_map(MAPS[MapName.CIDR4], 8) as other:
        other.pin(pin)
    (reason,) = watched.observer.look().reasons
    assert reason == f"the pin {pin} is not the map that the filter reads: moving to it"


def test_a_pin_that_cannot_be_opened_is_a_reason(watched: Watched) -> None:
    watched.faults.set("open_map", errno.EACCES)
    (reason,) = watched.observer.look().reasons
    assert "EACCES" in reason


def test_a_pin_of_another_kind_is_a_reason(watched: Watched) -> None:
    pin = watched.host.pins / "cidr4"
    pin.unlink()
    with watched.host.bpf.load_program(bytes(8), "p") as program:
        program.pin(pin)
    (reason,) = watched.observer.look().reasons
    assert "a program is pinned there" in reason


class Failing:
    """A part of the service that has something to report."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.warnings = (f"{name} warns",)
        self.failures: tuple[str, ...] = (f"{name} failed",)

    def reload(self, _settings: object) -> None:
        """Nothing to take over."""

    async def run(self) -> None:
        """Nothing to do."""


def test_a_failure_of_a_part_is_a_reason_until_it_is_over(watched: Watched) -> None:
    part = Failing("reload")
    watched.parts.append(part)
    assert watched.observer.look().reasons == ("reload failed",)
    part.failures = ()
    assert watched.observer.look().ready


def test_parts_are_asked_in_their_order(watched: Watched) -> None:
    watched.parts += [Failing("b"), Failing("a")]
    last = watched.observer.look()
    assert last.reasons == ("b failed", "a failed")
    assert last.warnings[-2:] == ("b warns", "a warns")


def test_a_look_at_interfaces_asks_the_parts_too(watched: Watched) -> None:
    watched.parts.append(Failing("a"))
    assert watched.observer.look_at_interfaces().reasons == ("a failed",)


@pytest.mark.parametrize("call", ["link.info", "map.chunks", "open_map", "map.lookup"])
def test_a_failing_part_is_no_end_of_looking(watched: Watched, call: str) -> None:
    """Each of these in turn says no; what the others know is still published."""
    watched.write(1, 2)
    watched.observer.look()
    watched.write(3)
    watched.faults.set(call, errno.EPERM)
    watched.now += 1
    last = watched.observer.look()
    assert (last.taken, watched.entries()) == (watched.now, 2 if call == "map.chunks" else 3)


def test_a_program_that_is_refused_when_it_comes_back_hides_no_other_reason(
    watched: Watched,
) -> None:
    watched.host.kernel.remove_interface(INTERFACE)
    watched.host.kernel.add_interface(INTERFACE)
    watched.faults.set("load_program", VerifierError("refused", log=""))
    (watched.host.pins / "cidr4").unlink()
    reasons = watched.observer.look().reasons
    assert len(reasons) == 2
    assert reasons[-1] == "eth0 is lost: refused"


# --- what else is shown ------------------------------------------------------------------------


def test_what_was_found_at_start_is_always_a_warning(watched: Watched) -> None:
    assert watched.observer.look().warnings == ("it was noted at start",)


@pytest.mark.parametrize(("entries", "warned"), [(819, False), (820, True), (1024, True)])
def test_four_fifths_full_is_a_warning(watched: Watched, entries: int, warned: bool) -> None:  # noqa: FBT001 - a parameter of the test
    watched.fill(entries)
    texts = [text for text in watched.observer.look().warnings if "% full" in text]
    assert bool(texts) == warned


def test_the_warning_says_how_full_which_map_is(watched: Watched) -> None:
    watched.fill(1024)
    assert "addr-v4 is 100 % full (1024 of 1024 entries)" in watched.observer.look().warnings


def test_panic_is_shown(watched: Watched) -> None:
    watched.panic = True
    assert watched.observer.look().panic


def test_a_snapshot_says_when_it_was_taken(watched: Watched) -> None:
    watched.now = 123.0
    assert watched.observer.look().taken == 123.0


def test_without_xsk_there_are_neither_destinations_nor_xskmaps(watched: Watched) -> None:
    last = watched.observer.look()
    assert (last.destinations, last.xskmaps) == ((), {})


def test_with_xsk_destinations_and_xskmaps_are_shown(host: FakeHost) -> None:
    watched = Watched(host, "--xsk")
    maps = watched.shared.destination_maps()
    maps[MapName.XSK_DESTINATIONS_V4].update(bytes((192, 0, 2, 53, 0, 53, 0, 0)), b"\1")
    last = watched.observer.look()
    assert [(str(address), port) for address, port in last.destinations] == [("192.0.2.53", 53)]
    assert last.xskmaps == {INTERFACE: "xskmap"}
    assert {view.name: view.entries for view in last.maps}[MapName.XSK_DESTINATIONS_V4] == 1
    watched.close()


def test_destinations_that_cannot_be_read_are_a_reason(host: FakeHost) -> None:
    watched = Watched(host, "--xsk")
    watched.faults.set("map.chunks", errno.EAGAIN, times=8)
    assert any("EAGAIN" in reason for reason in watched.observer.look().reasons)
    watched.close()


def test_looking_opens_nothing_that_stays_open(watched: Watched) -> None:
    watched.observer.look()
    before = set(watched.host.kernel.open)
    for _ in range(5):
        watched.observer.look()
    assert set(watched.host.kernel.open) == before
