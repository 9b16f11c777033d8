"""Facts about a host, and findings about them, as values.

Owns only the classes. survey.py gathers the facts of a live host; tests invent them. Does not own
the checks. Used by the rest of status/checks/, the verb `check` and service/.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address, IPv6Address
    from pathlib import Path

    from xdpctl.kernel.bpf.pins import PinPolicy
    from xdpctl.kernel.net.interfaces import Interface


class Level(StrEnum):
    """The severity of a finding; only an error makes `check` fail."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `topic` is what was checked: `kernel`, an interface, a pin."""

    level: Level
    sentence: str
    topic: str = ""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The facts that do not depend on interfaces or maps.

    Attributes:
        release: release of the kernel from uname.
        kernel: its first two numbers.
        missing: capabilities of LOAD_CAPABILITIES, CAP_SYS_ADMIN, CAP_CHOWN and
            CAP_SYS_RESOURCE that this process does not have.
        compiler: why BCC cannot compile the filter; None: it can.
        libraries: what is missing of libbpf and the Python packages, or None.
        jit: whether the kernel compiles BPF programs; None: unknown.
        memory_lock: RLIMIT_MEMLOCK in bytes; None: no limit.
        apart: started by `ip netns exec`, whose mounts no other process sees.
        listen: why the address of --listen cannot be bound; None: it can, or is not used.
        notify: why the address of --notify-listen cannot be bound; as `listen`.
        secrets: why a file of --token-file, TLS or --cookie-secret-file cannot be used, or None.
        cgroups: why the program of --proof cgroup cannot be attached; None: it can, or is not used.
        samples: why the kernel gives no ring buffer for samples; None: it does, or none are wanted.
        unwritable: directories of --control and --state that cannot be used or made.
        read_only: those of them that are on a file system mounted read-only.
        lists: why files of `[[list]]` and `[[dnsdist]]` cannot be read, a sentence each.
        service: a sentence about the service on the control socket, or None.
        hidden: why other processes of the host may be invisible, as a clause, or None.
        own_network: in another network namespace than the host's.
    """

    release: str
    kernel: tuple[int, int]
    missing: frozenset[str] = frozenset()
    compiler: str | None = None
    libraries: str | None = None
    jit: bool | None = True
    memory_lock: int | None = None
    apart: bool = False
    listen: str | None = None
    notify: str | None = None
    secrets: str | None = None
    cgroups: str | None = None
    samples: str | None = None
    unwritable: tuple[Path, ...] = ()
    read_only: tuple[Path, ...] = ()
    lists: tuple[str, ...] = ()
    service: str | None = None
    hidden: str | None = None
    own_network: bool = False


@dataclass(frozen=True, slots=True)
class XdpFacts:
    """The XDP program on an interface.

    Attributes:
        program_id: its id.
        name: its name, or empty if unknown.
        ours: whether it is ours; None: our own pins cannot be read.
        held_by_link: whether a bpf_link holds it.
    """

    program_id: int
    name: str
    ours: bool | None
    held_by_link: bool


@dataclass(frozen=True, slots=True)
class InterfaceFacts:
    """One interface.

    Attributes:
        name: its name.
        interface: what the kernel reports; None: `error` is the reason as a sentence.
        missing: no interface has this name.
        vlan_offload: whether the card removes VLAN tags; None: unknown.
        vlans: names of the VLAN interfaces on top of it.
        upper: the bond or bridge that it is part of, or None.
        ports: names of the other ports of the bond or bridge.
        xdp: the XDP program on it, or None.
        slots: entries of its pinned xskmap; None: it is not pinned yet.
    """

    name: str
    interface: Interface | None
    error: str = ""
    missing: bool = False
    vlan_offload: bool | None = None
    vlans: tuple[str, ...] = ()
    upper: Interface | None = None
    ports: tuple[str, ...] = ()
    xdp: XdpFacts | None = None
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class DirectoryFacts:
    """The pin directory.

    Attributes:
        path: its path.
        exists: whether it exists.
        bpffs: whether it is on a BPF file system.
        mountable: the service would mount a BPF file system for it.
        error: why it cannot be used or read, or empty.
        owner: user and group.
        foreign: a sentence about a directory of the path that belongs neither to root, to us
            nor to --pin-owner, or empty.
        anybody: every user can make directories in this file system.
        read_only: a BPF file system of our pins that is mounted read-only, or None.
    """

    path: Path
    exists: bool = False
    bpffs: bool = False
    mountable: bool = True
    error: str = ""
    owner: tuple[int, int] = (0, 0)
    foreign: str = ""
    anybody: bool = False
    read_only: Path | None = None


@dataclass(frozen=True, slots=True)
class PinFacts:
    """One pin of the settings; `capacity` None: the pin does not exist."""

    name: str
    entries: int
    capacity: int | None = None
    error: str = ""
    owner: tuple[int, int] = (0, 0)
    mode: int = 0o600


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts.

    Attributes:
        truncating: whether a rule answers TC=1; None: the maps cannot be read.
        listening: whether a program listens on TCP, for each port of plain DNS.
        addresses: the addresses of this host.
    """

    host: HostFacts
    directory: DirectoryFacts
    policy: PinPolicy
    interfaces: tuple[InterfaceFacts, ...] = ()
    pins: tuple[PinFacts, ...] = ()
    truncating: bool | None = False
    listening: Mapping[int, bool] | None = None
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()
