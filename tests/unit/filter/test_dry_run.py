"""A test of a packet takes nothing from the limits: the second program writes to copies."""

from __future__ import annotations

import pytest

from tests.support.fake_host import USED_MAPS, bytecode
from tests.support.fake_kernel import FakeBpf, FakeKernel
from xdpctl.abi import MAPS, RULE_MAPS, MapName
from xdpctl.errors import XdpctlError
from xdpctl.filter.dry_run import decide

READ = (MapName.LIMITS, MapName.LIMIT_PROVEN, MapName.EXEMPT4, MapName.ZONE_HEAD)
WRITTEN = (MapName.LIMIT_CELLS, MapName.FLOOD, MapName.ZONE_CELLS, MapName.HEAVY_ZONES)


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
