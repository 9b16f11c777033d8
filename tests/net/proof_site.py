"""A server that is limited, and who is proven there: its table is read as the service left it.

What TCP segments prove is decided by the kernel's sockets, so here are real ones, and frames that
no honest client would send.
"""

from __future__ import annotations

import socket
import struct
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Self

from tests.lab import Service, eventually
from tests.lab.hosts import INTERFACE, LINKS
from tests.lab.wire import Wire, mac
from tests.packets.build import Raw, ethernet, internet_checksum, ipv4, ipv6
from xdpctl.abi import LIMITS_SIZE, MapName
from xdpctl.kernel.bpf.libbpf import LINK_TYPE_CGROUP
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.limits.proven import ProvenSources, lifetime_units
from xdpctl.limits.ticks import Ticks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab import Host, Lab

LIMITED = ("--rate-limit", "1000", "--flood-limit", "100000")
CGROUP = (*LIMITED, "--proof", "cgroup")
SYN, RST, PSH, ACK = 2, 4, 8, 16
TCP = 6
FASTOPEN = b"\x22\x02\x01\x01"
"""Options that ask for TCP Fast Open, and two of padding."""


class ProofSite:
    """A client, a server with a TCP socket on port 53, and the service on the server.

    Args:
        lab: where.
        *options: of the service.
    """

    def __init__(self, lab: Lab, *options: str) -> None:
        self.client, self.server = lab.pair()
        self.wire = Wire(self.client)
        self._macs = mac(self.client), mac(self.server)
        self._beside = f"{self.server.inode}-{INTERFACE}:"
        self._stack = ExitStack()
        self._bpf = Bpf()
        self._others = self._all_links()
        self.service = Service(self.server, *(options or LIMITED))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections and what listens; the site itself stays."""
        self._stack.close()

    def listen(self, host: Host | None = None, version: int = 4, port: int = 53) -> socket.socket:
        """Give a host a listening socket."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        made = self._stack.enter_context((host or self.server).socket(family, socket.SOCK_STREAM))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.settimeout(10)
        made.bind(("", port))
        made.listen(64)
        return made

    def connect(
        self, source: str = "", version: int = 4, host: Host | None = None, to: str = ""
    ) -> socket.socket:
        """Connect from the client; nothing is sent."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        made = self._stack.enter_context((host or self.client).socket(family, socket.SOCK_STREAM))
        made.settimeout(10)
        if source:
            made.bind((source, 0))
        made.connect((to or (self.server.v4 if version == 4 else self.server.v6), 53))
        return made

    def accept(self, listening: socket.socket) -> socket.socket:
        """Return the next connection of a listening socket."""
        made = self._stack.enter_context(listening.accept()[0])
        made.settimeout(10)
        return made

    def send(  # noqa: PLR0913 - one argument a field
        self,
        source: str,
        flags: int,
        *,
        sport: int = 40000,
        sequence: int = 1000,
        acknowledged: int = 0,
        options: bytes = b"",
        payload: bytes = b"",
    ) -> None:
        """Send a segment with this source, whatever its host thinks of that."""
        target = self.server.v4 if "." in source else self.server.v6
        body = struct.pack(
            "!2H2I2B3H",
            *(sport, 53, sequence, acknowledged),
            *((20 + len(options)) // 4 << 4, flags, 64000, 0, 0),
        )
        body += options + payload
        ends = ip_address(source).packed + ip_address(target).packed
        checksum = internet_checksum(ends + struct.pack("!2I", len(body), TCP) + body)
        segment = Raw(TCP, body[:16] + struct.pack("!H", checksum) + body[18:])
        build = ipv4 if "." in source else ipv6
        packet = build(segment, source=source, destination=target)
        ours, theirs = self._macs
        frame = ethernet(packet, source=ours, destination=theirs)
        self.wire.send([frame])

    def sent(self) -> None:
        """Wait until the filter has seen all that was sent: a query passes behind it."""
        family = socket.AF_INET
        with (
            self.server.socket(family, socket.SOCK_DGRAM) as there,
            self.client.socket(family, socket.SOCK_DGRAM) as here,
        ):
            there.settimeout(10)
            there.bind((self.server.v4, 53))
            query = struct.pack("!6H", 1, 0, 1, 0, 0, 0) + b"\7example\0\0\1\0\1"
            here.sendto(query, (self.server.v4, 53))
            assert there.recv(4096) == query

    @contextmanager
    def proven(self) -> Iterator[ProvenSources]:
        """Give the table of the filter on the server's interface."""
        with (
            self._bpf.open_map(LINKS / f"{self._beside}{MapName.LIMITS}") as head,
            self._bpf.open_map(LINKS / f"{self._beside}{MapName.LIMIT_PROVEN}") as lines,
        ):
            ticks = Ticks.measured(self._bpf)
            lifetime = lifetime_units(24 * 3600, ticks.per_second)
            value = bytes(head.memory()[:LIMITS_SIZE])
            yield ProvenSources(lines.memory(), value, ticks, lambda: lifetime)

    def forget(self) -> None:
        """Let nobody be proven."""
        with self._bpf.open_map(LINKS / f"{self._beside}{MapName.LIMIT_PROVEN}") as lines:
            memory = lines.memory()
            memory[:] = bytes(len(memory))

    def is_proven(self, source: str | IPv4Address | IPv6Address) -> bool:
        """Tell whether an address is proven."""
        with self.proven() as table:
            return table.is_proven(ip_address(source))

    def count(self) -> int:
        """Return how many sources are proven."""
        with self.proven() as table:
            return table.count()

    def comes_to_be_proven(self, source: str) -> None:
        """Wait until an address is proven."""
        eventually(lambda: self.is_proven(source), f"{source} is proven")

    def links(self) -> dict[int, int]:
        """Return the links on control groups that have come since: program by link."""
        found = self._all_links()
        return {link: program for link, program in found.items() if link not in self._others}

    def _all_links(self) -> dict[int, int]:
        return {
            link.id: link.program_id
            for link in self._bpf.links()
            if link.type == LINK_TYPE_CGROUP and self._is_ours(link.program_id)
        }

    def _is_ours(self, program: int) -> bool:
        info = self._bpf.program_info(program)
        return info is not None and info.name == "xdpctl_proof"
