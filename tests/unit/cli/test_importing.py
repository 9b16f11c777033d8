"""`import`: a file goes to the service in parts, and what was done is said."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_terminal import Terminal, on_terminal
from xdpctl.cli.progress import ProgressDisplay
from xdpctl.cli.verbs.importing import summary
from xdpctl.errors import XdpctlError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

IMPORT = "/api/v1/import"
RESULT: dict[str, Any] = {
    "created": 0,
    "updated": 0,
    "removed": 0,
    "unchanged": 0,
    "left_to_dnsdist": 0,
    "left_to_others": 0,
    "skipped": 0,
    "guarded": 0,
    "ends_removed": 0,
}


def lines(*documents: object) -> bytes:
    """Return an answer of the service: a document a line."""
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def done(**numbers: int) -> bytes:
    """Return the answer of an import that went well."""
    return lines({"result": {**RESULT, **numbers}})


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A file of one rule."""
    path = tmp_path / "bad.txt"
    path.write_text("192.0.2.1\n")
    return path


def test_the_file_is_sent_as_it_is(cli: CommandLine, service: FakeService, rules: Path) -> None:
    content = "# ü\n192.0.2.1 action=drop\nbücher.example\n" * 50_000
    rules.write_text(content)
    service.answer("POST", IMPORT, done(created=2))
    result = cli("import", str(rules))

    assert (result.status, result.errors) == (0, "")
    assert service.requests[0].body == content


def test_the_origin_is_the_files_name(cli: CommandLine, service: FakeService, rules: Path) -> None:
    service.answer("POST", IMPORT, done(created=1))
    result = cli("import", str(rules))

    assert service.requests[0].query == [("origin", "file:bad.txt")]
    assert result.output == "file:bad.txt: 1 rule made\n"


def test_standard_input_is_of_origin_cli(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.answer("POST", IMPORT, done(created=1))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"192.0.2.1\n")))
    cli("import", "-")

    assert service.requests[0].query == [("origin", "cli")]
    assert service.requests[0].body == "192.0.2.1\n"


def test_origin_and_replacement_are_asked_for(
    cli: CommandLine, service: FakeService, rules: Path
) -> None:
    service.answer("POST", IMPORT, done())
    cli("import", str(rules), "--origin", "list:x", "--replace")

    assert service.requests[0].query == [("origin", "list:x"), ("replace", "1")]


@pytest.mark.parametrize("origin", ["dnsdist", "nonsense", "file:", "list:a\nb", ""])
def test_an_origin_that_cannot_be_is_refused_before_anything_is_sent(
    cli: CommandLine, service: FakeService, rules: Path, origin: str
) -> None:
    result = cli("import", str(rules), "--origin", origin)

    assert (result.status, result.output) == (1, "")
    assert "origin" in result.errors
    assert service.requests == []


def test_all_that_was_done_is_said(cli: CommandLine, service: FakeService, rules: Path) -> None:
    numbers = {"created": 1000, "updated": 1, "removed": 3, "unchanged": 4}
    left = {"left_to_dnsdist": 5, "left_to_others": 6, "skipped": 7, "guarded": 8}
    left["ends_removed"] = 2
    service.answer("POST", IMPORT, done(**numbers, **left))

    assert cli("import", str(rules)).output == (
        "file:bad.txt: 1,000 rules made, 1 rule changed, 3 rules removed and 4 rules unchanged;"
        " 2 rules now without end; 5 waiting behind dnsdist's entries, 6 waiting behind other"
        " origins' claims, 7 skipped (of origin dnsdist) and 8 left out by the guard (`xdpctl block"
        " --force` adds them)\n"
    )


@given(st.fixed_dictionaries({name: st.integers(0, 10**7) for name in RESULT}))
def test_every_number_that_is_not_nothing_is_said(result: dict[str, int]) -> None:
    assert all(f"{number:,} " in summary(result) for number in result.values() if number)


def test_an_import_that_changed_nothing_says_so(
    cli: CommandLine, service: FakeService, rules: Path
) -> None:
    service.answer("POST", IMPORT, done())

    assert cli("import", str(rules)).output == "file:bad.txt: nothing to change\n"


def test_json_is_the_result(cli: CommandLine, service: FakeService, rules: Path) -> None:
    service.answer(
        "POST",
        IMPORT,
        lines({"progress": {"what": "apply", "done": 1, "total": 2}}) + done(created=1),
    )
    result = cli("import", str(rules), "--json")

    assert json.loads(result.output) == {**RESULT, "created": 1}
    assert result.errors == ""


def test_a_bad_line_is_named_and_fails(cli: CommandLine, service: FakeService, rules: Path) -> None:
    problem = {"status": 422, "detail": "line 3: cannot read it", "text": "300.1.1.1"}
    service.answer("POST", IMPORT, lines({"problem": {**problem, "field": "target"}}))
    result = cli("import", str(rules))

    assert (result.status, result.output, result.errors) == (
        1,
        "",
        "xdpctl: line 3: cannot read it (target: 300.1.1.1)\n",
    )


