"""The filter on one interface: load, attach, swap without a gap, detach, count.

The program is attached with a bpf_link that stays pinned (ownership.py): it keeps the
program on the interface when the service dies, and the next service takes the link
over and swaps the program in place.

State machine of one filter:

    missing ──attach──▶ attached ──detach──▶ detached
                          │  ▲
           link defunct   ▼  │ attach
                         lost

Every method blocks.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from xdpctl import abi
from xdpctl.abi import Count, MapName, PacketAction, Reason
from xdpctl.errors import (
    ForeignProgramError,
    InterfaceError,
    KernelError,
    PinError,
)
from xdpctl.kernel.bpf import XdpMode
from xdpctl.kernel.pins import OWN_DIRECTORY, verify
from xdpctl.log import event
from xdpctl.ownership import OwnPins
from xdpctl.settings import ModeSetting

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from xdpctl.kernel.bpf import Bpf, Link, Map, Program
    from xdpctl.kernel.compiler import Bytecode
    from xdpctl.kernel.netlink import Interface, Netlink

PROGRAM_NAME = "xdpctl"
_KEY = b"\0\0\0\0"

_log = logging.getLogger(__name__)


class FilterState(StrEnum):
    """Where a filter is in its life."""

    MISSING = "missing"
    ATTACHED = "attached"
    DETACHED = "detached"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class FilterView:
    """A filter as others see it: a value, cheap to publish.

    Attributes:
        index, mode, program_id, tag: of what is attached; None where nothing is.
        reattached: how often the filter was attached again since the start.
        counters: sums over all CPUs by (reason, action).
    """

    interface: str
    state: FilterState
    index: int | None
    mode: XdpMode | None
    program_id: int | None
    tag: str | None
    reattached: int
    queues: int | None
    counters: Mapping[tuple[Reason, PacketAction], Count]


class Filter:
    """The filter on one interface.

    Args:
        bpf, netlink: the kernel.
        interface: the interface's name in this process's network namespace.
        mode, replace: the settings of these names.
        directory: where the own pins live.
    """

    def __init__(  # noqa: PLR0913 - the kernel and the settings of one filter
        self,
        bpf: Bpf,
        netlink: Netlink,
        interface: str,
        *,
        mode: ModeSetting = ModeSetting.AUTO,
        replace: bool = False,
        directory: Path = OWN_DIRECTORY,
    ) -> None:
        self._bpf = bpf
        self._netlink = netlink
        self.interface = interface
        self._mode = mode
        self._replace = replace
        self._pins = OwnPins(directory, interface)
        self._resources = contextlib.ExitStack()
        self._state = FilterState.MISSING
        self._index: int | None = None
        self._queues: int | None = None
        self._attached_mode: XdpMode | None = None
        self._program: Program | None = None
        self._link: Link | None = None
        self._counters: Map | None = None
        self._control: Map | None = None
        self._reattached = 0
        self._bytecode: Bytecode | None = None
        self._shared: Mapping[MapName, Map] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the descriptors; what is pinned stays."""
        self._resources.close()
        self._link = self._program = self._counters = self._control = None

    # --- attaching ----------------------------------------------------------------

    def inspect(self) -> Interface:
        """Find the interface and see that attaching may be tried; changes nothing.

        Raises:
            InterfaceError: it does not exist.
            ForeignProgramError: another's program is on it and may not be replaced.
        """
        interface = self._netlink.find(self.interface)
        self._queues = interface.rx_queues
        attached = interface.attached
        if attached is None:
            return interface
        with contextlib.ExitStack() as stack:
            if (own := self._pins.find_link(self._bpf, interface)) is not None:
                stack.enter_context(own)
                return interface
        info = self._bpf.program_info(attached.program_id)
        name = f" ({info.name})" if info is not None and info.name else ""
        if self._held_by_link(interface):
            raise ForeignProgramError(
                f"{self.interface} carries XDP program {attached.program_id}{name}, held by"
                " another's bpf_link, which cannot be replaced: stop the program that holds it",
                interface=self.interface,
                program_id=attached.program_id,
            )
        if not self._replace:
            raise ForeignProgramError(
                f"{self.interface} already carries XDP program {attached.program_id}{name},"
                " which is not ours: stop its owner, or start with --replace to take its place",
                interface=self.interface,
                program_id=attached.program_id,
            )
        return interface

    def attach(self, bytecode: Bytecode, shared: Mapping[MapName, Map], *, panic: bool) -> None:
        """Load the program and put it on the interface, in place of our former one.

        Args:
            bytecode: the compiled program.
            shared: the pinned maps that it refers to; owned by the caller.
            panic: what the control map says from the first packet on.

        Raises:
            VerifierError, KernelError, InterfaceError, PinError: and what was on the
                interface before is still there.
        """
        interface = self.inspect()
        self._bytecode, self._shared = bytecode, shared
        with contextlib.ExitStack() as stack:
            link = self._pins.find_link(self._bpf, interface)
            if link is not None:
                stack.enter_context(link)
            counters = stack.enter_context(self._own_map(MapName.COUNTERS, keep=link is not None))
            control = stack.enter_context(self._own_map(MapName.CONTROL, keep=link is not None))
            control.update(_KEY, abi.encode_control(panic=panic))
            program = stack.enter_context(self._load(bytecode, shared, counters, control))
            if link is not None and self._keeps_mode(interface):
                link.update(program)
                event(_log, "taken-over", interface=self.interface, program=program.info.id)
                if interface.attached is not None:
                    self._attached_mode = interface.attached.mode
            else:
                if link is not None:
                    event(_log, "mode-changes", logging.WARNING, interface=self.interface)
                    link.detach()
                elif interface.attached is not None:
                    self._remove_foreign(interface)
                link = stack.enter_context(self._create_link(program, interface))
            self._pins.pin(link, counters, control)
            self.close()
            self._resources = stack.pop_all()
        self._link, self._program = link, program
        self._counters, self._control = counters, control
        self._index = interface.index
        self._state = FilterState.ATTACHED

    def _load(
        self, bytecode: Bytecode, shared: Mapping[MapName, Map], counters: Map, control: Map
    ) -> Program:
        with self._bpf.create_map(abi.MAPS[MapName.SCRATCH], 1) as scratch:
            maps = {
                **shared,
                MapName.COUNTERS: counters,
                MapName.CONTROL: control,
                MapName.SCRATCH: scratch,
            }
            descriptors = {abi.MAPS[name].ref: opened.fd for name, opened in maps.items()}
            return self._bpf.load_program(bytecode.relocate(descriptors), PROGRAM_NAME)

    def _own_map(self, name: MapName, *, keep: bool) -> Map:
        """Open our pinned map where the program stays, else make a new one."""
        spec = abi.MAPS[name]
        if keep:
            with contextlib.suppress(KernelError):
                opened = self._bpf.open_map(self._pins.path(name))
                if verify(opened.info, spec) is None:
                    return opened
                opened.close()
        return self._bpf.create_map(spec, spec.entries)

    def _keeps_mode(self, interface: Interface) -> bool:
        attached = interface.attached
        return attached is not None and (
            self._mode is ModeSetting.AUTO or attached.mode == self._mode.value
        )

    def _create_link(self, program: Program, interface: Interface) -> Link:
        if self._mode is not ModeSetting.GENERIC:
            try:
                link = self._bpf.create_link(program, interface.index, mode=XdpMode.NATIVE)
            except KernelError as error:
                if error.errno in _NOT_THE_DRIVER:
                    raise
                why = self._netlink.refusal(interface.index, XdpMode.NATIVE, program)
                if self._mode is ModeSetting.NATIVE:
                    raise InterfaceError(
                        f"cannot attach to {self.interface} in native mode: its driver"
                        f" {interface.driver or '(unknown)'} says {why or error.symbol}; use"
                        " --mode auto or generic, or change what the driver minds",
                        interface=self.interface,
                    ) from error
                event(
                    _log,
                    "native-refused",
                    logging.WARNING,
                    interface=self.interface,
                    driver=interface.driver or "unknown",
                    error=why or error.symbol,
                    helps="running in generic mode, which costs more CPU for each packet",
                )
            else:
                self._attached_mode = XdpMode.NATIVE
                return link
        link = self._bpf.create_link(program, interface.index, mode=XdpMode.GENERIC)
        self._attached_mode = XdpMode.GENERIC
        return link

    def _held_by_link(self, interface: Interface) -> bool:
        attached = interface.attached
        if attached is None:
            return False
        try:
            return any(
                info.ifindex == interface.index and info.program_id == attached.program_id
                for info in self._bpf.links()
            )
        except KernelError:
            return False

    def _remove_foreign(self, interface: Interface) -> None:
        attached = interface.attached
        if attached is None:
            return
        foreign = self._bpf.open_program(attached.program_id)
        if foreign is None:
            raise ForeignProgramError(
                f"cannot take the place of XDP program {attached.program_id} on"
                f" {self.interface}: it cannot be opened; --replace needs CAP_SYS_ADMIN, run as"
                " root",
                interface=self.interface,
                program_id=attached.program_id,
            )
        with foreign:
            self._netlink.detach_program(interface.index, attached.mode, foreign)
        event(
            _log,
            "replaced",
            logging.WARNING,
            interface=self.interface,
            program=attached.program_id,
            gap="packets passed unfiltered between its end and our start",
        )

    # --- living -------------------------------------------------------------------

    def swap(self, bytecode: Bytecode, shared: Mapping[MapName, Map], *, panic: bool) -> None:
        """Put another program in place of the running one, without a gap."""
        self.attach(bytecode, shared, panic=panic)

    def watch(self, *, panic: bool) -> None:
        """See whether the filter is still on; attach again where it was lost.

        Called once a second. A detached filter (asked for) stays detached.
        """
        if self._state is FilterState.ATTACHED and self._link is not None:
            if self._link.info().ifindex == self._index:
                return
            self._state = FilterState.LOST
            event(_log, "lost", logging.ERROR, interface=self.interface)
        if self._state in (FilterState.LOST, FilterState.MISSING) and self._bytecode is not None:
            try:
                self.attach(self._bytecode, self._shared, panic=panic)
            except (InterfaceError, KernelError, PinError) as error:
                event(_log, "attach-failed", logging.DEBUG, error=error.sentence)
                return
            self._reattached += 1
            event(_log, "reattached", interface=self.interface, index=self._index)

    def set_panic(self, *, panic: bool) -> None:
        """Set or clear the bit that passes everything; takes effect at once."""
        if self._control is not None:
            self._control.update(_KEY, abi.encode_control(panic=panic))

    def view(self) -> FilterView:
        """Return the filter's state and counters; one look-up in the kernel."""
        attached = self._state is FilterState.ATTACHED
        info = self._program.info if self._program is not None and attached else None
        value = None if self._counters is None else self._counters.lookup(_KEY)
        return FilterView(
            self.interface,
            self._state,
            self._index if attached else None,
            self._attached_mode if attached else None,
            None if info is None else info.id,
            None if info is None else info.tag,
            self._reattached,
            self._queues,
            {} if value is None else abi.decode_counters(value),
        )

    # --- leaving ------------------------------------------------------------------

    def detach(self) -> bool:
        """Take the program off and remove our own pins; False where it was not on."""
        was_on = self._state is FilterState.ATTACHED
        if self._link is not None:
            with contextlib.suppress(KernelError):
                self._link.detach()
            self._pins.remove()
        self._state = FilterState.DETACHED
        return was_on


_NOT_THE_DRIVER = frozenset({errno.EPERM, errno.EACCES, errno.EBUSY, errno.ENODEV, errno.EEXIST})
"""Errors of attaching that generic mode would meet as well."""
