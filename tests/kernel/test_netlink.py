"""Interfaces, what is attached to them, and news of them, on the real kernel."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import struct
import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.conftest import ip
from tests.lab.veth import refuse_native
from tests.support.descriptors import none_left_open
from tests.support.kernel_contract import PASS_PROGRAM, refused
from xdpctl.errors import InterfaceError, KernelError
from xdpctl.kernel.bpf.programs import XdpMode
from xdpctl.kernel.net import rtnetlink
from xdpctl.kernel.net.interfaces import Attached, LinkChange, Netlink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from xdpctl.kernel.bpf.programs import Program
    from xdpctl.kernel.bpf.syscall import Bpf

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("namespace")]


@pytest.fixture
def program(bpf: Bpf) -> Iterator[Program]:
    with bpf.load_program(PASS_PROGRAM, "probe") as loaded:
        yield loaded


class TestFinding:
    """An interface is found by name, or the error says which there are."""

    def test_an_interface_is_described(self, netlink: Netlink) -> None:
        ip("link", "set", "veth0", "mtu", "1400")
        found = netlink.find("veth0")
        assert (found.name, found.mtu, found.up, found.kind, found.driver) == (
            "veth0",
            1400,
            True,
            "veth",
            "veth",
        )
        assert (found.attached, found.master) == (None, None)

    def test_loopback_has_neither_kind_nor_driver(self, netlink: Netlink) -> None:
        found = netlink.find("lo")
        assert (found.index, found.kind, found.driver) == (1, None, None)

    def test_an_interface_that_is_down_is_not_up(self, netlink: Netlink) -> None:
        ip("link", "set", "veth0", "down")
        assert netlink.find("veth0").up is False

    @pytest.mark.parametrize("name", ["veth", "veth00", "x" * 15, "x" * 16, "", "ä" * 8])
    def test_an_unknown_name_is_answered_with_those_that_exist(
        self, netlink: Netlink, name: str
    ) -> None:
        with pytest.raises(InterfaceError, match=r"there are .*lo, veth0, veth1") as caught:
            netlink.find(name)
        assert caught.value.interface == name

    def test_a_name_that_is_nearly_right_is_guessed(self, netlink: Netlink) -> None:
        with pytest.raises(InterfaceError, match=r"did you mean veth1\?"):
            netlink.find("vteh1")

    def test_all_interfaces_are_listed(self, netlink: Netlink) -> None:
        assert {"lo", "veth0", "veth1"} <= {found.name for found in netlink.interfaces()}

    def test_more_interfaces_than_fit_into_one_answer_are_listed(self, netlink: Netlink) -> None:
        for number in range(30):
            ip("link", "add", f"more{number}", "type", "veth", "peer", "name", f"less{number}")
        names = {found.name for found in netlink.interfaces()}
        assert {f"more{number}" for number in range(30)} <= names
        with pytest.raises(InterfaceError, match="…"):
            netlink.find("unknown")

    def test_a_port_of_a_bridge_has_a_master(self, netlink: Netlink) -> None:
        ip("link", "add", "bridge", "type", "bridge")
        ip("link", "set", "veth0", "master", "bridge")
        assert netlink.find("veth0").master == netlink.find("bridge").index

    def test_queues_are_those_in_use(self, netlink: Netlink) -> None:
        """`ethtool -L` lessens those that packets arrive on."""
        before = netlink.find("veth0").rx_queues
        ip("link", "set", "veth0", "down")
        subprocess.run(["ethtool", "-L", "veth0", "rx", "1"], check=True)
        assert (before, netlink.find("veth0").rx_queues) == (2, 1)

    def test_queues_without_an_answer_from_the_driver_are_those_that_exist(
        self, netlink: Netlink
    ) -> None:
        assert (netlink.channels("lo"), netlink.find("lo").rx_queues) == (None, 1)

    def test_channels_tell_what_could_be(self, netlink: Netlink) -> None:
        channels = netlink.channels("veth0")
        assert channels is not None
        assert (channels.rx, channels.max_rx, channels.combined, channels.receiving) == (2, 2, 0, 2)

    def test_features_are_those_that_ethtool_shows(self, netlink: Netlink) -> None:
        shown = subprocess.run(
            ["ethtool", "-k", "veth0"], check=True, capture_output=True, text=True
        ).stdout
        lines = [line.strip() for line in shown.splitlines() if line.startswith("\t")]
        detailed = {line.split(":")[0] for line in lines if line.split()[1] == "on"}
        assert detailed <= netlink.features("veth0")

    def test_the_kernel_says_whether_a_driver_runs_xdp(
        self, netlink: Netlink, ifindex: int
    ) -> None:
        assert [netlink.native_xdp(index) for index in (1, ifindex)] == [False, True]

    def test_of_an_interface_that_is_not_there_it_says_nothing(self, netlink: Netlink) -> None:
        assert netlink.native_xdp(0x7FFFFFF) is None

    def test_a_name_has_an_index_and_an_index_a_name(self, netlink: Netlink, ifindex: int) -> None:
        assert (netlink.index_of("veth0"), netlink.name_of(ifindex)) == (ifindex, "veth0")
        assert (netlink.index_of("gone0"), netlink.name_of(0x7FFFFFF)) == (None, None)

    @pytest.mark.parametrize(("state", "offloaded"), [("on", True), ("off", False)])
    def test_vlan_offload_is_what_was_set(
        self,
        netlink: Netlink,
        state: str,
        offloaded: bool,  # noqa: FBT001 - a table's column
    ) -> None:
        subprocess.run(["ethtool", "-K", "veth0", "rxvlan", state], check=True)
        assert netlink.vlan_offload("veth0") is offloaded

    def test_an_interface_that_is_gone_has_no_features(self, netlink: Netlink) -> None:
        assert (netlink.features("gone0"), netlink.vlan_offload("gone0")) == (frozenset(), None)

    def test_addresses_are_those_of_the_namespace(self, netlink: Netlink) -> None:
        ip("address", "add", "192.0.2.7/24", "dev", "veth0")
        ip("address", "add", "192.0.2.1", "peer", "192.0.2.2", "dev", "veth1")
        ip("address", "add", "2001:db8::7/64", "dev", "veth0", "nodad")
        found = netlink.local_addresses()
        assert {ip_address(text) for text in ("192.0.2.7", "192.0.2.1", "2001:db8::7")} <= set(
            found
        )
        assert ip_address("192.0.2.2") not in found


class TestPrograms:
    """A foreign program is seen, named and removed; the driver's reason is asked for."""

    @pytest.mark.parametrize("mode", [XdpMode.NATIVE, XdpMode.GENERIC])
    def test_a_program_is_seen_in_its_mode(
        self, netlink: Netlink, ifindex: int, program: Program, mode: XdpMode
    ) -> None:
        netlink.attach_program(ifindex, mode, program)
        assert netlink.find("veth0").attached == Attached(program.info.id, mode)

    def test_removing_from_an_interface_that_is_gone_is_enodev(
        self, netlink: Netlink, program: Program
    ) -> None:
        with refused(errno.ENODEV):
            netlink.detach_program(0x7FFFFFF, XdpMode.NATIVE, program)

    def test_an_error_carries_the_kernels_own_words(
        self, netlink: Netlink, ifindex: int, program: Program
    ) -> None:
        netlink.attach_program(ifindex, XdpMode.NATIVE, program)
        with pytest.raises(KernelError, match="XDP program already attached"):
            netlink.attach_program(ifindex, XdpMode.NATIVE, program)

    def test_a_drivers_reason_is_told(
        self, bpf: Bpf, netlink: Netlink, ifindex: int, program: Program
    ) -> None:
        """Veth gives one for a peer with more queues to send from than it has to receive."""
        words = refuse_native("veth0", "veth1", ip)
        with pytest.raises(KernelError) as caught:
            bpf.create_link(program, ifindex, mode=XdpMode.NATIVE)
        assert caught.value.errno in {errno.ENOSPC, errno.ERANGE}
        assert words in netlink.refusal(ifindex, XdpMode.NATIVE, program)

    def test_a_driver_without_native_mode_says_so(self, netlink: Netlink, program: Program) -> None:
        reason = netlink.refusal(1, XdpMode.NATIVE, program)
        assert reason == "Underlying driver does not support XDP in native mode"

    def test_asking_for_a_reason_leaves_nothing_attached(
        self, netlink: Netlink, ifindex: int, program: Program
    ) -> None:
        reason = netlink.refusal(ifindex, XdpMode.NATIVE, program)
        assert (reason, netlink.find("veth0").attached) == ("", None)

    def test_without_privilege_the_sentence_says_which(self) -> None:
        code = (
            "import os\n"
            "from tests.support.kernel_contract import PASS_PROGRAM\n"
            "from xdpctl.errors import KernelError\n"
            "from xdpctl.kernel.bpf.syscall import Bpf\n"
            "from xdpctl.kernel.bpf.programs import XdpMode\n"
            "from xdpctl.kernel.net.interfaces import Netlink\n"
            "with Bpf().load_program(PASS_PROGRAM, 'p') as program:\n"
            "    os.setresuid(65534, 65534, 65534)\n"
            "    try: Netlink().detach_program(1, XdpMode.GENERIC, program)\n"
            "    except KernelError as error: print(error)\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        )
        assert "EPERM); run as root, or give this process CAP_NET_ADMIN" in run.stdout


class TestWatching:
    """News come in their order, and it is told when some may have been lost."""

    @pytest.fixture
    async def watch(self, netlink: Netlink) -> AsyncIterator[AsyncIterator[LinkChange]]:
        watch = netlink.watch()
        assert (await anext(watch)).resync
        yield watch
        await watch.aclose()  # type: ignore[attr-defined]

    async def until(
        self, watch: AsyncIterator[LinkChange], name: str, **wanted: object
    ) -> LinkChange:
        """Return the first news of an interface with these attributes."""
        async with asyncio.timeout(20):
            async for change in watch:
                if change.name == name and all(
                    getattr(change, key) == value for key, value in wanted.items()
                ):
                    return change
        raise AssertionError

    async def test_a_new_interface_is_told(self, watch: AsyncIterator[LinkChange]) -> None:
        ip("link", "add", "dawn0", "type", "veth", "peer", "name", "dawn1")
        change = await self.until(watch, "dawn0")
        assert (change.gone, change.up, change.previous_name) == (False, False, None)

    async def test_a_deleted_interface_is_gone(
        self, watch: AsyncIterator[LinkChange], ifindex: int
    ) -> None:
        ip("link", "del", "veth0")
        assert (await self.until(watch, "veth0", gone=True)).index == ifindex

    async def test_a_renamed_interface_tells_its_former_name(
        self, watch: AsyncIterator[LinkChange], ifindex: int
    ) -> None:
        ip("link", "set", "veth0", "down")
        ip("link", "set", "veth0", "name", "renamed0")
        change = await self.until(watch, "renamed0")
        assert (change.index, change.previous_name) == (ifindex, "veth0")

    async def test_down_and_up_are_told(self, watch: AsyncIterator[LinkChange]) -> None:
        ip("link", "set", "veth0", "down")
        down = await self.until(watch, "veth0", up=False)
        ip("link", "set", "veth0", "up")
        up = await self.until(watch, "veth0", up=True)
        assert (down.gone, up.gone) == (False, False)

    async def test_an_attached_program_is_told_and_so_is_its_end(
        self,
        watch: AsyncIterator[LinkChange],
        netlink: Netlink,
        ifindex: int,
        program: Program,
    ) -> None:
        """Of a program without link; the kernel is silent about those with one."""
        netlink.attach_program(ifindex, XdpMode.NATIVE, program)
        wanted = Attached(program.info.id, XdpMode.NATIVE)
        there = await self.until(watch, "veth0", attached=wanted)
        netlink.detach_program(ifindex, XdpMode.NATIVE, program)
        ended = await self.until(watch, "veth0", attached=None)
        assert (there.index, ended.index) == (ifindex, ifindex)

    async def test_leaving_a_bridge_is_not_being_gone(
        self, watch: AsyncIterator[LinkChange]
    ) -> None:
        """The bridge tells of its port's end with the same type of message."""
        ip("link", "add", "bridge", "type", "bridge")
        ip("link", "set", "veth0", "master", "bridge")
        ip("link", "set", "veth0", "nomaster")
        ip("link", "add", "last", "type", "bridge")
        seen = []
        async with asyncio.timeout(20):
            async for change in watch:
                seen.append(change)
                if change.name == "last":
                    break
        assert not [change for change in seen if change.gone]

    async def test_an_overrun_is_told_and_survived(
        self, netlink: Netlink, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """With a small buffer, and nobody reading, while much happens."""
        opened: list[socket.socket] = []
        open_socket = rtnetlink.open_socket

        def cramped(groups: int = 0, **options: int) -> socket.socket:
            made = open_socket(groups, **options)
            if groups:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
                opened.append(made)
            return made

        monkeypatch.setattr(rtnetlink, "open_socket", cramped)
        watch = netlink.watch()
        await anext(watch)
        commands = tmp_path / "commands"
        commands.write_text("".join(f"link set veth0 mtu {1400 + n}\n" for n in range(100)))
        ip("-batch", str(commands))
        await self.until(watch, "", resync=True)
        ip("link", "add", "later", "type", "veth", "peer", "name", "later1")
        assert (await self.until(watch, "later")).gone is False
        await watch.aclose()  # type: ignore[attr-defined]
        assert [made.fileno() for made in opened] == [-1]

    async def test_a_broken_socket_is_a_kernel_error(
        self, netlink: Netlink, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def broken(*_: object) -> bytes:
            raise OSError(errno.ENETDOWN, "")

        watch = netlink.watch()
        await anext(watch)
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_recv", broken)
        with refused(errno.ENETDOWN):
            await anext(watch)

    async def test_a_watch_without_descriptors_is_a_kernel_error(
        self, netlink: Netlink, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_groups: int = 0) -> socket.socket:
            raise rtnetlink.RefusedError(errno.EMFILE, "")

        monkeypatch.setattr(rtnetlink, "open_socket", refuse)
        with refused(errno.EMFILE):
            await anext(netlink.watch())

    async def test_a_closed_watch_leaves_no_socket(self, netlink: Netlink) -> None:
        with none_left_open():
            watch = netlink.watch()
            await anext(watch)
            await watch.aclose()  # type: ignore[attr-defined]

    async def test_a_cancelled_watch_leaves_no_socket(self, netlink: Netlink) -> None:
        with none_left_open():

            async def follow() -> None:
                async for _ in netlink.watch():
                    started.set()

            started = asyncio.Event()
            task = asyncio.create_task(follow(), name="follow")
            await started.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class TestSockets:
    """Who listens here is read from /proc/net."""

    @pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, ""), (socket.AF_INET6, "")])
    def test_a_tcp_listener_is_found(
        self, netlink: Netlink, family: socket.AddressFamily, address: str
    ) -> None:
        with socket.create_server((address, 0), family=family) as server:
            assert netlink.listening_tcp(server.getsockname()[1])

    def test_a_connected_port_is_no_listener(self, netlink: Netlink) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname()) as client,
        ):
            assert not netlink.listening_tcp(client.getsockname()[1])

    @pytest.mark.parametrize(
        ("family", "text"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    )
    def test_a_bound_udp_socket_is_found_by_address_and_port(
        self, netlink: Netlink, family: socket.AddressFamily, text: str
    ) -> None:
        address = ip_address(text)
        with socket.socket(family, socket.SOCK_DGRAM) as bound:
            bound.bind((text, 0))
            port = bound.getsockname()[1]
            found = [netlink.bound_udp(address, port), netlink.bound_udp(address, port - 1)]
        assert found == [True, False]

    def test_a_wildcard_socket_is_bound_to_no_address(self, netlink: Netlink) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
            bound.bind(("", 0))
            assert not netlink.bound_udp(IPv4Address("127.0.0.1"), bound.getsockname()[1])

    def test_what_is_closed_is_not_found(self, netlink: Netlink) -> None:
        assert not netlink.listening_tcp(53)
        assert not netlink.bound_udp(IPv6Address("::1"), 53)


class TestDescriptors:
    """Each question has a socket, and none stays open."""

    def test_no_socket_outlives_its_question(
        self, netlink: Netlink, ifindex: int, program: Program
    ) -> None:
        with none_left_open():
            netlink.find("veth0")
            netlink.interfaces()
            netlink.local_addresses()
            netlink.features("veth0")
            netlink.refusal(ifindex, XdpMode.NATIVE, program)

    def test_no_socket_outlives_a_refusal(self, netlink: Netlink, program: Program) -> None:
        with none_left_open():
            with pytest.raises(InterfaceError):
                netlink.find("unknown")
            with pytest.raises(KernelError):
                netlink.detach_program(1, XdpMode.NATIVE, program)
        assert netlink.channels("unknown") is None

    def test_a_full_descriptor_table_is_one_sentence(self, netlink: Netlink) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with Path(os.devnull).open("rb") as last:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(3, last.fileno()), hard))
            try:
                with refused(errno.EMFILE):
                    netlink.interfaces()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_dump_that_is_always_interrupted_ends_in_an_error(
    netlink: Netlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NLM_F_DUMP_INTR in every answer."""
    done = struct.pack("=IHHIIi", 20, 3, 0x12, 0, 0, 0)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def answering(*_: object, **__: object) -> socket.socket:
        theirs.send(done)
        return ours.dup()

    monkeypatch.setattr(rtnetlink, "open_socket", answering)
    with ours, theirs, pytest.raises(KernelError, match="change faster than") as caught:
        netlink.interfaces()
    assert caught.value.errno == errno.EAGAIN
