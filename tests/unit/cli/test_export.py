"""`export`: the service's lines as they come, to a file or a reader."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_terminal import on_terminal
from tests.unit.cli.test_client import listener
from xdpctl.cli.main import main

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

EXPORT = "/api/v1/export"


def test_the_lines_are_written_as_they_are(cli: CommandLine, service: FakeService) -> None:
    content = '192.0.2.1 action=drop reason="für \\"x\\"" origin=cli\n' * 30_000
    service.answer("GET", EXPORT, content.encode())
    result = cli("export")

    assert (result.status, result.output, result.errors) == (0, content, "")
    assert service.requests[0].query == []


def test_dnsdists_own_are_asked_for(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", EXPORT, b"")
    cli("export", "--all")

    assert service.requests[0].query == [("all", "1")]


def test_a_terminal_shows_u_labels_behind_the_line(cli: CommandLine, service: FakeService) -> None:
    content = b"xn--bcher-kva.example action=drop origin=cli\nxn--0.example origin=cli\n192.0.2.1"
    service.answer("GET", EXPORT, content)

    assert on_terminal(cli, "export").output.splitlines() == [
        "xn--bcher-kva.example action=drop origin=cli  # bücher.example",
        "xn--0.example origin=cli",
        "192.0.2.1",
    ]


def test_a_pipe_gets_no_u_labels(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", EXPORT, b"xn--bcher-kva.example action=drop origin=cli\n")

    assert "#" not in cli("export").output


def test_no_rules_are_no_lines(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", EXPORT, b"")

    assert (cli("export").status, cli("export").output) == (0, "")


def test_a_refusal_is_its_sentence(cli: CommandLine, service: FakeService) -> None:
    service.refuse("GET", EXPORT, 500, detail="the state cannot be read")
    result = cli("export")

    assert (result.status, result.output) == (1, "")
    assert result.errors == "xdpctl: the state cannot be read\n"


def test_json_is_lists_business(cli: CommandLine, service: FakeService) -> None:
    result = cli("export", "--json")

    assert result.status == 2
    assert "xdpctl list --json" in result.errors
    assert service.requests == []


def test_without_a_service_the_exit_status_is_three(cli: CommandLine) -> None:
    assert cli("export").status == 3


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n192.0.2.1\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n192.0.2.1\n",
    ],
)
def test_an_export_that_breaks_off_fails(cli: CommandLine, answer: bytes) -> None:
    cli.control.parent.mkdir()
    with listener(cli.control, answer):
        result = cli("export")

    assert result.status == 1
    assert "closed the connection before its answer was complete" in result.errors


@pytest.mark.parametrize("arguments", [["export"], ["list", "--json"], ["status", "--json"]])
def test_what_programs_read_is_utf8_in_every_locale(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    document = {"rules": [{"reason": "Größe → ☃"}], "next": None}
    service.answer("GET", EXPORT, 'a.example reason="Größe → ☃"\n'.encode())
    service.answer("GET", "/api/v1/rules", document)
    service.answer("GET", "/api/v1/status", document)
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="latin-1", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    assert main([*arguments, "--control", str(cli.control)]) == 0
    stream.flush()
    assert "Größe → ☃" in written.getvalue().decode()


LINES = b"""\
192.0.2.1 action=drop origin=cli
.evil.example action=drop for=10m reason="SBL 1" origin=api
good.evil.example action=pass origin=cli
amplify.example qtype=TXT action=truncate origin=cli
2001:db8::/32 action=truncate origin=list:drop.txt
"""


def test_a_zone_has_what_it_can_express(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", EXPORT, LINES)
    result = cli("export", "--rpz", "Block.RPZ.example.")

    head, records = result.output.splitlines()[:4], result.output.splitlines()[4:]
    assert result.status == 0
    assert head[0] == "$ORIGIN block.rpz.example."
    assert head[2].startswith("@ IN SOA ")
    assert sorted(records) == [
        "*.evil.example 600 CNAME rpz-drop. ; SBL 1",
        "*.good.evil.example 600 CNAME rpz-drop. ; SBL 1",
        "32.1.2.0.192.rpz-client-ip CNAME rpz-drop.",
        "evil.example 600 CNAME rpz-drop. ; SBL 1",
        "good.evil.example CNAME rpz-passthru.",
    ]
    assert "1 rule with a query type ('amplify.example')" in result.errors
    assert "1 rule of lists; --origin list:NAME writes one list's" in result.errors
    assert "1 record more for names inside zone rules" in result.errors


def test_a_zone_of_one_origin_may_be_a_lists(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", EXPORT, LINES)
    result = cli("export", "--rpz", "rpz.example", "--origin", "list:drop.txt")

    assert result.output.splitlines()[4:] == [
        "32.zz.db8.2001.rpz-client-ip CNAME rpz-tcp-only.",
    ]
    assert result.errors == ""


def test_an_origin_without_rules_is_warned_of(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", EXPORT, b"192.0.2.1 action=drop origin=cli\n")
    result = cli("export", "--rpz", "rpz.example", "--origin", "list:no.txt")
    assert result.status == 0
    assert "the zone is empty: no rule has the origin list:no.txt" in result.errors


def test_an_origin_is_for_zones(cli: CommandLine, service: FakeService) -> None:
    result = cli("export", "--origin", "cli")

    assert result.status == 2
    assert "without --rpz" in result.errors
    assert service.requests == []
