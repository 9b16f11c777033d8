"""Who may do what on which listener; the token is read, compared and never shown."""

from __future__ import annotations

import logging
import os
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_backend import FakeBackend, Site, site
from xdpctl.errors import ListenError
from xdpctl.http.transport.access import Access, allowed, is_local
from xdpctl.http.transport.few import AT_ONCE, Few
from xdpctl.http.transport.secrets import Secrets
from xdpctl.http.transport.token import TOKEN_MIN, Token, read_token
from xdpctl.process.caller import CALLER, Caller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SECRET = "correct-horse-battery-staple"  # noqa: S105 - a test's
BEARER = {"Authorization": f"Bearer {SECRET}"}
WRONG = {"Authorization": "Bearer correct-horse-battery-stable"}
RULE = {"target": "192.0.2.1"}
READS = ("/api/v1/status", "/api/v1/history", "/api/v1/rules", "/api/v1/top", "/api/v1/export")
PUBLIC = ("/", "/metrics", "/healthz", "/readyz")
WRITES = (
    ("POST", "/api/v1/rules"),
    ("PUT", "/api/v1/rules?origin=api"),
    ("DELETE", "/api/v1/rules?target=192.0.2.1"),
    ("POST", "/api/v1/import?origin=api"),
    ("POST", "/api/v1/resize?map=qnames&entries=5000"),
    ("POST", "/api/v1/panic"),
    ("POST", "/api/v1/resume"),
    ("POST", "/api/v1/detach"),
    ("POST", "/api/v1/attach"),
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="xdpctl-") as name:
        yield Path(name)


@pytest.fixture
def token_file(folder: Path) -> Path:
    path = folder / "token"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
async def guarded(folder: Path, token_file: Path) -> AsyncIterator[Site]:
    """A service on loopback with a token."""
    async with site(folder, secrets=Secrets(token_file)) as served:
        yield served


@pytest.fixture
async def bare(folder: Path) -> AsyncIterator[Site]:
    """A service on loopback without one."""
    async with site(folder) as served:
        yield served


# --- the file -------------------------------------------------------------------------


def refused(path: Path) -> str:
    with pytest.raises(ListenError) as caught:
        read_token(path)
    assert SECRET not in caught.value.sentence
    return caught.value.sentence


@pytest.mark.parametrize("around", ["{}", "{}\n", "{}\r\n", "  {}  \n\n"])
def test_blank_space_around_a_token_is_no_part_of_it(token_file: Path, around: str) -> None:
    token_file.write_text(around.format(SECRET))
    assert read_token(token_file).matches(f"Bearer {SECRET}")


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o601, 0o666])
def test_a_file_that_everybody_may_use_is_refused(token_file: Path, mode: int) -> None:
    token_file.chmod(mode)
    assert f"{mode:04o}" in refused(token_file)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_owner_and_group_may_read_the_file(token_file: Path, mode: int) -> None:
    token_file.chmod(mode)
    assert read_token(token_file).matches(f"Bearer {SECRET}")


@pytest.mark.parametrize(
    "content",
    ["", "\n", "   \n", "x" * (TOKEN_MIN - 1), "two words here", "passwört-mit-ö", "a\0" * 9],
)
def test_what_can_be_no_token_is_refused(token_file: Path, content: str) -> None:
    token_file.write_text(content)
    assert "openssl rand" in refused(token_file)


def test_a_token_where_others_can_write_is_refused(folder: Path, token_file: Path) -> None:
    folder.chmod(0o777)
    assert "others can write to" in refused(token_file)


@pytest.mark.root
def test_a_token_of_another_user_is_refused(token_file: Path) -> None:
    os.chown(token_file, 65534, 65534)
    assert "belongs to user 65534" in refused(token_file)


def test_a_token_without_end_is_refused(token_file: Path) -> None:
    token_file.write_text("x" * 100_000)
    assert "4096" in refused(token_file)


def test_a_missing_file_is_named(folder: Path) -> None:
    assert str(folder / "none") in refused(folder / "none")


