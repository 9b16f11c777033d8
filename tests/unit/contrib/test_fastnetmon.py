"""The FastNetMon notify script: what floods is blocked, a victim is not."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, socket
from typing import TYPE_CHECKING

import pytest

from tests.lab.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

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


# --- with a real FastNetMon ----------------------------------------------------------

CONFIG = """\
{readme}
disable_usage_report = on
unban_only_if_attack_finished = off
networks_list_path = {folder}/networks
white_list_path = {folder}/none
pid_path = {folder}/pid
cli_stats_file_path = {folder}/stats
cli_stats_ipv6_file_path = {folder}/stats6
process_incoming_traffic = on
check_period = 1
average_calculation_time = 1
speed_calculation_delay = 1
ban_for_pps = on
threshold_pps = 100
sflow = on
sflow_host = 127.0.0.1
sflow_port = {port}
monitor_local_ip_addresses = off
enable_api = off
"""


def sample(source: str, destination: str) -> bytes:
    """Return an sFlow datagram: one of a thousand packets was a query of this source."""
    udp = struct.pack("!4H", 4000, 53, 20, 0) + bytes(12)
    addresses = IPv4Address(source).packed + IPv4Address(destination).packed
    frame = bytes(12) + b"\x08\0"
    frame += struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses + udp
    raw = struct.pack("!4I", 1, len(frame) + 4, 4, len(frame)) + frame + bytes(-len(frame) % 4)
    record = struct.pack("!2I", 1, len(raw)) + raw
    flow = struct.pack("!8I", 1, 3, 1000, 1000, 0, 3, 0, 1) + record
    head = struct.pack("!2I4s4I", 5, 1, IPv4Address("127.0.0.1").packed, 0, 1, 1000, 1)
    return head + struct.pack("!2I", 1, len(flow)) + flow


@contextmanager
def fastnetmon(folder: Path) -> Iterator[int]:
    """Run FastNetMon as the README says, but fed with sFlow; give its port."""
    readme = SCRIPT.with_name("README.md").read_text()
    lines = readme.partition("# /etc/fastnetmon.conf\n")[2].partition("```")[0]
    lines = lines.replace("/usr/local/bin/xdpctl-notify.py", str(folder / "notify"))
    lines = lines.replace("ban_time = 1900", "ban_time = 1")
    program = Path(sys.executable).with_name("xdpctl")
    script = f'#!/bin/sh\nXDPCTL_PROGRAM={program} exec {sys.executable} {SCRIPT} "$@"\n'
    (folder / "notify").write_text(script)
    (folder / "notify").chmod(0o755)
    (folder / "networks").write_text("198.51.100.0/24\n")
    (folder / "none").touch()
    with socket(AF_INET, SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "fastnetmon.conf"
    config.write_text(CONFIG.format(readme=lines, folder=folder, port=port))
    words = ["--configuration_file", str(config), "--log_file", str(folder / "log")]
    with (
        (folder / "output").open("wb") as output,
        subprocess.Popen(
            ["fastnetmon", *words, "--disable_pid_logic"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            yield port
        finally:
            process.kill()


@pytest.mark.slow
def test_a_real_ban_is_a_claim_and_its_unban_ends_it(service: FakeService, tmp_path: Path) -> None:
    service.answer("POST", RULES, MADE)
    service.answer("DELETE", RULES, {"removed": 1})

    def sent(method: str) -> list[str]:
        return [each.method for each in service.requests if each.method == method]

    with fastnetmon(tmp_path) as port, socket(AF_INET, SOCK_DGRAM) as sensor:

        def is_banned() -> bool:
            for both in (("198.51.100.7", "203.0.113.1"), ("203.0.113.1", "198.51.100.9")):
                sensor.sendto(sample(*both), ("127.0.0.1", port))
            victim = "198.51.100.9 is not blocked" in (tmp_path / "output").read_text()
            return victim and bool(sent("POST"))

        eventually(is_banned, "a ban of each direction", 60.0)
        eventually(lambda: sent("DELETE"), "an unban", 60.0)
    (claim,) = {request.body[0]["target"] for request in service.requests if request.body}
    assert claim == "198.51.100.7"
