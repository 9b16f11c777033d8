"""The BPF system call as one object, which makes and opens maps, programs and links.

Owns opening and making, and the sentences of their errors. Does not own maps (maps.py),
programs and links (programs.py), the directories of pins (pins.py), the contents of maps
(abi.py, store/) or interfaces (kernel/net/interfaces.py). The service and the verbs make one
`Bpf` and pass it on; libbpf is loaded at its first use. Everything blocks, mostly for
microseconds. Linux 5.10 has every call that is used.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from xdpctl.abi import MapType
from xdpctl.errors import KernelError, PinError, VerifierError
from xdpctl.kernel.bpf.descriptor import kind_of
from xdpctl.kernel.bpf.kind import ProgramKind
from xdpctl.kernel.bpf.libbpf import (
    ATTACH_TYPE_SOCK_OPS,
    ATTACH_TYPE_XDP,
    XDP_FLAGS_DRV_MODE,
    XDP_FLAGS_SKB_MODE,
    LinkCreateOptions,
    MapOptions,
    load_library,
    options,
)
from xdpctl.kernel.bpf.loader import LoadRefusedError
from xdpctl.kernel.bpf.loading import load
from xdpctl.kernel.bpf.maps import Map, possible_cpus
from xdpctl.kernel.bpf.programs import Link, LinkInfo, Program, ProgramInfo, XdpMode
from xdpctl.kernel.failure import (
    LOAD_CAPABILITIES,
    kernel_error,
    kernel_release,
    missing_capabilities,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xdpctl.abi import MapSpec
    from xdpctl.kernel.bpf.loader import ProgramLoader


_NAME_ROOM = 15
_PIN_PERMISSION = (
    "xdpctl needs read and write permission on the pin and search permission on its directories"
    " (--pin-owner, --pin-mode)"
)
_UNPRIVILEGED = (5, 19)
"""The first release where kernel.unprivileged_bpf_disabled does not forbid opening pins."""


_MODE_FLAGS = {XdpMode.NATIVE: XDP_FLAGS_DRV_MODE, XdpMode.GENERIC: XDP_FLAGS_SKB_MODE}


class Bpf:
    """The BPF system call. Holds only libbpf, which is loaded at its first use.

    Args:
        loader: loads programs for this process; None: this process loads them itself.
    """

    def __init__(self, loader: ProgramLoader | None = None) -> None:
        self._loader = loader

    @cached_property
    def _library(self) -> ctypes.CDLL:
        _raise_memory_lock()
        return load_library()

    def create_map(self, spec: MapSpec, max_entries: int) -> Map:
        """Make a map of the contract with room for `max_entries`.

        Raises:
            KernelError: EPERM, ENOMEM, E2BIG (more entries than the type can have).
        """
        if spec.inner is not None:  # the kernel copies its properties, and needs it no longer
            with self.create_map(spec.inner, spec.inner.entries) as inner:
                return self._create_map(spec, max_entries, inner.fd)
        return self._create_map(spec, max_entries, 0)

    def _create_map(self, spec: MapSpec, max_entries: int, inner: int) -> Map:
        option = options(MapOptions, map_flags=spec.flags, inner_map_fd=inner)
        fd = self._library.bpf_map_create(
            int(spec.type),
            _object_name(spec.name),
            spec.key_size,
            spec.value_size,
            max_entries,
            ctypes.byref(option),
        )
        if fd < 0:
            capabilities = (
                ("CAP_BPF", "CAP_NET_ADMIN") if spec.type is MapType.XSKMAP else ("CAP_BPF",)
            )
            raise kernel_error(
                f"cannot create map {spec.name} with {max_entries} entries",
                -fd,
                *capabilities,
                hints={errno.E2BIG: "ask for fewer entries (--map-size)"},
            )
        return Map(self._library, fd, str(spec.name))

    def open_map(self, path: Path, *, named: Path | None = None) -> Map:
        """Open a pinned map for reading and writing; errors call it `named`.

        Raises:
            KernelError: ENOENT when nothing is pinned there, EACCES.
            PinError: it is the pin of something else.
        """
        return Map(self._library, self._open_pin(path, "map", named), (named or path).name)

    def load_program(
        self, instructions: bytes, name: str, kind: ProgramKind = ProgramKind.XDP
    ) -> Program:
        """Load a program.

        Args:
            instructions: 8 bytes each, with real descriptors of maps in them.
            name: shown by bpftool; cut to 15 characters.
            kind: what it is loaded as.

        Raises:
            VerifierError: with the end of the verifier's log.
            KernelError: EPERM and other errors without a log; EPIPE: the loader has ended.
        """
        library = self._library
        known = _object_name(name)
        try:
            if self._loader is None:
                fd, log = load(library, known, instructions, kind)
            else:
                fd, log = self._loader.load(known, instructions, kind)
        except LoadRefusedError as error:
            raise VerifierError(
                f"cannot load program {name}: the process that loads programs refused it:"
                f" {error}; report this",
                log="",
            ) from error
        if fd < 0:
            lacking = (
                self._loader.lacking if self._loader else missing_capabilities(*LOAD_CAPABILITIES)
            )
            raise _load_error(name, -fd, log.decode("utf-8", "replace"), lacking)
        return Program(self._library, fd, f"program {name}")

    def create_link(self, program: Program, ifindex: int, *, mode: XdpMode) -> Link:
        """Attach a program to an interface for as long as the link lives.

        bpf(2) does not report the driver's own reason; `Netlink.refusal` asks for it.

        Args:
            program: the program to attach.
            ifindex: index of the interface in this network namespace.
            mode: NATIVE or GENERIC.

        Raises:
            KernelError: EBUSY and EEXIST: a program is attached; EOPNOTSUPP, EINVAL and
                others: the driver cannot; ENODEV: no such interface; EPERM.
        """
        option = options(LinkCreateOptions, flags=_MODE_FLAGS[mode])
        try:
            name = socket.if_indextoname(ifindex)
        except OSError:
            name = str(ifindex)
        fd = self._library.bpf_link_create(
            program.fd, ifindex, ATTACH_TYPE_XDP, ctypes.byref(option)
        )
        if fd < 0:
            occupied = "another XDP program is attached: remove it, or use --replace"
            # bpf(2) reports EINVAL for an index that does not exist, as for many other errors
            gone = -fd == errno.EINVAL and name == str(ifindex)
            raise kernel_error(
                f"cannot attach {program.label} to interface {name} in {mode} mode",
                errno.ENODEV if gone else -fd,
                "CAP_BPF",
                "CAP_NET_ADMIN",
                hints={
                    errno.EBUSY: occupied,
                    errno.EEXIST: occupied,
                    errno.EOPNOTSUPP: f"the driver has no {mode} XDP: use another --mode",
                    errno.ENODEV: "there is no such interface in this network namespace",
                },
            )
        return Link(self._library, fd, f"the link on interface {name}")

    def create_cgroup_link(self, program: Program, cgroup: int) -> Link:
        """Attach a SOCK_OPS program to a control group for as long as the link lives.

        Args:
            program: the program, beside which others may be attached.
            cgroup: descriptor of the control group's directory.

        Raises:
            KernelError: EPERM; another program is attached that tolerates no others; EBADF: it
                is not a directory of cgroup2; EINVAL: the kernel has no such programs.
        """
        option = options(LinkCreateOptions, flags=0)
        fd = self._library.bpf_link_create(
            program.fd, cgroup, ATTACH_TYPE_SOCK_OPS, ctypes.byref(option)
        )
        if fd < 0:
            raise kernel_error(
                f"cannot attach {program.label} to the root of all control groups",
                -fd,
                "CAP_BPF",
                "CAP_NET_ADMIN",
                hints={errno.EINVAL: "the kernel needs CONFIG_CGROUP_BPF"},
            )
        return Link(self._library, fd, "the link on the root of all control groups")

    def open_link(self, path: Path) -> Link:
        """Open a pinned link.

        Raises:
            KernelError: ENOENT when nothing is pinned there, EACCES.
            PinError: it is the pin of something else.
        """
        return Link(self._library, self._open_pin(path, "link"), f"the link pinned at {path}")

    def program_info(self, program_id: int) -> ProgramInfo | None:
        """Describe a program; None if it is gone or this process lacks CAP_SYS_ADMIN."""
        program = self.open_program(program_id)
        if program is None:
            return None
        with program:
            return program.info

    def open_program(self, program_id: int) -> Program | None:
        """Open a loaded program; None if it is gone or this process lacks CAP_SYS_ADMIN."""
        fd = self._library.bpf_prog_get_fd_by_id(program_id)
        if fd in (-errno.ENOENT, -errno.EPERM, -errno.EACCES):
            return None
        if fd < 0:
            raise kernel_error(f"cannot open program {program_id}", -fd)
        return Program(self._library, fd, f"program {program_id}")

    def open_pinned_program(self, path: Path) -> Program:
        """Open a pinned program.

        Raises:
            KernelError: ENOENT when nothing is pinned there, EACCES.
            PinError: it is the pin of something else.
        """
        label = f"the program pinned at {path}"
        return Program(self._library, self._open_pin(path, "program"), label)

    def links(self) -> Iterator[LinkInfo]:
        """Describe every link of this kernel, in the order of their ids.

        Raises:
            KernelError: EPERM without CAP_SYS_ADMIN.
        """
        link_id = ctypes.c_uint32(0)
        while True:
            result = self._library.bpf_link_get_next_id(link_id.value, ctypes.byref(link_id))
            if result == -errno.ENOENT:
                return
            fd = result if result < 0 else self._library.bpf_link_get_fd_by_id(link_id.value)
            if fd == -errno.ENOENT:
                continue
            if fd < 0:
                raise kernel_error("cannot list the links of BPF programs", -fd, "CAP_SYS_ADMIN")
            with Link(self._library, fd, f"link {link_id.value}") as link:
                info = link.info()
            yield info

    def possible_cpus(self) -> int:
        """Return how many CPUs this machine may ever have: the width of per-CPU values."""
        return possible_cpus(self._library)

    def _open_pin(self, path: Path, kind: str, named: Path | None = None) -> int:
        """Return a descriptor of the pinned object, which must be of this kind."""
        fd: int = self._library.bpf_obj_get(os.fsencode(path))
        path = named or path
        if fd < 0:
            raise kernel_error(f"cannot open the {kind} pinned at {path}", -fd, hints=_open_hints())
        found = kind_of(fd)
        if found not in (kind, ""):
            os.close(fd)
            raise PinError(
                f"cannot open {path}: a {found} is pinned there, not a {kind};"
                " move it away, or choose another directory"
            )
        return fd


def _object_name(name: str) -> bytes:
    """Return a name in the kernel's form: at most 15 letters, digits, underscores and dots.

    A long name keeps its end, which distinguishes xsk-destinations-v4 from -v6.
    """
    text = "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)
    return (text if len(text) <= _NAME_ROOM else text[:12] + text[-3:]).encode("ascii")


def _open_hints() -> dict[int, str]:
    """Return hints for a pin that this process may not open, by errno."""
    eperm = _PIN_PERMISSION
    if kernel_release() < _UNPRIVILEGED and missing_capabilities("CAP_BPF"):
        eperm = (
            "run as root, or give this process CAP_BPF, which Linux before 5.19 needs where"
            f" kernel.unprivileged_bpf_disabled is set; {_PIN_PERMISSION}"
        )
    return {
        errno.EACCES: f"{_PIN_PERMISSION}, and the pin must be a BPF object",
        errno.EPERM: eperm,
    }


def _load_error(
    name: str, number: int, log: str, lacking: tuple[str, ...]
) -> KernelError | VerifierError:
    """Return the error for a program that the kernel did not load.

    Args:
        name: the program's name.
        number: errno.
        log: the verifier's log, or nothing.
        lacking: capabilities that a load needs and that the loading process does not have.
    """
    tried = f"cannot load program {name}"
    give = f"run as root, or give this process {' and '.join(lacking)}" if lacking else ""
    lines = [line for line in log.strip().splitlines() if not line.startswith("processed ")]
    if not lines:
        return kernel_error(tried, number, hints={errno.EPERM: give} if give else None)
    helps = give or "report this with the kernel's release and the verifier's log"
    return VerifierError(
        f"{tried}: the kernel's verifier refused it ({errno.errorcode.get(number, number)}):"
        f" {lines[-1].strip()}; {helps}",
        log=log,
    )


def _raise_memory_lock() -> None:
    """Raise the limit of locked memory as far as allowed; before Linux 5.11 it bounds maps."""
    if kernel_release() >= (5, 11):
        return
    for limit in (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]):
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
            return
