"""Every family of the contract with exactly its labels, from one frozen value."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import openmetrics, parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from tests.support.fake_host import INTERFACE, FakeHost, bytecode
from xdpctl import __version__
from xdpctl.abi import Count, MapName, PacketAction, Reason
from xdpctl.feeds.dnsdist.blocks import BlockKind
from xdpctl.feeds.dnsdist.views import BridgeView, DnsdistView
from xdpctl.feeds.publish.views import PublishZoneView
from xdpctl.feeds.versions import GoodVersion, ListView
from xdpctl.filter.filter import Filter
from xdpctl.filter.view import FilterState, FilterView
from xdpctl.kernel.bpf.programs import XdpMode
from xdpctl.maps.shared import SharedMaps
from xdpctl.maps.xsk_destinations import DestinationWatch
from xdpctl.status.metrics import POSSIBLE, Exposition, SnapshotCollector
from xdpctl.status.observer import Observer
from xdpctl.status.snapshot import MapView, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric
    from prometheus_client.samples import Sample

CONTRACT = {
    "xdpctl_packets_total": {"interface", "action", "reason"},
    "xdpctl_bytes_total": {"interface", "action", "reason"},
    "xdpctl_map_entries": {"map"},
    "xdpctl_map_capacity": {"map"},
    "xdpctl_shared_map_frozen": {"map"},
    "xdpctl_stale_dnsdist_entries": {"map"},
    "xdpctl_map_errors_total": {"map", "error"},
    "xdpctl_rules_expired_total": {"map"},
    "xdpctl_interface_attached": {"interface"},
    "xdpctl_interface_reattach_total": {"interface"},
    "xdpctl_program_info": {"interface", "id", "tag", "mode"},
    "xdpctl_xsk_destinations_lost_total": set(),
    "xdpctl_ready": set(),
    "xdpctl_warnings": set(),
    "xdpctl_panic": set(),
    "xdpctl_samples_lost_total": set(),
    "xdpctl_rules": {"class"},
    "xdpctl_claims_waiting": {"class"},
    "xdpctl_snapshot_age_seconds": set(),
    "xdpctl_build_info": {"version", "bcc", "kernel"},
}
"""CONTRACT.md, "Metrics"."""

REASONS = [
    "other",
    "fragment",
    "malformed",
    "addr-v4",
    "addr-v6",
    "cidr4",
    "cidr6",
    "qname",
    "no-match",
    "response",
    "opcode",
    "unanswerable",
    "redirect",
    "xsk-ineligible",
    "panic",
    "exempt",
    "zone",
    "list-source",
    "list-name",
    "limit",
    "unproven",
    "zone-limit",
]

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def counters(**packets: int) -> dict[tuple[Reason, PacketAction], Count]:
    """Return a filter's counters; a key is `REASON__ACTION`."""
    found = {(reason, action): Count(0, 0) for reason in Reason for action in PacketAction}
    for name, number in packets.items():
        reason, action = name.split("__")
        found[Reason[reason], PacketAction[action]] = Count(number, 60 * number)
    return found


def view(
    interface: str = INTERFACE, state: FilterState = FilterState.ATTACHED, **packets: int
) -> FilterView:
    on = state is FilterState.ATTACHED
    return FilterView(
        interface,
        state,
        2 if on else None,
        XdpMode.NATIVE if on else None,
        7 if on else None,
        "0123456789abcdef" if on else None,
        3,
        1,
        counters(**packets),
    )


def map_view(name: MapName, entries: int | None = 4) -> MapView:
    return MapView(name, Path("/sys/fs/bpf/dnsdist") / name, 9, entries, 1024)


FULL = Snapshot(
    taken=0.0,
    filters=(view(ADDR_V4__DROP=5), view("eth1", QNAME__TRUNCATE=1)),
    maps=(map_view(MapName.ADDR_V4), map_view(MapName.XSK_DESTINATIONS_V6)),
    map_errors={(MapName.QNAMES, "E2BIG"): 2},
    destinations_lost=6,
    expired={MapName.CIDR4: 8},
)


def samples(snapshot: Snapshot) -> list[Sample]:
    """Scrape a snapshot and parse the text as Prometheus does."""
    return [sample for family in families(snapshot) for sample in family.samples]


def is_of_the_process(name: str) -> bool:
    """Return whether a sample is one that every exporter has of its own process."""
    return name.startswith("process_")


