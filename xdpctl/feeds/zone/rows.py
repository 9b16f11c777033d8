"""Turns the records of a transferred response policy zone into rows.

The same records become the same rules as in a zone file (formats/rpz.py), whose tables it shares.
Owns how a record in wire form becomes a row: its name, its action, its end, and whether it exempts
a client instead. Does no I/O. Called by reading.py.
"""

from __future__ import annotations

from collections import defaultdict
from ipaddress import ip_network
from typing import TYPE_CHECKING, TypeAlias

from xdpctl.abi import TABLE_LEVELS, RuleAction, ZoneScope
from xdpctl.errors import ListError, TargetError
from xdpctl.feeds.formats import policies
from xdpctl.feeds.formats.account import LeftOut
from xdpctl.feeds.formats.hidden import HiddenNames
from xdpctl.feeds.zone.records import StoredRecord
from xdpctl.rules import book_of
from xdpctl.rules.guard import SHORTEST
from xdpctl.rules.keys import Block, name_place, stored_place
from xdpctl.rules.names import Name, looks_like_address
from xdpctl.rules.rules import IMPLIED
from xdpctl.settings import ListFormat
from xdpctl.settings.lists import LISTED_MAX, Lifetime, Passthru
from xdpctl.transfers.records import RecordType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    from xdpctl.feeds.zone.records import StoredRow
    from xdpctl.rules import AnyQtype
    from xdpctl.rules.keys import Row, Rows
    from xdpctl.settings import ZoneListSettings

    Client: TypeAlias = IPv4Address | IPv6Address | IPv4Network | IPv6Network

WILDCARD = b"\x01*"
"""The last label of a wildcard's key."""

_PLAIN = b"abcdefghijklmnopqrstuvwxyz0123456789-_"
_ODD = 33
"""The first octet that is visible: below, it is the length of a label."""

_TRIGGER = b"rpz-"
_NUMBER_STARTS = frozenset(b"0123456789-a")
_TOO_SHORT = "clients to exempt by a prefix shorter than /8 or /16"
_CNAME = int(RecordType.CNAME)
_PASS = RuleAction.PASS


def labels_of(key: bytes) -> list[bytes]:
    """Return the labels of a record's key, each with its length: the zone's nearest first."""
    labels, at = [], 0
    while at < len(key):
        end = at + key[at] + 1
        labels.append(key[at:end])
        at = end
    return labels


