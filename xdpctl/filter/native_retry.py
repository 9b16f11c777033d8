"""Decides when a filter in generic mode tries native mode again.

A try has a cost: a link keeps its mode and a card has one mode at a time, so no program is
attached for some milliseconds. A try is due when something changed on the card that the
driver may have objected to, and otherwise from time to time, at growing intervals. If the
kernel says that the driver cannot run XDP, a try is due only after a change. Pure except for
the clock; owned by attachment.py.
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
    """What a driver may object to on a card.

    `native`: whether the kernel says that the driver runs XDP; None if it cannot tell.
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
    """The time of the next try.

    Args:
        clock: seconds of the monotonic clock.

    Attributes:
        why: the driver's last reason; empty before the first refusal.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wait = FIRST_SECONDS
        self._next = clock() + FIRST_SECONDS
        self._condition: Condition | None = None
        self.why = ""

    def refused(self, why: str, condition: Condition) -> None:
        """Record that the driver refused, and the card's condition after it."""
        self.why, self._condition = why, condition
        self._next = self._clock() + self._wait
        self._wait = min(2 * self._wait, LONGEST_SECONDS)

    def is_time(self) -> bool:
        """Whether it is time to check the card again."""
        return self._clock() >= self._next

    def is_due(self, condition: Condition) -> bool:
        """Whether to try now; records the condition."""
        before, self._condition = self._condition, condition
        if before is not None and condition != before:
            self._wait = FIRST_SECONDS
            return True
        if condition.native is False:
            self._next = self._clock() + FIRST_SECONDS
        return self.is_time()
