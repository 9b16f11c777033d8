"""The CrowdSec bouncer: decisions become rules, whatever way they come."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

BOUNCER = Path(__file__).parents[3] / "contrib" / "crowdsec" / "xdpctl-bouncer.py"
RULES, IMPORT = "/api/v1/rules", "/api/v1/import"
MADE = {"created": 1, "updated": 0, "warnings": []}


def bounce(*arguments: str, fed: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the bouncer as CrowdSec does."""
    program = Path(sys.executable).with_name("xdpctl")
    return subprocess.run(
        [sys.executable, str(BOUNCER), *arguments],
        check=False,
        capture_output=True,
        text=True,
        input=fed,
        env=os.environ | {"XDPCTL_PROGRAM": str(program)} | environ,
    )


def decision(value: str, action: str = "add", **fields: str) -> str:
    """Return a decision as the bouncer is fed it."""
    plain = {"duration": "3h59m57.5s", "scenario": "crowdsecurity/dns", "type": "ban", "id": 7}
    return json.dumps({"action": action, "value": value, **plain, **fields}) + "\n"


def made(service: FakeService) -> list[str]:
    """Return the lines that were imported."""
    imports = [request for request in service.requests if request.path == IMPORT]
    assert all(request.query == [("origin", "app:crowdsec")] for request in imports)
    return [line for request in imports for line in request.body.splitlines()]


@pytest.fixture
def importing(service: FakeService) -> FakeService:
    """A service that takes every list."""
    service.answer("POST", IMPORT, b'{"result": {"created": 1}}\n')
    return service


# --- one call a decision ------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1/32", "192.0.2.1"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.77/24", "192.0.2.0/24"),
        ("2001:DB8::1/128", "2001:db8::1"),
    ],
)
def test_a_decision_is_a_rule_that_ends_with_it(
    service: FakeService, value: str, target: str
) -> None:
    service.answer("POST", RULES, MADE)
    done = bounce("add", value, "3600", "crowdsecurity/dns \n x", "{}")

    assert (done.returncode, done.stderr) == (0, "")
    assert service.requests[0].body == [
        {
            "target": target,
            "qtype": None,
            "action": "drop",
            "reason": "crowdsec crowdsecurity/dns   x",
            "origin": "app:crowdsec/crowdsecurity/dns   x",
            "expires_in": 3600,
        }
    ]


def test_a_decision_that_comes_twice_does_no_harm(service: FakeService) -> None:
    service.answer("POST", RULES, MADE)
    service.answer("POST", RULES, {"created": 0, "updated": 1, "warnings": []})

    assert [bounce("add", "192.0.2.1", "60", "x", "{}").returncode for _ in "12"] == [0, 0]


def test_a_decision_that_is_lifted_twice_does_no_harm(service: FakeService) -> None:
    service.answer("DELETE", RULES, {"removed": 1})
    service.refuse("DELETE", RULES, 404, detail="there is no such rule")

    assert [bounce("del", "192.0.2.1", "60", "x", "{}").returncode for _ in "12"] == [0, 0]
    query = [("target", "192.0.2.1"), ("claimant", "app:crowdsec/x")]
    assert [request.query for request in service.requests] == [query] * 2


def test_the_action_can_be_another(service: FakeService) -> None:
    service.answer("POST", RULES, MADE)
    bounce("add", "192.0.2.1", "60", "x", "{}", XDPCTL_BOUNCER_ACTION="truncate")

    assert service.requests[0].body[0]["action"] == "truncate"


@pytest.mark.parametrize("value", ["FR", "64496", "bad.example", "--force", ""])
def test_what_is_no_address_is_never_taken_for_a_name(service: FakeService, value: str) -> None:
    done = bounce("add", value, "60", "x", "{}")

    assert (done.returncode, service.requests) == (0, [])
    assert f"add {value!r} is left out" in done.stderr


def test_a_refusal_is_the_exit_status_and_its_sentence(service: FakeService) -> None:
    service.refuse("POST", RULES, 409, detail="192.0.2.1 is an entry of dnsdist's")
    done = bounce("add", "192.0.2.1", "60", "x", "{}")

    assert done.returncode == 1
    assert "an entry of dnsdist's" in done.stderr


