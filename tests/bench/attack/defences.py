"""The ways to defend, each in the setting that served it best here of those that its manual gives.

A defence is options of BIND or Knot, dnsdist before BIND, or xdpctl before either. `setting` of
each is what the results say of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.bench.attack.attacks import NAMES, ZONE, name
from tests.lab import LabError, Service
from tests.roots.dnsdist import DnsdistRelease

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab import Host
    from tests.lab.process import Process

SECRET: Final = "000102030405060708090a0b0c0d0e0f"  # noqa: S105 - of this bench only
"""Of DNS cookies (RFC 9018), known to the server and to the filter."""

BACKEND: Final = 5300

_BIND: Final = """\
options {{
    directory "{directory}";
    pid-file none;
    session-keyfile none;
    listen-on port {port} {{ {address}; }};
    listen-on-v6 {{ none; }};
    recursion no;
    dnssec-validation no;
    empty-zones-enable no;
    minimal-responses yes;
    cookie-secret "{secret}";
    allow-transfer {{ any; }};
    tcp-clients 2000;
    tcp-listen-queue 1024;
    {more}
}};
controls {{ }};
zone "{zone}" {{ type primary; file "{directory}/{zone}.zone"; }};
"""
_BIND_RRL: Final = (
    "rate-limit { responses-per-second 15; window 5; slip 2; max-table-size 200000; };"
)

_KNOT: Final = """\
server:
    listen: {address}@53
    rundir: {directory}/knot
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    tcp-max-clients: 2000
database:
    storage: {directory}/knot
log:
  - target: stdout
    any: warning
    server: info
mod-cookies:
  - id: default
    secret: "0x{secret}"
{more}
acl:
  - id: any
    action: transfer
template:
  - id: default
    global-module: [ {modules} ]
zone:
  - domain: {zone}
    storage: {directory}
    file: {zone}.zone
    acl: any
"""
_KNOT_RRL: Final = """\
mod-rrl:
  - id: default
    rate-limit: 50
    slip: 1
    table-size: 400000
"""

_DNSDIST: Final = """\
setLocal("{address}:53", {{tcpListenQueueSize=1024}})
setACL({{"0.0.0.0/0"}})
setSecurityPollSuffix("")
setDefaultBPFFilter(newBPFFilter({{ipv4MaxItems=100000, ipv6MaxItems=1024, qnamesMaxItems=1024}}))
setRingBuffersSize(1000000, 10)
newServer({{address="127.0.0.1:{port}", useClientSubnet=false}}):setUp()
local dbr = dynBlockRulesGroup()
dbr:setQueryRate(1000, 2, "Exceeded query rate", 60, DNSAction.Drop)
function maintenance() dbr:apply() end
"""

RATE: Final = 100
TOTAL: Final = 6_000
ZONE_RATE: Final = 500
"""Queries a second: of one source, of all together, and for names that do not exist. BIND alone
answers 57,000 a second on a core of a Xeon (6-207); under attack the card takes half of it."""


@dataclass
class Stand:
    """What defends, and what is behind it, on one host.

    Attributes:
        pids: of all that shall run on the receiving core.
        reached: returns how many queries over UDP have reached the server's process.
        service: of xdpctl, where there is one.
    """

    pids: list[int] = field(default_factory=list)
    reached: Callable[[], int] = lambda: 0
    service: Service | None = None


@dataclass(frozen=True, slots=True)
class Defence:
    """One way.

    Attributes:
        key: short name. `label`: what a table says.
        install: sets it up on a host.
        setting: how it is configured, for the results.
        calm: seconds of questions without an attack.
    """

    key: str
    label: str
    install: Callable[[Host], Stand]
    setting: str
    calm: float = 10.0


def datagrams(host: Host) -> int:
    """Return the UDP datagrams that a host's kernel had for a socket, those without room too."""
    text = host.run("cat", "/proc/net/snmp").stdout
    names, values = (line.split()[1:] for line in text.splitlines() if line.startswith("Udp:"))
    found = dict(zip(names, map(int, values), strict=True))
    return found["InDatagrams"] + found["RcvbufErrors"]


def write_zone(host: Host) -> None:
    """Write the zone: nobody may keep an answer, so that each question comes to the server."""
    records = "".join(f"{name(number)}. A 192.0.2.80\n" for number in range(NAMES))
    soa = f"@ SOA ns.{ZONE}. hostmaster.{ZONE}. 1 60 60 60 0\n@ NS ns.{ZONE}.\nns A {host.v4}\n"
    host.lab.write(f"{ZONE}.zone", f"$ORIGIN {ZONE}.\n$TTL 0\n{soa}{records}")


