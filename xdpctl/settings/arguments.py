"""The table of options as arguments of a parser.

Values stay text here, and absent options stay absent, so that sources.py can read all
three sources in the same way. Does not own the arguments of the verbs (cli/). Called by
settings.py and by the verbs that take the options of the service.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from xdpctl.settings.options import CONFIG, OPTIONS

if TYPE_CHECKING:
    from xdpctl.settings.options import Option


def add_service_options(parser: argparse.ArgumentParser) -> None:
    """Add every option of the service; the parser stores the given ones, as text, by field."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in (*OPTIONS, CONFIG):
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        add_option(groups[option.group], option)


def add_option(group: argparse._ActionsContainer, option: Option) -> None:
    """Add one option of the table."""
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
    ending = f"default {default}; {option.variable}" if default else option.variable
    return f"{option.help} ({ending})".replace("%", "%%")
