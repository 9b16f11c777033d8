"""The configurations of the program that every kernel must accept.

From the smallest to everything at once: each of the compile-time switches is on in one
and off in another, and the largest is what the verifier has most work with.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from xdpctl.program.config import ProgramConfig
from xdpctl.rules import AnyQtype
from xdpctl.settings import XskFamily

if TYPE_CHECKING:
    from collections.abc import Mapping

_ADDRESSES: Final = tuple(
    ip_network(text) for text in ("192.0.2.53/32", "198.51.100.0/24", "2001:db8::/64")
)


def _config(
    *,
    any_qtype: AnyQtype = AnyQtype.BOTH,
    xsk: XskFamily | None = None,
    tcp: bool = True,
    large: bool = False,
) -> ProgramConfig:
    return ProgramConfig(
        ports=(53, 5353, 5354, 5355) if large else (53,),
        address_ports=(443, 784, 853, 8443) if large else (),
        addresses=_ADDRESSES if large else (),
        tcp=tcp,
        any_qtype=any_qtype,
        xsk=xsk,
    )


CONFIGURATIONS: Final[Mapping[str, ProgramConfig]] = {
    "default": _config(),
    "no-tcp": _config(tcp=False),
    "any-65535": _config(any_qtype=AnyQtype.NEW),
    "any-255": _config(any_qtype=AnyQtype.LEGACY),
    "large": _config(large=True),
    "xsk": _config(xsk=XskFamily.BOTH),
    "xsk-v4": _config(xsk=XskFamily.V4),
    "xsk-large": _config(xsk=XskFamily.BOTH, large=True),
}
