"""A list of rules that is read part by part, in this process or in another one.

What a request's body (http/api/rule_lists.py) and a list's file (feeds/reader.py) have in common.
bulk.py reads them. Large ones are pickled and sent to a process of their own (store/worker/); what
was found out while reading comes back. Owns the protocol. Does not own the formats. Used by
http/api/, feeds/, bulk.py and worker/.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.rules.keys import Row


class RuleSource(ABC):
    """A list; iterating reads it once, in parts of rows, each used up before the next.

    Attributes:
        found: what reading it found out, complete at its end; can be pickled.
    """

    found: object = None

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes of the whole."""

    @property
    @abstractmethod
    def position(self) -> int:
        """Bytes read so far."""

    @property
    @abstractmethod
    def descriptors(self) -> tuple[int, ...]:
        """Descriptors that another process needs under the same number."""

    @abstractmethod
    def __iter__(self) -> Iterator[Iterator[Row]]:
        """Yield the rows in parts."""
