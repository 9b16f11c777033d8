"""The client of the control socket: an answer, or one sentence and the right exit status."""

from __future__ import annotations

import grp
import os
import socket
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from xdpctl.cli.client import PAGE, Client
from xdpctl.errors import (
    ConflictError,
    NotFoundError,
    ServiceUnreachableError,
    UsageError,
    XdpctlError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.fake_service import FakeService


@pytest.fixture
def client(service: FakeService) -> Client:
    return Client(service.path)


@contextmanager
def listener(path: Path, answer: bytes | None) -> Iterator[None]:
    """Take one connection; send these bytes and close, or with None keep silent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done = threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                if answer is None:
                    done.wait(10)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            path.unlink()


def test_a_document_is_returned(service: FakeService, client: Client) -> None:
    service.answer("GET", "/api/v1/status", {"ready": True})

    assert client.get("/api/v1/status") == {"ready": True}


def test_a_query_is_encoded(service: FakeService, client: Client) -> None:
    service.answer("GET", "/x", {})
    client.get("/x", {"target": "2001:db8::/32 &?"})

    assert service.requests[0].query == [("target", "2001:db8::/32 &?")]


def test_a_parameter_can_be_repeated(service: FakeService, client: Client) -> None:
    service.answer("DELETE", "/x", {})
    client.delete("/x", [("target", "a"), ("target", "b")])

    assert service.requests[0].query == [("target", "a"), ("target", "b")]


def test_a_body_is_sent_as_json(service: FakeService, client: Client) -> None:
    service.answer("POST", "/x", {})
    client.post("/x", [{"reason": "ü"}])

    assert service.requests[0].body == [{"reason": "ü"}]


def test_a_post_may_have_no_body(service: FakeService, client: Client) -> None:
    service.answer("POST", "/x", {})
    client.post("/x")

    assert service.requests[0].body is None


def test_pages_are_followed_to_the_end(service: FakeService, client: Client) -> None:
    for rules, following in (([{"n": 1}], "c1"), ([{"n": 2}], "c2"), ([{"n": 3}], None)):
        service.answer("GET", "/api/v1/rules", {"rules": rules, "next": following})

    assert [rule["n"] for page in client.rules({"map": "qnames"}) for rule in page] == [1, 2, 3]
    assert [dict(request.query) for request in service.requests] == [
        {"map": "qnames", "limit": str(PAGE)},
        {"map": "qnames", "limit": str(PAGE), "cursor": "c1"},
        {"map": "qnames", "limit": str(PAGE), "cursor": "c2"},
    ]


def test_an_absent_socket_is_no_service(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnreachableError, match=r"no service answers on .*absent") as caught:
        Client(tmp_path / "absent").get("/")
    assert caught.value.exit_status == 3


def test_a_socket_that_a_dead_service_left_is_no_service(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
    with pytest.raises(ServiceUnreachableError, match="Connection refused"):
        Client(path).get("/")


def test_a_path_too_long_for_a_socket_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="at most 107 bytes"):
        Client(Path("/" + "x" * 107)).get("/")


def test_a_parameter_that_is_not_utf_8_is_a_usage_error(client: Client) -> None:
    with pytest.raises(UsageError, match="it is not UTF-8"):
        client.get("/api/v1/rules", {"target": "\udcff.example"})


def test_the_path_of_a_socket_may_have_any_octet(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnreachableError):
        Client(tmp_path / "\udcff").get("/")


def test_what_cannot_be_connected_to_is_said(tmp_path: Path) -> None:
    path = tmp_path / "d"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(str(path))
        with pytest.raises(
            XdpctlError, match=r"cannot talk to the service on .*wrong type"
        ) as failure:
            Client(path).get("/")
    assert failure.value.exit_status == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFoundError), (409, ConflictError), (422, XdpctlError)]
)
def test_a_problem_becomes_an_error_of_its_kind(
    service: FakeService, client: Client, status: int, kind: type[XdpctlError]
) -> None:
    service.refuse("GET", "/x", status, detail="it is so")
    with pytest.raises(kind, match=r"^it is so$") as caught:
        client.get("/x")
    assert caught.value.exit_status == 1


def test_the_offending_text_is_in_the_sentence(service: FakeService, client: Client) -> None:
    service.refuse("GET", "/x", 422, detail="it cannot be", field="reason", text="bad\ttext")
    with pytest.raises(XdpctlError) as caught:
        client.get("/x")
    assert caught.value.sentence == "it cannot be (reason: bad\ttext)"


def test_a_long_text_is_not_said_again(service: FakeService, client: Client) -> None:
    service.refuse("GET", "/x", 422, detail="cannot read 'aaa…'", text="a" * 20_000)
    with pytest.raises(XdpctlError) as caught:
        client.get("/x")
    assert len(caught.value.sentence) < 100


def test_the_offending_text_is_not_said_twice(service: FakeService, client: Client) -> None:
    service.refuse("GET", "/x", 422, detail="cannot read 'bad'", field="reason", text="bad")
    with pytest.raises(XdpctlError) as caught:
        client.get("/x")
    assert caught.value.sentence == "cannot read 'bad'"


def test_a_problem_without_detail_is_named_by_its_title(
    service: FakeService, client: Client
) -> None:
    service.refuse("GET", "/x", 503)
    with pytest.raises(XdpctlError, match=r"the service refused \(503: Refused\)"):
        client.get("/x")
    assert len(service.requests) == 1


def test_a_service_that_is_busy_is_asked_again(
    service: FakeService, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xdpctl.cli.client._BUSY_SECONDS", 0.0)
    for _ in range(3):
        service.refuse("GET", "/x", 503, detail="too many reads", code="busy")
    service.answer("GET", "/x", {"a": 1})
    assert client.get("/x") == {"a": 1}
    service.refuse("GET", "/y", 503, detail="too many reads", code="busy")
    with pytest.raises(XdpctlError, match="too many reads"):
        client.get("/y")


@pytest.mark.parametrize("content", [b"<html>", b"[1]", b"\xff"])
def test_another_servers_answer_is_told_from_ours(
    service: FakeService, client: Client, content: bytes
) -> None:
    service.answer("GET", "/x", content)
    with pytest.raises(XdpctlError, match=r"the program that answers on .* is not xdpctl"):
        client.get("/x")


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]
)
def test_a_broken_answer_is_an_error_of_ours(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "s"
    with listener(path, answer), pytest.raises(XdpctlError, match="closed the connection"):
        Client(path).get("/")


def test_a_refusal_before_the_body_was_read_is_still_heard(tmp_path: Path) -> None:
    path = tmp_path / "s"
    problem = b'{"detail": "too much"}'
    answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: %d\r\n\r\n%s" % (len(problem), problem)
    with (
        listener(path, answer),
        pytest.raises(XdpctlError, match=r"too much|closed the connection"),
    ):
        Client(path).post("/", "x" * 5_000_000)


def test_a_service_that_hangs_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listener(path, None), pytest.raises(XdpctlError, match=r"did not answer within 0\.1 s"):
        Client(path, timeout=0.1).get("/")


class Forbidden(socket.socket):
    """A socket that may not connect."""

    def connect(self, address: object) -> None:
        raise PermissionError(13, "Permission denied", address)


def refused(
    monkeypatch: pytest.MonkeyPatch, client: Client, look: Callable[[Path], tuple[int, int]]
) -> str:
    """Return the sentence of a client that may not connect; `look` gives mode and group."""

    def stat(path: Path, **_: bool) -> os.stat_result:
        mode, group = look(path)
        return os.stat_result((mode, 0, 0, 0, 0, group, 0, 0, 0, 0))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", stat)
        patched.setattr("socket.socket", Forbidden)
        with pytest.raises(XdpctlError) as caught:
            client.get("/")
    assert caught.value.exit_status == 1
    return caught.value.sentence


@pytest.mark.parametrize(
    ("mode", "group", "who"),
    [
        (0o660, 4_000_000_000, "only root and the members of group 4000000000 can use it"),
        (0o660, 0, "only root can use it"),
        (0o600, 4_000_000_000, "only root can use it"),
    ],
)
def test_without_permission_it_is_said_who_may(
    client: Client, monkeypatch: pytest.MonkeyPatch, mode: int, group: int, who: str
) -> None:
    sentence = refused(monkeypatch, client, lambda _: (mode, group))

    assert f"permission denied; {who}" in sentence


def test_a_group_is_named(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    known = grp.getgrall()[-1]
    sentence = refused(monkeypatch, client, lambda _: (0o660, known.gr_gid))

    assert f"members of group {known.gr_name} can use it" in sentence


def test_the_directory_is_looked_at_where_the_socket_cannot_be(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = grp.getgrall()[-1]

    def look(path: Path) -> tuple[int, int]:
        if path == client.path:
            raise PermissionError(13, "Permission denied", str(path))
        return 0o750, known.gr_gid

    assert f"members of group {known.gr_name} can use it" in refused(monkeypatch, client, look)


def test_where_nothing_may_be_looked_at_only_root_is_named(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(path: Path) -> tuple[int, int]:
        raise PermissionError(13, "Permission denied", str(path))

    assert "only root can use it" in refused(monkeypatch, client, look)
