"""The dynamic claims of the service that are worth a record, and what follows from them.

Those are worth one that last over a minute. A claim counts from when it was made to its end as it
is known now, so that one which is prolonged again and again is published once that is more than a
minute. Only what is in force is published: a claim that waits behind an operator's is not. Owns
these conditions. Called by publisher.py; reading blocks and is done on the state's thread.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from xdpctl.errors import TargetError
from xdpctl.feeds.publish.plans import OPERATOR
from xdpctl.feeds.publish.records import records_of
from xdpctl.process.clock import boot_clock
from xdpctl.rules import target_of
from xdpctl.store.published import MOST, PublishedRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Mapping

    from xdpctl.abi import RuleAction
    from xdpctl.rules import AnyQtype, Name
    from xdpctl.store.published import Key
    from xdpctl.store.state import Note, State

LONG_SECONDS = 60.0
"""What lasts no longer is not published."""

_AGREE_SECONDS = 0.5


class ClaimedRecord(NamedTuple):
    """A record that a dynamic claim is worth; times are in seconds since the epoch."""

    action: RuleAction
    origin: str
    created: float
    ends: float | None


class ClaimedRecords:
    """The claims of the service as records.

    Args:
        state: the state file, open.
        any_qtype: gives how a name without a type is stored just now.
        clock: seconds since the epoch.
        boot: seconds of CLOCK_BOOTTIME.
    """

    def __init__(
        self,
        state: State,
        any_qtype: Callable[[], AnyQtype],
        clock: Callable[[], float] = time.time,
        boot: Callable[[], float] = boot_clock,
    ) -> None:
        self._state = state
        self._any_qtype = any_qtype
        self._clock = clock
        self._boot = boot
        self._texts: dict[tuple[str, bytes], tuple[str, ...]] = {}
        self._zone: Name | None = None

    def read(self, zone: Name) -> dict[str, ClaimedRecord]:
        """Return the records for a zone by their text; no more than can be published, and one.

        Raises:
            StateError: the state cannot be read.
        """
        if zone != self._zone:
            self._zone, self._texts = zone, {}
        since_boot = self._clock() - self._boot()
        found: dict[str, ClaimedRecord] = {}
        texts: dict[tuple[str, bytes], tuple[str, ...]] = {}
        for note in self._state.made_by_itself(MOST + 1):
            ends = None if note.expires is None else note.expires + since_boot
            if ends is not None and ends - note.created <= LONG_SECONDS:
                continue
            place = note.map, note.key
            texts[place] = self._texts.get(place) or self._texts_of(note, zone)
            for text in texts[place]:
                found[text] = ClaimedRecord(note.action, note.origin, note.created, ends)
        self._texts = texts
        return found

    def _texts_of(self, note: Note, zone: Name) -> tuple[str, ...]:
        try:
            return tuple(records_of(target_of(note.map, note.key, self._any_qtype()), zone))
        except TargetError:  # no record can express it
            return ()


class Followed(NamedTuple):
    """What follows from the claims of this moment.

    Attributes:
        changed: records that are new, have another action, or are to be removed.
        prolonged: records whose claim has another end; nothing is to be done for that alone.
        claimed: the keys of the claims.
        skipped: how many records there is no room for.
    """

    changed: list[PublishedRecord]
    prolonged: list[PublishedRecord]
    claimed: Collection[Key]
    skipped: int


def follow(
    claims: Mapping[Key, ClaimedRecord],
    records: Mapping[Key, PublishedRecord],
    elsewhere: Container[Key],
) -> Followed:
    """Return what the records of dynamic claims are to be.

    Args:
        claims: that there are.
        records: of ours; those of operators stay as they are.
        elsewhere: claims that are not published.
    """
    changed = [
        replace(record, leaving=True)
        for key, record in records.items()
        if record.origin != OPERATOR and key not in claims and not record.leaving
    ]
    prolonged: list[PublishedRecord] = []
    room, skipped = MOST - len(records), 0
    for key, claim in claims.items():
        record = records.get(key)
        if key in elsewhere or (record is not None and record.origin == OPERATOR):
            continue
        if record is not None:
            is_other = record.action is not claim.action or record.leaving
            if is_other or _is_other_end(record.ends, claim.ends):
                (changed if is_other else prolonged).append(
                    replace(
                        record,
                        action=claim.action,
                        origin=claim.origin,
                        ends=claim.ends,
                        leaving=False,
                    )
                )
        elif room > 0:
            room -= 1
            changed.append(
                PublishedRecord(
                    zone=key[0],
                    target=key[1],
                    action=claim.action,
                    origin=claim.origin,
                    created=claim.created,
                    ends=claim.ends,
                )
            )
        else:
            skipped += 1
    return Followed(changed, prolonged, claims.keys(), skipped)


def _is_other_end(one: float | None, other: float | None) -> bool:
    """Return whether two ends differ by more than clocks do."""
    if one is None or other is None:
        return one is not other
    return abs(one - other) > _AGREE_SECONDS
