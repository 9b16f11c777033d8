"""`test`, `history`, `attach`, `resume`, an import that is ended: what is asked and said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fake_service import STATUS
from xdpctl.cli.main import main
from xdpctl.cli.verbs.test import report

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

TEST = "/api/v1/test"
SHOWS = "`xdpctl status` shows where the filter is\n"
HISTORY = "/api/v1/history"

DROPPED: dict[str, Any] = {
    "verdict": "drop",
    "reason": "cidr4",
    "target": "192.0.2.0/24",
    "qtype": None,
    "origin": "cli",
    "book": "operator",
    "limit": None,
    "action": "drop",
    "note": "a flood",
    "expires_in": 545,
    "hits": 1234,
    "panic": False,
    "without_panic": "drop",
    "interface": "eth0",
    "attached": True,
    "packet": {
        "source": "192.0.2.66",
        "destination": "192.0.2.53",
        "port": 53,
        "name": "www.example",
        "qtype": "A",
    },
}
PASSED = {
    **DROPPED, "verdict": "pass", "without_panic": "pass", "reason": "no-match", "target": None,
    "origin": None, "book": None, "action": None, "note": None, "expires_in": None, "hits": None,
}  # fmt: skip


def detached(*names: str) -> dict[str, Any]:
    """Return a status in which these interfaces are detached."""
    interfaces = [
        {
            **STATUS["interfaces"][0],
            "name": name,
            "state": "detached" if name in names else "attached",
        }
        for name in ("eth0", "eth1")
    ]
    return {**STATUS, "interfaces": interfaces}


# --- test -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        (["192.0.2.66"], {"address": "192.0.2.66"}),
        (["::1", "a.example"], {"address": "::1", "name": "a.example"}),
        (
            ["192.0.2.66", "a.example", "TXT", "-i", "eth1"],
            {"address": "192.0.2.66", "name": "a.example", "qtype": "TXT", "interface": "eth1"},
        ),
    ],
)
def test_address_name_and_type_are_asked_for(
    cli: CommandLine, service: FakeService, arguments: list[str], query: dict[str, str]
) -> None:
    service.answer("GET", TEST, DROPPED)
    assert cli("test", *arguments).status == 0
    assert dict(service.requests[0].query) == query


def test_the_rule_that_decides_is_named_with_origin_and_reason(
    cli: CommandLine, service: FakeService
) -> None:
    service.answer("GET", TEST, DROPPED)
    assert cli("test", "192.0.2.66", "www.example").output.splitlines() == [
        (
            "drop: drop rule for 192.0.2.0/24, origin cli, book operator, reason a flood,"
            " expires in 9m 5s, 1,234 hits"
        ),
        "query: www.example A from 192.0.2.66 to 192.0.2.53 port 53 on eth0",
    ]


def test_json_is_the_answer(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", TEST, DROPPED)
    assert json.loads(cli("test", "192.0.2.66", "--json").output) == DROPPED


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "pass: no rule matches"),
        ({"reason": "other"}, "pass: the filter does not act on such a packet"),
        ({"verdict": "drop", "without_panic": "drop", "reason": "malformed"}, "drop: the name"),
        ({"reason": "something-new"}, "pass: reason something-new"),
        ({"attached": False}, "but the filter is not on eth0, so every packet passes there"),
    ],
)
def test_what_no_rule_decides_says_why(changes: dict[str, Any], said: str) -> None:
    assert said in "\n".join(report({**PASSED, **changes}))


def test_a_panic_is_said_beside_what_would_be(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", TEST, {**DROPPED, "verdict": "pass", "reason": "panic", "panic": True})
    lines = cli("test", "192.0.2.66").output.splitlines()
    assert lines[0].startswith("drop: drop rule for 192.0.2.0/24")
    assert lines[-1] == "but PANIC is on: every packet passes until `xdpctl resume`"


def test_a_rule_of_a_type_names_it() -> None:
    typed = {**DROPPED, "target": "www.example", "qtype": "AAAA", "reason": "qname"}
    assert "drop rule for www.example AAAA" in next(report(typed))


def test_an_answer_that_cannot_be_is_explained() -> None:
    found = next(report({**DROPPED, "action": "truncate", "reason": "unanswerable"}))
    assert found.startswith("drop: truncate rule for")
    assert found.endswith("the query cannot be answered with TC=1, so it is dropped")


# --- history ----------------------------------------------------------------------------------


def change(**fields: object) -> dict[str, Any]:
    """Return a change as the service lists it."""
    plain: dict[str, Any] = dict.fromkeys(
        ("target", "qtype", "action", "origin", "hits", "reason", "detail")
    )
    who = dict.fromkeys(("uid", "pid", "command", "token", "address"))
    return {"time": 1_764_460_800.0, "who": who, "verb": "block", "count": 1, **plain, **fields}


def test_a_change_is_a_line_with_who_what_and_hits(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    person = {"uid": 0, "pid": 4711, "command": "xdpctl", "token": None, "address": None}
    remote = {"uid": None, "pid": None, "command": None, "token": "api", "address": "192.0.2.9"}
    changes = [
        change(
            verb="unblock", target="192.0.2.1", action="drop", origin="cli", hits=1234,
            who=person, reason="a flood",
        ),
        change(verb="import", origin="file:x", count=1_000_000, detail="5 made", who=remote),
        change(verb="expire", target="a.example", qtype="TXT", action="drop", origin="api"),
    ]  # fmt: skip
    service.answer("GET", HISTORY, {"changes": changes})
    titles, *rows = cli("history").output.splitlines()
    assert titles.split()[:3] == ["TIME", "WHO", "VERB"]
    assert "uid 0 xdpctl[4711]" in rows[0]
    assert rows[0].endswith("1,234  a flood")
    assert "token api" in rows[1]
    assert "1,000,000" in rows[1]
    assert "service" in rows[2]
    assert "TXT" in rows[2]


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        ([], {}),
        (["192.0.2.1"], {"target": "192.0.2.1"}),
        (["--since", "1h"], {"since": "1h"}),
        (["a.example", "--since", "7d"], {"target": "a.example", "since": "7d"}),
    ],
)
def test_target_and_time_are_asked_for(
    cli: CommandLine, service: FakeService, arguments: list[str], query: dict[str, str]
) -> None:
    service.answer("GET", HISTORY, {"changes": []})
    result = cli("history", *arguments)
    assert (result.status, dict(service.requests[0].query)) == (0, query)
    assert result.output.startswith("TIME ")


def test_the_history_is_one_json_document(cli: CommandLine, service: FakeService) -> None:
    document = {"changes": [change(target="192.0.2.1")]}
    service.answer("GET", HISTORY, document)
    assert json.loads(cli("history", "--json").output) == document


# --- attach, resume ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "asked", "answer", "said"),
    [
        ([], [], ["eth0", "eth1"], "attached to eth0, eth1\n"),
        (["-i", "eth1"], ["eth1"], ["eth1"], "attached to eth1\n"),
        ([], [], [], f"nothing to do: no interface was detached; {SHOWS}"),
        (["-i", "eth1"], ["eth1"], [], f"nothing to do: eth1 was not detached; {SHOWS}"),
    ],
)
def test_attach_says_where(  # noqa: PLR0913, PLR0917 - the case
    cli: CommandLine,
    service: FakeService,
    arguments: list[str],
    asked: list[str],
    answer: list[str],
    said: str,
) -> None:
    service.answer("POST", "/api/v1/attach", {"attached": answer})
    assert cli("attach", *arguments).output == said
    assert service.requests[0].body == {"interfaces": asked}


def test_a_resume_of_a_detached_filter_says_so(cli: CommandLine, service: FakeService) -> None:
    service.answer("POST", "/api/v1/resume", {"panic": False})
    service.answer("GET", "/api/v1/status", detached("eth0"))
    output = cli("resume").output
    assert "filtering again" not in output
    assert "the filter is not on eth0: nothing is filtered there" in output
    assert "`xdpctl attach`" in output


def test_a_resume_of_an_attached_filter_filters_again(
    cli: CommandLine, service: FakeService
) -> None:
    service.answer("POST", "/api/v1/resume", {"panic": False})
    service.answer("GET", "/api/v1/status", detached())
    assert cli("resume").output == "filtering again\n"


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("panic", "panic is on already: every packet passes, until `xdpctl resume`\n"),
        ("resume", "nothing to do: panic is not on\n"),
    ],
)
def test_a_switch_that_was_set_already_is_said_so(
    cli: CommandLine, service: FakeService, verb: str, said: str
) -> None:
    service.answer("POST", f"/api/v1/{verb}", {"panic": verb == "panic", "changed": False})
    service.answer("GET", "/api/v1/status", detached())
    assert cli(verb).output == said


def test_history_can_be_limited(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", "/api/v1/history", {"changes": []})
    assert cli("history", "192.0.2.1", "--limit", "5", "--since", "1h").status == 0
    query = dict(service.requests[0].query)
    assert query == {"target": "192.0.2.1", "limit": "5", "since": "1h"}


# --- an import that is ended ------------------------------------------------------------------


def interrupted(
    monkeypatch: pytest.MonkeyPatch, documents: list[dict[str, Any]], *, sent: bool
) -> None:
    """Let the upload be ended by Ctrl-C, after the file was sent or before."""

    def upload(_self: object, _path: str, _query: object, parts: Any) -> Any:  # noqa: ANN401
        if sent:
            list(parts)
        yield from documents
        raise KeyboardInterrupt

    monkeypatch.setattr("xdpctl.cli.client.Client.upload", upload)


@pytest.mark.parametrize(
    ("documents", "sent", "said"),
    [
        ([], False, "stopped before the whole file was sent: nothing was changed"),
        ([], True, "the service has the whole file and goes on with it, unless another is first"),
        (
            [{"progress": {"what": "apply", "done": 1, "total": 9}}],
            True,
            "the service has the whole file and goes on with it: `xdpctl history`",
        ),
    ],
)
def test_ctrl_c_says_whether_the_import_goes_on(  # noqa: PLR0913 - the case
    cli: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    documents: list[dict[str, Any]],
    *,
    sent: bool,
    said: str,
) -> None:
    (tmp_path / "list.txt").write_text("192.0.2.1\n")
    interrupted(monkeypatch, documents, sent=sent)
    result = cli("import", str(tmp_path / "list.txt"))
    assert result.status == 130
    assert said in result.errors
    assert result.errors.count("\n") == 1


def test_the_exit_status_is_that_of_an_interrupt() -> None:
    assert main(["version"]) == 0
