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

from xdpctl.errors import TargetError, XdpctlError
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
from xdpctl.store.history import HistoryRow
from xdpctl.store.tally import EACH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xdpctl.abi import RuleAction
    from xdpctl.errors import KernelError
    from xdpctl.process.caller import Caller
    from xdpctl.rules import AnyQtype, Rule, Target
    from xdpctl.store.bulk import BulkResult
    from xdpctl.store.change import Change
    from xdpctl.store.history import History
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
    "panic": "panic",
    "resume": "resumed",
    "detach": "detached",
    "attach": "attached-again",
    "prove": "source-proven",
    "unprove": "source-unproven",
    "limit-acts": "limit-acts",
    "limit-ended": "limit-ended",
}
"""The name of each verb's log line."""

_SWITCHES = frozenset({"panic", "resume", "detach", "attach"})
_GRAVE = frozenset({"panic", "detach", "limit-acts"})
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
        self._note(
            who,
            [
                HistoryRow(
                    time=self._clock(),
                    who=who,
                    verb="flush",
                    origin=origin,
                    count=count,
                    hits=hits,
                    detail=detail,
                )
            ],
        )

    def merged(self, who: Caller, change: Change, result: BulkResult) -> None:
        """Note a change of many rules, if it changed anything."""
        parts = (("made", result.created), ("changed", result.updated), ("removed", result.removed))
        count = sum(number for _, number in parts)
        if not count:
            return
        record = HistoryRow(
            time=self._clock(),
            who=who,
            verb=self.verb_of(who, change),
            origin=change.origin,
            count=count,
            hits=result.removed_hits if result.removed else None,
            detail=", ".join(f"{number} {word}" for word, number in parts if number),
        )
        self._note(who, [record])

    @staticmethod
    def verb_of(who: Caller, change: Change) -> str:
        """Return what a change of many rules is called."""
        if who.uid is None and who.token is None and who.address is None:
            return "list"
        if change.strict:
            return "block"
        return "replace" if change.replace else "import"

    def broke_off(self, who: Caller, verb: str, origin: str | None, error: KernelError) -> None:
        """Note a change that ended in an error, if a part of it was made before."""
        if error.done:
            detail = f"broke off: {error.symbol}"
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

    def last(self, *, target: str | None, since: float | None, limit: int) -> list[HistoryRow]:
        """Return the last changes, the oldest first; raises as `History.last`."""
        return self._history.last(target=target, since=since, limit=limit)

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
        try:
            self._history.add(records)
        except XdpctlError as error:
            if not self._unwritten:
                event(_log, "history-unwritten", logging.WARNING, error=error.sentence)
            self._unwritten = True
            return
        self._unwritten = False


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
        count=record.count if record.target is None and record.verb not in _SWITCHES else None,
        hits=record.hits,
        reason=record.reason,
        detail=record.detail,
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
