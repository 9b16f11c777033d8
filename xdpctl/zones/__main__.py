"""The process that follows the operator's zones: `python -m xdpctl.zones`.

Receives one job over the socket that is its standard input (messages.py), and then asks primaries
for as long as the service lives: the kernel ends it with the thread that started it. It has no
capability: the memory of the kernel that it fills comes as descriptors. It logs nothing. Started
by parent.py.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from xdpctl.abi import ZONE_BUCKET_SIZE
from xdpctl.errors import XdpctlError
from xdpctl.process.child import work_as_child
from xdpctl.process.descriptors import receive_descriptors
from xdpctl.transfers.primaries import fetch
from xdpctl.transfers.turns import Turns
from xdpctl.zones.follower import ZoneFollower
from xdpctl.zones.hashing import NameHash
from xdpctl.zones.messages import Filled, Need, Refusal

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from xdpctl.zones.messages import NamesJob, Said

AT_ONCE = 4
"""Zones that are transferred at the same time (turns.py)."""


class _Service:
    """The service's end: it gets reports, and gives memory. Any thread.

    Args:
        connection: the connection to the service.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asking = threading.Lock()
        self._sending = threading.Lock()

    def send(self, message: Said) -> None:
        """Send a message."""
        with self._sending:
            self._connection.send(message)

    def ask(self, number: int, buckets: int) -> memoryview:
        """Return memory of the kernel (follower.Memory)."""
        with self._asking:
            self.send(Need(number, buckets))
            answer = self._connection.recv()
            if isinstance(answer, Refusal):
                raise answer.error
            (descriptor,) = receive_descriptors(self._connection, 1)
        try:
            return memoryview(mmap.mmap(descriptor, ZONE_BUCKET_SIZE * buckets))
        except OSError as error:
            raise XdpctlError(
                f"cannot map the memory of zone-names: {error.strerror or error}"
            ) from error
        finally:
            os.close(descriptor)

    def put_in_force(self, number: int) -> None:
        """Put the memory that was given last in force."""
        self.send(Filled(number))


def _work(connection: Connection) -> None:
    """Look at each zone when its time has come, for ever."""
    job: NamesJob = connection.recv()
    service = _Service(connection)
    hashed = NameHash(job.drawn)
    transfer = partial(fetch, turn=Turns(AT_ONCE).of)
    followers = [
        ZoneFollower(zone, hashed, job.directory, service, among=len(job.zones), transfer=transfer)
        for zone in job.zones
    ]
    for follower in followers:
        service.send(follower.begin())
    threads = [
        threading.Thread(target=_follow, args=(follower, service), daemon=True)
        for follower in followers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _follow(follower: ZoneFollower, service: _Service) -> None:
    """Look at one zone again and again, until the service has gone."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            looked = follower.look()
            service.send(looked)
            time.sleep(looked.next_seconds)


def main() -> None:
    """Follow the zones of one job."""
    work_as_child(_work, capable=False)


if __name__ == "__main__":
    main()
