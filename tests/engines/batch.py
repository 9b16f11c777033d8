"""Many frames of one scene as octets that C holds an engine to, a frame at a time.

Owns the form of batch.h, and the library that runs program test runs in a row. What
must come of each frame is given: from the oracle. An engine that takes batches says
only whether all went so; which frame did not, and how, is found one by one.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tests.engines.host_build import SOURCES, WARNINGS, compiled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.packets.case import Result, Scene

_EXPECTED = struct.Struct("=IiIIiI")
_PLACE = struct.Struct("=Ii264s")
NO_SLOT = -1
_NO_HIT = -1
_ALL_OF_IT = 0xFFFFFFFF
_DRIVER = Path(__file__).with_name("kernel_batch.c")


class _Batch(ctypes.Structure):
    _fields_ = (
        ("expected", ctypes.c_char_p),
        ("frames", ctypes.c_char_p),
        ("answers", ctypes.c_char_p),
        ("places", ctypes.c_char_p),
        ("count", ctypes.c_uint32),
        ("rules", ctypes.c_uint32),
        ("first_buffer", ctypes.c_uint32),
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames and what must come of each, end to end."""

    expected: bytes
    frames: bytes
    answers: bytes
    count: int

    @classmethod
    def of(cls, judged: Sequence[tuple[bytes, Result]]) -> Batch:
        """Return the batch of these frames and results."""
        return cls(
            b"".join(_expected(frame, result) for frame, result in judged),
            b"".join(frame for frame, _ in judged),
            b"".join(result.answer or b"" for _, result in judged),
            len(judged),
        )

    def in_c(
        self, places: Iterable[tuple[int, int, bytes]], first_buffer: int | None
    ) -> ctypes.Structure:
        """Return `struct batch`.

        Args:
            places: of the rules, in the scene's order: (map, slot, key).
            first_buffer: the scene's.
        """
        packed = [_PLACE.pack(*place) for place in places]
        return _Batch(
            self.expected,
            self.frames,
            self.answers,
            b"".join(packed),
            self.count,
            len(packed),
            _ALL_OF_IT if first_buffer is None else first_buffer,
        )


class BatchEngine(Protocol):
    """An engine that is quicker with many frames."""

    @property
    def name(self) -> str:
        """As an engine's."""

    def goes(self, scene: Scene, batch: Batch) -> bool:
        """Return whether every frame that it takes goes as the batch says."""


def _expected(frame: bytes, result: Result) -> bytes:
    return _EXPECTED.pack(
        len(frame),
        result.verdict,
        result.reason,
        result.action,
        _NO_HIT if result.hit is None else result.hit,
        len(result.answer or b""),
    )


def kernel_library() -> Path:
    """Return kernel_batch.c as a library, compiled unless the same was before. Blocks."""
    command = ["gcc", "-O2", "-fPIC", "-shared", *WARNINGS, f"-I{SOURCES}"]
    return compiled(command, _DRIVER)


@cache
def loaded(library: Path) -> ctypes.CDLL:
    """Return a library, loaded once."""
    return ctypes.CDLL(str(library))
