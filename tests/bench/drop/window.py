"""What one flood came to, and the readings before and after it that say so.

Owns the exact clocks: a thread's CPU time as the scheduler counts it, and how long a core
was idle; both are exact where the kernel's sampling of what a busy core does is not.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.bench.drop.search import Spent

if TYPE_CHECKING:
    from tests.bench.drop.search import CoreTimes

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Window:
    """One flood, or none, with honest queries beside it.

    Attributes:
        offered: packets/s that the sender was asked for; 0 is no flood.
        seconds: that it lasted.
        sent: packets of the flood. `missed`: of all that found the receive ring full.
        asked: honest queries. `answered`: of them.
        p50, p99: of the answers, microseconds; 0 without any.
        spent: CPU seconds of the NAPI thread, dnsdist and the service.
        core: seconds that the receiving core was not idle, whatever used it.
    """

    offered: float
    seconds: float
    sent: int
    missed: int
    asked: int
    answered: int
    p50: float
    p99: float
    spent: Spent
    core: float

    @property
    def rate(self) -> float:
        """Packets/s of the flood that were really sent."""
        return self.sent / self.seconds

    @property
    def lost(self) -> int:
        """Honest queries without an answer."""
        return self.asked - self.answered

    @property
    def others(self) -> float:
        """Share of the receiving core that none of ours used."""
        spent = self.spent
        return max(0.0, self.core - spent.poll - spent.dnsdist - spent.service) / spent.wall

    def per_million(self, resting: Window) -> float:
        """Return CPU seconds for a million packets of the flood; `resting` had none."""
        return self.spent.per_million(self.sent - self.missed, resting.spent)


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that only grows, at one moment."""

    moment: float
    missed: int
    poll: float
    dnsdist: float
    service: float
    core: CoreTimes

    def since(self, before: Reading) -> Spent:
        """Return what was spent between two readings."""
        return Spent(
            wall=self.moment - before.moment,
            poll=self.poll - before.poll,
            dnsdist=self.dnsdist - before.dnsdist,
            service=self.service - before.service,
        )

    def busy_since(self, before: Reading) -> float:
        """Return for how many seconds the core had something to do."""
        return self.moment - before.moment - (self.core.rest - before.core.rest) / _TICKS


def cpu_clock(pid: int) -> float:
    """Return the CPU seconds of a process or kernel thread.

    The number is what clock_getcpuclockid(3) makes of a pid.
    """
    return time.clock_gettime(~pid << 3 | 2)