def samples_of_ours() -> list[Sample]:
    return [sample for sample in samples(FULL) if not is_of_the_process(sample.name)]


def families(snapshot: Snapshot) -> Iterable[Metric]:
    body, _ = Exposition(SnapshotCollector(lambda: snapshot, bcc=lambda: "0.26.0")).render("")
    return list(parser.text_string_to_metric_families(body.decode()))


def value(snapshot: Snapshot, name: str, **labels: str) -> float | None:
    """Return the one sample with exactly these labels; None where there is none."""
    found = [s.value for s in samples(snapshot) if s.name == name and s.labels == labels]
    assert len(found) <= 1
    return found[0] if found else None


# --- the contract's table ---------------------------------------------------------------------


def test_each_dnsdist_has_its_figures_and_every_kind_of_block() -> None:
    url = "http://127.0.0.1:8083"
    view = DnsdistView(url, True, {BlockKind.PREFIX: 3}, 5.0, 0.25, {"ok": 7})  # noqa: FBT003
    collector = SnapshotCollector(
        lambda: Snapshot(0.0), bcc=str, dnsdist=lambda: BridgeView((view,), 4, 2)
    )
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in collector.collect()
        for sample in family.samples
        if sample.name.startswith("xdpctl_dnsdist")
    }
    kinds = {key[2]: value for key, value in samples.items() if key[0] == "xdpctl_dnsdist_blocks"}
    assert kinds == {kind: 3.0 * (kind is BlockKind.PREFIX) for kind in BlockKind}
    assert samples["xdpctl_dnsdist_up", url] == 1
    assert samples["xdpctl_dnsdist_last_success_timestamp_seconds", url] == 5
    assert samples["xdpctl_dnsdist_poll_seconds", url] == 0.25
    assert samples["xdpctl_dnsdist_polls_total", url, "ok"] == 7
    assert samples["xdpctl_dnsdist_polls_total", url, "failed"] == 0
    assert (samples["xdpctl_dnsdist_claims",], samples["xdpctl_dnsdist_held",]) == (4, 2)


def test_without_a_dnsdist_there_is_none_of_them() -> None:
    collector = SnapshotCollector(lambda: Snapshot(0.0), bcc=str, dnsdist=BridgeView)
    assert not [family for family in collector.collect() if "dnsdist_up" in family.name]


def test_every_family_has_the_labels_of_the_contract_and_no_others() -> None:
    found: dict[str, set[frozenset[str]]] = {}
    for sample in samples_of_ours():
        found.setdefault(sample.name, set()).add(frozenset(sample.labels))
    assert found == {name: {frozenset(labels)} for name, labels in CONTRACT.items()}


def test_every_family_says_what_it_is() -> None:
    assert all(family.documentation for family in families(FULL))


def test_what_only_grows_is_a_counter_and_the_rest_is_not() -> None:
    kinds = {
        family.name: family.type for family in families(FULL) if not is_of_the_process(family.name)
    }
    growing = {name.removesuffix("_total") for name in CONTRACT if name.endswith("_total")}
    assert {name for name, kind in kinds.items() if kind == "counter"} == growing


def test_reasons_are_the_contracts_in_their_order() -> None:
    assert [reason.label for reason in Reason] == REASONS


def test_no_two_samples_are_the_same() -> None:
    keys = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in samples(FULL)]
    assert len(keys) == len(set(keys))


# --- values ---------------------------------------------------------------------------------


def test_packets_and_bytes_are_those_counted() -> None:
    labels = {"interface": INTERFACE, "action": "drop", "reason": "addr-v4"}
    assert value(FULL, "xdpctl_packets_total", **labels) == 5
    assert value(FULL, "xdpctl_bytes_total", **labels) == 300


def test_what_can_happen_is_there_from_the_first_scrape() -> None:
    zero = Snapshot(0.0, filters=(view(),))
    shown = {
        (sample.labels["reason"], sample.labels["action"])
        for sample in samples(zero)
        if sample.name == "xdpctl_packets_total"
    }
    assert shown == {(reason.label, action.name.lower()) for reason, action in POSSIBLE}


def test_what_should_never_happen_is_shown_once_it_did() -> None:
    odd = Snapshot(0.0, filters=(view(MALFORMED__REDIRECT=1),))
    labels = {"interface": INTERFACE, "action": "redirect", "reason": "malformed"}
    assert value(odd, "xdpctl_packets_total", **labels) == 1


