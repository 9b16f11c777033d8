"""Our own pins, which prove that a program is ours.

Owns the names in /sys/fs/bpf/xdpctl/ (our own pins, never the shared ones): for each
interface the bpf_link `NETNS-NAME`, beside it `NETNS-NAME:program`, `NETNS-NAME:counters`,
`NETNS-NAME:control`, `NETNS-NAME:name-index`, `NETNS-NAME:tcp-proof` (a link, too: of the program
that proves sources, tcp_proof.py), our own tables (`NETNS-NAME:table-head` and four more) and the
maps of the limits (`NETNS-NAME:limits` and others) while a program reads them, and the directory
`NETNS-NAME:lock`, NETNS being the inode of the network namespace. The directory itself goes with
its last entry. Used by the filter, and by `detach` when no service runs. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from typing import TYPE_CHECKING

from xdpctl.abi import MAPS, MapName, Scope, names_of
from xdpctl.errors import InterfaceError, KernelError, PinError
from xdpctl.kernel.bpf.pins import (
    OWN_DIRECTORY,
    PinPolicy,
    ensure_bpffs,
    ensure_directory,
    netns_inode,
    pin_name_for,
    verify,
)
from xdpctl.kernel.failure import READ_ONLY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.programs import Link, Program, ProgramInfo
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.kernel.net.interfaces import Attached, Interface, Netlink

_PROGRAM = "program"
_TCP_PROOF = "tcp-proof"
_PASSING = names_of(Scope.TABLES, Scope.LIMITS)
_MAPS = (*names_of(Scope.INTERFACE, Scope.SERVICE), *_PASSING)
_BESIDE = (_PROGRAM, _TCP_PROOF, *_MAPS)
_FRESH = "new"
LOCK = "lock"
_OWN_NAME = re.compile(r"[0-9]+-[^:/][^/]*")


def is_own_lock(name: str) -> bool:
    """Tell whether an entry of our directory has the name of a lock, which is a directory."""
    return _OWN_NAME.fullmatch(name) is not None and name.endswith(f":{LOCK}")


def is_own_pin(name: str) -> bool:
    """Tell whether an entry of our directory has the name of a pin, for any interface."""
    return _OWN_NAME.fullmatch(name) is not None and not is_own_lock(name)


class OwnPins:
    """Our pins for one interface: paths, finding, pinning, removing."""

    def __init__(self, directory: Path, interface: str) -> None:
        self._directory = directory
        self._namespace = netns_inode()
        self._interface = interface
        self.link_path = self._path_for(interface)
        self.program_path = beside(self.link_path, _PROGRAM)
        self.tcp_proof_path = beside(self.link_path, _TCP_PROOF)

    def _path_for(self, interface: str) -> Path:
        return self._directory / f"{self._namespace}-{pin_name_for(interface)}"

    def _served_as(self, path: Path, interface: Interface) -> InterfaceError:
        other = path.name.removeprefix(f"{self._namespace}-").replace(":", ".")
        return InterfaceError(
            f"cannot use {self._interface}: another xdpctl already serves this card as {other}"
            f" (interface index {interface.index}): stop it first, or control it with the verbs",
            interface=self._interface,
        )

    def path(self, name: MapName) -> Path:
        """Return where the own map of this name is pinned."""
        return beside(self.link_path, name)

    def find_link(self, bpf: Bpf, interface: Interface, ours: Collection[str] = ()) -> Link | None:
        """Return our link on the interface, or None.

        A link is ours to adopt only when its ifindex and program id are what the
        kernel shows on the interface: an index may have been used again. One that is pinned
        under another name is taken over with its pins.

        Args:
            bpf: the kernel.
            interface: in its present state.
            ours: the names whose locks this process holds.

        Raises:
            InterfaceError: a running service serves this card under another name.
        """
        own = {self._path_for(name) for name in ours}
        if interface.attached is None:
            return None
        for path in self._candidates():
            try:
                link = bpf.open_link(path)
            except (KernelError, PinError):
                continue
            with contextlib.ExitStack() as stack:
                stack.enter_context(link)
                info = link.info()
                if (info.ifindex, info.program_id) != (
                    interface.index,
                    interface.attached.program_id,
                ):
                    continue
                if path != self.link_path:
                    if path not in own and is_served(path):
                        raise self._served_as(path, interface)
                    self._rename(path)
                stack.pop_all()
                return link
        return None

    def open_map(self, bpf: Bpf, name: MapName) -> Map | None:
        """Open our map of this name; None if no map that fits the contract is pinned."""
        return _open_map(bpf, self.path(name), name)

    def open_program(self, bpf: Bpf, attached: Attached) -> Program | None:
        """Open the attached program; None if it is not one that we pinned.

        A service that was killed right after it exchanged the program has pinned the new one
        under its temporary name only.
        """
        for path in (self.program_path, beside(self.program_path, _FRESH)):
            with contextlib.suppress(KernelError, PinError):
                program = bpf.open_pinned_program(path)
                if program.info.id == attached.program_id:
                    return program
                program.close()
        return None

    def are_whole(self, bpf: Bpf, program: Program, pinned: Collection[Path]) -> bool:
        """Return whether no service was killed while it gave these pins their names."""
        if any(beside(path, _FRESH).exists() for path in pinned):
            return False
        with (
            contextlib.suppress(KernelError, PinError),
            bpf.open_pinned_program(self.program_path) as known,
        ):
            return known.info.id == program.info.id
        return False

    def open_tables(self, bpf: Bpf, used: Collection[int]) -> dict[MapName, Map]:
        """Open our own tables that a program uses, given by the ids of its maps.

        All of them or none, also where they have their temporary names, as `open_program`.
        """
        found: dict[MapName, Map] = {}
        names = names_of(Scope.TABLES)
        with contextlib.ExitStack() as stack:
            for name in names:
                for path in (self.path(name), beside(self.path(name), _FRESH)):
                    opened = None if name in found else _open_map(bpf, path, name)
                    if opened is not None and opened.info.id in used:
                        found[name] = stack.enter_context(opened)
                    elif opened is not None:
                        opened.close()
            if len(found) < len(names):
                return {}
            stack.pop_all()
        return found

    def open_limits(self, bpf: Bpf, used: Collection[int]) -> dict[MapName, Map]:
        """Open our maps of the limits; where two have a name, the one that a program uses.

        Unlike tables they are good without the program that wrote them, so `used`, the ids of its
        maps, may be empty.
        """
        found: dict[MapName, Map] = {}
        for name in names_of(Scope.LIMITS):
            for path in (self.path(name), beside(self.path(name), _FRESH)):
                opened = _open_map(bpf, path, name)
                if opened is None:
                    continue
                if name not in found:
                    found[name] = opened
                elif opened.info.id in used:
                    found.pop(name).close()
                    found[name] = opened
                else:
                    opened.close()
        return found

    def has_other_limits(self, bpf: Bpf) -> bool:
        """Return whether a map of the limits is pinned that we cannot use: of another version."""
        for name in names_of(Scope.LIMITS):
            opened = _open_map(bpf, self.path(name), name)
            if opened is not None:
                opened.close()
            elif os.path.lexists(self.path(name)):  # False also where nobody may look
                return True
        return False

    def open_maps(self, bpf: Bpf, scope: Scope) -> dict[MapName, Map]:
        """Open our maps of a scope, as `open_map`."""
        opened = {name: self.open_map(bpf, name) for name in names_of(scope)}
        return {name: found for name, found in opened.items() if found is not None}

    def beside(self, program: Program, maps: Mapping[MapName, Map]) -> dict[Path, Program | Map]:
        """Return what is pinned beside the link, by its path; other maps are left out."""
        pinned = {self.path(name): maps[name] for name in _MAPS if name in maps}
        return {self.program_path: program, **pinned}

    def _candidates(self) -> list[Path]:
        """Return the pins that may be our link: the expected name first.

        No interface has a colon in its name, so a pin with a colon is not a link, unless the
        service died while it pinned one.
        """
        prefix = f"{self._namespace}-"
        try:
            pins = [path for path in self._directory.iterdir() if path.name.startswith(prefix)]
        except OSError:
            return []
        return sorted(pins, key=lambda path: (path != self.link_path, path))

    def _rename(self, old: Path) -> None:
        """Give the pins of a renamed interface its new name."""
        for name in (None, *_BESIDE):
            source = old if name is None else beside(old, name)
            target = self.link_path if name is None else beside(self.link_path, name)
            try:
                source.rename(target)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise unusable(target, error) from error

    def remove_others(self, pinned: Collection[Path]) -> None:
        """Remove the pins of tables and limits that are not among these: no program reads them.

        One that cannot be removed costs memory until the next exchange.
        """
        for path in {self.path(name) for name in _PASSING}.difference(pinned):
            for left in (path, beside(path, _FRESH)):
                with contextlib.suppress(OSError):
                    left.unlink(missing_ok=True)

    def remove_tcp_proof(self) -> None:
        """Remove the pin of the program that proves sources.

        Raises:
            PinError: it cannot be removed.
        """
        for path in (self.tcp_proof_path, beside(self.tcp_proof_path, _FRESH)):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise unusable(path, error) from error

    @contextlib.contextmanager
    def staging(self) -> Iterator[FreshPins]:
        """Pin in two steps: pins that are staged and not committed are removed at the end.

        Raises:
            PinError: the directory cannot be made.
        """
        ensure_bpffs(self._directory)
        ensure_directory(self._directory, PinPolicy())
        staging = FreshPins()
        try:
            yield staging
        finally:
            staging.discard()

    def remove(self, *, keeping: Collection[MapName] = ()) -> None:
        """Remove our own pins of this interface; the shared maps are never touched.

        Args:
            keeping: maps whose pins stay.

        Raises:
            PinError: one cannot be removed; the others are.
        """
        left: PinError | None = None
        names = [name for name in _BESIDE if name not in keeping]
        paths = [self.link_path, *(beside(self.link_path, name) for name in names)]
        for path in (*paths, *(beside(path, _FRESH) for path in paths)):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                left = left or unusable(path, error)
        if left is not None:
            raise left


class FreshPins:
    """Objects pinned under temporary names until all of them are pinned."""

    def __init__(self) -> None:
        self._staged: dict[Path, Path] = {}

    def add(self, thing: Link | Map | Program, path: Path) -> None:
        """Pin beside `path`.

        Raises:
            KernelError, PinError: it cannot be pinned.
        """
        fresh = beside(path, _FRESH)
        try:
            fresh.unlink(missing_ok=True)
        except OSError as error:
            raise unusable(fresh, error) from error
        thing.pin(fresh)
        self._staged[fresh] = path

    def add_all(self, things: Mapping[Path, Map | Program]) -> None:
        """Pin each beside its path; raises as `add`."""
        for path, thing in things.items():
            self.add(thing, path)

    def commit(self) -> None:
        """Give every pin its name, in place of a former pin of this name.

        Raises:
            PinError: one cannot be renamed.
        """
        made: list[Path] = []
        for fresh, path in list(self._staged.items()):
            try:
                is_new = not path.exists()
                fresh.rename(path)
            except OSError as error:
                for pinned in made:
                    with contextlib.suppress(OSError):
                        pinned.unlink(missing_ok=True)
                raise unusable(path, error) from error
            del self._staged[fresh]
            if is_new:
                made.append(path)

    def discard(self) -> None:
        """Remove what was not committed, as far as possible."""
        for fresh in self._staged:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
        self._staged.clear()


def _open_map(bpf: Bpf, path: Path, name: MapName) -> Map | None:
    with contextlib.suppress(KernelError, PinError):
        opened = bpf.open_map(path)
        if verify(opened.info, MAPS[name]) is None:
            return opened
        opened.close()
    return None


def same_program(former: ProgramInfo, fresh: ProgramInfo, private: set[int]) -> bool:
    """Whether both are the same code over the same maps, except for `private` maps."""
    differing = set(fresh.map_ids) ^ set(former.map_ids)
    ours = set(fresh.map_ids) - set(former.map_ids)
    return former.tag == fresh.tag and ours <= private and len(differing) == 2 * len(ours)


def detach_interface(
    bpf: Bpf, netlink: Netlink, name: str, directory: Path = OWN_DIRECTORY
) -> bool:
    """Detach our program from an interface without a service; False if none is attached.

    What a service that was stopped left for the next one goes, too (`remove_left`).
    """
    pins = OwnPins(directory, name)
    link = pins.find_link(bpf, netlink.find(name))
    if link is None:
        return False
    with link:
        link.detach()
    pins.remove()
    if not is_served(pins.link_path):
        with contextlib.suppress(OSError):  # none is left, or it is another's now
            beside(pins.link_path, LOCK).rmdir()
    leave_directory(directory)
    return True


def remove_left(directory: Path = OWN_DIRECTORY) -> None:
    """Remove what services that were stopped left for the next one, in this network namespace."""
    with contextlib.suppress(OSError):  # no directory, or no right to it
        for path in list(directory.glob(f"{netns_inode()}-*:*")):
            link, _, what = path.name.rpartition(":")
            is_left = what in names_of(Scope.LIMITS) and not (directory / link).exists()
            if is_left and not is_served(directory / link):
                path.unlink(missing_ok=True)
    leave_directory(directory)


def leave_directory(directory: Path) -> None:
    """Remove our directory if nothing is in it and a service of root made it.

    One that `prepare` made for the service's user stays: that user could not make it again.
    """
    with contextlib.suppress(OSError):  # not empty, or gone already
        if _is_roots(directory):
            directory.rmdir()


def _is_roots(directory: Path) -> bool:
    """Return whether this process is root's, and made the directory or could have."""
    return os.geteuid() == 0 == directory.lstat().st_uid


def carries_filter(bpf: Bpf, interface: Interface, directory: Path = OWN_DIRECTORY) -> bool:
    """Return whether the program on an interface is ours; changes nothing.

    False too for a user who cannot open our pins.
    """
    if interface.attached is None:
        return False
    program = OwnPins(directory, interface.name).open_program(bpf, interface.attached)
    if program is None:
        return False
    program.close()
    return True


def is_served(path: Path) -> bool:
    """Return whether a service holds the lock of the interface with this link path."""
    try:
        lock = os.open(
            beside(path, LOCK), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        )
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno == errno.EWOULDBLOCK
    finally:
        os.close(lock)
    return False


def beside(path: Path, what: str) -> Path:
    """Return where a pin or lock beside a link is."""
    return path.with_name(f"{path.name}:{what}")


def unusable(path: Path, error: OSError) -> PinError:
    """Return the error of a path that cannot be used."""
    helps = "run as root, or run `xdpctl prepare` as root first"
    if error.errno == errno.EROFS:
        helps = READ_ONLY
    return PinError(f"cannot use our own pin {path}: {error.strerror}; {helps}")
