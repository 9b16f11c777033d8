"""What the loader takes for a program of ours, and what it refuses before the kernel sees it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.kernel.bpf.kind import ProgramKind
from xdpctl.program.loader.instructions import (
    HELPERS,
    MOST,
    SIZE,
    ForbiddenError,
    check,
    to_descriptors,
    to_numbers,
)

OURS = HELPERS[ProgramKind.XDP]
EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)
PASS = struct.pack("=BBhi", 0xB7, 0, 0, 2) + EXIT


def slot(opcode: int, source: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("=BBhi", opcode, source << 4, 0, immediate)


def map_load(fd: int, kind: int = 1) -> bytes:
    return slot(0x18, kind, fd) + bytes(8)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(3, 1000), st.sampled_from([1, 2])), st.sampled_from([*OURS])
        ),
        max_size=30,
    )
)
def test_maps_arrive_under_the_loaders_descriptors(
    parts: list[int | tuple[int, int]],
) -> None:
    def program(change: int) -> bytes:
        made = [
            slot(0x85, 0, part) if isinstance(part, int) else map_load(part[0] + change, part[1])
            for part in parts
        ]
        return b"".join(made) + EXIT

    numbered, fds = to_numbers(program(0))
    assert len(set(fds)) == len(fds)
    assert to_descriptors(numbered, [fd + 5000 for fd in fds]) == program(5000)


@pytest.mark.parametrize(
    ("kind", "helper"), [(kind, helper) for kind, known in HELPERS.items() for helper in known]
)
def test_what_our_programs_call_is_taken(kind: ProgramKind, helper: int) -> None:
    check(slot(0x85, 0, helper) + PASS, kind)


@pytest.mark.parametrize("kind", ProgramKind)
def test_every_other_helper_is_refused(kind: ProgramKind) -> None:
    for helper in {*range(-1, 260)} - set(HELPERS[kind]):
        with pytest.raises(ForbiddenError, match=f"helper {helper},"):
            check(PASS + slot(0x85, 0, helper) + PASS, kind)


@pytest.mark.parametrize(
    "call",
    [
        slot(0x85, 1, 1),  # a subprogram
        slot(0x85, 2, 1),  # a function of the kernel's
        slot(0x8D, 0, 1),  # by register
        slot(0x86, 0, 1),
        slot(0x8E, 0, 1),
    ],
)
def test_other_calls_are_refused(call: bytes) -> None:
    with pytest.raises(ForbiddenError, match="subprogram"):
        check(call + PASS)


@pytest.mark.parametrize("kind", range(3, 16))
def test_addresses_of_anything_but_maps_are_refused(kind: int) -> None:
    with pytest.raises(ForbiddenError, match=f"kind {kind},"):
        check(map_load(0, kind) + PASS)


def test_a_call_hidden_behind_a_long_load_is_no_call() -> None:
    """The second half of a load of 64 bits is data, for the kernel too."""
    check(slot(0x18) + slot(0x85, 0, 113) + PASS)


@pytest.mark.parametrize("number", [-1, 1, 2**31 - 1])
def test_a_map_that_did_not_come_along_is_refused(number: int) -> None:
    with pytest.raises(ForbiddenError, match=f"refers to map {number} of 1"):
        to_descriptors(map_load(number) + PASS, [7])


@pytest.mark.parametrize("program", [b"", bytes(7), PASS[:-1], EXIT * (MOST + 1)])
def test_what_is_no_program_is_refused(program: bytes) -> None:
    with pytest.raises(ForbiddenError, match="are not a program"):
        check(program)


def test_the_largest_is_taken() -> None:
    check(EXIT * MOST)


@given(st.binary(max_size=40 * SIZE))
def test_nothing_makes_it_stumble(data: bytes) -> None:
    try:
        to_descriptors(data, [3, 4])
    except ForbiddenError:
        return
    numbered, fds = to_numbers(to_descriptors(data, [3, 4]))
    assert set(fds) <= {3, 4}
    assert len(numbered) == len(data)
