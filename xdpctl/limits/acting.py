"""Which limits act now, from the counters of packets: when each began, and when it has ended.

A limit acts while it refuses packets, or would in a dry run. Attacks come in pulses, so a limit has
ended only after a quiet minute: the log and the history have two lines for an attack, not two for a
pulse. Owns this. Does not own the counters (filter/) or the lines (service/limits.py). Pure.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from xdpctl.abi import PacketAction, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from xdpctl.abi import Count

LIMIT_REASONS = (Reason.UNPROVEN, Reason.LIMIT, Reason.ZONE_LIMIT)
"""The reasons of limits, in the order in which the filter asks them."""

QUIET_SECONDS = 60.0
"""A limit has ended when it has refused nothing for so long."""


@dataclass(frozen=True, slots=True)
class Acting:
    """One limit that acts.

    Attributes:
        reason: which.
        since: when it began; `last`: when it last refused something. Seconds of one clock.
        packets: how many it has refused since then, by action; `pass`: only in a dry run.
        rate: packets a second at the last look; 0 between two pulses.
    """

    reason: Reason
    since: float
    last: float
    packets: Mapping[PacketAction, int] = field(default_factory=dict)
    rate: float = 0.0

    @property
    def total(self) -> int:
        """All packets that it has refused."""
        return sum(self.packets.values())


class ActingLimits:
    """Follows the counters.

    Attributes:
        now: the limits that act, in the order of LIMIT_REASONS.
    """

    def __init__(self) -> None:
        self._before: tuple[float, Counter[tuple[Reason, PacketAction]]] | None = None
        self.now: tuple[Acting, ...] = ()

    def after(
        self, moment: float, counters: Iterable[Mapping[tuple[Reason, PacketAction], Count]]
    ) -> tuple[list[Acting], list[Acting]]:
        """Take the counters of all filters; return which limits began, and which have ended.

        Args:
            moment: seconds of a monotonic clock.
            counters: of each filter, by (reason, action).
        """
        counted: Counter[tuple[Reason, PacketAction]] = Counter()
        for each in counters:
            for key, count in each.items():
                if key[0] in LIMIT_REASONS:
                    counted[key] += count.packets
        before, self._before = self._before, (moment, counted)
        if before is None or moment <= before[0]:
            return [], []
        seconds = moment - before[0]
        known = {acting.reason: acting for acting in self.now}
        began: list[Acting] = []
        ended: list[Acting] = []
        now: list[Acting] = []
        for reason in LIMIT_REASONS:
            more = {
                action: max(counted[reason, action] - before[1][reason, action], 0)
                for action in PacketAction
            }
            number = sum(more.values())
            if reason not in known and not number:
                continue
            acting = known.get(reason, Acting(reason, moment, moment))
            acting = replace(acting, rate=number / seconds)
            if number:
                acting = replace(acting, last=moment, packets=_sum(acting.packets, more))
            if reason not in known:
                began.append(acting)
            (ended if moment - acting.last >= QUIET_SECONDS else now).append(acting)
        self.now = tuple(now)
        return began, ended


def _sum(
    packets: Mapping[PacketAction, int], more: Mapping[PacketAction, int]
) -> dict[PacketAction, int]:
    """Return both added, without actions that nothing was counted for."""
    summed = {action: packets.get(action, 0) + more[action] for action in more}
    return {action: number for action, number in summed.items() if number}