def test_a_pipe_is_refused_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe", 0o600)
    assert "regular file" in refused(folder / "pipe")


def test_a_directory_is_refused(folder: Path) -> None:
    assert str(folder) in refused(folder)


# --- the comparison -------------------------------------------------------------------


@pytest.mark.parametrize("header", [f"Bearer {SECRET}", f"bearer {SECRET}", f"BEARER  {SECRET} "])
def test_the_scheme_is_read_without_case(header: str) -> None:
    assert Token(SECRET.encode()).matches(header)


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", SECRET, f"Basic {SECRET}", f"Bearer {SECRET}x", "Bearer ö"],
)
def test_anything_else_is_not_the_token(header: str | None) -> None:
    assert not Token(SECRET.encode()).matches(header)


@given(st.text())
def test_no_text_but_the_token_matches(text: str) -> None:
    assert Token(SECRET.encode()).matches(f"Bearer {text}") == (text.strip(" ") == SECRET)


def test_a_token_shows_nothing_of_itself() -> None:
    assert SECRET not in f"{Token(SECRET.encode())!r} {Token(SECRET.encode())}"


# --- the rules ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("access", [Access.READS, Access.PUBLIC])
def test_over_tcp_nothing_but_reads_goes_without_the_token(access: Access, method: str) -> None:
    assert not allowed(access, method, "/metrics")


async def test_on_loopback_reads_need_no_token(guarded: Site) -> None:
    assert {(await guarded.ask("GET", path, tcp=True)).status for path in READS + PUBLIC} == {200}


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_a_write_without_the_token_is_refused(guarded: Site, method: str, path: str) -> None:
    answer = await guarded.ask(method, path, RULE, tcp=True)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "token" in answer.problem["detail"]
    assert guarded.backend.asked == []


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_a_write_with_a_wrong_token_is_refused(guarded: Site, method: str, path: str) -> None:
    assert (await guarded.ask(method, path, RULE, tcp=True, headers=WRONG)).status == 401
    assert guarded.backend.asked == []


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_the_control_socket_asks_for_no_token(guarded: Site, method: str, path: str) -> None:
    body: object = b"" if "import" in path else [RULE] if method == "PUT" else RULE
    if method == "DELETE" or path.rpartition("/")[2] in {"panic", "resume", "detach", "attach"}:
        body = None
    assert (await guarded.ask(method, path, body)).status == 200


async def test_with_the_token_rules_are_made_over_tcp(guarded: Site) -> None:
    assert (
        await guarded.ask("POST", "/api/v1/rules", RULE, tcp=True, headers=BEARER)
    ).status == 200
    assert [call[0] for call in guarded.backend.asked] == ["put"]


async def test_without_a_token_file_no_token_is_right(bare: Site) -> None:
    answer = await bare.ask("POST", "/api/v1/rules", RULE, tcp=True, headers=BEARER)
    assert answer.status == 401
    assert "--token-file" in answer.problem["detail"]


@pytest.mark.parametrize("path", PUBLIC)
async def test_beyond_loopback_metrics_and_health_are_public(folder: Path, path: str) -> None:
    async with site(folder, host="0.0.0.0") as served:  # noqa: S104 - to be seen as such
        assert (await served.ask("GET", path, tcp=True)).status == 200


@pytest.mark.parametrize("path", [*READS, "/api/v1/openapi.json", "/nowhere", "/metrics/x"])
async def test_beyond_loopback_all_else_needs_the_token(folder: Path, path: str) -> None:
    async with site(folder, host="0.0.0.0") as served:  # noqa: S104 - to be seen as such
        assert (await served.ask("GET", path, tcp=True)).status == 401


async def test_a_path_is_not_made_public_by_another_spelling(folder: Path) -> None:
    async with site(folder, host="0.0.0.0") as served:  # noqa: S104 - to be seen as such
        for path in ("//metrics", "/metrics/../api/v1/rules", "/%6detrics/../api/v1/rules"):
            head = await served.raw(
                f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), tcp=True
            )
            assert b"192.0.2.1" not in head


