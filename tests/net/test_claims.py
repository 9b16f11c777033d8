"""Several say something about one target: with real lists, dnsdist, jails, packets and SIGKILL."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab import Lab, Service, dig, eventually
from tests.net.site import DROPPED, SERVER, Site, site_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.slow]

ADDRESS, NAME = DROPPED[4], "shared.example"
ON, OFF = f'bpf:block(newCA("{ADDRESS}"), 1)', f'bpf:unblock(newCA("{ADDRESS}"))'
JAILS = ("app:fail2ban/sshd", "app:fail2ban/recidive")


@pytest.fixture
def lists(tmp_path: Path) -> dict[str, Path]:
    """Two files of lists, a and b."""
    files = {name: tmp_path / name for name in "ab"}
    for file in files.values():
        file.write_text(f"# a list\n{ADDRESS}\n{NAME}\n192.0.2.200\n192.0.2.201\n")
    return files


@pytest.fixture
def site(lists: dict[str, Path], tmp_path: Path) -> Iterator[Site]:
    """A site whose service reads both lists, and a dnsdist that blocks nothing yet."""
    config = tmp_path / "xdpctl.toml"
    config.write_text("".join(f'[[list]]\nfile = "{file}"\n' for file in lists.values()))
    with Lab() as lab:
        made = site_in(lab, "--config", str(config), blocks="")
        eventually(lambda: force(made, NAME) is not None, "the lists")
        yield made


def rule_for(site: Site, target: str) -> dict[str, Any] | None:
    """Return the rule that is in force for a target."""
    return next((rule for rule in site.service.rules() if rule["target"] == target), None)


def force(site: Site, target: str = ADDRESS) -> str | None:
    """Return whose claim on a target is in force."""
    rule = rule_for(site, target)
    return None if rule is None else str(rule["origin"])


def claimants(site: Site, target: str = ADDRESS) -> list[str]:
    """Return who has a claim on a target, the one in force first."""
    rule = rule_for(site, target)
    return [] if rule is None else [claim["origin"] for claim in rule["claims"]]


def verb(site: Site, *words: str) -> str:
    """Run a verb that must do what it is asked; return what it says."""
    done = site.service.verb(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def passes(site: Site, name: str = "www.example", source: str = ADDRESS) -> bool:
    """Tell whether a query is answered."""
    return dig(site.client, name, server=SERVER[4], source=source).arrived


def test_what_one_list_lets_go_another_still_blocks(site: Site, lists: dict[str, Path]) -> None:
    (first,) = {force(site), force(site, NAME)}
    assert first in {"list:a", "list:b"}
    other = "b" if first == "list:a" else "a"
    lists[first.removeprefix("list:")].write_text("# a list\n192.0.2.200\n192.0.2.201\n")
    eventually(lambda: force(site) == f"list:{other}", "the other list's claim")
    assert force(site, NAME) == f"list:{other}"
    assert not passes(site)
    assert not passes(site, NAME, source="192.0.2.1")


def test_what_dnsdist_lets_go_an_import_still_blocks(site: Site, tmp_path: Path) -> None:
    site.dnsdist.console(ON)
    assert force(site) == "dnsdist"
    file = tmp_path / "feed"
    file.write_text(f"{ADDRESS}\n192.0.2.99\n")
    assert "1 waiting behind dnsdist's entries" in verb(site, "import", str(file))
    assert claimants(site)[:2] == ["dnsdist", "file:feed"]
    site.dnsdist.console(OFF)
    eventually(lambda: force(site) == "file:feed", "the import's claim", timeout=2)
    assert not passes(site)


@pytest.mark.parametrize("said", ["block", "allow"])
def test_what_an_operator_says_for_a_time_gives_way_to_the_lists_again(
    site: Site, said: str
) -> None:
    for target in (ADDRESS, NAME):
        verb(site, said, target, "--for", "2s")
        assert force(site, target) == "cli"
    assert passes(site, NAME, source="192.0.2.1") == (said == "allow")
    eventually(lambda: force(site) != "cli" and force(site, NAME) != "cli", "the end")
    assert not passes(site)
    assert not passes(site, NAME, source="192.0.2.1")


def test_a_jail_lifts_its_own_ban_alone(site: Site) -> None:
    target = "192.0.2.77"
    for jail, seconds in zip(JAILS, ("600s", "604800s"), strict=True):
        verb(site, "block", target, "--origin", jail, "--for", seconds)
    assert force(site, target) == JAILS[1]
    said = verb(site, "unblock", target, "--origin", JAILS[1])
    assert f"{target} is still claimed by {JAILS[0]} (drop, ends in " in said
    assert force(site, target) == JAILS[0]
    verb(site, "unblock", target, "--origin", JAILS[0])
    assert rule_for(site, target) is None


def test_what_an_operator_allows_no_jail_bans(site: Site) -> None:
    target = DROPPED[4]
    verb(site, "allow", target)
    said = verb(site, "block", target, "--origin", JAILS[0])
    assert f"{target} stays allowed: the claim of cli (pass) is in force" in said
    assert passes(site)
    assert "app:fail2ban/sshd" in verb(site, "list", "--all-claims")


def test_saying_it_again_keeps_reason_and_end(site: Site) -> None:
    target = "192.0.2.78"
    verb(site, "block", target, "--for", "1h", "--reason", "ticket 4711")
    assert "as it was: drop, ends in" in verb(site, "block", target)
    rule = rule_for(site, target)
    assert rule is not None
    assert (rule["reason"], rule["expires_in"] > 3_000) == ("ticket 4711", True)
    assert "now without end (was ends in" in verb(site, "block", target, "--for", "forever")
    rule = rule_for(site, target)
    assert rule is not None
    assert (rule["reason"], rule["expires_in"]) == ("ticket 4711", None)


def test_claims_survive_the_service_being_killed(site: Site, tmp_path: Path) -> None:
    verb(site, "block", ADDRESS, "--origin", JAILS[0], "--for", "1h")
    verb(site, "allow", ADDRESS, "--for", "1h")
    before = claimants(site)
    assert before[:2] == ["cli", JAILS[0]]
    site.service.stop(signal.SIGKILL)
    site.service = Service(site.server, "--config", str(tmp_path / "xdpctl.toml"))
    eventually(lambda: claimants(site) == before, "the same claims")
    verb(site, "unblock", ADDRESS)
    assert claimants(site) == before[1:]
    assert not passes(site)
