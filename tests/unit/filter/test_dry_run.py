"""A test of a packet takes nothing from the limits: the second program writes to copies."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fake_host import USED_MAPS, bytecode
from tests.support.fake_kernel import FakeBpf, FakeKernel, FakeProgram
from xdpctl.abi import MAPS, RULE_MAPS, MapName
from xdpctl.errors import XdpctlError
from xdpctl.filter.dry_run import decide

READ = (MapName.LIMITS, MapName.LIMIT_PROVEN, MapName.EXEMPT4, MapName.ZONE_HEAD)
WRITTEN = (MapName.LIMIT_CELLS, MapName.FLOOD, MapName.ZONE_CELLS, MapName.HEAVY_ZONES)


def test_accounts_are_copied_when_the_program_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel verifies for tenths of a second, in which accounts recover."""
    bpf = FakeBpf(FakeKernel())
    maps = {name: bpf.create_map(MAPS[name], 4) for name in (*RULE_MAPS, *READ, *WRITTEN)}
    load = bpf.load_program

    def loads(*given: Any) -> FakeProgram:  # noqa: ANN401
        maps[MapName.LIMIT_CELLS].memory()[:8] = b"accounts"
        return load(*given)

    monkeypatch.setattr(bpf, "load_program", loads)
    with pytest.raises(XdpctlError, match="did not count"):
        decide(bpf, bytecode(*USED_MAPS, *READ, *WRITTEN), maps, bytes(64), panic=False)
    (program,) = bpf.kernel.programs.values()
    copies = [bpf.kernel.maps[number] for number in program.info.map_ids]
    assert any(bytes(copy.memory or b"")[:8] == b"accounts" for copy in copies)


def test_what_limits_take_is_taken_from_copies() -> None:
    bpf = FakeBpf(FakeKernel())
    maps = {name: bpf.create_map(MAPS[name], 4) for name in (*RULE_MAPS, *READ, *WRITTEN)}
    maps[MapName.LIMIT_CELLS].memory()[:8] = b"accounts"
    with pytest.raises(XdpctlError, match="did not count"):  # a fake program counts nothing
        decide(bpf, bytecode(*USED_MAPS, *READ, *WRITTEN), maps, bytes(64), panic=False)
    (program,) = bpf.kernel.programs.values()
    used = set(program.info.map_ids)
    assert all(maps[name].info.id in used for name in READ)
    assert not any(maps[name].info.id in used for name in WRITTEN)
    copies = [bpf.kernel.maps[number] for number in used]
    assert any(bytes(copy.memory or b"")[:8] == b"accounts" for copy in copies)
    assert len(bpf.kernel.open) == len(maps), "the copies are closed"
