"""Limits of zones in front of a real BIND: a flood of random names is cut, no existing name is.

What counts as existing is tested name by name in tests/unit/tools/test_zone_limits.py. Here the
names come from BIND by AXFR and IXFR with TSIG, and outlive what happens to a service.
"""

from __future__ import annotations

import json
import secrets
import signal
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab import Lab, Service, eventually
from tests.lab.primaries import Software, ZonePrimary, on_host, start_primary
from tests.lab.service import READY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

pytestmark = [pytest.mark.root, pytest.mark.slow]

RECORDS = (
    "www A 192.0.2.80",
    "a.b.c A 192.0.2.80",
    "*.wild A 192.0.2.80",
    "child NS ns.child",
    "ns.child A 192.0.2.81",
    "old A 192.0.2.80",
)
EXIST = (
    "example.com",
    "www.example.com",
    "WwW.example.COM",
    "a.b.c.example.com",
    "b.c.example.com",
    "c.example.com",
    "x.wild.example.com",
    "y.x.wild.example.com",
    "x.child.example.com",
    "www.child.example.com",
    "other.example.net",
)
TC = 0x0200
BURST = 2
"""Queries that a limit of one a second lets through at one moment."""


class ZoneSite:
    """BIND, the filter in front of it, and a client.

    Args:
        lab: where.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.client, self.server = lab.pair()
        self.bind: ZonePrimary = start_primary(
            Software.BIND,
            on_host(self.server),
            zone="example.com",
            records=RECORDS,
            also="192.0.2.53",
            port=53,
        )
        self.config = lab.directory / "xdpctl.toml"
        self.service: Service | None = None

    def start(self, *lines: str, key: str | None = None) -> Service:
        """Start the service with a limit of one query a second, and the zone's names."""
        self.write(*lines, key=key)
        options = ("--config", str(self.config), "--on-exit", "keep")
        self.service = Service(self.server, *options, await_ready=False)
        self.service.process.line(READY, 90.0)
        return self.service

    def write(self, *lines: str, limit: int = 1, key: str | None = None) -> None:
        """Write the file of the service."""
        table = lines or (
            f"limit = {limit}",
            'primary = "127.0.0.1"',
            f'key-file = "{key or self.bind.key_file}"',
        )
        self.config.write_text("\n".join(["[[zone]]", 'name = "example.com"', *table, ""]))

    def limits(self) -> dict[str, Any]:
        """Return what `limits --json` says."""
        assert self.service is not None
        found: dict[str, Any] = json.loads(self.service.verb("limits", "--json").stdout)
        return found

    def zone(self) -> dict[str, Any]:
        """Return what is known of the zone."""
        (found,) = self.limits()["zones"]
        return dict(found)

    def known(self, serial: int) -> dict[str, Any]:
        """Wait until a version is in force."""
        return eventually(
            lambda: zone if (zone := self.zone())["serial"] == serial else None,
            f"serial {serial}",
            30.0,
        )

    def truncated(self, names: Sequence[str]) -> list[str]:
        """Ask for names, one after the other's answer; return those that were sent to TCP."""
        found = []
        with self.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5.0)
            for number, name in enumerate(names):
                parts = [part.encode() for part in name.split(".")]
                wire = b"".join(bytes((len(part),)) + part for part in parts) + b"\0"
                head = struct.pack("!6H", number, 0, 1, 0, 0, 0)
                sock.sendto(head + wire + struct.pack("!2H", 1, 1), ("192.0.2.53", 53))
                answer = sock.recv(4096)
                assert answer[:2] == head[:2]
                if int.from_bytes(answer[2:4], "big") & TC:
                    found.append(name)
        return found

    def flood(self, count: int = 40) -> int:
        """Ask for random names; return how many went on to BIND."""
        names = [f"random{number}.example.com" for number in range(count)]
        return count - len(self.truncated(names))

    def blast(self, zone: str, count: int = 6000) -> None:
        """Ask for many random names at once, and wait for no answer."""
        parts = [part.encode() for part in zone.split(".")]
        end = b"".join(bytes((len(part),)) + part for part in parts) + b"\0\0\1\0\1"
        head = struct.pack("!6H", 7, 0, 1, 0, 0, 0)
        with self.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(count):
                label = secrets.token_hex(4).encode()
                sock.sendto(head + bytes((len(label),)) + label + end, ("192.0.2.53", 53))

    def assert_cut(self) -> None:
        """See that a flood is cut, and that no name that exists is touched meanwhile."""
        assert self.flood() < 20
        assert self.truncated(EXIST * 3) == []
        assert self.flood() < 20


@pytest.fixture
def site() -> Iterator[ZoneSite]:
    with Lab() as lab:
        yield ZoneSite(lab)


