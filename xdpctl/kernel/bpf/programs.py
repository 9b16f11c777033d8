"""Loaded programs, and the links that attach them to interfaces and control groups.

Owns their descriptors and the kernel's description of them. Does not own where links are pinned
(filter/own_pins.py). Made by syscall.py; used by filter/, program/selftest.py, status/checks/ and
maps/name_follower.py. A test run blocks as long as its repetitions take, the rest hardly at all.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from dataclasses import dataclass
from enum import StrEnum

from xdpctl.kernel.bpf.descriptor import Descriptor, read_info
from xdpctl.kernel.bpf.libbpf import (
    BPF_F_REPLACE,
    LINK_TYPE_XDP,
    LinkInfoStruct,
    LinkUpdateOptions,
    ProgramInfoStruct,
    TestRunOptions,
    options,
)
from xdpctl.kernel.failure import kernel_error

_HEADROOM = 256
_CONTEXT = struct.Struct("=6I")
"""`struct xdp_md`: data, data_end, and what is 0 here."""

_SHORTEST_FRAME = 14


class XdpMode(StrEnum):
    """Where a program runs: in the driver, behind it, or on the card."""

    NATIVE = "native"
    GENERIC = "generic"
    OFFLOAD = "offload"


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What the kernel says about a program.

    `tag` is the hash of its instructions, 16 hex digits. Run time (ns) and run count
    grow only while kernel.bpf_stats_enabled is set. `verified_instructions` is 0
    before Linux 5.16. `map_ids` are the ids of the maps that it uses.
    """

    id: int
    tag: str
    name: str
    type: int
    run_time_ns: int
    run_count: int
    verified_instructions: int
    jited_length: int
    xlated_length: int
    map_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What the kernel says about a link. For XDP, type is LINK_TYPE_XDP; ifindex 0: defunct."""

    id: int
    type: int
    program_id: int
    ifindex: int


@dataclass(frozen=True, slots=True)
class TestRun:
    """What a program did with one frame, and how long one run took on average."""

    __test__ = False

    return_value: int
    frame: bytes
    nanoseconds: int


class Program(Descriptor):
    """A loaded program; `info` is read once, when the object is made."""

    info: ProgramInfo

    def __init__(self, library: ctypes.CDLL, fd: int, label: str) -> None:
        super().__init__(library, fd, label)
        try:
            self.info = self.current_info()
        except BaseException:
            self.close()
            raise

    def current_info(self) -> ProgramInfo:
        """Return what the kernel says about the program now."""
        raw = ProgramInfoStruct()
        read_info(self._library, self.fd, raw, self.label)
        used = ProgramInfoStruct()
        ids = (ctypes.c_uint32 * raw.nr_map_ids)()
        used.nr_map_ids, used.map_ids = raw.nr_map_ids, ctypes.addressof(ids)
        read_info(self._library, self.fd, used, self.label)
        return ProgramInfo(
            id=raw.id,
            tag=bytes(raw.tag).hex(),
            name=raw.name.decode("ascii", "replace"),
            type=raw.type,
            run_time_ns=raw.run_time_ns,
            run_count=raw.run_cnt,
            verified_instructions=raw.verified_insns,
            jited_length=raw.jited_prog_len,
            xlated_length=raw.xlated_prog_len,
            map_ids=tuple(ids),
        )

    def test_run(self, frame: bytes, repeat: int = 1, first_buffer: int | None = None) -> TestRun:
        """Run the program on a frame, without any interface.

        Args:
            frame: at least 14 bytes, and less than a page minus the headroom.
            repeat: number of runs; the time is their average. Each run gets the frame as
                the run before left it.
            first_buffer: number of bytes of a longer frame in its first buffer; Linux 6.18 and
                later accept it.

        Raises:
            KernelError: EINVAL (frame too short or too long), EPERM, others.
        """
        room = ctypes.create_string_buffer(len(frame) + _HEADROOM)
        context = None
        if first_buffer is not None and first_buffer < len(frame):
            context = ctypes.create_string_buffer(_CONTEXT.pack(0, first_buffer, 0, 0, 0, 0))
        result = -errno.EINTR
        while result == -errno.EINTR:
            run = options(
                TestRunOptions,
                data_in=frame,
                data_size_in=len(frame),
                data_out=ctypes.addressof(room),
                data_size_out=len(room),
                repeat=repeat,
                ctx_in=ctypes.addressof(context) if context else None,
                ctx_size_in=_CONTEXT.size if context else 0,
            )
            result = self._library.bpf_prog_test_run_opts(self.fd, ctypes.byref(run))
        if result < 0:
            raise kernel_error(
                f"cannot test {self.label} on a frame of {len(frame)} bytes",
                -result,
                "CAP_BPF",
                "CAP_NET_ADMIN",
                hints={errno.EINVAL: f"a frame has {_SHORTEST_FRAME} to about 3500 bytes"},
            )
        return TestRun(run.retval, room.raw[: run.data_size_out], run.duration)


class Link(Descriptor):
    """The attachment of a program; ends with its last descriptor or pin.

    The kernel ends a link a little after its last pin is unlinked; `detach` takes effect at
    once.
    """

    def info(self) -> LinkInfo:
        """Return what the kernel says about the link now."""
        raw = LinkInfoStruct()
        read_info(self._library, self.fd, raw, self.label)
        return LinkInfo(
            id=raw.id,
            type=raw.type,
            program_id=raw.prog_id,
            ifindex=raw.ifindex if raw.type == LINK_TYPE_XDP else 0,
        )

    def update(self, program: Program, expected: Program | None = None) -> None:
        """Replace the attached program by another, without a gap.

        Args:
            program: the new program.
            expected: the attached program; if another is attached, that is an error.

        Raises:
            KernelError: EPERM if a program other than `expected` is attached; ENOLINK if the
                interface is gone.
        """
        option = options(
            LinkUpdateOptions,
            flags=BPF_F_REPLACE if expected else 0,
            old_prog_fd=expected.fd if expected else 0,
        )
        result = self._library.bpf_link_update(self.fd, program.fd, ctypes.byref(option))
        if result < 0:
            hints = {errno.ENOLINK: "its interface is gone: create a new link"}
            if expected is not None:
                hints[errno.EPERM] = f"{expected.label} is no longer attached there"
            raise kernel_error(
                f"cannot replace the program of {self.label}",
                -result,
                "CAP_BPF",
                "CAP_NET_ADMIN",
                hints=hints,
            )

    def detach(self) -> None:
        """Remove the program from the interface; the link stays, defunct.

        Does nothing if the link is already defunct.
        """
        result = self._library.bpf_link_detach(self.fd)
        if result < 0 and result != -errno.ENOLINK:
            raise kernel_error(f"cannot detach {self.label}", -result, "CAP_BPF", "CAP_NET_ADMIN")
