"""What a dnsdist that has ended left in the maps is noticed, and ended where that is asked for.

Real dnsdist processes: 1.7.3, and the newer releases.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.lab import Dnsdist17, Service, eventually
from tests.lab.hosts import PYTHON

if TYPE_CHECKING:
    from tests.lab import Host, Lab

pytestmark = pytest.mark.root

BLOCKS = 'bpf:block(newCA("192.0.2.66"), 1)\nbpf:blockQName(newDNSName("left.example"), 1, 1)'


def stale(service: Service) -> dict[str, int]:
    """Return how many stale entries the metrics show, by map, where there are any."""
    metrics = service.metrics()
    found = {
        name: int(metrics.sum("xdpctl_stale_dnsdist_entries", map=name))
        for name in ("addr-v4", "addr-v6", "cidr4", "cidr6", "qnames")
    }
    return {name: count for name, count in found.items() if count}


def become(service: Service, expected: dict[str, int]) -> None:
    """Wait until so many entries are stale."""
    eventually(lambda: stale(service) == expected, f"stale entries {expected}", timeout=15)


def known(service: Service) -> None:
    """Wait until the service has seen who holds the maps: it looks once a second."""
    time.sleep(1.5)
    assert not stale(service)


def targets(service: Service) -> set[str]:
    return {rule["target"] for rule in service.rules()}


@pytest.fixture
def server(lab: Lab) -> Host:
    return lab.pair()[1]


def test_entries_of_a_dnsdist_that_ended_are_stale_and_those_of_the_next_are_not(
    server: Host,
) -> None:
    service = Service(server)
    dnsdist = Dnsdist17(server, BLOCKS)
    known(service)
    dnsdist.stop()
    become(service, {"addr-v4": 1, "qnames": 1})
    said = "2 entries in the shared maps were left by a dnsdist that has ended"
    eventually(lambda: said in service.verb("status").stdout, said)
    successor = Dnsdist17(server)
    successor.console('bpf:block(newCA("192.0.2.67"), 1)')
    become(service, {"addr-v4": 1, "qnames": 1})
    assert targets(service) == {"192.0.2.66", "192.0.2.67", "left.example"}


def test_a_restart_between_two_looks_is_noticed(server: Host) -> None:
    service = Service(server)
    dnsdist = Dnsdist17(server, BLOCKS)
    known(service)
    dnsdist.stop()
    Dnsdist17(server)
    become(service, {"addr-v4": 1, "qnames": 1})


def test_stale_entries_end_in_time_and_each_is_logged(server: Host) -> None:
    service = Service(server, "--stale-dnsdist", "expire:2s")
    dnsdist = Dnsdist17(server, BLOCKS)
    known(service)
    dnsdist.stop()
    successor = Dnsdist17(server)
    successor.console('bpf:block(newCA("192.0.2.67"), 1)')
    service.process.line("stale-entry-ended .*192.0.2.66")
    service.process.line("stale-entry-ended .*left.example")
    assert targets(service) == {"192.0.2.67"}
    become(service, {})


def test_a_restart_of_the_service_forgets_nothing(server: Host) -> None:
    service = Service(server)
    dnsdist = Dnsdist17(server, BLOCKS)
    known(service)
    dnsdist.stop()
    become(service, {"addr-v4": 1, "qnames": 1})
    Dnsdist17(server)
    assert service.stop() == 0
    again = Service(server)
    become(again, {"addr-v4": 1, "qnames": 1})


def test_what_is_there_when_the_service_starts_is_the_running_dnsdists(server: Host) -> None:
    server.lab.pins.mkdir()
    Dnsdist17(server, BLOCKS)
    service = Service(server, "--stale-dnsdist", "expire:1s")
    service.process.line("ready")
    eventually(lambda: service.verb("status").returncode == 0, "status")
    assert not stale(service)
    assert targets(service) == {"192.0.2.66", "left.example"}


def test_what_is_there_when_nobody_holds_the_maps_is_stale(server: Host) -> None:
    server.lab.pins.mkdir()
    Dnsdist17(server, BLOCKS).stop()
    service = Service(server)
    become(service, {"addr-v4": 1, "qnames": 1})


def test_our_own_rules_are_never_stale(server: Host) -> None:
    service = Service(server, "--stale-dnsdist", "expire:1s")
    assert service.verb("block", "192.0.2.68").returncode == 0
    Dnsdist17(server, BLOCKS).stop()
    service.process.line("stale-entry-ended")
    eventually(lambda: targets(service) == {"192.0.2.68"}, "only ours")


def test_unblock_force_lifts_one_entry_of_dnsdists_and_warns_of_its_count(server: Host) -> None:
    service = Service(server)
    Dnsdist17(server, BLOCKS)
    refused = service.verb("unblock", "192.0.2.66")
    assert (refused.returncode, "--force" in refused.stderr) == (1, True)
    lifted = service.verb("unblock", "--force", "192.0.2.66")
    assert (lifted.returncode, lifted.stdout) == (0, "1 rule removed\n")
    assert "keeps its own count" in lifted.stderr
    assert targets(service) == {"left.example"}
    service.process.line("dnsdist-entry-removed .*192.0.2.66")
    assert service.verb("unblock", "--force", "192.0.2.66").returncode == 1


APART = ("unshare", "--pid", "--fork", "--kill-child=TERM", "--mount-proc")
"""Runs what follows in a PID namespace of its own, as a container does."""


def test_in_a_container_nothing_is_stale_because_nobody_is_seen(server: Host) -> None:
    """Dnsdist holds the maps all the time; root in the container just does not see it."""
    Service(server).stop()  # makes the maps
    Dnsdist17(server, BLOCKS)
    service = Service(
        server, "--stale-dnsdist", "expire:1s", command=(*APART, PYTHON, "-m", "xdpctl")
    )
    status = eventually(
        lambda: said if "ends nothing now" in (said := service.verb("status").stdout) else "",
        "that stale entries are unknown",
        timeout=15,
    )
    assert "in a PID namespace of its own" in status
    assert targets(service) == {"192.0.2.66", "left.example"}
    assert 'xdpctl_stale_dnsdist_entries{map="addr-v4"}' not in service.metrics().text
    refused = service.verb("resize", "qnames=2000")
    assert refused.returncode == 1
    assert "cannot be seen from here which processes have the map open" in refused.stderr
    os.killpg(service.process.pid, signal.SIGTERM)  # unshare passes on no signal of its own
    assert service.process.wait() == 0
