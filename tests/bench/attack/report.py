"""The tables: one an attack, a row a defence, in Markdown; JSON. Called by __main__.py."""

from __future__ import annotations

import json
from dataclasses import asdict
from statistics import fmean
from typing import TYPE_CHECKING, Final

from tests.bench.attack import honest
from tests.bench.attack.attacks import QUIET_CLIENTS, RESOLVERS
from tests.bench.attack.defences import DEFENCES
from tests.bench.attack.outcome import HOLDS, Trial
from tests.bench.attack.site import ATTACK
from tests.bench.report import write_raw

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.attack.attacks import Attack
    from tests.bench.attack.defences import Defence
    from tests.bench.machine import Machine

_CALM: Final = "calm"
_HEAD: Final = (
    "| defence | honest answered | clients of Unbound | at the first try | p50, p99 ms | over TCP"
    " | attack sent | reached the server | core busy | TCP/s | holds after |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
)
_CALM_HEAD: Final = (
    "| defence | questions | answered TC=1, or not at all | at the first try | p50, p99 ms |\n"
    "| --- | ---: | ---: | ---: | ---: |\n"
)


class Results:
    """All trials, by attack and defence."""

    def __init__(self) -> None:
        self.trials: dict[tuple[str, str], list[Trial]] = {}
        self.labels: dict[str, str] = {}
        self.last = ""

    def add(self, defence: Defence, attack: Attack | None, trial: Trial) -> None:
        """Take a trial in; `attack` None is calm."""
        key = attack.key if attack else _CALM
        self.labels[key] = attack.label if attack else "no attack"
        self.trials.setdefault((key, defence.key), []).append(trial)
        self.last = f"{self.labels[key]} {_row(key, defence.label, [trial])}"

    def share(self, attack: str, defence: str) -> float | None:
        """Return the mean share of honest questions that were answered."""
        trials = self.trials.get((attack, defence))
        return fmean(trial.answered for trial in trials) if trials else None


def _row(key: str, label: str, trials: list[Trial]) -> str:
    def mean(field: str) -> float:
        return fmean(getattr(trial, field) for trial in trials)

    waits = f"{mean('p50'):.1f}, {mean('p99'):.0f}"
    if key == _CALM:
        asked, limited = (sum(getattr(t, field) for t in trials) for field in ("asked", "limited"))
        return f"| {label} | {asked:,} | {limited:,} | {100 * mean('first'):.2f} % | {waits} |"
    sent, lost, reached = mean("sent"), mean("lost"), mean("reached")
    held = [trial.holds for trial in trials]
    holds = "never" if None in held else f"{max(h for h in held if h is not None):.0f} s"
    return (
        f"| {label} | {100 * mean('answered'):.2f} % | {100 * mean('unbound'):.1f} %"
        f" | {100 * mean('first'):.1f} % | {waits} | {100 * mean('tcp'):.1f} %"
        f" | {(sent - lost) / ATTACK:,.0f}/s | {reached / ATTACK:,.0f}/s"
        f" ({100 * reached / max(1, sent):.1f} %)"
        f" | {100 * mean('busy'):.0f} % | {mean('connections'):,.0f} | {holds} |"
    )


def text(done: Results, machine: Machine, rate: float) -> str:
    """Return the tables."""
    clients = (
        f"{QUIET_CLIENTS:,} quiet clients ({honest.QUIET_RATE:.0f} questions/s together),"
        f" {len(RESOLVERS)} resolvers ({honest.RESOLVER_RATE:.0f}/s each, every other one with DNS"
        f" cookies; {honest.UNBOUNDS} of them real Unbounds with {honest.UNBOUND_RATE:.0f}/s)"
    )
    setting = (
        f"{clients}. An attack lasts {ATTACK:.0f} s and sends up to {rate:,.0f} packets/s over a"
        " veth pair; another core receives them and runs the server, so an attack can take away"
        " both the card's time and the server's. What the attack sent is what came through the"
        " veth's ring. Honest packets wait in front of a full ring and are not lost there; sockets"
        " have room for 4 MiB. A question that is not"
        " answered is asked again after one and two seconds; one answered TC=1 is asked over TCP."
        " Questions count from the second second of an attack on, where all their tries meet it."
        f" A defence holds when {100 * HOLDS:.0f} % of each later second's questions are answered."
    )
    settings = "\n".join(f"* {d.label}: {d.setting}." for d in DEFENCES)
    parts = [machine.text, setting, f"Each defence in its best setting of those tried:\n{settings}"]
    for key, label in done.labels.items():
        rows = [
            _row(key, defence.label, done.trials[key, defence.key])
            for defence in DEFENCES
            if (key, defence.key) in done.trials
        ]
        head = _CALM_HEAD if key == _CALM else _HEAD
        parts.append(f"## {label[0].upper()}{label[1:]}\n\n{head}" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def write(done: Results, machine: Machine, body: str, docs: Path, raw: Path) -> None:
    """Write the page of the documentation, and the raw figures."""
    page = (
        "# Under attack: the figures\n\nWritten by `make bench-attack`; what to configure is in"
        " [under-attack.md](under-attack.md).\n\n"
        "![honest questions answered](under-attack-results.svg)\n\n"
    )
    (docs / "under-attack-results.md").write_text(page + body, encoding="utf-8")
    trials = {
        f"{attack} {defence}": [asdict(trial) for trial in trials]
        for (attack, defence), trials in done.trials.items()
    }
    document = {"machine": asdict(machine), "trials": trials}
    write_raw("bench-attack", json.dumps(document, indent=2) + "\n", raw)
