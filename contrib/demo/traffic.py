"""Queries of the demo: a real dig asks each kind again and again, slowly.

Owns the threads that ask and the tallies of what the client saw. Callers read what the filter
saw from its metrics.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.lab import dig

if TYPE_CHECKING:
    from tests.lab import Answer, Host

PAUSE = 0.5
"""Seconds between two queries of one kind."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of query.

    Attributes:
        title: what the table calls it.
        name: the question's name.
        server: address that is asked.
        source: address that asks; None: the client's first.
    """

    title: str
    name: str
    server: str = "192.0.2.53"
    source: str | None = None


KINDS = (
    Kind("a name that nobody blocks", "www.example"),
    Kind("the same over IPv6", "www.example", "2001:db8::53"),
    Kind("blocked address 192.0.2.66", "www.example", source="192.0.2.66"),
    Kind("blocked address 2001:db8::66", "www.example", "2001:db8::53", "2001:db8::66"),
    Kind("blocked prefix 203.0.113.0/24", "www.example", source="203.0.113.7"),
    Kind("blocked name flood.example", "flood.example"),
    Kind("truncated name big.example", "big.example"),
    Kind("truncated name over IPv6", "big.example", "2001:db8::53"),
)


@dataclass(slots=True)
class Tally:
    """What the client saw of one kind; one thread writes it."""

    sent: int = 0
    answered: int = 0
    over_tcp: int = 0

    def add(self, answer: Answer) -> None:
        """Count one query that has ended."""
        self.sent += 1
        self.answered += answer.arrived
        self.over_tcp += answer.retried and answer.over_tcp

    @property
    def silent(self) -> int:
        """Queries that nothing answered."""
        return self.sent - self.answered


class Traffic:
    """Asks all kinds at once while its context lasts.

    Args:
        client: the host that asks.
    """

    def __init__(self, client: Host) -> None:
        self.tallies = {kind: Tally() for kind in KINDS}
        self._client = client
        self._over = threading.Event()
        self._is_cut = False
        self._threads = [
            threading.Thread(target=self._ask, args=(kind,), name=kind.title) for kind in KINDS
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._is_cut = kind is not None
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, kind: Kind) -> None:
        while not self._over.is_set():
            answer = dig(self._client, kind.name, server=kind.server, source=kind.source)
            if not self._is_cut:  # Ctrl-C ends dig, too
                self.tallies[kind].add(answer)
            self._over.wait(PAUSE)
