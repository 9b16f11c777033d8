"""The UDP checksum of an answer: its arithmetic at every edge, and over every id."""

from __future__ import annotations

import ctypes
import random
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.engines.host_build import SOURCES
from tests.fuzz.compare import difference
from tests.packets.build import Udp, ethernet, ipv4, ipv6
from tests.packets.case import Scene, truncate
from tests.packets.message import query

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines.host import Host

EVERYBODY = Scene((truncate("0.0.0.0/0"), truncate("::/0")))
MESSAGE = query("www.example")[2:]

EXPORTED = """
#include "checksum.h"
unsigned finish(unsigned long sum);
unsigned finish(unsigned long sum) { return checksum_finish(sum); }
"""
CARRIES = [
    (1 << high) + (1 << low) + offset
    for high in range(40)
    for low in range(40)
    for offset in (-0x10002, -0x10001, -0x10000, -2, -1, 0, 1, 0xFFFE, 0xFFFF, 0x10000)
]


@pytest.fixture(scope="module")
def finish(tmp_path_factory: pytest.TempPathFactory) -> ctypes._NamedFuncPointer:
    """Return checksum_finish of checksum.h, compiled for this machine."""
    folder: Path = tmp_path_factory.mktemp("sums")
    (folder / "sums.c").write_text(EXPORTED)
    command = ["gcc", "-O1", "-shared", "-fPIC", "-DXDPCTL_HOST", f"-I{SOURCES}"]
    subprocess.run([*command, "-o", folder / "sums.so", folder / "sums.c"], check=True)
    function = ctypes.CDLL(str(folder / "sums.so")).finish
    function.argtypes = (ctypes.c_ulong,)
    return function


def test_a_sum_loses_no_carry(finish: ctypes._NamedFuncPointer) -> None:
    generator = random.Random(1)
    some = [generator.getrandbits(bits) for bits in range(1, 40) for _ in range(500)]
    sums = [total for total in (*CARRIES, *some) if 0 < total < 1 << 40]
    wrong = [total for total in sums if finish(total) != 0xFFFF - (total % 0xFFFF or 0xFFFF)]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "frame",
    [
        ethernet(ipv4(Udp(b"\0\0" + MESSAGE))),
        ethernet(ipv4(Udp(b"\0\0" + MESSAGE), source="255.255.0.1", destination="255.254.255.1")),
        ethernet(ipv6(Udp(b"\0\0" + MESSAGE))),
    ],
    ids=["v4", "v4 of high addresses", "v6"],
)
def test_the_checksum_is_right_for_every_id(frame: bytes, host_engine: Host) -> None:
    at = len(frame) - len(MESSAGE) - 2
    queries = [
        (EVERYBODY, frame[:at] + number.to_bytes(2, "big") + frame[at + 2 :])
        for number in range(0x10000)
    ]
    found = difference([host_engine], queries)
    assert found is None, found.said
