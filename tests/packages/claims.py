"""Claims: one sentence each, whether it held, and what was seen where it did not.

Inside a root or a guest they are lines of output, outside they are read from there.
Stands on the standard library alone, as everything does that runs inside.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MARK: Final = "xdpctl-claim "
DONE: Final = "the story was told to its end"
PATIENCE: Final = 60.0
"""Seconds that something may take to come about; emulated, everything takes its time."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence about a package.

    Attributes:
        text: what is claimed. `held`: whether it is so. `seen`: what is, where it is not.
    """

    text: str
    held: bool
    seen: str = ""


def tell(text: str, held: object, seen: object = "") -> bool:
    """Write a claim down; return whether it held."""
    claim = Claim(text, bool(held), "" if held else str(seen)[-3000:])
    sys.stdout.write(f"\n{MARK}{json.dumps(asdict(claim))}\n")
    sys.stdout.flush()
    return claim.held


def wait(text: str, look: Callable[[], object], wanted: Callable[[object], object]) -> bool:
    """Look until what is seen is wanted, or patience ends; write the claim down."""
    deadline = time.monotonic() + PATIENCE
    while not wanted(seen := look()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return tell(text, wanted(seen), seen)


def read(lines: Iterable[str]) -> list[Claim]:
    """Return the claims among what was printed."""
    return [Claim(**json.loads(line.removeprefix(MARK))) for line in lines if line.startswith(MARK)]
