"""Keeps one zone list up: the last version of before, then SOA, AXFR and IXFR.

Owns what is done with a transfer: it is written to a file, and offered to the service when it has
ended without an error; what the service says decides whether it is the last good version. Does
not own transfers (transfers/), the files (records.py) or when to look (__main__.py). Blocks.
"""

from __future__ import annotations

import random
import time
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from xdpctl.errors import StateError, XdpctlError
from xdpctl.feeds.zone.messages import Asked, LookResult, Offered, Verdict, ZoneReport
from xdpctl.feeds.zone.records import ZoneFiles
from xdpctl.settings.lists import REFRESH_FAR, REFRESH_NEAR
from xdpctl.transfers.channel import Bounds
from xdpctl.transfers.client import PrimaryClient
from xdpctl.transfers.primaries import fetch
from xdpctl.transfers.stream import Kind
from xdpctl.transfers.tls import TlsContexts

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address, IPv6Address

    from xdpctl.feeds.zone.messages import ListZone
    from xdpctl.feeds.zone.records import StoredVersion
    from xdpctl.transfers.client import Primary, Transfer
    from xdpctl.transfers.primaries import Fetched

FAR_SECONDS = 3600.0
"""Between two looks at most."""

RETRY_SECONDS = 60.0
"""After a look that failed at most, and where there is no version yet."""

JITTER = 0.1

BOUNDS = Bounds(seconds=600.0)
"""Of one transfer: a million records, some 40 MB, need half a megabit a second."""

SHUNNED_SECONDS = 300.0
"""How long a primary that failed is asked after the others."""

_KINDS = {Kind.FULL: Asked.AXFR, Kind.CHANGES: Asked.IXFR}
_RESULTS = {Verdict.GOOD: LookResult.GOOD, Verdict.REFUSED: LookResult.REFUSED}


class Applying(Protocol):
    """The service, which applies versions."""

    def offer(self, offered: Offered) -> None:
        """Offer a version."""

    def verdict(self, offered: Offered) -> Verdict:
        """Wait for what became of it."""


