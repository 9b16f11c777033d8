"""Interfaces vanish, return, are renamed and moved; the filter follows what is configured."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.lab import Service, dig, eventually
from tests.lab.hosts import PYTHON
from tests.lab.service import arguments

if TYPE_CHECKING:
    from tests.lab import Host, Lab

pytestmark = pytest.mark.root


def reasons(service: Service) -> list[str]:
    """Return why the service is not ready; empty when it is."""
    answer = service.get("/readyz")
    return [] if answer.status == 200 else answer.body.splitlines()


def waited_for(service: Service, words: str) -> None:
    """Wait until a reason of /readyz has these words."""
    eventually(lambda: any(words in sentence for sentence in reasons(service)), words)


def is_ready(service: Service) -> bool:
    return not reasons(service)


def filled(lab: Lab, *options: str) -> tuple[Host, Host, Service]:
    """Make a client and a server with two interfaces, both filtered, one name blocked."""
    client, server = lab.pair()
    lab.wire(lab.host("other"), server, name="eth1")
    service = Service(server, *options, interfaces=("eth0", "eth1"))
    assert service.verb("block", "dropped.example").returncode == 0
    return client, server, service


def test_an_interface_that_returns_under_its_name_is_filtered_again(lab: Lab) -> None:
    client, server, service = filled(lab)
    before = server.ip("link", "show", "eth0")
    server.ip("link", "delete", "eth0")
    waited_for(service, "eth0 is lost: the interface is gone")
    lab.wire(client, server)
    assert eventually(lambda: server.xdp("eth0"), "the filter on eth0") == "native"
    eventually(lambda: is_ready(service), "readiness")
    assert server.ip("link", "show", "eth0").split(":")[0] != before.split(":")[0]
    for host, address in ((client, "192.0.2.1/24"), (server, "192.0.2.53/24")):
        host.ip("address", "add", address, "dev", "eth0")
    assert not dig(client, "dropped.example").arrived
    seen = service.counted(1, reason="qname", action="drop", interface="eth0")
    assert seen.sum("xdpctl_interface_reattach_total", interface="eth0") == 1


def test_while_one_interface_is_missing_the_other_is_filtered(lab: Lab) -> None:
    client, server, service = filled(lab)
    server.ip("link", "delete", "eth1")
    waited_for(service, "eth1 is lost")
    assert reasons(service) == [
        "eth1 is lost: the interface is gone; the filter comes back with it"
    ]
    assert not dig(client, "dropped.example").arrived
    seen = service.counted(1, reason="qname", action="drop", interface="eth0")
    attached = [seen.sum("xdpctl_interface_attached", interface=name) for name in ("eth0", "eth1")]
    assert attached == [1, 0]


def test_a_renamed_card_keeps_its_filter_and_status_says_so(lab: Lab) -> None:
    client, server, service = filled(lab)
    server.ip("link", "set", "eth0", "down")
    server.ip("link", "set", "eth0", "name", "wan0")
    server.ip("link", "set", "wan0", "up")
    service.process.line(r"renamed interface=eth0 now=wan0")
    assert server.xdp("wan0") == "native"
    assert not dig(client, "dropped.example").arrived
    service.counted(1, reason="qname", action="drop", interface="eth0")
    assert is_ready(service)
    assert "eth0 is named wan0 now" in service.verb("status").stdout


def test_the_filter_goes_to_another_card_that_gets_the_name(lab: Lab) -> None:
    _, server, service = filled(lab)
    server.ip("link", "set", "eth0", "down")
    server.ip("link", "set", "eth0", "name", "wan0")
    lab.wire(lab.host("third"), server)
    assert eventually(lambda: server.xdp("eth0"), "the filter on the new eth0") == "native"
    eventually(lambda: server.xdp("wan0") is None, "no filter on the former eth0")
    eventually(lambda: is_ready(service), "readiness")


def test_a_card_in_another_namespace_is_without_our_program_until_it_returns(lab: Lab) -> None:
    _, server, service = filled(lab)
    elsewhere = lab.host("elsewhere")
    server.ip("link", "set", "eth0", "netns", elsewhere.name)
    waited_for(service, "eth0 is lost: its card moved to another network namespace")
    eventually(lambda: elsewhere.xdp("eth0") is None, "no filter in the other namespace")
    elsewhere.ip("link", "set", "eth0", "netns", server.name)
    assert eventually(lambda: server.xdp("eth0"), "the filter on eth0") == "native"
    eventually(lambda: is_ready(service), "readiness")


def test_an_interface_that_goes_down_and_up_keeps_its_filter(lab: Lab) -> None:
    _, server, service = filled(lab)
    program = server.xdp_id("eth0")
    server.ip("link", "set", "eth0", "down")
    eventually(lambda: "eth0 is down" in service.verb("status").stdout, "the warning")
    server.ip("link", "set", "eth0", "up")
    eventually(lambda: "eth0 is down" not in service.verb("status").stdout, "its end")
    assert (server.xdp_id("eth0"), is_ready(service)) == (program, True)
    assert service.metrics().sum("xdpctl_interface_reattach_total") == 0


def test_a_detached_interface_stays_without_filter_when_it_returns(lab: Lab) -> None:
    client, server, service = filled(lab)
    assert service.verb("detach", "--interface", "eth0").returncode == 0
    server.ip("link", "delete", "eth0")
    lab.wire(client, server)
    server.ip("link", "delete", "eth1")
    waited_for(service, "eth1 is lost")
    assert server.xdp("eth0") is None


# --- native again -------------------------------------------------------------------------------


def test_a_card_is_native_as_soon_as_the_driver_can(lab: Lab) -> None:
    """Veth minds its peer's queues, of which it learns nothing: its own change is the sign."""
    client, server = lab.pair(queues=2)
    client.ip("link", "set", "eth0", "xdp", "off")
    server.run("ethtool", "-L", "eth0", "rx", "1")
    client.run("ethtool", "-L", "eth0", "tx", "2")
    service = Service(server)
    assert server.xdp() == "generic"
    assert "in generic mode" in service.verb("status").stdout
    server.run("ethtool", "-L", "eth0", "rx", "2")
    server.ip("link", "set", "eth0", "mtu", "1400")
    eventually(lambda: server.xdp() == "native", "native mode")
    eventually(lambda: "in generic mode" not in service.verb("status").stdout, "no more of that")
    service.process.kill()
    assert server.xdp() == "native"


