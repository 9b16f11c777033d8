"""Keeps the names of one zone up: the last version of before, then SOA, AXFR and IXFR.

Owns what is done with a transfer: a whole zone fills a table of its own, changes are collected,
and only when the transfer has ended without an error anything in force changes. Does not own
transfers (transfers/), the table (names.py) or the kernel's memory, which `Memory` gives. Blocks.
Called by __main__.py.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

from xdpctl.abi import ZONE_BUCKET_SIZE
from xdpctl.errors import StateError, XdpctlError
from xdpctl.transfers.primaries import UnfitChangesError, fetch
from xdpctl.transfers.stream import Kind
from xdpctl.zones.counting import ZoneCounting
from xdpctl.zones.image import ZoneVersion, image_name, read_image, write_image
from xdpctl.zones.messages import Looked, Result
from xdpctl.zones.names import NameTable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from xdpctl.transfers.client import Transfer
    from xdpctl.transfers.primaries import Fetched
    from xdpctl.transfers.records import Soa
    from xdpctl.zones.hashing import NameHash
    from xdpctl.zones.messages import FollowedZone

FULL_SECONDS = 24 * 3600.0
"""After this time the whole zone is transferred even if changes are there: counts that were
wrong for any reason are right again."""

IMAGE_SECONDS = 60.0
"""Between two images that changes make necessary, of a zone that is large."""

SMALL = 1 << 14
"""Buckets of a table whose image is written after each change."""

CHANGES_MAX = 1_000_000
"""Names that changes may concern; more are transferred as a whole zone."""

RETRY_SECONDS = 60.0
NEAREST_SECONDS, NEAR_SECONDS, FAR_SECONDS = (1.0, 5.0), (5.0, 60.0), 3600.0
"""Bounds of the SOA's refresh: from a primary on loopback, and elsewhere; without a primary.

A name that is new must not be limited for the hours that a zone's secondaries may take."""

ZONES_A_SECOND = 20
"""So many zones at most are looked at in a second; with more, each is looked at less often."""

JITTER = 0.1

_RESULTS = {Kind.FULL: Result.FULL, Kind.CHANGES: Result.CHANGES, Kind.CURRENT: Result.CURRENT}


class Memory(Protocol):
    """Gives memory of the kernel for the names of zones."""

    def ask(self, number: int, buckets: int) -> memoryview:
        """Return new memory for a zone: so many buckets, the first one included.

        Raises:
            XdpctlError: there is none.
        """

    def put_in_force(self, number: int) -> None:
        """Have the memory that was given last take the place of the former one."""


