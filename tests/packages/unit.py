"""A unit of systemd's, as far as starting it without systemd takes.

Owns the reading of unit files; knows nothing of what is in them but their form
(systemd.syntax): a list setting that is empty clears what stood before. Stands on the
standard library alone.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Unit:
    """What a service unit says.

    Attributes:
        user: that it runs as.
        ambient, bounding: capabilities, lower-case and without "cap_".
        prepare: commands of ExecStartPre that run as root, ahead of it.
        command: of ExecStart.
        restart_signal: its name without "SIG".
        writable: folders of ReadWritePaths, RuntimeDirectory and StateDirectory.
    """

    user: str
    ambient: frozenset[str]
    bounding: frozenset[str]
    prepare: tuple[tuple[str, ...], ...]
    command: tuple[str, ...]
    restart_signal: str
    writable: tuple[str, ...]


def settings(text: str) -> dict[str, list[str]]:
    """Return each setting's values in their order, sections aside."""
    found: dict[str, list[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        name, equals, value = line.partition("=")
        if not equals or line.startswith(("#", ";", "[")):
            continue
        if value.strip():
            found.setdefault(name.strip(), []).append(value.strip())
        else:
            found[name.strip()] = []
    return found


def _words(values: list[str]) -> tuple[str, ...]:
    return tuple(word for value in values for word in value.split())


def _capabilities(values: list[str]) -> frozenset[str]:
    return frozenset(word.lower().removeprefix("cap_") for word in _words(values))


def read_unit(path: Path) -> Unit:
    """Return what a unit file says; KeyError where it lacks what a service has."""
    found = settings(path.read_text())
    stop = found.get("KillSignal", ["SIGTERM"])[-1].removeprefix("SIG")
    restart = found.get("RestartKillSignal", [stop])[-1].removeprefix("SIG")
    return Unit(
        user=found["User"][-1],
        ambient=_capabilities(found["AmbientCapabilities"]),
        bounding=_capabilities(found["CapabilityBoundingSet"]),
        prepare=tuple(tuple(shlex.split(line.lstrip("+-"))) for line in found["ExecStartPre"]),
        command=tuple(shlex.split(found["ExecStart"][-1])),
        restart_signal=restart,
        writable=(
            *_words(found.get("ReadWritePaths", [])),
            *(f"/run/{name}" for name in _words(found.get("RuntimeDirectory", []))),
            *(f"/var/lib/{name}" for name in _words(found.get("StateDirectory", []))),
        ),
    )
