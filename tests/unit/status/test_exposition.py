"""The text of a scrape is what prometheus_client would write, in the format that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, ProcessCollector, exposition, openmetrics
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
)

from xdpctl.status.exposition import Exposition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

TEXT = "text/plain"
OPENMETRICS = "application/openmetrics-text"


class Given:
    """A collector of one family of each kind."""

    def __init__(self, help_text: str = "A help", label: str = "a", value: float = 1.0) -> None:
        self.text, self.label, self.value = help_text, label, value

    def collect(self) -> Iterable[Metric]:
        counter = CounterMetricFamily("test_packets", self.text, labels=["b", "a"])
        counter.add_metric([self.label, "second"], self.value)
        counter.add_metric(["first", self.label], 0)
        gauge = GaugeMetricFamily("test_load", self.text)
        gauge.add_metric([], self.value)
        info = InfoMetricFamily("test_build", self.text)
        info.add_metric([], {"version": self.label})
        empty = GaugeMetricFamily("test_empty", self.text, labels=["a"])
        return [counter, gauge, info, empty]


def of_us(body: bytes) -> list[bytes]:
    """Return the lines without those of this process, whose numbers change."""
    return [line for line in body.splitlines(keepends=True) if b"process_" not in line]


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.floats() | st.integers(0, 2**64).map(float),
)
def test_it_is_the_librarys_text(help_text: str, label: str, value: float) -> None:
    collector = Given(help_text, label, value)
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    ours = Exposition(collector)
    assert of_us(ours.render(TEXT)[0]) == of_us(exposition.generate_latest(registry))
    theirs = openmetrics.exposition.generate_latest(registry)  # type: ignore[no-untyped-call]
    assert of_us(ours.render(OPENMETRICS)[0]) == of_us(theirs)


def test_both_formats_have_the_numbers_of_this_process() -> None:
    for accept in (TEXT, OPENMETRICS):
        body, _ = Exposition(Given()).render(accept)
        assert b"\nprocess_cpu_seconds_total " in body


def test_the_formats_are_named_as_scrapers_know_them() -> None:
    assert Exposition(Given()).render("*/*")[1] == exposition.CONTENT_TYPE_PLAIN_0_0_4
    assert Exposition(Given()).render(OPENMETRICS)[1] == openmetrics.exposition.CONTENT_TYPE_LATEST


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
    _, content_type = Exposition(Given()).render(accept)
    assert content_type.startswith("application/openmetrics-text" if is_open else "text/plain")
