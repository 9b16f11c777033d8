"""What the store needs of a map of rules: one of the kernel's, or one of our own tables.

`kernel.bpf.maps.Map` and `tables.table.RuleTable` have this face.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xdpctl.kernel.bpf.maps import MapInfo


class RuleMap(Protocol):
    """A map of rules; keys and values are bytes as abi.py has them."""

    label: str
    stored_size: int
    before_write: Callable[[bytes], None] | None

    @property
    def info(self) -> MapInfo:
        """What is known of the map: sizes, room."""

    def is_empty(self) -> bool:
        """Return whether there is no entry."""

    def is_frozen(self) -> bool:
        """Return whether nobody can write to the map any more."""

    def lookup_many(self, keys: bytes) -> list[bytes | None]:
        """Return the value of each of these keys, end to end, or None."""

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Write one entry."""

    def update_batch(self, keys: bytes, values: bytes, flags: int = 0) -> int:
        """Write many entries in their order and return how many."""

    def delete(self, key: bytes) -> bool:
        """Remove one entry; False when there is none."""

    def delete_batch(self, keys: bytes) -> int:
        """Remove many entries; return how many were there."""

    def chunks(self, size: int = 4096) -> Iterator[tuple[bytes, bytes]]:
        """Yield all entries, about `size` at a time, as (keys, values) end to end."""