class ZoneFollower:
    """The names of one zone.

    Args:
        zone: its name and primaries.
        hashed: gives the tags of names.
        directory: of images.
        memory: the kernel's.
        among: how many zones there are.
        clock: Unix time.
        transfer: brings a zone up to date.
    """

    def __init__(  # noqa: PLR0913 - two are for tests
        self,
        zone: FollowedZone,
        hashed: NameHash,
        directory: Path,
        memory: Memory,
        *,
        among: int = 1,
        clock: Callable[[], float] = time.time,
        transfer: Callable[..., Fetched] = fetch,
    ) -> None:
        self._zone = zone
        self._counting = ZoneCounting(zone.name.wire, hashed)
        self._identity = hashed.identity
        self._path = directory / image_name(self._counting.apex)
        self._memory = memory
        self._among = among
        self._clock = clock
        self._fetch = transfer
        self._version: ZoneVersion | None = None
        self._words: memoryview | None = None  # of the kernel, without the first bucket
        self._head: memoryview | None = None
        self._last_full = 0.0
        self._last_image = 0.0

    def begin(self) -> Looked:
        """Put the last version of before in force, if there is one."""
        error = ""
        try:
            version = read_image(self._path, self._identity, self._counting.apex)
            if version is not None:
                self._put(version)
                self._last_full = version.time
        except XdpctlError as failure:
            error = failure.sentence
        return self._looked(Result.KEPT, 0.0, error)

    def look(self) -> Looked:
        """Bring the names up to date, and say how that ended."""
        if not self._zone.primaries:
            return self._looked(Result.CURRENT, FAR_SECONDS)
        try:
            return self._update()
        except XdpctlError as failure:
            retry = self._version.soa.retry if self._version else RETRY_SECONDS
            wait = min(max(retry, NEAR_SECONDS[0]), RETRY_SECONDS)
            return self._looked(Result.FAILED, _about(wait), failure.sentence)

    def _update(self) -> Looked:
        have = None
        full_is_old = abs(self._clock() - self._last_full) >= FULL_SECONDS
        if self._version is not None and not full_is_old:
            have = self._version.soa.serial
        taken = _Taken(self._counting, self._version)
        done = self._fetch(self._zone.name, self._zone.primaries, have, taken.take)
        error = ""
        if done.kind is Kind.FULL:
            self._put(ZoneVersion(done.soa, taken.table, self._clock()))
            self._last_full = self._clock()
            error = self._write_image()
        elif self._version is not None:
            if done.kind is Kind.CHANGES:
                self._apply(taken)
            self._version = ZoneVersion(done.soa, self._version.table, self._clock())
            if done.kind is Kind.CHANGES:
                error = self._write_image_of_changes()
        return self._looked(
            _RESULTS[done.kind], self._refresh(done.soa), error, changes=taken.changes
        )

    def _put(self, version: ZoneVersion) -> None:
        """Put a whole version in force."""
        table = version.table
        memory = self._memory.ask(self._zone.number, 1 + table.buckets)
        octets = memory.cast("B")
        octets[ZONE_BUCKET_SIZE : ZONE_BUCKET_SIZE * (1 + table.buckets)] = memoryview(
            table.words
        ).cast("B")
        self._head = octets[:ZONE_BUCKET_SIZE]
        self._head[:] = table.head()
        self._words = octets[ZONE_BUCKET_SIZE:].cast("Q")
        self._memory.put_in_force(self._zone.number)
        self._version = version

    def _apply(self, taken: _Taken) -> None:
        """Apply changes in place: names that stay are never absent."""
        version = self._version
        if version is None:
            return
        table, before = version.table, version.table.words
        for slots in table.apply(taken.more, taken.less):
            if table.words is not before:  # it has grown
                self._put(ZoneVersion(version.soa, table, version.time))
                before = table.words
            elif self._words is not None:
                for slot in slots:
                    self._words[slot] = table.words[slot]
        table.apex += taken.apex
        if self._head is not None:
            self._head[:] = table.head()

    def _write_image_of_changes(self) -> str:
        version = self._version
        image_is_old = abs(self._clock() - self._last_image) >= IMAGE_SECONDS
        if version is None or (version.table.buckets > SMALL and not image_is_old):
            return ""
        return self._write_image()

    def _write_image(self) -> str:
        """Write the version to its file; return what is wrong, as the names are in force."""
        self._last_image = self._clock()
        try:
            if self._version is not None:
                write_image(self._path, self._version, self._identity, self._counting.apex)
        except StateError as error:
            return error.sentence
        return ""

    def _refresh(self, soa: Soa) -> float:
        """Return the seconds until the next look: the SOA's, in bounds."""
        near = all(ip_address(primary.address).is_loopback for primary in self._zone.primaries)
        least, most = NEAREST_SECONDS if near else NEAR_SECONDS
        return _about(max(min(max(soa.refresh, least), most), self._among / ZONES_A_SECOND))

    def _looked(
        self, result: Result, seconds: float, error: str = "", *, changes: int = 0
    ) -> Looked:
        version = self._version
        return Looked(
            self._zone.number,
            result,
            version.soa.serial if version else None,
            version.table.names if version else 0,
            version.table.apex > 0 if version else False,
            version.time if version else 0.0,
            seconds,
            error,
            changes,
        )


class _Taken:
    """What a transfer brings, kept until it has ended.

    Args:
        counting: of the zone.
        version: that is there.
    """

    def __init__(self, counting: ZoneCounting, version: ZoneVersion | None) -> None:
        self._counting = counting
        self._version = version
        self._begin()

    def _begin(self) -> None:
        self.table = NameTable()
        self.more: dict[int, int] = {}
        self.less: dict[int, int] = {}
        self.apex = 0
        self.changes = 0

    def take(self, transfer: Transfer) -> None:
        """Take all records of a transfer.

        Raises:
            UnfitChangesError: they are changes that do not fit the version that is there.
            XdpctlError: the transfer cannot be used, or the zone has too many names.
        """
        self._begin()
        more: defaultdict[int, int] = defaultdict(int)
        less: defaultdict[int, int] = defaultdict(int)
        for added, record in transfer:
            self.changes += 1
            for tag, amount in self._counting.of(record):
                if tag == self._counting.apex:
                    self.apex += 1 if added else -1
                elif transfer.kind is Kind.FULL:
                    self.table.add(tag, amount)
                else:
                    (more if added else less)[tag] += amount
            if len(more) + len(less) > CHANGES_MAX:
                raise UnfitChangesError("more names change than are worth to be changed")
        if transfer.kind is Kind.FULL:
            self.table.apex = self.apex
        else:
            self._check(more, less)

    def _check(self, more: dict[int, int], less: dict[int, int]) -> None:
        """Keep the changes, if the version that is there has all that goes."""
        if self._version is None:
            raise UnfitChangesError("there is no version that could be changed")
        table = self._version.table
        fits = table.apex + self.apex >= 0 and table.fits(more, less)
        if not fits:
            raise UnfitChangesError("records go that are not there")
        self.more, self.less = more, less


def _about(seconds: float) -> float:
    """Return seconds with some jitter, so that many hosts do not ask at once."""
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - not a secret
