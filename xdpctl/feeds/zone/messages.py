"""The messages between the service and the process that follows zone lists.

Pickled objects on a pair of sockets. The service sends one job, behind which the listening sockets
for NOTIFY follow as descriptors. Then the process reports, and the service answers each `Offered`
with one `Settled`. `AskZone` may come at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

    from xdpctl.rules.names import Name
    from xdpctl.transfers.client import Primary
    from xdpctl.transfers.records import Soa


@dataclass(frozen=True, slots=True)
class ListZone:
    """A zone that is to be followed.

    Attributes:
        number: by which the messages name it.
        name: of the zone.
        primaries: that are asked, in this order; none: only the last version is used.
        path: of its files, without a suffix (records.py); the directory exists.
        refresh: seconds between two questions; None: as the zone's SOA says.
        keep_since: a record that an AXFR brings again keeps the time when it first came.
    """

    number: int
    name: Name
    primaries: tuple[Primary, ...]
    path: Path
    refresh: float | None = None
    keep_since: bool = False


@dataclass(frozen=True, slots=True)
class ZoneListsJob:
    """The zones, and how many sockets for NOTIFY follow: UDP, or listening TCP."""

    zones: tuple[ListZone, ...]
    sockets: int = 0


class Verdict(StrEnum):
    """What became of a version that was offered."""

    GOOD = "good"
    """It is in force: the last good version from now on."""

    REFUSED = "refused"
    """It shrank too much, or has no rule. It is offered again only if it is asked for."""

    FAILED = "failed"
    """It could not be applied; it is offered again at the next look."""

    BROKEN = "broken"
    """Its file cannot be read: it is removed, and the whole zone is transferred."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The service's answer to `Offered`."""

    number: int
    serial: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class AskZone:
    """Ask the primaries now, and offer a version that was refused again.

    Attributes:
        number: of the zone.
        whole: transfer the whole zone, even if nothing is new.
    """

    number: int
    whole: bool = False


class Asked(StrEnum):
    """How a primary was asked; the value is a label of the metric."""

    NOTHING = "none"
    """It was not asked: the last good version was read at the start."""

    SOA = "soa"
    AXFR = "axfr"
    IXFR = "ixfr"


class LookResult(StrEnum):
    """How a look at a zone ended; the value is a label of the metric."""

    KEPT = "kept"
    """The last good version of before, if there is one."""

    CURRENT = "current"
    """The primary has nothing new."""

    GOOD = "good"
    """A version was transferred, and is in force."""

    REFUSED = "refused"
    """A version was transferred, and the service refused it."""

    FAILED = "failed"
    """No primary gave a version, or the service could not apply it."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A version is whole and verified, and may be read with `ZoneRecords` until it is settled.

    Attributes:
        number: of the zone.
        path: of the file.
        soa: of the version.
        base: serial of the last good version that it changes; None: it is read as a whole.
        asked: how it came.
        records: how many it has, without the SOA record.
        touched: how many owners the changes concern; 0 without `base`.
        contact: when a primary last gave what it has, Unix time; 0: never.
    """

    number: int
    path: Path
    soa: Soa
    base: int | None
    asked: Asked
    records: int
    touched: int = 0
    contact: float = 0.0


@dataclass(frozen=True, slots=True)
class ZoneReport:
    """A zone was looked at.

    Attributes:
        number: of the zone.
        asked: the last thing that was asked for.
        result: how it ended.
        soa: of the last good version; None: there is none.
        records: of that version.
        contact: when a primary last gave what it has, Unix time; 0: never.
        next_seconds: until the next look.
        error: why nothing is new, if something failed.
    """

    number: int
    asked: Asked
    result: LookResult
    soa: Soa | None
    records: int
    contact: float
    next_seconds: float
    error: str = ""


class NotifyResult(StrEnum):
    """What became of a NOTIFY message; the value is a label of the metric."""

    TAKEN = "taken"
    """It names a zone that is followed."""

    UNKNOWN = "unknown-zone"
    MALFORMED = "malformed"
    """It is not a NOTIFY of a zone's SOA record."""

    UNVERIFIED = "wrong-signature"
    DROPPED = "dropped"
    """There were too many within one second."""


@dataclass(frozen=True, slots=True)
class Notified:
    """How many NOTIFY messages came since the last report."""

    counts: dict[NotifyResult, int]


Request: TypeAlias = Settled | AskZone
Report: TypeAlias = Offered | ZoneReport | Notified
