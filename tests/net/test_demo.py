"""The demos show what happens, end by themselves, and leave nothing behind.

What `make demo-flood` asks is in tests/unit/tools/test_first_minutes.py; here is that it has what
it asks about: a flood in front of a real BIND, and honest clients beside it.
"""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bench.first_minutes import BOTS, NETWORK, Site
from tests.lab import Lab, eventually
from tests.lab.hosts import BPFFS, PYTHON, ROOT

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def demo() -> subprocess.CompletedProcess[str]:
    process = subprocess.Popen(
        [PYTHON, "-m", "contrib.demo"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"DEMO_SECONDS": "4"},
    )
    output, _ = process.communicate(timeout=60)
    return subprocess.CompletedProcess([str(process.pid)], process.returncode, output)


def test_the_demo_ends_after_demo_seconds(demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0, demo.stdout


def test_a_demo_that_is_piped_prints_no_escape_codes(
    demo: subprocess.CompletedProcess[str],
) -> None:
    assert "\x1b" not in demo.stdout


def test_the_demo_shows_packets_passed_dropped_and_truncated(
    demo: subprocess.CompletedProcess[str],
) -> None:
    last = re.findall(r"^  all of DNS +(\d+) +(\d+) +(\d+)$", demo.stdout, re.MULTILINE)[-1]
    assert [int(count) > 0 for count in last] == [True, True, True]


def test_the_filter_counts_what_the_client_saw(demo: subprocess.CompletedProcess[str]) -> None:
    rows = re.findall(r"^  (?:blocked|truncated) .* +(\d+) +(\d+)$", demo.stdout, re.MULTILINE)
    silence, over_tcp = (sum(map(int, column)) for column in zip(*rows, strict=True))
    last = re.findall(r"^  all of DNS +\d+ +(\d+) +(\d+)$", demo.stdout, re.MULTILINE)[-1]
    assert (silence, over_tcp) == tuple(map(int, last))


@pytest.mark.parametrize(
    ("title", "answered", "silence", "over_tcp"),
    [
        ("a name that nobody blocks", True, False, False),
        ("blocked address 192.0.2.66", False, True, False),
        ("blocked prefix 203.0.113.0/24", False, True, False),
        ("blocked name flood.example", False, True, False),
        ("truncated name big.example", True, False, True),
        ("truncated name over IPv6", True, False, True),
    ],
)
def test_the_demo_shows_what_the_client_saw(
    demo: subprocess.CompletedProcess[str],
    title: str,
    *,
    answered: bool,
    silence: bool,
    over_tcp: bool,
) -> None:
    row = re.search(rf"^  {re.escape(title)} +\d+ +(\d+) +(\d+) +(\d+)$", demo.stdout, re.MULTILINE)
    assert row is not None
    assert [int(count) > 0 for count in row.groups()] == [answered, silence, over_tcp]


def test_the_demo_leaves_no_namespace_and_no_pin(demo: subprocess.CompletedProcess[str]) -> None:
    left = [
        path.name
        for folder in (Path("/run/netns"), BPFFS, Path("/tmp"))  # noqa: S108 - looked at only
        for path in folder.glob(f"xdplab-{demo.args[0]}-*")
    ]
    assert left == []


def test_the_demo_of_a_flood_has_a_flood_a_bind_and_honest_clients() -> None:
    with Lab() as lab, ExitStack() as stack:
        site = Site(lab, stack)
        site.flood(2_000)
        answered = site.honest.answered
        eventually(lambda: min(answered(9), answered(9, neighbour=True)) > 0.5, "answers")
        sums = ("top", "--live", "source24", "--source", BOTS, "--seconds", "1")
        eventually(lambda: NETWORK in site.service.verb(*sums).stdout, "the flood")
