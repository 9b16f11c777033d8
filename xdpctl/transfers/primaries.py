"""Several primaries of one zone: the first that has something to give is transferred from.

Owns the order in which they are asked, and the way from IXFR to AXFR. Does not own one exchange
(client.py) or when to ask (the caller). Everything blocks. Called by zones/.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl.errors import TransferError
from xdpctl.transfers.channel import Bounds
from xdpctl.transfers.client import Primary, PrimaryClient, RefusedTransferError
from xdpctl.transfers.serials import is_newer
from xdpctl.transfers.stream import Kind, backwards

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from xdpctl.rules.names import Name
    from xdpctl.transfers.client import Transfer
    from xdpctl.transfers.records import Soa


@dataclass(frozen=True, slots=True)
class Fetched:
    """How a zone was transferred.

    Attributes:
        kind: whole, changes, or that there was nothing new.
        soa: of the version that is there now.
        primary: who gave it.
    """

    kind: Kind
    soa: Soa
    primary: Primary


class UnfitChangesError(TransferError):
    """The changes of an IXFR do not fit what is there; the whole zone is needed."""


def fetch(  # noqa: PLR0913 - what is there, and two for tests
    zone: Name,
    primaries: Sequence[Primary],
    have: int | None,
    take: Callable[[Transfer], None],
    *,
    known: int | None = None,
    bounds: Bounds | None = None,
    client: Callable[[Primary, Bounds], PrimaryClient] = PrimaryClient,
    turn: Callable[[Primary], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> Fetched:
    """Bring a zone up to date from the first primary that can.

    Args:
        zone: its name.
        primaries: in the order in which they are asked; one at least.
        have: the serial that is there; None: nothing is.
        take: iterates over a transfer and keeps its changes for later. It may be called
            again, with another transfer, after one that failed, and may raise
            UnfitChangesError, upon which the whole zone is transferred.
        known: another serial that is nothing new: of a version that was not taken.
        bounds: what one exchange may take.
        client: asks a primary.
        turn: waits until that primary may be asked (turns.py).

    Raises:
        TransferError: none has the zone, or a transfer of it that can be used.
    """
    failures = []
    for primary in primaries:
        try:
            with turn(primary):
                asked = client(primary, bounds or Bounds())
                return _from_one(asked, primary, zone, have=have, known=known, take=take)
        except TransferError as error:
            failures.append(f"{primary}: {error.sentence}")
    raise TransferError(f"cannot transfer {zone.to_text()} from {', nor from '.join(failures)}")


def _from_one(  # noqa: PLR0913 - as above
    client: PrimaryClient,
    primary: Primary,
    zone: Name,
    *,
    have: int | None,
    known: int | None,
    take: Callable[[Transfer], None],
) -> Fetched:
    soa = client.soa(zone)
    if soa.serial in (have, known):
        return Fetched(Kind.CURRENT, soa, primary)
    if have is not None:
        if not is_newer(soa.serial, have):
            raise backwards(soa.serial, have)
        try:
            transfer = client.transfer(zone, have, take)
        except UnfitChangesError:
            pass
        except RefusedTransferError as error:
            if not error.concerns_kind:
                raise
        else:
            return Fetched(transfer.kind, transfer.soa, primary)
    transfer = client.transfer(zone, None, take)
    return Fetched(transfer.kind, transfer.soa, primary)
