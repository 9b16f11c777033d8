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
_CLAIM_HEADERS = (*_HEADERS[:5], "CLASS", "IN FORCE", *_HEADERS[5:])


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_map(parser)
    parser.add_argument(
        "--origin",
        metavar="O",
        help="only rules of this origin: cli, api, file:NAME, app:NAME, list:NAME or dnsdist",
    )
    parser.add_argument(
        "--all-claims",
        action="store_true",
        help="show the claims of all origins on each target, also those that wait",
    )


def _run(arguments: argparse.Namespace, session: Session) -> int:
    query = {key: getattr(arguments, key) for key in ("map", "origin") if getattr(arguments, key)}
    if arguments.all_claims:
        query["all_claims"] = "1"
    pages = session.client(arguments).rules(query)
    if arguments.json:
        _write_document(pages, session)
        return 0
    headers = _CLAIM_HEADERS if arguments.all_claims else _HEADERS
    table = Table(headers, right=frozenset({"HITS"}), width=session.width)
    empty = True
    for page in pages:
        rows = (
            row
            for rule in page
            for row in (
                _claim_rows(rule, arguments.origin, terminal=session.terminal)
                if arguments.all_claims
                else (_cells(rule, terminal=session.terminal),)
            )
        )
        for line in table.lines(rows):
            empty = False
            session.say(line)
    if empty and session.terminal:
        chosen = arguments.map or arguments.origin
        session.say("no rules match" if chosen else "no rules: nothing is blocked")
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


def _claim_rows(
    rule: dict[str, Any], origin: str | None, *, terminal: bool
) -> Iterator[tuple[str, ...]]:
    """Yield a row for each claim on a rule's target, the one in force first."""
    for claim in rule.get("claims") or ():
        if origin is None or claim.get("origin") == origin:
            target, kind, *_ = _cells(rule, terminal=terminal)
            _, _, action, hits, whose, expiry, reason = _cells({**rule, **claim}, terminal=terminal)
            in_force = bool(claim.get("in_force"))
            yield (
                *(target, kind, action, hits if in_force else "-", whose),
                *(str(claim.get("class")), "yes" if in_force else "waits", expiry, reason),
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
