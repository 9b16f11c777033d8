"""The service under test as a process on a host of a lab, with its verbs and its HTTP.

Knows the program only from the outside, by CONTRACT.md: command line, exit status, HTTP,
metrics, control socket.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from tests.lab import bytecode
from tests.lab.hosts import INTERFACE, PYTHON, run
from tests.lab.process import LabError, eventually

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence

    from tests.lab.hosts import Host
    from tests.lab.process import Process

PORT = 9953
READY = r"\bready\b"


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of the service's HTTP."""

    status: int
    body: str

    def json(self) -> Any:  # noqa: ANN401 - JSON has no narrower type
        """Return the document."""
        return json.loads(self.body)


class Metrics:
    """One scrape of /metrics.

    Args:
        text: the page.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum of a family's samples that carry these labels; 0 without any."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def packets(self, **labels: str) -> int:
        """Return how many packets were counted under these labels."""
        return int(self.sum("xdpctl_packets_total", **labels))


class Service:
    """`python -m xdpctl` on a host, ready when the constructor returns.

    Args:
        host: where it runs.
        options: further options, the last of a kind wins.
        interfaces: that it filters.
        command: what the program is, before its options.
        await_ready: wait for the line "ready".
        environ: added to its environment.
        compiles: it finds nothing that an earlier one has compiled.
    """

    def __init__(  # noqa: PLR0913 - what a start can vary in
        self,
        host: Host,
        *options: str,
        interfaces: Sequence[str] = (INTERFACE,),
        command: Sequence[str] = (PYTHON, "-m", "xdpctl"),
        await_ready: bool = True,
        environ: Mapping[str, str] | None = None,
        compiles: bool = False,
    ) -> None:
        if not compiles and os.geteuid() == 0:
            bytecode.put(host.lab.directory)
        self.host = host
        self.command = tuple(command)
        self.control = host.lab.directory / f"{host.name}.sock"
        self.process: Process = host.start(
            "service",
            *command,
            *arguments(host, interfaces),
            *options,
            environ=environ,
        )
        host.lab.at_end(self._end)
        if await_ready:
            self.process.line(READY, timeout=30)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it and return its exit status."""
        return self.process.stop(number)

    def _end(self) -> None:
        """End it as an operator would, so that its coverage is written; the lab kills."""
        if self.process.status is None:
            self.process.send(signal.SIGTERM)
            with contextlib.suppress(LabError):
                self.process.wait()

    def verb(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a verb against this service, from anywhere."""
        return run(
            [*self.command, *words, "--control", str(self.control)],
            check=False,
            environ=self.host.lab.environ,
        )

    def rules(self, *options: str) -> list[dict[str, Any]]:
        """Return what `list --json` says."""
        done = self.verb("list", "--json", *options)
        if done.returncode:
            raise LabError(f"list --json: {done.returncode}\n{done.stderr}")
        rules: list[dict[str, Any]] = json.loads(done.stdout)["rules"]
        return rules

    def get(self, path: str, port: int = PORT) -> Response:
        """GET a path from --listen, from within the host."""
        connection = http.client.HTTPConnection("127.0.0.1", port)
        with self.host.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.settimeout(10)
            sock.connect(("127.0.0.1", port))
            connection.sock = sock
            connection.request("GET", path)
            response = connection.getresponse()
            return Response(response.status, response.read().decode())

    def metrics(self) -> Metrics:
        """Scrape /metrics."""
        return Metrics(self.get("/metrics").body)

    def counted(self, count: int, **labels: str) -> Metrics:
        """Wait until this many packets are counted under the labels; the snapshot is 1 s old.

        Raises:
            LabError: with what was counted instead; also when it was more.
        """
        seen: list[Metrics] = []

        def enough() -> bool:
            seen[:] = [self.metrics()]
            return seen[0].packets(**labels) >= count

        try:
            eventually(enough, f"{count} packets with {labels}", timeout=5)
        except LabError as error:
            raise LabError(f"{error}\n{packet_lines(seen[0])}") from None
        if seen[0].packets(**labels) != count:
            raise LabError(f"more than {count} packets with {labels}\n{packet_lines(seen[0])}")
        return seen[0]


def arguments(host: Host, interfaces: Sequence[str] = (INTERFACE,)) -> list[str]:
    """Return the options that keep a service inside its lab."""
    directory = host.lab.directory
    config = directory / "xdpctl.toml"
    config.touch()  # whatever /etc has is not this lab's
    return [
        *(word for name in interfaces for word in ("--interface", name)),
        "--pin-dir",
        str(host.lab.pins),
        "--control",
        str(directory / f"{host.name}.sock"),
        "--state",
        str(directory / f"{host.name}.db"),
        "--listen",
        f"127.0.0.1:{PORT}",
        "--config",
        str(config),
    ]


def packet_lines(metrics: Metrics) -> str:
    """Return the packet counters of a scrape that are not 0."""
    lines = re.findall(r"^xdpctl_packets_total.*$", metrics.text, re.MULTILINE)
    return "\n".join(line for line in lines if not line.endswith(" 0.0"))
