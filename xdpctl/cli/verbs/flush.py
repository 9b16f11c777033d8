"""`flush`: removes many rules at once, after a question.

Removes our own rules, of every origin or of one. Removes the entries of dnsdist only with
`--origin dnsdist`, and always with a warning about what this does to a running dnsdist. Owns the
question and the warning. Does not own the removal; the service removes. Called by cli/main.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.cli.render import count
from xdpctl.cli.verb import Session, Verb, add_map
from xdpctl.errors import UsageError

if TYPE_CHECKING:
    import argparse

_NAMED = 4
"""Origins that the question names."""

DNSDIST = "dnsdist"

OWN = "*"
"""The API's name for every origin of ours; no origin can have this name."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_map(parser)
    parser.add_argument(
        "--origin",
        metavar="O",
        help="only rules of this origin: cli, api, file:NAME, app:NAME, list:NAME, or dnsdist for"
        " the entries of dnsdist (default: all our own rules)",
    )
    parser.add_argument("--yes", action="store_true", help="remove them without asking")


def _run(arguments: argparse.Namespace, session: Session) -> int:
    from xdpctl.rules import (  # noqa: PLC0415 - other verbs do not need dnspython
        DNSDIST_FLUSH_WARNING,
        DNSDIST_ORIGIN,
        parse_origin,
    )

    origin = OWN if arguments.origin is None else parse_origin(arguments.origin)
    if not arguments.yes and not session.input.isatty():
        raise UsageError(
            "cannot run `xdpctl flush` here: there is no terminal to ask on; use --yes to confirm"
        )
    if origin == DNSDIST_ORIGIN:
        session.warn(DNSDIST_FLUSH_WARNING)
    if not arguments.yes and not session.confirmed(_question(arguments, session, origin)):
        session.say("nothing was removed")
        return 1
    query = {"origin": origin, **({"map": arguments.map} if arguments.map else {})}
    answer = session.client(arguments).delete("/api/v1/rules", query)
    if arguments.json:
        session.document(answer)
        return 0
    if origin != DNSDIST_ORIGIN:  # its warning came before the question
        for warning in answer.get("warnings", []):
            session.warn(str(warning))
    removed = int(answer.get("removed", 0))
    session.say(f"{count(removed)} {'rule' if removed == 1 else 'rules'} removed")
    return 0


def _question(arguments: argparse.Namespace, session: Session, origin: str) -> str:
    """Return the question, with how many rules it is about and whose they are."""
    where = f"in {arguments.map}" if arguments.map else "in every map"
    if origin == DNSDIST:
        return f"remove every entry of dnsdist {where}?"
    query = {"map": arguments.map} if arguments.map else {}
    counted = session.client(arguments).get("/api/v1/origins", query).get("origins", [])
    chosen = [row for row in counted if origin in {OWN, row.get("origin")}]
    number = sum(row.get("rules", 0) for row in chosen)
    parts = [f"{row['origin']} {count(row['rules'])}" for row in chosen[:_NAMED]]
    if len(chosen) > _NAMED:
        rest = number - sum(row["rules"] for row in chosen[:_NAMED])
        parts.append(f"{len(chosen) - _NAMED} other origins {count(rest)}")
    whose = f" ({', '.join(parts)})" if parts else ""
    rules = "rule" if number == 1 else "rules"
    return f"remove {count(number)} {rules}{whose} {where}?"


VERBS = (
    Verb(
        "flush",
        "remove all our own rules, or those of one origin",
        _add_arguments,
        _run,
        examples=(
            "xdpctl flush --origin file:rules.txt",
            "xdpctl flush --map qnames --yes",
        ),
    ),
)
