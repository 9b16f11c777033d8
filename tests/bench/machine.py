"""Where and when a figure was taken: kernel, CPU, load and date, for every results file."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """What is printed beside figures."""

    kernel: str
    cpu: str
    cpus: int
    load: float
    date: str

    @classmethod
    def now(cls) -> Machine:
        """Describe this machine."""
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        model = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)
        return cls(
            kernel=platform.release(),
            cpu=model[1] if model else platform.machine(),
            cpus=os.cpu_count() or 1,
            load=round(os.getloadavg()[0], 1),
            date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
        )

    @property
    def text(self) -> str:
        """One line of it."""
        return (
            f"Linux {self.kernel}, {self.cpu}, {self.cpus} CPUs (shared, load {self.load}),"
            f" {self.date}."
        )
