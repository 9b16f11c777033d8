"""What a verb is: its arguments, what it runs with, how a usage error reads.

Owns the parser class and the options that every verb takes, among them how the
control socket is found. Knows no single verb; main.py finds those, the family
files define them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from xdpctl.cli.client import Client
from xdpctl.cli.render import printable
from xdpctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

LOG_LEVELS = ("debug", "info", "warning", "error")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: one sentence, no usage text before it."""

    def __init__(self, prog: str, description: str = "") -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found wrong.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"cannot run `{self.prog}`: {message}; `{self.prog} --help` shows how it is written"
        )


@dataclass(frozen=True, slots=True)
class Session:
    """What a verb runs with: where it writes, its environment, where it reads."""

    output: TextIO
    errors: TextIO
    environ: Mapping[str, str]
    input: TextIO = field(default_factory=lambda: sys.stdin)

    @property
    def terminal(self) -> bool:
        """Whether a person reads the output as it comes."""
        return self.output.isatty()

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None where the output is not one."""
        return shutil.get_terminal_size().columns if self.terminal else None

    def write(self, text: str) -> None:
        """Write to standard output; main.py knows what to do where that fails."""
        self.output.write(text)

    def say(self, line: str) -> None:
        """Write a line to standard output."""
        self.write(f"{line}\n")

    def document(self, value: object) -> None:
        """Write the one JSON document of `--json`."""
        self.write(f"{json.dumps(value, ensure_ascii=False, indent=2)}\n")

    def warn(self, sentence: str) -> None:
        """Write a warning to standard error."""
        self.errors.write(f"xdpctl: warning: {printable(sentence)}\n")

    def confirmed(self, question: str) -> bool:
        """Ask on the terminal; everything but a plain yes is a no. Blocks."""
        self.output.flush()
        self.errors.write(f"{printable(question)} [y/N] ")
        self.errors.flush()
        return self.input.readline().strip().lower() in {"y", "yes"}

    def client(self, arguments: argparse.Namespace) -> Client:
        """Return the client for the control socket that the arguments name.

        Raises:
            SettingsError: the socket's path is to be taken from a file that is not valid.
        """
        if arguments.control is None:
            from xdpctl.settings import control_path  # noqa: PLC0415 - half of a verb's start

            return Client(control_path(arguments, self.environ))
        return Client(Path(arguments.control))


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb.

    Attributes:
        name, summary: as `xdpctl --help` lists it.
        add_arguments: puts its own arguments on a parser.
        run: does it; returns the exit status or raises an XdpctlError.
        plain: takes `--control` and `--json` as every verb does; a verb that takes
            the service's options says False and adds `--json` itself.
    """

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Session], int]
    plain: bool = True

    def parser(self) -> Parser:
        """Return the parser of what follows the verb."""
        parser = Parser(f"xdpctl {self.name}", self.summary[0].upper() + self.summary[1:] + ".")
        if self.plain:
            parser.add_argument(
                "--control",
                metavar="PATH",
                help="control socket (else XDPCTL_CONTROL, the configuration file, the default)",
            )
            parser.add_argument(
                "--config", metavar="FILE", default=argparse.SUPPRESS, help="configuration file"
            )
            parser.add_argument(
                "--log-level", choices=LOG_LEVELS, default="info", help="debug: show tracebacks"
            )
        parser.add_argument("--json", action="store_true", help="print one JSON document")
        self.add_arguments(parser)
        return parser
