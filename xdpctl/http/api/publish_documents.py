"""The documents about what this host publishes in zones, and how they are made of its values.

Owns these types, as documents.py has the others, and their converter. Does not own the values
(feeds/publish/views.py, store/published.py). Called by service/operations.py and publishing.py.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from xdpctl.http.api.documents import TEXT_MAX
from xdpctl.rules.rules import DURATION_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdpctl.feeds.publish.views import Publication, PublishZoneView
    from xdpctl.store.published import PublishedRecord

TARGETS_MAX = 100
"""Targets of one request, which is one update."""

ZoneText = Annotated[
    str,
    msgspec.Meta(
        max_length=TEXT_MAX,
        description="name of a response policy zone that a [[list]] follows",
        examples=["block.rpz.example"],
    ),
]
TargetText = Annotated[
    str,
    msgspec.Meta(
        max_length=TEXT_MAX,
        description="an address, a prefix, a name, `.evil.example` or `*.evil.example`",
        examples=["192.0.2.1"],
    ),
]


class PublishIn(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be published: all of it or, if one record is another's, nothing.

    `expires_in` is in seconds; null: the records stay until they are removed.
    """

    zone: ZoneText
    targets: Annotated[list[TargetText], msgspec.Meta(min_length=1, max_length=TARGETS_MAX)]
    action: Literal["drop", "truncate", "pass"] = "drop"
    expires_in: Annotated[int, msgspec.Meta(ge=1, le=DURATION_MAX)] | None = None


class PublishedOut(msgspec.Struct):
    """A record of this host.

    `target` is what it means; `.evil.example` is two records. `origin` is cli, or that of the
    dynamic claim that it was published for. `there`: the primary has it as it is here. `expires_in`
    is in seconds.
    """

    zone: str
    target: str
    action: str
    origin: str
    there: bool
    leaving: bool
    created: float
    expires_in: int | None


class PublishZoneOut(msgspec.Struct):
    """A zone that records can be published in.

    `primaries` are where updates go. `records` of this host are there, `waiting` are to be sent or
    removed. `error` says why the last update failed, `next` when it is tried again, in seconds
    since the epoch. `results` counts how updates ended.
    """

    zone: str
    list_name: str = msgspec.field(name="list")
    primaries: list[str]
    records: int
    waiting: int
    error: str
    next: float | None
    results: dict[str, int]


class PublishedList(msgspec.Struct):
    """What this host publishes, and where it can."""

    published: list[PublishedOut]
    zones: list[PublishZoneOut]


class Published(msgspec.Struct):
    """What a request published: records that are new, and those of this host that changed.

    `same` are records that another has published already; they stay its own.
    """

    published: list[str]
    changed: list[str]
    same: list[str]


class Unpublished(msgspec.Struct):
    """How many records were removed, and what was not as expected."""

    removed: int
    warnings: list[str]


def published_list(
    records: Sequence[PublishedRecord], zones: Sequence[PublishZoneView]
) -> PublishedList:
    """Return what is published as a document; of thousands of records, off the loop."""
    now = time.time()
    return PublishedList(
        [
            PublishedOut(
                record.zone,
                record.target,
                record.action.name.lower(),
                record.origin,
                record.there is record.action and record.sent is None,
                record.leaving,
                record.created,
                None if record.ends is None else max(1, math.ceil(record.ends - now)),
            )
            for record in sorted(records, key=lambda each: each.key)
        ],
        [
            PublishZoneOut(
                view.zone,
                view.name,
                [*view.primaries],
                view.records,
                view.waiting,
                view.error,
                view.next,
                {**view.results},
            )
            for view in zones
        ],
    )


def published(publication: Publication) -> Published:
    """Return what a request did as a document."""
    return Published([*publication.made], [*publication.changed], [*publication.same])
