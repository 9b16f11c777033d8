"""The maps that the programs on all interfaces read, besides each interface's own.

Some parts of them change while the service runs: our own tables (own_tables.py), the maps of the
limits (limits.py) and those of the samples (samples.py). Each makes another value of this, and
current_program.py puts it on, so that none forgets another's. Owns the combination. Does not own
any map.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdpctl.abi import MapName
    from xdpctl.filter.own_maps import OwnMaps
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.maps.shared import SharedMaps


@dataclass(frozen=True, slots=True, eq=False)
class ProgramMaps:
    """Gives the maps of an interface when it is called (filter/rollout.py, `MapsOf`).

    Attributes:
        shared: with the DNS server.
        own: one for the service (Scope.SERVICE).
        tables: our own tables of rules.
        limits: the maps of the limits.
        samples: the maps of the samples.
    """

    shared: SharedMaps
    own: OwnMaps
    tables: Mapping[MapName, Map] = field(default_factory=dict)
    limits: Mapping[MapName, Map] = field(default_factory=dict)
    samples: Mapping[MapName, Map] = field(default_factory=dict)

    def __call__(self, interface: str) -> Mapping[MapName, Map]:
        """Return the maps that the program on an interface reads."""
        shared = self.shared.for_interface(interface)
        return {**shared, **self.own, **self.tables, **self.limits, **self.samples}

    def with_tables(self, tables: Mapping[MapName, Map]) -> ProgramMaps:
        """Return the same with other tables."""
        return replace(self, tables=tables)

    def with_limits(self, limits: Mapping[MapName, Map]) -> ProgramMaps:
        """Return the same with other maps of the limits."""
        return replace(self, limits=limits)

    def with_samples(self, samples: Mapping[MapName, Map]) -> ProgramMaps:
        """Return the same with other maps of the samples."""
        return replace(self, samples=samples)
