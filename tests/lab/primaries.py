"""Real primaries of one zone: BIND, Knot, NSD and PowerDNS of Debian 12, in one shape.

    with loopback(tmp_path) as place:      # or place = on_host(host), in a lab
        primary = start_primary(
            Software.KNOT, place, zone="block.rpz.example", records=["bad.example CNAME rpz-drop."],
            notify=[("127.0.0.1", 5300)],
        )
        primary.update("add worse.example.block.rpz.example 60 CNAME rpz-drop.")

Each runs in the foreground with files of its own, needs no privileges, and is killed with its
place. One key may transfer and update the zone; nothing unsigned may. Changes are DNS UPDATE with
nsupdate, except NSD's: it has none, so its zone file is written and it is asked to look. A NOTIFY
goes out at once. What Debian 12's versions cannot do is in `CAN`.
"""

from __future__ import annotations

import re
import sqlite3
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from signal import SIGHUP
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM, socket
from typing import TYPE_CHECKING

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.zone
import trustme

from tests.lab.process import LabError, Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tests.lab.hosts import Host

    Targets = Sequence[tuple[str, int]]
    """Addresses and ports."""

KEY_NAME = "xdpctl"
SCHEMA = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
ENVIRON = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

HEAD = """\
$ORIGIN {zone}.
$TTL 60
@ SOA ns.example. hostmaster.example. 1 1 1 3600 60
@ NS localhost.
"""

BIND = """\
include "{key}";
{tls}
options {{
    directory "{directory}";
    pid-file none;
    session-keyfile none;
    listen-on port {port} {{ {listen} }};
    {listen_tls}
    listen-on-v6 {{ none; }};
    recursion no;
    dnssec-validation no;
    empty-zones-enable no;
    notify-delay 0;
    notify-rate 1000;
}};
controls {{ }};
zone "{zone}" {{
    type primary;
    file "{file}";
    notify explicit;
    also-notify {{ {notify} }};
    allow-transfer {{ key "xdpctl"; }};
    allow-update {{ key "xdpctl"; }};
}};
"""
BIND_TLS = 'tls "own" {{ cert-file "{certificate}"; key-file "{private}"; }};'
BIND_LISTEN_TLS = 'listen-on port {tls_port} tls "own" {{ {listen} }};'

KNOT_BASE = """\
    listen: [ {listen} ]
    rundir: {directory}
database:
    storage: {directory}
log:
  - target: stdout
    any: info
key:
  - id: xdpctl
    algorithm: hmac-sha256
    secret: {secret}
{remotes}
"""
"""What primaries and secondaries have in common, behind their own lines of the section server."""

KNOT = f"""\
server:
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
{KNOT_BASE}acl:
  - id: xdpctl
    key: xdpctl
    action: [ transfer, update ]
zone:
  - domain: {{zone}}
    file: {{file}}
    zonefile-sync: -1
    acl: xdpctl
{{notify}}
"""
KNOT_REMOTE = """\
remote:
  - id: {name}
    address: {address}@{port}
"""

NSD = """\
server:
{listen}
    port: {port}
    {tls}
    server-count: 1
    username: ""
    chroot: ""
    zonesdir: "{directory}"
    database: ""
    pidfile: "{directory}/nsd.pid"
    xfrdfile: "{directory}/xfrd.state"
    zonelistfile: "{directory}/zone.list"
    xfrdir: "{directory}"
    log-only-syslog: no
    zonefiles-check: yes
remote-control:
    control-enable: no
key:
    name: xdpctl
    algorithm: hmac-sha256
    secret: "{secret}"
zone:
    name: {zone}
    zonefile: "{file}"
    store-ixfr: yes
    create-ixfr: yes
    provide-xfr: 0.0.0.0/0 xdpctl
{notify}
"""
NSD_TLS = """\
tls-service-key: "{private}"
    tls-service-pem: "{certificate}"
    tls-port: {tls_port}\
"""

POWERDNS = """\
launch=gsqlite3
gsqlite3-database={directory}/pdns.sqlite3
local-address={listen}
local-port={port}
primary=yes
only-notify=
allow-axfr-ips=
dnsupdate=yes
allow-dnsupdate-from=0.0.0.0/0
socket-dir=.
security-poll-suffix=
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
daemon=no
guardian=no
disable-syslog=yes
write-pid=no
"""


