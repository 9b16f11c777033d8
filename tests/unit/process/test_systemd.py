"""What systemd is told arrives at its socket, and never stops the service."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from xdpctl.process.systemd import Notifier, watchdog_interval

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Manager:
    """The service manager's end."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(5)
        self.notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})

    def received(self) -> dict[str, str]:
        """Return the assignments of the next message."""
        lines = self.socket.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = str(tmp_path / "notify")
    manager = Manager(path if request.param == "path" else f"@xdpctl-test-{os.getpid()}")
    with manager.socket:
        yield manager


def test_ready_arrives(manager: Manager) -> None:
    assert manager.notifier.ready()
    assert manager.received() == {"READY": "1"}


def test_ready_may_carry_a_status(manager: Manager) -> None:
    assert manager.notifier.ready("attached to eth0")
    assert manager.received() == {"READY": "1", "STATUS": "attached to eth0"}


def test_an_extension_is_in_microseconds(manager: Manager) -> None:
    assert manager.notifier.extend(1.5)
    assert manager.received() == {"EXTEND_TIMEOUT_USEC": "1500000"}


def test_stopping_arrives(manager: Manager) -> None:
    assert manager.notifier.stopping("asked to")
    assert manager.received() == {"STOPPING": "1", "STATUS": "asked to"}


def test_reloading_carries_the_monotonic_time(manager: Manager) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert manager.notifier.reloading()
    message = manager.received()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert message["RELOADING"] == "1"
    assert before <= int(message["MONOTONIC_USEC"]) <= after


def test_a_sign_of_life_arrives(manager: Manager) -> None:
    assert manager.notifier.watchdog()
    assert manager.received() == {"WATCHDOG": "1"}


def test_a_status_is_one_line_and_sets_nothing_else(manager: Manager) -> None:
    assert manager.notifier.status("all\nREADY=1")
    assert manager.received() == {"STATUS": "all READY=1"}


def test_a_status_can_be_cleared(manager: Manager) -> None:
    assert manager.notifier.status("")
    assert manager.received() == {"STATUS": ""}


def test_a_status_with_bytes_that_are_no_text_arrives(manager: Manager) -> None:
    assert manager.notifier.status("\udcff")
    assert manager.received() == {"STATUS": "\\udcff"}


@pytest.mark.parametrize("address", ["", "vsock:2:9", "relative/path", "@"])
def test_where_nobody_listens_nothing_is_sent(address: str) -> None:
    assert not Notifier.from_environment({"NOTIFY_SOCKET": address}).ready()


def test_without_a_service_manager_nothing_is_sent() -> None:
    assert not Notifier.from_environment({}).ready()


@pytest.mark.parametrize("address", ["/nonexistent/notify", "/" + "x" * 200])
def test_a_socket_that_is_not_there_is_no_error(address: str) -> None:
    assert not Notifier(address).stopping()


def test_a_manager_that_does_not_read_does_not_block_the_service(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with Manager(address).socket:
        sent = [Notifier(address).watchdog() for _ in range(5000)]
    assert sent[0]
    assert not sent[-1]


def test_a_sign_of_life_is_due_twice_in_the_time_that_systemd_waits() -> None:
    assert watchdog_interval({"WATCHDOG_USEC": "30000000"}, pid=7) == 15


def test_the_watchdog_may_be_this_processs() -> None:
    assert watchdog_interval({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "7"}, pid=7) == 1


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": ""},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "-1"},
        {"WATCHDOG_USEC": "٣"},
        {"WATCHDOG_USEC": "9" * 30},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "8"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "x"},
    ],
)
def test_no_watchdog_is_asked_for(environ: dict[str, str]) -> None:
    assert watchdog_interval(environ, pid=7) is None
