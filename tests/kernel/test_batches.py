"""Batches of frames go as the oracle says, and are found out where they do not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.engines import oracle
from tests.engines.batch import Batch
from tests.engines.oracle import judge
from tests.fuzz import compare
from tests.fuzz.agree import CHUNK, Judges, spans, tapes
from tests.fuzz.mutate import mutant
from tests.fuzz.scenes import SCENES
from tests.fuzz.tape import Tape
from tests.packets.case import Verdict
from tests.packets.table import CASES
from xdpctl.abi import PacketAction, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engines.batch import BatchEngine
    from tests.engines.host import Host
    from tests.engines.kernel import Kernel
    from tests.packets.case import Result, Scene

SCENE = SCENES[2]


@cache
def judged() -> list[tuple[bytes, Result]]:
    """Return the table's frames and what the oracle says of each."""
    frames = (case.frame for case in CASES.values())
    return [(frame, judge(SCENE, frame)) for frame in frames if 14 <= len(frame) <= 1600]


@pytest.fixture(params=["host", "kernel"])
def engine(request: pytest.FixtureRequest) -> BatchEngine:
    """Each of the two that take batches."""
    found: Host | Kernel = request.getfixturevalue(f"{request.param}_engine")
    return found


KINDS: dict[str, Callable[[Result], bool]] = {
    "answered": lambda result: result.verdict is Verdict.TX,
    "passed": lambda result: result.verdict is Verdict.PASS,
    "hit": lambda result: result.hit == 0,
    "not hit": lambda result: result.hit is None,
}


def first(kind: str) -> int:
    """Return the number of the first frame of a kind."""
    return next(number for number, (_, result) in enumerate(judged()) if KINDS[kind](result))


@pytest.mark.root
@pytest.mark.slow
def test_the_tables_frames_go_as_the_oracle_says(engine: BatchEngine) -> None:
    assert engine.goes(SCENE, Batch.of(judged()))
    assert engine.goes(SCENE, Batch.of(judged()))


def other_answer(result: Result) -> Result:
    assert result.answer is not None
    return replace(result, answer=result.answer[:-1] + bytes([result.answer[-1] ^ 1]))


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("passed", lambda result: replace(result, verdict=Verdict.DROP)),
        ("passed", lambda result: replace(result, reason=Reason.PANIC)),
        ("passed", lambda result: replace(result, action=PacketAction.DROP)),
        ("passed", lambda result: replace(result, answer=judged()[first("passed")][0][:-1])),
        ("answered", lambda result: replace(result, answer=None)),
        ("answered", other_answer),
        ("hit", lambda result: replace(result, hit=1)),
        ("hit", lambda result: replace(result, hit=None)),
        ("not hit", lambda result: replace(result, hit=0)),
    ],
    ids=[
        "verdict",
        "reason",
        "action",
        "changed though passed",
        "left though answered",
        "another answer",
        "another rule",
        "no rule",
        "a rule",
    ],
)
def test_a_batch_that_does_not_go_so_is_found_out(
    engine: BatchEngine, kind: str, changed: Callable[[Result], Result]
) -> None:
    number = first(kind)
    frame, result = judged()[number]
    wrong = [*judged()[:number], (frame, changed(result)), *judged()[number + 1 :]]
    assert not engine.goes(SCENE, Batch.of(wrong))
    assert engine.goes(SCENE, Batch.of(judged()))


@pytest.mark.root
@pytest.mark.slow
def test_the_frame_that_they_differ_about_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    [(_, tape)] = tapes(1, range(7, 8))
    scene, frame = mutant(Tape(tape))

    def wrong(of: Scene, given: bytes) -> Result:
        result = judge(of, given)
        wanted = (of, given) == (scene, frame)
        return replace(result, reason=Reason.PANIC) if wanted else result

    with Judges() as judges:
        assert judges.differ(1, range(5, 9)) is None
        monkeypatch.setattr(compare, "judge", wrong)
        monkeypatch.setattr(oracle, "judge", wrong)
        assert "--seed 1 --first 7 --frames 1:" in (judges.differ(1, range(5, 9)) or "")


@pytest.mark.root
@pytest.mark.slow
def test_what_only_a_batch_shows_is_told_with_its_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(of: Scene, given: bytes) -> Result:
        return replace(judge(of, given), reason=Reason.PANIC)

    with Judges() as judges:
        monkeypatch.setattr(compare, "judge", wrong)  # and the oracle is right
        assert "none of them alone" in (judges.differ(1, range(5, 9)) or "")


def test_a_frame_can_be_had_again_alone() -> None:
    numbers = range(CHUNK - 3, CHUNK)
    assert list(tapes(5, numbers))[1:2] == list(tapes(5, range(CHUNK - 2, CHUNK - 1)))


def test_spans_are_all_the_frames_each_of_one_chunk() -> None:
    found = spans(CHUNK - 2, 2 * CHUNK + 3)
    assert [(span.start, len(span)) for span in found] == [
        (CHUNK - 2, 2),
        (CHUNK, CHUNK),
        (2 * CHUNK, CHUNK),
        (3 * CHUNK, 1),
    ]
