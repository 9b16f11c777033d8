"""The fail2ban action, run by a real fail2ban against a service that is none."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fake_service import FakeService, Request

pytestmark = pytest.mark.slow

ACTION = Path(__file__).parents[3] / "contrib" / "fail2ban" / "action.d" / "xdpctl.conf"
RULES = "/api/v1/rules"
MADE = {"created": 1, "updated": 0, "warnings": []}

SETTINGS = """
[Definition]
loglevel = INFO
logtarget = {folder}/log
socket = {folder}/sock
pidfile = {folder}/pid
allowipv6 = yes
syslogsocket = auto
dbfile = None
dbpurgeage = 1d
"""
JAIL = """
[dns]
enabled = true
filter = dns
backend = polling
logpath = {folder}/empty
bantime = {bantime}
action = xdpctl[name=dns, xdpctl="{program}", control="{control}"{options}]
"""


@dataclass
class Fail2ban:
    """A fail2ban with one jail, `dns`, and nothing of the machine's.

    Attributes:
        folder: all that is its own.
        service: what its action talks to.
    """

    folder: Path
    service: FakeService

    def command(self, program: str, *arguments: str) -> list[str]:
        config, socket, pid = (str(self.folder / name) for name in ("config", "sock", "pid"))
        return [program, "-c", config, "-s", socket, "-p", pid, *arguments]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the server until the block ends; then every ban is lifted and the log whole."""
        with subprocess.Popen(
            self.command("fail2ban-server", "-f", "start"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            try:
                assert server.stdout is not None
                assert any(line == "Server ready\n" for line in server.stdout)
                yield
            finally:
                server.terminate()
                server.communicate(timeout=30)

    def tell(self, what: str, address: str) -> None:
        """Have an address banned (`banip`) or not any more (`unbanip`), and wait for it."""
        before = len(self.service.requests)
        command = self.command("fail2ban-client", "set", "dns", what, address)
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        end = time.monotonic() + 20
        while len(self.service.requests) == before and time.monotonic() < end:
            time.sleep(0.02)
        assert len(self.service.requests) > before

    @property
    def errors(self) -> list[str]:
        """Lines of its log that are errors."""
        lines = (self.folder / "log").read_text().splitlines()
        return [line for line in lines if " ERROR " in line]


@pytest.fixture
def fail2ban(request: pytest.FixtureRequest, service: FakeService) -> Iterator[Fail2ban]:
    """A fail2ban with our action as it is shipped; parameter: (bantime, its options)."""
    bantime, options = getattr(request, "param", ("1h", ""))
    with tempfile.TemporaryDirectory(prefix="xdpctl-f2b-") as name:
        folder, config = Path(name), Path(name, "config")
        for below in ("action.d", "filter.d"):
            (config / below).mkdir(parents=True)
        shutil.copy(ACTION, config / "action.d")
        (folder / "empty").touch()
        (config / "filter.d" / "dns.conf").write_text(
            "[Definition]\nfailregex = ^refused <HOST>$\n"
        )
        (config / "fail2ban.conf").write_text(SETTINGS.format(folder=folder))
        jail = JAIL.format(
            folder=folder,
            bantime=bantime,
            program=Path(sys.executable).with_name("xdpctl"),
            control=service.path,
            options=options,
        )
        (config / "jail.conf").write_text(jail)
        yield Fail2ban(folder, service)


def sent(service: FakeService, method: str) -> list[Request]:
    return [request for request in service.requests if request.method == method]


def test_a_ban_is_a_rule_that_ends_with_it(service: FakeService, fail2ban: Fail2ban) -> None:
    service.answer("POST", RULES, MADE)
    service.answer("DELETE", RULES, {"removed": 1})
    addresses = ["192.0.2.1", "2001:db8::1"]
    with fail2ban.running():
        for address in addresses:
            fail2ban.tell("banip", address)

    assert fail2ban.errors == []
    assert [request.body[0] for request in sent(service, "POST")] == [
        {
            "target": address,
            "qtype": None,
            "action": "drop",
            "reason": "fail2ban dns",
            "origin": "app:fail2ban/dns",
            "expires_in": 3600,
        }
        for address in addresses
    ]


def test_bans_are_lifted_when_fail2ban_stops(service: FakeService, fail2ban: Fail2ban) -> None:
    service.answer("POST", RULES, MADE)
    service.answer("DELETE", RULES, {"removed": 1})
    with fail2ban.running():
        fail2ban.tell("banip", "192.0.2.1")

    assert [dict(request.query) for request in sent(service, "DELETE")] == [
        {"target": "192.0.2.1", "claimant": "app:fail2ban/dns"}
    ]


@pytest.mark.parametrize("fail2ban", [("-1", ", rule_action=truncate")], indirect=True)
def test_a_ban_for_ever_is_a_rule_without_an_end_of_the_action_that_is_set(
    service: FakeService, fail2ban: Fail2ban
) -> None:
    service.answer("POST", RULES, MADE)
    service.answer("DELETE", RULES, {"removed": 1})
    with fail2ban.running():
        fail2ban.tell("banip", "192.0.2.1")
    rule = sent(service, "POST")[0].body[0]

    assert (rule["action"], rule["expires_in"]) == ("truncate", None)


def test_what_was_there_and_what_is_gone_are_no_errors(
    service: FakeService, fail2ban: Fail2ban
) -> None:
    service.answer("POST", RULES, {"created": 0, "updated": 1, "warnings": []})
    service.refuse("DELETE", RULES, 404, detail="there is no such rule")
    with fail2ban.running():
        for what in ("banip", "unbanip", "banip", "unbanip"):
            fail2ban.tell(what, "192.0.2.1")

    assert [request.method for request in service.requests] == ["POST", "DELETE"] * 2
    assert fail2ban.errors == []


def test_a_refusal_is_in_fail2bans_log(service: FakeService, fail2ban: Fail2ban) -> None:
    service.refuse("POST", RULES, 409, detail="192.0.2.1 is an entry of dnsdist's")
    service.refuse("DELETE", RULES, 404, detail="there is no such rule")
    with fail2ban.running():
        fail2ban.tell("banip", "192.0.2.1")

    assert any("an entry of dnsdist's" in line for line in fail2ban.errors)


FOREIGN = (
    *("--force", "-h", "@file", "bad.example", "fe80::1%eth0", "1.2.3."),
    *("a'b", 'a"b', "$(touch x)", "`id`", "a\nb", "192.0.2.8; id", "192.0.2.8\n192.0.2.9"),
)
"""Ids that a filter with F-ID may find in a log, since others write there."""


def test_an_id_that_is_no_address_becomes_no_rule(service: FakeService, fail2ban: Fail2ban) -> None:
    service.answer("POST", RULES, MADE)
    service.answer("DELETE", RULES, {"removed": 1})
    with fail2ban.running():
        for foreign in FOREIGN:
            command = fail2ban.command("fail2ban-client", "set", "dns", "banip", foreign)
            subprocess.run(command, check=True, capture_output=True, timeout=30)
        fail2ban.tell("banip", "192.0.2.1")  # the last: actions are done in order

    assert [request.body[0]["target"] for request in sent(service, "POST")] == ["192.0.2.1"]
    assert [dict(request.query) for request in sent(service, "DELETE")] == [
        {"target": "192.0.2.1", "claimant": "app:fail2ban/dns"}
    ]
    assert any("with --only-addresses" in line for line in fail2ban.errors)
