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
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from xdpctl.abi import BY_REF, MapName, RuleAction
from xdpctl.errors import TargetError
from xdpctl.rules import Zone
from xdpctl.rules.keys import REFS, ZONES_REF, full_key, plain_place, stored_place
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

ENTRIES_MAX = 1_000_000
"""Entries of one document that are read; the ones behind them are not counted either."""

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
_SETTLED = TAKEN | {BlockKind.GUARDED}
"""Kinds that a key has for good, with an action."""

SKIPPED_IN_ORDER = frozenset({BlockKind.IN_MAPS, BlockKind.WARNING, BlockKind.NO_ACTION})
"""Kinds that nobody has to know of."""


class DynamicBlock(NamedTuple):
    """One dynamic block, without its time: the same object as long as dnsdist says the same.

    Attributes:
        place: map and key of its claim; None: it has none.
        reported: whether dnsdist says if it is in a shared map (since 1.8).
    """

    kind: BlockKind
    place: Place | None = None
    action: RuleAction = RuleAction.DROP
    reason: str = ""
    reported: bool = True


_LEFT_OUT = {kind: DynamicBlock(kind) for kind in BlockKind}


@dataclass(slots=True)
class BlockList:
    """All blocks of a dnsdist at one moment, by their keys in the document.

    Attributes:
        seconds: until each ends; nothing for those that are left out.
        surplus: how many there are beyond `BLOCKS_MAX`.
    """

    blocks: dict[str, DynamicBlock] = field(default_factory=dict)
    seconds: dict[str, int] = field(default_factory=dict)
    surplus: int = 0

    def kinds(self) -> Counter[BlockKind]:
        """Return how many of each kind there are."""
        found = Counter(block.kind for block in self.blocks.values())
        found[BlockKind.TOO_MANY] = self.surplus
        return found


class BlockReader:
    """Gives entries their meaning. What the document before had too costs little.

    Args:
        other: for actions that the filter does not have.
        any_qtype: how a name without a type is written.
        guard: refuses what is probably a mistake.
    """

    def __init__(self, other: OtherAction, any_qtype: AnyQtype, guard: Guard) -> None:
        self._other = other
        self._any_qtype = any_qtype
        self._guard = guard
        self._known: dict[str, DynamicBlock] = {}

    def read_all(self, entries: Iterable[tuple[str, object]]) -> BlockList:
        """Return the blocks of a document; raises what reading the entries raises."""
        found = BlockList()
        for key, fields in islice(entries, ENTRIES_MAX):
            if len(found.blocks) >= BLOCKS_MAX and key not in found.blocks:
                found.surplus += 1
                continue
            found.blocks[key], seconds = self._read(key, fields)
            if found.blocks[key].place is not None:
                found.seconds[key] = seconds
        self._known = found.blocks
        return found

    def _read(self, key: str, fields: object) -> tuple[DynamicBlock, int]:
        if not isinstance(fields, dict):
            return _LEFT_OUT[BlockKind.UNREADABLE], 0
        seconds, action = fields.get("seconds"), fields.get("action")
        if type(seconds) is not int or not isinstance(action, str):
            return _LEFT_OUT[BlockKind.UNREADABLE], 0
        if fields.get("warning") is True:
            return _LEFT_OUT[BlockKind.WARNING], 0
        if action in _NOTHING or seconds < 0:
            return _LEFT_OUT[BlockKind.NO_ACTION], 0
        wanted = _ACTIONS.get(action)
        if wanted is None and action in _DENIALS and self._other is OtherAction.TRUNCATE:
            wanted = RuleAction.TRUNCATE
        if wanted is None:
            return _LEFT_OUT[BlockKind.OTHER_ACTION], 0
        block = self._block(key, wanted, _line(fields.get("reason")), fields.get("ebpf"))
        return block, min(seconds, DURATION_MAX)

    def _block(self, key: str, action: RuleAction, reason: str, ebpf: object) -> DynamicBlock:
        """Return a block, the one of the document before if it is the same."""
        known = self._known.get(key)
        if known is not None and known.action is action and known.kind in _SETTLED:
            kind, place = known.kind, known.place
        else:
            kind, place = self._meaning(key, action)
        if ebpf is True and place is not None:
            kind = BlockKind.IN_MAPS
        block = DynamicBlock(kind, place, action, reason, isinstance(ebpf, bool))
        return known if known == block else block

    def _meaning(self, key: str, action: RuleAction) -> tuple[BlockKind, Place | None]:
        """Return what a key is, and the place of its claim."""
        if (plain := plain_meaning(key, self._any_qtype)) is not None:
            kind, ref, stored = plain
        else:
            kind, target = meaning(key)
            if target is None:
                return kind, None
            ref, stored = stored_place(target, self._any_qtype)
        row = ref, stored, int(action), "", None, ""
        if not list(self._guard.passing([row], lambda _why: None)):
            return BlockKind.GUARDED, None
        return kind, (BY_REF[ref].name, full_key(ref, stored))


def plain_meaning(key: str, any_qtype: AnyQtype) -> tuple[BlockKind, int, bytes] | None:
    """Return what a plain key is, and its place as rows have it; None for others.

    What takes a fifth of the time that `meaning` takes; a test compares the two.
    """
    if key.endswith("."):
        text, kind = f".{key[:-1]}", BlockKind.SUFFIX
    elif key.endswith("/32") and ":" not in key:
        text, kind = key[:-3], BlockKind.ADDRESS
    elif key.endswith("/128"):
        text, kind = key[:-4], BlockKind.ADDRESS
    else:
        text, kind = key, BlockKind.PREFIX
    place = None if text.endswith(".") else plain_place(text, any_qtype)
    if place is None or place[0] not in _REFS[kind]:
        return None
    return kind, *place


_REFS = {
    BlockKind.SUFFIX: frozenset({ZONES_REF}),
    BlockKind.ADDRESS: frozenset({REFS[MapName.ADDR_V4], REFS[MapName.ADDR_V6]}),
    BlockKind.PREFIX: frozenset({REFS[MapName.CIDR4], REFS[MapName.CIDR6]}),
}


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
    if len(text) <= REASON_MAX and text.isprintable():
        return text.strip()
    cut = text[: 2 * REASON_MAX]
    return "".join(c if c.isprintable() else " " for c in cut)[:REASON_MAX].strip()
