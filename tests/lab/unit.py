"""What a unit of deploy/ says, and running a command with the rights that it gives.

Reads the file itself, so that a test and what ships cannot drift apart. systemd's sandbox
is not part of it: tests/kernels has a real one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.hosts import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DEPLOY = ROOT / "deploy"


class Unit:
    """A service unit.

    Args:
        name: its file in deploy/.
    """

    def __init__(self, name: str) -> None:
        self.path: Path = DEPLOY / name
        self._lines = [
            line.partition("=")
            for line in self.path.read_text().splitlines()
            if "=" in line and not line.startswith("#")
        ]

    def values(self, key: str) -> list[str]:
        """Return what is assigned to a key, in order."""
        return [value for name, _, value in self._lines if name == key]

    def value(self, key: str) -> str:
        """Return the one value of a key."""
        (value,) = self.values(key)
        return value

    def as_its_user(self) -> list[str]:
        """Return a command that runs what follows as the unit's user, with its capabilities."""
        held = {
            key: ",".join(
                ["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in value.split())]
            )
            for key in ("AmbientCapabilities", "CapabilityBoundingSet")
            for value in [self.value(key)]
        }
        return [
            *("sh", "-c", f'umask {self.value("UMask")} && exec "$@"', "sh", "setpriv"),
            *(f"--reuid={self.value('User')}", f"--regid={self.value('Group')}", "--init-groups"),
            *("--no-new-privs", f"--inh-caps={held['AmbientCapabilities']}"),
            f"--ambient-caps={held['AmbientCapabilities']}",
            f"--bounding-set={held['CapabilityBoundingSet']}",
        ]