def _bind(host: Host, more: str = "", address: str = "", port: int = 53) -> Process:
    write_zone(host)
    text = _BIND.format(
        directory=host.lab.directory,
        address=address or host.v4,
        port=port,
        more=more,
        zone=ZONE,
        secret=SECRET,
    )
    config = host.lab.write("named.conf", text)
    process = host.start("named", "named", "-g", "-n", "1", "-c", str(config))
    process.line(r"\brunning$", timeout=30)
    return process


def _knot(host: Host, more: str = "", modules: str = "mod-cookies/default") -> Process:
    write_zone(host)
    (host.lab.directory / "knot").mkdir(exist_ok=True)
    text = _KNOT.format(
        directory=host.lab.directory,
        address=host.v4,
        more=more,
        modules=modules,
        zone=ZONE,
        secret=SECRET,
    )
    config = host.lab.write("knot.conf", text)
    process = host.start("knotd", "knotd", "-c", str(config))
    process.line(r"server started", timeout=30)
    return process


def _behind(host: Host, process: Process) -> Stand:
    return Stand([process.pid], lambda: datagrams(host))


def _plain_bind(host: Host) -> Stand:
    return _behind(host, _bind(host))


def _bind_rrl(host: Host) -> Stand:
    return _behind(host, _bind(host, _BIND_RRL))


def _knot_rrl(host: Host) -> Stand:
    modules = "mod-cookies/default, mod-rrl/default"
    return _behind(host, _knot(host, _KNOT_RRL, modules))


def _dnsdist(host: Host) -> Stand:
    bind = _bind(host, address="127.0.0.1", port=BACKEND)
    config = _DNSDIST.format(address=host.v4, port=BACKEND)
    dnsdist = DnsdistRelease(host, "sid", config, ".lua")

    def reached() -> int:
        found = re.search(r"(?<![-\w])queries\s+(\d+)", dnsdist.console("dumpStats()"))
        return int(found[1]) if found else 0

    return Stand([bind.pid, dnsdist.process.pid], reached)


def xdpctl_options(host: Host) -> list[str]:
    """Return what `make bench-attack` gives the service beyond its interface."""
    secrets = host.lab.write("cookie-secrets", SECRET + "\n")
    secrets.chmod(0o600)
    return [
        *("--rate-limit", str(RATE)),
        *("--flood-limit", str(TOTAL)),
        *("--zone-limit", f".{ZONE}={ZONE_RATE}"),
        *("--zone-names", f".{ZONE}={host.v4}"),
        *("--cookie-secret-file", str(secrets)),
    ]


def _filtered(server: Callable[[Host], Process]) -> Callable[[Host], Stand]:
    def install(host: Host) -> Stand:
        process = server(host)
        service = Service(host, "--mode", "native", *xdpctl_options(host))
        stand = Stand([process.pid, service.process.pid], lambda: datagrams(host), service)
        if host.xdp() != "native":
            raise LabError(f"XDP is {host.xdp()}")
        return stand

    return install


_OURS: Final = (
    f"`rate-limit = {RATE}`, `flood-limit = {TOTAL}`, `zone-limit` {ZONE_RATE} with the zone's"
    " names by AXFR, the server's cookie secret; everything else by default"
)
_HUNDRED_THOUSAND: Final = 61.5

DEFENCES: Final = (
    Defence("none", "BIND, no filter", _plain_bind, "cookies, and no limit of any kind"),
    Defence(
        "bind",
        "BIND, response rate limiting",
        _bind_rrl,
        "`responses-per-second 15`, `window 5`, `slip 2`, `max-table-size 200000`",
    ),
    Defence(
        "knot",
        "Knot, mod-rrl",
        _knot_rrl,
        "`rate-limit: 50`, `slip: 1`, `table-size: 400000`, and mod-cookies",
    ),
    Defence(
        "dnsdist",
        "dnsdist, dynamic blocks, before BIND",
        _dnsdist,
        "`setQueryRate(1000, 2, …, 60, DNSAction.Drop)`, `setRingBuffersSize(1000000, 10)`, and"
        " `setDefaultBPFFilter`, so that the kernel drops what is blocked",
    ),
    Defence("xdpctl-bind", "xdpctl before BIND", _filtered(_bind), _OURS, _HUNDRED_THOUSAND),
    Defence("xdpctl-knot", "xdpctl before Knot", _filtered(_knot), _OURS, _HUNDRED_THOUSAND),
)
