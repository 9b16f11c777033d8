"""Lists that are zones, with the real service and a real Knot: one service for all of it.

Three lists follow the same zone: `block` as most operators would, `wrong` with another key than the
primary's, and `timed` whose rules live as long as their records and whose PASSTHRU exempts clients.
A fourth one, `secure`, follows a zone of a BIND over TLS (XoT).
"""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab import Lab, Responder, Service
from tests.lab.primaries import Software, on_host, start_primary
from tests.lab.process import eventually
from tests.net.feed_site import NOTIFIED, ZONE, FeedSite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.primaries import ZonePrimary

pytestmark = pytest.mark.root

SECURE = "secure.rpz.example"
RECORDS = [
    "bad.example CNAME rpz-drop.",
    "*.bad.example CNAME rpz-drop.",
    "good.bad.example CNAME rpz-passthru.",
    "one.example CNAME rpz-drop.",
    "two.example CNAME rpz-drop.",
    "three.example CNAME .",
    "32.9.2.0.192.rpz-client-ip CNAME rpz-drop.",
]
WRONG_KEY = """key "xdpctl" {
    algorithm hmac-sha256;
    secret "d3JvbmcgYnV0IGxvbmcgZW5vdWdoIGZvciBhIHNlY3JldA==";
};
"""
SETTINGS = """notify-listen = "127.0.0.1:5300"
[[list]]
zone = "{zone}"
name = "block"
primary = "127.0.0.1:{port}"
key-file = "{key}"
refresh = "1h"
[[list]]
zone = "{zone}"
name = "wrong"
primary = "127.0.0.1:{port}"
key-file = "{wrong}"
[[list]]
zone = "{zone}"
name = "timed"
primary = "127.0.0.1:{port}"
key-file = "{key}"
refresh = "1h"
lifetime = "ttl"
passthru = "exempt"
max-shrink = "100%"
[[list]]
zone = "{secure}"
name = "secure"
primary = "127.0.0.1:{tls_port}"
key-file = "{key}"
tls-name = "ns1.example"
tls-ca = "{authority}"
refresh = "1h"
"""


