"""The service with a clock in its loop, which notes the longest time that the loop was held.

    python -m tests.bench.ticking TICKS [options of the service]

TICKS is a file of two doubles: seconds by which a tick was late at most, and how much of
such a delay the process itself was running at most. The measuring program sets them to 0. The
clock is a task of the service's own loop, so that whatever holds the loop (a callback, the
interpreter's lock, the machine) holds it too; only the machine uses none of our CPU time.
"""

from __future__ import annotations

import asyncio
import mmap
import struct
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from xdpctl.cli.main import main
from xdpctl.service.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

TICK = 0.002
PAIR = struct.Struct("=dd")


class Ticks:
    """The file of the longest delay, mapped. Both sides have one.

    Args:
        path: the file; made where missing.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(PAIR.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), PAIR.size)

    @property
    def longest(self) -> tuple[float, float]:
        """Seconds by which a tick was late at most since `reset`, and by our own doing."""
        late, held = PAIR.unpack_from(self._memory)
        return float(late), float(held)

    def late(self, seconds: float, running: float) -> None:
        """Note a delay, and the CPU time that the process used in it."""
        late, held = self.longest
        PAIR.pack_into(self._memory, 0, max(late, seconds), max(held, min(seconds, running)))

    def reset(self) -> None:
        """Start again from 0."""
        PAIR.pack_into(self._memory, 0, 0.0, 0.0)


async def tick(ticks: Ticks) -> None:
    """Note how late each tick is, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due, used = loop.time() + TICK, time.process_time()
        await asyncio.sleep(TICK)
        ticks.late(loop.time() - due, time.process_time() - used)


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
