"""`list`: shows the rules in the maps, ours and dnsdist's, page by page.

Unless they are to be sorted, never holds a million rules at once: it writes each page as it
arrives. Owns the columns, the order and the form of JSON lines. Does not own the order of a page
(store/pages.py). Called by cli/main.py.
"""

from __future__ import annotations

import json
import math
from heapq import nsmallest
from ipaddress import ip_network
from itertools import chain
from typing import TYPE_CHECKING, Any

from xdpctl.cli.render import Table, age, count, listed, shortened, shown_rate
from xdpctl.cli.verb import Session, Verb, add_map, number_up_to
from xdpctl.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TypeAlias

    from xdpctl.cli.client import Client

    Rule: TypeAlias = dict[str, Any]

_WITH_TYPES = frozenset({"qnames", "zones", "list-names"})
_TARGET_WIDTH = 60
"""Columns of a target on a terminal, so that one long name does not wrap every line."""

_SHOWN = 3
_RANKED = 1_000
"""Rules whose rate is asked for: the most that the service ranks."""

SORTS = ("hits", "rate", "target", "expiry")
_HEADERS = ("TARGET", "TYPE", "ACTION", "HITS", "ORIGIN", "EXPIRY", "REASON")
_CLAIM_HEADERS = (*_HEADERS[:5], "CLASS", "IN FORCE", *_HEADERS[5:])


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help="only rules for exactly this address, prefix, name or zone; of a name, with each type",
    )
    parser.add_argument(
        "--contains",
        action="store_true",
        help="with TARGET: also the rules for prefixes, names and zones that contain it",
    )
    parser.add_argument("--qtype", metavar="T", help="with TARGET: only rules of this type")
    add_map(parser)
    parser.add_argument(
        "--origin",
        metavar="O",
        help="only rules of this origin: cli, api, dnsdist, file:NAME, app:NAME or list:NAME",
    )
    parser.add_argument(
        "--all-claims",
        action="store_true",
        help="show the claims of all origins on each target, also those that wait",
    )
    parser.add_argument(
        "--sort",
        choices=SORTS,
        help="hits or rate: the most first (rate: packets a second, measured for a second);"
        " expiry: the soonest first (default: by target, if there are few)",
    )
    parser.add_argument("--limit", type=number_up_to(), metavar="N", help="at most N rules")


