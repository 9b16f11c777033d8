"""The kinds of published lists with the real service: what is blocked, and what is said.

One list is followed; each case is another version of its file, read by `xdpctl lists refresh`,
which returns when its rules are in force.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab import Lab, Responder, Service, dig

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator


pytestmark = pytest.mark.root

PACKED = gzip.compress(b"packed.example\n", mtime=0)
HEAD = "$TTL 30\n@ SOA a. b. 1 2 3 4 5\n NS localhost.\n"
SPAMHAUS = '{"cidr":"198.51.100.0/24","sblid":"SBL1"}\n{"type":"metadata","records":1}\n'


class Site:
    """A service that follows one list, and a client."""

    def __init__(self, lab: Lab) -> None:
        self.client, self.server = lab.pair()
        self.list = lab.directory / "feed.txt"
        self.put("first.example\n")
        lab.write("xdpctl.toml", f'[[list]]\nfile = "{self.list}"\nmax-shrink = "50%"\n')
        Responder(self.server)
        self.service = Service(self.server)
        self.read("refresh")

    def put(self, content: str | bytes) -> None:
        """Rename a new version into place."""
        new = self.list.with_name(".new")
        new.write_bytes(content.encode() if isinstance(content, str) else content)
        new.rename(self.list)

    def read(self, what: str) -> subprocess.CompletedProcess[str]:
        return self.service.verb("lists", what, "feed.txt")

    def listed(self) -> dict[str, Any]:
        document = json.loads(self.service.verb("lists", "--json").stdout)
        found: dict[str, Any] = document["lists"][0]
        return found

    def is_blocked(self, name: str = "free.example", source: str = "192.0.2.1") -> bool:
        return not dig(self.client, name, "A", "+tries=2", source=source).arrived


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        yield Site(lab)


@pytest.mark.parametrize(
    ("content", "form", "blocked", "free"),
    [
        ("# wild\n*.ads.example\n", "targets", "x.ads.example", "ads.example"),
        ("# dnsmasq\nlocal=/ads.example/\n", "dnsmasq", "x.ads.example", "ads2.example"),
        ("||ads.example^\nexample.org##.b\n", "adblock", "x.ads.example", "example.org"),
        ('server:\nlocal-zone: "ads.example" static\n', "unbound", "x.ads.example", "x.example"),
        ("127.0.0.1 localhost\n::0 a.example\n", "hosts", "a.example", "localhost"),
        (HEAD + "bad.example CNAME .\n", "rpz", "bad.example", "x.bad.example"),
        (
            gzip.compress(b"packed.example\n", mtime=0),
            "targets",
            "packed.example",
            "x.packed.example",
        ),
    ],
)
def test_a_list_of_names_blocks_what_its_format_says(
    site: Site, content: str | bytes, form: str, blocked: str, free: str
) -> None:
    site.put(content)
    answer = site.read("accept")
    assert answer.returncode == 0, answer.stderr
    assert f"read as {form}" in answer.stdout
    assert site.is_blocked(blocked)
    assert not site.is_blocked(free)


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ("# x\n192.0.2.66#note\n", "targets"),
        ("::ffff:192.0.2.66\n", "targets"),
        ("192.0.2.64/26 ; SBL1\n", "targets"),
        ("# ipsum\n192.0.2.66\t9\n192.0.2.67\t8\n", "first-column"),
        (SPAMHAUS.replace("198.51.100.0", "192.0.2.0"), "json"),
    ],
)
def test_a_list_of_sources_blocks_what_its_format_says(site: Site, content: str, form: str) -> None:
    site.put(content.replace("192.0.2.0/24", "192.0.2.64/26"))
    assert f"read as {form}" in site.read("accept").stdout
    assert site.is_blocked(source="192.0.2.66")
    assert not site.is_blocked(source="192.0.2.1")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "it is empty"),
        ("# nothing\n", "it has no rule"),
        ("192.0.2.1", "has no end"),
        ("<!DOCTYPE html>\n<p>404\n", "a page of HTML"),
        (gzip.compress(b"a.example\n", mtime=0)[:-8], "not complete"),
        ("192.0.2.*\n", "'192.0.2.*'"),
        ("kept1.example\n", "max-shrink (50%)"),
        ("x" * 20_000 + "\n", "longer than any name"),
    ],
)
def test_a_version_that_is_not_taken_over_leaves_the_former_in_force(
    site: Site, content: str | bytes, why: str
) -> None:
    site.put("kept1.example\nkept2.example\nkept3.example\n")
    assert site.read("accept").returncode == 0
    site.put(content)
    refused = site.read("refresh")
    assert refused.returncode == 1
    assert why in refused.stderr
    assert len(refused.stderr) < 600
    assert site.is_blocked("kept3.example")
    assert why in site.listed()["error"]
    assert why in site.service.verb("status").stdout
    assert site.service.metrics().sum("xdpctl_list_up", list="feed.txt") == 0
    assert site.service.metrics().sum("xdpctl_list_rules", list="feed.txt") == 3


def test_a_comment_is_the_reason_that_is_listed(site: Site) -> None:
    site.put("203.0.113.0/24 ; SBL256894\n")
    site.read("accept")
    (rule,) = site.service.rules("--origin", "list:feed.txt")
    assert (rule["target"], rule["reason"]) == ("203.0.113.0/24", "SBL256894")
    found = site.listed()
    assert (found["rules"], found["error"], found["format"]) == (1, None, "targets")
    assert found["last_success"] < found["next"]
    metrics = site.service.metrics()
    assert metrics.sum("xdpctl_list_up", list="feed.txt") == 1
    assert (
        metrics.sum("xdpctl_list_last_success_timestamp_seconds", list="feed.txt")
        == found["last_success"]
    )


def test_import_reads_what_a_list_reads_and_replaces_nothing_by_nothing(site: Site) -> None:
    path = site.list.with_name("hosts.gz")
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf127.0.0.1 localhost\r\n0 a.imported # x\r\n"))
    done = site.service.verb("import", str(path))
    assert done.stdout == "file:hosts.gz: 1 rule made; read as hosts\n"
    assert site.is_blocked("a.imported")
    path.write_bytes(b"")
    refused = site.service.verb("import", "--replace", str(path))
    assert refused.returncode == 1
    assert "--yes" in refused.stderr
    assert site.is_blocked("a.imported")
    assert site.service.verb("import", "--replace", "--yes", str(path)).returncode == 0
    assert not site.is_blocked("a.imported")


@pytest.mark.parametrize("text", ["txt", "192.0.2.*", "0x7f000001", "a/b", "127.1", "1-9"])
def test_what_cannot_match_is_refused(site: Site, text: str) -> None:
    done = site.service.verb("block", "amplify.example", text)
    assert (done.returncode, done.stdout) == (1, "")
    assert repr(text) in done.stderr
    assert not site.is_blocked("amplify.example")


def test_what_was_made_is_named(site: Site) -> None:
    done = site.service.verb("block", "amplify.example", "::ffff:192.0.2.66")
    assert done.stdout == "drop: amplify.example (every type), 192.0.2.66\n"
    assert site.is_blocked(source="192.0.2.66")
    assert site.service.verb("unblock", "amplify.example", "192.0.2.66").returncode == 0
