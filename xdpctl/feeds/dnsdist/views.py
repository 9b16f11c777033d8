"""How the reading of dnsdist's blocks is now, as values for status and metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdpctl.feeds.dnsdist.blocks import BlockKind


@dataclass(frozen=True, slots=True)
class DnsdistView:
    """One dnsdist.

    Attributes:
        url: of its web server.
        up: whether the last poll gave its blocks.
        blocks: how many of each kind the last list had.
        success: when it was read last, in seconds since the epoch; None: never.
        seconds: that the last poll took.
        polls: how many there were, by how they ended: ok, failed.
    """

    url: str
    up: bool = False
    blocks: Mapping[BlockKind, int] = field(default_factory=Counter)
    success: float | None = None
    seconds: float = 0.0
    polls: Mapping[str, int] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class BridgeView:
    """All of them.

    Attributes:
        claims: that are wanted now.
        held: of them, those whose block dnsdist has ended.
    """

    dnsdists: tuple[DnsdistView, ...] = ()
    claims: int = 0
    held: int = 0
