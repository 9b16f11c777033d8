"""Whether somebody still waits for what is about to be done.

A client that gave up is told that nothing happened, or thinks so. What it asked for may
still be in a queue; done half a minute later it surprises everybody. The HTTP side says
here how to ask whether the client of the current task is still there; service/operations.py asks
when something's turn has come. What the service does by itself is always wanted.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from xdpctl.errors import XdpctlError

if TYPE_CHECKING:
    from collections.abc import Callable


class AbandonedError(XdpctlError):
    """What was asked for was not begun: its client had gone."""


def _never() -> bool:
    return False


CLIENT_GONE: ContextVar[Callable[[], bool]] = ContextVar("client_gone", default=_never)
"""Tells whether the client of this task has closed its connection; any thread may ask."""


def refuse_abandoned(gone: Callable[[], bool]) -> None:
    """Raise AbandonedError where the client has gone."""
    if gone():
        raise AbandonedError(
            "this was not begun: its client had closed the connection before its turn came;"
            " ask again and wait for the answer"
        )
