"""The program at the root of all control groups that proves sources (`--proof cgroup`).

It sees the connections of every process of this host, containers' too, where the filter's own
network namespace has no socket to find (xdp/tcp_proof.bpf.c). There is one for all interfaces of
a service. Its link is pinned beside the link of each, so that it lives as long as one of them is
filtered, and the next service takes it over.

Owns that program and its link. Does not own the table that it writes to, or when it is wanted.
Called by service/; everything blocks.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from typing import TYPE_CHECKING, Self

from xdpctl import abi
from xdpctl.errors import KernelError, PinError
from xdpctl.filter.own_pins import OwnPins
from xdpctl.kernel.bpf.cgroups import open_root
from xdpctl.kernel.bpf.kind import ProgramKind
from xdpctl.kernel.bpf.libbpf import LINK_TYPE_CGROUP
from xdpctl.kernel.bpf.pins import OWN_DIRECTORY
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from xdpctl.abi import MapName
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.programs import Link, Program
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.kernel.bytecode import Bytecode

PROGRAM_NAME = "xdpctl_proof"

_log = logging.getLogger(__name__)


class TcpProof:
    """The program and its link. A context manager, whose end leaves what is pinned.

    Args:
        bpf: the kernel.
        interfaces: of the service.
        directory: where the own pins are.
        root: opens the root of all control groups; the host's by default.
    """

    def __init__(
        self,
        bpf: Bpf,
        interfaces: Iterable[str],
        *,
        directory: Path = OWN_DIRECTORY,
        root: Callable[[], int] | None = None,
    ) -> None:
        self._bpf = bpf
        self._pins = {name: OwnPins(directory, name) for name in interfaces}
        self._root = root or open_root
        self._link: Link | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the link; what is pinned stays attached."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def attach(
        self, bytecode: Bytecode, maps: Mapping[MapName, Map], interfaces: Iterable[str]
    ) -> None:
        """Load the program and attach it, in place of our former one.

        Args:
            bytecode: the compiled program.
            maps: those that it refers to, at least; owned by the caller.
            interfaces: that are filtered: the link is pinned beside theirs.

        Raises:
            KernelError, VerifierError: what was attached before still is.
            PinError: it is attached, for as long as this process lives.
        """
        descriptors = {abi.MAPS[name].ref: opened.fd for name, opened in maps.items()}
        instructions = bytecode.relocate(descriptors)
        with self._bpf.load_program(instructions, PROGRAM_NAME, ProgramKind.SOCK_OPS) as program:
            link = self._taken_over(program)
            how = "taken over"
            if link is None:
                link, how = self._created(program), "attached"
            if link is not self._link:
                self.close()
                self._link = link
            event(_log, "tcp-proof", program=program.info.id, link=how)
        self._pin(link, interfaces)

    def keep_pins(self, interfaces: Iterable[str]) -> None:
        """Pin the link again beside the interfaces where it is not pinned.

        Raises:
            PinError, KernelError: it cannot be pinned.
        """
        if self._link is None:
            return
        missing = [name for name in interfaces if not self._pins[name].tcp_proof_path.exists()]
        if missing:
            self._pin(self._link, missing)

    def remove(self) -> bool:
        """Detach the program, also a former service's; False if none was attached.

        Raises:
            PinError: a pin cannot be removed.
        """
        link = self._link or self._former()
        self._link = None
        if link is not None:
            with link, contextlib.suppress(KernelError):
                link.detach()
        for pins in self._pins.values():
            pins.remove_tcp_proof()
        return link is not None

    def _taken_over(self, program: Program) -> Link | None:
        """Return our link, with this program; None if there is none that is attached."""
        link = self._link or self._former()
        if link is None:
            return None
        try:
            link.update(program)
        except KernelError as error:
            if link is not self._link:
                link.close()
            if error.errno != errno.ENOLINK:
                raise
            return None
        return link

    def _created(self, program: Program) -> Link:
        cgroup = self._root()
        try:
            return self._bpf.create_cgroup_link(program, cgroup)
        finally:
            os.close(cgroup)

    def _former(self) -> Link | None:
        """Open a link that a former service pinned beside one of our interfaces."""
        for pins in self._pins.values():
            with contextlib.suppress(KernelError, PinError):
                link = self._bpf.open_link(pins.tcp_proof_path)
                if link.info().type == LINK_TYPE_CGROUP:
                    return link
                link.close()
        return None

    def _pin(self, link: Link, interfaces: Iterable[str]) -> None:
        for name in interfaces:
            with self._pins[name].staging() as staging:
                staging.add(link, self._pins[name].tcp_proof_path)
                staging.commit()
