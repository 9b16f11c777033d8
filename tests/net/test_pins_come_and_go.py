"""Pins are removed, replaced, and go with their file system; the service puts it right.

Each time it is noticed, said and mended while a stream of blocked packets and honest
queries goes on, of which none arrives and none is lost. All of it is in a mount namespace
of its own, with a BPF file system of its own.
"""

from __future__ import annotations

import http.client
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from tests.lab import Lab, Responder, dig, eventually
from tests.lab.hosts import BPFFS
from tests.lab.stream import RULES
from tests.net.stream_site import StreamSite
from xdpctl.abi import MAPS, RULE_MAPS, MapName, RuleAction, encode_value
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.rules import AnyQtype, key_of, parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab import Service

pytestmark = pytest.mark.root

APART = """
mount -t bpf -o mode=0700 bpf /sys/fs/bpf
echo apart
exec sleep 1000
"""


class Readiness:
    """What /readyz says while the block runs, looked at again and again.

    Attributes:
        reasons: each that was said, in order.
    """

    def __init__(self, service: Service) -> None:
        self.reasons: list[str] = []
        self._service = service
        self._ready = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, name="readiness")

    def _look(self) -> None:
        while not self._end.wait(0.01):
            try:
                answer = self._service.get("/readyz")
            except (OSError, http.client.HTTPException):
                return  # it was killed
            if answer.status == 200:
                self._ready.set()
                continue
            self._ready.clear()
            self.reasons += [
                sentence for sentence in answer.body.splitlines() if sentence not in self.reasons
            ]

    def said(self, words: str) -> None:
        """Wait for a reason with these words."""
        eventually(lambda: any(words in sentence for sentence in self.reasons), words)

    def is_back(self) -> None:
        """Wait until all is well."""
        eventually(self._ready.is_set, f"readiness after {self.reasons}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


class Site(StreamSite):
    """A service in a mount namespace of its own.

    Args:
        lab: where.
    """

    def __init__(self, lab: Lab) -> None:
        holder = lab.start("mounts", ["unshare", "--mount", "sh", "-ec", APART])
        holder.line("^apart$")
        self.apart = ("nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "--")
        self.pins = Path(f"/proc/{holder.pid}/root") / lab.pins.relative_to("/")
        super().__init__(lab, before=self.apart)

    def run(self, *argv: str) -> None:
        """Run a command where the service sees the file system."""
        self.server.run(*self.apart, *argv)

    def ids(self) -> dict[MapName, int]:
        """Return the ids of the maps that are pinned."""
        found = {}
        for name in RULE_MAPS:
            with Bpf().open_map(self.pins / name) as opened:
                found[name] = opened.info.id
        return found

    def replace(self, name: MapName) -> None:
        """Pin another map in the place of one, as a DNS server does that finds no pin."""
        (self.pins / name).unlink()
        with Bpf().create_map(MAPS[name], 64) as made:
            made.pin(self.pins / name)


@pytest.fixture(scope="module")
def running() -> Iterator[Site]:
    with Lab() as lab:
        yield Site(lab)


@pytest.fixture
def site(running: Site) -> Site:
    running.block()
    return running


@pytest.fixture
def readiness(site: Site) -> Iterator[Readiness]:
    with Readiness(site.service) as watched:
        watched.is_back()
        yield watched


def test_pins_that_are_removed_are_made_again(site: Site, readiness: Readiness) -> None:
    before, stream = site.ids(), site.stream()
    for name in RULE_MAPS:
        (site.pins / name).unlink()
    for name in RULE_MAPS:
        readiness.said(f"/{name} is gone: it is being made again")
        site.service.process.line(rf"pinned-again pin=\S+/{name}$")
    readiness.is_back()
    assert site.ids() == before
    site.holds(stream)


def test_a_removed_directory_of_pins_is_made_again(site: Site, readiness: Readiness) -> None:
    before, stream = site.ids(), site.stream()
    site.run("rm", "-r", str(site.server.lab.pins))
    readiness.said("is gone")
    readiness.is_back()
    assert site.ids() == before
    site.holds(stream)


def test_the_program_moves_to_the_maps_that_are_pinned_instead(
    site: Site, readiness: Readiness
) -> None:
    """Our rules are in them before; what others write there acts from then on."""
    before, stream = site.ids(), site.stream()
    for name in RULE_MAPS:
        site.replace(name)
    for name in RULE_MAPS:
        readiness.said(f"/{name} is not the map that the filter reads: moving to it")
        site.service.process.line(rf"map-adopted pin={name} id=")
    readiness.is_back()
    after = site.ids()
    assert not {*before.values()} & {*after.values()}
    assert {rule["target"] for rule in site.service.rules("--origin", "cli")} == {*RULES}
    site.holds(stream)


def test_what_is_written_into_the_map_that_is_pinned_instead_acts(site: Site) -> None:
    before = site.service.metrics().packets(action="drop", reason="qname")
    responder = Responder(site.server)
    site.replace(MapName.QNAMES)
    with Bpf().open_map(site.pins / MapName.QNAMES) as theirs:
        key = key_of(parse_target("theirs.example"), AnyQtype.BOTH)
        theirs.update(key, encode_value(RuleAction.DROP))
    assert dig(site.client, "other.example").arrived
    eventually(lambda: not dig(site.client, "theirs.example").arrived, "their rule acts")
    site.service.counted(before + 1, action="drop", reason="qname")
    responder.process.kill()


def test_pins_of_what_is_no_map_of_ours_are_named_until_they_are_removed(
    site: Site, readiness: Readiness
) -> None:
    before, stream = site.ids(), site.stream()
    for name in (MapName.ADDR_V4, MapName.QNAMES):
        (site.pins / name).unlink()
    (site.pins / MapName.ADDR_V4).mkdir()
    legacy = replace(MAPS[MapName.QNAMES], key_size=255)
    with Bpf().create_map(legacy, 64) as made:
        made.pin(site.pins / MapName.QNAMES)
    for words in ("it is a directory; move it away", "without external=true"):
        readiness.said(words)
        site.service.process.line(f"not-ready .*{words}")
    (site.pins / MapName.ADDR_V4).rmdir()
    (site.pins / MapName.QNAMES).unlink()
    readiness.is_back()
    assert site.ids() == before
    site.holds(stream)


def test_maps_that_are_replaced_while_no_service_runs(site: Site) -> None:
    stream = site.stream()
    site.kill()
    for name in RULE_MAPS:
        site.replace(name)
    site.start()
    site.holds(stream)


def test_own_pins_that_are_removed_are_made_again(site: Site) -> None:
    """So that the filter outlives the service still."""
    stream = site.stream()
    site.run("sh", "-c", f"rm {BPFFS}/xdpctl/*-eth0*:* {BPFFS}/xdpctl/*-eth0 || true")
    site.service.process.line(r"pinned-again interface=eth0")
    site.kill()
    site.start()
    site.holds(stream)


def test_another_file_system_in_the_place_of_ours(site: Site, readiness: Readiness) -> None:
    """Taken away with all pins, mounted by the service; then another on top of that."""
    before, stream = site.ids(), site.stream()
    for disturb in (["umount", "--lazy", str(BPFFS)], ["mount", "-t", "bpf", "bpf", str(BPFFS)]):
        readiness.reasons.clear()
        site.run(*disturb)
        readiness.said("is gone")
        readiness.is_back()
        assert site.ids() == before
    site.kill()
    site.start()
    site.holds(stream)
