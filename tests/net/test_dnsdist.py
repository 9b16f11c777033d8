"""What dnsdist 1.7.3 blocks, the filter blocks, for a real dig over IPv4 and IPv6."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import dns.message
import pytest

from tests.lab import Dnsdist17, Lab, Service, dig, eventually, kdig
from tests.lab.dnsdist import OWN_USER, sample
from tests.net.site import DROPPED, SERVER, TRUNCATED, Site, site_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab import Answer

pytestmark = pytest.mark.root

versions = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        yield site_in(lab)


@versions
def test_a_query_that_no_rule_concerns_is_answered_over_udp(site: Site, version: int) -> None:
    answer = dig(site.client, "www.example", server=SERVER[version])
    assert (answer.records, answer.over_tcp) == (("A 192.0.2.80",), False)


@versions
def test_an_address_that_dnsdist_blocks_gets_no_answer(site: Site, version: int) -> None:
    answer = dig(site.client, "www.example", server=SERVER[version], source=DROPPED[version])
    assert not answer.arrived


@versions
def test_a_blocked_address_gets_no_answer_over_tcp_either(site: Site, version: int) -> None:
    answer = dig(
        site.client, "www.example", "A", "+tcp", server=SERVER[version], source=DROPPED[version]
    )
    assert not answer.arrived


@versions
@pytest.mark.parametrize("name", ["dropped.example", "DrOpPeD.eXaMpLe"])
def test_a_name_that_dnsdist_blocks_gets_no_answer_in_any_case(
    site: Site, version: int, name: str
) -> None:
    assert not dig(site.client, name, server=SERVER[version]).arrived


@versions
def test_a_name_below_a_blocked_one_is_another_name(site: Site, version: int) -> None:
    assert dig(site.client, "www.dropped.example", server=SERVER[version]).arrived


@versions
def test_a_blocked_name_is_answered_over_tcp(site: Site, version: int) -> None:
    answer = dig(site.client, "dropped.example", "A", "+tcp", server=SERVER[version])
    assert answer.records == ("A 192.0.2.80",)


@versions
def test_a_name_blocked_for_one_type_is_answered_for_another(site: Site, version: int) -> None:
    server = SERVER[version]
    answers = {
        qtype: dig(site.client, "only-a.example", qtype, server=server).arrived
        for qtype in ("A", "AAAA")
    }
    assert answers == {"A": False, "AAAA": True}


@versions
@pytest.mark.parametrize("query", [dig, kdig])
def test_a_truncate_rule_on_a_name_sends_the_client_to_tcp(
    site: Site, version: int, query: Callable[..., Answer]
) -> None:
    answer = query(site.client, "truncated.example", server=SERVER[version])
    assert (answer.retried, answer.over_tcp, answer.records) == (True, True, ("A 192.0.2.80",))


@versions
def test_a_truncate_rule_on_an_address_sends_the_client_to_tcp(site: Site, version: int) -> None:
    answer = dig(site.client, "www.example", server=SERVER[version], source=TRUNCATED[version])
    assert (answer.retried, answer.over_tcp, answer.records) == (True, True, ("A 192.0.2.80",))


@versions
@pytest.mark.parametrize(
    "options", [["+noedns"], ["+edns=0", "+cookie"], ["+edns=0", "+dnssec"], ["+noedns", "+cd"]]
)
def test_the_truncated_answer_has_the_flags_of_a_resolver(
    site: Site, version: int, options: list[str]
) -> None:
    """TC and RA are set, AA and AD are not; dig, told not to retry, shows the answer."""
    answer = dig(
        site.client, "truncated.example", "TXT", "+ignore", *options, server=SERVER[version]
    )
    cd = {"cd"} if "+cd" in options else set()
    assert answer.status == "NOERROR"
    assert answer.flags == {"qr", "tc", "rd", "ra"} | cd


def test_a_truncated_answer_never_echoes_a_cookie(site: Site) -> None:
    answer = dig(site.client, "truncated.example", "A", "+ignore", "+cookie=0123456789abcdef")
    assert "EDNS: version: 0" in answer.text
    assert "COOKIE" not in answer.text


def test_what_is_blocked_never_reaches_the_server(site: Site) -> None:
    before = site.responder.queries()
    dig(site.client, "dropped.example")
    dig(site.client, "www.example", source=DROPPED[4])
    dig(site.client, "truncated.example", "A", "+ignore")
    assert site.responder.queries() == before


def test_a_block_made_while_everything_runs_takes_effect(site: Site) -> None:
    site.dnsdist.console('bpf:blockQName(newDNSName("later.example."), 255, 1)')
    assert not dig(site.client, "later.example").arrived


def test_a_block_that_dnsdist_takes_back_is_gone(site: Site) -> None:
    site.dnsdist.console('bpf:blockQName(newDNSName("passing.example."), 255, 1)')
    site.dnsdist.console('bpf:unblockQName(newDNSName("passing.example."), 255)')
    assert dig(site.client, "passing.example").arrived


def test_a_dynamic_block_of_dnsdist_stops_the_client_at_the_card(lab: Lab) -> None:
    """A client over dnsdist's rate limit is blocked by dnsdist's own doing."""
    site = site_in(
        lab,
        blocks="""
        setDefaultBPFFilter(bpf)
        local dynamic = dynBlockRulesGroup()
        dynamic:setQueryRate(10, 1, "too many", 60, DNSAction.Drop)
        function maintenance() dynamic:apply() end
        """,
    )
    query = dns.message.make_query("www.example", "A").to_wire()

    def is_blocked() -> bool:
        with site.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(40):
                sock.sendto(query, (SERVER[4], 53))
        return bool(site.service.rules("--map", "addr-v4"))

    eventually(is_blocked, "a dynamic block in addr-v4", timeout=20)
    assert not dig(site.client, "www.example").arrived


def test_the_shipped_configuration_blocks_who_floods(lab: Lab) -> None:
    """contrib/dnsdist/dnsdist-1.7.lua as it is: more than 50 queries/s over 10 s."""
    client, server = lab.pair()
    service = Service(server)
    Dnsdist17(server, sample(server), share_maps=False)
    query = dns.message.make_query("www.example", "A").to_wire()

    def is_blocked() -> bool:
        with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(200):
                sock.sendto(query, (SERVER[4], 53))
        return bool(service.rules("--map", "addr-v4"))

    eventually(is_blocked, "a dynamic block in addr-v4", timeout=20)


def test_dnsdist_under_its_own_user_fills_maps_that_pin_owner_gave_it(lab: Lab) -> None:
    site = site_in(lab, "--pin-owner", "_dnsdist", before=OWN_USER)
    assert not dig(site.client, "dropped.example").arrived
    assert dig(site.client, "www.example").arrived
