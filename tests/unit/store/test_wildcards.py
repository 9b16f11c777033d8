"""Another --any-qtype: what is exported then is what was, and who claims a name still does."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xdpctl.abi import MapName, RuleAction, encode_qname
from xdpctl.errors import KernelError, TargetError
from xdpctl.rules import AnyQtype
from xdpctl.store.export import lines_of
from xdpctl.store.wildcards import widened_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.fake_store import Ledger

BOTH, NEW, LEGACY = AnyQtype.BOTH, AnyQtype.NEW, AnyQtype.LEGACY
X = b"\1x\7example\0"


def switch(ledger: Ledger, mode: AnyQtype) -> None:
    """Let another mode be in force."""
    ledger.store.prepare_for(mode)
    ledger.store.adopt(mode)
    ledger.any_qtype = mode


def exported(ledger: Ledger) -> list[str]:
    """Return the lines of `export`, in an order of their own."""
    return sorted(lines_of(ledger.store.listing, ledger.any_qtype, everything=False))


def made(ledger: Ledger, mode: AnyQtype, lines: Iterable[str]) -> None:
    """Let these be the rules, made in this mode; a later line may be another origin's."""
    switch(ledger, mode)
    for line in lines:
        ledger.bulk([line], "cli")


# --- what is exported -----------------------------------------------------------------------

modes = st.sampled_from(AnyQtype)
ORIGINS = ("cli", "api", "app:jail", "list:l")
written = st.builds(
    "{}{}{} action={} origin={}".format,
    st.sampled_from(["", ".", "*."]),
    st.sampled_from(["x.example", "y.example"]),
    st.sampled_from(["", " qtype=ANY", " qtype=A", " qtype=TYPE65535"]),
    st.sampled_from(["drop", "pass", "truncate"]),
    st.sampled_from(ORIGINS),
)


def takes(ledger: Ledger, line: str) -> bool:
    """Import a line; return whether the mode can express it."""
    try:
        ledger.bulk([line], "cli")
    except TargetError:
        return False
    return True


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(modes, st.lists(written, max_size=4)), min_size=1, max_size=4))
def test_an_export_is_imported_unchanged_whatever_modes_there_were(
    ledger: Ledger, steps: list[tuple[AnyQtype, list[str]]]
) -> None:
    ledger.store.flush(None, None)
    for mode, lines in steps:
        switch(ledger, mode)
        for line in lines:
            takes(ledger, line)
    before, shown = exported(ledger), ledger.shown()
    ledger.bulk(before, "cli")
    assert (exported(ledger), ledger.shown()) == (before, shown)
    ledger.store.flush(None, None)
    ledger.bulk(before, "cli")
    assert exported(ledger) == before


def test_what_only_65535_can_say_of_a_zone_or_list_is_imported_in_every_mode(
    ledger: Ledger,
) -> None:
    lines = [
        f"{name} qtype=ANY action=drop origin={origin}"
        for name, origin in ((".z.example", "cli"), ("l.example", "list:l"))
    ]
    made(ledger, NEW, lines)
    for mode in (BOTH, LEGACY):
        switch(ledger, mode)
        assert exported(ledger) == lines
        assert ledger.bulk(lines, "cli").unchanged == len(lines)
        ledger.store.flush(None, None)
        assert ledger.bulk(lines, "cli").created == len(lines)
    with pytest.raises(TargetError, match="blocks every type"):
        ledger.bulk(["x.example qtype=ANY"], "cli")


@pytest.mark.parametrize(("before", "after"), [(NEW, BOTH), (LEGACY, BOTH), (NEW, LEGACY)])
def test_an_export_behind_a_change_of_mode_makes_no_second_rule(
    ledger: Ledger, before: AnyQtype, after: AnyQtype
) -> None:
    made(ledger, before, ["x.example"])
    made(ledger, NEW, ["y.example qtype=ANY"])
    switch(ledger, after)
    assert exported(ledger) == [f"{name}.example action=drop origin=cli" for name in "xy"]
    assert ledger.bulk(exported(ledger), "cli").unchanged == 2
    assert len(ledger.shown()) == len(list(ledger.store.entries())) == 2


