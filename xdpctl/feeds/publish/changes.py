"""Changes of a zone's records at its primary: made where what is there is ours, else left alone.

Owns what becomes of each wanted record: made, there already, another's, gone. Does not own the
messages (update.py), or which records are wanted (publisher.py). Everything blocks. Called by
publisher.py on a thread of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from xdpctl.abi import RuleAction
from xdpctl.errors import PublishError
from xdpctl.feeds.publish.edits import EDITS_MAX, RecordEdit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xdpctl.feeds.formats.owners import Owner
    from xdpctl.feeds.publish.update import UpdateConnection
    from xdpctl.rules import Name
    from xdpctl.transfers.client import Primary

    Connecting = Callable[[Name, Primary], UpdateConnection]
    There = tuple[Owner, RuleAction | None]
    Work = Callable[[UpdateConnection, Sequence["WantedRecord"], dict[Owner, "Fate"]], None]


def _connected(zone: Name, primary: Primary) -> UpdateConnection:
    from xdpctl.feeds.publish.update import UpdateConnection  # noqa: PLC0415 - loads dnspython

    return UpdateConnection(zone, primary)


_TRIES = 2
_REFUSED_MAX = 3
_ELSEWHERE = frozenset({"unreachable", "no-update", "not-primary", "refused"})
"""Results upon which another primary may take the update."""


class Fate(StrEnum):
    """What became of a wanted record."""

    MADE = "made"
    REMOVED = "removed"
    SAME = "same"
    """Another has published the same record; it is not ours."""
    OTHER = "other"
    """There is something else; it was left as it is."""
    VANISHED = "vanished"
    """Ours is not there any more, and nothing else is."""


@dataclass(frozen=True, slots=True)
class WantedRecord:
    """What is wanted of one owner.

    Attributes:
        owner: its name in the zone.
        ours: actions of the record of ours that may be there; the likeliest first.
        action: that is wanted; None: no record.
        ttl: seconds, of the record that is wanted.
        sure: the first of `ours` is there, or nothing if there is none, as far as we know.
        restore: make the record again if ours is not there any more.
    """

    owner: Owner
    ours: tuple[RuleAction, ...]
    action: RuleAction | None
    ttl: int = 0
    sure: bool = True
    restore: bool = True

    @property
    def before(self) -> RuleAction | None:
        """What we believe is there."""
        return self.ours[0] if self.ours else None


@dataclass(frozen=True, slots=True)
class ZoneOutcome:
    """What became of the wanted records.

    Attributes:
        fates: by owner; an owner that is missing was not settled.
        error: why not all of them were settled; None: they were.
    """

    fates: dict[Owner, Fate]
    error: PublishError | None = None


def settle(
    zone: Name,
    primaries: Sequence[Primary],
    wanted: Sequence[WantedRecord],
    *,
    whole: bool = False,
    connecting: Connecting = _connected,
) -> ZoneOutcome:
    """Bring the records of a zone to what is wanted, at the first primary that takes updates.

    Args:
        zone: its name.
        primaries: in the order in which they are asked; one at least.
        wanted: an owner comes once.
        whole: make all of it or, if one owner is another's, nothing; for `EDITS_MAX` at most.
        connecting: gives a connection.
    """

    def work(
        connection: UpdateConnection, part: Sequence[WantedRecord], fates: dict[Owner, Fate]
    ) -> None:
        try:
            _settle(connection, part, fates, whole=whole)
        except PublishError as error:
            if whole or _is_lost(error) or len(part) == 1 or error.result == "unreachable":
                raise
            if error.maybe:
                part = [_sent(each) for each in part]
            try:
                _settle_each(connection, part, fates)
            except PublishError as last:
                last.maybe = last.maybe or error.maybe
                raise

    return _at_first(zone, primaries, wanted, work, connecting)


def verify(
    zone: Name,
    primaries: Sequence[Primary],
    wanted: Sequence[WantedRecord],
    *,
    connecting: Connecting = _connected,
) -> ZoneOutcome:
    """See whether records of ours are there: MADE, VANISHED or OTHER; changes nothing.

    Args:
        zone: its name.
        primaries: in the order in which they are asked; one at least.
        wanted: what is believed to be there.
        connecting: gives a connection.
    """

    def work(
        connection: UpdateConnection, part: Sequence[WantedRecord], fates: dict[Owner, Fate]
    ) -> None:
        there = _look(connection, [replace(each, restore=False) for each in part], fates)
        fates |= {each.owner: Fate.MADE for each in there}

    return _at_first(zone, primaries, wanted, work, connecting)


def _at_first(
    zone: Name,
    primaries: Sequence[Primary],
    wanted: Sequence[WantedRecord],
    work: Work,
    connecting: Connecting,
) -> ZoneOutcome:
    """Do some work at the first primary that takes updates."""
    failures: list[tuple[Primary, PublishError]] = []
    fates: dict[Owner, Fate] = {}
    for primary in primaries:
        try:
            with connecting(zone, primary) as connection:
                for start in range(0, len(wanted), EDITS_MAX):
                    work(connection, wanted[start : start + EDITS_MAX], fates)
            return ZoneOutcome(fates)
        except PublishError as error:
            failures.append((primary, error))
            if _is_lost(error) or fates or error.result not in _ELSEWHERE:
                break
    said = ", and ".join(f"{primary}: {error.sentence}" for primary, error in failures)
    errors = [error for _, error in failures]
    return ZoneOutcome(
        fates,
        PublishError(
            said,
            errors[-1].result,
            maybe=any(error.maybe for error in errors),
            unsigned=any(error.unsigned for error in errors),
        ),
    )


def _is_lost(error: PublishError) -> bool:
    """Return whether the connection is of no more use: no answer came that belongs to it."""
    return error.maybe and not error.unsigned


def _sent(each: WantedRecord) -> WantedRecord:
    """Return a record that the primary may have by now, although it says that it refuses."""
    if each.action is None:
        return replace(each, sure=False)
    return replace(each, ours=tuple(dict.fromkeys((*each.ours, each.action))), sure=False)


def _settle(
    connection: UpdateConnection,
    wanted: Sequence[WantedRecord],
    fates: dict[Owner, Fate],
    *,
    whole: bool,
) -> None:
    """Bring records to what is wanted; write what became of each.

    Raises:
        PublishError: the primary does not take it.
    """
    left = list(wanted)
    if not all(each.sure for each in left):
        left = _look(connection, left, fates)
    for _ in range(_TRIES):
        if whole and Fate.OTHER in fates.values():
            return
        edits = [
            RecordEdit(each.owner, each.before, each.action, each.ttl)
            for each in left
            if each.action is not None or each.ours
        ]
        if not edits or connection.apply(edits):
            for each in left:
                fates[each.owner] = Fate.REMOVED if each.action is None else Fate.MADE
            return
        left = _look(connection, left, fates)
    if left:
        raise PublishError("others change the same records at this moment; try again", "failed")


def _settle_each(
    connection: UpdateConnection, wanted: Sequence[WantedRecord], fates: dict[Owner, Fate]
) -> None:
    """Bring records one by one to what is wanted, where the primary has refused them together.

    So one record that it does not take, for a policy or for its name, does not keep the others.

    Raises:
        PublishError: it does not take one of them, or the first few, as it takes none then.
    """
    refused: list[PublishError] = []
    done = 0
    for each in wanted:
        if each.owner in fates:
            continue
        try:
            _settle(connection, [each], fates, whole=False)
            done += 1
        except PublishError as error:
            refused.append(error)
            if _is_lost(error) or (not done and len(refused) == _REFUSED_MAX):
                break
    if refused:
        refused[-1].maybe = any(error.maybe for error in refused)
        raise refused[-1]


def _look(
    connection: UpdateConnection, wanted: Sequence[WantedRecord], fates: dict[Owner, Fate]
) -> list[WantedRecord]:
    """See what is there; return what is still to be done, and write what became of the rest."""
    as_believed = _holding(connection, [(each.owner, each.before) for each in wanted])
    left = []
    for each in wanted:
        if each.owner in as_believed and (each.ours or each.sure):
            left.append(replace(each, ours=each.ours[:1], sure=True))
            continue
        in_use, found = _found(connection, each.owner)
        if found is not None and found in each.ours:
            left.append(replace(each, ours=(found,), sure=True))
        elif in_use:
            same = found is not None and found is each.action
            fates[each.owner] = Fate.SAME if same else Fate.OTHER
        elif each.action is None or (each.ours and not each.restore):
            fates[each.owner] = Fate.VANISHED
        else:
            left.append(replace(each, ours=(), sure=True))
    return left


def _holding(connection: UpdateConnection, there: Sequence[There]) -> set[Owner]:
    """Return the owners of which it is true that they have this record, or with None nothing."""
    if not there:
        return set()
    if connection.holds(there):
        return {owner for owner, _ in there}
    if len(there) == 1:
        return set()
    half = len(there) // 2
    return _holding(connection, there[:half]) | _holding(connection, there[half:])


def _found(connection: UpdateConnection, owner: Owner) -> tuple[bool, RuleAction | None]:
    """Return whether an owner is in use, and the action of its record if it is one of ours."""
    if connection.holds([(owner, None)]):
        return False, None
    for action in RuleAction:
        if connection.holds([(owner, action)]):
            return True, action
    return True, None
