"""The API of a real service: as it describes itself, and with token and TLS from outside."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.lab import Lab, Service
from tests.lab.hosts import PYTHON, unmeasured
from tests.lab.process import eventually
from tests.lab.service import PORT
from tests.net.test_refusals import NOBODY, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab import Host

pytestmark = pytest.mark.root

SECRET = "correct-horse-battery-staple"  # noqa: S105 - a test's
ALMOST = "correct-horse-battery-stable"
ANOTHER = "another-token-altogether"
LOOPBACK = f"http://127.0.0.1:{PORT}"
RULE = '{"target":"192.0.2.1"}'
SETTINGS = """\
[checks.negative_data_rejection]
expected-statuses = ["4xx", "5xx"]
"""
"""For Schemathesis: 413 is a refusal of what is too long, too."""


@pytest.fixture
def pair(lab: Lab) -> tuple[Host, Host]:
    """A client and a server."""
    return lab.pair()


@pytest.fixture
def server(pair: tuple[Host, Host]) -> Host:
    return pair[1]


@pytest.fixture
def token(lab: Lab) -> Path:
    """A file with the token."""
    path = lab.write("token", f"{SECRET}\n")
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    """A service without a token, for tests that change nothing but rules."""
    with Lab() as lab:
        yield Service(lab.pair()[1])


@pytest.fixture
def service(running: Service) -> Service:
    """The same without rules."""
    assert running.verb("flush", "--yes").returncode == 0
    return running


@pytest.fixture(scope="module")
def with_token() -> Iterator[Service]:
    """A service with a token, in the file `token` of its lab, and a talkative log."""
    with Lab() as lab:
        path = lab.write("token", f"{SECRET}\n")
        path.chmod(0o600)
        yield Service(lab.pair()[1], "--token-file", str(path), "--log-level", "debug")


@pytest.fixture
def tls(lab: Lab) -> tuple[str, ...]:
    """Options for a certificate of the server's address; its authority is ca.pem."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(lab.directory / "ca.pem")
    issued = authority.issue_cert("192.0.2.53")
    issued.cert_chain_pems[0].write_to_path(lab.directory / "cert.pem")
    issued.private_key_pem.write_to_path(lab.directory / "key.pem")
    (lab.directory / "key.pem").chmod(0o600)
    return "--tls-cert", f"{lab.directory}/cert.pem", "--tls-key", f"{lab.directory}/key.pem"


def curl(host: Host, url: str, *options: str, before: tuple[str, ...] = ()) -> tuple[int, str]:
    """Return status and body; 0 where there is no answer."""
    command = [*before, "curl", "--silent", "--max-time", "10", "--write-out", "\n%{http_code}"]
    done = host.run(*unmeasured(*command), *options, url, check=False)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def post(host: Host, url: str, *options: str, token: str | None = None) -> int:
    """Ask for a rule and return the status."""
    bearer = () if token is None else ("--header", f"Authorization: Bearer {token}")
    return curl(host, f"{url}/api/v1/rules", "--data", RULE, *bearer, *options)[0]


# --- as it describes itself -----------------------------------------------------------


