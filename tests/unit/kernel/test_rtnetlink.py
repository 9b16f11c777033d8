"""Framing of rtnetlink: messages, errors and their reasons, without a kernel."""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.kernel.net import rtnetlink

if TYPE_CHECKING:
    from collections.abc import Iterator

ERROR, DONE, NEWLINK = 2, 3, 16
MULTI = 2


def message(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    """Return a message with header and padding."""
    length = 16 + len(body)
    return struct.pack("=IHHII", length, kind, flags, 1, 0) + body + bytes(-length % 4)


def refusal(number: int, reason: str = "") -> bytes:
    """Return an error message as a socket with capped acknowledgements gets it."""
    text = reason.encode() + b"\0"
    attributes = struct.pack("=HHI", 8, 2, 0)  # an offset, which nobody reads
    attributes += struct.pack("=HH", 4 + len(text), 1) + text + bytes(-len(text) % 4)
    return message(ERROR, struct.pack("=i16x", -number) + (attributes if reason else b""))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Return the kernel's end of the socket: what is sent there is the answer."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    monkeypatch.setattr(rtnetlink, "open_socket", lambda *_, **__: ours.dup())
    with ours, theirs:
        yield theirs


@given(st.lists(st.tuples(st.integers(16, 100), st.integers(0, 3), st.binary(max_size=40))))
def test_what_was_put_together_is_split_again(parts: list[tuple[int, int, bytes]]) -> None:
    data = b"".join(message(kind, body, flags) for kind, flags, body in parts)
    found = [(kind, flags, raw[16:]) for kind, flags, raw in rtnetlink.split(data)]
    assert found == parts


@given(st.binary(max_size=200))
def test_any_bytes_are_split_into_an_end(data: bytes) -> None:
    assert sum(len(raw) for _, _, raw in rtnetlink.split(data)) <= len(data)


def test_a_message_that_was_cut_off_is_left_out() -> None:
    whole = message(NEWLINK, b"body")
    assert [raw for _, _, raw in rtnetlink.split(whole + whole[:-1])] == [whole]


@pytest.mark.parametrize("data", [b"", bytes(15), bytes(16), struct.pack("=IHHII", 8, 1, 0, 0, 0)])
def test_what_has_no_whole_header_is_no_message(data: bytes) -> None:
    assert list(rtnetlink.split(data)) == []


def test_an_answer_that_is_one_message_ends_with_it(kernel: socket.socket) -> None:
    kernel.send(message(NEWLINK, b"body"))
    assert rtnetlink.converse(b"?") == [(NEWLINK, message(NEWLINK, b"body"))]


def test_a_dump_ends_with_done(kernel: socket.socket) -> None:
    part = message(NEWLINK, b"part", MULTI)
    kernel.send(part + part)
    kernel.send(part)
    kernel.send(message(DONE, bytes(4), MULTI))
    assert rtnetlink.converse(b"?") == [(NEWLINK, part)] * 3


def test_a_dump_that_fails_at_its_end_is_refused(kernel: socket.socket) -> None:
    kernel.send(message(DONE, struct.pack("=i", -errno.EMSGSIZE), MULTI))
    with pytest.raises(rtnetlink.RefusedError) as caught:
        rtnetlink.converse(b"?")
    assert caught.value.number == errno.EMSGSIZE


def test_a_done_without_a_number_is_an_end(kernel: socket.socket) -> None:
    kernel.send(message(DONE, b"", MULTI))
    assert rtnetlink.converse(b"?") == []


def test_an_acknowledgement_is_an_empty_answer(kernel: socket.socket) -> None:
    kernel.send(refusal(0))
    assert rtnetlink.converse(b"?") == []


@pytest.mark.parametrize("reason", ["", "Peer MTU is too large to set XDP", "x"])
def test_a_refusal_carries_errno_and_the_kernels_words(kernel: socket.socket, reason: str) -> None:
    kernel.send(refusal(errno.ERANGE, reason))
    with pytest.raises(rtnetlink.RefusedError) as caught:
        rtnetlink.converse(b"?")
    assert (caught.value.number, caught.value.reason) == (errno.ERANGE, reason)


def test_a_refusal_with_a_broken_attribute_has_no_words(kernel: socket.socket) -> None:
    body = struct.pack("=i16xHH", -errno.EINVAL, 2, 1)
    kernel.send(message(ERROR, body))
    with pytest.raises(rtnetlink.RefusedError) as caught:
        rtnetlink.converse(b"?")
    assert caught.value.reason == ""


def test_a_socket_that_breaks_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    theirs.close()
    monkeypatch.setattr(rtnetlink, "open_socket", lambda *_, **__: ours)
    with pytest.raises(rtnetlink.RefusedError) as caught:
        rtnetlink.converse(b"?")
    assert caught.value.number == errno.ECONNREFUSED
    assert ours.fileno() == -1


def test_an_option_that_is_refused_closes_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(socket.socket):
        """A socket of a kernel that lacks the option."""

        def setsockopt(self, *_: object) -> None:
            made.append(self)
            raise OSError(errno.ENOPROTOOPT, "")

    made: list[Refusing] = []
    monkeypatch.setattr(socket, "socket", Refusing)
    with pytest.raises(rtnetlink.RefusedError) as caught:
        rtnetlink.open_socket()
    assert (caught.value.number, made[0].fileno()) == (errno.ENOPROTOOPT, -1)


def test_draining_goes_on_through_overruns_until_nothing_waits() -> None:
    answers: list[Exception | bytes] = [
        b"old news",
        OSError(errno.ENOBUFS, ""),
        b"more",
        BlockingIOError(),
        b"kept",
    ]

    class Full(socket.socket):
        """A socket that gives these answers."""

        def recv(self, *_: object) -> bytes:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    with Full() as channel:
        rtnetlink.drain(channel)
    assert answers == [b"kept"]


def test_draining_ends_when_the_socket_broke() -> None:
    class Broken(socket.socket):
        """A socket whose network is gone."""

        def recv(self, *_: object) -> bytes:
            raise OSError(errno.ENETDOWN, "")

    with Broken() as channel, pytest.raises(OSError, match=r"\[Errno 100\]"):
        rtnetlink.drain(channel)
