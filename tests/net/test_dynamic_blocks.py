"""Beside a dnsdist that blocks by itself: its blocks and ours live and end beside each other.

dnsdist 1.7.3 with setQueryRate; the bursts are dig's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from tests.lab import Lab, dig, eventually
from tests.net.site import DROPPED, SERVER, TRUNCATED, Site, site_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

pytestmark = [pytest.mark.root, pytest.mark.slow]

versions = pytest.mark.parametrize("version", [4, 6])

SECONDS = 7
"""How long dnsdist blocks; it looks for what has expired every second."""

BLOCKS = f"""
setDefaultBPFFilter(bpf)
setDynBlocksPurgeInterval(1)
local dynamic = dynBlockRulesGroup()
dynamic:setQueryRate(30, 1, "too many", {SECONDS}, DNSAction.Drop)
function maintenance() dynamic:apply() end
"""

FLOODER, BLOCKED = DROPPED, TRUNCATED
"""Addresses of the client: one floods, the other is blocked by us."""


@pytest.fixture
def site() -> Iterator[Site]:
    with Lab() as lab:
        yield site_in(lab, blocks=BLOCKS)


def burst(site: Site, version: int, source: str, blocked: Callable[[], object]) -> None:
    """Send 200 queries with dig from one address, within a fraction of a second, or until blocked.

    dig waits a second for each answer that a block keeps from it.
    """
    batch = site.client.lab.write("burst", "www.example A\n" * 200)
    command = ("dig", "+tries=1", "+time=1", f"@{SERVER[version]}", "-b", source, "-f", str(batch))
    process = site.client.start("dig", *command)
    eventually(
        lambda: process.status is not None or blocked(),
        f"the end of a burst from {source}, or a block",
        timeout=20,
    )
    process.kill()


def rule_for(site: Site, target: str) -> dict[str, Any] | None:
    """Return the rule for a target, None while there is none."""
    return next((rule for rule in site.service.rules() if rule["target"] == target), None)


def flood_until(site: Site, version: int, blocked: Callable[[], T | None]) -> T:
    """Let the flooder send bursts until it is blocked; return what tells so."""

    def flood() -> T | None:
        burst(site, version, FLOODER[version], blocked)
        return blocked()

    return eventually(flood, "a dynamic block", timeout=30)


def block_by_dnsdist(site: Site, version: int) -> dict[str, Any]:
    """Let the flooder be blocked by dnsdist; return the rule that is listed then."""
    return flood_until(site, version, lambda: rule_for(site, FLOODER[version]))


def is_in_dnsdists_head(site: Site) -> bool:
    """Tell whether dnsdist itself has a dynamic block of the flooder."""
    return FLOODER[4] in site.dnsdist.console("showDynBlocks()")


def answers(site: Site, version: int, source: str) -> bool:
    """Tell whether a query from an address is answered."""
    return dig(site.client, "www.example", server=SERVER[version], source=source).arrived


def complaints(site: Site) -> list[str]:
    """Return the lines in which either side reports that something is wrong."""
    wrong = ("error", "exception", "table full", "fail", "traceback", "unable")
    return [
        line
        for process in (site.service.process, site.dnsdist.process)
        for line in process.lines
        if any(word in line.lower() for word in wrong)
    ]


@versions
def test_a_dynamic_block_is_listed_as_dnsdists_and_drops_and_is_counted(
    site: Site, version: int
) -> None:
    rule = block_by_dnsdist(site, version)
    assert (rule["origin"], rule["action"], rule["expires_in"]) == ("dnsdist", "drop", None)
    before = rule["hits"]
    assert not answers(site, version, FLOODER[version])
    again = rule_for(site, FLOODER[version])
    assert again is not None
    assert again["hits"] > before
    site.service.counted(again["hits"], reason=f"addr-v{version}", action="drop")
    assert answers(site, version, BLOCKED[version])
    assert complaints(site) == []


@versions
def test_it_ends_by_dnsdists_own_hand_and_the_client_is_answered_again(
    site: Site, version: int
) -> None:
    block_by_dnsdist(site, version)
    eventually(
        lambda: rule_for(site, FLOODER[version]) is None, "the end of dnsdist's block", timeout=30
    )
    assert answers(site, version, FLOODER[version])
    block_by_dnsdist(site, version)  # and it can be blocked again
    assert complaints(site) == []


@versions
def test_our_blocks_live_and_end_beside_dnsdists(site: Site, version: int) -> None:
    ours = BLOCKED[version]
    assert site.service.verb("block", ours, "--for", "1h").returncode == 0
    assert site.service.verb("block", "203.0.113.1", "other.example").returncode == 0
    block_by_dnsdist(site, version)
    assert not answers(site, version, ours)
    origins = {rule["target"]: rule["origin"] for rule in site.service.rules()}
    assert origins == {
        ours: "cli",
        "203.0.113.1": "cli",
        "other.example": "cli",
        FLOODER[version]: "dnsdist",
    }
    assert site.service.verb("block", ours, "--for", "1s").returncode == 0
    eventually(lambda: rule_for(site, ours) is None, "the end of our block")
    eventually(
        lambda: rule_for(site, FLOODER[version]) is None, "the end of dnsdist's block", timeout=30
    )
    assert answers(site, version, ours)
    assert answers(site, version, FLOODER[version])
    assert {rule["target"] for rule in site.service.rules()} == {"203.0.113.1", "other.example"}
    assert complaints(site) == []


def test_a_block_of_dnsdists_cannot_be_changed_by_ours(site: Site) -> None:
    block_by_dnsdist(site, 4)
    done = site.service.verb("unblock", FLOODER[4])
    assert done.returncode == 1
    done = site.service.verb("allow", FLOODER[4])
    assert done.returncode == 1
    assert complaints(site) == []


def test_what_we_block_first_stays_ours_when_dnsdist_would_block_it_too(site: Site) -> None:
    """It inserts only what is not there, and keeps its own block in its own head."""
    assert site.service.verb("allow", FLOODER[4]).returncode == 0
    flood_until(site, 4, lambda: is_in_dnsdists_head(site))  # our rule is there all the time
    rule = rule_for(site, FLOODER[4])
    assert rule is not None
    assert (rule["origin"], rule["action"]) == ("cli", "pass")
    eventually(
        lambda: not is_in_dnsdists_head(site),
        "the end of dnsdist's own block",
        timeout=30,
    )
    rule = rule_for(site, FLOODER[4])
    assert rule is not None
    assert rule["origin"] == "cli"
    assert complaints(site) == []
