"""What is claimed of deploy/'s units, looked at from inside the guest that runs them.

`python -m tests.kernels.unit_checks`, started by systemd, writes one line of JSON a
claim. Emulated, everything takes its time: what comes about is waited for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

CHECK_MARK: Final = "xdpctl-unit "
PATIENCE: Final = 90.0


@dataclass(frozen=True, slots=True)
class Check:
    """One claim: whether it held, and what was seen where it did not."""

    claim: str
    held: bool
    seen: str = ""


def run(*argv: str) -> str:
    """Run a command to its end and return all that it wrote."""
    done = subprocess.run(
        argv, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return done.stdout.strip()


def ask(name: str) -> str:
    """Ask dnsdist over UDP, from the other end of the wire."""
    client = ("nsenter", "--net=/run/netns/client")
    return run(*client, "dig", "@192.0.2.53", "+short", "+time=2", "+tries=1", name)


def check(claim: str, look: Callable[[], str], wanted: str) -> bool:
    """Look until `wanted` is in what is seen, or patience ends; write the claim down."""
    deadline = time.monotonic() + PATIENCE
    while wanted not in (seen := look()) and time.monotonic() < deadline:
        time.sleep(1)
    held = wanted in seen
    if not held:
        journal = run("journalctl", "-u", "xdpctl", "-u", "dnsdist", "--no-pager", "-n", "20")
        seen = f"{seen[-1500:]}\n{journal[-3000:]}"
    line = json.dumps(asdict(Check(claim, held, "" if held else seen)))
    sys.stdout.write(f"\n{CHECK_MARK}{line}\n")
    sys.stdout.flush()
    return held


def active(unit: str) -> str:
    """Return "=active=" while the unit is active."""
    return f"={run('systemctl', 'is-active', unit)}="


def started() -> bool:
    """Check that both are up."""
    up = check("the service starts", lambda: active("xdpctl"), "=active=")
    beside = check("dnsdist starts beside it", lambda: active("dnsdist"), "=active=")
    return up and beside


def main() -> None:
    """Check every claim in order; the line "done" comes last."""
    if started():
        check("a query is answered", lambda: ask("www.example"), "192.0.2.80")
        check("it went over AF_XDP", lambda: run("xdpctl", "status"), "redirect  redirect")
        blocked = run("xdpctl", "block", "dropped.example")
        check("a rule is made", lambda: blocked, "1 rule made")
        check("it is heeded", lambda: ask("dropped.example"), "timed out")
        run("systemctl", "kill", "--signal=KILL", "xdpctl")
        check("a killed service leaves the filter on", lambda: ask("dropped.example"), "timed out")
        check("systemd starts it again", lambda: active("xdpctl"), "=active=")
        check(
            "it takes the filter over",
            lambda: run("journalctl", "-u", "xdpctl", "--no-pager", "-n", "30"),
            "taken-over",
        )
        check("its rule is still its own", lambda: run("xdpctl", "list"), "cli")
        check("dnsdist went on all the time", lambda: active("dnsdist"), "=active=")
        run("systemctl", "reload", "xdpctl")
        check("it lives through a reload", lambda: active("xdpctl"), "=active=")
        run("systemctl", "stop", "xdpctl")
        check(
            "stopping it detaches",
            lambda: f"={run('ip', 'link', 'show', 'eth0')}",
            "mtu 1500 qdisc",
        )
        check("and dnsdist goes on", lambda: ask("dropped.example"), "192.0.2.80")
    check("done", lambda: "done", "done")


if __name__ == "__main__":
    main()
