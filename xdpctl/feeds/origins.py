"""Remembers which origins belong to lists, and removes the rules of removed lists.

Owns one fact of the state: the origins whose rules come from files or zones. With it, a list that
is removed from the settings loses its rules even if the service was not running at that time. Rules
that somebody imported under such a name are never touched. Does not own the rules. Called by
files.py and zone_lists.py.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Protocol

from xdpctl.errors import XdpctlError
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xdpctl.abi import MapName
    from xdpctl.store.bulk import BulkResult
    from xdpctl.store.change import Change

REMEMBERED = "lists"
"""Name of the fact: a JSON list of origins."""

_log = logging.getLogger(__name__)


class ListBackend(Protocol):
    """What lists need from the service (service/operations.py)."""

    async def bulk(self, change: Change) -> BulkResult:
        """Change the rules of an origin; the change's source is read on another thread."""

    async def flush(self, map_name: MapName | None, origin: str | None) -> int:
        """Remove an origin's rules."""

    async def recall(self, name: str) -> str | None:
        """Return a fact of the state."""

    async def remember(self, name: str, value: str) -> None:
        """Write a fact into the state."""


class ListOrigins:
    """The origins.

    Attributes:
        leaving: origins whose rules must still be removed.
        problem: why that has failed so far, or an empty text.
    """

    def __init__(self, backend: ListBackend) -> None:
        self._backend = backend
        self._present: set[str] = set()
        self._changing = asyncio.Lock()
        self.leaving: set[str] = set()
        self.problem = ""

    async def take_over(self, present: Iterable[str]) -> None:
        """Make these the origins of lists; former ones that are not among them are leaving."""
        async with self._changing:
            former = await self._recall() | self._present
            self._present = set(present)
            self.leaving = (self.leaving | former) - self._present
            await self._remember()  # before any of their rules exists

    def has(self, origin: str) -> bool:
        """Return whether an origin is a list's."""
        return origin in self._present

    async def written(self, origin: str) -> None:
        """Note that rules of an origin were written: it may be a list's no more since they began.

        Its rules were removed before these came, so they are removed once more.
        """
        if not self.has(origin):
            self.leaving.add(origin)
            await self._remember()
            await self.remove_leaving()

    async def remove_leaving(self) -> None:
        """Remove the rules of the leaving origins; those that fail are tried again later."""
        if not self.leaving:
            self.problem = ""
            return
        for origin in sorted(self.leaving):
            try:
                removed = await self._backend.flush(None, origin)
            except XdpctlError as error:
                self._failed(origin, error)
                return
            self.leaving.discard(origin)
            event(_log, "list-removed", list=origin, rules=removed)
        self.problem = ""
        await self._remember()

    def _failed(self, origin: str, error: XdpctlError) -> None:
        problem = (
            f"cannot remove the rules of {origin}, which is no longer a list: {error.sentence};"
            " the service tries again every minute"
        )
        if problem != self.problem:
            event(_log, "list-not-removed", logging.ERROR, list=origin, error=error.sentence)
        self.problem = problem

    async def _recall(self) -> set[str]:
        try:
            found = json.loads(await self._backend.recall(REMEMBERED) or "[]")
        except (XdpctlError, ValueError) as error:
            event(_log, "lists-forgotten", logging.WARNING, error=str(error))
            return set()
        return {str(origin) for origin in found} if isinstance(found, list) else set()

    async def _remember(self) -> None:
        origins = sorted(self.leaving | self._present)
        try:
            await self._backend.remember(REMEMBERED, json.dumps(origins))
        except XdpctlError as error:
            event(_log, "lists-not-remembered", logging.WARNING, error=error.sentence)
