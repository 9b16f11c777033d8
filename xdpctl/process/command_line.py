"""The parser of a command line, and usage errors as one sentence.

Owns how errors and help of argparse look, for the service and every verb. Does not own any
option: those of the service are in settings/, those of a verb in cli/verbs/. Called by
settings/ and cli/.
"""

from __future__ import annotations

import argparse
import shutil
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

_HELP_WIDTH_MAX = 100
_SOURCE = "command line"
_WORD_MAX = 80


class ArgumentParser(argparse.ArgumentParser):
    """argparse without abbreviations; an error raises SettingsError instead of exiting."""

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
                f"cannot use {word[:_WORD_MAX]!r} with `{self.prog}`: {reason}", source=_SOURCE
            )
        message = message.removeprefix("argument ")
        message = message.replace("ignored explicit argument", "it takes no value, but was given")
        raise SettingsError(
            f"cannot run `{self.prog}`: {message}; see `{self.prog} --help`", source=_SOURCE
        )


def unknown(word: str, known: Iterable[str], kind: str) -> str:
    """Return a clause that says that `word` is unknown, and suggests the most similar one."""
    from difflib import get_close_matches  # noqa: PLC0415 - only to help with a typing error

    near = get_close_matches(word, list(known), n=1, cutoff=0.5)
    clause = f"there is no {kind} with this name"
    return f"{clause}; did you mean {near[0]}?" if near else clause


class _Formatter(argparse.HelpFormatter):
    """Help in two columns, as wide as the terminal up to 100 characters."""

    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size().columns, _HELP_WIDTH_MAX)
        super().__init__(prog, max_help_position=32, width=width)
