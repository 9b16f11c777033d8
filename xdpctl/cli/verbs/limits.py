"""`limits`, `prove`, `unprove`: what is limited, what the limits do now, and who is proven.

The first line says whether a limit acts. Owns the layout and the sentences. Does not own the facts
(service/limits.py). Called by cli/main.py.
"""

from __future__ import annotations

import contextlib
import textwrap
import time
from typing import TYPE_CHECKING, Any

from xdpctl.cli.render import Table, age, count, printable, share, shown_rate
from xdpctl.cli.verb import Session, Verb
from xdpctl.cli.verbs.status import heavy
from xdpctl.errors import XdpctlError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from xdpctl.cli.client import Client

_PATH = "/api/v1/limits"
_SAMPLES = "/api/v1/samples"
_LIMITED = 5
"""Sources that are shown of those that a limit refuses."""

_WIDTH = 80
_MEANING = {
    "limit": "--rate-limit, one source",
    "unproven": "--flood-limit, all sources",
    "zone-limit": "--zone-limit, a zone",
}
_NUMBERS = frozenset({"RATE", "TC=1", "DROPPED", "PASSED"})


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing, because the verb has no arguments of its own."""


def _add_addresses(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "addresses",
        metavar="ADDRESS",
        nargs="+",
        help="address of a source; one of IPv6 stands for its /56",
    )


def _run(arguments: argparse.Namespace, session: Session) -> int:
    client = session.client(arguments)
    document = client.get(_PATH)
    acting = [limit for limit in document.get("acting") or [] if limit.get("rate")]
    document["limited_most"] = [*_limited_most(client, acting)]
    if arguments.json:
        session.document(document)
        return 0
    for line in report(document, now=time.time(), width=session.width or _WIDTH):
        session.say(line)
    return 0


def _limited_most(
    client: Client, acting: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, object]]:
    """Yield the sources that limits refuse most, from a second's samples for each limit."""
    for limit in acting:
        reason = str(limit.get("reason"))
        query = {"seconds": "1", "by": "source", "reason": reason, "n": str(_LIMITED)}
        with contextlib.suppress(XdpctlError):  # samples are off, or too many look at them
            for row in client.get(_SAMPLES, query).get("by", {}).get("source") or []:
                yield {"reason": reason, "source": row["key"], "rate": row["rate"]}


def _prove(arguments: argparse.Namespace, session: Session) -> int:
    return _change(arguments, session, "prove", "proven", "were proven already")


def _unprove(arguments: argparse.Namespace, session: Session) -> int:
    return _change(arguments, session, "unprove", "no longer proven", "were not proven")


def _change(
    arguments: argparse.Namespace, session: Session, verb: str, done: str, before: str
) -> int:
    query = [("address", address) for address in arguments.addresses]
    document = session.client(arguments).call("POST", f"{_PATH}/{verb}", query=query)
    if arguments.json:
        session.document(document)
        return 0
    changed, number = int(document.get("changed") or 0), len(arguments.addresses)
    rest = f"; {number - changed} {before}" if changed < number else ""
    session.say(
        f"{changed} of {number} {'source is' if number == 1 else 'sources are'} {done}{rest}"
    )
    return 0


def report(document: Mapping[str, Any], *, now: float, width: int) -> Iterator[str]:
    """Yield the lines of an answer of GET /api/v1/limits.

    Args:
        document: the answer.
        now: seconds since the epoch.
        width: columns.
    """
    acting: Sequence[Mapping[str, Any]] = document.get("acting") or []
    yield headline(document, now)
    if acting:
        yield ""
        yield from _acting(acting, now, width)
    if most := document.get("limited_most"):
        yield ""
        yield "limited most, by samples of a second"
        yield from Table(["SOURCE", "RATE", "LIMIT"], right=_NUMBERS, width=width, indent=2).lines(
            (printable(str(row["source"])), shown_rate(row["rate"]), str(row["reason"]))
            for row in most
        )
    yield ""
    facts = list(_facts(document, now))
    margin = max((len(name) for name, _ in facts), default=0) + 2
    for name, text in facts:
        yield from textwrap.wrap(
            printable(text),
            width,
            initial_indent=f"{name:<{margin}}",
            subsequent_indent=" " * margin,
            break_on_hyphens=False,
        )
    if lines := list(heavy(document.get("heavy") or [])):
        yield ""
        yield "asked for much"
        yield from (f"  {line}" for line in lines)
    warnings = [printable(str(text)) for text in document.get("warnings") or []]
    if warnings:
        yield ""
        yield "warnings"
        for text in warnings:
            yield from textwrap.wrap(
                text, width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
            )


