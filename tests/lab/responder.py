"""The backend of a lab: the small DNS server of `nameserver`, as a process on a host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.hosts import PYTHON

if TYPE_CHECKING:
    from tests.lab.hosts import Host
    from tests.lab.process import Process


class Responder:
    """Answers any name, listening when the constructor returns.

    Args:
        host: where it runs.
        addresses: that it listens on, the host's first two when none is given.
        port: over UDP and TCP.
    """

    def __init__(self, host: Host, *addresses: str, port: int = 53) -> None:
        where = addresses or (host.v4, host.v6)
        self.process: Process = host.start(
            "responder", PYTHON, "-m", "tests.lab.nameserver", str(port), *where
        )
        self.process.line("^ready$", timeout=60)

    def queries(self, transport: str = "") -> int:
        """Return how many queries arrived, all or those over "udp" or "tcp"."""
        return sum(line.startswith(f"query {transport}") for line in self.process.lines)
