"""Many cases on an engine in C: a batch a scene, and one by one only where one does not go.

Owns which cases go together, and the sentences about those that went another way. Called by the
packet table's tests here and in the guests.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.engines.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.engines.host import Host
    from tests.engines.kernel import Kernel
    from tests.packets.case import Case, Scene


def wrong_in(engine: Host | Kernel, table: Mapping[str, Case]) -> list[str]:
    """Return a sentence for each case that the engine takes, and decides in another way."""
    scenes: dict[Scene, dict[str, Case]] = defaultdict(dict)
    for title, case in table.items():
        if engine.takes(case.frame):
            scenes[case.scene][title] = case
    sentences: list[str] = []
    for scene, cases in scenes.items():
        if engine.goes(scene, Batch.of([(case.frame, case.expected) for case in cases.values()])):
            continue
        judged = {title: engine.judge(scene, case.frame) for title, case in cases.items()}
        said = [
            f"{title}: {result} instead of {cases[title].expected}"
            for title, result in judged.items()
            if result != cases[title].expected
        ]
        sentences += said or [f"{next(iter(cases))} and what is of its scene: only together"]
    return sentences
