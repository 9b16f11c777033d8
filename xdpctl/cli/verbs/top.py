"""`top`: shows the rules with the most hits; on a terminal, refreshes every second.

The keys q and Ctrl-C end it, with status 0; s changes the order. With `--live` it shows who sends
most, of everything and not only of what rules take (cli/talkers.py has that screen). Owns the
refreshed screen of rules. Does not own the ranking (store/top.py). Called by cli/main.py.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from xdpctl.abi import RULE_PLACES
from xdpctl.cli.keyboard import Keyboard
from xdpctl.cli.render import Table, count, shown_rate
from xdpctl.cli.screen import SILENT, Screen
from xdpctl.cli.traffic import add_filters, filters
from xdpctl.cli.verb import Session, Verb, add_map, number_up_to
from xdpctl.cli.verbs.listing import shown_target, shown_type
from xdpctl.cli.verbs.status import acting, heavy
from xdpctl.errors import NotFoundError, ServiceUnreachableError, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_HEADERS = ("RATE", "HITS", "TARGET", "TYPE", "ACTION", "ORIGIN", "REASON")
_ACTIONS = ("pass", "drop", "truncate", "redirect")
_LIVE_HEADERS = ("RATE/S", "PACKETS", "ERROR", "SHARE%", *(a.upper() for a in _ACTIONS), "KEY")
LIVE_BY = {
    "source": "s",
    "source32": "s",
    "source24": "s",
    "source128": "s",
    "source64": "s",
    "source48": "s",
    "name": "n",
    "zone2": "2",
    "zone3": "3",
    "type": "t",
    "port": "p",
    "source-port": "p",
    "action": "a",
    "reason": "a",
    "interface": "a",
}
"""What `--live` can sum up, and the key of the view that a terminal begins with."""

_SECONDS_MAX = 60
_SECOND = 1.0
_COUNT_MAX = 1000


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-n",
        dest="count",
        type=number_up_to(_COUNT_MAX),
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
    parser.add_argument(
        "--live",
        nargs="?",
        const="source",
        choices=LIVE_BY,
        metavar="BY",
        help="who sends most, and what, of everything that comes in, estimated from samples; keys"
        f" change what is summed up. BY: {', '.join(LIVE_BY)} (default: source)",
    )
    parser.add_argument(
        "--seconds",
        type=number_up_to(_SECONDS_MAX),
        default=5,
        metavar="N",
        help="with --live: sum up the last N seconds, at most 60 (default: 5)",
    )
    add_filters(parser)


def _run(arguments: argparse.Namespace, session: Session) -> int:
    chosen = filters(arguments)
    if arguments.live is not None:
        return _live(arguments, session, chosen)
    if chosen:
        raise UsageError(
            f"cannot use --{next(iter(chosen))} without --live: the ranking of rules has --map only"
        )
    if arguments.json:
        session.document(_ask(arguments, session))
    elif session.terminal:
        _refresh(arguments, session)
    else:
        table = _new_table(session)
        rows = list(_rows(table, _ask(arguments, session), session)) or table.titles()
        for line in (*_above(arguments, session), *rows):
            session.say(line)
    return 0


def _live(arguments: argparse.Namespace, session: Session, chosen: dict[str, str]) -> int:
    """Show who sends most, of all packets."""
    client = session.client(arguments)
    query = {**chosen, "seconds": str(arguments.seconds)}
    if session.terminal and not arguments.json:
        from xdpctl.cli.talkers import show  # noqa: PLC0415 - only for a terminal

        show(client, query, session, LIVE_BY[arguments.live])
        return 0
    query |= {"n": str(arguments.count), "by": ",".join(LIVE_BY)}
    if not arguments.json:
        query["by"] = arguments.live
    document = client.get("/api/v1/samples", query)
    if arguments.json:
        session.document(document)
        return 0
    table = Table(_LIVE_HEADERS, right=frozenset(_LIVE_HEADERS[:-1]), width=session.width)
    rows = document.get("by", {}).get(arguments.live, [])
    lines = table.lines(
        (
            f"{row['rate']:.1f}",
            str(row["packets"]),
            str(row["error"]),
            f"{100 * row['share']:.1f}",
            *(str(row["actions"].get(action, 0)) for action in _ACTIONS),
            str(row["key"]),
        )
        for row in rows
    )
    for line in list(lines) or table.titles():
        session.say(line)
    return 0


def _ask(arguments: argparse.Namespace, session: Session) -> dict[str, Any]:
    query = {"n": str(arguments.count), "by": arguments.by}
    if arguments.map:
        query["map"] = arguments.map
    return session.client(arguments).get("/api/v1/top", query)


def _refresh(arguments: argparse.Namespace, session: Session) -> None:
    """Redraw the table every second until Ctrl-C or q; to measure a rate takes that second."""
    screen, answered = Screen(session), False
    with suppress(KeyboardInterrupt), Keyboard(session.input) as keyboard:
        while True:
            began = time.monotonic()
            try:
                lines = _screen(arguments, session, keyboard)
                answered = True
            except ServiceUnreachableError:
                if not answered:
                    raise
                lines = [f"{SILENT}; trying again"]
            screen.draw(lines)
            key = keyboard.wait(max(began + _SECOND - time.monotonic(), 0.0))
            if key == "q":
                break
            if key == "s":
                arguments.by = "hits" if arguments.by == "rate" else "rate"
    session.write("\r")


def _screen(arguments: argparse.Namespace, session: Session, keyboard: Keyboard) -> list[str]:
    """Return the lines of one screen."""
    answer = _ask(arguments, session)
    lines = list(_rows(_new_table(session), answer, session))
    if not lines:
        lines = [_nothing_hit(arguments, session)]
    lines[:0] = _above(arguments, session)
    if keyboard.works:
        other = "hits" if arguments.by == "rate" else "rate"
        lines.insert(0, f"sorted by {arguments.by}; keys: q quits, s sorts by {other}")
    return lines


def _above(arguments: argparse.Namespace, session: Session) -> list[str]:
    """Return what the limits do, a line for each; nothing of a version without them."""
    found: dict[str, Any] = {}
    with suppress(NotFoundError):
        found = session.client(arguments).get("/api/v1/limits")
    return [*acting(found.get("acting") or [], time.time()), *heavy(found.get("heavy") or [])]


def _nothing_hit(arguments: argparse.Namespace, session: Session) -> str:
    """Return why there is nothing to show: no rules, or none that was hit."""
    maps = session.client(arguments).get("/api/v1/status").get("maps", [])
    wanted = [arguments.map] if arguments.map else [str(name) for name in RULE_PLACES]
    number = sum(found.get("entries") or 0 for found in maps if found.get("name") in wanted)
    where = f" in {arguments.map}" if arguments.map else ""
    if not number:
        return f"no rules{where}: nothing is blocked{' by them' if where else ''}"
    when = "within the last second" if arguments.by == "rate" else "since it was made"
    there = "rule is" if number == 1 else "rules are"
    return f"no rule{where} was hit {when}; {count(number)} {there} in force"


def _new_table(session: Session) -> Table:
    return Table(_HEADERS, right=frozenset({"RATE", "HITS"}), width=session.width)


def _rows(table: Table, answer: dict[str, Any], session: Session) -> Iterator[str]:
    terminal = session.terminal
    return table.lines(
        (
            rate if terminal else rate.replace(",", ""),
            count(rule.get("hits", 0)) if terminal else str(rule.get("hits", 0)),
            shown_target(str(rule.get("target")), terminal=terminal),
            shown_type(rule),
            str(rule.get("action")),
            str(rule.get("origin")),
            str(rule.get("reason") or ""),
        )
        for rule in answer.get("rules", [])
        for rate in (shown_rate(rule.get("rate")),)
    )


VERBS = (
    Verb(
        "top",
        "show the rules with the most hits, or with --live who sends most",
        _add_arguments,
        _run,
        examples=(
            "xdpctl top",
            "xdpctl top -n 20 --by hits",
            "xdpctl top --live",
            "xdpctl top --live name --source 192.0.2.0/24 --json",
        ),
    ),
)
