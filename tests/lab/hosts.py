"""Hosts and the wires between them: network namespaces and veth pairs.

`Lab` owns everything that a test puts on the machine: namespaces, processes, a folder
and a pin directory, each with a name of its own, and removes it all on the way out. It
does not know what runs on a host.

Commands run in a namespace through nsenter: `ip netns exec` and `ip -n` mount another
/sys, which hides the BPF file system.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.lab import bytecode
from tests.lab.process import LabError, Process
from xdpctl.kernel.bpf.syscall import Bpf

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EMPTY_PROGRAM = bytes.fromhex("b7000000020000009500000000000000")
"""r0 = XDP_PASS; exit."""

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

PYTHON = sys.executable
BPFFS = Path("/sys/fs/bpf")
LINKS = BPFFS / "xdpctl"
"""Where the service pins its own links; shared with every service of this machine."""

CLONE_NEWNET = 0x40000000
PREFIX = "xdplab"
INTERFACE = "eth0"
"""Name of the interface on both ends of a pair."""


@dataclass(frozen=True, slots=True)
class Host:
    """A network namespace with loopback up.

    Attributes:
        name: of the namespace, unique on this machine.
        lab: that it belongs to.
        v4: its first IPv4 address, "" when it has none.
        v6: its first IPv6 address, "" when it has none.
    """

    name: str
    lab: Lab = field(repr=False)
    v4: str = ""
    v6: str = ""

    @property
    def path(self) -> Path:
        """The namespace as a file."""
        return Path("/run/netns") / self.name

    @property
    def inode(self) -> int:
        """The namespace's inode, which is how the kernel tells namespaces apart."""
        return self.path.stat().st_ino

    def command(self, *argv: str) -> list[str]:
        """Return the command that runs `argv` here and becomes it, pid included."""
        return ["nsenter", f"--net={self.path}", "--", *argv]

    def run(
        self, *argv: str, check: bool = True, timeout: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command here to its end; LabError when it fails and `check` is set."""
        return run(self.command(*argv), check=check, timeout=timeout, environ=self.lab.environ)

    def start(self, name: str, *argv: str, environ: Mapping[str, str] | None = None) -> Process:
        """Start a process here; the lab ends it if nobody else does."""
        return self.lab.start(name, self.command(*argv), environ=environ)

    def ip(self, *arguments: str) -> str:
        """Run `ip` here and return what it prints."""
        return run(["ip", "-n", self.name, *arguments]).stdout

    def ip_each(self, *lines: str) -> None:
        """Run `ip` here for several lines of arguments, all in one process."""
        run(["ip", "-n", self.name, "-batch", "-"], written="".join(f"{line}\n" for line in lines))

    def xdp(self, interface: str = INTERFACE) -> str | None:
        """Return how an XDP program is attached: "native", "generic", None if none is."""
        xdp = self._xdp(interface)
        return {1: "native", 2: "generic"}[xdp["mode"]] if xdp else None

    def xdp_id(self, interface: str = INTERFACE) -> int | None:
        """Return the id of the program that is attached, None if none is."""
        xdp = self._xdp(interface)
        return int(xdp["prog"]["id"]) if xdp else None

    def _xdp(self, interface: str) -> dict[str, Any] | None:
        (link,) = json.loads(self.ip("-json", "link", "show", interface))
        xdp: dict[str, Any] | None = link.get("xdp")
        return xdp

    def attach_empty_program(self, interface: str) -> int:
        """Attach a program that passes everything, as anybody might; return its id."""
        pin = BPFFS / f"{self.name}-empty"
        with Bpf().load_program(EMPTY_PROGRAM, "empty") as program:
            program.pin(pin)
            try:
                self.run("ip", "link", "set", interface, "xdp", "pinned", str(pin))
            finally:
                pin.unlink()
            return program.info.id

    def socket(
        self, family: socket.AddressFamily, kind: socket.SocketKind, protocol: int = 0
    ) -> socket.socket:
        """Return a socket that belongs to this namespace, for use anywhere."""
        made: list[socket.socket | OSError] = []

        def make() -> None:  # only this thread moves into the namespace, and it ends
            try:
                with self.path.open("rb") as namespace:
                    setns(namespace.fileno())
                made.append(socket.socket(family, kind, protocol))
            except OSError as error:
                made.append(error)

        thread = threading.Thread(target=make, name=f"socket in {self.name}")
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        return made[0]


class Lab:
    """Everything that one test, demo or benchmark puts on the machine.

    Attributes:
        directory: for files of this lab, removed at the end.
        pins: a folder on the BPF file system for the shared maps, not made yet.
        environ: what processes are started with: ours without the options of xdpctl.
    """

    _numbers = itertools.count(1)

    def __init__(self) -> None:
        self.name = f"{PREFIX}-{os.getpid()}-{next(self._numbers)}"
        self.pins = BPFFS / self.name
        self.environ = {
            key: value for key, value in os.environ.items() if not key.startswith("XDPCTL_")
        }
        self.directory = Path()
        self._exits = contextlib.ExitStack()
        self._names = (f"{number}" for number in itertools.count(1))

    def __enter__(self) -> Self:
        sweep()
        mount_bpffs()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.directory.chmod(0o755)  # resolvers drop to users of their own
        self._exits.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self._exits.callback(bytecode.take, self.directory)
        self._exits.callback(remove_pins, self.pins)
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def host(self, role: str) -> Host:
        """Make a namespace with loopback up."""
        host = Host(name=f"{self.name}-{role}", lab=self)
        run(["ip", "netns", "add", host.name])
        self._exits.callback(remove_host, host)
        host.ip("link", "set", "lo", "up")
        return host

    def wire(self, left: Host, right: Host, *, queues: int = 1, name: str = INTERFACE) -> None:
        """Put a veth pair between two hosts; the right end is fit for native XDP.

        The left end gets an empty XDP program. Without one it takes no notice of what
        the right end's program sends back (XDP_TX): with GRO alone, which switches NAPI
        on, the frames are queued there and nobody is woken (Linux 6.18, tried).
        """
        ends = [name, "numtxqueues", str(queues), "numrxqueues", str(queues)]
        left.ip("link", "add", *ends, "type", "veth", "peer", *ends, "netns", right.name)
        for host in (left, right):
            host.ip("link", "set", name, "up")
        left.attach_empty_program(name)

    def pair(self, *, queues: int = 1) -> tuple[Host, Host]:
        """Make a client and a server with a wire between them.

        The client is 192.0.2.1 and 2001:db8::1, and also .66 and ::66, 198.51.100.66
        and 2001:db8:66::66, to be blocked; the server is 192.0.2.53 and 2001:db8::53.
        """
        client, server = self.host("client"), self.host("server")
        self.wire(client, server, queues=queues)
        addresses = {
            client: (
                "192.0.2.1/24",
                "192.0.2.66/24",
                "198.51.100.66/24",
                "2001:db8::1/64",
                "2001:db8::66/64",
                "2001:db8:66::66/64",
            ),
            server: (
                "192.0.2.53/24",
                "198.51.100.53/24",
                "2001:db8::53/64",
                "2001:db8:66::53/64",
            ),
        }
        for host, all_of_it in addresses.items():
            lines = []
            for address in all_of_it:
                options = " nodad" if ":" in address else ""
                if ":66/" in address:  # never the host's own choice of a source
                    options += " preferred_lft 0"
                lines.append(f"address add {address} dev {INTERFACE}{options}")
            host.ip_each(*lines)
        return (
            Host(client.name, self, "192.0.2.1", "2001:db8::1"),
            Host(server.name, self, "192.0.2.53", "2001:db8::53"),
        )

    def start(
        self, name: str, argv: list[str], *, environ: Mapping[str, str] | None = None
    ) -> Process:
        """Start a process on this machine itself; it is ended with the lab."""
        process = Process(
            name,
            argv,
            output=self.directory / f"{name}-{next(self._names)}.log",
            environ=self.environ | dict(environ or {}),
            directory=ROOT,
        )
        self._exits.callback(process.kill)
        return process

    def at_end(self, callback: Callable[[], None]) -> None:
        """Have something done when the lab closes, before what was there earlier goes."""
        self._exits.callback(callback)

    def write(self, name: str, text: str) -> Path:
        """Write a file into the lab's folder."""
        path = self.directory / name
        path.write_text(text)
        return path


def run(
    argv: list[str],
    *,
    check: bool = True,
    timeout: float = 30.0,
    environ: Mapping[str, str] | None = None,
    written: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; LabError with its output when it fails.

    Args:
        argv: the command.
        check: whether a failure is an error.
        timeout: seconds.
        environ: its whole environment, if it is not ours.
        written: to its standard input.
    """
    done = subprocess.run(
        argv,
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=None if written else subprocess.DEVNULL,
        input=written or None,
        timeout=timeout,
        cwd=ROOT,
        env=environ,
    )
    if check and done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def unmeasured(*argv: str) -> list[str]:
    """Return the command that runs `argv` without coverage.

    For what cannot write beside the checkout's data, or is not the checkout's code.
    """
    measuring = [name for name in os.environ if name.startswith("COVERAGE_")]
    return ["env", *(f"--unset={name}" for name in measuring), *argv]


def setns(namespace: int) -> None:
    """Move this thread into a network namespace, given as a descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def mount_bpffs() -> None:
    """Mount the BPF file system where every Debian has it; it stays, since others use it."""
    if not os.path.ismount(BPFFS):
        run(["mount", "-t", "bpf", "bpf", str(BPFFS)])


def remove_pins(directory: Path) -> None:
    """Unpin everything in a lab's folder and remove it."""
    if directory.is_dir():
        for pin in directory.iterdir():
            pin.unlink()
        directory.rmdir()


def remove_host(host: Host) -> None:
    """Remove a namespace and the links that a killed service left pinned for it."""
    if LINKS.is_dir():
        for pin in LINKS.iterdir():
            if str(host.inode) in pin.name:
                if pin.is_dir():  # its lock
                    pin.rmdir()
                else:
                    pin.unlink()
    run(["ip", "netns", "delete", host.name])


def sweep() -> None:
    """Remove what labs left whose process was killed."""

    def is_left(name: str) -> bool:
        prefix, _, rest = name.partition("-")
        pid = rest.partition("-")[0]
        return prefix == PREFIX and pid.isdigit() and not Path("/proc", pid).exists()

    namespaces = Path("/run/netns")
    for path in [*namespaces.iterdir()] if namespaces.is_dir() else []:
        if is_left(path.name):
            run(["ip", "netns", "delete", path.name])
    for path in [*BPFFS.iterdir()] if BPFFS.is_dir() else []:
        if is_left(path.name):
            remove_pins(path)
