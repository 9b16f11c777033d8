"""Clients that lists exempt (`passthru = "exempt"`): who has which, over restarts.

Owns one fact of the state (a JSON object by origin), so that a start exempts them before its first
packet, and how many there may be. Does not own the maps (limit_tables.py). Made by resources.py,
called by operations.py.
"""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import TYPE_CHECKING

from xdpctl.errors import ListError, XdpctlError
from xdpctl.service.tasks import on_thread
from xdpctl.settings.lists import LISTED_MAX

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from concurrent.futures import Executor
    from ipaddress import IPv4Network, IPv6Network

    from xdpctl.service.limit_tables import LimitTables
    from xdpctl.store.state import State

    Network = IPv4Network | IPv6Network

REMEMBERED = "list-exempt"
"""Name of the fact."""


class ListExemptions:
    """The clients, by origin. Used on the store's thread; `clients` anywhere.

    Args:
        state: holds the fact.
        origins: lists that may exempt clients; what others had is forgotten.
    """

    def __init__(self, state: State, origins: Collection[str]) -> None:
        self._state = state
        self._by_origin: dict[str, tuple[Network, ...]] = {}
        try:
            found = json.loads(state.get_meta(REMEMBERED) or "{}")
            self._by_origin = {
                origin: tuple(map(ip_network, texts))
                for origin, texts in found.items()
                if origin in origins
            }
        except (XdpctlError, ValueError, TypeError, AttributeError):
            self._by_origin = {}  # the lists are read again, and say it anew

    @property
    def clients(self) -> tuple[Network, ...]:
        """All of them, each once."""
        every = (client for clients in self._by_origin.values() for client in clients)
        return tuple(dict.fromkeys(every))

    def use(self, origin: str, clients: Iterable[Network]) -> bool:
        """Let exactly these clients be those of an origin; return whether that is new. Blocks.

        Raises:
            ListError: all lists together have too many.
            StateError: the fact cannot be written.
        """
        wanted = {**self._by_origin, origin: tuple(sorted(clients, key=_order))}
        if not wanted[origin]:
            del wanted[origin]
        if wanted == self._by_origin:
            return False
        count = len({client for each in wanted.values() for client in each})
        if count > LISTED_MAX:
            raise ListError(f"all lists together may exempt {LISTED_MAX:,} clients, not {count:,}")
        fact = {name: list(map(str, each)) for name, each in wanted.items()}
        self._state.set_meta(REMEMBERED, json.dumps(fact))
        self._by_origin = wanted
        return True


class Exempting:
    """Exempts the clients of lists, each step on its thread.

    Args:
        exemptions: who has which, on `note_thread`.
        tables: the limits in force, on `thread`.
    """

    def __init__(
        self,
        exemptions: ListExemptions,
        tables: LimitTables,
        *,
        note_thread: Executor,
        thread: Executor,
    ) -> None:
        self._exemptions = exemptions
        self._tables = tables
        self._note_thread = note_thread
        self._thread = thread
        self._written: tuple[Network, ...] | None = exemptions.clients  # a start writes them

    async def exempt(self, origin: str, clients: Iterable[Network]) -> None:
        """Let exactly these clients of an origin be in front of every rule.

        Raises:
            XdpctlError: they are too many, or cannot be written.
        """
        use, write = self._exemptions.use, self._tables.exempt_listed
        await on_thread(self._note_thread, lambda: use(origin, clients))
        wanted = self._exemptions.clients
        if wanted != self._written:  # it may be noted, and not written: that has failed before
            self._written = None  # a part of them may be, if it fails
            await on_thread(self._thread, lambda: write(wanted))
            self._written = wanted


def _order(client: Network) -> tuple[int, int, int]:
    return client.version, int(client.network_address), client.prefixlen
