"""A service with a rule in each map, and streams that show whether it ever lets go.

Used by test_never_a_gap.py and test_pins_come_and_go.py. The filter's counters go on from
one service to the next, so that after a stream they must have grown by what was blocked.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.lab import Service, Stream
from tests.lab.hosts import PYTHON, ROOT, unmeasured
from tests.lab.stream import RULES
from tests.lab.streaming import BLOCKED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.lab import Lab
    from tests.lab.stream import Seen


class StreamSite:
    """A client and a server, a stream between them, and the service that runs there now.

    Args:
        lab: where.
        before: a command that runs the service in its own place.
    """

    def __init__(self, lab: Lab, before: Sequence[str] = ()) -> None:
        self.client, self.server = lab.pair()
        self.config = lab.directory / "xdpctl.toml"
        self.state = lab.directory / f"{self.server.name}.db"
        self.service: Service
        self._before = tuple(before)
        self._stream: Stream | None = None
        self.start()

    def start(self, *options: str, version: Path = ROOT, await_ready: bool = True) -> None:
        """Start the next service, of the version in a directory; its stop leaves the filter on."""
        command = [*self._before, "env", f"--chdir={version}", PYTHON, "-m", "xdpctl"]
        keep = ("--on-exit", "keep")
        self.service = Service(
            self.server, *keep, *options, command=unmeasured(*command), await_ready=await_ready
        )

    def kill(self) -> None:
        """Kill the service; it must have been alive."""
        assert self.service.stop(signal.SIGKILL) == -signal.SIGKILL

    def block(self) -> None:
        """Have a rule in each map, all of them ours, and no others."""
        for origin in ([], ["--origin", "dnsdist"]):
            assert self.service.verb("flush", *origin, "--yes").returncode == 0
        assert self.service.verb("block", *RULES).returncode == 0

    def stream(self, packets: int = 2_000) -> Stream:
        """Begin a stream, with this many blocked packets at least; ends what a test left."""
        if self._stream is not None:
            self._stream.kill()
        self._counted = self.service.metrics()
        self._stream = Stream(self.client, self.server, rounds=packets // len(BLOCKED))
        return self._stream

    def holds(self, stream: Stream) -> Seen:
        """End a stream and see that the filter dropped all that was blocked, and nothing else."""
        seen = stream.end()
        assert seen.passed == {}
        assert (seen.unanswered, seen.lost) == (0, ())
        for kind in BLOCKED:
            before = self._counted.packets(action="drop", reason=kind)
            self.service.counted(before + seen.sent[kind], action="drop", reason=kind)
        return seen
