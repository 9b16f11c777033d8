"""Rows without a note: any range of them, whatever they were kept in."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from xdpctl.store import fresh
from xdpctl.store.fresh import FreshRows
from xdpctl.store.spool import Spool

if TYPE_CHECKING:
    from xdpctl.rules.keys import Options

OPTIONS: tuple[Options, ...] = ((1, "", None, "cli"), (2, "why", 60.0, "cli"))
added = st.lists(
    st.tuples(st.sampled_from([3, 4]), st.lists(st.integers(0, 1), min_size=1, max_size=5)),
    max_size=5,
)


@given(added=added, part=st.integers(1, 6), start=st.integers(0, 12), count=st.integers(0, 12))
def test_rows_have_the_numbers_in_which_they_came(
    added: list[tuple[int, list[int]]], part: int, start: int, count: int
) -> None:
    wanted = []
    with (
        tempfile.TemporaryDirectory() as directory,
        closing(Spool(Path(directory))) as spool,
        patch.object(fresh, "PART", part),
    ):
        rows = FreshRows(spool)
        for at, (ref, numbers) in enumerate(added):
            keys = [bytes((at, place)) for place in range(len(numbers))]
            rows.add(ref, keys, numbers)
            wanted += [(ref, key, OPTIONS[n]) for key, n in zip(keys, numbers, strict=True)]
        rows.end(OPTIONS)
        assert list(rows.rows(start, start + count)) == wanted[start : start + count]
        assert list(rows.rows(0, len(rows))) == wanted
        assert {ref: rows.by_map[ref] for ref in (3, 4)} == {
            ref: sum(row[0] == ref for row in wanted) for ref in (3, 4)
        }
