"""`publish`, `unpublish`: records in a response policy zone, for every host that follows it.

Parses the targets before it sends anything. Owns the sentences about what was done, and the table
of what this host publishes. Does not send updates: the service does (feeds/publish/). Called by
cli/main.py.
"""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from xdpctl.cli.render import Table, age, count, printable
from xdpctl.cli.verb import Session, Verb
from xdpctl.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_PATH = "/api/v1/published"
_AT_ONCE = 50
"""Targets of one request: a zone rule is two records, and an update has a hundred."""

_HEADERS = ("ZONE", "TARGET", "ACTION", "ORIGIN", "ENDS IN", "AT THE PRIMARY")

_TARGET_HELP = (
    "an address, a prefix, a name, .NAME for a name and every name below it, or *.NAME for the"
    " names below it"
)


def _add_targets(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "targets", nargs="+" if required else "*", metavar="TARGET", help=_TARGET_HELP
    )
    parser.add_argument(
        "--zone",
        metavar="ZONE",
        required=required,
        help="the response policy zone, which a [[list]] of the settings follows",
    )


def _add_publish(parser: argparse.ArgumentParser) -> None:
    _add_targets(parser, required=False)
    parser.add_argument(
        "--action",
        choices=("drop", "truncate", "pass"),
        default="drop",
        help="rpz-drop, rpz-tcp-only or rpz-passthru (default: drop)",
    )
    parser.add_argument(
        "--for",
        dest="duration",
        metavar="DURATION",
        help="remove the records after 30s, 10m, 1h30m, 7d, 2w; forever: never (default)",
    )
    parser.add_argument("--qtype", metavar="T", help=argparse.SUPPRESS)  # refused, with a sentence
    parser.add_argument(
        "--list", dest="show", action="store_true", help="show what this host publishes"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="also a very short prefix, a top-level domain, an address of this host, or what is in"
        " `protect`",
    )


def _add_unpublish(parser: argparse.ArgumentParser) -> None:
    _add_targets(parser, required=True)
    parser.add_argument(
        "--missing-ok",
        action="store_true",
        help="succeed for a target that this host has not published; for scripts",
    )


