"""Reads the records of a zone file (RFC 1035, 5) line by line, each of bounded length.

Owns the text: tokens, parentheses over several lines, comments, `$ORIGIN` and `$TTL`, and names
and fields that a record omits. dnspython reads the data of each single record; rpz.py gives a
record its meaning. `$INCLUDE`, which would read other files, and `$GENERATE`, which would generate
records, are rejected. Does no I/O. Does not own the meaning of records. Called by rpz.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.ttl

from xdpctl.errors import ListError, Sentence
from xdpctl.feeds.bounded import RECORD_MAX
from xdpctl.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

_TRIED = "cannot read it as an RPZ zone"

_WHY_MAX = 200
"""Characters of an explanation, which may quote a record."""

_UNNAMED = dns.name.from_text("zone.invalid.")
"""The zone's name if the file does not state it."""

_TOKEN = re.compile(
    r"""[ \t]+ | ;[^\n]* | \n
      | (?P<parenthesis>[()])
      | (?P<word>"(?:[^"\\\n]|\\.)*" | (?:[^ \t\n;()"\\]|\\.)+)""",
    re.VERBOSE,
)


class RecordError(ListError):
    """A record that is not valid; the records behind it can be read."""


def unreadable(number: int, why: str = "", kind: type[ListError] = RecordError) -> ListError:
    """Return the error for a line. `why` may quote the line; only the log shows that part."""
    why = "".join(each if each.isprintable() else repr(each)[1:-1] for each in why)
    why = why if len(why) <= _WHY_MAX else f"{why[: _WHY_MAX - 1]}…"
    public = f"{_TRIED}: line {number}"
    whole = f"{public}: {why}" if why else public
    return kind(Sentence(whole, f"{public} is not valid in a zone file"))


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Attributes:
        number: of its first line.
        name: its owner, absolute.
        data: as dnspython represents it.
        owner: the text of the name in the file, which may be relative.
        comment: behind it, in its last line; or empty.
    """

    number: int
    name: dns.name.Name
    data: dns.rdata.Rdata
    owner: str
    comment: str


class ZoneFile:
    """Reads the lines of one zone file.

    Attributes:
        zone: the owner of the SOA, which is the first record; None before it is read.
        origin: the origin of relative names.
        depth: number of open parentheses; above 0, the next line continues the record.
        last_text: owner of a record read elsewhere, for a next record without owner; or empty.
    """

    def __init__(self) -> None:
        self.zone: dns.name.Name | None = None
        self.origin = _UNNAMED
        self._last = _UNNAMED
        self._owner = ""
        self.last_text = ""
        self._origin_given = False
        self._start, self._size, self.depth = 0, 0, 0
        self._indented = False
        self._lost = False
        self._words: list[str] = []
        self._first = self._comment = ""

    def take(self, number: int, line: str) -> Record | None:
        """Take the next line; return the record that ends with it, if one does.

        Raises:
            RecordError: the record is invalid; `skip` passes over it.
            ListError: a directive is invalid, the zone does not begin with its SOA, or the
                record is longer than `RECORD_MAX` characters.
        """
        if not self.depth:
            self._start, self._size, self._words = number, 0, []
            self._indented = line[:1] in {" ", "\t"}
        self._size += len(line)
        if self._size > RECORD_MAX:
            raise ListError(
                f"{_TRIED}: the record of line {self._start} is longer than {RECORD_MAX} characters"
            )
        self._words += self._tokens(number, line)
        if self.depth or not self._words:
            return None
        try:
            return self._record()
        except (dns.exception.DNSException, ValueError, IndexError) as error:
            is_directive = not self._indented and self._first.startswith("$")
            kind = ListError if is_directive or self.zone is None else RecordError
            why = str(error) or type(error).__name__
            raise unreadable(self._start, why, kind) from error

    def skip(self) -> None:
        """Pass over a record that is invalid, and those behind it that have its owner."""
        self.depth, self._lost, self.last_text = 0, True, ""

    def end(self) -> None:
        """End the file: no line follows.

        Raises:
            ListError: a record is not complete, or there is no record.
        """
        if self.depth:
            raise ListError(f"{_TRIED}: the record of line {self._start} is not complete")
        if self.zone is None:
            raise ListError(f"{_TRIED}: it has no record, not even its SOA")

    def _tokens(self, number: int, line: str) -> Iterator[str]:
        position, self._comment = 0, ""
        while position < len(line):
            found = _TOKEN.match(line, position)
            if found is None:
                raise unreadable(number, f"{shown(line[position:].strip())} is not closed")
            position = found.end()
            if found["parenthesis"]:
                self.depth += 1 if found["parenthesis"] == "(" else -1
                if self.depth < 0:
                    raise unreadable(number, "it closes a parenthesis that is not open")
            elif found["word"]:
                yield found["word"]
            elif found[0].startswith(";"):
                self._comment = found[0]

    def _record(self) -> Record | None:
        """Read the words of one record or directive."""
        words = self._words
        self._first = words[0]
        if not self._indented:
            if words[0].startswith("$"):
                self._direct(*words)
                return None
            self._owner = words.pop(0)
            self._last, self.last_text = self.name(self._owner), ""
        elif self.last_text:
            self._owner = self.last_text
            self._last, self.last_text = self.name(self.last_text), ""
        elif self._lost:
            raise ValueError("its name is that of a record that cannot be read")
        self._lost = False
        words = _behind_ttl_and_class(words)
        if not words:
            raise ValueError("the record has no type")
        try:
            kind = dns.rdatatype.from_text(words[0])
        except (dns.exception.DNSException, ValueError) as error:
            raise ValueError(f"{shown(words[0])} is not a record type") from error
        data = self._data(kind, " ".join(words[1:]))
        if self.zone is None:
            if kind != dns.rdatatype.SOA:
                raise ListError(f"{_TRIED}: it does not begin with its SOA")
            self.zone = self._last
            if not self._origin_given:
                self.origin = self._last
        return Record(self._start, self._last, data, self._owner, self._comment)

    def _data(self, kind: dns.rdatatype.RdataType, text: str) -> dns.rdata.Rdata:
        try:
            return dns.rdata.from_text(dns.rdataclass.IN, kind, text, self.origin, relativize=False)
        except Exception as error:  # each of dnspython's parsers has its own errors
            raise ValueError(str(error) or type(error).__name__) from error

    def _direct(self, directive: str, *words: str) -> None:
        match directive.upper(), words:
            case "$ORIGIN", (text,):
                if self.last_text:
                    self._owner = self.last_text
                    self._last, self.last_text = self.name(self.last_text), ""
                self.origin, self._origin_given = self.name(text), True
            case "$TTL", (text,):
                dns.ttl.from_text(text)
            case _:
                raise ValueError(
                    f"the directive {shown(' '.join((directive, *words)))} is not supported:"
                    " write every record into the file"
                )

    def name(self, text: str) -> dns.name.Name:
        """Return an absolute name."""
        if text.startswith('"'):
            raise ValueError(f"{shown(text)} is not a name")
        return dns.name.from_text(text, self.origin)


def _behind_ttl_and_class(words: list[str]) -> list[str]:
    """Return a record's words from its type on. TTL and class are optional, in any order."""
    rest = _behind_ttl(words)
    has_ttl = len(rest) < len(words)
    rest = _behind_class(rest)
    return rest if has_ttl else _behind_ttl(rest)


def _behind_ttl(words: list[str]) -> list[str]:
    try:
        dns.ttl.from_text(words[0])
    except (dns.ttl.BadTTL, IndexError):
        return words
    return words[1:]


def _behind_class(words: list[str]) -> list[str]:
    try:
        found = dns.rdataclass.from_text(words[0])
    except dns.exception.SyntaxError:
        raise
    except (dns.exception.DNSException, ValueError, IndexError):
        return words
    if found != dns.rdataclass.IN:
        raise ValueError(f"its class is {dns.rdataclass.to_text(found)}, not IN")
    return words[1:]
