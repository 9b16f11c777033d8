"""The maps of the limits: which are needed, which of a former service fit, what is kept."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_kernel import FakeBpf, FakeKernel
from xdpctl.abi import (
    LIMITS_LAYOUT,
    LIMITS_LIVE_SIZE,
    LIMITS_SECRETS_SIZE,
    MAPS,
    LimitValues,
    MapName,
    encode_limits,
)
from xdpctl.errors import KernelError
from xdpctl.filter.limit_maps import LimitMaps, fitted, needed
from xdpctl.program.config import ProgramConfig
from xdpctl.rules import AnyQtype

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdpctl.kernel.bpf.maps import Map

EVERYTHING = {
    MapName.LIMITS: 1,
    MapName.LIMIT_CELLS: 256,
    MapName.LIMIT_PROVEN: 4096,
    MapName.FLOOD: 1,
    MapName.EXEMPT4: 1024,
    MapName.EXEMPT6: 1024,
}


@pytest.fixture
def bpf() -> FakeBpf:
    return FakeBpf(FakeKernel())


def config(**limits: object) -> ProgramConfig:
    """Return a configuration with these limits."""
    return ProgramConfig((53,), (), (), True, AnyQtype.BOTH, None, **limits)  # type: ignore[arg-type]  # noqa: FBT003


def made(bpf: FakeBpf, wanted: Mapping[MapName, int]) -> LimitMaps:
    """Return new maps, with values written as a service does."""
    maps = fitted(bpf, wanted, {})
    if MapName.LIMITS in wanted:
        maps.maps[MapName.LIMITS].memory()[:LIMITS_LIVE_SIZE] = encode_limits(LimitValues())
    return maps


def secrets_of(maps: Mapping[MapName, Map]) -> bytes:
    return bytes(maps[MapName.LIMITS].memory()[-LIMITS_SECRETS_SIZE:])


@pytest.mark.parametrize(
    ("limits", "names"),
    [
        ({}, set()),
        ({"exempt": True}, {MapName.EXEMPT4, MapName.EXEMPT6}),
        ({"limits4": (32,)}, {MapName.LIMITS, MapName.LIMIT_CELLS}),
        ({"flood": True}, {MapName.LIMITS, MapName.FLOOD}),
        (
            {"flood": True, "proven": True},
            {MapName.LIMITS, MapName.FLOOD, MapName.LIMIT_PROVEN},
        ),
    ],
)
def test_a_program_needs_the_maps_that_it_reads(
    limits: dict[str, object], names: set[MapName]
) -> None:
    found = needed(config(**limits), 1024)
    assert names <= found.keys()
    assert found.get(MapName.LIMIT_CELLS, 256) == 256
    if not limits:
        assert not found


def test_all_are_new_at_first_and_their_secrets_are_drawn(bpf: FakeBpf) -> None:
    first, second = made(bpf, EVERYTHING), made(bpf, EVERYTHING)
    assert first.new == EVERYTHING.keys()
    assert secrets_of(first.maps) != secrets_of(second.maps)
    assert any(secrets_of(first.maps))
    sets = struct.unpack_from("=Q", first.maps[MapName.LIMITS].memory(), LIMITS_LIVE_SIZE)[0]
    assert sets == 255


def test_former_maps_that_fit_are_taken_over(bpf: FakeBpf) -> None:
    former = made(bpf, EVERYTHING)
    found = fitted(bpf, EVERYTHING, former.maps)
    assert dict(found.maps) == dict(former.maps)
    assert (found.new, found.forgotten) == (frozenset(), "")


def test_another_size_of_the_table_begins_anew_and_keeps_proofs_and_secrets(bpf: FakeBpf) -> None:
    former = made(bpf, EVERYTHING)
    found = fitted(bpf, EVERYTHING | {MapName.LIMIT_CELLS: 512}, former.maps)
    assert found.new == {MapName.LIMITS, MapName.LIMIT_CELLS}
    assert "another size" in found.forgotten
    assert secrets_of(found.maps) == secrets_of(former.maps)
    assert found.maps[MapName.LIMIT_PROVEN] is former.maps[MapName.LIMIT_PROVEN]


def test_maps_of_another_layout_are_left_and_that_is_said(bpf: FakeBpf) -> None:
    former = made(bpf, EVERYTHING)
    head = former.maps[MapName.LIMITS].memory()
    struct.pack_into("=Q", head, 0, LIMITS_LAYOUT + 1)
    found = fitted(bpf, EVERYTHING, former.maps)
    assert found.maps.keys() - found.new == {MapName.EXEMPT4, MapName.EXEMPT6}
    assert "another version" in found.forgotten
    assert secrets_of(found.maps) != secrets_of(former.maps)


def test_tables_whose_secrets_are_lost_are_left(bpf: FakeBpf) -> None:
    former = dict(made(bpf, EVERYTHING).maps)
    del former[MapName.LIMITS]
    found = fitted(bpf, EVERYTHING, former)
    assert {MapName.LIMITS, MapName.LIMIT_CELLS, MapName.LIMIT_PROVEN} <= found.new


def test_a_limit_in_total_alone_keeps_its_secrets_when_one_by_source_comes(bpf: FakeBpf) -> None:
    less = {name: EVERYTHING[name] for name in (MapName.LIMITS, MapName.LIMIT_PROVEN)}
    former = made(bpf, less)
    found = fitted(bpf, EVERYTHING, former.maps)
    assert secrets_of(found.maps) == secrets_of(former.maps)
    assert MapName.LIMIT_PROVEN not in found.new
    assert found.forgotten == ""


def test_a_map_that_cannot_be_made_leaves_nothing_open(bpf: FakeBpf) -> None:
    former = made(bpf, {MapName.LIMITS: 1})
    before = len(bpf.kernel.open)
    bpf.kernel.faults.set("create_map", errno.ENOMEM)
    with pytest.raises(KernelError):
        fitted(bpf, EVERYTHING, former.maps)
    assert len(bpf.kernel.open) == before


def test_only_maps_that_nobody_has_any_more_are_closed(bpf: FakeBpf) -> None:
    former = made(bpf, EVERYTHING)
    found = fitted(bpf, EVERYTHING | {MapName.LIMIT_CELLS: 512}, former.maps)
    former.close_except(found)
    assert len(bpf.kernel.open) == len(EVERYTHING)
    found.close_except(LimitMaps())
    assert not bpf.kernel.open


def test_the_defaults_of_the_contract_are_powers_of_two() -> None:
    for name in (MapName.LIMIT_CELLS, MapName.LIMIT_PROVEN):
        assert MAPS[name].entries.bit_count() == 1