class RecordRows:
    """The rows of one version of a zone.

    Args:
        settings: the list's.
        any_qtype: how a rule for a name with every type is stored.
        ahead: seconds by which Unix time is ahead of CLOCK_BOOTTIME, for `lifetime`.
        present: CLOCK_BOOTTIME; what ended before is no row.

    Attributes:
        left_out: the account.
        exempt: clients that are in front of every rule.
        ended: records that are no row because their time is over.
    """

    def __init__(
        self, settings: ZoneListSettings, any_qtype: AnyQtype, *, ahead: float, present: float
    ) -> None:
        self._settings = settings
        self._any_qtype = any_qtype
        self._ahead = ahead
        self._present = present
        self._origin = settings.origin
        self._book = book_of(settings.origin)
        denial = policies.denial_of(settings.denial, settings.action)
        self._policies = policies.Policies(denial, settings.action)
        self._by_data = {_wire(text): text for text in self._policies.actions}
        self._by_policy = {
            data: action
            for data, text in self._by_data.items()
            if (action := self._policies.actions[text]) is not None
        }
        self._has_end = settings.lifetime is Lifetime.TTL
        self._exempts = settings.passthru is Passthru.EXEMPT
        self._exact = name_place(b"", ZoneScope.SELF, any_qtype, self._book)
        self._below = name_place(b"", ZoneScope.BELOW, any_qtype, self._book)
        self.left_out = LeftOut()
        self.left_out.format = ListFormat.RPZ
        self.left_out.denial = denial
        self.ended = 0
        self.exempt: set[IPv4Network | IPv6Network] = set()

    def of_wildcards(self, records: Iterable[StoredRecord]) -> HiddenNames:
        """Return the wildcards among some records, which hide names."""
        hidden = HiddenNames()
        for row in self.without_account(records):
            policies.add_wildcard(row, hidden)
        return hidden

    def without_account(self, records: Iterable[StoredRecord]) -> list[Row]:
        """Return the rows of records that are accounted for elsewhere."""
        account, ended = self.left_out, self.ended
        self.left_out = LeftOut()
        try:
            return list(self.of_all(records))
        finally:
            self.left_out, self.ended = account, ended

    def blocks(self, records: Iterable[StoredRow], hidden: HiddenNames) -> Iterator[Rows]:
        """Yield the rows of records, those of plain names in blocks; `hidden` learns the names.

        Of the records of a long zone nearly all are those of a plain name with a policy, right
        below the same name as the one before: its labels are taken over from that one.
        """
        if self._settings.action is not None:
            yield from self.of_all(map(StoredRecord._make, records), hidden)
            return
        ref, prefix = self._exact
        alike: defaultdict[tuple[bytes, int], list[bytes]] = defaultdict(list)
        above = _Above(b"", hidden)
        others = []
        has_end, by_policy = self._has_end, self._by_policy
        past = self._present + self._ahead if has_end else -1.0
        for record in records:
            key, type_, ttl, since, data = record
            end = since + ttl if has_end else 0
            if type_ != _CNAME or data not in by_policy or end <= past:
                others.append(record)
                continue
            at = above.size
            if not key.startswith(above.key) or len(key) <= at or at + key[at] + 1 != len(key):
                above = _Above(key, hidden)
                at = above.size
            if not above.is_plain or key[at + 1 :].translate(None, _PLAIN):
                others.append(record)
                continue
            octets = key[at:] + above.octets
            if above.is_inside:
                hidden.see(octets, has_rule=True)
            alike[data, end].append(prefix + octets)
        for (data, end), keys in alike.items():
            self.left_out.denied += len(keys) * (self._by_data[data] in policies.DENIALS)
            ends = end - self._ahead if self._has_end else None
            yield Block(ref, keys, (self._by_policy[data], "", ends, self._origin))
        yield from self.of_all(map(StoredRecord._make, others), hidden)

    def of_all(
        self, records: Iterable[StoredRecord], hidden: HiddenNames | None = None
    ) -> Iterator[Row]:
        """Yield the rows of records; `hidden` learns the names."""
        for record in records:
            if (row := self.of(record, hidden)) is not None:
                yield row

    def of(self, record: StoredRecord, hidden: HiddenNames | None = None) -> Row | None:
        """Return the row of a record; None: it is left out, has ended, or exempts a client.

        Raises:
            ListError: too many clients would be exempt.
        """
        if not record.key:
            return None  # of the zone itself
        labels = labels_of(record.key)
        target = self._by_data.get(record.data) if record.type == _CNAME else None
        action = None if target is None else self._policies.actions[target]
        if labels[0].startswith(_TRIGGER, 1) and (
            (trigger := labels[0][1:]) == policies.CLIENT_IP or trigger in policies.OTHER_TRIGGERS
        ):
            return self._of_trigger(record, trigger, labels, action, target or "")
        return self._of_name(record, labels, action, target or "", hidden)

    def _of_name(
        self,
        record: StoredRecord,
        labels: list[bytes],
        action: RuleAction | None,
        target: str,
        hidden: HiddenNames | None,
    ) -> Row | None:
        below = labels[-1] == WILDCARD
        if below:
            labels.pop()
        depth = len(labels)
        labels.reverse()
        octets = b"".join(labels)
        if record.type == _CNAME and record.data == (WILDCARD if below else b"") + octets + b"\0":
            action = _PASS  # how PASSTHRU was written at first
        kind = ""
        if action is None or self._settings.action is not None or (below and depth > TABLE_LEVELS):
            kind = self._policies.kind_of(action, target, depth if below else 0)
        if not kind and depth:
            kind = _kind_of_name(octets, labels, below=below)
        end = self._end(record)
        has_ended = end is not None and end <= self._present
        if hidden:
            hidden.see(octets, has_rule=not (kind or below or has_ended))
        if action is None or kind:
            self.left_out.add(kind, _text(octets, below=below))
            return None
        if has_ended:
            self.ended += 1
            return None
        self.left_out.denied += target in policies.DENIALS
        ref, prefix = self._below if below else self._exact
        return ref, prefix + octets, action, "", end, self._origin

    def _end(self, record: StoredRecord) -> float | None:
        """Return when the rule of a record ends, in seconds of CLOCK_BOOTTIME; None: never."""
        return record.since + record.ttl - self._ahead if self._has_end else None

    def _of_trigger(
        self,
        record: StoredRecord,
        trigger: bytes,
        labels: Sequence[bytes],
        action: RuleAction | None,
        target: str,
    ) -> Row | None:
        parts = [label[1:] for label in reversed(labels)]
        text = b".".join(parts).decode("latin-1")
        kind = policies.OTHER_TRIGGERS.get(trigger) or self._policies.kind_of(action, target, 0)
        if action is None or kind:
            self.left_out.add(kind, text)
            return None
        try:
            client_ = policies.client(parts[:-1])
            place = stored_place(client_, self._any_qtype, self._book)
        except TargetError:
            self.left_out.add(policies.UNREADABLE_TRIGGERS, text)
            return None
        end = self._end(record)
        if end is not None and end <= self._present:
            self.ended += 1
            return None
        self.left_out.denied += target in policies.DENIALS
        if self._exempts and action is _PASS:
            self._exempt(client_, text)
            return None
        return *place, action, "", end, self._origin

    def _exempt(self, client_: Client, text: str) -> None:
        network = ip_network(client_)
        if network.prefixlen < SHORTEST[network.version]:
            self.left_out.add(_TOO_SHORT, text)
            return
        self.exempt.add(network)
        if len(self.exempt) > LISTED_MAX:
            raise ListError(
                f"it exempts more than {LISTED_MAX:,} clients: use shorter prefixes, or"
                ' passthru = "allow"'
            )

    def passes(self, passes: Iterable[tuple[bytes, ZoneScope]]) -> Iterator[Row]:
        """Yield the rows for names that hide what is below them (hidden.py)."""
        for octets, scope in passes:
            if scope is ZoneScope.SELF or policies.depth_of(octets) <= TABLE_LEVELS:
                self.left_out.implied += 1
                place = name_place(octets, scope, self._any_qtype, self._book)
                yield *place, _PASS, IMPLIED, None, self._origin


