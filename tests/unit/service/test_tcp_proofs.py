"""The program that sees all processes' connections comes and goes with `--proof cgroup`."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

import pytest

from tests.support.whole_service import PATIENCE, Home
from xdpctl.abi import MAPS, MapName
from xdpctl.errors import KernelError
from xdpctl.filter import tcp_proof

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMITED = ("--rate-limit", "50", "--flood-limit", "1000")
CGROUP = (*LIMITED, "--proof", "cgroup")
KEEP = ("--on-exit", "keep")


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Home]:
    made = Home(monkeypatch, tmp_path)
    yield made
    made.close()


def seen_by(whole: Home) -> list[set[str]]:
    """Return the names of the maps of each program on the root of all control groups."""
    whole.kernel.reap()
    return [
        {whole.kernel.maps[number].info.name for number in link.program.info.map_ids}
        for link in whole.kernel.links.values()
        if link.on_cgroups and not link.defunct
    ]


WANTED = [{"limits", "limit_proven"}]


async def until(whole: Home, wanted: list[set[str]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while seen_by(whole) != wanted:  # noqa: ASYNC110 - a kernel tells nobody
            await asyncio.sleep(0.01)


async def test_it_is_attached_beside_the_filter(whole: Home) -> None:
    async with whole.running(*CGROUP):
        assert seen_by(whole) == WANTED
        assert any(pin.endswith(":tcp-proof") for pin in whole.host.pinned()["xdpctl"])
    assert seen_by(whole) == []


async def test_it_outlives_a_service_that_keeps_its_filter(whole: Home) -> None:
    async with whole.running(*CGROUP, *KEEP):
        pass
    assert seen_by(whole) == WANTED
    async with whole.running(*CGROUP):
        assert seen_by(whole) == WANTED


@pytest.mark.parametrize("options", [LIMITED, ("--proof", "cgroup")])
async def test_the_next_service_ends_what_it_does_not_want(
    whole: Home, options: tuple[str, ...]
) -> None:
    async with whole.running(*CGROUP, *KEEP):
        pass
    async with whole.running(*options):
        assert seen_by(whole) == []
        assert not any(pin.endswith(":tcp-proof") for pin in whole.host.pinned()["xdpctl"])


async def test_it_comes_and_goes_with_the_limits(
    whole: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xdpctl.service.tcp_proofs.LOOK_SECONDS", 0.01)
    unlimited = ("--proof", "cgroup")
    async with whole.running(*unlimited) as service:
        for options, wanted in ((CGROUP, WANTED), (unlimited, [])):
            whole.options = options
            service._reload.set()
            await until(whole, wanted)


async def test_without_cgroup2_nothing_starts(whole: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_root() -> int:
        raise KernelError("cannot find the root of all control groups", errno.ENOENT)

    monkeypatch.setattr(tcp_proof, "open_root", no_root)
    with pytest.raises(KernelError, match="control groups"):
        await whole.service(*CGROUP).run()
    assert whole.kernel.attached("eth0") is None


async def test_it_reads_the_maps_of_the_filter(whole: Home) -> None:
    async with whole.running(*CGROUP):
        (link,) = [link for link in whole.kernel.links.values() if link.on_cgroups]
        pins = whole.host.own
        for name in (MapName.LIMITS, MapName.LIMIT_PROVEN):
            (pin,) = [path for path in pins.iterdir() if path.name.endswith(f":{name}")]
            with whole.host.bpf.open_map(pin) as opened:
                assert opened.info.id in link.program.info.map_ids
                assert opened.info.value_size == MAPS[name].value_size
