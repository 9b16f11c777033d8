"""Three ways to judge a frame, behind one interface.

`oracle.Oracle` reads PACKETS.md in Python, `host.Host` runs the C headers compiled
for this machine, `kernel.Kernel` the loaded program in program test runs. Each takes
a scene and a frame and says what came of it; they share the table's values
(tests/packets/case.py) and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tests.packets.case import Result, Scene


class Engine(Protocol):
    """One judge. Cheap to call again with the scene of the call before."""

    @property
    def name(self) -> str:
        """How test ids and reproducers call it."""

    @staticmethod
    def takes(frame: bytes) -> bool:
        """Return whether this frame can be put before it at all."""

    def judge(self, scene: Scene, frame: bytes) -> Result:
        """Return what becomes of the frame in this scene.

        Errors:
            EngineError: it did what no verdict allows: counted nothing or more than
            one packet, another size, several hits, or wrote into a rule.
        """


class EngineError(AssertionError):
    """An engine broke a rule that holds for every frame."""
