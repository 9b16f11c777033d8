"""The netlink socket fails with every errno of its manual pages: one error, nothing held."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.errnos import SYSTEM, name_of
from tests.support.descriptors import none_left_open
from xdpctl.errors import KernelError
from xdpctl.kernel.bpf.programs import XdpMode
from xdpctl.kernel.net.ethtool import Ethtool
from xdpctl.kernel.net.interfaces import Netlink

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdpctl.kernel.bpf.programs import Program


class NoProgram:
    """As much of a program as a request needs."""

    fd = 0
    label = "program test"


def program() -> Program:
    return NoProgram()  # type: ignore[return-value]


async def first_news() -> None:
    async for _ in Netlink().watch():
        return


CALLS: dict[str, tuple[int, ...]] = {
    "__init__": SYSTEM["socket"],
    "setsockopt": SYSTEM["setsockopt"],
    "bind": SYSTEM["bind"],
    "send": SYSTEM["sendto"],
    "recv": SYSTEM["recvfrom"],
}
USES: dict[str, Callable[[], object]] = {
    "find": lambda: Netlink().find("lo"),
    "interfaces": lambda: Netlink().interfaces(),
    "local addresses": lambda: Netlink().local_addresses(),
    "watch": lambda: asyncio.run(first_news()),
    "attach": lambda: Netlink().attach_program(1, XdpMode.NATIVE, program()),
    "detach": lambda: Netlink().detach_program(1, XdpMode.NATIVE, program()),
}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def fail(monkeypatch: pytest.MonkeyPatch, call: str, number: int, family: int) -> None:
    """Let a method of sockets of one family fail."""
    real = getattr(socket.socket, call)

    def failing(self: socket.socket, *arguments: Any, **options: Any) -> object:  # noqa: ANN401
        of = arguments[0] if call == "__init__" else self.family
        if of == family:
            raise OSError(number, os.strerror(number))
        return real(self, *arguments, **options)

    monkeypatch.setattr(socket.socket, call, failing, raising=False)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("call", "number"),
    [
        pytest.param(call, number, id=f"{call} {name_of(number)}")
        for call, numbers in CALLS.items()
        for number in numbers
    ],
)
def test_an_errno_is_one_sentence_and_leaves_no_descriptor(
    monkeypatch: pytest.MonkeyPatch, call: str, number: int, use: str
) -> None:
    with none_left_open():
        fail(monkeypatch, call, number, socket.AF_NETLINK)
        with pytest.raises(KernelError) as caught:
            USES[use]()
    assert caught.value.errno == number
    assert name_of(number) in caught.value.sentence
    assert "\n" not in caught.value.sentence


@pytest.mark.parametrize("number", SYSTEM["socket"])
def test_a_driver_that_cannot_be_asked_has_no_answer(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fail(monkeypatch, "__init__", number, socket.AF_INET)
    ethtool = Ethtool("lo")
    assert (ethtool.driver(), ethtool.channels(), ethtool.features()) == (None, None, frozenset())


@pytest.mark.parametrize("number", SYSTEM["ioctl"])
def test_a_driver_that_refuses_has_no_answer(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.ioctl", refuse)
    assert Ethtool("lo").driver() is None


def test_a_privilege_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, "send", errno.EPERM, socket.AF_NETLINK)
    with pytest.raises(KernelError, match=r"CAP_NET_ADMIN|a security module"):
        Netlink().attach_program(1, XdpMode.NATIVE, program())
