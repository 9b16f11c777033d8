"""The table of options as an argparse parser, and usage errors as one sentence.

Values stay text here and absent options stay absent, so that sources.py can
read all three sources alike. The verbs' own arguments are cli/'s.
"""

from __future__ import annotations

import argparse
import difflib
import shutil
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import SettingsError
from xdpctl.rules.names import shown
from xdpctl.settings.options import CONFIG, OPTIONS, Option

if TYPE_CHECKING:
    from collections.abc import Iterable

_HELP_WIDTH_MAX = 100


class ArgumentParser(argparse.ArgumentParser):
    """argparse without abbreviations, whose errors are SettingsError, not an exit."""

    def __init__(self, **options: object) -> None:
        options = {"allow_abbrev": False, "formatter_class": _Formatter} | options
        super().__init__(**options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Raise the usage error as one sentence.

        Raises:
            SettingsError: always.
        """
        source = "command line"
        _, colon, rest = message.partition("unrecognized arguments: ")
        if colon:
            word = next(iter(rest.split()), rest).partition("=")[0]
            raise SettingsError(
                f"cannot use {shown(word)} on the {source}:"
                f" {unknown(word, self._option_string_actions, 'verb or option')}",
                source=source,
            )
        message = message.removeprefix("argument ")
        message = message.replace("ignored explicit argument", "it takes no value, but was given")
        raise SettingsError(
            f"cannot use the {source}: {message}; {self.prog} --help shows what there is",
            source=source,
        )


def unknown(word: str, known: Iterable[str], kind: str) -> str:
    """Return the end of a sentence about a word that is not known, naming the nearest."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    sentence = f"there is no {kind} of this name"
    return f"{sentence}; {near[0]} is the nearest" if near else sentence


class _Formatter(argparse.HelpFormatter):
    """Help in two columns, as wide as the terminal up to 100 characters."""

    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size().columns, _HELP_WIDTH_MAX)
        super().__init__(prog, max_help_position=32, width=width)


def add_service_options(parser: argparse.ArgumentParser) -> None:
    """Add every option of the service; given ones become attributes, as text, by field name."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in (*OPTIONS, CONFIG):
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        add_option(groups[option.group], option)


def add_option(group: argparse._ActionsContainer, option: Option) -> None:
    """Add one option of the table, also for a verb."""
    flags = [f"-{option.short}"] if option.short else []
    help_text = _help(option)
    if option.is_flag:
        group.add_argument(
            *flags,
            f"--{option.name}",
            dest=option.field,
            action=argparse.BooleanOptionalAction,
            default=argparse.SUPPRESS,
            help=help_text,
        )
        return
    group.add_argument(
        *flags,
        f"--{option.name}",
        dest=option.field,
        action="append" if option.is_list else "store",
        default=argparse.SUPPRESS,
        metavar=option.metavar,
        help=help_text,
    )


def _help(option: Option) -> str:
    default = option.default
    if option.is_list:
        default = ", ".join(option.default or ())
    shown = f"default {default}; {option.variable}" if default else option.variable
    return f"{option.help} ({shown})".replace("%", "%%")
