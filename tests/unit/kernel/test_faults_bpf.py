"""Every function of libbpf fails with every errno of its manual page: one error, nothing held."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.errnos import BPF, name_of
from tests.support.descriptors import none_left_open
from xdpctl.abi import MAPS, MapName, RuleAction, encode_value
from xdpctl.errors import KernelError, MapFullError, XdpctlError
from xdpctl.kernel.bpf.libbpf import (
    _PROTOTYPES,
    BPF_NOEXIST,
    LINK_TYPE_XDP,
    LinkInfoStruct,
    MapInfoStruct,
)
from xdpctl.kernel.bpf.programs import Link, Program, XdpMode
from xdpctl.kernel.bpf.syscall import Bpf

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Callable

    from xdpctl.kernel.bpf.maps import Map

SPEC = MAPS[MapName.ADDR_V4]
KEY, VALUE = bytes(4), encode_value(RuleAction.DROP)
NOWHERE = Path("/nowhere/pin")
MAKES_DESCRIPTORS = (
    *("bpf_map_create", "bpf_obj_get", "bpf_prog_load", "bpf_link_create"),
    "bpf_btf_load",
    *("bpf_prog_get_fd_by_id", "bpf_link_get_fd_by_id"),
)


class Library:
    """libbpf on a kernel where one function fails and the others do nothing, well.

    Descriptors that it gives out are real ones, so that one that is not closed is seen.
    """

    def __init__(self) -> None:
        self.fails: dict[str, int] = {}

    def __getattr__(self, name: str) -> Callable[..., int]:
        assert name in _PROTOTYPES, name

        def call(*arguments: Any) -> int:  # noqa: ANN401 - ctypes' own
            if name in self.fails:
                return -self.fails[name]
            if name in MAKES_DESCRIPTORS:
                return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            if name == "bpf_obj_get_info_by_fd":
                describe(arguments[1]._obj)
            return 1 if name == "libbpf_num_possible_cpus" else 0

        return call


def describe(info: ctypes.Structure) -> None:
    """Fill in what the kernel would say of addr-v4, or of a link."""
    if isinstance(info, MapInfoStruct):
        info.type, info.key_size, info.value_size = SPEC.type, SPEC.key_size, SPEC.value_size
        info.max_entries = 8
    if isinstance(info, LinkInfoStruct):
        info.type = LINK_TYPE_XDP


class Kernel:
    """A kernel with one map, one program and one link on it."""

    def __init__(self) -> None:
        self.library = Library()
        self.bpf = Bpf()
        self.bpf.__dict__["_library"] = self.library
        self.table: Map = self.bpf.create_map(SPEC, 8)
        self.program: Program = self.bpf.load_program(bytes(8), "test")
        self.link: Link = self.bpf.create_link(self.program, 1, mode=XdpMode.NATIVE)

    def close(self) -> None:
        """Close what is held."""
        for held in (self.table, self.program, self.link):
            held.close()


USES: dict[str, tuple[Callable[[Kernel], object], ...]] = {
    "bpf_map_create": (lambda k: k.bpf.create_map(SPEC, 8),),
    "bpf_map_lookup_elem": (
        lambda k: k.table.lookup(KEY),
        lambda k: k.table.lookup_many(KEY * 2),
    ),
    "bpf_map_update_elem": (
        lambda k: k.table.update(KEY, VALUE),
        lambda k: k.table.update_batch(KEY, VALUE, BPF_NOEXIST),
    ),
    "bpf_map_delete_elem": (lambda k: k.table.delete(KEY),),
    "bpf_map_lookup_batch": (
        lambda k: list(k.table.chunks()),
        lambda k: k.table.part(0, 8),
        lambda k: k.table.key_walk(8).walk(),
    ),
    "bpf_map_update_batch": (lambda k: k.table.update_batch(KEY, VALUE),),
    "bpf_map_delete_batch": (lambda k: k.table.delete_batch(KEY),),
    "bpf_obj_get": (
        lambda k: k.bpf.open_map(NOWHERE),
        lambda k: k.bpf.open_link(NOWHERE),
    ),
    "bpf_obj_pin": (lambda k: k.table.pin(NOWHERE), lambda k: k.link.pin(NOWHERE)),
    "bpf_obj_get_info_by_fd": (
        lambda k: k.bpf.create_map(SPEC, 8),
        lambda k: k.bpf.load_program(bytes(8), "test"),
        lambda k: k.bpf.open_program(1),
        lambda k: k.link.info(),
    ),
    "bpf_prog_load": (lambda k: k.bpf.load_program(bytes(8), "test"),),
    "bpf_prog_get_fd_by_id": (lambda k: k.bpf.program_info(1),),
    "bpf_prog_test_run_opts": (lambda k: k.program.test_run(bytes(64)),),
    "bpf_link_create": (lambda k: k.bpf.create_link(k.program, 1, mode=XdpMode.NATIVE),),
    "bpf_link_update": (lambda k: k.link.update(k.program),),
    "bpf_link_detach": (lambda k: k.link.detach(),),
    "bpf_link_get_next_id": (lambda k: list(k.bpf.links()),),
    "bpf_link_get_fd_by_id": (lambda k: next(iter(k.bpf.links())),),
}
"""What of the kernel layer calls a function. bpf_map_get_next_key: a test of its own."""


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


CASES = [
    pytest.param(name, number, use, id=f"{name} {name_of(number)} {turn}")
    for name, uses in USES.items()
    for number in BPF[name]
    for turn, use in enumerate(uses)
]


def test_no_function_of_libbpf_is_left_out() -> None:
    never_fails = {"libbpf_num_possible_cpus", "libbpf_set_print", "bpf_btf_load"}
    assert set(USES) | {"bpf_map_get_next_key"} == set(BPF)
    assert set(BPF) == set(_PROTOTYPES) - never_fails


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL, errno.EMFILE])
def test_a_program_is_loaded_without_types_where_the_kernel_takes_none(number: int) -> None:
    kernel = Kernel()
    with none_left_open():
        kernel.library.fails["bpf_btf_load"] = number
        with kernel.bpf.load_program(bytes(8), "test") as program:
            os.fstat(program.fd)
    kernel.close()


@pytest.mark.parametrize(("name", "number", "use"), CASES)
def test_an_errno_is_one_sentence_and_leaves_no_descriptor(
    name: str, number: int, use: Callable[[Kernel], object]
) -> None:
    kernel = Kernel()
    with none_left_open():
        kernel.library.fails[name] = number
        with pytest.raises(KernelError) as caught:
            use(kernel)
    kernel.close()
    error = caught.value
    assert error.errno == number
    assert error.sentence.startswith("cannot ")
    assert f"{os.strerror(number)} ({error.symbol})" in error.sentence
    assert "\n" not in error.sentence


@pytest.mark.parametrize("number", BPF["bpf_map_get_next_key"])
def test_a_map_without_batches_that_cannot_be_read_is_one_sentence(number: int) -> None:
    kernel = Kernel()
    kernel.library.fails = {"bpf_map_lookup_batch": errno.EINVAL, "bpf_map_get_next_key": number}
    with pytest.raises(KernelError, match="cannot read the entries of map addr-v4"):
        list(kernel.table.chunks())
    kernel.close()


@pytest.mark.parametrize("number", [errno.E2BIG, errno.ENOSPC, errno.ENOMEM])
def test_a_full_map_is_named_in_batches_too(number: int) -> None:
    kernel = Kernel()
    kernel.library.fails["bpf_map_update_batch"] = number
    with pytest.raises(MapFullError, match="addr-v4 is full at 8 entries"):
        kernel.table.update_batch(KEY, VALUE)
    kernel.close()


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EPERM, errno.EACCES])
def test_a_program_that_may_not_be_seen_is_none(number: int) -> None:
    kernel = Kernel()
    kernel.library.fails["bpf_prog_get_fd_by_id"] = number
    assert kernel.bpf.program_info(1) is None
    kernel.close()


def test_a_link_that_ends_while_links_are_listed_is_left_out() -> None:
    kernel = Kernel()
    kernel.library.fails["bpf_link_get_fd_by_id"] = errno.ENOENT
    seen = iter([0, 0, -errno.ENOENT])
    kernel.library.__dict__["bpf_link_get_next_id"] = lambda *_: next(seen)
    assert list(kernel.bpf.links()) == []
    kernel.close()


def test_a_detached_link_may_be_gone_already() -> None:
    kernel = Kernel()
    kernel.library.fails["bpf_link_detach"] = errno.ENOLINK
    kernel.link.detach()
    kernel.close()


def test_an_unknown_errno_has_a_sentence() -> None:
    kernel = Kernel()
    kernel.library.fails["bpf_map_create"] = 4095
    with pytest.raises(XdpctlError, match=r"cannot create map addr-v4 .*4095"):
        kernel.bpf.create_map(SPEC, 8)
    kernel.close()
