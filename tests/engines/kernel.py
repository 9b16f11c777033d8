"""The loaded program as an engine: BPF_PROG_TEST_RUN over private, unpinned maps.

Compiles and loads each configuration once and fills one set of maps again where the
scene changes. Needs root. A slot of xskmap is filled with an AF_XDP socket that is
bound to nothing: the look-up finds it, and a test run sends nothing anywhere.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from tests.engines import EngineError
from tests.engines.batch import NO_SLOT, kernel_library, loaded
from tests.engines.entries import (
    Index,
    counted_between,
    destination_keys,
    hit_between,
    index_of,
    rule_entries,
)
from tests.engines.limited import ARRAYS, exempt_entries, limit_arrays
from tests.engines.made_once import compiled_once
from tests.engines.tables import OWN, SHAPE, SceneTables, is_own
from tests.engines.zoned import MOST_ZONES, ZONE_ARRAYS, maps_of
from tests.packets.case import Result, Scene, Verdict
from xdpctl.abi import (
    COUNTERS_SIZE,
    MAPS,
    SCRATCH_SIZE,
    ZONE_BUCKET_SIZE,
    MapName,
    encode_control,
)
from xdpctl.kernel.bpf.kind import ProgramKind
from xdpctl.maps.name_follower import TickClock
from xdpctl.program.config import TableProgram

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.engines.batch import Batch
    from tests.engines.entries import Entry
    from tests.packets.case import LimitedZone
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.programs import Program
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.program.config import ProgramConfig, Recipe

AF_XDP = 44
SOL_XDP = 283
XDP_RX_RING = 2
SHORTEST = 14
LONGEST = 3000
"""Octets of a frame that a program test run takes: a page less what the kernel keeps."""

_FIRST = struct.pack("=I", 0)


class Kernel:
    """The engine; `close` gives back programs, maps and sockets.

    Args:
        bpf: the system call.
        bytecode_of: where a configuration's program comes from.
        index: what the index of names is like.
        library: where the library is that runs batches.
    """

    def __init__(
        self,
        bpf: Bpf,
        bytecode_of: Callable[[Recipe], Bytecode] = compiled_once,
        *,
        index: Index = Index.STALE,
        library: Callable[[], Path] = kernel_library,
    ) -> None:
        self.name = f"kernel, {index.value}"
        self._index = index
        self._bpf = bpf
        self._bytecode_of = bytecode_of
        self._library = library
        self._stack = ExitStack()
        self._maps: dict[MapName, Map] = {}
        self._programs: dict[ProgramConfig, Program] = {}
        self._sockets: dict[int, socket.socket] = {}  # one that is closed leaves its slot
        self._scene = Scene()
        self._zones: tuple[LimitedZone, ...] = ()
        self._zone_keys: list[bytes] = []
        self._rules: dict[Entry, bytes] = {}
        self._others: list[Entry] = []
        self._tables: SceneTables | None = None
        self._counters = b""

    def __enter__(self) -> Self:
        arrays = ARRAYS | ZONE_ARRAYS
        for name, spec in MAPS.items():
            made = self._bpf.create_map(spec, arrays.get(name) or SHAPE.entries(name))
            self._maps[name] = self._stack.enter_context(made)
        self._limits = {name: self._maps[name].memory() for name in arrays}
        index = self._maps[MapName.NAME_INDEX]
        self._ticks = self._stack.enter_context(TickClock(self._bpf, index, index.memory()))
        self._counters = bytes(COUNTERS_SIZE * self._bpf.possible_cpus())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what is held."""
        self._stack.close()
        self._maps.clear()
        self._programs.clear()
        self._tables = None
        self._sockets.clear()

    @staticmethod
    def takes(frame: bytes) -> bool:
        return SHORTEST <= len(frame) <= LONGEST

    def goes(self, scene: Scene, batch: Batch) -> bool:
        program = self._program(scene.config)
        if scene != self._scene:
            self._enter(scene)
        in_c = batch.in_c(map(self._place, self._rules), scene.first_buffer)
        cpus = self._bpf.possible_cpus()
        went = loaded(self._library()).kernel_batch(
            ctypes.byref(in_c), program.fd, self._maps[MapName.COUNTERS].fd, cpus
        )
        self._counters = self.value(MapName.COUNTERS, _FIRST)
        self._rules = {entry: self._value(entry) for entry in self._rules}
        if went < 0:
            raise EngineError(f"{self.name}: the maps cannot be read")
        return bool(went)

    def judge(self, scene: Scene, frame: bytes) -> Result:
        program = self._program(scene.config)
        if scene != self._scene or scene.config.limits:
            self._enter(scene)
        run = program.test_run(frame, first_buffer=scene.first_buffer)
        counters, self._counters = self._counters, self.value(MapName.COUNTERS, _FIRST)
        rules, self._rules = self._rules, {entry: self._value(entry) for entry in self._rules}
        reason, action = counted_between(counters, self._counters, len(frame))
        hit = hit_between([*rules.values()], [*self._rules.values()])
        answer = None if run.frame == frame else run.frame
        return Result(Verdict(run.return_value), reason, action, answer, hit)

    def _program(self, config: ProgramConfig) -> Program:
        if config not in self._programs:
            self._programs[config] = self._load(config, ProgramKind.XDP)
        return self._programs[config]

    def _load(self, recipe: Recipe, kind: ProgramKind) -> Program:
        fds = {MAPS[name].ref: opened.fd for name, opened in self._maps.items()}
        instructions = self._bytecode_of(recipe).relocate(fds)
        loaded = self._bpf.load_program(instructions, "packet_table", kind)
        return self._stack.enter_context(loaded)

    def _value(self, entry: Entry) -> bytes:
        """Return a rule's value as it is now."""
        return self._own_tables().value(entry) if is_own(entry) else self.value(*entry)

    def _place(self, entry: Entry) -> tuple[int, int, bytes]:
        """Return where C finds a rule: (map, slot, key)."""
        if is_own(entry):
            name, slot, key = self._own_tables().place(entry)
            return self._maps[name].fd, slot, key
        return self._maps[entry[0]].fd, NO_SLOT, entry[1]

    def _own_tables(self) -> SceneTables:
        """Return our own tables; the program that writes to them is loaded first."""
        if self._tables is None:
            program = self._load(TableProgram(), ProgramKind.TEST_RUN)
            memory = {name: self._maps[name].memory() for name in OWN}
            self._tables = SceneTables(memory, program)
        return self._tables

    def value(self, name: MapName, key: bytes) -> bytes:
        """Return an entry's value as it is now."""
        value = self._maps[name].lookup(key)
        if value is None:
            raise KeyError(f"{name} has lost its entry {key.hex()}")
        return value

    def _enter(self, scene: Scene) -> None:
        """Make the maps the scene's."""
        for name, key in (*self._rules, *self._others):
            if not is_own((name, key)):
                self._maps[name].delete(key)
        self._rules, self._others = rule_entries(scene), []
        for (name, key), value in self._rules.items():
            if not is_own((name, key)):
                self._maps[name].update(key, value)
        if scene.config.tables:
            own = {entry: value for entry, value in self._rules.items() if is_own(entry)}
            self._own_tables().enter(own)
        others = dict.fromkeys(destination_keys(scene), b"\1")
        others |= dict.fromkeys(exempt_entries(scene), bytes(8))
        for (name, key), value in others.items():
            self._maps[name].update(key, value)
            self._others.append((name, key))
        if scene.config.limits:
            self._enter_limits(scene)
        for slot in scene.sockets:
            if slot not in self._sockets:
                unbound = socket.socket(AF_XDP, socket.SOCK_RAW)
                # Linux 7 refuses a socket without a receive ring (ENOBUFS).
                unbound.setsockopt(SOL_XDP, XDP_RX_RING, struct.pack("=i", 64))
                self._sockets[slot] = self._stack.enter_context(unbound)
            key = struct.pack("=I", slot)
            value = struct.pack("=I", self._sockets[slot].fileno())
            self._maps[MapName.XSKMAP].update(key, value)
            self._others.append((MapName.XSKMAP, key))
        self._maps[MapName.CONTROL].update(_FIRST, encode_control(panic=scene.panic))
        self._maps[MapName.NAME_INDEX].update(_FIRST, index_of(scene, self._index))
        self._scene = scene

    def _enter_limits(self, scene: Scene) -> None:
        """Make the limits' maps the scene's; no CPU keeps a ticket."""
        for name, value in limit_arrays(scene, self._ticks()).items():
            self._limits[name][:] = value
        scratch = bytes(SCRATCH_SIZE * self._bpf.possible_cpus())
        self._maps[MapName.SCRATCH].update(_FIRST, scratch)
        self._enter_zones(scene)

    def _enter_zones(self, scene: Scene) -> None:
        """Make the maps of limits of zones the scene's, if they are not."""
        zones = scene.limits.zones if scene.config.zone_limits else ()
        maps = maps_of(scene, self._ticks())
        for name, value in maps.arrays.items():
            self._limits[name][:] = value
        if zones == self._zones:
            return
        self._zones = zones
        limits, names = self._maps[MapName.ZONE_LIMITS], self._maps[MapName.ZONE_NAMES]
        for key in self._zone_keys:
            limits.delete(key)
        self._zone_keys = [*maps.limits]
        for key, value in maps.limits.items():
            limits.update(key, value)
        for number in range(MOST_ZONES):
            self._enter_names(names, struct.pack("=I", number), maps.names.get(number, b""))

    def _enter_names(self, names: Map, number: bytes, octets: bytes) -> None:
        """Give a zone an array of names with these values; without values none."""
        inner = MAPS[MapName.ZONE_NAMES].inner
        if inner is None or not octets:
            names.delete(number)
            return
        with self._bpf.create_map(inner, len(octets) // ZONE_BUCKET_SIZE) as made:
            made.memory()[:] = octets
            names.update(number, struct.pack("=I", made.fd))
