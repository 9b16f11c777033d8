"""The entry point: a verb, else the service; one sentence and the right exit status."""

from __future__ import annotations

import argparse
import contextlib
import os
import pty
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fake_service import STATUS
from xdpctl import __version__
from xdpctl.cli import leftover
from xdpctl.cli.main import FAMILIES, NEVER_SUGGESTED, SYNONYMS, find, main
from xdpctl.cli.verbs import status as status_module
from xdpctl.errors import KernelError

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService
    from xdpctl.settings import Settings


def test_every_verb_is_defined_under_its_name() -> None:
    assert [find(name).name for name in FAMILIES] == list(FAMILIES)


def test_help_lists_every_verb(cli: CommandLine) -> None:
    result = cli("--help")

    assert result.status == 0
    assert all(re.search(rf"^  {name} ", result.output, re.MULTILINE) for name in FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_verb_takes_a_control_socket_and_json(name: str) -> None:
    actions = {flag: each for each in find(name).parser()._actions for flag in each.option_strings}

    assert "--control" in actions
    is_document = actions["--json"].help != argparse.SUPPRESS
    assert is_document == (name not in {"export", "completion"})


def test_the_version_is_printed(cli: CommandLine) -> None:
    assert cli("--version").output == f"xdpctl {__version__}\n"


def test_an_unknown_verb_is_answered_with_the_nearest(cli: CommandLine) -> None:
    result = cli("stauts")

    assert (result.status, result.errors) == (
        2,
        "xdpctl: cannot run 'stauts': there is no such verb; did you mean `status`?\n",
    )


def test_an_unknown_verb_far_from_all_is_answered_with_help(cli: CommandLine) -> None:
    assert "see `xdpctl --help`" in cli("qqq").errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["block"], "TARGET"),
        (["status", "extra"], "extra"),
        (["list", "--map", "nonsense"], "nonsense"),
        (["list", "--jso"], "--jso"),
        (["status", "--control"], "--control"),
        (["status", "--log-level", "loud"], "loud"),
    ],
)
def test_a_usage_error_is_one_sentence_with_the_offending_text(
    cli: CommandLine, arguments: list[str], said: str
) -> None:
    result = cli(*arguments)

    assert (result.status, result.output) == (2, "")
    assert result.errors.count("\n") == 1
    assert said in result.errors


def test_without_a_service_the_exit_status_is_three(cli: CommandLine) -> None:
    result = cli("status")

    assert (result.status, result.output) == (3, "")
    assert result.errors.startswith(f"xdpctl: no service answers on {cli.control} ")


def test_the_option_names_another_control_socket(cli: CommandLine, tmp_path: Path) -> None:
    assert str(tmp_path / "other") in cli("status", "--control", str(tmp_path / "other")).errors


