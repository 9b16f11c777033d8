"""A set of a million keys of which no single operation takes long.

To grow, copy or free one big set takes Python a hundred milliseconds, for which it holds
the interpreter, and so the loop of the service; to collect garbage means to look at all of
it. Here the keys are spread over many small dictionaries, which the collector leaves alone
while nothing in them is a container. Used by bulk.py and staging.py, on their thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PARTS = 1021
"""Prime, so that keys that differ in some bits only are spread as well."""

Key = TypeVar("Key", bound="bytes | int")


class KeySet(Generic[Key]):
    """A set of keys."""

    def __init__(self) -> None:
        self._parts: list[dict[Key, None]] = [{} for _ in range(PARTS)]

    def update(self, keys: Iterable[Key]) -> None:
        """Add keys."""
        parts = self._parts
        for key in keys:
            parts[hash(key) % PARTS][key] = None

    def add(self, key: Key) -> None:
        """Add a key."""
        self._parts[hash(key) % PARTS][key] = None

    def take(self, key: Key) -> bool:
        """Remove a key; return whether it was there."""
        part = self._parts[hash(key) % PARTS]
        if key in part:
            del part[key]
            return True
        return False

    def __contains__(self, key: Key) -> bool:
        return key in self._parts[hash(key) % PARTS]

    def __bool__(self) -> bool:
        return any(self._parts)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[Key]:
        for part in self._parts:
            yield from part

    def __del__(self) -> None:
        for part in self._parts:  # one after the other: a list's end would free all at once
            part.clear()
