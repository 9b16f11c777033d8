"""Every input that libFuzzer found worth keeping, before every engine: they agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fuzz.compare import agree, opinions, reproducer
from tests.fuzz.inputs import input_of, judged, read_corpus, seeds

if TYPE_CHECKING:
    from tests.engines import Engine


@pytest.mark.root
@pytest.mark.slow
def test_oracle_host_and_kernel_agree_about_the_corpus(
    every_engine: tuple[Engine, ...],
) -> None:
    corpus = read_corpus()
    assert len(corpus) > 500
    for data in corpus:
        meant = judged(data)
        if meant is not None:
            said = opinions(every_engine, *meant)
            assert agree(said, meant[1]), reproducer(*meant, said)


def test_an_input_is_the_scene_and_the_frame_that_it_was_made_of() -> None:
    made = list(seeds())
    assert len(made) > 1000
    for data in made:
        meant = judged(data)
        assert meant is not None
        assert input_of(*meant) == data
