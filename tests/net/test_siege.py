"""2,000 connections from another host, and from this one, take nobody's control socket away."""

from __future__ import annotations

import pytest

from tests.bench.siege import COUNT, siege, switch, until

pytestmark = [pytest.mark.root, pytest.mark.slow]

MEMORY_MAX = 120
"""Megabytes; the issue's bar."""
LINES_MAX = 100


@pytest.mark.parametrize("near", [False, True], ids=["another host", "this host"])
def test_panic_and_status_work_during_a_siege(*, near: bool) -> None:
    with siege(20_000, near=near) as site:
        before = len(site.service.process.lines)
        with site.crowd(COUNT, 120), site.control() as control:
            for verb, panic in (("panic", True), ("resume", False)):
                assert switch(site.service.control, verb) == 200
                until(control, panic=panic)
            done = site.service.verb("panic")
            assert (done.returncode, done.stderr) == (0, "")
            until(control, panic=True)
            assert site.service.verb("status").stdout.startswith("READY, but PANIC is on")
            assert site.service.verb("block", "203.0.113.7").returncode == 0
        assert len(site.service.process.lines) - before < LINES_MAX
        assert 0 < site.peak < MEMORY_MAX
