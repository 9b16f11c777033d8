"""`watch`: lines, documents and files of what the stream brings."""

from __future__ import annotations

import base64
import json
import re
import resource
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.samples.seen import frame_of
from xdpctl.cli.verbs.watch import line, verdict
from xdpctl.samples import dnstap

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

LIVE = "/api/v1/live"
FRAME = frame_of("192.0.2.7", "www.evil.example")
SEEN: dict[str, Any] = {
    "time": 1_700_000_000.25,
    "interface": "eth0",
    "action": "drop",
    "reason": "zone",
    "weight": 97,
    "length": len(FRAME),
    "source": "192.0.2.7",
    "source_port": 40053,
    "destination": "192.0.2.53",
    "port": 53,
    "protocol": "udp",
    "name": "www.evil.example",
    "qtype": "A",
    "rule": {"target": ".evil.example", "qtype": None, "origin": "cli"},
    "frame": base64.b64encode(FRAME).decode(),
}
LINE = (
    "eth0  192.0.2.7:40053 > 192.0.2.53:53  udp  www.evil.example  A  drop zone"
    " rule=.evil.example origin=cli weight=97"
)


def stream(*events: tuple[str, object]) -> bytes:
    return b"".join(
        f"event: {name}\ndata: {json.dumps(data)}\n\n".encode() for name, data in events
    )


def seen(service: FakeService, count: int = 3, lost: int = 0) -> None:
    """Let the service send so many packets, and stop."""
    talkers = {"seconds": 1, "weight": 97, "lost": lost, "by": {}}
    end = {"detail": "the service stops"}
    packets = [("sample", SEEN)] * count
    service.answer("GET", LIVE, stream(("talkers", talkers), *packets, ("end", end)))


def test_one_line_a_packet(cli: CommandLine, service: FakeService) -> None:
    seen(service)
    result = cli("watch", "-n", "2")
    assert result.status == 0
    assert [text[12:].strip() for text in result.output.splitlines()] == [LINE] * 2


def test_a_stream_that_ends_is_an_error_with_its_reason(
    cli: CommandLine, service: FakeService
) -> None:
    seen(service)
    result = cli("watch")
    assert (result.status, result.errors) == (
        1,
        "xdpctl: the stream has ended: the service stops\n",
    )
    assert len(result.output.splitlines()) == 3


def test_a_stream_that_breaks_off_is_a_sentence(cli: CommandLine, service: FakeService) -> None:
    """As where the terminal was held (Ctrl-S) for long."""
    service.answer("GET", LIVE, stream(("sample", SEEN)))
    result = cli("watch")
    assert result.status == 1
    assert "the stream has ended: it was not read for ten seconds" in result.errors


def test_json_is_a_document_a_line(cli: CommandLine, service: FakeService) -> None:
    seen(service)
    documents = [json.loads(text) for text in cli("watch", "-n2", "--json").output.splitlines()]
    assert documents == [SEEN] * 2


