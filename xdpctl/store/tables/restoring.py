"""Keeping notes and our own tables in agreement.

The tables hold no names, so here the notes are the truth: what has a note and no entry is
written again, and what has an entry and no note goes with a new generation. A service writes
a note before its entry and removes it after, and marks the tables for as long as the two may
differ; so tables without the mark, with as many entries as there are notes, are taken as
they are. Called by store.py and the service; everything blocks.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from xdpctl.abi import TABLES
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.abi import MapName
    from xdpctl.store.state import State
    from xdpctl.store.tables.engine import Engine
    from xdpctl.store.tables.tables import Tables

ROWS_AT_ONCE = 4_000
"""Notes of one step: some 20 ms, in which no rule can be written."""

_ACTION_MASK = 3

_log = logging.getLogger(__name__)


def fill(engine: Engine, state: State) -> Iterator[None]:
    """Write all notes into a generation, step by step; each step needs the store's lock.

    Raises:
        KernelError: the generation is full, or refuses.
    """
    for name in TABLES:
        for stored, actions in _pages(state, name):
            engine.put(name, stored, actions)
            yield


def noted(state: State) -> dict[MapName, int]:
    """Return how many notes there are of each table."""
    return {name: state.count(name) for name in TABLES}


def agrees(engine: Engine, state: State) -> bool:
    """Return whether a generation has as many entries as there are notes, in each map."""
    return all(engine.count(name) == count for name, count in noted(state).items())


def compare(tables: Tables, state: State) -> Iterator[None]:
    """Write entries that notes have and the tables have not, or not so; steps as of `fill`.

    Afterwards `agrees` tells whether there are entries without a note.

    Raises:
        KernelError: the tables are full, or refuse.
    """
    for name in TABLES:
        written = 0
        for stored, actions in _pages(state, name):
            found = tables.look_up(name, stored)
            missing = [
                number
                for number, value in enumerate(found)
                if value is None or value & _ACTION_MASK != actions[number]
            ]
            if missing:
                chosen = [stored[number] for number in missing]
                written += tables.put(name, chosen, [actions[number] for number in missing])
            yield
        if written:
            event(_log, "rules-restored", map=name, count=written)


def _pages(state: State, name: MapName) -> Iterator[tuple[list[bytes], list[int]]]:
    """Yield (stored keys, actions) of a map's notes."""
    after = b""
    while rows := state.rows(name, after, ROWS_AT_ONCE):
        after = rows[-1][1]
        yield [row[1] for row in rows], [row[2] for row in rows]
