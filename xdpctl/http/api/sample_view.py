"""What the API needs of the service about samples: a part of its backend (backend.py).

Owns these protocols. Called by shared_samples.py and streams.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from xdpctl.rules import Target
    from xdpctl.samples.packets import Packet
    from xdpctl.samples.sample import Sample
    from xdpctl.samples.selection import Selection


class SeenSamples(Protocol):
    """The samples of one who looks."""

    @property
    def lost(self) -> int:
        """How many samples did not come, since the beginning."""

    @property
    def until(self) -> float:
        """Unix time up to which all samples have come."""

    def __aiter__(self) -> AsyncIterator[list[tuple[Sample, Packet]]]:
        """Yield what has come, so few at a time that all may be worked on at once, or none.

        Others on the loop have their turn in between.
        """


class DecidingRule(Protocol):
    """The rule that decided about a sample."""

    @property
    def target(self) -> Target:
        """What it is for."""

    @property
    def origin(self) -> str:
        """Who made it."""


class SampleView(Protocol):
    """Sampled packets."""

    @property
    def kept_bits(self) -> tuple[int, int]:
        """Bits of an IPv4 and an IPv6 address that samples have."""

    @property
    def why_no_samples(self) -> str:
        """Why none are taken; empty where they are."""

    def samples(self, selection: Selection) -> AbstractAsyncContextManager[SeenSamples]:
        """Look at samples, for the time of a block."""

    async def rules_of(
        self, seen: Sequence[tuple[Sample, Packet]]
    ) -> Sequence[DecidingRule | None]:
        """Return the rule that decided about each sample, where it is known."""
