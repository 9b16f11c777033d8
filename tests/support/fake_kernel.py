"""A kernel that is none: maps, programs, links, pins and interfaces in memory.

`FakeKernel` owns the state; `FakeBpf` and `FakeNetlink` are the two doors to it that
the code above the seam is given instead of `Bpf` and `Netlink`. Any call can be told
to fail through `FakeKernel.faults`. Pins are small real files, so that pins.py works
with them below a directory given to `pretend_bpffs`. tests/support/kernel_contract.py says what
fake and kernel have in common, and runs against both. A fake does not run programs.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import itertools
import os
import struct
import threading
from asyncio import Queue
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zlib import crc32

from xdpctl.abi import MapType
from xdpctl.errors import InterfaceError, KernelError, MapFrozenError, MapFullError, PinError
from xdpctl.kernel.bpf import bpffs, pins
from xdpctl.kernel.bpf.descriptor import Descriptor
from xdpctl.kernel.bpf.keywalk import KeyWalk
from xdpctl.kernel.bpf.kind import ProgramKind
from xdpctl.kernel.bpf.libbpf import (
    BPF_ANY,
    BPF_EXIST,
    BPF_NOEXIST,
    LINK_TYPE_CGROUP,
    LINK_TYPE_XDP,
)
from xdpctl.kernel.bpf.maps import Map, MapInfo
from xdpctl.kernel.bpf.programs import Link, LinkInfo, Program, ProgramInfo, TestRun, XdpMode
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.kernel.net.interfaces import Attached, Channels, Interface, LinkChange, Netlink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from ipaddress import IPv4Address, IPv6Address
    from pathlib import Path

    import pytest

    from xdpctl.abi import MapSpec

CPUS = 2
XDP_PASS = 2
_FIRST_FD = 1_000_000
_FIXED = (MapType.ARRAY, MapType.PERCPU_ARRAY)
_LDDW = 0x18
_NOTHING = ctypes.CDLL(None)
"""In libbpf's place: what a fake forgot to replace is not found there."""


class Faults:
    """Which calls fail, and how often.

    A call is named `create_map`, `map.update`, `link.detach`, `find`, … : the method,
    with `map.`, `program.` or `link.` before those of the three objects.
    """

    def __init__(self) -> None:
        self._planned: dict[str, list[tuple[KernelError | Exception, int]]] = {}
        self.calls: list[str] = []

    def set(self, call: str, error: int | Exception, *, times: int = 1) -> None:
        """Let the next `times` uses of a call raise an errno or an exception."""
        planned = KernelError(f"cannot {call}", error) if isinstance(error, int) else error
        self._planned.setdefault(call, []).append((planned, times))

    def clear(self) -> None:
        """Let everything succeed again."""
        self._planned.clear()

    def check(self, call: str) -> None:
        """Note the call; raise if that is planned."""
        self.calls.append(call)
        if not (planned := self._planned.get(call)):
            return
        error, times = planned[0]
        planned[0] = (error, times - 1)
        if times <= 1:
            planned.pop(0)
        raise error


@dataclass
class MapState:
    """A map as the kernel has it; values of per-CPU maps are those of all CPUs."""

    info: MapInfo
    entries: dict[bytes, bytes] = field(default_factory=dict)
    memory: bytearray | None = None
    frozen: bool = False

    @property
    def stored_size(self) -> int:
        if self.info.type != MapType.PERCPU_ARRAY:
            return self.info.value_size
        return (self.info.value_size + 7) // 8 * 8 * CPUS


@dataclass
class ProgramState:
    """A loaded program and what it does with a frame."""

    info: ProgramInfo
    run: Callable[[bytes], TestRun] = lambda frame: TestRun(XDP_PASS, frame, 1)


@dataclass
class LinkState:
    """A link; `device` is None once it is defunct, or where it is on control groups."""

    id: int
    program: ProgramState
    device: Device | None
    mode: XdpMode
    on_cgroups: bool = False
    defunct: bool = False


