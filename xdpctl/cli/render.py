"""Text for people: tables, numbers, times; without control characters for the terminal.

Pure: values in, lines out. Does not know any verb or document. Called by the verbs. Owns how
values look.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_REASON_MIN = 12
_TENTHS_BELOW = 10
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def printable(text: str) -> str:
    r"""Return `text` as one line of printable characters; others become \xNN.

    Names, reasons and sentences come from packets, files and other programs. They must not
    write control characters to the terminal of an operator.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def columns(text: str) -> int:
    """Return the number of terminal columns that `text` takes; wide characters take two."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 1 + (_is_wide(character)) for character in text
    )


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in {"W", "F"}


def shortened(text: str, width: int) -> str:
    """Return `text`, cut to `width` columns with an ellipsis if it is longer."""
    if columns(text) <= width:
        return text
    kept = text
    while kept and columns(kept) > width - 1:
        kept = kept[:-1]
    return f"{kept}…"


class Table:
    """Aligned columns for rows that come in pages; columns grow and never shrink.

    Args:
        headers: titles of the columns.
        right: titles of the columns that are aligned to the right, for numbers.
        width: columns of the terminal, to which the last column is cut; None: not cut.
        indent: number of blanks before each line.
    """

    def __init__(
        self,
        headers: Sequence[str],
        *,
        right: frozenset[str] = frozenset(),
        width: int | None = None,
        indent: int = 0,
    ) -> None:
        self._headers = tuple(headers)
        self._right = tuple(header in right for header in headers)
        self._width = width
        self._indent = " " * indent
        self._widths = [columns(header) for header in headers]
        self._begun = False

    def lines(self, rows: Iterable[Sequence[str]]) -> Iterator[str]:
        """Yield the lines of these rows; the titles come before the first row."""
        cells = [tuple(printable(cell) for cell in row) for row in rows]
        for row in cells:
            for number, cell in enumerate(row):
                self._widths[number] = max(self._widths[number], columns(cell))
        if cells:
            yield from self.titles()
        for row in cells:
            yield self._line(row)

    def titles(self) -> Iterator[str]:
        """Yield the line of titles, unless `lines` has; for a table without rows."""
        if not self._begun:
            self._begun = True
            yield self._line(self._headers)

    def _line(self, row: Sequence[str]) -> str:
        padded = []
        for cell, width, right in zip(row, self._widths, self._right, strict=True):
            blanks = " " * (width - columns(cell))
            padded.append(blanks + cell if right else cell + blanks)
        head = self._indent + "  ".join(padded[:-1]) + "  "
        last = row[-1] if not self._right[-1] else padded[-1]
        if self._width is not None:
            last = shortened(last, max(self._width - columns(head), _REASON_MIN))
        return (head + last).rstrip()


def count(number: int) -> str:
    """Return a number with commas: 1,234,567."""
    return f"{number:,}"


def shown_rate(rate: float | None) -> str:
    """Return packets a second, with one decimal below ten; `-` where it is not known."""
    if rate is None:
        return "-"
    return f"{rate:.1f}/s" if 0 < rate < _TENTHS_BELOW else f"{rate:,.0f}/s"


def age(seconds: float) -> str:
    """Return a length of time in its two largest units: `3d 4h`, `5m 6s`."""
    rest = max(int(seconds), 0)
    days, rest = divmod(rest, _DAY)
    hours, rest = divmod(rest, _HOUR)
    minutes, rest = divmod(rest, _MINUTE)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {rest}s" if minutes else f"{rest}s"


def share(part: int, whole: int) -> str:
    """Return `part` of `whole` in percent; a small part is shown as <1%, not as 0%."""
    if whole <= 0:
        return "-"
    percent = 100 * part / whole
    if 0 < percent < 1:
        return "<1%"
    # Round down, because 99.6 % is not full.
    return f"{int(percent)}%"


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence: `a, b and c`."""
    if len(words) <= 1:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
