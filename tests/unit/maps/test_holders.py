"""Who holds a map is read from /proc, and told by name or user where that may not be read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from xdpctl.maps import holders as module
from xdpctl.maps.holders import AGAIN_SECONDS, YOUNG_SECONDS, Holder, Holders

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OWN = 10
TICKS = os.sysconf("SC_CLK_TCK")
READ_ONLY, READ_WRITE = "02000000", "02000002"
STAT = "{pid} ({name}) S {parent} 1 1 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 {start} 1 1\n"


class Proc:
    """A directory that looks like /proc, and a clock."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = 1_000.0
        self.process(1, "init", parent=0)
        self.process(OWN, "xdpctl")

    def process(  # noqa: PLR0913 - a process
        self,
        pid: int,
        name: str = "dnsdist/main",
        *,
        parent: int = 1,
        started: int = 5,
        maps: Mapping[int, str] | None = None,
        flags: int = 0x400000,
    ) -> None:
        """Add or replace a process that has open maps: flags of the descriptor by map id."""
        place = self.directory / str(pid)
        for folder in ("fd", "fdinfo"):
            shutil.rmtree(place / folder, ignore_errors=True)
            (place / folder).mkdir(parents=True)
        (place / "stat").write_text(
            STAT.format(pid=pid, name=name, parent=parent, start=started * TICKS, flags=flags)
        )
        (place / "fd" / "0").symlink_to("/dev/null")
        for number, (map_id, mode) in enumerate((maps or {}).items(), 3):
            (place / "fd" / str(number)).symlink_to("anon_inode:bpf-map")
            (place / "fdinfo" / str(number)).write_text(
                f"pos:\t0\nflags:\t{mode}\nmap_type:\t1\nmap_id:\t{map_id}\nfrozen:\t0\n"
            )

    def end(self, pid: int) -> None:
        """Let a process end."""
        place = self.directory / str(pid)
        place.rename(self.directory / f"ended-{pid}")

    def holders(
        self,
        *,
        owner: int | None = None,
        all_here: bool = True,
        pause: Callable[[float], None] = lambda _: None,
    ) -> Holders:
        return Holders(
            owner,
            proc=self.directory,
            own=OWN,
            clock=lambda: self.now,
            uptime=lambda: self.now,
            all_here=all_here,
            pause=pause,
        )


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def pids(found: frozenset[Holder]) -> set[int]:
    return {holder.pid for holder in found}


def test_a_process_with_a_descriptor_of_the_map_holds_it(proc: Proc) -> None:
    proc.process(20, maps={7: READ_WRITE})
    proc.process(21, "other", maps={8: READ_WRITE})
    seen = proc.holders().look([7])
    assert (pids(seen.of(7)), seen.whole) == ({20}, True)
    assert str(next(iter(seen.of(7)))) == "dnsdist/main (pid 20)"


NOT_HOLDERS = {
    "it may only read it": {"maps": {7: READ_ONLY}},
    "it is another map": {"maps": {70: READ_WRITE}},
    "it is a child of the service": {"maps": {7: READ_WRITE}, "parent": OWN},
    "it is a kernel thread": {"maps": {7: READ_WRITE}, "flags": 0x200000},
}


@pytest.mark.parametrize("process", NOT_HOLDERS.values(), ids=NOT_HOLDERS)
def test_a_process_that_cannot_have_written_an_entry_is_no_holder(
    proc: Proc, process: dict[str, object]
) -> None:
    proc.process(20, **process)  # type: ignore[arg-type]
    assert proc.holders().look([7]).of(7) == frozenset()


def test_a_name_with_brackets_and_blanks_is_read(proc: Proc) -> None:
    proc.process(20, "a) S (b", maps={7: READ_WRITE})
    assert {holder.name for holder in proc.holders().look([7]).of(7)} == {"a) S (b"}


def test_a_process_that_ends_holds_nothing_and_its_number_is_another_process(proc: Proc) -> None:
    holders = proc.holders()
    proc.process(20, maps={7: READ_WRITE})
    (before,) = holders.look([7]).of(7)
    proc.process(20, started=6, maps={7: READ_WRITE})
    (after,) = holders.look([7]).of(7)
    assert before != after
    proc.end(20)
    assert holders.look([7]).of(7) == frozenset()


