"""Bodies: refused for what they are, and a million rules at the price of a few."""

from __future__ import annotations

import asyncio
import errno
import sys
import tempfile
import time
from ipaddress import ip_address
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

from tests.support.fake_backend import Site, site
from xdpctl.http.transport import body
from xdpctl.http.transport.body import BODY_MAX, MEMORY_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RULES = "/api/v1/rules"
RULE = b'{"target":"192.0.2.1"}'
MANY = 1_100_000


@pytest.fixture
async def api() -> AsyncIterator[Site]:
    """A service on its control socket."""
    with tempfile.TemporaryDirectory(prefix="xdpctl-", dir="/var/tmp") as name:
        async with site(Path(name), tcp=False) as served:
            yield served


def no_room(**_: object) -> IO[bytes]:
    raise OSError(errno.ENOSPC, "No space left on device")


def padded(size: int) -> bytes:
    """Return a rule in a body of so many bytes."""
    return RULE + b" " * (size - len(RULE))


# --- refused --------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "x-unknown"])
async def test_a_compressed_body_is_415_and_not_unpacked(api: Site, coding: str) -> None:
    said = await api.raw(
        b"POST /api/v1/rules HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Encoding: %s\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (coding.encode(), len(RULE), RULE)
    )
    assert said.startswith(b"HTTP/1.1 415")
    assert b"Content-Encoding" in said


async def test_a_length_that_is_too_much_is_413_before_anything_is_sent(api: Site) -> None:
    said = await api.raw(
        b"POST /api/v1/rules HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n"
        b"Content-Length: %d\r\n\r\n" % (BODY_MAX + 1)
    )
    assert said.startswith(b"HTTP/1.1 413")


async def test_a_body_that_grows_too_long_is_413_on_the_way(api: Site) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 10_000

    answer = await api.ask("POST", "/api/v1/detach", parts())
    assert answer.problem["status"] == 413


async def test_a_body_that_stops_is_408(api: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "STALLED_SECONDS", 0.05)
    said = await api.raw(
        b"POST /api/v1/rules HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9\r\n\r\n["
    )
    assert said.startswith(b"HTTP/1.1 408")
    assert api.backend.asked == []


async def test_chunks_that_are_none_are_400(api: Site) -> None:
    said = await api.raw(
        b"POST /api/v1/rules HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    )
    assert b" 400 " in said.splitlines()[0]
    assert api.backend.asked == []


async def test_no_room_for_a_long_body_is_507(api: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", no_room)
    answer = await api.ask("POST", RULES, padded(2 * MEMORY_MAX))
    assert answer.problem["status"] == 507
    assert "--state" in answer.problem["detail"]


# --- taken ----------------------------------------------------------------------------


async def test_a_short_body_needs_no_file(api: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", no_room)
    assert (await api.ask("POST", RULES, padded(MEMORY_MAX // 2))).status == 200


async def test_a_long_body_leaves_no_file(api: Site) -> None:
    answer = await api.ask("POST", RULES, b"[" + padded(900_000) + b"," + padded(900_000) + b"]")
    assert answer.json()["created"] == 2
    assert {path.name for path in api.control.parent.iterdir()} == {api.control.name}


@pytest.mark.parametrize("size", [MEMORY_MAX - 1, MEMORY_MAX, MEMORY_MAX + 1, 3 * MEMORY_MAX])
async def test_no_byte_of_a_list_is_lost_wherever_the_file_begins(api: Site, size: int) -> None:
    text = b"".join(b"%s\n" % str(ip_address(2**29 + n)).encode() for n in range(size // 9))
    text = text[:size].rpartition(b"\n")[0]
    await api.ask("POST", "/api/v1/import?origin=api", text)
    assert api.backend.bulks[0].rows == text.count(b"\n") + 1


# --- a million ------------------------------------------------------------------------

CLIENT = """
import http.client, socket, sys
connection = http.client.HTTPConnection("localhost")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(sys.argv[1])
with open(sys.argv[4], "rb") as file:
    connection.request(sys.argv[2], sys.argv[3], file, {"Transfer-Encoding": "chunked"},
        encode_chunked=True)
sys.stdout.write(connection.getresponse().read().decode())
"""


def write_rules(path: Path, method: str) -> None:
    """Write a list of a million rules, as JSON for a PUT and as lines for an import."""
    head, rule, between, tail = "", '%s reason="a list"', "\n", "\n"
    if method == "PUT":
        head, rule, between, tail = "[", '{"target":"%s","reason":"a list"}', ",", "]"
    with path.open("w") as file:
        file.write(head)
        for number in range(MANY):
            file.write((between if number else "") + rule % ip_address(2**29 + number))
        file.write(tail)


def memory_peak() -> int:
    """Return the most bytes that this process had in memory since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Processor time of the longest step of the loop so far, in seconds."""
    longest = [0.0]
    run = asyncio.Handle._run

    def measured(handle: asyncio.Handle) -> None:
        begin = time.thread_time()
        run(handle)
        longest[0] = max(longest[0], time.thread_time() - begin)

    monkeypatch.setattr(asyncio.Handle, "_run", measured)
    return longest


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), [("PUT", "/api/v1/rules"), ("POST", "/api/v1/import")])
async def test_a_million_rules_hold_neither_the_loop_nor_memory(
    api: Site, tmp_path: Path, steps: list[float], method: str, path: str
) -> None:
    """No step of the loop takes 20 ms of processor time, and memory stays within 32 MiB."""
    rules = tmp_path / "rules"
    await asyncio.to_thread(write_rules, rules, method)
    await asyncio.to_thread(forget_peak)
    before, steps[0] = memory_peak(), 0.0
    client = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CLIENT,
        str(api.control),
        method,
        f"{path}?origin=list:x",
        str(rules),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await client.communicate()
    assert f'"created":{MANY}'.encode() in said
    assert steps[0] < 0.020
    assert memory_peak() - before < 32 * 2**20
