"""What was looked at, as values; and a finding, which is what came of it.

Owns shapes only. survey.py makes facts of a live host, tests make them up.
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
    """How much a finding matters; only an error makes `check` fail."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `topic` says what: `kernel`, an interface, a pin."""

    level: Level
    sentence: str
    topic: str = ""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What does not depend on interfaces or maps.

    Attributes:
        release, kernel: uname's text and its first two numbers.
        missing: capabilities of LOAD_CAPABILITIES, CAP_SYS_ADMIN, CAP_CHOWN and
            CAP_SYS_RESOURCE that this process does not have.
        compiler: what keeps BCC from compiling the filter; None: it did.
        libraries: what is missing of libbpf and the service's Python packages, or None.
        jit: whether the kernel compiles programs; None: it does not say.
        memory_lock: RLIMIT_MEMLOCK in bytes; None: no limit.
        apart: under `ip netns exec`, whose mounts nobody else sees.
        listen: what keeps --listen from being bound; None: nothing, or not asked for.
        secrets: what is wrong with the files of --token-file and TLS, or None.
        unwritable: directories of --control and --state that cannot be used or made.
        service: what is known of a service that has the control socket, as a sentence.
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
    secrets: str | None = None
    unwritable: tuple[Path, ...] = ()
    service: str | None = None


@dataclass(frozen=True, slots=True)
class XdpFacts:
    """The program on an interface.

    `name`: where the kernel tells. `ours` None: our own pins may not be looked at.
    """

    program_id: int
    name: str
    ours: bool | None
    held_by_link: bool


@dataclass(frozen=True, slots=True)
class InterfaceFacts:
    """One interface.

    Attributes:
        interface: None where it cannot be seen; `error` is then the sentence.
        missing: there is no interface of this name.
        vlan_offload: the card takes VLAN tags off; None: the driver does not say.
        vlans: names of the VLAN interfaces on top of it.
        upper: the bond or bridge that it is part of; None: it is not.
        ports: names of the upper one's other ports.
        slots: entries of the xskmap that is pinned for it; None: none is yet.
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

    `mountable`: it lies where the service would mount a BPF file system. `error`: it
    cannot be used or not even looked at. `foreign`: whose part of the way is neither root's,
    ours nor --pin-owner's. `anybody`: every user may make directories in this file system.
    """

    path: Path
    exists: bool = False
    bpffs: bool = False
    mountable: bool = True
    error: str = ""
    owner: tuple[int, int] = (0, 0)
    foreign: str = ""
    anybody: bool = False


@dataclass(frozen=True, slots=True)
class PinFacts:
    """One pin that the settings ask for; `capacity` None: nothing is pinned there."""

    name: str
    entries: int
    capacity: int | None = None
    error: str = ""
    owner: tuple[int, int] = (0, 0)
    mode: int = 0o600


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that was looked at.

    Attributes:
        truncating: rules answer TC=1; None: the maps could not be read.
        listening: whether something listens on TCP, by port of plain DNS.
        addresses: those of this host.
    """

    host: HostFacts
    directory: DirectoryFacts
    policy: PinPolicy
    interfaces: tuple[InterfaceFacts, ...] = ()
    pins: tuple[PinFacts, ...] = ()
    truncating: bool | None = False
    listening: Mapping[int, bool] | None = None
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()