@dataclass
class Device:
    """An interface and what is attached to it.

    `native` is the errno of its driver, or None if it has native XDP; `reason` what
    the driver says, `native_xdp` what the kernel does.
    """

    name: str
    index: int
    mtu: int = 1500
    up: bool = True
    kind: str | None = None
    driver: str | None = "fake"
    rx_queues: int = 1
    master: int | None = None
    native: int | None = None
    reason: str = ""
    native_xdp: bool | None = None
    vlan_offload: bool | None = False
    link: LinkState | None = None
    netlink: tuple[ProgramState, XdpMode] | None = None
    link_type: int = 1
    altnames: tuple[str, ...] = ()

    def is_named(self, name: str) -> bool:
        """Whether this is its name or one of its alternative names."""
        return name in {self.name, *self.altnames}

    @property
    def occupied(self) -> tuple[ProgramState, XdpMode] | None:
        """The program there and its mode."""
        return (self.link.program, self.link.mode) if self.link else self.netlink

    @property
    def attached(self) -> Attached | None:
        """The program there as netlink tells."""
        if (occupied := self.occupied) is None:
            return None
        program, mode = occupied
        return Attached(program.info.id, mode)


class FakeKernel:
    """All that a kernel would know, for tests to set up and to look at."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.maps: dict[int, MapState] = {}
        self.programs: dict[int, ProgramState] = {}
        self.links: dict[int, LinkState] = {}
        self.devices: dict[int, Device] = {}
        self.addresses: list[IPv4Address | IPv6Address] = []
        self.tcp_listeners: set[int] = set()
        self.udp_sockets: set[tuple[IPv4Address | IPv6Address, int]] = set()
        self.privileged = True
        self.news: Queue[LinkChange] = Queue()
        self.open: dict[int, MapState | ProgramState | LinkState] = {}
        self._pinning = threading.Lock()  # the service's threads, and a test's
        self._pinned: dict[str, tuple[str, MapState | ProgramState | LinkState]] = {}
        self._directories: set[Path] = set()
        self._numbers = itertools.count(1)

    def new_id(self) -> int:
        """Return an id that nothing has."""
        return next(self._numbers)

    def new_fd(self, state: MapState | ProgramState | LinkState) -> int:
        """Return a descriptor for an object."""
        fd = _FIRST_FD + self.new_id()
        self.open[fd] = state
        return fd

    def add_interface(self, name: str, index: int | None = None) -> Device:
        """Make an interface; its attributes can be changed."""
        device = Device(name, index or self.new_id())
        self.devices[device.index] = device
        return device

    def remove_interface(self, name: str) -> None:
        """Delete an interface: its link becomes defunct."""
        device = next(d for d in list(self.devices.values()) if d.name == name)
        del self.devices[device.index]
        if device.link:
            device.link.device = None

    def move_away(self, name: str) -> Device:
        """Move an interface to another network namespace: what is attached stays on it."""
        device = next(d for d in list(self.devices.values()) if d.name == name)
        del self.devices[device.index]
        return device

    def move_back(self, device: Device) -> None:
        """Bring an interface back that was moved away."""
        self.devices[device.index] = device

    def attached(self, name: str) -> Attached | None:
        """Return what is on an interface, after links without holder or pin have ended."""
        self.reap()
        return next(d.attached for d in list(self.devices.values()) if d.name == name)

    def pin(
        self,
        path: Path,
        kind: str,
        state: MapState | ProgramState | LinkState,
        named: Path | None = None,
    ) -> None:
        """Write a pin's file."""
        number = {"exists": errno.EEXIST, "directory": errno.ENOENT, "name": errno.EPERM}
        with self._pinning:
            problem = (
                "exists"
                if path.exists()
                else "directory"
                if not path.parent.is_dir()
                else "name"
                if "." in path.name
                else None
            )
            if problem:
                raise KernelError(f"cannot pin at {named or path}", number[problem])
            mark = f"{kind} {self.new_id()}\n"  # found again also under another name
            path.write_text(mark, encoding="ascii")
            path.chmod(0o600)
            self._pinned[mark] = (kind, state)
            self._directories.add(path.parent.resolve())

    def pinned(
        self, path: Path, kind: str, named: Path | None = None
    ) -> MapState | ProgramState | LinkState:
        """Return what a pin's file stands for."""
        with self._pinning:
            mark = _mark(path)
            path = named or path
            if mark is None:
                raise KernelError(f"cannot open the {kind} pinned at {path}", errno.ENOENT)
            if mark not in self._pinned:
                raise KernelError(f"cannot open the {kind} pinned at {path}", errno.EACCES)
            found, state = self._pinned[mark]
            if found != kind:
                raise PinError(f"cannot open {path}: a {found} is pinned there, not a {kind}")
            return state

    def free_device(
        self, program: Program, ifindex: int, mode: XdpMode, *, is_explained: bool = False
    ) -> Device:
        """Return the device that a program can be attached to.

        Raises:
            KernelError: there is none, it has a program, or its driver has no native mode; why
                not, if that `is_explained`.
        """
        self.reap()
        tried = f"cannot attach {program.label} to interface {ifindex} in {mode} mode"
        device = self.devices.get(ifindex)
        if device is None:
            raise KernelError(tried, errno.ENODEV)
        if device.occupied is not None:
            same = device.occupied[1] == mode
            raise KernelError(tried, errno.EBUSY if same else errno.EEXIST)
        if mode is XdpMode.NATIVE and device.native is not None:
            why = (device.reason,) if is_explained else ()
            raise KernelError(tried, device.native, *why)
        return device

    def reap(self) -> None:
        """End what has neither a descriptor nor a pin left, as a kernel does."""
        with self._pinning:
            there = {
                _mark(path)
                for directory in self._directories
                if directory.is_dir()
                for path in directory.iterdir()
            }
            self._pinned = {
                mark: held for mark, held in list(self._pinned.items()) if mark in there
            }
        held = [*list(self.open.values()), *(state for _, state in self._pinned.values())]
        for link in list(self.links.values()):
            if not any(link is state for state in held):
                if link.device:
                    link.device.link = None
                del self.links[link.id]


