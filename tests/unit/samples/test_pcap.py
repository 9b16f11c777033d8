"""pcapng, as tcpdump reads it."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

from tests.unit.samples.seen import NOW, frame_of
from xdpctl.samples.pcap import PcapWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the body of each block; both of its lengths agree."""
    while data:
        kind, size = struct.unpack_from("=II", data)
        assert size % 4 == 0
        assert struct.unpack_from("=I", data, size - 4) == (size,)
        yield kind, data[8 : size - 4]
        data = data[size:]


def options(body: bytes) -> dict[int, bytes]:
    found = {}
    while body[:4] != bytes(4):
        code, size = struct.unpack_from("=HH", body)
        found[code] = body[4 : 4 + size]
        body = body[4 + size + -size % 4 :]
    return found


def test_tcpdump_reads_it(tmp_path: Path) -> None:
    writer = PcapWriter("xdpctl 1")
    file = tmp_path / "seen.pcapng"
    file.write_bytes(
        writer.begin()
        + writer.packet("eth0", NOW, frame_of(name="www.evil.example"), 0, "drop")
        + writer.packet("eth1", NOW, frame_of("2001:db8::1"), 0, "pass")
        + writer.packet("eth0", NOW, frame_of()[:45], 900, "pass")
    )
    said = subprocess.run(
        ["/usr/bin/tcpdump", "-n", "-tt", "-r", str(file)],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    first, second, third = said.stdout.splitlines()
    assert first.startswith("1700000000.250000 IP 192.0.2.1.40053 > 192.0.2.53.53:")
    assert "A? www.evil.example." in first
    assert "IP6 2001:db8::1.40053 > 2001:db8::53.53:" in second
    assert "[|domain]" in third


def test_each_interface_is_described_once_and_each_packet_has_its_comment() -> None:
    writer = PcapWriter("xdpctl 1")
    data = writer.begin()
    for interface in ("eth0", "eth1", "eth0"):
        data += writer.packet(interface, NOW, b"x" * 61, 1_500, f"on {interface}")
    found = list(blocks(data))
    assert [kind for kind, _ in found] == [0x0A0D0D0A, 1, 6, 1, 6, 6]
    names = [options(body[8:])[2] for kind, body in found if kind == 1]
    assert names == [b"eth0", b"eth1"]
    for kind, body in found:
        if kind == 6:
            number, _, _, size, whole = struct.unpack_from("=IIIII", body)
            assert (size, whole) == (61, 1_500)
            assert options(body[20 + 64 :])[1] == b"on " + names[number]
