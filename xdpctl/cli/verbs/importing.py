"""`import`: loads a file of rules, or a list in another format, into the maps.

Sends the file to the service in parts and never holds all of it. The service reads the whole file
before it changes anything, so that a line which cannot be read is an error with its number and
changes nothing. Owns the sending of the file and the report about it. Called by cli/main.py.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from xdpctl.cli.progress import ProgressDisplay
from xdpctl.cli.render import count, listed
from xdpctl.cli.verb import Session, Verb
from xdpctl.errors import TargetError, XdpctlError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

FORMATS = (
    "auto",
    "targets",
    "cidr",
    "hosts",
    "rpz",
    "adblock",
    "dnsmasq",
    "unbound",
    "first-column",
    "json",
)
"""As settings.ListFormat, which a verb does not load."""

_PART = 256 * 1024
_STANDARD_INPUT = "-"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE|-",
        help='rules, one a line: TARGET [qtype=A] [action=drop] [for=10m] [reason="…"], TARGET as'
        " of `xdpctl block`; or a list in one of the formats of --format, also compressed with"
        " gzip or zip; -: read standard input",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        metavar="FORMAT",
        help=f"{', '.join(FORMATS)} (default: auto, which recognizes the format and says which)",
    )
    parser.add_argument(
        "--action",
        choices=("drop", "truncate", "pass"),
        help="of every rule; lines with another action are left out (default: the line's own,"
        " else drop)",
    )
    parser.add_argument(
        "--denial",
        choices=("drop", "truncate", "skip"),
        help="what stands for NXDOMAIN and NODATA of an RPZ zone (default: drop)",
    )
    parser.add_argument(
        "--origin", metavar="O", help="origin of the rules (default: file:BASENAME, for - cli)"
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="remove the rules of this origin that are not in the file",
    )
    parser.add_argument(
        "--yes", action="store_true", help="with --replace: also if the file has no rule"
    )


def _run(arguments: argparse.Namespace, session: Session) -> int:
    origin = _origin(arguments)
    query = {"origin": origin}
    query |= {name: "1" for name in ("replace", "yes") if getattr(arguments, name)}
    for name in ("format", "action", "denial"):
        if getattr(arguments, name):
            query[name] = getattr(arguments, name)
    result: dict[str, Any] | None = None
    sent = _Sent()
    try:
        with (
            _opened(arguments.file, session) as stream,
            ProgressDisplay(session.errors) as progress,
        ):
            parts = sent.noting(_parts(stream, arguments.file, progress))
            for document in session.client(arguments).upload("/api/v1/import", query, parts):
                sent.begun = True
                if isinstance(now := document.get("progress"), dict):
                    progress.show(str(now.get("what")), now.get("done") or 0, now.get("total"))
                if isinstance(document.get("result"), dict):
                    result = document["result"]
    except KeyboardInterrupt:
        session.warn(sent.at_interrupt(origin))
        raise
    if result is None:
        raise XdpctlError(
            "the service ended the import without a result: see its log, then import the file"
            " again to complete it"
        )
    if arguments.json:
        session.document(result)
        return 0
    for warning in result.get("warnings", []):
        session.warn(str(warning))
    form = result.get("format")
    was = f"; read as {form}" if form and form != arguments.format else ""
    session.say(f"{origin}: {summary(result)}{was}")
    return 0


class _Sent:
    """How far an import is, for one who ends it with Ctrl-C.

    Attributes:
        whole: the file is with the service, which no longer needs this process.
        begun: the service has begun to work on it.
    """

    def __init__(self) -> None:
        self.whole = self.begun = False

    def noting(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the parts; note when the last one has been taken."""
        yield from parts
        self.whole = True

    def at_interrupt(self, origin: str) -> str:
        """Return what an interrupt means, as a sentence."""
        if not self.whole:
            return "the import was stopped before the whole file was sent: nothing was changed"
        goes_on = "goes on with it" if self.begun else "goes on with it, unless another is first"
        return (
            f"the service has the whole file and {goes_on}: `xdpctl history` shows when it is"
            f" done, `xdpctl flush --origin {origin}` removes its rules"
        )


def summary(result: dict[str, Any]) -> str:
    """Return the result of a bulk operation in words."""

    def number(field: str) -> int:
        return int(result.get(field) or 0)

    done = [
        f"{count(number(field))} {'rule' if number(field) == 1 else 'rules'} {word}"
        for field, word in (
            ("created", "made"),
            ("updated", "changed"),
            ("removed", "removed"),
            ("unchanged", "unchanged"),
        )
        if number(field)
    ]
    left = [
        f"{count(number(field))} {what}"
        for field, what in (
            ("left_to_dnsdist", "waiting behind dnsdist's entries"),
            ("left_to_others", "waiting behind other origins' claims"),
            ("skipped", "skipped (of origin dnsdist)"),
            (
                "guarded",
                "left out by the guard (`xdpctl block --force` adds them)",
            ),
        )
        if number(field)
    ]
    ends = number("ends_removed")
    lost = f"{count(ends)} {'rule' if ends == 1 else 'rules'} now without end" if ends else ""
    parts = (listed(done) or "nothing to change", lost, listed(left))
    return "; ".join(part for part in parts if part)


def _origin(arguments: argparse.Namespace) -> str:
    from xdpctl.rules import (  # noqa: PLC0415 - other verbs do not need dnspython
        DNSDIST_ORIGIN,
        parse_origin,
    )

    if arguments.origin is None:
        if arguments.file == _STANDARD_INPUT:
            return "cli"
        return parse_origin(f"file:{Path(arguments.file).name}")
    origin = parse_origin(arguments.origin)
    if origin == DNSDIST_ORIGIN:
        raise TargetError(
            "cannot import rules with origin dnsdist: it is reserved for the entries that dnsdist"
            " wrote; use another --origin",
            text=origin,
            field="origin",
        )
    return origin


def _opened(name: str, session: Session) -> AbstractContextManager[BinaryIO]:
    if name == _STANDARD_INPUT:
        return nullcontext(session.input.buffer)
    try:
        return Path(name).open("rb")
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from error


def _parts(stream: BinaryIO, name: str, progress: ProgressDisplay) -> Iterator[bytes]:
    """Yield the bytes of the file.

    Raises:
        XdpctlError: reading failed.
    """
    sent, total = 0, None
    try:
        if name != _STANDARD_INPUT:
            total = os.fstat(stream.fileno()).st_size
        while part := stream.read(_PART):
            yield part
            sent += len(part)
            progress.show("bytes sent", sent, total)
    except OSError as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> XdpctlError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    what = "standard input" if name == _STANDARD_INPUT else repr(name)
    return XdpctlError(f"cannot read {what}: {reason}; nothing was changed")


VERBS = (
    Verb(
        "import",
        "load rules from a file, or a list in another format",
        _add_arguments,
        _run,
        examples=(
            "xdpctl import rules.txt",
            "curl -fsS https://x.example/l | xdpctl import - --origin file:l --replace",
        ),
    ),
)