def _mark(path: Path) -> str | None:
    """Return what a fake pin holds; None: nothing is there, as a test may remove it any time."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        return ""


_BUCKETS = 64


def _bucket(key: bytes) -> int:
    """Return the bucket that a key of a fake hash map is in."""
    return crc32(key) % _BUCKETS


class FakeDescriptor(Descriptor):
    """What fake maps, programs and links have in common.

    Args:
        kernel: holds what is open.
        state: what the descriptor is of.
        label: what error messages call it.
    """

    kind: str

    def __init__(
        self, kernel: FakeKernel, state: MapState | ProgramState | LinkState, label: str
    ) -> None:
        self.kernel = kernel
        self.state = state
        super().__init__(_NOTHING, kernel.new_fd(state), label)

    def close(self) -> None:
        self.kernel.open.pop(self.fd, None)
        self.fd = -1

    def pin(self, path: Path, *, named: Path | None = None) -> None:
        self._use("pin")
        self.kernel.pin(path, self.kind, self.state, named)

    def _use(self, call: str) -> None:
        """Fail as planned, or because the descriptor is closed."""
        self.kernel.faults.check(f"{self.kind}.{call}")
        if self.fd not in self.kernel.open:
            raise KernelError(f"cannot {call} {self.label}", errno.EBADF)


class FakeMap(FakeDescriptor, Map):
    """A map in memory."""

    kind = "map"
    state: MapState

    def become(self, other: Map) -> None:
        assert isinstance(other, FakeMap)
        self.kernel.open[self.fd] = self.state = other.state
        self.info = other.info
        other.close()

    def current_info(self) -> MapInfo:
        self._use("current_info")
        return self.state.info

    def is_frozen(self) -> bool:
        return self.state.frozen

    def lookup(self, key: bytes) -> bytes | None:
        self._check(key, self.info.key_size, "key")
        self._use("lookup")
        if self.info.type == MapType.XSKMAP:
            raise KernelError(f"cannot look up an entry of map {self.label}", errno.EOPNOTSUPP)
        return self._stored().get(key)

    def lookup_many(self, keys: bytes) -> list[bytes | None]:
        self._count(keys)
        return [self.lookup(key) for key in _split(keys, self.info.key_size)]

    def update(self, key: bytes, value: bytes, flags: int = BPF_ANY) -> None:
        self._check(key, self.info.key_size, "key")
        self._check(value, self.stored_size, "value")
        self._use("update")
        if self.before_write is not None:
            self.before_write(key)
        self._put(key, value, flags)

    def delete(self, key: bytes) -> bool:
        self._check(key, self.info.key_size, "key")
        self._use("delete")
        if self.info.type in _FIXED:
            raise KernelError(f"cannot delete an entry of map {self.label}", errno.EINVAL)
        self._see_frozen(f"cannot delete an entry of map {self.label}")
        return self.state.entries.pop(key, None) is not None

    def chunks(self, size: int = 4096) -> Iterator[tuple[bytes, bytes]]:
        self._use("chunks")
        entries = list(self._stored().items())
        if entries and self.info.type == MapType.XSKMAP:
            raise KernelError(f"cannot read the entries of map {self.label}", errno.EOPNOTSUPP)
        for start in range(0, len(entries), size):
            part = entries[start : start + size]
            yield b"".join(key for key, _ in part), b"".join(value for _, value in part)

    def part(self, bucket: int, size: int) -> tuple[bytes, bytes, int | None]:
        self._use("part")
        part: list[tuple[bytes, bytes]] = []
        for number in range(bucket, _BUCKETS):
            here = [entry for entry in self._stored().items() if _bucket(entry[0]) == number]
            if part and len(part) + len(here) > size:
                return *_joined(part), number
            part += here
        return *_joined(part), None

    def update_batch(self, keys: bytes, values: bytes, flags: int = BPF_ANY) -> int:
        count = self._count(keys)
        self._check(values, count * self.stored_size, "values")
        self._use("update_batch")
        if self.before_write is not None:
            self.before_write(keys)
        for number, (key, value) in enumerate(
            zip(_split(keys, self.info.key_size), _split(values, self.stored_size), strict=True)
        ):
            try:
                self._put(key, value, flags)
            except KernelError as error:
                error.done = number
                raise
        return count

    def delete_batch(self, keys: bytes) -> int:
        self._count(keys)
        self._use("delete_batch")
        self._see_frozen(f"cannot delete entries of map {self.label}")
        found = [key for key in _split(keys, self.info.key_size) if key in self.state.entries]
        return sum(self.state.entries.pop(key, None) is not None for key in found)

    def is_empty(self) -> bool:
        self._use("is_empty")
        return not self._stored()

    def key_walk(self, most: int) -> KeyWalk:
        return FakeKeyWalk(self, most)

    def memory(self) -> memoryview:
        self._use("memory")
        if self.state.memory is None:
            self.state.memory = bytearray(self.info.value_size * self.info.max_entries)
        return memoryview(self.state.memory)

    def _stored(self) -> dict[bytes, bytes]:
        """Return the entries; those of an array are all there from the beginning."""
        if self.info.type not in _FIXED:
            return self.state.entries
        blank = {
            struct.pack("=I", index): bytes(self.stored_size)
            for index in range(self.info.max_entries)
        }
        return blank | self.state.entries

    def _put(self, key: bytes, value: bytes, flags: int) -> None:
        """Write one entry under the kernel's rules."""
        present = key in self._stored()
        tried = f"cannot write to map {self.label}"
        self._see_frozen(tried)
        full = not present and (
            self.info.type in _FIXED or len(self.state.entries) >= self.info.max_entries
        )
        if present and flags == BPF_NOEXIST:
            raise KernelError(tried, errno.EEXIST)
        if not present and flags == BPF_EXIST:
            raise KernelError(tried, errno.ENOENT)
        if full:
            number = errno.ENOSPC if self.info.type == MapType.LPM_TRIE else errno.E2BIG
            raise MapFullError(tried, number, map_name=self.label, capacity=self.info.max_entries)
        self.state.entries[key] = value

    def _see_frozen(self, tried: str) -> None:
        if self.state.frozen:
            raise MapFrozenError(tried, map_name=self.label)

    def _stored_size(self) -> int:
        return self.state.stored_size


