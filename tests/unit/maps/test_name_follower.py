"""The follower of names: when it walks, when it rests, and that its end is harmless."""

from __future__ import annotations

import errno
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_kernel import FakeBpf, FakeKernel
from xdpctl.abi import (
    INDEX_ASKED_OFFSET,
    INDEX_EMPTY_OFFSET,
    INDEX_SIZE,
    MAPS,
    MapName,
    RuleAction,
    encode_empty,
    encode_qname,
)
from xdpctl.abi import encode_value as value_of
from xdpctl.errors import KernelError
from xdpctl.maps.name_follower import (
    DEAR_WALKS,
    INTERVAL_SECONDS,
    LOOK_MAX,
    QUIET_SECONDS,
    REST_SECONDS,
    TRUSTED_SECONDS,
    UNASKED_LOOKS,
    UNASKED_TURNS,
    WALK_SECONDS,
    NameFollower,
    Turn,
    fresh_ticks,
)
from xdpctl.maps.name_index import FOLLOW_MAX, REBUILD_SECONDS, NameIndex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.kernel.bpf.maps import Map

DROP = value_of(RuleAction.DROP)


def key(number: int) -> bytes:
    return encode_qname(b"\4name\7%07d\0" % number, 65535)


class Site:
    """A fake qnames, an index over plain memory, and a turn between them."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        self.bpf = FakeBpf(self.kernel)
        self.qnames: Map = self.bpf.create_map(MAPS[MapName.QNAMES], FOLLOW_MAX + 10)
        self.memory = bytearray(INDEX_SIZE)
        self.now = 100.0
        self.index = NameIndex(memoryview(self.memory), fresh=22, clock=lambda: self.now)
        self.tick = 1000
        self.spent: list[float] = []
        self.cidr4: Map = self.bpf.create_map(MAPS[MapName.CIDR4], LOOK_MAX)
        self.large: Map = self.bpf.create_map(MAPS[MapName.ADDR_V4], LOOK_MAX + 1)
        self.maps = {
            MapName.QNAMES: self.qnames,
            MapName.CIDR4: self.cidr4,
            MapName.ADDR_V4: self.large,
        }
        self.turn = Turn(
            self.index,
            self.qnames.key_walk(FOLLOW_MAX),
            lambda: self.tick,
            self.maps,
            spent=self._spent,
            now=lambda: self.now,
        )

    def _spent(self) -> float:
        return self.spent.pop(0) if self.spent else 0.0

    @property
    def heartbeat(self) -> int:
        return int(struct.unpack_from("=Q", self.memory)[0])

    @property
    def empty(self) -> int:
        return int(struct.unpack_from("=Q", self.memory, INDEX_EMPTY_OFFSET)[0])

    @property
    def walks(self) -> int:
        return self.kernel.faults.calls.count("map.walk")

    def ask(self) -> None:
        """Be the program that wants to know something."""
        struct.pack_into("=Q", self.memory, INDEX_ASKED_OFFSET, self.tick)

    def fill(self, count: int) -> None:
        self.qnames.update_batch(b"".join(map(key, range(count))), DROP * count)


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.mark.parametrize(("tick", "fresh"), [(0.01, 5), (0.004, 14), (1 / 300, 17), (0.001, 59)])
def test_what_is_believed_is_never_older_than_may_be(tick: float, fresh: int) -> None:
    assert fresh_ticks(tick) == fresh
    assert (fresh + 1) * tick <= TRUSTED_SECONDS + 1e-9  # floats


def test_the_next_walk_begins_before_the_heartbeat_is_old() -> None:
    ticks = (0.01, 0.004, 0.001)
    assert all(fresh_ticks(tick) * tick > INTERVAL_SECONDS + 2 * tick for tick in ticks)


def test_a_turn_walks_and_gives_the_heartbeat(site: Site) -> None:
    assert site.turn() <= INTERVAL_SECONDS
    assert site.heartbeat >> 1 == site.tick


def test_a_map_that_is_too_large_is_left_alone(site: Site) -> None:
    site.turn()
    site.fill(FOLLOW_MAX + 1)
    site.turn()
    site.kernel.faults.calls.clear()
    site.now += REST_SECONDS / 2
    site.turn()
    assert [site.walks, site.heartbeat] == [0, 0]


def test_which_maps_are_empty_is_told_while_names_are_too_many(site: Site) -> None:
    site.fill(FOLLOW_MAX + 1)
    site.turn()
    site.tick += 5
    site.turn()
    assert site.empty == encode_empty(site.tick, [MapName.CIDR4])


def test_a_map_that_is_small_again_is_followed_again(site: Site) -> None:
    site.fill(FOLLOW_MAX + 1)
    site.turn()
    site.qnames.delete(key(0))
    site.now += REBUILD_SECONDS
    site.turn()
    assert site.heartbeat >> 1 == site.tick


def test_walks_that_cost_too_much_are_given_up(site: Site) -> None:
    site.spent = [0.0, 2 * WALK_SECONDS] * DEAR_WALKS
    for _ in range(DEAR_WALKS + 1):
        site.turn()
    assert [site.walks, site.heartbeat] == [DEAR_WALKS, 0]


def test_one_walk_may_cost_more(site: Site) -> None:
    site.spent = [0.0, 2 * WALK_SECONDS]
    site.turn()
    assert site.heartbeat


def test_a_walk_that_fails_gives_no_heartbeat_and_is_said_once(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.turn()
    site.kernel.faults.set("map.walk", errno.ENOMEM, times=2)
    for _ in range(2):
        site.turn()
        site.now += REST_SECONDS
    assert site.heartbeat == 0
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "name-index-off"
    ]


def test_a_bucket_that_is_being_written_to_is_no_failure(site: Site) -> None:
    site.turn()
    before = site.heartbeat
    site.kernel.faults.set("map.walk", errno.EBUSY)
    assert [site.turn() < INTERVAL_SECONDS, site.heartbeat] == [True, before]


def test_where_nobody_asks_nothing_is_walked(site: Site) -> None:
    for _ in range(UNASKED_TURNS + 1):
        site.turn()
    site.kernel.faults.calls.clear()
    site.turn()
    assert site.walks == 0


def test_where_nobody_asks_it_is_still_told_which_maps_are_empty(site: Site) -> None:
    """So that the program sees an index that it can use."""
    for _ in range(UNASKED_TURNS + 1):
        site.turn()
    site.tick += 50
    for _ in range(UNASKED_LOOKS):
        site.turn()
    assert site.empty == encode_empty(site.tick, [MapName.QNAMES, MapName.CIDR4])


def test_a_map_with_an_entry_is_not_empty(site: Site) -> None:
    site.fill(1)
    site.turn()
    assert site.empty == encode_empty(site.tick, [MapName.CIDR4])


def test_a_map_that_cannot_be_looked_at_is_not_empty(site: Site) -> None:
    site.kernel.faults.set("map.is_empty", errno.ENOMEM)
    site.turn()
    assert site.empty == encode_empty(site.tick, [MapName.CIDR4])


def test_where_nobody_asks_it_is_looked_at_seldom(site: Site) -> None:
    for _ in range(UNASKED_TURNS + 1):
        site.turn()
    assert site.turn() == QUIET_SECONDS


def test_who_asks_after_a_pause_is_served_again(site: Site) -> None:
    for _ in range(UNASKED_TURNS + 2):
        site.turn()
    site.tick += 500
    site.ask()
    site.turn()
    assert site.heartbeat >> 1 == site.tick


# --- the thread --------------------------------------------------------------------


@pytest.fixture
def names(site: Site) -> Iterator[NameFollower]:
    with NameFollower(site.bpf, site.maps) as follower:
        yield follower


def heartbeat_of(follower: NameFollower) -> int:
    return follower.map.memory().cast("Q")[0]


def index_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "names"]


def test_its_thread_ends_with_it(site: Site) -> None:
    with NameFollower(site.bpf, site.maps):
        assert len(index_threads()) == 1
    assert index_threads() == []


def test_a_program_that_goes_on_without_it_looks_everything_up(site: Site) -> None:
    with NameFollower(site.bpf, site.maps) as follower:
        memory = follower.map.memory().cast("Q")
        memory[0] = 77
    assert memory[0] == 0


def test_what_is_written_through_the_map_is_told_before(site: Site, names: NameFollower) -> None:
    told: list[bytes] = []
    assert site.qnames.before_write is not None
    site.qnames.before_write = told.append
    site.qnames.update(key(1), DROP)
    site.qnames.update_batch(key(2) + key(3), DROP * 2)
    assert [told, names.map.info.name] == [[key(1), key(2) + key(3)], "name_index"]


def test_a_map_that_is_written_through_is_empty_no_longer(site: Site, names: NameFollower) -> None:
    words = names.map.memory().cast("Q")
    words[INDEX_EMPTY_OFFSET // 8] |= encode_empty(0, [MapName.CIDR4])
    site.cidr4.update(bytes(8), DROP)
    assert not words[INDEX_EMPTY_OFFSET // 8] & encode_empty(0, [MapName.CIDR4])


@pytest.mark.parametrize("call", ["map.memory", "load_program"])
def test_where_it_cannot_run_the_service_does(
    site: Site, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.kernel.faults.set(call, KernelError("cannot do that", errno.EPERM))
    with NameFollower(site.bpf, site.maps) as follower:
        assert [follower.map.info.max_entries, index_threads()] == [1, []]
    assert [record.message for record in caplog.records] == ["name-index-off"]


def test_an_exception_in_the_thread_is_said_and_ends_only_the_thread(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.kernel.faults.set("map.walk", RuntimeError("what nobody thought of"))
    with NameFollower(site.bpf, site.maps) as follower:
        for _ in range(500):
            if not index_threads():
                break
            time.sleep(0.01)
        assert [index_threads(), heartbeat_of(follower)] == [[], 0]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