class Site(FeedSite):
    """A service with three lists, their primary, and a client."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, RECORDS)
        self.secure: ZonePrimary = start_primary(
            Software.BIND,
            on_host(self.server),
            zone=SECURE,
            records=["secret.example CNAME rpz-drop."],
            notify=[NOTIFIED],
            tls_name="ns1.example",
        )
        wrong = lab.write("wrong.key", WRONG_KEY)
        wrong.chmod(0o600)
        self.text = SETTINGS.format(
            zone=ZONE,
            port=self.primary.port,
            key=self.primary.key_file,
            wrong=wrong,
            secure=SECURE,
            tls_port=self.secure.tls_port,
            authority=self.secure.authority,
        )
        lab.write("xdpctl.toml", self.text)
        self.lab = lab
        Responder(self.server)
        self.service = Service(self.server)
        self.wait("block", lambda listed: listed["rules"])
        self.wait("timed", lambda listed: listed["rules"])

    def lists(self) -> dict[str, dict[str, Any]]:
        """Return the lists by name."""
        document = json.loads(self.service.verb("lists", "--json").stdout)
        return {listed["name"]: listed for listed in document["lists"]}

    def wait(self, name: str, condition: Any) -> dict[str, Any]:  # noqa: ANN401 - of a document
        """Wait until a list is as it should be."""

        def look() -> dict[str, Any] | None:
            listed = self.lists()[name]
            return listed if condition(listed) else None

        return eventually(look, f"list {name}", 30)

    def wait_serial(self) -> None:
        serial = self.primary.serial()
        for name in ("block", "timed"):
            self.wait(name, lambda listed: listed["serial"] == serial)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        yield Site(lab)


def test_what_the_zone_says_is_in_force(site: Site) -> None:
    for name in ("bad.example", "x.bad.example", "three.example"):
        assert site.is_blocked(name), name
    for name in ("good.bad.example", "a.good.bad.example", "free.example"):
        assert not site.is_blocked(name), name
    assert site.is_blocked("free.example", "192.0.2.9")
    metrics = site.service.metrics()
    serial = site.primary.serial()
    assert metrics.sum("xdpctl_list_serial", list="block") == serial
    assert metrics.sum("xdpctl_list_transfers_total", list="block", kind="axfr", result="good") == 1
    assert 0 <= metrics.sum("xdpctl_list_age_seconds", list="block") < 3600
    assert metrics.sum("xdpctl_list_up", list="block") == 1


def test_with_a_wrong_key_nothing_is_applied_and_one_sentence_says_why(site: Site) -> None:
    listed = site.wait("wrong", lambda listed: listed["error"])
    assert listed["rules"] is None
    assert "list wrong cannot be brought up to date" in listed["error"]
    assert "list wrong cannot be brought up to date" in site.service.verb("status").stdout
    metrics = site.service.metrics()
    assert metrics.sum("xdpctl_list_transfers_total", list="wrong", result="failed") >= 1
    assert metrics.sum("xdpctl_list_up", list="wrong") == 0
    claims = site.service.rules("--all-claims")
    assert all(rule["origin"] != "list:wrong" for rule in claims)


def test_a_change_comes_by_notify_and_ixfr_and_counters_stay(site: Site) -> None:
    assert site.is_blocked("one.example")
    site.primary.update(
        f"add worse.example.{ZONE}. 60 CNAME rpz-drop.", f"delete two.example.{ZONE}. CNAME"
    )
    eventually(lambda: site.is_blocked("worse.example"), "worse.example is blocked", 10)
    site.wait_serial()
    assert not site.is_blocked("two.example")
    metrics = site.service.metrics()
    assert metrics.sum("xdpctl_list_transfers_total", list="block", kind="ixfr", result="good")
    assert metrics.sum("xdpctl_list_notifies_total", result="taken") >= 1
    hits = [rule["hits"] for rule in site.service.rules() if rule["target"] == "one.example"]
    assert hits[0] > 0
    history = site.service.verb("history", "--json").stdout
    assert '"list:block"' in history


def test_a_zone_comes_over_tls_and_a_notify_brings_what_changes(site: Site) -> None:
    site.wait("secure", lambda listed: listed["rules"])
    assert site.is_blocked("secret.example")
    site.secure.update(f"add hidden.example.{SECURE}. 60 CNAME rpz-drop.")
    eventually(lambda: site.is_blocked("hidden.example"), "hidden.example is blocked", 10)
    metrics = site.service.metrics()
    assert metrics.sum("xdpctl_list_transfers_total", list="secure", kind="ixfr", result="good")


def test_a_wildcard_that_comes_and_goes_is_what_the_whole_zone_would_say(site: Site) -> None:
    site.primary.update(f"add *.evil.example.{ZONE}. 60 CNAME rpz-drop.")
    eventually(lambda: site.is_blocked("x.evil.example"), "the wildcard", 10)
    site.primary.update(f"add a.b.evil.example.{ZONE}. 60 CNAME rpz-drop.")
    eventually(lambda: site.is_blocked("a.b.evil.example"), "a name in it", 10)
    site.wait_serial()
    assert not site.is_blocked("b.evil.example")
    assert not site.is_blocked("c.b.evil.example")
    assert site.is_blocked("c.evil.example")
    site.primary.update(f"delete a.b.evil.example.{ZONE}. CNAME")
    eventually(lambda: site.is_blocked("c.b.evil.example"), "the wildcard alone", 10)


def test_a_client_is_exempt_from_everything_while_the_zone_says_so(site: Site) -> None:
    owner = f"32.9.2.0.192.rpz-client-ip.{ZONE}."
    site.primary.update(f"delete {owner} CNAME", f"add {owner} 60 CNAME rpz-passthru.")
    site.wait_serial()
    assert "192.0.2.9" in site.service.verb("limits", "--json").stdout
    site.service.verb("block", "192.0.2.9", "--force")
    assert not site.is_blocked("bad.example", "192.0.2.9")
    site.primary.update(f"delete {owner} CNAME")
    eventually(lambda: site.is_blocked("free.example", "192.0.2.9"), "no exemption", 10)
    site.service.verb("unblock", "192.0.2.9")


def test_a_rule_ends_with_its_records_ttl_where_the_list_says_so(site: Site) -> None:
    site.primary.update(f"add soon.example.{ZONE}. 3 CNAME rpz-drop.")
    eventually(lambda: site.is_blocked("soon.example"), "soon.example is blocked", 10)
    site.wait_serial()

    def claims() -> set[str]:
        rules = site.service.rules("--all-claims")
        return {rule["origin"] for rule in rules if rule["target"] == "soon.example"}

    eventually(lambda: claims() == {"list:block"}, "the end of list:timed's claim", 15)


def test_a_version_that_shrank_waits_for_an_operator(site: Site) -> None:
    gone = [f"delete n{n}.shrink.example.{ZONE}. CNAME" for n in range(60)]
    site.primary.update(
        *(line.replace("delete", "add").replace("CNAME", "60 CNAME rpz-drop.") for line in gone)
    )
    site.wait_serial()
    site.primary.update(*gone)
    listed = site.wait("block", lambda listed: listed["error"])
    assert "`xdpctl lists accept block` takes it over" in listed["error"]
    assert site.is_blocked("n1.shrink.example")
    accepted = site.service.verb("lists", "accept", "block")
    assert accepted.returncode == 0, accepted.stderr
    assert not site.is_blocked("n1.shrink.example")
    assert site.lists()["block"]["error"] is None


def test_after_a_kill_it_starts_without_its_primary_with_all_that_it_had(site: Site) -> None:
    before = {rule["target"] for rule in site.service.rules() if rule["origin"] == "list:block"}
    assert "worse.example" in before
    site.primary.stop()
    site.service.stop(signal.SIGKILL)
    site.service = Service(site.server)
    assert site.is_blocked("worse.example")
    after = {rule["target"] for rule in site.service.rules() if rule["origin"] == "list:block"}
    assert after == before
    site.primary.start()
    refreshed = site.service.verb("lists", "refresh", "block")
    assert refreshed.returncode == 0, refreshed.stderr


def test_a_list_that_leaves_the_settings_takes_its_rules_and_its_file_with_it(site: Site) -> None:
    folder = site.lab.directory / "feeds" / f"{site.server.name}.db"
    assert len(list(folder.glob("*.zone"))) == 3
    site.lab.write("xdpctl.toml", site.text.partition("[[list]]")[0])
    site.service.process.send(signal.SIGHUP)
    eventually(lambda: not list(folder.iterdir()), "the files go", 20)
    eventually(lambda: not site.service.rules("--all-claims"), "the rules go", 20)
    assert not site.is_blocked("bad.example")
