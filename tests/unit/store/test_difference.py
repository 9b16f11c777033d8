"""A list and the notes, compared: against plain sets, for any list and any notes."""

from __future__ import annotations

import tempfile
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.abi import MAPS, MapName, RuleAction
from xdpctl.errors import StateError, TargetError
from xdpctl.rules.keys import Block, full_key
from xdpctl.store import difference, fresh, matching, sorting
from xdpctl.store.change import Change
from xdpctl.store.difference import Staging
from xdpctl.store.state import Note, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.rules.keys import Row

MERGED = Change(source=(), origin="file:x")
NAMES = {MAPS[name].ref: name for name in (MapName.ADDR_V4, MapName.QNAMES)}
V4, QNAMES = NAMES

keys = st.one_of(
    st.tuples(st.just(V4), st.sampled_from([bytes(3) + bytes([n]) for n in range(4)])),
    st.tuples(st.just(QNAMES), st.sampled_from([b"\1\0\1" + bytes([n]) for n in (97, 98)])),
)
rows: st.SearchStrategy[Row] = st.builds(
    lambda place, action, reason, expires, origin: (*place, action, reason, expires, origin),
    keys,
    st.sampled_from([1, 2]),
    st.sampled_from(["", "why"]),
    st.sampled_from([None, 60.0]),
    st.sampled_from(["file:x", "file:x", "file:x", "api"]),
)
lists = st.lists(st.lists(rows, max_size=5), max_size=3)


def note_of(row: Row) -> Note:
    ref, key, action, reason, expires, origin = row
    return Note(
        NAMES[ref], full_key(ref, key), RuleAction(action), origin, reason, 1.0, expires, hits=7
    )


def in_blocks(part: list[Row]) -> list[Block]:
    """Return the rows as blocks, each as long as it can be."""
    return [
        Block(ref, [row[1] for row in alike], options)
        for (ref, options), alike in groupby(part, lambda row: (row[0], row[2:]))
    ]


def claim_of(row: Row) -> tuple[int, bytes, str]:
    """Return what there is one claim of."""
    return row[0], row[1], row[5]


@given(
    stored=st.lists(rows, max_size=6),
    waiting=st.lists(rows, max_size=3),
    parts=lists,
    replace=st.booleans(),
    blocks=st.booleans(),
    few=st.sampled_from([0, 2, difference.FEW]),
    at_once=st.sampled_from([1, 2, 100]),
)
def test_the_difference_is_that_of_sets(  # noqa: PLR0913 - what a list can be
    stored: list[Row],
    waiting: list[Row],
    parts: list[list[Row]],
    *,
    replace: bool,
    blocks: bool,
    few: int,
    at_once: int,
) -> None:
    notes = {row[:2]: row for row in stored}
    waits = {
        claim_of(row): row for row in waiting if notes.get(row[:2], (*row[:5], ""))[5] != row[5]
    }
    planned = {claim_of(row): row for part in parts for row in part}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "state.db"
        with State.open(path) as state:
            state.put([note_of(row) for row in notes.values()])
            state.write_claims(wait=[(note_of(row), False) for row in waits.values()])
            asked = Change(source=(), origin="file:x", replace=replace)
            with (
                patch.object(difference, "FEW", few),
                patch.multiple(sorting, RUN=2 * at_once, PART=at_once),
                patch.object(matching, "WALK_STEP", at_once),
                patch.object(fresh, "PART", at_once),
                Staging(path, asked) as staging,
            ):
                for part in parts:
                    staging.load(in_blocks(part) if blocks else part)
                found = staging.compare()
                listed = (
                    {(*row[:2], row[2][3]) for row in staging.added(0, found.added)},
                    {(*row[:2], row[2][3]) for row, *_ in staging.changed(0, found.changed)},
                    {(*row[:2], row[2][3]) for row in staging.contested(0, found.contested)},
                    {row[:2] for row in staging.gone(0, found.gone)},
                    {row[:2] for row in staging.ended(0, found.ended)},
                )
    if not replace:  # what a row does not say stays as it was
        for claim, row in planned.items():
            old = waits.get(claim, notes.get(row[:2], row))
            if old[5] == row[5]:
                ends = row[4] if row[4] is not None else old[4]
                planned[claim] = (*row[:3], row[3] or old[3], ends, row[5])
    its_places = {place for *place_of, _ in waits for place in [tuple(place_of)]}
    unchanged = {claim for claim, row in planned.items() if notes.get(row[:2]) == row}
    others = planned.keys() - unchanged
    added = {c for c in others if c[:2] not in notes and c[:2] not in its_places}
    changed = {
        c for c in others if c[:2] in notes and notes[c[:2]][5] == c[2] and c[:2] not in its_places
    }
    of_list = {claim[:2] for claim in planned if claim[2] == "file:x"}
    gone = {place for place, row in notes.items() if row[5] == "file:x"} - of_list
    ended = {(ref, key) for ref, key, origin in waits if origin == "file:x"} - of_list
    assert listed == (
        added,
        changed,
        others - added - changed,
        gone if replace else set(),
        ended if replace else set(),
    )
    assert found.unchanged == len(unchanged)


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Staging]:
    path = tmp_path / "state.db"
    with State.open(path), Staging(path, MERGED) as staging:
        yield staging


ROW: Row = (V4, b"\1\2\0\xc0", 1, "", None, "file:x")


def test_what_a_part_raises_is_raised(staging: Staging) -> None:
    def broken() -> Iterator[Row]:
        yield (V4, b"\2\2\0\xc0", 1, "", None, "file:x")
        raise TargetError("no", text="no")

    staging.load([ROW])
    with pytest.raises(TargetError):
        staging.load(broken())


def test_a_note_that_came_in_between_is_kept_and_its_entry_is_not_added(
    staging: Staging, tmp_path: Path
) -> None:
    rows: list[Row] = [(V4, bytes([n]) * 4, 1, "", None, "file:x") for n in range(4)]
    staging.load(rows)
    staging.compare()
    other = (V4, bytes([2]) * 4, 2, "mine", None, "cli")
    with State.open(tmp_path / "state.db") as state:
        state.put([note_of(other)])
        added = staging.note_added(staging.added(0, 4), 5.0)
        assert added == [(*row[:2], row[2:]) for row in rows if row[1] != other[1]]
        assert {note.origin for note in state.notes(MapName.ADDR_V4).values()} == {"cli", "file:x"}
        kept = state.get(MapName.ADDR_V4, bytes([2]) * 4)
    assert kept == note_of(other)


def test_notes_are_written_for_the_chunk_alone(staging: Staging, tmp_path: Path) -> None:
    staging.load([(V4, bytes([n]) * 4, 1, "", None, "file:x") for n in range(4)])
    staging.compare()
    staging.note_added(staging.added(1, 3), 5.0)
    with State.open(tmp_path / "state.db") as state:
        assert set(state.notes(MapName.ADDR_V4)) == {bytes([n]) * 4 for n in (1, 2)}


def test_a_file_that_is_no_state_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"no database, but long enough to be taken for one" * 30)
    with pytest.raises(StateError):
        Staging(tmp_path / "state.db", MERGED)
