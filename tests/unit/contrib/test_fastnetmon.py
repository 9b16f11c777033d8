"""The FastNetMon notify script: what floods is blocked, a victim is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

SCRIPT = Path(__file__).parents[3] / "contrib" / "fastnetmon" / "xdpctl-notify.py"
RULES = "/api/v1/rules"
MADE = {"created": 1, "updated": 0, "warnings": []}


def notify(*arguments: str, given: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the script as FastNetMon does."""
    program = Path(sys.executable).with_name("xdpctl")
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        check=False,
        capture_output=True,
        text=True,
        input=given,
        env=os.environ | {"XDPCTL_PROGRAM": str(program)} | environ,
    )


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:66::7/128", "2001:db8:66::7"),
        ("2001:db8:66::/64", "2001:db8:66::/64"),
    ],
)
def test_a_ban_of_an_outgoing_attack_is_a_claim_that_ends(
    service: FakeService, address: str, target: str
) -> None:
    service.answer("POST", RULES, MADE)
    done = notify(address, "outgoing", "54321", "ban", given="details\n" * 100_000)

    assert (done.returncode, done.stderr) == (0, "")
    assert service.requests[0].body == [
        {
            "target": target,
            "qtype": None,
            "action": "drop",
            "reason": "fastnetmon: sends 54321 packets/s",
            "origin": "app:fastnetmon",
            "expires_in": 86400,
        }
    ]


def test_an_unban_ends_its_own_claim_and_may_come_twice(service: FakeService) -> None:
    service.answer("DELETE", RULES, {"removed": 1})
    service.refuse("DELETE", RULES, 404, detail="there is no such rule")
    done = [notify("198.51.100.7", "outgoing", "0", "unban") for _ in "12"]

    assert [each.returncode for each in done] == [0, 0]
    query = [("target", "198.51.100.7"), ("claimant", "app:fastnetmon")]
    assert [request.query for request in service.requests] == [query] * 2


def test_a_victim_is_not_blocked(service: FakeService) -> None:
    done = notify("192.0.2.53", "incoming", "54321", "ban")

    assert (done.returncode, service.requests) == (0, [])
    assert "192.0.2.53 is not blocked: it is the victim" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--force", "outgoing", "1", "ban"),
        ("bad.example", "outgoing", "1", "ban"),
        ("fe80::1%x", "outgoing", "1", "ban"),
        ("198.51.100.7", "outgoing", "1", "shout"),
        ("198.51.100.7",),
    ],
)
def test_other_arguments_are_a_usage_error(
    service: FakeService, arguments: tuple[str, ...]
) -> None:
    done = notify(*arguments)

    assert (done.returncode, service.requests) == (2, [])
    assert done.stderr.count("\n") == 1


def test_without_a_service_the_exit_status_is_three(cli: CommandLine) -> None:
    assert cli.control.exists() is False
    assert notify("198.51.100.7", "outgoing", "1", "ban").returncode == 3
