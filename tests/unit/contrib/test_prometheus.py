"""Alerts and dashboard: promtool reads them, and they name metrics that a service has."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from prometheus_client import parser

from tests.support.fake_backend import NO_LIMITS
from tests.unit.status.test_metrics import FULL
from xdpctl.feeds.dnsdist.views import BridgeView, DnsdistView
from xdpctl.feeds.publish.views import PublishZoneView
from xdpctl.feeds.versions import GoodVersion, ListView
from xdpctl.limits.view import LimitsView, ZoneView
from xdpctl.status.metrics import Exposition, SnapshotCollector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.samples import Sample

ROOT: Final = Path(__file__).parents[3]
RULES: Final = ROOT / "contrib" / "prometheus" / "xdpctl.rules.yml"
RULE_TESTS: Final = RULES.with_suffix(".test.yml")
DASHBOARD: Final = ROOT / "contrib" / "grafana" / "xdpctl.json"

NOT_SHOWN: Final = {
    "process_virtual_memory_bytes",  # says nothing about the memory in use
    "process_start_time_seconds",  # no panel: marks in all of them show a start
}
"""Metrics without a panel, each with its reason."""

_METRIC = re.compile(r"\b((?:xdpctl|process)_\w+)\b")


def series() -> list[Sample]:
    """Return what a service with everything configured shows."""
    good = GoodVersion("targets", 7, 1, 1.0)
    zone = ZoneView(".example.com", 500, True, names=9, serial=3, verified=1.0)  # noqa: FBT003
    listed = ListView(
        *("z", "", "rpz", good, time.time(), "", "z.example", 3, 1.0, {("soa", "current"): 1})
    )
    limits = LimitsView(
        NO_LIMITS,
        listeners={53: True},
        zones=(ZoneView(".example.net", 1, True, transfers={"axfr": 1}), zone),  # noqa: FBT003
    )
    collector = SnapshotCollector(
        lambda: FULL,
        bcc=lambda: "0.26.0",
        lists=lambda: [ListView("ads", "/ads", "targets", good, time.time(), ""), listed],
        notified=lambda: {"taken": 1},
        limits=lambda: limits,
        publishing=lambda: [PublishZoneView("z.example", "z", (), 1, 1, "", None, {"done": 1})],
        dnsdist=lambda: BridgeView((DnsdistView("http://127.0.0.1:8083", success=1.0),)),
    )
    body, _ = Exposition(collector).render("")
    families = parser.text_string_to_metric_families(body.decode())
    return [sample for family in families for sample in family.samples]


METRICS: Final = {sample.name for sample in series()}


def promtool(*arguments: str) -> None:
    """Run promtool, and fail with what it says."""
    done = subprocess.run(["promtool", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_series_are_of_every_metric_that_the_reference_has() -> None:
    """So that none is missed below."""
    text = (ROOT / "docs" / "reference.md").read_text()
    table = text.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    assert {name for name in METRICS if name.startswith("xdpctl_")} == set(
        re.findall(r"`(xdpctl_\w+)`", table)
    )


# --- the alerts -------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_alert_fires_when_it_should_and_else_is_silent() -> None:
    promtool("test", "rules", str(RULE_TESTS))


def test_every_alert_is_tested_both_ways() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    text = RULE_TESTS.read_text()
    fire = set(re.findall(r"alertname: (\w+)\n +exp_alerts:\n +- ", text))
    silent = set(re.findall(r"alertname: (\w+)}", text))
    assert alerts
    assert (fire, silent) == (alerts, alerts)


def test_alerts_name_metrics_that_a_service_has() -> None:
    flags = re.MULTILINE | re.DOTALL
    expressions = re.findall(r"^ +expr: (.*?)^ +(?:for|labels):", RULES.read_text(), flags)
    named = {name for text in expressions for name in _METRIC.findall(text)}
    assert named <= METRICS


# --- the dashboard ----------------------------------------------------------------------------


def panels() -> list[dict[str, Any]]:
    """Return the panels that show something."""
    document = json.loads(DASHBOARD.read_text())
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    """Yield every expression, with what Grafana puts in the place of its variables."""
    document = json.loads(DASHBOARD.read_text())
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    found += [mark["expr"] for mark in document["annotations"]["list"]]
    for text in found:
        plain = text.replace("$__rate_interval", "5m")
        yield re.sub(r"\$(?:job|instance|interface)\b", ".*", plain)


@pytest.mark.slow
def test_every_expression_of_the_dashboard_finds_something(tmp_path: Path) -> None:
    """In what a service shows; a series of a counter grows, another changes once."""
    input_series = []
    for sample in series():
        labels = {**sample.labels, "job": "xdpctl", "instance": "ns1"}
        text = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
        values = "1+60x20" if sample.name.endswith("_total") else "1x18 2 2"
        input_series.append({"series": f"{sample.name}{{{text}}}", "values": values})
    tests = [
        {
            "expr": f"count({text}) > bool 0",
            "eval_time": "19m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for text in expressions()
    ]
    file = tmp_path / "dashboard.yml"  # JSON is YAML
    document = {"interval": "1m", "input_series": input_series, "promql_expr_test": tests}
    file.write_text(json.dumps({"tests": [document]}))
    promtool("test", "rules", str(file))


def test_the_dashboard_shows_every_metric() -> None:
    shown = {
        name
        for panel in panels()
        for target in panel["targets"]
        for name in _METRIC.findall(target["expr"])
    }
    assert shown == METRICS - NOT_SHOWN


def test_panels_have_a_place_and_a_number_of_their_own() -> None:
    document = json.loads(DASHBOARD.read_text())
    numbers = [panel["id"] for panel in document["panels"]]
    assert len(numbers) == len(set(numbers))
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + column, place["y"] + line)
            for column in range(place["w"])
            for line in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(column for column, _ in cells) < 24
        taken |= cells


def test_every_panel_asks_the_chosen_source() -> None:
    for panel in panels():
        assert panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
