"""Sampled queries as dnstap: to Debian's fstrm_capture, and to receivers that are away or slow."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import json
import logging
import os
import socket
import ssl
import subprocess
import threading
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import trustme

from tests.support.descriptors import none_left_open
from tests.support.fake_backend import NO_LIMITS
from tests.unit.samples.seen import frame_of, sample_of
from xdpctl.abi import PacketAction, Reason
from xdpctl.errors import ReceiverError
from xdpctl.rules import parse_target
from xdpctl.samples import dnstap, outputs
from xdpctl.samples.dnstap import DnstapEncoder
from xdpctl.samples.hub import Hub
from xdpctl.samples.outputs import FileOutput, SocketOutput
from xdpctl.samples.packets import read_packet
from xdpctl.service import dnstap_output
from xdpctl.service.dnstap_output import DnstapOutput, output_of
from xdpctl.service.watch import Seen, SeenRule
from xdpctl.settings import DnstapTarget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from xdpctl.samples.packets import Packet
    from xdpctl.samples.sample import Sample
    from xdpctl.samples.selection import Selection
    from xdpctl.service.watch import Watch

QUERY = sample_of(
    frame_of("192.0.2.7", "www.evil.example"), PacketAction.DROP, Reason.ADDR_V4, weight=9
)


class FakeWatch:
    """A hub, and one rule for all that was dropped."""

    def __init__(self) -> None:
        self.hub = Hub()

    @asynccontextmanager
    async def open(self, selection: Selection) -> AsyncIterator[Seen]:
        async with self.hub.subscribe() as inbox:
            yield Seen(inbox, lambda sample: read_packet(sample.frame), selection)

    async def rules_of(self, seen: Sequence[tuple[Sample, Packet]]) -> list[SeenRule | None]:
        return [SeenRule(parse_target("192.0.2.7"), "cli") for _ in seen]


@asynccontextmanager
async def running(part: DnstapOutput, watch: FakeWatch) -> AsyncIterator[None]:
    """Run the part, and give it samples."""

    async def feed() -> None:
        while True:
            await watch.hub.wanted.wait()
            watch.hub.deliver([QUERY, sample_of(b"\0" * 60)])
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(part.run()), asyncio.create_task(feed())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(what: Any) -> None:  # noqa: ANN401 - something that can be called
    async with asyncio.timeout(20):
        while not what():  # noqa: ASYNC110 - it is seen from outside
            await asyncio.sleep(0.02)


def part_for(watch: FakeWatch, target: DnstapTarget | None) -> DnstapOutput:
    return DnstapOutput(cast("Watch", watch), replace(NO_LIMITS, sample_dnstap=target))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dnstap_output, "RETRY_SECONDS", (0.05, 0.2))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def frames_of(data: bytes) -> list[bytes]:
    """Return the data frames of a whole stream, which begins and ends as it must."""
    assert data.startswith(dnstap.control_frame(dnstap.START))
    assert data.endswith(dnstap.control_frame(dnstap.STOP))
    data = data[len(dnstap.control_frame(dnstap.START)) : -len(dnstap.control_frame(dnstap.STOP))]
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


def read_with(tool: str, *arguments: str) -> str:
    """Return what one of Debian's readers says."""
    done = subprocess.run(
        [f"/usr/bin/{tool}", *arguments], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout


async def test_fstrm_capture_takes_it_and_dnstap_ldns_reads_it(tmp_path: Path) -> None:
    where, file = tmp_path / "d.sock", tmp_path / "seen.fstrm"
    watch = FakeWatch()
    part = part_for(watch, DnstapTarget("unix", where))
    command = ["/usr/bin/fstrm_capture", "-t", "protobuf:dnstap.Dnstap", "-u", str(where)]
    with subprocess.Popen([*command, "-w", str(file)], stderr=subprocess.DEVNULL) as receiver:  # noqa: ASYNC220 - a test's
        await until(where.exists)
        async with running(part, watch):
            await until(lambda: part._output is not None)
            await asyncio.sleep(0.2)
        receiver.terminate()
    text = read_with("dnstap-ldns", "-y", "-r", str(file))
    assert 'query_address: "192.0.2.7"' in text
    assert "www.evil.example." in text
    first = read_with("dnstap", "-j", "-r", str(file)).splitlines()[0]
    assert json.loads(first)["message"]["query_port"] == 40053
    assert part.dropped == watch.hub.lost == 0


async def test_a_file_is_a_whole_stream(tmp_path: Path) -> None:
    file = tmp_path / "seen.fstrm"
    watch = FakeWatch()
    part = part_for(watch, DnstapTarget("file", file))
    async with running(part, watch):
        await until(lambda: file.exists() and file.stat().st_size > 1_000)
    assert len(frames_of(file.read_bytes())) > 5


async def test_a_reload_begins_a_file_again_and_keeps_the_former(tmp_path: Path) -> None:
    file = tmp_path / "seen.fstrm"
    watch = FakeWatch()
    target = DnstapTarget("file", file)
    part = part_for(watch, target)
    async with running(part, watch):
        await until(lambda: file.exists() and file.stat().st_size > 1_000)
        part.reload(replace(NO_LIMITS, sample_dnstap=target))
        former = tmp_path / "seen.fstrm.1"
        await until(lambda: former.exists() and file.exists())
    assert frames_of(former.read_bytes())
    frames_of(file.read_bytes())


async def test_while_a_receiver_is_away_samples_are_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    where = tmp_path / "d.sock"
    watch = FakeWatch()
    part = part_for(watch, DnstapTarget("unix", where))
    async with running(part, watch):
        await until(lambda: part.dropped > 5)
        assert watch.hub.lost == part.dropped
        (warning,) = part.warnings
        assert str(where) in warning
        assert "so far" in warning
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(where))
            listener.listen()
            listener.settimeout(0)
            loop = asyncio.get_running_loop()
            connected, _ = await loop.sock_accept(listener)
            ready = dnstap.control_frame(dnstap.READY)
            assert await loop.sock_recv(connected, len(ready)) == ready
            await loop.sock_sendall(connected, dnstap.control_frame(dnstap.ACCEPT))
            await until(lambda: part._output is not None)
            assert part.warnings == ()
            connected.close()
            await until(lambda: part.warnings)
    assert caplog.text.count("dnstap-connected") == 1
    assert caplog.text.count("dnstap-failed") == 2  # not once an attempt


