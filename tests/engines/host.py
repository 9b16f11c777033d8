"""The C compiled for this machine as an engine, on top of host_build.py.

Compiles each configuration once, undefined behaviour trapping, and keeps a filter
with maps of its own for it. Needs a C compiler, and no root.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.engines import EngineError
from tests.engines.entries import Index, destination_keys, hit_between, index_of, rule_entries
from tests.engines.host_build import FRAME_MAX, HostError, HostFilter
from tests.packets.case import Result, Scene, Verdict
from xdpctl.abi import MAPS, MapName, encode_control

if TYPE_CHECKING:
    from tests.engines.batch import Batch
    from tests.engines.entries import Entry
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
        self._scene: Scene | None = None
        self._rules: dict[Entry, bytes] = {}

    @staticmethod
    def takes(frame: bytes) -> bool:
        return len(frame) <= FRAME_MAX

    def judge(self, scene: Scene, frame: bytes) -> Result:
        filter_ = self._filter(scene)
        try:
            run = filter_.run(frame, guard_start=self._guard_start)
        except HostError as error:
            raise EngineError(str(error)) from error
        before = self._rules
        self._rules = {(name, key): filter_.value(MAPS[name].ref, key) for name, key in before}
        hit = hit_between([*before.values()], [*self._rules.values()])
        answer = None if run.frame == frame else run.frame
        return Result(Verdict(run.verdict), run.reason, run.action, answer, hit)

    def goes(self, scene: Scene, batch: Batch) -> bool:
        filter_ = self._filter(scene)
        self._scene = None  # rules are hit that `judge` does not know of
        places = [(MAPS[name].ref, key) for name, key in self._rules]
        return filter_.goes(batch.in_c(places), guard_start=self._guard_start)

    def _filter(self, scene: Scene) -> HostFilter:
        """Return the configuration's filter, its maps the scene's."""
        if scene.config not in self._filters:
            self._filters[scene.config] = HostFilter(scene.config, sanitize=True)
        filter_ = self._filters[scene.config]
        if scene != self._scene:
            self._enter(filter_, scene)
        return filter_

    def _enter(self, filter_: HostFilter, scene: Scene) -> None:
        """Make the filter's maps the scene's."""
        filter_.clear()
        self._rules = rule_entries(scene)
        for (name, key), value in self._rules.items():
            filter_.set_entry(MAPS[name].ref, key, value)
        for name, key in destination_keys(scene):
            filter_.set_entry(MAPS[name].ref, key, b"\1")
        for slot in scene.sockets:
            filter_.set_entry(MAPS[MapName.XSKMAP].ref, struct.pack("=I", slot), b"\1\0\0\0")
        control = encode_control(panic=scene.panic)
        filter_.set_entry(MAPS[MapName.CONTROL].ref, _FIRST, control)
        filter_.set_entry(MAPS[MapName.NAME_INDEX].ref, _FIRST, index_of(scene, self._index))
        self._scene = scene
