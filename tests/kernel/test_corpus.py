"""Every input that libFuzzer found worth keeping, before every engine: they agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fuzz.compare import difference
from tests.fuzz.inputs import input_of, judged, read_corpus, seeds

if TYPE_CHECKING:
    from tests.fuzz.compare import BothWays


@pytest.mark.root
@pytest.mark.slow
def test_oracle_host_and_kernel_agree_about_the_corpus(
    our_engines: tuple[BothWays, ...],
) -> None:
    corpus = read_corpus()
    assert len(corpus) > 500
    meant = [scene_and_frame for data in corpus if (scene_and_frame := judged(data)) is not None]
    found = difference(our_engines, meant)
    assert found is None, found.said


def test_an_input_is_the_scene_and_the_frame_that_it_was_made_of() -> None:
    made = list(seeds())
    assert len(made) > 1000
    for data in made:
        meant = judged(data)
        assert meant is not None
        assert input_of(*meant) == data
