"""Maps, programs and links on the real kernel."""

from __future__ import annotations

import errno
import os
import re
import resource
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel.conftest import ip
from tests.support.descriptors import none_left_open
from tests.support.kernel_contract import (
    DROP,
    PASS_PROGRAM,
    MapSeam,
    PinSeam,
    ProgramSeam,
    entries_of,
    key_cidr,
    key_v4,
    refused,
)
from xdpctl.abi import MAPS, MapName, MapSpec, MapType, Scope
from xdpctl.errors import KernelError, MapFullError, VerifierError, XdpctlError
from xdpctl.kernel.bpf import libbpf
from xdpctl.kernel.bpf import syscall as bpf_module
from xdpctl.kernel.bpf.programs import Link, Program, XdpMode
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.kernel.failure import kernel_release

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map

pytestmark = pytest.mark.root

MANY = 100_000


class TestMaps(MapSeam):
    """The contract of maps, on the kernel."""


class TestPins(PinSeam):
    """The contract of pins, on the kernel."""


class TestPrograms(ProgramSeam):
    """The contract of programs and links, on the kernel."""


@pytest.fixture
def table(bpf: Bpf) -> Iterator[Map]:
    with bpf.create_map(MAPS[MapName.ADDR_V4], MANY) as made:
        yield made


@pytest.fixture
def prefixes(bpf: Bpf) -> Iterator[Map]:
    with bpf.create_map(MAPS[MapName.CIDR4], 8) as made:
        yield made


class Stubborn:
    """libbpf with some of its functions replaced, as a kernel without them would be."""

    def __init__(self, library: object, answers: dict[str, Callable[..., int]]) -> None:
        self._library = library
        self._answers = answers

    def __getattr__(self, name: str) -> object:
        return self._answers.get(name) or getattr(self._library, name)


def without(owner: Map | Program | Link | Bpf, number: int, *calls: str) -> None:
    """Let these libbpf calls of a map or of all fail with an errno, from now on."""
    answers: dict[str, Callable[..., int]] = dict.fromkeys(calls, lambda *_: -number)
    owner.__dict__["_library"] = Stubborn(owner._library, answers)


def many_keys(count: int = MANY) -> bytes:
    return struct.pack(f"={count}I", *range(count))


def test_many_entries_are_written_read_and_deleted_in_batches(table: Map) -> None:
    keys = many_keys()
    assert table.update_batch(keys, DROP * MANY) == MANY
    assert len(entries_of(table, 1000)) == MANY
    assert table.delete_batch(keys) == MANY


def test_a_bucket_of_more_entries_than_a_chunk_is_read_whole(bpf: Bpf) -> None:
    """The kernel answers ENOSPC and the chunk grows."""
    with bpf.create_map(MAPS[MapName.ADDR_V4], 4096) as table:
        table.update_batch(many_keys(4096), DROP * 4096)
        assert len(entries_of(table, 1)) == 4096


def test_batches_that_fill_the_map_in_a_later_step_tell_how_many_went_in(bpf: Bpf) -> None:
    with bpf.create_map(MAPS[MapName.ADDR_V4], 20_000) as table:
        with pytest.raises(MapFullError) as caught:
            table.update_batch(many_keys(30_000), DROP * 30_000)
        assert caught.value.done == 20_000


@pytest.mark.parametrize("number", [libbpf.ENOTSUPP, errno.EOPNOTSUPP, errno.EINVAL])
@pytest.mark.parametrize("size", [1, 3, 4096])
def test_a_map_type_without_batches_is_walked(prefixes: Map, number: int, size: int) -> None:
    written = {key_cidr(count): DROP for count in range(8)}
    prefixes.update_batch(b"".join(written), DROP * 8)
    without(prefixes, number, "bpf_map_lookup_batch")
    assert entries_of(prefixes, size) == written


def test_an_empty_map_without_batches_has_no_chunks(prefixes: Map) -> None:
    without(prefixes, libbpf.ENOTSUPP, "bpf_map_lookup_batch")
    assert list(prefixes.chunks()) == []


