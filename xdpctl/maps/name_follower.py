"""A thread that keeps the index up to date: it finds empty maps and reads all names.

Owns the thread, the map `name-index`, and their clock, the kernel's tick. Does not own the
contents of the map (name_index.py). The service starts it before it attaches the program and ends
it afterwards. If the thread cannot run, the program looks everything up. The index of a service
that has died goes out of date by itself, and the program no longer uses it. Called by
service/resources.py and service/pin_repair.py.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import struct
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Self

from xdpctl.abi import INDEX_TICKS_OFFSET, MAPS, MapName
from xdpctl.errors import KernelError, XdpctlError
from xdpctl.kernel.bytecode import Bytecode
from xdpctl.maps.name_index import FOLLOW_MAX, NameIndex
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from xdpctl.kernel.bpf.keywalk import KeyWalk
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.syscall import Bpf

INTERVAL_SECONDS = 0.02
"""From the start of one turn to the next, while the program uses the index."""

REST_SECONDS = 2.0
"""How long names are not followed after there were too many."""

WALK_SECONDS = 0.005
"""CPU time above which a walk is too expensive, as in a map with room for millions."""

DEAR_WALKS = 3
"""Expensive walks in a row before following pauses: other work can slow down a single walk."""

LOOK_MAX = 131_072
"""Most entries a map may have room for and still be checked for being empty: the kernel goes
through all buckets of an empty map, which takes 0.1 ms at this size."""

UNASKED_TURNS = 20
"""Turns in which the program did not use the index, after which following pauses."""

QUIET_SECONDS = 0.2
"""Between two turns during such a pause; until the next turn packets are looked up in full."""

TRUSTED_SECONDS = 0.06
"""Age after which every entry of a map takes effect, no matter what wrote it (abi.h). PACKETS.md
allows 100 ms; a shorter time lets an operator who blocks a name see the effect at once."""

UNASKED_LOOKS = 5
"""During a pause, one turn of this many checks which maps are empty, about once a second, so
that the program sees an index that it can use."""

_MONOTONIC_COARSE = 6
_NOT_NOW = frozenset({errno.EBUSY, errno.EINTR, errno.EAGAIN})
_FRAME = bytes(14)
_EFFECT = "names are looked up one by one, which costs each packet a quarter of a microsecond"

_log = logging.getLogger(__name__)


def fresh_ticks(tick_seconds: float) -> int:
    """Return how many ticks old a heartbeat may be: fresh + 1 are at most TRUSTED_SECONDS."""
    return max(0, int(TRUSTED_SECONDS / tick_seconds + 1e-6) - 1)


class NameFollower:
    """The thread and its resources. A context manager that starts and ends it.

    Args:
        bpf: the kernel.
        maps: the maps that the program looks into, qnames among them; the caller closes them,
            after this. What is written through these objects takes effect at once, without
            waiting for a turn.
        former: the index of a former service whose program reads these maps; taken over, so
            that this program need not be replaced, and closed at the end.

    Attributes:
        map: the map that the program refers to.
    """

    def __init__(self, bpf: Bpf, maps: Mapping[MapName, Map], former: Map | None = None) -> None:
        self._bpf = bpf
        self._maps = dict(maps)
        self._former = former
        self._index: NameIndex | None = None
        self._resources = contextlib.ExitStack()
        self._stop = threading.Event()
        self.map: Map

    def __enter__(self) -> Self:
        """Make the map and start following.

        Raises:
            KernelError: the map cannot be made; other failures are logged.
        """
        spec = MAPS[MapName.NAME_INDEX]
        with contextlib.ExitStack() as stack:
            self.map = self._former or self._bpf.create_map(spec, spec.entries)
            stack.enter_context(self.map)
            try:
                memory = self.map.memory()
                clock = stack.enter_context(TickClock(self._bpf, self.map, memory))
            except XdpctlError as error:
                _log_end(error)
            else:
                self._follow(stack, memory, clock)
            self._resources = stack.pop_all()
        return self

    def _follow(
        self, stack: contextlib.ExitStack, memory: memoryview, clock: Callable[[], int]
    ) -> None:
        index = self._index = NameIndex(
            memory, fresh=fresh_ticks(time.clock_getres(_MONOTONIC_COARSE))
        )
        walk = self._maps[MapName.QNAMES].key_walk(FOLLOW_MAX)
        turn = Turn(index, walk, clock, self._maps)
        for name, followed in self._maps.items():
            followed.before_write = partial(_before_write, index, name)
        thread = threading.Thread(target=self._run, args=(index, turn), name="names", daemon=True)
        stack.callback(index.turn_off)
        try:
            thread.start()
        except RuntimeError as error:  # the system allows no further thread
            _log_end(error)
        else:
            stack.callback(self._end, thread)

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def distrust(self) -> None:
        """Make the program look everything up for a while: its maps are about to change."""
        if self._index is not None:
            self._index.distrust()

    def _run(self, index: NameIndex, turn: Turn) -> None:
        try:
            while not self._stop.wait(turn()):
                pass
        except Exception as error:  # noqa: BLE001 - on any error, the index goes off
            index.turn_off()
            _log_end(error)

    def _end(self, thread: threading.Thread) -> None:
        self._stop.set()
        thread.join()


def _before_write(index: NameIndex, name: MapName, keys: bytes) -> None:
    index.on_write(name)
    if name is MapName.QNAMES:
        index.on_names(keys)


class Turn:
    """One turn of the thread: finds the empty maps and reads the names. Called repeatedly.

    Args:
        index: receives the results.
        walk: reads the keys of the names.
        clock: returns the tick.
        maps: checked for being empty, except those with too much room.
        spent: returns the CPU seconds of this thread.
        now: returns the seconds of the monotonic clock.
    """

    def __init__(  # noqa: PLR0913 - two of them clocks that only a test gives
        self,
        index: NameIndex,
        walk: KeyWalk,
        clock: Callable[[], int],
        maps: Mapping[MapName, Map],
        *,
        spent: Callable[[], float] = time.thread_time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index = index
        self._walk = walk
        self._clock = clock
        self._maps = maps
        self._spent = spent
        self._now = now
        self._rested = float("-inf")
        self._dear = 0
        self._asked = 0
        self._unasked = 0
        self._said = ""

    def __call__(self) -> float:
        """Do one turn; read the names if the program uses the index. Return the seconds to wait."""
        began = self._now()
        try:
            asked = self._is_asked()
            if not asked and self._unasked % UNASKED_LOOKS:
                return QUIET_SECONDS
            tick = self._clock()
            self._index.looked(tick, self._empty_maps())
            if not asked:
                return QUIET_SECONDS
            if began >= self._rested:
                self._walk_names(tick)
        except KernelError as error:
            if error.errno in _NOT_NOW:
                return INTERVAL_SECONDS / 10
            self._rest(error.sentence, logging.ERROR)
        return max(0.0, began + INTERVAL_SECONDS - self._now())

    def _empty_maps(self) -> list[MapName]:
        """Return the maps that have no entry; a map that cannot be read counts as not empty."""
        found = []
        for name, opened in self._maps.items():
            with contextlib.suppress(KernelError):
                if opened.info.max_entries <= LOOK_MAX and opened.is_empty():
                    found.append(name)
        return found

    def _walk_names(self, tick: int) -> None:
        before = self._spent()
        count = self._walk.walk()
        dear = self._spent() - before > WALK_SECONDS
        if count is None:
            self._rest(f"qnames has more than {FOLLOW_MAX} names")
            return
        self._dear = min(self._dear + 1, DEAR_WALKS) if dear else 0
        if self._dear == DEAR_WALKS:
            self._rest(f"reading all names takes more than {WALK_SECONDS} s")
            return
        self._index.walked(tick, self._walk.keys, changed=self._walk.changed)
        if self._index.on:
            self._say("")

    def _is_asked(self) -> bool:
        """Return whether the program used the index in the last turns."""
        asked = self._index.asked
        self._unasked = 0 if asked != self._asked else self._unasked + 1
        self._asked = asked
        return self._unasked <= UNASKED_TURNS

    def _rest(self, why: str, level: int = logging.INFO) -> None:
        """Stop following the names for a while."""
        self._index.names_off()
        self._say(why, level)
        self._rested = self._now() + REST_SECONDS

    def _say(self, why: str, level: int = logging.INFO) -> None:
        """Log that following began (empty text) or paused, and why; only when that changes."""
        if why != self._said:
            self._said = why
            if why:
                event(_log, "name-index-off", level, why=why, effect=_EFFECT)
            else:
                event(_log, "name-index-on")


class TickClock:
    """The kernel's tick (jiffies). No system call returns it, so a BPF program stores it.

    Args:
        bpf: the kernel.
        index: the map in which the program stores the tick.
        memory: the map's value.

    Raises:
        KernelError, VerifierError: the kernel does not load the program.
    """

    def __init__(self, bpf: Bpf, index: Map, memory: memoryview) -> None:
        instructions = Bytecode(_TICK_PROGRAM).relocate({MAPS[MapName.NAME_INDEX].ref: index.fd})
        self._program = bpf.load_program(instructions, "xdpctl_ticks")
        self._ticks = memory[INDEX_TICKS_OFFSET : INDEX_TICKS_OFFSET + 8].cast("Q")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._program.close()

    def __call__(self) -> int:
        """Return the present tick."""
        self._program.test_run(_FRAME)
        return self._ticks[0]


_TICK_PROGRAM = b"".join(
    struct.pack("=BBhi", *instruction)
    for instruction in (
        (0x85, 0, 0, 118),  # r0 = bpf_jiffies64()
        (0x18, 0x21, 0, MAPS[MapName.NAME_INDEX].ref),  # r1 = the address of the value
        (0, 0, 0, INDEX_TICKS_OFFSET),  # + where `ticks` is in it
        (0x7B, 0x01, 0, 0),  # *(u64 *)r1 = r0
        (0xB7, 0, 0, 2),  # r0 = XDP_PASS
        (0x95, 0, 0, 0),  # exit
    )
)


def _log_end(error: Exception) -> None:
    why = error.sentence if isinstance(error, XdpctlError) else repr(error)
    event(_log, "name-index-off", logging.ERROR, why=why, effect=_EFFECT)
