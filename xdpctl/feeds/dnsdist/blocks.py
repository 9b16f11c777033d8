"""What one of dnsdist's dynamic blocks means to the filter.

    "192.0.2.0/24":  {"reason": "…", "seconds": 9, "blocks": 7, "action": "Drop", "warning": false,
                      "ebpf": false}
    "evil.example.": the same, without `warning`; `ebpf` since 1.8

A subnet is a prefix, a whole address an address, a suffix a zone: the name and all below it. Owns
which blocks are left out, and why. Does not own when they end (ledger.py). Written from what 1.7.3,
1.9.16 and 2.1.3 answer.
"""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, NamedTuple

from xdpctl.abi import RuleAction
from xdpctl.errors import TargetError
from xdpctl.rules import Zone, keys_of, map_of
from xdpctl.rules.names import Name
from xdpctl.rules.rules import DURATION_MAX, REASON_MAX
from xdpctl.rules.targets import read_target
from xdpctl.settings import OtherAction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xdpctl.rules import AnyQtype, Target
    from xdpctl.rules.guard import Guard
    from xdpctl.store.entries import Place

BLOCKS_MAX = 250_000
"""Blocks of one dnsdist that are taken; further ones are left out."""

_ACTIONS = {"Drop": RuleAction.DROP, "Truncate over UDP": RuleAction.TRUNCATE}
_NOTHING = frozenset({"Do nothing", "Allow", "None", "NoOp"})
_DENIALS = frozenset({"Send NXDomain", "Send Refused", "Send ServFail"})
_OCTET = re.compile(
    r"(?P<end>\.)|\\(?P<code>[0-9]{3})|\\(?P<escaped>[!-~])|(?P<plain>[!-\[\]-~])|(?P<wrong>.)",
    re.DOTALL,
)
_PORTS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]+/[0-9]+")


class BlockKind(StrEnum):
    """What a block is, or why it is left out; the label `kind` of a metric."""

    ADDRESS = "address"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    IN_MAPS = "in-maps"
    """dnsdist has put it into a shared map itself."""
    WARNING = "warning"
    """dnsdist only warns of it."""
    NO_ACTION = "no-action"
    OTHER_ACTION = "other-action"
    PORTS = "ports"
    """It is of some ports of an address."""
    ROOT = "root"
    GUARDED = "guarded"
    UNREADABLE = "unreadable"
    TOO_MANY = "too-many"


TAKEN = frozenset({BlockKind.ADDRESS, BlockKind.PREFIX, BlockKind.SUFFIX})
SKIPPED_IN_ORDER = frozenset({BlockKind.IN_MAPS, BlockKind.WARNING, BlockKind.NO_ACTION})
"""Kinds that nobody has to know of."""


class DynamicBlock(NamedTuple):
    """One dynamic block.

    Attributes:
        place: map and key of its claim; None: it has none.
        seconds: until it ends.
        reported: whether dnsdist says if it is in a shared map (since 1.8).
    """

    kind: BlockKind
    place: Place | None = None
    action: RuleAction = RuleAction.DROP
    seconds: int = 0
    reason: str = ""
    reported: bool = True


class BlockReader:
    """Gives entries their meaning; what it has seen in the document before is not read again.

    Args:
        other: for actions that the filter does not have.
        any_qtype: how a name without a type is written.
        guard: refuses what is probably a mistake.
    """

    def __init__(self, other: OtherAction, any_qtype: AnyQtype, guard: Guard) -> None:
        self._other = other
        self._any_qtype = any_qtype
        self._guard = guard
        self._known: dict[str, tuple[RuleAction, BlockKind, Place | None]] = {}

    def read_all(self, entries: Iterable[tuple[str, object]]) -> dict[str, DynamicBlock]:
        """Return the blocks of a document by key; raises what reading the entries raises."""
        found: dict[str, DynamicBlock] = {}
        known: dict[str, tuple[RuleAction, BlockKind, Place | None]] = {}
        for key, fields in entries:
            if len(found) >= BLOCKS_MAX and key not in found:
                found[key] = DynamicBlock(BlockKind.TOO_MANY)
                continue
            found[key] = block = self._read(key, fields)
            if block.kind in TAKEN or block.kind is BlockKind.GUARDED:  # dear to find out
                known[key] = block.action, block.kind, block.place
        self._known = known
        return found

    def _read(self, key: str, fields: object) -> DynamicBlock:
        if not isinstance(fields, dict):
            return DynamicBlock(BlockKind.UNREADABLE)
        seconds, action = fields.get("seconds"), fields.get("action")
        if type(seconds) is not int or not isinstance(action, str):
            return DynamicBlock(BlockKind.UNREADABLE)
        if fields.get("warning") is True:
            return DynamicBlock(BlockKind.WARNING)
        if action in _NOTHING or seconds < 0:
            return DynamicBlock(BlockKind.NO_ACTION)
        wanted = _ACTIONS.get(action)
        if wanted is None and action in _DENIALS and self._other is OtherAction.TRUNCATE:
            wanted = RuleAction.TRUNCATE
        if wanted is None:
            return DynamicBlock(BlockKind.OTHER_ACTION)
        in_maps = fields.get("ebpf")
        kind, place = self._place(key, wanted)
        return DynamicBlock(
            BlockKind.IN_MAPS if in_maps is True else kind,
            place,
            wanted,
            min(seconds, DURATION_MAX),
            _line(fields.get("reason")),
            isinstance(in_maps, bool),
        )

    def _place(self, key: str, action: RuleAction) -> tuple[BlockKind, Place | None]:
        """Return what a key is, and the place of its claim."""
        if (known := self._known.get(key)) is not None and known[0] is action:
            return known[1:]
        kind, target = meaning(key)
        if target is None:
            return kind, None
        if self._guard.reason(target, action) is not None:
            return BlockKind.GUARDED, None
        return kind, (map_of(target), keys_of(target, self._any_qtype)[0])


def meaning(key: str) -> tuple[BlockKind, Target | None]:
    """Return what the key of a block is, and its target; None: it has none."""
    if key == "." or _PORTS.fullmatch(key):
        return (BlockKind.ROOT if key == "." else BlockKind.PORTS), None
    try:
        if key.endswith("."):
            return BlockKind.SUFFIX, Zone(_name(key))
        target = read_target(key)
    except TargetError:
        return BlockKind.UNREADABLE, None
    if isinstance(target, IPv4Network | IPv6Network):
        if target.num_addresses > 1:
            return BlockKind.PREFIX, target
        target = target.network_address
    if isinstance(target, IPv4Address | IPv6Address):
        return BlockKind.ADDRESS, target
    return BlockKind.UNREADABLE, None  # a name of dnsdist's ends with a dot


def _name(key: str) -> Name:
    r"""Return the name that dnsdist writes so: with a dot at its end, octets as \DDD or behind \.

    Raises:
        TargetError: it is not one.
    """
    octets, wire = bytearray(), bytearray()
    for found in _OCTET.finditer(key):
        if found["end"]:
            wire += bytes((min(len(octets), 255),)) + octets
            octets.clear()
        elif found["wrong"]:
            raise TargetError("it is not a name", text=key)
        else:
            code = int(found["code"]) if found["code"] else ord(found["escaped"] or found["plain"])
            octets.append(min(code, 255))
    return Name(bytes(wire).lower() + b"\0")


def _line(reason: object) -> str:
    """Return a reason as one printable line."""
    text = reason if isinstance(reason, str) else ""
    cut = text[: 2 * REASON_MAX]
    return "".join(c if c.isprintable() else " " for c in cut)[:REASON_MAX].strip()
