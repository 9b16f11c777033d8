"""Takes over changed settings while the service runs (SIGHUP).

Owns the settings in force and the order of a reload: first the steps that can fail (settings,
secrets, program), then the others. If a step fails, all former settings stay in force. A reload
passes the new settings to every part of the service. Does not own which options a reload may
change (settings/). A part of the service, made by start.py.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import Sentence, SettingsError, XdpctlError, within
from xdpctl.process.log import configure, event
from xdpctl.service.tasks import on_thread
from xdpctl.settings import reloadable_changes
from xdpctl.settings.options import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from xdpctl.http.listeners import Listeners
    from xdpctl.rules import AnyQtype
    from xdpctl.service.current_program import CurrentProgram
    from xdpctl.service.limit_tables import Prepared
    from xdpctl.service.limits import Limits
    from xdpctl.service.readiness import Readiness
    from xdpctl.service.samples import Samples
    from xdpctl.settings import Changes, Settings
    from xdpctl.settings.lists import AnyList
    from xdpctl.status.part import ServicePart
    from xdpctl.store.store import Store

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class SettingsInForce:
    """The settings in force; only a reload replaces them."""

    now: Settings


class Reload:
    """Reloads on request.

    Args:
        current: the settings in force.
        load: reads the settings again; blocks.
        asked: set to request a reload.
        listeners: read their secrets again.
        program: replaced if the settings need another one.
        limits: their maps and values change with the settings.
        samples: their maps do.
        store: writes names in the form that the program looks up.
        thread: the thread that rules are written on.
        readiness: reports that a reload begins and ends.
        parts: the parts of the service; each gets the new settings.
    """

    name = "reload"
    warnings = ()

    def __init__(  # noqa: PLR0913 - what a reload changes
        self,
        current: SettingsInForce,
        load: Callable[[], Settings],
        asked: asyncio.Event,
        *,
        listeners: Listeners,
        program: CurrentProgram,
        limits: Limits,
        samples: Samples,
        store: Store,
        thread: Executor,
        readiness: Readiness,
        parts: Sequence[ServicePart],
    ) -> None:
        self._current = current
        self._load = load
        self._asked = asked
        self._listeners = listeners
        self._program = program
        self._limits = limits
        self._samples = samples
        self._store = store
        self._thread = thread
        self._readiness = readiness
        self._parts = parts
        self.failures: tuple[str, ...] = ()

    def reload(self, settings: Settings) -> None:
        """Do nothing: this part itself passes the settings on."""

    async def run(self) -> NoReturn:
        """Reload at each request, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._readiness.reloading()
            await self._apply()
            self._readiness.reloaded()

    async def _apply(self) -> None:
        """Apply changed settings; on any error the former ones stay in force."""
        former = self._current.now
        try:
            wanted = await asyncio.to_thread(self._load)
            changes = reloadable_changes(former, wanted)
            settings = _reloaded(former, wanted, changes)
            secrets = await self._listeners.reload()
            async with self._program.changing:
                cookies = await self._exchange(settings)
        except XdpctlError as error:
            self.failures = (failed_reload(error),)
            event(_log, "reload-failed", logging.ERROR, error=error.sentence)
            return
        self.failures = ()
        await on_thread(self._thread, lambda: adopt(self._store, settings.any_qtype))
        if changes.need_restart:
            event(_log, "needs-restart", logging.WARNING, options=", ".join(changes.need_restart))
        configure(settings.log_level, settings.log_format, sys.stderr)
        self._current.now = settings
        for part in self._parts:
            part.reload(settings)
        others = (
            ("list", _lists_of(settings) != _lists_of(former)),
            ("zone", settings.zone_tables != former.zone_tables),
            ("dnsdist", settings.dnsdists != former.dnsdists),
            ("secrets of --listen", secrets),
            ("cookie secrets", cookies),
        )
        changed = (*changes.applied, *(name for name, is_other in others if is_other))
        event(_log, "reloaded", changed=", ".join(changed) or "nothing")

    async def _exchange(self, settings: Settings) -> bool:
        """Put on the program and the limits of these settings, where they are others.

        Returns:
            Whether the secrets of cookies are others.
        """
        config = self._program.config_for(settings)
        program = await self._program.prepare(config)
        samples = await asyncio.to_thread(self._samples.prepare, settings, config)
        limits: Prepared | None = None
        try:
            limits = await self._limits.prepare(settings, config)
            if program is not None:
                await on_thread(self._thread, lambda: self._store.prepare_for(settings.any_qtype))
            has_other_maps = limits.has_other_maps or samples is not self._samples.maps
            if program is not None or has_other_maps:
                maps_of = self._program.maps_of.with_limits(limits.maps.maps)
                await self._program.exchange(program, maps_of.with_samples(samples))
        except BaseException:
            self._samples.discard(samples)
            if limits is not None:
                await self._limits.discard(limits)
            raise
        self._program.reload(settings)
        self._samples.use(samples, settings)
        return await self._limits.use(limits)


def _reloaded(settings: Settings, wanted: Settings, changes: Changes) -> Settings:
    """Return the settings with those changes from `wanted` that a running service can apply."""
    fields = [BY_NAME[name].field for name in changes.applied]
    changed = {field: getattr(wanted, field) for field in fields}
    return replace(
        settings,
        **changed,
        lists=wanted.lists,
        zone_lists=wanted.zone_lists,
        zone_tables=wanted.zone_tables,
        zones=wanted.zones,
        dnsdists=wanted.dnsdists,
    )


def _lists_of(settings: Settings) -> tuple[AnyList, ...]:
    return (*settings.lists, *settings.zone_lists)


def failed_reload(error: XdpctlError) -> str:
    """Return the sentence; only the log and the control socket quote settings."""
    frame = "reload failed, the former settings are in force: "
    if isinstance(error, SettingsError):
        return Sentence(f"{frame}{error.sentence}", f"{frame}they are not valid, the log says why")
    return within(lambda text: f"{frame}{text}", error.sentence)


def adopt(store: Store, any_qtype: AnyQtype) -> None:
    """Let the store use the mode of the attached program; a failed write is repeated later."""
    try:
        store.adopt(any_qtype)
    except XdpctlError as error:
        event(_log, "failed", logging.ERROR, error=error.sentence)
