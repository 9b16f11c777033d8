"""The account of what happened: a log line and a row of history for each change.

Who asked, what was done, to which rule, how many, and how often what was removed had been hit.
A request of up to `EACH` rules is a line and a row for each; more are one with counts, so that a
list of a million is one. Never makes the change itself fail: where the state cannot be written,
the log says so. Owns the lines and which changes have one. Does not own the table
(store/history.py). Everything blocks; called by operations.py on the threads that changed
something.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from xdpctl.errors import KernelError, TargetError, XdpctlError
from xdpctl.process.caller import NOBODY
from xdpctl.process.log import event
from xdpctl.rules import (
    ACTIONS,
    DNSDIST_ORIGIN,
    format_duration,
    qtype_of,
    qtype_text,
    target_of,
    target_text,
)
from xdpctl.store.history import UNDER_WAY, HistoryRow
from xdpctl.store.tally import EACH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from xdpctl.abi import RuleAction
    from xdpctl.process.caller import Caller
    from xdpctl.rules import AnyQtype, Rule, Target
    from xdpctl.store.bulk import BulkResult
    from xdpctl.store.change import Change
    from xdpctl.store.history import History
    from xdpctl.store.published import PublishedRecord
    from xdpctl.store.state import Note
    from xdpctl.store.tally import Tally
    from xdpctl.store.theirs import Lifted

_EVENTS = {
    "block": "rule-blocked",
    "allow": "rule-allowed",
    "unblock": "rule-removed",
    "expire": "rule-expired",
    "import": "rules-imported",
    "replace": "rules-replaced",
    "list": "rules-of-list",
    "flush": "rules-flushed",
    "resize": "map-resized",
    "panic": "panic",
    "resume": "resumed",
    "detach": "detached",
    "attach": "attached-again",
    "prove": "source-proven",
    "unprove": "source-unproven",
    "limit-acts": "limit-acts",
    "limit-ended": "limit-ended",
    "zone-limited": "zone-limited",
    "zone-free": "zone-free",
    "transfer": "zone-names",
    "publish": "record-published",
    "unpublish": "record-unpublished",
}
"""The name of each verb's log line."""

_SWITCHES = frozenset({"panic", "resume", "detach", "attach"})
_GRAVE = frozenset({"panic", "detach", "limit-acts", "zone-limited"})

_WHO_IS_LIMITED = "`xdpctl limits` names who is limited most"
"""In the line of the log: samples, which have the addresses, are only taken while somebody asks."""
_WORDS = {action: name for name, action in ACTIONS.items()}

_log = logging.getLogger(__name__)


