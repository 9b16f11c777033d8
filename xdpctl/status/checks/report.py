"""All findings in the order of a start, and those of settings and facts together.

Pure; called by the verb `check` and by the service at its start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.abi import MapName
from xdpctl.settings import XskFamily
from xdpctl.status.checks import host, interface
from xdpctl.status.checks.facts import Facts, Finding, InterfaceFacts, Level

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ipaddress import IPv4Address, IPv6Address

    from xdpctl.settings import Settings


def findings(settings: Settings, facts: Facts) -> list[Finding]:
    """Return everything worth saying, good news included, in the order of a start."""
    found = [Finding(Level.WARNING, warning, "settings") for warning in settings.warnings]
    found += host.of_host(facts.host)
    for one in facts.interfaces:
        found += interface.of_interface(settings, one)
        found += interface.of_batches(settings, one)
    found += host.of_directory(facts)
    for pin in facts.pins:
        found += host.of_pin(facts, pin)
    found += _tcp(settings, facts)
    found += _xsk(settings, facts)
    return found


def warnings_at_start(settings: Settings, facts: Facts) -> list[str]:
    """Return what the service should log of JIT and AF_XDP at its start.

    `Survey.facts_at_start` gathers what is looked at here.

    Settings and pins are left out: whoever reads and opens those warns of them. So is
    who listens on TCP: the DNS server starts after the service.
    """
    found = [*host.of_jit(facts.host), *_xsk(settings, facts)]
    return [finding.sentence for finding in found if finding.level is Level.WARNING]


def interface_warnings(settings: Settings, facts: InterfaceFacts) -> list[str]:
    """Return what an operator should know of an interface now, while the service runs."""
    return [
        finding.sentence
        for finding in interface.of_interface(settings, facts)
        if finding.level in (Level.WARNING, Level.ERROR)
    ]


def _tcp(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Look for who answers those that come back over TCP after TC=1."""
    if facts.truncating is None:
        yield Finding(
            Level.NOTE, "the rules cannot be read, so nothing is known of Truncate rules", "tcp"
        )
    silent = [port for port, heard in (facts.listening or {}).items() if not heard]
    if not facts.truncating or not silent or not _serves_itself(settings, facts.addresses):
        return
    ports = " and ".join(str(port) for port in silent)
    yield Finding(
        Level.WARNING,
        f"there are Truncate rules, but nothing listens on TCP port {ports} in this network"
        " namespace: clients that are answered TC=1 come back over TCP and find nobody; let the"
        " DNS server listen there too",
        "tcp",
    )


def _serves_itself(settings: Settings, addresses: Iterable[IPv4Address | IPv6Address]) -> bool:
    """Whether the filtered addresses are this host's: with --address they may be another's."""
    return not settings.addresses or any(
        address in network for address in addresses for network in settings.addresses
    )


def _xsk(settings: Settings, facts: Facts) -> Iterator[Finding]:
    if not settings.xsk:
        return
    if settings.xsk_family is XskFamily.BOTH:
        yield Finding(
            Level.NOTE,
            "dnsdist 1.9 answers IPv6 over AF_XDP with a UDP checksum of 0, which clients discard,"
            " and which dnsdist it is cannot be seen from here: with 1.9 use --xsk-family 4",
            "xsk",
        )
    if len(facts.interfaces) > 1:
        names = [pin.name for pin in facts.pins if pin.name.startswith(MapName.XSKMAP)]
        yield Finding(
            Level.NOTE,
            "each interface has an xskmap of its own, which dnsdist's xskMapPath must name: "
            + ", ".join(
                f"{one.name} {name}" for one, name in zip(facts.interfaces, names, strict=False)
            ),
            "xsk",
        )
