"""Takes over changed settings while the service runs (SIGHUP).

Owns the settings in force and the order of a reload: first what can refuse (settings, secrets,
program), then what cannot. If anything refuses, all former settings stay in force. A part of the
service, made by start.py, which gives every part the new settings. Does not own which options a
reload may change (settings/).
"""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import Sentence, SettingsError, XdpctlError, within
from xdpctl.process.log import configure, event
from xdpctl.program.config import program_config
from xdpctl.service.tasks import on_thread
from xdpctl.settings import reloadable_changes
from xdpctl.settings.options import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from xdpctl.http.listeners import Listeners
    from xdpctl.rules import AnyQtype
    from xdpctl.service.current_program import CurrentProgram
    from xdpctl.service.readiness import Readiness
    from xdpctl.settings import Changes, Settings
    from xdpctl.status.part import ServicePart
    from xdpctl.store.store import Store

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class SettingsInForce:
    """The settings of this moment; only a reload replaces them."""

    now: Settings


class Reload:
    """Reloads when asked.

    Args:
        current: the settings in force.
        load: gives the settings as they are now; blocks.
        asked: set when a reload is wanted.
        listeners: read their secrets again.
        program: exchanged where the settings need another one.
        store: writes names as the program looks them up.
        thread: the thread that rules are written on.
        readiness: reports that a reload begins and ends.
        parts: of the service; each is given the new settings.
    """

    name = "reload"
    warnings = ()

    def __init__(  # noqa: PLR0913 - what a reload reaches
        self,
        current: SettingsInForce,
        load: Callable[[], Settings],
        asked: asyncio.Event,
        *,
        listeners: Listeners,
        program: CurrentProgram,
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
        self._store = store
        self._thread = thread
        self._readiness = readiness
        self._parts = parts
        self.failures: tuple[str, ...] = ()

    def reload(self, settings: Settings) -> None:
        """Nothing here depends on the settings: they come from here."""

    async def run(self) -> NoReturn:
        """Reload each time it is asked for, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._readiness.reloading()
            await self._apply()
            self._readiness.reloaded()

    async def _apply(self) -> None:
        """Take over what changed in the settings; on any error the old ones stay in force."""
        former = self._current.now
        try:
            wanted = await asyncio.to_thread(self._load)
            changes = reloadable_changes(former, wanted)
            settings = _reloaded(former, wanted, changes)
            await self._listeners.reload()
            program = await self._program.prepare(program_config(settings))
            if program is not None:
                await on_thread(self._thread, lambda: self._store.prepare_for(settings.any_qtype))
                await self._program.exchange(program)
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
        changed = changes.applied + (("list",) if settings.lists != former.lists else ())
        event(_log, "reloaded", changed=", ".join(changed) or "nothing")


def _reloaded(settings: Settings, wanted: Settings, changes: Changes) -> Settings:
    """Return the settings with what a running service can take over from `wanted`."""
    fields = [BY_NAME[name].field for name in changes.applied]
    changed = {field: getattr(wanted, field) for field in fields}
    return replace(settings, **changed, lists=wanted.lists)


def failed_reload(error: XdpctlError) -> str:
    """Return the sentence; only the log and the control socket quote what settings hold."""
    frame = "reload failed, the former settings are in force: "
    if isinstance(error, SettingsError):
        return Sentence(f"{frame}{error.sentence}", f"{frame}they are not valid, the log says why")
    return within(lambda text: f"{frame}{text}", error.sentence)


def adopt(store: Store, any_qtype: AnyQtype) -> None:
    """Let the store follow the program that is on now; what fails is done the next time."""
    try:
        store.adopt(any_qtype)
    except XdpctlError as error:
        event(_log, "failed", logging.ERROR, error=error.sentence)