class Software(StrEnum):
    """A server that can be a primary."""

    BIND = "bind"
    KNOT = "knot"
    NSD = "nsd"
    POWERDNS = "powerdns"


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a server can do as a primary, in Debian 12's version.

    Attributes:
        ixfr: gives differences. Without it, an IXFR is answered with the whole zone.
        tls: gives transfers over TLS (RFC 9103).
        updates: takes DNS UPDATE.
    """

    ixfr: bool
    tls: bool
    updates: bool


CAN = {
    Software.BIND: Abilities(ixfr=True, tls=True, updates=True),
    Software.KNOT: Abilities(ixfr=True, tls=False, updates=True),
    Software.NSD: Abilities(ixfr=True, tls=True, updates=False),
    Software.POWERDNS: Abilities(ixfr=False, tls=False, updates=True),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where servers run.

    Attributes:
        directory: for their files.
        start: starts a process, given its name and command.
        command: puts a command where it can reach the servers.
    """

    directory: Path
    start: Callable[..., Process]
    command: Callable[..., list[str]]

    def run(self, *argv: str, given: str = "") -> str:
        """Run a command to its end and return what it printed; LabError when it fails."""
        done = subprocess.run(
            self.command(*argv),
            check=False,
            input=given,
            text=True,
            capture_output=True,
            timeout=120,
            env=ENVIRON,
        )
        if done.returncode:
            raise LabError(f"{' '.join(argv)}: {done.stdout}{done.stderr}")
        return done.stdout


def on_host(host: Host) -> Place:
    """Return a lab's host as a place; the lab ends what runs there."""
    return Place(host.lab.directory, host.start, host.command)


@contextmanager
def loopback(directory: Path) -> Iterator[Place]:
    """Give this machine's loopback as a place, without privileges; kill what runs there."""
    started: list[Process] = []

    def start(name: str, *argv: str) -> Process:
        output = directory / f"{name}-{len(started)}.log"
        started.append(Process(name, argv, output=output, environ=ENVIRON, directory=directory))
        return started[-1]

    try:
        yield Place(directory, start, lambda *argv: list(argv))
    finally:
        for process in started:
            process.kill()


@dataclass
class ZonePrimary:
    """A primary of one zone.

    Attributes:
        software: what it is.
        place: where it runs.
        zone: its name, without the dot at the end.
        address, port: where it listens.
        key_file: of the key that may transfer and update, as tsig-keygen writes it.
        argv: how it is started.
        tls_port: where it listens with TLS; 0: nowhere.
        tls_name: that its certificate has.
        authority: PEM file of the certificate that signed its own.
        process: itself, once started.
    """

    software: Software
    place: Place
    zone: str
    address: str
    port: int
    key_file: Path
    argv: tuple[str, ...] = ()
    tls_port: int = 0
    tls_name: str = ""
    authority: Path | None = None
    process: Process = field(init=False)

    @property
    def can(self) -> Abilities:
        """What it can do."""
        return CAN[self.software]

    @cached_property
    def directory(self) -> Path:
        """Its own folder."""
        folder = self.place.directory / f"{self.software}-{self.zone}"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def file(self) -> Path:
        """Its zone file, as it was at the start."""
        return self.directory / "zone"

    @property
    def secret(self) -> str:
        """The key's secret, base64."""
        found = re.search(r'secret\s+"([^"]+)"', self.key_file.read_text())
        assert found is not None
        return found[1]

    def start(self, timeout: float = 60.0) -> None:
        """Start it, the first time or again, and wait until it answers for its zone."""
        self.process = self.place.start(self.software, *self.argv)
        self.process.until(lambda: self.serial() is not None, "its zone is answered", timeout)

    def stop(self) -> None:
        """End it; `start` starts it again with what it had."""
        self.process.stop()

    def serial(self) -> int | None:
        """Return the zone's serial as it answers it; None where it does not answer."""
        where = ("dig", f"@{self.address}", "-p", str(self.port), "+time=1", "+tries=1")
        command = self.place.command(*where, "+short", self.zone, "SOA")
        done = subprocess.run(command, check=False, text=True, capture_output=True, timeout=10)
        fields = done.stdout.split()
        return int(fields[2]) if done.returncode == 0 and len(fields) > 2 else None

    def update(self, *lines: str) -> None:
        """Make one change: `add NAME TTL TYPE DATA`, `delete NAME [TYPE [DATA]]`, whole names."""
        if not self.can.updates:
            self._write(lines)
            return
        head = [f"server {self.address} {self.port}", f"zone {self.zone}"]
        text = "\n".join([*head, *(f"update {line}" for line in lines), "send\n"])
        self.place.run("nsupdate", "-v", "-k", str(self.key_file), given=text)

    def notify_now(self) -> None:
        """Let a Knot send its NOTIFY at once, as `knotc` on the primary does."""
        knotc = "knotc", "-s", str(self.directory / "knot.sock")
        self.place.run(*knotc, "zone-notify", self.zone)

    def _write(self, lines: Sequence[str]) -> None:
        """Write the zone file with a change, and wait until the server has read it."""
        zone = dns.zone.from_file(str(self.file), self.zone, relativize=False)
        for line in lines:
            change(zone, line)
        (former,) = zone.find_rdataset(self.zone + ".", "SOA")
        serial = former.serial + 1
        soa = dns.rdataset.from_rdata(60, former.replace(serial=serial))
        zone.replace_rdataset(self.zone + ".", soa)
        written = self.file.with_suffix(".new")
        zone.to_file(str(written), relativize=False)
        written.rename(self.file)
        self.process.send(SIGHUP)
        self.process.until(lambda: self.serial() == serial, f"serial {serial}", 30.0)


