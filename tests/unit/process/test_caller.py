"""Who asks: the process at the other end of a socket, and what its program is called."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from xdpctl.process.caller import Caller, command_of, peer_of, product_of

if TYPE_CHECKING:
    from pathlib import Path


def test_the_peer_of_a_unix_socket_is_its_process() -> None:
    here, there = socket.socketpair()
    with here, there:
        assert peer_of(here) == Caller(uid=os.getuid(), pid=os.getpid())


def test_a_socket_that_is_no_unix_socket_is_nobodys() -> None:
    with socket.socket() as tcp:
        found = peer_of(tcp)
    assert found.pid is None


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["/usr/bin/curl", "-H", "Authorization: Bearer secret"], "curl"),
        (["/usr/bin/python3", "/usr/bin/xdpctl", "block", "192.0.2.1"], "xdpctl"),
        (["/usr/bin/python3.11", "-I", "/usr/bin/fail2ban-server"], "fail2ban-server"),
        (["python", "-m", "xdpctl", "panic"], "xdpctl"),
        (["/bin/sh", "-c", "a secret"], "sh"),
        (["perl", "-w"], "perl"),
        (["python3", "-m"], "python3"),
        (["xdpctl"], "xdpctl"),
    ],
)
def test_a_command_is_the_programs_name_without_arguments(
    tmp_path: Path, words: list[str], name: str
) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cmdline").write_bytes("\0".join(words).encode() + b"\0")
    (tmp_path / "7" / "comm").write_text("python3\n")
    assert command_of(7, tmp_path) == name


def test_a_process_without_a_command_line_has_its_short_name(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cmdline").write_bytes(b"")
    (tmp_path / "7" / "comm").write_text("kthreadd\n")
    assert command_of(7, tmp_path) == "kthreadd"


def test_a_process_that_has_ended_has_none(tmp_path: Path) -> None:
    assert command_of(7, tmp_path) is None


def test_a_long_name_is_cut(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cmdline").write_bytes(b"x" * 10_000)
    assert command_of(7, tmp_path) == "x" * 100


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("xdpctl", "xdpctl"),
        ("curl/7.88.1", "curl"),
        ("Python-urllib/3.11", "Python-urllib"),
        ("", None),
        (None, None),
        ("\x1b[31m", None),
        ("x" * 500, "x" * 100),
    ],
)
def test_a_client_is_called_by_its_name_without_the_version(
    agent: str | None, name: str | None
) -> None:
    assert product_of(agent) == name


def test_a_process_that_cannot_be_seen_is_called_what_it_calls_itself() -> None:
    unseen = Caller(uid=1000, pid=2**22 + 1, agent="curl/7.88.1")
    assert unseen.with_command() == Caller(uid=1000, pid=2**22 + 1, command="curl")


def test_a_process_that_can_be_seen_is_not_asked() -> None:
    found = Caller(uid=1000, pid=os.getpid(), agent="liar/1").with_command()
    assert found.command not in {"liar", None}