def headline(document: Mapping[str, Any], now: float) -> str:
    """Return whether a limit acts, in one line."""
    acting = document.get("acting") or []
    dry = " in a dry run: everything passes" if document.get("dry_run") else ""
    if not any(document.get(name) for name in ("rate_limit", "flood_limit", "zones")):
        return "NO LIMITS: set --rate-limit, --flood-limit, or --zone-limit"
    if off := document.get("off"):
        return printable(f"OFF: {off}")
    if not acting:
        return f"QUIET: no limit acts{', and they are' + dry if dry else ''}"
    rate = sum(limit.get("rate") or 0 for limit in acting)
    since = min(limit.get("since") or now for limit in acting)
    names = ", ".join(str(limit.get("reason")) for limit in acting)
    return f"LIMITING{dry}: {names}, {shown_rate(rate)} now, for {age(now - since)}"


def _acting(acting: Sequence[Mapping[str, Any]], now: float, width: int) -> Iterator[str]:
    titles = ["LIMIT", "RATE", "TC=1", "DROPPED", "PASSED", "FOR", "SET BY"]
    table = Table(titles, right=_NUMBERS, width=width, indent=2)
    return table.lines(
        (
            str(limit.get("reason")),
            shown_rate(limit.get("rate")),
            *(count(int(limit.get(name) or 0)) for name in ("truncated", "dropped", "passed")),
            age(now - (limit.get("since") or now)),
            _MEANING.get(str(limit.get("reason")), "-"),
        )
        for limit in acting
    )


def _facts(document: Mapping[str, Any], now: float) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each fact."""
    if rate := document.get("rate_limit"):
        text = f"{count(rate['rate'])} queries/s, {count(rate['burst'])} at one moment; accounts of"
        yield "one source", f"{text} {_times(rate['prefixes'])} and {_times(rate['prefixes6'])}"
        yield "table", f"{_percent(rate['load'])} of {count(rate['table'])} words in use"
    else:
        yield "one source", "no limit (--rate-limit)"
    if flood := document.get("flood_limit"):
        text = f"{count(flood['limit'])} queries/s, and {count(flood['proven'])} more of proven"
        yield "all sources", f"{text} sources"
    else:
        yield "all sources", "no limit (--flood-limit)"
    for zone in document.get("zones") or []:
        yield str(zone.get("zone")), _zone(zone, now)
    yield from _proven(document)
    yield "over a limit", _slip(document)
    if exempt := document.get("exempt"):
        yield "exempt", ", ".join(str(prefix) for prefix in exempt)
    words = {True: "answers", False: "DOES NOT ANSWER"}
    known = [
        f"port {each['port']} {words[each['up']]}"
        for each in document.get("tcp") or []
        if each.get("up") is not None
    ]
    if known:
        yield "TCP", ", ".join(known)


def _zone(zone: Mapping[str, Any], now: float) -> str:
    """Return what is known of an own zone."""
    text = f"{count(int(zone.get('limit') or 0))} queries/s for names that do not exist"
    if zone.get("serial") is not None:
        text += f"; {count(int(zone.get('names') or 0))} names exist (serial {zone['serial']})"
    elif not zone.get("primaries"):
        text += "; its names are not known, every one below it counts"
    if not zone.get("in_force"):
        return f"{text}; {'watched, not limited now' if zone.get('watch') else 'NOT IN FORCE'}"
    if zone.get("watch"):
        text += f"; attacked, so limited for {age((zone.get('ends') or now) - now)} more at least"
    return text


def _proven(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield who is proven, and what the filter saw of proofs and cookies."""
    if proven := document.get("proven"):
        text = f"{count(proven['sources'])} of at most {count(proven['room'])} sources, each for"
        times = f"they may send {proven['factor']} times as much"
        yield "proven", f"{text} {age(proven['lifetime'])} (by {proven['proof']}); {times}"
        if proven["found"] + proven["missed"]:
            found, missed = count(proven["found"]), count(proven["missed"])
            yield "TCP looked up", f"{found} connections found, {missed} not"
    if cookies := document.get("cookies"):
        words = "1 secret" if cookies["secrets"] == 1 else f"{cookies['secrets']} secrets"
        yield "cookies", f"{count(cookies['good'])} good, {count(cookies['bad'])} bad; {words}"


def _slip(document: Mapping[str, Any]) -> str:
    slip = int(document.get("slip") or 0)
    if document.get("dry_run"):
        return "dry run: everything passes and is counted"
    if not slip:
        return "dropped (slip 0)"
    if slip == 1:
        return "answered with TC=1"
    return f"one of {slip} is answered with TC=1, the others are dropped"


def _times(levels: str) -> str:
    """Return `32:1,24:32` as people read it: `/32, /24 x32`."""
    found = []
    for level in str(levels).split(","):
        length, _, times = level.partition(":")
        found.append(f"/{length}" + ("" if times == "1" else f" x{times}"))
    return ", ".join(found)


def _percent(load: float) -> str:
    return share(round(load * 10_000), 10_000) if load else "nothing"


VERBS = (
    Verb("limits", "show what is limited, and what the limits do now", _no_arguments, _run),
    Verb("prove", "let sources count as proven, as if they had used TCP", _add_addresses, _prove),
    Verb("unprove", "let sources count as unproven until they use TCP", _add_addresses, _unprove),
)
