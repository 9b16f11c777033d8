"""Makes the API's answers of the service's values.

Owns how entries, results and snapshots look as documents; the documents' fields are
documents.py's. Documents of many rules are made on the thread that read the rules, not on the
loop. Called by service/operations.py and uploads.py. Does not own the values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import msgspec

from xdpctl import abi
from xdpctl.abi import Book, MapName, Reason, RuleAction
from xdpctl.errors import TargetError
from xdpctl.feeds.dnsdist.blocks import TAKEN
from xdpctl.feeds.formats.account import denials, implied_passes
from xdpctl.filter.view import FilterState
from xdpctl.http.api.documents import (
    ChangeOut,
    ClaimOut,
    Counter,
    Destination,
    DnsdistOut,
    Imported,
    InterfaceOut,
    Left,
    ListOut,
    Made,
    MapOut,
    Merged,
    PacketOut,
    Put,
    Removed,
    RuleOut,
    Status,
    Tested,
    TopRule,
    Who,
)
from xdpctl.limits.acting import LIMIT_REASONS
from xdpctl.process.clock import boot_clock
from xdpctl.rules import (
    DNSDIST_ORIGIN,
    AnyQtype,
    Question,
    Zone,
    book_of,
    qtype_of,
    qtype_text,
    target_of,
    target_text,
)
from xdpctl.rules.keys import NAMED, REFS, plain_text, stored_key
from xdpctl.rules.rules import ClaimClass, class_of
from xdpctl.store.state import Note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdpctl.feeds.dnsdist.views import BridgeView
    from xdpctl.feeds.formats.account import LeftOut
    from xdpctl.feeds.versions import ListView
    from xdpctl.filter.dry_run import Decision
    from xdpctl.filter.view import FilterView
    from xdpctl.program.datagram import Datagram
    from xdpctl.rules import Target
    from xdpctl.status.snapshot import Snapshot
    from xdpctl.store.bulk import BulkResult
    from xdpctl.store.entries import Entry
    from xdpctl.store.history import HistoryRow
    from xdpctl.store.standing import Standing
    from xdpctl.store.store import PutResult, RemoveResult
    from xdpctl.store.top import TopEntry

_R = TypeVar("_R", bound=RuleOut)


_WORDS = {action: action.name.lower() for action in RuleAction}
_NAMES = {name: name.value for name in MapName}
_CLASSES = {each: each.label for each in ClaimClass}
"""What a property of an enum would give, by the thousand."""


def rule_out(standing: Standing, any_qtype: AnyQtype) -> RuleOut:
    """Return an entry as it is listed; one whose key is nonsense shows its bytes."""
    return _rule(RuleOut, standing, any_qtype)


def top_rule(found: TopEntry, standing: Standing, any_qtype: AnyQtype) -> TopRule:
    """Return an entry as `top` shows it."""
    rule = _rule(TopRule, standing, any_qtype)
    rule.rate = found.rate
    return rule


def _rule(kind: type[_R], standing: Standing, any_qtype: AnyQtype) -> _R:
    entry = standing.entry
    qtype = wildcard = None
    if (text := _plain_source(entry)) is not None:
        return _shown(kind, standing, text, None, None)
    try:
        target = target_of(entry.map, entry.key, any_qtype)
    except TargetError:
        text = entry.key.hex()
    else:
        text = target_text(target)
        if isinstance(target, Question | Zone):
            if target.qtype is None:
                wildcard = abi.decode_qname(entry.key[: abi.NAME_MAX + 3])[1]
            else:
                qtype = qtype_text(target.qtype)
    return _shown(kind, standing, text, qtype, wildcard)


def _plain_source(entry: Entry) -> str | None:
    """Return the text of an IPv4 address, the target of most rules; None for others."""
    ref = REFS[entry.map]
    if ref in NAMED:
        return None
    return plain_text(ref, stored_key(ref, entry.key), AnyQtype.BOTH)


def _shown(
    kind: type[_R], standing: Standing, text: str, qtype: str | None, wildcard: int | None
) -> _R:
    entry = standing.entry
    note = entry.note
    return kind(
        text,
        qtype,
        _WORDS[entry.action],
        entry.hits,
        entry.origin,
        "" if note is None else note.reason,
        None if note is None or note.expires is None else entry.expires_in,
        None if note is None else note.created,
        _NAMES[entry.map],
        wildcard,
        _claims(standing.dnsdist, standing.claims),
    )


def imported(result: BulkResult, found: LeftOut, origin: str) -> Imported:
    """Return what an import for an origin did; `found` is the account of its reading."""
    document = Imported(
        **msgspec.structs.asdict(merged(result, found.skipped)),
        left_out=len(found),
        format=None if found.format is None else found.format.value,
    )
    if len(found):
        document.warnings.append(f"left out: {found}")
    if found.denied:
        document.warnings.append(denials(found.denied, found.denial))
    if found.implied and book_of(origin) is not Book.LISTS:
        document.warnings.append(implied_passes(found.implied))
    if not any(getattr(document, field) for field in _OF_AN_IMPORT):
        document.warnings.append("there is no rule in it")
    return document


_OF_AN_IMPORT = (
    *("created", "updated", "removed", "unchanged", "left_to_dnsdist", "left_to_others"),
    *("skipped", "guarded", "left_out"),
)


def tested(
    packet: Datagram,
    decided: tuple[Decision, Decision],
    rule: RuleOut | None,
    view: FilterView,
    question: tuple[str, str],
) -> Tested:
    """Return what was decided about a packet.

    Args:
        packet: the query.
        decided: now, and without a panic.
        rule: the rule that decides without a panic, or None.
        view: of the filter on the interface.
        question: the name and the type that it asks for.
    """
    now, without = decided
    in_lists = rule is not None and rule.map in {MapName.LIST_SOURCES, MapName.LIST_NAMES}
    return Tested(
        verdict=now.action.name.lower(),
        reason=now.reason.label,
        target=None if rule is None else rule.target,
        qtype=None if rule is None else rule.qtype,
        origin=None if rule is None else rule.origin,
        book=None if rule is None else "lists" if in_lists else "operator",
        limit=without.reason.label if without.reason in LIMIT_REASONS else None,
        action=None if rule is None else rule.action,
        note=None if rule is None else rule.reason,
        expires_in=None if rule is None else rule.expires_in,
        hits=None if rule is None else rule.hits,
        panic=now.reason is Reason.PANIC,
        without_panic=without.action.name.lower(),
        interface=view.interface,
        attached=view.state is FilterState.ATTACHED,
        packet=PacketOut(str(packet.sender), str(packet.server), packet.server_port, *question),
    )


def change_out(record: HistoryRow) -> ChangeOut:
    """Return a row of the history."""
    who = record.who
    return ChangeOut(
        record.time,
        Who(who.uid, who.pid, who.command, who.token, who.address),
        record.verb,
        record.target,
        record.qtype,
        record.action,
        record.origin,
        record.count,
        record.hits,
        record.reason,
        record.detail,
    )


def _claims(dnsdist: RuleAction | None, claims: Sequence[Note]) -> list[ClaimOut]:
    """Return the claims on a target; the first is in force."""
    shown = [] if dnsdist is None else [_of_dnsdist(dnsdist)]
    return shown + [
        claim_out(claim, in_force=dnsdist is None and number == 0)
        for number, claim in enumerate(claims)
    ]


def _of_dnsdist(action: RuleAction) -> ClaimOut:
    return ClaimOut(DNSDIST_ORIGIN, DNSDIST_ORIGIN, action.name.lower(), "", None, in_force=True)


def claim_out(claim: Note, *, in_force: bool) -> ClaimOut:
    """Return a claim as it is shown."""
    left = None if claim.expires is None else max(0, math.ceil(claim.expires - boot_clock()))
    return ClaimOut(
        claim.origin,
        _CLASSES[class_of(claim.origin)],
        _WORDS[claim.action],
        claim.reason,
        left,
        in_force=in_force,
    )


def put_out(result: PutResult) -> Put:
    """Return what a request for some rules did."""
    return Put(
        result.created,
        result.updated,
        list(result.warnings),
        [
            Made(
                *_named(said.target),
                None if said.former is None else claim_out(said.former, in_force=False),
                claim_out(said.claim, in_force=said.is_in_force),
                None if said.is_in_force else _instead(said.in_force),
                None if said.displaced is None else claim_out(said.displaced, in_force=False),
            )
            for said in result.rules
        ],
    )


def _instead(claim: Note | RuleAction) -> ClaimOut:
    return claim_out(claim, in_force=True) if isinstance(claim, Note) else _of_dnsdist(claim)


def removed_out(result: RemoveResult) -> Removed:
    """Return what a removal did."""
    return Removed(
        result.removed,
        [],
        [Left(*_named(left.target), _claims(left.dnsdist, left.claims)) for left in result.left],
    )


def _named(target: Target) -> tuple[str, str | None]:
    """Return a target's text and that of its type."""
    qtype = qtype_of(target)
    return target_text(target), None if qtype is None else qtype_text(qtype)


