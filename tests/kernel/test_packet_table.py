"""The packet table through the C: each case is what PACKETS.md says of one packet.

A theme is one test of each engine, and of each thing that changes no verdict (an index, tables
without a rule, another place of the frame): its cases go through the C as batches, and a failure
names those that went wrong, with what was decided instead.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.engines.in_batches import wrong_in
from tests.packets.table import OF_SHARED_MAPS, RECEIVED_WHOLE
from xdpctl.abi import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.engines.host import Host
    from tests.engines.kernel import Kernel
    from tests.packets.case import Case


def _by_theme(cases: Mapping[str, Case]) -> pytest.MarkDecorator:
    themes: dict[str, dict[str, Case]] = defaultdict(dict)
    for name, case in cases.items():
        theme, _, description = name.partition(": ")
        themes[theme][description] = case
    return pytest.mark.parametrize(
        "cases", [pytest.param(cases, id=theme) for theme, cases in themes.items()]
    )


every_theme = _by_theme(RECEIVED_WHOLE)
every_theme_of_shared_maps = _by_theme(OF_SHARED_MAPS)


def _with_tables(cases: Mapping[str, Case]) -> dict[str, Case]:
    return {
        name: replace(
            case, scene=replace(case.scene, config=replace(case.scene.config, tables=True))
        )
        for name, case in cases.items()
    }


@every_theme
def test_compiled_for_the_host(cases: Mapping[str, Case], host_engine: Host) -> None:
    assert wrong_in(host_engine, cases) == []


@pytest.mark.root
@every_theme
def test_loaded_into_the_kernel(cases: Mapping[str, Case], kernel_engine: Kernel) -> None:
    assert wrong_in(kernel_engine, cases) == []


@every_theme
def test_compiled_for_the_host_reads_nothing_before_the_frame(
    cases: Mapping[str, Case], host_engine_guarding_starts: Host
) -> None:
    assert wrong_in(host_engine_guarding_starts, cases) == []


@every_theme_of_shared_maps
def test_tables_without_a_rule_change_no_verdict(
    cases: Mapping[str, Case], host_engine: Host
) -> None:
    assert wrong_in(host_engine, _with_tables(cases)) == []


@pytest.mark.root
@every_theme_of_shared_maps
def test_tables_without_a_rule_change_no_verdict_in_the_kernel(
    cases: Mapping[str, Case], kernel_engine: Kernel
) -> None:
    assert wrong_in(kernel_engine, _with_tables(cases)) == []


@every_theme_of_shared_maps
def test_the_index_of_names_changes_no_verdict(
    cases: Mapping[str, Case], indexed_host_engine: Host
) -> None:
    assert wrong_in(indexed_host_engine, cases) == []


@every_theme_of_shared_maps
def test_an_index_that_excludes_nothing_changes_no_verdict(
    cases: Mapping[str, Case], vain_host_engine: Host
) -> None:
    assert wrong_in(vain_host_engine, cases) == []


@pytest.mark.root
@every_theme_of_shared_maps
def test_loaded_into_the_kernel_with_a_fresh_index(
    cases: Mapping[str, Case], indexed_kernel_engine: Kernel
) -> None:
    assert wrong_in(indexed_kernel_engine, cases) == []


def test_a_case_that_is_decided_otherwise_is_named(host_engine: Host) -> None:
    right = dict(list(RECEIVED_WHOLE.items())[:40])
    title = next(iter(right))
    other = replace(right[title].expected, reason=Reason.PANIC)
    (sentence,) = wrong_in(host_engine, right | {title: replace(right[title], expected=other)})
    assert sentence.startswith(f"{title}: ")
