"""The BPF file system's refusals, on a pretended one and without privilege to lose."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.support.fake_kernel import FakeBpf, FakeKernel, pretend_bpffs
from tests.support.kernel_contract import DROP, key_v4, refused
from xdpctl.abi import MAPS, MapName
from xdpctl.errors import PinError
from xdpctl.kernel import paths
from xdpctl.kernel.bpf import bpffs, pins
from xdpctl.kernel.bpf.pins import PinPolicy

SPEC = MAPS[MapName.ADDR_V4]
DEFAULT = PinPolicy()


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the root of a pretended BPF file system."""
    place = tmp_path / "bpf"
    place.mkdir(mode=0o700)
    return pretend_bpffs(monkeypatch, place)


def refuse(monkeypatch: pytest.MonkeyPatch, owner: object, call: str, number: int) -> None:
    """Let a call of the operating system fail."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(owner, call, fail)


def test_a_map_is_made_once_and_opened_after(bpf: FakeBpf, root: Path) -> None:
    with pins.open_or_create(bpf, root, SPEC, entries=4, policy=DEFAULT).map as made:
        made.update(key_v4(1), DROP)
    opened = pins.open_or_create(bpf, root, SPEC, entries=4, policy=DEFAULT)
    assert (opened.created, opened.map.lookup(key_v4(1))) == (False, DROP)


def test_a_pin_that_may_not_be_opened_is_a_kernel_error(
    kernel: FakeKernel, bpf: FakeBpf, root: Path
) -> None:
    kernel.faults.set("open_map", errno.EPERM)
    with refused(errno.EPERM):
        pins.open_or_create(bpf, root, SPEC, entries=4, policy=DEFAULT)


def test_a_pin_that_may_not_be_made_closes_the_map(
    kernel: FakeKernel, bpf: FakeBpf, root: Path
) -> None:
    kernel.faults.set("map.pin", errno.EACCES)
    with refused(errno.EACCES):
        pins.open_or_create(bpf, root, SPEC, entries=4, policy=DEFAULT)
    assert not kernel.open


def test_an_owner_that_cannot_be_set_closes_the_map(
    monkeypatch: pytest.MonkeyPatch, kernel: FakeKernel, bpf: FakeBpf, root: Path
) -> None:
    refuse(monkeypatch, paths.Opened, "set_owner", errno.EPERM)
    policy = PinPolicy(uid=os.getuid() + 1)
    with pytest.raises(PinError, match=r"cannot set owner and mode of .*/addr-v4"):
        pins.open_or_create(bpf, root, SPEC, entries=4, policy=policy)
    assert not kernel.open


def test_a_directory_that_cannot_be_made_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    refuse(monkeypatch, os, "mkdir", errno.EACCES)
    with pytest.raises(PinError, match=r"cannot make the directory .*: Permission denied"):
        pins.ensure_directory(root / "dnsdist", DEFAULT)


def test_a_directory_made_by_another_meanwhile_is_as_good(
    monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    make = os.mkdir

    def late(name: str, mode: int, dir_fd: int) -> None:
        make(name, mode, dir_fd=dir_fd)
        make(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", late)
    pins.ensure_directory(root / "dnsdist", DEFAULT)
    assert (root / "dnsdist").is_dir()


def test_a_place_that_may_not_be_searched_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    refuse(monkeypatch, Path, "stat", errno.EACCES)
    with pytest.raises(PinError, match="needs search permission on every directory above dnsdist"):
        pins.ensure_bpffs(root / "dnsdist")


def test_a_file_system_that_cannot_be_asked_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PinError, match=r"cannot look at .*: No such file or directory"):
        pins.is_bpffs(tmp_path / "missing")


def test_a_kernel_without_the_file_system_is_told_which_option_it_lacks(tmp_path: Path) -> None:
    sentence = str(bpffs.mount_refusal(tmp_path, errno.ENODEV))
    assert sentence.endswith("No such device; use a kernel with CONFIG_BPF_SYSCALL")


@pytest.mark.parametrize(
    ("policy", "asks"),
    [
        (PinPolicy(), False),
        (PinPolicy(mode=0o660), True),
        (PinPolicy(uid=0), True),
        (PinPolicy(gid=1), True),
    ],
)
def test_anything_but_the_default_is_asked_for(policy: PinPolicy, *, asks: bool) -> None:
    assert policy.asks is asks


@pytest.mark.parametrize(
    ("policy", "needed"),
    [
        (PinPolicy(), False),
        (PinPolicy(uid=0, gid=0), False),
        (PinPolicy(uid=5), True),
        (PinPolicy(gid=5), True),
        (PinPolicy(mode=0o666), False),
    ],
)
def test_the_way_is_opened_for_others_than_root_only(policy: PinPolicy, *, needed: bool) -> None:
    assert policy.needs_traversal is needed


@pytest.mark.parametrize("name", list(MAPS))
def test_every_spec_of_the_contract_fits_itself(bpf: FakeBpf, name: MapName) -> None:
    assert pins.verify(bpf.create_map(MAPS[name], 4).info, MAPS[name]) is None


def test_types_are_named_as_the_kernels_documentation_does() -> None:
    assert [pins.type_text(number) for number in (1, 11, 99)] == ["HASH", "LPM_TRIE", "type 99"]