@pytest.mark.parametrize(
    ("reason", "actions"),
    [
        (Reason.OTHER, {"PASS"}),
        (Reason.FRAGMENT, {"PASS", "DROP"}),
        (Reason.MALFORMED, {"DROP"}),
        (Reason.ADDR_V4, {"PASS", "DROP", "TRUNCATE", "REDIRECT"}),
        (Reason.QNAME, {"PASS", "DROP", "TRUNCATE", "REDIRECT"}),
        (Reason.NO_MATCH, {"PASS"}),
        (Reason.RESPONSE, {"PASS", "REDIRECT"}),
        (Reason.OPCODE, {"PASS", "REDIRECT"}),
        (Reason.UNANSWERABLE, {"DROP"}),
        (Reason.REDIRECT, {"PASS", "REDIRECT"}),
        (Reason.XSK_INELIGIBLE, {"PASS"}),
        (Reason.PANIC, {"PASS"}),
    ],
)
def test_each_reason_has_the_actions_of_the_packet_contract(
    reason: Reason, actions: set[str]
) -> None:
    assert {action.name for found, action in POSSIBLE if found is reason} == actions


def test_a_map_that_was_not_counted_yet_has_a_capacity_only() -> None:
    early = Snapshot(0.0, maps=(map_view(MapName.QNAMES, None),))
    assert value(early, "xdpctl_map_entries", map="qnames") is None
    assert value(early, "xdpctl_map_capacity", map="qnames") == 1024


def test_entries_errors_and_expired_rules_are_by_map() -> None:
    assert value(FULL, "xdpctl_map_entries", map="addr-v4") == 4
    assert value(FULL, "xdpctl_map_errors_total", map="qnames", error="E2BIG") == 2
    assert value(FULL, "xdpctl_rules_expired_total", map="cidr4") == 8
    assert value(FULL, "xdpctl_rules_expired_total", map="qnames") == 0


@pytest.mark.parametrize(
    ("state", "attached"),
    [
        (FilterState.ATTACHED, 1),
        (FilterState.MISSING, 0),
        (FilterState.DETACHED, 0),
        (FilterState.LOST, 0),
    ],
)
def test_an_interface_is_attached_or_not(state: FilterState, attached: int) -> None:
    snapshot = Snapshot(0.0, filters=(view(state=state),))
    assert value(snapshot, "xdpctl_interface_attached", interface=INTERFACE) == attached
    assert value(snapshot, "xdpctl_interface_reattach_total", interface=INTERFACE) == 3


def test_a_program_is_named_while_it_is_on() -> None:
    labels = {"interface": INTERFACE, "id": "7", "tag": "0123456789abcdef", "mode": "native"}
    assert value(FULL, "xdpctl_program_info", **labels) == 1


def test_no_program_is_named_where_none_is_on() -> None:
    snapshot = Snapshot(0.0, filters=(view(state=FilterState.LOST),))
    assert not [one for one in samples(snapshot) if one.name == "xdpctl_program_info"]


def test_a_program_without_tag_or_mode_is_named_all_the_same() -> None:
    bare = FilterView("eth0", FilterState.ATTACHED, 2, None, 7, None, 0, 1, {})
    labels = {"interface": "eth0", "id": "7", "tag": "", "mode": ""}
    assert value(Snapshot(0.0, filters=(bare,)), "xdpctl_program_info", **labels) == 1


@pytest.mark.parametrize(
    ("panic", "states", "said"),
    [
        (False, [FilterState.ATTACHED], []),
        (True, [FilterState.ATTACHED], ["panic is on"]),
        (False, [FilterState.DETACHED, FilterState.ATTACHED], ["the filter is not on eth0,"]),
        (True, [FilterState.DETACHED, FilterState.DETACHED], ["panic", "not on eth0, eth1"]),
    ],
)
def test_why_rules_have_no_effect_is_said(
    panic: bool,  # noqa: FBT001 - a parameter of the test
    states: list[FilterState],
    said: list[str],
) -> None:
    views = tuple(
        FilterView(f"eth{number}", state, 2, None, 7, None, 0, 1, {})
        for number, state in enumerate(states)
    )
    found = Snapshot(0.0, filters=views, panic=panic).without_effect
    assert len(found) == len(said)
    assert all(words in sentence for words, sentence in zip(said, found, strict=True))


