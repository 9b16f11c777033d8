"""One zone that is published in: its primary is asked on a thread, and asked again when it fails.

Owns when a primary may be asked, how updates ended, and the sentence of the last failure. Does not
own which records are wanted (publisher.py) or the updates themselves (changes.py).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdpctl.errors import PublishError
from xdpctl.feeds.publish.plans import wanted
from xdpctl.feeds.publish.primaries import primaries_of
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Any, TypeAlias

    from xdpctl.feeds.publish.changes import Fate, ZoneOutcome
    from xdpctl.rules import Name
    from xdpctl.settings import ZoneListSettings
    from xdpctl.store.published import Key, PublishedRecord

    Runner: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]
    """Runs a blocking function on a thread."""

RETRY_SECONDS, RETRY_MAX_SECONDS = 5.0, 300.0
"""Until a primary that did not take an update is asked again; twice as long each time."""

_DOUBLINGS = 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ZoneFates:
    """What became of records.

    Attributes:
        fates: of each record; None: it is not known.
        error: why it is not known of all of them; None: it is.
    """

    fates: dict[Key, Fate | None]
    error: PublishError | None

    def of(self, records: Sequence[PublishedRecord], *fates: Fate | None) -> list[PublishedRecord]:
        """Return those of the records that had one of these fates."""
        return [record for record in records if self.fates.get(record.key) in fates]


@dataclass(slots=True)
class PublishZone:
    """One zone.

    Attributes:
        name: of the zone.
        settings: None: no list has it any more.
        turn: held while its records are changed.
        failures: in a row.
        due: when its primary may be asked again, in seconds since the epoch.
        error: of the last update; empty: it was taken.
        unsigned_since: since when nothing but refusals without a signature came; None: none came.
        results: how often updates ended in each way.
        unverified: keys of records that are to be looked at.
        look_at: when all are looked at next, in seconds since the epoch; None: not known.
    """

    name: Name
    settings: ZoneListSettings | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    failures: int = 0
    due: float = 0.0
    error: str = ""
    unsigned_since: float | None = None
    results: Counter[str] = field(default_factory=Counter)
    unverified: set[Key] = field(default_factory=set)
    look_at: float | None = None

    @property
    def text(self) -> str:
        """The name as it is in keys."""
        return self.name.to_text()

    async def ask(
        self,
        change: Callable[..., ZoneOutcome],
        records: Sequence[PublishedRecord],
        on_network: Runner,
        clock: Callable[[], float],
        **options: bool,
    ) -> ZoneFates:
        """Bring records to what is wanted of them now, or look at them; count how that ended.

        Args:
            change: `settle` or `verify` of changes.py.
            records: all of this zone.
            on_network: where it runs.
            clock: seconds since the epoch.
            options: of `change`.
        """
        settings, now = self.settings, clock()
        if settings is None:
            return ZoneFates({}, PublishError("no [[list]] has this zone any more", "failed"))
        if not records:
            return ZoneFates({}, None)

        def work() -> ZoneFates:
            wishes = {record.key: wanted(record, now) for record in records}
            try:
                primaries = primaries_of(settings)
            except PublishError as error:
                return ZoneFates({}, error)
            outcome = change(settings.zone, primaries, [*wishes.values()], **options)
            fates = {key: outcome.fates.get(wish.owner) for key, wish in wishes.items()}
            return ZoneFates(fates, outcome.error)

        asked: ZoneFates = await on_network(work)
        if asked.error is not None:
            self.failed(asked.error, clock())
        else:
            self.results["done"] += 1
            self.failures, self.error, self.due = 0, "", 0.0
            self.unsigned_since = None
        return asked

    def failed(self, error: PublishError, now: float) -> None:
        """Count a failure, and let the next try wait."""
        self.results[error.result] += 1
        if error.unsigned and self.unsigned_since is None:
            self.unsigned_since = now
        wait = min(RETRY_MAX_SECONDS, RETRY_SECONDS * 2.0 ** min(self.failures, _DOUBLINGS))
        self.failures += 1
        self.due = now + wait * random.uniform(0.9, 1.1)  # noqa: S311 - not a secret
        if self.error != error.sentence:
            event(_log, "publish-failed", logging.WARNING, zone=self.text, error=error.sentence)
        self.error = error.sentence
