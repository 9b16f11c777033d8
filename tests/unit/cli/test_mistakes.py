"""What is typed wrong is answered with what was probably meant, and with nothing dangerous."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from xdpctl.cli.main import FAMILIES, find
from xdpctl.process.command_line import NEVER_SUGGESTED

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine

A = "192.0.2.1"

USAGE = [
    (["block", A, "--forever"], "did you mean --for forever?"),
    (["block", A, "--ttl", "5"], "did you mean --for?"),
    (["block", A, "--type", "A"], "did you mean --qtype?"),
    (["block", A, "--comment", "x"], "did you mean --reason?"),
    (["block", A, "--acton", "drop"], "did you mean --action?"),
    (["list", "--count", "5"], "did you mean --limit?"),
    (["status", "--socket", "/x"], "did you mean --control?"),
    (["block", A, "--action", "dorp"], "'dorp' is not one of drop, truncate; did you mean drop?"),
    (["list", "--map", "qname"], "did you mean qnames?"),
    (["list", "--limit", "0"], "--limit: '0' is not a number from 1 on"),
    (["top", "-n", "-3"], "-n: '-3' is not a number from 1 to 1000"),
    (["block", A, "--for", "-5m"], "is written --for=VALUE"),
    (["block", "a.example", "--qtype", "A", "--qtype", "AAAA"], "given twice, with 'A' and 'AAAA'"),
    (["block", A, "--for", "1h", "--for", "2h"], "given twice"),
    (["block", A, "--reason", "a", "--reason", "b"], "given twice"),
    (["block"], "it needs TARGET; see `xdpctl block --help`"),
    (["resize"], "it needs MAP=N"),
    (["--json", "status"], "cannot run 'status' behind options: the verb comes first"),
    (["-i", "eth0", "list"], "cannot run 'list' behind options: the verb comes first"),
    (["--control", "/x", "block", A], "cannot run 'block' behind options: the verb comes first"),
    (["start"], "without a verb, xdpctl is the service"),
    (["restart"], "by what started it"),
    ([A], f"`xdpctl list {A}` shows its rules"),
    (["2001:db8::/32"], "`xdpctl list 2001:db8::/32` shows its rules"),
    (["flood.example"], "`xdpctl list flood.example` shows its rules"),
    (["lo"], "lo is an interface"),
    (["-i"], "-i/--interface needs a value"),
    (["--port"], "see `xdpctl help service`"),
]


@pytest.mark.parametrize(("words", "said"), USAGE, ids=lambda value: str(value)[:40])
def test_a_mistake_is_a_usage_error_that_says_what_helps(
    cli: CommandLine, words: list[str], said: str
) -> None:
    result = cli(*words)

    assert (result.status, result.errors.count("\n")) == (2, 1)
    assert said in result.errors


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("option", sorted(NEVER_SUGGESTED))
def test_an_option_that_switches_a_safeguard_off_is_never_suggested(
    cli: CommandLine, name: str, option: str
) -> None:
    for typed in (option[:-1], f"{option}s", option.replace("e", "3", 1)):
        if typed != option:
            assert f"did you mean {option}" not in cli(name, typed).errors


def test_the_same_value_may_be_given_twice() -> None:
    arguments = find("block").parser().parse_args([A, "--for", "1h", "--for", "1h"])
    assert arguments.duration == "1h"


@pytest.mark.parametrize("words", [["status", "-i", "x"], ["list", "sort"], ["panic", "now"]])
def test_a_word_too_much_is_named(cli: CommandLine, words: list[str]) -> None:
    result = cli(*words, "extra")
    assert result.status in {1, 2, 3}
    assert result.errors.count("\n") == 1
