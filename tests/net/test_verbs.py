"""The verbs as an operator types them, on a real service with real packets."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab import Responder, Service, dig, eventually
from tests.lab.hosts import PYTHON

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab import Host, Lab

pytestmark = pytest.mark.root

CLIENT = "192.0.2.1"


@dataclass
class Place:
    """A client, and a host with a DNS server and the service."""

    client: Host
    server: Host
    service: Service

    def say(self, *words: str) -> str:
        """Run a verb that succeeds, and return what it prints."""
        done = self.service.verb(*words)
        assert done.returncode == 0, (words, done)
        return done.stdout

    def document(self, *words: str) -> Any:  # noqa: ANN401 - JSON has no narrower type
        return json.loads(self.say(*words, "--json"))

    def changes(self, *words: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.document("history", *words)["changes"]
        return found

    def hits(self, target: str) -> int:
        return int(self.document("list", target)["rules"][0]["hits"])


@pytest.fixture
def place(lab: Lab) -> Place:
    client, server = lab.pair()
    Responder(server)
    return Place(client, server, Service(server))


def address_of(client: Host) -> str:
    """Return the address that the client's queries come from."""
    return client.v4


# --- test -------------------------------------------------------------------------------------


def test_a_test_agrees_with_what_happens_and_counts_nothing(place: Place) -> None:
    source = address_of(place.client)
    place.say("block", ".evil.example", "--reason", "a flood", "--for", "1h")
    place.say("block", "only.example", "--qtype", "TXT", "--action", "truncate")
    place.say("allow", "www.evil.example")
    for name, qtype, verdict, target in (
        ("a.evil.example", "A", "drop", ".evil.example"),
        ("www.evil.example", "A", "pass", "www.evil.example"),
        ("only.example", "TXT", "truncate", "only.example"),
        ("only.example", "A", "pass", None),
        ("www.example", "A", "pass", None),
    ):
        found = place.document("test", source, name, qtype)
        assert (found["verdict"], found["target"]) == (verdict, target), name
        answer = dig(place.client, name, qtype, "+ignore")
        assert answer.arrived == (verdict != "drop"), name
    rules = {rule["target"]: rule["hits"] for rule in place.service.rules()}
    assert rules == {".evil.example": 1, "www.evil.example": 1, "only.example": 1}
    place.service.counted(1, reason="zone", action="drop")
    place.service.counted(1, reason="qname", action="truncate")


def test_a_test_names_rule_origin_and_reason(place: Place) -> None:
    place.say("block", "203.0.113.0/24", "--reason", "ticket 4711")
    text = place.say("test", "203.0.113.9")
    assert text.startswith("drop: drop rule for 203.0.113.0/24, origin cli, book operator")
    assert "reason ticket 4711" in text


