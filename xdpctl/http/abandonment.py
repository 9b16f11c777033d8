"""Whether a client still waits for its request.

A client that gave up assumes that nothing happened. Its request may still be in a queue, and doing
it half a minute later would surprise everybody. The HTTP side sets here how to check whether the
client of the current task is still connected; service/operations.py checks before it begins a
queued operation. What the service does by itself is always done. Owns the variable that holds this
check. Set by transport/protocol.py.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from xdpctl.errors import XdpctlError

if TYPE_CHECKING:
    from collections.abc import Callable


class AbandonedError(XdpctlError):
    """A request was not begun because its client had disconnected."""


def _never() -> bool:
    return False


CLIENT_GONE: ContextVar[Callable[[], bool]] = ContextVar("client_gone", default=_never)
"""Returns whether the client of this task has disconnected. Any thread may call it."""


def refuse_abandoned(gone: Callable[[], bool]) -> None:
    """Raise AbandonedError if the client has disconnected."""
    if gone():
        raise AbandonedError(
            "the request was not begun: its client closed the connection while it was queued;"
            " send it again and wait for the answer"
        )