def test_a_map_type_without_batches_is_written_one_by_one(prefixes: Map) -> None:
    without(prefixes, libbpf.ENOTSUPP, "bpf_map_update_batch")
    keys = b"".join(map(key_cidr, range(10)))
    with pytest.raises(MapFullError) as caught:
        prefixes.update_batch(keys, DROP * 10)
    assert (caught.value.done, len(entries_of(prefixes))) == (8, 8)


def test_a_map_type_without_batches_is_emptied_one_by_one(prefixes: Map) -> None:
    prefixes.update(key_cidr(3), DROP)
    without(prefixes, libbpf.ENOTSUPP, "bpf_map_delete_batch")
    assert prefixes.delete_batch(b"".join(map(key_cidr, range(8)))) == 1


@pytest.mark.parametrize(
    "call",
    [
        "bpf_map_lookup_elem",
        "bpf_map_update_elem",
        "bpf_map_delete_elem",
        "bpf_map_lookup_batch",
        "bpf_map_update_batch",
        "bpf_map_delete_batch",
        "bpf_obj_get_info_by_fd",
    ],
)
def test_any_other_errno_is_a_kernel_error(table: Map, call: str) -> None:
    without(table, errno.EPERM, call)
    uses = {
        "bpf_map_lookup_elem": lambda: table.lookup(key_v4(1)),
        "bpf_map_update_elem": lambda: table.update(key_v4(1), DROP),
        "bpf_map_delete_elem": lambda: table.delete(key_v4(1)),
        "bpf_map_lookup_batch": lambda: list(table.chunks()),
        "bpf_map_update_batch": lambda: table.update_batch(key_v4(1), DROP),
        "bpf_map_delete_batch": lambda: table.delete_batch(key_v4(1)),
        "bpf_obj_get_info_by_fd": table.current_info,
    }
    with refused(errno.EPERM):
        uses[call]()


def test_a_walk_that_fails_midway_is_a_kernel_error(prefixes: Map) -> None:
    without(prefixes, libbpf.ENOTSUPP, "bpf_map_lookup_batch")
    without(prefixes, errno.EPERM, "bpf_map_get_next_key")
    with refused(errno.EPERM):
        list(prefixes.chunks())


def test_deleting_one_by_one_tells_how_far_it_got(prefixes: Map) -> None:
    without(prefixes, libbpf.ENOTSUPP, "bpf_map_delete_batch")
    without(prefixes, errno.EPERM, "bpf_map_delete_elem")
    with pytest.raises(KernelError) as caught:
        prefixes.delete_batch(key_cidr(1))
    assert (caught.value.errno, caught.value.done) == (errno.EPERM, 0)


def test_a_reader_that_never_gets_anywhere_is_told_to_try_again(table: Map) -> None:
    """EINTR without an entry: the kernel's answer when entries vanish under it."""

    def nothing(*arguments: Any) -> int:  # noqa: ANN401 - pointers of ctypes
        arguments[5]._obj.value = 0  # the count
        return -errno.EINTR

    answers = {"bpf_map_lookup_batch": nothing}
    table.__dict__["_library"] = Stubborn(table._library, answers)
    with refused(errno.EAGAIN):
        list(table.chunks())


def test_a_map_that_gives_the_same_entries_for_ever_is_told_to_try_again(prefixes: Map) -> None:
    """A trie starts from its beginning when a reader's last entry is deleted."""
    first = key_cidr(1)
    prefixes.update(first, DROP)

    def again(_fd: int, _previous: object, following: Any) -> int:  # noqa: ANN401 - of ctypes
        following.raw = first
        return 0

    without(prefixes, libbpf.ENOTSUPP, "bpf_map_lookup_batch")
    prefixes.__dict__["_library"] = Stubborn(prefixes._library, {"bpf_map_get_next_key": again})
    with refused(errno.EAGAIN):
        list(prefixes.chunks(4))


def test_entries_written_and_deleted_meanwhile_do_not_hide_the_others(table: Map) -> None:
    """What is there from beginning to end is always given."""
    lasting = 20_000
    table.update_batch(many_keys(lasting), DROP * lasting)
    passing = struct.pack("=20000I", *range(50_000, 70_000))
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            table.update_batch(passing, DROP * 20_000)
            table.delete_batch(passing)

    writer = threading.Thread(target=churn)
    writer.start()
    try:
        rounds = [set(entries_of(table, 512)) for _ in range(5)]
    finally:
        stop.set()
        writer.join()
    wanted = {struct.pack("=I", number) for number in range(lasting)}
    assert all(wanted <= found for found in rounds)


