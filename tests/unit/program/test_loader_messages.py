"""The codec between service and loader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.kernel.bpf.kind import ProgramKind
from xdpctl.program.loader.instructions import MOST, SIZE
from xdpctl.program.loader.messages import (
    ANSWER,
    LOG_MOST,
    MAPS_MOST,
    REFUSED,
    REQUEST,
    BrokenError,
    answer,
    answer_head,
    request,
    request_head,
)

NAMES = st.from_regex(rb"[a-zA-Z0-9_.]{0,15}", fullmatch=True)


@given(NAMES, st.binary(max_size=400), st.integers(0, MAPS_MOST), st.sampled_from(ProgramKind))
def test_a_request_arrives_as_it_was_sent(
    name: bytes, instructions: bytes, maps: int, kind: ProgramKind
) -> None:
    data = request(name, instructions, maps, kind)
    head, body = data[: REQUEST.size], data[REQUEST.size :]
    assert request_head(head) == (name, kind, maps, len(instructions))
    assert body == instructions


@given(st.integers(0, REFUSED), st.integers(0, 2**31 - 1), st.binary(max_size=400))
def test_an_answer_arrives_as_it_was_sent(outcome: int, number: int, text: bytes) -> None:
    data = answer(outcome, number, text)
    assert answer_head(data[: ANSWER.size]) == (outcome, number, len(text))
    assert data[ANSWER.size :] == text


def test_of_a_long_log_the_end_arrives() -> None:
    data = answer(1, 13, b"x" * LOG_MOST + b"end")
    assert answer_head(data[: ANSWER.size])[2] == LOG_MOST
    assert data.endswith(b"xend")


@pytest.mark.parametrize(
    "head",
    [
        bytes(REQUEST.size),
        REQUEST.pack(b"xdpctl1\n", b"name", 6, MAPS_MOST + 1, 8),
        REQUEST.pack(b"xdpctl1\n", b"name", 6, 0, MOST * SIZE + 1),
        REQUEST.pack(b"xdpctl1\n", b"name", 2, 0, 8),
        REQUEST.pack(b"xdpctl1\n", b"na\0me", 6, 0, 8),
        REQUEST.pack(b"xdpctl1\n", b"na/me", 6, 0, 8),
        REQUEST.pack(b"xdpctl1\n", b"\xff", 6, 0, 8),
        REQUEST.pack(b"xdpctl2\n", b"name", 6, 0, 8),
    ],
)
def test_a_head_that_nobody_sends_ends_the_talk(head: bytes) -> None:
    with pytest.raises(BrokenError):
        request_head(head)


@given(st.binary(min_size=REQUEST.size, max_size=REQUEST.size))
def test_no_request_head_makes_it_stumble(head: bytes) -> None:
    with pytest.raises(BrokenError):
        request_head(head)


@pytest.mark.parametrize(
    "head",
    [
        bytes(ANSWER.size),
        ANSWER.pack(b"xdpctl1\n", REFUSED + 1, 0, 0),
        ANSWER.pack(b"xdpctl1\n", 1, -1, 0),
        ANSWER.pack(b"xdpctl1\n", 1, 1, LOG_MOST + 1),
    ],
)
def test_so_does_such_an_answer(head: bytes) -> None:
    with pytest.raises(BrokenError):
        answer_head(head)
