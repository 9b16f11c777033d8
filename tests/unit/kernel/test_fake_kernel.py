"""The fakes do what the kernel does (tests/support/kernel_contract.py), and fail when told to."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_kernel import FakeBpf, FakeKernel, FakeNetlink, pretend_bpffs
from tests.support.kernel_contract import (
    DROP,
    PASS_PROGRAM,
    MapSeam,
    PinSeam,
    ProgramSeam,
    key_v4,
    refused,
)
from xdpctl.abi import MAPS, MapName
from xdpctl.errors import InterfaceError, KernelError
from xdpctl.kernel.bpf.pins import ensure_bpffs
from xdpctl.kernel.bpf.programs import XdpMode
from xdpctl.kernel.net.interfaces import LinkChange

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def netlink(kernel: FakeKernel) -> FakeNetlink:
    return FakeNetlink(kernel)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def ifindex(kernel: FakeKernel) -> int:
    return kernel.add_interface("eth0").index


class TestFakeMaps(MapSeam):
    """The contract of maps, on the fake."""


class TestFakePins(PinSeam):
    """The contract of pins, on the fake."""


class TestFakePrograms(ProgramSeam):
    """The contract of programs and links, on the fake."""


def test_a_planned_failure_comes_as_often_as_planned(kernel: FakeKernel, bpf: FakeBpf) -> None:
    kernel.faults.set("create_map", errno.EPERM, times=2)
    for _ in range(2):
        with refused(errno.EPERM):
            bpf.create_map(MAPS[MapName.ADDR_V4], 1)
    assert bpf.create_map(MAPS[MapName.ADDR_V4], 1).info.max_entries == 1


def test_a_planned_failure_may_be_any_exception(kernel: FakeKernel, netlink: FakeNetlink) -> None:
    kernel.faults.set("find", InterfaceError("gone", interface="eth0"))
    with pytest.raises(InterfaceError, match="gone"):
        netlink.find("eth0")


def test_cleared_faults_do_not_happen(kernel: FakeKernel, netlink: FakeNetlink) -> None:
    kernel.faults.set("interfaces", errno.ENOMEM)
    kernel.faults.clear()
    assert netlink.interfaces() == []


def test_calls_are_noted_in_their_order(kernel: FakeKernel, bpf: FakeBpf) -> None:
    with bpf.create_map(MAPS[MapName.ADDR_V4], 1) as made:
        made.update(key_v4(1), DROP)
    assert kernel.faults.calls == ["create_map", "map.current_info", "map.update"]


def test_what_is_open_is_known(kernel: FakeKernel, bpf: FakeBpf) -> None:
    with bpf.create_map(MAPS[MapName.ADDR_V4], 1) as made:
        assert list(kernel.open) == [made.fd]
    assert not kernel.open


def test_a_driver_without_native_mode_gives_its_errno_and_reason(
    kernel: FakeKernel, bpf: FakeBpf, netlink: FakeNetlink
) -> None:
    device = kernel.add_interface("eth1")
    device.native, device.reason = errno.EOPNOTSUPP, "no XDP here"
    with bpf.load_program(PASS_PROGRAM, "p") as program:
        with refused(errno.EOPNOTSUPP):
            bpf.create_link(program, device.index, mode=XdpMode.NATIVE)
        assert netlink.refusal(device.index, XdpMode.NATIVE, program) == "no XDP here"


def test_a_removed_interface_leaves_a_defunct_link(
    kernel: FakeKernel, bpf: FakeBpf, ifindex: int
) -> None:
    with (
        bpf.load_program(PASS_PROGRAM, "p") as program,
        bpf.create_link(program, ifindex, mode=XdpMode.GENERIC) as link,
    ):
        kernel.remove_interface("eth0")
        assert link.info().ifindex == 0


def test_without_privilege_nothing_is_found_by_id(kernel: FakeKernel, bpf: FakeBpf) -> None:
    kernel.privileged = False
    with bpf.load_program(PASS_PROGRAM, "p") as program:
        assert bpf.program_info(program.info.id) is None
    with refused(errno.EPERM):
        list(bpf.links())


async def test_news_are_watched_after_the_first_resync(
    kernel: FakeKernel, netlink: FakeNetlink
) -> None:
    kernel.news.put_nowait(LinkChange("eth0", 7, gone=True))
    watch = netlink.watch()
    assert [await anext(watch), await anext(watch)] == [
        LinkChange("", 0, resync=True),
        LinkChange("eth0", 7, gone=True),
    ]


def test_a_pretended_bpffs_needs_no_mount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = pretend_bpffs(monkeypatch, tmp_path / "bpf")
    root.mkdir()
    assert ensure_bpffs(root / "dnsdist") is False


def test_an_unknown_object_of_the_library_is_never_called(bpf: FakeBpf) -> None:
    with pytest.raises(AttributeError):
        _ = bpf._library.bpf_obj_get


def test_a_program_with_a_closed_map_is_refused(bpf: FakeBpf) -> None:
    made = bpf.create_map(MAPS[MapName.CONTROL], 1)
    fd = made.fd
    made.close()
    code = bytes((0x18, 0x11, 0, 0)) + fd.to_bytes(4, "little") + bytes(8)
    with pytest.raises(KernelError):
        bpf.load_program(code + PASS_PROGRAM, "p")
