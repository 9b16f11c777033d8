"""`top`: shows the rules with the most hits; on a terminal, refreshes every second.

Ctrl-C is the normal way to end it, with status 0. Owns the refreshed screen. Does not own the
ranking (store/top.py). Called by cli/main.py.
"""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

from xdpctl.cli.render import Table, count
from xdpctl.cli.verb import Session, Verb, add_map
from xdpctl.cli.verbs.listing import shown_target, shown_type

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_HEADERS = ("RATE", "HITS", "TARGET", "TYPE", "ACTION", "ORIGIN", "REASON")
_SECOND = 1.0
_TITLES = 1
_COUNT_MAX = 1000
_TENTHS_BELOW = 10


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _COUNT_MAX:
        raise ValueError(text)
    return int(text)


_count.__name__ = f"number from 1 to {_COUNT_MAX}"  # argparse uses it in the error


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-n",
        dest="count",
        type=_count,
        default=10,
        metavar="N",
        help="how many rules (default: 10)",
    )
    add_map(parser)
    parser.add_argument(
        "--by",
        choices=("rate", "hits"),
        default="rate",
        help="rate: packets a second, measured over one second; hits: packets since the entry"
        " was made (default: rate)",
    )


def _run(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.json:
        session.document(_ask(arguments, session))
    elif session.terminal:
        _refresh(arguments, session)
    else:
        for line in _table(_ask(arguments, session), session):
            session.say(line)
    return 0


def _ask(arguments: argparse.Namespace, session: Session) -> dict[str, Any]:
    query = {"n": str(arguments.count), "by": arguments.by}
    if arguments.map:
        query["map"] = arguments.map
    return session.client(arguments).get("/api/v1/top", query)


def _refresh(arguments: argparse.Namespace, session: Session) -> None:
    """Redraw the table every second until Ctrl-C; to measure a rate takes that second."""
    drawn = 0
    try:
        while True:
            began = time.monotonic()
            room = max(shutil.get_terminal_size().lines - 1, _TITLES + 1)
            lines = list(_table(_ask(arguments, session), session))[:room]
            lines = lines or ["no rules: nothing is blocked"]
            up = f"\x1b[{drawn}A" if drawn else ""
            session.write(f"{up}\r\x1b[J" + "".join(f"{line}\n" for line in lines))
            session.output.flush()
            drawn = len(lines)
            time.sleep(max(began + _SECOND - time.monotonic(), 0.0))
    except KeyboardInterrupt:
        session.write("\r")


def _table(answer: dict[str, Any], session: Session) -> Iterator[str]:
    table = Table(_HEADERS, right=frozenset({"RATE", "HITS"}), width=session.width)
    terminal = session.terminal
    return table.lines(
        (
            _rate(rule.get("rate")),
            count(rule.get("hits", 0)) if terminal else str(rule.get("hits", 0)),
            shown_target(str(rule.get("target")), terminal=terminal),
            shown_type(rule),
            str(rule.get("action")),
            str(rule.get("origin")),
            str(rule.get("reason") or ""),
        )
        for rule in answer.get("rules", [])
    )


def _rate(rate: float | None) -> str:
    """Return packets a second, with one decimal below ten."""
    if rate is None:
        return "-"
    return f"{rate:.1f}/s" if 0 < rate < _TENTHS_BELOW else f"{rate:.0f}/s"


VERBS = (Verb("top", "show the rules with the most hits", _add_arguments, _run),)
