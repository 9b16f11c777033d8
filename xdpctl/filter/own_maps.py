"""Our own maps, by their scope (abi.Scope): made or taken over, handed around, closed.

Owns the descriptors. The users of a map own its meaning, own_pins.py its pin. A new own map is one
line of abi.MAPS: this loop makes it, and the code that has the maps of its scope pins, adopts,
repairs and closes it with the others. Made by filter.py and the service; everything blocks. Does
not own the maps shared with the DNS server (maps/shared.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from xdpctl.abi import MAPS, MapName, names_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.abi import Scope
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.syscall import Bpf


class OwnMaps(Mapping[MapName, "Map"]):
    """Open maps by name. A context manager, whose end closes them.

    Args:
        maps: open maps, which this object now owns.
    """

    def __init__(self, maps: Mapping[MapName, Map] | None = None) -> None:
        self._maps = dict(maps or {})

    @classmethod
    def make(cls, bpf: Bpf, scope: Scope, former: Mapping[MapName, Map] | None = None) -> Self:
        """Return all maps of a scope: the former ones, and new ones for those that are missing.

        Raises:
            KernelError: one cannot be made; `former` is closed.
        """
        maps = dict(former or {})
        with contextlib.ExitStack() as stack:
            for opened in maps.values():
                stack.enter_context(opened)
            for name in names_of(scope):
                if name not in maps:
                    made = bpf.create_map(MAPS[name], MAPS[name].entries)
                    maps[name] = stack.enter_context(made)
            stack.pop_all()
        return cls(maps)

    def __getitem__(self, name: MapName) -> Map:
        return self._maps[name]

    def __iter__(self) -> Iterator[MapName]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def has_all(self, scope: Scope) -> bool:
        """Whether every map of a scope is present."""
        return self._maps.keys() >= {*names_of(scope)}

    def close(self) -> None:
        """Close all maps; a map that is pinned or in a program stays."""
        for opened in self._maps.values():
            opened.close()
