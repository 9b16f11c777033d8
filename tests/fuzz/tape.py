"""A finite run of octets as a source of choices.

Hypothesis and `random` both write tapes; a tape that is shorter, or holds more zeros,
chooses simpler things, which is what shrinking needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


class Tape:
    """Choices read off octets, one after the other; zeros behind the end."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def octet(self) -> int:
        """Return 0..255."""
        self._at += 1
        return self._octets[self._at - 1] if self._at <= len(self._octets) else 0

    def word(self) -> int:
        """Return 0..65535."""
        return self.octet() << 8 | self.octet()

    def rest(self) -> bytes:
        """Return all octets that are left."""
        rest = self._octets[self._at :]
        self._at = len(self._octets)
        return rest

    def below(self, bound: int) -> int:
        """Return 0..bound - 1; 0 where there is no other choice."""
        if bound <= 1:
            return 0
        return (self.octet() if bound <= 256 else self.word()) % bound

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of them."""
        return choices[self.below(len(choices))]
