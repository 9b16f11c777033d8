"""`resize` gives a shared map more room and keeps its entries, or says who holds the map."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from typing import TYPE_CHECKING

import pytest

from tests.lab import Dnsdist17, Lab, Service, dig, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab import Host

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    """A service for tests that resize a map each, or none."""
    with Lab() as lab:
        yield Service(lab.pair()[1])


@pytest.fixture
def pair(lab: Lab) -> tuple[Host, Host]:
    return lab.pair()


def capacity(service: Service, name: str) -> int:
    metrics = service.metrics()
    return int(metrics.sum("xdpctl_map_capacity", map=name))


def test_entries_are_kept_and_there_is_room_for_more(pair: tuple[Host, Host]) -> None:
    client, server = pair
    service = Service(server, "--maps-size", "4")
    names = [f"n{number}.example" for number in range(4)]
    assert service.verb("block", *names, "--reason", "kept").returncode == 0
    assert not dig(client, "n0.example").arrived
    done = service.verb("resize", "qnames=100000")
    assert done.returncode == 0, done.stderr
    assert 'map-size = ["qnames=100000"]' in done.stdout
    service.counted(1, reason="qname", action="drop")
    assert not dig(client, "n1.example").arrived
    more = [f"more{number}.example" for number in range(100)]
    assert service.verb("block", *more).returncode == 0
    assert not dig(client, "more7.example").arrived
    rules = {rule["target"]: rule for rule in service.rules()}
    assert {*rules} == {*names, *more}
    assert {rules[name]["reason"] for name in names} == {"kept"}
    assert rules["n0.example"]["hits"] == 1
    assert capacity(service, "qnames") == 100_000


def test_the_new_map_is_the_one_that_a_dnsdist_opens(pair: tuple[Host, Host]) -> None:
    client, server = pair
    service = Service(server)
    assert service.verb("resize", "addr-v4=5000").returncode == 0
    Dnsdist17(server, 'bpf:block(newCA("192.0.2.66"), 1)')
    assert {rule["target"] for rule in service.rules()} == {"192.0.2.66"}
    assert not dig(client, "www.example", source="192.0.2.66").arrived


def test_while_dnsdist_holds_the_map_it_is_refused_by_name_and_order(
    pair: tuple[Host, Host],
) -> None:
    _, server = pair
    service = Service(server)
    dnsdist = Dnsdist17(server, 'bpf:block(newCA("192.0.2.66"), 1)')
    for options in ((), ("--force",)):
        done = service.verb("resize", "addr-v4=5000", *options)
        assert done.returncode == 1
        assert f"dnsdist/main (pid {dnsdist.process.pid})" in done.stderr or (
            f"dnsdist (pid {dnsdist.process.pid})" in done.stderr
        )
        assert "stop it, run `xdpctl resize addr-v4=5000`, then start it again" in done.stderr
    assert capacity(service, "addr-v4") == 1024
    dnsdist.stop()
    assert service.verb("resize", "addr-v4=5000").returncode == 0
    assert capacity(service, "addr-v4") == 5000
    assert {rule["target"] for rule in service.rules()} == {"192.0.2.66"}


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("addr-v6", ["2001:db8::66"]),
        ("cidr4", ["203.0.113.0/24", "192.0.2.66/32"]),
        ("cidr6", ["2001:db8:77::/48"]),
    ],
)
def test_every_kind_of_map_can_be_resized(running: Service, name: str, targets: list[str]) -> None:
    service = running
    assert service.verb("block", *targets).returncode == 0
    assert service.verb("resize", f"{name}=3000").returncode == 0
    assert {rule["target"] for rule in service.rules("--map", name)} == {*targets}
    assert capacity(service, name) == 3000


REFUSED = {
    "no larger than now": ("qnames=1024", 1, "has room for 1024 already"),
    "no such map": ("names=5000", 2, "one of"),
    "a map of AF_XDP": ("xsk-destinations-v4=5000", 2, "can be resized"),
    "no number": ("qnames=many", 2, "a number"),
}


@pytest.mark.parametrize(("size", "status", "said"), REFUSED.values(), ids=REFUSED)
def test_a_size_that_cannot_be_meant_is_refused(
    running: Service, size: str, status: int, said: str
) -> None:
    done = running.verb("resize", size)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr


def test_rules_are_ours_after_a_restart_and_after_a_kill(pair: tuple[Host, Host]) -> None:
    _, server = pair
    service = Service(server)
    assert service.verb("block", "a.example", "--for", "1h").returncode == 0
    assert service.verb("resize", "qnames=2000").returncode == 0
    service.process.kill()
    again = Service(server, "--map-size", "qnames=2000")
    (rule,) = again.rules()
    assert (rule["target"], rule["origin"]) == ("a.example", "cli")
    assert rule["expires_in"] > 3000
    assert capacity(again, "qnames") == 2000
    assert not [line for line in again.process.lines if "exists with room" in line]


def test_an_import_that_does_not_fit_says_so_to_scripts_and_fits_after_a_resize(
    pair: tuple[Host, Host],
) -> None:
    _, server = pair
    service = Service(server)
    lines = "".join(f"n{number}.example\n" for number in range(2_000))
    path = str(server.lab.write("many.txt", lines))
    done = service.verb("import", path, "--json")
    assert (done.returncode, service.rules()) == (1, [])
    assert json.loads(done.stdout)["error"]["code"] == "map-full"
    assert "cannot add 2,000 entries to qnames" in done.stderr
    assert "written before" not in done.stderr
    assert service.verb("resize", "qnames=4000").returncode == 0
    assert service.verb("import", path).returncode == 0
    eventually(lambda: len(service.rules()) == 2_000, "all rules")


def test_several_rules_that_do_not_fit_leave_none_and_name_the_way_out(
    pair: tuple[Host, Host],
) -> None:
    service = Service(pair[1], "--maps-size", "4")
    assert service.verb("block", "192.0.2.1", "192.0.2.2").returncode == 0
    several = [f"192.0.2.{number}" for number in range(10, 13)]
    done = service.verb("block", *several)
    assert done.returncode == 1
    assert "cannot add 3 entries to addr-v4: it has room for 2 more of 4" in done.stderr
    assert "nothing was changed" in done.stderr
    assert "xdpctl resize addr-v4=" in done.stderr
    assert {rule["target"] for rule in service.rules()} == {"192.0.2.1", "192.0.2.2"}
    body = json.dumps([{"target": target} for target in several])
    with contextlib.closing(http.client.HTTPConnection("localhost", timeout=60)) as connection:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(service.control))
        connection.request("POST", "/api/v1/rules", body)
        refused = connection.getresponse()
        assert (refused.status, json.load(refused)["map"]) == (507, "addr-v4")
    assert service.verb("resize", "addr-v4=100").returncode == 0
    assert service.verb("block", *several).returncode == 0
    (change,) = [
        change
        for change in json.loads(service.verb("history", "--json").stdout)["changes"]
        if change["verb"] == "resize"
    ]
    assert (change["detail"], change["count"]) == ("addr-v4 from 4 to 100 entries", 2)