def test_without_a_service_the_exit_status_is_three(cli: CommandLine) -> None:
    assert cli.control.exists() is False
    assert bounce("add", "192.0.2.1", "60", "x", "{}").returncode == 3


@pytest.mark.parametrize("arguments", [["add"], ["add", "192.0.2.1", "60"]])
def test_too_few_arguments_are_a_usage_error(arguments: list[str]) -> None:
    assert bounce(*arguments).returncode == 2


# --- fed by standard input ----------------------------------------------------------


def test_decisions_that_come_together_are_imported_together(importing: FakeService) -> None:
    fed = decision("192.0.2.1") + decision("2001:db8::/32", duration="1m", scenario='a "b\\')
    done = bounce(fed=fed)

    assert (done.returncode, done.stderr) == (0, "")
    assert [request.path for request in importing.requests] == [IMPORT]
    assert made(importing) == [
        (
            '192.0.2.1 action=drop for=14397s reason="crowdsec crowdsecurity/dns"'
            ' origin="app:crowdsec/crowdsecurity/dns"'
        ),
        (
            '2001:db8::/32 action=drop for=60s reason="crowdsec a \\"b\\\\"'
            ' origin="app:crowdsec/a \\"b\\\\"'
        ),
    ]


def test_the_last_word_on_an_address_counts(importing: FakeService) -> None:
    importing.answer("DELETE", RULES, {"removed": 1})
    gone, here = "192.0.2.1", "192.0.2.2"
    fed = decision(gone) + decision(here, "del") + decision(gone, "del") + decision(here)
    bounce(fed=fed)
    lifted = [request.query for request in importing.requests if request.method == "DELETE"]

    assert lifted == [[("target", gone), ("claimant", "app:crowdsec/crowdsecurity/dns")]]
    assert [line.partition(" ")[0] for line in made(importing)] == [here]


def test_a_scenario_lifts_its_own_block_alone(importing: FakeService) -> None:
    importing.answer("DELETE", RULES, {"removed": 1})
    fed = "".join(decision("192.0.2.1", scenario=each) for each in ("one", "two"))
    bounce(fed=fed + decision("192.0.2.1", "del", scenario="one"))
    (lifted,) = (request.query for request in importing.requests if request.method == "DELETE")

    assert lifted == [("target", "192.0.2.1"), ("claimant", "app:crowdsec/one")]
    assert [line.rpartition(" ")[2] for line in made(importing)] == ['origin="app:crowdsec/two"']


def test_where_a_list_is_refused_each_decision_is_tried(service: FakeService) -> None:
    service.refuse("POST", IMPORT, 422, detail="192.0.2.1 is protected")
    service.refuse("POST", RULES, 422, detail="192.0.2.1 is protected")
    service.answer("POST", RULES, MADE)
    done = bounce(fed=decision("192.0.2.1") + decision("192.0.2.2"))
    tried = [request.body[0]["target"] for request in service.requests if request.path == RULES]

    assert done.returncode == 0
    assert tried == ["192.0.2.1", "192.0.2.2"]


@pytest.mark.parametrize(
    "line",
    [
        "nonsense\n",
        "[]\n",
        '{"action": "add"}\n',
        decision("FR"),
        decision("192.0.2.9", duration="soon"),
        decision("192.0.2.9", "shout"),
    ],
)
def test_a_line_that_is_no_decision_keeps_no_other(importing: FakeService, line: str) -> None:
    done = bounce(fed=line + decision("192.0.2.1").strip())

    assert done.returncode == 0
    assert "left out" in done.stderr
    assert [one.partition(" ")[0] for one in made(importing)] == ["192.0.2.1"]


# --- what others wrote ---------------------------------------------------------------

FOREIGN = ["--force", "-h", "@file", "", "bad.example", "fe80::1%x", "fe80::1%x\n192.0.2.9"]


@pytest.mark.parametrize("value", FOREIGN)
@pytest.mark.parametrize("action", ["add", "del"])
def test_what_is_no_address_reaches_xdpctl_in_no_way(
    importing: FakeService, action: str, value: str
) -> None:
    single = bounce(action, value, "3600", "x", "{}")
    fed = bounce(fed=decision(value, action))

    assert (single.returncode, fed.returncode, importing.requests) == (0, 0, [])
    assert "it is not an address or range" in single.stderr
    assert "it is not an address or range" in fed.stderr


