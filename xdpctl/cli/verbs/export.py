"""`export`: writes the rules as lines that `import` reads, or as a response policy zone.

Owns where the lines are written, and what is said of rules that such a zone cannot express. Does
not own the form of lines (store/export.py) or of the zone (feeds/formats/policy_zone.py). Called by
cli/main.py.
"""

from __future__ import annotations

import codecs
import time
from typing import TYPE_CHECKING

from xdpctl.cli.verb import Session, Verb
from xdpctl.cli.verbs.listing import unicode_of
from xdpctl.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--all", action="store_true", help="also the rules of dnsdist; import skips those lines"
    )
    parser.add_argument(
        "--rpz",
        metavar="ZONE",
        help="write a response policy zone of this name, which BIND, Knot and NSD load; rules of"
        " lists are left out",
    )
    parser.add_argument(
        "--origin", metavar="O", help="with --rpz: only the rules of this origin, also of a list"
    )


def _run(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.json:
        raise UsageError(
            "cannot run `xdpctl export` with --json: it writes lines for `xdpctl import`; use"
            " `xdpctl list --json` for a JSON document"
        )
    if arguments.origin is not None and arguments.rpz is None:
        raise UsageError(
            "cannot run `xdpctl export` with --origin but without --rpz: lines have their origin;"
            " use `grep`, or `xdpctl list --origin`"
        )
    query = {"all": "1"} if arguments.all else {}
    texts = _decoded(session.client(arguments).download("/api/v1/export", query))
    if arguments.rpz is not None:
        return _write_zone(_lines(texts), arguments, session)
    if not session.terminal:
        for text in texts:
            session.write(text)
        return 0
    for line in _lines(texts):
        session.say(_explained(line))
    return 0


def _write_zone(lines: Iterable[str], arguments: argparse.Namespace, session: Session) -> int:
    """Write rules as a zone file; say on standard error what it does not hold."""
    from xdpctl.feeds.formats.account import counted  # noqa: PLC0415 - export seldom needs it
    from xdpctl.feeds.formats.policy_zone import PolicyZone  # noqa: PLC0415 - the same
    from xdpctl.rules import Name, parse_origin, parse_rule_line  # noqa: PLC0415 - the same
    from xdpctl.rules.rules import ClaimClass, class_of  # noqa: PLC0415 - the same

    zone = PolicyZone(Name.from_text(arguments.rpz))
    origin = None if arguments.origin is None else parse_origin(arguments.origin)
    of_lists, is_found = 0, False
    for line in lines:
        rule = parse_rule_line(line)
        if rule is None or origin not in {None, rule.origin}:
            continue
        is_found = True
        if origin is None and class_of(rule.origin) is ClaimClass.LIST:
            of_lists += 1
        else:
            zone.add(rule)
    for line in zone.lines(int(time.time())):
        session.say(line)
    if origin is not None and not is_found:
        session.warn(f"the zone is empty: no rule has the origin {origin}")
    if zone.left_out:
        session.warn(f"not in the zone, because no RPZ record expresses them: {zone.left_out}")
    if of_lists:
        session.warn(
            f"not in the zone: {counted(of_lists, 'rules of lists')}; --origin list:NAME writes one"
            " list's"
        )
    if zone.added:
        session.warn(
            f"{counted(zone.added, 'records')} more for names inside zone rules: a wildcard of an"
            " RPZ zone does not match at and below a name that the zone has"
        )
    return 0


def _decoded(parts: Iterable[bytes]) -> Iterator[str]:
    """Yield the text of UTF-8 bytes that may be cut at any place."""
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    for part in parts:
        yield decoder.decode(part)
    yield decoder.decode(b"", final=True)


def _lines(texts: Iterable[str]) -> Iterator[str]:
    rest = ""
    for text in texts:
        *lines, rest = (rest + text).split("\n")
        yield from lines
    if rest:
        yield rest


def _explained(line: str) -> str:
    """Return a line; U-labels follow A-labels as a comment, which import ignores."""
    target = line.partition(" ")[0]
    shown = unicode_of(target)
    return line if shown == target else f"{line}  # {shown}"


VERBS = (
    Verb(
        "export",
        "write the rules as lines that import reads, or as an RPZ zone",
        _add_arguments,
        _run,
        json=False,
        for_programs=True,
        examples=(
            "xdpctl export > rules.txt",
            "xdpctl export --all | grep origin=dnsdist",
            "xdpctl export --rpz block.rpz.example > block.rpz.example.zone",
        ),
    ),
)
