"""Our own tables on the kernel: the contract, what is taken over, what is lent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.engines.made_once import compiled_once
from tests.support.descriptors import none_left_open
from tests.support.tables_contract import BOOK, EACH, NAMES, SOURCES, TablesContract
from xdpctl.abi import HEAD_LAYOUT_OFFSET, TABLE_LAYOUT, TABLES, MapName, Scope, names_of
from xdpctl.errors import XdpctlError
from xdpctl.kernel.bpf.libbpf import load_library
from xdpctl.program.config import TableProgram
from xdpctl.store.tables.generation import (
    BorrowedGeneration,
    KernelGeneration,
    KernelGenerations,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.store.tables.engine import Engine, Generation

pytestmark = pytest.mark.root

DROP = 1


@pytest.fixture(scope="module")
def bytecode() -> Bytecode:
    return compiled_once(TableProgram())


@pytest.fixture
async def generations(bpf: Bpf, bytecode: Bytecode) -> KernelGenerations:
    async def compiled() -> Bytecode:
        return bytecode

    made = KernelGenerations(bpf, compiled)
    await made.prepare()
    return made


class TestKernelTables(TablesContract):
    """The contract, with the kernel's tables."""

    @pytest.fixture(autouse=True)
    def _generations(self, generations: KernelGenerations) -> None:
        self.generations = generations

    def make(self, room: int = 16, former: Engine | None = None) -> Generation:
        return self.generations.make(dict.fromkeys(TABLES, room), BOOK, former)

    def hit_all(self, generation: Generation, hits: int) -> None:
        """Count in each slot that has an entry, as the filter does."""
        for name in (MapName.NAME_TABLE, MapName.SOURCE_TABLE):
            words = generation.maps[name].memory().cast("Q")
            for slot in range(0, len(words), 2):
                if words[slot]:
                    words[slot + 1] += hits << 8


def opened_again(bpf: Bpf, made: Generation, directory: Path) -> dict[MapName, Map]:
    """Return the maps of a generation as another service opens them."""
    found = {}
    for name, opened in made.maps.items():
        path = directory / str(name)
        opened.pin(path)
        found[name] = bpf.open_map(path)
    return found


def test_the_next_service_takes_a_generation_over_as_it_is(
    bpf: Bpf, generations: KernelGenerations, directory: Path
) -> None:
    made = generations.make({}, BOOK)
    for name, keys in EACH.items():
        made.put(name, keys, [DROP] * len(keys))
    maps = opened_again(bpf, made, directory)
    made.close()
    adopted = generations.adopt(maps, BOOK)
    assert adopted is not None
    for name, keys in EACH.items():
        assert adopted.look_up(name, keys) == [DROP] * len(keys)
        assert adopted.count(name) == len(keys)
    adopted.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head.__setitem__(HEAD_LAYOUT_OFFSET // 8, TABLE_LAYOUT + 1),
        lambda head: head.__setitem__(1, BOOK + 1),
        lambda head: head.__setitem__(18, 2 * head[18] + 1),
        lambda head: head.__setitem__(19, head[19] // 2),
    ],
    ids=["another-layout", "another-book", "more-names-than-room", "fewer-sources-than-room"],
)
def test_what_is_not_ours_as_it_is_is_not_taken_over_and_closed(
    bpf: Bpf,
    generations: KernelGenerations,
    directory: Path,
    change: Callable[[memoryview], None],
) -> None:
    made = generations.make({}, BOOK)
    change(made.maps[MapName.TABLE_HEAD].memory().cast("Q"))
    maps = opened_again(bpf, made, directory)
    assert generations.adopt(maps, BOOK) is None
    assert all(opened.fd < 0 for opened in maps.values())
    made.close()


def test_what_is_lent_is_the_same_generation_for_another_process(
    generations: KernelGenerations,
) -> None:
    made = generations.make({}, BOOK)
    with made.lend() as numbers:
        borrowed = BorrowedGeneration(load_library(), [os.dup(number) for number in numbers])
    assert borrowed.put(MapName.LIST_NAMES, NAMES, [DROP] * len(NAMES)) == len(NAMES)
    assert made.look_up(MapName.LIST_NAMES, NAMES) == [DROP] * len(NAMES)
    assert made.remove(MapName.LIST_NAMES, NAMES[:3]) == 3
    assert borrowed.look_up(MapName.LIST_NAMES, NAMES)[:3] == [None] * 3
    assert borrowed.count(MapName.LIST_NAMES) == len(NAMES) - 3
    with pytest.raises(XdpctlError, match="cannot lend"):
        borrowed.lend()
    borrowed.close()
    assert made.put(MapName.LIST_SOURCES, SOURCES, [DROP] * len(SOURCES)) == len(SOURCES)
    made.close()


def test_two_who_look_up_at_once_do_not_disturb_each_other(
    generations: KernelGenerations,
) -> None:
    """As the service, which lists rules while a process of its own writes some."""
    made = generations.make({MapName.LIST_NAMES: 20_000}, BOOK)
    keys = [b"\x01\xff\xff" + b"\x06z%05d\x04list" % number for number in range(20_000)]
    with made.lend() as numbers:
        borrowed = BorrowedGeneration(load_library(), [os.dup(number) for number in numbers])
    for start in range(0, len(keys), 1_000):
        part = keys[start : start + 1_000]
        borrowed.put(MapName.LIST_NAMES, part, [DROP] * len(part))
        seen = made.look_up(MapName.LIST_NAMES, keys[: start + 2_000])
        assert seen.count(DROP) == start + len(part)
    borrowed.close()
    made.close()


def test_without_its_program_nothing_can_be_made(bpf: Bpf) -> None:
    async def compiled() -> Bytecode:
        raise AssertionError

    with pytest.raises(XdpctlError, match="is not compiled yet"):
        KernelGenerations(bpf, compiled).make({}, BOOK)


def test_a_generation_that_is_closed_leaves_no_descriptor(generations: KernelGenerations) -> None:
    with none_left_open():
        for _ in range(3):
            made = generations.make({}, BOOK)
            following = generations.make({}, BOOK, made)
            following.add_hits_of(made)
            with made.lend():
                pass
            made.close()
            following.close()
    assert isinstance(made, KernelGeneration)
    assert made.maps.keys() == {*names_of(Scope.TABLES)}
