"""`--xsk` with the real dnsdist 1.9.16 and 2.1.3: what goes to the socket, and what must not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab import Lab, Responder, Service, dig, eventually
from tests.net.xsk_site import (
    SHIPPED,
    V4,
    V6,
    XskSite,
    ask,
    ask_until_answered,
    await_destinations,
    destinations,
    redirects_by_queue,
    two_cards,
    xsk_site,
)
from tests.roots.dnsdist import DnsdistRelease, shipped
from tests.roots.roots import DNSDIST_ID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.roots.roots import Release

pytestmark = [pytest.mark.root, pytest.mark.slow]

releases = pytest.mark.parametrize("release", ["trixie", "sid"])


@pytest.fixture(scope="module", params=["trixie", "sid"])
def site(request: pytest.FixtureRequest) -> Iterator[XskSite]:
    with Lab() as lab:
        yield xsk_site(lab, request.param)


@pytest.fixture(scope="module")
def sid() -> Iterator[XskSite]:
    with Lab() as lab:
        yield xsk_site(lab, "sid")


# --- the shipped configuration, one queue -------------------------------------------


def test_a_query_is_answered_through_the_socket(site: XskSite) -> None:
    before = site.redirected()
    assert dig(site.client, "www.example").records == ("A 192.0.2.80",)
    assert site.redirected() == before + 1


def test_metrics_count_what_the_driver_took_to_the_socket(site: XskSite) -> None:
    dig(site.client, "www.example")
    site.service.counted(site.redirected(), action="redirect", reason="redirect")


def test_a_blocked_name_never_reaches_the_socket(site: XskSite) -> None:
    site.service.verb("block", "dropped.example")
    before, asked = site.redirected(), site.responder.queries()
    assert not dig(site.client, "dropped.example").arrived
    assert (site.redirected(), site.responder.queries()) == (before, asked)


def test_a_truncate_rule_is_answered_before_the_socket_and_its_retry_over_tcp(
    site: XskSite,
) -> None:
    """TCP is never redirected: the retry reaches the kernel."""
    site.service.verb("block", "--action", "truncate", "truncated.example")
    before = site.redirected()
    answer = dig(site.client, "truncated.example")
    assert (answer.retried, answer.over_tcp, answer.records) == (True, True, ("A 192.0.2.80",))
    assert site.redirected() == before


def test_what_dnsdist_blocks_itself_never_reaches_its_socket(lab: Lab) -> None:
    """The shared maps and AF_XDP work together."""
    blocking = shipped(SHIPPED["trixie"]) + 'bpf:block(newCA("192.0.2.66"), 1)\n'
    site = xsk_site(lab, "trixie", config=blocking)
    before = site.redirected()
    assert not dig(site.client, "www.example", source="192.0.2.66").arrived
    assert site.redirected() == before
    assert dig(site.client, "www.example").arrived
    assert site.redirected() == before + 1


def test_ipv6_goes_through_the_socket_of_dnsdist_2(sid: XskSite) -> None:
    await_destinations(sid.lab, V6)
    before = sid.redirected()
    answer = dig(sid.client, "www.example", "AAAA", server="2001:db8::53")
    assert answer.records == ("AAAA 2001:db8::80",)
    assert sid.redirected() == before + 1


def test_a_fragmented_query_is_answered_by_the_kernels_socket(lab: Lab) -> None:
    """What dnsdist's AF_XDP would silently discard goes to the kernel."""
    site = xsk_site(lab, "sid")
    site.client.ip("link", "set", "eth0", "mtu", "576")
    before = site.redirected()
    assert ask(site.client, "192.0.2.53", padding=900)
    assert site.redirected() == before
    site.service.counted(1, reason="xsk-ineligible", action="pass")


# --- 1.9 and IPv6 -------------------------------------------------------------------


