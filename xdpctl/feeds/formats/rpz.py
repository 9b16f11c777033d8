"""Turns response policy zones (draft-vixie-dnsop-dns-rpz) into rows.

Triggers by query name, also of wildcards, and by the client's address become rules, with the
actions DROP, TCP-Only, PASSTHRU, NXDOMAIN and NODATA (policies.py). All other records are left out,
counted and reported. Owns how the text of a zone becomes rows. zonefile.py reads the records,
except the common ones (a plain name with one of those actions), which this module reads directly
because they are nearly all lines of a long zone; hidden.py knows what wildcards do not match. It
builds no zone and yields each row as it is read. Called by feeds/reader.py on a thread.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import dns.name
import dns.rdtypes.ANY.CNAME

from xdpctl import abi
from xdpctl.abi import TABLE_LEVELS, RuleAction, ZoneScope
from xdpctl.errors import TargetError
from xdpctl.feeds.formats.account import LeftOut
from xdpctl.feeds.formats.hidden import HiddenNames
from xdpctl.feeds.formats.lines import LineFormat
from xdpctl.feeds.formats.policies import (
    CLIENT_IP,
    DENIALS,
    NUMBERS,
    OTHER_TRIGGERS,
    UNREADABLE_TRIGGERS,
    Policies,
    add_wildcard,
    client,
    depth_of,
    kind_of_owner,
    named,
    octets_of,
)
from xdpctl.feeds.formats.zonefile import RecordError, ZoneFile
from xdpctl.rules import book_of
from xdpctl.rules.comments import reason_of
from xdpctl.rules.keys import name_place, stored_place
from xdpctl.rules.names import looks_like_address
from xdpctl.rules.rules import IMPLIED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from xdpctl.feeds.formats.zonefile import Record
    from xdpctl.rules import AnyQtype
    from xdpctl.rules.keys import Row


_PLAIN = re.compile(
    r"((?:\*\.)?[A-Z0-9_-]{1,63}(?:\.[A-Z0-9_-]{1,63})*)(\.?)[ \t]+"
    r"(?:[0-9]{1,9}[ \t]+)?(?:IN[ \t]+)?CNAME[ \t]+([A-Z0-9_*.-]*\.)[ \t]*(;[^\n]*)?\n?",
    re.IGNORECASE | re.ASCII,
)
"""A line with one whole CNAME record whose names have no escapes."""

_PASSED_OVER = re.compile(
    r'[A-Z0-9_.-]+[ \t][^*();"\\\n]*(?:;[^\n]*)?\n?', re.IGNORECASE | re.ASCII
)
"""A line with one whole record that is not a wildcard."""

_OPENS = "\n \t$"
_NOT_PLAIN = ("*", "(", ")", '"', "\\", ";", "$", "\n ", "\n\t", "\n\n")

_PLAIN_NAME = re.compile(r"[a-z0-9_.-]+")
_COMMENTS = ("#", "//")
"""What begins a comment in other lists; no name begins so without a backslash."""

_NUMBER_STARTS = frozenset("0123456789-aA")
"""What a last label that is a number, a range or an AS number begins with."""

_LEFT_OUT = object()


class RpzLines(LineFormat):
    """The lines of one zone file; all of them go through `look` first.

    Args:
        origin: of every row.
        denial: the action for records that answer NXDOMAIN or NODATA; None: they are left out.
        any_qtype: how a rule for a name with every type is stored.
        left_out: gets the records that no rule can express.
        only: the only action that a record may have, or None.
    """

    reads_twice = True

    def __init__(
        self,
        origin: str,
        denial: RuleAction | None,
        any_qtype: AnyQtype,
        left_out: LeftOut,
        *,
        only: RuleAction | None = None,
    ) -> None:
        self._origin = origin
        self._denial = denial
        self._any_qtype = any_qtype
        self._left_out = left_out
        self._only = only
        self._policies = Policies(denial, only)
        self._book = book_of(origin)
        self._exact = name_place(b"", ZoneScope.SELF, any_qtype, self._book)
        self._below = name_place(b"", ZoneScope.BELOW, any_qtype, self._book)
        """The map, and what is in front of a name's octets in its stored key."""
        self._file = ZoneFile()
        self._actions = self._policies.actions
        self._origin_seen: dns.name.Name | None = None
        self._suffix = self._zone = ""
        """The suffix of relative names, and of all names in the zone; empty if unknown."""
        self._room = 0
        self._hidden = HiddenNames()
        self._ahead: RpzLines | None = None
        self._passed_over = ""

    def look(self, lines: Sequence[str], first: int) -> None:
        """Find the wildcards; ListError as `rows`."""
        if self._ahead is None:
            self._ahead = RpzLines(
                self._origin, self._denial, self._any_qtype, LeftOut(), only=self._only
            )
        self._ahead.find_wildcards(lines, first, self._hidden)

    def find_wildcards(self, lines: Sequence[str], first: int, hidden: HiddenNames) -> None:
        """Read only those lines that may have a wildcard, or change what later lines mean."""
        file = self._file
        if self._zone and not file.depth and lines and _all_plain("".join(lines)):
            self._passed_over = lines[-1]
            return
        for number, line in enumerate(lines, first):
            if self._zone and not file.depth:
                if _PASSED_OVER.fullmatch(line):
                    self._passed_over = line
                    continue
                if (found := _PLAIN.fullmatch(line)) is not None:
                    row = self._short_way(*found.groups())
                    if row is not None:
                        self._passed_over = line
                        if row is not _LEFT_OUT:
                            add_wildcard(row, hidden)  # type: ignore[arg-type]  # it is not the mark
                        continue
            if self._passed_over:
                file.last_text, self._passed_over = self._passed_over.split(None, 1)[0], ""
            for row in self.rows((line,), number):
                add_wildcard(row, hidden)

    def rows(self, lines: Iterable[str], first: int) -> Iterator[Row]:
        """Yield the rows of some lines.

        Raises:
            ListError: a line is not valid in a zone file, or the zone does not begin with its
                SOA.
        """
        file, plain, short_way = self._file, _PLAIN.fullmatch, self._short_way
        for number, line in enumerate(lines, first):
            if not file.depth:
                if line == "\n":
                    continue
                if self._zone and (found := plain(line)) is not None:
                    name, dot, target, comment = found.groups()
                    if (row := short_way(name, dot, target, comment)) is not None:
                        file.last_text = name + dot
                        if row is not _LEFT_OUT:
                            yield row  # type: ignore[misc]  # the mark is not a row
                        continue
            record = self._take(number, line)
            if file.origin is not self._origin_seen and file.zone is not None:
                self._learn(file.zone)
            if (
                record is not None
                and record.name != file.zone  # its SOA, or another record of the apex
                and (row := self._row(record)) is not None
            ):
                yield row

    def _take(self, number: int, line: str) -> Record | None:
        """Return the record that ends with a line; one that cannot be read is passed over."""
        file = self._file
        if line.startswith(_COMMENTS) and not file.depth:
            return None
        try:
            return file.take(number, line)
        except RecordError as error:
            file.skip()
            self._left_out.add_unreadable(error, number, line)
            return None

    def end(self) -> Iterator[Row]:
        """End the zone, no line follows: return the rows for what its wildcards do not match.

        Raises:
            ListError: the zone is not complete.
        """
        self._file.end()
        for octets, scope in self._hidden.passes():
            if scope is ZoneScope.SELF or depth_of(octets) <= TABLE_LEVELS:
                self._left_out.implied += 1
                place = name_place(octets, scope, self._any_qtype, self._book)
                yield *place, RuleAction.PASS, IMPLIED, None, self._origin

    def _learn(self, zone: dns.name.Name) -> None:
        """Note the zone's name and the origin of relative names."""
        self._origin_seen = self._file.origin
        suffix, ending = _ending(self._file.origin), _ending(zone)
        self._suffix, self._zone = (suffix, ending) if suffix and ending else ("", "")
        self._room = abi.NAME_MAX - sum(len(label) + 1 for label in zone.labels)

    def _short_way(
        self, name: str, dot: str, target: str, comment: str | None
    ) -> Row | object | None:
        """Return the row of a plain record, or `_LEFT_OUT`; None if zonefile.py must read it."""
        target = target.lower()
        if target not in self._actions:
            return None
        name = name.lower() + (dot or self._suffix)
        if not name.endswith(self._zone):
            return None
        name = name[: -len(self._zone)]
        if not name or len(name) >= self._room or name.rpartition(".")[2].startswith("rpz-"):
            return None
        labels = name.split(".")
        below = labels[0] == "*"
        if below:
            del labels[0]
        octets = "".join([chr(len(label)) + label for label in labels]).encode("ascii")
        action = self._actions[target]
        kind = self._policies.kind_of(action, target, len(labels) if below else 0)
        if labels and labels[-1][0] in _NUMBER_STARTS and looks_like_address(".".join(labels)):
            kind = kind or NUMBERS
        if self._hidden:
            self._hidden.see(octets, has_rule=not kind and not below)
        if action is None or kind:
            self._left_out.add(kind, name)
            return _LEFT_OUT
        if target in DENIALS:
            self._left_out.denied += 1
        ref, prefix = self._below if below else self._exact
        reason = reason_of(comment) if comment else ""
        return ref, prefix + octets, action, reason, None, self._origin

    def _row(self, record: Record) -> Row | None:
        """Return the row of any record after the SOA; None if it is left out."""
        zone, name = self._file.zone or dns.name.root, record.name
        if not name.is_subdomain(zone):
            self._left_out.add("records outside the zone", str(name))
            return None
        labels = tuple(label.lower() for label in name.labels[: -len(zone.labels)])
        text = str(dns.name.Name(labels))
        by_name = labels[-1] != CLIENT_IP and labels[-1] not in OTHER_TRIGGERS
        below = by_name and labels[0] == b"*"
        target = _cname(record.data)
        action = self._policies.action(target)
        if by_name and target == f"{text}.":  # how PASSTHRU was written at first
            action = RuleAction.PASS
        kind = OTHER_TRIGGERS.get(labels[-1]) or self._policies.kind_of(
            action, target, len(labels) - 1 if below else 0
        )
        if by_name and not kind:
            kind = kind_of_owner(record.owner, text)
        if by_name and self._hidden:
            octets = octets_of(labels[1:] if below else labels)
            self._hidden.see(octets, has_rule=not kind and not below)
        if action is None or kind:
            self._left_out.add(kind, text)
            return None
        row = self._row_of(labels, action, text, reason_of(record.comment))
        if row is not None and target in DENIALS:
            self._left_out.denied += 1
        return row

    def _row_of(
        self, labels: tuple[bytes, ...], action: RuleAction, text: str, reason: str
    ) -> Row | None:
        try:
            target = client(labels[:-1]) if labels[-1] == CLIENT_IP else named(labels)
        except TargetError:
            self._left_out.add(UNREADABLE_TRIGGERS, text)
            return None
        ref, key = stored_place(target, self._any_qtype, self._book)
        return ref, key, action, reason, None, self._origin


def _cname(data: object) -> str:
    """Return where a CNAME leads; empty for other records."""
    if not isinstance(data, dns.rdtypes.ANY.CNAME.CNAME):
        return ""
    return data.target.to_text().lower()


def _all_plain(text: str) -> bool:
    """Return whether every line has a whole record of its own owner, and none is a wildcard's."""
    return text[0] not in _OPENS and not any(mark in text for mark in _NOT_PLAIN)


def _ending(name: dns.name.Name) -> str:
    """Return the suffix of plain names below this one; empty if it has escapes."""
    text = name.to_text().lower()
    if text == ".":
        return text
    return f".{text}" if _PLAIN_NAME.fullmatch(text) else ""
