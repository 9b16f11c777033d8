"""Rows sorted within little memory: against one dictionary, for any rows and any sizes."""

from __future__ import annotations

import tempfile
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from xdpctl.store import sorting
from xdpctl.store.sorting import SortedKeys, Sorter, merged, windows
from xdpctl.store.spool import Spool

if TYPE_CHECKING:
    from xdpctl.rules.keys import Options

OPTIONS: tuple[Options, ...] = ((1, "", None, "cli"), (2, "why", 60.0, "cli"), (1, "", None, "api"))
keys = st.sampled_from([bytes((length, last)) * length for length in (1, 2) for last in range(4)])
blocks = st.tuples(st.integers(0, 1), st.lists(keys, min_size=1, max_size=4), st.integers(0, 2))


@given(arriving=st.lists(blocks, max_size=6), run=st.integers(1, 9), part=st.integers(1, 4))
def test_streams_have_every_claim_once_in_the_order_of_keys_with_its_last_options(
    arriving: list[tuple[int, list[bytes], int]], run: int, part: int
) -> None:
    wanted = {
        (ref, OPTIONS[number][3], key): OPTIONS[number]
        for ref, its_keys, number in arriving
        for key in its_keys
    }
    found: dict[tuple[int, str, bytes], Options] = {}
    with (
        tempfile.TemporaryDirectory() as directory,
        closing(Spool(Path(directory))) as spool,
        patch.multiple(sorting, RUN=run, PART=part),
    ):
        rows = Sorter(spool)
        for ref, its_keys, number in arriving:
            rows.add(ref, its_keys, OPTIONS[number])
        for ref in (0, 1):
            for origin, heads in rows.heads(ref).items():
                before = b""
                for parts in windows(heads):
                    numbers = merged(parts)
                    assert before < min(numbers)
                    before = max(numbers)
                    for key, number in numbers.items():
                        assert (ref, origin, key) not in found
                        found[ref, origin, key] = rows.options[number]
    assert found == wanted


def test_no_keys_are_no_stream(tmp_path: Path) -> None:
    """As an empty map gives them."""
    with closing(Spool(tmp_path)) as spool:
        rows = Sorter(spool)
        rows.add(1, [], (1, "", None, "list:x"))
        assert rows.heads(1) == {}


def test_a_stream_goes_on_behind_a_part_that_is_empty() -> None:
    head = SortedKeys([((), 0), ([b"a", b"b"], [1, 2]), ([], 0), ([b"c"], 3)])
    taken = []
    while head:
        taken.append(head.take(head.last))
    assert taken == [([b"a", b"b"], [1, 2]), ([b"c"], 3)]


def test_windows_take_no_more_than_a_part_of_each_stream() -> None:
    first = SortedKeys([([b"a", b"c"], 0), ([b"e"], 0)])
    second = SortedKeys([([b"b", b"d", b"f"], 1)])
    taken = [[list(keys) for keys, _ in parts] for parts in windows([first, second])]
    assert taken == [[[b"a", b"c"], [b"b"]], [[b"e"], [b"d"]], [[], [b"f"]]]
    assert sorted(chain.from_iterable(chain.from_iterable(taken))) == [
        *(b"a", b"b", b"c", b"d", b"e", b"f")
    ]