def test_the_api_is_what_its_description_says(server: Host, token: Path) -> None:
    """No 500, no undocumented status, no answer that is not of its schema.

    Not every target that a schema allows can be meant, so a refusal of such data is no
    failure: positive_data_acceptance is left out. So is /readyz, whose 503 is the truth
    once a detach was tried, /api/v1/live, which does not end, samples, which take their
    seconds, and a resize, which takes the
    memory that it is asked for.
    """
    service = Service(server, "--token-file", str(token))
    server.lab.write("schemathesis.toml", SETTINGS)
    command = [
        *("env", f"--chdir={server.lab.directory}"),  # with its settings and its notes
        *(PYTHON, "-m", "schemathesis.cli", "run", f"{LOOPBACK}/api/v1/openapi.json"),
        *("--header", f"Authorization: Bearer {SECRET}"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "6", "--seed", "1"),
        *("--exclude-checks", "positive_data_acceptance", "--exclude-path", "/readyz"),
        *("--exclude-path", "/api/v1/resize", "--exclude-path", "/api/v1/live"),
        *("--exclude-path", "/api/v1/samples"),
        *("--continue-on-failure", "--request-timeout", "60"),
    ]
    done = server.run(*unmeasured(*command), check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "27 selected / 31 total" in done.stdout
    assert service.verb("status").returncode == 0
    assert " error " not in service.process.text
    assert SECRET not in service.process.text


# --- token ----------------------------------------------------------------------------


def test_writes_over_tcp_need_the_token(with_token: Service) -> None:
    server = with_token.host
    assert post(server, LOOPBACK) == 401
    assert post(server, LOOPBACK, token=ALMOST) == 401
    assert with_token.rules() == []
    assert post(server, LOOPBACK, token=SECRET) == 200
    assert [rule["origin"] for rule in with_token.rules()] == ["api"]
    assert "stable" not in with_token.process.text
    assert SECRET not in with_token.process.text


def test_sighup_takes_over_another_token_and_keeps_it_when_the_file_goes_bad(
    with_token: Service,
) -> None:
    server, token = with_token.host, with_token.host.lab.directory / "token"
    token.write_text(ANOTHER)
    with_token.process.send(signal.SIGHUP)
    with_token.process.line(r"\breloaded\b")
    assert post(server, LOOPBACK, token=SECRET) == 401
    assert post(server, LOOPBACK, token=ANOTHER) == 200
    token.write_text(SECRET)
    token.chmod(0o644)
    with_token.process.send(signal.SIGHUP)
    with_token.process.line(r"\breload-failed\b")
    assert post(server, LOOPBACK, token=SECRET) == 401
    assert post(server, LOOPBACK, token=ANOTHER) == 200


def test_without_a_token_file_no_write_goes_over_tcp(service: Service) -> None:
    assert post(service.host, LOOPBACK, token=SECRET) == 401
    assert service.rules() == []


def test_another_user_does_not_reach_the_control_socket(service: Service) -> None:
    options = ("--unix-socket", str(service.control))
    status = "http://localhost/api/v1/status"
    assert curl(service.host, status, *options, before=NOBODY) == (0, "")
    assert curl(service.host, status, *options)[0] == 200


def test_a_page_led_to_loopback_under_its_own_name_reads_nothing(service: Service) -> None:
    name = ("--header", "Host: attacker.example")
    status, body = curl(service.host, f"{LOOPBACK}/api/v1/rules", *name)
    assert (status, json.loads(body)["status"]) == (421, 421)


def test_a_token_file_that_others_can_read_stops_the_start(server: Host, token: Path) -> None:
    token.chmod(0o644)
    said = refusal(server, "--token-file", str(token))
    assert "0644" in said
    assert SECRET not in said


@pytest.mark.parametrize("content", ["", "\n", "short"])
def test_a_file_without_a_token_stops_the_start(server: Host, token: Path, content: str) -> None:
    token.write_text(content)
    assert str(token) in refusal(server, "--token-file", str(token))


def test_a_token_over_plain_http_on_the_network_is_refused(server: Host, token: Path) -> None:
    options = ("--token-file", str(token), "--listen", f"192.0.2.53:{PORT}")
    assert "--tls-cert" in refusal(server, *options, status=2)


# --- TLS ------------------------------------------------------------------------------


def test_with_tls_the_token_writes_from_another_host(
    pair: tuple[Host, Host], token: Path, tls: tuple[str, ...]
) -> None:
    client, server = pair
    listen = f"192.0.2.53:{PORT}"
    service = Service(server, "--token-file", str(token), "--listen", listen, *tls)
    trust = ("--cacert", str(server.lab.directory / "ca.pem"))
    assert post(client, f"https://{listen}", *trust) == 401
    assert curl(client, f"https://{listen}/api/v1/rules", *trust)[0] == 401
    assert curl(client, f"https://{listen}/metrics", *trust)[0] == 200
    assert post(client, f"https://{listen}", *trust, token=SECRET) == 200
    assert post(client, f"http://{listen}", token=SECRET) == 0
    assert len(service.rules()) == 1


def test_a_key_that_is_none_stops_the_start(server: Host, lab: Lab, tls: tuple[str, ...]) -> None:
    lab.write("key.pem", "nonsense")
    assert "PEM" in refusal(server, *tls)


def test_a_missing_certificate_stops_the_start(
    server: Host, lab: Lab, tls: tuple[str, ...]
) -> None:
    (lab.directory / "cert.pem").unlink()
    assert "--tls-cert" in refusal(server, *tls)


# --- rules ----------------------------------------------------------------------------


def control(service: Service, method: str, path: str, body: str = "") -> tuple[int, str]:
    """Ask on the control socket."""
    options = ("--unix-socket", str(service.control), "--request", method, "--data-binary", body)
    return curl(service.host, f"http://localhost{path}", *options)


def test_what_is_exported_is_imported_again(service: Service) -> None:
    rules = [
        {"target": "192.0.2.1", "expires_in": 600, "reason": 'a "flood"', "origin": "list:a"},
        {"target": "2001:db8::/32", "action": "truncate", "origin": "file:b c"},
        {"target": "xn--bcher-kva.example.", "qtype": "AAAA", "action": "pass"},
    ]
    assert control(service, "POST", "/api/v1/rules", json.dumps(rules))[0] == 200
    changing = {"created": None, "expires_in": None, "claims": None}
    before = [rule | changing for rule in service.rules()]
    _, text = control(service, "GET", "/api/v1/export")
    assert json.loads(control(service, "DELETE", "/api/v1/rules?origin=*")[1])["removed"] == 3
    status, said = control(service, "POST", "/api/v1/import?origin=cli", text)
    assert (status, json.loads(said)["result"]["created"]) == (200, 3)
    after = [rule | changing for rule in service.rules()]
    assert len(before) == 3
    assert after == before


def test_a_put_leaves_what_is_in_both_lists_alone(service: Service) -> None:
    path = "/api/v1/rules?origin=list:a"
    control(service, "PUT", path, '[{"target":"192.0.2.1"},{"target":"192.0.2.2"}]')
    _, said = control(service, "PUT", path, '[{"target":"192.0.2.2"},{"target":"192.0.2.3"}]')
    done = json.loads(said)
    assert (done["created"], done["removed"], done["unchanged"]) == (1, 1, 1)
    assert {rule["target"] for rule in service.rules()} == {"192.0.2.2", "192.0.2.3"}


def test_a_list_that_breaks_off_changes_nothing(service: Service) -> None:
    control(service, "PUT", "/api/v1/rules?origin=list:a", '[{"target":"192.0.2.1"}]')
    assert (
        control(service, "PUT", "/api/v1/rules?origin=list:a", '[{"target":"192.0.2.2"}')[0] == 400
    )
    assert [rule["target"] for rule in service.rules()] == ["192.0.2.1"]


def test_a_rule_with_an_end_is_shown_with_it_and_goes(service: Service) -> None:
    control(service, "POST", "/api/v1/rules", '{"target":"192.0.2.1","expires_in":2}')
    (rule,) = service.rules()
    assert 0 <= rule["expires_in"] <= 2
    eventually(lambda: service.rules() == [], "the rule's end")
