"""A rule's counter under packets that come in on several CPUs at once."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.engines.entries import entry_of
from tests.engines.kernel import Kernel
from tests.packets.build import Udp, ethernet, ipv4
from tests.packets.case import Scene, drop
from tests.packets.message import query

if TYPE_CHECKING:
    from tests.packets.case import Rule
    from xdpctl.kernel.bpf.syscall import Bpf

RUNS = 200_000
FRAME = ethernet(ipv4(Udp(query("www.bad.example"))))


@pytest.mark.root
@pytest.mark.parametrize("rule", [drop("192.0.2.1"), drop("192.0.2.0/24"), drop("www.bad.example")])
def test_two_cpus_that_hit_one_rule_lose_no_hit(bpf: Bpf, rule: Rule) -> None:
    with Kernel(bpf) as engine, ThreadPoolExecutor(2) as pool:
        scene = Scene((rule,))
        engine.judge(scene, FRAME)
        program = engine._program(scene.config)
        list(pool.map(lambda _: program.test_run(FRAME, repeat=RUNS), range(2)))
        hits, *_ = struct.unpack("=QB7x", engine.value(*entry_of(rule)))
    assert hits == 1 + 2 * RUNS