class _Above:
    """The name that a record's is right below, for those of the next records that are, too.

    Args:
        key: of the record; empty: there is none.
        hidden: has the wildcards.

    Attributes:
        key, octets: of the name above. `size`: octets of the key.
        is_plain: a plain label below it makes a name that queries have.
        is_inside: such a name is inside a wildcard.
    """

    __slots__ = ("is_inside", "is_plain", "key", "octets", "size")

    def __init__(self, key: bytes, hidden: HiddenNames) -> None:
        labels = labels_of(key)[:-1]
        self.key = b"".join(labels)
        self.size = len(self.key)
        self.octets = b"".join(reversed(labels))
        contents = [label[1:] for label in labels]
        self.is_plain = (
            bool(labels)
            and not b"".join(contents).translate(None, _PLAIN)
            and not contents[0].startswith(_TRIGGER)
            and not looks_like_address(contents[0].decode("ascii"))
        )
        self.is_inside = hidden.has_above(self.octets)


def _kind_of_name(octets: bytes, labels: Sequence[bytes], *, below: bool) -> str:
    """Return the kind under which a name is left out because no query has it; or empty."""
    odd = octets.translate(None, _PLAIN)
    if odd and max(odd) >= _ODD:
        raw = b".".join([label[1:] for label in labels]).decode("latin-1")
        return policies.kind_of_owner(f"*.{raw}" if below else raw, _text(octets, below=below))
    last = labels[-1]
    if last[1] in _NUMBER_STARTS and looks_like_address(
        b".".join([label[1:] for label in labels]).decode("latin-1")
    ):
        return policies.NUMBERS
    return ""


def _text(octets: bytes, *, below: bool) -> str:
    text = Name(octets + b"\0").to_text()
    return f"*.{text}" if below else text


def _wire(text: str) -> bytes:
    """Return the wire form of a policy's name, which ends in a dot."""
    labels = text.removesuffix(".").split(".") if text != "." else []
    return b"".join(bytes((len(label),)) + label.encode("ascii") for label in labels) + b"\0"
