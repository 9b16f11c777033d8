"""The settings that are compiled into the program, and the C for them.

Owns `ProgramConfig` and the #define lines that xdp/config.h explains. Called by
compiler.py, cache.py and service/bootstrap.py. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, TypeAlias

from xdpctl.abi import LEGACY_WILDCARD_QTYPE, WILDCARD_QTYPE
from xdpctl.rules import AnyQtype
from xdpctl.settings import Proof, XskFamily

if TYPE_CHECKING:
    from xdpctl.settings import Levels, Settings


@dataclass(frozen=True, slots=True)
class ProgramConfig:
    """The settings that the program is compiled for.

    Attributes:
        ports, address_ports: `--port`, `--address-port`.
        addresses: filtered destinations; empty is every destination.
        tcp: whether address rules look at TCP.
        any_qtype: which types of an entry are every type.
        xsk: families of AF_XDP destinations.
        tables: whether our own tables of rules (zones, and what lists claim) are asked.
        limits4, limits6: lengths of the prefixes that have an account each, up to
            LIMIT_LEVELS; empty where there is no limit by source.
        flood: whether there is a limit in total.
        proven: whether the table of proven sources is read.
        proof: whether the program itself proves sources, by their TCP connections.
        cookies: whether DNS cookies are checked.
        exempt: whether there are exempt prefixes.
        zone_limits, heavy: whether names below zones are limited; counted by their ends.
        samples: octets of a sampled packet, a multiple of 8; 0: none is ever sampled.
    """

    ports: tuple[int, ...]
    address_ports: tuple[int, ...]
    addresses: tuple[IPv4Network | IPv6Network, ...]
    tcp: bool
    any_qtype: AnyQtype
    xsk: XskFamily | None
    tables: bool = False
    limits4: tuple[int, ...] = ()
    limits6: tuple[int, ...] = ()
    flood: bool = False
    proven: bool = False
    proof: bool = False
    cookies: bool = False
    exempt: bool = False
    zone_limits: bool = False
    heavy: bool = False
    samples: int = 0

    @property
    def limits(self) -> bool:
        """Whether anything is limited: the maps of Scope.LIMITS are needed."""
        return bool(self.limits4 or self.limits6 or self.flood or self.zone_limits)


@dataclass(frozen=True, slots=True)
class TableProgram:
    """The other program: the one that writes to our own tables. It has no settings."""


@dataclass(frozen=True, slots=True)
class TcpProofProgram:
    """The program that proves sources by the connections of all processes (`--proof cgroup`).

    Attributes:
        ports: `--port`.
    """

    ports: tuple[int, ...]


Recipe: TypeAlias = ProgramConfig | TableProgram | TcpProofProgram
"""What bytecode is compiled from."""


def program_config(settings: Settings, *, tables: bool = False) -> ProgramConfig:
    """Return what is compiled into the program.

    Args:
        settings: of the service.
        tables: whether our own tables of rules are asked.
    """
    by_source = settings.rate_limit > 0
    proven = settings.flood_limit > 0 or (by_source and settings.proven_factor > 1)
    return ProgramConfig(
        ports=settings.ports,
        address_ports=settings.address_ports,
        addresses=settings.addresses,
        tcp=settings.tcp,
        any_qtype=settings.any_qtype,
        xsk=settings.xsk_family if settings.xsk else None,
        tables=tables,
        limits4=_lengths(settings.rate_limit_prefixes) if by_source else (),
        limits6=_lengths(settings.rate_limit_prefixes6) if by_source else (),
        flood=settings.flood_limit > 0,
        proven=proven,
        proof=proven and settings.proof is Proof.SOCKET,
        cookies=proven and settings.cookie_secret_file is not None,
        exempt=bool(settings.exempt or settings.exempting),
        zone_limits=bool(settings.zones),
        heavy=by_source or settings.flood_limit > 0 or bool(settings.zones),
        samples=_whole_words(settings.sample_length) if settings.sample_budget else 0,
    )


def _whole_words(octets: int) -> int:
    return octets + 7 & ~7


def _lengths(levels: Levels) -> tuple[int, ...]:
    return tuple(length for length, _ in levels)


def render_config(config: ProgramConfig) -> str:
    """Return the #define lines that go before MAIN_FILE (xdp/config.h explains them)."""
    v4 = [net for net in config.addresses if isinstance(net, IPv4Network)]
    v6 = [net for net in config.addresses if isinstance(net, IPv6Network)]
    wildcards = config.any_qtype.wildcards
    defines = {
        "PORTS(is)": _uses("is", [(port,) for port in config.ports]),
        "ADDRESS_PORTS(is)": _uses("is", [(port,) for port in config.address_ports]),
        "ADDRESSES_V4(in)": _uses("in", [(int(n.network_address), int(n.netmask)) for n in v4]),
        "ADDRESSES_V6(in)": _uses(
            "in", [(*_halves(int(n.network_address)), *_halves(int(n.netmask))) for n in v6]
        ),
        "ADDRESS_ANY": int(not config.addresses),
        "TCP": int(config.tcp),
        "QTYPE_65535": int(WILDCARD_QTYPE in wildcards),
        "QTYPE_255": int(LEGACY_WILDCARD_QTYPE in wildcards),
        "XSK_V4": int(config.xsk is not None),
        "XSK_V6": int(config.xsk is XskFamily.BOTH),
        "TABLES": int(config.tables),
        "LIMIT_V4(level)": _uses("level", [*enumerate(config.limits4)]),
        "LIMIT_V6(level)": _uses("level", [*enumerate(config.limits6)]),
        "SOURCE_LIMITS": int(bool(config.limits4 or config.limits6)),
        "FLOOD": int(config.flood),
        "PROVEN": int(config.proven),
        "PROOF": int(config.proof),
        "COOKIES": int(config.cookies),
        "EXEMPT": int(config.exempt),
        "ZONE_LIMITS": int(config.zone_limits),
        "HEAVY": int(config.heavy),
        "SAMPLES": config.samples,
    }
    return "".join(f"#define CONFIG_{name} {value}\n" for name, value in defines.items())


def render_ports(ports: tuple[int, ...]) -> str:
    """Return the lines of a program that has no other settings than `--port`."""
    return render_config(
        ProgramConfig(
            ports=ports,
            address_ports=(),
            addresses=(),
            tcp=True,
            any_qtype=AnyQtype.BOTH,
            xsk=None,
        )
    )


def _uses(macro: str, rows: list[tuple[int, ...]]) -> str:
    return " ".join(f"{macro}({', '.join(f'{value:#x}' for value in row)})" for row in rows)


def _halves(address: int) -> tuple[int, int]:
    return address >> 64, address & (1 << 64) - 1
