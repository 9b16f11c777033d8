"""The rule maps filled to a given number of entries each.

Owns what is in the maps beside the rules of the cases (cases.py): entries of the same
shape as real ones, none of which matches a case's packet, made as keys from the start,
because a million texts in each of five maps would take minutes to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.bench.cases import rules
from xdpctl import abi
from xdpctl.abi import MAPS, RULE_MAPS, MapName, RuleAction
from xdpctl.rules import AnyQtype, key_of, map_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.syscall import Bpf

STEP: Final = 10_000
"""Entries of one batch."""

_ROOM: Final = 1.2
_VALUE: Final = abi.encode_value(RuleAction.DROP)


def entries_for(name: MapName, entries: int) -> int:
    """Return what max_entries a map has that is to hold so many: the default while it will do."""
    return max(MAPS[name].entries, round(entries * _ROOM))


def rule_maps(bpf: Bpf, stack: ExitStack, entries: int) -> dict[MapName, Map]:
    """Make the five rule maps with room for so many entries."""
    return {
        name: stack.enter_context(bpf.create_map(MAPS[name], entries_for(name, entries)))
        for name in RULE_MAPS
    }


def populate(maps: Mapping[MapName, Map], entries: int) -> None:
    """Write the cases' rules, then as many others as make `entries` in each map; nothing for 0."""
    if not entries:
        return
    written = dict.fromkeys(RULE_MAPS, 0)
    for rule in rules():
        name = map_of(rule.target)
        maps[name].update(key_of(rule.target, AnyQtype.BOTH), abi.encode_value(rule.action))
        written[name] += 1
    for name in RULE_MAPS:
        for start in range(written[name], entries, STEP):
            keys = [_KEYS[name](number) for number in range(start, min(start + STEP, entries))]
            maps[name].update_batch(b"".join(keys), _VALUE * len(keys))


def _addr_v4(number: int) -> bytes:
    """10.0.0.0 and so on, host-endian as the map has it: growth.py knows where they are."""
    return (0x0A000000 + number).to_bytes(4, "little" if _LITTLE else "big")


def _addr_v6(number: int) -> bytes:
    return bytes.fromhex("20010db8ffff") + number.to_bytes(10, "big")


def _cidr4(number: int) -> bytes:
    """Blocks of 16 addresses from 100.0.0.0 on: growth.py knows where they are."""
    return _prefix_length(28) + (0x64000000 + number * 16).to_bytes(4, "big")


def _cidr6(number: int) -> bytes:
    """2001:db8:1000::/56 and so on."""
    address = bytes.fromhex("20010db8") + (0x10000000 + number).to_bytes(4, "big")
    return _prefix_length(64) + address.ljust(16, b"\0")


def _qname(number: int) -> bytes:
    """h0000000.blocked.example and so on, seven hexadecimal digits."""
    return abi.encode_qname(b"\x08h%07x" % number + _ZONE, abi.WILDCARD_QTYPE)


def _prefix_length(bits: int) -> bytes:
    return bits.to_bytes(4, "little" if _LITTLE else "big")


_LITTLE: Final = memoryview(b"\1\0").cast("H")[0] == 1
_ZONE: Final = b"\7blocked\7example\0"
_KEYS: Final[dict[MapName, Callable[[int], bytes]]] = {
    MapName.ADDR_V4: _addr_v4,
    MapName.ADDR_V6: _addr_v6,
    MapName.CIDR4: _cidr4,
    MapName.CIDR6: _cidr6,
    MapName.QNAMES: _qname,
}