def change(zone: dns.zone.Zone, line: str) -> None:
    """Make one change of nsupdate's in a zone."""
    verb, owner, *rest = line.split(maxsplit=2)
    name, more = dns.name.from_text(owner), rest[0].split() if rest else []
    if verb == "add":
        ttl, kind, *data = more
    elif more:
        ttl, (kind, *data) = "0", more
    else:
        zone.delete_node(name)
        return
    if not data:
        zone.delete_rdataset(name, kind)
        return
    record = dns.rdata.from_text(dns.rdataclass.IN, kind, " ".join(data), relativize=False)
    if verb == "add":
        zone.find_rdataset(name, kind, create=True).add(record, int(ttl))
        return
    records = zone.find_rdataset(name, kind)
    left = [other for other in records if other != record]
    zone.delete_rdataset(name, kind)
    if left:
        zone.replace_rdataset(name, dns.rdataset.from_rdata_list(records.ttl, left))


def start_primary(  # noqa: PLR0913 - where, and what
    software: Software,
    place: Place,
    *,
    zone: str,
    records: Iterable[str],
    address: str = "127.0.0.1",
    also: str = "",
    port: int = 0,
    notify: Targets = (),
    tls_name: str = "",
    timeout: float = 60.0,
) -> ZonePrimary:
    """Start a primary and wait until it answers for its zone.

    Args:
        software: which one.
        place: where.
        zone: without a dot at the end.
        records: lines of its zone file besides SOA and NS; names relative to the zone.
        address: where it listens.
        also: another address where it listens.
        port: of both; 0: a free one.
        notify: addresses and ports that a NOTIFY goes to at each change.
        tls_name: of its certificate, when it listens with TLS, too.
        timeout: seconds that it may take to load the zone.
    """
    if tls_name and not CAN[software].tls:
        raise LabError(f"{software} of Debian 12 gives no transfers over TLS")
    key = place.directory / "primary.key"
    if not key.exists():
        key.write_text(place.run("tsig-keygen", KEY_NAME))
        key.chmod(0o600)
    made = ZonePrimary(software, place, zone, address, port or free_port(address), key)
    with made.file.open("w") as sink:
        sink.write(HEAD.format(zone=zone))
        sink.writelines(f"{line}\n" for line in records)
    gaps = {"certificate": "", "private": "", "tls_port": 0}
    if tls_name:
        gaps |= certify(made, tls_name)
    addresses = [address, also] if also else [address]
    made.argv = _CONFIGURE[software](made, addresses, notify, gaps)
    made.start(timeout)
    return made


def free_port(address: str, otherwise: int = 5353) -> int:
    """Return a port that nothing listens on, UDP or TCP; for another host's address `otherwise`."""
    for _ in range(20):
        with socket(AF_INET, SOCK_STREAM) as stream, socket(AF_INET, SOCK_DGRAM) as datagram:
            try:
                stream.bind((address, 0))
            except OSError:
                return otherwise
            try:
                datagram.bind(stream.getsockname())
            except OSError:
                continue
            return int(stream.getsockname()[1])
    raise LabError(f"no port of {address} is free for UDP and TCP")