class FakeKeyWalk(KeyWalk):
    """The keys of a fake map."""

    def __init__(self, fake: FakeMap, most: int) -> None:
        self.fake = fake
        self.most = most
        self.changed = True
        self._keys = b""

    def walk(self) -> int | None:
        self.fake.kernel.faults.check("map.walk")
        entries = list(self.fake.state.entries)
        if len(entries) > self.most:
            return None
        keys = b"".join(entries)
        self.changed, self._keys = keys != self._keys, keys
        return len(entries)

    def keys(self) -> bytes:
        return self._keys


class FakeProgram(FakeDescriptor, Program):
    """A program that does what `state.run` says."""

    kind = "program"
    state: ProgramState

    def current_info(self) -> ProgramInfo:
        self._use("current_info")
        return self.state.info

    def test_run(self, frame: bytes, repeat: int = 1, first_buffer: int | None = None) -> TestRun:
        self._use("test_run")
        del first_buffer  # a fake reads the whole frame
        result = self.state.run(frame)
        for _ in range(1, repeat):
            result = self.state.run(result.frame)
        return result


class FakeLink(FakeDescriptor, Link):
    """A link between a fake program and a fake interface."""

    kind = "link"
    state: LinkState

    def close(self) -> None:
        super().close()
        self.kernel.reap()

    def info(self) -> LinkInfo:
        self._use("info")
        return _link_info(self.state)

    def update(self, program: Program, expected: Program | None = None) -> None:
        self._use("update")
        tried = f"cannot replace the program of {self.label}"
        if self.state.defunct or (self.state.device is None and not self.state.on_cgroups):
            raise KernelError(tried, errno.ENOLINK)
        if expected is not None and expected.info.id != self.state.program.info.id:
            raise KernelError(tried, errno.EPERM)
        self.state.program = self.kernel.programs[program.info.id]

    def detach(self) -> None:
        self._use("detach")
        self.state.defunct = True
        if self.state.device:
            self.state.device.link = None
            self.state.device = None


