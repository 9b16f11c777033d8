"""The filter on one interface: load, attach, swap without a gap, detach, count.

The program is attached with a bpf_link that stays pinned (own_pins.py): it keeps the
program on the interface when the service dies, and the next service takes the link
over and swaps the program in place.

State machine of one filter:

    missing ──attach──▶ attached ──detach──▶ detached
                          │  ▲
           card left its  ▼  │ attach, at the next look
           name or is gone   │
                         lost

The settings give a name. A renamed card keeps its filter until another card gets the
name; a card that leaves the network namespace loses its filter (location.py).

Every method blocks. Owns the filter of one interface and its state. Does not own modes
(attachment.py), pins (own_pins.py), maps (own_maps.py) or the program (program/). Made by
service/resources.py; called by rollout.py, the observer and the service.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from xdpctl import abi
from xdpctl.abi import MapName, Scope
from xdpctl.errors import InterfaceError, KernelError, PinError, XdpctlError
from xdpctl.filter.attachment import Attachment
from xdpctl.filter.location import Location, Presence, locate
from xdpctl.filter.native_retry import NativeRetry
from xdpctl.filter.own_maps import OwnMaps
from xdpctl.filter.own_pins import OwnPins, same_program
from xdpctl.filter.view import (
    FilterState,
    FilterView,
    no_ethernet_header,
    note_of_another_name,
    note_of_batches,
    note_of_generic_mode,
    same_card,
)
from xdpctl.kernel.bpf.pins import OWN_DIRECTORY
from xdpctl.kernel.bpf.programs import XdpMode
from xdpctl.process.log import event
from xdpctl.settings import ModeSetting

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from xdpctl.abi import Count, PacketAction, Reason, TallyRow
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.programs import Link, Program
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.kernel.net.interfaces import Interface, Netlink

PROGRAM_NAME = "xdpctl"
_KEY = b"\0\0\0\0"
_ANEW = Location(Presence.GONE)

_log = logging.getLogger(__name__)


class Filter:
    """The filter on one interface.

    Args:
        bpf, netlink: the kernel.
        interface: the interface's name in this process's network namespace.
        mode, replace: the settings of these names.
        directory: where the own pins live.
        clock: seconds of the monotonic clock.
        siblings: all filters of this service, this one included; may grow later.

    Attributes:
        adopted: whether the first program replaced a former service's.
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
        clock: Callable[[], float] = time.monotonic,
        siblings: Sequence[Filter] = (),
    ) -> None:
        self._siblings = siblings
        self._bpf = bpf
        self._netlink = netlink
        self.interface = interface
        self._pins = OwnPins(directory, interface)
        self._attachment = Attachment(
            bpf, netlink, self._pins, mode, replace=replace, retry=NativeRetry(clock)
        )
        self._resources = contextlib.ExitStack()
        self._state = FilterState.MISSING
        self._where = _ANEW
        self._trouble = ""
        self._queues: int | None = None
        self._attached_mode: XdpMode | None = None
        self._program: Program | None = None
        self._link: Link | None = None
        self._maps = OwnMaps()
        self._maps_held = threading.Lock()  # the loop may write a panic while we close the maps
        self._counted: Mapping[tuple[Reason, PacketAction], Count] = {}
        self._tallies: Mapping[tuple[TallyRow, bool], int] = {}
        self._samples_lost = 0
        self._reattached = 0
        self._bytecode: Bytecode | None = None
        self._shared: Mapping[MapName, Map] = {}
        self.adopted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_on(self) -> bool:
        """Whether this object has a program on its interface."""
        return self._state is FilterState.ATTACHED

    @property
    def index(self) -> int | None:
        """The index of the card that it was last on."""
        return self._where.index

    def close(self) -> None:
        """Close the descriptors; what is pinned stays."""
        with self._maps_held:
            self._maps = OwnMaps()
        self._resources.close()
        self._link = self._program = None

    def pin_of(self, name: MapName) -> Path:
        """Return where an own map of this interface is pinned."""
        return self._pins.path(name)

    # --- attaching ----------------------------------------------------------------

    def inspect(self) -> Interface:
        """Find the interface and check that a program may be attached; changes nothing.

        Raises:
            InterfaceError: it does not exist, has no Ethernet header, or is filtered under
                another name.
            ForeignProgramError: it has a foreign program that may not be replaced.
        """
        renamed = self._where.place is Presence.RENAMED and self._where.name
        interface = self._netlink.find(renamed or self.interface)
        if not interface.has_ethernet_header:
            raise InterfaceError(
                no_ethernet_header(self.interface, interface.link_type), interface=self.interface
            )
        self._refuse_second_name(interface)
        self._queues = interface.rx_queues
        attached = interface.attached
        if attached is None:
            return interface
        with contextlib.ExitStack() as stack:
            if (own := self._own_link(interface)) is not None:
                stack.enter_context(own)
                return interface
        self._attachment.refuse_foreign(interface, attached)
        return interface

    def _refuse_second_name(self, interface: Interface) -> None:
        """Raise InterfaceError if another filter of this service is on this card, and stays."""
        for sibling in self._siblings:
            if sibling is self or not sibling.is_on or sibling.index != interface.index:
                continue
            if self._netlink.index_of(sibling.interface) in (None, interface.index):
                raise InterfaceError(
                    same_card(self.interface, sibling.interface, interface.index),
                    interface=self.interface,
                )

    def attach(self, bytecode: Bytecode, shared: Mapping[MapName, Map], *, panic: bool) -> None:
        """Load the program and attach it to the interface, in place of our former one.

        Args:
            bytecode: the compiled program.
            shared: the pinned maps that it refers to; owned by the caller.
            panic: the control map's bit from the first packet on.

        Raises:
            VerifierError, KernelError, InterfaceError, PinError: what was attached before
                is still attached.
        """
        interface = self.inspect()
        with contextlib.ExitStack() as stack:
            own = self._own_link(interface)
            if own is not None:
                stack.enter_context(own)
            keep = own is not None or self._state is FilterState.LOST
            kept = self._pins.open_maps(self._bpf, Scope.INTERFACE) if keep else {}
            maps = stack.enter_context(OwnMaps.make(self._bpf, Scope.INTERFACE, kept))
            maps[MapName.CONTROL].update(_KEY, abi.encode_control(panic=panic))
            program, private = self._load(bytecode, {**shared, **maps})
            stack.enter_context(program)
            beside = self._pins.beside(program, {**shared, **maps})
            attached = interface.attached
            if own is not None and attached is not None and self._attachment.keeps_mode(attached):
                link, mode = own, attached.mode
                former = self._pins.open_program(self._bpf, attached)
                # An exchange leaves no gap in the filter, but some drivers (qede, fec) restart
                # the card for it and lose packets: so an identical program is kept.
                if former is not None and same_program(former.info, program.info, private):
                    program.close()
                    program = stack.enter_context(former)
                    event(_log, "adopted", interface=self.interface, program=program.info.id)
                    beside = self._pins.beside(program, {**shared, **maps})
                    if not self._pins.are_whole(self._bpf, program, beside):
                        self._pin(beside)
                else:
                    if former is not None:
                        former.close()
                    self._exchange(link, program, beside)
            else:
                link, mode = self._create(interface, own, program, beside)
                stack.enter_context(link)
            self._pins.remove_others(beside)
            self.close()
            self._resources = stack.pop_all()
        self._bytecode, self._shared = bytecode, shared
        self._link, self._program, self._maps = link, program, maps
        has_name = self._netlink.index_of(self.interface) == interface.index
        place = Presence.HERE if has_name else Presence.RENAMED
        self._where = Location(place, interface.index, interface.name)
        self._runs_in(mode)
        self._trouble = ""
        if self._state is FilterState.MISSING:
            self.adopted = own is not None
        self._state = FilterState.ATTACHED

    def adopt(self) -> bool:
        """Hold what a former service attached; False if there is nothing.

        For a service that has no program of its own to attach: the former program stays in
        force and keeps counting; panic and detach work.
        """
        with contextlib.ExitStack() as stack:
            interface = self._netlink.find(self.interface)
            attached, link = interface.attached, self._found_link(interface)
            if attached is None or link is None:
                return False
            stack.enter_context(link)
            program = self._pins.open_program(self._bpf, attached)
            if program is not None:
                stack.enter_context(program)
            kept = self._pins.open_maps(self._bpf, Scope.INTERFACE)
            maps = stack.enter_context(OwnMaps(kept))
            self.close()
            self._resources = stack.pop_all()
        self._link, self._program, self._maps = link, program, maps
        self._where = Location(Presence.HERE, interface.index, interface.name)
        self._runs_in(attached.mode)
        self._trouble = ""
        self.adopted, self._state = True, FilterState.ATTACHED
        return True

    def _pin(self, beside: Mapping[Path, Program | Map]) -> None:
        """Pin what is beside the link, in place of what is pinned there."""
        with self._pins.staging() as staging:
            staging.add_all(beside)
            staging.commit()

    def _exchange(self, link: Link, program: Program, beside: Mapping[Path, Program | Map]) -> None:
        """Replace the program that our link attaches."""
        with self._pins.staging() as staging:
            staging.add_all(beside)
            link.update(program)
            staging.commit()
        event(_log, "taken-over", interface=self.interface, program=program.info.id)

    def _create(
        self,
        interface: Interface,
        own: Link | None,
        program: Program,
        beside: Mapping[Path, Program | Map],
    ) -> tuple[Link, XdpMode]:
        """Attach with a new link, in place of anything there that may be replaced."""
        if own is not None:  # fail before anything is detached if pins cannot be replaced
            self._pin(beside)
        with (
            self._attachment.vacated(interface, own),
            self._pins.staging() as staging,
            contextlib.ExitStack() as created,
        ):
            link, mode = self._attachment.create_link(program, interface)
            created.enter_context(link)
            staging.add_all(beside)
            staging.add(link, self._pins.link_path)
            staging.commit()
            created.pop_all()
        return link, mode

    def former_maps(self, shared: Iterable[Map]) -> OwnMaps:
        """Open the maps of a former service whose program reads these shared maps.

        Empty if there are none; the caller closes them.
        """
        with contextlib.suppress(XdpctlError), contextlib.ExitStack() as stack:
            attached = self._netlink.find(self.interface).attached
            if attached is None:
                return OwnMaps()
            former = self._pins.open_program(self._bpf, attached)
            kept = stack.enter_context(OwnMaps(self._pins.open_maps(self._bpf, Scope.SERVICE)))
            if former is None:
                return OwnMaps()
            with former:
                used = {*former.info.map_ids}
            if used.issuperset(opened.info.id for opened in (*shared, *kept.values())):
                stack.pop_all()
                return kept
        return OwnMaps()

    def former_tables(self) -> OwnMaps:
        """Open our own tables that the attached program reads.

        Empty if it is not ours, or reads none; the caller closes them.
        """
        with contextlib.suppress(XdpctlError):
            attached = self._netlink.find(self.interface).attached
            former = None if attached is None else self._pins.open_program(self._bpf, attached)
            if former is not None:
                with former:
                    return OwnMaps(self._pins.open_tables(self._bpf, {*former.info.map_ids}))
        return OwnMaps()

    def has_other_limits(self) -> bool:
        """Return whether another version of xdpctl left maps of the limits."""
        return self._pins.has_other_limits(self._bpf)

    def former_limits(self) -> OwnMaps:
        """Open the maps of the limits that a former service left; the caller closes them."""
        used: set[int] = set()
        with contextlib.suppress(XdpctlError):
            attached = self._netlink.find(self.interface).attached
            former = None if attached is None else self._pins.open_program(self._bpf, attached)
            if former is not None:
                with former:
                    used.update(former.info.map_ids)
        return OwnMaps(self._pins.open_limits(self._bpf, used))

    def _own_link(self, interface: Interface) -> Link | None:
        """Return our link on the interface; a link that we hold and that lost its pin is pinned."""
        found = self._found_link(interface)
        if found is not None or interface.attached is None:
            return found
        if self._link is None or self._program is None:
            return None
        held = self._link.info()
        if (held.ifindex, held.program_id) != (interface.index, interface.attached.program_id):
            return None
        self._pin_again()
        return self._found_link(interface)

    def _found_link(self, interface: Interface) -> Link | None:
        """Return our pinned link on the interface; raises as `OwnPins.find_link`."""
        names = [sibling.interface for sibling in self._siblings]
        return self._pins.find_link(self._bpf, interface, names)

    def _pin_again(self) -> None:
        """Pin everything that we hold again."""
        if self._link is None or self._program is None or not self._maps.has_all(Scope.INTERFACE):
            return
        with self._pins.staging() as staging:
            staging.add_all(self._pins.beside(self._program, {**self._shared, **self._maps}))
            staging.add(self._link, self._pins.link_path)
            staging.commit()
        event(_log, "pinned-again", logging.WARNING, interface=self.interface)

    def _load(self, bytecode: Bytecode, maps: Mapping[MapName, Map]) -> tuple[Program, set[int]]:
        """Load the program; return it and the ids of its private maps."""
        with OwnMaps.make(self._bpf, Scope.PROGRAM) as private:
            descriptors = {
                abi.MAPS[name].ref: opened.fd for name, opened in {**maps, **private}.items()
            }
            program = self._bpf.load_program(bytecode.relocate(descriptors), PROGRAM_NAME)
            return program, {opened.info.id for opened in private.values()}

    # --- living -------------------------------------------------------------------

    def swap(self, bytecode: Bytecode, shared: Mapping[MapName, Map], *, panic: bool) -> None:
        """Replace the running program, without a gap.

        If none runs, this program is attached when the interface comes back. A filter that
        an operator detached stays detached.
        """
        if self._state is FilterState.ATTACHED:
            self.attach(bytecode, shared, panic=panic)
        else:
            self._bytecode, self._shared = bytecode, shared

    def watch(self, *, panic: bool, closely: bool = False) -> None:
        """Find the card, and attach the filter if it is not attached.

        Called once a second, and at once with `closely` when an interface changes.
        A filter that an operator detached stays detached.
        """
        if closely:
            self._where = replace(self._where, place=Presence.GONE)
        if self._state is FilterState.ATTACHED and self._link is not None:
            self._follow(self._link)
            if closely and self.is_on:
                self._leave_without_header(self._link)
        if self._state in (FilterState.LOST, FilterState.MISSING) and self._bytecode is not None:
            self._attach_again(self._bytecode, panic=panic)
        elif self._state is FilterState.ATTACHED and self._attachment.seeks_native(
            self._attached_mode
        ):
            self._seek_native(closely=closely)

    def _seek_native(self, *, closely: bool) -> None:
        """Try native mode if due; the filter is lost if neither mode works then."""
        if self._link is None or self._program is None or self._where.name is None:
            return
        if not closely and not self._attachment.is_time():
            return
        interface = self._netlink.find(self._where.name)
        try:
            tried = self._attachment.try_native(self._link, self._program, interface)
        except KernelError as error:
            self._lose(error.sentence)
            return
        if tried is None:
            return
        self._link.close()
        self._link, mode = tried
        self._runs_in(mode)
        self._resources.enter_context(self._link)
        with self._pins.staging() as staging:
            staging.add(self._link, self._pins.link_path)
            staging.commit()

    def _follow(self, link: Link) -> None:
        """Find the card of an attached filter; the filter is lost if the card left its name."""
        before, now = self._where, locate(self._netlink, link, self.interface, self._where)
        self._where = now
        if now.place in (Presence.HERE, Presence.RENAMED):
            self._keep_pins()
        if now.place is Presence.HERE:
            if before.name not in (None, now.name) and now.name == self.interface:
                event(_log, "renamed-back", interface=self.interface)
        elif now.place is Presence.RENAMED:
            if now.name != before.name:
                event(_log, "renamed", logging.WARNING, interface=self.interface, now=now.name)
        elif now.place is Presence.DISPLACED:
            self._lose(f"another card has this name now; the former card is now {now.name}")
        elif now.place is Presence.MOVED:
            with contextlib.suppress(KernelError):  # nobody there could see whose program it is
                link.detach()
            self._lose(
                "its card moved to another network namespace, and the filter was detached from it;"
                " the filter comes back with the card"
            )
        elif before.index is not None and self._netlink.index_of(self.interface) == before.index:
            self._lose("another program detached the filter")
        else:
            self._lose("the interface is gone; the filter comes back with it")

    def _leave_without_header(self, link: Link) -> None:
        """Detach from a card whose frames have lost their Ethernet header (a tun, a bond)."""
        if self._where.name is None:
            return
        interface = self._netlink.find(self._where.name)
        if not interface.has_ethernet_header:
            with contextlib.suppress(KernelError):  # it would misread every packet
                link.detach()
            self._lose(no_ethernet_header(self.interface, interface.link_type))

    def _keep_pins(self) -> None:
        """Pin again what lost its pin: without a pin the filter would end with this process."""
        if self._program is None or not self._maps.has_all(Scope.INTERFACE):
            return
        beside = self._pins.beside(self._program, {**self._shared, **self._maps})
        try:
            if not all(path.exists() for path in (self._pins.link_path, *beside)):
                self._pin_again()
        except XdpctlError as error:
            event(_log, "pins-gone", logging.ERROR, error=error.sentence)
        except OSError as error:
            event(_log, "pins-unseen", logging.ERROR, path=error.filename, error=error.strerror)

    def _lose(self, why: str) -> None:
        self._state, self._trouble = FilterState.LOST, why
        event(_log, "lost", logging.ERROR, interface=self.interface, why=why)

    def _attach_again(self, bytecode: Bytecode, *, panic: bool) -> None:
        """Attach if an interface has the name; log each obstacle once."""
        first = self._state is FilterState.MISSING
        if self._netlink.index_of(self.interface) is None:
            if first or not self._trouble:
                self._trouble = "there is no interface of this name yet"
            return
        try:
            self.attach(bytecode, self._shared, panic=panic)
        except XdpctlError as error:
            if error.sentence != self._trouble:
                event(
                    _log,
                    "attach-failed",
                    logging.ERROR,
                    interface=self.interface,
                    error=error.sentence,
                )
            self._trouble = error.sentence
            return
        self._reattached += not first
        event(
            _log,
            "attached" if first else "reattached",
            interface=self.interface,
            index=self._where.index,
            mode=self._attached_mode,
        )

    def attach_again(self, *, panic: bool) -> bool:
        """Attach the program again after `detach`; False if it was not detached.

        If the interface is missing, the program is attached when it comes back.

        Raises:
            As `attach`; it stays detached. XdpctlError: there is no program of ours.
        """
        if self._state is not FilterState.DETACHED:
            return False
        if self._bytecode is None:
            raise XdpctlError(
                f"cannot attach to {self.interface}: this service has no program of its own yet;"
                " see `xdpctl status`"
            )
        if self._netlink.index_of(self.interface) is None:
            self._state, self._trouble = FilterState.LOST, "there is no interface of this name"
        else:
            self.attach(self._bytecode, self._shared, panic=panic)
        return True

    def set_panic(self, *, panic: bool) -> None:
        """Set or clear the bit that passes everything, at once. Any thread may call this."""
        with self._maps_held:
            if (control := self._maps.get(MapName.CONTROL)) is not None:
                control.update(_KEY, abi.encode_control(panic=panic))

    def view(self) -> FilterView:
        """Return the filter's state and counters; one look-up in the kernel.

        Counters that cannot be read keep their last values.
        """
        attached = self._state is FilterState.ATTACHED
        info = self._program.info if self._program is not None and attached else None
        try:
            counters = self._maps.get(MapName.COUNTERS)
            if counters is not None and (value := counters.lookup(_KEY)) is not None:
                self._counted = abi.decode_counters(value)
                self._tallies = abi.decode_tallies(value)
                self._samples_lost = abi.decode_samples_lost(value)
        except KernelError as error:
            event(_log, "counters-unread", logging.WARNING, error=error.sentence)
        return FilterView(
            self.interface,
            self._state,
            self._where.index if attached else None,
            self._attached_mode if attached else None,
            None if info is None else info.id,
            None if info is None else info.tag,
            self._reattached,
            self._queues,
            self._counted,
            self._trouble,
            tuple(self._notes()) if attached else (),
            self._tallies,
            self._samples_lost,
        )

    def _notes(self) -> Iterator[str]:
        if self._where.place is Presence.RENAMED:
            yield note_of_another_name(self.interface, self._where.name)
        if self._attachment.seeks_native(self._attached_mode):
            yield note_of_generic_mode(self.interface, self._attachment.generic_because)
        if self._attached_mode is XdpMode.GENERIC:
            yield note_of_batches(self.interface)

    def _runs_in(self, mode: XdpMode) -> None:
        """Record the mode of our program; log what generic mode lets through."""
        if mode is XdpMode.GENERIC and self._attached_mode is not XdpMode.GENERIC:
            event(_log, "warning", logging.WARNING, text=note_of_batches(self.interface))
        self._attached_mode = mode

    # --- leaving ------------------------------------------------------------------

    def detach(self, *, keeping: Collection[MapName] = ()) -> bool:
        """Detach the program and remove our own pins; False if it was not attached.

        Args:
            keeping: maps whose pins stay, for the next service.
        """
        was_on = self._state is FilterState.ATTACHED
        if self._link is not None:
            with contextlib.suppress(KernelError):
                self._link.detach()
            try:
                self._pins.remove(keeping=keeping)
            except PinError as error:
                event(_log, "pins-left", logging.WARNING, error=error.sentence)
            self._link.close()  # without a pin this ends the link, too
            self._link = None
        self._state = FilterState.DETACHED
        self._trouble = "`xdpctl attach` attaches the filter again"
        return was_on