def test_what_is_unknown_has_no_number() -> None:
    snapshot = Snapshot(0.0, stale={MapName.QNAMES: None, MapName.ADDR_V4: 2})
    found = {
        name: value(snapshot, "xdpctl_stale_dnsdist_entries", map=name)
        for name in ("addr-v4", "cidr4", "qnames")
    }
    assert found == {"addr-v4": 2, "cidr4": 0, "qnames": None}


@pytest.mark.parametrize("panic", [True, False])
def test_panic_is_one_or_zero(panic: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert value(Snapshot(0.0, panic=panic), "xdpctl_panic") == float(panic)


def test_lost_destinations_are_counted() -> None:
    assert value(FULL, "xdpctl_xsk_destinations_lost_total") == 6


LISTS = (
    ListView("a.txt", "/a.txt", "hosts", GoodVersion("hosts", 7, 2, 1_000.5), 0.0, ""),
    ListView("b.txt", "/b.txt", "auto", GoodVersion("cidr", 9, 0, 900.0), 0.0, "it is empty"),
    ListView("c.txt", "/c.txt", "auto", None, 0.0, ""),
)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("xdpctl_list_up", [1, 0, 0]),
        ("xdpctl_list_rules", [7, 9, 0]),
        ("xdpctl_list_left_out", [2, 0, 0]),
        ("xdpctl_list_last_success_timestamp_seconds", [1_000.5, 900, 0]),
    ],
)
def test_each_list_has_its_figures(name: str, values: list[float]) -> None:
    collector = SnapshotCollector(lambda: FULL, bcc=str, lists=lambda: LISTS)
    body, _ = Exposition(collector).render("")
    found = {
        sample.labels["list"]: sample.value
        for family in parser.text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name == name
    }
    assert found == dict(zip(["a.txt", "b.txt", "c.txt"], values, strict=True))


def test_a_list_that_is_a_zone_has_more() -> None:
    zone = ListView(
        *("z", "", "rpz", GoodVersion("rpz", 7, 2, 900.0, serial=3), 0.0, "", "rpz.example", 3),
        contact=time.time() - 60,
        transfers={("ixfr", "good"): 4, ("soa", "current"): 9},
    )
    collector = SnapshotCollector(
        lambda: FULL, bcc=str, lists=lambda: (*LISTS, zone), notified=lambda: {"taken": 2}
    )
    text = Exposition(collector).render("")[0].decode()

    assert 'xdpctl_list_serial{list="z"} 3.0' in text
    assert 'xdpctl_list_transfers_total{kind="ixfr",list="z",result="good"} 4.0' in text
    assert 'xdpctl_list_notifies_total{result="taken"} 2.0' in text
    (age,) = re.findall(r'xdpctl_list_age_seconds{list="z"} ([0-9.]+)', text)
    assert 60 <= float(age) < 120
    assert 'xdpctl_list_age_seconds{list="a.txt"}' not in text


def test_what_is_published_is_counted_by_list() -> None:
    view = PublishZoneView("z.example", "block", ("192.0.2.53",), 7, 2, "", None, {"done": 3})
    collector = SnapshotCollector(lambda: FULL, bcc=str, publishing=lambda: [view])
    body, _ = Exposition(collector).render("")
    lines = body.decode().splitlines()
    assert 'xdpctl_published_records{list="block"} 7.0' in lines
    assert 'xdpctl_published_waiting{list="block"} 2.0' in lines
    assert 'xdpctl_publish_updates_total{list="block",result="done"} 3.0' in lines


def test_the_age_is_that_of_the_snapshot() -> None:
    before = time.monotonic()
    age = value(Snapshot(before - 5.0), "xdpctl_snapshot_age_seconds")
    assert age is not None
    assert 5.0 <= age <= 5.0 + time.monotonic() - before + 0.001


def test_the_age_is_never_negative() -> None:
    assert value(Snapshot(time.monotonic() + 60), "xdpctl_snapshot_age_seconds") == 0


def test_the_build_is_named() -> None:
    (sample,) = [one for one in samples(FULL) if one.name == "xdpctl_build_info"]
    assert (sample.labels["version"], sample.labels["bcc"]) == (__version__, "0.26.0")
    assert sample.labels["kernel"]


def test_an_address_or_a_name_is_never_a_label() -> None:
    text = "".join(str(sample.labels) for sample in samples(FULL))
    assert "192.0.2" not in text
    assert "example" not in text


# --- the scrape ---------------------------------------------------------------------------------


