"""The documents of the live stream, and how they are made of the service's values.

Owns these types, as documents.py has the others, and their converter. Does not own the values
(status/snapshot.py) or the stream (streams.py). Called by service/live.py and streams.py.
"""

from __future__ import annotations

from collections import Counter as Sums
from typing import TYPE_CHECKING

import msgspec

from xdpctl.abi import PacketAction
from xdpctl.http.api.documents import ChangeOut, TopRule  # noqa: TC001 - msgspec reads them
from xdpctl.http.api.limit_documents import ActingOut  # noqa: TC001 - msgspec reads it

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xdpctl.status.snapshot import Snapshot

_ACTIONS = {action: action.name.lower() for action in PacketAction}


class LiveInterface(msgspec.Struct):
    """An interface and the filter on it, as status has it."""

    name: str
    state: str
    mode: str | None


class LiveState(msgspec.Struct):
    """How the service is, as status has it: `reasons` say why it is not ready."""

    ready: bool
    panic: bool
    reasons: list[str]
    warnings: list[str]
    interfaces: list[LiveInterface]
    limits: list[ActingOut]


class PastOut(msgspec.Struct):
    """What came before a stream began: packets a second by action, at a time since the epoch."""

    time: float
    rates: dict[str, float]


class LiveOut(msgspec.Struct):
    """What the service sees at one moment: the data of the event `snapshot`.

    `time` is in seconds since the epoch. `totals` are the packets of all interfaces by action since
    they were attached, `rates` packets a second. `top` are the rules hit most, 20 at most, by rate,
    as they were `top_age` seconds before: with very many rules they are measured less often than
    once a second. It is null until they have been measured. `events` are the changes since the
    snapshot before. `past` are the rates of the last five minutes, in a stream's first one only.
    """

    time: float
    state: LiveState
    totals: dict[str, int]
    rates: dict[str, float]
    top: list[TopRule]
    top_age: float | None
    events: list[ChangeOut]
    past: list[PastOut]


class EndOut(msgspec.Struct):
    """Why a stream ends: the data of its last event, `end`."""

    detail: str


def live_out(  # noqa: PLR0913, PLR0917 - what a snapshot has
    snapshot: Snapshot,
    time: float,
    limits: Sequence[ActingOut],
    top: Sequence[TopRule],
    top_age: float | None,
    events: Sequence[ChangeOut],
    past: Iterable[tuple[float, Sequence[float]]] = (),
) -> LiveOut:
    """Return a snapshot as the data of an event; `past` is times and what `rates_of` was then."""
    totals = Sums[PacketAction]()
    for view in snapshot.filters:
        for (_, action), count in view.counters.items():
            totals[action] += count.packets
    state = LiveState(
        snapshot.ready,
        snapshot.panic,
        list(snapshot.reasons),
        list(snapshot.warnings),
        [
            LiveInterface(view.interface, view.state.value, view.mode and view.mode.value)
            for view in snapshot.filters
        ],
        list(limits),
    )
    return LiveOut(
        time,
        state,
        {word: totals[action] for action, word in _ACTIONS.items()},
        _named(rates_of(snapshot)),
        list(top),
        None if top_age is None else round(top_age, 1),
        list(events),
        [PastOut(round(moment, 3), _named(rates)) for moment, rates in past],
    )


def rates_of(snapshot: Snapshot) -> tuple[float, ...]:
    """Return packets a second of all interfaces, in the order of the actions."""
    rates = dict.fromkeys(PacketAction, 0.0)
    for (_, _, action), rate in snapshot.rates.items():
        rates[action] += rate
    return tuple(round(rate, 3) for rate in rates.values())


def _named(rates: Sequence[float]) -> dict[str, float]:
    return dict(zip(_ACTIONS.values(), rates, strict=True))
