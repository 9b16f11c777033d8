"""The filter on a real interface: nothing gets through while it changes, nothing stays behind."""

from __future__ import annotations

import itertools
import json
import re
import socket
import subprocess
import sys
import threading
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from tests.engines.made_once import compiled_once
from tests.kernel.conftest import ip
from tests.lab.veth import refuse_native
from tests.packets.build import Udp, ethernet, ipv4
from tests.packets.case import DEFAULT
from tests.packets.message import query
from tests.support.descriptors import none_left_open
from tests.support.kernel_contract import PASS_PROGRAM
from xdpctl.abi import (
    MAPS,
    RULE_MAPS,
    Count,
    MapName,
    PacketAction,
    Reason,
    RuleAction,
    encode_addr_v4,
    encode_value,
)
from xdpctl.errors import ForeignProgramError, InterfaceError
from xdpctl.filter.filter import Filter
from xdpctl.filter.lock import InterfaceLock
from xdpctl.filter.own_pins import detach_interface
from xdpctl.filter.view import FilterState
from xdpctl.kernel.bpf.pins import netns_inode
from xdpctl.kernel.bpf.programs import XdpMode
from xdpctl.program.config import ProgramConfig
from xdpctl.rules import AnyQtype
from xdpctl.settings import ModeSetting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.programs import Program
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.kernel.net.interfaces import Attached, Netlink

pytestmark = pytest.mark.root

INTERFACE = "veth0"
BLOCKED, HONEST = "192.0.2.66", "192.0.2.1"
DROPPED = Reason.ADDR_V4, PacketAction.DROP
ETH_P_ALL = 3


@pytest.fixture(scope="module")
def bytecode() -> Bytecode:
    """The real program, compiled once."""
    return compiled_once(DEFAULT)


@pytest.fixture(scope="module")
def other() -> Bytecode:
    """The real program for another port."""
    return compiled_once(
        ProgramConfig((53, 5353), (), (), tcp=True, any_qtype=AnyQtype.BOTH, xsk=None)
    )


class Site:
    """veth0 with a filter on it, veth1 from which packets come."""

    def __init__(self, bpf: Bpf, netlink: Netlink, directory: Path, bytecode: Bytecode) -> None:
        self.bpf = bpf
        self.netlink = netlink
        self.own = directory / "xdpctl"
        self.bytecode = bytecode
        self.maps: dict[MapName, Map] = {name: bpf.create_map(MAPS[name], 8) for name in RULE_MAPS}
        self.maps[MapName.NAME_INDEX] = bpf.create_map(MAPS[MapName.NAME_INDEX], 1)
        self.maps[MapName.ADDR_V4].update(
            encode_addr_v4(IPv4Address(BLOCKED)), encode_value(RuleAction.DROP)
        )

    def close(self) -> None:
        """Close the maps."""
        for opened in self.maps.values():
            opened.close()

    def filter(self, mode: ModeSetting = ModeSetting.AUTO, *, replace: bool = False) -> Filter:
        """Return a filter of one service's life."""
        return Filter(
            self.bpf, self.netlink, INTERFACE, mode=mode, replace=replace, directory=self.own
        )

    def attach(self, filter_: Filter, *, panic: bool = False) -> None:
        """Put the program on."""
        filter_.attach(self.bytecode, self.maps, panic=panic)

    def leave(self, mode: ModeSetting = ModeSetting.AUTO) -> None:
        """Let a service keep its filter on the interface and end."""
        with self.filter(mode) as filter_:
            self.attach(filter_)

    @property
    def attached(self) -> Attached | None:
        """What is on the interface."""
        return self.netlink.find(INTERFACE).attached

    @property
    def pins(self) -> set[str]:
        """Our own pins, without the namespace."""
        prefix = f"{netns_inode()}-"
        pins = self.own.iterdir() if self.own.exists() else ()
        return {pin.name.removeprefix(prefix) for pin in pins}


PINS = {
    INTERFACE,
    *(f"{INTERFACE}:{name}" for name in ("program", "counters", "control", "name-index")),
}


@pytest.fixture
def site(
    namespace: None, bpf: Bpf, netlink: Netlink, directory: Path, bytecode: Bytecode
) -> Iterator[Site]:
    assert namespace is None
    site = Site(bpf, netlink, directory, bytecode)
    yield site
    site.close()


@pytest.fixture
def running(site: Site) -> Iterator[Filter]:
    """A filter that is attached."""
    with site.filter() as filter_:
        site.attach(filter_)
        yield filter_


