"""Gathers the facts of a live host, on which the checks are based.

Changes nothing: it does not mount, pin, attach or rename anything, and makes nothing that stays. If
something cannot be read, that becomes a fact too and never an error of the survey. Called by the
verb `check` and by the service at its start. Everything blocks. Owns where each fact is read. Does
not own findings (host.py, interface.py).
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import stat
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from xdpctl import abi
from xdpctl.abi import RuleAction
from xdpctl.errors import ForeignFileError, InterfaceError, KernelError, XdpctlError
from xdpctl.kernel.bpf import pins
from xdpctl.kernel.bpf.cgroups import open_root
from xdpctl.kernel.bpf.pins import MOUNT_POINT, OWN_DIRECTORY, PinPolicy, open_existing
from xdpctl.kernel.failure import kernel_release, missing_capabilities
from xdpctl.kernel.paths import ForeignError, is_read_only, open_directory
from xdpctl.kernel.provenance import open_fed
from xdpctl.maps.shared import pins_for
from xdpctl.process.namespaces import has_own_network, processes_hidden
from xdpctl.process.port_holder import why_not
from xdpctl.settings import Proof
from xdpctl.status.checks.facts import (
    DirectoryFacts,
    Facts,
    HostFacts,
    InterfaceFacts,
    PinFacts,
    XdpFacts,
)
from xdpctl.status.checks.host import LOAD_CAPABILITIES
from xdpctl.transfers.key_file import read_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.kernel.net.interfaces import Interface, Netlink
    from xdpctl.maps.shared import Pin
    from xdpctl.settings import Listen, Settings
    from xdpctl.settings.dnsdist import DnsdistSettings
    from xdpctl.settings.lists import ListSettings, ZoneListSettings
    from xdpctl.settings.zones import ZoneSettings

_CAPABILITIES = (*LOAD_CAPABILITIES, "CAP_SYS_ADMIN", "CAP_CHOWN", "CAP_SYS_RESOURCE")
_SYSFS_SOURCES = ("sysfs", "sys", "none")
_PACKAGES = ("aiohttp", "msgspec", "prometheus_client", "pyroute2")


class Survey:
    """One survey of the host for a configuration.

    Args:
        bpf, netlink: the kernel.
        settings: the settings of the service; may have no interface.
        own_directory: the directory of our own pinned links.
        proc: the proc file system.
        as_the_service: what keys are read in: as the user that the service runs as.
    """

    def __init__(  # noqa: PLR0913 - three have defaults
        self,
        bpf: Bpf,
        netlink: Netlink,
        settings: Settings,
        *,
        own_directory: Path = OWN_DIRECTORY,
        proc: Path = Path("/proc"),
        as_the_service: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self._bpf = bpf
        self._netlink = netlink
        self._settings = settings
        self._own_directory = own_directory
        self._proc = proc
        self._as_the_service = as_the_service
        owner = settings.pin_owner
        self._policy = PinPolicy(
            None if owner is None else owner.uid,
            None if owner is None else owner.gid,
            settings.pin_mode,
        )

    def facts(
        self,
        compile_filter: Callable[[], object],
        service: str | None = None,
        read_secrets: Callable[[], object] = lambda: None,
    ) -> Facts:
        """Return all facts.

        Args:
            compile_filter: compiles the filter for these settings, or raises.
            service: a sentence about the service on the control socket, or None.
            read_secrets: reads the files of --token-file, TLS and --cookie-secret-file, or raises.
        """
        return Facts(
            host=self.host(compile_filter, service, read_secrets),
            directory=self.directory(),
            policy=self._policy,
            interfaces=tuple(self.interface(name) for name in self._settings.interfaces),
            pins=tuple(self.pin(pin) for pin in pins_for(self._settings)),
            truncating=self.truncating(),
            listening={port: self._netlink.listening_tcp(port) for port in self._settings.ports},
            addresses=tuple(self._netlink.local_addresses()),
        )

    def facts_at_start(self) -> Facts:
        """Return the facts for `warnings_at_start`, without reading maps or trying libraries."""
        return Facts(
            host=HostFacts(
                os.uname().release,
                kernel_release(),
                jit=self._jit(),
                hidden=processes_hidden(self._proc),
                own_network=has_own_network(self._proc),
            ),
            directory=DirectoryFacts(self._settings.pin_dir),
            policy=self._policy,
            interfaces=tuple(self.interface(name) for name in self._settings.interfaces),
        )

    def host(
        self,
        compile_filter: Callable[[], object],
        service: str | None = None,
        read_secrets: Callable[[], object] = lambda: None,
    ) -> HostFacts:
        """Return the facts that do not depend on interfaces and maps."""
        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
        listen, notify = self._settings.listen, self._settings.notify_listen
        with self._as_the_service():
            unread = (
                *_unread_keys(self._settings.zone_lists),
                *_unread_zone_keys(self._settings.zones),
                *_unread_api_keys(self._settings.dnsdists),
            )
        places = dict.fromkeys(
            path.parent for path in (self._settings.control, self._settings.state)
        )
        unwritable = [path for path in places if not _may_write(path)]
        return HostFacts(
            release=os.uname().release,
            kernel=kernel_release(),
            missing=frozenset(missing_capabilities(*_CAPABILITIES)),
            compiler=_failure(compile_filter),
            libraries=_missing_package() or _failure(self._bpf.possible_cpus),
            jit=self._jit(),
            memory_lock=None if limit == resource.RLIM_INFINITY else limit,
            apart=self._apart(),
            hidden=processes_hidden(self._proc),
            own_network=has_own_network(self._proc),
            listen=None if service is not None or listen is None else _listen_failure(listen),
            notify=None if service is not None else _failure(partial(_listen_for_notify, notify)),
            secrets=_failure(read_secrets),
            cgroups=_failure(_find_root) if self._settings.proof is Proof.CGROUP else None,
            samples=_failure(self._make_ring) if self._settings.sample_budget else None,
            unwritable=tuple(path for path in unwritable if not _is_read_only(path)),
            read_only=tuple(filter(_is_read_only, unwritable)),
            lists=(*_unread_lists(self._settings.lists), *unread),
            service=service,
        )

    def _make_ring(self) -> None:
        """Make a ring buffer, which ends at once."""
        ring = abi.MAPS[abi.MapName.SAMPLES]
        with self._bpf.create_map(ring, ring.entries):
            pass

    def interface(self, name: str) -> InterfaceFacts:
        """Return the facts about one interface."""
        try:
            found = self._netlink.find(name)
        except XdpctlError as error:
            missing = isinstance(error, InterfaceError)
            return InterfaceFacts(name, None, error.sentence, missing=missing)
        related = [] if found.master is None else self._netlink.interfaces()
        return InterfaceFacts(
            name,
            found,
            upper=next((other for other in related if other.index == found.master), None),
            ports=tuple(
                other.name
                for other in related
                if other.master == found.master and other.index != found.index
            ),
            vlan_offload=self._netlink.vlan_offload(name),
            vlans=self._vlans(name),
            xdp=self._xdp(found),
            slots=self._slots(name),
        )

    def directory(self) -> DirectoryFacts:
        """Return the facts about the pin directory."""
        path = self._settings.pin_dir
        try:
            place = _nearest(path)
            found = place.stat()
            if not stat.S_ISDIR(found.st_mode):
                return DirectoryFacts(
                    path,
                    error=f"{place} is not a directory, so pins cannot be made there: move it away,"
                    " or choose another --pin-dir",
                )
            bpffs = pins.is_bpffs(place)
            return DirectoryFacts(
                path,
                exists=place == path,
                bpffs=bpffs,
                mountable=path.is_relative_to(MOUNT_POINT) and place == MOUNT_POINT,
                owner=(found.st_uid, found.st_gid),
                foreign=self._foreign(place),
                anybody=bpffs and _anybody_may_write(place),
                read_only=self._read_only(path),
            )
        except OSError as error:
            return DirectoryFacts(
                path,
                error=f"cannot read {path}: {error.strerror}; run this as root, or run"
                " `xdpctl prepare` as root first",
            )
        except XdpctlError as error:
            return DirectoryFacts(path, error=error.sentence)

    def _read_only(self, path: Path) -> Path | None:
        """Return the first directory for pins, shared or own, whose bpffs is read-only."""
        for wanted in (path, self._own_directory):
            with contextlib.suppress(OSError):
                place = _nearest(wanted)
                if pins.is_bpffs(place) and is_read_only(place):
                    return place
        return None

    def _foreign(self, place: Path) -> str:
        """Return a sentence about a directory of the path that our service would refuse."""
        owner = self._settings.pin_owner
        try:
            open_directory(place, () if owner is None else (owner.uid,)).close()
        except ForeignError as error:
            return error.reason
        return ""

    def pin(self, pin: Pin) -> PinFacts:
        """Return the facts about one pin."""
        path = self._settings.pin_dir / pin.name
        try:
            opened = self._open(pin)
            if opened is None:
                return PinFacts(pin.name, pin.entries)
            with opened:
                found = path.stat()
                return PinFacts(
                    pin.name,
                    pin.entries,
                    opened.info.max_entries,
                    owner=(found.st_uid, found.st_gid),
                    mode=stat.S_IMODE(found.st_mode),
                )
        except XdpctlError as error:
            return PinFacts(pin.name, pin.entries, error=error.sentence)
        except OSError as error:
            return PinFacts(pin.name, pin.entries, error=f"cannot read {path}: {error.strerror}")

    def truncating(self) -> bool | None:
        """Return whether a rule answers TC=1; None if a map cannot be read."""
        try:
            return any(self._truncates(pin) for pin in pins_for(self._settings))
        except XdpctlError:
            return None

    def _truncates(self, pin: Pin) -> bool:
        if pin.map not in abi.RULE_MAPS or (opened := self._open(pin)) is None:
            return False
        size = abi.MAPS[pin.map].value_size
        with opened:
            return any(
                abi.decode_value(values[start : start + size]).action is RuleAction.TRUNCATE
                for _, values in opened.chunks()
                for start in range(0, len(values), size)
            )

    def _open(self, pin: Pin) -> Map | None:
        return open_existing(self._bpf, self._settings.pin_dir / pin.name, abi.MAPS[pin.map])

    def _slots(self, name: str) -> int | None:
        for pin in pins_for(self._settings):
            if pin.interface == name:
                return self.pin(pin).capacity
        return None

    def _xdp(self, interface: Interface) -> XdpFacts | None:
        attached = interface.attached
        if attached is None:
            return None
        place = interface.index, attached.program_id
        info = self._bpf.program_info(attached.program_id)
        return XdpFacts(
            attached.program_id,
            "" if info is None else info.name,
            ours=self._is_ours(place),
            held_by_link=place in set(self._links()),
        )

    def _is_ours(self, place: tuple[int, int]) -> bool | None:
        """Return whether a link of ours holds this program; None: our pins cannot be read."""
        try:
            paths = sorted(self._own_directory.iterdir())
        except FileNotFoundError:
            return False
        except OSError:
            return None
        return any(self._link_at(path) == place for path in paths)

    def _link_at(self, path: Path) -> tuple[int, int] | None:
        try:
            with self._bpf.open_link(path) as link:
                info = link.info()
        except XdpctlError:
            return None
        return info.ifindex, info.program_id

    def _links(self) -> Iterator[tuple[int, int]]:
        try:
            for info in self._bpf.links():
                yield info.ifindex, info.program_id
        except KernelError:
            return

    def _vlans(self, name: str) -> tuple[str, ...]:
        """Return the VLAN interfaces on top of one; the kernel lists `eth0.5 | 5 | eth0`."""
        try:
            lines = (self._proc / "net/vlan/config").read_text(encoding="utf-8").splitlines()
        except OSError:
            return ()
        rows = [[cell.strip() for cell in line.split("|")] for line in lines]
        return tuple(row[0] for row in rows if row[2:] == [name])

    def _jit(self) -> bool | None:
        try:
            text = (self._proc / "sys/net/core/bpf_jit_enable").read_text(encoding="ascii")
        except OSError:
            return None
        return text.strip() != "0"

    def _apart(self) -> bool:
        """Return whether `ip netns exec` started us: it mounts a /sys with another source."""
        try:
            mounts = (self._proc / "self/mountinfo").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        for mount in mounts:  # proc(5): id, parent, device, root, mount point, …, -, type, source
            fields, _, rest = mount.partition(" - ")
            kind, source = rest.split()[:2]
            if fields.split()[4] == "/sys" and kind == "sysfs":
                return source not in _SYSFS_SOURCES
        return False


def _failure(attempt: Callable[[], object]) -> str | None:
    try:
        attempt()
    except XdpctlError as error:
        return error.sentence
    return None


def _find_root() -> None:
    """Find the root of all control groups, or raise."""
    os.close(open_root())


def _missing_package() -> str | None:
    for name in _PACKAGES:
        try:
            import_module(name)
        except ImportError as error:
            return (
                f"cannot import the Python package {name} ({error}): install xdpctl with its"
                " dependencies (pip install xdpctl)"
            )
    return None


def _listen_failure(listen: Listen) -> str | None:
    """Try to listen on an address, and return the error as a sentence, or None."""
    family = socket.AF_INET if listen.host.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IP
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((str(listen.host), listen.port))
            probe.listen(1)
    except OSError as error:
        return (
            f"cannot listen on {listen}: {why_not(error, listen.port)}; choose another --listen,"
            " or none"
        )
    return None


def _nearest(path: Path) -> Path:
    """Return `path`, or the nearest directory above it that exists."""
    place = path
    while not place.exists():
        place = place.parent
    return place


def _may_write(directory: Path) -> bool:
    """Return whether we can make files in a directory, or can make the directory."""
    try:
        place = _nearest(directory)
        return place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    except OSError:
        return False


def _unread_lists(lists: Iterable[ListSettings]) -> Iterator[str]:
    """Yield a sentence for each list whose file this process cannot open."""
    for each in lists:
        try:
            os.close(open_fed(each.file))
        except ForeignFileError as error:
            why = error.sentence
        except OSError as error:
            why = f"it cannot be read: {error.strerror}"
        else:
            continue
        yield f"the service will start without the list {each.name} from {each.file}: {why}"


def _unread_keys(lists: Iterable[ZoneListSettings]) -> Iterator[str]:
    """Yield a sentence for each file with a key or authorities that this process cannot read."""
    from xdpctl.transfers.tls import read_authorities  # noqa: PLC0415 - a start does not need it

    for each in lists:
        for path, read, what in (
            (each.key_file, read_key, f"the list {each.name} will not be transferred"),
            (each.tls_ca, read_authorities, f"the list {each.name} will not be transferred"),
            (each.update_key_file, read_key, f"nothing can be published in {each.zone.to_text()}"),
        ):
            if path is not None and (why := _failure(partial(read, path))):
                yield f"{what}: {why}"


def _unread_zone_keys(zones: Iterable[ZoneSettings]) -> Iterator[str]:
    """Yield a sentence for each key of a zone's names that this process cannot read."""
    for each in zones:
        if each.key_file is not None and (why := _failure(partial(read_key, each.key_file))):
            yield f"the names of .{each.name.to_text()} will not be transferred: {why}"


def _unread_api_keys(dnsdists: Iterable[DnsdistSettings]) -> Iterator[str]:
    """Yield a sentence for each dnsdist whose API key this process cannot read."""
    for each in dnsdists:
        if each.key_file is not None:
            from xdpctl.feeds.dnsdist.client import read_api_key  # noqa: PLC0415 - as above

            if why := _failure(partial(read_api_key, each.key_file)):
                yield f"the dynamic blocks of {each.url} will not be read: {why}"


def _listen_for_notify(listen: Listen | None) -> None:
    """Listen for NOTIFY and stop at once, or raise."""
    from xdpctl.feeds.zone.binding import bind_notify  # noqa: PLC0415 - as above

    with contextlib.ExitStack() as stack:
        bind_notify(listen, stack)


def _is_read_only(directory: Path) -> bool:
    try:
        return is_read_only(_nearest(directory))
    except OSError:
        return False


def _anybody_may_write(place: Path) -> bool:
    """Return whether every user can make files in a directory of this path in a bpffs."""
    return any(
        pins.is_bpffs(part) and part.stat().st_mode & stat.S_IWOTH
        for part in (place, *place.parents)
    )
