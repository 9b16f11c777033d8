"""dnsdist's dynamic blocks on the card: dnsdist 1.7.3, 1.9.16 and 2.1.3, read by the service."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.lab import Lab, Service, dig, eventually
from tests.net.dynamic_site import (
    ALONE,
    IN_SUBNET,
    URL,
    VERSIONS,
    DynamicSite,
    Flood,
    dynamic_site,
)
from xdpctl.feeds.dnsdist.ledger import TRUST_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.slow]

NAMES = """
addDynBlockSMT({"evil.example."}, "bad name", 60, DNSAction.Truncate)
addDynBlockSMT({"nx.example."}, "nx", 60, DNSAction.Nxdomain)
"""

SECONDS = 6
"""How long dnsdist blocks who floods."""

_INSERTED = re.compile(
    r'Inserting (?:eBPF )?dynamic (?!.*warning_rule="1").*(192\.0\.2\.66|203\.0\.113\.0)'
)
"""Log lines of dnsdist about a new block, without those that only warn."""


@pytest.fixture(scope="module", params=VERSIONS)
def site(request: pytest.FixtureRequest) -> Iterator[DynamicSite]:
    with Lab() as lab:
        keys = ('hold = "1m"', "hold-rate = 20")
        yield dynamic_site(lab, request.param, *keys, seconds=SECONDS, lua=NAMES)


def origins(site: DynamicSite) -> list[str]:
    """Return who has a claim on the address that is blocked by itself, the one in force first."""
    rules = site.service.rules("--all-claims")
    claims: list[dict[str, str]] = next(
        (rule["claims"] for rule in rules if rule["target"] == ALONE), []
    )
    return [claim["origin"] for claim in claims]


def test_a_flood_does_not_come_back_while_its_block_is_held(site: DynamicSite) -> None:
    """Of an address, whose block dnsdist has in a map, and of a subnet, which it has not."""
    eventually(site.claims, "the claim of a name, for which a program is compiled", timeout=60)
    with Flood(site.client, 100, ALONE, IN_SUBNET):
        eventually(lambda: len(site.blocks()) == 4, "two blocks beside those of names", timeout=20)
        eventually(lambda: "203.0.113.0/24" in site.claims(), "a claim", timeout=20)
        eventually(lambda: origins(site) == ["dnsdist", "dnsdist-dynamic"], "a claim behind")
        eventually(
            lambda: site.service.metrics().sum("xdpctl_dnsdist_held") == 2,
            "the end of both blocks, which are held",
            timeout=20,
        )
        eventually(lambda: len(site.blocks()) == 2, "the end of the blocks in dnsdist")
        assert origins(site) == ["dnsdist-dynamic"]
        assert "203.0.113.0/24" in site.claims()
        blocked = _INSERTED.findall(site.dnsdist.process.text)
        assert sorted(blocked) == ["192.0.2.66", "203.0.113.0"]  # once each


def test_a_block_of_a_name_is_a_zone_until_dnsdist_ends_it(site: DynamicSite) -> None:
    eventually(lambda: site.claims().get(".evil.example"), "the claim of a name", timeout=30)
    assert site.claims()[".evil.example"] == "truncate"
    assert dig(site.client, "www.evil.example").retried
    metrics = site.service.metrics()
    assert metrics.sum("xdpctl_dnsdist_up", url=URL) == 1
    kinds = [
        metrics.sum("xdpctl_dnsdist_blocks", url=URL, kind=kind)
        for kind in ("suffix", "other-action")
    ]
    assert kinds == [1, 1]
    assert "1 with another action" in site.service.verb("status").stdout
    site.dnsdist.console("clearDynBlocks()")
    eventually(lambda: ".evil.example" not in site.claims(), "the end of the claim")


def test_claims_end_with_the_flood_or_run_out_when_dnsdist_is_gone(lab: Lab) -> None:
    site = dynamic_site(lab, "1.7", 'hold = "1m"', seconds=2, lua=NAMES.replace("60", "4"))
    with Flood(site.client, 100, IN_SUBNET):
        eventually(lambda: "203.0.113.0/24" in site.claims(), "a claim", timeout=30)
    site.dnsdist.process.kill()
    eventually(lambda: not site.claims(), "the end of the claims", timeout=30)
    warnings = site.service.verb("status").stdout
    assert f"cannot read the dynamic blocks of {URL}: no connection" in warnings
    assert site.service.metrics().sum("xdpctl_dnsdist_up") == 0


def test_a_start_ends_what_dnsdist_ended_while_no_service_ran(lab: Lab) -> None:
    """Also what is left of a dnsdist that is not read any more. A day's block lasts ten minutes."""
    site = dynamic_site(lab, "1.7", lua=NAMES.replace("60", "86400"))
    eventually(lambda: ".evil.example" in site.claims(), "a claim", timeout=60)
    (rule,) = site.service.rules("--origin", "dnsdist-dynamic")
    assert rule["expires_in"] <= TRUST_SECONDS
    site.service.stop(signal.SIGKILL)
    site.dnsdist.console("clearDynBlocks()")
    site.dnsdist.console('addDynBlockSMT({"b.example."}, "", 86400, DNSAction.Truncate)')
    site.service = Service(site.server)
    eventually(lambda: site.claims().keys() == {".b.example"}, "dnsdist's list", timeout=30)
    site.service.stop()
    (lab.directory / "xdpctl.toml").write_text("")
    site.service = Service(site.server)
    eventually(lambda: not site.claims(), "the end of all")