def merged(result: BulkResult, skipped: int) -> Merged:
    """Return what a change did; `skipped` is a count of its source's."""
    return Merged(
        created=result.created,
        updated=result.updated,
        removed=result.removed,
        unchanged=result.unchanged,
        left_to_dnsdist=result.theirs + result.shadowed,
        left_to_others=result.others,
        skipped=skipped,
        guarded=result.guarded,
        waiting=result.theirs + result.shadowed + result.others,
        ends_removed=result.ends_removed,
    )


def dnsdists_out(view: BridgeView) -> list[DnsdistOut]:
    """Return how the reading of dnsdist's dynamic blocks is."""
    return [
        DnsdistOut(
            each.url,
            each.up,
            sum(each.blocks.values()),
            sum(count for kind, count in each.blocks.items() if kind in TAKEN),
            each.success,
        )
        for each in view.dnsdists
    ]


def list_out(view: ListView) -> ListOut:
    """Return a list as a document."""
    good = view.good
    return ListOut(
        name=view.name,
        file=view.file or None,
        format=view.format,
        rules=None if good is None else good.rules,
        left_out=0 if good is None else good.left_out,
        last_success=None if good is None else good.success,
        next=view.next,
        serial=view.serial,
        error=view.error or None,
        left_out_kinds={} if good is None else good.kinds,
        zone=view.zone or None,
        contact=view.contact,
    )


def status_of(snapshot: Snapshot, *, version: str, pid: int, started: float) -> Status:
    """Return a snapshot as a document."""
    return Status(
        version,
        pid,
        snapshot.ready,
        list(snapshot.reasons),
        snapshot.panic,
        started,
        [
            InterfaceOut(
                view.interface,
                view.index,
                view.state.value,
                view.mode and view.mode.value,
                view.program_id,
                view.tag,
                view.reattached,
                view.queues,
                snapshot.xskmaps.get(view.interface),
                [
                    Counter(
                        reason.label,
                        action.name.lower(),
                        count.packets,
                        count.bytes,
                        snapshot.rates.get((view.interface, reason, action)),
                    )
                    for (reason, action), count in view.counters.items()
                    if count.packets
                ],
            )
            for view in snapshot.filters
        ],
        [
            MapOut(
                view.name.value,
                str(view.path),
                view.id,
                view.entries,
                view.capacity,
                view.frozen,
            )
            for view in snapshot.maps
        ],
        [Destination(str(address), port) for address, port in snapshot.destinations],
        list(snapshot.warnings),
        unseen=list(snapshot.unseen),
    )