def test_who_opens_a_map_for_a_moment_does_not_keep_it_open(proc: Proc) -> None:
    """As `bpftool prog show` does with every map of the host, while an operator resizes one."""
    proc.process(20, "bpftool", maps={7: READ_WRITE})
    proc.process(21, maps={8: READ_WRITE})
    holders = proc.holders(pause=lambda _: proc.process(20, "bpftool"))
    assert pids(holders.look([7]).of(7)) == {20}
    assert pids(holders.keepers(7).of(7)) == set()
    assert pids(holders.keepers(8).of(8)) == {21}


def test_who_opens_a_map_while_another_closes_it_is_not_missed(proc: Proc) -> None:
    proc.process(20, "bpftool", maps={7: READ_WRITE})

    def exchange(_: float) -> None:
        proc.process(20, "bpftool")
        proc.process(21, maps={7: READ_WRITE})

    assert pids(proc.holders(pause=exchange).keepers(7).of(7)) == {21}


def test_a_process_that_changes_its_name_stays_the_same(proc: Proc) -> None:
    holders = proc.holders()
    proc.process(20, "setpriv", maps={7: READ_WRITE})
    before = holders.look([7]).of(7)
    proc.process(20, "dnsdist", maps={7: READ_WRITE})
    assert holders.look([7]).of(7) == before


def test_a_young_process_is_looked_into_each_time_an_old_one_now_and_then(proc: Proc) -> None:
    holders = proc.holders()
    proc.process(20, started=int(proc.now), maps={})
    proc.process(21, started=1, maps={})
    holders.look([7])
    for pid, started in ((20, int(proc.now)), (21, 1)):
        proc.process(pid, started=started, maps={7: READ_WRITE})
    assert pids(holders.look([7]).of(7)) == {20}
    proc.now += max(AGAIN_SECONDS, YOUNG_SECONDS)
    assert pids(holders.look([7]).of(7)) == {20, 21}


@pytest.fixture
def closed(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> Proc:
    """A /proc in which only `stat` of other processes can be read."""
    real = os.listdir

    def listdir(path: str | Path) -> list[str]:
        if Path(path).name == "fd" and Path(path).parent.name != str(OWN):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    return proc


@pytest.mark.parametrize(
    ("name", "holds"), [("dnsdist", True), ("dnsdist/main", True), ("sshd", False)]
)
def test_a_process_that_cannot_be_looked_into_is_told_by_its_name(
    closed: Proc,
    name: str,
    holds: bool,  # noqa: FBT001 - the case
) -> None:
    closed.process(20, name)
    assert bool(closed.holders().look([7]).of(7)) is holds


def test_a_process_of_the_pins_owner_counts_as_dnsdist(
    closed: Proc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    closed.process(20, "custom")
    here = (closed.directory / "20").stat().st_uid
    os.chown(closed.directory / "20", 65534, -1) if here == 0 else None
    user = (closed.directory / "20").stat().st_uid
    assert pids(closed.holders(owner=user).look([7]).of(7)) == {20}
    assert closed.holders(owner=user + 1).look([7]).of(7) == frozenset()


@pytest.mark.parametrize("looked_into", [True, False])
@pytest.mark.parametrize("all_here", [True, False])
def test_nobody_is_certain_only_where_every_process_of_the_host_is_visible(
    proc: Proc,
    request: pytest.FixtureRequest,
    all_here: bool,  # noqa: FBT001 - the case
    looked_into: bool,  # noqa: FBT001 - the case
) -> None:
    """In a container even root, who can look into all that it sees, does not see dnsdist."""
    if not looked_into:
        request.getfixturevalue("closed")
    proc.process(20, "sshd")
    assert proc.holders(all_here=all_here).look([7]).whole is all_here


def test_a_holder_that_is_visible_in_a_container_is_one(proc: Proc) -> None:
    proc.process(20, maps={7: READ_WRITE})
    seen = proc.holders(all_here=False).look([7])
    assert (pids(seen.of(7)), seen.whole) == ({20}, False)


def test_without_a_proc_nobody_is_certain(tmp_path: Path) -> None:
    seen = Holders(proc=tmp_path / "missing", own=OWN).look([7])
    assert (seen.of(7), seen.whole) == (frozenset(), False)


def test_where_processes_are_invisible_nobody_is_not_certain(proc: Proc) -> None:
    proc.end(1)
    assert not proc.holders(all_here=True).look([7]).whole


def test_where_processes_have_no_name_nobody_is_not_certain(
    closed: Proc, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module._content

    def content(path: str) -> bytes:
        if path.endswith("/20/stat"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    closed.process(20, "sshd")
    monkeypatch.setattr(module, "_content", content)
    assert not closed.holders(all_here=True).look([7]).whole
