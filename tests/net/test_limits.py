"""Limits with real dnsdist, real clients and real packets: what an operator relies on.

What each packet is worth is tested elsewhere, packet by packet (tests/engines/limited.py). Here it
is that honest clients come back over TCP, and that accounts, proofs and settings outlive what
happens to a service.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab import Lab, Service, dig, eventually
from tests.net.site import DROPPED, SERVER, TRUNCATED, Site, site_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.lab import Host

pytestmark = [pytest.mark.root, pytest.mark.slow]

BURST = 60
SLOW = f"rate-limit = 1\nrate-limit-burst = {BURST}\nproven-factor = 2\n"
"""A limit that is reached at once, and given back one query a second: half of it in 30 s, which is
longer than a start takes on a busy machine."""

NAME = "www.example"
OTHER = DROPPED[4]
"""A second address of the client in the same /24."""

FAR = TRUNCATED[4]
"""One in another /24."""

KEEP = ("--on-exit", "keep")
TC = 0x0200


@dataclass(frozen=True, slots=True)
class Told:
    """What a burst of queries was told."""

    answered: int = 0
    truncated: int = 0
    silent: int = 0


class LimitSite:
    """A site, with the file of its service.

    Args:
        lab: where.
        config: the file.
        limits: what is in it.
        options: of the service.
    """

    def __init__(self, lab: Lab, config: Path, limits: str, *options: str) -> None:
        self.config = config
        config.write_text(limits)
        self.site: Site = site_in(lab, "--config", str(config), *KEEP, *options, blocks="")
        self.options = options

    @property
    def service(self) -> Service:
        return self.site.service

    def ask(self, count: int, source: str | None = None, version: int = 4) -> Told:
        """Send queries over UDP, one after the other's answer."""
        return told_by(self.site.client, count, source, version)

    def spend(self, source: str | None = None) -> None:
        """Use up the account of a source."""
        assert self.ask(3 * BURST, source).truncated

    def is_spent(self, source: str | None = None) -> bool:
        """Tell whether a source is over its limit, give or take what two seconds give back."""
        return self.ask(BURST, source).truncated >= BURST // 2

    def limits(self) -> dict[str, Any]:
        """Return what `xdpctl limits --json` says."""
        done = self.service.verb("limits", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def reload(self, limits: str) -> str:
        """Write other settings and let the service read them; return the line of its log."""
        before = len(self._reloads())
        self.config.write_text(limits)
        self.service.process.send(signal.SIGHUP)
        eventually(lambda: len(self._reloads()) > before, "the end of a reload", timeout=30)
        return self._reloads()[-1]

    def _reloads(self) -> list[str]:
        return [
            line
            for line in self.service.process.lines
            if " reloaded " in line or "reload-failed" in line
        ]

    def start_again(self, *options: str) -> None:
        """Start the service on whatever there is."""
        self.site.service = Service(
            self.site.server, "--config", str(self.config), *KEEP, *self.options, *options
        )

    def logged(self, words: str) -> bool:
        """Tell whether the service has logged something."""
        return any(words in line for line in self.service.process.lines)


def told_by(client: Host, count: int, source: str | None = None, version: int = 4) -> Told:
    """Send queries to the server of a lab, one after the other's answer."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    found = [0, 0, 0]
    with client.socket(family, socket.SOCK_DGRAM) as sock:
        if source is not None:
            sock.bind((source, 0))
        sock.settimeout(0.5)
        for number in range(count):
            sock.sendto(query(number), (SERVER[version], 53))
            try:
                answer = sock.recv(4096)
            except TimeoutError:
                found[2] += 1
            else:
                flags = struct.unpack_from("!H", answer, 2)[0]
                found[1 if flags & TC else 0] += 1
    return Told(*found)


def query(number: int) -> bytes:
    """Return a query for a name that exists."""
    labels = b"".join(bytes((len(part),)) + part.encode() for part in NAME.split("."))
    return struct.pack("!6H", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


@pytest.fixture
def lab_of_limits() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def site_with(lab: Lab, tmp_path: Path, limits: str = SLOW, *options: str) -> LimitSite:
    """Start a site with these limits."""
    return LimitSite(lab, tmp_path / "xdpctl.toml", limits, *options)


# --- what a limit does ----------------------------------------------------------------------


def test_a_source_over_its_limit_is_sent_to_tcp_and_served_there(
    lab_of_limits: Lab, tmp_path: Path
) -> None:
    site = site_with(lab_of_limits, tmp_path)
    told = site.ask(3 * BURST)
    assert BURST <= told.answered < 2 * BURST
    answer = dig(site.site.client, NAME)
    assert (answer.status, answer.retried, answer.over_tcp) == ("NOERROR", True, True)


def test_a_source_that_came_by_tcp_has_a_second_account(lab_of_limits: Lab, tmp_path: Path) -> None:
    site = site_with(lab_of_limits, tmp_path)
    site.spend()
    assert dig(site.site.client, NAME, "A", "+tcp").arrived
    assert site.ask(4 * BURST).answered >= 2 * BURST - 5, "proven-factor is 2"
    eventually(lambda: site.limits()["proven"]["sources"] == 1, "a proven source", timeout=30)


def test_other_sources_are_served_while_one_is_limited(lab_of_limits: Lab, tmp_path: Path) -> None:
    site = site_with(lab_of_limits, tmp_path)
    site.spend()
    assert site.ask(4, OTHER).answered == 4
    assert site.ask(4, None, 6).answered == 4


def test_slip_0_drops_and_slip_2_answers_every_second(lab_of_limits: Lab, tmp_path: Path) -> None:
    site = site_with(lab_of_limits, tmp_path, SLOW + "rate-limit-slip = 2\n")
    told = site.ask(BURST + 20)
    assert abs(told.truncated - told.silent) <= 4, "one turn a CPU"
    assert "rate-limit-slip" in site.reload(SLOW + "rate-limit-slip = 0\n")
    assert site.ask(4).truncated == 0


def test_a_flood_limit_lets_only_proven_sources_go_on(lab_of_limits: Lab, tmp_path: Path) -> None:
    site = site_with(lab_of_limits, tmp_path, "flood-limit = 64\n")
    unproven = flood(site.site.client, FAR)
    assert unproven.truncated > 50
    assert site.service.verb("prove", FAR).returncode == 0
    assert flood(site.site.client, FAR).answered >= unproven.answered + 32
    assert site.service.verb("unprove", FAR).returncode == 0
    assert flood(site.site.client, FAR).answered <= unproven.answered + 32


def flood(client: Host, source: str, count: int = 200) -> Told:
    """Send queries at once, two seconds after whatever was before, and read the answers."""
    time.sleep(2)  # a bucket is full again
    found = [0, 0]
    with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.settimeout(1.0)
        for number in range(count):
            sock.sendto(query(number), (SERVER[4], 53))
        with contextlib.suppress(TimeoutError):
            while sum(found) < count:
                flags = struct.unpack_from("!H", sock.recv(4096), 2)[0]
                found[1 if flags & TC else 0] += 1
    return Told(found[0], found[1], count - sum(found))


def test_a_dry_run_lets_everything_pass_and_counts_it(lab_of_limits: Lab, tmp_path: Path) -> None:
    site = site_with(lab_of_limits, tmp_path, SLOW + "rate-limit-dry-run = true\n")
    assert site.ask(3 * BURST) == Told(answered=3 * BURST)
    metrics = site.service.metrics

    def counted() -> bool:
        return metrics().packets(reason="limit", action="pass") >= BURST

    eventually(counted, "packets over the limit")
    assert site.limits()["dry_run"] is True
    assert "in a dry run" in site.service.verb("limits").stdout


def test_an_exempt_source_has_no_limit_and_no_rule(lab_of_limits: Lab, tmp_path: Path) -> None:
    site = site_with(lab_of_limits, tmp_path, SLOW + f'exempt = ["{FAR}/32"]\n')
    assert site.service.verb("block", FAR).returncode == 0
    assert site.ask(3 * BURST, FAR) == Told(answered=3 * BURST)
    assert "exempt" in site.reload(SLOW)
    assert site.ask(2, FAR).silent == 2
    assert "exempt" in site.reload(SLOW + f'exempt = ["{FAR}/32", "{OTHER}/32"]\n')
    assert site.ask(3 * BURST, FAR) == Told(answered=3 * BURST)
    assert site.ask(3 * BURST, OTHER) == Told(answered=3 * BURST)


def test_the_test_verb_says_the_limit_and_takes_nothing_from_it(
    lab_of_limits: Lab, tmp_path: Path
) -> None:
    site = site_with(lab_of_limits, tmp_path)
    for _ in range(BURST + 5):
        assert verdict(site, FAR) == ("pass", "no-match", None)

    def limited() -> bool:  # one a second is given back
        site.ask(BURST, FAR)
        return verdict(site, FAR) == ("truncate", "limit", "limit")

    eventually(limited, "the limit in the answer of `test`", timeout=30)
    site.reload("rate-limit = 100\n")
    with spending(site.site.client, FAR):  # what is given back within a tenth of a second is spent
        eventually(lambda: site.limits()["acting"], "a limit that acts", timeout=30)
        found = [verdict(site, FAR) for _ in range(5)]
    assert ("truncate", "limit", "limit") in found


@contextlib.contextmanager
def spending(client: Host, source: str) -> Iterator[None]:
    """Ask all the time, whatever the answers are."""
    ended = threading.Event()

    def ask() -> None:
        with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((source, 0))
            while not ended.wait(0.001):
                sock.sendto(query(1), (SERVER[4], 53))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def verdict(site: LimitSite, source: str) -> Sequence[object]:
    """Return verdict, reason and limit that the verb `test` shows, without its start."""
    found = site.service.get(f"/api/v1/test?address={source}&name={NAME}").json()
    return found["verdict"], found["reason"], found["limit"]


def test_that_a_limit_acts_is_shown_and_logged(lab_of_limits: Lab, tmp_path: Path) -> None:
    site = site_with(lab_of_limits, tmp_path)
    assert site.service.verb("limits").stdout.startswith("QUIET")

    def acts() -> bool:
        site.ask(BURST)
        return site.service.verb("limits").stdout.startswith("LIMITING: limit")

    eventually(acts, "a limit that acts")
    assert "limit limit acts" in site.service.verb("status").stdout
    eventually(lambda: site.logged("limit-acts"), "the line of the log")
    assert "limit-acts" in site.service.verb("history").stdout

    def probed() -> bool:
        site.ask(BURST)
        return site.service.metrics().sum("xdpctl_tcp_listener_up", port="53") == 1

    eventually(probed, "a connection to dnsdist", timeout=30)
    assert site.limits()["tcp"] == [{"port": 53, "up": True}]


def test_a_server_without_tcp_is_warned_of(lab_of_limits: Lab, tmp_path: Path) -> None:
    site = site_with(lab_of_limits, tmp_path)
    site.spend()
    site.site.dnsdist.process.stop()

    def silent() -> bool:
        return "DOES NOT ANSWER" in site.service.verb("limits").stdout

    eventually(silent, "the warning", timeout=30)
    assert site.logged("tcp-silent")
    status = json.loads(site.service.verb("status", "--json").stdout)
    assert status["ready"] is True
    assert any("no server of this host answers on TCP port 53" in w for w in status["warnings"])


# --- what outlives what ---------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_accounts_and_proofs_outlive_the_service(
    lab_of_limits: Lab, tmp_path: Path, number: signal.Signals
) -> None:
    site = site_with(lab_of_limits, tmp_path)
    site.spend(FAR)
    assert site.service.verb("prove", OTHER).returncode == 0
    site.service.process.send(number)
    site.service.process.wait()
    assert site.is_spent(FAR), "limits go on without a service"
    site.start_again()
    assert site.logged("limits-adopted")
    assert site.is_spent(FAR)
    eventually(lambda: site.limits()["proven"]["sources"] == 1, "the proof", timeout=30)


def test_accounts_and_proofs_outlive_a_stop_that_takes_the_filter_off(
    lab_of_limits: Lab, tmp_path: Path
) -> None:
    site = site_with(lab_of_limits, tmp_path, SLOW, "--on-exit", "detach")
    site.spend(FAR)
    assert site.service.verb("prove", OTHER).returncode == 0
    assert site.service.stop() == 0
    assert site.ask(BURST, FAR).answered == BURST, "nothing limits without a filter"
    site.start_again()
    assert site.is_spent(FAR)
    eventually(lambda: site.limits()["proven"]["sources"] == 1, "the proof", timeout=30)
    assert site.service.stop() == 0
    site.site.server.run(*site.service.command, "detach", "--if-any")
    site.start_again()
    assert not site.logged("limits-adopted"), "the verb detach forgets them"


def test_settings_change_live_and_forget_no_account(lab_of_limits: Lab, tmp_path: Path) -> None:
    site = site_with(lab_of_limits, tmp_path)
    site.spend(FAR)
    program = site.site.server.xdp_id()
    more = SLOW.replace("proven-factor = 2", "proven-factor = 4") + "proven-lifetime = '1h'\n"
    line = site.reload(more)
    assert "proven-factor, proven-lifetime" in line
    assert site.is_spent(FAR)
    assert site.site.server.xdp_id() == program, "the program was exchanged for no reason"
    assert "rate-limit" in site.reload(more.replace("rate-limit = 1", "rate-limit = 3"))
    assert site.ask(BURST, FAR).answered == BURST, "a new rate begins anew"


def test_limits_are_switched_on_and_off_while_the_service_runs(
    lab_of_limits: Lab, tmp_path: Path
) -> None:
    site = site_with(lab_of_limits, tmp_path, "")
    assert site.ask(3 * BURST).answered == 3 * BURST
    assert site.service.verb("limits").stdout.startswith("NO LIMITS")
    assert "rate-limit" in site.reload(SLOW)
    site.spend(FAR)
    site.reload(SLOW + "rate-limit-table = 1024\n")
    assert site.logged("limits-left")
    assert site.limits()["rate_limit"]["table"] == 1024
    assert site.ask(BURST, FAR).answered == BURST, "another table begins anew"
    assert "rate-limit" in site.reload("")
    assert site.ask(3 * BURST).answered == 3 * BURST


def test_a_reload_that_cannot_be_done_leaves_the_former_limits(
    lab_of_limits: Lab, tmp_path: Path
) -> None:
    secrets = tmp_path / "cookies"
    secrets.write_text("00" * 16)
    secrets.chmod(0o644)
    site = site_with(lab_of_limits, tmp_path)
    line = site.reload(SLOW + f'cookie-secret-file = "{secrets}"\n')
    assert "reload-failed" in line
    assert "cookie-secret-file" in line
    site.spend(FAR)
    secrets.chmod(0o600)
    assert "cookie secrets" in site.reload(SLOW + f'cookie-secret-file = "{secrets}"\n')
    secrets.write_text("01" * 16)
    assert 'changed="cookie secrets"' in site.reload(SLOW + f'cookie-secret-file = "{secrets}"\n')


def test_detach_takes_the_limits_away(lab_of_limits: Lab, tmp_path: Path) -> None:
    site = site_with(lab_of_limits, tmp_path)
    site.spend(FAR)
    assert site.service.verb("detach").returncode == 0
    assert site.ask(3 * BURST, FAR).answered == 3 * BURST
    assert site.service.verb("attach").returncode == 0
    assert site.is_spent(FAR), "the running service has the same accounts"
