"""The process that follows zone lists: `python -m xdpctl.feeds.zone`.

Receives one job over the socket that is its standard input (messages.py), and then asks primaries
for as long as the service lives: the kernel ends it with the thread that started it. Owns when a
zone is looked at: when its time has come, when it is asked for, and when a NOTIFY hints at it, but
never twice within a second. It has no capability, and logs nothing. Started by parent.py.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING

from xdpctl.feeds.zone.follower import ListFollower
from xdpctl.feeds.zone.messages import Notified, NotifyResult, Settled, Verdict
from xdpctl.feeds.zone.notify import NotifyListener
from xdpctl.process.child import work_as_child
from xdpctl.process.descriptors import receive_descriptors
from xdpctl.process.memory import share_one_heap
from xdpctl.transfers.primaries import fetch
from xdpctl.transfers.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address, IPv6Address
    from multiprocessing.connection import Connection

    from xdpctl.feeds.zone.messages import (
        AskZone,
        ListZone,
        Offered,
        Report,
        Request,
        ZoneListsJob,
        ZoneReport,
    )

AT_ONCE = 16
"""Zones that are transferred at the same time (turns.py)."""

GAP_SECONDS = 1.0
"""From one look at a zone to the next at least, whatever hints at it."""


class ZoneTurns:
    """When one zone is looked at. `run` is its thread; the other methods are for any thread.

    Args:
        zone: that is followed.
        send: sends a report to the service.
        turns: at primaries.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        zone: ListZone,
        send: Callable[[Report], None],
        turns: Turns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._clock = clock
        self._follower = ListFollower(zone, self, transfer=partial(fetch, turn=turns.of))
        self._settled: queue.SimpleQueue[Settled] = queue.SimpleQueue()
        self._woken = threading.Condition()
        self._hinted = self._asked = self._whole = False
        self._notifier: IPv4Address | IPv6Address | None = None

    def run(self) -> None:
        """Look at the zone again and again."""
        self._send(self._follower.begin())
        while True:
            began, report = self._clock(), self._look()
            self._send(report)
            self._wait(began, report.next_seconds)

    def _look(self) -> ZoneReport:
        with self._woken:
            asked, whole, notifier = self._asked, self._whole, self._notifier
            self._hinted = self._asked = self._whole = False
            self._notifier = None
        return self._follower.look(asked=asked, whole=whole, notifier=notifier)

    def _wait(self, began: float, seconds: float) -> None:
        """Wait for the next look."""
        due = self._clock() + seconds
        with self._woken:
            while True:
                is_awake = self._hinted or self._asked
                left = (began + GAP_SECONDS if is_awake else due) - self._clock()
                if left <= 0:
                    return
                self._woken.wait(left)

    def hint(self, notifier: IPv4Address | IPv6Address) -> None:
        """Look soon: somebody says that something is new."""
        with self._woken:
            self._hinted, self._notifier = True, notifier
            self._woken.notify()

    def ask(self, message: AskZone) -> None:
        """Look soon: an operator wants it."""
        with self._woken:
            self._asked, self._whole = True, self._whole or message.whole
            self._woken.notify()

    def settle(self, message: Settled) -> None:
        """Take the service's answer to what was offered."""
        self._settled.put(message)

    def offer(self, offered: Offered) -> None:
        """Offer a version (follower.Applying)."""
        self._send(offered)

    def verdict(self, offered: Offered) -> Verdict:
        """Wait for the answer (follower.Applying)."""
        while True:
            message = self._settled.get()
            if message.serial == offered.soa.serial:
                return message.verdict


def _work(connection: Connection) -> None:
    """Do the job until the service has gone."""
    job: ZoneListsJob = connection.recv()
    descriptors = receive_descriptors(connection, job.sockets) if job.sockets else []
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    sending = threading.Lock()

    def send(message: Report) -> None:
        with sending:
            connection.send(message)

    at_once = Turns(AT_ONCE)
    turns = {zone.number: ZoneTurns(zone, send, at_once) for zone in job.zones}
    for each in turns.values():
        _start(each.run)
    if sockets:
        listener = _listener(job, sockets, turns, send)
        listener.begin()
        _start(listener.run)
    while True:
        message: Request = connection.recv()
        zone = turns[message.number]
        if isinstance(message, Settled):
            zone.settle(message)
        else:
            zone.ask(message)


def _listener(
    job: ZoneListsJob,
    sockets: list[socket.socket],
    turns: dict[int, ZoneTurns],
    send: Callable[[Report], None],
) -> NotifyListener:
    """Return what listens for NOTIFY; several lists may be of the same zone."""
    followed: dict[bytes, list[ListZone]] = {}
    for zone in job.zones:
        followed.setdefault(zone.name.wire, []).append(zone)

    def hint(name: bytes, sender: IPv4Address | IPv6Address) -> None:
        for zone in followed[name]:
            turns[zone.number].hint(sender)

    def count(counts: dict[NotifyResult, int]) -> None:
        send(Notified(counts))

    keys = {
        name: [primary.key for zone in zones for primary in zone.primaries if primary.key]
        for name, zones in followed.items()
    }
    return NotifyListener(sockets, keys, hint, count)


def _start(work: Callable[[], None]) -> None:
    """Start a thread; the process ends with it, so that the service starts another one."""

    def run() -> None:
        with contextlib.suppress(EOFError, OSError):  # the service has ended
            try:
                work()
            except (EOFError, OSError):
                raise
            except BaseException:  # noqa: BLE001 - nothing else would notice
                traceback.print_exc()
        os._exit(1)

    threading.Thread(target=run, daemon=True).start()


def main() -> None:
    """Follow the zones of one job."""
    share_one_heap()
    work_as_child(_work, capable=False)


if __name__ == "__main__":
    main()
