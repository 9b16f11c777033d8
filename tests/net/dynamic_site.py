"""A site whose dnsdist blocks by itself, and whose service reads its blocks: 1.7.3, 1.9.16, 2.1.3.

One configuration in Lua for all of them. Addresses of 192.0.2.0/24 are blocked one by one, which
goes into the maps; those of 203.0.113.0/24 as the whole subnet, which does not. What a test adds,
it adds as Lua.
"""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import dns.message

from tests.lab import Dnsdist17, Responder, Service
from tests.roots.dnsdist import DnsdistRelease, shipped

if TYPE_CHECKING:
    from tests.lab import Host, Lab

Version = Literal["1.7", "1.9", "2.1"]
VERSIONS: tuple[Version, ...] = ("1.7", "1.9", "2.1")

KEY = "a-key-for-the-lab"
URL = "http://127.0.0.1:8083"
SERVER = "192.0.2.53"
ALONE, IN_SUBNET = "192.0.2.66", "203.0.113.66"
"""Addresses of the client: one that is blocked by itself, one whose subnet is."""

_LIMITS = """
webserver("127.0.0.1:8083")
setWebserverConfig({{apiKey="{key}", acl="127.0.0.1"}})
setDefaultBPFFilter(bpf)
setDynBlocksPurgeInterval(1)
local alone, subnets = dynBlockRulesGroup(), dynBlockRulesGroup()
alone:setQueryRate(20, 2, "too many", {seconds}, DNSAction.Drop)
alone:excludeRange({{"203.0.113.0/24"}})
subnets:setMasks(24, 64, 0)
subnets:setQueryRate(20, 2, "too many of the subnet", {seconds}, DNSAction.Drop)
subnets:excludeRange({{"192.0.2.0/24"}})
function maintenance()
  alone:apply()
  subnets:apply()
end
"""

_COMMON = """
setLocal("192.0.2.53:53")
newServer({address="127.0.0.1:5300"}):setUp()
setSecurityPollSuffix("")
setACL({"0.0.0.0/0", "::/0"})
"""


@dataclass(slots=True)
class DynamicSite:
    """Everything on the network."""

    client: Host
    server: Host
    service: Service
    dnsdist: Dnsdist17 | DnsdistRelease

    def blocks(self, command: str = "dynblocklist") -> dict[str, Any]:
        """Return what dnsdist answers the service with, or its `stats`."""
        request = f"GET /jsonstat?command={command} HTTP/1.0\r\nX-API-Key: {KEY}\r\n\r\n"
        with self.server.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.connect(("127.0.0.1", 8083))
            sock.sendall(request.encode())
            answer = b"".join(iter(lambda: sock.recv(65_536), b""))
        found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
        return found

    def queries(self) -> int:
        """Return how many queries have reached dnsdist."""
        return int(self.blocks("stats")["queries"])

    def claims(self) -> dict[str, str]:
        """Return the actions of the claims that are in force, by target."""
        rules = self.service.rules("--origin", "dnsdist-dynamic")
        return {rule["target"]: rule["action"] for rule in rules}


def dynamic_site(
    lab: Lab, version: Version, *keys: str, seconds: int = 5, lua: str = ""
) -> DynamicSite:
    """Start the service, then dnsdist.

    Args:
        lab: where.
        version: of dnsdist.
        *keys: lines of the table `[[dnsdist]]` beside url and key-file.
        seconds: that dnsdist blocks for.
        lua: what dnsdist does besides.
    """
    client, server = lab.pair()
    client.ip("address", "add", f"{ALONE}/32", "dev", "eth0")
    client.ip("address", "add", f"{IN_SUBNET}/32", "dev", "eth0")
    server.ip("route", "replace", "203.0.113.0/24", "dev", "eth0")
    Responder(server, "127.0.0.1", port=5300)
    key = lab.directory / "dnsdist.key"
    key.write_text(KEY + "\n")
    key.chmod(0o600)
    lines = ["[[dnsdist]]", f'url = "{URL}"', 'key-file = "dnsdist.key"', *keys]
    (lab.directory / "xdpctl.toml").write_text("\n".join(lines) + "\n")
    service = Service(server)
    return DynamicSite(client, server, service, dnsdist_of(server, version, seconds, lua))


def dnsdist_of(
    server: Host, version: Version, seconds: int, lua: str = ""
) -> Dnsdist17 | DnsdistRelease:
    """Start a dnsdist of this version."""
    limits = _LIMITS.format(key=KEY, seconds=seconds) + lua
    if version == "1.7":
        return Dnsdist17(server, limits)
    text = shipped("dnsdist-1.9.lua")
    maps = text[text.index("bpf = newBPFFilter") : text.index("\n})") + 3]
    release: Literal["trixie", "sid"] = "trixie" if version == "1.9" else "sid"
    return DnsdistRelease(server, release, f"{_COMMON}{maps}\n{limits}", ".lua")


class Flood:
    """Queries from some sources at a steady rate, while the block lasts.

    Args:
        host: that sends.
        rate: queries a second of each source.
        sources: addresses of the host.
    """

    def __init__(self, host: Host, rate: int, *sources: str) -> None:
        self._sockets = []
        for source in sources:
            sock = host.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((source, 0))
            sock.connect((SERVER, 53))
            sock.settimeout(0)
            self._sockets.append(sock)
        self._rate = rate
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send, name="flood", daemon=True)
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for sock in self._sockets:
            sock.close()

    def _send(self) -> None:
        query = dns.message.make_query("www.example", "A").to_wire()[2:]
        begun = time.monotonic()
        for number in itertools.count(1):
            for sock in self._sockets:
                try:
                    sock.send(number.to_bytes(4, "big")[2:] + query)
                except (BlockingIOError, ConnectionRefusedError):
                    continue
                self.sent += 1
            late = begun + number / self._rate - time.monotonic()
            if self._ended.wait(max(0.0, late)):
                return
