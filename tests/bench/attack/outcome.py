"""What a trial came to. Pure; called by site.py, report.py and chart.py."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.bench.drop.search import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

SETTLED: Final = 1.0
"""Seconds of an attack after which questions count: a defence has one to see it."""

TRYING: Final = 2.5
"""Seconds before an attack's end in which questions no longer count: a later try of them would
meet no attack."""

HOLDS: Final = 0.99
"""Share of a second's questions that are answered where a defence holds."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One attack on one defence.

    Attributes:
        asked: questions from the second second of the attack on, all of whose tries meet it.
        answered: share of them.
        unbound: the same of the clients of real resolvers alone.
        first: share that was answered at the first try, over UDP or TCP.
        p50, p99: milliseconds until an answer.
        tcp: share of answers that came over TCP.
        limited: questions that were answered TC=1, or not at all.
        sent: packets of the attack. `lost`: of these, in the full ring of the server's card,
            before any defence. `reached`: queries over UDP that reached the server and were not
            honest ones.
        busy: share of the receiving core.
        connections: TCP connections a second, while the attack lasted.
        holds: seconds until every later second was answered to 99 %; None: it never held.
    """

    asked: int
    answered: float
    unbound: float
    first: float
    p50: float
    p99: float
    tcp: float
    limited: int
    sent: int
    lost: int
    reached: int
    busy: float
    connections: float
    holds: float | None

    @classmethod
    def of(  # noqa: PLR0913 - what was read
        cls,
        questions: Sequence[Sequence[Any]],
        *,
        start: float,
        seconds: float,
        sent: int,
        lost: int,
        reached: int,
        busy: float,
        connections: int,
        calm: bool = False,
    ) -> Trial:
        """Sum up.

        Args:
            questions: arrays as honest.py says them.
            start: of the attack, seconds after that of the questions.
            seconds: that it lasted.
            sent: packets of the attack.
            lost: of these, before any defence.
            reached: queries over UDP that reached the server.
            busy: seconds of its core.
            connections: over TCP.
            calm: there is no attack, so that every question counts.
        """
        during = [q for q in questions if start <= q[0] < start + seconds]
        whole = [q for q in during if calm or q[0] < start + seconds - TRYING]
        counted = [q for q in whole if calm or q[0] >= start + SETTLED]
        good = [q for q in counted if q[2] is not None]
        waits = [1000 * (q[2] - q[0]) for q in good] or [0.0]
        honest = sum(q[4] for q in during if q[1] != "unbound")
        behind = [q for q in counted if q[1] == "unbound"]
        return cls(
            asked=len(counted),
            answered=len(good) / len(counted),
            unbound=sum(q[2] is not None for q in behind) / max(1, len(behind)),
            first=sum(q[4] == 1 for q in good) / len(counted),
            p50=percentile(waits, 50),
            p99=percentile(waits, 99),
            tcp=sum(bool(q[3]) for q in good) / max(1, len(good)),
            limited=sum(q[2] is None or bool(q[3]) for q in counted),
            sent=sent,
            lost=lost,
            reached=max(0, reached - honest - sum(q[1] == "unbound" for q in during)),
            busy=min(1.0, busy / seconds),
            connections=connections / seconds,
            holds=_holds(whole, start),
        )


def _holds(asked: Sequence[Sequence[Any]], start: float) -> float | None:
    seconds: dict[int, list[bool]] = defaultdict(list)
    for question in asked:
        seconds[int(question[0] - start)].append(question[2] is not None)
    bad = [s for s, answers in seconds.items() if sum(answers) < HOLDS * len(answers)]
    last = max(bad, default=-1) + 1
    return None if last >= max(seconds, default=0) else float(last)
