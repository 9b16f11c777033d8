"""Turns response policy zones (draft-vixie-dnsop-dns-rpz) into rows.

Owns which records of such a zone a rule can express: triggers by query name and by the client's
address, with the actions DROP, TCP-Only, PASSTHRU, NXDOMAIN and NODATA. All other records are left
out, counted and reported. zonefile.py reads the records, except the common ones (a plain name with
one of those actions), which this module reads directly because they are nearly all lines of a long
zone. It builds no zone and yields each row as it is read. Called by feeds/reader.py on a thread.
Does not own the text of a zone file (zonefile.py).
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

import dns.name
import dns.rdtypes.ANY.CNAME

from xdpctl import abi
from xdpctl.abi import RuleAction
from xdpctl.errors import TargetError
from xdpctl.feeds.formats.zonefile import ZoneFile
from xdpctl.rules import Name, Question, parse_target
from xdpctl.rules.keys import QNAMES_REF, stored_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xdpctl.feeds.formats.lines import LeftOut
    from xdpctl.feeds.formats.zonefile import Record
    from xdpctl.rules import AnyQtype, Target
    from xdpctl.rules.keys import Row


_POLICIES = {
    "rpz-drop.": RuleAction.DROP,
    "rpz-tcp-only.": RuleAction.TRUNCATE,
    "rpz-passthru.": RuleAction.PASS,
}
_DENIALS = (".", "*.")
"""CNAME targets that mean NXDOMAIN and NODATA."""

_CLIENT_IP = b"rpz-client-ip"
_OTHER_TRIGGERS = {
    b"rpz-ip": "triggers by an answer's address",
    b"rpz-nsip": "triggers by a name server's address",
    b"rpz-nsdname": "triggers by a name server's name",
}
_V4_LABELS = 5

_PLAIN = re.compile(
    r"((?:\*\.)?[A-Z0-9_-]{1,63}(?:\.[A-Z0-9_-]{1,63})*)(\.?)[ \t]+"
    r"(?:[0-9]{1,9}[ \t]+)?(?:IN[ \t]+)?CNAME[ \t]+([A-Z0-9_*.-]*\.)[ \t]*\n?",
    re.IGNORECASE | re.ASCII,
)
"""A line with one whole CNAME record whose names have no escapes."""

_PLAIN_NAME = re.compile(r"[a-z0-9_.-]+")
_TARGETS_KEPT = 1000
_LEFT_OUT = object()


class RpzLines:
    """The lines of one zone file.

    Args:
        origin: of every row.
        denial: the action for records that answer NXDOMAIN or NODATA.
        any_qtype: how a rule for a name with every type is stored.
        left_out: gets the records that no rule can express.
        only: the only action that a record may have, or None.
    """

    def __init__(
        self,
        origin: str,
        denial: RuleAction,
        any_qtype: AnyQtype,
        left_out: LeftOut,
        *,
        only: RuleAction | None = None,
    ) -> None:
        self._origin = origin
        self._any_qtype = any_qtype
        self._left_out = left_out
        self._only = only
        self._file = ZoneFile()
        self._actions: dict[str, RuleAction | None] = {**_POLICIES}
        self._actions |= dict.fromkeys(_DENIALS, denial)
        self._type = struct.pack("=H", any_qtype.wildcards[0])
        self._origin_seen: dns.name.Name | None = None
        self._suffix = self._zone = ""
        """The suffix of relative names, and of all names in the zone; empty if unknown."""
        self._room = 0

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
                    name, dot, target = found.groups()
                    if (row := short_way(name, dot, target)) is not None:
                        file.last_text = name + dot
                        if row is not _LEFT_OUT:
                            yield row  # type: ignore[misc]  # the mark is not a row
                        continue
            record = file.take(number, line)
            if file.origin is not self._origin_seen and file.zone is not None:
                self._learn(file.zone)
            if (
                record is not None
                and record.name != file.zone  # its SOA, or another record of the apex
                and (row := self._row(record)) is not None
            ):
                yield row

    def end(self) -> None:
        """End the zone: no line follows.

        Raises:
            ListError: the zone is not complete.
        """
        self._file.end()

    def _learn(self, zone: dns.name.Name) -> None:
        """Note the zone's name and the origin of relative names."""
        self._origin_seen = self._file.origin
        suffix, ending = _ending(self._file.origin), _ending(zone)
        self._suffix, self._zone = (suffix, ending) if suffix and ending else ("", "")
        self._room = abi.NAME_MAX - sum(len(label) + 1 for label in zone.labels)

    def _short_way(self, name: str, dot: str, target: str) -> Row | object | None:
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
        action = self._actions[target]
        kind = self._kind_of(name, action)
        if action is None or kind:
            self._left_out.add(kind, name)
            return _LEFT_OUT
        octets = "".join([chr(len(label)) + label for label in name.split(".")])
        return QNAMES_REF, self._type + octets.encode("ascii"), action, "", None, self._origin

    def _row(self, record: Record) -> Row | None:
        """Return the row of any record after the SOA; None if it is left out."""
        zone, name = self._file.zone or dns.name.root, record.name
        if not name.is_subdomain(zone):
            self._left_out.add("records outside the zone", str(name))
            return None
        labels = tuple(label.lower() for label in name.labels[: -len(zone.labels)])
        text = str(dns.name.Name(labels))
        action = self._action(record.data)
        kind = _OTHER_TRIGGERS.get(labels[-1]) or self._kind_of(text, action)
        if action is None or kind:
            self._left_out.add(kind, text)
            return None
        return self._row_of(labels, action, text)

    def _kind_of(self, text: str, action: RuleAction | None) -> str:
        """Return the kind under which a record is left out; empty if it becomes a rule."""
        if text == "*" or text.startswith("*."):
            return "wildcards"
        if action is None:
            return "records with an answer of their own"
        if self._only is not None and action != self._only:
            return "records with another action than the list's"
        return ""

    def _action(self, data: object) -> RuleAction | None:
        if not isinstance(data, dns.rdtypes.ANY.CNAME.CNAME):
            return None
        target = data.target.to_text().lower()
        if target not in self._actions and len(self._actions) < _TARGETS_KEPT:
            self._actions[target] = None
        return self._actions.get(target)

    def _row_of(self, labels: tuple[bytes, ...], action: RuleAction, text: str) -> Row | None:
        try:
            target = _client(labels[:-1]) if labels[-1] == _CLIENT_IP else _question(labels)
        except TargetError:
            self._left_out.add("triggers that cannot be read", text)
            return None
        ref, key = stored_place(target, self._any_qtype)
        return ref, key, action, "", None, self._origin


