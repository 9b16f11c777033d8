"""The UDP checksum of an answer, over every value that 16 bits of the message can have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines.oracle import judge
from tests.packets.build import Udp, ethernet, ipv4, ipv6
from tests.packets.case import Scene, truncate
from tests.packets.message import query

if TYPE_CHECKING:
    from tests.engines.host import Host

EVERYBODY = Scene((truncate("0.0.0.0/0"), truncate("::/0")))
MESSAGE = query("www.example")[2:]


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
    wrong = [
        number
        for number in range(0x10000)
        if (query := frame[:at] + number.to_bytes(2, "big") + frame[at + 2 :])
        and host_engine.judge(EVERYBODY, query) != judge(EVERYBODY, query)
    ]
    assert wrong == []
