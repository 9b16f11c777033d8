"""The demo's figures as text: a table that is redrawn, or one line a second.

Pure: from tallies and a scrape to strings. No escape codes; the caller adds them for a
terminal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contrib.demo.traffic import Kind, Tally
    from tests.lab.service import Metrics

ACTIONS = {"pass": "passed", "drop": "dropped", "truncate": "answered TC=1"}
REASONS = ("addr-v4", "addr-v6", "cidr4", "cidr6", "qname", "no-match")
"""The reasons of DNS packets; ARP and neighbour discovery are "other"."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was seen after some seconds.

    Attributes:
        seconds: since the first query.
        tallies: what the client saw.
        metrics: what the filter counted.
    """

    seconds: int
    tallies: Mapping[Kind, Tally]
    metrics: Metrics

    def packets(self, action: str) -> int:
        """Return how many packets of DNS came to this end."""
        return sum(self.metrics.packets(action=action, reason=reason) for reason in REASONS)

    @property
    def over_tcp(self) -> int:
        """Queries that were answered over TCP after a TC=1 answer."""
        return sum(tally.over_tcp for tally in self.tallies.values())


def table(figures: Figures, end: str = "") -> str:
    """Return everything as one table; `end` follows the seconds."""
    lines = [
        f"xdpctl demo, {figures.seconds}{end} s",
        "",
        f"{'the client asked (real dig)':34}" + row("sent", "answered", "silence", "over TCP"),
    ]
    lines += [
        f"  {kind.title:32}" + row(tally.sent, tally.answered, tally.silent, tally.over_tcp)
        for kind, tally in figures.tallies.items()
    ]
    lines += ["", f"{'the filter counted (with TCP)':34}" + row(*ACTIONS.values())]
    for reason in REASONS:
        counts = [figures.metrics.packets(action=action, reason=reason) for action in ACTIONS]
        if any(counts):
            lines.append(f"  {reason:32}" + row(*counts))
    lines.append(f"  {'all of DNS':32}" + row(*(figures.packets(action) for action in ACTIONS)))
    return "\n".join(lines)


def row(*cells: object) -> str:
    """Return cells in columns."""
    return "".join(f"{cell!s:>15}" for cell in cells)


def heading() -> str:
    """Return the heading of the lines that `line` returns."""
    words = ("seconds", *ACTIONS.values(), "over TCP", *REASONS)
    return "  ".join(words)


def line(figures: Figures) -> str:
    """Return one second as one line, under `heading`."""
    cells = {
        "seconds": figures.seconds,
        **{title: figures.packets(action) for action, title in ACTIONS.items()},
        "over TCP": figures.over_tcp,
        **{reason: figures.metrics.packets(reason=reason) for reason in REASONS},
    }
    return "  ".join(f"{cell:{len(title)}}" for title, cell in cells.items())
