"""`export`: writes the rules as lines that `import` reads, as the service sends them.

Owns where the lines are written. Does not own their form (store/export.py). Called by cli/main.py.
"""

from __future__ import annotations

import codecs
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


def _run(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.json:
        raise UsageError(
            "cannot run `xdpctl export` with --json: it writes lines for `xdpctl import`; use"
            " `xdpctl list --json` for a JSON document"
        )
    query = {"all": "1"} if arguments.all else {}
    texts = _decoded(session.client(arguments).download("/api/v1/export", query))
    if not session.terminal:
        for text in texts:
            session.write(text)
        return 0
    for line in _lines(texts):
        session.say(_explained(line))
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
        "write the rules as lines that import reads",
        _add_arguments,
        _run,
        json=False,
        for_programs=True,
        examples=(
            "xdpctl export > rules.txt",
            "xdpctl export --all | grep origin=dnsdist",
        ),
    ),
)
