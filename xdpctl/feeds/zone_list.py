"""One zone list: what is known about it, and what follows from its settings.

Owns the value that the keeper of all zones (zone_lists.py) has of each, how its last good version
is noted, and its primaries with their keys. Decides nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdpctl.feeds.refusals import answer_all
from xdpctl.feeds.versions import GoodVersion
from xdpctl.settings.lists import Expire

if TYPE_CHECKING:
    import asyncio
    from ipaddress import IPv4Network, IPv6Network
    from typing import TypeAlias

    from xdpctl.errors import XdpctlError
    from xdpctl.feeds.shrinking import Shrinking
    from xdpctl.feeds.zone.messages import Asked, LookResult, ZoneReport
    from xdpctl.feeds.zone.reading import ZoneFound
    from xdpctl.settings import ZoneListSettings
    from xdpctl.store.bulk import BulkResult
    from xdpctl.transfers.client import Primary

    Network: TypeAlias = IPv4Network | IPv6Network


@dataclass(slots=True)
class ZoneList:
    """One list and what is known about it.

    Attributes:
        shrinking: how much smaller a version may be.
        used_as: the settings with which `serial` was put in force in this run; None: it was not.
        serial: of the version whose rules are in force; None: it is not known, or none is.
        report: the last one.
        next: when the zone is looked at next, Unix time.
        problem: why the version that was offered is not used. `trouble`: why none came.
        is_unread: its key or its authorities could not be read, so no primary is asked.
        left_out, denials: sentences, or empty.
        expired: its rules were removed, as no primary has confirmed them.
        accepted: an operator wants the version that is offered next, even if it shrank.
        asked_again: the look that was under way then has ended, and another was asked for.
        transfers: how often it was looked at, by what was asked and how that ended.
        exempt: clients that are in front of every rule; None: those of before this start.
        waiting: requests that wait for the next look.
        asking: asks for the zone, as this host has changed it.
    """

    settings: ZoneListSettings
    number: int
    shrinking: Shrinking
    used_as: object = None
    serial: int | None = None
    report: ZoneReport | None = None
    next: float = 0.0
    problem: str = ""
    trouble: str = ""
    is_unread: bool = False
    left_out: str = ""
    denials: str = ""
    expired: bool = False
    accepted: bool = False
    asked_again: bool = False
    transfers: Counter[tuple[Asked, LookResult]] = field(default_factory=Counter)
    exempt: frozenset[Network] | None = None
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    asking: asyncio.Task[None] | None = None

    def answer(self) -> None:
        """Let the requests go on that wait for this look."""
        waiting, self.waiting = self.waiting, []
        answer_all(waiting)

    def unreadable(self, error: XdpctlError) -> str:
        """Return the sentence about a key or authorities that cannot be read."""
        return f"list {self.settings.name} cannot be brought up to date: {error.sentence}"


def expires_after(settings: ZoneListSettings, soa_expire: int) -> float | None:
    """Return the seconds without contact after which a list's rules end; None: never."""
    if settings.expire is Expire.KEEP:
        return None
    return float(soa_expire if settings.expire is Expire.SOA else settings.expire)


def good_version(
    result: BulkResult,
    found: ZoneFound,
    former: GoodVersion | None,
    settings: ZoneListSettings,
    serial: int,
) -> GoodVersion:
    """Return what is known of a version; of changes, from what was known of the one before."""
    kinds = Counter(found.left_out.counts)
    if found.before is None or former is None:
        rules = result.created + result.updated + result.unchanged + result.theirs + result.others
        rules += found.ended
    else:
        rules = max(former.rules + found.rules - found.rules_before, 0)
        known = Counter(former.kinds)
        known.update(kinds)
        known.subtract(found.before.counts)
        kinds = +known
    return GoodVersion(
        *("rpz", rules, kinds.total(), 0.0),
        kinds=dict(kinds),
        serial=serial,
        covers=result.reach,
        zone=settings.zone.to_text(),
    )


def primaries_of(settings: ZoneListSettings) -> tuple[Primary, ...]:
    """Return the primaries with their key and what TLS checks. Blocks.

    Raises:
        XdpctlError: a file cannot be read.
    """
    from xdpctl.transfers.client import Primary  # noqa: PLC0415 - loads dnspython
    from xdpctl.transfers.key_file import read_key  # noqa: PLC0415 - the same
    from xdpctl.transfers.tls import Tls, read_authorities  # noqa: PLC0415 - the same

    key = read_key(settings.key_file) if settings.key_file else None
    tls = None
    if settings.tls_name is not None:
        authorities = read_authorities(settings.tls_ca) if settings.tls_ca else None
        tls = Tls(settings.tls_name, authorities)
    return tuple(Primary(*each, key, tls) for each in settings.primaries)


def age_text(seconds: float) -> str:
    """Return how long ago something was, in words."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{seconds:.0f} s"
