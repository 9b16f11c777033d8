"""The maps of the limits: which a program needs, taken over or made, and their secrets.

One set serves the whole installation: it is pinned beside each link (own_pins.py), and a service
takes over what the former one left, so that accounts and proofs outlive it. Owns which of them fit
together. Does not own what is written into them (service/limits.py). Everything blocks.
"""

from __future__ import annotations

import secrets
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdpctl.abi import (
    LIMITS_LAYOUT,
    LIMITS_LIVE_SIZE,
    LIMITS_SECRETS_SIZE,
    LIMITS_SIZE,
    MAPS,
    MapName,
    encode_limits_kept,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.program.config import ProgramConfig

_PLACED = (MapName.LIMIT_CELLS, MapName.LIMIT_PROVEN)
"""Maps whose entries are where the secrets of `limits` say."""

ACCOUNTS = frozenset({MapName.LIMITS, MapName.LIMIT_CELLS, MapName.LIMIT_PROVEN, MapName.FLOOD})
"""Maps that stay pinned when a service is stopped: accounts, proofs and their secrets."""

OF_ANOTHER_VERSION = "they are of another version of xdpctl"
"""Why maps are not taken over."""

_SYNCED = (MapName.EXEMPT4, MapName.EXEMPT6)
"""Maps that hold what is configured, and nothing else."""


def needed(config: ProgramConfig, words: int) -> dict[MapName, int]:
    """Return the maps that a program of this configuration reads, with their capacity.

    Args:
        config: what it is compiled for.
        words: of the table of accounts.
    """
    wanted = {
        MapName.LIMITS: config.limits,
        MapName.LIMIT_CELLS: config.limits4 or config.limits6,
        MapName.LIMIT_PROVEN: config.proven,
        MapName.FLOOD: config.flood,
        MapName.EXEMPT4: config.exempt,
        MapName.EXEMPT6: config.exempt,
        MapName.ZONE_LIMITS: config.zone_limits,
        MapName.ZONE_NAMES: config.zone_limits,
        MapName.ZONE_CELLS: config.zone_limits,
        MapName.HEAVY_ZONES: config.heavy,
        MapName.ZONE_HEAD: config.zone_limits or config.heavy,
    }
    found = {name: MAPS[name].entries for name, is_wanted in wanted.items() if is_wanted}
    if MapName.LIMIT_CELLS in found:
        per_set = MAPS[MapName.LIMIT_CELLS].value_size // 8
        found[MapName.LIMIT_CELLS] = words // per_set
    return found


@dataclass(frozen=True, slots=True)
class LimitMaps:
    """Open maps of the limits, as they fit together.

    Attributes:
        maps: by name; `new`: those that were made for this set.
        forgotten: what is lost with former maps that were not taken over, for the log.
    """

    maps: Mapping[MapName, Map] = field(default_factory=dict)
    new: frozenset[MapName] = frozenset()
    forgotten: str = ""

    def close_except(self, others: LimitMaps) -> None:
        """Close the maps that another set does not have; pinned ones stay."""
        kept = {id(opened) for opened in others.maps.values()}
        for opened in self.maps.values():
            if id(opened) not in kept:
                opened.close()


def fitted(bpf: Bpf, wanted: Mapping[MapName, int], former: Mapping[MapName, Map]) -> LimitMaps:
    """Return the maps that are wanted: former ones where they fit, else new ones.

    Args:
        bpf: the kernel.
        wanted: capacities by name (`needed`).
        former: open maps, of a former service or of the program in force; stay open.

    Raises:
        KernelError: one cannot be made.
    """
    if not wanted:
        return LimitMaps()
    kept = {
        name: opened
        for name, opened in former.items()
        if opened.info.max_entries == wanted.get(name)
    }
    head = former.get(MapName.LIMITS)
    value = b"" if head is None else bytes(head.memory()[:LIMITS_SIZE])
    forgotten = ""
    if not value or int.from_bytes(value[:8], sys.byteorder) != LIMITS_LAYOUT:
        forgotten = OF_ANOTHER_VERSION if value else ""
        drawn = secrets.token_bytes(LIMITS_SECRETS_SIZE)
        kept = {name: opened for name, opened in kept.items() if name in _SYNCED}
    else:
        drawn = value[-LIMITS_SECRETS_SIZE:]
        if MapName.LIMIT_CELLS in former and MapName.LIMIT_CELLS in wanted.keys() - kept.keys():
            forgotten = "the table has another size: accounts begin anew, proofs stay"
    rest = _rest(wanted, former if kept.get(MapName.LIMITS) else {}, drawn)
    if value[LIMITS_LIVE_SIZE:] != rest:
        kept.pop(MapName.LIMITS, None)
    with ExitStack() as stack:
        made = {
            name: stack.enter_context(bpf.create_map(MAPS[name], entries))
            for name, entries in wanted.items()
            if name not in kept
        }
        if MapName.LIMITS in made:
            made[MapName.LIMITS].memory()[LIMITS_LIVE_SIZE:LIMITS_SIZE] = rest
        stack.pop_all()
    return LimitMaps({**kept, **made}, frozenset(made), forgotten)


def _rest(wanted: Mapping[MapName, int], former: Mapping[MapName, Map], drawn: bytes) -> bytes:
    """Return the part of `struct limits` that stays as long as the map.

    A table that is not wanted counts as large as it was, or as one that will be made.
    """
    sizes = []
    for name in _PLACED:
        entries = wanted.get(name)
        if entries is None:
            entries = former[name].info.max_entries if name in former else MAPS[name].entries
        sizes.append(entries)
    return encode_limits_kept(sizes[0], sizes[1], drawn)
