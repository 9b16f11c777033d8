"""A packet that is another one each run: what is put before wander.bpf.c for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.packets.case import Verdict


@dataclass(frozen=True, slots=True)
class Walk:
    """A case whose packets are never the same twice.

    Attributes:
        name: of the case. `frame`: what is written into. `verdict`: of every packet.
        offset, base, shift, is_name, scatters, source: as in wander.bpf.c.
    """

    name: str
    frame: bytes
    verdict: Verdict
    offset: int
    base: int = 0
    shift: int = 0
    is_name: bool = False
    scatters: bool = False
    source: int = 0

    @property
    def defines(self) -> str:
        """Return the lines that go before wander.bpf.c."""
        values = {
            "OFFSET": self.offset,
            "BASE": f"{self.base:#x}",
            "SHIFT": self.shift,
            "NAME": int(self.is_name),
            "SCATTER": int(self.scatters),
            "SOURCE": self.source,
        }
        return "".join(f"#define WANDER_{name} {value}\n" for name, value in values.items())
