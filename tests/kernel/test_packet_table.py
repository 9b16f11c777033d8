"""The packet table through the C: each case is what PACKETS.md says of one packet.

Each case is a test of its own on the host and in the kernel. What changes no verdict (an index,
tables without a rule, another place of the frame) is one test a theme, whose failure names the
cases; of those without limits, which are looked at behind all rules.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.engines.batch import Batch
from tests.engines.kernel import Kernel
from tests.packets.table import OF_SHARED_MAPS, RECEIVED_WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.engines.host import Host
    from tests.packets.case import Case, Scene


def _every(cases: Mapping[str, Case], *, in_kernel: bool = False) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(case, id=name)
            for name, case in cases.items()
            if Kernel.takes(case.frame) or not in_kernel
        ],
    )


def _by_theme(cases: Mapping[str, Case]) -> pytest.MarkDecorator:
    themes: dict[str, dict[str, Case]] = defaultdict(dict)
    for name, case in cases.items():
        theme, _, description = name.partition(": ")
        themes[theme][description] = case
    return pytest.mark.parametrize(
        "cases", [pytest.param(cases, id=theme) for theme, cases in themes.items()]
    )


every_theme = _by_theme(RECEIVED_WHOLE)
every_theme_of_shared_maps = _by_theme(
    {name: case for name, case in OF_SHARED_MAPS.items() if not case.scene.config.limits}
)


def _with_tables(scene: Scene) -> Scene:
    return replace(scene, config=replace(scene.config, tables=True))


def _wrong(
    cases: Mapping[str, Case],
    engine: Host | Kernel,
    change: Callable[[Scene], Scene] = lambda scene: scene,
) -> list[str]:
    """Return the descriptions of the cases that an engine decides in another way.

    The cases of a scene run as a batch, and one by one only where it does not go as they say.
    """
    scenes: dict[Scene, dict[str, Case]] = defaultdict(dict)
    for description, case in cases.items():
        if not isinstance(engine, Kernel) or Kernel.takes(case.frame):
            scenes[change(case.scene)][description] = case
    wrong: list[str] = []
    for scene, found in scenes.items():
        batch = Batch.of([(case.frame, case.expected) for case in found.values()])
        if not engine.goes(scene, batch):
            alone = [
                d for d, case in found.items() if engine.judge(scene, case.frame) != case.expected
            ]
            wrong += alone or [f"only together: {', '.join(found)}"]
    return wrong


@_every(RECEIVED_WHOLE)
def test_compiled_for_the_host(case: Case, host_engine: Host) -> None:
    assert host_engine.judge(case.scene, case.frame) == case.expected


@pytest.mark.root
@_every(RECEIVED_WHOLE, in_kernel=True)
def test_loaded_into_the_kernel(case: Case, kernel_engine: Kernel) -> None:
    assert kernel_engine.judge(case.scene, case.frame) == case.expected


@every_theme
def test_compiled_for_the_host_reads_nothing_before_the_frame(
    cases: Mapping[str, Case], host_engine_guarding_starts: Host
) -> None:
    assert _wrong(cases, host_engine_guarding_starts) == []


@every_theme_of_shared_maps
def test_tables_without_a_rule_change_no_verdict(
    cases: Mapping[str, Case], host_engine: Host
) -> None:
    assert _wrong(cases, host_engine, _with_tables) == []


@pytest.mark.root
@every_theme_of_shared_maps
def test_tables_without_a_rule_change_no_verdict_in_the_kernel(
    cases: Mapping[str, Case], kernel_engine: Kernel
) -> None:
    assert _wrong(cases, kernel_engine, _with_tables) == []


@every_theme_of_shared_maps
def test_the_index_of_names_changes_no_verdict(
    cases: Mapping[str, Case], indexed_host_engine: Host
) -> None:
    assert _wrong(cases, indexed_host_engine) == []


@every_theme_of_shared_maps
def test_an_index_that_excludes_nothing_changes_no_verdict(
    cases: Mapping[str, Case], vain_host_engine: Host
) -> None:
    assert _wrong(cases, vain_host_engine) == []


@pytest.mark.root
@every_theme_of_shared_maps
def test_loaded_into_the_kernel_with_a_fresh_index(
    cases: Mapping[str, Case], indexed_kernel_engine: Kernel
) -> None:
    assert _wrong(cases, indexed_kernel_engine) == []
