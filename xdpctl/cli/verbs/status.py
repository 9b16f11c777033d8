"""`status`: the service at a glance, for an operator who has just been woken up.

The first line shows whether it works and, if not, why. Problems come before details. Owns the
layout and order. Does not own the facts (status/). Called by cli/main.py.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from xdpctl.cli.render import Table, age, count, printable, share, shown_rate
from xdpctl.cli.verb import Session, Verb
from xdpctl.errors import XdpctlError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

_DESTINATIONS_SHOWN = 16
_ORIGINS_SHOWN = 8
_NUMBERS = frozenset(
    {
        *("ENTRIES", "CAPACITY", "FILL", "RATE", "PACKETS", "BYTES", "QUEUES", "REATTACHED"),
        *("RULES", "BLOCKS", "CLAIMED"),
    }
)


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing, because the verb has no arguments of its own."""


def _run(arguments: argparse.Namespace, session: Session) -> int:
    client = session.client(arguments)
    document = client.get("/api/v1/status")
    if arguments.json:
        session.document(document)
        return 0
    origins: list[dict[str, Any]] = []
    with suppress(XdpctlError):  # a busy service; the rest is there
        origins = client.call("GET", "/api/v1/origins").get("origins", [])
    for line in report(document, now=time.time(), width=session.width, origins=origins):
        session.say(line)
    return 0


def report(
    document: dict[str, Any],
    *,
    now: float,
    width: int | None,
    origins: Sequence[dict[str, Any]] = (),
) -> Iterator[str]:
    """Yield the lines of a status document.

    Args:
        document: the answer to GET /api/v1/status.
        origins: of the answer to GET /api/v1/origins, the one with the most rules first.
        now: seconds since the epoch.
        width: columns of the terminal, or None.
    """
    yield _headline(document)
    yield (
        f"xdpctl {printable(str(document.get('version', '?')))}, pid {document.get('pid')},"
        f" up {age(now - document.get('started', now))}"
    )
    interfaces: list[dict[str, Any]] = document.get("interfaces", [])
    yield from _traffic(interfaces)
    yield from acting(document.get("limits") or [], now)
    yield from heavy(document.get("heavy") or [])
    for title, lines in (
        ("interfaces", _interfaces(interfaces, width)),
        ("maps", _maps(document.get("maps", []), width)),
        ("own rules in force", _origins(origins, width)),
        ("dynamic blocks of dnsdist", _dnsdists(document, now, width)),
        ("AF_XDP destinations", _destinations(document)),
        ("counters", _counters(interfaces, width)),
        ("warnings", _sentences(document.get("warnings", []))),
        ("not visible from the service", _sentences(document.get("unseen", []))),
    ):
        body = list(lines)
        if body:
            yield ""
            yield title
            yield from body


def _sentences(texts: Sequence[object]) -> Iterator[str]:
    return (f"  {printable(str(text))}" for text in texts)


def _headline(document: dict[str, Any]) -> str:
    reasons = "; ".join(printable(str(reason)) for reason in document.get("reasons", []))
    panic = "PANIC is on: every packet passes until `xdpctl resume`"
    if not document.get("ready"):
        line = f"NOT READY: {reasons or 'the service gives no reason'}"
        return f"{line}; {panic}" if document.get("panic") else line
    if document.get("panic"):
        return f"READY, but {panic}"
    return "READY"