def test_filters_are_asked_for(cli: CommandLine, service: FakeService) -> None:
    seen(service)
    options = {
        "source": "192.0.2.0/24", "name": ".evil.example", "qtype": "A", "action": "drop",
        "reason": "zone", "port": "53", "interface": "eth0",
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    cli("watch", "-n1", *words)
    asked = dict(service.requests[0].query)
    assert asked == {**options, "samples": "all", "snapshots": "0", "by": "action"}


def test_what_was_lost_is_said(cli: CommandLine, service: FakeService) -> None:
    seen(service, lost=1_500)
    assert "1,500 samples did not come in time" in cli("watch", "-n1").errors


def test_pcapng_is_read_by_tcpdump(cli: CommandLine, service: FakeService, tmp_path: Path) -> None:
    seen(service)
    file = tmp_path / "seen.pcapng"
    result = cli("watch", "-n3", "--pcap", str(file))
    assert (result.status, result.output, result.errors) == (0, "", "3 packets\n")
    read = subprocess.run(
        ["/usr/bin/tcpdump", "-n", "-r", str(file)],
        capture_output=True, text=True, check=True, timeout=30,
    ).stdout  # fmt: skip
    assert read.count("A? www.evil.example.") == 3
    assert verdict(SEEN).encode() in file.read_bytes()
    assert dict(service.requests[0].query)["frames"] == "1"


def test_a_full_disk_is_a_sentence(cli: CommandLine, service: FakeService) -> None:
    seen(service)
    result = cli("watch", "--pcap", "/dev/full")
    assert result.status == 1
    assert "cannot write /dev/full: No space left on device" in result.errors


def test_a_full_disk_leaves_whole_packets_and_others_cannot_read_them(
    cli: CommandLine, service: FakeService, tmp_path: Path
) -> None:
    """A limit of the size of files stands for the disk."""
    seen(service, 40)
    file = tmp_path / "seen.pcapng"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, before[1]))
    try:
        result = cli("watch", "--pcap", str(file))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.status == 1
    (kept,) = re.findall(r"File too large; (\d+) packets are in it", result.errors)
    read = subprocess.run(
        ["/usr/bin/tcpdump", "-n", "-r", str(file)], capture_output=True, text=True, check=True
    )
    assert len(read.stdout.splitlines()) == int(kept) > 3
    assert file.stat().st_mode & 0o007 == 0


def test_a_file_that_cannot_be_made_is_a_sentence(
    cli: CommandLine, service: FakeService, tmp_path: Path
) -> None:
    seen(service)
    result = cli("watch", "--pcap", str(tmp_path / "no" / "x"))
    assert result.status == 1
    assert "No such file or directory; name another file" in result.errors
    assert service.requests == []


def test_dnstap_goes_to_a_file(cli: CommandLine, service: FakeService, tmp_path: Path) -> None:
    seen(service)
    file = tmp_path / "seen.fstrm"
    assert cli("watch", "-n2", "--dnstap", str(file)).status == 0
    read = subprocess.run(
        ["/usr/bin/dnstap-ldns", "-y", "-r", str(file)],
        capture_output=True, text=True, check=True, timeout=30,
    ).stdout  # fmt: skip
    assert read.count("CLIENT_QUERY") == 2
    assert 'query_address: "192.0.2.7"' in read


def test_dnstap_goes_to_a_receiver_behind_a_socket(
    cli: CommandLine, service: FakeService, tmp_path: Path
) -> None:
    seen(service)
    where = tmp_path / "d.sock"
    got = bytearray()

    def receive(listener: socket.socket) -> None:
        connected, _ = listener.accept()
        with connected:
            connected.sendall(dnstap.control_frame(dnstap.ACCEPT))
            while not got.endswith(dnstap.control_frame(dnstap.STOP)):
                got.extend(connected.recv(65_536))
            connected.sendall(dnstap.control_frame(dnstap.FINISH))

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(where))
        listener.listen()
        listener.settimeout(20)
        thread = threading.Thread(target=receive, args=(listener,))
        thread.start()
        assert cli("watch", "-n2", "--dnstap", str(where)).status == 0
        thread.join()
    assert got.startswith(dnstap.control_frame(dnstap.READY) + dnstap.control_frame(dnstap.START))
    assert got.count(b"evil\x07example") > 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rule": None}, "drop zone weight=97"),
        ({"source": "2001:db8::7"}, "[2001:db8::7]:40053 >"),
        ({"name": None, "qtype": None}, "udp  drop"),
        ({"source": None, "source_port": None, "protocol": None, "name": None}, "  - > "),
        ({"rule": {"target": "a.example", "qtype": "AAAA", "origin": "x"}}, "rule=a.example AAAA"),
    ],
)
def test_a_line_says_what_there_is(change: dict[str, object], said: str) -> None:
    assert said in line({**SEEN, **change})


def test_a_packet_writes_no_control_characters(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", LIVE, stream(("sample", {**SEEN, "interface": "\x1b[2J"})))
    assert "\x1b" not in cli("watch", "-n1").output
