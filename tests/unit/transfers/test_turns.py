"""Turns at primaries: each has a share, slow ones make room, and nobody waits for ever."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from xdpctl.errors import TransferError
from xdpctl.transfers.client import Primary
from xdpctl.transfers.turns import QUICK_SECONDS, SHARE, STUCK_SECONDS, Turns

if TYPE_CHECKING:
    from collections.abc import Iterator


class Ticking:
    """Turns whose clock each wait moves on, up to `until`."""

    def __init__(self, at_once: int) -> None:
        self.now = 100.0
        self.waits: list[float] = []
        self.turns = Turns(at_once, lambda: self.now)
        self.turns._changed.wait = self._wait  # type: ignore[method-assign]

    def _wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.now += timeout
        return False


def primary(number: int, port: int = 53) -> Primary:
    return Primary(IPv4Address(f"192.0.2.{number}"), port)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def test_a_primary_has_its_share_and_others_do_not_wait_for_it(stack: ExitStack) -> None:
    ticking = Ticking(SHARE + 1)
    for _ in range(SHARE):
        stack.enter_context(ticking.turns.of(primary(1)))
    stack.enter_context(ticking.turns.of(primary(1, 5353)))
    assert not ticking.waits
    with pytest.raises(TransferError, match="4 other zones are transferred from it"):
        stack.enter_context(ticking.turns.of(primary(1)))
    assert sum(ticking.waits) == STUCK_SECONDS


def test_slow_ones_make_room_for_others(stack: ExitStack) -> None:
    ticking = Ticking(2)
    for number in range(2):
        stack.enter_context(ticking.turns.of(primary(number)))
    stack.enter_context(ticking.turns.of(primary(3)))
    assert ticking.waits == [QUICK_SECONDS]


def test_who_waits_at_a_busy_primary_has_its_turn_when_one_ends() -> None:
    turns, begun = Turns(16), threading.Event()
    with ExitStack() as stack:
        first = turns.of(primary(1))
        first.__enter__()
        for _ in range(SHARE - 1):
            stack.enter_context(turns.of(primary(1)))

        def wait() -> None:
            with turns.of(primary(1)):
                begun.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not begun.is_set()
        first.__exit__(None, None, None)
        assert begun.wait(30)
        waiting.join()