def test_xsk_family_4_keeps_ipv6_of_dnsdist_1_9_with_the_kernels_socket(lab: Lab) -> None:
    """1.9.16 asks for IPv6 over AF_XDP here, and would answer without a UDP checksum."""
    config = shipped(SHIPPED["trixie"]).replace(
        'addLocal("[2001:db8::53]:53")', 'addLocal("[2001:db8::53]:53", {xskSocket=xsk})'
    )
    site = xsk_site(lab, "trixie", "--xsk-family", "4", config=config)
    await_destinations(lab, V6)
    answer = dig(site.client, "www.example", "AAAA", server="2001:db8::53")
    assert answer.records == ("AAAA 2001:db8::80",)
    site.service.counted(site.redirected(), action="redirect")
    eventually(lambda: site.service.metrics().packets(reason="no-match") > 0, "it is counted")


LOST = r"xsk-destination-lost.*192\.0\.2\.53"


def noticed(site: XskSite) -> None:
    """Wait until the service has seen that packets are redirected."""
    site.service.counted(site.redirected(), action="redirect")


# --- dnsdist ends, starts, is asked -------------------------------------------------


@releases
def test_queries_reach_the_kernels_socket_when_dnsdist_is_killed(
    lab: Lab, release: Release
) -> None:
    """The slot of xskmap is empty, the destination is still registered."""
    site = xsk_site(lab, release)
    site.dnsdist.kill()
    Responder(site.server, "192.0.2.53")
    assert dig(site.client, "www.example").arrived
    assert V4 in destinations(lab)
    site.service.counted(1, reason="redirect", action="pass")


@releases
def test_a_restarted_dnsdist_has_af_xdp_again_without_touching_the_service(
    lab: Lab, release: Release
) -> None:
    site = xsk_site(lab, release)
    site.dnsdist.kill()
    site.start_dnsdist()
    before = site.redirected()
    assert dig(site.client, "www.example").arrived
    assert site.redirected() == before + 1


@releases
def test_the_console_client_empties_the_destinations_and_the_service_says_so_once(
    lab: Lab, release: Release
) -> None:
    """PowerDNS/pdns#18023; queries are still answered, and /readyz stays 200."""
    site = xsk_site(lab, release)
    noticed(site)
    registered = destinations(lab)
    site.dnsdist.console("showServers()")
    assert destinations(lab) == set()
    site.service.process.line(LOST)

    assert dig(site.client, "www.example").arrived
    assert site.service.get("/readyz").status == 200
    assert V4 in site.service.verb("status").stdout
    lost = [line for line in site.service.process.lines if "xsk-destination-lost" in line]
    metric = site.service.metrics().sum("xdpctl_xsk_destinations_lost_total")
    assert len(lost) == metric == len(registered)


@releases
def test_xsk_restore_puts_back_what_the_console_client_took(lab: Lab, release: Release) -> None:
    site = xsk_site(lab, release, "--xsk-restore")
    noticed(site)
    registered = destinations(lab)
    site.dnsdist.console("showServers()")
    await_destinations(lab, *registered)
    before = site.redirected()
    assert dig(site.client, "www.example").arrived
    assert site.redirected() == before + 1
    assert site.service.metrics().sum("xdpctl_xsk_destinations_lost_total") == len(registered)


def test_xsk_restore_leaves_a_destination_alone_that_nobody_listens_on(lab: Lab) -> None:
    site = xsk_site(lab, "trixie", "--xsk-restore")
    noticed(site)
    site.dnsdist.kill()
    site.dnsdist.run("--version")  # any start empties the maps
    eventually(
        lambda: "has registered no address" in site.service.verb("status").stdout, "a new look"
    )
    assert destinations(lab) == set()


# --- AF_XDP towards a backend -------------------------------------------------------


