#!/usr/bin/env python3
"""CrowdSec custom bouncer: what CrowdSec decides is dropped before it reaches the DNS server.

crowdsec-custom-bouncer runs this program, and this program runs `xdpctl`. Both ways of feeding it
work:

    /etc/crowdsec/bouncers/crowdsec-custom-bouncer.yaml
        bin_path: /usr/local/bin/xdpctl-bouncer.py
        feed_via_stdin: true      # decisions as lines of JSON: faster for many
        feed_via_stdin: false     # one call a decision: add|del VALUE SECONDS REASON JSON

Install it with `install -m 755 contrib/crowdsec/xdpctl-bouncer.py /usr/local/bin/`.
Environment: XDPCTL_CONTROL names the service's socket, XDPCTL_PROGRAM another `xdpctl`,
XDPCTL_BOUNCER_ACTION=truncate answers TC=1 instead of dropping.

Each scenario has an origin of its own, app:crowdsec/SCENARIO: if two scenarios block an address, it
stays blocked until both decisions have ended, and what an operator blocks or allows by hand
comes first. `xdpctl list --all-claims` shows all of them. An address that dnsdist blocks itself
waits and is in force when dnsdist's block ends. Decisions that arrive together on standard input
go to xdpctl together. If xdpctl refuses them, they are sent one by one, so that one bad address
does not hold up the others.

Addresses and ranges become rules, which end with the decision. Decisions about a country, an
AS number or a session cannot become rules and are reported on standard error. Repeating a
decision does no harm. The bouncer runs until its input ends: if xdpctl refuses a target (one
that `protect` names), its error goes to standard error, and is the exit status of a single call.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROGRAM = os.environ.get("XDPCTL_PROGRAM", "xdpctl")
ACTION = os.environ.get("XDPCTL_BOUNCER_ACTION", "drop")
ORIGIN = "app:crowdsec"

_TOGETHER_MAX = 5000
_PAUSE_SECONDS = 0.2
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?")
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?)(h|ms|us|µs|ns|m|s)")
_REASON_MAX = 180


def target_of(value: str) -> str | None:
    """Return an address or prefix as xdpctl takes it; None where it is neither.

    The prefix of one address is that address. Bits after a prefix are cleared, since CrowdSec
    may write an address of the range. An address with a zone (fe80::1%eth0) is refused: no
    packet's source has one, and Python accepts any text as a zone, also new lines.
    """
    if "%" in value:
        return None
    try:
        if "/" not in value:
            return str(ip_address(value))
        network = ip_network(value, strict=False)
    except ValueError:
        return None
    whole = network.prefixlen == network.max_prefixlen
    return str(network.network_address if whole else network)


def seconds_of(duration: str) -> int | None:
    """Return the seconds, at least 1, of a number or of a duration such as 3h59m57.5s."""
    text = duration.strip().lstrip("-")
    if _NUMBER.fullmatch(text):
        return max(int(float(text)), 1)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return max(int(sum(float(number) * _UNITS[unit] for number, unit in parts)), 1)


@dataclass(frozen=True)
class Decision:
    """A decision about one address or range; `seconds` None lifts the block."""

    target: str
    seconds: int | None
    scenario: str

    @property
    def origin(self) -> str:
        """Whose claim the block is."""
        return f"{ORIGIN}/{self.scenario}" if self.scenario else ORIGIN

    @property
    def reason(self) -> str:
        """What is stored with the block."""
        return f"crowdsec {self.scenario}"


def decision_of(action: str, value: str, duration: str, reason: str) -> Decision | None:
    """Return the decision; None, and a line on standard error, if it cannot be a rule."""
    target = target_of(value)
    if target is None:
        say(f"{action} {value!r} is left out: it is not an address or range")
        return None
    shown = "".join(character if character.isprintable() else " " for character in reason)
    scenario = shown.strip()[:_REASON_MAX]
    if action == "del":
        return Decision(target, None, scenario)
    seconds = seconds_of(duration)
    if action != "add" or seconds is None:
        say(f"{action} {value} for {duration!r} is left out: it is not a decision")
        return None
    return Decision(target, seconds, scenario)


def carry_out(decision: Decision) -> int:
    """Carry out one decision; return xdpctl's exit status."""
    if decision.seconds is None:
        return lift([decision])
    options = ["--action", ACTION, "--for", f"{decision.seconds}s", f"--reason={decision.reason}"]
    options += ["--waiting-ok", f"--origin={decision.origin}"]
    return run([PROGRAM, "block", *options, "--", decision.target])