class ListFollower:
    """One zone list.

    Args:
        zone: that is followed.
        service: applies versions.
        clock: Unix time.
        transfer: brings a zone up to date.
    """

    def __init__(
        self,
        zone: ListZone,
        service: Applying,
        *,
        clock: Callable[[], float] = time.time,
        transfer: Callable[..., Fetched] = fetch,
    ) -> None:
        self._zone = zone
        self._service = service
        self._fetch = transfer
        self._files = ZoneFiles(zone.path, zone.name.wire, keep_since=zone.keep_since, clock=clock)
        self._clock = clock
        self._contexts = TlsContexts()
        self._failed: dict[Primary, float] = {}  # when each failed, Unix time
        self._asked = self._came = Asked.NOTHING  # the last question; how the last version came
        self._is_in_force = True  # the good version
        self._is_refused = False  # the version that was offered last

    def begin(self) -> ZoneReport:
        """Offer the last version of before, if there is one."""
        try:
            self._files.begin()
            if self._files.good is not None:
                self._is_in_force = False
                self._offer(self._files.good)
        except XdpctlError as failure:
            return self._report(LookResult.KEPT, 0.0, failure.sentence)
        return self._report(LookResult.KEPT, 0.0)

    def look(
        self,
        *,
        asked: bool = False,
        whole: bool = False,
        notifier: IPv4Address | IPv6Address | None = None,
    ) -> ZoneReport:
        """Bring the zone up to date, and say how that ended.

        Args:
            asked: an operator wants it: a version that was refused is offered again.
            whole: transfer it even if nothing is new.
            notifier: who said that something is new; a primary with this address is asked first.
        """
        self._asked = Asked.NOTHING
        try:
            current, error = self._ask(whole=whole, notifier=notifier), ""
        except XdpctlError as failure:
            current, error = True, failure.sentence
        verdict = None
        try:
            pending = self._pending()
            if pending is not None and (not current or asked or not self._is_refused):
                self._asked = self._came
                verdict = self._offer(pending)
        except StateError as failure:
            verdict, error = Verdict.FAILED, error or failure.sentence
        if error or verdict in (Verdict.FAILED, Verdict.BROKEN):
            return self._report(LookResult.FAILED, self._retry(), error)
        result = LookResult.CURRENT if verdict is None else _RESULTS[verdict]
        return self._report(result, self._refresh())

    def _pending(self) -> StoredVersion | None:
        """Return the version that is to be put in force."""
        return self._files.offered or (None if self._is_in_force else self._files.good)

    def _ask(self, *, whole: bool, notifier: IPv4Address | IPv6Address | None) -> bool:
        """Ask the primaries; return whether they have nothing new."""
        if not self._zone.primaries:
            return True
        self._asked = Asked.SOA
        self._files.check()
        good, offered = self._files.good, self._files.offered
        order = sorted(
            self._zone.primaries,
            key=lambda each: (each.address != notifier, self._is_shunned(each)),
        )
        done = self._fetch(
            self._zone.name,
            order,
            None if whole or good is None else good.soa.serial,
            self._take,
            known=None if whole or offered is None else offered.soa.serial,
            bounds=BOUNDS,
            client=self._client,
        )
        for primary in order[: order.index(done.primary)]:
            self._failed[primary] = self._clock()
        self._failed.pop(done.primary, None)
        self._files.saw()
        if done.kind is not Kind.CURRENT:
            return False
        if good is not None and done.soa.serial == good.soa.serial and self._files.offered:
            self._files.discard()  # the primary has taken it back
        return True

    def _is_shunned(self, primary: Primary) -> bool:
        """Return whether a primary failed a short time ago, while another one answered."""
        failed = self._failed.get(primary)
        return failed is not None and abs(self._clock() - failed) < SHUNNED_SECONDS

    def _client(self, primary: Primary, bounds: Bounds) -> PrimaryClient:
        return PrimaryClient(primary, bounds, contexts=self._contexts)

    def _take(self, transfer: Transfer) -> None:
        """Write a transfer to its file.

        Raises:
            UnfitChangesError: they are changes that do not fit the version that is there.
            XdpctlError: the transfer cannot be used, or the file cannot be written.
        """
        self._asked = self._came = Asked.AXFR if transfer.have is None else Asked.IXFR
        batches = transfer.batches()
        first = next(batches, None)  # None: the answer has ended, and was verified
        self._asked = self._came = _KINDS.get(transfer.kind, self._asked)
        both = batches if first is None else chain((first,), batches)
        if transfer.kind is Kind.FULL:
            self._files.write_whole(both, lambda: transfer.soa)
        elif transfer.kind is Kind.CHANGES:
            self._files.write_changes(both, lambda: transfer.soa)

    def _offer(self, version: StoredVersion) -> Verdict:
        """Offer a version, and keep it if it is good.

        Raises:
            StateError: it is in force, but cannot be kept.
        """
        offered = Offered(
            self._zone.number,
            version.path,
            version.soa,
            version.base,
            self._came,
            version.records,
            version.touched,
            self._files.contact,
        )
        self._service.offer(offered)
        failure = None
        try:
            self._files.sync()  # while the service reads it
        except StateError as error:
            failure = error
        verdict = self._service.verdict(offered)
        self._is_refused = verdict is Verdict.REFUSED
        if verdict is Verdict.BROKEN:
            self._files.drop()
        elif verdict is Verdict.GOOD:
            if failure is not None:
                self._files.discard()
                raise failure
            self._files.accept()
            self._is_in_force = True
        return verdict

    @property
    def _least(self) -> float:
        """The seconds between two looks at least."""
        near = all(primary.address.is_loopback for primary in self._zone.primaries)
        return float(REFRESH_NEAR if near else REFRESH_FAR)

    def _retry(self) -> float:
        """Return the seconds until the next look after one that failed."""
        retry = self._files.good.soa.retry if self._files.good else RETRY_SECONDS
        wait = min(max(retry, REFRESH_FAR), RETRY_SECONDS)
        if self._zone.refresh is not None:
            wait = min(wait, max(self._zone.refresh, self._least))
        return about(wait)

    def _refresh(self) -> float:
        """Return the seconds until the next look: as the settings or the SOA say, in bounds."""
        if not self._zone.primaries:
            return FAR_SECONDS
        good = self._files.good
        wanted = self._zone.refresh or (good.soa.refresh if good else RETRY_SECONDS)
        return about(min(max(wanted, self._least), FAR_SECONDS))

    def _report(self, result: LookResult, seconds: float, error: str = "") -> ZoneReport:
        good = self._files.good
        return ZoneReport(
            self._zone.number,
            self._asked,
            result,
            good.soa if good else None,
            good.records if good else 0,
            self._files.contact,
            seconds,
            error,
        )


def about(seconds: float) -> float:
    """Return seconds with some jitter, so that many hosts do not ask at once."""
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - not a secret
