"""Who starts first does not matter, either may restart, and stopping leaves what was asked."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab import Dnsdist17, Responder, Service, dig, eventually
from tests.lab.hosts import PYTHON
from tests.lab.service import arguments
from tests.net.site import BLOCKS, DROPPED, site_in
from tests.packets.message import query
from xdpctl.filter.view import note_of_batches

if TYPE_CHECKING:
    from tests.lab import Host, Lab

pytestmark = pytest.mark.root

UDP_SEGMENT = 103


def is_filtered(client: Host) -> bool:
    """A blocked name stays without an answer, while another gets one."""
    assert dig(client, "www.example").arrived
    return not dig(client, "dropped.example").arrived


def test_dnsdist_may_start_before_the_service(lab: Lab) -> None:
    client, server = lab.pair()
    Responder(server, "127.0.0.1", port=5300)
    lab.pins.mkdir()  # dnsdist never makes the folder
    Dnsdist17(server, BLOCKS)
    Service(server)
    assert is_filtered(client)


def test_dnsdist_may_start_after_the_service(lab: Lab) -> None:
    assert is_filtered(site_in(lab).client)


def test_what_dnsdist_blocked_stays_blocked_while_it_restarts(lab: Lab) -> None:
    site = site_in(lab)
    site.dnsdist.stop()
    before = site.service.metrics().packets(reason="addr-v4", action="drop")
    dig(site.client, "www.example", source=DROPPED[4])
    site.service.counted(before + 1, reason="addr-v4", action="drop")
    site.dnsdist = Dnsdist17(site.server)
    assert is_filtered(site.client)


def test_a_dnsdist_that_restarted_goes_on_filling_the_same_maps(lab: Lab) -> None:
    site = site_in(lab)
    site.dnsdist.stop()
    site.dnsdist = Dnsdist17(site.server)
    site.dnsdist.console('bpf:blockQName(newDNSName("later.example."), 255, 1)')
    assert not dig(site.client, "later.example").arrived


def test_a_service_that_restarted_filters_what_was_blocked_before(lab: Lab) -> None:
    site = site_in(lab)
    assert site.service.stop() == 0
    site.service = Service(site.server)
    assert is_filtered(site.client)


def test_a_dnsdist_that_ran_on_while_the_service_restarted_still_fills_its_maps(lab: Lab) -> None:
    site = site_in(lab)
    site.service.stop()
    site.service = Service(site.server)
    site.dnsdist.console('bpf:blockQName(newDNSName("later.example."), 255, 1)')
    assert not dig(site.client, "later.example").arrived


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_service_leaves_no_program_behind(lab: Lab, number: signal.Signals) -> None:
    _, server = lab.pair()
    service = Service(server)
    assert server.xdp() is not None
    assert service.stop(number) == 0
    assert server.xdp() is None


def test_a_stopped_service_leaves_the_pins(lab: Lab) -> None:
    _, server = lab.pair()
    Service(server).stop()
    assert {pin.name for pin in lab.pins.iterdir()} == {
        "addr-v4",
        "addr-v6",
        "cidr4",
        "cidr6",
        "qnames",
    }


def test_on_exit_keep_goes_on_filtering(lab: Lab) -> None:
    site = site_in(lab, "--on-exit", "keep")
    assert site.service.stop() == 0
    assert is_filtered(site.client)


def test_detach_takes_off_what_a_stopped_service_kept(lab: Lab) -> None:
    site = site_in(lab, "--on-exit", "keep")
    site.service.stop()
    done = site.server.run(*site.service.command, "detach", "--control", str(site.service.control))
    assert done.returncode == 0
    assert site.server.xdp() is None


def test_a_killed_service_leaves_the_filter_on(lab: Lab) -> None:
    site = site_in(lab)
    site.service.process.kill()
    assert is_filtered(site.client)


def test_a_service_takes_over_what_a_killed_one_left(lab: Lab) -> None:
    site = site_in(lab)
    site.service.process.kill()
    assert Service(site.server).stop() == 0
    assert site.server.xdp() is None


def test_counters_survive_a_kill_while_the_program_stays(lab: Lab) -> None:
    site = site_in(lab)
    dig(site.client, "dropped.example")
    site.service.process.kill()
    dig(site.client, "dropped.example")
    Service(site.server).counted(2, reason="qname", action="drop")


def test_the_filter_is_native_on_a_driver_that_has_it(lab: Lab) -> None:
    _, server = lab.pair()
    Service(server)
    assert server.xdp() == "native"


def test_the_filter_is_generic_when_asked_for(lab: Lab) -> None:
    site = site_in(lab, "--mode", "generic")
    assert site.server.xdp() == "generic"
    assert is_filtered(site.client)


def batch_arrives(client: Host, server: Host) -> list[int]:
    """Send a good and a blocked query as one batch; return the IDs, 1 and 2, that arrive."""
    good, bad = query("www.example", ident=1), query("bad.example", ident=2)
    with (
        server.socket(socket.AF_INET, socket.SOCK_DGRAM) as there,
        client.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
    ):
        there.bind(("192.0.2.53", 53))
        there.settimeout(0.5)
        here.connect(("192.0.2.53", 53))
        here.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(good))
        here.send(good + bad)
        arrived = list[int]()
        with contextlib.suppress(TimeoutError):
            while len(arrived) < 2:
                arrived.append(there.recv(512)[1])
    return arrived


def test_generic_mode_warns_of_the_batches_that_it_lets_through_and_its_advice_works(
    lab: Lab,
) -> None:
    client, server = lab.pair()
    command = (PYTHON, "-m", "xdpctl", "check", *arguments(server), "--mode", "generic")
    checked = server.run(*command, check=False).stdout
    service = Service(server, "--mode", "generic")
    assert service.verb("block", "bad.example").returncode == 0
    said = note_of_batches("eth0")
    assert said in service.verb("status").stdout
    assert any(said in line for line in service.process.lines)
    assert said in checked
    assert batch_arrives(client, server) == [1, 2]  # what is warned of

    client.run("ethtool", "-K", "eth0", "tx-udp-segmentation", "off")
    assert batch_arrives(client, server) == [1]


def test_native_mode_judges_each_datagram_of_a_batch(lab: Lab) -> None:
    client, server = lab.pair()
    service = Service(server, "--mode", "native")
    assert service.verb("block", "bad.example").returncode == 0
    assert "UDP_SEGMENT" not in service.verb("status").stdout
    assert batch_arrives(client, server) == [1]


def test_several_interfaces_are_filtered_by_one_service(lab: Lab) -> None:
    _, server = lab.pair()
    lab.wire(lab.host("other"), server, name="eth1")
    service = Service(server, interfaces=("eth0", "eth1"))
    assert (server.xdp("eth0"), server.xdp("eth1")) == ("native", "native")
    assert service.stop() == 0
    assert (server.xdp("eth0"), server.xdp("eth1")) == (None, None)


def test_systemd_is_told_when_everything_is_attached(lab: Lab) -> None:
    _, server = lab.pair()
    path = lab.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        notify.settimeout(30)
        Service(server, environ={"NOTIFY_SOCKET": str(path)}, await_ready=False)
        while "READY=1" not in notify.recv(4096).decode().split("\n"):
            pass
    assert server.xdp() == "native"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2])
def test_a_stop_while_the_service_is_being_loaded_is_one_like_any_other(
    lab: Lab, number: signal.Signals, tmp_path: Path
) -> None:
    _, server = lab.pair()
    service = Service(server, environ={"TMPDIR": str(tmp_path)}, await_ready=False)
    status = Path(f"/proc/{service.process.pid}/status")

    def is_held_back() -> bool:
        signals = re.search(r"^SigBlk:\s*(\w+)$", status.read_text(), re.MULTILINE)
        return bool(signals and int(signals[1], 16) >> (number - 1) & 1)

    while not is_held_back():
        assert service.process.status is None
    assert service.stop(number) == 0
    assert service.process.lines[-1].split()[2] == "stopped"
    assert (server.xdp(), [*tmp_path.iterdir()]) == (None, [])


def test_readyz_says_ready(lab: Lab) -> None:
    _, server = lab.pair()
    service = Service(server)
    assert eventually(lambda: service.get("/readyz").status == 200, "/readyz 200")
