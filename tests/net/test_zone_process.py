"""The process that follows zone lists, with real primaries: NOTIFY, IXFR, XoT, a sudden end."""

from __future__ import annotations

import socket
import tempfile
import time
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.lab.primaries import Software, ZonePrimary, loopback, start_primary
from xdpctl.feeds.zone.messages import (
    Asked,
    AskZone,
    ListZone,
    LookResult,
    Notified,
    NotifyResult,
    Offered,
    Settled,
    Verdict,
    ZoneListsJob,
    ZoneReport,
)
from xdpctl.feeds.zone.parent import ZoneListsProcess
from xdpctl.feeds.zone.records import ZoneRecords
from xdpctl.rules.names import Name
from xdpctl.transfers.client import Primary
from xdpctl.transfers.key_file import read_key
from xdpctl.transfers.tls import Tls, read_authorities

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.primaries import Place
    from xdpctl.feeds.zone.messages import Report

pytestmark = pytest.mark.root

ZONE = "block.rpz.example"
SECONDS = 30.0
LINES = [f"host{number}.bad{number % 7}.example CNAME rpz-drop." for number in range(3000)]
"""More than fit into one message."""

R = TypeVar("R", bound="Report")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def place(stack: ExitStack) -> Place:
    """Loopback, and a folder whose path is short enough for a server's socket in it."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="xdpctl-"))
    return stack.enter_context(loopback(Path(folder)))


@pytest.fixture
def sockets(stack: ExitStack) -> list[socket.socket]:
    """UDP and TCP on the same port of loopback."""
    for _ in range(20):
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        datagrams.bind(("127.0.0.1", 0))
        try:
            stream.bind(datagrams.getsockname())
        except OSError:
            continue
        stream.listen()
        return [stack.enter_context(datagrams), stack.enter_context(stream)]
    raise AssertionError("no port is free")


class Followed:
    """The process with one zone; `hear` must be called on the thread that made it."""

    def __init__(
        self,
        stack: ExitStack,
        directory: Path,
        primary: ZonePrimary,
        sockets: list[socket.socket],
    ) -> None:
        self._notified: list[Notified] = []
        key = read_key(primary.key_file)
        tls, port = None, primary.port
        if primary.tls_port and primary.authority is not None:
            tls = Tls(primary.tls_name, read_authorities(primary.authority))
            port = primary.tls_port
        asked = Primary(IPv4Address(primary.address), port, key, tls)
        zone = ListZone(1, Name.from_text(ZONE), (asked,), directory / "list", 3600.0)
        self.process = stack.enter_context(
            ZoneListsProcess(ZoneListsJob((zone,), len(sockets)), sockets)
        )

    def hear(self, kind: type[R]) -> R:
        """Return the next report of a kind."""
        end = time.monotonic() + SECONDS
        while report := self.process.hear(lambda: time.monotonic() > end):
            if isinstance(report, kind):
                return report
            if isinstance(report, Notified):  # comes now and then, whatever comes else
                self._notified.append(report)
            assert not getattr(report, "error", ""), report
        raise AssertionError(f"no {kind.__name__} came")

    def notified(self) -> Notified:
        """Return the next report of NOTIFY messages, which may have come already."""
        return self._notified.pop(0) if self._notified else self.hear(Notified)

    def settle(self, verdict: Verdict = Verdict.GOOD) -> tuple[Offered, set[bytes], ZoneReport]:
        """Take what is offered; return it, its keys, and the report that follows."""
        offered = self.hear(Offered)
        keys = keys_of(offered.path)
        self.process.send(Settled(1, offered.soa.serial, verdict))
        return offered, keys, self.hear(ZoneReport)


def keys_of(path: Path) -> set[bytes]:
    with ZoneRecords(path) as records:
        return {each.key for each in records.records()}


def key(text: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode() for label in reversed(text.split(".")))


WHOLE = {b""} | {key(line.split()[0]) for line in LINES}


@pytest.mark.parametrize(
    ("software", "tls_name"),
    [
        (Software.BIND, ""),
        (Software.BIND, "ns1.example"),
        (Software.KNOT, ""),
        (Software.NSD, "ns1.example"),
        (Software.POWERDNS, ""),
    ],
)
def test_a_notify_brings_what_has_changed(
    stack: ExitStack,
    place: Place,
    sockets: list[socket.socket],
    software: Software,
    tls_name: str,
) -> None:
    """The settings' refresh is an hour: only the hint leads to the second question."""
    primary = start_primary(
        software,
        place,
        zone=ZONE,
        records=LINES,
        notify=[sockets[0].getsockname()],
        tls_name=tls_name,
    )
    one = Followed(stack, place.directory, primary, sockets)
    assert one.hear(ZoneReport).result is LookResult.KEPT
    offered, keys, report = one.settle()
    assert (offered.asked, report.result, keys) == (Asked.AXFR, LookResult.GOOD, WHOLE)
    primary.update(
        f"add new.example.{ZONE}. 60 CNAME rpz-drop.", f"delete host7.bad0.example.{ZONE}. CNAME"
    )
    offered, keys, report = one.settle()
    assert keys == WHOLE - {key("host7.bad0.example")} | {key("new.example")}
    assert offered.asked is (Asked.IXFR if primary.can.ixfr else Asked.AXFR)
    assert (report.asked, report.result, report.error) == (offered.asked, LookResult.GOOD, "")
    assert report.soa == offered.soa
    assert one.notified().counts.keys() == {NotifyResult.TAKEN}


def test_a_process_that_is_killed_leaves_the_last_good_version(
    stack: ExitStack, place: Place
) -> None:
    """Killed while it transfers, whole and by differences, and while it takes a verdict."""
    primary = start_primary(Software.BIND, place, zone=ZONE, records=LINES)
    one = Followed(stack, place.directory, primary, [])
    one.settle()
    files = place.directory / "list.zone", place.directory / "list.new"
    versions = [WHOLE]
    for number in range(9):
        primary.update(
            *(f"add n{number}.m{each}.example.{ZONE}. 60 CNAME ." for each in range(300))
        )
        versions.append(versions[-1] | {key(f"n{number}.m{each}.example") for each in range(300)})
        one.process.send(AskZone(1, whole=number % 3 == 0))
        if number % 3 == 2:
            offered = one.hear(Offered)
            one.process.send(Settled(1, offered.soa.serial, Verdict.GOOD))
        time.sleep(0.003 * number)
        one.process.end()
        one = Followed(stack, place.directory, primary, [])
        kept = one.hear(Offered)
        assert (kept.asked, kept.path) == (Asked.NOTHING, files[0])
        former = versions[-2:] if number % 3 == 2 else [versions[0]]
        assert keys_of(kept.path) in former
        assert not files[1].exists()
        one.process.send(Settled(1, kept.soa.serial, Verdict.GOOD))
        one.hear(ZoneReport)
        _, keys, _ = one.settle() if keys_of(kept.path) != versions[-1] else (0, versions[-1], 0)
        assert keys == versions[-1]
        versions = versions[-1:]
