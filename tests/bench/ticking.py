"""The service with a clock in its loop, which notes the longest time that it stood still.

    python -m tests.bench.ticking TICKS [options of the service]

TICKS is a file of 8 bytes, a double: seconds by which a tick was late at most; whoever
measures sets it to 0. The clock is a task of the service's own loop, so that whatever
holds the loop (a callback, the interpreter's lock, the machine) holds it too.
"""

from __future__ import annotations

import asyncio
import mmap
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from xdpctl.cli.main import main
from xdpctl.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

TICK = 0.002
DOUBLE = struct.Struct("=d")


class Ticks:
    """The file of the longest delay, mapped. Both sides have one.

    Args:
        path: the file; made where missing.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(DOUBLE.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), DOUBLE.size)

    @property
    def longest(self) -> float:
        """Seconds by which a tick was late at most since `reset`."""
        return float(DOUBLE.unpack_from(self._memory)[0])

    def late(self, seconds: float) -> None:
        """Note a delay."""
        if seconds > self.longest:
            DOUBLE.pack_into(self._memory, 0, seconds)

    def reset(self) -> None:
        """Begin anew."""
        DOUBLE.pack_into(self._memory, 0, 0.0)


async def tick(ticks: Ticks) -> None:
    """Note how late each tick is, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + TICK
        await asyncio.sleep(TICK)
        ticks.late(loop.time() - due)


def with_clock(
    run: Callable[[Service], Coroutine[None, None, int]], ticks: Ticks
) -> Callable[[Service], Coroutine[None, None, int]]:
    """Return `Service.run` with a clock beside it."""

    async def both(service: Service) -> int:
        task = asyncio.create_task(tick(ticks), name="ticks")
        try:
            return await run(service)
        finally:
            task.cancel()

    return both


if __name__ == "__main__":
    setattr(Service, "run", with_clock(Service.run, Ticks(Path(sys.argv[1]))))  # noqa: B010 - a method
    sys.exit(main(sys.argv[2:]))
