"""The ExaBGP process: sources that BGP announces become claims, whatever a peer says."""

from __future__ import annotations

import getpass
import importlib.util
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from tests.support.fake_service import FakeService

PROGRAM = Path(__file__).parents[3] / "contrib" / "exabgp" / "xdpctl-exabgp.py"
RULES, IMPORT = "/api/v1/rules", "/api/v1/import"
DISCARD = {"extended-community": [{"string": "rate-limit:0", "value": 1}]}
BLACKHOLE = {"community": [[65535, 666]]}


def loaded() -> ModuleType:
    """Import the program, whose name is not a module's."""
    spec = importlib.util.spec_from_file_location("xdpctl_exabgp", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


program = loaded()


def message(peer: str, **rest: object) -> str:
    """Return a line of ExaBGP's about a peer."""
    kind = "state" if "state" in rest else "update"
    neighbor = {"address": {"local": "192.0.2.53", "peer": peer}, **rest}
    return json.dumps({"exabgp": "4.0.1", "type": kind, "neighbor": neighbor})


def update(peer: str = "192.0.2.1", **rest: object) -> str:
    return message(peer, message={"update": rest})


def routes(*prefixes: str, attributes: object = BLACKHOLE, peer: str = "192.0.2.1") -> str:
    family = "ipv6 unicast" if ":" in prefixes[0] else "ipv4 unicast"
    given = {family: {"192.0.2.1": [{"nlri": prefix} for prefix in prefixes]}}
    return update(peer, attribute=attributes, announce=given)


def flow(attributes: object = DISCARD, **components: list[str]) -> str:
    given = {name.replace("_", "-"): tests for name, tests in components.items()}
    family = "ipv6 flow" if "source-ipv6" in given else "ipv4 flow"
    announced = {family: {"no-nexthop": [{**given, "string": "flow …"}]}}
    return update(attribute=attributes, announce=announced)


def gone(*prefixes: str) -> str:
    return update(withdraw={"ipv4 unicast": [{"nlri": prefix} for prefix in prefixes]})


@dataclass
class Bgp:
    """The process without ExaBGP, xdpctl and time.

    Attributes:
        claimed: what is claimed, with the end of each claim.
        now: seconds.
        refuses: xdpctl fails.
    """

    settings: Any = field(default_factory=program.Settings)
    claimed: dict[str, float] = field(default_factory=dict)
    now: float = 1000.0
    refuses: bool = False
    calls: int = 0

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start, also again."""
        self.reports = program.Reports(lambda: self.now)
        self.routes = program.Routes(self.settings.most)
        self.claims = program.Claims(self.settings, self.run, lambda: self.now)
        self.listener = program.Listener(self.settings, self.routes, self.reports, lambda: self.now)

    def run(self, words: list[str], given: str) -> tuple[int, str]:
        self.calls += 1
        assert words[words.index("--origin") + 1] == "app:exabgp"
        if self.refuses:
            return 3, ""
        self.claimed = {target: end for target, end in self.claimed.items() if end > self.now}
        match words[0]:
            case "list":
                return 0, json.dumps({"rules": [{"target": one} for one in self.claimed]})
            case "import":
                for line in given.splitlines():
                    target, _, rest = line.partition(" action=drop for=")
                    self.claimed[target] = self.now + int(rest.partition("s ")[0])
                return 0, json.dumps({"guarded": self.claimed.pop("192.0.2.53", 0) and 1})
            case "unblock":
                for target in words[words.index("--") + 1 :]:
                    self.claimed.pop(target, None)
        return 0, ""

    def take(self, *lines: str) -> set[str]:
        """Take lines as they come together; return what is claimed then."""
        for line in lines:
            self.listener.take(line)
        self.routes.pass_time(self.now)
        self.claims.become(lambda: self.routes.targets, self.routes.take_over)
        return {target for target, end in self.claimed.items() if end > self.now}

    def after(self, seconds: float, *lines: str) -> set[str]:
        """Take lines later; the process looks once a second."""
        for _ in range(int(seconds)):
            self.now += 1
            self.take()
        return self.take(*lines)


def test_a_route_with_a_blackhole_community_is_a_source() -> None:
    bgp = Bgp()
    assert bgp.take(
        routes("198.51.100.7/32", "198.51.100.0/24"), routes("2001:db8:66::/48"), "done"
    ) == {"198.51.100.7", "198.51.100.0/24", "2001:db8:66::/48"}
    assert bgp.take(gone("198.51.100.0/24")) == {"198.51.100.7", "2001:db8:66::/48"}


def test_a_source_lasts_until_its_last_route_is_withdrawn() -> None:
    bgp = Bgp()
    both = [routes("198.51.100.7/32", peer=peer) for peer in ("192.0.2.1", "192.0.2.2")]
    assert bgp.take(*both) == {"198.51.100.7"}
    assert bgp.take(gone("198.51.100.7/32")) == {"198.51.100.7"}
    withdrawn = update("192.0.2.2", withdraw={"ipv4 unicast": [{"nlri": "198.51.100.7/32"}]})
    assert bgp.take(withdrawn) == set()


@pytest.mark.parametrize(
    "components",
    [
        {"source_ipv4": ["198.51.100.0/24"]},
        {"source_ipv4": ["198.51.100.0/24"], "protocol": ["=udp"], "destination_port": ["=53"]},
        {"source_ipv4": ["198.51.100.0/24"], "destination_ipv4": ["192.0.2.0/24"]},
    ],
)
def test_a_flow_that_a_rule_can_express_is_a_source(components: dict[str, list[str]]) -> None:
    here = program.Settings.from_environment({"XDPCTL_EXABGP_DESTINATIONS": "192.0.2.53"})
    assert Bgp(here).take(flow(**components)) == {"198.51.100.0/24"}


def test_a_flow_of_ipv6_has_an_offset() -> None:
    assert Bgp().take(flow(source_ipv6=["2001:db8:66::/48/0"])) == {"2001:db8:66::/48"}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (flow(destination_ipv4=["192.0.2.53/32"]), "no source prefix"),
        (flow(source_ipv4=["198.51.100.0/24"], packet_length=[">1000"]), "packet-length"),
        (flow(source_ipv4=["198.51.100.0/24"], destination_port=["=443"]), "destination-port"),
        (flow(source_ipv4=["198.51.100.0/24"], destination_ipv4=["192.0.2.0/24"]), "destination"),
        (flow({}, source_ipv4=["198.51.100.0/24"]), "not to discard"),
        (
            flow(
                {"extended-community": [{"string": "rate-limit:9600"}]},
                source_ipv4=["198.51.100.0/24"],
            ),
            "not to discard",
        ),
        (flow(source_ipv6=["2001:db8::/32/16"]), "not a prefix"),
        (routes("0.0.0.0/0"), "shorter than /8"),
        (routes("::/0"), "shorter than /16"),
        (routes("198.51.100.0/24", attributes={}), "no blackhole community"),
        (routes("--force"), "not a prefix"),
        (routes("fe80::1%x\n192.0.2.9"), "not a prefix"),
        ("{", "not a message"),
        ('{"type": "update"}', "not a message"),
        ("{" + '"a":{' * 5000, "not a message"),
        (update(announce=[7]), "not a message"),
    ],
)
def test_what_no_rule_stands_for_is_reported_and_changes_nothing(
    line: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bgp = Bgp()
    bgp.take(routes("198.51.100.7/32"))
    assert bgp.take(line) == {"198.51.100.7"}
    errors = capsys.readouterr().err
    assert complaint in errors
    assert errors.count("\n") == 1


def test_a_route_that_loses_its_community_is_a_source_no_more() -> None:
    bgp = Bgp()
    bgp.take(routes("198.51.100.7/32"))
    assert bgp.take(routes("198.51.100.7/32", attributes={})) == set()


def test_of_more_routes_than_allowed_the_first_are_claims_and_one_line_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bgp = Bgp()
    for third in range(100):
        claimed = bgp.take(routes(*(f"10.{third}.{last}.0/24" for last in range(256))))
    assert len(claimed) == len(bgp.routes.targets) == 1000
    assert capsys.readouterr().err.count("\n") == 1
    bgp.now += 61
    bgp.take(routes("203.0.113.0/24"))
    assert "since the last report" in capsys.readouterr().err


def test_what_the_service_protects_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert Bgp().take(routes("192.0.2.53/32", "198.51.100.7/32")) == {"198.51.100.7"}
    assert "1 of 2 sources are left out" in capsys.readouterr().err


def test_a_session_that_ends_keeps_its_sources_for_a_while() -> None:
    bgp = Bgp()
    bgp.take(routes("198.51.100.7/32"), routes("198.51.100.8/32", peer="192.0.2.2"))
    down = message("192.0.2.1", state="down")
    assert len(bgp.take(down)) == 2
    assert len(bgp.after(110)) == 2
    assert bgp.after(20, down) == {"198.51.100.8"}


def test_what_the_new_table_does_not_have_is_gone_at_its_end() -> None:
    bgp = Bgp()
    bgp.take(routes("198.51.100.7/32", "198.51.100.8/32"))
    bgp.take(message("192.0.2.1", state="down"), message("192.0.2.1", state="up"))
    assert len(bgp.take(routes("198.51.100.7/32"))) == 2
    end = message("192.0.2.1", message={"eor": {"afi": "ipv4", "safi": "unicast"}})
    assert bgp.take(end) == {"198.51.100.7"}


def test_a_restart_keeps_what_is_announced_again_and_ends_the_rest() -> None:
    bgp = Bgp()
    bgp.take(routes("198.51.100.7/32", "198.51.100.8/32"))
    bgp.begin()
    assert len(bgp.after(10)) == 2
    bgp.take(message("192.0.2.1", state="up"), routes("198.51.100.7/32"))
    assert len(bgp.after(100)) == 2
    assert bgp.after(30) == {"198.51.100.7"}


def test_claims_are_renewed_while_their_routes_last_and_end_without_the_process() -> None:
    bgp = Bgp()
    bgp.take(routes("198.51.100.7/32"))
    assert bgp.after(7300) == {"198.51.100.7"}
    assert bgp.calls < 12
    bgp.now += 3601
    assert {target for target, end in bgp.claimed.items() if end > bgp.now} == set()


def test_without_the_service_it_is_tried_again_now_and_then() -> None:
    bgp = Bgp(refuses=True)
    assert bgp.take(routes("198.51.100.7/32")) == set()
    bgp.after(20)
    assert bgp.calls <= 5
    bgp.refuses = False
    assert bgp.after(6) == {"198.51.100.7"}


@given(st.text() | st.from_regex(r"\{.{0,80}\}"))
def test_no_line_ends_the_process(line: str) -> None:
    bgp = Bgp()
    bgp.take(routes("198.51.100.7/32"))
    assert bgp.take(line) == {"198.51.100.7"}


# --- as a process --------------------------------------------------------------------


def follow(*lines: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the program as ExaBGP does, until its input ends."""
    xdpctl = Path(sys.executable).with_name("xdpctl")
    return subprocess.run(
        [sys.executable, str(PROGRAM)],
        check=False,
        capture_output=True,
        text=True,
        input="".join(f"{line}\n" for line in lines),
        env=os.environ | {"XDPCTL_PROGRAM": str(xdpctl)} | environ,
        timeout=60,
    )


def test_the_service_is_asked_for_former_claims_and_given_the_others(service: FakeService) -> None:
    service.answer("GET", RULES, {"rules": [], "next": None})
    service.answer("POST", IMPORT, b'{"result": {"created": 1}}\n')
    too_long = "{" + " " * (2 << 20)
    done = follow(routes("198.51.100.7/32"), too_long, routes("198.51.100.8/32"))

    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "longer than" in done.stderr
    (asked, imported) = service.requests
    assert dict(asked.query)["origin"] == "app:exabgp"
    assert imported.body.splitlines() == [
        f'198.51.100.{last} action=drop for=3600s reason="announced by BGP"' for last in (7, 8)
    ]


def test_a_variable_that_cannot_be_used_is_one_sentence() -> None:
    done = follow(XDPCTL_EXABGP_MAX="many")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


# --- with a real ExaBGP --------------------------------------------------------------

OURS = """
process xdpctl {{
    run /usr/bin/env XDPCTL_PROGRAM={xdpctl} XDPCTL_EXABGP_HOLD=1 {python} {program};
    encoder json;
}}
neighbor 127.0.0.2 {{
    router-id 127.0.0.1;
    local-address 127.0.0.1;
    local-as 64496;
    peer-as 64496;
    connect {port};
{readme}
}}
"""
PEER = """
process says {{
    run /usr/bin/tail -n +1 -f {commands};
    encoder text;
}}
neighbor 127.0.0.1 {{
    router-id 127.0.0.2;
    local-address 127.0.0.2;
    local-as 64496;
    peer-as 64496;
    passive;
    family {{ ipv4 unicast; ipv6 unicast; ipv4 flow; ipv6 flow; }}
    api {{ processes [ says ]; }}
}}
"""
ROUTE = "route {} next-hop 192.0.2.1 community [ 65535:666 ]"
FLOW = "flow route {{ match {{ source {}; protocol udp; destination-port =53; }} then {{ {}; }} }}"
ANNOUNCED = (
    ROUTE.format("198.51.100.7/32"),
    ROUTE.format("198.51.100.0/24"),
    ROUTE.format("0.0.0.0/0"),
    FLOW.format("203.0.113.0/24", "discard"),
    FLOW.format("203.0.113.9/32", "rate-limit 9600"),
)


@contextmanager
def exabgp(config: Path, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run ExaBGP until the block ends."""
    plain = {"daemon.user": getpass.getuser(), "log.destination": "stderr", "api.cli": "false"}
    settings = {f"exabgp.{key}": value for key, value in (plain | environ).items()}
    with (
        config.with_suffix(".log").open("wb") as log,
        subprocess.Popen(
            ["exabgp", str(config)],
            env=os.environ | settings,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


def imported(service: FakeService) -> set[str]:
    """Return the targets that were imported."""
    bodies = [request.body for request in service.requests if request.path == IMPORT]
    return {line.split()[0] for body in bodies for line in body.splitlines()}


def ended(service: FakeService) -> set[str]:
    """Return the targets whose claims were ended."""
    queries = [request.query for request in service.requests if request.method == "DELETE"]
    return {value for query in queries for key, value in query if key == "target"}


@pytest.mark.slow
def test_a_real_session_brings_claims_and_ends_them(service: FakeService, tmp_path: Path) -> None:
    service.answer("GET", RULES, {"rules": [], "next": None})
    service.answer("POST", IMPORT, b'{"result": {"created": 1}}\n')
    service.answer("DELETE", RULES, {"removed": 1})
    with socket() as free:
        free.bind(("127.0.0.2", 0))
        port = free.getsockname()[1]
    readme = PROGRAM.with_name("README.md").read_text()
    blocks = readme[readme.index("    family {") : readme.index("\n}\n```")]
    commands = tmp_path / "commands"
    commands.write_text("".join(f"announce {what}\n" for what in ANNOUNCED))
    (tmp_path / "peer.conf").write_text(PEER.format(commands=commands))
    (tmp_path / "ours.conf").write_text(
        OURS.format(
            xdpctl=Path(sys.executable).with_name("xdpctl"),
            python=sys.executable,
            program=PROGRAM,
            port=port,
            readme=blocks,
        )
    )
    passive = {"tcp.bind": "127.0.0.2", "tcp.port": str(port)}
    with exabgp(tmp_path / "ours.conf"):
        with exabgp(tmp_path / "peer.conf", **passive):
            here = {"198.51.100.7", "198.51.100.0/24", "203.0.113.0/24"}
            eventually(lambda: imported(service) == here, "the claims", 60.0)
            with commands.open("a") as sink:
                sink.write(f"withdraw {ANNOUNCED[1]}\nwithdraw {ANNOUNCED[3]}\n")
            gone = {"198.51.100.0/24", "203.0.113.0/24"}
            eventually(lambda: ended(service) == gone, "the ends", 60.0)
        eventually(lambda: ended(service) == here, "the end of the session", 60.0)
    assert "'0.0.0.0/0' is left out" in (tmp_path / "ours.log").read_text()
