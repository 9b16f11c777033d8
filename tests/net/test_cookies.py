"""Cookies that real servers made are good, by whichever of two secrets; another address's are not.

The servers are BIND, Knot and NSD as Debian has them; they and the filter share a secret, and
nothing else. The client is limited to a query a second and has used up its account.
"""

from __future__ import annotations

import signal
import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest

from tests.lab import Lab, Service, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab import Process

pytestmark = [pytest.mark.root, pytest.mark.slow]

OLD, NEW = "e5e973e5a6b2a43f48e7dc849e37bfcf", "445536bcd2513298075a5d379663c962"
CLIENT = {4: "192.0.2.1", 6: "2001:db8::1"}
STRANGER = {4: "198.51.100.66", 6: "2001:db8:66::66"}
SERVER = {4: "192.0.2.53", 6: "2001:db8::53"}
BURST = 10
LIMITED = (
    *("--rate-limit", "1", "--rate-limit-burst", str(BURST), "--rate-limit-slip", "0"),
    *("--proven-factor", "1000", "--rate-limit-table", "65536"),
)
CLIENT_PART = bytes.fromhex("2464c4abcf10c957")

ZONE = """\
$ORIGIN example.
$TTL 60
@ SOA ns hostmaster 1 60 60 60 60
@ NS ns
ns A 192.0.2.53
www A 192.0.2.80
"""
BIND = """\
options {{
    directory "{directory}"; pid-file none; session-keyfile none;
    listen-on {{ {v4}; }}; listen-on-v6 {{ {v6}; }};
    recursion no; dnssec-validation no; empty-zones-enable no;
    cookie-algorithm siphash24; cookie-secret "{secret}"; answer-cookie yes;
}};
controls {{ }};
zone "example" {{ type primary; file "{directory}/example.zone"; }};
"""
KNOT = """\
server:
    listen: [ {v4}@53, {v6}@53 ]
    rundir: {directory}/knot
database:
    storage: {directory}/knot
log:
  - target: stdout
    any: info
mod-cookies:
  - id: ours
    secret: 0x{secret}
template:
  - id: default
    global-module: mod-cookies/ours
zone:
  - domain: example
    storage: {directory}
    file: example.zone
"""
NSD = """\
server:
    ip-address: {v4}
    ip-address: {v6}
    server-count: 1
    rrl-ratelimit: 0
    username: root
    chroot: ""
    zonesdir: "{directory}"
    database: ""
    pidfile: "{directory}/nsd.pid"
    xfrdfile: "{directory}/xfrd.state"
    zonelistfile: "{directory}/zone.list"
    xfrdir: "{directory}"
    answer-cookie: yes
    cookie-secret: "{secret}"
remote-control:
    control-enable: no
zone:
    name: example
    zonefile: example.zone
"""
SERVERS = {
    "bind": (BIND, ("named", "-g", "-n", "1", "-c"), r"\brunning$"),
    "knot": (KNOT, ("knotd", "-c"), "server started"),
    "nsd": (NSD, ("nsd", "-d", "-c"), "nsd started"),
}


