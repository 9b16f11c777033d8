"""What the unit leaves open, by systemd's own rating, and that each of it has a reason there."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Final

import pytest

from tests.lab.unit import DEPLOY, Unit

UNIT: Final = "xdpctl.service"
HIGHEST: Final = 2.0
RATE: Final = ("systemd-analyze", "security", "--offline=true", "--no-pager")

REASONS: Final = {
    "AmbientCapabilities=": "ambient",
    "CapabilityBoundingSet=~CAP_BPF": "CAP_BPF",
    "CapabilityBoundingSet=~CAP_NET_ADMIN": "CAP_NET_ADMIN",
    "DeviceAllow=": "DeviceAllow=",
    "IPAddressDeny=": "IPAddressDeny=",
    "PrivateNetwork=": "PrivateNetwork=",
    "PrivateUsers=": "PrivateUsers=",
    "ProcSubset=": "ProcSubset=",
    "ProtectProc=": "ProtectProc=noaccess",
    "ProtectKernelTunables=": "ProtectKernelTunables=",
    "RestrictAddressFamilies=~AF_(INET|INET6)": "AF_INET",
    "RestrictAddressFamilies=~AF_NETLINK": "AF_NETLINK",
    "RestrictAddressFamilies=~AF_UNIX": "AF_UNIX",
    "RootDirectory=/RootImage=": "RootDirectory=",
    "SystemCallFilter=~@privileged": "chown(2)",
}
"""What systemd finds open, and the words of the unit's comment that say why."""


@pytest.fixture(scope="module")
def why() -> str:
    """The part of the unit's comments that gives the reasons."""
    return Unit(UNIT).path.read_text().partition("Left, and why:")[2].partition("ProtectSystem=")[0]


def rated() -> list[dict[str, object]]:
    done = subprocess.run(
        [*RATE, "--json=short", str(DEPLOY / UNIT)], check=True, capture_output=True, text=True
    )
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def test_systemd_rates_the_unit_below_two() -> None:
    done = subprocess.run(
        [*RATE, f"--threshold={HIGHEST * 10:.0f}", str(DEPLOY / UNIT)],
        check=False,
        capture_output=True,
        text=True,
    )
    level = re.search(rf"exposure level for {UNIT}: ([\d.]+)", done.stdout)
    assert level is not None, done.stderr
    assert (done.returncode, float(level[1]) < HIGHEST) == (0, True)


def test_nothing_else_is_open_than_what_has_a_reason() -> None:
    assert {row["name"] for row in rated() if row["set"] is False} <= {*REASONS}


@pytest.mark.parametrize(("left", "words"), REASONS.items(), ids=str)
def test_the_unit_says_why_it_is_left_open(why: str, left: str, words: str) -> None:
    assert words in why, left
