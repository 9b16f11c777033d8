"""The packet table through the C: each case is what PACKETS.md says of one packet."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.engines.kernel import Kernel
from tests.packets.table import OF_SHARED_MAPS, RECEIVED_WHOLE

if TYPE_CHECKING:
    from collections.abc import Mapping

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


every_case = _every(RECEIVED_WHOLE)
every_case_of_a_test_run = _every(RECEIVED_WHOLE, in_kernel=True)
every_case_of_shared_maps = _every(OF_SHARED_MAPS)
every_case_of_shared_maps_in_a_test_run = _every(OF_SHARED_MAPS, in_kernel=True)


def _with_tables(scene: Scene) -> Scene:
    return replace(scene, config=replace(scene.config, tables=True))


@every_case
def test_compiled_for_the_host(case: Case, host_engine: Host) -> None:
    assert host_engine.judge(case.scene, case.frame) == case.expected


@every_case
def test_compiled_for_the_host_reads_nothing_before_the_frame(
    case: Case, host_engine_guarding_starts: Host
) -> None:
    assert host_engine_guarding_starts.judge(case.scene, case.frame) == case.expected


@pytest.mark.root
@every_case_of_a_test_run
def test_loaded_into_the_kernel(case: Case, kernel_engine: Kernel) -> None:
    assert kernel_engine.judge(case.scene, case.frame) == case.expected


@every_case_of_shared_maps
def test_tables_without_a_rule_change_no_verdict(case: Case, host_engine: Host) -> None:
    assert host_engine.judge(_with_tables(case.scene), case.frame) == case.expected


@pytest.mark.root
@every_case_of_shared_maps_in_a_test_run
def test_tables_without_a_rule_change_no_verdict_in_the_kernel(
    case: Case, kernel_engine: Kernel
) -> None:
    assert kernel_engine.judge(_with_tables(case.scene), case.frame) == case.expected


@every_case_of_shared_maps
def test_the_index_of_names_changes_no_verdict(case: Case, indexed_host_engine: Host) -> None:
    assert indexed_host_engine.judge(case.scene, case.frame) == case.expected


@every_case_of_shared_maps
def test_an_index_that_excludes_nothing_changes_no_verdict(
    case: Case, vain_host_engine: Host
) -> None:
    assert vain_host_engine.judge(case.scene, case.frame) == case.expected


@pytest.mark.root
@every_case_of_shared_maps_in_a_test_run
def test_loaded_into_the_kernel_with_a_fresh_index(
    case: Case, indexed_kernel_engine: Kernel
) -> None:
    assert indexed_kernel_engine.judge(case.scene, case.frame) == case.expected
