"""Millions of rules: lines to rows, without an object for each.

Owns a fast path for typical lines: a plain address, name or zone, with the same options on
every line. Does not own the meaning of a line (rules.py); a test compares the two. Called by
feeds/ and by the import handler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.errors import TargetError
from xdpctl.rules.keys import Row, book_of, plain_place, stored_place
from xdpctl.rules.rules import DNSDIST_ORIGIN, parse_rule_line
from xdpctl.rules.targets import AnyQtype, qtype_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xdpctl.abi import Book

_OPTIONS_KEPT = 1000
_BLANK = " \r\n"


class LineReader:
    """Reads the lines of one import.

    Args:
        origin: origin of the lines without one.
        any_qtype: which types mean every type.
        now: seconds of CLOCK_BOOTTIME at which `for=` starts.
        fixed: `origin` is that of every row, also if its line has another.

    Attributes:
        skipped: number of lines with origin dnsdist, which is reserved.
    """

    def __init__(
        self, origin: str, any_qtype: AnyQtype, now: float, *, fixed: bool = False
    ) -> None:
        self._origin = origin
        self._any_qtype = any_qtype
        self._now = now
        self._fixed = fixed
        self._options: dict[str, tuple[Book, tuple[int, str, float | None, str]]] = {}
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
                raise error.at_line(number) from error
            if row is not None:
                yield row

    def _fast_row(self, line: str) -> Row | None:
        """Read a plain address or name with options that an earlier line had too."""
        target, _, rest = line.strip(_BLANK).partition(" ")
        found = self._options.get(rest)
        if found is None or (place := plain_place(target, self._any_qtype, found[0])) is None:
            return None
        return *place, *found[1]

    def _row(self, line: str) -> Row | None:
        """Read any line."""
        rule = parse_rule_line(line, self._origin)
        if rule is None:
            return None
        if rule.origin == DNSDIST_ORIGIN:
            self.skipped += 1
            return None
        origin = self._origin if self._fixed else rule.origin
        book = book_of(origin)
        place = stored_place(rule.target, self._any_qtype, book)
        expires = None if rule.expires_in is None else self._now + rule.expires_in
        options = int(rule.action), rule.reason, expires, origin
        target, _, rest = line.strip(_BLANK).partition(" ")
        if (
            len(self._options) < _OPTIONS_KEPT
            and plain_place(target, self._any_qtype, book) is not None  # the options begin after it
            and qtype_of(rule.target) is None
        ):
            self._options[rest] = book, options
        return *place, *options
