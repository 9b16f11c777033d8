"""Which process listens on a port."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from xdpctl.process.port_holder import holder_of

if TYPE_CHECKING:
    from pathlib import Path


def test_a_port_of_this_process_is_its() -> None:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.bind((host, 0))
            listener.listen(1)
            holder = holder_of(listener.getsockname()[1])
        assert holder is not None
        assert holder.endswith(f"(pid {os.getpid()})")


def test_a_port_that_nobody_has_is_nobodys() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert holder_of(unused.getsockname()[1]) is None


def test_a_proc_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    assert holder_of(53, tmp_path) is None