def _run(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.target is None and (arguments.contains or arguments.qtype):
        raise UsageError(
            "cannot run `xdpctl list` with --contains or --qtype alone: they go with a TARGET"
        )
    if arguments.target is not None:
        from xdpctl.cli.typed import refuse_pasted  # noqa: PLC0415 - needs dnspython

        refuse_pasted(arguments.target)
    pages = _limited(_chosen(arguments, session), arguments.limit)
    if arguments.json:
        _write_document(pages, session)
        return 0
    if arguments.all_claims:
        headers: tuple[str, ...] = _CLAIM_HEADERS
    else:
        headers = ("RATE", *_HEADERS) if arguments.sort == "rate" else _HEADERS
    table = Table(headers, right=frozenset({"HITS", "RATE"}), width=session.width)
    empty = True
    for page in pages:
        rows = (row for rule in page for row in _rows(rule, headers, arguments, session))
        for line in table.lines(rows):
            empty = False
            session.say(line)
    if empty:
        for line in table.titles() if not session.terminal else _nothing(arguments, session):
            session.say(line)
    return 0


def _chosen(arguments: argparse.Namespace, session: Session) -> Iterator[Sequence[Rule]]:
    """Yield the rules that are asked for, page by page, in their order."""
    client = session.client(arguments)
    if arguments.target is not None:
        rules = _of_target(arguments, client, contains=arguments.contains)
        yield sorted_rules(rules, arguments.sort, client) if arguments.sort else rules
        return
    query = {key: getattr(arguments, key) for key in ("map", "origin") if getattr(arguments, key)}
    if arguments.all_claims:
        query["all_claims"] = "1"
    pages = client.rules(query)
    if arguments.sort is None:
        yield from _first_page_sorted(pages)
    elif arguments.limit is not None and arguments.sort != "rate":
        every = chain.from_iterable(pages)
        yield nsmallest(arguments.limit, every, key=_KEYS[arguments.sort])
    else:
        yield sorted_rules([rule for page in pages for rule in page], arguments.sort, client)


def _first_page_sorted(pages: Iterator[list[Rule]]) -> Iterator[Sequence[Rule]]:
    """Yield pages as they come; a single page in the order of its targets."""
    first = next(pages, [])
    second = next(pages, None)
    if second is None:
        yield sorted(first, key=by_target)
        return
    yield first
    yield second
    yield from pages


def _of_target(arguments: argparse.Namespace, client: Client, *, contains: bool) -> list[Rule]:
    query = {"target": arguments.target}
    if arguments.qtype:
        query["qtype"] = arguments.qtype
    if contains:
        query["contains"] = "1"
    rules: list[Rule] = client.get("/api/v1/rules", query).get("rules", [])
    return [
        rule
        for rule in rules
        if arguments.map in {None, rule.get("map")}
        and arguments.origin in {None, rule.get("origin")}
    ]


def _limited(pages: Iterable[Sequence[Rule]], limit: int | None) -> Iterator[Sequence[Rule]]:
    """Yield pages until there are `limit` rules."""
    left = limit
    for page in pages:
        if left is None:
            yield page
            continue
        yield page[:left]
        left -= len(page)
        if left <= 0:
            return


def _nothing(arguments: argparse.Namespace, session: Session) -> Iterator[str]:
    """Yield what to say on a terminal when no rule is listed."""
    if arguments.target is None:
        chosen = arguments.map or arguments.origin
        yield "no rules match" if chosen else "no rules: nothing is blocked"
        return
    yield f"there is no rule for {arguments.target}"
    if not arguments.contains:
        around = _of_target(arguments, session.client(arguments), contains=True)
        shown = [f"{rule.get('target')} ({rule.get('action')})" for rule in around[:_SHOWN]]
        if shown:
            yield f"but {listed(shown)} contains it: `--contains` shows more"


# --- order --------------------------------------------------------------------------


def by_target(rule: Rule) -> tuple[object, ...]:
    """Return the place of a rule in the order of targets: addresses, prefixes, then names."""
    text = str(rule.get("target"))
    typed = str(rule.get("qtype") or "")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        labels = text.lstrip("*").strip(".").split(".")
        return 2, tuple(reversed(labels)), text, typed
    return network.version // 6, int(network.network_address), network.prefixlen, text


def _by_hits(rule: Rule) -> tuple[object, ...]:
    return (-(rule.get("hits") or 0), *by_target(rule))


def _by_expiry(rule: Rule) -> tuple[object, ...]:
    expires_in = rule.get("expires_in")
    return (math.inf if expires_in is None else expires_in, *by_target(rule))


_KEYS: dict[str, Callable[[Rule], tuple[object, ...]]] = {
    "hits": _by_hits,
    "target": by_target,
    "expiry": _by_expiry,
}


def sorted_rules(rules: list[Rule], order: str, client: Client) -> list[Rule]:
    """Return the rules in this order; with `rate` each has its rate, 0 where it was not hit."""
    if order != "rate":
        return sorted(rules, key=_KEYS[order])
    top = client.get("/api/v1/top", {"n": str(_RANKED), "by": "rate"}).get("rules", [])
    rates = {_identity(rule): rule.get("rate") or 0.0 for rule in top}
    rated = [{**rule, "rate": rates.get(_identity(rule), 0.0)} for rule in rules]
    return sorted(rated, key=lambda rule: (-rule["rate"], *_by_hits(rule)))


def _identity(rule: Rule) -> tuple[object, ...]:
    return tuple(rule.get(field) for field in ("map", "target", "qtype", "wildcard"))


# --- output -------------------------------------------------------------------------


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


def _cells(rule: Rule, headers: Sequence[str], session: Session) -> tuple[str, ...]:
    expires_in, terminal = rule.get("expires_in"), session.terminal
    target = shown_target(str(rule.get("target")), terminal=terminal)
    rate = (shown_rate(rule.get("rate")),) if "RATE" in headers else ()
    return (
        *rate,
        shortened(target, _TARGET_WIDTH) if terminal else target,
        shown_type(rule),
        str(rule.get("action")),
        count(rule.get("hits", 0)) if terminal else str(rule.get("hits", 0)),
        str(rule.get("origin")),
        "-" if expires_in is None else age(expires_in),
        str(rule.get("reason") or ""),
    )


def _rows(
    rule: Rule, headers: Sequence[str], arguments: argparse.Namespace, session: Session
) -> Iterator[tuple[str, ...]]:
    """Yield the row of a rule; with --all-claims one for each claim, the one in force first."""
    if not arguments.all_claims:
        yield _cells(rule, headers, session)
        return
    for claim in rule.get("claims") or ():
        if arguments.origin in {None, claim.get("origin")}:
            cells = _cells({**rule, **claim}, headers, session)
            target, kind, action, hits, whose, expiry, reason = cells
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


VERBS = (
    Verb(
        "list",
        "show the rules, ours and dnsdist's",
        _add_arguments,
        _run,
        examples=(
            "xdpctl list 192.0.2.1 --contains",
            "xdpctl list --sort hits --limit 20",
            "xdpctl list --origin list:drop --json",
        ),
    ),
)