async def test_a_receiver_that_does_not_answer_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "TIMEOUT_SECONDS", 0.1)
    where = tmp_path / "d.sock"
    watch = FakeWatch()
    part = part_for(watch, DnstapTarget("unix", where))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(where))
        listener.listen()  # it never accepts, so it never answers
        async with running(part, watch):
            await until(lambda: "in time" in "".join(part.warnings))
            await until(lambda: part.dropped)


def test_a_receiver_that_stops_reading_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "TIMEOUT_SECONDS", 0.1)
    mine, other = socket.socketpair()
    with other:
        other.sendall(dnstap.control_frame(dnstap.ACCEPT))
        output = SocketOutput("the receiver", lambda: mine)
        output.begin()
        with pytest.raises(ReceiverError, match="in time"):
            output.write([b"x" * 60_000] * 100)
        assert mine.fileno() == -1


async def test_without_a_target_nobody_looks() -> None:
    watch = FakeWatch()
    part = part_for(watch, None)
    async with running(part, watch):
        await asyncio.sleep(0.1)
        assert watch.hub.readers == 0
        assert part.warnings == ()


async def test_without_samples_the_warning_says_why(tmp_path: Path) -> None:
    watch = FakeWatch()
    watch.hub.close("the kernel refuses it")
    part = part_for(watch, DnstapTarget("file", tmp_path / "x"))
    async with running(part, watch):
        await until(lambda: "the kernel refuses it" in "".join(part.warnings))
        watch.hub.open()
        await until(lambda: not part.warnings)


def test_a_full_disk_loses_messages_and_no_half_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "seen.fstrm"
    output = FileOutput(file)
    output.begin()
    output.write([b"first"])
    write = os.write
    room = [7]

    def full(descriptor: int, octets: memoryview) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = write(descriptor, octets[: room[0]])
        room[0] -= done
        return done

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(ReceiverError, match="No space left"):
            output.write([b"second" * 10])
    output.write([b"third"])
    output.end()
    assert frames_of(file.read_bytes()) == [b"first", b"third"]


