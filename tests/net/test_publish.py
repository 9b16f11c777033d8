"""Publishing with real primaries and the real service: from a verb to packets that are dropped."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab import Lab, Responder, Service
from tests.lab.primaries import Software, loopback, start_primary
from tests.lab.process import eventually
from tests.net.feed_site import ZONE, FeedSite
from xdpctl.abi import RuleAction
from xdpctl.feeds.formats.policy_zone import PolicyZone
from xdpctl.feeds.publish.changes import Fate, WantedRecord, settle, verify
from xdpctl.feeds.publish.primaries import primaries_of
from xdpctl.rules import Name, Rule, parse_target
from xdpctl.settings import ZoneListSettings
from xdpctl.settings.zones import PrimaryAddress
from xdpctl.transfers.client import Primary
from xdpctl.transfers.key_file import TsigKey, read_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.primaries import ZonePrimary

pytestmark = pytest.mark.root

DROP, PASS = RuleAction.DROP, RuleAction.PASS
THERE = ["theirs.example CNAME rpz-passthru.", "address.example A 192.0.2.1"]


def want(
    owner: str, action: RuleAction | None = DROP, *ours: RuleAction, ttl: int = 60
) -> WantedRecord:
    return WantedRecord(tuple(owner.encode().split(b".")), ours, action, ttl)


def asked(primary: ZonePrimary, key: TsigKey | None = None) -> Primary:
    """Return the primary as the service knows it."""
    return Primary(IPv4Address(primary.address), primary.port, key or read_key(primary.key_file))


def cname(primary: ZonePrimary, owner: str) -> str:
    """Return the TTL and data of a record, empty where there is none."""
    where = [f"@{primary.address}", "-p", str(primary.port), "+noall", "+answer"]
    text = primary.place.run("dig", *where, f"{owner}.{primary.zone}", "CNAME")
    return " ".join(text.split()[1::3])


@pytest.mark.parametrize("software", [Software.BIND, Software.KNOT, Software.POWERDNS])
def test_what_is_ours(software: Software, tmp_path: Path) -> None:
    """A primary takes it, and keeps what is another's; the paths of sockets have to be short."""
    name = Name.from_text(ZONE)
    with loopback(tmp_path) as place:
        tls = "ns1.example" if software is Software.BIND else ""
        primary = start_primary(software, place, zone=ZONE, records=THERE, tls_name=tls)
        at = [asked(primary)]
        made = [want("a.example", ttl=600), want("*.a.example"), want("32.1.2.0.192.rpz-client-ip")]
        outcome = settle(name, at, made)
        assert (outcome.error, {*outcome.fates.values()}) == (None, {Fate.MADE})
        assert cname(primary, "a.example").endswith("rpz-drop.")
        serial = primary.serial()
        others = [want("theirs.example"), want("address.example"), want("b.example")]
        outcome = settle(name, at, others, whole=True)
        assert {*outcome.fates.values()} == {Fate.OTHER}
        outcome = settle(name, at, [want("theirs.example", PASS)], whole=True)
        assert {*outcome.fates.values()} == {Fate.SAME}
        seen = verify(name, at, [want("a.example", DROP, DROP), want("gone.example", DROP, DROP)])
        assert [*seen.fates.values()] == [Fate.VANISHED, Fate.MADE]
        assert primary.serial() == serial  # looking and being refused change nothing
        outcome = settle(
            name, at, [want("a.example", PASS, DROP, ttl=90), want("*.a.example", None, DROP)]
        )
        assert [*outcome.fates.values()] == [Fate.MADE, Fate.REMOVED]
        assert cname(primary, "a.example").endswith("rpz-passthru.")
        many = [want(f"n{number}.{'x' * 60}.{'y' * 60}.{'z' * 60}") for number in range(100)]
        assert {*settle(name, at, many).fates.values()} == {Fate.MADE}

        key = read_key(primary.key_file)
        for bad in (replace(key, secret=b"wrong"), replace(key, name=Name.from_text("other"))):
            error = settle(name, [asked(primary, bad)], [want("c.example")]).error
            assert error is not None
            assert error.maybe  # nobody signs for a key that it does not have
            assert error.result == ("refused" if software is Software.POWERDNS else "key")
        error = settle(Name.from_text("other.example"), at, [want("c.example")]).error
        assert error is not None
        assert error.result == "not-primary"
        if software is Software.BIND:
            assert cname(_over_tls(primary), "tls.example").endswith("rpz-drop.")
        primary.stop()
        error = settle(name, at, [want("c.example")]).error
        assert error is not None
        assert (error.result, error.maybe) == ("unreachable", False)


