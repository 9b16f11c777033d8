"""The documents about samples, and how they are made of the service's values.

Owns these types, as documents.py has the others, and their converter. Does not own the values
(samples/). Called by streams.py and shared_samples.py.
"""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

import msgspec

from xdpctl.abi import PacketAction
from xdpctl.rules import Name, Question, Zone, qtype_of, qtype_text, target_text
from xdpctl.samples.packets import TCP, UDP, address_of

if TYPE_CHECKING:
    from xdpctl.rules import Target
    from xdpctl.samples.packets import Packet
    from xdpctl.samples.sample import Sample
    from xdpctl.samples.talkers import Talker, Talkers

_ACTIONS = {action: action.name.lower() for action in PacketAction}
_PROTOCOLS = {TCP: "tcp", UDP: "udp"}


class TalkerOut(msgspec.Struct):
    """What the packets of one source, name or other key come to, estimated from samples.

    `key` is a target where it can be one. The true number of `packets` is at most `error` off in 19
    of 20 cases. `rate` is in packets a second, `share` of all packets that were asked for.
    `actions` are the packets by what was done with them.
    """

    key: str
    packets: int
    rate: float
    share: float
    error: int
    actions: dict[str, int]


class TalkersOut(msgspec.Struct):
    """Who sends most, and what; also the data of the event `talkers`.

    `weight` is how many packets came in `seconds`, estimated; `lost` how many samples were lost on
    their way since the request began. `by` has the keys with the most packets of each dimension
    that was asked for.
    """

    seconds: float
    weight: int
    lost: int
    by: dict[str, list[TalkerOut]]


class SampleRule(msgspec.Struct):
    """The rule that decided about a sampled packet."""

    target: str
    qtype: str | None
    origin: str


class SampleOut(msgspec.Struct, omit_defaults=True):
    """One sampled packet: the data of the event `sample`.

    It stands for `weight` packets. `source` is a prefix where `sample-addresses` truncates. `rule`
    is null where none decided, or it is not known which: with very many different packets, only
    some are looked up. `frame` has the first octets of the packet as base64, where it was asked
    for, `length` counts those of the whole packet. Times are in seconds since the epoch.
    """

    time: float
    interface: str
    action: str
    reason: str
    weight: int
    length: int
    source: str | None
    source_port: int | None
    destination: str | None
    port: int | None
    protocol: str | None
    name: str | None
    qtype: str | None
    rule: SampleRule | None
    frame: str = ""


async def talkers_out(talkers: Talkers, now: float, lost: int, count: int) -> TalkersOut:
    """Return the sums of now, and let others work after each dimension.

    Args:
        talkers: has them.
        now: Unix time.
        lost: samples that were lost.
        count: keys of each dimension at most.
    """
    seconds = talkers.seconds(now)
    total = talkers.total().packets
    found = {}
    for by in talkers.by:
        found[by.value] = [_talker(row, seconds, total) for row in talkers.most(by, count)]
        await asyncio.sleep(0)
    return TalkersOut(round(seconds, 3), total, lost, found)


def _talker(row: Talker, seconds: float, total: int) -> TalkerOut:
    return TalkerOut(
        row.key,
        row.packets,
        round(row.packets / seconds, 3),
        round(row.packets / total, 6) if total else 0.0,
        row.error,
        {_ACTIONS[action]: packets for action, packets in row.actions.items()},
    )


def sample_out(
    sample: Sample,
    packet: Packet,
    rule: tuple[Target, str] | None,
    kept: tuple[int, int],
    *,
    frame: bool,
) -> SampleOut:
    """Return a sample as a document.

    Args:
        sample: one packet.
        packet: what its frame says.
        rule: target and origin of the rule that decided.
        kept: bits of an address that samples have.
        frame: whether the octets are wanted.
    """
    return SampleOut(
        sample.time,
        sample.interface,
        _ACTIONS[sample.action],
        sample.reason.label,
        sample.weight,
        sample.length,
        _source(packet.source, kept),
        packet.source_port,
        str(address_of(packet.destination)) if packet.destination else None,
        packet.port,
        None if packet.protocol is None else _PROTOCOLS.get(packet.protocol, str(packet.protocol)),
        None if packet.name is None else Name(packet.name).to_text(),
        None if packet.qtype is None else qtype_text(packet.qtype),
        None if rule is None else _rule(*rule),
        base64.b64encode(sample.frame).decode() if frame else "",
    )


def _source(packed: bytes, kept: tuple[int, int]) -> str | None:
    if not packed:
        return None
    length = kept[0] if len(packed) == 4 else kept[1]  # noqa: PLR2004 - IPv4
    address = address_of(packed)
    return str(address) if length >= len(packed) * 8 else f"{address}/{length}"


def _rule(target: Target, origin: str) -> SampleRule:
    qtype = qtype_of(target) if isinstance(target, Question | Zone) else None
    return SampleRule(target_text(target), None if qtype is None else qtype_text(qtype), origin)
