"""Zone transfers from a real BIND: whole, by differences, and with keys that do not fit."""

from __future__ import annotations

import socket
from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from tests.lab.primary import BindPrimary, bind_primary
from tests.lab.process import Process
from xdpctl.errors import TransferError
from xdpctl.rules.names import Name
from xdpctl.transfers.client import Primary
from xdpctl.transfers.key_file import TsigKey, read_key
from xdpctl.transfers.primaries import Fetched, fetch
from xdpctl.transfers.stream import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xdpctl.transfers.client import Transfer

pytestmark = pytest.mark.root

ZONE = Name.from_text("example.com")
LINES = [f"host{number} A 192.0.2.{number % 200}" for number in range(3000)]
"""More than fit into one message."""


@pytest.fixture
def bind(tmp_path: Path) -> Iterator[BindPrimary]:
    started: list[Process] = []

    def start(name: str, *argv: str) -> Process:
        environ = {"PATH": "/usr/sbin:/usr/bin:/bin"}
        output = tmp_path / f"{name}.log"
        started.append(Process(name, argv, output=output, environ=environ, directory=tmp_path))
        return started[-1]

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        yield bind_primary(
            tmp_path,
            start,
            lambda *argv: list(argv),
            zone="example.com",
            records=LINES,
            address="127.0.0.1",
            port=port,
        )
    finally:
        for process in started:
            process.kill()


class Copy:
    """A copy of the zone, which only whole transfers change."""

    def __init__(self, bind: BindPrimary, key: TsigKey | None) -> None:
        self._primary = Primary(IPv4Address(bind.address), bind.port, key)
        self.owners: Counter[str] = Counter()
        self.serial: int | None = None

    def fetch(self) -> Fetched:
        taken: Counter[str] = Counter()
        kinds = []

        def take(transfer: Transfer) -> None:
            taken.clear()
            for added, record in transfer:
                taken[Name(record.owner).to_text()] += 1 if added else -1
            kinds.append(transfer.kind)

        done = fetch(ZONE, [self._primary], self.serial, take)
        if kinds == [Kind.FULL]:
            self.owners = taken
        else:
            self.owners.update(taken)
        self.serial = done.soa.serial
        return done


def test_a_zone_is_copied_whole_and_kept_up_by_differences(bind: BindPrimary) -> None:
    copy = Copy(bind, read_key(bind.key_file))
    assert copy.fetch().kind is Kind.FULL
    assert copy.owners["host2999.example.com"] == 1
    assert sum(copy.owners.values()) == 3002
    assert copy.fetch().kind is Kind.CURRENT
    bind.update("add new.example.com 60 A 192.0.2.9", "delete host7.example.com")
    bind.update("add new.example.com 60 A 192.0.2.10")
    assert copy.fetch().kind is Kind.CHANGES
    assert (copy.owners["new.example.com"], copy.owners["host7.example.com"]) == (2, 0)
    assert copy.serial == 3


def test_a_key_that_does_not_fit_changes_nothing(bind: BindPrimary) -> None:
    key = read_key(bind.key_file)
    copy = Copy(bind, key)
    copy.fetch()
    before = copy.owners.copy()
    bind.update("add new.example.com 60 A 192.0.2.9")
    for wrong, complaint in (
        (replace(key, secret=bytes(32)), "NOTAUTH|signature is wrong|does not have the key"),
        (replace(key, name=Name.from_text("other")), "does not have the key other"),
        (replace(key, algorithm="hmac-sha512"), "does not have the key"),
        (None, "refuses"),
    ):
        stranger = Copy(bind, wrong)
        stranger.owners, stranger.serial = copy.owners, copy.serial
        with pytest.raises(TransferError, match=complaint):
            stranger.fetch()
    assert copy.owners == before
