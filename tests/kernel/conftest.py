"""A network namespace and a BPF file system for one test, on the real kernel.

The namespace has no name: the test's thread moves into it and back, and it ends with
its last descriptor, so that nothing is left behind whatever happens. The file system
is an instance of its own, mounted on the test's folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.engines.entries import Index
from tests.engines.host import Host
from tests.engines.kernel import Kernel
from tests.engines.made_once import compiled_once
from tests.engines.oracle import Oracle
from xdpctl.abi import MAPS, RULE_MAPS
from xdpctl.kernel.bpf import pins
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.kernel.net.interfaces import Netlink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.engines import Engine
    from tests.fuzz.compare import BothWays
    from xdpctl.abi import MapName
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.program.config import Recipe

CLONE_NEWNET = 0x40000000


def ip(*arguments: str) -> None:
    """Run iproute2's ip in the namespace of the calling thread."""
    subprocess.run(["ip", *arguments], check=True)


@pytest.fixture(scope="session")
def host_engine() -> Host:
    """The filter's C compiled for this machine, a page that faults behind each frame."""
    return Host()


@pytest.fixture(scope="session")
def host_engine_guarding_starts() -> Host:
    """The same, a page that faults before each frame."""
    return Host(guard_start=True)


@pytest.fixture(scope="session")
def bytecode_of() -> Callable[[Recipe], Bytecode]:
    """What compiles a configuration once for all engines of this process."""
    return cache(compiled_once)


@pytest.fixture(scope="session")
def kernel_engine(bytecode_of: Callable[[Recipe], Bytecode]) -> Iterator[Kernel]:
    """The filter loaded over maps of its own, attached nowhere."""
    with Kernel(Bpf(), bytecode_of) as engine:
        yield engine


@pytest.fixture(scope="session")
def indexed_host_engine() -> Host:
    """The filter's C with an index of names that is fresh and right."""
    return Host(index=Index.EXACT)


@pytest.fixture(scope="session")
def vain_host_engine() -> Host:
    """The filter's C with a fresh index of names that excludes nothing."""
    return Host(index=Index.VAIN)


@pytest.fixture(scope="session")
def indexed_kernel_engine(
    bytecode_of: Callable[[Recipe], Bytecode],
) -> Iterator[Kernel]:
    """The loaded filter with an index of names that is fresh and right."""
    with Kernel(Bpf(), bytecode_of, index=Index.EXACT) as engine:
        yield engine


@pytest.fixture(scope="session")
def our_engines(
    host_engine: Host,
    indexed_host_engine: Host,
    kernel_engine: Kernel,
    indexed_kernel_engine: Kernel,
) -> tuple[BothWays, ...]:
    """The engines that run the filter's C, with and without the index."""
    return host_engine, indexed_host_engine, kernel_engine, indexed_kernel_engine


@pytest.fixture(scope="session")
def every_engine(our_engines: tuple[BothWays, ...]) -> tuple[Engine, ...]:
    """All engines that must agree, the oracle first."""
    return Oracle(), *our_engines


@contextlib.contextmanager
def rule_maps(room: int) -> Iterator[dict[MapName, Map]]:
    """Make the five rule maps with this room."""
    bpf = Bpf()
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(bpf.create_map(MAPS[name], room)) for name in RULE_MAPS}


@pytest.fixture
def bpf() -> Bpf:
    return Bpf()


@pytest.fixture
def netlink() -> Netlink:
    return Netlink()


@pytest.fixture
def namespace() -> Iterator[None]:
    """Put the test into a network namespace with loopback and veth0, veth1."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        assert libc.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        ip("link", "set", "lo", "up")
        ip(*("link", "add", "veth0", "numrxqueues", "2", "type", "veth"),
           *("peer", "name", "veth1", "numtxqueues", "2"))  # fmt: skip
        ip("link", "set", "veth0", "up")
        ip("link", "set", "veth1", "up")
        yield
    finally:
        assert libc.setns(home, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        os.close(home)


@pytest.fixture
def ifindex(namespace: None, netlink: Netlink) -> int:
    """Return the index of veth0."""
    assert namespace is None
    return netlink.find("veth0").index


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Return an empty BPF file system."""
    place = tmp_path / "bpf"
    place.mkdir()
    pins.mount_bpffs(place)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)