class FakeBpf(Bpf):
    """`Bpf` on a `FakeKernel`."""

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel = kernel
        self.__dict__["_library"] = _NOTHING

    def create_map(self, spec: MapSpec, max_entries: int) -> FakeMap:
        self.kernel.faults.check("create_map")
        info = MapInfo(
            id=self.kernel.new_id(),
            type=int(spec.type),
            key_size=spec.key_size,
            value_size=spec.value_size,
            max_entries=max_entries,
            flags=spec.flags,
            name=spec.name.replace("-", "_")[:15],
        )
        state = self.kernel.maps[info.id] = MapState(info)
        return FakeMap(self.kernel, state, str(spec.name))

    def open_map(self, path: Path, *, named: Path | None = None) -> FakeMap:
        self.kernel.faults.check("open_map")
        state = self.kernel.pinned(path, "map", named)
        assert isinstance(state, MapState)
        return FakeMap(self.kernel, state, (named or path).name)

    def load_program(
        self, instructions: bytes, name: str, kind: ProgramKind = ProgramKind.XDP
    ) -> FakeProgram:
        self.kernel.faults.check("load_program")
        info = ProgramInfo(
            id=self.kernel.new_id(),
            tag=_tag(instructions),
            name=name[:15],
            type=kind,
            run_time_ns=0,
            run_count=0,
            verified_instructions=len(instructions) // 8,
            jited_length=len(instructions),
            xlated_length=len(instructions),
            map_ids=tuple(self._used_maps(instructions)),
        )
        state = self.kernel.programs[info.id] = ProgramState(info)
        return FakeProgram(self.kernel, state, f"program {name}")

    def create_link(self, program: Program, ifindex: int, *, mode: XdpMode) -> FakeLink:
        self.kernel.faults.check("create_link")
        device = self.kernel.free_device(program, ifindex, mode)
        used = self.kernel.programs[program.info.id]
        state = LinkState(self.kernel.new_id(), used, device, mode)
        self.kernel.links[state.id] = device.link = state
        return FakeLink(self.kernel, state, f"the link on interface {device.name}")

    def create_cgroup_link(self, program: Program, cgroup: int) -> FakeLink:
        self.kernel.faults.check("create_cgroup_link")
        os.fstat(cgroup)
        used = self.kernel.programs[program.info.id]
        state = LinkState(self.kernel.new_id(), used, None, XdpMode.NATIVE, on_cgroups=True)
        self.kernel.links[state.id] = state
        return FakeLink(self.kernel, state, "the link on the root of all control groups")

    def open_link(self, path: Path) -> FakeLink:
        self.kernel.faults.check("open_link")
        state = self.kernel.pinned(path, "link")
        assert isinstance(state, LinkState)
        return FakeLink(self.kernel, state, f"the link pinned at {path}")

    def open_program(self, program_id: int) -> FakeProgram | None:
        self.kernel.faults.check("open_program")
        state = self.kernel.programs.get(program_id)
        if state is None or not self.kernel.privileged:
            return None
        return FakeProgram(self.kernel, state, f"program {program_id}")

    def open_pinned_program(self, path: Path) -> FakeProgram:
        self.kernel.faults.check("open_pinned_program")
        state = self.kernel.pinned(path, "program")
        assert isinstance(state, ProgramState)
        return FakeProgram(self.kernel, state, f"the program pinned at {path}")

    def links(self) -> Iterator[LinkInfo]:
        self.kernel.faults.check("links")
        if not self.kernel.privileged:
            raise KernelError("cannot list the links of BPF programs", errno.EPERM)
        self.kernel.reap()
        yield from [_link_info(link) for link in self.kernel.links.values()]

    def possible_cpus(self) -> int:
        return CPUS

    def _used_maps(self, instructions: bytes) -> Iterator[int]:
        """Yield the ids of the maps whose descriptors are in the instructions."""
        for code, registers, _, immediate in struct.iter_unpack("=BBhi", instructions):
            if code == _LDDW and registers >> 4 in (1, 2):
                state = self.kernel.open.get(immediate)
                if not isinstance(state, MapState):
                    raise KernelError("cannot load program", errno.EBADF)
                yield state.info.id


