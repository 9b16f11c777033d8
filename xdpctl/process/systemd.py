"""Messages to systemd: READY, RELOADING, STOPPING, STATUS, … (sd_notify(3)).

Owns the messages and the datagram; service/service.py decides when to send each. Nothing here
raises or blocks: a service manager that does not listen must not stop the filter. Without
NOTIFY_SOCKET nothing is sent. Called by service/.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Notifier:
    """Sends messages to the service manager.

    Args:
        address: NOTIFY_SOCKET: a path, or `@` and an abstract name. With None, an empty text
            or any other kind of address (vsock in a virtual machine) nothing is sent.
    """

    def __init__(self, address: str | None) -> None:
        self._address = None
        if address and address[0] in "/@":
            self._address = "\0" + address[1:] if address[0] == "@" else address

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Notifier:
        """Return the notifier that the service manager asked for."""
        return cls(environ.get("NOTIFY_SOCKET"))

    def ready(self, status: str = "") -> bool:
        """Say that the service is up, or up again after `reloading`; True if it was sent."""
        return self._send(READY="1", STATUS=status or None)

    def reloading(self) -> bool:
        """Say that settings are being reloaded; `ready` must follow."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self._send(RELOADING="1", MONOTONIC_USEC=str(now))

    def stopping(self, status: str = "") -> bool:
        """Say that the service is stopping."""
        return self._send(STOPPING="1", STATUS=status or None)

    def status(self, text: str) -> bool:
        """Set the line that `systemctl status` shows."""
        return self._send(STATUS=text)

    def extend(self, seconds: float) -> bool:
        """Ask for this many more seconds until `ready`, beyond TimeoutStartSec."""
        return self._send(EXTEND_TIMEOUT_USEC=str(int(seconds * 1_000_000)))

    def watchdog(self) -> bool:
        """Say that the service is alive."""
        return self._send(WATCHDOG="1")

    def _send(self, **assignments: str | None) -> bool:
        if self._address is None:
            return False
        lines = (
            f"{key}={' '.join(value.split())}"
            for key, value in assignments.items()
            if value is not None
        )
        message = "\n".join(lines).encode("utf-8", "backslashreplace")
        try:
            with socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            ) as sender:
                sender.sendto(message, self._address)
        except OSError:
            return False
        return True


def watchdog_interval(environ: Mapping[str, str], pid: int) -> float | None:
    """Return the seconds between two signs of life, or None where none is asked for.

    It is half of what systemd waits, as sd_watchdog_enabled(3) advises.

    Args:
        environ: WATCHDOG_USEC, and WATCHDOG_PID if the sign must come from one process.
        pid: this process.
    """
    microseconds, wanted = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(pid))
    if not _is_number(microseconds) or not _is_number(wanted) or int(wanted) != pid:
        return None
    return int(microseconds) / 2_000_000 or None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20  # noqa: PLR2004 - fits 64 bits