def _ending(name: dns.name.Name) -> str:
    """Return the suffix of plain names below this one; empty if it has escapes."""
    text = name.to_text().lower()
    if text == ".":
        return text
    return f".{text}" if _PLAIN_NAME.fullmatch(text) else ""


def _question(labels: tuple[bytes, ...]) -> Question:
    return Question(Name(b"".join(bytes((len(label),)) + label for label in labels) + b"\0"))


def _client(labels: tuple[bytes, ...]) -> Target:
    """Return the address or prefix of `LENGTH.LAST.….FIRST`; `zz` stands for `::`.

    Raises:
        TargetError: it is neither, or has bits set beyond its length.
    """
    try:
        length, *parts = (label.decode("ascii") for label in labels)
    except (UnicodeDecodeError, ValueError):
        raise TargetError("it is not an address or prefix", text=repr(labels)) from None
    parts.reverse()
    if len(labels) == _V4_LABELS and "zz" not in parts:
        address, longest = ".".join(parts), "32"
    else:
        address, longest = ":".join(parts), "128"
        if "zz" in parts:
            before, _, after = address.partition("zz")
            address = f"{before.removesuffix(':')}::{after.removeprefix(':')}"
    target = parse_target(address if length == longest else f"{address}/{length}")
    if isinstance(target, Question):
        raise TargetError("it is not an address or prefix", text=address)
    return target