class Wire:
    """Raw frames from veth1 to veth0, and what arrives behind the filter."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1024)
        self._sender = packet_socket("veth1")
        self._receiver = packet_socket(INTERFACE)

    def close(self) -> None:
        """Close both ends."""
        self._sender.close()
        self._receiver.close()

    def send(self, source: str) -> None:
        """Send one query, its source port telling it from others."""
        port = 1024 + next(self._numbers) % 60000
        self._sender.send(ethernet(ipv4(Udp(query("www.example"), sport=port), source=source)))

    def arrived(self) -> list[str]:
        """Send an honest query; return the sources of all that came, up to that one."""
        self.send(HONEST)
        sources: list[str] = []
        self._receiver.settimeout(5)
        while not sources or sources[-1] != HONEST:
            frame = self._receiver.recv(4096)
            if frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_UDP:
                sources.append(socket.inet_ntoa(frame[26:30]))
        return sources


@pytest.fixture
def wire(site: Site) -> Iterator[Wire]:
    assert site.attached is None
    wire = Wire()
    yield wire
    wire.close()


def packet_socket(interface: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    opened.bind((interface, 0))
    return opened


# --- attaching and counting -------------------------------------------------------------------


def test_the_filter_is_native_on_veth_and_pinned(site: Site, running: Filter) -> None:
    view = running.view()
    assert (view.state, view.mode) == (FilterState.ATTACHED, XdpMode.NATIVE)
    assert site.attached is not None
    assert (site.attached.program_id, site.pins) == (view.program_id, PINS)


@pytest.mark.parametrize("mode", [ModeSetting.NATIVE, ModeSetting.GENERIC])
def test_a_blocked_packet_is_dropped_and_counted_with_its_bytes(
    site: Site, wire: Wire, mode: ModeSetting
) -> None:
    frame = ethernet(ipv4(Udp(query("www.example")), source=BLOCKED))
    with site.filter(mode) as filter_:
        site.attach(filter_)
        for _ in range(3):
            wire.send(BLOCKED)
        assert wire.arrived() == [HONEST]
        assert filter_.view().counters[DROPPED] == Count(3, 3 * len(frame))


def test_panic_passes_what_is_blocked_until_it_ends(wire: Wire, running: Filter) -> None:
    came = []
    for panic in (True, False):
        running.set_panic(panic=panic)
        wire.send(BLOCKED)
        came.append(wire.arrived())
    assert came == [[BLOCKED, HONEST], [HONEST]]


def test_panic_is_in_force_from_the_first_packet(site: Site, wire: Wire) -> None:
    with site.filter() as filter_:
        site.attach(filter_, panic=True)
        wire.send(BLOCKED)
        assert wire.arrived() == [BLOCKED, HONEST]


# --- the driver's word ------------------------------------------------------------------------


def unfit() -> str:
    """Let the driver take no native program; return what it says."""
    return refuse_native(INTERFACE, "veth1", ip)


def test_auto_is_generic_where_the_driver_refuses(site: Site, wire: Wire) -> None:
    unfit()
    with site.filter() as filter_:
        site.attach(filter_)
        assert filter_.view().mode is XdpMode.GENERIC
        wire.send(BLOCKED)
        assert wire.arrived() == [HONEST]


def test_native_is_refused_with_the_drivers_own_words(site: Site) -> None:
    words = unfit()
    with (
        site.filter(ModeSetting.NATIVE) as filter_,
        pytest.raises(InterfaceError, match=f"driver veth says .*{words}"),
    ):
        site.attach(filter_)
    assert (site.attached, site.pins) == (None, set())


def test_a_mode_that_is_refused_leaves_the_former_filter_on(site: Site, wire: Wire) -> None:
    unfit()
    site.leave(ModeSetting.GENERIC)
    before = site.attached
    with site.filter(ModeSetting.NATIVE) as filter_, pytest.raises(InterfaceError):
        site.attach(filter_)
    assert (site.attached, site.pins) == (before, PINS)
    wire.send(BLOCKED)
    assert wire.arrived() == [HONEST]


def test_another_mode_is_taken_where_the_driver_can(site: Site) -> None:
    site.leave(ModeSetting.GENERIC)
    with site.filter(ModeSetting.NATIVE) as filter_:
        site.attach(filter_)
        assert filter_.view().mode is XdpMode.NATIVE
    assert site.attached is not None
    assert site.attached.mode is XdpMode.NATIVE


def test_a_port_of_a_bridge_that_has_a_program_is_refused_by_its_name(site: Site, bpf: Bpf) -> None:
    ip("link", "add", "br0", "type", "bridge")
    ip("link", "set", INTERFACE, "master", "br0")
    with (
        bpf.load_program(PASS_PROGRAM, "theirs") as theirs,
        bpf.create_link(theirs, site.netlink.find("br0").index, mode=XdpMode.GENERIC),
        site.filter() as filter_,
        pytest.raises(InterfaceError, match=f"{INTERFACE}: it is part of br0"),
    ):
        site.attach(filter_)


# --- one service after another ----------------------------------------------------------------


def test_what_a_dead_service_left_goes_on_and_its_counters_with_it(site: Site, wire: Wire) -> None:
    site.leave()
    wire.send(BLOCKED)
    assert wire.arrived() == [HONEST]
    with site.filter() as filter_:
        site.attach(filter_)
        wire.send(BLOCKED)
        assert wire.arrived() == [HONEST]
        assert (filter_.adopted, filter_.view().counters[DROPPED].packets) == (True, 2)


def test_no_blocked_packet_arrives_while_programs_are_swapped(
    site: Site, wire: Wire, running: Filter, other: Bytecode
) -> None:
    for turn in range(20):
        for _ in range(10):
            wire.send(BLOCKED)
        running.swap(site.bytecode if turn % 2 else other, site.maps, panic=False)
    assert wire.arrived() == [HONEST]
    assert running.view().counters[DROPPED].packets == 200


def test_no_blocked_packet_arrives_while_services_follow_each_other(site: Site, wire: Wire) -> None:
    site.leave()
    for _ in range(10):
        wire.send(BLOCKED)
        site.leave()
        wire.send(BLOCKED)
    assert wire.arrived() == [HONEST]


def test_swaps_leave_no_descriptor_and_no_pin(site: Site, running: Filter) -> None:
    with none_left_open():
        for _ in range(5):
            running.swap(site.bytecode, site.maps, panic=False)
    assert site.pins == PINS


def test_a_lock_is_given_back_by_a_killed_service(site: Site) -> None:
    holder = (
        "import sys, time; from pathlib import Path; from xdpctl.filter.lock import InterfaceLock\n"
        f"with InterfaceLock(Path({str(site.own)!r}), {INTERFACE!r}):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with (
            pytest.raises(InterfaceError, match="already serves"),
            InterfaceLock(site.own, INTERFACE),
        ):
            pass
        process.kill()
    with InterfaceLock(site.own, INTERFACE):
        assert site.pins == {f"{INTERFACE}:lock"}
    assert site.pins == set()


# --- others' programs -------------------------------------------------------------------------


@pytest.fixture
def foreign(bpf: Bpf) -> Iterator[Program]:
    with bpf.load_program(PASS_PROGRAM, "theirs") as program:
        yield program


def test_a_foreign_program_is_named_and_stays(site: Site, foreign: Program) -> None:
    index = site.netlink.find(INTERFACE).index
    site.netlink.attach_program(index, XdpMode.NATIVE, foreign)
    with (
        site.filter() as filter_,
        pytest.raises(ForeignProgramError, match=rf"program {foreign.info.id} \(theirs\)"),
    ):
        site.attach(filter_)
    assert site.attached is not None
    assert site.attached.program_id == foreign.info.id


@pytest.mark.parametrize("mode", [XdpMode.NATIVE, XdpMode.GENERIC])
def test_a_foreign_program_is_replaced_where_that_is_asked_for(
    site: Site, foreign: Program, wire: Wire, mode: XdpMode
) -> None:
    site.netlink.attach_program(site.netlink.find(INTERFACE).index, mode, foreign)
    with site.filter(replace=True) as filter_:
        site.attach(filter_)
        wire.send(BLOCKED)
        assert (wire.arrived(), filter_.view().mode) == ([HONEST], XdpMode.NATIVE)


def test_a_foreign_program_is_put_back_where_ours_does_not_go_on(
    site: Site, foreign: Program
) -> None:
    unfit()
    index = site.netlink.find(INTERFACE).index
    site.netlink.attach_program(index, XdpMode.GENERIC, foreign)
    before = site.attached
    with site.filter(ModeSetting.NATIVE, replace=True) as filter_, pytest.raises(InterfaceError):
        site.attach(filter_)
    assert site.attached == before
    assert before is not None


def test_a_program_that_a_foreign_link_holds_is_not_replaced(
    site: Site, bpf: Bpf, foreign: Program
) -> None:
    index = site.netlink.find(INTERFACE).index
    with bpf.create_link(foreign, index, mode=XdpMode.NATIVE) as link:
        with (
            site.filter(replace=True) as filter_,
            pytest.raises(ForeignProgramError, match="held by another's bpf_link"),
        ):
            site.attach(filter_)
        assert link.info().ifindex == index


# --- interfaces that come and go --------------------------------------------------------------


def again() -> None:
    """Delete both ends and make them again, with other indices."""
    ip("link", "delete", INTERFACE)
    ip("link", "add", "filler", "type", "veth", "peer", "name", "relliF")
    ip("link", "add", INTERFACE, "type", "veth", "peer", "name", "veth1")
    for name in (INTERFACE, "veth1"):
        ip("link", "set", name, "up")


def test_an_interface_that_went_away_is_lost_and_its_filter_comes_back(
    site: Site, running: Filter
) -> None:
    before = running.view().index
    ip("link", "delete", INTERFACE)
    running.watch(panic=False)
    lost = running.view()
    ip("link", "add", "filler", "type", "veth", "peer", "name", "relliF")
    ip("link", "add", INTERFACE, "type", "veth", "peer", "name", "veth1")
    running.watch(panic=False)
    back = running.view()
    assert (lost.state, back.state, back.reattached) == (
        FilterState.LOST,
        FilterState.ATTACHED,
        1,
    )
    assert back.index != before
    assert site.attached is not None


def test_a_defunct_link_is_replaced_by_the_next_service(site: Site) -> None:
    site.leave()
    again()
    with site.filter() as filter_:
        site.attach(filter_)
        assert (filter_.adopted, filter_.view().state) == (False, FilterState.ATTACHED)
    assert (site.pins, site.attached is not None) == (PINS, True)


def test_a_renamed_interface_is_found_by_the_next_service(site: Site) -> None:
    ip("link", "set", INTERFACE, "down")
    with Filter(site.bpf, site.netlink, "veth1", directory=site.own) as former:
        former.attach(site.bytecode, site.maps, panic=False)
    ip("link", "set", "veth1", "down")
    ip("link", "set", "veth1", "name", "dns0")
    with Filter(site.bpf, site.netlink, "dns0", directory=site.own) as filter_:
        filter_.attach(site.bytecode, site.maps, panic=False)
        assert filter_.adopted
    assert site.pins == {pin.replace(INTERFACE, "dns0") for pin in PINS}


# --- going off --------------------------------------------------------------------------------


def test_detaching_leaves_interface_and_pins_as_they_were(site: Site, wire: Wire) -> None:
    with none_left_open(), site.filter() as filter_:
        site.attach(filter_)
        assert filter_.detach()
        assert site.attached is None
        wire.send(BLOCKED)
        assert wire.arrived() == [BLOCKED, HONEST]
    assert site.pins == set()


def test_a_dead_services_program_is_taken_off_without_it(site: Site) -> None:
    site.leave()
    assert detach_interface(site.bpf, site.netlink, INTERFACE, site.own)
    assert (site.attached, site.pins) == (None, set())
    assert not site.own.exists()


def test_anothers_program_is_not_taken_off(site: Site, foreign: Program) -> None:
    site.netlink.attach_program(site.netlink.find(INTERFACE).index, XdpMode.NATIVE, foreign)
    assert not detach_interface(site.bpf, site.netlink, INTERFACE, site.own)
    assert site.attached is not None


def test_pins_removed_behind_our_back_are_made_again_by_a_swap(
    site: Site, wire: Wire, running: Filter
) -> None:
    wire.send(BLOCKED)
    assert wire.arrived() == [HONEST]
    for pin in site.own.iterdir():
        pin.unlink()
    running.swap(site.bytecode, site.maps, panic=False)
    assert site.pins == PINS
    assert running.view().counters[DROPPED].packets == 1


# --- what other tools show of it --------------------------------------------------------------

BPFTOOL, XDPDUMP = "/usr/sbin/bpftool", "/usr/sbin/xdpdump"


def test_bpftool_shows_its_name_and_type(running: Filter) -> None:
    number = str(running.view().program_id)
    command = [BPFTOOL, "--json", "prog", "show", "id", number]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert "xdpctl" in found["name"]
    assert found["btf_id"] > 0


@pytest.mark.guest  # it loads a tracing program, which few containers may
def test_xdpdump_shows_packets_with_what_the_filter_returned(wire: Wire, running: Filter) -> None:
    assert running.view().state is FilterState.ATTACHED
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.1):
            wire.send(BLOCKED)
            wire.send(HONEST)

    command = ["stdbuf", "-oL", XDPDUMP, "-i", INTERFACE, "--rx-capture", "exit"]
    seen: set[str] = set()
    lines = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as dump:
        assert dump.stdout is not None
        sender, limit = threading.Thread(target=send), threading.Timer(60, dump.kill)
        sender.start()
        limit.start()
        try:
            for line in dump.stdout:
                lines.append(line)
                seen.update(re.findall(r"xdpctl_filter\(\)@exit\[(\w+)\]", line))
                if {"DROP", "PASS"} <= seen:
                    break
        finally:
            over.set()
            limit.cancel()
            sender.join()
            dump.kill()
    assert seen == {"DROP", "PASS"}, "".join(lines[-20:])
