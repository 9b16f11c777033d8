"""The maps shared with the DNS server: opened or made, held, watched.

Owns which maps a configuration needs, and under which pin names (DNSDIST.md). Pins are never
removed. One xskmap serves one interface: the first interface's is `xskmap`, a further one's
`xskmap-<interface>`. Does not own opening and verifying a pin (kernel/bpf/pins.py) or the entries
(store/). Made by service/resources.py; used by pin repair, the observer, and the verbs `check`
and `prepare`. Everything blocks.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from xdpctl import abi
from xdpctl.abi import MapName
from xdpctl.errors import KernelError, PinError, TargetError, frozen_map
from xdpctl.kernel.bpf.maps import memory_of
from xdpctl.kernel.bpf.pins import (
    PinPolicy,
    ensure_bpffs,
    ensure_directory,
    open_existing,
    open_or_create,
    open_pin_directory,
    pin_again,
    pin_name_for,
    refuse_foreign,
)
from xdpctl.process.log import event
from xdpctl.process.memory import available_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pin:
    """One pin that a configuration needs; `interface` if it belongs to one interface."""

    name: str
    map: MapName
    entries: int
    interface: str | None = None


def pins_for(settings: Settings) -> tuple[Pin, ...]:
    """Return the pins that the settings ask for, in the order of DNSDIST.md."""
    pins = [Pin(name, name, settings.entries_for(name)) for name in abi.RULE_MAPS]
    if settings.xsk:
        for number, interface in enumerate(settings.interfaces):
            name = MapName.XSKMAP.value
            if number:
                name = f"{name}-{pin_name_for(interface)}"
            pins.append(Pin(name, MapName.XSKMAP, settings.number_of_queues, interface))
        pins += [Pin(name, name, settings.entries_for(name)) for name in abi.DESTINATION_MAPS]
    return tuple(pins)


class SharedMaps:
    """The shared maps, open. A context manager that closes descriptors and leaves pins.

    Args:
        bpf: the kernel.
        settings: the maps, their directory and owner.
        owners: users that the directories may belong to, besides root, this process's user and
            --pin-owner.
        memory: gives the octets of memory that can still be asked for, or None.
    """

    def __init__(
        self,
        bpf: Bpf,
        settings: Settings,
        owners: tuple[int, ...] = (),
        *,
        memory: Callable[[], int | None] = available_memory,
    ) -> None:
        self._bpf = bpf
        self._owners = owners
        self._memory = memory
        self._directory = settings.pin_dir
        self._pins = pins_for(settings)
        owner = settings.pin_owner
        self._policy = PinPolicy(
            None if owner is None else owner.uid,
            None if owner is None else owner.gid,
            settings.pin_mode,
        )
        self._resources = contextlib.ExitStack()
        self._maps: dict[str, Map] = {}
        self._moving: dict[str, Map] = {}
        self._unmended: dict[str, str] = {}
        self._frozen: dict[str, int] = {}
        self.shrunk: dict[str, str] = {}
        """A sentence for each pin whose map has less room than the former one."""
        self._astray = self._resources.enter_context(contextlib.ExitStack())
        self.warnings: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def inspect(self) -> dict[str, int]:
        """Check that existing pins can be used; changes nothing except a missing mount.

        Returns:
            Slots of each interface's xskmap, existing or not; empty without --xsk.

        Raises:
            PinError, KernelError: the first pin that cannot be used.
        """
        ensure_bpffs(self._directory)
        refuse_foreign(self._directory, self._policy, self._owners)
        slots: dict[str, int] = {}
        for pin in self._pins:
            entries = pin.entries
            opened = open_existing(self._bpf, self._directory / pin.name, abi.MAPS[pin.map])
            if opened is not None:
                entries = opened.info.max_entries
                opened.close()
            if pin.interface is not None:
                slots[pin.interface] = entries
        return slots

    def open(self) -> None:
        """Open or make every map.

        Raises:
            PinError, KernelError: as `inspect`, or a map or pin cannot be made.
        """
        ensure_directory(self._directory, self._policy, self._owners)
        warnings: list[str] = []
        for pin in self._pins:
            opened = open_or_create(
                self._bpf,
                self._directory,
                abi.MAPS[pin.map],
                entries=pin.entries,
                pin_name=pin.name,
                policy=self._policy,
                owners=self._owners,
            )
            self._maps[pin.name] = self._resources.enter_context(opened.map)
            warnings += opened.warnings
        self.warnings = tuple(warnings)
        for interface, name in self.xskmap_pins().items():
            event(_log, "xskmap", interface=interface, pin=name)

    def rule_maps(self) -> dict[MapName, Map]:
        """Return the five rule maps."""
        return {name: self._maps[name] for name in abi.RULE_MAPS}

    def destination_maps(self) -> dict[MapName, Map]:
        """Return the two destination maps; empty without --xsk."""
        return {name: self._maps[name] for name in abi.DESTINATION_MAPS if name in self._maps}

    def for_interface(self, interface: str) -> Mapping[MapName, Map]:
        """Return the maps that the program on this interface refers to."""
        return {
            pin.map: self._maps[pin.name]
            for pin in self._pins
            if pin.interface in (None, interface)
        }

    def xskmap_pins(self) -> dict[str, str]:
        """Return the pin name of each interface's xskmap; empty without --xsk."""
        return {pin.interface: pin.name for pin in self._pins if pin.interface is not None}

    def path(self, name: str) -> Path:
        """Return where a map is pinned."""
        return self._directory / name

    def mend(self) -> list[str]:
        """Pin maps again that have lost their pin; open maps that are pinned in place of ours.

        Returns:
            The pins that `move` is to follow. `replaced` reports what cannot be mended.
        """
        self._astray.close()
        self._moving.clear()
        self._unmended.clear()
        for pin in self._pins:
            path, held = self._directory / pin.name, self._maps[pin.name]
            try:
                found = open_existing(self._bpf, path, abi.MAPS[pin.map])
                if found is None:
                    self._pin_again(held, path, pin)
                elif found.info.id == held.info.id:
                    found.close()
                elif found.is_frozen():
                    found.close()
                    self._unmended[pin.name] = (
                        f"the pin {path} is another map, which is frozen: the filter keeps reading"
                        " the former one; remove the pin, and restart the program that made it"
                    )
                else:
                    self._moving[pin.name] = self._astray.enter_context(found)
            except (KernelError, PinError) as error:
                self._unmended[pin.name] = error.sentence
        return list(self._moving)

    def _pin_again(self, held: Map, path: Path, pin: Pin) -> None:
        """Pin a map again; if it is frozen, pin a new map to move to instead."""
        ensure_bpffs(self._directory)
        ensure_directory(self._directory, self._policy, self._owners)
        if held.is_frozen():
            made = open_or_create(
                self._bpf,
                self._directory,
                abi.MAPS[pin.map],
                entries=held.info.max_entries,
                pin_name=pin.name,
                policy=self._policy,
                owners=self._owners,
            )
            self._moving[pin.name] = self._astray.enter_context(made.map)
            return
        with open_pin_directory(self._directory, self._policy, self._owners) as place:
            pin_again(self._bpf, held, place, path.name, self._policy)
        event(_log, "pinned-again", logging.WARNING, pin=path)

    def move(self) -> list[tuple[str, int]]:
        """Use the maps that `mend` found in place of ours; return their pins and new ids.

        Every user of one of our `Map` objects then uses the new map, except loaded programs.
        """
        moved = []
        for name, found in self._moving.items():
            before, now = self._maps[name].info.max_entries, found.info.max_entries
            self.shrunk.pop(name, None)
            if now < before:
                self.shrunk[name] = (
                    f"{self.path(name)} was replaced by a map with room for {now} entries instead"
                    f" of {before}: for more, stop every program that uses it, remove the pin, and"
                    " start them again"
                )
            self._maps[name].become(found)
            moved.append((name, self._maps[name].info.id))
        self._moving.clear()
        return moved

    def grow(self, name: MapName, entries: int, expect: Callable[[int], None]) -> int:
        """Put a larger map with the same entries in a rule map's place; return how many.

        Nobody else may write to the map meanwhile. Every user of our `Map` object uses the new
        one then, except loaded programs. Hits of the time of copying may be lost.

        Args:
            name: a rule map.
            entries: its new capacity.
            expect: is given the new map's id before its pin takes the former one's place.

        Raises:
            TargetError: it would take most of the memory that there is.
            KernelError, PinError: the map cannot be made or pinned; nothing was changed.
        """
        self._refuse_without_memory(name, entries)
        held, fresh = self._maps[name], f"{name}:new"
        with contextlib.ExitStack() as stack:
            grown = self._bpf.create_map(abi.MAPS[name], entries)
            stack.callback(grown.close)
            grown.label = name
            copied = sum(grown.update_batch(keys, values) for keys, values in held.chunks())
            place = stack.enter_context(
                open_pin_directory(self._directory, self._policy, self._owners)
            )
            try:
                place.below(fresh).unlink(missing_ok=True)  # of a service that was killed
                pin_again(self._bpf, grown, place, fresh, self._policy)
                expect(grown.info.id)
                place.below(fresh).rename(place.below(name))
            except OSError as error:
                raise PinError(
                    f"cannot put a larger map in the place of {self.path(name)}: {error.strerror};"
                    " run `xdpctl prepare` as root, and try again"
                ) from error
            held.become(grown)
        self.shrunk.pop(name, None)
        event(_log, "map-resized", map=name, id=held.info.id, entries=copied, capacity=entries)
        return copied

    def _refuse_without_memory(self, name: MapName, entries: int) -> None:
        needed, there = memory_of(abi.MAPS[name], entries), self._memory()
        if there is not None and needed > there // 2:
            raise TargetError(
                f"cannot resize {name} to {entries} entries: that takes {_mib(needed)} MiB of"
                f" memory, more than half of the {_mib(there)} MiB that are available, and the"
                " kernel might end the DNS server to get it; give a smaller number",
                text=str(entries),
                field="entries",
            )

    def frozen(self) -> frozenset[str]:
        """Return the pins whose maps are frozen."""
        for name, held in self._maps.items():
            if self._frozen.get(name) != held.info.id and held.is_frozen():
                self._frozen[name] = held.info.id
        return frozenset(
            name for name, held in self._maps.items() if self._frozen.get(name) == held.info.id
        )

    def replaced(self) -> Iterator[str]:
        """Yield a sentence for each pin that is not our map, or whose map is frozen."""
        frozen = self.frozen()
        for pin in self._pins:
            path, held = self._directory / pin.name, self._maps[pin.name]
            if pin.name in frozen:
                yield frozen_map(path)
            try:
                found = open_existing(self._bpf, path, abi.MAPS[pin.map])
            except (KernelError, PinError) as error:
                yield error.sentence
                continue
            if found is None:
                being_made = f"the pin {path} is gone: it is being made again"
                yield self._unmended.get(pin.name, being_made)
                continue
            with found:
                if found.info.id != held.info.id:
                    moving = f"the pin {path} is not the map that the filter reads: moving to it"
                    yield self._unmended.get(pin.name, moving)


def _mib(octets: int) -> str:
    return f"{octets / 2**20:,.0f}"
