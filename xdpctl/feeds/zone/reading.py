"""Reads one version of a zone as rules: all of it, or what its last changes concern.

Owns which rules changes concern: those of the owners that changed, and those that they imply for
names inside wildcards, also where a wildcard itself came or went. Such a part is read in both
versions, so that the store replaces what there was by what there is (`among`). Does not own the
meaning of a record (rows.py) or the file (records.py). Everything blocks; it runs on the thread for
bulk work or in another process (store/worker/). Made by feeds/zone_lists.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdpctl.abi import RuleAction, ZoneScope
from xdpctl.errors import EmptyListError, ListError, StateError
from xdpctl.feeds.formats.account import LeftOut
from xdpctl.feeds.formats.policies import CLIENT_IP, OTHER_TRIGGERS, is_in_force
from xdpctl.feeds.zone.records import ZoneRecords
from xdpctl.feeds.zone.rows import WILDCARD, RecordRows, labels_of
from xdpctl.rules.keys import NAMED, Block, name_in
from xdpctl.rules.lines import in_blocks
from xdpctl.rules.reach import reach_of, refuse_wide
from xdpctl.store.source import RuleSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path

    from xdpctl.rules import AnyQtype
    from xdpctl.rules.keys import Row, Rows
    from xdpctl.rules.reach import Reach
    from xdpctl.settings import ZoneListSettings

PART = 4_000
"""Records of one part."""

CONCERNED_MAX = 20_000
"""Names that changes may concern; with more, the whole zone is read."""

RECORD_OCTETS = 60
"""Octets of the file for a record, about."""

_NO_NAMES = frozenset({CLIENT_IP, *OTHER_TRIGGERS})


class BrokenZoneError(ListError):
    """The file of a zone cannot be read."""


@dataclass(slots=True)
class ZoneFound:
    """What a reading found.

    Attributes:
        left_out: the account of the version, or of the part that was read.
        before: of the same part of the former version; None: the whole version was read.
        rules, rules_before: rules of the part in both versions, with those that have ended.
        ended: of the whole version, records whose time is over.
        exempt, exempt_before: clients to exempt, likewise.
    """

    left_out: LeftOut = field(default_factory=LeftOut)
    before: LeftOut | None = None
    rules: int = 0
    rules_before: int = 0
    ended: int = 0
    exempt: frozenset[IPv4Network | IPv6Network] = frozenset()
    exempt_before: frozenset[IPv4Network | IPv6Network] = frozenset()


class ZoneReading(RuleSource):
    """One reading of a version of a zone. It can be used only once.

    Args:
        path: of the file.
        settings: the list's.
        any_qtype: how a rule for a name with every type is stored.
        ahead, present: as of `RecordRows`.
        offered: read the version that is offered; else the last good one.
        touched: how many owners changes concern, if the rules of the version before are in force;
            None: everything is read.
        may_be_empty: whether a version may have no rule and exempt nobody.
        exempt_max: how much the clients that it exempts may cover; None: any.

    Attributes:
        found: complete after the reading.
    """

    found: ZoneFound

    def __init__(  # noqa: PLR0913 - what a reading depends on
        self,
        path: Path,
        settings: ZoneListSettings,
        any_qtype: AnyQtype,
        *,
        ahead: float,
        present: float,
        offered: bool = True,
        touched: int | None = None,
        may_be_empty: bool = True,
        exempt_max: Reach | None = None,
    ) -> None:
        self._path = path
        self._settings = settings
        self._any_qtype = any_qtype
        self._ahead = ahead
        self._present = present
        self._offered = offered
        self._touched = touched
        self._may_be_empty = may_be_empty
        self._exempt_max = exempt_max
        self._position = 0
        self.is_partial = touched is not None
        self.found = ZoneFound()

    @property
    def size(self) -> int:
        """Bytes of the file, as far as they are read."""
        if self._touched is not None:
            return RECORD_OCTETS * self._touched
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    @property
    def position(self) -> int:
        """Bytes read so far, about."""
        return self._position

    @property
    def descriptors(self) -> tuple[int, ...]:
        """None: the file is opened when it is read."""
        return ()

    def __iter__(self) -> Iterator[Iterator[Rows]]:
        """Yield the rows in parts. Use up each part before the next one.

        Raises:
            BrokenZoneError: the file cannot be read.
            EmptyListError, ListError: the zone cannot be used.
        """
        try:
            with ZoneRecords(self._path, offered=self._offered) as records:
                part = self._changed(records) if self._touched is not None else None
                if part is None:
                    yield from self._whole(records)
                else:
                    yield in_blocks(iter(part))
        except StateError as error:
            raise BrokenZoneError(error.sentence) from error

    def _rows(self) -> RecordRows:
        return RecordRows(self._settings, self._any_qtype, ahead=self._ahead, present=self._present)

    def _whole(self, records: ZoneRecords) -> Iterator[Iterator[Rows]]:
        rows = self._rows()
        self.found.left_out = rows.left_out
        hidden = rows.of_wildcards(records.wildcards())
        done, size = 0, self.size
        for part in records.batches(PART):
            yield self._counted(rows.blocks(part, hidden))
            done += len(part)
            self._position = size * done // max(records.count, done)
        yield in_blocks(rows.passes(hidden.passes()))
        self.found.exempt = frozenset(rows.exempt)
        if self._exempt_max is not None:
            clients = reach_of(rows.exempt)
            refuse_wide("the clients that it exempts cover", clients, self._exempt_max)
        self.found.ended = rows.ended
        if not (self._may_be_empty or self.found.rules or self.found.exempt):
            raise EmptyListError("it has no rule")

    def _counted(self, items: Iterator[Rows]) -> Iterator[Rows]:
        for item in items:
            self.found.rules += len(item.keys) if isinstance(item, Block) else 1
            yield item

    def _changed(self, records: ZoneRecords) -> list[Row] | None:
        """Return the rows that changes concern, as they are now; None: these are too many."""
        rows, before = self._rows(), self._rows()
        touched = list(records.touched())
        now = _Part(records, rows).of(touched)
        if now is None:
            return None
        with ZoneRecords(self._path, offered=False) as former:
            then = _Part(former, before).of(touched)
        if then is None or not rows.exempt <= before.exempt:
            return None  # how much is exempt is known of a whole version
        self.among = list({row[:2] for row in (*then, *now)})
        self.found = ZoneFound(
            left_out=rows.left_out,
            before=before.left_out,
            rules=len({row[:2] for row in now}) + rows.ended,
            rules_before=len({row[:2] for row in then}) + before.ended,
            exempt=frozenset(rows.exempt),
            exempt_before=frozenset(before.exempt),
        )
        return now


class _Part:
    """The rules of one version that some owners concern.

    Args:
        records: of the version.
        rows: makes its rows.
    """

    def __init__(self, records: ZoneRecords, rows: RecordRows) -> None:
        self._records = records
        self._rows = rows
        self._wildcards: dict[bytes, bool | None] = {}

    def of(self, touched: Sequence[bytes]) -> list[Row] | None:
        """Return the rows of these owners, and those that names they concern imply.

        None: there are too many such names.
        """
        found: list[Row] = []
        names: set[bytes] = set()
        for key in touched:
            found += self._rows.of_all(self._records.of(key))
            labels = labels_of(key)
            if not labels or labels[0][1:] in _NO_NAMES:
                continue
            below = labels[-1] == WILDCARD
            if below:
                del labels[-1]
            names.update(_with_those_above(labels))
            if below and not self._add_below(b"".join(labels), names):
                return None
            if len(names) > CONCERNED_MAX:
                return None
        found += self._rows.passes(self._passes(names))
        return found

    def _add_below(self, key: bytes, names: set[bytes]) -> bool:
        """Add all names below a wildcard's; False: there are too many."""
        for record in self._records.below(key):
            labels = labels_of(record.key)
            if not key and labels[0][1:] in _NO_NAMES:
                continue
            if labels[-1] == WILDCARD:
                del labels[-1]
            names.update(_with_those_above(labels))
            if len(names) > CONCERNED_MAX:
                return False
        return True

    def _passes(self, names: set[bytes]) -> Iterator[tuple[bytes, ZoneScope]]:
        """Yield what HiddenNames does, for these names only."""
        for key in sorted(names):
            labels = labels_of(key)
            above = [b"".join(labels[:count]) for count in range(len(labels))]
            if not any(map(self._stops, above)) or not self._exists(key):
                continue
            octets = b"".join(reversed(labels))
            if self._stops(key) is None:
                yield octets, ZoneScope.BELOW
            if self._stops(above[-1]) and not self._has_rule(key):
                yield octets, ZoneScope.SELF

    def _stops(self, key: bytes) -> bool | None:
        """Return whether the wildcard below a name stops queries; None: there is none in force."""
        if key not in self._wildcards:
            stops = None
            for row in self._quietly(key + WILDCARD):
                octets, scope = name_in(row[0], row[1])
                if scope is ZoneScope.BELOW and is_in_force(octets, row[2]):
                    stops = row[2] != RuleAction.PASS
            self._wildcards[key] = stops
        return self._wildcards[key]

    def _has_rule(self, key: bytes) -> bool:
        return any(name_in(row[0], row[1])[1] is ZoneScope.SELF for row in self._quietly(key))

    def _quietly(self, key: bytes) -> list[Row]:
        """Return the rows of an owner's names, without an account of them."""
        return [row for row in self._rows.without_account(self._records.of(key)) if row[0] in NAMED]

    def _exists(self, key: bytes) -> bool:
        """Return whether there is a record of a name, or below it."""
        return self._records.has(key)


def _with_those_above(labels: Sequence[bytes]) -> list[bytes]:
    """Return the key of a name, and of those above it within the zone."""
    return [b"".join(labels[: count + 1]) for count in range(len(labels))]
