"""The documents about limits, and how they are made of the service's values.

Owns these types, as documents.py has the others, and their converter. Does not own the values
(limits/view.py). Called by service/operations.py and the handlers.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from xdpctl.abi import PacketAction
from xdpctl.limits.parameters import burst_of, proven_limit_of
from xdpctl.rules import target_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdpctl.limits.acting import Acting
    from xdpctl.limits.parameters import Levels
    from xdpctl.limits.view import LimitsView


class ActingOut(msgspec.Struct):
    """A limit that acts now.

    `reason` is limit (by source), unproven (in total) or zone-limit, `rate` in packets a second at
    the last look, 0 between two pulses. `since` is in seconds since the epoch. `dropped`,
    `truncated` and `passed` count since then; packets over a limit pass only in a `dry_run`.
    """

    reason: str
    rate: float
    since: float
    dropped: int
    truncated: int
    passed: int
    dry_run: bool


class RateLimitOut(msgspec.Struct):
    """The limit by source: queries a second, at one moment, and the accounts of each prefix.

    `prefixes` are lengths and multipliers. `table` is the words of the table of accounts, `load`
    which share of them is in use.
    """

    rate: int
    burst: int
    prefixes: str
    prefixes6: str
    table: int
    load: float


class FloodLimitOut(msgspec.Struct):
    """The limits in total: queries a second of anybody, and beyond that of proven sources."""

    limit: int
    proven: int


class ProvenOut(msgspec.Struct):
    """The sources that have proven that they exist.

    `sources` are proven now, of `room`. `proof` is how (socket or cgroup), `factor` the times of
    the rate that they may send, `lifetime` the seconds that a proof lasts. `found` and `missed`
    are the TCP connections that the filter looked for.
    """

    sources: int
    room: int
    proof: str
    factor: int
    lifetime: int
    found: int
    missed: int


class CookiesOut(msgspec.Struct):
    """DNS cookies: how many secrets are in force, and the good and bad ones that were seen."""

    secrets: int
    good: int
    bad: int


class ListenerOut(msgspec.Struct):
    """Whether a server answers on a TCP port; `up` is null while nobody has asked."""

    port: int
    up: bool | None


class ZoneOut(msgspec.Struct):
    """An own zone with a limit: queries a second for names below it that do not exist.

    `in_force`: whether the filter limits it now; not before its names are known, where they come
    from `primaries`. `watch`: the service limits it while it is attacked, until `ends`. `names`
    exist in version `serial`, which its primary last had at `verified`. `transfers` counts how
    looks at the primary ended. Times are in seconds since the epoch.
    """

    zone: str
    limit: int
    in_force: bool
    watch: bool
    ends: float | None
    primaries: list[str]
    names: int | None
    serial: int | None
    verified: float | None
    transfers: dict[str, int]
    error: str


class HeavyOut(msgspec.Struct):
    """A zone that is asked for much: queries a second, from samples.

    `fronts`: of 64 classes of what is in front of the zone, how many were seen. `propose` is a
    command or option; empty: nothing needs to be done, or is known.
    """

    zone: str
    rate: float
    fronts: int
    propose: str


class LimitsOut(msgspec.Struct):
    """What is limited, and what the limits do now; null: there is no such limit.

    `slip`: each Nth packet over a limit is answered with TC=1, the others are dropped; 0: all are.
    With `dry_run` they pass. `exempt` are prefixes to which neither rule nor limit applies. `off`
    says why no limit can act now; empty: they can.
    """

    rate_limit: RateLimitOut | None
    flood_limit: FloodLimitOut | None
    proven: ProvenOut | None
    cookies: CookiesOut | None
    slip: int
    dry_run: bool
    exempt: list[str]
    acting: list[ActingOut]
    tcp: list[ListenerOut]
    warnings: list[str]
    zones: list[ZoneOut] = []
    heavy: list[HeavyOut] = []
    off: str = ""


class Proven(msgspec.Struct):
    """How many sources changed: count as proven and did not before, or no longer do."""

    changed: int


def limits_out(view: LimitsView) -> LimitsOut:
    """Return the limits as a document."""
    settings = view.settings
    rate = flood = proven = cookies = None
    if settings.rate_limit:
        rate = RateLimitOut(
            settings.rate_limit,
            burst_of(settings),
            _levels(settings.rate_limit_prefixes),
            _levels(settings.rate_limit_prefixes6),
            view.words,
            round(view.load, 4),
        )
    if settings.flood_limit:
        flood = FloodLimitOut(settings.flood_limit, proven_limit_of(settings))
    if view.proven is not None:
        proven = ProvenOut(
            view.proven,
            view.room,
            settings.proof,
            settings.proven_factor,
            settings.proven_lifetime,
            view.proofs.found,
            view.proofs.missed,
        )
    if view.secrets:
        cookies = CookiesOut(view.secrets, view.cookies.found, view.cookies.missed)
    return LimitsOut(
        rate,
        flood,
        proven,
        cookies,
        settings.rate_limit_slip,
        settings.rate_limit_dry_run,
        [target_text(prefix) for prefix in (*settings.exempt, *view.listed)],
        acting_out(view.acting, view.taken),
        [ListenerOut(port, view.listeners.get(port)) for port in settings.ports],
        list(view.warnings),
        [
            ZoneOut(
                zone.zone,
                zone.limit,
                zone.in_force,
                zone.watch,
                zone.ends,
                list(zone.primaries),
                zone.names,
                zone.serial,
                zone.verified,
                dict(zone.transfers),
                zone.error,
            )
            for zone in view.zones
        ],
        [HeavyOut(heavy.zone, heavy.rate, heavy.fronts, heavy.proposal) for heavy in view.heavy],
        view.off,
    )


def acting_out(acting: Sequence[Acting], now: float) -> list[ActingOut]:
    """Return the limits that act as documents; `now` is of their clock."""
    epoch = time.time() - now
    return [
        ActingOut(
            limit.reason.label,
            round(limit.rate, 1),
            round(limit.since + epoch, 3),
            limit.packets.get(PacketAction.DROP, 0),
            limit.packets.get(PacketAction.TRUNCATE, 0),
            sum(
                limit.packets.get(action, 0)
                for action in (PacketAction.PASS, PacketAction.REDIRECT)
            ),
            limit.dry_run,
        )
        for limit in acting
    ]


def _levels(levels: Levels) -> str:
    return ",".join(f"{length}:{times}" for length, times in levels)
