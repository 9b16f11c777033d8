"""One thread does what is most urgent first, and what came first within a lane."""

from __future__ import annotations

import threading

import pytest

from xdpctl.process.lanes import Lanes


def test_what_is_urgent_is_done_before_writes_and_those_before_reads() -> None:
    done: list[str] = []
    held = threading.Event()
    with Lanes("store") as lanes:
        lanes.reads.submit(held.wait)
        for name in ("read 1", "read 2"):
            lanes.reads.submit(done.append, name)
        for name in ("write 1", "write 2"):
            lanes.writes.submit(done.append, name)
        lanes.urgent.submit(done.append, "panic")
        held.set()
    assert done == ["panic", "write 1", "write 2", "read 1", "read 2"]


def test_an_error_reaches_who_waits_and_the_thread_goes_on() -> None:
    with Lanes("store") as lanes:
        failed = lanes.writes.submit(int, "x")
        with pytest.raises(ValueError, match="x"):
            failed.result()
        assert lanes.reads.submit(abs, -1).result() == 1


def test_what_was_cancelled_before_its_turn_is_not_done() -> None:
    done: list[int] = []
    held = threading.Event()
    with Lanes("store") as lanes:
        lanes.writes.submit(held.wait)
        waiting = lanes.writes.submit(done.append, 1)
        assert waiting.cancel()
        held.set()
    assert done == []


def test_lanes_that_are_closed_take_nothing() -> None:
    with Lanes("store") as lanes:
        pass
    with pytest.raises(RuntimeError, match="after shutdown"):
        lanes.reads.submit(int)
