"""A file's lines, each of bounded length, in parts of bounded size.

Owns how much of a file is held at once. A list of a gigabyte, or a single line of that length,
costs no more memory than any other. reader.py uses it for every format, so that all formats have
the same bounds. Does not own the meaning of a line. Called by reader.py and formats/zonefile.py.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from xdpctl.errors import ListError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO

LINE_MAX = 10_000
"""Characters of one line, or of one record over several lines. No valid one is as long."""

CHUNK = 10_000
"""Lines of one part."""

PART_CHARACTERS = 1_000_000
"""Characters after which a part gets no further line."""


def numbered(stream: TextIO) -> Iterator[str]:
    """Yield the lines.

    Raises:
        ListError: a line is longer than `LINE_MAX`.
    """
    for number, line in enumerate(iter(partial(stream.readline, LINE_MAX), ""), 1):
        if len(line) == LINE_MAX and line[-1] != "\n":
            raise ListError(f"line {number} is longer than {LINE_MAX} characters")
        yield line


def parts(lines: Iterable[str]) -> Iterator[tuple[list[str], int]]:
    """Yield the lines in parts, and with each part the number of its characters."""
    part: list[str] = []
    size = 0
    for line in lines:
        part.append(line)
        size += len(line)
        if len(part) == CHUNK or size >= PART_CHARACTERS:
            yield part, size
            part, size = [], 0
    if part:
        yield part, size