class Account:
    """Writes down what happened.

    Args:
        history: the rows.
        any_qtype: gives how a name without a type is written just now.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        history: History,
        any_qtype: Callable[[], AnyQtype],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._history = history
        self._any_qtype = any_qtype
        self._clock = clock
        self._unwritten = False
        self._under_way: int | None = None

    def made(self, who: Caller, rules: Sequence[Rule]) -> None:
        """Note rules that were made or changed by one request."""
        if len(rules) <= EACH:
            self._note(who, [self._of_rule(who, rule) for rule in rules])
            return
        verbs: dict[tuple[str, str], int] = {}
        for rule in rules:
            key = _verb_of(rule.action), rule.origin
            verbs[key] = verbs.get(key, 0) + 1
        now = self._clock()
        self._note(
            who,
            [
                HistoryRow(time=now, who=who, verb=verb, origin=origin, count=count)
                for (verb, origin), count in verbs.items()
            ],
        )

    def many_made(self, who: Caller, verb: str, origin: str, count: int) -> None:
        """Note so many rules that were made, as one."""
        self._note(
            who,
            [HistoryRow(time=self._clock(), who=who, verb=verb, origin=origin, count=count)],
        )

    def removed(self, who: Caller, verb: str, tally: Tally) -> None:
        """Note rules that were removed one by one, or that expired."""
        now = self._clock()
        if tally.is_short:
            records = [self._of_note(now, who, verb, note, hits) for note, hits in tally.first]
        else:
            records = [
                HistoryRow(
                    time=now,
                    who=who,
                    verb=verb,
                    origin=origin,
                    count=count,
                    hits=tally.hits[origin],
                )
                for origin, count in tally.rules.items()
            ]
        self._note(who, records)

    def lifted(self, who: Caller, verb: str, entries: Sequence[Lifted]) -> None:
        """Note entries of dnsdist's that were removed; each has had its line in the log."""
        now, known = self._clock(), who.with_command()
        self._keep(
            [
                HistoryRow(
                    time=now,
                    who=known,
                    verb=verb,
                    target=entry.target,
                    action=_WORDS[entry.action],
                    origin=DNSDIST_ORIGIN,
                    hits=entry.hits,
                )
                for entry in entries
            ]
        )

    def flushed(
        self, who: Caller, map_name: str | None, origin: str | None, count: int, tally: Tally
    ) -> None:
        """Note a flush: one row, with the hits where all that was removed was counted."""
        hits = tally.hits.total() if tally.rules.total() == count else None
        detail = None if map_name is None else f"map {map_name}"
        self._end(self._of_many(who, "flush", origin, count, hits=hits, detail=detail))

    def merged(self, who: Caller, change: Change, result: BulkResult) -> None:
        """Note a change of many rules, if it changed anything."""
        if count := _changes(result):
            verb, hits = self.verb_of(who, change), _hits_of(result)
            self._end(
                self._of_many(who, verb, change.origin, count, hits=hits, detail=_parts(result))
            )

    # --- changes of many rules, while they are made ----------------------------------

    def merging(self, who: Caller, change: Change, so_far: BulkResult) -> None:
        """Note what a change of many rules has done so far; one at a time.

        Its row says so until it is done or breaks off, and so does what is left when the service
        is killed.
        """
        if count := _changes(so_far):
            detail = f"{UNDER_WAY}: {_parts(so_far)}"
            verb, hits = self.verb_of(who, change), _hits_of(so_far)
            self._go_on(self._of_many(who, verb, change.origin, count, hits=hits, detail=detail))

    def merging_broke_off(
        self, who: Caller, change: Change, so_far: BulkResult, error: XdpctlError
    ) -> None:
        """Note what a change of many rules had done before it ended in an error."""
        if count := _changes(so_far):
            detail = f"broke off: {_why(error)}; {_parts(so_far)}"
            verb, hits = self.verb_of(who, change), _hits_of(so_far)
            self._end(self._of_many(who, verb, change.origin, count, hits=hits, detail=detail))

    def flushing(self, who: Caller, origin: str | None, so_far: int) -> None:
        """Note what a flush has removed so far, likewise."""
        if so_far:
            self._go_on(self._of_many(who, "flush", origin, so_far, hits=None, detail=UNDER_WAY))

    def flushing_broke_off(
        self, who: Caller, origin: str | None, so_far: int, tally: Tally, error: XdpctlError
    ) -> None:
        """Note what a flush had removed before it ended in an error."""
        if so_far:
            hits = tally.hits.total() if tally.rules.total() == so_far else None
            detail = f"broke off: {_why(error)}"
            self._end(self._of_many(who, "flush", origin, so_far, hits=hits, detail=detail))

    def _of_many(  # noqa: PLR0913 - the columns
        self,
        who: Caller,
        verb: str,
        origin: str | None,
        count: int,
        *,
        hits: int | None,
        detail: str | None,
    ) -> HistoryRow:
        return HistoryRow(
            time=self._clock(),
            who=who.with_command(),
            verb=verb,
            origin=origin,
            count=count,
            hits=hits,
            detail=detail,
        )

    def _go_on(self, record: HistoryRow) -> None:
        """Write the row of a change that is being made."""

        def write() -> None:
            if self._under_way is None:
                self._under_way = self._history.begin(record)
            else:
                self._history.amend(self._under_way, record)

        self._written(write)

    def _end(self, record: HistoryRow) -> None:
        """Log and write the row of a change that is done, or broke off."""
        _log_row(record)
        number, self._under_way = self._under_way, None
        if number is None:
            self._keep([record])
        else:
            self._written(lambda: self._history.amend(number, record))

    def resized(self, who: Caller, map_name: str, before: int, entries: int, kept: int) -> None:
        """Note that a shared map has another capacity; how many entries were kept."""
        detail = f"{map_name} from {before} to {entries} entries"
        self._note(
            who,
            [HistoryRow(time=self._clock(), who=who, verb="resize", count=kept, detail=detail)],
        )

    @staticmethod
    def verb_of(who: Caller, change: Change) -> str:
        """Return what a change of many rules is called."""
        if who.uid is None and who.token is None and who.address is None:
            return "list"
        if change.strict:
            return "block"
        return "replace" if change.replace else "import"

    def broke_off(self, who: Caller, verb: str, origin: str | None, error: KernelError) -> None:
        """Note a request that ended in an error, if a part of it was made before."""
        if error.done:
            detail = f"broke off: {_why(error)}"
            now = self._clock()
            self._note(
                who,
                [
                    HistoryRow(
                        time=now, who=who, verb=verb, origin=origin, count=error.done, detail=detail
                    )
                ],
            )

    def switched(self, who: Caller, verb: str, interfaces: Sequence[str] = ()) -> None:
        """Note a panic, a resume, a detach or an attach."""
        self._note(
            who,
            [
                HistoryRow(
                    time=self._clock(),
                    who=who,
                    verb=verb,
                    count=len(interfaces) or 1,
                    detail=", ".join(interfaces) or None,
                )
            ],
        )

    def proved(self, who: Caller, verb: str, addresses: Sequence[str]) -> None:
        """Note sources that count as proven from now on, or no longer."""
        now = self._clock()
        self._note(
            who,
            [HistoryRow(time=now, who=who, verb=verb, target=address) for address in addresses],
        )

    def limited(self, verb: str, detail: str, packets: int, *, kept: bool) -> None:
        """Note that a limit began to act, or has ended; in the history only if `kept`."""
        record = HistoryRow(time=self._clock(), verb=verb, count=packets, detail=detail)
        if kept:
            self._note(NOBODY, [record])
        else:
            _log_row(record)

    def transferred(self, zone: str, detail: str, count: int) -> None:
        """Note that the names of an own zone are another version's; how many are new or gone."""
        self._note(
            NOBODY,
            [
                HistoryRow(
                    time=self._clock(), verb="transfer", target=zone, count=count, detail=detail
                )
            ],
        )

    def published(
        self, who: Caller, verb: str, records: Sequence[PublishedRecord], detail: str
    ) -> None:
        """Note records that this host has published in a zone (publish), or no longer does."""
        now = self._clock()
        if len(records) <= EACH:
            rows = [
                HistoryRow(
                    time=now,
                    who=who,
                    verb=verb,
                    target=record.target,
                    action=_WORDS[record.action],
                    origin=record.origin,
                    detail=detail,
                )
                for record in records
            ]
        else:
            rows = [HistoryRow(time=now, who=who, verb=verb, count=len(records), detail=detail)]
        self._note(who, rows)

    def last(self, *, target: str | None, since: float | None, limit: int) -> list[HistoryRow]:
        """Return the last changes, the oldest first; raises as `History.last`."""
        return self._history.last(target=target, since=since, limit=limit)

    def newest(self) -> int:
        """Return the number of the last change; raises as `History.newest`."""
        return self._history.newest()

    def after(self, number: int, also: Iterable[int], limit: int) -> dict[int, HistoryRow]:
        """Return the changes behind a number by their numbers; raises as `History.after`."""
        return self._history.after(number, also, limit)

    # --- rows -----------------------------------------------------------------------

    def _of_rule(self, who: Caller, rule: Rule) -> HistoryRow:
        detail = None if rule.expires_in is None else f"for {format_duration(rule.expires_in)}"
        return HistoryRow(
            time=self._clock(),
            who=who,
            verb=_verb_of(rule.action),
            target=target_text(rule.target),
            qtype=_type_of(rule.target),
            action=_WORDS[rule.action],
            origin=rule.origin,
            reason=rule.reason or None,
            detail=detail,
        )

    def _of_note(self, now: float, who: Caller, verb: str, note: Note, hits: int) -> HistoryRow:
        try:
            target = target_of(note.map, note.key, self._any_qtype())
        except TargetError as error:
            text, qtype = error.text, None
        else:
            text, qtype = target_text(target), _type_of(target)
        return HistoryRow(
            time=now,
            who=who,
            verb=verb,
            target=text,
            qtype=qtype,
            action=_WORDS[note.action],
            origin=note.origin,
            hits=hits,
            reason=note.reason or None,
        )

    def _note(self, who: Caller, records: Sequence[HistoryRow]) -> None:
        """Log the records and store them."""
        if not records:
            return
        known = who.with_command()
        records = [replace(record, who=known) for record in records]
        for record in records:
            _log_row(record)
        self._keep(records)

    def _keep(self, records: Sequence[HistoryRow]) -> None:
        self._written(lambda: self._history.add(records))

    def _written(self, write: Callable[[], None]) -> None:
        """Write to the history; where that fails, the log says so once."""
        try:
            write()
        except XdpctlError as error:
            if not self._unwritten:
                event(_log, "history-unwritten", logging.WARNING, error=error.sentence)
            self._unwritten = True
            return
        self._unwritten = False


