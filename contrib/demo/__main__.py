"""The demo: a client, a server with dnsdist 1.7.3 and the service, and a table.

Ends with Ctrl-C, or after DEMO_SECONDS (60 if the output is not a terminal), and
removes everything that it made. Needs root, for network namespaces and XDP.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from contrib.demo.table import Figures, heading, line, table
from contrib.demo.traffic import Traffic
from tests.lab import Dnsdist17, Lab, LabError, Responder, Service
from tests.lab.hosts import INTERFACE

if TYPE_CHECKING:
    from tests.lab import Host

SETTLING = 1.5
"""Seconds from the last query until it is in the metrics; the service looks each second."""

HOME_AND_CLEAR = "\x1b[H\x1b[J"
BLOCKS = """
bpf:block(newCA("192.0.2.66"), 1)
bpf:block(newCA("2001:db8::66"), 1)
bpf:blockQName(newDNSName("flood.example."), 255, 1)
bpf:blockQName(newDNSName("big.example."), 255, 2)
"""


def main() -> int:
    """Run the demo and return the exit status."""
    if os.geteuid() != 0:
        print("make demo needs root, for network namespaces and XDP: run it as root")
        return 1
    is_terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    seconds = os.environ.get("DEMO_SECONDS") or ("inf" if is_terminal else "60")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with Lab() as lab:
            show(lab, float(seconds), is_terminal=is_terminal)
    except KeyboardInterrupt:
        print()
    except LabError as error:
        print(f"the demo cannot go on: {error}")
        return 1
    print("the demo has ended and removed everything that it made")
    return 0


def show(lab: Lab, seconds: float, *, is_terminal: bool) -> None:
    """Build the network, send queries, show what happens to them."""
    print("two network namespaces, dnsdist 1.7.3, xdpctl on the interface between them …")
    client, server = lab.pair()
    client.ip("address", "add", "203.0.113.7/24", "dev", INTERFACE)
    Responder(server, "127.0.0.1", port=5300)
    service = Service(server)
    Dnsdist17(server, BLOCKS)
    service.verb("block", "203.0.113.0/24", "--reason", "the demo's own rule, not dnsdist's")
    look = how_to_look(client, service)
    if not is_terminal:
        print(look, heading(), sep="\n\n", flush=True)
    began = time.monotonic()
    with Traffic(client) as traffic:
        figures = Figures(0, traffic.tallies, service.metrics())
        while figures.seconds < seconds:
            time.sleep(1)
            passed = int(time.monotonic() - began)
            figures = Figures(passed, traffic.tallies, service.metrics())
            if is_terminal:
                end = f" of {seconds:g}" if seconds < float("inf") else ""
                print(HOME_AND_CLEAR + table(figures, end), look, "Ctrl-C ends it", sep="\n\n")
            else:
                print(line(figures), flush=True)
    if not is_terminal:
        time.sleep(SETTLING)
        settled = Figures(figures.seconds, traffic.tallies, service.metrics())
        print("\n" + table(settled))


def how_to_look(client: Host, service: Service) -> str:
    """Return commands for a second terminal."""
    return "\n".join(
        [
            "metrics: http://127.0.0.1:9953/metrics on the server, which is a namespace; there:",
            f"  nsenter --net={service.host.path} curl -s http://127.0.0.1:9953/metrics",
            "the rules, dnsdist's and ours, with their hits:",
            f"  .venv/bin/xdpctl list --control {service.control}",
            "a query of your own:",
            f"  nsenter --net={client.path} dig @192.0.2.53 big.example",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
