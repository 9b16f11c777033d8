"""What is blocked stays blocked, however it is sent, also through a plain Linux router.

A router takes off what it does not pass on (tags, trailers) and leaves fragments and
extension headers as they are: this is what reaches servers from the Internet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab import Lab
from tests.lab.authorities import KINDS
from tests.net.evasion_site import HONEST, ROUTED, RULES, attack, report, routed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.net.evasion_site import Attack

pytestmark = [pytest.mark.root, pytest.mark.slow]

ALL = {kind.name for kind in KINDS}

PASSED_ON = {
    ("plain", 4): ALL,
    ("plain", 6): ALL,
    ("root is a pointer to the header's octet 4", 4): {"bind"},
    ("IPv6: 8 x destination options", 6): ALL,
    ("3 x VID 0 in 0x8100", 4): ALL,
    ("two fragments at 24", 4): ALL,
    ("two fragments at 24", 6): ALL,
    ("two fragments at 24, reversed", 6): ALL,
    ("a first fragment of 8 k + 7 octets, the 7 lie", 4): ALL,
    ("two options, cut at 8", 6): ALL,
    ("two options, cut at 8, reversed", 6): ALL,
    ("two options, cut at 8, behind hop-by-hop", 6): ALL,
    ("ten options, cut at 32", 6): ALL,
}
"""Who takes a shape that came through the router."""


@pytest.fixture(scope="module")
def attacked() -> Iterator[Attack]:
    with Lab() as lab:
        yield attack(routed(lab), [RULES[name] for name in ROUTED])


def test_without_the_filter_the_servers_take_what_evades(attacked: Attack) -> None:
    servers = attacked.before["longer name"].servers() | attacked.before["name"].servers()
    assert {shape: servers.get(shape, set()) for shape in PASSED_ON} == PASSED_ON


@pytest.mark.parametrize("rule", ROUTED)
def test_no_shape_gets_what_is_blocked(attacked: Attack, rule: str) -> None:
    outcome = attacked.behind[rule]
    assert outcome.trials
    assert report(outcome.answered) == ""


@pytest.mark.parametrize("rule", ["source", "source over TCP"])
def test_a_dropped_source_hears_nothing(attacked: Attack, rule: str) -> None:
    assert report(attacked.behind[rule].replies) == ""


def test_who_is_honest_is_answered_by_every_server(attacked: Attack) -> None:
    servers = attacked.behind["honest"].servers()
    sent = {(shape.name, version) for shape in HONEST.shapes for version in shape.versions}
    assert servers == dict.fromkeys(sent, ALL)
