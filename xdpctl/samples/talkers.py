"""Who sends, and what: estimates of all packets from samples, by source, name, zone and more.

Owns the sums over the last seconds, for each dimension that is asked for, in bounded memory. A
sample stands for `weight` packets, so a sum of weights estimates packets; how far off it may be is
estimated from the same weights. Does not own samples or who asks. Pure but for its memory; called
by http/api/ and cli/.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from heapq import nlargest
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from xdpctl.abi import PacketAction, Reason
from xdpctl.rules import Name, qtype_text
from xdpctl.samples.packets import TCP, UDP, address_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xdpctl.samples.packets import Packet
    from xdpctl.samples.sample import Sample

    _Key: TypeAlias = bytes | int | str
    _Piece: TypeAlias = tuple[Any, ...]

SAMPLES_MAX = 60_000
"""Samples that all sums together keep."""

_PIECE = 100
"""Samples that are kept in one tuple: of each its time, its sum and its keys, one behind the other.
The garbage collector, which holds the loop, looks at every tuple that is new, and at everything in
a list, but never again at a tuple that has numbers, octets and text only."""

_LIKELY = 1.96
"""Standard errors of an interval that the true number is in, in 19 of 20 cases."""

_V4, _V6 = 4, 16


class By(StrEnum):
    """What packets can be summed by; the number behind `source` is a prefix length."""

    SOURCE = "source"
    SOURCE32 = "source32"
    SOURCE24 = "source24"
    SOURCE128 = "source128"
    SOURCE64 = "source64"
    SOURCE48 = "source48"
    NAME = "name"
    ZONE2 = "zone2"
    ZONE3 = "zone3"
    TYPE = "type"
    PORT = "port"
    SOURCE_PORT = "source-port"
    ACTION = "action"
    REASON = "reason"
    INTERFACE = "interface"


@dataclass(frozen=True, slots=True)
class Talker:
    """What the packets of one key come to.

    Attributes:
        key: a target where it can be one: `192.0.2.0/24`, `.evil.example`.
        packets: estimated.
        error: the true number is at most so far from it, in 19 of 20 cases.
        actions: the packets by what was done with them.
    """

    key: str
    packets: int
    error: int
    actions: dict[PacketAction, int]


# A sum is one whole number of fields: packets in front, so that sums compare by them, then what the
# error comes from, then packets by action. So a flood of names costs an addition each, little
# memory, and nothing of the garbage collector's time, which an object for each name does.
_FIELD = 64
_MASK = (1 << _FIELD) - 1
_SPREAD_AT = _FIELD * len(PacketAction)
_SPREAD_BITS = 96
_SPREAD_MASK = (1 << _SPREAD_BITS) - 1
_PACKETS_AT = _SPREAD_AT + _SPREAD_BITS


def _sum_of(weight: int, action: PacketAction) -> int:
    """Return the sum of one sample."""
    by_action = weight << _FIELD * action.value
    return weight << _PACKETS_AT | weight * (weight - 1) << _SPREAD_AT | by_action


def _talker(key: str, total: int) -> Talker:
    """Return what a sum says."""
    spread = total >> _SPREAD_AT & _SPREAD_MASK
    actions = {each: total >> _FIELD * each.value & _MASK for each in PacketAction}
    return Talker(
        key,
        total >> _PACKETS_AT,
        math.ceil(_LIKELY * math.sqrt(spread)),
        {action: packets for action, packets in actions.items() if packets},
    )


class Talkers:
    """Sums of the last seconds.

    Args:
        by: the dimensions.
        seconds: how long a sample counts.
        kept: bits of an IPv4 and an IPv6 address that samples have (`sample-addresses`).
        began: Unix time from which on there are samples.
    """

    def __init__(
        self, by: Sequence[By], seconds: float, *, kept: tuple[int, int] = (32, 128), began: float
    ) -> None:
        self.by = tuple(dict.fromkeys(by))
        self.most_samples = SAMPLES_MAX
        """How many samples are kept; with more, the time that the sums are of is shorter."""
        self._seconds = seconds
        self._since = began
        self._kept = kept
        self._keys = [_KEYS[each] for each in self.by]
        self._sums: list[dict[_Key, int]] = [{} for _ in self.by]
        self._pieces: deque[_Piece] = deque()
        self._last: list[Any] = []
        self._step = 2 + len(self.by)
        self._first = 0
        self._samples = 0
        self._all = 0

    def add(self, sample: Sample, packet: Packet) -> None:
        """Count a sample; samples come in the order of their time, or nearly."""
        one = _sum_of(sample.weight, sample.action)
        last = self._last
        last += (sample.time, one)
        for key_of, sums in zip(self._keys, self._sums, strict=True):
            key = key_of(sample, packet)
            last.append(key)
            if key is not None:
                sums[key] = sums.get(key, 0) + one
        self._all += one
        self._samples += 1
        if len(last) >= _PIECE * self._step:
            self._close_piece()
        for _ in range(min(2, self._samples - self.most_samples)):
            self._since = self._oldest()
            self._forget()

    def expire(self, now: float, at_once: int = SAMPLES_MAX) -> bool:
        """Forget samples that are too old; tell whether there may be more of them.

        Args:
            now: Unix time.
            at_once: samples that are forgotten at most.
        """
        self._since = max(self._since, now - self._seconds)
        for _ in range(at_once):
            if not self._samples or self._oldest() >= now - self._seconds:
                return False
            self._forget()
        return True

    def seconds(self, now: float) -> float:
        """Return how long the time is that the sums are of."""
        return max(now - self._since, 0.001)

    def total(self) -> Talker:
        """Return the sum of all."""
        return _talker("", self._all)

    def most(self, by: By, count: int) -> list[Talker]:
        """Return the keys of a dimension with the most packets, the first with the most."""
        sums = self._sums[self.by.index(by)]
        best = nlargest(count, sums.items(), key=itemgetter(1))
        return [_talker(self._text(by, key), total) for key, total in best]

    def _close_piece(self) -> None:
        self._pieces.append(tuple(self._last))
        self._last.clear()

    def _oldest(self) -> float:
        """Return the time of the oldest sample, of at least one."""
        if not self._pieces:
            self._close_piece()
        time: float = self._pieces[0][self._first]
        return time

    def _forget(self) -> None:
        """Forget the oldest sample, of which `_oldest` has just said the time."""
        piece, at = self._pieces[0], self._first
        one = piece[at + 1]
        for sums, key in zip(self._sums, piece[at + 2 : at + self._step], strict=True):
            if key is not None:
                left = sums[key] - one
                if left:
                    sums[key] = left
                else:
                    del sums[key]
        self._all -= one
        self._samples -= 1
        self._first += self._step
        if self._first == len(piece):
            self._pieces.popleft()
            self._first = 0

    def _text(self, by: By, key: _Key) -> str:
        if isinstance(key, bytes) and by in _PREFIXES:
            most = self._kept[0 if len(key) == _V4 else 1]
            length = min(_PREFIXES[by] or len(key) * 8, most)
            address = address_of(key)
            return str(address) if length == len(key) * 8 else f"{address}/{length}"
        if isinstance(key, bytes):
            text = Name(key).to_text()
            return text if by is By.NAME else f".{text}".replace("..", ".")
        if isinstance(key, str):
            return key
        if by is By.TYPE:
            return qtype_text(key)
        protocol, port = divmod(key, _PORTS)
        return f"{_PROTOCOLS.get(protocol, protocol)}/{port}"


_PREFIXES = {
    By.SOURCE: None,
    By.SOURCE32: 32,
    By.SOURCE24: 24,
    By.SOURCE128: 128,
    By.SOURCE64: 64,
    By.SOURCE48: 48,
}
_PROTOCOLS = {TCP: "tcp", UDP: "udp"}
_PORTS = 1 << 16


def _prefix(size: int, length: int) -> Callable[[Sample, Packet], _Key | None]:
    kept = length // 8
    rest = bytes(size - kept)

    def key(_: Sample, packet: Packet) -> bytes | None:
        source = packet.source
        return source[:kept] + rest if len(source) == size else None

    return key


def _zone(labels: int) -> Callable[[Sample, Packet], _Key | None]:
    def key(_: Sample, packet: Packet) -> bytes | None:
        name = packet.name
        if name is None:
            return None
        starts = []
        at = 0
        while name[at]:
            starts.append(at)
            at += name[at] + 1
        return name[starts[-labels] :] if len(starts) > labels else name

    return key


def _port(packet: Packet, port: int | None) -> int | None:
    return None if port is None or packet.protocol is None else packet.protocol * _PORTS + port


_ACTION_WORDS = {action: action.name.lower() for action in PacketAction}
_REASON_WORDS = {reason: reason.label for reason in Reason}

_KEYS: dict[By, Callable[[Sample, Packet], _Key | None]] = {
    By.SOURCE: lambda _, packet: packet.source or None,
    By.SOURCE32: _prefix(_V4, 32),
    By.SOURCE24: _prefix(_V4, 24),
    By.SOURCE128: _prefix(_V6, 128),
    By.SOURCE64: _prefix(_V6, 64),
    By.SOURCE48: _prefix(_V6, 48),
    By.NAME: lambda _, packet: packet.name,
    By.ZONE2: _zone(2),
    By.ZONE3: _zone(3),
    By.TYPE: lambda _, packet: packet.qtype,
    By.PORT: lambda _, packet: _port(packet, packet.port),
    By.SOURCE_PORT: lambda _, packet: _port(packet, packet.source_port),
    By.ACTION: lambda sample, _: _ACTION_WORDS[sample.action],
    By.REASON: lambda sample, _: _REASON_WORDS[sample.reason],
    By.INTERFACE: lambda sample, _: sample.interface,
}
