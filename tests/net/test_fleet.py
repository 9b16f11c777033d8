"""docs/fleet.md: its configurations, as they are there, bring a change from a primary to a host.

Each server runs with the page's files at the page's paths, in a mount namespace where those
directories are the test's own. The primary is in one network namespace, the secondary and the host
in another.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab import Lab, Service, eventually
from tests.lab.hosts import INTERFACE, ROOT
from tests.lab.primaries import Software

if TYPE_CHECKING:
    from tests.lab.process import Process

pytestmark = pytest.mark.root

PAGE = (ROOT / "docs" / "fleet.md").read_text()
ZONE = "block.rpz.example"
PRIMARY, SECONDARY = "192.0.2.1", "192.0.2.2"
FIRST = "198.51.100.0/24"
ADDED = "bad.example.block.rpz.example."

PROSE = {
    Software.BIND: "BIND",
    Software.KNOT: "Knot",
    Software.NSD: "NSD",
    Software.POWERDNS: "PowerDNS",
}

SERVERS = {
    Software.BIND: ("named", "-g", "-c", "/etc/bind/named.conf"),
    Software.KNOT: ("knotd", "-c", "/etc/knot/knot.conf"),
    Software.NSD: ("nsd", "-d", "-c", "/etc/nsd/nsd.conf"),
    Software.POWERDNS: (
        "pdns_server",
        "--daemon=no",
        "--guardian=no",
        "--disable-syslog",
        "--security-poll-suffix=",
    ),
}
"""How the unit of Debian's package runs each, but in the foreground."""

HOMES = {
    Software.BIND: ("etc/bind", "var/lib/bind", "var/cache/bind", "run"),
    Software.KNOT: ("etc/knot", "var/lib/knot", "run"),
    Software.NSD: ("etc/nsd", "var/lib/nsd", "run"),
    Software.POWERDNS: ("etc/powerdns", "var/lib/powerdns", "run"),
}
DATA = {software: homes[1] for software, homes in HOMES.items()}

INSIDE = """\
root=$1; shift
for home in $1; do mount --bind "$root/$home" "/$home"; done; shift
cd "$root"
exec "$@"
"""


def section(heading: str) -> str:
    """Return the page's text below a heading, up to the next one of its level or above."""
    level = heading.partition(" ")[0]
    text = PAGE.partition(f"\n{heading}\n")[2]
    assert text, heading
    return re.split(rf"^#{{2,{len(level)}}} ", text, flags=re.MULTILINE)[0]


def blocks(heading: str) -> dict[str, str]:
    """Return the blocks below a heading by what their first line says."""
    found = re.findall(
        r"^```\n\W+ ([^\n]*)\n(.*?)^```$", section(heading), re.MULTILINE | re.DOTALL
    )
    return {title.partition(",")[0]: text for title, text in found}