def _tag(instructions: bytes) -> str:
    """Return the hash of instructions without the descriptors of maps, as the kernel's."""
    plain = b"".join(
        struct.pack("=BBh", *slot[:3])
        + (bytes(4) if slot[0] == _LDDW else struct.pack("=i", slot[3]))
        for slot in struct.iter_unpack("=BBhi", instructions)
    )
    return hashlib.sha256(plain).hexdigest()[:16]


class FakeNetlink(Netlink):
    """`Netlink` on a `FakeKernel`. What tests put into `kernel.news` is watched."""

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel = kernel

    def find(self, name: str) -> Interface:
        self.kernel.faults.check("find")
        index = self.index_of(name)
        for interface in self.interfaces():
            if interface.index == index:
                return interface
        raise InterfaceError(f"cannot use interface {name}: there is none", interface=name)

    def interfaces(self) -> list[Interface]:
        self.kernel.faults.check("interfaces")
        self.kernel.reap()
        return [
            Interface(
                name=device.name,
                index=device.index,
                mtu=device.mtu,
                up=device.up,
                kind=device.kind,
                driver=device.driver,
                rx_queues=device.rx_queues,
                attached=device.attached,
                master=device.master,
                link_type=device.link_type,
            )
            for device in list(self.kernel.devices.values())
        ]

    def index_of(self, name: str) -> int | None:
        devices = list(self.kernel.devices.values())
        return next((device.index for device in devices if device.is_named(name)), None)

    def name_of(self, index: int) -> str | None:
        return device.name if (device := self.kernel.devices.get(index)) else None

    def features(self, name: str) -> frozenset[str]:
        device = next((d for d in list(self.kernel.devices.values()) if d.name == name), None)
        offload = device and device.vlan_offload
        if offload is None:
            return frozenset()
        return frozenset({"rx-gro", *(["rx-vlan-hw-parse"] if offload else [])})

    def native_xdp(self, index: int) -> bool | None:
        device = self.kernel.devices.get(index)
        return device.native_xdp if device else None

    def channels(self, name: str) -> Channels | None:
        queues = self._device(name).rx_queues
        return Channels(rx=0, tx=0, combined=queues, max_rx=0, max_tx=0, max_combined=queues)

    def local_addresses(self) -> list[IPv4Address | IPv6Address]:
        self.kernel.faults.check("local_addresses")
        return list(self.kernel.addresses)

    def listening_tcp(self, port: int) -> bool:
        return port in self.kernel.tcp_listeners

    def bound_udp(self, address: IPv4Address | IPv6Address, port: int) -> bool:
        return (address, port) in self.kernel.udp_sockets

    def attach_program(self, ifindex: int, mode: XdpMode, program: Program) -> None:
        self.kernel.faults.check("attach_program")
        device = self.kernel.free_device(program, ifindex, mode, is_explained=True)
        device.netlink = (self.kernel.programs[program.info.id], mode)

    def detach_program(self, ifindex: int, mode: XdpMode, expected: Program) -> None:
        self.kernel.faults.check("detach_program")
        self.kernel.reap()
        tried = f"cannot remove {expected.label} from interface {ifindex}"
        device = self.kernel.devices.get(ifindex)
        if device is None:
            raise KernelError(tried, errno.ENODEV)
        if device.link is not None and device.link.mode == mode:
            raise KernelError(tried, errno.EBUSY)
        if device.netlink is None or device.netlink[1] != mode:
            raise KernelError(tried, errno.ENOENT)
        if device.netlink[0].info.id != expected.info.id:
            raise KernelError(tried, errno.EEXIST)
        device.netlink = None

    def refusal(self, ifindex: int, mode: XdpMode, program: Program) -> str:
        self.kernel.faults.check("refusal")
        if program.fd not in self.kernel.open:
            raise KernelError(f"cannot attach {program.label}", errno.EBADF)
        device = self.kernel.devices.get(ifindex)
        refused = device is not None and mode is XdpMode.NATIVE and device.native is not None
        return device.reason if refused and device else ""

    async def watch(self) -> AsyncIterator[LinkChange]:
        self.kernel.faults.check("watch")
        yield LinkChange("", 0, resync=True)
        while True:
            yield await self.kernel.news.get()

    def _device(self, name: str) -> Device:
        """Return the device of this name."""
        return next(device for device in list(self.kernel.devices.values()) if device.name == name)


def pretend_bpffs(monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    """Let pins.py take `root` and what is below it for a BPF file system.

    Returns:
        `root`, to be used as if it were /sys/fs/bpf.
    """
    real = bpffs.is_bpffs
    for module in (bpffs, pins):
        monkeypatch.setattr(
            module,
            "is_bpffs",
            lambda path: path.resolve().is_relative_to(root.resolve()) or real(path),
        )
    return root


def _split(data: bytes, size: int) -> list[bytes]:
    """Return the parts of `size` bytes."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def _joined(entries: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """Return keys and values end to end."""
    return b"".join(key for key, _ in entries), b"".join(value for _, value in entries)


def _link_info(state: LinkState) -> LinkInfo:
    """Return what a kernel would say of a link."""
    return LinkInfo(
        id=state.id,
        type=LINK_TYPE_CGROUP if state.on_cgroups else LINK_TYPE_XDP,
        program_id=state.program.info.id,
        ifindex=state.device.index if state.device else 0,
    )
