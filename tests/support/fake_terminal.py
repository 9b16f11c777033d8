"""A terminal that is none, and a verb run on it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl.cli.main import find
from xdpctl.cli.verb import Session

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine


class Terminal(io.StringIO):
    """A terminal; what is typed on it is its text."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Shown:
    """What a verb came to on a terminal."""

    status: int
    output: str
    errors: str


def on_terminal(cli: CommandLine, verb: str, *arguments: str, typed: str = "") -> Shown:
    """Run a verb whose three streams are a terminal."""
    output, errors = Terminal(), Terminal()
    found = find(verb)
    parsed = found.parser().parse_args(["--control", str(cli.control), *arguments])
    status = found.run(parsed, Session(output, errors, {}, Terminal(typed)))
    return Shown(status, output.getvalue(), errors.getvalue())
