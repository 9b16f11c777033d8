"""`xdpctl --help`, `xdpctl help service` and `xdpctl VERB --help`: each but the second on a screen.

Owns the layout of these texts: at most 40 lines on a terminal of 80 columns. Does not own the texts
of verbs (verb.py) or options (settings/). Called by main.py and verb.py.
"""

from __future__ import annotations

import argparse
import shutil
import textwrap
from typing import TYPE_CHECKING

from xdpctl.process.command_line import ArgumentParser
from xdpctl.settings import add_service_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_STATUS = "exit status: 0 done, 1 refused or failed, 2 usage, 3 no service answers"
_WIDTH_MAX = 100
_WIDTH_MIN = 40
_HEAD = 24
"""Columns of an option with its value; longer ones have a line of their own."""

_COMMON = frozenset({"-h", "--control", "--config", "--log-level", "--json"})
"""Options of every verb, which its help only names."""

_SERVICE = "xdpctl help service"


def overview(verbs: Mapping[str, str]) -> str:
    """Return the text of `xdpctl --help`, from the summary of each verb."""
    width = max(map(len, verbs))
    return "\n".join(
        (
            "usage: xdpctl --interface NAME [option ...]   run the service",
            "       xdpctl VERB [argument ...]             talk to the running service",
            "",
            "An XDP shield for DNS servers: drops or truncates what dnsdist and you block.",
            "",
            *(f"  {name:<{width}}  {summary}" for name, summary in verbs.items()),
            "",
            "`xdpctl VERB --help`: arguments and examples of a verb",
            f"`{_SERVICE}`: options of the service",
            _STATUS,
            "",
        )
    )


def service_options() -> str:
    """Return the text of `xdpctl help service`: every option with its default and variable."""
    return "\n".join(
        (
            "usage: xdpctl --interface NAME [option ...]",
            "",
            "Without a verb, xdpctl runs the service, with these options:",
            service_parser().format_help().partition("\n\n")[2],
        )
    )


def service_parser() -> ArgumentParser:
    """Return a parser of what `xdpctl` takes without a verb."""
    parser = ArgumentParser(prog="xdpctl")
    parser.add_argument("-V", "--version", action="store_true", help="print the version")
    add_service_options(parser)
    return parser


def of_verb(
    name: str,
    summary: str,
    actions: Iterable[argparse.Action],
    examples: Sequence[str],
    *,
    is_plain: bool,
) -> str:
    """Return the text of `xdpctl VERB --help`.

    Args:
        name: of the verb.
        summary: what it does.
        actions: its arguments and options.
        examples: command lines.
        is_plain: whether it takes the usual options, not those of the service.
    """
    shown = [action for action in actions if action.help is not argparse.SUPPRESS]
    service = set() if is_plain else {each.dest for each in service_parser()._actions}  # noqa: SLF001 - argparse has no other way to list them
    own = [
        action
        for action in shown
        if action.dest not in service and _COMMON.isdisjoint(action.option_strings)
    ]
    width = min(max(shutil.get_terminal_size().columns, _WIDTH_MIN), _WIDTH_MAX)
    arguments = " ".join(_usage(action) for action in own if not action.option_strings)
    words = ("usage: xdpctl", name, arguments, "[option ...]")
    lines = [" ".join(word for word in words if word), "", *_sentence(summary, width), ""]
    for action in own:
        lines += _row(_head(action), action.help or "", width)
    for action in shown:
        if "--json" in action.option_strings:
            lines += _row("--json", action.help or "", width)
    if is_plain:
        lines += _row(
            "--control PATH",
            "another control socket; also --config FILE, --log-level LEVEL (debug: tracebacks)",
            width,
        )
    else:
        lines += _sentence(f"takes every option of the service, see `{_SERVICE}`", width)
    if examples:
        lines += ["", "examples:", *(f"  {example}" for example in examples)]
    return "\n".join([*lines, ""])


def _sentence(text: str, width: int) -> list[str]:
    return textwrap.wrap(f"{text[0].upper()}{text[1:]}.", width, break_on_hyphens=False)


def _usage(action: argparse.Action) -> str:
    """Return an argument as a line of usage has it."""
    name = _value(action)
    if action.nargs == "?":
        return f"[{name}]"
    return f"{name} ..." if action.nargs == "+" else name


def _value(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices is not None:
        return "|".join(str(choice) for choice in action.choices)
    return action.dest.upper()


def _head(action: argparse.Action) -> str:
    if not action.option_strings:
        return _value(action)
    flags = ", ".join(action.option_strings)
    return flags if action.nargs == 0 else f"{flags} {_value(action)}"


def _row(head: str, text: str, width: int) -> Iterator[str]:
    """Yield an option and its text, which begins on the next line if the option is long."""
    indent = " " * (_HEAD + 2)
    plain = " ".join(text.replace("%%", "%").split())
    lines = textwrap.wrap(plain, width - len(indent), break_on_hyphens=False)
    if len(head) > _HEAD - 2:
        yield f"  {head}"
    else:
        first = lines.pop(0) if lines else ""
        yield f"  {head:<{_HEAD - 2}}  {first}".rstrip()
    yield from (f"{indent}{line}" for line in lines)
