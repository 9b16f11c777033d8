"""Response policy zones (draft-vixie-dnsop-dns-rpz) to rows.

Owns which records of such a zone a rule can say: triggers by query name and by the
client's address, with the actions DROP, TCP-Only, PASSTHRU, NXDOMAIN and NODATA. All
else is left out, counted and named. The zone file is read by dnspython, record by
record; no zone is built of it. Called by reading.py on a thread; the one importer of
dnspython beside names.py.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import dns.exception
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.tokenizer
import dns.transaction
import dns.zonefile

from xdpctl import abi
from xdpctl.abi import RuleAction
from xdpctl.errors import ListError, TargetError
from xdpctl.rules import Name, Question, key_of, map_of, parse_target
from xdpctl.state import stored_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from xdpctl.lists.lines import LeftOut
    from xdpctl.rows import Row
    from xdpctl.rules import AnyQtype, Target

_REFS = {name: spec.ref for name, spec in abi.MAPS.items()}
_HEAD = struct.Struct("BBH")
_TTL = 3600  # of records that name none: no rule has one

_UNNAMED = dns.name.from_text("zone.invalid.")
"""Stands for the zone's name where the file does not say it."""

_POLICIES = {
    dns.name.from_text("rpz-drop."): RuleAction.DROP,
    dns.name.from_text("rpz-tcp-only."): RuleAction.TRUNCATE,
    dns.name.from_text("rpz-passthru."): RuleAction.PASS,
}
_DENIALS = frozenset({dns.name.root, dns.name.from_text("*.")})
"""Targets of CNAME that mean NXDOMAIN and NODATA."""

_CLIENT_IP = b"rpz-client-ip"
_OTHER_TRIGGERS = {
    b"rpz-ip": "triggers by an answer's address",
    b"rpz-nsip": "triggers by a name server's address",
    b"rpz-nsdname": "triggers by a name server's name",
}
_V4_LABELS = 5


def rows(
    stream: TextIO, origin: str, denial: RuleAction, any_qtype: AnyQtype, left_out: LeftOut
) -> Iterator[Row]:
    """Yield the rows of a zone file, once all of it has been read.

    Args:
        stream: the file.
        origin: of every row.
        denial: what is done in place of an answer NXDOMAIN or NODATA.
        any_qtype: how a name of every type is written.
        left_out: gets what no rule can say.

    Raises:
        ListError: it is no zone file, or does not begin with its SOA.
    """
    triggers = _Triggers(denial, any_qtype, left_out)
    tokenizer = dns.tokenizer.Tokenizer(stream, "line")
    transaction = _Records(triggers)
    reader = dns.zonefile.Reader(
        tokenizer,
        dns.rdataclass.IN,
        transaction,
        allow_directives=("$ORIGIN", "$TTL"),  # none that reads files or makes up records
        default_ttl=_TTL,
    )
    transaction.begin(reader)
    try:
        reader.read()
    except (dns.exception.DNSException, ValueError, IndexError) as error:
        reason = str(error) or type(error).__name__
        raise ListError(
            f"cannot read it as an RPZ zone: {reason.replace('line:', 'up to line ', 1)}"
        ) from error
    if triggers.zone is None:
        raise ListError("cannot read it as an RPZ zone: it has no record, not even its SOA")
    return triggers.rows(origin)


class _Manager(dns.transaction.TransactionManager):
    """What dnspython asks for the zone's name: everything is below the root."""

    def origin_information(self) -> tuple[dns.name.Name | None, bool, dns.name.Name | None]:
        return dns.name.root, False, dns.name.root


class _Records(dns.transaction.Transaction):
    """Takes each record as dnspython reads it, and keeps none."""

    def __init__(self, triggers: _Triggers) -> None:
        super().__init__(_Manager())
        self._triggers = triggers
        self._reader: dns.zonefile.Reader | None = None
        self._origin_given = False

    def begin(self, reader: dns.zonefile.Reader) -> None:
        """Make relative names relative to a zone whose name is not known yet."""
        self._reader = reader
        reader.current_origin = reader.last_name = _UNNAMED

    def add(self, *args: Any) -> None:  # noqa: ANN401 - dnspython's
        """Take (name, TTL, data)."""
        name, _, data = args
        if self._triggers.zone is None:
            if data.rdtype != dns.rdatatype.SOA:
                raise ListError("cannot read it as an RPZ zone: it does not begin with its SOA")
            self._triggers.zone = name
            if self._reader is not None and not self._origin_given:
                self._reader.current_origin = name
        elif name != self._triggers.zone:
            self._triggers.add(name, data)

    def _set_origin(self, origin: dns.name.Name) -> None:
        del origin
        self._origin_given = True


class _Triggers:
    """The rows of the records, packed: some 40 bytes for each."""

    def __init__(self, denial: RuleAction, any_qtype: AnyQtype, left_out: LeftOut) -> None:
        self.zone: dns.name.Name | None = None
        self._denial = denial
        self._any_qtype = any_qtype
        self._left_out = left_out
        self._packed = bytearray()

    def add(self, name: dns.name.Name, data: object) -> None:
        """Take a record behind the SOA."""
        text = str(name)
        action = self._action(data)
        zone = self.zone or dns.name.root
        if not name.is_subdomain(zone):
            self._left_out.add("records outside the zone", text)
            return
        labels = tuple(label.lower() for label in name.labels[: -len(zone.labels)])
        text = str(dns.name.Name(labels))
        if labels[-1] in _OTHER_TRIGGERS:
            self._left_out.add(_OTHER_TRIGGERS[labels[-1]], text)
        elif labels[0] == b"*":
            self._left_out.add("wildcards", text)
        elif action is None:
            self._left_out.add("records with an answer of their own", text)
        else:
            self._add(labels, action, text)

    def _action(self, data: object) -> RuleAction | None:
        if not isinstance(data, dns.rdtypes.ANY.CNAME.CNAME):
            return None
        return self._denial if data.target in _DENIALS else _POLICIES.get(data.target)

    def _add(self, labels: tuple[bytes, ...], action: RuleAction, text: str) -> None:
        try:
            target = _client(labels[:-1]) if labels[-1] == _CLIENT_IP else _question(labels)
        except TargetError:
            self._left_out.add("triggers that cannot be read", text)
            return
        ref = _REFS[map_of(target)]
        key = stored_key(ref, key_of(target, self._any_qtype))
        self._packed += _HEAD.pack(ref, action, len(key))
        self._packed += key

    def rows(self, origin: str) -> Iterator[Row]:
        """Yield them."""
        packed, position = bytes(self._packed), 0
        self._packed = bytearray()
        while position < len(packed):
            ref, action, size = _HEAD.unpack_from(packed, position)
            position += _HEAD.size
            yield ref, packed[position : position + size], action, "", None, origin
            position += size


def _question(labels: tuple[bytes, ...]) -> Question:
    return Question(Name(b"".join(bytes((len(label),)) + label for label in labels) + b"\0"))


def _client(labels: tuple[bytes, ...]) -> Target:
    """Return the address or prefix of `LENGTH.LAST.….FIRST`; `zz` stands for `::`.

    Raises:
        TargetError: it is none, or has bits behind its length.
    """
    try:
        length, *parts = (label.decode("ascii") for label in labels)
    except (UnicodeDecodeError, ValueError):
        raise TargetError("it names no prefix", text=repr(labels)) from None
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
        raise TargetError("it names no prefix", text=address)
    return target
