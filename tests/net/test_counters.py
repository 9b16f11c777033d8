"""Every packet is counted once: dnsdist, `list` and /metrics agree with what was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab import Lab, dig, eventually
from tests.net.site import DROPPED, SERVER, TRUNCATED, Site, site_in

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root


@pytest.fixture
def site() -> Iterator[Site]:
    with Lab() as lab:
        yield site_in(lab)


def send_one_of_each(site: Site) -> None:
    """Send over UDP, for each version: passed, dropped and truncated by address and name."""
    for version in (4, 6):
        server = SERVER[version]
        for name, source in (
            ("www.example", None),
            ("dropped.example", None),
            ("truncated.example", None),
            ("www.example", DROPPED[version]),
            ("www.example", TRUNCATED[version]),
        ):
            dig(site.client, name, "A", "+ignore", server=server, source=source)


def test_metrics_count_every_query_under_its_reason(site: Site) -> None:
    send_one_of_each(site)
    metrics = site.service.counted(2, reason="addr-v6")
    counts = {
        (reason, action): metrics.packets(reason=reason, action=action)
        for reason in ("addr-v4", "addr-v6", "qname", "no-match")
        for action in ("pass", "drop", "truncate", "redirect")
    }
    assert {key: count for key, count in counts.items() if count} == {
        ("addr-v4", "drop"): 1,
        ("addr-v4", "truncate"): 1,
        ("addr-v6", "drop"): 1,
        ("addr-v6", "truncate"): 1,
        ("qname", "drop"): 2,
        ("qname", "truncate"): 2,
        ("no-match", "pass"): 2,
    }


def test_the_hits_of_each_entry_are_what_was_sent(site: Site) -> None:
    send_one_of_each(site)
    assert {rule["target"]: rule["hits"] for rule in site.service.rules()} == {
        "192.0.2.66": 1,
        "198.51.100.66": 1,
        "2001:db8::66": 1,
        "2001:db8:66::66": 1,
        "dropped.example": 2,
        "truncated.example": 2,
        "only-a.example": 0,
    }


def test_dnsdist_reads_the_same_hits(site: Site) -> None:
    send_one_of_each(site)
    stats = dict(
        line.rsplit(": ", 1)
        for line in site.dnsdist.console("bpf:getStats()").splitlines()
        if ": " in line
    )
    assert stats["192.0.2.66"] == "1"
    assert stats["[2001:db8::66]"] == "1"


def test_every_entry_of_dnsdist_is_listed_as_dnsdists(site: Site) -> None:
    assert {rule["origin"] for rule in site.service.rules()} == {"dnsdist"}


def test_the_map_gauges_say_how_full_the_maps_are(site: Site) -> None:
    expected = {"addr-v4": 2, "addr-v6": 2, "cidr4": 0, "cidr6": 0, "qnames": 3}

    def entries() -> dict[str, float]:
        metrics = site.service.metrics()
        return {name: metrics.sum("xdpctl_map_entries", map=name) for name in expected}

    assert eventually(lambda: entries() == expected, f"gauges of {expected}")


def test_the_capacity_gauges_are_the_sizes_of_the_maps(site: Site) -> None:
    metrics = site.service.metrics()
    names = ("addr-v4", "addr-v6", "cidr4", "cidr6", "qnames")
    assert {metrics.sum("xdpctl_map_capacity", map=name) for name in names} == {1024}


def test_bytes_are_those_of_the_frames(site: Site) -> None:
    """Ethernet 14, IPv4 20, UDP 8, DNS 12, w.example in wire form 11, type and class 4."""
    dig(site.client, "w.example", "A", "+noedns")
    metrics = site.service.counted(1, reason="no-match", action="pass")
    assert metrics.sum("xdpctl_bytes_total", reason="no-match", action="pass") == 69


def test_promtool_finds_no_fault_with_the_page(site: Site) -> None:
    page = site.server.lab.write("metrics", site.service.get("/metrics").body)
    done = site.server.run("sh", "-c", f"promtool check metrics < {page}", check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
