"""The sockets for NOTIFY: UDP and TCP on one port, closed at the end, or one sentence."""

from __future__ import annotations

import contextlib
import socket
from ipaddress import ip_address

import pytest

from xdpctl.errors import ListenError
from xdpctl.feeds.zone.binding import bind_notify
from xdpctl.settings import Listen


def free_port() -> int:
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        return int(probe.getsockname()[1])


def test_nothing_is_bound_by_default() -> None:
    with contextlib.ExitStack() as stack:
        assert bind_notify(None, stack) == ()


def test_on_any_address_ipv4_comes_too() -> None:
    listen = Listen(ip_address("::"), free_port())
    with contextlib.ExitStack() as stack:
        udp, tcp = bind_notify(listen, stack)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", ("127.0.0.1", listen.port))
        udp.settimeout(10)
        assert udp.recv(10) == b"x"
        socket.create_connection(("127.0.0.1", listen.port), 10).close()
    assert udp.fileno() == tcp.fileno() == -1


def test_a_port_that_is_taken_is_our_error() -> None:
    listen = Listen(ip_address("127.0.0.1"), free_port())
    with contextlib.ExitStack() as stack:
        bind_notify(listen, stack)
        with pytest.raises(ListenError, match="cannot listen for NOTIFY on 127"):
            bind_notify(listen, stack)
