"""Both ends of the loader's socket, without a kernel: what is sent, answered and said of an end."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from tests.support.descriptors import none_left_open
from tests.support.kernel_contract import PASS_PROGRAM
from xdpctl.errors import KernelError
from xdpctl.kernel.bpf.kind import ProgramKind
from xdpctl.kernel.bpf.loader import LoadRefusedError
from xdpctl.program.loader import parent as loader_module
from xdpctl.program.loader.messages import ANSWER, LOADED, MAPS_MOST, REQUEST, answer, request
from xdpctl.program.loader.parent import Loader
from xdpctl.program.loader.process import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.program.loader.process import Load


class Pretended:
    """A process that has ended when its side says so, with a status."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.ended = threading.Event()
        self.killed = False

    def poll(self) -> int | None:
        return self.status if self.ended.is_set() else None

    def wait(self, timeout: float | None = None) -> int:
        if not self.ended.wait(timeout):
            raise subprocess.TimeoutExpired("loader", timeout or 0)
        return self.status or 0

    def kill(self) -> None:
        self.killed = True
        self.end(-9)

    def end(self, status: int) -> None:
        self.status = status
        self.ended.set()


class Pair:
    """A loader in this process, whose loads are pretended."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.process = Pretended()
        self.loader = Loader(ours, cast("subprocess.Popen[bytes]", self.process))
        self.loads: list[tuple[bytes, bytes]] = []
        self.kinds: list[int] = []
        self.thread: threading.Thread | None = None

    def serve(self, load_one: Load) -> None:
        """Serve on a thread."""

        def noted(name: bytes, instructions: bytes, kind: int) -> tuple[int, bytes]:
            self.loads.append((name, instructions))
            self.kinds.append(kind)
            return load_one(name, instructions, kind)

        def run() -> None:
            with self.theirs:
                serve(self.theirs, noted)
            self.process.end(0)

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def close(self) -> None:
        self.theirs.close()
        if self.thread is None:
            self.process.end(0)
        self.loader.close()
        if self.thread is not None:
            self.thread.join()


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr(loader_module, "_END_SECONDS", 0.1)
    made = Pair()
    yield made
    made.process.ended.set()
    made.close()


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def loads_this_file(*_: object) -> tuple[int, bytes]:
    return os.open(__file__, os.O_RDONLY | os.O_CLOEXEC), b""


def map_load(fd: int) -> bytes:
    return struct.pack("=BBhi", 0x18, 0x11, 0, fd) + bytes(8)


def test_a_program_comes_back_as_a_descriptor(pair: Pair) -> None:
    pair.serve(loads_this_file)
    fd, log = pair.loader.load(b"filter", PASS_PROGRAM)
    try:
        assert os.path.samestat(os.fstat(fd), os.stat(__file__))  # noqa: PTH116
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)
    assert (log, pair.loads) == (b"", [(b"filter", PASS_PROGRAM)])
    assert pair.loader.trouble == ""


@pytest.mark.parametrize("kind", ProgramKind)
def test_a_program_is_loaded_as_what_was_asked_for(pair: Pair, kind: ProgramKind) -> None:
    pair.serve(loads_this_file)
    os.close(pair.loader.load(b"p", PASS_PROGRAM, kind)[0])
    assert pair.kinds == [kind]


def test_a_program_of_one_kind_has_none_of_the_others_helpers(pair: Pair) -> None:
    pair.serve(loads_this_file)
    redirects = struct.pack("=BBhi", 0x85, 0, 0, 51) + PASS_PROGRAM
    os.close(pair.loader.load(b"p", redirects, ProgramKind.XDP)[0])
    with pytest.raises(LoadRefusedError, match="calls helper 51"):
        pair.loader.load(b"p", redirects, ProgramKind.TEST_RUN)


def test_maps_go_along_under_descriptors_of_the_loaders(pair: Pair) -> None:
    seen: list[bool] = []

    def look(_: bytes, instructions: bytes, _kind: int) -> tuple[int, bytes]:
        (fd,) = struct.unpack_from("=i", instructions, 4)
        seen.append(os.path.samestat(os.fstat(fd), os.fstat(held.fileno())))
        seen.append(fd != held.fileno())
        return -errno.EPERM, b""

    pair.serve(look)
    with open("/proc/self/status", encoding="ascii") as held, none_left_open():  # noqa: PTH123
        assert pair.loader.load(b"p", map_load(held.fileno()) + PASS_PROGRAM)[0] == -errno.EPERM
    assert seen == [True, True]


def test_the_kernels_refusal_comes_back_with_the_log(pair: Pair) -> None:
    pair.serve(lambda *_: (-errno.EACCES, b"R2 !read_ok"))
    assert pair.loader.load(b"p", PASS_PROGRAM) == (-errno.EACCES, b"R2 !read_ok")


def test_what_is_no_program_of_ours_never_reaches_the_kernel(pair: Pair) -> None:
    pair.serve(loads_this_file)
    with none_left_open():
        with pytest.raises(LoadRefusedError, match="calls helper 113"):
            pair.loader.load(b"p", struct.pack("=BBhi", 0x85, 0, 0, 113) + PASS_PROGRAM)
        assert pair.loads == []
    assert pair.loader.trouble == ""
    os.close(pair.loader.load(b"p", PASS_PROGRAM)[0])


def test_more_maps_than_can_be_sent_are_refused(pair: Pair) -> None:
    program = b"".join(map_load(fd) for fd in range(MAPS_MOST + 1))
    with pytest.raises(LoadRefusedError, match="65 maps"):
        pair.loader.load(b"p", program)


def test_a_large_program_goes_through(pair: Pair) -> None:
    pair.serve(loads_this_file)
    program = bytes(8) * 60_000 + PASS_PROGRAM
    os.close(pair.loader.load(b"p", program)[0])
    assert pair.loads == [(b"p", program)]


@pytest.mark.parametrize(
    "data",
    [
        bytes(REQUEST.size),
        request(b"p", PASS_PROGRAM, 1, ProgramKind.XDP),  # without that map
        request(b"p", PASS_PROGRAM, 0, ProgramKind.XDP)[:-1],
        request(b"p", PASS_PROGRAM, 0, 2),  # of a kind that is not ours
        b"x",
    ],
)
def test_whoever_does_not_keep_to_the_messages_ends_the_loader(pair: Pair, data: bytes) -> None:
    pair.serve(loads_this_file)
    ours = pair.loader._connection
    ours.sendall(data)
    ours.shutdown(socket.SHUT_WR)
    with suppress(ConnectionResetError):  # it has not read all of it
        assert ours.recv(1) == b""
    assert pair.loads == []


def test_descriptors_that_were_not_asked_for_are_closed(pair: Pair) -> None:
    pair.serve(loads_this_file)
    with none_left_open():
        with open("/dev/null", encoding="ascii") as null:  # noqa: PTH123
            socket.send_fds(pair.loader._connection, [bytes(REQUEST.size)], [null.fileno()] * 3)
            assert pair.loader._connection.recv(1) == b""
        assert pair.thread is not None
        pair.thread.join()


def test_its_end_is_one_sentence_and_stays(pair: Pair) -> None:
    pair.theirs.close()
    pair.process.end(-signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(KernelError, match=r"was ended by SIGKILL.*: restart the service"):
            pair.loader.load(b"filter", PASS_PROGRAM)
    assert "was ended by SIGKILL; attached programs keep filtering" in pair.loader.trouble


@pytest.mark.parametrize(("status", "how"), [(1, "has ended (status 1)"), (-99, "(status -99)")])
def test_how_it_ended_is_said(pair: Pair, status: int, how: str) -> None:
    pair.process.end(status)
    assert how in pair.loader.trouble


def test_one_that_does_not_answer_is_given_up(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.loader._connection.settimeout(0.05)
    with pytest.raises(KernelError, match=r"does not answer.*: restart the service"):
        pair.loader.load(b"p", PASS_PROGRAM)
    monkeypatch.undo()
    assert "does not answer" in pair.loader.trouble
    pair.loader.close()
    assert pair.process.killed


@pytest.mark.parametrize(
    "said",
    [
        b"",
        bytes(ANSWER.size),
        answer(LOADED),  # and no descriptor
        answer(1, 13, b"log")[:-1],
        answer(1, 13)[:5],
    ],
)
def test_an_answer_that_is_none_is_an_end(pair: Pair, said: bytes) -> None:
    pair.theirs.sendall(said)
    pair.theirs.shutdown(socket.SHUT_WR)
    refused = pytest.raises(KernelError, match="cannot load program p: Broken pipe")
    with none_left_open(), refused:
        pair.loader.load(b"p", PASS_PROGRAM)


def test_a_descriptor_that_comes_with_a_refusal_is_closed(pair: Pair) -> None:
    socket.send_fds(pair.theirs, [answer(1, 13)], [0])
    with none_left_open(), pytest.raises(KernelError):
        pair.loader.load(b"p", PASS_PROGRAM)


def test_where_none_can_be_started_one_sentence_says_so() -> None:
    def spawn(*_: object, **__: object) -> subprocess.Popen[bytes]:
        raise OSError(errno.EAGAIN, "no")

    refused = pytest.raises(KernelError, match="cannot start the process that loads programs")
    with none_left_open(), refused:
        Loader.start(spawn)
