"""`flush`: many rules removed at once, after a question.

Our own, of every origin or of one; dnsdist's only where that is asked for by name, and
never without saying what it does to a running dnsdist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.abi import RULE_MAPS
from xdpctl.cli.render import count
from xdpctl.cli.verb import Session, Verb
from xdpctl.errors import UsageError

if TYPE_CHECKING:
    import argparse

OWN = "*"
"""What the API takes for every origin of ours; it can be no origin's name."""

_DNSDIST_WARNING = (
    "dnsdist counts its entries in its own head: a running one logs 'Error removing' for each that"
    " is flushed and never lowers its count, so that fewer and fewer fit ('Table full') until it is"
    " restarted; flush its entries while it is stopped, or restart it afterwards"
)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    maps = [str(name) for name in RULE_MAPS]
    parser.add_argument("--map", choices=maps, help="only this map's rules")
    parser.add_argument(
        "--origin",
        metavar="O",
        help="only rules of cli, api, file:NAME or list:NAME; dnsdist: what dnsdist wrote (not"
        " given: every rule of our own)",
    )
    parser.add_argument("--yes", action="store_true", help="do it without asking")


def _run(arguments: argparse.Namespace, session: Session) -> int:
    from xdpctl.rules import (  # noqa: PLC0415 - other verbs do without dnspython
        DNSDIST_ORIGIN,
        parse_origin,
    )

    origin = OWN if arguments.origin is None else parse_origin(arguments.origin)
    if not arguments.yes and not session.input.isatty():
        raise UsageError(
            "cannot run `xdpctl flush` here: there is no terminal to ask on; say --yes if it is"
            " meant"
        )
    if origin == DNSDIST_ORIGIN:
        session.warn(_DNSDIST_WARNING)
    whose = "of our own" if origin == OWN else f"of origin {origin}"
    where = f"in {arguments.map}" if arguments.map else "in every map"
    if not arguments.yes and not session.confirmed(f"remove every rule {whose} {where}?"):
        session.say("nothing was removed")
        return 1
    query = {"origin": origin, **({"map": arguments.map} if arguments.map else {})}
    answer = session.client(arguments).delete("/api/v1/rules", query)
    if arguments.json:
        session.document(answer)
        return 0
    if origin != DNSDIST_ORIGIN:  # whose warning stood before the question
        for warning in answer.get("warnings", []):
            session.warn(str(warning))
    removed = int(answer.get("removed", 0))
    session.say(f"{count(removed)} {'rule' if removed == 1 else 'rules'} removed")
    return 0


VERBS = (Verb("flush", "remove every rule of our own, or of one origin", _add_arguments, _run),)