# --- before the body ------------------------------------------------------------------

UPLOAD = (
    b"POST /api/v1/rules HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n%s"
    b"Expect: 100-continue\r\n\r\n"
)


@pytest.mark.parametrize("given", [b"", b"Authorization: Bearer wrong-wrong-wrong\r\n"])
async def test_a_body_is_not_asked_for_without_the_token(guarded: Site, given: bytes) -> None:
    said = await guarded.raw(UPLOAD % given, tcp=True)
    assert said.startswith(b"HTTP/1.1 401 ")
    assert b"100 Continue" not in said
    assert b"Connection: close" in said


async def test_a_body_is_asked_for_with_the_token(guarded: Site) -> None:
    bearer = b"Authorization: Bearer %s\r\n" % SECRET.encode()
    async with guarded.connection(tcp=True) as (reader, writer):
        writer.write((UPLOAD % bearer).replace(b"1000000", b"22"))
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        writer.write(b'{"target":"192.0.2.1"}')
        assert b"HTTP/1.1 200 OK" in await reader.readuntil(b"200 OK\r\n")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"POST /nowhere", b"404"),
        (b"PATCH /api/v1/rules", b"405"),
        (b"POST /api/v1/rules?what=1", b"422"),
        (b"PUT /api/v1/rules", b"400"),
    ],
)
async def test_a_body_is_not_asked_for_where_nobody_wants_it(
    bare: Site, request_line: bytes, status: bytes
) -> None:
    text = UPLOAD.replace(b"POST /api/v1/rules", request_line) % b"Connection: close\r\n"
    said = await bare.raw(text)
    assert said.startswith(b"HTTP/1.1 " + status)


# --- names of other hosts -------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "LOCALHOST:9953",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:9953",
        "[::1]:9953",
        "192.0.2.1",
        "[fe80::1%eth0]:1",
    ],
)
def test_addresses_and_localhost_are_local(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example",
        "attacker.example:9953",
        "127.0.0.1.attacker.example",
        "localhost.example",
        "localhost:x",
        "127.0.0.1@attacker.example",
        "[::1",
        "127.1.example:53",
        "0x7f000001",
    ],
)
def test_names_of_others_are_not(host: str) -> None:
    assert not is_local(host)


@given(st.text())
def test_any_host_header_is_local_or_not(host: str) -> None:
    assert is_local(host) in (True, False)


@pytest.mark.parametrize("path", ["/api/v1/rules", "/metrics"])
async def test_a_page_led_here_under_its_own_name_reads_nothing(bare: Site, path: str) -> None:
    answer = await bare.ask("GET", path, tcp=True, headers={"Host": "attacker.example"})
    assert answer.status == 421
    assert "attacker.example" in answer.problem["detail"]


async def test_the_token_shows_that_a_name_is_meant(guarded: Site) -> None:
    headers = {"Host": "ns1.example", **BEARER}
    assert (await guarded.ask("GET", "/api/v1/rules", tcp=True, headers=headers)).status == 200


async def test_beyond_loopback_any_name_is_good(folder: Path) -> None:
    async with site(folder, host="0.0.0.0") as served:  # noqa: S104 - to be seen as such
        headers = {"Host": "ns1.example"}
        assert (await served.ask("GET", "/metrics", tcp=True, headers=headers)).status == 200


# --- never shown ----------------------------------------------------------------------