async def test_on_a_full_disk_what_was_written_stays_and_the_log_has_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = tmp_path / "seen.fstrm"
    watch = FakeWatch()
    part = part_for(watch, DnstapTarget("file", file))
    write, full = os.write, threading.Event()

    def may_be_full(descriptor: int, octets: memoryview) -> int:
        if full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, octets)

    monkeypatch.setattr(os, "write", may_be_full)
    async with running(part, watch):
        await until(lambda: file.exists() and file.stat().st_size > 1_000)
        full.set()
        await until(lambda: part.dropped > 30)
        assert "No space left" in "".join(part.warnings)
        full.clear()
        await until(lambda: not part.warnings)
        await asyncio.sleep(0.1)
    assert len(frames_of(file.read_bytes())) > 5
    assert names(tmp_path) == {"seen.fstrm"}
    assert caplog.text.count("dnstap-failed") == 1
    assert caplog.text.count("dnstap-connected") == 2


async def test_a_receiver_that_comes_and_goes_is_asked_ever_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dnstap_output, "RETRY_SECONDS", (1.0, 30.0))
    watch, clock, begun = FakeWatch(), [0.0], []

    class Fickle:
        """Takes a connection, and no message."""

        lasts = False

        def begin(self) -> None:
            begun.append(clock[0])

        def write(self, _messages: object) -> None:
            raise ReceiverError("it has closed the connection")

        def end(self) -> None:
            pass

        def abort(self) -> None:
            pass

    settings = replace(NO_LIMITS, sample_dnstap=DnstapTarget("unix", Path("/x")))
    part = DnstapOutput(cast("Watch", watch), settings, lambda _: Fickle(), lambda: clock[0])
    async with running(part, watch):
        while clock[0] < 100:
            clock[0] += 1
            await asyncio.sleep(0.015)
    assert 2 <= len(begun) <= 8  # after 1, 2, 4, 8, 16, 30 seconds, and 30 again


def test_a_full_disk_leaves_no_descriptor_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _octets: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with none_left_open():
        monkeypatch.setattr(os, "write", full)
        for _ in range(3):
            with pytest.raises(ReceiverError, match="No space left"):
                FileOutput(tmp_path / "seen.fstrm").begin()


def test_a_file_is_begun_again_when_it_is_large(tmp_path: Path) -> None:
    file = tmp_path / "seen.fstrm"
    output = FileOutput(file, most=1_000)
    output.begin()
    for number in range(20):
        output.write([b"%d" % number * 50])
    output.end()
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= 1_000 + 12
    kept = [*frames_of((tmp_path / "seen.fstrm.1").read_bytes()), *frames_of(file.read_bytes())]
    assert kept[-1] == b"19" * 50
    assert names(tmp_path) == {"seen.fstrm", "seen.fstrm.1"}


@pytest.mark.parametrize("text", ["", "something"])
def test_a_file_that_another_has_put_there_is_not_written_to(tmp_path: Path, text: str) -> None:
    """He may have it open, or another name for it."""
    file = tmp_path / "seen.fstrm"
    file.write_text(text)
    os.link(file, tmp_path / "his")
    with file.open() as open_before:
        output = FileOutput(file)
        output.begin()
        output.write([b"who asks for what"])
        output.end()
        assert open_before.read() == (tmp_path / "his").read_text() == text
    assert frames_of(file.read_bytes()) == [b"who asks for what"]
    assert file.stat().st_mode & 0o007 == 0


def test_what_is_no_file_is_not_written_to(tmp_path: Path) -> None:
    with pytest.raises(ReceiverError, match="not a regular file"):
        FileOutput(tmp_path).begin()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ReceiverError):
        FileOutput(tmp_path / "link").begin()
    assert not (tmp_path / "elsewhere").exists()


