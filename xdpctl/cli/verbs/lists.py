"""`lists`: the lists of the settings; `lists refresh NAME` and `lists accept NAME` read one now.

Owns the columns and the sentences about one list. Does not own when a list is read
(feeds/files.py). Called by cli/main.py.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from xdpctl.cli.render import Table, age, count
from xdpctl.cli.verb import Session, Verb
from xdpctl.errors import UsageError

if TYPE_CHECKING:
    import argparse

_SERIAL = "SERIAL"
"""A column that is there if a list is a zone."""

_HEADERS = ("NAME", "FORMAT", "RULES", "LEFT OUT", _SERIAL, "AGE", "NEXT LOOK", "ERROR")
_LISTS = "/api/v1/lists"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        nargs="?",
        choices=("refresh", "accept"),
        help="refresh: read the list NAME now; accept: also take a version that has no rule or"
        " lost more rules than max-shrink allows",
    )
    parser.add_argument("list", nargs="?", metavar="NAME", help="name of the list")
    parser.add_argument(
        "--names", action="store_true", help="print only the names, one a line; for scripts"
    )


def _run(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.what is not None:
        return _read_now(arguments, session)
    document = session.client(arguments).get(_LISTS)
    if arguments.json:
        session.document(document)
        return 0
    lists: list[dict[str, Any]] = document.get("lists", [])
    if arguments.names:
        for listed in lists:
            session.say(str(listed.get("name")))
        return 0
    if not lists:
        session.say(
            "no lists: the configuration file has no [[list]], or the service is just starting"
        )
        return 0
    has_zones = any(listed.get("zone") for listed in lists)
    headers = [header for header in _HEADERS if has_zones or header != _SERIAL]
    table = Table(headers, right=frozenset({"RULES", "LEFT OUT", _SERIAL}), width=session.width)
    now = time.time()
    rows = (dict(zip(_HEADERS, _cells(listed, now), strict=True)) for listed in lists)
    for line in table.lines(tuple(row[header] for header in headers) for row in rows):
        session.say(line)
    for listed in lists:
        if kinds := _kinds(listed):
            session.say(f"{listed.get('name')} leaves out {kinds}")
    return 0


def _kinds(listed: dict[str, Any]) -> str:
    """Return what a list leaves out, by kind; empty if that is nothing or not known."""
    kinds: dict[str, int] = listed.get("left_out_kinds") or {}
    if not kinds:
        return ""
    from xdpctl.feeds.formats.account import counted  # noqa: PLC0415 - not needed for --help

    return ", ".join(counted(number, kind) for kind, number in kinds.items())


def _read_now(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.list is None:
        raise UsageError(
            f"cannot run `xdpctl lists {arguments.what}` without a name: `xdpctl lists` shows the"
            " names"
        )
    query = {"name": arguments.list}
    listed = session.client(arguments).post(f"{_LISTS}/{arguments.what}", None, query)
    if arguments.json:
        session.document(listed)
        return 0
    left_out = listed.get("left_out") or 0
    rules = listed.get("rules") or 0
    entries = "entry" if left_out == 1 else "entries"
    more = f", {count(left_out)} {entries} left out" if left_out else ""
    if kinds := _kinds(listed):
        more += f" ({kinds})"
    session.say(
        f"{listed.get('name')}: {count(rules)} {'rule' if rules == 1 else 'rules'} in force,"
        f" read as {listed.get('format')}{more}"
    )
    return 0


def _cells(listed: dict[str, Any], now: float) -> tuple[str, ...]:
    since = "contact" if listed.get("zone") else "last_success"
    rules, success, serial = map(listed.get, ("rules", since, "serial"))
    return (
        str(listed.get("name")),
        str(listed.get("format")),
        "-" if rules is None else count(rules),
        count(listed.get("left_out") or 0),
        "-" if serial is None else str(serial),
        "-" if success is None else age(now - success),
        age((listed.get("next") or now) - now),
        str(listed.get("error") or "-"),
    )


VERBS = (
    Verb(
        "lists",
        "show the lists of the settings, or read one now",
        _add_arguments,
        _run,
        examples=(
            "xdpctl lists",
            "xdpctl lists refresh drop.txt",
            "xdpctl lists accept drop.txt",
        ),
    ),
)
