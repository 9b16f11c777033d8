"""`list`: shows the rules in the maps, ours and dnsdist's, page by page.

Never holds a million rules at once: it writes each page as it arrives. Owns the columns and the
form of JSON lines. Does not own the order of a page (store/pages.py). Called by cli/main.py.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from xdpctl.cli.render import Table, age, count
from xdpctl.cli.verb import Session, Verb, add_map

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

_WITH_TYPES = frozenset({"qnames", "zones", "list-names"})
_HEADERS = ("TARGET", "TYPE", "ACTION", "HITS", "ORIGIN", "EXPIRY", "REASON")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_map(parser)
    parser.add_argument(
        "--origin",
        metavar="O",
        help="only rules of this origin: cli, api, dnsdist, file:NAME or list:NAME",
    )


def _run(arguments: argparse.Namespace, session: Session) -> int:
    query = {key: getattr(arguments, key) for key in ("map", "origin") if getattr(arguments, key)}
    pages = session.client(arguments).rules(query)
    if arguments.json:
        _write_document(pages, session)
        return 0
    table = Table(_HEADERS, right=frozenset({"HITS"}), width=session.width)
    empty = True
    for page in pages:
        for line in table.lines(_cells(rule, terminal=session.terminal) for rule in page):
            empty = False
            session.say(line)
    if empty and session.terminal:
        session.say("no rules match" if query else "no rules: nothing is blocked")
    return 0


def _write_document(pages: Iterable[Iterable[dict[str, Any]]], session: Session) -> None:
    """Write `{"rules": […]}`, one rule a line, as the pages arrive."""
    chunks = _rule_lines(pages)
    first = next(chunks, None)  # if the first call fails, nothing has been written yet
    session.write('{"rules": [')
    if first is not None:
        session.write(f"\n{first}")
        for chunk in chunks:
            session.write(f",\n{chunk}")
        session.write("\n")
    session.write("]}\n")


def _rule_lines(pages: Iterable[Iterable[dict[str, Any]]]) -> Iterator[str]:
    for page in pages:
        for rule in page:
            yield json.dumps(rule, ensure_ascii=False)


def _cells(rule: dict[str, Any], *, terminal: bool) -> tuple[str, ...]:
    expires_in = rule.get("expires_in")
    return (
        shown_target(str(rule.get("target")), terminal=terminal),
        shown_type(rule),
        str(rule.get("action")),
        count(rule.get("hits", 0)) if terminal else str(rule.get("hits", 0)),
        str(rule.get("origin")),
        "-" if expires_in is None else age(expires_in),
        str(rule.get("reason") or ""),
    )


def shown_type(rule: dict[str, Any]) -> str:
    """Return the query type of a rule; `*` is every type, `-` means that it has no type."""
    if rule.get("map") not in _WITH_TYPES:
        return "-"
    return str(rule.get("qtype") or "*")


def shown_target(text: str, *, terminal: bool) -> str:
    """Return a target; on a terminal with the U-labels of a name after its A-labels."""
    shown = unicode_of(text) if terminal else text
    return text if shown == text else f"{text} ({shown})"


def unicode_of(text: str) -> str:
    """Return a target with the U-labels of its name, as people know it."""
    if "xn--" not in text:
        return text
    from xdpctl.rules import parse_target, target_unicode  # noqa: PLC0415 - few lists have such names

    return target_unicode(parse_target(text))


VERBS = (Verb("list", "show the rules, ours and dnsdist's", _add_arguments, _run),)
