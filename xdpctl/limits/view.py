"""The limits as values for others: metrics, the API and the verbs show them.

Owns these values. Does not own what they are made of. Published by service/limits.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdpctl.limits.acting import Acting
    from xdpctl.limits.parameters import LimitSettings


@dataclass(frozen=True, slots=True)
class Events:
    """How often the filter looked for a proof or a cookie since it was attached."""

    found: int = 0
    missed: int = 0


@dataclass(frozen=True, slots=True)
class LimitsView:
    """The limits at one moment.

    Attributes:
        settings: in force.
        words: of the table of accounts; 0: there is none. `load`: which share is in use.
        proven: sources that are proven now; None: no limit asks for it. `room`: how many can be.
        proofs: look-ups of TCP connections. `cookies`: good and bad ones; `secrets`: how many.
        acting: limits that act now.
        listeners: by TCP port whether somebody answers there, as far as it was asked.
        taken: seconds of the clock of `Acting`.
        warnings: sentences.
    """

    settings: LimitSettings
    words: int = 0
    load: float = 0.0
    proven: int | None = None
    room: int = 0
    proofs: Events = Events()
    cookies: Events = Events()
    secrets: int = 0
    acting: tuple[Acting, ...] = ()
    listeners: Mapping[int, bool] = field(default_factory=dict)
    taken: float = 0.0
    warnings: tuple[str, ...] = ()
