"""The packet table: every case of every theme, in the order of PACKETS.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.packets import (
    addresses,
    answers,
    exempt,
    fragments,
    jumbo,
    known,
    limits,
    lists,
    names,
    sample_program,
    unanswerable,
    way_in,
    xsk,
    zone_limits,
    zones,
)

if TYPE_CHECKING:
    from tests.packets.case import Case

THEMES: dict[str, tuple[Case, ...]] = {
    "way in": way_in.CASES,
    "addresses": addresses.CASES,
    "names": names.CASES,
    "fragments": fragments.CASES,
    "answers": answers.CASES,
    "unanswerable": unanswerable.CASES,
    "xsk": xsk.CASES,
    "sample program": sample_program.CASES,
    "zones": zones.CASES,
    "lists": lists.CASES,
    "jumbo": jumbo.CASES,
    "exempt": exempt.CASES,
    "limits": limits.CASES,
    "cookies": known.CASES,
    "zone limits": zone_limits.CASES,
}

CASES: dict[str, Case] = {
    f"{theme}: {case.description}": case for theme, cases in THEMES.items() for case in cases
}
"""Test id to case; a unit test holds that no description stands twice in a theme."""

RECEIVED_WHOLE = {name: case for name, case in CASES.items() if case.scene.first_buffer is None}
"""Those whose frames lie in one buffer: the filter does not know of others yet."""

OF_SHARED_MAPS = {
    name: case for name, case in RECEIVED_WHOLE.items() if not case.scene.config.tables
}
"""Those without tables of our own."""
