"""A scene's rules in our own tables, for the engines that run the C.

The table program writes them, as it does for the service; counters are read and set in the
tables' memory. Made by host.py and kernel.py, over the memory of their arrays.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from tests.engines import EngineError
from xdpctl.abi import (
    BUCKET_SIZE,
    SLOT_HITS,
    TABLE_SLOTS,
    TABLES,
    MapName,
    RuleAction,
    decode_slot,
    shorten_list_source,
    shorten_scoped_name,
)
from xdpctl.store.tables.requests import Requests
from xdpctl.store.tables.shape import Shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.engines.entries import Entry
    from xdpctl.kernel.bpf.programs import Program

SHAPE: Final = Shape.for_entries(100, 100)
"""Of every table made here."""

OWN: Final = (
    *(MapName.TABLE_HEAD, MapName.NAME_TABLE, MapName.NAME_FILTER),
    *(MapName.SOURCE_TABLE, MapName.SOURCE_FILTER, MapName.TABLE_REQUESTS),
)
"""The arrays that this needs, by name."""

_BOOK_ID: Final = 1
_VALUE: Final = struct.Struct("=QB7x")


def table_of(name: MapName) -> MapName:
    """Return the array of buckets that holds the entries of one of TABLES."""
    return MapName.SOURCE_TABLE if name is MapName.LIST_SOURCES else MapName.NAME_TABLE


def stored(name: MapName, key: bytes) -> bytes:
    """Return a key as the state file and the requests have it."""
    shorten = shorten_list_source if name is MapName.LIST_SOURCES else shorten_scoped_name
    return shorten(key)


class SceneTables:
    """The tables of one engine.

    Args:
        memory: of the arrays OWN.
        program: the table program over them; only its test runs are used.
    """

    def __init__(self, memory: Mapping[MapName, memoryview], program: Program) -> None:
        self._memory = memory
        self._requests = Requests(program, memory[MapName.TABLE_REQUESTS], lambda _: 0)
        self._places: dict[Entry, int] = {}

    def enter(self, entries: Mapping[Entry, bytes]) -> None:
        """Make the tables hold these entries alone; values as of the shared maps."""
        for name in OWN[:-1]:
            self._memory[name][:] = bytes(len(self._memory[name]))
        self._memory[MapName.TABLE_HEAD][:] = SHAPE.head(_BOOK_ID)
        self._places = {}
        for (name, key), value in entries.items():
            _, action = _VALUE.unpack(value)
            if action not in set(RuleAction):
                raise EngineError(f"{action} is no action of a rule in {name}")
            if self._requests.put(name, [stored(name, key)], [action]) != 1:
                raise EngineError(f"a rule of {name} was there before it was written")
        for entry, value in entries.items():  # now nothing moves any more
            self._places[entry] = self._requests.place(entry[0], stored(*entry))
            words, at = self._slot(entry)
            words[at] += _VALUE.unpack(value)[0] << SLOT_HITS

    def value(self, entry: Entry) -> bytes:
        """Return an entry's value as it is now, as one of the shared maps would be."""
        words, at = self._slot(entry)
        rule = decode_slot(words[at])
        return _VALUE.pack(rule.hits, rule.action)

    def place(self, entry: Entry) -> tuple[MapName, int, bytes]:
        """Return the array, the slot, and the number of the bucket as its key."""
        bucket, slot = divmod(self._places[entry], TABLE_SLOTS)
        return table_of(entry[0]), slot, struct.pack("=I", bucket)

    def _slot(self, entry: Entry) -> tuple[memoryview, int]:
        words = self._memory[table_of(entry[0])].cast("Q")
        return words, self._places[entry] * BUCKET_SIZE // TABLE_SLOTS // 8 + 1


def is_own(entry: Entry) -> bool:
    """Return whether an entry is one of our own tables'."""
    return entry[0] in TABLES
