"""`history`: the last changes: when, who, what, and how often what was removed had been hit.

Owns the columns. Does not own what is written down (service/account.py). Called by cli/main.py.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from xdpctl.cli.render import Table, count
from xdpctl.cli.verb import Session, Verb, number_up_to

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

_HEADERS = ("TIME", "WHO", "VERB", "TARGET", "TYPE", "ACTION", "ORIGIN", "COUNT", "HITS", "NOTE")
_NUMBERS = frozenset({"COUNT", "HITS"})

CHANGES_KEPT = 10_000
"""As store.history keeps, which a verb does not load."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help="only changes of the rules for this address, prefix, name or zone; a change of many"
        " rules at once (import, list, flush) has none",
    )
    parser.add_argument(
        "--since", metavar="DURATION", help="only the last 30s, 10m, 1h30m, 7d, 2w (default: all)"
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=number_up_to(CHANGES_KEPT),
        help="only the last N changes (default: all, at most 10,000)",
    )


def _run(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.target is not None:
        from xdpctl.cli.typed import refuse_pasted  # noqa: PLC0415 - needs dnspython

        refuse_pasted(arguments.target)
    names = ("target", "since", "limit")
    query = {name: str(getattr(arguments, name)) for name in names if getattr(arguments, name)}
    document = session.client(arguments).get("/api/v1/history", query)
    if arguments.json:
        session.document(document)
        return 0
    table = Table(_HEADERS, right=_NUMBERS, width=session.width)
    lines = list(table.lines(_cells(change) for change in document.get("changes", [])))
    for line in lines or table.titles():
        session.say(line)
    return 0


def _cells(change: Mapping[str, Any]) -> tuple[str, ...]:
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(change.get("time") or 0))
    hits = change.get("hits")
    many = change.get("target") is None
    notes = (change.get("detail"), change.get("reason"))
    return (
        moment,
        who(change.get("who") or {}),
        str(change.get("verb")),
        *(str(change.get(name) or "-") for name in ("target", "qtype", "action", "origin")),
        count(change.get("count") or 0) if many else "",
        "" if hits is None else count(hits),
        "; ".join(str(note) for note in notes if note),
    )


def who(document: Mapping[str, Any]) -> str:
    """Return who asked for a change in one word: `uid 0 xdpctl[4711]`, `token api`, `service`."""
    if document.get("uid") is not None:
        process = document.get("command") or "pid"
        number = document.get("pid")
        return f"uid {document['uid']}" + ("" if number is None else f" {process}[{number}]")
    if document.get("token"):
        return f"token {document['token']}"
    return str(document.get("address") or "service")


VERBS = (
    Verb(
        "history",
        "show the last changes and who made them",
        _add_arguments,
        _run,
        examples=(
            "xdpctl history --since 1h",
            "xdpctl history 192.0.2.1",
        ),
    ),
)
