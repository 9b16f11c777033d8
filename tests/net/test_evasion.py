"""What is blocked stays blocked, however it is sent: five real servers on the filter's wire.

Every shape of tests/evasion goes to every server over IPv4 and IPv6, first without the
filter, so that it is seen which shapes a server takes at all.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from tests.evasion.table import SHAPES
from tests.lab import Lab
from tests.lab.authorities import KINDS
from tests.net.evasion_site import (
    BESIDE,
    DROPPED,
    GOOD,
    HONEST,
    LET_GO,
    RULES,
    VERSIONS,
    attack,
    direct,
    report,
)
from tests.packets.message import query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.net.evasion_site import Attack

pytestmark = [pytest.mark.root, pytest.mark.slow]

ALL = {kind.name for kind in KINDS}
UDP_SEGMENT = 103
"""Socket option: one send() is cut into datagrams of so many octets."""

TAKEN = {
    ("plain", 4): ALL,
    ("plain", 6): ALL,
    ("in capitals", 4): ALL,
    ("root is a pointer to the header's octet 4", 4): {"bind"},
    ("root is a pointer to the header's octet 4", 6): {"bind"},
    ("IPv4 options: ten words of no-operation", 4): ALL,
    ("IPv6: 6 x destination options", 6): ALL,
    ("IPv6: 8 x destination options", 6): ALL,
    ("IPv6: an atomic fragment", 6): ALL,
    ("2 x VID 0 in 0x8100", 4): ALL,
    ("3 x VID 0 in 0x8100", 6): ALL,
    ("8 x VID 0 in 0x88a8 and 0x8100", 4): ALL,
    ("two fragments at 8", 4): ALL,
    ("two fragments at 24", 4): ALL,
    ("two fragments at 24", 6): ALL,
    ("two fragments at 24, reversed", 4): ALL,
    ("two fragments at 24, reversed", 6): ALL,
    ("a first fragment of 8 k + 7 octets, the 7 lie", 4): ALL,
    ("a harmless name behind the IP length, 24 octets", 4): ALL,
    ("a harmless name behind the IP length, 24 octets", 6): ALL,
    ("a response behind the IP length, 8 octets", 4): ALL,
    ("two options, cut at 8", 6): ALL,
    ("two options, cut at 8, reversed", 6): ALL,
    ("two options, cut at 8 and 16", 6): ALL,
    ("ten options, cut at 32", 6): ALL,
}
"""Who takes a shape, by shape and version: what Linux and the five servers make of it."""


TAKEN_IN_A_ZONE = {
    (text, version): ALL
    for version in VERSIONS
    for text in (
        "plain",
        "1 labels in front",
        "16 labels in front",
        "17 labels in front",
        "as many labels in front as fit",
        "the longest labels in front that fit",
        "the zone itself in front, eight times",
        "a label of zeros in front",
        "a label that looks like a pointer in front",
        "an asterisk in front",
        "16 labels in front, in capitals",
        "100 labels in front, two fragments at 24",
    )
}
"""The same of names below a zone."""


@pytest.fixture(scope="module")
def attacked() -> Iterator[Attack]:
    with Lab() as lab:
        yield attack(direct(lab), RULES.values())


def test_without_the_filter_the_servers_take_what_evades(attacked: Attack) -> None:
    servers = attacked.before["longer name"].servers() | attacked.before["name"].servers()
    assert {shape: servers.get(shape, set()) for shape in TAKEN} == TAKEN


def test_without_the_filter_the_servers_answer_names_below_a_zone(attacked: Attack) -> None:
    servers = attacked.before["zone"].servers()
    assert {shape: servers.get(shape, set()) for shape in TAKEN_IN_A_ZONE} == TAKEN_IN_A_ZONE


@pytest.mark.parametrize("rest", [4, 5, 6, 7])
def test_without_the_filter_the_servers_take_what_lies_about_the_type(
    attacked: Attack, rest: int
) -> None:
    servers = attacked.before["name of one type"].servers()
    assert servers[f"a first fragment of 8 k + {rest} octets, the {rest} lie", 4] == ALL


def test_without_the_filter_most_shapes_are_answered_by_a_server(attacked: Attack) -> None:
    answered = {shape for shape, _ in attacked.before["name"].servers()}
    assert len(answered) > len(SHAPES) * 0.4


def test_without_the_filter_sources_reach_every_server_over_tcp(attacked: Attack) -> None:
    servers = attacked.before["source over TCP"].servers()
    assert servers["2 x VID 0 in 0x8100", 4] == servers["two fragments at 24", 6] == ALL


@pytest.mark.parametrize("rule", RULES)
def test_no_shape_gets_what_is_blocked(attacked: Attack, rule: str) -> None:
    outcome = attacked.behind[rule]
    assert outcome.trials
    assert report(outcome.answered) == ""


@pytest.mark.parametrize("rule", ["source", "source over TCP"])
def test_a_dropped_source_hears_nothing(attacked: Attack, rule: str) -> None:
    assert report(attacked.behind[rule].replies) == ""


@pytest.mark.parametrize("rule", ["name", "zone", "zone itself", "below a zone"])
def test_a_blocked_name_is_refused_by_no_server_whatever_the_opcode(
    attacked: Attack, rule: str
) -> None:
    """A flood would only have to say OPCODE 2; NOTIFY and UPDATE are not for names."""
    heard = report(
        trial
        for trial in attacked.behind[rule].replies
        if "OPCODE" in trial.shape and trial.shape not in ("OPCODE 4", "OPCODE 5")
    )
    assert heard == ""


def test_of_a_truncated_source_only_notify_and_update_reach_a_server(attacked: Attack) -> None:
    reached = attacked.behind["truncated source"].where(lambda reply: not reply.is_truncated)
    assert {trial.shape for trial in reached} <= {"OPCODE 4", "OPCODE 5"}


@pytest.mark.parametrize("rule", ["truncated name", "truncated source"])
def test_the_filters_answer_is_never_longer_than_the_question(attacked: Attack, rule: str) -> None:
    replies = attacked.behind[rule].replies
    truncated = {
        trial: reply.size
        for trial, heard in replies.items()
        for reply in heard
        if reply.is_truncated
    }
    assert {trial.version for trial in truncated} == {4, 6}
    assert report(trial for trial, size in truncated.items() if size > trial.size) == ""


@pytest.mark.parametrize("rule", [HONEST.name, BESIDE.name])
def test_who_is_honest_is_answered_by_every_server(attacked: Attack, rule: str) -> None:
    servers = attacked.behind[rule].servers()
    sent = {(shape.name, version) for shape in HONEST.shapes for version in shape.versions}
    assert {shape for shape, _ in sent} == LET_GO
    assert servers == dict.fromkeys(sent, ALL)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_batch_of_datagrams_is_judged_one_by_one(attacked: Attack, version: int) -> None:
    """One send() with UDP_SEGMENT: four datagrams, of which two ask for what is blocked."""
    batch = [query(name, ident=at) for at, name in enumerate((GOOD, DROPPED) * 2)]
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    heard = {}
    for server in attacked.site.servers:
        with attacked.site.client.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((server.address(version), 53))
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(batch[0]))
            sock.send(b"".join(batch))
            heard[server.name] = idents(sock)
    assert heard == {name: {0, 2} for name in ALL}


def idents(sock: socket.socket) -> set[int]:
    """Return the IDs of the messages that arrive, two at least, until none does for a while."""
    heard: set[int] = set()
    with contextlib.suppress(TimeoutError):
        while True:
            sock.settimeout(5 if len(heard) < 2 else 0.5)
            heard.add(int.from_bytes(sock.recv(4096)[:2]))
    return heard


def test_every_server_lives(attacked: Attack) -> None:
    ended = {server.name: server.process.status for server in attacked.site.servers}
    assert ended == dict.fromkeys(ALL)
