"""TLS of the TCP listener: what is served, which files are refused, another certificate."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import tempfile
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
import trustme

from tests.support.fake_backend import Site, site
from xdpctl.errors import ListenError
from xdpctl.http.listeners import import_application
from xdpctl.http.transport.admission import TCP_MAX
from xdpctl.http.transport.gate import Patience
from xdpctl.http.transport.secrets import Secrets
from xdpctl.http.transport.tls import server_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

CA = trustme.CA()
PASSPHRASE = "pass:not-a-secret"  # noqa: S105 - a test's


def issue(folder: Path, authority: trustme.CA = CA) -> Secrets:
    """Write a certificate for 127.0.0.1 and its key."""
    issued = authority.issue_cert("127.0.0.1")
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.touch(mode=0o600)
    key.write_bytes(issued.private_key_pem.bytes())
    return Secrets(None, cert, key)


def trusting(authority: trustme.CA = CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="xdpctl-") as name:
        yield Path(name)


@pytest.fixture
def files(folder: Path) -> Secrets:
    return issue(folder)


@pytest.fixture
async def served(folder: Path, files: Secrets) -> AsyncIterator[Site]:
    async with site(folder, secrets=files) as serving:
        yield serving


def refused(secrets: Secrets) -> str:
    assert secrets.tls_cert is not None
    assert secrets.tls_key is not None
    with pytest.raises(ListenError) as caught:
        server_context(secrets.tls_cert, secrets.tls_key)
    assert "\n" not in caught.value.sentence
    return caught.value.sentence


def remove(path: Path) -> None:
    path.unlink()


def spoil(path: Path) -> None:
    path.write_text("nonsense")


def is_socket(path: Path) -> bool:
    return path.is_socket()


async def test_the_api_is_served_under_the_certificate(served: Site) -> None:
    answer = await served.ask("GET", "/api/v1/status", tcp=True, tls=trusting())
    assert answer.status == 200


async def test_a_client_that_does_not_trust_it_is_not_talked_to(served: Site) -> None:
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await served.ask("GET", "/healthz", tcp=True, tls=trusting(trustme.CA()))


async def test_nothing_is_served_in_the_clear_beside_it(served: Site) -> None:
    assert b"HTTP" not in await served.raw(b"GET /healthz HTTP/1.0\r\n\r\n", tcp=True)


async def test_the_control_socket_stays_as_it_is(served: Site) -> None:
    assert (await served.ask("GET", "/healthz")).status == 200


def test_versions_before_1_2_are_refused(files: Secrets) -> None:
    assert files.tls_cert is not None
    assert files.tls_key is not None
    context = server_context(files.tls_cert, files.tls_key)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("which", ["tls_cert", "tls_key"])
def test_a_missing_file_is_named_with_its_option(files: Secrets, which: str) -> None:
    path = Path("/nonexistent.pem")
    missing = replace(files, tls_cert=path) if which == "tls_cert" else replace(files, tls_key=path)
    assert f"--{which.replace('_', '-')} /nonexistent.pem" in refused(missing)


@pytest.mark.parametrize("which", ["cert.pem", "key.pem"])
def test_a_file_that_is_not_pem_is_refused(folder: Path, files: Secrets, which: str) -> None:
    (folder / which).write_text("nonsense")
    assert "PEM" in refused(files)


def test_a_key_of_another_certificate_is_refused(folder: Path, files: Secrets) -> None:
    other = CA.issue_cert("127.0.0.1").private_key_pem.bytes()
    (folder / "key.pem").write_bytes(other)
    assert "belong together" in refused(files)


def test_a_key_with_a_passphrase_is_refused_and_none_asked_for(
    folder: Path, files: Secrets
) -> None:
    plain = (folder / "key.pem").read_bytes()
    command = ["openssl", "pkey", "-aes256", "-passout", PASSPHRASE]
    done = subprocess.run(command, input=plain, capture_output=True, check=True)
    (folder / "key.pem").write_bytes(done.stdout)
    assert "passphrase" in refused(files)


async def test_bad_files_stop_the_start_with_nothing_bound(folder: Path, files: Secrets) -> None:
    remove(folder / "key.pem")
    with pytest.raises(ListenError, match="tls-key"):
        async with site(folder, secrets=files):
            pass
    assert not is_socket(folder / "c.sock")


async def test_a_reload_serves_another_certificate_from_then_on(served: Site, folder: Path) -> None:
    other = trustme.CA()
    issue(folder, other)
    await served.listeners.reload()
    assert (await served.ask("GET", "/healthz", tcp=True, tls=trusting(other))).status == 200


async def test_a_reload_that_fails_leaves_the_certificate_in_force(
    served: Site, folder: Path
) -> None:
    spoil(folder / "cert.pem")
    with pytest.raises(ListenError):
        await served.listeners.reload()
    assert (await served.ask("GET", "/healthz", tcp=True, tls=trusting())).status == 200


async def test_a_client_that_never_shakes_hands_keeps_nobody_waiting(served: Site) -> None:
    with socket.create_connection(("127.0.0.1", served.port)):
        answer = await served.ask("GET", "/healthz", tcp=True, tls=trusting())
    assert answer.status == 200


HELLO_BEGUN = b"\x16\x03\x01\x02\x00\x01"
"""The first octets of a ClientHello."""


@pytest.mark.parametrize("sent", [b"", HELLO_BEGUN])
async def test_unfinished_handshakes_are_connections_of_the_listener(
    served: Site, sent: bytes
) -> None:
    async with AsyncExitStack() as stack:
        readers = []
        for _ in range(TCP_MAX):
            reader, writer = await stack.enter_async_context(served.connection(tcp=True))
            writer.write(sent)
            readers.append(reader)
        answer = await served.ask("GET", "/healthz", tcp=True, tls=trusting())
        assert answer.status == 200
        async with asyncio.timeout(5):
            assert await readers[0].read() == b""  # the idlest made room


@pytest.mark.parametrize("sent", [b"", HELLO_BEGUN])
async def test_unfinished_handshakes_are_cut_off_and_leave_their_places(
    folder: Path,
    files: Secrets,
    sent: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import_application()
    monkeypatch.setattr("xdpctl.http.app.Patience", lambda: Patience(head=0.5))
    async with site(folder, secrets=files) as api, AsyncExitStack() as stack:
        for _ in range(2):
            readers = []
            for _ in range(TCP_MAX * 3 // 4):
                reader, writer = await stack.enter_async_context(api.connection(tcp=True))
                writer.write(sent)
                readers.append(reader)
            async with asyncio.timeout(10):
                assert [await reader.read() for reader in readers] == [b""] * len(readers)
    assert "connections-full" not in [record.message for record in caplog.records]


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666])
def test_a_key_that_everybody_may_read_is_refused(folder: Path, files: Secrets, mode: int) -> None:
    (folder / "key.pem").chmod(mode)
    assert f"its mode {mode:04o} lets everybody" in refused(files)


def test_the_group_may_read_the_key(folder: Path, files: Secrets) -> None:
    (folder / "key.pem").chmod(0o640)
    assert files.tls_cert
    assert files.tls_key
    server_context(files.tls_cert, files.tls_key)


def test_a_key_where_others_can_write_is_refused(folder: Path, files: Secrets) -> None:
    folder.chmod(0o777)
    assert "--tls-key" in (said := refused(files))
    assert "others can write to" in said


@pytest.mark.parametrize("which", ["cert.pem", "key.pem"])
def test_a_file_of_tls_is_small(folder: Path, files: Secrets, which: str) -> None:
    os.truncate(folder / which, 2**30)
    assert "more than 1048576 bytes" in refused(files)


@pytest.mark.parametrize("which", ["cert.pem", "key.pem"])
def test_a_pipe_in_the_place_of_a_file_of_tls_is_not_waited_for(
    folder: Path, files: Secrets, which: str
) -> None:
    (folder / which).unlink()
    os.mkfifo(folder / which)
    assert "not a regular file" in refused(files)
