"""Who is proven by TCP: whoever has a connection, and nobody else, whatever frames are sent."""

from __future__ import annotations

import signal
import socket
import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.lab import Lab, Service, eventually
from tests.lab.hosts import INTERFACE, PYTHON, run, unmeasured
from tests.net.proof_site import (
    ACK,
    CGROUP,
    FASTOPEN,
    LIMITED,
    PSH,
    RST,
    SYN,
    ProofSite,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab import Host

pytestmark = [pytest.mark.root, pytest.mark.slow]

CLIENT = {4: "192.0.2.1", 6: "2001:db8::1"}
ABSENT = {4: "192.0.2.200", 6: "2001:db8:9::200"}
"""Addresses that nobody has: what is sent there gets no answer.

Where the control groups are looked at, connections of other tests on this machine prove their
sources too: so it is asked about an address, not how many are proven.
"""

NOWHERE_ELSE = "192.0.2.77"
"""An address of a client from which no other test connects."""

KEEP = ("--on-exit", "keep")


@pytest.fixture
def site_with() -> Iterator[Callable[..., ProofSite]]:
    """Start a site with options of the service."""
    with ExitStack() as stack:

        def make(*options: str) -> ProofSite:
            lab = stack.enter_context(Lab())
            return stack.enter_context(ProofSite(lab, *options))

        yield make


@pytest.fixture(scope="module", params=[LIMITED, CGROUP], ids=["socket", "cgroup"])
def running(request: pytest.FixtureRequest) -> Iterator[ProofSite]:
    """A site for each way of proof."""
    with Lab() as lab:
        yield ProofSite(lab, *request.param)


@pytest.fixture
def site(running: ProofSite) -> Iterator[ProofSite]:
    """The same where nobody is proven, and TCP is as the kernel has it."""
    running.forget()
    with running:
        yield running
    for host in (running.client, running.server):
        host.run("sysctl", "-qw", "net.ipv4.tcp_syncookies=1", "net.ipv4.tcp_fastopen=1")


# --- what proves --------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
def test_a_query_over_tcp_proves_its_source(site: ProofSite, version: int) -> None:
    listening = site.listen(version=version)
    assert not site.is_proven(CLIENT[version])
    site.connect(version=version).send(b"\0\2hi")
    assert site.accept(listening).recv(4) == b"\0\2hi"
    site.comes_to_be_proven(CLIENT[version])
    eventually(lambda: site.count() >= 1, "it is counted")


def test_a_connection_that_is_closed_at_once_proves(site: ProofSite) -> None:
    site.listen()
    site.connect().close()
    site.comes_to_be_proven(CLIENT[4])


def test_ipv4_is_proven_over_a_socket_for_both_families(site: ProofSite) -> None:
    listening = site.listen(version=6)
    site.connect().send(b"\0\2hi")
    assert site.accept(listening).recv(4) == b"\0\2hi"
    site.comes_to_be_proven(CLIENT[4])


def test_extension_headers_hide_no_connection(site: ProofSite) -> None:
    listening = site.listen(version=6)
    with site.client.socket(socket.AF_INET6, socket.SOCK_STREAM) as made:
        padding = struct.pack("=2B2B4x", 0, 0, 1, 4)
        for option in (socket.IPV6_HOPOPTS, socket.IPV6_DSTOPTS):
            made.setsockopt(socket.IPPROTO_IPV6, option, padding)
        made.settimeout(10)
        made.connect((site.server.v6, 53))
        made.send(b"\0\2hi")
        assert site.accept(listening).recv(4) == b"\0\2hi"
        site.comes_to_be_proven(CLIENT[6])


def test_syncookies_prove_a_connection_and_no_forged_end_of_it(site: ProofSite) -> None:
    site.server.run("sysctl", "-qw", "net.ipv4.tcp_syncookies=2")
    listening = site.listen()
    site.send(ABSENT[4], SYN)
    site.send(ABSENT[4], ACK, sequence=1001, acknowledged=4711)
    site.send(ABSENT[4], ACK | PSH, sequence=1001, acknowledged=4711, payload=b"\0\2hi")
    site.sent()
    assert not site.is_proven(ABSENT[4])
    site.connect().send(b"\0\2hi")
    assert site.accept(listening).recv(4) == b"\0\2hi"
    site.comes_to_be_proven(CLIENT[4])


# --- what does not ------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
def test_forged_segments_prove_nothing(site: ProofSite, version: int) -> None:
    site.listen(version=version)
    source = ABSENT[version]
    for number, flags in enumerate((SYN, ACK, ACK | PSH, ACK | 1, RST, RST | ACK, SYN | ACK, 0)):
        site.send(source, flags, sport=41000 + number, acknowledged=1)
    site.sent()
    assert not site.is_proven(source)


def test_a_half_open_connection_proves_nothing(site: ProofSite) -> None:
    site.listen()
    for version in (4, 6):
        site.send(ABSENT[version], SYN)
        for guess in range(20):
            site.send(ABSENT[version], ACK | PSH, sequence=1001, acknowledged=guess, payload=b"hi")
    site.sent()
    assert not any(site.is_proven(source) for source in ABSENT.values())


def test_data_on_a_syn_proves_nothing(site: ProofSite) -> None:
    """With TCP Fast Open, and no cookie asked for, a server has the data of a forged SYN."""
    site.server.run("sysctl", "-qw", "net.ipv4.tcp_fastopen=1539")  # 0x603
    listening = site.listen()
    site.send(ABSENT[4], SYN, payload=b"\0\2hi", options=FASTOPEN)
    assert site.accept(listening).recv(4) == b"\0\2hi"
    for guess in range(20):
        site.send(ABSENT[4], ACK | PSH, sequence=1005, acknowledged=guess, payload=b"hi")
    site.sent()
    assert not site.is_proven(ABSENT[4])


def test_a_fast_open_proves_when_its_handshake_is_complete(site: ProofSite) -> None:
    site.server.run("sysctl", "-qw", "net.ipv4.tcp_fastopen=1539")
    site.client.run("sysctl", "-qw", "net.ipv4.tcp_fastopen=5")  # also without a cookie
    listening = site.listen()
    with site.client.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.settimeout(10)
        made.sendto(b"\0\2hi", socket.MSG_FASTOPEN, (site.server.v4, 53))
        connection = site.accept(listening)
        assert connection.recv(4) == b"\0\2hi"
        made.send(b"\0\2hi")
        assert connection.recv(4) == b"\0\2hi"
    site.comes_to_be_proven(CLIENT[4])


def test_a_connection_that_was_reset_proves_nothing_more(
    site_with: Callable[..., ProofSite],
) -> None:
    site = site_with(*LIMITED)
    listening = site.listen()
    made = site.connect()
    port = made.getsockname()[1]
    connection = site.accept(listening)
    assert site.count() == 0  # the ACK of the handshake itself is of a half-open one
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    for guess in range(20):
        site.send(CLIENT[4], ACK | PSH, sport=port, sequence=guess, acknowledged=1, payload=b"hi")
    site.sent()
    assert site.count() == 0


def test_a_port_that_is_not_served_proves_nothing(site: ProofSite) -> None:
    listening = site.listen(port=8053)
    site.client.ip("address", "add", f"{NOWHERE_ELSE}/24", "dev", INTERFACE)
    with site.client.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.settimeout(10)
        made.bind((NOWHERE_ELSE, 0))
        made.connect((site.server.v4, 8053))
        made.send(b"\0\2hi")
        assert site.accept(listening).recv(4) == b"\0\2hi"
    site.sent()
    assert not site.is_proven(NOWHERE_ELSE)


@pytest.mark.parametrize("source", ["192.0.2.53", "198.51.100.53"])
def test_a_local_address_is_not_proven_for_good(site: ProofSite, source: str) -> None:
    """Neither by a connection to itself, nor by one of a second address of the host."""
    listening = site.listen()
    site.connect(source, host=site.server).send(b"\0\2hi")
    assert site.accept(listening).recv(4) == b"\0\2hi"
    eventually(lambda: not site.is_proven(source), f"{source} is not proven", timeout=30)


# --- a container with a mapped port -------------------------------------------------------


def map_port(site: ProofSite) -> Host:
    """Give the server a container behind its port 53; return it."""
    lab, server = site.server.lab, site.server
    inner = lab.host("inner")
    server.ip(*("link", "add", "c0", "type", "veth"), *("peer", "eth0", "netns", inner.name))
    for host, name, address in ((server, "c0", "10.0.0.1/24"), (inner, "eth0", "10.0.0.2/24")):
        host.ip("address", "add", address, "dev", name)
        host.ip("link", "set", name, "up")
    inner.ip("route", "add", "default", "via", "10.0.0.1")
    server.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    rules = lab.write(
        "map.nft",
        "table ip mapped {\n chain in {\n  type nat hook prerouting priority -100;\n"
        f"  ip daddr {server.v4} tcp dport 53 dnat to 10.0.0.2:53\n }}\n}}\n",
    )
    server.run("nft", "-f", str(rules))
    return inner


def ask_the_container(site: ProofSite, inner: Host, count: int = 1) -> None:
    listening = site.listen(inner)
    for _ in range(count):
        made = site.connect()
        connection = site.accept(listening)
        for side, other in ((made, connection), (connection, made)):
            side.send(b"\0\2hi")
            assert other.recv(4) == b"\0\2hi"
        made.close()
        connection.close()


def test_a_container_with_a_mapped_port_is_out_of_sight_and_that_is_said(
    site_with: Callable[..., ProofSite],
) -> None:
    site = site_with(*LIMITED)
    ask_the_container(site, map_port(site), count=12)
    assert site.count() == 0
    eventually(
        lambda: "--proof cgroup" in site.service.verb("status").stdout,
        "status warns that nobody can prove himself",
        timeout=30,
    )


def test_the_control_groups_see_the_container(site_with: Callable[..., ProofSite]) -> None:
    site = site_with(*CGROUP)
    ask_the_container(site, map_port(site))
    site.comes_to_be_proven(CLIENT[4])
    assert "--proof cgroup" not in site.service.verb("status").stdout


# --- the program on the control groups ----------------------------------------------------


def test_it_goes_on_without_the_service_and_is_taken_over(
    site_with: Callable[..., ProofSite],
) -> None:
    site = site_with(*CGROUP)
    listening = site.listen()
    (link,) = site.links()
    site.service.stop(signal.SIGKILL)
    site.connect().send(b"\0\2hi")
    assert site.accept(listening).recv(4) == b"\0\2hi"
    site.comes_to_be_proven(CLIENT[4])
    site.service = Service(site.server, *CGROUP)
    assert [*site.links()] == [link]
    assert site.is_proven(CLIENT[4])


def test_detach_ends_it_also_without_a_service(site_with: Callable[..., ProofSite]) -> None:
    site = site_with(*CGROUP)
    before = site.links()
    assert len(before) == 1
    site.service.stop(signal.SIGKILL)
    done = site.server.run(*unmeasured(PYTHON, "-m", "xdpctl", "detach", "--interface", INTERFACE))
    assert done.returncode == 0
    eventually(lambda: not before.keys() & site.links().keys(), "the link has ended")


def test_a_service_that_leaves_takes_it_along(site_with: Callable[..., ProofSite]) -> None:
    site = site_with(*CGROUP)
    before = site.links()
    assert site.service.stop() == 0
    eventually(lambda: not before.keys() & site.links().keys(), "the link has ended")


def test_it_is_ended_by_the_next_service_that_does_not_want_it(
    site_with: Callable[..., ProofSite],
) -> None:
    site = site_with(*CGROUP, *KEEP)
    before = site.links()
    assert site.service.stop() == 0
    assert site.links() == before
    site.service = Service(site.server, *LIMITED)
    assert not before.keys() & site.links().keys()


@pytest.mark.parametrize("verb", ["check", ""])
def test_without_cgroup2_it_is_refused_in_one_sentence(verb: str) -> None:
    with Lab() as lab:
        _, server = lab.pair()
        words = ["-m", "xdpctl", *([verb] if verb else [])]
        options = ("--interface", INTERFACE, "--pin-dir", str(lab.pins), "--listen", "none")
        state = ("--state", str(lab.directory / "s.db"), "--control", str(lab.directory / "c.sock"))
        command = " ".join([PYTHON, *words, *options, *state, *CGROUP])
        script = f"umount -a -t cgroup2 && exec {command}"
        done = run(
            [*server.command("unshare", "--mount", "--", "sh", "-c", script)],
            check=False,
            environ=lab.environ,
        )
        assert done.returncode == 1
        assert "no cgroup2 is mounted" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
