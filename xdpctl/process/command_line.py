"""The parser of a command line, and usage errors as one sentence.

Owns how errors and help of argparse look, for the service and every verb. Does not own any
option: those of the service are in settings/, those of a verb in cli/verbs/. Called by
settings/ and cli/.
"""

from __future__ import annotations

import argparse
import re
import shutil
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

_HELP_WIDTH_MAX = 100
SOURCE = "command line"
"""The source of a usage error (SettingsError.source)."""

_WORD_MAX = 80
_CHOICES = re.compile(r"invalid choice: (?P<text>.*) \(choose from (?P<words>.*)\)", re.DOTALL)
_VALUE = re.compile(r"invalid (?P<kind>.*?) value: (?P<text>.*)", re.DOTALL)
_MISSING = "the following arguments are required: "
_NO_VALUE = "expected one argument"
_NEAR = 0.7

NEVER_SUGGESTED = frozenset({"--force", "--replace", "--yes"})
"""Options that switch a safeguard off: nobody is led to them by a typing error."""

_MEANT = {
    "--forever": "--for forever",
    **dict.fromkeys(
        ("--duration", "--expire", "--expires", "--timeout", "--time", "--ttl"), "--for"
    ),
    **dict.fromkeys(("--type", "--rrtype"), "--qtype"),
    **dict.fromkeys(("--comment", "--note", "--message"), "--reason"),
    **dict.fromkeys(("--socket", "--sock"), "--control"),
    **dict.fromkeys(("--number", "--count", "--lines"), "--limit"),
    "--iface": "--interface",
}
"""What other programs call an option, by theirs; only where the verb has it."""


class ArgumentParser(argparse.ArgumentParser):
    """argparse without abbreviations; an error raises SettingsError instead of exiting.

    Attributes:
        help_command: the command that shows the options, as an error names it.
    """

    help_command = "`xdpctl help service`"

    def __init__(self, **options: object) -> None:
        options = {"allow_abbrev": False, "formatter_class": _Formatter} | options
        super().__init__(**options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Raise the usage error as one sentence.

        Raises:
            SettingsError: always.
        """
        _, colon, rest = message.partition("unrecognized arguments: ")
        if colon:
            word = next(iter(rest.split()), rest).partition("=")[0]
            reason = unknown(word, self._option_string_actions, "option or argument")
            raise SettingsError(
                f"cannot use {word[:_WORD_MAX]!r} with `{self.prog}`: {reason}", source=SOURCE
            )
        reason = _in_words(message.removeprefix("argument "))
        raise SettingsError(
            f"cannot run `{self.prog}`: {reason}; see {self.help_command}", source=SOURCE
        )


def _in_words(message: str) -> str:
    """Return a message of argparse's as the clause of a sentence."""
    if message.startswith(_MISSING):
        return f"it needs {message.removeprefix(_MISSING)}"
    name, colon, rest = message.partition(": ")
    if not colon:
        return message
    if rest == _NO_VALUE:
        option = name.rpartition("/")[2]
        return f"{name} needs a value (one that begins with - is written {option}=VALUE)"
    if found := _CHOICES.fullmatch(rest):
        words = [word.strip("'") for word in found["words"].split(", ")]
        near = nearest(found["text"].strip("'"), words)
        return f"{name}: {found['text']} is not one of {', '.join(words)}" + (
            f"; did you mean {near}?" if near else ""
        )
    if found := _VALUE.fullmatch(rest):
        return f"{name}: {found['text']} is not a {found['kind']}"
    return message.replace("ignored explicit argument", "it takes no value, but was given")


def unknown(word: str, known: Iterable[str], kind: str) -> str:
    """Return a clause that says that `word` is unknown, and suggests what was probably meant."""
    words = list(known)
    meant = _MEANT.get(word, "")
    if meant.partition(" ")[0] not in words:
        meant = nearest(word, words)
    clause = f"there is no {kind} with this name"
    return f"{clause}; did you mean {meant}?" if meant else clause


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the most similar of some words; empty: none is similar."""
    from difflib import get_close_matches  # noqa: PLC0415 - only to help with a typing error

    safe = [each for each in words if each not in NEVER_SUGGESTED]
    return next(iter(get_close_matches(word, safe, 1, _NEAR)), "")


class _Formatter(argparse.HelpFormatter):
    """Help in two columns, as wide as the terminal up to 100 characters."""

    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size().columns, _HELP_WIDTH_MAX)
        super().__init__(prog, max_help_position=32, width=width)
