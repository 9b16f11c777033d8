"""What the card sees, from a real flood to the verbs, files and receivers that show it.

One service, one flood: who sends it, which names, what was dropped and by which rule, as a stream,
a table, a capture that tcpdump and tshark read, and dnstap that Debian's tools receive and read.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.lab import Lab, Service, eventually
from tests.net.site import DROPPED, SERVER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab import Host

pytestmark = pytest.mark.root

EVIL = b"\x04evil\x07example\0"
GOOD = b"\x04good\x07example\0"
LIVE = "/api/v1/live"


def query(name: bytes) -> bytes:
    return b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0" + name + b"\0\x01\0\x01"


class Flood:
    """Three queries for random names of evil.example from a blocked source, then a good one."""

    def __init__(self, client: Host) -> None:
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _send(self) -> None:
        def bound(address: str) -> socket.socket:
            sock = self._client.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((address, 0))
            return sock

        where = (SERVER[4], 53)
        with bound(DROPPED[4]) as evil, bound(self._client.v4) as good:
            for number in range(10**6):
                if self._stop.is_set():
                    return
                label = f"r{number:06d}".encode()
                name = bytes((len(label),)) + label + EVIL
                with contextlib.suppress(ConnectionRefusedError):
                    for _ in range(3):
                        evil.sendto(query(name), where)
                    good.sendto(query(b"\x03www" + GOOD), where)
                time.sleep(0.005)


@pytest.fixture
def flooded(lab: Lab) -> Iterator[Service]:
    """A service that has blocked a source of the flood; a receiver of dnstap."""
    client, server = lab.pair()
    where = lab.directory / "d.sock"
    service = Service(server, "--sample-dnstap", str(where))
    assert service.verb("block", DROPPED[4]).returncode == 0
    with Flood(client):
        yield service


def answer(service: Service, *words: str) -> str:
    done = service.verb(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def events(service: Service) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
    """Give the events of a stream on the control socket."""
    connection = http.client.HTTPConnection("localhost")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.settimeout(20)
        sock.connect(str(service.control))
        connection.sock = sock
        connection.request("GET", LIVE)
        response = connection.getresponse()
        assert response.status == 200

        def read() -> Iterator[tuple[str, dict[str, Any]]]:
            while line := response.readline():
                data = json.loads(response.readline().removeprefix(b"data: "))
                response.readline()
                yield line.decode().removeprefix("event: ").strip(), data

        yield read()


def test_a_flood_is_seen_on_every_way(flooded: Service, lab: Lab) -> None:
    capture = receiver(lab)
    sums = json.loads(answer(flooded, "top", "--live", "--seconds", "2", "--json"))
    by = {name: {row["key"]: row for row in rows} for name, rows in sums["by"].items()}
    evil = by["source"][DROPPED[4]]
    assert evil["actions"] == {"drop": evil["packets"]}
    assert 0.6 < evil["share"] < 0.9
    assert 0.6 < by["zone2"][".evil.example"]["share"] < 0.9
    assert by["name"]["www.good.example"]["actions"].keys() == {"pass"}
    assert by["action"].keys() == {"drop", "pass"}

    lines = answer(flooded, "watch", "--action", "drop", "-n", "5").splitlines()
    assert len(lines) == 5
    assert all(f"drop addr-v4 rule={DROPPED[4]} origin=cli weight=" in line for line in lines)
    document = json.loads(answer(flooded, "watch", "--name", ".good.example", "-n1", "--json"))
    assert (document["name"], document["reason"], document["rule"]) == (
        "www.good.example",
        "no-match",
        None,
    )

    file = lab.directory / "seen.pcapng"
    answer(flooded, "watch", "-n", "20", "--pcap", str(file))
    read = tool("tcpdump", "-n", "-r", str(file))
    assert len(read.splitlines()) == 20
    assert f"IP {DROPPED[4]}." in read
    shown = ("frame.comment", "frame.interface_name", "frame.len", "ip.src", "dns.qry.name")
    fields = [word for name in shown for word in ("-e", name)]
    rows = tool("tshark", "-r", str(file), "-T", "fields", *fields).splitlines()
    assert len(rows) == 20
    for comment, interface, length, source, name in (row.split("\t") for row in rows):
        assert (interface, int(length) > 60) == ("eth0", True)
        if source == DROPPED[4]:
            rule = f"rule={DROPPED[4]} origin=cli"
            assert re.fullmatch(rf"drop addr-v4 {rule} weight=\d+", comment)
            assert name.endswith(".evil.example")
        else:
            assert re.fullmatch(r"pass no-match weight=\d+", comment)

    frames = lab.directory / "seen.fstrm"
    answer(flooded, "watch", "-n", "20", "--dnstap", str(frames))
    assert tool("dnstap-ldns", "-y", "-r", str(frames)).count("CLIENT_QUERY") == 20

    eventually(lambda: capture[1].exists() and capture[1].stat().st_size > 4_000, "dnstap")
    capture[0].terminate()
    capture[0].wait(10)
    assert f'query_address: "{DROPPED[4]}"' in tool("dnstap-ldns", "-y", "-r", str(capture[1]))


def receiver(lab: Lab) -> tuple[subprocess.Popen[bytes], Path]:
    """Start fstrm_capture where `sample-dnstap` leads, after the service has begun to try."""
    file = lab.directory / "received.fstrm"
    command = ("fstrm_capture", "-t", "protobuf:dnstap.Dnstap")
    ends = ("-u", str(lab.directory / "d.sock"), "-w", str(file))
    process = subprocess.Popen([*command, *ends], stderr=subprocess.DEVNULL)
    lab.at_end(process.kill)
    return process, file


def tool(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout


def test_the_stream_moves_with_what_happens(flooded: Service) -> None:
    with events(flooded) as stream:
        found = [next(stream) for _ in range(3)]
        assert [name for name, _ in found] == ["snapshot"] * 3
        assert found[0][1]["totals"]["drop"] < found[-1][1]["totals"]["drop"]
        assert found[-1][1]["rates"]["drop"] > 0
        answer(flooded, "block", "192.0.2.99")
        changes, hit = [], set()
        for _, data in stream:
            changes += [change["target"] for change in data["events"]]
            hit |= {rule["target"] for rule in data["top"]}
            if changes and hit:
                break
    assert changes == ["192.0.2.99"]
    assert hit == {DROPPED[4]}
    assert flooded.get(LIVE).status == 401
    assert flooded.get("/api/v1/samples").status == 401


def test_a_stop_ends_a_stream(flooded: Service) -> None:
    process = subprocess.Popen(
        [*flooded.command, "watch", "--action", "pass", "--control", str(flooded.control)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=flooded.host.lab.environ, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline()
    assert flooded.stop() == 0
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "the stream has ended: the service stops" in errors