@releases
def test_an_af_xdp_backend_answers_through_the_filter(lab: Lab, release: Release) -> None:
    """The query and the backend's answer are redirected, one each."""
    client, server = lab.pair()
    backend = Responder(client, "192.0.2.1")
    service = Service(server, "--xsk", "--number-of-queues", "1")
    dig(server, "www.example", server="192.0.2.1")  # dnsdist reads the neighbour table
    DnsdistRelease.shipped(server, release, "dnsdist-xsk-backend.lua")
    await_destinations(lab, V4)
    eventually(lambda: len(destinations(lab)) == 2, "a port towards the backend")
    sent = ask_until_answered(client, "192.0.2.53", ports=1)  # the first answer may be kept
    assert backend.queries("udp") == 1 + sent
    service.counted(2 * sent, action="redirect")


# --- several queues, several cards --------------------------------------------------


@releases
def test_every_queue_of_every_card_reaches_its_own_socket(lab: Lab, release: Release) -> None:
    """Two cards of two queues, four sockets: each query is answered where it came in."""
    client, server = two_cards(lab, queues=2)
    Responder(server, "127.0.0.1", port=5300)
    cards = ("eth0", "eth1")
    service = Service(server, "--xsk", "--number-of-queues", "2", interfaces=cards)
    name = {"trixie": "dnsdist-1.9-xsk-queues.lua", "sid": "dnsdist-2-xsk-queues.yml"}[release]
    DnsdistRelease.shipped(server, release, name)
    await_destinations(lab, V4, "198.51.100.53:53")

    addresses = {"eth0": "192.0.2.53", "eth1": "198.51.100.53"}
    for address in addresses.values():  # each socket may keep its very first answer
        ask(client, address, ports=24)
    for card, address in addresses.items():
        before = {name: redirects_by_queue(server, name) for name in addresses}
        sent = ask_until_answered(client, address, ports=24)
        came_in = {
            name: [now - then for now, then in zip(counts, before[name], strict=True)]
            for name in addresses
            if (counts := redirects_by_queue(server, name))
        }
        assert sum(came_in[card]) == sent
        assert all(came_in[card]), f"no packet on some queue of {card}: {came_in}"
        assert not any(any(came_in[other]) for other in addresses if other != card)
        service.counted(sum(redirects_by_queue(server, card)), interface=card, action="redirect")


def test_the_map_of_a_further_card_is_named_in_the_log_and_in_status(lab: Lab) -> None:
    _client, server = two_cards(lab, queues=1)
    service = Service(server, "--xsk", interfaces=("eth0", "eth1"))
    assert (lab.pins / "xskmap").exists()
    assert (lab.pins / "xskmap-eth1").exists()
    assert "xskmap-eth1" in service.process.text
    assert "xskmap-eth1" in service.verb("status").stdout


def test_too_few_slots_for_the_queues_is_an_error_with_both_numbers(lab: Lab) -> None:
    _client, server = lab.pair(queues=4)
    service = Service(server, "--xsk", "--number-of-queues", "3", await_ready=False)
    assert service.process.wait(20) == 1
    last = service.process.lines[-1]
    assert "4" in last
    assert "3" in last


# --- rights -------------------------------------------------------------------------


@releases
def test_dnsdist_needs_no_more_than_deploy_gives_it(lab: Lab, release: Release) -> None:
    """Its own user, CAP_NET_RAW, locked memory, and the pins' owner; nothing of BPF."""
    client, server = lab.pair()
    Responder(server, "127.0.0.1", port=5300)
    service = Service(
        server, "--xsk", "--number-of-queues", "1", "--pin-owner", f"{DNSDIST_ID}:{DNSDIST_ID}"
    )
    # CAP_IPC_LOCK stands for LimitMEMLOCK=infinity, which a test machine may not allow.
    rights = ("net_bind_service", "net_raw", "ipc_lock")
    DnsdistRelease.shipped(server, release, SHIPPED[release], capabilities=rights)
    await_destinations(lab, V4)
    sent = ask_until_answered(client, "192.0.2.53", ports=1)  # the first answer may be kept
    service.counted(sent, action="redirect")
