"""The process that follows zone lists: what wakes it, how often it asks, and its end."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, TypeVar

import dns.message
import dns.opcode
import pytest

from tests.support.fake_primary import ZONE, Reply, answers, soa
from xdpctl.errors import XdpctlError
from xdpctl.feeds.zone.__main__ import GAP_SECONDS
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
from xdpctl.transfers.client import Primary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xdpctl.feeds.zone.messages import Report

SECONDS = 60.0
R = TypeVar("R", bound="Report")


class Loopback:
    """A primary on loopback that has one version, and counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def primary(self) -> Primary:
        return Primary(IPv4Address("127.0.0.1"), self.listening.getsockname()[1])

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                with connection, connection.makefile("rb") as stream:
                    (size,) = struct.unpack("!H", stream.read(2))
                    query = dns.message.from_wire(stream.read(size), ignore_trailing=True)
                    kind = query.question[0].rdtype.name
                    self.asked.append(kind)
                    records = [soa(3)] if kind == "SOA" else [soa(3), soa(3)]
                    (wire,) = answers(query, Reply([records], key=None))
                    connection.sendall(struct.pack("!H", len(wire)) + wire)


class Child:
    """The process with one zone of an hour's refresh, and a socket for NOTIFY."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self.served = Loopback()
        stack.callback(self.served.listening.close)
        notified = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        notified.bind(("127.0.0.1", 0))
        self.notifier = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.notifier.connect(notified.getsockname())
        zone = ListZone(1, ZONE, (self.served.primary,), directory / "list", 3600.0)
        self.process = stack.enter_context(ZoneListsProcess(ZoneListsJob((zone,), 1), [notified]))

    def hear(self, *kinds: type[R]) -> R:
        end = time.monotonic() + SECONDS
        while report := self.process.hear(lambda: time.monotonic() > end):
            if isinstance(report, kinds):
                return report
        raise AssertionError(f"none of {kinds} came")

    def begin(self) -> ZoneReport:
        """Take the first version."""
        assert self.hear(ZoneReport).result is LookResult.KEPT
        offered = self.hear(Offered)
        self.process.send(Settled(1, offered.soa.serial - 1, Verdict.REFUSED))  # of another one
        self.process.send(Settled(1, offered.soa.serial, Verdict.GOOD))
        return self.hear(ZoneReport)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    with ExitStack() as stack:
        yield Child(stack, tmp_path)


def notify(zone: str) -> bytes:
    made = dns.message.make_query(zone, "SOA")
    made.set_opcode(dns.opcode.NOTIFY)
    return made.to_wire()


def test_a_flood_of_notify_leads_to_a_question_a_second_at_most(child: Child) -> None:
    assert child.begin().result is LookResult.GOOD
    began, sent = time.monotonic(), 0
    wires = notify("example.com."), notify("other.example."), b"nothing"
    while sent < 100 or time.monotonic() < began + 2.5:
        for wire in wires * 10:
            child.notifier.send(wire)
        sent += 10
        time.sleep(0.02)
    counts: Counter[NotifyResult] = Counter()
    looked: list[LookResult] = []
    while not looked or len(counts) < len(wires):
        report = child.hear(Notified, ZoneReport)
        if isinstance(report, Notified):
            counts.update(report.counts)
        elif isinstance(report, ZoneReport):
            looked.append(report.result)
    assert counts.keys() == {NotifyResult.TAKEN, NotifyResult.UNKNOWN, NotifyResult.MALFORMED}
    assert set(looked) == {LookResult.CURRENT}
    most = 1 + (time.monotonic() - began) / GAP_SECONDS
    assert 1 <= child.served.asked[2:].count("SOA") <= most
    assert child.served.asked[:2] == ["SOA", "AXFR"]


def test_primaries_that_never_end_hold_up_no_other_zone(tmp_path: Path) -> None:
    """Twenty zones of an address that accepts connections and says nothing, and one of another."""
    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.2", 0), backlog=64))
        good = Loopback()
        stack.callback(good.listening.close)
        stuck = Primary(IPv4Address("127.0.0.2"), silent.getsockname()[1])
        zones = [ListZone(n, ZONE, (stuck,), tmp_path / f"list{n}", 5.0) for n in range(20)]
        zones.append(ListZone(20, ZONE, (good.primary,), tmp_path / "good", 3600.0))
        process = stack.enter_context(ZoneListsProcess(ZoneListsJob(tuple(zones), 0), []))
        while not isinstance(report := process.hear(lambda: False), Offered):
            # the silent ones are not given up yet: nothing is heard of them but their start
            assert isinstance(report, ZoneReport)
            assert report.result is LookResult.KEPT
        assert report.number == 20


def test_an_operator_need_not_wait(child: Child) -> None:
    child.begin()
    child.process.send(AskZone(1))
    assert child.hear(ZoneReport).result is LookResult.CURRENT
    child.process.send(AskZone(1, whole=True))
    assert child.hear(Offered).asked is Asked.AXFR


def test_its_end_is_one_sentence(child: Child) -> None:
    child.begin()
    child.process._process.kill()
    with pytest.raises(XdpctlError, match="SIGKILL: the versions that are in force stay"):
        child.hear(ZoneReport)
    child.process.send(AskZone(1))  # nobody hears it
