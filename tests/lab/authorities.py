"""Five real DNS servers on one host: BIND, Unbound, dnsdist, Knot and NSD of Debian 12.

All answer for the same zones, each on an IPv4 and an IPv6 address of its own, as they come:
no rate limit, one thread each, so that every server answers in the order of arrival. dnsdist
hands its queries to NSD. They are what stands behind the filter where a test is about what
servers make of odd packets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lab.hosts import INTERFACE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab.hosts import Host
    from tests.lab.process import Process

BACKEND_PORT = 5300
"""Where NSD listens for dnsdist, on loopback."""

BIND = """\
options {{
    directory "{directory}";
    pid-file none;
    session-keyfile none;
    listen-on {{ {v4}; }};
    listen-on-v6 {{ {v6}; }};
    recursion no;
    dnssec-validation no;
    empty-zones-enable no;
}};
controls {{ }};
{zones}
"""
BIND_ZONE = 'zone "{zone}" {{ type primary; file "{directory}/{zone}.zone"; }};'

UNBOUND = """\
server:
    interface: {v4}
    interface: {v6}
    access-control: 0.0.0.0/0 allow
    access-control: ::/0 allow
    directory: "{directory}"
    pidfile: ""
    username: ""
    chroot: ""
    use-syslog: no
    logfile: ""
    verbosity: 1
    do-daemonize: no
    module-config: "iterator"
    num-threads: 1
{zones}
remote-control:
    control-enable: no
"""
UNBOUND_ZONE = """\
    local-zone: "{zone}." static
    local-data: "{zone}. SOA ns.{zone}. hostmaster.{zone}. 1 60 60 60 60"
    local-data: "{zone}. A 192.0.2.80"
    local-data: '{zone}. TXT "a zone"'\
"""

UNBOUND_WIDE = UNBOUND_ZONE.replace(" static", " redirect")

DNSDIST = """\
setLocal("{v4}:53")
addLocal("[{v6}]:53")
newServer("127.0.0.1:{backend}"):setUp()
setSecurityPollSuffix("")
setACL({{"0.0.0.0/0", "::/0"}})
"""

KNOT = """\
server:
    listen: [ {v4}@53, {v6}@53 ]
    rundir: {directory}/knot
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: {directory}/knot
log:
  - target: stdout
    any: info
zone:
{zones}
"""
KNOT_ZONE = """\
  - domain: {zone}
    storage: {directory}
    file: {zone}.zone\
"""

NSD = """\
server:
    ip-address: {v4}
    ip-address: {v6}
    ip-address: 127.0.0.1@{backend}
    server-count: 1
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
    username: root
    chroot: ""
    zonesdir: "{directory}"
    database: ""
    pidfile: "{directory}/nsd/pid"
    xfrdfile: "{directory}/nsd/xfrd.state"
    zonelistfile: "{directory}/nsd/zone.list"
    xfrdir: "{directory}/nsd"
    log-only-syslog: no
    verbosity: 1
remote-control:
    control-enable: no
{zones}
"""
NSD_ZONE = """\
zone:
    name: {zone}
    zonefile: {zone}.zone\
"""

ZONE = """\
$ORIGIN {zone}.
$TTL 60
@ SOA ns hostmaster 1 60 60 60 60
@ NS ns
@ A 192.0.2.80
@ TXT "a zone"
ns A 192.0.2.80
"""
WIDE = f"{ZONE}* A 192.0.2.80\n"
"""A zone with an answer for every name in it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one server is run.

    Attributes:
        name: of the server.
        config: its configuration, with gaps.
        zone: one zone in it. `wide`: one with an answer for every name, where it differs.
        argv: the command; "{config}" is the file.
        started: a regular expression of the line that says that it answers.
    """

    name: str
    config: str
    zone: str
    argv: tuple[str, ...]
    started: str
    wide: str = ""


KINDS = (
    Kind("bind", BIND, BIND_ZONE, ("named", "-g", "-n", "1", "-c", "{config}"), r"\brunning$"),
    Kind(
        "unbound",
        UNBOUND,
        UNBOUND_ZONE,
        ("unbound", "-d", "-c", "{config}"),
        "start of service",
        wide=UNBOUND_WIDE,
    ),
    Kind("knot", KNOT, KNOT_ZONE, ("knotd", "-c", "{config}"), "server started"),
    Kind("nsd", NSD, NSD_ZONE, ("nsd", "-d", "-c", "{config}"), "nsd started"),
    Kind(
        "dnsdist",
        DNSDIST,
        "",
        ("dnsdist", "--disable-syslog", "--supervised", "-C", "{config}"),
        "ready to balance|Listening on",
    ),
)


@dataclass(frozen=True, slots=True)
class Authority:
    """One of the servers: its name, where it answers, and its process."""

    name: str
    v4: str
    v6: str
    process: Process

    def address(self, version: int) -> str:
        """Return its address of this version of IP."""
        return self.v4 if version == 4 else self.v6


def authorities(
    host: Host, zones: Sequence[str], wide: Sequence[str] = ()
) -> tuple[Authority, ...]:
    """Start the five servers on a host, on 192.0.2.101 to .105 and 2001:db8::101 to ::105.

    They say that they run; whether they answer yet is the caller's to try.

    Args:
        host: where.
        zones: that have an answer for their own name.
        wide: that have one for every name in them.
    """
    directory = host.lab.directory
    for zone in zones:
        host.lab.write(f"{zone}.zone", ZONE.format(zone=zone))
    for zone in wide:
        host.lab.write(f"{zone}.zone", WIDE.format(zone=zone))
    for state in ("knot", "nsd"):
        (directory / state).mkdir()
    made = []
    for number, kind in enumerate(KINDS, 101):
        v4, v6 = f"192.0.2.{number}", f"2001:db8::{number}"
        host.ip("address", "add", f"{v4}/24", "dev", INTERFACE)
        host.ip("address", "add", f"{v6}/64", "dev", INTERFACE, "nodad")
        gaps = {"directory": directory, "v4": v4, "v6": v6, "backend": BACKEND_PORT}
        listed = [kind.zone.format(zone=zone, **gaps) for zone in zones]
        listed += [(kind.wide or kind.zone).format(zone=zone, **gaps) for zone in wide]
        config = host.lab.write(
            f"{kind.name}.conf", kind.config.format(zones="\n".join(listed), **gaps)
        )
        argv = [word.format(config=config) for word in kind.argv]
        made.append(Authority(kind.name, v4, v6, host.start(kind.name, *argv)))
    for kind, authority in zip(KINDS, made, strict=True):
        authority.process.line(kind.started)
    return tuple(made)
