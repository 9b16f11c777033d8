"""dnsdist 1.9.16 or 2.1.3, from a root of its release, on a host of a lab.

Runs the real program in the foreground with a configuration of contrib/ as it is
shipped, or with text; the lab's pins are its /sys/fs/bpf/dnsdist. Does not make maps:
the service has to run first where AF_XDP is used.
"""

from __future__ import annotations

import base64
import signal
from typing import TYPE_CHECKING, Final

from tests.lab.hosts import ROOT
from tests.roots.roots import dnsdist_root

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.hosts import Host
    from tests.lab.process import Process
    from tests.roots.roots import Release

CONTRIB: Final = ROOT / "contrib" / "dnsdist"

KEY: Final = base64.b64encode(bytes(32)).decode()
CONSOLE: Final = "127.0.0.1:5199"
"""Where the console listens, on the host's own loopback."""

_CONSOLES: Final = {
    ".lua": f'\ncontrolSocket("{CONSOLE}")\nsetKey("{KEY}")\n',
    ".yml": f'\nconsole:\n  listen_address: "{CONSOLE}"\n  key: "{KEY}"\n',
}


def shipped(name: str) -> str:
    """Return the text of a configuration that operators are given."""
    return (CONTRIB / name).read_text()


class DnsdistRelease:
    """dnsdist in the foreground, its console listening when the constructor returns.

    Args:
        host: where it runs.
        release: "trixie" (1.9.16) or "sid" (2.1.3).
        config: text of the configuration; a console is added.
        suffix: ".lua" or ".yml".
        capabilities: run as _dnsdist with these alone; as root when None.
    """

    def __init__(
        self,
        host: Host,
        release: Release,
        config: str,
        suffix: str,
        *,
        capabilities: tuple[str, ...] | None = None,
    ) -> None:
        self.host = host
        self._capabilities = capabilities
        self._root = dnsdist_root(release)
        text = config + _CONSOLES[suffix]
        self.config = host.lab.write(f"{host.name}-dnsdist{suffix}", text)
        self.process: Process = host.start(
            "dnsdist", *self.command("--supervised", "--disable-syslog")
        )
        self.process.line(r"Accepting control connections")

    @classmethod
    def shipped(
        cls,
        host: Host,
        release: Release,
        name: str,
        *,
        capabilities: tuple[str, ...] | None = None,
    ) -> DnsdistRelease:
        """Start it with a configuration of contrib/dnsdist, as it is.

        Args:
            host: where it runs.
            release: which dnsdist.
            name: file name of the configuration.
            capabilities: see the class.
        """
        return cls(host, release, shipped(name), name[-4:], capabilities=capabilities)

    def command(self, *options: str) -> list[str]:
        """Return the command line of dnsdist inside its root, with this configuration."""
        pins: Path = self.host.lab.pins
        argv = ["dnsdist", *options, "-C", str(self.config)]
        return self._root.command(argv, pins=pins, capabilities=self._capabilities)

    def run(self, *options: str) -> str:
        """Run the program once beside the running one and return what it printed."""
        return self.host.run(*self.command(*options)).stdout

    def console(self, lua: str) -> str:
        """Run one line of Lua in the running dnsdist, as an operator does."""
        return self.run("--client", "--execute", lua)

    def kill(self) -> None:
        """End it without letting it clean up."""
        self.process.stop(signal.SIGKILL)