def test_a_scrape_makes_no_system_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host = FakeHost(monkeypatch, tmp_path)
    shared = SharedMaps(host.bpf, host.settings())
    shared.inspect()
    shared.open()
    with Filter(host.bpf, host.netlink, INTERFACE, directory=host.own) as one, shared:
        one.attach(bytecode(), shared.rule_maps(), panic=False)
        watch = DestinationWatch({}, host.netlink, restore=False)
        observer = Observer([one], shared, watch)
        observer.look()
        exposition = Exposition(SnapshotCollector(lambda: observer.last, bcc=lambda: "0"))
        before = len(host.kernel.faults.calls)
        body, _ = exposition.render("")
        assert len(host.kernel.faults.calls) == before
    assert b'xdpctl_interface_attached{interface="eth0"} 1.0' in body


def test_a_scrape_shows_the_snapshot_of_its_moment() -> None:
    shown = [Snapshot(0.0), Snapshot(0.0, panic=True)]
    exposition = Exposition(SnapshotCollector(lambda: shown.pop(0), bcc=lambda: "0"))
    bodies = [exposition.render("")[0] for _ in range(2)]
    assert [b"\nxdpctl_panic 1.0" in body for body in bodies] == [False, True]


def test_the_text_format_is_the_default() -> None:
    _, content_type = Exposition(SnapshotCollector(lambda: FULL, bcc=lambda: "0")).render("*/*")
    assert content_type.startswith("text/plain; version=")


def test_a_scraper_that_asks_for_openmetrics_gets_it() -> None:
    body, content_type = Exposition(SnapshotCollector(lambda: FULL, bcc=lambda: "0")).render(
        OPENMETRICS
    )
    parse = openmetrics_parser.text_string_to_metric_families
    found = list(parse(body.decode()))  # type: ignore[no-untyped-call]
    assert content_type.startswith(openmetrics.exposition.CONTENT_TYPE_LATEST.split(";")[0])
    names = {s.name for family in found for s in family.samples}
    assert {name for name in names if not is_of_the_process(name)} == set(CONTRACT)


@pytest.mark.parametrize(
    ("accept", "is_open"),
    [
        ("text/plain;version=0.0.4,application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=0, */*", False),
        ("application/openmetrics-text; version=1.0.0; q=0.0, text/plain;q=0.1", False),
        ("text/plain;q=0, application/openmetrics-text", True),
        ("text/plain;q=0, */*;q=0.1", True),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.5", False),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4", True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2,*/*;q=0.1", True),
        ("APPLICATION/OpenMetrics-Text; Q=0.7", True),
        ("text/*;q=0.3, application/*;q=0.9", True),
        ("application/json", False),
        ("text/plain;q=0", False),
        ("text/plain;q=0,application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=nonsense", True),
        ("application/openmetrics-text;q=nan", True),
        (";;,,q=", False),
        ("", False),
    ],
)
def test_the_weights_of_an_accept_header_choose_the_format(accept: str, *, is_open: bool) -> None:
    _, content_type = Exposition(SnapshotCollector(lambda: FULL, bcc=lambda: "0")).render(accept)
    assert content_type.startswith("application/openmetrics-text" if is_open else "text/plain")


def test_a_scrape_has_the_numbers_of_this_process() -> None:
    names = {sample.name for sample in samples(FULL)}
    assert names >= {
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    }


def test_a_service_with_a_reason_is_not_ready() -> None:
    assert value(FULL, "xdpctl_ready") == 1
    assert value(replace(FULL, reasons=("eth0 is missing",)), "xdpctl_ready") == 0


def test_warnings_of_every_kind_are_counted() -> None:
    assert value(replace(FULL, warnings=("one", "another")), "xdpctl_warnings") == 2


def test_an_interfaces_name_may_have_any_character() -> None:
    odd = 'a"b\\c{é}'
    snapshot = Snapshot(0.0, filters=(view(odd),))
    assert value(snapshot, "xdpctl_interface_attached", interface=odd) == 1


def test_a_frozen_map_is_a_1() -> None:
    maps = (map_view(MapName.ADDR_V4), replace(map_view(MapName.QNAMES), frozen=True))
    seen = replace(FULL, maps=maps)
    assert value(seen, "xdpctl_shared_map_frozen", map="addr-v4") == 0
    assert value(seen, "xdpctl_shared_map_frozen", map="qnames") == 1
