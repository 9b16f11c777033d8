"""XoT: only the primary whose certificate is for the name, by an authority that is trusted."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.support.fake_primary import PRIMARY, ZONE, FakePrimary, Reply, soa
from xdpctl.errors import TransferError
from xdpctl.transfers import tls
from xdpctl.transfers.channel import Bounds
from xdpctl.transfers.client import Primary, PrimaryClient
from xdpctl.transfers.stream import Kind
from xdpctl.transfers.tls import KEPT_SECONDS, Tls, TlsContexts, read_authorities

if TYPE_CHECKING:
    from pathlib import Path

CA = trustme.CA()
TRUSTED = CA.cert_pem.bytes().decode()
SECURE = replace(PRIMARY, tls=Tls("ns1.example", TRUSTED))
FULL = Reply([[soa(3), "a.example.com. 60 IN CNAME .", soa(3)]])


def server(
    name: str = "ns1.example",
    protocols: tuple[str, ...] = ("dot",),
    authority: trustme.CA = CA,
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = newest
    if protocols:
        context.set_alpn_protocols([*protocols])
    authority.issue_cert(name).configure_cert(context)
    return context


def transferred(context: ssl.SSLContext, primary: Primary = SECURE) -> tuple[Kind, str | None]:
    """Return what the transfer was, and the protocol that the server selected."""
    selected = []

    def secure(connection: socket.socket) -> socket.socket:
        secured = context.wrap_socket(connection, server_side=True)
        selected.append(secured.selected_alpn_protocol())
        return secured

    client = PrimaryClient(primary, Bounds(idle=30.0), opener=FakePrimary(FULL, secure=secure).open)
    kind = client.transfer(ZONE, None, lambda transfer: [*transfer].clear()).kind
    return kind, selected[0]


@pytest.mark.parametrize("protocols", [("h2", "dot"), ()], ids=["dot", "none"])
def test_a_transfer_over_tls_with_the_key_too(protocols: tuple[str, ...]) -> None:
    assert transferred(server(protocols=protocols)) == (Kind.FULL, "dot" if protocols else None)


@pytest.mark.parametrize(
    ("context", "complaint"),
    [
        (server(name="ns2.example"), "not to be trusted for ns1.example: .*mismatch"),
        (server(authority=trustme.CA()), "not to be trusted for ns1.example: .*issuer"),
        (server(newest=ssl.TLSVersion.TLSv1_2), "no TLS connection: .*TLS 1.3"),
    ],
    ids=["another name", "another authority", "old TLS"],
)
def test_any_other_server_is_refused_in_one_sentence(
    context: ssl.SSLContext, complaint: str
) -> None:
    with pytest.raises(TransferError, match=complaint) as caught:
        transferred(context)
    assert "\n" not in caught.value.sentence


def test_the_hosts_authorities_are_trusted_by_default() -> None:
    with pytest.raises(TransferError, match="not to be trusted"):
        transferred(server(), replace(PRIMARY, tls=Tls("ns1.example")))


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [(b"", "does not answer in time"), (b"\0\x1dnot TLS at all", "no TLS connection")],
)
def test_who_does_not_speak_tls_does_not_hold_us(sent: bytes, complaint: str) -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(0.2 if not sent else 30.0)
    with theirs:
        theirs.sendall(sent)
        with pytest.raises(TransferError, match=complaint):
            TlsContexts().secure(ours, Tls("ns1.example", TRUSTED))
    assert ours.fileno() == -1


def test_authorities_are_read_again_after_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str | None] = []
    now = [0.0]

    def broken(text: str | None) -> object:
        made.append(text)
        return object()  # no context: using it fails

    contexts = TlsContexts(lambda: now[0])
    monkeypatch.setattr(tls, "_context", broken)
    for now[0] in (0.0, 1.0, KEPT_SECONDS, KEPT_SECONDS + 1):
        with socket.socket() as unused, pytest.raises(AttributeError):
            contexts.secure(unused, Tls("ns1.example", TRUSTED))
    assert made == [TRUSTED] * 2


def test_a_file_of_authorities(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(TRUSTED)
    assert read_authorities(path) == TRUSTED
    for text in ("", "nothing", TRUSTED.replace("M", "-")):
        path.write_text(text)
        with pytest.raises(TransferError, match="no certificates"):
            read_authorities(path)
    with pytest.raises(TransferError, match="cannot read"):
        read_authorities(tmp_path / "none")


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_authorities_that_others_can_write_are_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(TRUSTED)
    path.chmod(mode)
    with pytest.raises(TransferError, match=f"tls-ca {path}: its mode {mode:04o} lets others"):
        read_authorities(path)


def test_authorities_lie_where_only_we_can_write_and_are_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TransferError, match=r"tls-ca .*pipe: it is not a regular file"):
        read_authorities(tmp_path / "pipe")
    open_to_all = tmp_path / "all"
    open_to_all.mkdir()
    (open_to_all / "ca.pem").write_text(TRUSTED)
    open_to_all.chmod(0o777)
    with pytest.raises(TransferError, match="others can write to"):
        read_authorities(open_to_all / "ca.pem")


def test_a_primary_that_ends_the_handshake_is_one_sentence() -> None:
    ours, theirs = socket.socketpair()

    def close() -> None:
        theirs.recv(1)
        theirs.close()

    thread = threading.Thread(target=close)
    thread.start()
    ours.settimeout(30.0)
    with pytest.raises(TransferError, match="no TLS connection"):
        TlsContexts().secure(ours, Tls("ns1.example", TRUSTED))
    thread.join()
