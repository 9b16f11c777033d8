"""The lines of an export, made in this process.

Owns how many lines are given at a time; lines of many rules are made in a process of their
own (worker/). Called by store.py.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


EXPORT_LINES = 2_000
"""Lines of one part: some 10 ms and 64 kB."""


class Export(Protocol):
    """Lines of rules, part by part; each call blocks."""

    def part(self) -> bytes:
        """Return the next lines, empty at the end."""

    def close(self) -> None:
        """End it, also before its end and from another thread."""


class ExportInProcess:
    """Lines as they are made."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def part(self) -> bytes:
        """Return the next lines; empty at the end. Blocks."""
        return "".join([f"{line}\n" for line in islice(self._lines, EXPORT_LINES)]).encode()

    def close(self) -> None:
        """Make no more."""
        self._lines = iter(())