class Site:
    """The page's servers."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.center, self.site = lab.host("center"), lab.host("site")
        lab.wire(self.center, self.site)
        for host, lasts in ((self.center, (1,)), (self.site, (2, 53))):
            for last in lasts:
                host.ip("address", "add", f"192.0.2.{last}/24", "dev", INTERFACE)
        self.key = lab.directory / "rpz.key"
        made = subprocess.run(["tsig-keygen", "xdpctl"], check=True, capture_output=True, text=True)
        self.key.write_text(made.stdout)
        self.key.chmod(0o600)
        self._secret = re.findall(r'secret "([^"]*)"', made.stdout)[0]

    def root(self, name: str, software: Software) -> Path:
        """Make what a server finds of the file system."""
        root = self.lab.directory / name
        for home in HOMES[software]:
            (root / home).mkdir(parents=True)
        (root / "run" / software).mkdir()  # as its unit does
        return root

    def write(self, root: Path, files: dict[str, str]) -> None:
        """Write blocks of the page where they say that they belong."""
        for path, text in files.items():
            if path.startswith("/"):
                (root / path[1:]).write_text(text.replace("SECRET", self._secret))

    def inside(self, root: Path, software: Software, *argv: str) -> list[str]:
        """Return the command that runs with a server's files."""
        host = self.site if root.name == "secondary" else self.center
        homes = " ".join(HOMES[software])
        within = ("unshare", "--mount", "sh", "-euc", INSIDE, "sh", str(root), homes, *argv)
        return host.command(*within)

    def run(self, root: Path, software: Software, script: str) -> None:
        """Run commands of the page with a server's files."""
        done = subprocess.run(
            self.inside(root, software, "bash", "-euc", script.replace("SECRET", self._secret)),
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def primary(self, software: Software) -> tuple[Path, Process]:
        """Start a primary."""
        root = self.root("primary", software)
        files = blocks(f"### {PROSE[software]}")
        self.write(root, files)
        (zone,) = blocks("## The zone").values()
        data = root / DATA[software]
        (root / f"{ZONE}.zone").write_text(zone)
        (data / f"{ZONE}.zone").write_text(zone)
        if software is Software.NSD:
            for made in Path("/etc/nsd").glob("nsd_*"):  # at installation, for nsd-control
                shutil.copy(made, root / "etc/nsd")
            for home in (*HOMES[software], "run/nsd"):
                shutil.chown(root / home, "nsd")
        if software is Software.POWERDNS:
            self.run(root, software, files["commands"])
        process = self.start(root, software)
        process.until(lambda: self.serial(PRIMARY), "the primary answers", 20.0)
        return root, process

    def secondary(self, software: Software) -> None:
        """Start a secondary and wait until it has the zone."""
        root = self.root("secondary", software)
        self.write(root, blocks(f"### {PROSE[software]} as a secondary"))
        process = self.start(root, software)
        process.until(lambda: self.serial(SECONDARY), "the secondary has the zone", 20.0)

    def start(self, root: Path, software: Software) -> Process:
        """Start a server."""
        if software is Software.BIND:
            shutil.copy(self.key, root / "etc/bind")
            (root / "etc/bind/named.conf").write_text(
                'include "/etc/bind/named.conf.options"; include "/etc/bind/named.conf.local";\n'
            )
        return self.lab.start(root.name, self.inside(root, software, *SERVERS[software]))

    def filtering(self) -> Service:
        """Start the service on the host as the page says, and wait until the list is in force."""
        (text,) = re.findall(
            r"^```toml\n(.*?)^```$", section("## Each host"), re.MULTILINE | re.DOTALL
        )
        config = self.lab.directory / "host.toml"
        config.write_text(text.replace("/etc/xdpctl/rpz.key", str(self.key)))
        service = Service(self.site, "--config", str(config))
        eventually(lambda: FIRST in self.targets(service), "the list is in force", 20.0)
        return service

    def targets(self, service: Service) -> set[str]:
        """Return the targets of the host's rules."""
        return {rule["target"] for rule in service.rules()}

    def change(self, root: Path, software: Software) -> None:
        """Add a record as the page says."""
        script = blocks("## A change")["commands"]
        self.run(root, software, script.replace("/etc/xdpctl/rpz.key", str(self.key)))

    def serial(self, address: str) -> str:
        """Return the serial that a server answers; "" where it does not."""
        done = self.center.run(
            "dig", f"@{address}", "+short", "+time=1", "+tries=1", ZONE, "SOA", check=False
        )
        fields = done.stdout.split()
        return fields[2] if done.returncode == 0 and len(fields) == 7 else ""

    def zone(self, address: str) -> str:
        """Transfer the zone with the key."""
        return self.center.run("dig", f"@{address}", "-k", str(self.key), ZONE, "AXFR").stdout


@pytest.mark.parametrize("software", Software)
def test_a_change_at_a_primary_is_soon_at_a_sites_secondary(lab: Lab, software: Software) -> None:
    site = Site(lab)
    root, process = site.primary(software)
    site.secondary(Software.KNOT)
    first = site.zone(SECONDARY)
    assert "24.0.100.51.198.rpz-client-ip.block.rpz.example." in first
    assert ADDED not in first
    if software is Software.NSD:
        file = root / DATA[software] / f"{ZONE}.zone"
        text = file.read_text().replace(" 1 60 ", " 2 60 ")
        file.write_text(f"{text}bad.example CNAME rpz-drop.\n")
        site.run(root, software, f"nsd-control reload {ZONE}")
    else:
        site.change(root, software)
    process.until(lambda: site.serial(PRIMARY) == "2", "the primary has the change", 20.0)
    eventually(lambda: ADDED in site.zone(SECONDARY), "the secondary has the change", 20.0)
    refused = site.center.run("dig", f"@{PRIMARY}", ZONE, "AXFR", check=False)
    assert "Transfer failed" in refused.stdout


def test_a_change_at_the_primary_is_soon_in_force_at_a_host(lab: Lab) -> None:
    site = Site(lab)
    root, _ = site.primary(Software.BIND)
    site.secondary(Software.BIND)
    service = site.filtering()
    site.change(root, Software.BIND)
    eventually(lambda: "bad.example" in site.targets(service), "the change is in force", 20.0)
    (words,) = re.findall(r"^    xdpctl (publish .*)$", section("## A change"), re.MULTILINE)
    published = service.verb(*words.split())
    assert published.returncode == 0, published.stderr
    eventually(lambda: "203.0.113.9" in site.targets(service), "what it published", 20.0)
    assert site.targets(service) == {
        "203.0.113.9",
        FIRST,
        "2001:db8:66::/48",
        "flood.example",
        "*.flood.example",
        "bad.example",
    }
