"""A list's text in parts of whole lines, of bounded size.

Owns how much of a list is held at once, what a line is (LF, CRLF or CR ends it), and what becomes
of a last line without an end. A list of a gigabyte, or a single line of that length, costs no more
memory than any other. Octets that are not UTF-8 become lone surrogates, which no rule can contain.
Does not own the meaning of a line. Called by reader.py.
"""

from __future__ import annotations

import codecs
import io
from typing import TYPE_CHECKING, Protocol

from xdpctl.errors import ListError

if TYPE_CHECKING:
    from collections.abc import Iterator

PART = 64 * 1024
"""Octets read at a time: the lines of one part."""

LINE_MAX = 2**20
"""Characters of one line. No list has one as long."""

RECORD_MAX = 10_000
"""Characters of one record of a zone file, which may have several lines."""

_MARK = "\ufeff"


class Octets(Protocol):
    """An open file, as far as it is used."""

    def read(self, size: int, /) -> bytes:
        """Return the next octets, empty at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place."""

    def tell(self) -> int:
        """Return the place."""

    def fileno(self) -> int:
        """Return the descriptor."""


class Text:
    """The text of a list, read once.

    Args:
        stream: the list, at its start.
        whole: a last line without an end is left out, because the file may be cut there.

    Attributes:
        cut: that last line; empty if there was none.
    """

    def __init__(self, stream: Octets, *, whole: bool) -> None:
        self._stream = stream
        self._whole = whole
        self.cut = ""

    def parts(self) -> Iterator[tuple[str, int]]:
        """Yield whole lines, each with its LF, and the number of the first of them.

        Raises:
            ListError: a line is longer than `LINE_MAX`, or the file is not a text.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        newlines = io.IncrementalNewlineDecoder(decoder, translate=True)
        first, rest, begun = 1, "", False
        while data := self._stream.read(PART):
            text = newlines.decode(data)
            if "\0" in text:
                raise ListError("it is a binary file, not a text")
            if not begun and text:
                text, begun = text.removeprefix(_MARK), True
            lines, end, behind = text.rpartition("\n")
            if not end:
                rest += text
                if len(rest) > LINE_MAX:
                    raise ListError(f"line {first} is longer than {LINE_MAX} characters")
                continue
            whole = f"{rest}{lines}\n"
            rest = behind
            yield whole, first
            first += whole.count("\n")
        rest += newlines.decode(b"", final=True)
        if rest.endswith("\n"):  # a CR was the last character
            yield rest, first
        elif rest.strip(f"{_MARK} \t\x1a"):  # DOS ended a text with \x1a
            if self._whole:
                self.cut = rest
            else:
                yield f"{rest}\n", first
