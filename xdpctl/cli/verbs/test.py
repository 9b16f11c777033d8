"""`test`: what the filter would do with a query, and which rule decides.

The service runs the program in force on such a packet, beside the traffic and without counting
it. Owns the sentences. Does not own the test (filter/dry_run.py). Called by cli/main.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xdpctl.cli.render import age, count, printable
from xdpctl.cli.verb import Session, Verb

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

_WHY = {
    "no-match": "no rule matches",
    "other": "the filter does not act on such a packet (see --port, --address and --tcp)",
    "malformed": "the name cannot be read",
    "unanswerable": "a rule asks for an answer with TC=1, which this query cannot get",
    "redirect": "no rule matches, and AF_XDP serves the destination",
    "xsk-ineligible": "no rule matches, and AF_XDP cannot take such a packet",
    "exempt": "the source is exempt from rules and limits",
}
"""What a reason without a rule means."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", help="the address that the query comes from")
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="the name that it asks for (default: one for which there are no rules)",
    )
    parser.add_argument("qtype", nargs="?", metavar="TYPE", help="the query type (default: A)")
    parser.add_argument(
        "-i",
        "--interface",
        metavar="NAME",
        help="the interface that it arrives on (default: the first of the service)",
    )


def _run(arguments: argparse.Namespace, session: Session) -> int:
    names = ("address", "name", "qtype", "interface")
    query = {name: getattr(arguments, name) for name in names if getattr(arguments, name)}
    document = session.client(arguments).get("/api/v1/test", query)
    if arguments.json:
        session.document(document)
        return 0
    for line in report(document):
        session.say(printable(line))
    return 0


def report(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about an answer of GET /api/v1/test."""
    panic = bool(document.get("panic"))
    verdict = document.get("without_panic") if panic else document.get("verdict")
    yield f"{verdict}: {_why(document)}"
    packet: Mapping[str, Any] = document.get("packet") or {}
    yield (
        f"query: {packet.get('name')} {packet.get('qtype')} from {packet.get('source')} to"
        f" {packet.get('destination')} port {packet.get('port')} on {document.get('interface')}"
    )
    if panic:
        yield "but PANIC is on: every packet passes until `xdpctl resume`"
    if not document.get("attached", True):
        yield (
            f"but the filter is not on {document.get('interface')}, so every packet passes there:"
            " see `xdpctl status`"
        )


_LIMITS = {
    "limit": "no rule matches, and this source is over --rate-limit",
    "unproven": "no rule matches, and --flood-limit is used up by sources that are not proven",
    "zone-limit": "no rule matches, and the limit of the name's zone is used up",
}
"""What the limit that decided means."""


def _why(document: Mapping[str, Any]) -> str:
    if document.get("limit") is not None and not document.get("panic"):
        passes = document.get("verdict") in {"pass", "redirect"}
        return _LIMITS.get(str(document["limit"]), "a limit decides") + (
            "; it passes, as limits are in a dry run" if passes else ""
        )
    if document.get("target") is None:
        reason = str(document.get("reason"))
        if document.get("panic"):
            return "no rule decides"
        return _WHY.get(reason, f"reason {reason}")
    qtype = f" {document['qtype']}" if document.get("qtype") else ""
    parts = [
        f"{document.get('action')} rule for {document['target']}{qtype}",
        f"origin {document.get('origin')}",
        f"book {document.get('book')}",
    ]
    if document.get("note"):
        parts.append(f"reason {document['note']}")
    if document.get("expires_in") is not None:
        parts.append(f"expires in {age(document['expires_in'])}")
    hits = document.get("hits") or 0
    parts.append(f"{count(hits)} {'hit' if hits == 1 else 'hits'}")
    if document.get("reason") == "unanswerable":
        parts.append("the query cannot be answered with TC=1, so it is dropped")
    return ", ".join(parts)


VERBS = (
    Verb(
        "test",
        "show what happens to a query, and which rule decides",
        _add_arguments,
        _run,
        examples=(
            "xdpctl test 192.0.2.1",
            "xdpctl test 192.0.2.1 www.flood.example AAAA",
        ),
    ),
)