def _changes(result: BulkResult) -> int:
    return result.created + result.updated + result.removed


def _parts(result: BulkResult) -> str:
    parts = (("made", result.created), ("changed", result.updated), ("removed", result.removed))
    return ", ".join(f"{number} {word}" for word, number in parts if number)


def _hits_of(result: BulkResult) -> int | None:
    return result.removed_hits if result.removed else None


def _why(error: XdpctlError) -> str:
    """Return in a few words why a change broke off."""
    return error.symbol if isinstance(error, KernelError) else error.sentence.partition(":")[0]


def _has_count(record: HistoryRow) -> bool:
    if record.verb == "transfer":
        return True
    return record.target is None and record.verb not in _SWITCHES


def _log_row(record: HistoryRow) -> None:
    level = logging.WARNING if record.verb in _GRAVE else logging.INFO
    event(
        _log,
        _EVENTS[record.verb],
        level,
        target=record.target,
        qtype=record.qtype,
        action=record.action,
        origin=record.origin,
        count=record.count if _has_count(record) else None,
        hits=record.hits,
        reason=record.reason,
        detail=record.detail,
        see=_WHO_IS_LIMITED if record.verb == "limit-acts" else None,
        **who_fields(record.who),
    )


def who_fields(who: Caller) -> dict[str, object]:
    """Return who asked, as fields of a log line; of the service itself, `by=service`."""
    found: dict[str, object] = {
        "uid": who.uid,
        "pid": who.pid,
        "command": who.command,
        "by_token": who.token,  # a field `token` is hidden
        "address": who.address,
    }
    return found if any(value is not None for value in found.values()) else {"by": "service"}


def _verb_of(action: RuleAction) -> str:
    return "allow" if _WORDS[action] == "pass" else "block"


def _type_of(target: Target) -> str | None:
    number = qtype_of(target)
    return None if number is None else qtype_text(number)
