"""The fake generation keeps the contract of the kernel's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fake_kernel import FakeBpf, FakeKernel
from tests.support.fake_tables import FakeGeneration, FakeGenerations
from tests.support.tables_contract import BOOK, TablesContract
from xdpctl.abi import MapName

if TYPE_CHECKING:
    from xdpctl.store.tables.engine import Engine, Generation


class TestFakeTables(TablesContract):
    """The contract, with a dictionary."""

    @pytest.fixture(autouse=True)
    async def _kernel(self) -> None:
        self.generations = FakeGenerations(FakeBpf(FakeKernel()))
        await self.generations.prepare()

    def make(self, room: int = 16, former: Engine | None = None) -> Generation:
        return self.generations.make(dict.fromkeys(MapName, room), BOOK, former)

    def hit_all(self, generation: Generation, hits: int) -> None:
        assert isinstance(generation, FakeGeneration)
        for place, (before, _) in list(generation.entries.items()):
            generation.hit(*place, before + hits)
