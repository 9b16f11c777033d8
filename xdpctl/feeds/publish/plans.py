"""What is to be done about one record of ours: nothing, make it, prolong it, remove it.

Owns these decisions, which depend on the record and the time alone, and the TTL that a record
gets. Does no I/O. Called by publisher.py.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from xdpctl.feeds.formats.policy_zone import TTL_MAX
from xdpctl.feeds.publish.changes import WantedRecord
from xdpctl.feeds.publish.records import owner_of
from xdpctl.rules import Name

if TYPE_CHECKING:
    from xdpctl.abi import RuleAction
    from xdpctl.store.published import PublishedRecord

OPERATOR = "cli"
"""The origin of what an operator publishes; all others are of dynamic claims."""

LEAST_SECONDS = 300.0
"""Least TTL of a dynamic claim's record: so seldom is it updated while the claim is prolonged."""

AHEAD_SECONDS = 120.0
"""So long before its TTL would end, the record of a claim that lasts longer is updated."""

_AGREES_SECONDS = 1.0


def is_ending(record: PublishedRecord, now: float) -> bool:
    """Return whether a record is to be removed."""
    return record.leaving or (record.ends is not None and record.ends <= now)


def is_wrong(record: PublishedRecord, now: float) -> bool:
    """Return whether anything is to be done about a record."""
    return (
        is_ending(record, now)
        or record.sent is not None
        or record.there is not record.action
        or _runs_out(record, now)
    )


def wanted(record: PublishedRecord, now: float) -> WantedRecord:
    """Return what the primary is to have."""
    action = None if is_ending(record, now) else record.action
    owner = owner_of(record.target, Name.from_text(record.zone))
    return WantedRecord(owner, ours(record), action, ttl_of(record, now), sure=record.sent is None)


def ours(record: PublishedRecord) -> tuple[RuleAction, ...]:
    """Return the actions of the record of ours that may be there."""
    found = (record.there, record.sent)
    return tuple(dict.fromkeys(action for action in found if action is not None))


def on_its_way(record: PublishedRecord, before: PublishedRecord | None) -> PublishedRecord:
    """Return what is remembered while a record is sent: if no answer comes, it is taken back."""
    if before is None:
        return replace(record, sent=record.action, leaving=True)
    return replace(before, sent=record.action)


def made(record: PublishedRecord, now: float) -> PublishedRecord:
    """Return a record that the primary has accepted."""
    ends = None if record.ends is None else now + ttl_of(record, now)
    return replace(record, there=record.action, there_ends=ends, sent=None, leaving=False)


def ttl_of(record: PublishedRecord, now: float) -> int:
    """Return the TTL of a record: the time that is left."""
    if record.ends is None:
        return TTL_MAX
    left = record.ends - now
    least = 1.0 if record.origin == OPERATOR else LEAST_SECONDS
    return min(TTL_MAX, math.ceil(max(left, least)))


def next_at(record: PublishedRecord) -> float | None:
    """Return when something is to be done about a record that is as it should be."""
    times = [] if record.ends is None else [record.ends]
    if _is_short(record) and record.there_ends is not None:
        times.append(record.there_ends - AHEAD_SECONDS)
    return min(times, default=None)


def _runs_out(record: PublishedRecord, now: float) -> bool:
    ends = record.there_ends
    return ends is not None and _is_short(record) and ends - now <= AHEAD_SECONDS


def _is_short(record: PublishedRecord) -> bool:
    """Return whether the TTL at the primary says less than the record lasts."""
    if record.there_ends is None:
        return False
    return record.ends is None or record.ends > record.there_ends + _AGREES_SECONDS
