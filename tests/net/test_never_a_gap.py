"""Whatever happens to the service: no blocked packet arrives and no honest query is lost.

During each of them a stream runs over the wire, with packets for each of the five maps. `make gap`
kills the service 50 times, in a stream of 50,000 blocked packets at least.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.lab import Lab
from tests.lab.hosts import ROOT
from tests.lab.stream import RULES
from tests.lab.streaming import BLOCKED
from tests.net.stream_site import StreamSite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

KILLS = int(os.environ.get("KILLS", "10"))
PACKETS = 1_000 * KILLS
SOURCE = "xdp/filter.bpf.c"


@pytest.fixture(scope="module")
def running() -> Iterator[StreamSite]:
    with Lab() as lab:
        yield StreamSite(lab)


@pytest.fixture
def site(running: StreamSite) -> Iterator[StreamSite]:
    """A site with a rule in each map, and nothing of what a former test did."""
    running.block()
    yield running
    running.service.process.kill()
    running.config.write_text("")
    running.start()


def newer(path: Path, file: str, old: str, new: str) -> Path:
    """Make another version of the whole program in a directory, modules compiled already."""
    for part in ("xdpctl", "xdp"):
        unfinished = shutil.ignore_patterns("*.pyc.*")  # of another process, gone at any moment
        shutil.copytree(ROOT / part, path / part, ignore=unfinished)
    text = (path / file).read_text()
    assert old in text
    (path / file).write_text(text.replace(old, new))
    return path


def test_through_kills_at_any_moment(site: StreamSite) -> None:
    """Every other one while the next service is starting, the others when it is ready."""
    stream = site.stream(PACKETS)
    moments = random.Random(KILLS)
    began = time.monotonic()
    site.kill()
    site.start()
    start_seconds = time.monotonic() - began
    for number in range(1, KILLS):
        site.kill()
        site.start(await_ready=number % 2 == 0)
        if number % 2:
            time.sleep(moments.uniform(0, start_seconds))
    site.kill()
    site.start()
    assert site.holds(stream).blocked >= PACKETS


def test_what_shows_a_gap_can_see_one(site: StreamSite) -> None:
    """A stop that detaches lets everything arrive, until the next service is there."""
    stream = site.stream()
    site.service.stop()
    site.start("--on-exit", "detach")
    site.service.stop()
    site.start()
    seen = stream.end()
    assert seen.passed.keys() == BLOCKED.keys()
    assert sum(seen.passed.values()) < seen.blocked
    assert (seen.unanswered, seen.lost) == (0, ())


def test_through_a_new_version_with_another_program(site: StreamSite, tmp_path: Path) -> None:
    former, stream = site.server.xdp_id(), site.stream()
    site.service.stop()
    version = newer(tmp_path, SOURCE, "The filter:", "The newer filter:")
    site.start("--any-qtype", "255", version=version)
    assert site.server.xdp_id() not in (None, former)
    site.holds(stream)


def test_through_a_new_version_with_the_same_program(site: StreamSite, tmp_path: Path) -> None:
    """It is compiled again, because its source differs, and found to be what runs.

    Without samples: a program with them is exchanged, as their maps are the service's own.
    """
    site.service.stop(signal.SIGUSR2)
    site.start("--sample-budget", "0")
    former, stream = site.server.xdp_id(), site.stream()
    site.service.stop(signal.SIGUSR2)
    version = newer(tmp_path, SOURCE, "The filter:", "The newer filter:")
    site.start("--sample-budget", "0", version=version)
    assert site.server.xdp_id() == former
    site.service.process.line(" compiled ")
    site.holds(stream)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ((SOURCE, "*/", "*/\n#error no such thing"), "cannot compile the filter"),
        ((SOURCE, "= classify(ctx, size, &scratch);", "= *(__u8 *)frame_end(ctx);"), "verifier"),
        (("xdp/verdict.h", "XDP_DROP <<", "XDP_PASS <<"), "self-test"),
    ],
    ids=["does-not-compile", "is-refused-by-the-verifier", "drops-nothing"],
)
def test_through_a_new_version_whose_program(
    site: StreamSite, tmp_path: Path, change: tuple[str, str, str], why: str
) -> None:
    """The former program is held; the service is up, not ready, and says why."""
    former, stream = site.server.xdp_id(), site.stream()
    site.service.stop()
    site.start(version=newer(tmp_path, *change), await_ready=False)
    site.service.process.line(r" waiting ", timeout=30)
    readyz = site.service.get("/readyz")
    assert readyz.status == 503
    assert "the program of a former service is in force" in readyz.body
    assert why in readyz.body
    assert site.server.xdp_id() == former
    site.holds(stream)


def reload(site: StreamSite, settings: str) -> None:
    """Change the settings and wait until the service has taken them over."""
    log = site.service.process

    def count() -> int:
        return len(re.findall(r"\breloaded changed=", log.text))

    before = count()
    site.config.write_text(settings)
    log.send(signal.SIGHUP)
    log.until(lambda: count() > before, f"the reload of {settings!r}", timeout=30)


def test_through_reloads_that_change_the_program(site: StreamSite) -> None:
    stream = site.stream()
    for settings in (
        "port = [53, 5353]",
        'address = ["192.0.2.0/24", "198.51.100.53", "2001:db8::/32"]',
        'any-qtype = "255"',
        'tcp = false\nany-qtype = "65535"',
        "",
    ):
        former = site.server.xdp_id()
        reload(site, settings)
        assert site.server.xdp_id() not in (None, former)
    site.holds(stream)


def overwritten(path: Path) -> None:
    path.write_bytes(b"\xff" * 4096)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scribbled_over(path: Path) -> None:
    """Its head is sound, what lies behind is not."""
    data = path.read_bytes()
    path.write_bytes(data[:4096] + bytes(byte ^ 0x55 for byte in data[4096:]))


@pytest.mark.parametrize("damage", [overwritten, cut_short, scribbled_over])
def test_through_a_start_with_a_damaged_state(
    site: StreamSite, damage: Callable[[Path], None]
) -> None:
    """It is moved aside; the rules stay in force, as another's."""
    stream = site.stream()
    site.service.stop()
    damage(site.state)
    site.start()
    assert "is damaged" in site.service.process.text
    assert {(rule["target"], rule["origin"]) for rule in site.service.rules()} == {
        (target, "dnsdist") for target in RULES
    }
    site.holds(stream)
