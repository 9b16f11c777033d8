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
    """What is printed beside figures.

    Attributes:
        cpu: its name, which hypervisors make vague. `model`: family and model, which tell
            generations apart, `6-207`; empty where the processor has none.
    """

    kernel: str
    cpu: str
    cpus: int
    load: float
    date: str
    model: str = ""

    @classmethod
    def now(cls) -> Machine:
        """Describe this machine."""
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        name = _value(info, "model name")
        numbers = [_value(info, "cpu family"), _value(info, "model")]
        return cls(
            kernel=platform.release(),
            cpu=name or platform.machine(),
            model="-".join(filter(None, numbers)),
            cpus=os.cpu_count() or 1,
            load=round(os.getloadavg()[0], 1),
            date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
        )

    @property
    def text(self) -> str:
        """One line of it."""
        return (
            f"Linux {self.kernel}, {self.processor}, {self.cpus} CPUs (shared, load {self.load}),"
            f" {self.date}."
        )

    @property
    def processor(self) -> str:
        """What results are kept apart by: `Intel Xeon (6-207)`."""
        name = re.sub(r"\((?:R|TM)\)|\b(?:CPU|Processor)\b|@.*", " ", self.cpu)
        return " ".join(name.split()) + (f" ({self.model})" if self.model else "")

    @property
    def slug(self) -> str:
        """The same as part of a file's name: `intel-xeon-6-207`."""
        return re.sub(r"[^a-z0-9]+", "-", self.processor.lower()).strip("-")


def _value(info: str, field: str) -> str:
    """Return the first value of a field of /proc/cpuinfo; empty where there is none."""
    found = re.search(rf"^{field}\s*: (.*)$", info, re.MULTILINE)
    return found[1] if found else ""
