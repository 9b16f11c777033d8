"""What is free in the heap goes back to the kernel, again and again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from xdpctl.process.memory import give_back
from xdpctl.service import heap
from xdpctl.service.heap import Heap

if TYPE_CHECKING:
    import pytest


async def test_it_is_given_back_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "SECONDS", 0.0)
    loop, times, enough = asyncio.get_running_loop(), [0], asyncio.Event()

    def count() -> None:
        times[0] += 1
        if times[0] == 3:
            loop.call_soon_threadsafe(enough.set)

    task = asyncio.create_task(Heap(count).run())
    async with asyncio.timeout(30):
        await enough.wait()
    task.cancel()
    assert await asyncio.gather(task, return_exceptions=True)


def anonymous() -> int:
    """Return this process's resident memory that is not of files, in kB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("RssAnon:")[2].split()[0])


def test_what_is_free_below_what_stays_goes_back() -> None:
    """The C library gives back by itself only what is behind all that stays."""
    kept = [bytearray(1_000) for _ in range(20_000)]
    del kept[:-1]
    before = anonymous()
    give_back()
    assert anonymous() < before - 10_000