def _traffic(interfaces: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what passes and what does not, in packets a second, if it has been measured."""
    sums: dict[str, float] = {}
    for interface in interfaces:
        for counter in interface.get("counters", []):
            if counter.get("rate") is not None:
                action = str(counter.get("action"))
                sums[action] = sums.get(action, 0.0) + counter["rate"]
    if sums:
        words = {"drop": "dropped", "truncate": "answered with TC=1", "pass": "passed"}
        words["redirect"] = "redirected to AF_XDP"
        parts = [
            f"{shown_rate(sums[action])} {word}" for action, word in words.items() if action in sums
        ]
        yield f"now {shown_rate(sum(sums.values()))} packets: {', '.join(parts)}"


def acting(limits: Sequence[dict[str, Any]], now: float) -> Iterator[str]:
    """Yield a line for each limit that acts now; `xdpctl limits` says more."""
    for limit in limits:
        dry = " (dry run: it passes)" if limit.get("dry_run") else ""
        reason, rate = printable(str(limit.get("reason"))), shown_rate(limit.get("rate"))
        since = age(now - (limit.get("since") or now))
        yield f"limit {reason} acts{dry}: {rate} for {since}; see `xdpctl limits`"


def heavy(zones: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each zone that is asked for so much that something is proposed."""
    for zone in zones:
        if zone.get("propose"):
            rate = shown_rate(zone.get("rate"))
            yield printable(f"{zone.get('zone')} is asked for {rate}: try {zone['propose']}")


def _interfaces(interfaces: list[dict[str, Any]], width: int | None) -> Iterator[str]:
    xsk = any(interface.get("xskmap") for interface in interfaces)
    titles = ["NAME", "STATE", "MODE", "PROGRAM", "TAG", "QUEUES", "REATTACHED"]
    table = Table([*titles, *(["XSKMAP"] if xsk else [])], right=_NUMBERS, width=width, indent=2)
    fields = ["name", "state", "mode", "program_id", "tag", "queues", "reattached"]
    fields += ["xskmap"] if xsk else []
    return table.lines(
        [_shown(interface.get(field)) for field in fields] for interface in interfaces
    )


def _maps(maps: list[dict[str, Any]], width: int | None) -> Iterator[str]:
    table = Table(["NAME", "ENTRIES", "CAPACITY", "FILL"], right=_NUMBERS, width=width, indent=2)
    return table.lines(
        (
            _shown(row.get("name")),
            "?" if row.get("entries") is None else count(row["entries"]),
            count(row.get("capacity", 0)),
            "?" if row.get("entries") is None else share(row["entries"], row.get("capacity", 0)),
        )
        for row in maps
    )


def _origins(origins: Sequence[dict[str, Any]], width: int | None) -> Iterator[str]:
    table = Table(["ORIGIN", "RULES"], right=_NUMBERS, width=width, indent=2)
    yield from table.lines(
        (str(row.get("origin")), count(row.get("rules") or 0)) for row in origins[:_ORIGINS_SHOWN]
    )
    if len(origins) > _ORIGINS_SHOWN:
        rest = origins[_ORIGINS_SHOWN:]
        rules = sum(row.get("rules") or 0 for row in rest)
        yield f"  and {len(rest)} more origins with {count(rules)} rules"


def _dnsdists(document: dict[str, Any], now: float, width: int | None) -> Iterator[str]:
    table = Table(["URL", "READ", "BLOCKS", "CLAIMED"], right=_NUMBERS, width=width, indent=2)
    yield from table.lines(
        (
            _shown(row.get("url")),
            f"{age(now - row['last_success'])} ago" if row.get("last_success") else "never",
            count(row.get("blocks") or 0),
            count(row.get("claimed") or 0),
        )
        for row in document.get("dnsdists", [])
    )
    if held := document.get("held"):
        yield f"  {count(held)} held: dnsdist has ended the block, and the flood goes on"


def _destinations(document: dict[str, Any]) -> Iterator[str]:
    """Yield the sockets that AF_XDP serves, or, with --xsk, that there are none."""
    found = [
        f"[{socket['address']}]:{socket['port']}"
        if ":" in str(socket["address"])
        else f"{socket['address']}:{socket['port']}"
        for socket in document.get("destinations", [])
    ]
    xsk = any(interface.get("xskmap") for interface in document.get("interfaces", []))
    if not found and xsk:
        yield "  none: dnsdist has registered no address, so no packet goes to AF_XDP"
    for text in found[:_DESTINATIONS_SHOWN]:
        yield f"  {printable(text)}"
    if len(found) > _DESTINATIONS_SHOWN:
        yield f"  and {len(found) - _DESTINATIONS_SHOWN} more (--json shows them all)"


def _counters(interfaces: list[dict[str, Any]], width: int | None) -> Iterator[str]:
    titles = ["REASON", "ACTION", "RATE", "PACKETS", "BYTES"]
    several = len(interfaces) > 1
    table = Table([*(["NAME"] if several else []), *titles], right=_NUMBERS, width=width, indent=2)
    rows = []
    for interface in interfaces:
        found = [counter for counter in interface.get("counters", []) if counter.get("packets")]
        found.sort(key=lambda counter: (-counter["packets"], str(counter.get("reason"))))
        rows += [
            (
                *([_shown(interface.get("name"))] if several else []),
                _shown(counter.get("reason")),
                _shown(counter.get("action")),
                shown_rate(counter.get("rate")),
                count(counter["packets"]),
                count(counter.get("bytes", 0)),
            )
            for counter in found
        ]
    return table.lines(rows)


def _shown(value: object) -> str:
    return "-" if value is None else str(value)


VERBS = (Verb("status", "show interfaces, maps, counters and warnings", _no_arguments, _run),)