# --- who claims a name ----------------------------------------------------------------------

CLAIMS = ["x.example action=drop origin=app:a", "x.example action=drop origin=cli"]


@pytest.mark.parametrize("before", AnyQtype)
@pytest.mark.parametrize("after", AnyQtype)
def test_claims_that_wait_go_with_the_rule_to_another_mode(
    ledger: Ledger, before: AnyQtype, after: AnyQtype
) -> None:
    made(ledger, before, CLAIMS)
    ledger.hit("x.example", 7)
    switch(ledger, after)
    assert exported(ledger) == CLAIMS
    assert ledger.shown() == {"x.example": (RuleAction.DROP, 7, "cli")}
    ledger.bulk([], "cli", replace=True)
    assert ledger.shown() == {"x.example": (RuleAction.DROP, 0, "app:a")}
    assert ledger.agrees()


def test_claims_behind_dnsdists_entry_are_in_force_where_it_no_longer_blocks_the_name(
    ledger: Ledger,
) -> None:
    switch(ledger, BOTH)
    ledger.dnsdist("x.example")
    ledger.bulk(["x.example"], "cli")
    switch(ledger, LEGACY)
    assert exported(ledger) == ["x.example action=drop origin=cli"]
    assert ledger.value("x.example") is not None


def test_a_map_without_room_for_claims_that_wait_leaves_all_as_it_was(ledger: Ledger) -> None:
    switch(ledger, BOTH)
    ledger.dnsdist("x.example")
    ledger.bulk(["x.example"], "cli")
    ledger.vanish("x.example")
    before = exported(ledger)
    ledger.kernel.faults.set("map.update", errno.ENOMEM, times=9)
    with pytest.raises(KernelError):
        ledger.store.prepare_for(LEGACY)
    ledger.kernel.faults.clear()
    assert exported(ledger) == before


@pytest.mark.parametrize("mode", [BOTH, LEGACY])
def test_a_rule_for_every_type_stays_and_one_for_any_beside_it_ends(
    ledger: Ledger, caplog: pytest.LogCaptureFixture, mode: AnyQtype
) -> None:
    lines = ["x.example action=pass", "x.example qtype=ANY", "x.example qtype=ANY origin=app:a"]
    made(ledger, NEW, lines)
    switch(ledger, mode)
    assert exported(ledger) == ["x.example action=pass origin=cli"]
    assert ledger.agrees()
    (record,) = [each for each in caplog.records if each.getMessage().startswith("names-")]
    assert record.getMessage() == "names-ended"


@pytest.mark.parametrize("mode", AnyQtype)
def test_before_another_mode_is_in_force_no_rule_means_more(ledger: Ledger, mode: AnyQtype) -> None:
    made(ledger, NEW, ["x.example qtype=ANY"])
    ledger.store.prepare_for(mode)
    assert exported(ledger) == ["x.example qtype=ANY action=drop origin=cli"]


def test_without_room_a_rule_stays_where_mode_both_finds_it_too(ledger: Ledger) -> None:
    made(ledger, LEGACY, ["x.example"])
    ledger.kernel.faults.set("map.update", errno.E2BIG, times=9)
    switch(ledger, BOTH)
    ledger.kernel.faults.clear()
    assert exported(ledger) == ["x.example action=drop origin=cli"]
    assert ledger.agrees()


# --- what operators are told ----------------------------------------------------------------


def test_names_that_mean_more_than_before_are_remembered_until_they_are_made_again(
    ledger: Ledger,
) -> None:
    made(ledger, NEW, [f"{name}.example qtype=ANY" for name in "xyz"])
    made(ledger, NEW, ["z.example"])
    assert widened_names(ledger.state) == []
    ledger.pass_time(1)
    switch(ledger, BOTH)
    ledger.restart()
    assert widened_names(ledger.state) == ["x.example", "y.example"]
    ledger.store.remove([ledger.target(MapName.QNAMES, encode_qname(X, 65535))])
    ledger.put("x.example")
    assert widened_names(ledger.state) == ["y.example"]
    for mode in (LEGACY, NEW):
        switch(ledger, mode)
        assert widened_names(ledger.state) == ["y.example"]
