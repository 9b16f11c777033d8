"""What was removed, in short: the first notes with their hits, and all of them counted by origin.

Given to what removes many rules (flush, expiry), so that service/account.py can say what went and
how often it had been hit. A million rules cost no more memory than a hundred. Owns nothing else.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xdpctl.store.state import Note

EACH = 100
"""Rules of one change that are named one by one; of more, only their numbers are kept."""


@dataclass(slots=True)
class Tally:
    """What was removed.

    Attributes:
        first: the first notes, each with its entry's hits.
        rules, hits: by origin.
    """

    first: list[tuple[Note, int]] = field(default_factory=list)
    rules: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)

    def add(self, note: Note, hits: int) -> None:
        """Count one rule that was removed."""
        if len(self.first) < EACH:
            self.first.append((note, hits))
        self.rules[note.origin] += 1
        self.hits[note.origin] += hits

    @property
    def is_short(self) -> bool:
        """Whether `first` has them all."""
        return len(self.first) == self.rules.total()
