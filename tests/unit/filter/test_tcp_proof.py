"""The program at the root of all control groups: attached once, taken over, removed."""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_host import INTERFACE, FakeHost
from tests.support.kernel_contract import PASS_PROGRAM
from xdpctl.abi import MAPS, MapName
from xdpctl.errors import KernelError, PinError
from xdpctl.filter.own_pins import OwnPins
from xdpctl.filter.tcp_proof import TcpProof
from xdpctl.kernel.bytecode import Bytecode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map

OTHER = "eth1"
REF = MAPS[MapName.LIMIT_PROVEN].ref
BYTECODE = Bytecode(struct.pack("=BBhiBBhi", 0x18, 0x11, 0, REF, 0, 0, 0, 0) + PASS_PROGRAM)
"""A program that has the table of proven sources in it."""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHost:
    return FakeHost(monkeypatch, tmp_path)


@pytest.fixture
def maps(host: FakeHost) -> Iterator[dict[MapName, Map]]:
    with host.bpf.create_map(MAPS[MapName.LIMIT_PROVEN], 4) as table:
        yield {MapName.LIMIT_PROVEN: table}


def proof(host: FakeHost, *interfaces: str) -> TcpProof:
    return TcpProof(
        host.bpf,
        interfaces or (INTERFACE,),
        directory=host.own,
        root=lambda: os.open("/", os.O_RDONLY),
    )


def attached(host: FakeHost) -> list[int]:
    """Return the programs on control groups, by their ids."""
    host.kernel.reap()
    return [
        link.program.info.id
        for link in host.kernel.links.values()
        if link.on_cgroups and not link.defunct
    ]


def test_it_outlives_the_service(host: FakeHost, maps: dict[MapName, Map]) -> None:
    with proof(host) as running:
        running.attach(BYTECODE, maps, [INTERFACE])
        (program,) = attached(host)
        assert host.kernel.programs[program].info.map_ids == (maps[MapName.LIMIT_PROVEN].info.id,)
    assert attached(host) == [program]


def test_the_next_service_takes_the_link_over(host: FakeHost, maps: dict[MapName, Map]) -> None:
    with proof(host) as former:
        former.attach(BYTECODE, maps, [INTERFACE])
    before = attached(host)
    with proof(host) as running:
        running.attach(BYTECODE, maps, [INTERFACE])
        after = attached(host)
    assert len(after) == 1
    assert after != before


def test_one_link_is_pinned_beside_every_interface(
    host: FakeHost, maps: dict[MapName, Map]
) -> None:
    with proof(host, INTERFACE, OTHER) as running:
        running.attach(BYTECODE, maps, [INTERFACE, OTHER])
    OwnPins(host.own, INTERFACE).remove()
    assert len(attached(host)) == 1
    OwnPins(host.own, OTHER).remove()
    assert attached(host) == []


def test_two_former_links_become_one(host: FakeHost, maps: dict[MapName, Map]) -> None:
    for interface in (INTERFACE, OTHER):
        with proof(host, interface) as former:
            former.attach(BYTECODE, maps, [interface])
    assert len(attached(host)) == 2
    with proof(host, INTERFACE, OTHER) as running:
        running.attach(BYTECODE, maps, [INTERFACE, OTHER])
    assert len(attached(host)) == 1


def test_a_link_that_is_defunct_is_made_again(host: FakeHost, maps: dict[MapName, Map]) -> None:
    with proof(host) as running:
        running.attach(BYTECODE, maps, [INTERFACE])
        next(iter(host.kernel.links.values())).defunct = True
        running.attach(BYTECODE, maps, [INTERFACE])
        assert len(attached(host)) == 1


def test_removing_ends_a_former_services_program(host: FakeHost, maps: dict[MapName, Map]) -> None:
    with proof(host) as former:
        former.attach(BYTECODE, maps, [INTERFACE])
    assert proof(host).remove()
    assert attached(host) == []
    assert list(host.own.iterdir()) == []


def test_where_nothing_is_attached_nothing_is_removed(host: FakeHost) -> None:
    assert not proof(host).remove()


def test_a_lost_pin_is_made_again(host: FakeHost, maps: dict[MapName, Map]) -> None:
    with proof(host) as running:
        running.attach(BYTECODE, maps, [INTERFACE])
        (pin,) = host.own.iterdir()
        pin.unlink()
        running.keep_pins([INTERFACE])
        assert list(host.own.iterdir()) == [pin]


def test_without_a_root_nothing_is_attached(host: FakeHost, maps: dict[MapName, Map]) -> None:
    def no_root() -> int:
        raise KernelError("cannot find the root of all control groups", errno.ENOENT)

    with TcpProof(host.bpf, [INTERFACE], directory=host.own, root=no_root) as running:
        with pytest.raises(KernelError, match="control groups"):
            running.attach(BYTECODE, maps, [INTERFACE])
        assert attached(host) == []


@pytest.mark.parametrize("call", ["load_program", "link.update"])
def test_a_refusal_leaves_the_former_program(
    host: FakeHost, maps: dict[MapName, Map], call: str
) -> None:
    with proof(host) as running:
        running.attach(BYTECODE, maps, [INTERFACE])
        before = attached(host)
        host.kernel.faults.set(call, errno.EPERM)
        with pytest.raises(KernelError):
            running.attach(BYTECODE, maps, [INTERFACE])
        assert attached(host) == before


def test_without_pins_it_lives_as_long_as_the_service(
    host: FakeHost, maps: dict[MapName, Map]
) -> None:
    with proof(host) as running:
        host.kernel.faults.set("link.pin", PinError("cannot pin"))
        with pytest.raises(PinError):
            running.attach(BYTECODE, maps, [INTERFACE])
        assert len(attached(host)) == 1
    assert attached(host) == []
