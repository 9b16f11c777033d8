"""Has the filter take samples: how many, of how large blocks, and until when.

Owns what is written to sample-state (abi.h, "Samples of packets"). A CPU that exceeds the budget
makes its blocks longer by itself and at once; here they become shorter again when fewer samples
come than may. Both depend on what is past only, so that each packet of a block has the same chance.
Does not own the samples (reader.py). Used on one thread, by service/samples.py. Writes to memory
and never blocks.
"""

from __future__ import annotations

import math
import struct
import time
from typing import TYPE_CHECKING

from xdpctl.abi import (
    SAMPLE_CPU_SIZE,
    SAMPLE_EPOCH_OFFSET,
    SAMPLE_SHIFTS_OFFSET,
    SAMPLE_STATE_SIZE,
    SAMPLE_TIME_SHIFT,
    Stratum,
    encode_sample_limits,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EPOCH_SECONDS = 0.25
PATIENCE_SECONDS = 3
"""If there is no new epoch for so long, the filter stops by itself: the service is gone."""

ROOM_SECONDS = 0.25
"""So much of the budget may be used at one moment."""

_STEP = 3
"""Blocks become shorter by 2 to this power at most, at one look."""

_EPOCH = struct.Struct("=Q")
_SHIFTS = struct.Struct(f"={len(Stratum)}I")


class Sampler:
    """Writes to sample-state.

    Args:
        state: its memory.
        ticks_a_second: of the kernel's clock.
        clock: nanoseconds of a monotonic clock, which numbers the epochs.
    """

    def __init__(
        self,
        state: memoryview,
        ticks_a_second: int,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._state = state
        self._ticks = ticks_a_second
        self._clock = clock
        self._budget = 0
        self._looked = 0

    def allow(self, budget: int) -> None:
        """Set how many samples a second there may be: half of them passed, half of them taken."""
        self._budget = max(1, budget // len(Stratum))
        price = (self._ticks << SAMPLE_TIME_SHIFT) // self._budget
        room = max(price, round(ROOM_SECONDS * (self._ticks << SAMPLE_TIME_SHIFT)))
        limits = encode_sample_limits(PATIENCE_SECONDS * self._ticks, (price, price), (room, room))
        at = SAMPLE_EPOCH_OFFSET + _EPOCH.size
        self._state[at : at + len(limits)] = limits

    def begin(self) -> None:
        """Have samples taken from now on, of every packet at first."""
        self._state[SAMPLE_SHIFTS_OFFSET:SAMPLE_STATE_SIZE] = bytes(
            SAMPLE_STATE_SIZE - SAMPLE_SHIFTS_OFFSET
        )
        self._looked = self._clock()
        self._begin_epoch()

    def end(self) -> None:
        """Have no more samples taken."""
        _EPOCH.pack_into(self._state, SAMPLE_EPOCH_OFFSET, 0)

    def look(self, taken: Mapping[Stratum, int], *, full: bool = False) -> None:
        """Begin another epoch, with shorter blocks if few samples came in the one that ends.

        Args:
            taken: how many samples came since the last look.
            full: more came than could be read in time, so few is not what was sampled.
        """
        now = self._clock()
        due = self._budget * (now - self._looked) / 1e9
        self._looked = now
        steps = [0 if full else _step(due, taken.get(stratum, 0)) for stratum in Stratum]
        if any(steps):
            for at in range(SAMPLE_SHIFTS_OFFSET, SAMPLE_STATE_SIZE, SAMPLE_CPU_SIZE):
                shifts = _SHIFTS.unpack_from(self._state, at)
                if any(shifts):
                    shorter = (max(0, s - step) for s, step in zip(shifts, steps, strict=True))
                    _SHIFTS.pack_into(self._state, at, *shorter)
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        _EPOCH.pack_into(self._state, SAMPLE_EPOCH_OFFSET, self._clock() | 1)


def _step(due: float, taken: int) -> int:
    """Return by how much the blocks of a stratum can become shorter, as a shift."""
    if due < 2 * taken:
        return 0
    return min(_STEP, int(math.log2(due / taken))) if taken else _STEP
