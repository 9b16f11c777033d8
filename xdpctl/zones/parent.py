"""Starts the process that follows zones, gives it memory of the kernel, and ends it.

Owns the process while one job lasts; other zones or keys are another job. Does not own what the
process does (__main__.py) or what its reports mean to an operator (service/). Called by service/ on
a thread of its own.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from xdpctl.abi import MAPS, MapName
from xdpctl.errors import KernelError, XdpctlError
from xdpctl.process.child import Child
from xdpctl.process.children import ended
from xdpctl.process.descriptors import send_descriptors
from xdpctl.zones.messages import Filled, Grant, Looked, Need, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.zones.messages import NamesJob, Said

LOOK_SECONDS = 0.2
"""Longest time until an end is noticed."""

_NUMBER = struct.Struct("=I")


class NamesProcess(Child):
    """A process that follows zones.

    Args:
        job: the zones.
        bpf: makes maps.
        names: the map zone-names.

    Raises:
        XdpctlError: it cannot be started.
    """

    def __init__(self, job: NamesJob, bpf: Bpf, names: Map) -> None:
        self._bpf = bpf
        self._names = names
        self._given: dict[int, Map] = {}
        super().__init__("xdpctl.zones", "the names of zones", job)

    def __exit__(self, *given: object) -> None:
        super().__exit__(*given)
        for memory in self._given.values():
            memory.close()

    def hear(self, stopped: Callable[[], bool]) -> Looked | None:
        """Wait for the next report; None once `stopped` says so. Gives memory meanwhile.

        Raises:
            XdpctlError: the process has ended.
        """
        while not stopped():
            try:
                if self._connection.poll(LOOK_SECONDS):
                    message: Said = self._connection.recv()
                    if isinstance(message, Looked):
                        return message
                    self._serve(message)
            except (EOFError, OSError) as error:
                raise self._gone() from error
        return None

    def _serve(self, message: Need | Filled) -> None:
        if isinstance(message, Need):
            self._give(message)
            return
        with self._given.pop(message.number) as filled:
            self._names.update(_NUMBER.pack(message.number), _NUMBER.pack(filled.fd))

    def _give(self, need: Need) -> None:
        inner = MAPS[MapName.ZONE_NAMES].inner
        if inner is None:
            raise TypeError("zone-names holds maps")
        try:
            made = self._bpf.create_map(inner, need.buckets)
        except KernelError as error:
            self._connection.send(Refusal(error))
            return
        if (former := self._given.pop(need.number, None)) is not None:
            former.close()
        self._given[need.number] = made
        self._connection.send(Grant.YES)
        send_descriptors(self._connection, [made.fd])

    def _gone(self) -> XdpctlError:
        return XdpctlError(
            f"the process that follows the names of zones {ended(self._process)}: the names that"
            " are known stay in force, and it is started again"
        )