async def test_no_log_and_no_answer_shows_a_token(
    guarded: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    guarded.backend.failure = RuntimeError("a bug")
    seen = b""
    for headers in (BEARER, WRONG, {"Authorization": f"Basic {SECRET}"}):
        for path in ("/api/v1/rules", "/nowhere", "/api/v1/rules?x=1"):
            seen += (await guarded.ask("POST", path, RULE, tcp=True, headers=headers)).body
    seen += await guarded.raw(
        b"GET / HTTP/1.1\r\nAuthorization: Bearer %s\x01\r\n\r\n" % SECRET.encode(), tcp=True
    )
    shown = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert SECRET not in shown
    assert SECRET.encode() not in seen
    assert "stable" not in shown + seen.decode()


def rewrite(path: Path, content: str, mode: int = 0o600) -> None:
    path.write_text(content)
    path.chmod(mode)


# --- another token --------------------------------------------------------------------


async def test_a_reload_takes_over_another_token(guarded: Site, token_file: Path) -> None:
    rewrite(token_file, "another-token-altogether")
    await guarded.listeners.reload()
    other = {"Authorization": "Bearer another-token-altogether"}
    assert (await guarded.ask("POST", "/api/v1/panic", tcp=True, headers=BEARER)).status == 401
    assert (await guarded.ask("POST", "/api/v1/panic", tcp=True, headers=other)).status == 200


async def test_a_reload_that_fails_leaves_the_token_in_force(
    guarded: Site, token_file: Path
) -> None:
    rewrite(token_file, SECRET, mode=0o644)
    with pytest.raises(ListenError):
        await guarded.listeners.reload()
    assert (await guarded.ask("POST", "/api/v1/panic", tcp=True, headers=BEARER)).status == 200


async def test_a_bad_token_file_stops_the_start_with_nothing_bound(
    folder: Path, token_file: Path
) -> None:
    rewrite(token_file, SECRET, mode=0o644)
    async with AsyncExitStack() as stack:
        with pytest.raises(ListenError, match="0644"):
            await stack.enter_async_context(site(folder, secrets=Secrets(token_file)))
    assert not (folder / "c.sock").exists()


# --- who asked, and refused tokens ------------------------------------------------------------


def refusals(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    """Return the fields of the lines about refused tokens."""
    return [
        vars(line)["xdpctl_fields"]
        for line in caplog.records
        if line.getMessage() == "token-refused"
    ]


class Asking(FakeBackend):
    """A backend that remembers who asked."""

    async def set_panic(self, *, panic: bool) -> bool:
        assert panic
        self.asked.append(CALLER.get())
        return True


async def test_a_request_on_the_control_socket_is_its_process(folder: Path) -> None:
    async with site(folder, backend=Asking()) as served:
        await served.ask("POST", "/api/v1/panic", headers={"User-Agent": "curl/7.88"})
        assert served.backend.asked == [Caller(uid=os.getuid(), pid=os.getpid(), agent="curl/7.88")]


async def test_a_request_with_the_token_is_the_name_of_its_file(
    folder: Path, token_file: Path
) -> None:
    async with site(folder, secrets=Secrets(token_file), backend=Asking()) as served:
        await served.ask("POST", "/api/v1/panic", tcp=True, headers=BEARER)
        assert served.backend.asked == [Caller(token=token_file.name, address="127.0.0.1")]


async def test_a_refused_token_is_a_line_without_the_token(
    guarded: Site, caplog: pytest.LogCaptureFixture
) -> None:
    await guarded.ask("POST", "/api/v1/panic", tcp=True, headers=WRONG)
    (fields,) = refusals(caplog)
    assert (fields["address"], fields["path"]) == ("127.0.0.1", "/api/v1/panic")
    assert WRONG["Authorization"].split()[1] not in str(fields)


async def test_a_right_token_and_none_at_all_are_no_line(
    guarded: Site, caplog: pytest.LogCaptureFixture
) -> None:
    await guarded.ask("POST", "/api/v1/panic", tcp=True, headers=BEARER)
    await guarded.ask("POST", "/api/v1/panic", tcp=True)
    await guarded.ask("GET", "/metrics", tcp=True)
    assert refusals(caplog) == []


def test_a_storm_of_refused_tokens_is_few_lines_and_a_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    few = Few("token-refused", lambda: now[0])
    for _ in range(1_000):
        few.note(address="192.0.2.1")
    assert len(refusals(caplog)) == AT_ONCE
    now[0] = 61.0
    few.note(address="192.0.2.1")
    assert refusals(caplog)[-1]["left_out"] == 1_000 - AT_ONCE
