"""Frames before several engines: what they say, and where they differ.

One frame: the first engine is the standard for the others. Many: the oracle is, and
the frames go to the engines in batches of one scene (tests/engines/batch.py), one by
one only where a batch does not go as the oracle says. What holds for every frame
whatever its verdict is checked here too: a frame is changed only when it is answered,
and an answer is never longer than its query.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from tests.engines import Engine, EngineError
from tests.engines.batch import Batch, BatchEngine
from tests.engines.oracle import Oracle, judge
from tests.fuzz.mutate import mutant
from tests.fuzz.tape import Tape
from tests.packets.case import Result, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.packets.case import Scene

Opinion = Result | str
"""What an engine says, or how it failed."""


def opinions(engines: Sequence[Engine], scene: Scene, frame: bytes) -> dict[str, Opinion]:
    """Return what each engine that takes the frame says of it."""
    said: dict[str, Opinion] = {}
    for engine in engines:
        if engine.takes(frame):
            try:
                said[engine.name] = engine.judge(scene, frame)
            except EngineError as error:
                said[engine.name] = str(error)
    return said


def agree(said: dict[str, Opinion], frame: bytes) -> bool:
    """Whether they all say the same, and nothing that no frame may meet."""
    first, *others = said.values()
    return (
        isinstance(first, Result)
        and all(other == first for other in others)
        and is_sound(first, frame)
    )


def is_sound(result: Result, frame: bytes) -> bool:
    """Whether it is a result that a frame may have: changed only if answered, never longer."""
    if result.verdict is not Verdict.TX:
        return result.answer is None
    return result.answer is not None and len(result.answer) <= len(frame)


def disagreement(engines: Sequence[Engine], tape: bytes) -> str | None:
    """Return a reproducer where the engines differ about the tape's mutant, else None."""
    return about(engines, *mutant(Tape(tape)))


def about(engines: Sequence[Engine], scene: Scene, frame: bytes) -> str | None:
    """Return a reproducer where the engines differ about the frame, else None."""
    if agree(opinions(engines, scene, frame), frame):
        return None
    scene, frame = simplified(engines, scene, frame)
    return reproducer(scene, frame, opinions(engines, scene, frame))


def simplified(engines: Sequence[Engine], scene: Scene, frame: bytes) -> tuple[Scene, bytes]:
    """Return fewer rules and a shorter frame that the engines differ about as well."""

    def differ(scene: Scene, frame: bytes) -> bool:
        return not agree(opinions(engines, scene, frame), frame)

    for rule in scene.rules:
        fewer = replace(scene, rules=tuple(other for other in scene.rules if other != rule))
        if differ(fewer, frame):
            scene = fewer
    size = len(frame) // 2
    while size:
        if differ(scene, frame[:-size]):
            frame = frame[:-size]
        else:
            size //= 2
    return scene, frame


def reproducer(scene: Scene, frame: bytes, said: dict[str, Opinion]) -> str:
    """Return frame, scene and opinions as text that can be pasted into a case."""
    lines = [f"frame ({len(frame)} octets): {frame.hex()}", f"config: {scene.config!r}"]
    lines += [f"rule: {rule!r}" for rule in scene.rules]
    lines.append(f"destinations: {scene.destinations!r}")
    lines.append(f"sockets: {scene.sockets!r}, panic: {scene.panic!r}")
    lines.append(f"exempt: {scene.exempt!r}, limits: {scene.limits!r}")
    lines += [f"{name}: {opinion!r}" for name, opinion in said.items()]
    return "\n".join(lines)


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class BothWays(Engine, BatchEngine, Protocol):
    """An engine that takes one frame or a batch."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where an engine and the oracle differ about some of many frames.

    Attributes:
        numbers: of the frame, counted from 0; of all frames of the batch where none of
            them shows it alone.
        said: a reproducer, or the scene of the batch.
    """

    numbers: tuple[int, ...]
    said: str


def difference(
    engines: Sequence[BothWays], frames: Sequence[tuple[Scene, bytes]]
) -> Difference | None:
    """Return where an engine differs from the oracle about one of the frames, else None."""
    scenes: dict[int, Scene] = {}
    known: dict[Scene, Scene] = {}
    found: dict[int, list[tuple[int, Result]]] = {}
    for number, (given, frame) in enumerate(frames):
        if id(given) not in scenes:  # many frames share a scene, and many scenes are equal
            scenes[id(given)] = known.setdefault(given, given)
        scene = scenes[id(given)]
        result = judge(scene, frame)
        if not is_sound(result, frame):
            return _told(engines, scene, {number: frame})
        found.setdefault(id(scene), []).append((number, result))
    for place, results in found.items():
        batch = Batch.of([(frames[number][1], result) for number, result in results])
        if not all(engine.goes(scenes[place], batch) for engine in engines):
            return _told(
                engines, scenes[place], {number: frames[number][1] for number, _ in results}
            )
    return None


def _told(engines: Sequence[BothWays], scene: Scene, frames: dict[int, bytes]) -> Difference:
    """Return which of a batch's frames it is, one by one, and what each engine says of it."""
    for number, frame in frames.items():
        if said := about((Oracle(), *engines), scene, frame):
            return Difference((number,), said)
    return Difference(
        tuple(frames),
        f"{len(frames)} frames together, and none of them alone; the scene: {scene!r}",
    )
