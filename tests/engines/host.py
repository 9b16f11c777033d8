"""The C compiled for this machine as an engine, on top of host_build.py.

Compiles each configuration once, undefined behaviour trapping, and keeps a filter
with maps of its own for it. Needs a C compiler, and no root.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, cast

from tests.engines import EngineError
from tests.engines.batch import NO_SLOT
from tests.engines.entries import Index, destination_keys, hit_between, index_of, rule_entries
from tests.engines.host_build import FRAME_MAX, TICKS, HostError, HostFilter
from tests.engines.limited import ARRAYS, exempt_entries, limit_arrays
from tests.engines.tables import OWN, SHAPE, SceneTables, is_own
from tests.engines.zoned import ZONE_ARRAYS, maps_of, write_to_host
from tests.packets.case import Result, Scene, Verdict
from xdpctl.abi import MAPS, MapName, encode_control

if TYPE_CHECKING:
    from tests.engines.batch import Batch
    from tests.engines.entries import Entry
    from xdpctl.kernel.bpf.programs import Program
    from xdpctl.program.config import ProgramConfig

_FIRST = struct.pack("=I", 0)


class Host:
    """The engine.

    Args:
        guard_start: the page that faults lies before the frame's start, not behind its
            end.
        index: what the index of names is like.
    """

    def __init__(self, *, guard_start: bool = False, index: Index = Index.STALE) -> None:
        self.name = f"host, guarded {'start' if guard_start else 'end'}, {index.value}"
        self._guard_start = guard_start
        self._index = index
        self._filters: dict[ProgramConfig, HostFilter] = {}
        self._tables: dict[ProgramConfig, SceneTables] = {}
        self._limits: dict[ProgramConfig, dict[MapName, memoryview]] = {}
        self._scene: Scene | None = None
        self._judged = False  # a frame since the maps are the scene's
        self._rules: dict[Entry, bytes] = {}

    @staticmethod
    def takes(frame: bytes) -> bool:
        return len(frame) <= FRAME_MAX

    def judge(self, scene: Scene, frame: bytes) -> Result:
        filter_ = self._filter(scene)
        if scene.config.limits and self._judged:
            self._enter(filter_, scene)
        self._judged = True
        try:
            run = filter_.run(frame, guard_start=self._guard_start, first_buffer=scene.first_buffer)
        except HostError as error:
            raise EngineError(str(error)) from error
        before = self._rules
        self._rules = {entry: self._value(scene, entry) for entry in before}
        hit = hit_between([*before.values()], [*self._rules.values()])
        answer = None if run.frame == frame else run.frame
        return Result(Verdict(run.verdict), run.reason, run.action, answer, hit)

    def goes(self, scene: Scene, batch: Batch) -> bool:
        filter_ = self._filter(scene)
        self._scene = None  # rules are hit that `judge` does not know of
        places = [self._place(scene, entry) for entry in self._rules]
        return filter_.goes(batch.in_c(places, scene.first_buffer), guard_start=self._guard_start)

    def _value(self, scene: Scene, entry: Entry) -> bytes:
        """Return a rule's value as it is now."""
        if is_own(entry):
            return self._tables[scene.config].value(entry)
        return self._filters[scene.config].value(MAPS[entry[0]].ref, entry[1])

    def _place(self, scene: Scene, entry: Entry) -> tuple[int, int, bytes]:
        """Return where C finds a rule: (map, slot, key)."""
        if is_own(entry):
            name, slot, key = self._tables[scene.config].place(entry)
            return MAPS[name].ref, slot, key
        return MAPS[entry[0]].ref, NO_SLOT, entry[1]

    def _filter(self, scene: Scene) -> HostFilter:
        """Return the configuration's filter, its maps the scene's."""
        if scene.config not in self._filters:
            made = self._filters[scene.config] = HostFilter(scene.config, sanitize=True)
            if scene.config.tables:
                memory = {name: made.array(MAPS[name].ref, SHAPE.entries(name)) for name in OWN}
                self._tables[scene.config] = SceneTables(memory, cast("Program", made))
            if scene.config.limits:
                self._limits[scene.config] = {
                    name: made.array(MAPS[name].ref, count)
                    for name, count in (ARRAYS | ZONE_ARRAYS).items()
                }
                made.array(MAPS[MapName.HEAVY_ZONES].ref, 1)
        filter_ = self._filters[scene.config]
        if scene != self._scene:
            self._enter(filter_, scene)
        return filter_

    def _enter(self, filter_: HostFilter, scene: Scene) -> None:
        """Make the filter's maps the scene's."""
        filter_.clear()
        self._rules = rule_entries(scene)
        for (name, key), value in self._rules.items():
            if not is_own((name, key)):
                filter_.set_entry(MAPS[name].ref, key, value)
        if scene.config.tables:
            own = {entry: value for entry, value in self._rules.items() if is_own(entry)}
            self._tables[scene.config].enter(own)
        if scene.config.limits:
            for name, value in limit_arrays(scene, TICKS).items():
                self._limits[scene.config][name][:] = value
            write_to_host(filter_, maps_of(scene, TICKS), self._limits[scene.config])
        for name, key in exempt_entries(scene):
            filter_.set_entry(MAPS[name].ref, key, bytes(8))
        for name, key in destination_keys(scene):
            filter_.set_entry(MAPS[name].ref, key, b"\1")
        for slot in scene.sockets:
            filter_.set_entry(MAPS[MapName.XSKMAP].ref, struct.pack("=I", slot), b"\1\0\0\0")
        control = encode_control(panic=scene.panic)
        filter_.set_entry(MAPS[MapName.CONTROL].ref, _FIRST, control)
        filter_.set_entry(MAPS[MapName.NAME_INDEX].ref, _FIRST, index_of(scene, self._index))
        self._scene = scene
        self._judged = False
