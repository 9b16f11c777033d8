"""The configurations of contrib/dnsdist for 1.9 and 2, without AF_XDP, with the real dnsdist."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dns.message
import pytest

from tests.lab import Lab, Responder, Service, dig, eventually
from tests.roots.dnsdist import DnsdistRelease
from tests.roots.roots import DNSDIST_ID
from xdpctl.maps.aging import WALK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab import Host
    from tests.roots.roots import Release

pytestmark = [pytest.mark.root, pytest.mark.slow]

MAPS_ONLY: dict[Release, str] = {"trixie": "dnsdist-1.9.lua", "sid": "dnsdist-2.yml"}

releases = pytest.mark.parametrize("release", ["trixie", "sid"])


@dataclass(slots=True)
class Site:
    """A server with the service and dnsdist, and who asks it."""

    client: Host
    server: Host
    service: Service
    dnsdist: DnsdistRelease


def site_in(lab: Lab, release: Release, *options: str) -> Site:
    """Start the service, then dnsdist with the shipped configuration."""
    client, server = lab.pair()
    Responder(server, "127.0.0.1", port=5300)
    service = Service(server, *options)
    return Site(
        client, server, service, DnsdistRelease.shipped(server, release, MAPS_ONLY[release])
    )


@pytest.fixture(scope="module", params=["trixie", "sid"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with Lab() as lab:
        yield site_in(lab, request.param)


@pytest.fixture(scope="module")
def trixie() -> Iterator[Site]:
    with Lab() as lab:
        yield site_in(lab, "trixie")


@pytest.mark.parametrize("server", ["192.0.2.53", "2001:db8::53"])
def test_the_shipped_configuration_answers(site: Site, server: str) -> None:
    assert dig(site.client, "www.example", server=server).records == ("A 192.0.2.80",)


def flood(site: Site) -> None:
    """Let the client flood until dnsdist has blocked it."""
    query = dns.message.make_query("www.example", "A").to_wire()

    def is_blocked() -> bool:
        with site.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(200):
                sock.sendto(query, ("192.0.2.53", 53))
        blocked = {rule["target"] for rule in site.service.rules("--map", "addr-v4")}
        return "192.0.2.1" in blocked

    eventually(is_blocked, "a dynamic block in addr-v4", timeout=20)


def test_a_client_that_floods_is_blocked_on_the_card(site: Site) -> None:
    flood(site)


@releases
def test_a_block_that_a_former_dnsdist_left_is_ended(lab: Lab, release: Release) -> None:
    site = site_in(lab, release, "--stale-dnsdist", "expire:1s")
    flood(site)
    time.sleep(2 * WALK_SECONDS)  # so that the entry is seen while its writer lives
    site.dnsdist.kill()
    DnsdistRelease.shipped(site.server, release, MAPS_ONLY[release])
    site.service.process.line("stale-entry-ended .*target=192.0.2.1 ", timeout=15)
    assert not site.service.rules("--map", "addr-v4")


@releases
def test_dnsdist_may_start_before_the_service(lab: Lab, release: Release) -> None:
    client, server = lab.pair()
    Responder(server, "127.0.0.1", port=5300)
    lab.pins.mkdir()
    DnsdistRelease.shipped(server, release, MAPS_ONLY[release])
    service = Service(server)
    assert service.verb("block", "dropped.example").returncode == 0
    assert not dig(client, "dropped.example").arrived


@releases
def test_dnsdist_runs_as_its_own_user_with_the_pins_owner_set(lab: Lab, release: Release) -> None:
    """No capability but for port 53: owner and mode of the pins are all it takes."""
    client, server = lab.pair()
    Responder(server, "127.0.0.1", port=5300)
    lab.directory.chmod(0o777)
    Service(server, "--pin-owner", f"{DNSDIST_ID}:{DNSDIST_ID}")
    DnsdistRelease.shipped(server, release, MAPS_ONLY[release], capabilities=("net_bind_service",))
    assert dig(client, "www.example").arrived


@pytest.mark.parametrize("source", ["192.0.2.66", "2001:db8:66::66"])
def test_what_the_1_9_configuration_blocks_is_in_the_maps(trixie: Site, source: str) -> None:
    """An address is dropped, a range sends its clients to TCP."""
    server = "2001:db8::53" if ":" in source else "192.0.2.53"
    answer = dig(trixie.client, "www.example", server=server, source=source)
    assert (answer.arrived, answer.retried) == ((True, True) if ":" in source else (False, False))


def test_every_block_of_the_1_9_configuration_is_listed_as_dnsdists(trixie: Site) -> None:
    listed = {(rule["target"], rule["action"], rule["origin"]) for rule in trixie.service.rules()}
    assert listed == {
        ("192.0.2.66", "drop", "dnsdist"),
        ("2001:db8::66", "truncate", "dnsdist"),
        ("198.51.100.64/26", "drop", "dnsdist"),
        ("2001:db8:66::/48", "truncate", "dnsdist"),
        ("flood.example", "drop", "dnsdist"),
        ("amplify.example", "truncate", "dnsdist"),
    }


def test_the_1_9_configuration_starts_again_over_maps_that_hold_its_blocks(lab: Lab) -> None:
    """A plain `block` of what is there already would keep dnsdist from starting."""
    site = site_in(lab, "trixie")
    site.dnsdist.kill()
    again = DnsdistRelease.shipped(site.server, "trixie", MAPS_ONLY["trixie"])
    assert "kept as it is in the map: 192.0.2.66" in again.process.text
    assert dig(site.client, "www.example").arrived
