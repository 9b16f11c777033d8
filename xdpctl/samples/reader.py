"""Turns the filter's records into samples.

Owns the way from the ring buffer to values: names of interfaces, the time of day, how much of a
frame is kept, and the truncation of addresses, before anything else sees a sample. Does not own the
ring buffer (kernel/bpf/ring.py) or how much is sampled (sampler.py). Used on one thread, by
service/samples.py. Blocks for some microseconds a sample.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from xdpctl.abi import (
    SAMPLE_DEPTH_NONE,
    SAMPLE_HEADER_SIZE,
    PacketAction,
    Reason,
    Stratum,
    decode_sample_header,
)
from xdpctl.samples.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from xdpctl.samples.addresses import Truncation

    class Records(Protocol):
        """What gives records: kernel.bpf.ring.RingReader."""

        def read(self) -> list[bytes]:
            """Return the records that have come since the last call."""


_REASONS = {reason.value: reason for reason in Reason}
_ACTIONS = tuple(PacketAction)


class SampleReader:
    """Reads samples.

    Args:
        records: where the filter's records come from.
        names: of the service's interfaces, by their index.
        length: octets of a frame that are kept.
        truncation: of the addresses of clients; None: they are kept as they are.
        wall_clock, monotonic_clock: nanoseconds.
    """

    def __init__(  # noqa: PLR0913 - what a sample is made of
        self,
        records: Records,
        names: Callable[[], Mapping[int, str]],
        *,
        length: int,
        truncation: Truncation | None,
        wall_clock: Callable[[], int] = time.time_ns,
        monotonic_clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._records = records
        self._names = names
        self._length = length
        self._truncation = truncation
        self._wall_clock = wall_clock
        self._monotonic_clock = monotonic_clock
        self.taken: Counter[Stratum] = Counter()
        """How many samples there were of each stratum."""

    def read(self) -> list[Sample]:
        """Return the samples that have come since the last call."""
        records = self._records.read()
        if not records:
            return []
        ahead = self._wall_clock() - self._monotonic_clock()
        names = dict(self._names())
        samples = list(self._samples(records, ahead, names))
        self.taken.update(Stratum.of(sample.action) for sample in samples)
        return samples

    def _samples(
        self, records: Iterable[bytes], ahead: int, names: dict[int, str]
    ) -> Iterable[Sample]:
        for record in records:
            header = decode_sample_header(record)
            reason = _REASONS.get(header.verdict >> 2)
            if reason is None:  # of a later program
                continue
            if (interface := names.get(header.ifindex)) is None:
                interface = names[header.ifindex] = _name_of(header.ifindex)
            kept = min(header.captured, self._length)
            frame = record[SAMPLE_HEADER_SIZE : SAMPLE_HEADER_SIZE + kept]
            yield Sample(
                time=(header.time + ahead) / 1e9,
                interface=interface,
                action=_ACTIONS[header.verdict & 3],
                reason=reason,
                weight=header.weight,
                length=header.length,
                frame=frame if self._truncation is None else self._truncation(frame),
                depth=None if header.depth == SAMPLE_DEPTH_NONE else header.depth,
            )


def _name_of(index: int) -> str:
    """Return the name of an interface that is not the service's own: a card of a bond."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)
