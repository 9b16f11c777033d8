"""The ways to drop a flood, each set up as its own users would.

A means is Lua for dnsdist, or something that is put before it, and a counter by which it is
seen to drop. Rules are the same for all: every source of the flood, every name, or the zone
that its names are in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from tests.bench.drop import sender
from tests.bench.drop.search import dropped_by_iptables, dropped_by_nft
from tests.lab import LabError, Service
from tests.lab.hosts import INTERFACE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.drop.site import Site


class Series(Enum):
    """What of the flood is blocked."""

    SOURCES = "blocked sources"
    NAMES = "blocked names"
    ZONE = "random names below a blocked zone"

    @property
    def targets(self) -> list[str]:
        """What xdpctl blocks."""
        return {Series.SOURCES: sources, Series.NAMES: names, Series.ZONE: zone}[self]()


def sources() -> list[str]:
    """Return every source of the flood."""
    return [sender.source(number) for number in range(sender.SOURCES)]


def names() -> list[str]:
    """Return every name that the flood asks for, where each source has one."""
    return [sender.name(number) for number in range(sender.SOURCES)]


def zone() -> list[str]:
    """Return the zone that all names of the flood are in."""
    return [f".{sender.ZONE}"]


@dataclass(frozen=True, slots=True)
class Means:
    """One way.

    Attributes:
        key: short name. `label`: what a table says.
        series: what it can block.
        lua: of what is blocked, for dnsdist; "" where it is not dnsdist that drops.
        install: puts it before dnsdist.
        dropped: returns how many packets it has dropped since it was installed.
        optional: LabError of `install` means that this machine does not have it.
    """

    key: str
    label: str
    series: tuple[Series, ...]
    dropped: Callable[[Site], int]
    lua: Callable[[Series], str] = lambda _: ""
    install: Callable[[Site, Series], None] = lambda _site, _series: None
    optional: bool = False


def _userspace(series: Series) -> str:
    if series is Series.SOURCES:
        adds = "".join(f'blocked:addMask("{source}/32")\n' for source in sources())
        return f"blocked = newNMG()\n{adds}addAction(NetmaskGroupRule(blocked), DropAction())\n"
    if series is Series.ZONE:
        adds = f'blocked:add(newDNSName("{sender.ZONE}."))\n'
        rule = "SuffixMatchNodeRule(blocked)"
        return f"blocked = newSuffixMatchNode()\n{adds}addAction({rule}, DropAction())\n"
    adds = "".join(f'blocked:add(newDNSName("{name}."))\n' for name in names())
    return f"blocked = newDNSNameSet()\n{adds}addAction(QNameSetRule(blocked), DropAction())\n"


def _socket_filter(series: Series) -> str:
    made = "bpf = newBPFFilter({ipv4MaxItems=1024, ipv6MaxItems=1024, qnamesMaxItems=1024})\n"
    if series is Series.SOURCES:
        blocks = "".join(f'bpf:block(newCA("{source}"))\n' for source in sources())
    else:
        blocks = "".join(f'bpf:blockQName(newDNSName("{name}."), 65535)\n' for name in names())
    return f"{made}{blocks}setDefaultBPFFilter(bpf)\n"


def _dropped_by_rule(site: Site) -> int:
    found = re.search(r"\brule-drop\s+(\d+)", site.dnsdist.console("dumpStats()"))
    return int(found[1]) if found else -1


def _dropped_by_socket_filter(site: Site) -> int:
    said = site.dnsdist.console("bpf:getStats()")
    return sum(int(count) for count in re.findall(r": (\d+)$", said, re.MULTILINE))


def _nft(family: str, chain: str) -> Callable[[Site, Series], None]:
    def install(site: Site, _: Series) -> None:
        elements = ", ".join(sources())
        table = (
            f"table {family} filter {{\n"
            f"  set blocked {{ type ipv4_addr; elements = {{ {elements} }} }}\n"
            f"  chain incoming {{ {chain} ip saddr @blocked counter drop; }}\n"
            "}\n"
        )
        site.server.run("nft", "-f", str(site.server.lab.write("nft", table)))

    return install


def _dropped_by_nft(site: Site) -> int:
    return dropped_by_nft(site.server.run("nft", "list", "ruleset").stdout)


def _ipset(site: Site, _: Series) -> None:
    adds = "".join(f"add blocked {source}\n" for source in sources())
    restore = site.server.lab.write("ipset", f"create blocked hash:ip maxelem 1024\n{adds}")
    site.server.run("ipset", "-file", str(restore), "restore")
    match = ("-m", "set", "--match-set", "blocked", "src")
    site.server.run("iptables", "-t", "raw", "-A", "PREROUTING", *match, "-j", "DROP")


def _dropped_by_iptables(site: Site) -> int:
    return dropped_by_iptables(site.server.run("iptables-save", "-c").stdout)


def _xdpctl(mode: str) -> Callable[[Site, Series], None]:
    def install(site: Site, series: Series) -> None:
        service = Service(site.server, "--mode", mode)
        site.services.append(service)
        site.settle(service.process.pid)
        lines = "".join(f"{target}\n" for target in series.targets)
        path = site.server.lab.write("blocked", lines)
        done = service.verb("import", str(path))
        if done.returncode or site.server.xdp() != mode:
            raise LabError(f"xdpctl import: {done.stderr}; XDP is {site.server.xdp()}")

    return install


def _dropped_by_xdpctl(site: Site) -> int:
    return site.services[0].metrics().packets(action="drop")


_SOURCES_ONLY: Final = (Series.SOURCES,)
_EXACT: Final = (Series.SOURCES, Series.NAMES)
_ALL: Final = tuple(Series)

EVERY: Final = (
    Means("userspace", "dnsdist, DropAction", _ALL, _dropped_by_rule, lua=_userspace),
    Means(
        "socket",
        "dnsdist, socket filter",
        _EXACT,
        _dropped_by_socket_filter,
        lua=_socket_filter,
    ),
    Means(
        "iptables",
        "iptables + ipset, raw",
        _SOURCES_ONLY,
        _dropped_by_iptables,
        install=_ipset,
        optional=True,
    ),
    Means(
        "nft",
        "nftables set, prerouting raw",
        _SOURCES_ONLY,
        _dropped_by_nft,
        install=_nft("ip", "type filter hook prerouting priority raw;"),
        optional=True,
    ),
    Means(
        "nft-ingress",
        "nftables set, ingress",
        _SOURCES_ONLY,
        _dropped_by_nft,
        install=_nft("netdev", f"type filter hook ingress device {INTERFACE} priority 0;"),
        optional=True,
    ),
    Means("generic", "xdpctl, generic", _ALL, _dropped_by_xdpctl, install=_xdpctl("generic")),
    Means("native", "xdpctl, native", _ALL, _dropped_by_xdpctl, install=_xdpctl("native")),
)