def test_a_test_of_a_list_says_so(place: Place, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("203.0.113.77\n*.listed.example\n")
    place.say("import", str(tmp_path / "bad"), "--origin", "list:bad")
    for words, reason, target in (
        (("203.0.113.77",), "list-source", "203.0.113.77"),
        (("203.0.113.78", "a.listed.example"), "list-name", "*.listed.example"),
    ):
        found = place.document("test", *words)
        assert (found["verdict"], found["reason"], found["target"]) == ("drop", reason, target)
        assert (found["origin"], found["book"]) == ("list:bad", "lists")


def test_a_test_during_a_panic_says_both(place: Place) -> None:
    place.say("block", "203.0.113.9")
    place.say("panic")
    found = place.document("test", "203.0.113.9")
    assert (found["verdict"], found["reason"], found["panic"]) == ("pass", "panic", True)
    assert (found["without_panic"], found["target"]) == ("drop", "203.0.113.9")


@pytest.mark.parametrize("words", [["evil.example"], ["192.0.2.0/24"], ["192.0.2.1", "a", "XX"]])
def test_what_cannot_be_tested_is_one_sentence(place: Place, words: list[str]) -> None:
    done = place.service.verb("test", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


# --- history ----------------------------------------------------------------------------------


def test_the_history_says_who_what_and_the_hits_over_a_restart(place: Place) -> None:
    place.say("block", "www.bad.example", "--reason", "a flood")
    assert not dig(place.client, "www.bad.example").arrived
    place.say("unblock", "www.bad.example")
    assert place.service.stop() == 0
    place.service = Service(place.server)
    made, removed = place.changes("www.bad.example")
    assert (made["verb"], made["reason"], made["origin"]) == ("block", "a flood", "cli")
    assert (removed["verb"], removed["hits"]) == ("unblock", 1)
    assert (removed["who"]["uid"], removed["who"]["command"]) == (os.getuid(), "xdpctl")
    assert removed["who"]["pid"] > 1


def test_an_expiry_is_written_down_with_its_hits(place: Place) -> None:
    place.say("block", "www.bad.example", "--for", "2s")
    assert not dig(place.client, "www.bad.example").arrived
    eventually(lambda: len(place.changes()) == 2, "the expiry")
    expired = place.changes()[-1]
    assert (expired["verb"], expired["target"], expired["hits"]) == (
        "expire", "www.bad.example", 1,
    )  # fmt: skip
    assert expired["who"] == dict.fromkeys(("uid", "pid", "command", "token", "address"))
    place.service.process.line("rule-expired target=www.bad.example .*hits=1 .*by=service")


def test_a_long_import_is_one_row(place: Place, tmp_path: Path) -> None:
    (tmp_path / "many").write_text("".join(f"n{n}.listed.example\n" for n in range(20_000)))
    place.say("import", str(tmp_path / "many"), "--origin", "list:many", "--replace", "--yes")
    place.say("import", "/dev/null", "--origin", "list:many", "--replace", "--yes")
    made, removed = place.changes()
    assert (made["verb"], made["count"], made["detail"]) == ("replace", 20_000, "20000 made")
    assert (removed["count"], removed["hits"]) == (20_000, 0)
    assert made["target"] is None


def test_every_change_by_hand_is_one_log_line(place: Place) -> None:
    place.say("block", "192.0.2.200", "192.0.2.201")
    place.say("allow", "192.0.2.202")
    place.say("unblock", "192.0.2.200")
    place.say("flush", "--yes")
    place.say("panic")
    place.say("resume")
    place.say("detach")
    place.say("attach")
    lines = [line for line in place.service.process.lines if "command=xdpctl" in line]
    assert [line.split()[2] for line in lines] == [
        "rule-blocked", "rule-blocked", "rule-allowed", "rule-removed", "rules-flushed", "panic",
        "resumed", "detached", "attached-again",
    ]  # fmt: skip
    assert all(f"uid={os.getuid()} pid=" in line for line in lines)


def test_a_start_in_a_panic_warns(place: Place) -> None:
    place.say("panic")
    assert place.service.stop() == 0
    place.service = Service(place.server)
    place.service.process.line("warning .*panic is on since before this start")


# --- list, status, attach, a dead service -----------------------------------------------------


def test_a_target_is_listed_with_what_contains_it(place: Place) -> None:
    place.say("block", "203.0.113.9", "203.0.113.0/24", "198.51.100.9")
    assert [rule["target"] for rule in place.document("list", "203.0.113.9")["rules"]] == [
        "203.0.113.9"
    ]
    found = place.document("list", "203.0.113.9", "--contains")["rules"]
    assert [rule["target"] for rule in found] == ["203.0.113.9", "203.0.113.0/24"]
    assert place.document("list", "203.0.113.77")["rules"] == []


def test_the_most_hit_rule_comes_first(place: Place) -> None:
    place.say("block", "a.example", "b.example")
    assert not dig(place.client, "b.example").arrived
    found = place.document("list", "--sort", "hits", "--limit", "1")["rules"]
    assert [(rule["target"], rule["hits"]) for rule in found] == [("b.example", 1)]


def test_status_has_rates(place: Place) -> None:
    def measured() -> bool:
        dig(place.client, "www.example")
        (interface,) = place.document("status")["interfaces"]
        return any((counter["rate"] or 0) > 0 for counter in interface["counters"])

    eventually(measured, "a rate above 0")
    assert " packets: " in place.say("status")


def test_detach_then_attach_filters_again(place: Place) -> None:
    place.say("block", "www.bad.example")
    place.say("detach")
    assert dig(place.client, "www.bad.example").arrived
    assert "the filter is not on" in place.say("resume")
    assert "`xdpctl attach`" in place.say("status")
    assert place.say("attach").startswith("attached to ")
    assert not dig(place.client, "www.bad.example").arrived
    assert place.say("resume") == "nothing to do: panic is not on\n"


@pytest.mark.parametrize("verb", [["panic"], ["list"], ["status"]])
def test_a_killed_service_is_said_to_have_left_its_filter(place: Place, verb: list[str]) -> None:
    place.service.process.kill()
    words = (PYTHON, "-m", "xdpctl", *verb, "--control", str(place.service.control))
    done = place.server.run(*words, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert "its filter is still on" in done.stderr
    assert "`xdpctl detach` takes it off" in done.stderr
    detach = (*words[:3], "detach", "--control", str(place.service.control))
    assert place.server.run(*detach).returncode == 0
    assert "its filter" not in place.server.run(*words, check=False).stderr


def test_a_wrong_token_is_one_line(lab: Lab, tmp_path: Path) -> None:
    _, server = lab.pair()
    (tmp_path / "api-token").write_text("a-right-token-of-some-length")
    (tmp_path / "api-token").chmod(0o600)
    service = Service(server, "--token-file", str(tmp_path / "api-token"))
    for token in ("a-wrong-token-of-some-length", "a-right-token-of-some-length"):
        server.run(
            "curl", "-s", "-H", f"Authorization: Bearer {token}", "-X", "POST", "-d",
            '{"target": "203.0.113.9"}', "http://127.0.0.1:9953/api/v1/rules",
        )  # fmt: skip
    service.process.line("warning token-refused address=127.0.0.1 method=POST")
    service.process.line("rule-blocked target=203.0.113.9 .*by_token=api-token")
    assert "a-wrong" not in service.process.text


def test_the_page_at_the_root_has_links(place: Place) -> None:
    page = place.service.get("/")
    assert page.status == 200
    assert 'href="metrics"' in page.body
    assert "process_resident_memory_bytes" in place.service.get("/metrics").body
