"""Millions of rules: lines to rows, without an object for each.

Owns two fast paths: for typical lines, a plain address, name or zone with the same options as
another line, and for a part of a list with no options at all, which becomes blocks. Does not
own the meaning of a line (rules.py); a test compares them. Called by feeds/ and by the import
handler.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import compress, groupby
from operator import itemgetter, not_
from typing import TYPE_CHECKING

from xdpctl.abi import RuleAction
from xdpctl.errors import TargetError
from xdpctl.rules.comments import MARKS, reason_of, split
from xdpctl.rules.keys import (
    NO_END,
    NO_REASON,
    Block,
    Options,
    Row,
    Rows,
    book_of,
    line_place,
    plain_place,
    plain_v4_addresses,
)
from xdpctl.rules.rules import DNSDIST_ORIGIN, parse_rule_line
from xdpctl.rules.targets import AnyQtype, qtype_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from xdpctl.abi import Book

_OPTIONS_KEPT = 1000
_BLANK = " \r\n"
_OPTIONS_BEGIN = (" ", '"', "=", *MARKS)
"""One of these is in every text in which a line has options, or a comment that is its reason."""

_BLOCK_MIN = 8
"""Rows; fewer are not worth a block."""

_OPTIONS_OF: Callable[[Row], Options] = itemgetter(slice(2, None))


def in_blocks(rows: Iterable[Row]) -> Iterator[Rows]:
    """Yield rows that follow each other and have the same options as blocks, a map each."""
    for options, run in groupby(rows, _OPTIONS_OF):
        alike = list(run)
        if len(alike) < _BLOCK_MIN:
            yield from alike
            continue
        keys: defaultdict[int, list[bytes]] = defaultdict(list)
        for row in alike:
            keys[row[0]].append(row[1])
        for ref, of_map in keys.items():
            yield Block(ref, of_map, options)


def refuse(error: TargetError) -> None:
    """Raise: a list with a line that cannot be read is not used."""
    raise error


class LineReader:
    """Reads the lines of one import.

    Args:
        origin: origin of the lines without one.
        any_qtype: which types mean every type.
        now: seconds of CLOCK_BOOTTIME at which `for=` starts.
        fixed: `origin` is that of every row, also if its line has another.
        action: of lines without one.
        unreadable: called with the error of a line that cannot be read; if it returns, the
            line is left out.

    Attributes:
        skipped: number of lines with origin dnsdist, which is reserved.
    """

    def __init__(  # noqa: PLR0913 - what lines leave open
        self,
        origin: str,
        any_qtype: AnyQtype,
        now: float,
        *,
        fixed: bool = False,
        action: RuleAction = RuleAction.DROP,
        unreadable: Callable[[TargetError], None] = refuse,
    ) -> None:
        self._origin = origin
        self._any_qtype = any_qtype
        self._now = now
        self._fixed = fixed
        self._action = action.name.lower()
        self._unreadable = unreadable
        self._options: dict[str, tuple[Book, Options]] = {}
        self.skipped = 0

    def rows(self, lines: Iterable[str], first: int = 1) -> Iterator[Row]:
        """Yield a row for each line with a rule.

        Raises:
            TargetError: with the number of the line; the first line has number `first`.
        """
        for number, line in enumerate(lines, first):
            try:
                row = self._fast_row(line) or self._row(line)
            except TargetError as error:
                self._unreadable(error.at_line(number))
                continue
            if row is not None:
                yield row

    def items(self, text: str, first: int = 1) -> Iterator[Rows]:
        """Yield the rules of some lines, as `rows` does, but not always in their order.

        Two rules of one target differ in nothing where the order is another.
        """
        lines = text.split("\n")
        found = self._options.get("")
        if found is None or any(mark in text for mark in _OPTIONS_BEGIN):
            yield from in_blocks(self.rows(lines, first))
            return
        book, options = found
        keys: defaultdict[int, list[bytes]] = defaultdict(list)
        rest: Iterable[tuple[int, str]] = enumerate(lines)
        ends = [line[-1:].isdigit() for line in lines]
        try:
            ref, keys_of_addresses = plain_v4_addresses(compress(lines, ends), book)
        except (OSError, ValueError):  # prefixes, IPv6
            pass
        else:
            keys[ref] = keys_of_addresses
            rest = compress(rest, map(not_, ends))
        for number, line in rest:
            place = plain_place(line.strip(_BLANK), self._any_qtype, book)
            if place is None:
                yield from self.rows([line], first + number)
            else:
                keys[place[0]].append(place[1])
        for ref, of_map in keys.items():
            yield Block(ref, of_map, options)

    def _fast_row(self, line: str) -> Row | None:
        """Read a plain address or name with options that an earlier line had too."""
        target, _, rest = line.strip(_BLANK).partition(" ")
        found = self._options.get(rest)
        if found is None or (place := plain_place(target, self._any_qtype, found[0])) is None:
            return None
        return *place, *found[1]

    def _row(self, line: str) -> Row | None:
        """Read any line; a comment behind a rule without a reason becomes its reason."""
        text, comment = split(line)
        rule = parse_rule_line(text, self._origin, self._action)
        if rule is None:
            return None
        if rule.origin == DNSDIST_ORIGIN:
            self.skipped += 1
            return None
        origin = self._origin if self._fixed else rule.origin
        book = book_of(origin)
        place = line_place(rule.target, self._any_qtype, book)
        if rule.expires_in is not None:
            expires: float | None = self._now + rule.expires_in
        else:
            expires = None if rule.keeps_end else NO_END
        reason = rule.reason or reason_of(comment) or ("" if rule.keeps_reason else NO_REASON)
        options = int(rule.action), reason, expires, origin
        target, _, rest = line.strip(_BLANK).partition(" ")
        if (
            len(self._options) < _OPTIONS_KEPT
            and plain_place(target, self._any_qtype, book) is not None  # the options begin after it
            and qtype_of(rule.target) is None
        ):
            self._options[rest] = book, options
        return *place, *options
