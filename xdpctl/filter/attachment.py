"""Attaches a program to an interface: in which mode, and in place of which program.

Owns the choice between native and generic mode, whether a foreign program may be detached, and
attaching it again if ours cannot be attached. own_pins.py decides which pins are ours,
native_retry.py when to try native mode again. Called by filter.py. Everything here blocks. Does
not own the program or its maps.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import time
from typing import TYPE_CHECKING

from xdpctl.errors import ForeignProgramError, InterfaceError, KernelError, XdpctlError
from xdpctl.filter.native_retry import Condition
from xdpctl.kernel.bpf.programs import XdpMode
from xdpctl.process.log import event
from xdpctl.settings import ModeSetting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xdpctl.filter.native_retry import NativeRetry
    from xdpctl.filter.own_pins import OwnPins
    from xdpctl.kernel.bpf.programs import Link, Program
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.kernel.net.interfaces import Attached, Interface, Netlink

_NOT_THE_DRIVER = frozenset({errno.EPERM, errno.EACCES, errno.EBUSY, errno.ENODEV, errno.EEXIST})
"""Errors of attaching that generic mode would meet, too."""

_log = logging.getLogger(__name__)


class Attachment:
    """Attaches programs to one interface and detaches them.

    Args:
        bpf, netlink: the kernel.
        pins: our own, for this interface.
        mode, replace: the settings of these names.
        retry: decides when to try native mode again.
    """

    def __init__(  # noqa: PLR0913 - the kernel and the settings of one filter
        self,
        bpf: Bpf,
        netlink: Netlink,
        pins: OwnPins,
        mode: ModeSetting,
        *,
        replace: bool,
        retry: NativeRetry,
    ) -> None:
        self._bpf = bpf
        self._netlink = netlink
        self._pins = pins
        self._mode = mode
        self._replace = replace
        self._retry = retry

    def keeps_mode(self, attached: Attached) -> bool:
        """Return whether our program may keep its present mode."""
        return self._mode is ModeSetting.AUTO or attached.mode == self._mode.value

    def refuse_foreign(self, interface: Interface, attached: Attached) -> None:
        """Refuse a program that is not ours, unless it may be replaced.

        Raises:
            ForeignProgramError: it may not be replaced; the text has its id.
        """
        info = self._bpf.program_info(attached.program_id)
        name = f" ({info.name})" if info is not None and info.name else ""
        if self._held_by_link(interface, attached):
            raise ForeignProgramError(
                f"{interface.name} has the XDP program {attached.program_id}{name}, held by"
                " another's bpf_link, which cannot be replaced: stop the program that holds the"
                " link",
                interface=interface.name,
                program_id=attached.program_id,
            )
        if not self._replace:
            raise ForeignProgramError(
                f"{interface.name} has the XDP program {attached.program_id}{name},"
                " which is not ours: stop the program that attached it, or use --replace to replace"
                " it",
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
        """Attach a program where none is attached: in native mode if that is allowed and possible.

        Raises:
            InterfaceError: the driver refuses native mode and no other is allowed; or the
                bond or bridge that it is part of has a program.
            KernelError: the kernel refuses.
        """
        try:
            return self._create_link(program, interface)
        except KernelError as error:
            if error.errno == errno.EEXIST and (upper := self._upper_with_program(interface)):
                raise InterfaceError(
                    f"cannot attach to {interface.name}: it is part of {upper}, which has an XDP"
                    f" program, and the kernel does not allow both; filter either {upper} or its"
                    " ports",
                    interface=interface.name,
                ) from error
            raise

    def _upper_with_program(self, interface: Interface) -> str | None:
        """Return the bond or bridge of an interface, if a program is on that."""
        name = None if interface.master is None else self._netlink.name_of(interface.master)
        if name is None:
            return None
        try:
            return name if self._netlink.find(name).attached is not None else None
        except XdpctlError:
            return None

    def _create_link(self, program: Program, interface: Interface) -> tuple[Link, XdpMode]:
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
                        " generic, or remove what the driver objects to",
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
                link = self._bpf.create_link(program, index, mode=XdpMode.GENERIC)
                self._retry.refused(why, self._condition(interface))
                return link, XdpMode.GENERIC
        return self._bpf.create_link(program, index, mode=XdpMode.GENERIC), XdpMode.GENERIC

    def _condition(self, interface: Interface) -> Condition:
        """Return what the driver may object to; generic mode itself turns offloads off."""
        return Condition.of(
            interface,
            self._netlink.features(interface.name),
            native=self._netlink.native_xdp(interface.index),
        )

    def seeks_native(self, mode: XdpMode | None) -> bool:
        """Return whether our program should move from its present mode to native mode."""
        return self._mode is ModeSetting.AUTO and mode is XdpMode.GENERIC

    @property
    def generic_because(self) -> str:
        """The driver's reason for the last refusal of native mode; empty if it was not tried."""
        return self._retry.why

    def is_time(self) -> bool:
        """Return whether it is time to check whether to try native mode."""
        return self._retry.is_time()

    def try_native(
        self, link: Link, program: Program, interface: Interface
    ) -> tuple[Link, XdpMode] | None:
        """Move our program from generic to native mode, if a try is due.

        Packets pass unfiltered for some milliseconds between the two: a link keeps its mode,
        and a card has one mode at a time.

        Args:
            link: attaches the program in generic mode; it is defunct after a try.
            program: ours, loaded.
            interface: that the program is attached to.

        Returns:
            A link, not pinned yet, and its mode, which is generic again if the driver
            refuses; None if there was no try.

        Raises:
            KernelError: the program is now attached in neither mode.
        """
        condition = self._condition(interface)
        if not self._retry.is_due(condition):
            return None
        index = interface.index
        begun = time.monotonic()
        link.detach()
        try:
            made = self._bpf.create_link(program, index, mode=XdpMode.NATIVE)
        except KernelError as error:
            why = self._refusal(index, program) or error.symbol
            made = self._bpf.create_link(program, index, mode=XdpMode.GENERIC)
            event(
                _log,
                "native-refused",
                logging.DEBUG if why == self._retry.why else logging.WARNING,
                interface=interface.name,
                driver=interface.driver or "unknown",
                error=why,
                helps="the filter stays in generic mode",
                gap_ms=_milliseconds(begun),
            )
            self._retry.refused(why, self._condition(interface))
            return made, XdpMode.GENERIC
        event(_log, "native-again", interface=interface.name, gap_ms=_milliseconds(begun))
        return made, XdpMode.NATIVE

    def _refusal(self, index: int, program: Program) -> str:
        """Return the driver's own reason; empty if there is none."""
        try:
            return self._netlink.refusal(index, XdpMode.NATIVE, program)
        except KernelError:
            return ""

    @contextlib.contextmanager
    def vacated(self, interface: Interface, own: Link | None) -> Iterator[None]:
        """Detach what is attached to the interface; if the block fails, attach it again.

        Args:
            interface: in its present state.
            own: our link on it; None if there is a foreign program or none.

        Raises:
            ForeignProgramError, KernelError: it cannot be detached.
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
                gap="packets passed unfiltered while it was replaced",
            )

    def _foreign(self, interface: Interface, attached: Attached) -> Program:
        foreign = self._bpf.open_program(attached.program_id)
        if foreign is None:
            raise ForeignProgramError(
                f"cannot replace XDP program {attached.program_id} on {interface.name}: it cannot"
                " be opened; run as root, as --replace needs CAP_SYS_ADMIN",
                interface=interface.name,
                program_id=attached.program_id,
            )
        return foreign

    def _link_again(self, former: Program | None, interface: Interface, attached: Attached) -> None:
        """Attach our former program in its former mode, and pin the link."""
        if former is None:
            raise KernelError("cannot open our former program", errno.EPERM, "run as root")
        with (
            self._bpf.create_link(former, interface.index, mode=attached.mode) as link,
            self._pins.staging() as staging,
        ):
            staging.add(link, self._pins.link_path)
            staging.commit()


def _milliseconds(begun: float) -> int:
    """Return the time since `begun` on the monotonic clock, rounded up."""
    return math.ceil((time.monotonic() - begun) * 1000)


@contextlib.contextmanager
def _undoing(interface: Interface, undo: Callable[[], None]) -> Iterator[None]:
    """Call `undo` if the block fails; an error of `undo` is only logged."""
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
