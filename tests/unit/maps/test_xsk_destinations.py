"""Which AF_XDP destination counts as lost, and what is put back."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_kernel import FakeBpf, FakeKernel, FakeNetlink
from xdpctl.abi import DESTINATION_MAPS, MAPS, MapName, encode_xsk_destination
from xdpctl.maps.xsk_destinations import PATIENCE, PRESENT, DestinationWatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fake_kernel import FakeMap
    from xdpctl.maps.xsk_destinations import Destination

V4: Destination = (IPv4Address("192.0.2.53"), 53)
V6: Destination = (IPv6Address("2001:db8::53"), 53)
BACKEND: Destination = (IPv4Address("192.0.2.53"), 41820)

both_families = pytest.mark.parametrize("destination", [V4, V6])


@dataclass
class Scene:
    """A watch, and dnsdist's part: what it registers and what it has bound."""

    kernel: FakeKernel
    maps: dict[MapName, FakeMap]
    watch: DestinationWatch
    redirected: int = 0

    def register(self, destination: Destination) -> None:
        self._map(destination).update(encode_xsk_destination(*destination), PRESENT)
        self.kernel.udp_sockets.add(destination)

    def take_out(self, destination: Destination, *, unbind: bool = False) -> None:
        self._map(destination).delete(encode_xsk_destination(*destination))
        if unbind:
            self.kernel.udp_sockets.discard(destination)

    def registered(self, destination: Destination) -> bool:
        return self._map(destination).lookup(encode_xsk_destination(*destination)) == PRESENT

    def look(self, *, packets: int = 0, times: int = 1) -> tuple[str, ...]:
        self.redirected += packets
        warnings: tuple[str, ...] = ()
        for _ in range(times):
            warnings = self.watch.look(self.redirected)
        return warnings

    def _map(self, destination: Destination) -> FakeMap:
        v4 = isinstance(destination[0], IPv4Address)
        return self.maps[MapName.XSK_DESTINATIONS_V4 if v4 else MapName.XSK_DESTINATIONS_V6]


@pytest.fixture(params=[False, True], ids=["watch", "restore"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    yield from scenes(restore=request.param)


@pytest.fixture
def watching() -> Iterator[Scene]:
    yield from scenes(restore=False)


@pytest.fixture
def restoring() -> Iterator[Scene]:
    yield from scenes(restore=True)


def scenes(*, restore: bool) -> Iterator[Scene]:
    kernel = FakeKernel()
    bpf = FakeBpf(kernel)
    maps = {name: bpf.create_map(MAPS[name], MAPS[name].entries) for name in DESTINATION_MAPS}
    yield Scene(kernel, maps, DestinationWatch(maps, FakeNetlink(kernel), restore=restore))
    for opened in maps.values():
        opened.close()


@both_families
def test_a_used_destination_that_goes_while_its_socket_is_bound_is_lost_once(
    watching: Scene, destination: Destination
) -> None:
    watching.register(destination)
    watching.look(packets=5)
    watching.take_out(destination)
    warnings = watching.look(times=PATIENCE + 3)
    assert watching.watch.lost == 1
    assert len(warnings) == 1
    assert str(destination[0]) in warnings[0]


def test_one_look_without_it_is_a_dnsdist_that_starts_again(watching: Scene) -> None:
    watching.register(V4)
    watching.look(packets=5)
    watching.take_out(V4)
    assert watching.look(times=PATIENCE - 1) == ()
    watching.register(V4)
    assert watching.look(times=PATIENCE) == ()
    assert watching.watch.lost == 0


def test_a_destination_without_a_packet_is_not_missed(scene: Scene) -> None:
    scene.register(V4)
    scene.look()
    scene.take_out(V4)
    assert scene.look(times=PATIENCE) == ()
    assert scene.watch.lost == 0


@both_families
def test_a_destination_whose_owner_closed_its_socket_is_not_lost(
    scene: Scene, destination: Destination
) -> None:
    scene.register(destination)
    scene.look(packets=5)
    scene.take_out(destination, unbind=True)
    assert scene.look(times=PATIENCE + 2) == ()
    assert scene.watch.lost == 0
    assert not scene.registered(destination)


def test_a_port_towards_a_backend_that_changes_is_not_lost(scene: Scene) -> None:
    """The old port is taken out, a new one registered, when dnsdist reconnects."""
    scene.register(V4)
    scene.register(BACKEND)
    scene.look(packets=5)
    scene.take_out(BACKEND, unbind=True)
    scene.register((BACKEND[0], BACKEND[1] + 1))
    assert scene.look(packets=5, times=PATIENCE + 1) == ()
    assert scene.watch.lost == 0


def test_the_warning_ends_when_the_destination_is_back(watching: Scene) -> None:
    watching.register(V4)
    watching.look(packets=5)
    watching.take_out(V4)
    assert watching.look(times=PATIENCE)
    watching.register(V4)
    assert watching.look() == ()
    assert watching.watch.lost == 1


def test_the_warning_ends_when_its_owner_ends(watching: Scene) -> None:
    watching.register(V4)
    watching.look(packets=5)
    watching.take_out(V4)
    assert watching.look(times=PATIENCE)
    watching.kernel.udp_sockets.discard(V4)
    assert watching.look() == ()


def test_a_destination_that_is_lost_again_counts_again(watching: Scene) -> None:
    for _ in range(2):
        watching.register(V4)
        watching.look(packets=5)
        watching.take_out(V4)
        watching.look(times=PATIENCE)
    assert watching.watch.lost == 2


@both_families
def test_restore_puts_back_at_the_first_look_and_counts_it(
    restoring: Scene, destination: Destination
) -> None:
    restoring.register(destination)
    restoring.look(packets=5)
    restoring.take_out(destination)
    assert restoring.look() == ()
    assert restoring.registered(destination)
    assert restoring.watch.lost == 1


def test_what_is_registered_is_presented_in_order(watching: Scene) -> None:
    for destination in (V6, BACKEND, V4):
        watching.register(destination)
    watching.look()
    assert watching.watch.present == (V4, BACKEND, V6)