def lift(decisions: list[Decision]) -> int:
    """End the blocks of one scenario."""
    options = ["--missing-ok", f"--origin={decisions[0].origin}"]
    return run([PROGRAM, "unblock", *options, "--", *(each.target for each in decisions)])


def carry_out_all(decisions: Iterable[Decision]) -> None:
    """Carry out decisions that arrived together; the last one of a scenario on a target counts."""
    last = {(decision.target, decision.origin): decision for decision in decisions}
    made = [decision for decision in last.values() if decision.seconds is not None]
    lifted: dict[str, list[Decision]] = {}
    for decision in last.values():
        if decision.seconds is None:
            lifted.setdefault(decision.origin, []).append(decision)
    for of_one in lifted.values():
        lift(of_one)
    lines = "".join(rule_line(decision) for decision in made)
    if made and run([PROGRAM, "import", "-", "--origin", ORIGIN], lines):
        for decision in made:
            carry_out(decision)


def rule_line(decision: Decision) -> str:
    """Return a decision as a line that `xdpctl import` reads."""
    texts = (("reason", decision.reason), ("origin", decision.origin))
    quoted = [(key, text.replace("\\", "\\\\").replace('"', '\\"')) for key, text in texts]
    rest = " ".join(f'{key}="{text}"' for key, text in quoted)
    return f"{decision.target} action={ACTION} for={decision.seconds}s {rest}\n"


def together(descriptor: int) -> Iterator[list[str]]:
    """Yield the lines of a descriptor in groups that arrive without a pause."""
    rest, ended = b"", False
    while not ended:
        lines = list[str]()
        while len(lines) < _TOGETHER_MAX:
            if lines and not select.select([descriptor], [], [], _PAUSE_SECONDS)[0]:
                break
            data = os.read(descriptor, 65536)
            ended = not data
            *whole, rest = (rest + data).split(b"\n")
            lines += [line.decode(errors="replace") for line in whole]
            if ended:
                break
        yield lines
    if rest:
        yield [rest.decode(errors="replace")]


def decisions_in(lines: Iterable[str]) -> Iterator[Decision]:
    """Yield the decisions in lines of JSON; report other lines on standard error."""
    for line in lines:
        try:
            found = json.loads(line)
            texts = [str(found[key]) for key in ("action", "value", "duration", "scenario")]
        except (ValueError, KeyError, TypeError):
            say(f"this line is left out, it is not a decision: {line.strip()[:200]!r}")
            continue
        decision = decision_of(*texts)
        if decision is not None:
            yield decision


def run(command: list[str], given: str = "") -> int:
    """Run xdpctl on some input; its errors go to standard error unchanged."""
    try:
        done = subprocess.run(command, check=False, input=given.encode(), stdout=subprocess.PIPE)
    except OSError as error:
        say(f"cannot run {command[0]}: {error.strerror}")
        return 1
    return done.returncode


def say(sentence: str) -> None:
    """Write a line to standard error, which the bouncer logs."""
    print(f"xdpctl-bouncer: {sentence}", file=sys.stderr, flush=True)


def main() -> int:
    """Carry out the decision in the arguments, or without them those on standard input."""
    match sys.argv[1:]:
        case [action, value, duration, reason, *_]:
            decision = decision_of(action, value, duration, reason)
            return 0 if decision is None else carry_out(decision)
        case []:
            for lines in together(sys.stdin.fileno()):
                carry_out_all(decisions_in(lines))
            return 0
        case _:
            say("call it with add|del VALUE SECONDS REASON JSON, or feed decisions by stdin")
            return 2


if __name__ == "__main__":
    sys.exit(main())
