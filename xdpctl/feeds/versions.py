"""What is known of each list: its last good version, and how it is now.

Owns the facts that outlive the service (one fact of the state, a JSON object by origin), and the
value that status, metrics and the API show. Does not own the lists. Called by files.py and
zone_lists.py.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from xdpctl.errors import XdpctlError
from xdpctl.process.log import event
from xdpctl.rules.reach import NO_REACH, Reach

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from xdpctl.feeds.origins import ListBackend

REMEMBERED = "list-versions"
"""Name of the fact."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GoodVersion:
    """The last version of a list that was used.

    Attributes:
        format: that it was read in; empty: it had no line.
        rules: how many it has, also those that another origin has, too.
        left_out: entries of it that are no rule.
        success: when it was used, in seconds since the epoch.
        accepted: what identifies the version, if an operator accepted it.
        kinds: how many entries of each kind were left out.
        serial: of a zone's version.
        covers: how much its prefixes cover (rules/reach.py).
        zone: name of the zone; empty: it is a file; None: it was noted before there was a zone.
    """

    format: str
    rules: int
    left_out: int
    success: float
    accepted: tuple[int, ...] | None = None
    kinds: dict[str, int] = field(default_factory=dict)
    serial: int | None = None
    covers: Reach = NO_REACH
    zone: str | None = ""


@dataclass(frozen=True, slots=True)
class ListView:
    """One list as it is now.

    Attributes:
        name: without `list:`.
        file: its path; empty: it is a zone.
        format: of the last good version, else as in the settings.
        good: the last good version, or None.
        next: when it is looked at next, in seconds since the epoch.
        error: why the present version is not used; empty: it is.
        zone: its name. `serial`: of the version in force.
        contact: when a primary last confirmed the zone, in seconds since the epoch.
        transfers: how often the zone was looked at, by what was asked and how that ended.
    """

    name: str
    file: str
    format: str
    good: GoodVersion | None
    next: float
    error: str
    zone: str = ""
    serial: int | None = None
    contact: float | None = None
    transfers: Mapping[tuple[str, str], int] = field(default_factory=dict)


class Versions:
    """The last good versions, by origin."""

    def __init__(self, backend: ListBackend) -> None:
        self._backend = backend
        self._good: dict[str, GoodVersion] = {}
        self._reading = asyncio.Lock()
        self._is_read = False

    def of(self, origin: str) -> GoodVersion | None:
        """Return the last good version of a list."""
        return self._good.get(origin)

    async def recall(self) -> None:
        """Read the fact, once; what cannot be read is forgotten, which is logged."""
        async with self._reading:
            if not self._is_read:
                await self._recall()
            self._is_read = True

    async def _recall(self) -> None:
        try:
            found = json.loads(await self._backend.recall(REMEMBERED) or "{}")
            self._good = {origin: _version(fields) for origin, fields in found.items()}
        except (XdpctlError, ValueError, TypeError, AttributeError, KeyError) as error:
            event(_log, "list-versions-forgotten", logging.WARNING, error=str(error))

    async def keep(self, origin: str, version: GoodVersion) -> None:
        """Take a version as the last good one."""
        self._good[origin] = version
        await self._remember()

    async def forget_others(self, origins: Collection[str]) -> None:
        """Forget the lists that are not among these."""
        if gone := self._good.keys() - set(origins):
            for origin in gone:
                del self._good[origin]
            await self._remember()

    async def _remember(self) -> None:
        fact = {origin: asdict(version) for origin, version in self._good.items()}
        try:
            await self._backend.remember(REMEMBERED, json.dumps(fact))
        except XdpctlError as error:
            event(_log, "list-versions-not-remembered", logging.WARNING, error=error.sentence)


def _version(fields: dict[str, object]) -> GoodVersion:
    names = "accepted", "kinds", "serial", "covers", "zone"
    accepted, kinds, serial, covers, zone = map(fields.get, names)
    return GoodVersion(
        str(fields["format"]),
        int(str(fields["rules"])),
        int(str(fields["left_out"])),
        float(str(fields["success"])),
        tuple(map(int, accepted)) if isinstance(accepted, list) else None,
        {str(kind): int(number) for kind, number in kinds.items()}
        if isinstance(kinds, dict)
        else {},
        serial if isinstance(serial, int) else None,
        Reach(*map(float, covers)) if isinstance(covers, list) else NO_REACH,
        None if zone is None else str(zone),
    )