class Site:
    """A client, a server of one kind, and the filter before it."""

    def __init__(self, lab: Lab, kind: str) -> None:
        self.lab = lab
        self.kind = kind
        self.client, self.server = lab.pair()
        self.secrets = lab.write("secrets", f"{OLD}\n")
        self.secrets.chmod(0o600)
        lab.write("example.zone", ZONE)
        (lab.directory / "knot").mkdir()
        self.process = self._start(OLD)
        self.service = Service(self.server, *LIMITED, "--cookie-secret-file", str(self.secrets))

    def _start(self, secret: str) -> Process:
        text, command, started = SERVERS[self.kind]
        config = self.lab.write(
            f"{self.kind}.conf",
            text.format(directory=self.lab.directory, secret=secret, v4=SERVER[4], v6=SERVER[6]),
        )
        process = self.server.start(self.kind, *command, str(config))
        process.line(started, timeout=30)
        return process

    def use_in_server(self, secret: str) -> None:
        """Restart the DNS server with another secret."""
        self.process.stop(signal.SIGTERM)
        self.process = self._start(secret)

    def use_in_filter(self, *secrets: str) -> None:
        """Let the service read other secrets."""
        self.secrets.write_text("".join(f"{secret}\n" for secret in secrets))
        process = self.service.process
        before = process.text.count(" reloaded ")
        process.send(signal.SIGHUP)
        process.until(
            lambda: process.text.count(" reloaded ") > before, "it has reloaded", timeout=30
        )

    def ask(self, version: int, cookie: bytes, count: int = 1, source: str = "") -> list[bytes]:
        """Send queries at once; return the cookies in what was answered within a second."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        found: list[bytes] = []
        with self.client.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((source or CLIENT[version], 0))
            for number in range(count):
                sock.sendto(query(number, cookie), (SERVER[version], 53))
            end = time.monotonic() + 1
            while len(found) < count and (left := end - time.monotonic()) > 0:
                sock.settimeout(left)
                try:
                    found.append(cookie_in(sock.recv(4096)))
                except TimeoutError:
                    break
        return found

    def learn(self, version: int) -> bytes:
        """Return the cookie that the server gives this client."""
        found: list[bytes] = []

        def told() -> bool:
            found[:] = self.ask(version, CLIENT_PART)
            return bool(found)

        eventually(told, "the server answers", timeout=20)
        return found[0]

    def spend(self, version: int, source: str = "") -> None:
        """Use up the account of a source."""
        assert len(self.ask(version, b"", 4 * BURST, source)) < 3 * BURST

    def is_good(self, version: int, cookie: bytes, source: str = "") -> bool:
        """Tell whether the filter takes a cookie: all queries with it go on, or hardly any."""
        count = 2 * BURST
        answered = len(self.ask(version, cookie, count, source))
        assert answered == count or answered < BURST
        return answered == count


def query(number: int, cookie: bytes) -> bytes:
    """Return a query for a name that exists, with this cookie if there is one."""
    option = struct.pack("!2H", 10, len(cookie)) + cookie if cookie else b""
    record = struct.pack("!B2HIH", 0, 41, 1232, 0, len(option)) + option
    head = struct.pack("!6H", number & 0xFFFF, 0, 1, 0, 0, 1)
    return head + b"\3www\7example\0" + struct.pack("!2H", 1, 1) + record


def cookie_in(answer: bytes) -> bytes:
    """Return the cookie in an answer, or nothing: an OPT is the last record of these."""
    start = answer.rfind(b"\0\0\x29")
    options = answer[start + 11 :] if start >= 0 else b""
    while len(options) >= 4:
        code, length = struct.unpack_from("!2H", options)
        if code == 10:
            return options[4 : 4 + length]
        options = options[4 + length :]
    return b""


@pytest.fixture(params=SERVERS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with Lab() as lab:
        yield Site(lab, request.param)


def test_a_servers_cookies_are_good_over_a_change_of_its_secret(site: Site) -> None:
    old = {version: site.learn(version) for version in (4, 6)}
    assert [len(cookie) for cookie in old.values()] == [24, 24]
    for version in (4, 6):
        site.spend(version)
        assert site.is_good(version, old[version])
        assert not site.is_good(version, CLIENT_PART)
        site.spend(version, STRANGER[version])
        assert not site.is_good(version, old[version], STRANGER[version])
    metrics = site.service.metrics()
    assert metrics.sum("xdpctl_cookies_total") > 0

    site.use_in_filter(NEW, OLD)
    site.use_in_server(NEW)
    new = {version: site.ask(version, old[version])[0] for version in (4, 6)}
    for version in (4, 6):
        assert new[version] != old[version]
        assert site.is_good(version, new[version])
        assert site.is_good(version, old[version])

    site.use_in_filter(NEW)
    for version in (4, 6):
        assert site.is_good(version, new[version])
        assert not site.is_good(version, old[version])


def test_secrets_that_cannot_be_used_leave_the_former_in_force(site: Site) -> None:
    cookie = site.learn(4)
    site.spend(4)
    site.secrets.write_text("not a secret\n")
    site.service.process.send(signal.SIGHUP)
    found = site.service.process.line(r"\b(reloaded|reload-failed)\b", timeout=30)
    assert "32 hexadecimal digits" in found.string
    assert site.is_good(4, cookie)
