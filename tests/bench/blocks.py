"""A first list of many dynamic blocks: how long until it is in force. Used by feeds.py.

Behind the service's `[[dnsdist]]` stands a plain web server with the answer that a dnsdist would
give; it is empty at first, so that what is measured is one poll, its list and its claims.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

from tests.bench.ticking import Ticks
from tests.bench.watch import ask
from tests.lab import Lab, Service
from tests.lab.hosts import PYTHON

if TYPE_CHECKING:
    from tests.lab import Host

BLOCK: Final = {
    "action": "Drop",
    "blocks": 1,
    "ebpf": False,
    "reason": "a flood",
    "seconds": 900,
    "warning": False,
}
PORT: Final = 8083
LOOK: Final = 0.2


def measure(count: int) -> dict[str, float]:
    """Give a running service so many blocks of addresses at once."""
    with Lab() as lab:
        _, server = lab.pair()
        settings = lab.write("blocks.toml", f'[[dnsdist]]\nurl = "http://127.0.0.1:{PORT}"\n')
        lab.write("jsonstat", "{}")
        serve(server)
        clock = lab.directory / "ticks"
        ticks = Ticks(clock)
        service = Service(
            server,
            *("--config", str(settings), "--maps-size", str(2 * count)),
            command=(PYTHON, "-m", "tests.bench.ticking", str(clock)),
        )
        addresses = (f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}/32" for n in range(count))
        new = lab.write("jsonstat.new", json.dumps(dict.fromkeys(addresses, BLOCK)))
        ticks.reset()
        began = time.monotonic()
        new.rename(new.with_suffix(""))
        while in_force(service) < count:
            if time.monotonic() - began > 120:
                raise TimeoutError(f"{in_force(service)} of {count} blocks are in force")
            time.sleep(LOOK)
        seconds = time.monotonic() - began
        print(f"  {count:,} dynamic blocks: {seconds:.1f} s", flush=True)
        return {
            "blocks": count,
            "seconds": round(seconds, 2),
            "loop_held_max_ms": round(1000 * ticks.longest[1], 2),
        }


def serve(server: Host) -> None:
    """Start the web server, over the lab's directory."""
    command = (PYTHON, "-m", "http.server", str(PORT), "--bind", "127.0.0.1")
    server.start("dnsdist", *command, "--directory", str(server.lab.directory))


def in_force(service: Service) -> int:
    """Return how many addresses are blocked."""
    status = json.loads(ask(service.control, "GET", "/api/v1/status"))
    return next(int(each["entries"]) for each in status["maps"] if each["name"] == "addr-v4")
