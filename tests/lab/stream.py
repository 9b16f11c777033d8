"""A stream of blocked packets and honest queries from client to server, and what came of it.

The two programs are streaming.py's. The server's end counts what gets past the filter, the
client's end what is answered, so that neither a gap nor a lost query goes unseen.
"""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.lab import streaming
from tests.lab.hosts import PYTHON, unmeasured
from tests.lab.streaming import BLOCKED, HONEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.lab.hosts import Host
    from tests.lab.process import Process

RULES = tuple(kind.rule for kind in BLOCKED.values())
"""Targets that block what is to be dropped: one in each map."""

END_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a stream, by kind (streaming.HONEST, streaming.BLOCKED).

    Attributes:
        sent, answered: by and to the client.
        arrived: at the server.
        lost: the first honest queries without an answer, and when they were sent.
    """

    sent: Mapping[str, int]
    answered: Mapping[str, int]
    arrived: Mapping[str, int]
    lost: tuple[str, ...]

    @property
    def blocked(self) -> int:
        """How many packets were sent that were to be dropped."""
        return sum(self.sent[kind] for kind in BLOCKED)

    @property
    def honest(self) -> int:
        """How many honest queries were sent."""
        return sum(self.sent.get(kind, 0) for kind in HONEST)

    @property
    def passed(self) -> dict[str, int]:
        """How many of those that were to be dropped arrived, by kind; empty if none did."""
        return {kind: count for kind, count in self.arrived.items() if kind in BLOCKED}

    @property
    def unanswered(self) -> int:
        """How many honest queries got no answer."""
        return self.honest - sum(self.answered.get(kind, 0) for kind in HONEST)


class Stream:
    """A stream that flows when the constructor returns.

    Args:
        client, server: the two ends of `Lab.pair`.
        rounds: sent at least: five blocked packets and an honest query each.
        rate: rounds a second.
    """

    def __init__(self, client: Host, server: Host, *, rounds: int, rate: int = 700) -> None:
        program = unmeasured(PYTHON, "-I", streaming.__file__)
        self._server: Process = server.start("answerer", *program, "answer")
        self._server.line("^answering$")
        self._client: Process = client.start("sender", *program, "send", str(rounds), str(rate))
        self._client.line("^streaming$")

    def end(self) -> Seen:
        """Let it end when all rounds are sent and the last answers are in."""
        client, server = _last_words(self._client), _last_words(self._server)
        return Seen(client["sent"], client["answered"], server["arrived"], tuple(client["lost"]))

    def kill(self) -> None:
        """End both ends, whatever they are at; does nothing after `end`."""
        self._client.kill()
        self._server.kill()


def _last_words(process: Process) -> dict[str, Any]:
    status = process.stop(signal.SIGTERM, timeout=END_SECONDS)
    assert status == 0, process.text
    words: dict[str, Any] = json.loads(process.lines[-1])
    return words