def _over_tls(primary: ZonePrimary) -> ZonePrimary:
    """Publish a record over TLS, and see that another name in the certificate is refused."""
    listed = ZoneListSettings(
        zone=Name.from_text(ZONE),
        origin="list:z",
        primaries=(PrimaryAddress(IPv4Address(primary.address), primary.tls_port),),
        key_file=primary.key_file,
        tls_name=primary.tls_name,
        tls_ca=primary.authority,
    )
    assert settle(listed.zone, primaries_of(listed), [want("tls.example")]).error is None
    other = replace(listed, tls_name="other.example")
    error = settle(listed.zone, primaries_of(other), [want("x.example")]).error
    assert error is not None
    assert "is not to be trusted for other.example" in error.sentence
    return primary


def test_nsd_takes_no_updates_and_that_is_said(tmp_path: Path) -> None:
    with loopback(tmp_path) as place:
        primary = start_primary(Software.NSD, place, zone=ZONE, records=THERE)
        error = settle(Name.from_text(ZONE), [asked(primary)], [want("a.example")]).error
    assert error is not None
    assert error.result == "no-update"
    assert "with the key update of the [[list]]" in error.sentence


TARGETS = [
    ".evil.example", "good.evil.example", "*.x.example", "\\064.example", "a\\046b.example",
    "\\000\\255.example", "1.2.3.\\0522x", "192.0.2.1", "192.0.2.0/24", "2001:db8::/32",
    "2001:0:0:1:0:0:2:3", "::/1", "1:0:2:0:3:0:4:5",
]  # fmt: skip


def test_bind_knot_and_nsd_load_what_export_writes(tmp_path: Path) -> None:
    zone = PolicyZone(Name.from_text(ZONE))
    for text in TARGETS:
        zone.add(Rule(parse_target(text), reason='a "quoted"; (reason) ü'))
    lines = list(zone.lines(7))
    written = tmp_path / "exported.zone"
    written.write_text("\n".join(lines) + "\n", "utf-8")
    for check in ("named-checkzone", "nsd-checkzone"):
        subprocess.run([check, ZONE, str(written)], check=True, capture_output=True)
    with loopback(tmp_path) as place:
        for software in (Software.BIND, Software.KNOT, Software.NSD):
            primary = start_primary(software, place, zone=ZONE, records=lines[4:])
            assert cname(primary, "*.good.evil.example").endswith("rpz-drop."), software
            assert cname(primary, "32.zz.db8.2001.rpz-client-ip").endswith("rpz-drop."), software
            primary.stop()
        config = tmp_path / "policy.conf"
        config.write_text(
            f'options {{ directory "{tmp_path}"; pid-file none; listen-on {{ none; }};'
            f' listen-on-v6 {{ none; }}; response-policy {{ zone "{ZONE}"; }}; }};\n'
            f'zone "{ZONE}" {{ type primary; file "{written}"; }};\n'
        )
        policy = place.start("policy", "named", "-g", "-n", "1", "-c", str(config))
        policy.until(lambda: "reload done" in policy.text, "the policy is read", 20.0)
        assert "canonical" not in policy.text
        assert "invalid rpz" not in policy.text


BLOCK = {"reason": "a flood", "seconds": 600, "blocks": 1, "action": "Drop", "warning": False}
BLOCKS = json.dumps(
    {
        "203.0.113.0/24": BLOCK,
        "203.0.113.77/32": BLOCK | {"seconds": 20},
        "theirs.example.": BLOCK,
    }
)
"""What dnsdist says that it blocks: the first is worth a record, the last is partly another's."""


