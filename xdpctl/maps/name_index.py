"""The index: the program reads it first, and skips look-ups that cannot find anything.

Owns the value of the map `name-index` (`struct name_index`, xdp/abi.h): which maps are
empty, and for the question names two bitmaps and a heartbeat. If a key's bit is 0 in the active
bitmap, the key is not in qnames. The program trusts that only while the heartbeat is fresh.

    on      the heartbeat is kept fresh; every key that a walk found, and every key that
            is about to be written, has its bit set in both bitmaps
    off     the heartbeat is 0 and the bitmaps are not maintained: the program looks all
            names up

The information about empty maps has a heartbeat of its own, independent of on and off.

To remove the bits of deleted keys, the inactive bitmap is built again and then becomes the
active one. It has been inactive for at least `REBUILD_SECONDS`, so no packet that is still
being processed uses it.

Random factors in the map decide which bit belongs to a key. They are secret, so a sender cannot
choose names that share bits with blocked names.

Does not own the thread or the map (name_follower.py). Called by name_follower.py after it has
read the maps, and by the maps' writers before they write (`Map.before_write`). Nothing here
blocks for long, and any thread may call it.
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
"""Most names that are followed: a walk takes 2 ms, and at most 1 name in 20
without a rule is looked up."""

REBUILD_SECONDS = 2.0
CLAIM_SECONDS = 10.0
"""How long the bit of an announced key is kept if no walk finds the key."""

QUIET_SECONDS = 1.0
"""How long no write of ours may have been missed before the index goes on, and how long a map
must not have been written to before it counts as empty. Longer than any information is trusted."""

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
        memory: the map's value: zeros, or the value that a former service left.
        fresh: age in ticks up to which a heartbeat counts as fresh.
        clock: returns the seconds of the monotonic clock.
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
        """Whether the program may use it for names while the heartbeat is fresh."""
        return self._on

    @property
    def asked(self) -> int:
        """The tick at which the program last used the index."""
        return self._words[_ASKED]

    def on_write(self, name: MapName) -> None:
        """Note that a map is about to get entries; the writer calls this before it writes."""
        with self._lock:
            self._written[name] = self._clock()
            self._words[_EMPTY] &= ~abi.encode_empty(0, [name])

    def looked(self, tick: int, empty: Iterable[MapName]) -> None:
        """Store which maps had no entry, at some time after the tick was read."""
        with self._lock:
            settled = self._clock() - QUIET_SECONDS
            self._words[_EMPTY] = abi.encode_empty(
                tick, [name for name in empty if self._written.get(name, settled) <= settled]
            )

    def on_names(self, keys: bytes) -> None:
        """Note keys, end to end; the writer calls this before it writes them."""
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
        """Store the result of a walk, and write the heartbeat.

        Args:
            tick: read before the walk began.
            keys: returns all keys that were found, end to end; called only when needed.
            changed: whether they differ from the keys of the previous stored walk.
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
        # The lock is released and taken again, so that no CPU sees the heartbeat before the bits.
        with self._lock:
            if self._on:
                self._words[_HEARTBEAT] = tick << 1 | self._half

    def names_off(self) -> None:
        """Make the program look every name up, until the next walk is stored."""
        with self._lock:
            self._names_off()

    def turn_off(self) -> None:
        """Make the program look everything up from now on."""
        with self._lock:
            self._names_off()
            self._words[_EMPTY] = 0

    def distrust(self) -> None:
        """Turn off for a while: the program may read other maps than the thread does."""
        with self._lock:
            self._names_off()
            self._words[_EMPTY] = 0
            self._unseen = self._clock()
            self._written = dict.fromkeys(MAPS, self._unseen)

    def _secret(self) -> abi.IndexFactors:
        """Return the factors in the map; draw and store them if there are none.

        The factors of a former service stay: its program may still be processing a packet
        with a bitmap that was built with them.
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
        """Build the inactive bitmap again, and make it the active one."""
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
