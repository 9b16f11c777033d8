"""Threads that cannot be started are an error of ours, at once and not later."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from xdpctl.errors import KernelError
from xdpctl.process.threads import Threads, one_thread, some_threads


def refuse(_: threading.Thread) -> None:
    """Be a machine at its limit of tasks."""
    raise RuntimeError("can't start new thread")


@pytest.fixture
def no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.usefixtures("no_more_threads")
def test_a_thread_that_cannot_be_started_is_one_sentence() -> None:
    with Threads(1) as pool, pytest.raises(KernelError, match="cannot start another thread"):
        pool.submit(int)


@pytest.mark.usefixtures("no_more_threads")
def test_one_thread_is_there_from_the_beginning_or_not_at_all() -> None:
    with pytest.raises(KernelError, match="TasksMax="):
        one_thread("store")


def test_one_thread_needs_no_other_later(monkeypatch: pytest.MonkeyPatch) -> None:
    with one_thread("store") as pool:
        monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("another thread"))
        assert [pool.submit(abs, -1).result() for _ in range(3)] == [1, 1, 1]


def test_some_threads_need_no_other_later(monkeypatch: pytest.MonkeyPatch) -> None:
    with some_threads(3, "asyncio") as pool:
        monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("another thread"))
        together = threading.Barrier(3)
        assert sorted(each.result() for each in [pool.submit(together.wait) for _ in "123"]) == [
            0,
            1,
            2,
        ]


def test_some_threads_are_all_there_or_none_is(monkeypatch: pytest.MonkeyPatch) -> None:
    real, allowed = threading.Thread.start, iter("12")

    def start(thread: threading.Thread) -> None:
        if next(allowed, None) is None:
            refuse(thread)
        real(thread)

    before = threading.active_count()
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(KernelError, match="TasksMax="):
        some_threads(3, "asyncio")
    assert threading.active_count() == before


def test_what_was_refused_is_not_done_when_there_are_threads_again() -> None:
    done: list[str] = []
    with Threads(1) as pool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(KernelError):
                pool.submit(done.append, "refused")
        pool.submit(done.append, "asked again").result()
    assert done == ["asked again"]


def test_a_pool_that_is_closed_says_so_as_ever() -> None:
    pool = Threads(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(int)


HEAPS = """
import ctypes, threading, xdpctl.process.memory
{}
barrier = threading.Barrier(4)
def work():
    kept = [bytes(50_000) for _ in range(10)]
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
for one in threads: one.start()
for one in threads: one.join()
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.parametrize(
    ("first", "heaps"),
    [("", {2, 3, 4, 5}), ("xdpctl.process.memory.share_one_heap()", {1})],
    ids=["by default several", "of the service one"],
)
def test_threads_share_one_heap(first: str, heaps: set[int]) -> None:
    program = HEAPS.format(first)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stderr.count("Arena ") in heaps
