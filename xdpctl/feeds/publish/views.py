"""What is shown of publishing, as values and sentences.

Owns these types and the words. Does not own documents (http/api/publish_documents.py). Made by
publisher.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl.rules import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xdpctl.store.published import PublishedRecord

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Publication:
    """What one request to publish did, by the texts of records.

    Attributes:
        made: records that are new.
        changed: records of ours that were there; they have another action or end now.
        same: records that another has published already in the same way; they stay its own.
    """

    made: tuple[str, ...]
    changed: tuple[str, ...]
    same: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PublishZoneView:
    """A zone that records can be published in.

    Attributes:
        zone, name: the zone, and the name of its list.
        primaries: where updates go, as text.
        records: of ours, that the primary has.
        waiting: of ours, that are still to be sent or removed.
        error: why the last update failed; empty: it did not.
        next: when it is tried again, in seconds since the epoch; None: it need not be.
        results: how often updates ended in each way.
    """

    zone: str
    name: str
    primaries: tuple[str, ...]
    records: int
    waiting: int
    error: str
    next: float | None
    results: Mapping[str, int]


def warning_of(view: PublishZoneView) -> str:
    """Return a sentence about a zone whose records are not as they should be; empty: they are."""
    if not view.primaries:
        return (
            f"{records_text(view.records)} of this host in {view.zone} cannot be removed: no"
            " [[list]] has this zone any more; add it again, or remove them at its primary"
        )
    if view.next is None:
        return ""
    return (
        f"cannot update {view.zone}: {view.error}; {records_text(view.waiting)} to be sent or"
        " removed, which is tried again within five minutes (`xdpctl publish --list`)"
    )


def records_text(number: int) -> str:
    """Return a number of records in words."""
    return f"{number:,} record" if number == 1 else f"{number:,} records"


def few(records: Sequence[PublishedRecord]) -> str:
    """Return the targets of some records; of many, how many more there are."""
    return few_texts([record.target for record in records])


def few_texts(texts: Sequence[str]) -> str:
    """Return some texts, likewise."""
    more = len(texts) - _NAMED
    return ", ".join(texts[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def lasting(records: Sequence[PublishedRecord], now: float) -> str:
    """Return for how long records were published, if it is the same for all; else nothing."""
    ends = {record.ends for record in records}
    end = ends.pop() if len(ends) == 1 else None
    return "" if end is None else f", for {format_duration(max(1, round(end - now)))}"
