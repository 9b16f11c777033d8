"""A few seconds of `make soak`, too few for a verdict on memory: all of it is done and told."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import pytest

from tests.bench.machine import Machine
from tests.soak.__main__ import DIES, LIVES_ON, soak, table

if TYPE_CHECKING:
    from tests.soak.__main__ import Soak

pytestmark = [pytest.mark.root, pytest.mark.slow]

SECONDS = 8.0


@pytest.fixture(scope="module")
def found() -> Soak:
    return soak(SECONDS)


def test_everything_is_done_to_the_service_that_lives(found: Soak) -> None:
    done = found.done[LIVES_ON]
    assert {"rule that expires", "PUT", "import", "bad requests", "panic", "reload"} <= done.keys()
    assert {"/metrics on --listen", "/api/v1/export", "given up"} <= done.keys()


def test_the_other_one_is_killed_and_started_again(found: Soak) -> None:
    assert found.done[DIES]["killed"]
    ages = [sample.age for sample in found.samples[DIES]]
    assert any(later < earlier for earlier, later in itertools.pairwise(ages))


def test_processes_and_pins_are_as_many_as_before(found: Soak) -> None:
    judged = {row.series: row.is_flat for row in found.rows if row.site == LIVES_ON}
    assert judged["processes"]
    assert judged["pins"]


def test_the_results_say_what_was_seen(found: Soak) -> None:
    document = json.loads(json.dumps(found.document(Machine.now())))
    assert document["flat"] == found.is_flat
    assert len(document["samples"][LIVES_ON]) > 5
    assert table(found).count("| never killed |") == len(document["rows"]) / 2
