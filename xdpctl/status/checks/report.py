"""All findings in the order of a start, and those that need both settings and facts.

Pure. Called by the verb `check` and by the service at its start. Owns the order. Does not gather
facts (survey.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.abi import MapName
from xdpctl.limits.table import warnings_of
from xdpctl.settings import XskFamily
from xdpctl.status.checks import host, interface
from xdpctl.status.checks.facts import Facts, Finding, InterfaceFacts, Level

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ipaddress import IPv4Address, IPv6Address

    from xdpctl.settings import Settings


def findings(settings: Settings, facts: Facts) -> list[Finding]:
    """Return all findings, good ones included, in the order of a start."""
    found = [Finding(Level.WARNING, warning, "settings") for warning in settings.warnings]
    found += [Finding(Level.WARNING, warning, "limits") for warning in warnings_of(settings)]
    found += host.of_host(facts.host)
    for carrier in facts.interfaces:
        found += interface.of_interface(settings, carrier)
        found += interface.of_batches(settings, carrier)
    found += interface.of_names(facts.interfaces)
    found += host.of_directory(facts)
    for pin in facts.pins:
        found += host.of_pin(facts, pin)
    found += _tcp(settings, facts)
    found += _xsk(settings, facts)
    return found


def warnings_at_start(settings: Settings, facts: Facts) -> list[str]:
    """Return the warnings about JIT and AF_XDP that the service logs at its start.

    `Survey.facts_at_start` gathers the facts. Warnings about settings and pins are not
    included, because the code that reads and opens them logs them. Neither is the check of
    TCP ports, because the DNS server starts after the service.
    """
    found = [*host.of_jit(facts.host), *_xsk(settings, facts)]
    return [finding.sentence for finding in found if finding.level is Level.WARNING]


def interface_warnings(settings: Settings, facts: InterfaceFacts) -> list[str]:
    """Return the warnings about an interface while the service runs."""
    return [
        finding.sentence
        for finding in interface.of_interface(settings, facts)
        if finding.level in (Level.WARNING, Level.ERROR)
    ]


def _tcp(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Check that a program answers clients that retry over TCP after TC=1."""
    limited = bool(
        settings.rate_limit_slip and (settings.rate_limit or settings.flood_limit or settings.zones)
    )
    if facts.truncating is None and not limited:
        yield Finding(
            Level.NOTE,
            "the rules cannot be read, so it is unknown whether there are Truncate rules",
            "tcp",
        )
    silent = [port for port, heard in (facts.listening or {}).items() if not heard]
    if not (facts.truncating or limited) or not silent:
        return
    if not _serves_itself(settings, facts.addresses):
        return
    what = "there are limits" if limited else "there are Truncate rules"
    ports = " and ".join(str(port) for port in silent)
    yield Finding(
        Level.WARNING,
        f"{what}, but no program listens on TCP port {ports} in this network"
        " namespace: clients that get TC=1 retry over TCP and get no answer; let the DNS server"
        " listen on TCP too",
        "tcp",
    )


def _serves_itself(settings: Settings, addresses: Iterable[IPv4Address | IPv6Address]) -> bool:
    """Return whether this host has a filtered address; with --address, other hosts may."""
    return not settings.addresses or any(
        address in network for address in addresses for network in settings.addresses
    )


def _xsk(settings: Settings, facts: Facts) -> Iterator[Finding]:
    if not settings.xsk:
        return
    if settings.xsk_family is XskFamily.BOTH:
        yield Finding(
            Level.NOTE,
            "dnsdist 1.9 sends IPv6 answers over AF_XDP with a UDP checksum of 0, and clients"
            " discard them: if your dnsdist is 1.9, use --xsk-family 4",
            "xsk",
        )
    if len(facts.interfaces) > 1:
        names = [pin.name for pin in facts.pins if pin.name.startswith(MapName.XSKMAP)]
        yield Finding(
            Level.NOTE,
            "each interface has an xskmap of its own; set dnsdist's xskMapPath to it: "
            + ", ".join(
                f"{found.name} {name}" for found, name in zip(facts.interfaces, names, strict=False)
            ),
            "xsk",
        )
