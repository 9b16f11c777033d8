"""What came of one claim in a guest, as a line of JSON from there to here."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

_MARK: Final = "xdpctl-check "


@dataclass(frozen=True, slots=True)
class Check:
    """One claim: whether it held, and what was seen where it did not."""

    claim: str
    held: bool
    seen: str = ""

    def line(self) -> str:
        """Return the line, on one of its own whatever was written before."""
        return f"\n{_MARK}{json.dumps(asdict(self))}\n"


def checks_in(lines: tuple[str, ...]) -> tuple[Check, ...]:
    """Return the checks among the lines of a guest."""
    return tuple(
        Check(**json.loads(line.removeprefix(_MARK))) for line in lines if line.startswith(_MARK)
    )
