"""When native mode is worth another try, for a filter that had to be generic.

A try is not free: a link keeps its mode and a card has one mode at a time, so for some
milliseconds no program is on. It is made when the card changed in a way that the driver
may have minded, and otherwise now and then, ever more seldom; where the kernel says that
the driver runs no XDP, only after a change. Pure but for the clock; owned by
attachment.py.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdpctl.kernel.net.interfaces import Interface

FIRST_SECONDS = 60.0
LONGEST_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Condition:
    """What of a card a driver may mind.

    `native`: whether the kernel says that it runs XDP; None: it does not say.
    """

    mtu: int
    rx_queues: int
    driver: str | None
    features: frozenset[str]
    native: bool | None

    @classmethod
    def of(
        cls, interface: Interface, features: frozenset[str], *, native: bool | None
    ) -> Condition:
        """Return the condition of an interface."""
        return cls(interface.mtu, interface.rx_queues, interface.driver, features, native)


class NativeRetry:
    """When to try again.

    Args:
        clock: seconds of the monotonic clock.

    Attributes:
        why: what the driver said the last time; empty while it was not asked.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wait = FIRST_SECONDS
        self._next = clock() + FIRST_SECONDS
        self._condition: Condition | None = None
        self.why = ""

    def refused(self, why: str, condition: Condition) -> None:
        """Note that the driver refused, and how the card was left."""
        self.why, self._condition = why, condition
        self._next = self._clock() + self._wait
        self._wait = min(2 * self._wait, LONGEST_SECONDS)

    def is_time(self) -> bool:
        """Whether it is time to look at the card again."""
        return self._clock() >= self._next

    def is_due(self, condition: Condition) -> bool:
        """Whether to try now; notes the condition."""
        before, self._condition = self._condition, condition
        if before is not None and condition != before:
            self._wait = FIRST_SECONDS
            return True
        if condition.native is False:
            self._next = self._clock() + FIRST_SECONDS
        return self.is_time()