def drips(octets: bytes, other: socket.socket) -> threading.Thread:
    """Send octets one by one, again and again, as long as somebody takes them."""

    def send() -> None:
        with contextlib.suppress(OSError):
            for number in itertools.cycle(range(len(octets))):
                other.sendall(octets[number : number + 1])
                time.sleep(0.001)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_a_receiver_that_never_comes_to_an_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A control frame that is allowed to be long, and of which a bit comes all the time."""
    monkeypatch.setattr(outputs, "TIMEOUT_SECONDS", 0.2)
    mine, other = socket.socketpair()
    with other:
        thread = drips(bytes(4) + (60_000).to_bytes(4, "big") + bytes(60_000), other)
        with pytest.raises(ReceiverError, match="in time"):
            SocketOutput("the receiver", lambda: mine).begin()
        assert mine.fileno() == -1
        thread.join()


def test_a_receiver_that_answers_a_farewell_with_anything_else_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outputs, "END_SECONDS", 0.2)
    mine, other = socket.socketpair()
    with other:
        other.sendall(dnstap.control_frame(dnstap.ACCEPT))
        output = SocketOutput("the receiver", lambda: mine)
        output.begin()
        thread = drips(dnstap.control_frame(dnstap.ACCEPT), other)
        output.end()
        assert mine.fileno() == -1
        thread.join()


@pytest.mark.parametrize(
    "answer", [b"", dnstap.control_frame(dnstap.ACCEPT)], ids=["silent", "does not read"]
)
async def test_a_stop_does_not_wait_for_a_receiver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """One that does not answer, or one that does not read."""
    monkeypatch.setattr(outputs, "TIMEOUT_SECONDS", 60.0)
    where = tmp_path / "d.sock"
    watch = FakeWatch()
    part = part_for(watch, DnstapTarget("unix", where))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(where))
        listener.listen()
        listener.settimeout(0)
        async with running(part, watch):
            connected, _ = await asyncio.get_running_loop().sock_accept(listener)
            connected.sendall(answer)
            if answer:
                monkeypatch.setattr(DnstapEncoder, "message", lambda *_: bytes(1 << 20))
                await until(lambda: part._output is not None)
            await asyncio.sleep(0.2)
        await until(lambda: not any(t.name.startswith("dnstap") for t in threading.enumerate()))
        connected.close()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 8, b""])
def test_a_receiver_of_something_else_is_named(answer: bytes) -> None:
    mine, other = socket.socketpair()
    with other:
        other.sendall(answer)
        other.shutdown(socket.SHUT_WR)
        with pytest.raises(ReceiverError, match=r"frame streams|closed the connection"):
            SocketOutput("the receiver", lambda: mine).begin()


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_nobody_behind_a_port_is_a_sentence(kind: str) -> None:
    output = output_of(DnstapTarget(kind, None, "127.0.0.1", 1))
    with pytest.raises(ReceiverError, match=r"127\.0\.0\.1:1"):
        output.begin()


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_a_receiver_behind_a_port_takes_messages(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With TLS, its certificate must be of an authority that this host trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    got = bytearray()

    def receive(listener: socket.socket) -> None:
        connected, _ = listener.accept()
        if kind == "tls":
            connected = context.wrap_socket(connected, server_side=True)
        with connected:
            connected.sendall(dnstap.control_frame(dnstap.ACCEPT))
            while not got.endswith(dnstap.control_frame(dnstap.STOP)):
                got.extend(connected.recv(65_536))
            connected.sendall(dnstap.control_frame(dnstap.FINISH))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        thread = threading.Thread(target=receive, args=(listener,))
        thread.start()
        output = output_of(DnstapTarget(kind, None, "127.0.0.1", listener.getsockname()[1]))
        output.begin()
        output.write([b"a message"])
        output.end()
        thread.join()
    ready = dnstap.control_frame(dnstap.READY)
    assert got.startswith(ready)
    assert frames_of(bytes(got[len(ready) :])) == [b"a message"]


def test_a_certificate_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    def receive(listener: socket.socket) -> None:
        connected, _ = listener.accept()
        with connected, pytest.raises(OSError):  # noqa: PT011 - the other side breaks off
            context.wrap_socket(connected, server_side=True)

    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        thread = threading.Thread(target=receive, args=(listener,))
        thread.start()
        output = output_of(DnstapTarget("tls", None, "127.0.0.1", listener.getsockname()[1]))
        with pytest.raises(ReceiverError, match="certificate"):
            output.begin()
        thread.join()
