"""The index: what the program looks at before it looks anything up.

Owns the value of the map `name-index` (`struct name_index`, xdp/abi.h): which maps are
empty, and of the question names two bitmaps and the heartbeat. A bit that is 0 in the
bitmap in force tells the program that a key is not in qnames; it believes that only while
the heartbeat is fresh.

    on      the heartbeat goes on; every key that a walk found, and every key that we
            are about to write, has its bit in both bitmaps
    off     the heartbeat is 0 and nothing is kept: the program looks everything up

Which maps are empty has a heartbeat of its own and does not care whether that is on.

Bits of keys that are gone are taken out by making the bitmap anew that is not in force,
and changing over. That one was not in force for `REBUILD_SECONDS`, so that no packet is
still being judged by it.

Which bit is a key's follows from factors that are in the map as well, random and nobody
else's to know: whoever sends names cannot choose some that share bits with blocked ones.

Used by the follower (name_follower.py), which reads the maps, and by whoever writes them.
Nothing here blocks for long, and any thread may call it.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import deque
from typing import TYPE_CHECKING

from xdpctl import abi
from xdpctl.abi import INDEX_HEADER_SIZE, INDEX_WORDS, MAPS, MapName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FOLLOW_MAX = 10_000
"""Names up to which the map is followed: a walk of 2 ms, one look-up in 20 is in vain."""

REBUILD_SECONDS = 2.0
CLAIM_SECONDS = 10.0
"""How long the bit of a key stays that we said we would write and no walk has found."""

QUIET_SECONDS = 1.0
"""How long nothing of ours may have been written unseen before the index is on again, and
nothing written to a map before that is called empty: longer than anything is believed."""

_HEARTBEAT, _FRESH, _ASKED, _EMPTY, _TYPE_FACTOR, _FACTORS = (
    offset // 8
    for offset in (
        0,
        abi.INDEX_FRESH_OFFSET,
        abi.INDEX_ASKED_OFFSET,
        abi.INDEX_EMPTY_OFFSET,
        abi.INDEX_TYPE_FACTOR_OFFSET,
        abi.INDEX_FACTORS_OFFSET,
    )
)
_KEY_SIZE = MAPS[MapName.QNAMES].key_size
_FIRST_WORD = INDEX_HEADER_SIZE // 8


class NameIndex:
    """The index, written in place.

    Args:
        memory: the map's value, zeros or what a former service left.
        fresh: ticks that a heartbeat may be old.
        clock: seconds of the monotonic clock.
    """

    def __init__(
        self, memory: memoryview, *, fresh: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._words = memory.cast("Q")
        self._clock = clock
        self._lock = threading.Lock()
        self._on = False
        self._half = 0
        self._bits: dict[bytes, int] = {}  # of the keys that the last walk found
        self._claims: deque[tuple[float, int]] = deque()
        self._unseen = float("-inf")
        self._stale = False
        self._rebuilt = float("-inf")
        self._written: dict[MapName, float] = {}
        self._words[_HEARTBEAT] = self._words[_EMPTY] = 0
        self._words[_FRESH] = fresh
        self._bit_of = self._secret().bit

    @property
    def on(self) -> bool:
        """Whether the program may believe it about names, if the heartbeat is fresh."""
        return self._on

    @property
    def asked(self) -> int:
        """The tick at which the program last wanted to know something."""
        return self._words[_ASKED]

    def on_write(self, name: MapName) -> None:
        """Note that a map is about to have entries: called before, by the writer."""
        with self._lock:
            self._written[name] = self._clock()
            self._words[_EMPTY] &= ~abi.encode_empty(0, [name])

    def looked(self, tick: int, empty: Iterable[MapName]) -> None:
        """Take over which maps had no entry, at some time after the tick was read."""
        with self._lock:
            settled = self._clock() - QUIET_SECONDS
            self._words[_EMPTY] = abi.encode_empty(
                tick, [name for name in empty if self._written.get(name, settled) <= settled]
            )

    def on_names(self, keys: bytes) -> None:
        """Note keys, end to end, that are about to be written: called before, by the writer."""
        with self._lock:
            now = self._clock()
            self._drop_claims(now)
            count = len(keys) // _KEY_SIZE
            if self._on and len(self._bits) + len(self._claims) + count > FOLLOW_MAX:
                self._names_off()
            if not self._on:
                self._unseen = now
                return
            for key in _split(keys):
                bit = self._bit_of(key)
                self._set(bit)
                self._claims.append((now, bit))

    def walked(self, tick: int, keys: Callable[[], bytes], *, changed: bool) -> None:
        """Take over what a walk found, and give the program its heartbeat.

        Args:
            tick: read before the walk began.
            keys: gives all keys found, end to end; called where they are needed.
            changed: whether they differ from those of the walk taken over before.
        """
        with self._lock:
            now = self._clock()
            if not self._on and now - self._unseen < QUIET_SECONDS:
                return
            if changed or not self._on:
                self._take_over(keys())
            overdue = now - self._rebuilt >= REBUILD_SECONDS
            if overdue and (self._stale or not self._on):
                self._rebuild(now)
        # The lock is given back and taken, so that no CPU sees the heartbeat before the bits.
        with self._lock:
            if self._on:
                self._words[_HEARTBEAT] = tick << 1 | self._half

    def names_off(self) -> None:
        """Have the program look every name up, from now on and until a walk is taken over."""
        with self._lock:
            self._names_off()

    def turn_off(self) -> None:
        """Have the program look everything up, from now on."""
        with self._lock:
            self._names_off()
            self._words[_EMPTY] = 0

    def distrust(self) -> None:
        """Turn off for a while: the program may be reading other maps than those read here."""
        with self._lock:
            self._names_off()
            self._words[_EMPTY] = 0
            self._unseen = self._clock()
            self._written = dict.fromkeys(MAPS, self._unseen)

    def _secret(self) -> abi.IndexFactors:
        """Return the factors that the map holds; they are drawn where it holds none.

        Those of a former service stay: its program may be at a packet, with a bitmap that was
        made with them.
        """
        places = slice(_FACTORS, _FACTORS + abi.INDEX_FACTORS)
        if not any(self._words[places]):
            drawn = abi.IndexFactors.random()
            self._words[places] = memoryview(array("Q", drawn.names))
            self._words[_TYPE_FACTOR] = drawn.qtype
        return abi.IndexFactors(self._words[places].tolist(), self._words[_TYPE_FACTOR])

    def _names_off(self) -> None:
        self._words[_HEARTBEAT] = 0
        self._on = False
        self._bits.clear()
        self._claims.clear()

    def _take_over(self, keys: bytes) -> None:
        found = set(_split(keys))
        gone = self._bits.keys() - found
        for key in gone:
            del self._bits[key]
        for key in found - self._bits.keys():
            bit = self._bits[key] = self._bit_of(key)
            if self._on:
                self._set(bit)
        self._stale |= bool(gone)

    def _rebuild(self, now: float) -> None:
        """Make the bitmap that is not in force anew, and change over to it."""
        self._drop_claims(now)
        fresh = memoryview(bytearray(8 * INDEX_WORDS)).cast("Q")
        for bit in self._all_bits():
            fresh[bit >> 6] |= 1 << (bit & 63)
        self._half = 1 - self._half
        start = _FIRST_WORD + self._half * INDEX_WORDS
        self._words[start : start + INDEX_WORDS] = fresh
        self._stale = bool(self._claims)
        self._rebuilt = now
        self._on = True

    def _all_bits(self) -> Iterable[int]:
        yield from self._bits.values()
        yield from (bit for _, bit in self._claims)

    def _set(self, bit: int) -> None:
        for start in (_FIRST_WORD, _FIRST_WORD + INDEX_WORDS):
            self._words[start + (bit >> 6)] |= 1 << (bit & 63)

    def _drop_claims(self, now: float) -> None:
        while self._claims and now - self._claims[0][0] > CLAIM_SECONDS:
            self._claims.popleft()
            self._stale = True


def _split(keys: bytes) -> Iterator[bytes]:
    return (keys[at : at + _KEY_SIZE] for at in range(0, len(keys), _KEY_SIZE))
