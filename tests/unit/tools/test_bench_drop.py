"""The arithmetic of `make bench-drop`: what it says of a means is what was measured."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.drop import sender
from tests.bench.drop.means import EVERY, Series
from tests.bench.drop.report import Outcome, Visit, progress, text
from tests.bench.drop.search import (
    MOST_PROBES,
    CoreTimes,
    Limits,
    Spent,
    dropped_by_iptables,
    dropped_by_nft,
    missed_packets,
    percentile,
    search,
)
from tests.bench.drop.window import Reading, Window
from tests.bench.live import header_sum
from tests.bench.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = Limits(least=1_000, most=8_000_000, precision=1.05)

STAT = """cpu  10 20 30 40 50 60 70 80 90 100
cpu0 1 2 3 4 5 6 7 8 0 0
cpu1 11 12 13 1400 15 16 17 18 0 0
cpu10 9 9 9 9 9 9 9 9 0 0
intr 12345 0 0
"""

RULESET = """table ip filter {
\tset blocked {
\t\ttype ipv4_addr
\t\telements = { 198.18.0.0, 198.18.0.1 }
\t}

\tchain incoming {
\t\ttype filter hook prerouting priority raw; policy accept;
\t\tip saddr @blocked counter packets 4711 bytes 329770 drop
\t}
}
"""

SAVED = """*raw
:PREROUTING ACCEPT [77:5390]
:OUTPUT ACCEPT [0:0]
[4711:329770] -A PREROUTING -m set --match-set blocked src -j DROP
[3:210] -A PREROUTING -j ACCEPT
COMMIT
"""


def below(limit: float, tried: list[float]) -> Callable[[float], bool]:
    def passes(rate: float) -> bool:
        tried.append(rate)
        return rate <= limit

    return passes


class TestTheSearch:
    """From a start to the highest rate that passes."""

    @given(
        limit=st.floats(LIMITS.least, LIMITS.most * 0.99),
        start=st.floats(LIMITS.least, LIMITS.most),
        step=st.sampled_from([1.15, 2.0]),
    )
    def test_finds_the_limit_to_its_precision_wherever_it_starts(
        self, limit: float, start: float, step: float
    ) -> None:
        found = search(below(limit, []), start, step, LIMITS)
        assert found.passed is not None
        assert found.failed is not None
        assert found.passed <= limit < found.failed <= found.passed * LIMITS.precision

    def test_near_the_former_limit_few_rates_are_tried(self) -> None:
        tried: list[float] = []
        search(below(1_000_000, tried), 990_000, 1.15, LIMITS)
        assert len(tried) <= 4

    def test_a_limit_that_nothing_reaches_is_said_by_no_failed_rate(self) -> None:
        found = search(below(1e9, []), 400_000, 2.0, LIMITS)
        assert (found.passed, found.failed) == (LIMITS.most, None)

    def test_where_nothing_passes_the_least_rate_is_tried_last(self) -> None:
        tried: list[float] = []
        found = search(below(0, tried), 400_000, 2.0, LIMITS)
        assert found.passed is None
        assert tried[-1] == found.failed == LIMITS.least

    @given(st.lists(st.booleans(), min_size=MOST_PROBES, max_size=MOST_PROBES))
    def test_a_machine_that_answers_at_random_is_not_asked_for_ever(
        self, answers: list[bool]
    ) -> None:
        answer = iter(answers)
        assert search(lambda _: next(answer), 400_000, 2.0, LIMITS).probes <= MOST_PROBES


class TestThePercentile:
    """Nearest rank."""

    def test_is_one_of_the_values(self) -> None:
        assert percentile([30.0, 10.0, 20.0], 50) == 20.0

    def test_of_a_hundred_values_the_99th_leaves_one_above(self) -> None:
        assert percentile([float(n) for n in range(1, 101)], 99) == 99.0

    def test_the_hundredth_is_the_greatest(self) -> None:
        assert percentile([1.0, 3.0, 2.0], 100) == 3.0

    @given(st.lists(st.floats(0, 1e9), min_size=1), st.integers(1, 100))
    def test_so_many_percent_do_not_exceed_it(self, values: list[float], percent: int) -> None:
        found = percentile(values, percent)
        assert sum(value <= found for value in values) * 100 >= percent * len(values)

    @pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
    def test_of_nothing_there_is_none(self, values: list[float], percent: float) -> None:
        with pytest.raises(ValueError, match="th percentile of"):
            percentile(values, percent)


class TestTheKernelsAccounting:
    """What the kernel's and other programs' texts are read as."""

    def test_a_core_is_read_from_its_own_line(self) -> None:
        assert CoreTimes.parse(STAT, 1) == CoreTimes(11, 12, 13, 1400, 15, 16, 17, 18)

    def test_rest_is_idle_and_waiting_for_a_disk(self) -> None:
        assert CoreTimes.parse(STAT, 1).rest == 1415

    def test_a_core_that_is_not_there_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="no line for core 2"):
            CoreTimes.parse(STAT, 2)

    def test_a_busy_second_of_a_core_is_a_second_without_rest(self) -> None:
        first = reading(moment=10.0, idle=1_000)
        assert reading(moment=11.0, idle=1_025).busy_since(first) == pytest.approx(0.75)

    def test_packets_that_found_the_ring_full_are_read_from_ip(self) -> None:
        said = json.dumps([{"ifname": "eth0", "stats64": {"rx": {"packets": 9, "dropped": 4}}}])
        assert missed_packets(said) == 4

    def test_nft_counts_in_its_rules(self) -> None:
        assert dropped_by_nft(RULESET) == 4711

    def test_iptables_counts_what_it_drops_not_what_it_accepts(self) -> None:
        assert dropped_by_iptables(SAVED) == 4711


class TestCpuTimeAMillionPackets:
    """What of the CPU time is the flood's."""

    RESTING = Spent(wall=0.5, poll=0.01, dnsdist=0.02, service=0.005)

    def test_all_of_polling_and_service_counts(self) -> None:
        spent = Spent(wall=1.0, poll=0.2, dnsdist=0.0, service=0.1)
        assert spent.per_million(1_000_000, self.RESTING) == pytest.approx(0.3)

    def test_what_dnsdist_uses_for_honest_queries_does_not(self) -> None:
        spent = Spent(wall=1.0, poll=0.2, dnsdist=0.54, service=0.0)
        assert spent.per_million(500_000, self.RESTING) == pytest.approx(1.4)

    def test_without_a_packet_there_is_none(self) -> None:
        with pytest.raises(ValueError, match="no packet"):
            self.RESTING.per_million(0, self.RESTING)


