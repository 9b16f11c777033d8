"""Which triggers and policies of a response policy zone a rule can express.

Owns the tables: policies by the target of a CNAME record, triggers by the end of a name, and the
kinds under which other records are left out. The text of a zone file (rpz.py) and the records of a
transferred zone (feeds/zone/reading.py) become rules by them. Does not own names that hide others
(hidden.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.abi import TABLE_LEVELS, RuleAction, ZoneScope
from xdpctl.errors import TargetError
from xdpctl.rules import Name, Question, Zone
from xdpctl.rules.keys import NAMED, name_in
from xdpctl.rules.names import ESCAPE, FOREIGN, looks_like_address
from xdpctl.rules.targets import read_target
from xdpctl.settings import Denial

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    from xdpctl.feeds.formats.hidden import HiddenNames
    from xdpctl.rules.keys import Row

POLICIES = {
    "rpz-drop.": RuleAction.DROP,
    "rpz-tcp-only.": RuleAction.TRUNCATE,
    "rpz-passthru.": RuleAction.PASS,
}
DENIALS = (".", "*.")
"""CNAME targets that mean NXDOMAIN and NODATA."""

STANDS_FOR = {Denial.DROP: RuleAction.DROP, Denial.TRUNCATE: RuleAction.TRUNCATE, Denial.SKIP: None}
"""What stands for them."""

CLIENT_IP = b"rpz-client-ip"
OTHER_TRIGGERS = {
    b"rpz-ip": "triggers by an answer's address",
    b"rpz-nsip": "triggers by a name server's address",
    b"rpz-nsdname": "triggers by a name server's name",
}

NUMBERS = "names that end in a number"
UNREADABLE_TRIGGERS = "triggers that cannot be read"
_DENIED = "NXDOMAIN and NODATA records"
_STARS = "names with a star that is not the first label"
_FOREIGN = "names with a character of another syntax"
_TOO_DEEP = f"wildcards of more than {TABLE_LEVELS} labels"
_OTHER_ACTION = "records with another action than the list's"
_OTHER_DATA = "records with an answer of their own"

_V4_LABELS = 5
_TARGETS_KEPT = 1000


def denial_of(denial: Denial, action: RuleAction | None) -> RuleAction | None:
    """Return what stands for NXDOMAIN and NODATA in a list with this action; None: nothing."""
    if action is not None and denial is Denial.DROP:
        return action
    return STANDS_FOR[denial]


class Policies:
    """What the records of one zone ask for.

    Args:
        denial: the action for records that answer NXDOMAIN or NODATA; None: they are left out.
        only: the only action that a record may have, or None.

    Attributes:
        actions: by the lower-case target of a CNAME record.
    """

    def __init__(self, denial: RuleAction | None, only: RuleAction | None) -> None:
        self._only = only
        self.actions: dict[str, RuleAction | None] = {**POLICIES}
        self.actions |= dict.fromkeys(DENIALS, denial)

    def action(self, target: str) -> RuleAction | None:
        """Return the action of a CNAME record by its target; None: no rule can express it."""
        if not target:
            return None
        if target not in self.actions and len(self.actions) < _TARGETS_KEPT:
            self.actions[target] = None
        return self.actions.get(target)

    def kind_of(self, action: RuleAction | None, target: str, depth: int) -> str:
        """Return the kind under which a record is left out; empty if it becomes a rule.

        Args:
            action: of the record; None: no rule can express it, or none is wanted.
            target: of its CNAME, or empty.
            depth: labels of the name below which a wildcard matches; 0: it is exact.
        """
        if action is None:
            return _DENIED if target in DENIALS else _OTHER_DATA
        if self._only is not None and action != self._only:
            return _OTHER_ACTION
        return _TOO_DEEP if depth > TABLE_LEVELS else ""


def kind_of_owner(owner: str, text: str) -> str:
    """Return the kind under which a name is left out because no query has it; or empty.

    Args:
        owner: as it is in the file.
        text: the name without the zone's, with escapes.
    """
    bare = ESCAPE.sub("", owner)
    if "*" in bare.removeprefix("*"):
        return _STARS
    if FOREIGN.search(bare.removeprefix("*")) and not text.endswith(".arpa"):  # RFC 2317 has a /
        return _FOREIGN
    is_number = "\\" not in owner and looks_like_address(text.removeprefix("*."))
    return NUMBERS if is_number else ""


def add_wildcard(row: Row, hidden: HiddenNames) -> None:
    """Note the row of a wildcard, unless it will not come into force.

    Of one label it is guarded: a Drop on a top-level domain is left out later.
    """
    ref, key, action, *_ = row
    if ref not in NAMED:
        return
    octets, scope = name_in(ref, key)
    if scope is ZoneScope.BELOW and is_in_force(octets, action):
        hidden.add_wildcard(octets, stops=action != RuleAction.PASS)


def is_in_force(octets: bytes, action: int) -> bool:
    """Return whether a wildcard below a name comes into force: of one label it is guarded."""
    return action != RuleAction.DROP or bool(octets and len(octets) > octets[0] + 1)


def octets_of(labels: Sequence[bytes]) -> bytes:
    """Return a name in wire form, without its root byte."""
    return b"".join(bytes((len(label),)) + label for label in labels)


def depth_of(octets: bytes) -> int:
    """Return the number of labels of such a name."""
    count = 0
    while octets:
        octets = octets[octets[0] + 1 :]
        count += 1
    return count


def named(labels: Sequence[bytes]) -> Question | Zone:
    """Return the target of a trigger by the query's name."""
    if labels[0] == b"*":
        return Zone(Name(octets_of(labels[1:]) + b"\0"), None, ZoneScope.BELOW)
    return Question(Name(octets_of(labels) + b"\0"))


def client(labels: Sequence[bytes]) -> IPv4Address | IPv6Address | IPv4Network | IPv6Network:
    """Return the address or prefix of `LENGTH.LAST.….FIRST`; `zz` stands for `::`.

    Raises:
        TargetError: it is neither, or has bits set beyond its length.
    """
    try:
        length, *parts = (label.decode("ascii") for label in labels)
    except (UnicodeDecodeError, ValueError):
        raise TargetError("it is not an address or prefix", text=repr(labels)) from None
    if length != "0" and length.startswith("0"):
        raise TargetError("its length begins with a zero", text=repr(labels))
    parts.reverse()
    if len(labels) == _V4_LABELS and "zz" not in parts:
        address, longest = ".".join(parts), "32"
    else:
        address, longest = ":".join(parts), "128"
        if "zz" in parts:
            before, _, after = address.partition("zz")
            address = f"{before.removesuffix(':')}::{after.removeprefix(':')}"
    target = read_target(address if length == longest else f"{address}/{length}")
    if isinstance(target, Question | Zone):
        raise TargetError("it is not an address or prefix", text=address)
    return target
