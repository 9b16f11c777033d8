"""The owner of the pins freezes a map: the filter goes on, and everything says what is wrong."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.lab import Lab, Responder, Service, dig, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

OWNER = 65534
FREEZE = """
import ctypes, sys
libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
opened = libbpf.bpf_obj_get(sys.argv[1].encode())
assert opened >= 0, ctypes.get_errno()
assert libbpf.bpf_map_freeze(opened) == 0, ctypes.get_errno()
"""
BLOCKED = "blocked.example"
LASTS = 6
"""Seconds of a rule; more than it takes to freeze its map behind it."""


class Site:
    """A service whose pins are another user's, with a responder behind it."""

    def __init__(self, lab: Lab) -> None:
        self.client, self.server = lab.pair()
        self.responder = Responder(self.server)
        self.pins = lab.pins
        self.start()

    def start(self, *, await_ready: bool = True) -> None:
        self.service = Service(
            self.server,
            *("--pin-owner", f"{OWNER}:{OWNER}", "--on-exit", "keep"),
            await_ready=await_ready,
        )

    def freeze(self, name: str) -> None:
        """Freeze a map as a program of the pins' owner can, without a capability."""
        self.server.run(
            *("setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--clear-groups"),
            *("--bounding-set=-all", "--no-new-privs"),
            *(sys.executable, "-I", "-c", FREEZE, str(self.pins / name)),
        )

    def ready(self) -> str:
        """Return what /readyz says; empty where it is not served yet."""
        try:
            answer = self.service.get("/readyz")
        except OSError:
            return ""
        return f"{answer.status} {answer.body}"

    def drops(self) -> bool:
        return not dig(self.client, BLOCKED).arrived


@pytest.fixture
def site() -> Iterator[Site]:
    with Lab() as lab:
        yield Site(lab)


def test_a_frozen_map_from_the_first_second_to_its_end(site: Site) -> None:
    service = site.service
    blocked = time.monotonic()
    assert service.verb("block", BLOCKED, "192.0.2.99", "--for", f"{LASTS}s").returncode == 0
    assert service.verb("block", "192.0.2.98").returncode == 0
    for name in ("qnames", "addr-v4"):
        site.freeze(name)
    eventually(lambda: "/qnames is frozen" in site.ready(), "/readyz says it")
    eventually(lambda: "/addr-v4 is frozen" in site.ready(), "/readyz says it of both")
    assert site.ready().startswith("503 ")
    assert "remove the pin" in site.ready()
    assert service.metrics().sum("xdpctl_shared_map_frozen", map="qnames") == 1
    assert service.metrics().sum("xdpctl_shared_map_frozen", map="cidr4") == 0
    assert "NOT READY" in service.verb("status").stdout

    for words in (
        ("block", "192.0.2.97"),
        ("unblock", "192.0.2.98"),
        ("flush", "--yes"),
        ("block", "other.example"),
    ):
        done = service.verb(*words)
        assert done.returncode == 1
        assert "is frozen" in done.stderr
        assert "seccomp" not in done.stderr
    assert service.verb("block", "203.0.113.0/24").returncode == 0
    assert {rule["target"] for rule in service.rules()} == {
        *(BLOCKED, "192.0.2.98", "192.0.2.99", "203.0.113.0/24")
    }

    time.sleep(max(0.0, blocked + LASTS + 2 - time.monotonic()))  # two rules have had their time
    assert site.drops()
    lines = [line for line in service.process.lines if "frozen" in line]
    assert len(lines) <= 4, lines

    assert service.stop() == 0
    site.start(await_ready=False)
    eventually(lambda: "/qnames is frozen" in site.ready(), "it starts")
    assert site.drops()
    assert site.service.process.status is None

    for name in ("qnames", "addr-v4"):
        (site.pins / name).unlink()
    site.service.process.line(r"\bready\b")
    assert site.ready().startswith("200 ")
    assert {rule["target"] for rule in site.service.rules()} == {"192.0.2.98", "203.0.113.0/24"}
    assert dig(site.client, BLOCKED).arrived
    assert site.service.verb("block", BLOCKED).returncode == 0
    assert site.drops()
