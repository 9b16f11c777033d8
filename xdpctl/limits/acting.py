"""Which limits act now, from the counters of packets: when each began, and when it has ended.

A limit acts while it refuses packets, or would in a dry run. Attacks come in pulses, so a limit has
ended only after a quiet minute: the log and the history have two lines for an attack, not two for a
pulse. It has ended at once when it is not configured any more, and when a dry run begins or ends,
as what it does then is another thing. Owns this. Does not own the counters (filter/) or the lines
(service/limits.py). Pure.
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
        dry_run: it lets pass what it would refuse.
    """

    reason: Reason
    since: float
    last: float
    packets: Mapping[PacketAction, int] = field(default_factory=dict)
    rate: float = 0.0
    dry_run: bool = False

    @property
    def total(self) -> int:
        """All packets that it has refused."""
        return sum(self.packets.values())


class ActingLimits:
    """Follows the counters.

    Attributes:
        now: the limits that act, in the order of LIMIT_REASONS.
        configured: those that may act.
    """

    def __init__(self) -> None:
        self._before: tuple[float, Counter[tuple[Reason, PacketAction]]] | None = None
        self.now: tuple[Acting, ...] = ()
        self.configured = frozenset(LIMIT_REASONS)

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
        ended: list[Acting] = []
        now: list[Acting] = []
        for reason in LIMIT_REASONS:
            is_wanted = reason in self.configured
            more = _more(counted, before[1], reason) if is_wanted else Counter[PacketAction]()
            dry_run = {PacketAction.DROP, PacketAction.TRUNCATE}.isdisjoint(more) if more else None
            acting = known.get(reason)
            if acting is not None and self._is_over(acting, moment, dry_run=dry_run):
                ended.append(acting)
                acting = None
            if acting is None and dry_run is not None:
                acting = Acting(reason, moment, moment, dry_run=dry_run)
            if acting is None:
                continue
            acting = replace(acting, rate=sum(more.values()) / seconds)
            if more:
                acting = replace(acting, last=moment, packets=Counter(acting.packets) + more)
            now.append(acting)
        self.now = tuple(now)
        return [acting for acting in now if acting.since == moment], ended

    def _is_over(self, acting: Acting, moment: float, *, dry_run: bool | None) -> bool:
        """Return whether a limit has ended; `dry_run` of what came since the last look, if any."""
        if acting.reason not in self.configured:
            return True
        if dry_run is not None:
            return dry_run is not acting.dry_run
        return moment - acting.last >= QUIET_SECONDS


def _more(
    now: Counter[tuple[Reason, PacketAction]],
    before: Counter[tuple[Reason, PacketAction]],
    reason: Reason,
) -> Counter[PacketAction]:
    """Return what a limit refused between two looks, by action; what passed only in a dry run.

    Where a dry run ended between the looks, both came: then only what was refused counts.
    """
    more = Counter({each: now[reason, each] - before[reason, each] for each in PacketAction})
    refused = Counter({each: more[each] for each in (PacketAction.DROP, PacketAction.TRUNCATE)})
    return +refused or +more
