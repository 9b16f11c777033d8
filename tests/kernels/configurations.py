"""The configurations of the program that every kernel must accept.

From the smallest to everything at once: each of the compile-time switches is on in one
and off in another, and the largest is what the verifier has most work with.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from xdpctl.kernel.bpf.kind import ProgramKind
from xdpctl.program.config import ProgramConfig, TableProgram, TcpProofProgram
from xdpctl.rules import AnyQtype
from xdpctl.settings import XskFamily

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdpctl.program.config import Recipe

_ADDRESSES: Final = tuple(
    ip_network(text) for text in ("192.0.2.53/32", "198.51.100.0/24", "2001:db8::/64")
)


def _config(  # noqa: PLR0913 - one argument a switch
    *,
    any_qtype: AnyQtype = AnyQtype.BOTH,
    xsk: XskFamily | None = None,
    tcp: bool = True,
    large: bool = False,
    tables: bool = False,
    proof: bool = False,
) -> ProgramConfig:
    return ProgramConfig(
        ports=(53, 5353, 5354, 5355) if large else (53,),
        address_ports=(443, 784, 853, 8443) if large else (),
        addresses=_ADDRESSES if large else (),
        tcp=tcp,
        any_qtype=any_qtype,
        xsk=xsk,
        tables=tables,
        flood=proof,
        proven=proof,
        proof=proof,
    )


DEFAULT: Final = _config()
"""The service without any option."""

_TWO: Final = replace(DEFAULT, limits4=(32, 24), limits6=(64, 48))
_FOUR: Final = replace(DEFAULT, limits4=(32, 28, 24, 20), limits6=(128, 64, 56, 48), flood=True)
_ALL: Final = replace(_FOUR, proven=True, proof=True, cookies=True)
_LIMITS: Final = replace(_ALL, exempt=True, zone_limits=True, heavy=True)
_LARGEST: Final = _config(tables=True, xsk=XskFamily.BOTH, large=True)

CONFIGURATIONS: Final[Mapping[str, Recipe]] = {
    "default": DEFAULT,
    "no-tcp": _config(tcp=False),
    "any-65535": _config(any_qtype=AnyQtype.NEW),
    "any-255": _config(any_qtype=AnyQtype.LEGACY),
    "large": _config(large=True),
    "xsk": _config(xsk=XskFamily.BOTH),
    "xsk-v4": _config(xsk=XskFamily.V4),
    "xsk-large": _config(xsk=XskFamily.BOTH, large=True),
    "tables": _config(tables=True),
    "tables-no-tcp": _config(tables=True, tcp=False),
    "tables-large": _config(tables=True, large=True),
    "tables-xsk": _config(tables=True, xsk=XskFamily.BOTH),
    "tables-xsk-large": _LARGEST,
    "limits": _TWO,
    "limits-four": _FOUR,
    "flood": replace(DEFAULT, flood=True, exempt=True),
    "limits-all": _ALL,
    "zones": replace(DEFAULT, zone_limits=True, heavy=True),
    "every limit": _LIMITS,
    "samples": replace(DEFAULT, samples=512),
    "samples-longest": replace(DEFAULT, samples=2048),
    "everything": replace(
        _LIMITS,
        ports=_LARGEST.ports,
        address_ports=_LARGEST.address_ports,
        addresses=_LARGEST.addresses,
        xsk=_LARGEST.xsk,
        tables=True,
        samples=512,
    ),
    "proof-no-tcp": _config(tables=True, tcp=False, proof=True),
    "table program": TableProgram(),
    "tcp proof program": TcpProofProgram((53, 5353)),
}


def kind_of(recipe: Recipe) -> ProgramKind:
    """Return what the program is loaded as."""
    match recipe:
        case TableProgram():
            return ProgramKind.TEST_RUN
        case TcpProofProgram():
            return ProgramKind.SOCK_OPS
        case ProgramConfig():
            return ProgramKind.XDP
