"""What a process sees of its host is told by its namespaces, and doubt counts as not seen."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from xdpctl.process.namespaces import has_own_network, processes_hidden

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST = 0xEFFFFFFC


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a maker of directories that look like /proc."""
    inodes: dict[Path, int] = {}
    real = Path.stat

    def stat(path: Path, **options: bool) -> object:
        if path in inodes:
            return SimpleNamespace(st_ino=inodes[path])
        return real(path, **options)

    def make(pid: int, net: int, first_net: int | None, *, first: bool = True) -> Path:
        for name in ("self", *(["1"] if first else [])):
            (tmp_path / name / "ns").mkdir(parents=True)
        inodes[tmp_path / "self/ns/pid"] = pid
        inodes[tmp_path / "self/ns/net"] = net
        if first_net is not None:
            inodes[tmp_path / "1/ns/net"] = first_net
        monkeypatch.setattr(Path, "stat", stat)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("pid", "first", "said"),
    [
        (FIRST, True, None),
        (FIRST - 1, True, "PID namespace of its own"),
        (FIRST, False, "hidden from this one"),
    ],
)
def test_other_processes_are_visible_in_the_first_namespace_without_hidepid(
    proc: Callable[..., Path],
    pid: int,
    first: bool,  # noqa: FBT001 - the case
    said: str | None,
) -> None:
    found = processes_hidden(proc(pid, 1, 1, first=first))
    assert found is None if said is None else said in str(found)


def test_without_a_proc_nothing_is_visible(tmp_path: Path) -> None:
    assert "no /proc" in str(processes_hidden(tmp_path))
    assert not has_own_network(tmp_path)


@pytest.mark.parametrize(
    ("pid", "net", "first_net", "own"),
    [
        (FIRST, 7, 7, False),
        (FIRST, 8, 7, True),
        (FIRST, 8, None, False),
        (FIRST - 1, 8, 7, False),
    ],
)
def test_the_network_is_another_only_if_that_is_certain(
    proc: Callable[..., Path],
    pid: int,
    net: int,
    first_net: int | None,
    own: bool,  # noqa: FBT001 - the case
) -> None:
    assert has_own_network(proc(pid, net, first_net)) is own


def test_this_very_process_gets_an_answer() -> None:
    here = os.stat("/proc/self/ns/pid").st_ino == FIRST  # noqa: PTH116 - as the kernel tells it
    assert (processes_hidden() is None) <= here