def _publish(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.show or not (arguments.targets or arguments.zone):
        return _show(arguments, session)
    if not arguments.targets or arguments.zone is None:
        missing = "a target" if not arguments.targets else "--zone"
        raise UsageError(
            f"cannot run `xdpctl publish` without {missing}: write `xdpctl publish TARGET --zone"
            " ZONE`; `xdpctl publish --list` shows what this host publishes"
        )
    if arguments.qtype is not None:
        raise UsageError(
            f"cannot publish with --qtype {arguments.qtype}: a record of a response policy zone"
            " blocks every type; leave out --qtype, or use `xdpctl block` on each host"
        )
    from xdpctl.rules import parse_end  # noqa: PLC0415 - other verbs do not need it

    seconds = None if arguments.duration is None else parse_end(arguments.duration)
    client = session.client(arguments)
    query = {"force": "1"} if arguments.force else None
    answers = []
    for targets in _parts(_read(arguments.targets)):
        wanted = {
            "zone": arguments.zone,
            "targets": targets,
            "action": arguments.action,
            "expires_in": seconds,
        }
        answers.append(client.post(_PATH, wanted, query))
    found = {name: _all(answers, name) for name in ("published", "changed", "same")}
    if arguments.json:
        session.document(found)
        return 0
    lasting = "" if seconds is None else f", for {arguments.duration}"
    done = [*found["published"], *found["changed"]]
    if done:
        there = f"; {count(len(found['changed']))} changed" if found["changed"] else ""
        session.say(f"{arguments.zone}: {arguments.action} {_few(done)}{lasting}{there}")
    if found["same"]:
        session.warn(
            f"{_few(found['same'])}: another has published the same; it stays as it is, and ends"
            " when that one ends it"
        )
    return 0


def _unpublish(arguments: argparse.Namespace, session: Session) -> int:
    client = session.client(arguments)
    answers = []
    for targets in _parts(_read(arguments.targets), 1 if arguments.missing_ok else _AT_ONCE):
        query = [("zone", arguments.zone), *(("target", text) for text in targets)]
        with suppress(*([NotFoundError] if arguments.missing_ok else [])):
            answers.append(client.delete(_PATH, query))
    removed = sum(answer.get("removed", 0) for answer in answers)
    warnings = _all(answers, "warnings")
    if arguments.json:
        session.document({"removed": removed, "warnings": warnings})
        return 0
    for warning in warnings:
        session.warn(warning)
    session.say(f"{arguments.zone}: {_records(removed)} removed")
    return 0


def _show(arguments: argparse.Namespace, session: Session) -> int:
    document = session.client(arguments).get(_PATH)
    if arguments.json:
        session.document(document)
        return 0
    zones: list[dict[str, Any]] = document.get("zones", [])
    records = [
        record
        for record in document.get("published", [])
        if arguments.zone in {None, record.get("zone")}
    ]
    if not zones:
        session.say("nothing can be published: no [[list]] of the settings has the key zone")
        return 0
    if not records:
        session.say("nothing is published by this host")
    else:
        for line in Table(_HEADERS, width=session.width).lines(map(_cells, records)):
            session.say(line)
    for zone in zones:
        if zone.get("error") and zone.get("waiting"):
            wait = age(max(0.0, (zone.get("next") or 0) - time.time()))
            session.warn(
                f"cannot update {zone.get('zone')}: {zone.get('error')}; the next try is in {wait}"
            )
    return 0


def _cells(record: dict[str, Any]) -> tuple[str, ...]:
    ends = record.get("expires_in")
    there = "yes" if record.get("there") else "not yet"
    return (
        printable(str(record.get("zone"))),
        printable(str(record.get("target"))),
        str(record.get("action")),
        printable(str(record.get("origin"))),
        "-" if ends is None else age(ends),
        "to be removed" if record.get("leaving") else there,
    )


def _read(texts: Sequence[str]) -> list[str]:
    """Return the targets as the service writes them, each once.

    Raises:
        TargetError: one cannot be read; nothing has been sent yet.
    """
    from xdpctl.cli.typed import refuse_pasted, refuse_word  # noqa: PLC0415 - as below
    from xdpctl.rules import Question, Zone, parse_target, target_text  # noqa: PLC0415 - the same

    found = []
    for text in texts:
        refuse_pasted(text)
        target = parse_target(text)
        if isinstance(target, Question | Zone):
            refuse_word(text)
        found.append(target_text(target))
    return list(dict.fromkeys(found))


def _parts(targets: Sequence[str], size: int = _AT_ONCE) -> Iterator[Sequence[str]]:
    for start in range(0, len(targets), size):
        yield targets[start : start + size]


def _all(answers: Iterable[dict[str, Any]], name: str) -> list[str]:
    return [text for answer in answers for text in answer.get(name, [])]


def _few(targets: Sequence[str]) -> str:
    from xdpctl.feeds.publish.views import few_texts  # noqa: PLC0415 - not needed for --help

    return few_texts([printable(target) for target in targets])


def _records(number: int) -> str:
    return f"{count(number)} record" if number == 1 else f"{count(number)} records"


VERBS = (
    Verb(
        "publish",
        "block on every host: put a record into a zone that they follow",
        _add_publish,
        _publish,
        examples=(
            "xdpctl publish 192.0.2.1 .evil.example --zone block.rpz.example --for 10m",
            "xdpctl publish 198.51.100.0/24 --zone block.rpz.example --action pass",
            "xdpctl publish --list",
        ),
    ),
    Verb(
        "unpublish",
        "remove records that this host has published",
        _add_unpublish,
        _unpublish,
        examples=("xdpctl unpublish 192.0.2.1 --zone block.rpz.example",),
    ),
)
