"""The limits as values for others: metrics, the API and the verbs show them.

Owns these values. Does not own what they are made of. Published by service/limits.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Network, IPv6Network

    from xdpctl.limits.acting import Acting
    from xdpctl.limits.parameters import LimitSettings


@dataclass(frozen=True, slots=True)
class Events:
    """How often the filter looked for a proof or a cookie since it was attached."""

    found: int = 0
    missed: int = 0


@dataclass(frozen=True, slots=True)
class ZoneView:
    """An own zone with a limit.

    Attributes:
        zone: as an operator writes it.
        limit: queries a second for names that do not exist; 0: none now.
        in_force: whether the filter limits it now.
        watch: whether the service limits it by itself. `ends`: Unix time of such a limit's end.
        primaries: where its names come from; none: every name below it counts.
        names: how many exist; None: they are not known. `serial`: of that version.
        verified: Unix time when the primary last had this version.
        everything: whether a wildcard at its top makes every name exist.
        transfers: how often a look at the primary ended in each way.
        error: why the last look failed.
    """

    zone: str
    limit: int
    in_force: bool
    watch: bool = False
    ends: float | None = None
    primaries: tuple[str, ...] = ()
    names: int | None = None
    serial: int | None = None
    verified: float | None = None
    everything: bool = False
    transfers: Mapping[str, int] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class HeavyView:
    """A zone that is asked for much.

    Attributes:
        zone: the last two labels of the names.
        rate: queries a second, from samples.
        fronts: how many of 64 classes of what is in front of the zone were seen: few are few
            names, most of them are many.
        proposal: a command or option, ready to be pasted; empty: none.
    """

    zone: str
    rate: float
    fronts: int
    proposal: str = ""


@dataclass(frozen=True, slots=True)
class LimitsView:
    """The limits at one moment.

    Attributes:
        settings: in force.
        words: of the table of accounts; 0: there is none. `load`: which share is in use.
        proven: sources that are proven now; None: no limit asks for it. `room`: how many can be.
        proofs: look-ups of TCP connections. `cookies`: good and bad ones; `secrets`: how many.
        acting: limits that act now.
        listeners: by TCP port whether somebody answers there, as far as it was asked.
        taken: seconds of the clock of `Acting`.
        warnings: sentences.
        zones: own zones with a limit. `heavy`: zones that are asked for much.
        off: why no limit can act now; empty: they can.
        listed: clients that lists exempt, beside those of the settings.
    """

    settings: LimitSettings
    words: int = 0
    load: float = 0.0
    proven: int | None = None
    room: int = 0
    proofs: Events = Events()
    cookies: Events = Events()
    secrets: int = 0
    acting: tuple[Acting, ...] = ()
    listeners: Mapping[int, bool] = field(default_factory=dict)
    taken: float = 0.0
    warnings: tuple[str, ...] = ()
    zones: tuple[ZoneView, ...] = ()
    heavy: tuple[HeavyView, ...] = ()
    off: str = ""
    listed: tuple[IPv4Network | IPv6Network, ...] = ()
