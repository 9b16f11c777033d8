"""Reads the document of dynamic blocks entry by entry.

It is one JSON object of small objects, up to some hundred thousand of them. Reading it whole would
hold the interpreter for a tenth of a second, so an entry is read at a time, and other threads run
in between. Owns the syntax and its bounds. Does not own what entries mean (blocks.py).
"""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING

from xdpctl.errors import DnsdistError

if TYPE_CHECKING:
    from collections.abc import Iterator

STEP = 65_536
"""Octets that are decoded at a time."""

ENTRY_MAX = 65_536
"""Characters of one key or one entry; dnsdist's have some hundred."""

_SPACE = re.compile(r"[ \t\r\n]*")


def read_entries(document: bytes, step: int = STEP) -> Iterator[tuple[str, object]]:
    """Yield key and value of each entry, in the order of the document.

    Octets that are not UTF-8 become U+FFFD: a reason may hold anything.

    Raises:
        DnsdistError: it is not one whole JSON object; half a sentence. What was yielded before is
            not to be used.
    """
    text = _Text(document, step)
    text.take("{")
    if text.peek() == "}":
        text.take("}")
    else:
        while True:
            key = text.value()
            if not isinstance(key, str):
                raise _not_json()
            text.take(":")
            yield key, text.value()
            if text.peek() != ",":
                break
            text.take(",")
        text.take("}")
    if text.peek():
        raise _not_json()


class _Text:
    """A document that is decoded as far as it is needed."""

    def __init__(self, document: bytes, step: int) -> None:
        self._document = memoryview(document)
        self._step = step
        self._read = 0
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._scan = json.JSONDecoder(parse_constant=_refuse).raw_decode
        self._text = ""
        self._at = 0

    def _more(self) -> bool:
        """Decode more of the document; False at its end."""
        if self._read >= len(self._document):
            return False
        part = self._document[self._read : self._read + self._step]
        self._read += self._step
        ended = self._read >= len(self._document)
        self._text = self._text[self._at :] + self._decode(part, ended)
        self._at = 0
        return True

    def peek(self) -> str:
        """Return the next character that is not white space; empty at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = self._at if found is None else found.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, character: str) -> None:
        """Go behind the next character, which must be this one."""
        if self.peek() != character:
            raise _not_json()
        self._at += 1

    def value(self) -> object:
        """Return the next string or object; anything else is not one of dnsdist's."""
        if self.peek() not in {'"', "{"}:  # ends where it says so, wherever the text is cut
            raise _not_json()
        while True:
            try:
                found, self._at = self._scan(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at > ENTRY_MAX or not self._more():
                    raise _not_json() from error
            else:
                return found


def _refuse(text: str) -> object:
    raise ValueError(text)  # NaN, Infinity: not JSON


def _not_json() -> DnsdistError:
    return DnsdistError(
        "the answer is not the whole JSON object that it must be; is it dnsdist's web server?"
    )
