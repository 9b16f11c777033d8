"""A list of rules that is read part by part, in this process or in another one.

The base of a request's body (http/api/rule_lists.py) and a list's file (feeds/reader.py). Large
lists are pickled and sent to another process (store/worker/), which returns what it found while
reading. Owns the base class. Does not own the formats. Read by bulk.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xdpctl.rules.keys import Rows


class RuleSource(ABC):
    """A list. Iterating reads it once, in parts of rows; use each part up before the next.

    Attributes:
        found: facts found while reading, complete at the end; can be pickled.
        among: with `Change.replace`, the only places (map number, stored key) that the list says
            something about, known with its first part; None: everything of the origin.
        is_partial: whether it is likely to have such places.
    """

    found: object = None
    among: Sequence[tuple[int, bytes]] | None = None
    is_partial: bool = False

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes of the whole."""

    @property
    def weight(self) -> int:
        """Bytes to work through, as far as is known: more than `size` if it is packed."""
        return self.size

    @property
    @abstractmethod
    def position(self) -> int:
        """Bytes read so far."""

    @property
    @abstractmethod
    def descriptors(self) -> tuple[int, ...]:
        """Descriptors that another process needs under the same number."""

    @abstractmethod
    def __iter__(self) -> Iterator[Iterator[Rows]]:
        """Yield the rows in parts."""
