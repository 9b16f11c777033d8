"""Follows the maps for the index: a thread that looks which are empty and walks qnames.

Owns the thread, the map `name-index` (not pinned: it lives as long as the program that
reads it, and a dead service's is not believed) and the clock of both, which is the
kernel's tick. What the index holds is name_index.py's. Started by the service before the
program is attached, ended after it; where it cannot run, the program looks everything up.
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
"""Between the beginnings of two turns, while the program asks."""

REST_SECONDS = 2.0
"""How long names are not followed after there were too many."""

WALK_SECONDS = 0.005
"""CPU time above which a walk is too expensive, as in a map with room for millions."""

DEAR_WALKS = 3
"""How many of them in a row it takes: one may have met something else."""

LOOK_MAX = 131_072
"""Room up to which a map is looked at: the kernel goes through all buckets of one that is
empty, in 0.1 ms for so many."""

UNASKED_TURNS = 20
"""Turns without a question from the program, after which following pauses until it asks."""

QUIET_SECONDS = 0.2
"""Between two turns in such a pause; packets in between are looked up in full."""

TRUSTED_SECONDS = 0.06
"""What was written to a map longer ago is found, whoever wrote it (abi.h). PACKETS.md gives
100 ms; less, so that who blocks a name by hand and looks at once sees it blocked."""

UNASKED_LOOKS = 5
"""Of so many turns meanwhile one looks which maps are empty: once a second, so that whoever
comes next knows that there is something to ask for."""

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
        maps: those that the program looks into, qnames among them; owned by the caller,
            closed later. What is written through these objects acts at once, without
            waiting for a turn.
        former: the index of a former service whose program reads these maps; taken over
            and closed, so that this program can go on as it is.

    Attributes:
        map: what the program refers to.
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
            KernelError: the map cannot be made; what else fails is logged.
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
        except RuntimeError as error:  # no room for another thread
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
        except Exception as error:  # noqa: BLE001 - whatever it is, packets are judged without
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
    """One look after another: which maps are empty, and what names there are.

    Args:
        index: told of each.
        walk: reads the names' keys.
        clock: gives the tick.
        maps: looked at; those with too much room are not.
        spent: seconds of this thread on the CPU.
        now: seconds of the monotonic clock.
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
        """Look once, and walk if anyone asks; return the seconds until the next time."""
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
        """Return the maps that have no entry; what cannot be read has one."""
        found = []
        for name, looked_at in self._maps.items():
            with contextlib.suppress(KernelError):
                if looked_at.info.max_entries <= LOOK_MAX and looked_at.is_empty():
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
        """Return whether the program wanted to know something in the last turns."""
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
        """Log a change: followed, or not and why."""
        if why != self._said:
            self._said = why
            if why:
                event(_log, "name-index-off", level, why=why, effect=_EFFECT)
            else:
                event(_log, "name-index-on")


class TickClock:
    """The kernel's tick (jiffies), which no system call tells: a program writes it down.

    Args:
        bpf: the kernel.
        index: the map, where the program puts the tick.
        memory: its value.

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
        """Return the tick as it is now."""
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
