"""Where a request ends, in whatever pieces it comes; what is refused before it is parsed."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.http.refusals import RequestError
from xdpctl.http.transport.head import HEAD_MAX, BodyEnd, Head, end_of_head, read_head


def head(*lines: bytes, first: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join((first, b"Host: localhost", *lines, b"", b""))


def status(data: bytes) -> int:
    with pytest.raises(RequestError) as caught:
        read_head(data)
    return caught.value.status


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ((), 0),
        ((b"Content-Length: 10",), 10),
        ((b"transfer-encoding:  Chunked ",), None),
        ((b"X: \xff\xfe", b"Y:"), 0),
    ],
)
def test_a_head_says_where_its_request_ends(lines: tuple[bytes, ...], length: int | None) -> None:
    assert read_head(head(*lines)) == Head(head(*lines), length)


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 1", b"Content-Length: 1"),
        (b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        (b"Content-Length: +1",),
        (b"Content-Length: -1",),
        (b"Content-Length: 99999999999999999999",),
        (b"Content-Length:",),
        (b": x",),
        (b"X : y",),
        (b"X: a\0b",),
        (b"X: a\x1bb",),
        (b"Host: another",),
        (b"X: a", b" folded"),
        (b"no colon",),
        (b"X: a\nY: b",),
    ],
)
def test_headers_that_can_be_read_in_two_ways_are_400(lines: tuple[bytes, ...]) -> None:
    assert status(head(*lines)) == 400


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (b"CONNECT x HTTP/1.1", 405),
        (b"OPTIONS * HTTP/1.1", 400),
        (b"GET * HTTP/1.1", 400),
        (b"CONNECT localhost:80 HTTP/1.1", 405),
        (b"CONNECT http://localhost/ HTTP/1.1", 405),
        (b"GET localhost:80 HTTP/1.1", 400),
        (b"GET http:///metrics HTTP/1.1", 400),
        (b"GET http://root@localhost/metrics HTTP/1.1", 400),
        (b"GET http://local\\host/ HTTP/1.1", 400),
        (b"GET http://localhost:x/ HTTP/1.1", 400),
        (b"GET http://localhost#/ HTTP/1.1", 400),
        (b"GET http:/metrics HTTP/1.1", 400),
        (b"GET ftp://localhost/ HTTP/1.1", 400),
        (b"GET /?x=\xff HTTP/1.1", 400),
        (b"GET /\x80 HTTP/1.1", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTP/2.0", 400),
        (b"GET /", 400),
        (b"G\0T / HTTP/1.1", 400),
    ],
)
def test_a_first_line_that_asks_for_no_path_is_refused(first: bytes, expected: int) -> None:
    assert status(head(first=first)) == expected


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"http://127.0.0.1:9953/metrics", b"/metrics", b"127.0.0.1:9953"),
        (b"HTTPS://[::1]:9953/a?b=c", b"/a?b=c", b"[::1]:9953"),
        (b"http://localhost", b"/", b"localhost"),
        (b"http://localhost:?a", b"/?a", b"localhost:"),
        (b"http://evil.example//x", b"//x", b"evil.example"),
    ],
)
def test_a_url_as_the_target_is_its_path_and_its_authority_the_host(
    target: bytes, path: bytes, host: bytes
) -> None:
    found = read_head(head(b"X: y", first=b"GET " + target + b" HTTP/1.1"))
    assert found.text == b"GET " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\nX: y\r\n\r\n"


def test_a_url_as_the_target_still_needs_one_host_header() -> None:
    assert status(b"GET http://localhost/ HTTP/1.1\r\n\r\n") == 400
    found = read_head(b"GET http://localhost/ HTTP/1.0\r\n\r\n")
    assert found.text == b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"


def test_an_upgrade_is_taken_out_of_the_head() -> None:
    assert read_head(head(b"Upgrade: h2c", b"X: y")).text == head(b"X: y")


def test_only_http_1_0_goes_without_a_host() -> None:
    assert status(b"GET / HTTP/1.1\r\n\r\n") == 400
    assert read_head(b"GET / HTTP/1.0\r\n\r\n").length == 0


def test_lines_that_end_without_cr_are_400() -> None:
    data = b"GET / HTTP/1.1\nHost: localhost\n\n"
    assert end_of_head(data) == len(data)
    assert status(data) == 400


@given(st.binary(max_size=200))
def test_any_octets_are_a_head_or_refused_by_our_error(data: bytes) -> None:
    with suppress(RequestError):
        assert read_head(data).length is None or data.endswith(b"\r\n\r\n")


def test_a_head_without_an_end_has_none() -> None:
    assert end_of_head(b"GET / HTTP/1.1\r\nX: " + bytes(HEAD_MAX)) == 0


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.data())
def test_a_chunked_body_ends_at_its_end_in_whatever_pieces(
    chunks: list[bytes], data: st.DataObject
) -> None:
    text = b"".join(b"%x;a=b\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    text += b"0\r\nT: x\r\n\r\n"
    rest = text + b"GET / HTTP/1.1"
    body, taken = BodyEnd(None), 0
    while taken < len(rest) and not body.ended:
        size = data.draw(st.integers(1, 50))
        piece = rest[taken : taken + size]
        found = body.take(piece)
        assert found == len(piece) or body.ended
        taken += found
    assert body.ended
    assert taken == len(text)


@given(st.integers(0, 100), st.integers(1, 7))
def test_a_body_of_a_length_ends_there(length: int, size: int) -> None:
    body, taken = BodyEnd(length), 0
    while not body.ended:
        taken += body.take(b"x" * size)
    assert taken == length


@pytest.mark.parametrize(
    "data", [b"zz\r\n", b"\r\n", b"1\n", b"-1\r\n", b"0x1\r\n", b"1" * 2000, b"1" * 13 + b"\r\n"]
)
def test_chunks_without_a_size_are_refused(data: bytes) -> None:
    with pytest.raises(RequestError):
        BodyEnd(None).take(data)


def test_trailers_have_a_bound() -> None:
    body = BodyEnd(None)
    body.take(b"0\r\n")
    with pytest.raises(RequestError):
        body.take(b"X: y\r\n" * HEAD_MAX)