def certify(primary: ZonePrimary, name: str) -> dict[str, object]:
    """Make a certificate for a primary; return where it is."""
    authority, folder = trustme.CA(), primary.directory
    certificate = authority.issue_cert(name)
    chain, private, root = folder / "chain.pem", folder / "private.pem", folder / "authority.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    private.write_bytes(certificate.private_key_pem.bytes())
    private.chmod(0o600)
    authority.cert_pem.write_to_path(str(root))
    primary.tls_name, primary.authority = name, root
    primary.tls_port = free_port(primary.address, 5853)
    return {"certificate": chain, "private": private, "tls_port": primary.tls_port}


def configuration(made: ZonePrimary, text: str, name: str = "server.conf") -> Path:
    """Write a server's configuration, which may hold the key."""
    path = made.directory / name
    path.write_text(text)
    path.chmod(0o600)
    return path


def _bind(
    made: ZonePrimary, addresses: list[str], notify: Targets, tls: dict[str, object]
) -> tuple[str, ...]:
    listen = " ".join(f"{address};" for address in addresses)
    text = BIND.format(
        key=made.key_file,
        directory=made.directory,
        port=made.port,
        listen=listen,
        tls=BIND_TLS.format(**tls) if made.tls_port else "",
        listen_tls=BIND_LISTEN_TLS.format(listen=listen, **tls) if made.tls_port else "",
        zone=made.zone,
        file=made.file,
        notify=" ".join(f"{address} port {port};" for address, port in notify),
    )
    return ("named", "-g", "-n", "1", "-c", str(configuration(made, text)))


def _knot(
    made: ZonePrimary, addresses: list[str], notify: Targets, _: dict[str, object]
) -> tuple[str, ...]:
    names = [f"host{number}" for number, _ in enumerate(notify)]
    text = KNOT.format(
        listen=", ".join(f"{address}@{made.port}" for address in addresses),
        directory=made.directory,
        secret=made.secret,
        remotes="".join(
            KNOT_REMOTE.format(name=name, address=address, port=port)
            for name, (address, port) in zip(names, notify, strict=True)
        ),
        zone=made.zone,
        file=made.file,
        notify=f"    notify: [ {', '.join(names)} ]" if names else "",
    )
    return ("knotd", "-c", str(configuration(made, text)))


def _nsd(
    made: ZonePrimary, addresses: list[str], notify: Targets, tls: dict[str, object]
) -> tuple[str, ...]:
    ports = [port for port in (made.port, made.tls_port) if port]
    text = NSD.format(
        listen="\n".join(f"    ip-address: {at}@{port}" for at in addresses for port in ports),
        port=made.port,
        tls=NSD_TLS.format(**tls) if made.tls_port else "",
        directory=made.directory,
        secret=made.secret,
        zone=made.zone,
        file=made.file,
        notify="\n".join(f"    notify: {address}@{port} NOKEY" for address, port in notify),
    )
    return ("nsd", "-d", "-c", str(configuration(made, text)))


def _powerdns(
    made: ZonePrimary, addresses: list[str], notify: Targets, _: dict[str, object]
) -> tuple[str, ...]:
    with sqlite3.connect(made.directory / "pdns.sqlite3") as database:
        database.executescript(SCHEMA.read_text())
    database.close()
    text = POWERDNS.format(directory=made.directory, listen=",".join(addresses), port=made.port)
    configuration(made, text, "pdns.conf")
    commands = [
        ("load-zone", made.zone, str(made.file)),
        ("set-kind", made.zone, "primary"),
        ("import-tsig-key", KEY_NAME, "hmac-sha256", made.secret),
        ("set-meta", made.zone, "TSIG-ALLOW-AXFR", KEY_NAME),
        ("set-meta", made.zone, "TSIG-ALLOW-DNSUPDATE", KEY_NAME),
        ("set-meta", made.zone, "NOTIFY-DNSUPDATE", "1"),
        ("set-meta", made.zone, "SOA-EDIT-DNSUPDATE", "INCREASE"),
    ]
    if notify:
        at = (f"{address}:{port}" for address, port in notify)
        commands.append(("set-meta", made.zone, "ALSO-NOTIFY", *at))
    config = f"--config-dir={made.directory}"
    for command in commands:
        made.place.run("pdnsutil", config, *command)
    # its socket's path, which has 107 octets at most, is short below its own directory
    return ("env", f"--chdir={made.directory}", "pdns_server", config)


_CONFIGURE: dict[Software, Callable[..., tuple[str, ...]]] = {
    Software.BIND: _bind,
    Software.KNOT: _knot,
    Software.NSD: _nsd,
    Software.POWERDNS: _powerdns,
}