def test_a_large_mtu_is_native_too_with_a_warning_of_what_is_not_read(lab: Lab) -> None:
    client, server = lab.pair()
    client.ip("link", "set", "eth0", "xdp", "off")
    service = Service(server)
    for host in (client, server):
        host.ip("link", "set", "eth0", "mtu", "9000")
    assert (server.xdp(), reasons(service)) == ("native", [])
    warned = "MTU 9000: of a frame in several buffers only the first one is read"
    eventually(lambda: warned in service.verb("status").stdout, "the warning")
    service.process.kill()
    service = Service(server)
    assert (server.xdp(), reasons(service)) == ("native", [])


# --- waiting ------------------------------------------------------------------------------------


def waiting(lab: Lab, *options: str, environ: dict[str, str] | None = None) -> tuple[Host, Service]:
    """Start a service that waits for eth1; eth0 is there."""
    _, server = lab.pair()
    service = Service(
        server,
        "--wait",
        *options,
        interfaces=("eth0", "eth1"),
        await_ready=False,
        environ=environ,
    )
    service.process.line(r"waiting interfaces=eth1", timeout=30)
    return server, service


def test_a_service_that_waits_filters_what_there_is_and_is_ready_when_all_is(lab: Lab) -> None:
    server, service = waiting(lab)
    assert server.xdp("eth0") == "native"
    assert reasons(service) == ["eth1 is missing: there is no interface of this name yet"]
    lab.wire(lab.host("other"), server, name="eth1")
    service.process.line(r"\bready\b")
    assert (server.xdp("eth1"), reasons(service)) == ("native", [])


def test_a_service_that_waits_takes_what_is_renamed_to_the_name(lab: Lab) -> None:
    """As udev does it, while a machine boots."""
    server, service = waiting(lab)
    lab.wire(lab.host("other"), server, name="new0")
    server.ip("link", "set", "new0", "down")
    server.ip("link", "set", "new0", "name", "eth1")
    service.process.line(r"\bready\b")
    assert server.xdp("eth1") == "native"


def test_systemd_is_told_what_is_waited_for_and_ready_only_then(lab: Lab) -> None:
    path = lab.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        notify.settimeout(30)
        server, _ = waiting(lab, environ={"NOTIFY_SOCKET": str(path)})
        before = [notify.recv(4096).decode() for _ in range(4)]
        lab.wire(lab.host("other"), server, name="eth1")
        while not (said := notify.recv(4096).decode()).startswith("READY=1"):
            before.append(said)
    assert said == "READY=1\nSTATUS=filtering eth0, eth1"
    assert {sentence.split(";")[0] for sentence in before} == {
        "EXTEND_TIMEOUT_USEC=30000000",
        "STATUS=waiting for eth1: there is no interface of this name yet",
    }


def test_a_service_that_waits_is_stopped_with_nothing_left(lab: Lab) -> None:
    server, service = waiting(lab)
    assert service.stop() == 0
    assert server.xdp("eth0") is None


def test_check_knows_what_would_be_waited_for(lab: Lab) -> None:
    _, server = lab.pair()
    command = (PYTHON, "-m", "xdpctl", "check", *arguments(server, ("eth0", "eth1")))
    refused = server.run(*command, check=False)
    allowed = server.run(*command, "--wait", check=False)
    assert (refused.returncode, allowed.returncode) == (1, 0)
    assert "note  interface eth1 does not exist yet" in allowed.stdout