def test_a_full_map_is_said_with_what_went_in(
    cli: CommandLine, service: FakeService, rules: Path
) -> None:
    problem = {"status": 507, "detail": "addr-v4 is full", "map": "addr-v4", "done": 1024}
    service.answer("POST", IMPORT, lines({"problem": problem}))
    result = cli("import", str(rules))

    assert (result.status, result.output, result.errors) == (
        1,
        "",
        "xdpctl: addr-v4 is full; 1,024 entries were written before\n",
    )


def test_a_refusal_at_once_is_its_sentence(
    cli: CommandLine, service: FakeService, rules: Path
) -> None:
    service.refuse("POST", IMPORT, 422, detail="cannot take it")

    assert cli("import", str(rules)).errors == "xdpctl: cannot take it\n"


@pytest.mark.parametrize("answer", [b"", lines({"progress": {"what": "x", "done": 1}})])
def test_an_import_without_an_end_fails(
    cli: CommandLine, service: FakeService, rules: Path, answer: bytes
) -> None:
    service.answer("POST", IMPORT, answer)
    result = cli("import", str(rules))

    assert result.status == 1
    assert "without a result" in result.errors


def test_warnings_of_the_service_go_to_standard_error(
    cli: CommandLine, service: FakeService, rules: Path
) -> None:
    service.answer("POST", IMPORT, lines({"result": {**RESULT, "warnings": ["careful"]}}))

    assert cli("import", str(rules)).errors == "xdpctl: warning: careful\n"


def test_a_file_that_is_not_there_is_named(cli: CommandLine, service: FakeService) -> None:
    result = cli("import", "/nonexistent/rules")

    assert result.status == 1
    assert "cannot read '/nonexistent/rules': No such file" in result.errors
    assert service.requests == []


def test_a_directory_is_no_file(cli: CommandLine, service: FakeService, tmp_path: Path) -> None:
    assert "Is a directory" in cli("import", str(tmp_path)).errors
    assert service.requests == []


class Broken(io.BytesIO):
    """A file on a broken disk."""

    def read(self, _size: int | None = -1) -> bytes:
        raise OSError(5, "Input/output error")


def test_a_file_that_cannot_be_read_on_is_named(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Broken()))
    result = cli("import", "-")

    assert result.errors == (
        "xdpctl: cannot read standard input: Input/output error; nothing was changed\n"
    )
    assert service.requests == []


def test_without_a_service_the_exit_status_is_three(cli: CommandLine, rules: Path) -> None:
    assert cli("import", str(rules)).status == 3


def test_a_terminal_shows_a_bar_and_takes_it_away(
    cli: CommandLine, service: FakeService, rules: Path
) -> None:
    now = {"progress": {"what": "apply", "done": 500, "total": 1000}}
    service.answer("POST", IMPORT, lines(now) + done(created=1))
    shown = on_terminal(cli, "import", str(rules))

    assert "[" in shown.errors
    assert shown.errors.endswith("\r\x1b[K")
    assert "\x1b" not in shown.output


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_bar_is_as_long_as_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Terminal()
    with ProgressDisplay(terminal, Clock()) as progress:
        progress.show("apply", 500, 1000)
        drawn = terminal.getvalue()

    assert drawn == f"\r\x1b[K[{'#' * 15}{'.' * 15}] apply: 500 of 1,000 (50%)"


def test_the_bar_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    terminal = Terminal()
    with ProgressDisplay(terminal, Clock()) as progress:
        progress.show("apply", 500, 1000)
        drawn = terminal.getvalue()

    assert len(drawn.removeprefix("\r\x1b[K")) == 19


def test_work_without_a_known_end_is_counted() -> None:
    terminal = Terminal()
    with ProgressDisplay(terminal, Clock()) as progress:
        progress.show("read", 1234)
        drawn = terminal.getvalue()

    assert drawn.endswith("\x1b[Kread: 1,234")


def test_the_bar_is_not_drawn_at_every_turn() -> None:
    terminal, clock = Terminal(), Clock()
    with ProgressDisplay(terminal, clock) as progress:
        for step in range(1000):
            clock.now = step / 1000
            progress.show("apply", step, 1000)
        drawn = terminal.getvalue()

    assert 5 <= drawn.count("apply") <= 11


def test_elsewhere_short_work_is_silent_and_long_work_says_a_line_now_and_then() -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressDisplay(stream, clock) as progress:
        progress.show("apply", 1, 1000)
        clock.now = 10.0
        progress.show("apply", 400, 1000)
        clock.now = 11.0
        progress.show("apply", 500, 1000)
        clock.now = 25.0
        progress.show("apply", 900, 1000)

    assert stream.getvalue() == (
        "xdpctl: apply: 400 of 1,000 (40%)\nxdpctl: apply: 900 of 1,000 (90%)\n"
    )


def test_the_client_passes_on_what_its_parts_raise(cli: CommandLine, service: FakeService) -> None:
    from xdpctl.cli.client import Client  # noqa: PLC0415 - only here

    def parts() -> Any:  # noqa: ANN401 - an iterator that fails
        yield b"192.0.2.1\n"
        raise XdpctlError("no more")

    with pytest.raises(XdpctlError, match="no more"):
        list(Client(cli.control).upload(IMPORT, {}, parts()))
    assert service.requests == []
