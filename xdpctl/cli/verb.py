"""What a verb is: its arguments, and what it runs with.

Owns the options that every verb takes, and how a verb finds the control socket. Does not
know any single verb: the modules in verbs/ define them, main.py finds them. Called by both.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from xdpctl.cli.client import Client
from xdpctl.cli.render import printable
from xdpctl.process.command_line import ArgumentParser

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

LOG_LEVELS = ("debug", "info", "warning", "error")


def add_map(parser: argparse.ArgumentParser) -> None:
    """Add the option `--map`, for verbs that show or remove rules."""
    from xdpctl.abi import RULE_PLACES  # noqa: PLC0415 - most verbs do not need it

    parser.add_argument(
        "--map",
        choices=[str(name) for name in RULE_PLACES],
        help="only this map's rules; zones: your zones; list-sources and list-names: what lists"
        " block",
    )


def number_up_to(most: int | None = None) -> Callable[[str], int]:
    """Return the type of an argument that is a number from 1 on; its name is in the error."""

    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= (most or int(text)):
            raise ValueError(text)
        return int(text)

    number.__name__ = "number from 1 on" if most is None else f"number from 1 to {most}"
    return number


def add_interfaces(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the option `--interface`, for verbs that act on some interfaces or all."""
    parser.add_argument("-i", "--interface", metavar="NAME", action="append", default=[], help=text)


@dataclass(frozen=True, slots=True)
class Session:
    """The streams and the environment that a verb runs with."""

    output: TextIO
    errors: TextIO
    environ: Mapping[str, str]
    input: TextIO = field(default_factory=lambda: sys.stdin)

    @property
    def terminal(self) -> bool:
        """Whether the output is a terminal."""
        return self.output.isatty()

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None if the output is not a terminal."""
        return shutil.get_terminal_size().columns if self.terminal else None

    def write(self, text: str) -> None:
        """Write to standard output; main.py handles errors."""
        self.output.write(text)

    def say(self, line: str) -> None:
        """Write a line to standard output."""
        self.write(f"{line}\n")

    def document(self, value: object) -> None:
        """Write the JSON document that `--json` asks for."""
        self.write(f"{json.dumps(value, ensure_ascii=False, indent=2)}\n")

    def warn(self, sentence: str) -> None:
        """Write a warning to standard error."""
        self.errors.write(f"xdpctl: warning: {printable(sentence)}\n")

    def confirmed(self, question: str) -> bool:
        """Ask a question on the terminal; any answer but y or yes means no. Blocks."""
        self.output.flush()
        self.errors.write(f"{printable(question)} [y/N] ")
        self.errors.flush()
        return self.input.readline().strip().lower() in {"y", "yes"}

    def client(self, arguments: argparse.Namespace) -> Client:
        """Return the client for the control socket that the arguments name.

        Raises:
            SettingsError: the configuration file that should name the socket is not valid.
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
        add_arguments: adds the verb's own arguments to a parser.
        run: runs the verb; returns the exit status or raises an XdpctlError.
        json: whether `--json` is shown; False for a verb whose output is not a document.
        plain: whether the verb takes the usual options (`--control` and so on); False for a
            verb that takes the options of the service.
        for_programs: whether its output is for programs, and so UTF-8 in every locale, as that
            of `--json` is.
        examples: command lines that its help shows.
    """

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Session], int]
    plain: bool = True
    for_programs: bool = False
    json: bool = True
    examples: tuple[str, ...] = ()

    def parser(self) -> ArgumentParser:
        """Return the parser of the arguments after the verb."""
        parser = _Parser(self)
        if self.plain:
            parser.add_argument(
                "--control",
                metavar="PATH",
                help="control socket of the service (default: that of XDPCTL_CONTROL, of the"
                " configuration file, or /run/xdpctl/control.sock)",
            )
            parser.add_argument(
                "--config", metavar="FILE", default=argparse.SUPPRESS, help="configuration file"
            )
            parser.add_argument(
                "--log-level",
                choices=LOG_LEVELS,
                default="info",
                help="debug: show tracebacks with errors (default: info)",
            )
        text = "print one JSON document" if self.json else argparse.SUPPRESS
        parser.add_argument("--json", action="store_true", help=text)
        self.add_arguments(parser)
        return parser


class _Once(argparse.Action):
    """Stores a value; another one for the same option is an error, not silently the last."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Store the value.

        Raises:
            argparse.ArgumentError: the option has another value already.
        """
        del parser
        if option_string is not None:
            given: dict[str, object] = namespace.__dict__.setdefault("given", {})
            if given.setdefault(self.dest, values) != values:
                raise argparse.ArgumentError(
                    self, f"it is given twice, with {given[self.dest]!r} and {values!r}"
                )
        setattr(namespace, self.dest, values)


class _Parser(ArgumentParser):
    """The parser of a verb, with the help that help.py lays out."""

    def __init__(self, verb: Verb) -> None:
        super().__init__(prog=f"xdpctl {verb.name}")
        self.help_command = f"`xdpctl {verb.name} --help`"
        self._verb = verb
        if verb.plain:  # of the service's options the last one counts
            for action in (None, "store"):
                self.register("action", action, _Once)

    def format_help(self) -> str:
        """Return the text of `xdpctl VERB --help`."""
        from xdpctl.cli.help import of_verb  # noqa: PLC0415 - few command lines ask for help

        verb = self._verb
        return of_verb(verb.name, verb.summary, self._actions, verb.examples, is_plain=verb.plain)