def test_all_that_follows_the_options_is_a_target(tmp_path: Path) -> None:
    """The bouncer's command lines, as a program in the place of xdpctl sees them."""
    seen = tmp_path / "seen"
    program = tmp_path / "xdpctl"
    program.write_text(f'#!/bin/sh\necho "$@" >>{seen}\ncat >/dev/null\n[ "$1" != import ]\n')
    program.chmod(0o755)
    bounce("add", "192.0.2.1", "60", "x", "{}", XDPCTL_PROGRAM=str(program))
    bounce("del", "192.0.2.1", "60", "x", "{}", XDPCTL_PROGRAM=str(program))
    both = decision("192.0.2.2") + decision("192.0.2.3", "del")
    bounce(fed=both, XDPCTL_PROGRAM=str(program))
    lines = [line for line in seen.read_text().splitlines() if not line.startswith("import")]

    assert [line.split(" -- ")[1] for line in lines] == [
        "192.0.2.1",
        "192.0.2.1",
        "192.0.2.3",
        "192.0.2.2",
    ]


# --- with a real crowdsec-custom-bouncer -----------------------------------------------


class LocalApi(BaseHTTPRequestHandler):
    """CrowdSec's local API as far as a bouncer asks it: a ban, and then its end."""

    lifted = threading.Event()

    def do_GET(self) -> None:
        """Give the decisions since the last question."""
        path, _, query = self.path.partition("?")
        if path != "/v1/decisions/stream" or self.headers["X-Api-Key"] != "KEY":
            self.send_error(403)
            return
        ban = {"id": 1, "origin": "cscli", "scope": "Ip", "type": "ban", "value": "198.51.100.7"}
        ban |= {"duration": "59m58.554543015s", "scenario": "dns-flood"}
        found: dict[str, list[object]] = {"new": [], "deleted": []}
        if "startup=true" in query:
            found["new"] = [ban]
        elif self.lifted.is_set():
            found["deleted"] = [ban | {"duration": "-236.043836ms"}]
        content = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Say nothing."""


@contextmanager
def custom_bouncer(folder: Path) -> Iterator[None]:
    """Run Debian's crowdsec-custom-bouncer with the README's file and an API of ours."""
    readme = BOUNCER.with_name("README.md").read_text()
    text = readme.partition("# /etc/crowdsec/bouncers/crowdsec-custom-bouncer.yaml\n")[2]
    with ThreadingHTTPServer(("127.0.0.1", 0), LocalApi) as api:
        threading.Thread(target=api.serve_forever, daemon=True).start()
        text = text.partition("```")[0].replace(":8080/", f":{api.server_port}/")
        text = text.replace("/usr/local/bin/xdpctl-bouncer.py", str(folder / "bouncer"))
        text = text.replace("update_frequency: 10s", "update_frequency: 1s")
        (folder / "bouncer.yaml").write_text(text.replace("piddir: /run/", f"piddir: {folder}/"))
        program = Path(sys.executable).with_name("xdpctl")
        (folder / "bouncer").write_text(
            f'#!/bin/sh\nXDPCTL_PROGRAM={program} exec {sys.executable} {BOUNCER} "$@"\n'
        )
        (folder / "bouncer").chmod(0o755)
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(
                ["crowdsec-custom-bouncer", "-c", str(folder / "bouncer.yaml")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            ) as process,
        ):
            try:
                yield
            finally:
                process.terminate()
                process.wait(20)
                api.shutdown()


@pytest.mark.slow
def test_the_readme_s_bouncer_brings_a_decision_and_its_end(
    importing: FakeService, tmp_path: Path
) -> None:
    importing.answer("DELETE", RULES, {"removed": 1})
    with custom_bouncer(tmp_path):
        eventually(lambda: made(importing), "the claim", 60.0)
        LocalApi.lifted.set()
        eventually(
            lambda: [each for each in importing.requests if each.method == "DELETE"],
            "the end of the claim",
            60.0,
        )
    (line,) = made(importing)
    assert line.startswith("198.51.100.7 action=drop for=3598s")