def test_a_full_descriptor_table_is_one_sentence(bpf: Bpf) -> None:
    with bpf.create_map(MAPS[MapName.ADDR_V4], 1):
        pass
    code = (
        "import resource, sys\n"
        "from xdpctl.abi import MAPS, MapName\n"
        "from xdpctl.errors import KernelError\n"
        "from xdpctl.kernel.bpf.syscall import Bpf\n"
        "bpf = Bpf(); bpf.possible_cpus()\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "try: bpf.create_map(MAPS[MapName.ADDR_V4], 1)\n"
        "except KernelError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout == (
        "cannot create map addr-v4 with 1 entries: Too many open files (EMFILE);"
        " raise the limit of open files (LimitNOFILE=)\n"
    )


UNPRIVILEGED = """
import ctypes, os, sys
from pathlib import Path
from tests.support.kernel_contract import PASS_PROGRAM
from xdpctl.abi import MAPS, MapName
from xdpctl.errors import XdpctlError
from xdpctl.kernel.bpf.syscall import Bpf
bpf = Bpf()
with bpf.load_program(PASS_PROGRAM, "probe") as program:
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    calls = {
        "create_map": lambda: bpf.create_map(MAPS[MapName.ADDR_V4], 1),
        "create_xskmap": lambda: bpf.create_map(MAPS[MapName.XSKMAP], 1),
        "load_program": lambda: bpf.load_program(PASS_PROGRAM, "p"),
        "test_run": lambda: program.test_run(bytes(60)),
        "links": lambda: list(bpf.links()),
        "open_map": lambda: bpf.open_map(Path(sys.argv[2])),
    }
    try:
        calls[sys.argv[1]]()
    except XdpctlError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ("create_map", "run as root, or give this process CAP_BPF"),
        ("create_xskmap", "run as root, or give this process CAP_BPF and CAP_NET_ADMIN"),
        ("load_program", "give this process CAP_BPF and CAP_NET_ADMIN and CAP_PERFMON"),
        ("links", "run as root, or give this process CAP_SYS_ADMIN"),
        ("open_map", "needs read and write permission on the pin"),
    ],
)
def test_without_privilege_the_sentence_says_what_is_missing(
    bpf: Bpf, directory: Path, call: str, sentence: str
) -> None:
    with bpf.create_map(MAPS[MapName.ADDR_V4], 1) as made:
        made.pin(directory / "addr-v4")
    run = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED, call, directory / "addr-v4"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert sentence in run.stdout


def test_a_program_that_the_verifier_refuses_carries_its_log(bpf: Bpf) -> None:
    reads_r2 = struct.pack("=BBhi", 0xBF, 0x20, 0, 0) + PASS_PROGRAM[8:]
    with pytest.raises(VerifierError, match="R2 !read_ok") as caught:
        bpf.load_program(reads_r2, "broken")
    assert "R2 !read_ok" in caught.value.log


def test_no_instructions_are_a_kernel_error_without_log(bpf: Bpf) -> None:
    with pytest.raises(KernelError) as caught:
        bpf.load_program(b"", "empty")
    assert caught.value.errno in (errno.EINVAL, errno.E2BIG)


def test_a_frame_of_a_size_that_the_kernel_refuses_is_told_which_it_takes(bpf: Bpf) -> None:
    with bpf.load_program(PASS_PROGRAM, "p") as program:
        without(program, errno.EINVAL, "bpf_prog_test_run_opts")
        with pytest.raises(KernelError, match=r"frame of 13 bytes: .*; a frame has 14 to about"):
            program.test_run(bytes(13))


def test_verified_instructions_are_counted_from_linux_5_16_on(bpf: Bpf) -> None:
    with bpf.load_program(PASS_PROGRAM, "p") as program:
        counted = program.info.verified_instructions
    assert counted == (2 if kernel_release() >= (5, 16) else 0)


def test_a_test_run_gives_a_changed_frame(bpf: Bpf) -> None:
    """r2 = data; r3 = data_end; r4 = r2 + 1; if r4 > r3 goto out; *(u8 *)r2 = 0xaa."""
    code = b"".join(
        struct.pack("=BBhi", *fields)
        for fields in (
            (0x61, 0x12, 0, 0),
            (0x61, 0x13, 4, 0),
            (0xBF, 0x24, 0, 0),
            (0x07, 0x04, 0, 1),
            (0x2D, 0x34, 1, 0),
            (0x72, 0x02, 0, 0xAA),
        )
    )
    with bpf.load_program(code + PASS_PROGRAM, "writes") as program:
        assert program.test_run(bytes(60)).frame == b"\xaa" + bytes(59)


def test_a_programs_name_is_cut_to_what_the_kernel_takes(bpf: Bpf) -> None:
    with bpf.load_program(PASS_PROGRAM, "xdp-filter for eth0.100") as program:
        assert program.info.name == "xdp_filter_f100"


def test_both_destination_maps_have_names_of_their_own(bpf: Bpf) -> None:
    names = set()
    for name in (MapName.XSK_DESTINATIONS_V4, MapName.XSK_DESTINATIONS_V6):
        with bpf.create_map(MAPS[name], 1) as made:
            names.add(made.info.name)
    assert len(names) == 2


@pytest.mark.usefixtures("namespace")
def test_a_driver_without_native_mode_is_named_with_the_way_out(bpf: Bpf) -> None:
    with (
        bpf.load_program(PASS_PROGRAM, "p") as program,
        pytest.raises(KernelError, match=r"interface lo in native mode: .*; the driver has no"),
    ):
        bpf.create_link(program, 1, mode=XdpMode.NATIVE)


def test_a_link_whose_interface_is_gone_is_defunct(bpf: Bpf, ifindex: int) -> None:
    with (
        bpf.load_program(PASS_PROGRAM, "p") as program,
        bpf.create_link(program, ifindex, mode=XdpMode.NATIVE) as link,
    ):
        ip("link", "del", "veth0")
        assert link.info().ifindex == 0


def test_no_descriptor_outlives_a_failure(bpf: Bpf, directory: Path, ifindex: int) -> None:
    wrong = MapSpec(MapName.ADDR_V4, 1, MapType.HASH, 0, 16, 0, 1, Scope.SHARED)
    with bpf.load_program(PASS_PROGRAM, "p") as program:
        program.pin(directory / "program")
        with bpf.create_link(program, ifindex, mode=XdpMode.NATIVE) as link:
            with none_left_open():
                for call in (
                    lambda: bpf.create_map(wrong, 1),
                    lambda: bpf.open_map(directory / "program"),
                    lambda: bpf.open_map(directory / "missing"),
                    lambda: bpf.open_link(directory / "program"),
                    lambda: bpf.load_program(bytes(8), "broken"),
                    lambda: bpf.create_link(program, ifindex, mode=XdpMode.NATIVE),
                    lambda: bpf.create_link(program, 0x7FFFFFF, mode=XdpMode.NATIVE),
                    lambda: link.pin(directory / "a.b"),
                ):
                    with pytest.raises(XdpctlError):
                        call()
            assert bpf.program_info(0x7FFFFFFF) is None


def test_a_description_that_cannot_be_read_closes_the_descriptor(bpf: Bpf) -> None:
    without(bpf, errno.EFAULT, "bpf_obj_get_info_by_fd")
    with none_left_open():
        for call in (
            lambda: bpf.create_map(MAPS[MapName.ADDR_V4], 1),
            lambda: bpf.load_program(PASS_PROGRAM, "p"),
        ):
            with refused(errno.EFAULT):
                call()


def test_a_link_that_ends_while_it_is_listed_is_left_out(bpf: Bpf, ifindex: int) -> None:
    without(bpf, errno.ENOENT, "bpf_link_get_fd_by_id")
    with (
        bpf.load_program(PASS_PROGRAM, "p") as program,
        bpf.create_link(program, ifindex, mode=XdpMode.NATIVE),
    ):
        assert list(bpf.links()) == []


def test_an_id_that_the_kernel_stumbles_over_is_a_kernel_error(bpf: Bpf) -> None:
    without(bpf, errno.ENOMEM, "bpf_prog_get_fd_by_id")
    with refused(errno.ENOMEM):
        bpf.program_info(1)


def test_a_detach_that_is_refused_is_a_kernel_error(bpf: Bpf, ifindex: int) -> None:
    with (
        bpf.load_program(PASS_PROGRAM, "p") as program,
        bpf.create_link(program, ifindex, mode=XdpMode.NATIVE) as link,
    ):
        without(link, errno.EPERM, "bpf_link_detach")
        with refused(errno.EPERM):
            link.detach()


def test_a_test_run_that_a_signal_interrupts_is_run_again(bpf: Bpf) -> None:
    with bpf.load_program(PASS_PROGRAM, "p") as program:
        run = program._library.bpf_prog_test_run_opts
        results = [-errno.EINTR]
        answer = {"bpf_prog_test_run_opts": lambda *a: results.pop() if results else run(*a)}
        program.__dict__["_library"] = Stubborn(program._library, answer)
        assert program.test_run(bytes(60)).return_value == 2


def test_a_machine_whose_cpus_cannot_be_counted_is_a_kernel_error(bpf: Bpf) -> None:
    without(bpf, errno.ENOENT, "libbpf_num_possible_cpus")
    with pytest.raises(KernelError, match="cannot read /sys/devices/system/cpu/possible"):
        bpf.possible_cpus()


@pytest.mark.parametrize("allowed", [resource.RLIM_INFINITY, 1 << 23])
def test_before_5_11_the_limit_of_locked_memory_is_raised_as_far_as_it_goes(
    monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    limits = []

    def set_limit(_which: int, wanted: tuple[int, int]) -> None:
        if wanted[0] == resource.RLIM_INFINITY != allowed:
            raise PermissionError
        limits.append(wanted)

    monkeypatch.setattr(bpf_module, "kernel_release", lambda: (5, 10))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 16, allowed))
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    assert Bpf().possible_cpus() >= 1
    assert limits == [(allowed, allowed)]


def test_descriptors_are_not_handed_to_children(bpf: Bpf) -> None:
    with (
        bpf.create_map(MAPS[MapName.ADDR_V4], 1) as made,
        bpf.load_program(PASS_PROGRAM, "p") as program,
    ):
        assert not os.get_inheritable(made.fd)
        assert not os.get_inheritable(program.fd)


def test_a_missing_library_says_which_package_helps() -> None:
    with pytest.raises(KernelError, match=r"cannot load libbpf\.so\.77: .*Debian: libbpf1"):
        libbpf.load_library("libbpf.so.77")


def test_a_library_without_the_functions_is_too_old() -> None:
    with pytest.raises(KernelError, match=r"install libbpf 1\.0 or later"):
        libbpf.load_library("libc.so.6")


@pytest.mark.parametrize(
    ("structure", "name"),
    [
        (libbpf.MapInfoStruct, "bpf_map_info"),
        (libbpf.ProgramInfoStruct, "bpf_prog_info"),
        (libbpf.LinkInfoStruct, "bpf_link_info"),
    ],
)
def test_structures_are_those_of_the_kernels_header(
    structure: type[ctypes.Structure], name: str, tmp_path: Path
) -> None:
    """Offsets by the host's compiler, but of bit fields and of our own padding."""
    places = {"ifindex": "xdp.ifindex"} if name == "bpf_link_info" else {}
    fields = [
        field
        for field, *_ in structure._fields_
        if not field.startswith("_") and field != "gpl_compatible"
    ]
    source = tmp_path / "offsets.c"
    source.write_text(
        "#include <linux/bpf.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {\n"
        + "".join(
            f'printf("{field} %zu\\n", offsetof(struct {name}, {places.get(field, field)}));\n'
            for field in fields
        )
        + "return 0; }\n"
    )
    program = tmp_path / "offsets"
    subprocess.run(["cc", "-o", program, source], check=True)
    run = subprocess.run([program], check=True, capture_output=True, text=True)
    offsets = dict(re.findall(r"(\w+) (\d+)", run.stdout))
    assert {field: str(getattr(structure, field).offset) for field in fields} == offsets