class TestTheFlood:
    """The queries that are sent, as far as Python makes them."""

    def test_asks_for_a_name_of_the_zone(self) -> None:
        frame = sender.query_frame(sender.NETWORK[0], "192.0.2.53", bytes(6), bytes(6))
        question = dns.message.from_wire(frame[42:]).question[0]
        assert (question.name.to_text(), question.rdtype) == ("haaa.flood.example.", 1)

    def test_and_the_honest_names_are_of_one_length(self) -> None:
        assert len(sender.name(899)) == len(sender.HONEST_NAME)

    def test_has_as_many_names_as_sources(self) -> None:
        names = {sender.name(number) for number in range(sender.SOURCES)}
        assert len(names) == sender.SOURCES

    def test_header_sums_to_zero_once_the_check_is_in(self) -> None:
        frame = sender.query_frame(IPv4Address("192.0.2.1"), "192.0.2.53", bytes(6), bytes(6))
        check = header_sum(frame)
        check = (check & 0xFFFF) + (check >> 16)
        whole = frame[:24] + (~check & 0xFFFF).to_bytes(2, "big") + frame[26:]
        assert header_sum(whole) % 0xFFFF == 0

    def test_program_and_python_agree_on_sizes(self) -> None:
        defined = dict(
            re.findall(r"^#define (\w+)\s+(\d+)", sender.SOURCE_FILE.read_text(), re.MULTILINE)
        )
        assert int(defined["SOURCES"]) == sender.SOURCES
        assert int(defined["HONEST"]) == sender.HONEST_MOST

    def test_random_names_are_of_the_zone_and_do_not_soon_come_again(self) -> None:
        scatter = int(re.search(r"SCATTER (\w+)", sender.SOURCE_FILE.read_text())[1], 16)  # type: ignore[index]
        assert len({number * scatter & 0xFFFFF for number in range(1 << 20)}) == 1 << 20

    def test_a_zone_is_blocked_by_one_rule_everywhere(self) -> None:
        assert Series.ZONE.targets == [".flood.example"]
        (userspace,) = [means for means in EVERY if means.key == "userspace"]
        assert userspace.lua(Series.ZONE).count("flood.example.") == 1
        assert {m.key for m in EVERY if Series.ZONE in m.series} == {
            "userspace",
            "generic",
            "native",
        }


class TestTheReport:
    """What is said of what was measured."""

    def test_ratios_are_to_dnsdist_in_userspace(self) -> None:
        rows = outcome().rows[Series.SOURCES]
        assert [row.rate_ratio for row in rows] == [1.0, 10.0]
        assert [row.cpu_ratio for row in rows] == pytest.approx([1.0, 0.25])

    def test_a_limit_of_the_sender_is_marked(self) -> None:
        lines = [line for line in text(outcome()).splitlines() if line.startswith("| xdpctl")]
        assert all("≥ 4,000,000" in line for line in lines)
        assert len(lines) == 2

    def test_a_means_that_is_not_there_is_said_in_one_line(self) -> None:
        assert "- iptables: not on this machine (no ipset)" in text(outcome()).splitlines()

    def test_a_series_that_nothing_was_measured_in_is_not_in_it(self) -> None:
        assert "random names" not in text(outcome())

    def test_a_visit_that_always_lost_one_counts_as_none(self) -> None:
        lost = visit("native", 0, 0.5)
        assert lost.best is None
        assert "0 packets/s" in progress(lost)


def reading(moment: float, idle: int) -> Reading:
    core = CoreTimes(0, 0, 0, idle, 0, 0, 0, 0)
    return Reading(moment=moment, missed=0, poll=0.0, dnsdist=0.0, service=0.0, core=core)


def window(rate: float, poll: float) -> Window:
    return Window(
        offered=rate,
        seconds=1.0,
        sent=int(rate),
        missed=0,
        asked=2000,
        answered=2000,
        p50=40.0,
        p99=80.0,
        spent=Spent(wall=1.0, poll=poll, dnsdist=0.02, service=0.0),
        core=1.0,
    )


def visit(means: str, best: float, poll: float) -> Visit:
    return Visit(
        means=means,
        series=Series.SOURCES,
        round=0,
        resting=window(0, 0.0),
        same=window(200_000, poll),
        best=window(best, 0.9) if best else None,
        limited=means == "native",
        own_ns=70.0 if means == "native" else None,
    )


def outcome() -> Outcome:
    visits = [visit("userspace", 400_000, 0.4), visit("native", 4_000_000, 0.1)]
    names = [replace(one, series=Series.NAMES) for one in visits]
    machine = Machine(kernel="6.18", cpu="a CPU", cpus=2, load=0.1, date="2026-11-21")
    absent = ["iptables: not on this machine (no ipset)"]
    return Outcome.of([*visits, *names], absent, machine, "dnsdist 2.1.3")
