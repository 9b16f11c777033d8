"""The state that the service last saw, as one frozen value: counters, map sizes, warnings.

Metrics and status read the last snapshot and so make no system call. The observer makes a new one
every second (service/looks.py), on the thread that filters belong to. Owns the class. Does not own
the measurement (observer.py). Read by metrics.py, service/ and http/api/.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdpctl.filter.view import FilterState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address, IPv6Address
    from pathlib import Path

    from xdpctl.abi import MapName
    from xdpctl.filter.view import FilterView
    from xdpctl.status.rates import PacketRates


@dataclass(frozen=True, slots=True)
class MapView:
    """A pinned map as last seen, or a map of rules in our own tables.

    Attributes:
        path: its pin; of our own tables, that of their head beside the first link.
        id: the kernel's map id; 0: there are no tables.
        entries: how many; None until first counted.
        capacity: max_entries; of our own tables, for how many there is room until they grow.
        frozen: nobody can change its entries any more (BPF_MAP_FREEZE).
    """

    name: MapName
    path: Path
    id: int
    entries: int | None
    capacity: int
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that status and metrics show.

    Attributes:
        taken: seconds of the monotonic clock.
        reasons: why the service is not ready; empty when it is.
        map_errors: failed writes by (map, symbolic errno).
        destinations: what AF_XDP is registered for, with --xsk.
        rates: packets a second by (interface, reason, action), of what was ever counted.
        stale: how many of dnsdist's entries are older than the process that holds their map;
            None: unknown.
        xskmaps: pin name of the xskmap by interface, with --xsk.
        unseen: sentences about what of this host cannot be seen from the service.
    """

    taken: float
    filters: tuple[FilterView, ...] = ()
    maps: tuple[MapView, ...] = ()
    panic: bool = False
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    map_errors: Mapping[tuple[MapName, str], int] = field(default_factory=dict)
    destinations: tuple[tuple[IPv4Address | IPv6Address, int], ...] = ()
    destinations_lost: int = 0
    expired: Mapping[MapName, int] = field(default_factory=dict)
    xskmaps: Mapping[str, str] = field(default_factory=dict)
    rates: PacketRates = field(default_factory=dict)
    stale: Mapping[MapName, int | None] = field(default_factory=dict)
    unseen: tuple[str, ...] = ()

    @property
    def without_effect(self) -> tuple[str, ...]:
        """Why a rule has no effect now, on some interface or all; sentences."""
        off = [view.interface for view in self.filters if view.state is not FilterState.ATTACHED]
        sentences = []
        if self.panic:
            sentences.append("panic is on: every packet passes until `xdpctl resume`")
        if off:
            sentences.append(
                f"the filter is not on {', '.join(off)}, and nothing is filtered there: `xdpctl"
                " status` says why"
            )
        return tuple(sentences)

    @property
    def ready(self) -> bool:
        """Whether the filter is on every interface, and maps and parts are sound."""
        return not self.reasons