def test_a_flood_of_random_names_is_cut_and_no_existing_name(site: ZoneSite) -> None:
    service = site.start()
    zone = site.known(1)
    assert zone["in_force"]
    assert zone["transfers"] == {"axfr": 1} or zone["transfers"]["axfr"] == 1
    site.assert_cut()
    assert site.truncated(["x.www.example.com"] * 5) != []
    metrics = service.metrics()
    assert metrics.sum("xdpctl_zone_names", zone=".example.com") == zone["names"]
    eventually(
        lambda: service.metrics().packets(reason="zone-limit", action="truncate") >= 60,
        "the counter",
    )
    assert "names exist (serial 1)" in service.verb("limits").stdout


def test_names_come_and_go_with_the_primarys_changes(site: ZoneSite) -> None:
    site.start()
    site.known(1)
    site.flood()
    assert site.truncated(["new.example.com"] * 5) != []
    site.bind.update("add new.example.com 60 A 192.0.2.9", "delete old.example.com")
    zone = site.known(2)
    assert zone["transfers"]["ixfr"] == 1
    assert site.truncated(["new.example.com"] * 20) == []
    site.flood()
    assert site.truncated(["old.example.com"] * 5) != []
    site.assert_cut()


def test_the_limit_goes_on_when_the_service_is_killed_and_is_taken_over(site: ZoneSite) -> None:
    service = site.start()
    site.known(1)
    service.process.send(signal.SIGKILL)
    service.process.wait()
    site.assert_cut()
    site.start().process.line("limits-adopted")
    site.assert_cut()
    assert site.known(1)["transfers"]["kept"] == 1
    site.assert_cut()


def test_the_last_names_are_in_force_without_a_primary_and_without_maps(site: ZoneSite) -> None:
    service = site.start()
    site.known(1)
    service.stop()
    site.server.run("sh", "-c", "true")
    detached = service.verb("detach", "--interface", "eth0")
    assert detached.returncode in (0, 1)
    site.bind.process.kill()
    service = site.start()
    assert site.known(1)["transfers"]["kept"] == 1
    eventually(lambda: site.zone()["error"], "a sentence about the primary", 30.0)
    assert "no TCP connection" in site.zone()["error"]
    assert site.zone()["in_force"]


def test_without_names_everything_below_the_zone_counts(site: ZoneSite) -> None:
    site.start("limit = 1")
    eventually(lambda: site.zone()["in_force"], "the limit")
    assert site.truncated(["example.com"] * 10) == []
    assert len(site.truncated(["www.example.com"] * 20)) >= 20 - 2 * BURST - 8


def test_a_watched_zone_is_limited_when_it_is_attacked_and_others_are_named(
    site: ZoneSite,
) -> None:
    service = site.start(
        "limit = 1", "watch = true", 'primary = "127.0.0.1"', f'key-file = "{site.bind.key_file}"'
    )
    site.known(1)
    assert site.flood() == 40, "in peace nobody is limited"

    def attacked(zone: str, seen: Callable[[], bool]) -> Callable[[], bool]:
        def look() -> bool:
            site.blast(zone)
            return seen()

        return look

    eventually(attacked("example.com", lambda: site.zone()["in_force"]), "the limit", 60.0)
    site.assert_cut()
    ends = site.zone()["ends"]
    assert time.time() < ends <= time.time() + 600
    assert "zone-limited" in service.verb("history").stdout
    assert "attacked, so limited for" in " ".join(service.verb("limits").stdout.split())
    proposal = "try --zone-limit .victim.test=100"
    eventually(
        attacked("victim.test", lambda: proposal in service.verb("status").stdout),
        "what to do about another zone",
        60.0,
    )


def test_another_limit_comes_with_a_reload(site: ZoneSite) -> None:
    service = site.start()
    site.known(1)
    assert site.flood() < 20
    site.write(limit=100_000)
    service.process.send(signal.SIGHUP)
    service.process.line("reloaded.*zone")
    eventually(lambda: site.flood() == 40, "the new limit", 30.0)
    site.config.write_text("")
    service.process.send(signal.SIGHUP)
    eventually(lambda: site.limits()["zones"] == [], "no zone", 30.0)
    assert site.flood() == 40


def test_names_that_cannot_be_had_limit_nobody_and_are_one_sentence(site: ZoneSite) -> None:
    wrong = site.lab.write("wrong.key", 'key "xdpctl" { algorithm hmac-sha256; secret "AAAA"; };\n')
    wrong.chmod(0o600)
    site.start(key=str(wrong))
    eventually(lambda: site.zone()["error"], "the sentence", 30.0)
    assert not site.zone()["in_force"]
    assert site.flood() == 40
    (warning,) = [text for text in site.limits()["warnings"] if "example.com" in text]
    assert "is not limited, as its names are not known" in warning
