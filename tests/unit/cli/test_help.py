"""Every help fits on a screen, explains all that a verb takes, and shows commands that work."""

from __future__ import annotations

import argparse
import re
import shlex
from typing import TYPE_CHECKING

import pytest

from xdpctl.cli.main import FAMILIES, find
from xdpctl.settings.options import OPTIONS

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine
    from xdpctl.settings.options import Option

SCREEN = 40
"""Lines."""


@pytest.mark.parametrize("columns", [80, 100, 200])
@pytest.mark.parametrize("name", ["", *FAMILIES])
def test_every_help_fits_on_a_screen(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, name: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    result = cli(*([name] if name else []), "--help")

    lines = result.output.splitlines()
    assert (result.status, result.errors) == (0, "")
    assert lines[0].startswith(f"usage: xdpctl {name}")
    assert len(lines) <= SCREEN
    assert max(map(len, lines)) <= min(columns, 100)


@pytest.mark.parametrize("columns", ["0", "1", "20", "x"])
def test_a_terminal_that_is_too_narrow_gets_long_lines(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert cli("block", "--help").status == 0


@pytest.mark.parametrize("name", FAMILIES)
def test_the_help_of_a_verb_explains_all_that_only_this_verb_takes(
    cli: CommandLine, name: str
) -> None:
    shared = {"help", "control", "config", "log_level", *(option.field for option in OPTIONS)}
    output = cli(name, "--help").output

    for action in find(name).parser()._actions:
        if action.help is argparse.SUPPRESS or action.dest in shared:
            continue
        head = ", ".join(action.option_strings) or str(action.metavar or "refresh|accept")
        assert re.search(rf"^  {re.escape(head)}\b|^  {re.escape(head)}", output, re.MULTILINE)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_examples_of_a_verb_can_be_parsed(name: str) -> None:
    verb = find(name)
    for example in verb.examples:
        words = shlex.split(re.sub(r"^\. <\((.*)\)$|^curl [^|]*\| ", r"\1", example))
        words = words[: next((at for at, word in enumerate(words) if word in "|>"), len(words))]
        assert words[:2] == ["xdpctl", name]
        verb.parser().parse_args(words[2:])


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_options_of_the_service_have_a_help_of_their_own(
    cli: CommandLine, option: Option
) -> None:
    output = cli("help", "service").output
    assert f"--{option.name}" in output
    assert option.variable in output


@pytest.mark.parametrize("name", FAMILIES)
def test_help_and_the_option_say_the_same(cli: CommandLine, name: str) -> None:
    assert cli("help", name).output == cli(name, "-h").output