def test_the_file_names_the_control_socket(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDPCTL_CONTROL")
    (tmp_path / "x.toml").write_text('control = "/run/from-the-file"\n')

    assert "/run/from-the-file" in cli("status", "--config", str(tmp_path / "x.toml")).errors


def test_a_file_that_is_not_valid_is_a_usage_error(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDPCTL_CONTROL")
    (tmp_path / "x.toml").write_text("control = \n")
    result = cli("status", "--config", str(tmp_path / "x.toml"))

    assert result.status == 2
    assert "x.toml" in result.errors


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of each service that is run, where none really is."""
    seen: list[Settings] = []

    def run_service(begun: Settings) -> int:
        seen.append(begun)
        return 0

    beginning, service = types.ModuleType("beginning"), types.ModuleType("service")
    beginning.begin = lambda load: contextlib.nullcontext(load())  # type: ignore[attr-defined]
    service.run_service = run_service  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "xdpctl.service.bootstrap", beginning)
    monkeypatch.setitem(sys.modules, "xdpctl.service.service", service)
    return seen


def test_without_a_verb_it_is_the_service(cli: CommandLine, served: list[Settings]) -> None:
    assert cli("--interface", "eth0").status == 0
    assert [one.interfaces for one in served] == [("eth0",)]


@pytest.mark.usefixtures("served")
def test_the_service_without_an_interface_is_a_usage_error(cli: CommandLine) -> None:
    result = cli()

    assert result.status == 2
    assert "--interface" in result.errors


def fail(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `status` fail with this error."""

    def report(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(status_module, "report", report)


@pytest.fixture
def answering(service: FakeService) -> FakeService:
    """A service that answers `status`."""
    service.answer("GET", "/api/v1/status", STATUS)
    return service


@pytest.mark.usefixtures("answering")
def test_an_error_of_ours_is_its_sentence_and_status(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, KernelError("cannot do it", 1))
    result = cli("status")

    assert (result.status, result.errors) == (
        1,
        "xdpctl: cannot do it: Operation not permitted (EPERM)\n",
    )


@pytest.mark.usefixtures("answering")
def test_an_unexpected_error_is_one_sentence_too(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, ValueError("two\nlines"))
    result = cli("status")

    assert (result.status, result.errors.count("\n")) == (1, 1)
    assert r"(ValueError: two\nlines); this is a bug: run it again" in result.errors


@pytest.mark.usefixtures("answering")
def test_an_unexpected_error_without_words_is_named(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, KeyError())

    assert "(KeyError)" in cli("status").errors


@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize("error", [ValueError("x"), KernelError("cannot", 1)])
def test_a_traceback_comes_only_when_asked_for(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    fail(monkeypatch, error)
    quiet, loud = cli("status"), cli("status", "--log-level", "debug")

    assert "Traceback" not in quiet.errors
    assert "Traceback" in loud.errors
    assert loud.errors.splitlines()[-1].startswith("xdpctl: ")


@pytest.mark.usefixtures("answering")
def test_the_variable_asks_for_a_traceback_too(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDPCTL_LOG_LEVEL", "debug")
    fail(monkeypatch, ValueError("x"))

    assert "Traceback" in cli("status").errors


@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (BrokenPipeError(32, "Broken pipe"), 141)]
)
def test_an_interrupted_verb_says_nothing(
    cli: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: int,
) -> None:
    fail(monkeypatch, error)
    result = cli("status")

    assert (result.status, result.errors) == (status, "")


@pytest.mark.usefixtures("answering")
def test_output_that_cannot_be_written_is_said(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, OSError(28, "No space left on device"))
    result = cli("status")

    assert (result.status, result.errors) == (
        1,
        "xdpctl: cannot write the output: No space left on device; free some space and try again\n",
    )


@pytest.mark.usefixtures("answering")
def test_another_error_of_a_file_is_unexpected(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, OSError(9, "Bad file descriptor"))

    assert "this is a bug" in cli("status").errors


def run(
    *arguments: str,
    **options: Any,  # noqa: ANN401 - those of subprocess
) -> subprocess.CompletedProcess[str]:
    """Run the program as a process, with no settings of the host's."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("XDPCTL_") and name != "PYTHONUNBUFFERED"
    }
    return subprocess.run(
        [sys.executable, "-m", "xdpctl", *arguments],
        env=environment | {"XDPCTL_CONTROL": "/nonexistent/socket"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        **options,
    )


def test_python_m_is_the_same_program() -> None:
    result = run("--version", stdout=subprocess.PIPE)

    assert (result.returncode, result.stdout) == (0, f"xdpctl {__version__}\n")


def test_the_exit_status_of_the_process_is_that_of_the_verb() -> None:
    assert run("status", stdout=subprocess.PIPE).returncode == 3


@pytest.mark.parametrize("little_or_much", ["--version", "--help"])
def test_a_reader_that_leaves_ends_the_program_without_a_word(little_or_much: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        result = run(little_or_much, stdout=nobody)

    assert (result.returncode, result.stderr) == (141, "")


@pytest.mark.parametrize("little_or_much", ["--version", "--help"])
def test_a_terminal_that_is_closed_ends_the_program_without_a_word(little_or_much: str) -> None:
    controller, terminal = pty.openpty()
    os.close(controller)
    with os.fdopen(terminal, "w") as gone:
        result = run(little_or_much, stdout=gone)

    assert (result.returncode, result.stderr) == (129, "")


@pytest.mark.parametrize("little_or_much", ["--version", "--help"])
def test_a_full_disk_is_one_sentence(little_or_much: str) -> None:
    with Path("/dev/full").open("w") as full:
        result = run(little_or_much, stdout=full)

    assert result.returncode == 1
    assert result.stderr == (
        "xdpctl: cannot write the output: No space left on device; free some space and try again\n"
    )


def test_a_closed_output_does_no_harm() -> None:
    result = run("--version", preexec_fn=lambda: os.close(1))

    assert (result.returncode, result.stderr) == (0, "")


def test_an_output_of_another_encoding_does_no_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    result = run("block", "bücher.example/x y", stdout=subprocess.PIPE)

    assert result.returncode == 1
    assert r"b\xfccher" in result.stderr


def imported_by(*arguments: str) -> set[str]:
    """Return the modules that a command line loads, where no service has left a filter."""
    script = (
        "import sys; from pathlib import Path; before = set(sys.modules);"
        "from xdpctl.cli.main import main; from xdpctl.kernel.bpf import pins;"
        "pins.OWN_DIRECTORY = Path('/nonexistent');"
        f"status = main({list(arguments)!r}); print(*set(sys.modules) - before)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "verb", [["status"], ["list"], ["panic"], ["block", "192.0.2.1"], ["unblock", "a.example"]]
)
def test_a_verb_loads_neither_the_service_nor_its_libraries(verb: list[str]) -> None:
    loaded = imported_by(*verb, "--control", "/nonexistent/socket")

    assert not loaded & {
        "aiohttp",
        "asyncio",
        "prometheus_client",
        "sqlite3",
        "xdpctl.service.service",
    }


def test_a_verb_that_is_told_its_socket_does_without_the_settings() -> None:
    loaded = imported_by("status", "--control", "/nonexistent/socket")

    assert not loaded & {"dns", "idna", "tomllib", "xdpctl.settings"}


def test_the_service_loads_no_verb() -> None:
    loaded = imported_by("--interface", "nonexistent0", "--mode", "nonsense")

    assert "xdpctl.service.bootstrap" in loaded
    assert not loaded & {f"xdpctl.cli.{name}" for name in {*FAMILIES.values(), "client", "verb"}}


def test_streams_that_cannot_be_set_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        def __init__(self) -> None:
            self.text = ""

        def write(self, text: str) -> None:
            self.text += text

        def flush(self) -> None:
            """Do nothing."""

    plain = Plain()
    monkeypatch.setattr("sys.stdout", plain)

    assert main(["--version"]) == 0
    assert plain.text == f"xdpctl {__version__}\n"


# --- words that are no verbs ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("add", "block"), ("ban", "block"), ("deny", "block"), ("BAN", "block"),
        ("del", "unblock"), ("delete", "unblock"), ("remove", "unblock"), ("rm", "unblock"),
        ("unban", "unblock"), ("show", "list"), ("ls", "list"), ("stats", "status"),
        ("why", "test"), ("logs", "history"), ("unblok", "unblock"), ("lst", "list"),
        ("hlep", "help"), ("atach", "attach"),
    ],
)  # fmt: skip
def test_other_programs_words_are_answered_with_ours(
    cli: CommandLine, word: str, meant: str
) -> None:
    result = cli(word, "192.0.2.1")
    assert (result.status, result.output) == (2, "")
    assert f"did you mean `{meant}`?" in result.errors


@pytest.mark.parametrize(
    "word",
    [
        "detch", "detach!", "deatch", "flsh", "flushh", "flush-all", "panik", "panics", "resum",
        "resumee", "reset", "pause", "eth0", "restart", "stop", "off", "disable", "attac",
    ],
)  # fmt: skip
def test_no_typing_error_leads_to_a_verb_that_ends_protection(cli: CommandLine, word: str) -> None:
    result = cli(word)
    assert result.status == 2
    for verb in NEVER_SUGGESTED:
        assert f"`{verb}`" not in result.errors


def test_every_synonym_is_no_verb_and_leads_to_one() -> None:
    words = [word for words in SYNONYMS.values() for word in words]
    assert len(words) == len(set(words))
    assert not set(words) & set(FAMILIES)
    assert set(SYNONYMS) <= set(FAMILIES)


def test_an_interface_in_the_place_of_a_verb_is_told_how_to_start(cli: CommandLine) -> None:
    assert "`xdpctl --interface lo` starts the service on it" in cli("lo").errors


def test_help_and_version_work_as_words(cli: CommandLine) -> None:
    assert cli("help").output == cli("--help").output
    assert cli("version").output == cli("--version").output
    assert cli("help", "block").output == cli("block", "--help").output
    assert cli("help", "nonsense").status == 2


# --- a service that is dead -------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb",
    [["panic"], ["resume"], ["list"], ["status"], ["block", "192.0.2.1"], ["top"], ["history"]],
)
def test_a_dead_service_whose_filter_still_acts_is_said_to_be_so(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, verb: list[str]
) -> None:
    monkeypatch.setattr(leftover, "filters_left", lambda: ["eth0", "eth1"])
    monkeypatch.setattr(leftover, "services", list)
    result = cli(*verb)
    assert (result.status, result.output) == (3, "")
    assert "no service answers on" in result.errors
    assert "its filter is still on eth0 and eth1" in result.errors
    assert "`xdpctl detach` takes it off" in result.errors
    assert "systemctl start xdpctl" in result.errors
    assert result.errors.count("\n") == 1


def test_a_service_with_another_control_socket_is_not_taken_for_dead(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its filter must not be taken off, as a dead one's may."""
    monkeypatch.setattr(leftover, "filters_left", lambda: ["eth0"])
    monkeypatch.setattr(leftover, "services", lambda: ["eth0"])
    result = cli("status")
    assert result.status == 3
    assert "a service runs on eth0 with another control socket" in result.errors
    assert "detach" not in result.errors


def test_an_empty_control_socket_is_a_usage_error(cli: CommandLine) -> None:
    result = cli("status", "--control", "")
    assert (result.status, result.errors.count("\n")) == (2, 1)
    assert "empty path" in result.errors


def test_without_a_filter_the_start_is_the_advice(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftover, "filters_left", list)
    assert "start one with" in cli("panic").errors
    assert "still" not in cli("panic").errors


def test_what_cannot_be_looked_at_is_no_second_error(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise KernelError("cannot look", 1)

    monkeypatch.setattr(leftover, "_has_pins", lambda: True)
    monkeypatch.setattr("xdpctl.kernel.net.interfaces.Netlink.interfaces", refuse)
    assert cli("panic").status == 3
