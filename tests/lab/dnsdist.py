"""dnsdist 1.7.3, Debian 12's package, on a host of a lab.

Runs the real program in the foreground with a configuration given as text; its console
is reached by running dnsdist as its own client.
"""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING

from tests.lab.hosts import ROOT

if TYPE_CHECKING:
    import signal

    from tests.lab.hosts import Host
    from tests.lab.process import Process

EFFECT_SECONDS = 0.1
"""After which an entry acts, no matter what wrote it (PACKETS.md)."""

KEY = base64.b64encode(bytes(32)).decode()
"""Key of the console, which listens on the host's own loopback."""

SAMPLE = ROOT / "contrib" / "dnsdist" / "dnsdist-1.7.lua"
"""The configuration that operators are given."""


OWN_USER = (
    "setpriv",
    "--reuid=_dnsdist",
    "--regid=_dnsdist",
    "--init-groups",
    "--inh-caps=-all,+net_bind_service",
    "--ambient-caps=-all,+net_bind_service",
    "--bounding-set=-all,+net_bind_service",
)
"""Runs what follows as Debian's dnsdist.service does: its own user, and only port 53."""


def sample(host: Host) -> str:
    """Return the shipped configuration with the lab's pins."""
    return SAMPLE.read_text().replace("/sys/fs/bpf/dnsdist", str(host.lab.pins))


def maps(host: Host) -> str:
    """Return the shipped configuration's line that shares the maps, with the lab's pins."""
    return next(line for line in sample(host).splitlines() if "= newBPFFilter" in line)


class Dnsdist17:
    """dnsdist in the foreground, listening when the constructor returns.

    Listens on the host's addresses, hands queries to 127.0.0.1:5300 (`Responder`), and
    shares the lab's maps as `bpf` in Lua.

    Args:
        host: where it runs.
        config: Lua that follows listeners, backend, and maps.
        share_maps: put the shipped configuration's maps before `config`.
        before: a command that runs dnsdist in its own place, such as OWN_USER.
    """

    def __init__(
        self,
        host: Host,
        config: str = "",
        *,
        share_maps: bool = True,
        before: tuple[str, ...] = (),
    ) -> None:
        self.host = host
        text = "\n".join(
            [
                f'setLocal("{host.v4}:53")',
                f'addLocal("[{host.v6}]:53")',
                'newServer("127.0.0.1:5300"):setUp()',
                'setSecurityPollSuffix("")',
                'setACL({"0.0.0.0/0", "::/0"})',
                'controlSocket("127.0.0.1:5199")',
                f'setKey("{KEY}")',
                maps(host) if share_maps else "",
                config,
            ]
        )
        self.config = host.lab.write(f"{host.name}-dnsdist.lua", text)
        self.process: Process = host.start("dnsdist", *before, *self.command("--supervised"))
        self.process.line(r"^Accepting control connections")
        time.sleep(EFFECT_SECONDS)

    def command(self, *options: str) -> list[str]:
        """Return the command line of dnsdist with this configuration."""
        return ["dnsdist", "--disable-syslog", "-C", str(self.config), *options]

    def console(self, lua: str) -> str:
        """Run one line of Lua in the running dnsdist and return what it printed."""
        printed = self.host.run(*self.command("--client", "--execute", lua)).stdout
        time.sleep(EFFECT_SECONDS)
        return printed

    def stop(self, number: signal.Signals | None = None) -> None:
        """End it; its maps stay, as bpffs keeps what is pinned."""
        if number:
            self.process.stop(number)
        else:
            self.process.kill()
