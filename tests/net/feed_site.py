"""A site whose service follows a zone of a real Knot, and is told of changes by NOTIFY."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab import dig
from tests.lab.primaries import Software, on_host, start_primary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab import Lab
    from tests.lab.primaries import ZonePrimary

ZONE = "block.rpz.example"
NOTIFIED = ("127.0.0.1", 5300)
"""Where the service listens for NOTIFY."""


class FeedSite:
    """A client, a server, and a Knot beside the service; the service is started later.

    Args:
        lab: where.
        records: of the zone.
    """

    def __init__(self, lab: Lab, records: Sequence[str]) -> None:
        self.client, self.server = lab.pair()
        self.client.ip(*["address", "add", "192.0.2.9/24", "dev", "eth0"])
        self.primary: ZonePrimary = start_primary(
            Software.KNOT,
            on_host(self.server),
            zone=ZONE,
            records=records,
            notify=[NOTIFIED],
        )

    def is_blocked(self, name: str = "free.example", source: str = "192.0.2.1") -> bool:
        """Return whether no answer comes to a query."""
        return not dig(self.client, name, "A", source=source).arrived
