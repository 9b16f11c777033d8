"""Putting a program on an interface: in which mode, and in the place of what.

Owns the choice between native and generic, whose program may be taken off, and
putting it back should ours not go on. Which pins are ours is ownership.py's to say;
called by filter.py. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from typing import TYPE_CHECKING

from xdpctl.errors import ForeignProgramError, InterfaceError, KernelError, XdpctlError
from xdpctl.kernel.bpf import XdpMode
from xdpctl.log import event
from xdpctl.settings import ModeSetting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xdpctl.kernel.bpf import Bpf, Link, Program
    from xdpctl.kernel.netlink import Attached, Interface, Netlink
    from xdpctl.ownership import OwnPins

_NOT_THE_DRIVER = frozenset({errno.EPERM, errno.EACCES, errno.EBUSY, errno.ENODEV, errno.EEXIST})
"""Errors of attaching that generic mode would meet as well."""

_log = logging.getLogger(__name__)


class Attachment:
    """How programs come to one interface and go from it.

    Args:
        bpf, netlink: the kernel.
        pins: our own, for this interface.
        mode, replace: the settings of these names.
    """

    def __init__(
        self, bpf: Bpf, netlink: Netlink, pins: OwnPins, mode: ModeSetting, *, replace: bool
    ) -> None:
        self._bpf = bpf
        self._netlink = netlink
        self._pins = pins
        self._mode = mode
        self._replace = replace

    def keeps_mode(self, attached: Attached) -> bool:
        """Return whether our program may stay in the mode that it is in."""
        return self._mode is ModeSetting.AUTO or attached.mode == self._mode.value

    def refuse_foreign(self, interface: Interface, attached: Attached) -> None:
        """Refuse a program that is not ours, unless it may be replaced.

        Raises:
            ForeignProgramError: it may not; names it by its id.
        """
        info = self._bpf.program_info(attached.program_id)
        name = f" ({info.name})" if info is not None and info.name else ""
        if self._held_by_link(interface, attached):
            raise ForeignProgramError(
                f"{interface.name} carries XDP program {attached.program_id}{name}, held by"
                " another's bpf_link, which cannot be replaced: stop the program that holds it",
                interface=interface.name,
                program_id=attached.program_id,
            )
        if not self._replace:
            raise ForeignProgramError(
                f"{interface.name} already carries XDP program {attached.program_id}{name},"
                " which is not ours: stop its owner, or start with --replace to take its place",
                interface=interface.name,
                program_id=attached.program_id,
            )

    def _held_by_link(self, interface: Interface, attached: Attached) -> bool:
        try:
            return any(
                info.ifindex == interface.index and info.program_id == attached.program_id
                for info in self._bpf.links()
            )
        except KernelError:
            return False

    def create_link(self, program: Program, interface: Interface) -> tuple[Link, XdpMode]:
        """Attach a program where nothing is attached: native if it may be and can be.

        Raises:
            InterfaceError: the driver refuses native mode, and no other is allowed.
            KernelError: the kernel refuses.
        """
        index = interface.index
        if self._mode is not ModeSetting.GENERIC:
            try:
                return self._bpf.create_link(program, index, mode=XdpMode.NATIVE), XdpMode.NATIVE
            except KernelError as error:
                if error.errno in _NOT_THE_DRIVER:
                    raise
                why = self._refusal(index, program) or error.symbol
                if self._mode is ModeSetting.NATIVE:
                    raise InterfaceError(
                        f"cannot attach to {interface.name} in native mode: its driver"
                        f" {interface.driver or '(unknown)'} says {why}; use --mode auto or"
                        " generic, or change what the driver minds",
                        interface=interface.name,
                    ) from error
                event(
                    _log,
                    "native-refused",
                    logging.WARNING,
                    interface=interface.name,
                    driver=interface.driver or "unknown",
                    error=why,
                    helps="running in generic mode, which costs more CPU for each packet",
                )
        return self._bpf.create_link(program, index, mode=XdpMode.GENERIC), XdpMode.GENERIC

    def _refusal(self, index: int, program: Program) -> str:
        """Return the driver's own reason; empty where it cannot be had."""
        try:
            return self._netlink.refusal(index, XdpMode.NATIVE, program)
        except KernelError:
            return ""

    @contextlib.contextmanager
    def vacated(self, interface: Interface, own: Link | None) -> Iterator[None]:
        """Take off what is on the interface; should the block fail, put it back.

        Args:
            interface: as it is now.
            own: our link on it; None where another's program is, or nothing.

        Raises:
            ForeignProgramError, KernelError: it cannot be taken off.
        """
        attached = interface.attached
        if attached is None:
            yield
        elif own is not None:
            event(_log, "mode-changes", logging.WARNING, interface=interface.name)
            with self._bpf.open_program(attached.program_id) or contextlib.nullcontext() as former:
                own.detach()
                with _undoing(interface, lambda: self._link_again(former, interface, attached)):
                    yield
        else:
            with self._foreign(interface, attached) as foreign:
                self._netlink.detach_program(interface.index, attached.mode, foreign)
                with _undoing(
                    interface,
                    lambda: self._netlink.attach_program(interface.index, attached.mode, foreign),
                ):
                    yield
            event(
                _log,
                "replaced",
                logging.WARNING,
                interface=interface.name,
                program=attached.program_id,
                gap="packets passed unfiltered between its end and our start",
            )

    def _foreign(self, interface: Interface, attached: Attached) -> Program:
        foreign = self._bpf.open_program(attached.program_id)
        if foreign is None:
            raise ForeignProgramError(
                f"cannot take the place of XDP program {attached.program_id} on"
                f" {interface.name}: it cannot be opened; --replace needs CAP_SYS_ADMIN, run as"
                " root",
                interface=interface.name,
                program_id=attached.program_id,
            )
        return foreign

    def _link_again(self, former: Program | None, interface: Interface, attached: Attached) -> None:
        """Attach our former program as it was, and pin it."""
        if former is None:
            raise KernelError("cannot open our former program", errno.EPERM, "run as root")
        with (
            self._bpf.create_link(former, interface.index, mode=attached.mode) as link,
            self._pins.staging() as staging,
        ):
            staging.add(link, self._pins.link_path)
            staging.commit()


@contextlib.contextmanager
def _undoing(interface: Interface, undo: Callable[[], None]) -> Iterator[None]:
    """Call `undo` should the block fail; what it meets itself is only logged."""
    try:
        yield
    except XdpctlError:
        try:
            undo()
        except XdpctlError as error:
            event(
                _log,
                "not-put-back",
                logging.ERROR,
                interface=interface.name,
                error=error.sentence,
            )
        raise