class Site(FeedSite):
    """A service that follows a zone of a Knot, and a client."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, THERE)
        lab.write(
            "xdpctl.toml",
            f'notify-listen = "127.0.0.1:5300"\npublish = "{ZONE}"\n'
            f'[[list]]\nzone = "{ZONE}"\nname = "block"\n'
            f'primary = "127.0.0.1:{self.primary.port}"\nkey-file = "{self.primary.key_file}"\n'
            'refresh = "1h"\n'
            '[[dnsdist]]\nurl = "http://127.0.0.1:8083"\n',
        )
        self.blocks = lab.write("jsonstat", BLOCKS)
        command = [sys.executable, "-m", "http.server", "8083", "--bind", "127.0.0.1"]
        self.server.start("dnsdist", *command, "--directory", str(lab.directory))
        Responder(self.server)
        self.service = Service(self.server)

    def publish(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.service.verb("publish", *words, "--zone", ZONE)

    def listed(self) -> dict[str, dict[str, Any]]:
        """Return what is published, by target."""
        document = json.loads(self.service.verb("publish", "--list", "--json").stdout)
        return {record["target"]: record for record in document["published"]}


@pytest.fixture
def site() -> Iterator[Site]:
    with Lab() as lab:
        yield Site(lab)


def test_a_block_reaches_the_card_by_the_zone_and_ends(site: Site) -> None:
    eventually(lambda: "203.0.113.0/24" in site.listed(), "the block of dnsdist's", 30)
    assert site.listed()["203.0.113.0/24"]["origin"] == "dnsdist-dynamic"
    assert cname(site.primary, "24.0.113.0.203.rpz-client-ip").endswith("rpz-drop.")
    assert "203.0.113.77" not in site.listed()
    assert cname(site.primary, "theirs.example").endswith("rpz-passthru.")
    site.blocks.write_text("{}")
    eventually(lambda: site.listed() == {}, "its end", 30)
    assert cname(site.primary, "24.0.113.0.203.rpz-client-ip") == ""

    assert not site.is_blocked("x.evil.example")
    done = site.publish(".evil.example", "192.0.2.9", "--for", "1h")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{ZONE}: drop evil.example, *.evil.example, 192.0.2.9, for 1h\n"
    eventually(lambda: site.is_blocked("x.evil.example"), "the zone is blocked", 10)
    assert site.is_blocked("evil.example")
    eventually(lambda: site.is_blocked(source="192.0.2.9"), "the source is blocked", 10)
    assert set(site.listed()) == {"evil.example", "*.evil.example", "192.0.2.9"}

    refused = site.publish("theirs.example", "new.example")
    assert refused.returncode == 1
    assert "cannot publish theirs.example" in refused.stderr
    assert "new.example" not in site.listed()
    (change,) = json.loads(site.service.verb("history", "192.0.2.9", "--json").stdout)["changes"]
    assert change["verb"] == "publish"
    assert change["detail"] in (f"in {ZONE}, for 1h", f"in {ZONE}, for 59m59s")

    done = site.service.verb("unpublish", "192.0.2.9", "--zone", ZONE)
    assert done.stdout == f"{ZONE}: 1 record removed\n"
    eventually(lambda: not site.is_blocked(source="192.0.2.9"), "the source is free again", 10)
    assert site.publish(".evil.example", "--for", "1s").returncode == 0
    eventually(lambda: not site.is_blocked("x.evil.example"), "the zone is free again", 15)
    assert site.listed() == {}
    metrics = site.service.metrics()
    assert metrics.sum("xdpctl_publish_updates_total", list="block", result="conflict") >= 1
    assert metrics.sum("xdpctl_published_records", list="block") == 0

    # What ends while the service is down or the primary is gone is removed when both are there.
    assert site.publish("short.example", "--for", "2s").returncode == 0
    assert site.publish("long.example", "--for", "1h").returncode == 0
    site.service.stop()
    site.primary.stop()
    site.service = Service(site.server)
    eventually(
        lambda: f"cannot update {ZONE}" in site.service.verb("status").stdout, "the warning", 20
    )
    assert set(site.listed()) == {"short.example", "long.example"}
    failed = site.publish("other.example")
    assert failed.returncode == 1
    assert "Connection refused" in failed.stderr
    assert "nothing was published" in failed.stderr
    site.primary.start()
    site.service.verb("unpublish", "short.example", "--zone", ZONE)
    eventually(lambda: set(site.listed()) == {"long.example"}, "only one is left", 30)
    assert cname(site.primary, "short.example") == ""
    assert cname(site.primary, "long.example").endswith("rpz-drop.")
