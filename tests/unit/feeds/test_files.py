"""The keeper: a list's rules are those of its file's last good version."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from tests.unit.feeds.test_lines import target_of_row
from tests.unit.feeds.test_rpz import HEAD
from xdpctl.errors import (
    EmptyListError,
    KernelError,
    ListError,
    MapFullError,
    NotFoundError,
    ShrunkListError,
    StateError,
    XdpctlError,
)
from xdpctl.feeds import files
from xdpctl.feeds.files import ListFiles
from xdpctl.feeds.inotify import Inotify
from xdpctl.feeds.origins import REMEMBERED
from xdpctl.rules import target_text
from xdpctl.rules.keys import each_row
from xdpctl.rules.reach import LIST_MAX, Reach
from xdpctl.settings import ListSettings, Settings, load_settings
from xdpctl.store.bulk import BulkResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from xdpctl.abi import MapName
    from xdpctl.store.change import Change


@dataclass
class FakeBackend:
    """A backend whose maps are a set of targets for each origin."""

    rules: dict[str, set[str]] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    failure: XdpctlError | None = None
    turned: asyncio.Event = field(default_factory=asyncio.Event)
    changes: list[Change] = field(default_factory=list)

    async def bulk(self, change: Change) -> BulkResult:
        origin = change.origin
        assert change.replace
        assert not change.strict
        self.calls.append(f"bulk {origin}")
        self.changes.append(change)

        def read() -> set[str]:
            change.progress("apply", 0, 1)
            rows = [row for part in change.source for row in each_row(part)]
            assert all(row[5] == origin for row in rows)
            return {target_text(target_of_row(row)) for row in rows}

        try:
            found = await asyncio.to_thread(read)
            if self.failure is not None:
                raise self.failure
            former = len(self.rules.get(origin, ()))
            if not found and not change.may_be_empty:
                raise EmptyListError("it has no rule")
            if change.max_shrink is not None and len(found) < former * (1 - change.max_shrink):
                raise ShrunkListError(f"it has {len(found)} rules, and {former} are in force")
            self.rules[origin] = found
        finally:
            self.turned.set()
        return BulkResult(created=len(found), reach=Reach(0.5))

    async def flush(self, map_name: MapName | None, origin: str | None) -> int:
        assert map_name is None
        assert origin is not None
        self.calls.append(f"flush {origin}")
        try:
            if self.failure is not None:
                raise self.failure
            return len(self.rules.pop(origin, set()))
        finally:
            self.turned.set()

    async def recall(self, name: str) -> str | None:
        return self.facts.get(name)

    async def remember(self, name: str, value: str) -> None:
        self.facts[name] = value

    async def turn(self) -> None:
        """Wait until a list has been read or removed; the keeper has gone on by then."""
        async with asyncio.timeout(20):
            await self.turned.wait()
        self.turned.clear()


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "DEBOUNCE_SECONDS", 0.05)
    monkeypatch.setattr(files, "QUIET_SECONDS", 0.05)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, for what the kernel does not tell."""
    monkeypatch.setattr(files, "LOOK_SECONDS", 0.1)


def settings_of(*lists: ListSettings) -> Settings:
    loaded = load_settings(["--log-level", "info"], {}, require_interface=False)
    return replace(loaded, lists=lists)


def written(path: Path, *lines: str) -> ListSettings:
    """Write a file by renaming it into place, as one should."""
    new = path.with_name(f".{path.name}.new")
    new.write_text("".join(f"{line}\n" for line in lines))
    new.rename(path)
    return ListSettings(file=path, origin=f"list:{path.name}")


@asynccontextmanager
async def running(backend: FakeBackend, *lists: ListSettings) -> AsyncIterator[ListFiles]:
    """Run a keeper until the block ends; its first lists have been read."""
    kept = ListFiles(backend, settings_of(*lists))
    task = asyncio.create_task(kept.run())
    try:
        for _ in lists:
            await backend.turn()
        yield kept
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_every_list_is_read_at_the_start(backend: FakeBackend, tmp_path: Path) -> None:
    a, b = written(tmp_path / "a", "192.0.2.1"), written(tmp_path / "b", "bad.example")
    async with running(backend, a, b):
        assert backend.rules == {"list:a": {"192.0.2.1"}, "list:b": {"bad.example"}}


async def test_the_service_is_not_ready_before_every_list_was_read_once(
    backend: FakeBackend, tmp_path: Path
) -> None:
    wanted = settings_of(written(tmp_path / "a", "a.example"), written(tmp_path / "b", "<html>"))
    done, before = asyncio.Event(), list[tuple[str, ...]]()

    async def on_first() -> None:
        before.append(kept.failures)
        done.set()

    kept = ListFiles(backend, wanted, on_first)
    assert kept.failures == ("the lists are read for the first time",)
    task = asyncio.create_task(kept.run())
    try:
        async with asyncio.timeout(20):
            await done.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert before == [()]
    assert backend.calls == ["bulk list:a", "bulk list:b"]


@pytest.mark.parametrize("lists", [0, 1])
async def test_without_lists_or_after_some_time_nobody_waits_for_them(
    backend: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: int
) -> None:
    monkeypatch.setattr(files, "FIRST_SECONDS", 0.0 if lists else 1000.0)
    wanted = [written(tmp_path / "a", "a.example")] * lists
    assert ListFiles(backend, settings_of(*wanted)).failures == ()


async def test_a_file_that_is_renamed_into_place_is_read(
    backend: FakeBackend, tmp_path: Path
) -> None:
    async with running(backend, written(tmp_path / "a", "192.0.2.1")):
        written(tmp_path / "a", "192.0.2.2")
        await backend.turn()

    assert backend.rules == {"list:a": {"192.0.2.2"}}


async def test_a_file_that_is_written_in_place_is_read_when_it_is_closed(
    backend: FakeBackend, tmp_path: Path
) -> None:
    async with running(backend, written(tmp_path / "a", "192.0.2.1")):
        (tmp_path / "a").write_text("192.0.2.2\n192.0.2.3\n")
        await backend.turn()

    assert backend.rules == {"list:a": {"192.0.2.2", "192.0.2.3"}}


async def test_a_file_behind_a_link_is_read_when_the_link_leads_elsewhere(
    backend: FakeBackend, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, line in ((one, "192.0.2.1"), (two, "192.0.2.2")):
        folder.mkdir()
        written(folder / "a", line)
    (tmp_path / "now").symlink_to("one")
    (tmp_path / "a").symlink_to("now/a")
    async with running(backend, ListSettings(file=tmp_path / "a", origin="list:a")):
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(tmp_path / "now")
        await backend.turn()

    assert backend.rules == {"list:a": {"192.0.2.2"}}


@pytest.mark.usefixtures("quick")
async def test_another_file_of_the_directory_is_nothing_to_the_list(
    backend: FakeBackend, tmp_path: Path
) -> None:
    a = written(tmp_path / "a", "192.0.2.1")
    async with running(backend, a, written(tmp_path / "b", "192.0.2.2")):
        written(tmp_path / "b", "192.0.2.3")
        await backend.turn()

    assert backend.calls.count("bulk list:a") == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("refresh", [None, 1])
async def test_what_nobody_tells_is_seen_at_the_next_look(
    backend: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refresh: int | None
) -> None:
    monkeypatch.setattr(Inotify, "read", lambda _: os.read(_.fd, 65536) and [])
    one = replace(written(tmp_path / "a", "192.0.2.1"), refresh=refresh)
    async with running(backend, one):
        written(tmp_path / "a", "192.0.2.2")
        await backend.turn()

    assert backend.rules == {"list:a": {"192.0.2.2"}}


@pytest.mark.usefixtures("quick")
async def test_where_nothing_can_be_watched_lists_are_looked_at(
    backend: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Inotify) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Inotify, "__enter__", refuse)
    async with running(backend, written(tmp_path / "a", "192.0.2.1")):
        written(tmp_path / "a", "192.0.2.2")
        await backend.turn()

    assert backend.rules == {"list:a": {"192.0.2.2"}}


@pytest.mark.usefixtures("quick")
async def test_a_directory_that_comes_later_is_watched_then(
    backend: FakeBackend, tmp_path: Path
) -> None:
    folder = tmp_path / "later"
    one = ListSettings(file=folder / "a", origin="list:a")
    async with running(backend, one) as kept:
        assert "No such file" in kept.warnings[0]
        folder.mkdir()
        written(folder / "a", "192.0.2.1")
        await backend.turn()

    assert backend.rules == {"list:a": {"192.0.2.1"}}


@pytest.mark.usefixtures("quick")
async def test_a_directory_that_is_exchanged_is_watched_again(
    backend: FakeBackend, tmp_path: Path
) -> None:
    folder, new = tmp_path / "lists", tmp_path / "new"
    for path, line in ((folder, "192.0.2.1"), (new, "192.0.2.2")):
        path.mkdir()
        written(path / "a", line)
    async with running(backend, ListSettings(file=folder / "a", origin="list:a")):
        folder.rename(tmp_path / "old")
        new.rename(folder)
        await backend.turn()
        assert backend.rules == {"list:a": {"192.0.2.2"}}
        written(folder / "a", "192.0.2.3")
        await backend.turn()

    assert backend.rules == {"list:a": {"192.0.2.3"}}


async def test_a_list_that_is_looked_at_now_and_then_is_not_read_when_it_changes(
    backend: FakeBackend, tmp_path: Path
) -> None:
    rarely = replace(written(tmp_path / "a", "192.0.2.1"), refresh=3600)
    async with running(backend, rarely, written(tmp_path / "b", "192.0.2.2")):
        written(tmp_path / "a", "192.0.2.3")
        written(tmp_path / "b", "192.0.2.4")
        await backend.turn()

    assert backend.rules == {"list:a": {"192.0.2.1"}, "list:b": {"192.0.2.4"}}


@pytest.mark.usefixtures("quick")
async def test_a_file_that_may_still_be_written_is_read_when_it_is_quiet(
    backend: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ages, look_at = [0.0, 0.0, 0.0, 60.0], files._look_at

    def look(path: Path) -> files._Look:
        found = look_at(path)
        return found._replace(age=ages.pop(0) if found.version != first else 60.0)

    one = written(tmp_path / "a", "192.0.2.1")
    first = look_at(one.file).version
    async with running(backend, one):
        monkeypatch.setattr(files, "_look_at", look)
        with one.file.open("w") as stream:
            stream.write("192.0.2.2\n")
            stream.flush()
            await backend.turn()

    assert ages == []
    assert backend.calls == ["bulk list:a"] * 2


BROKEN = ["", "300.1.1.1\n", "<!DOCTYPE html>\n", "192.0.2.1\n192.0.2.1/24\n"]


@pytest.mark.parametrize("content", BROKEN)
async def test_a_broken_version_leaves_the_former_rules_in_force(
    backend: FakeBackend, tmp_path: Path, content: str
) -> None:
    async with running(backend, written(tmp_path / "a", "192.0.2.1")) as kept:
        (tmp_path / "a").write_text(content)
        await backend.turn()

        (warning,) = kept.warnings
        assert warning.startswith(f"cannot use list a from {tmp_path / 'a'}: ")
        assert warning.endswith("the rules of its last good version stay in force")
    assert backend.rules == {"list:a": {"192.0.2.1"}}


async def test_a_file_that_goes_leaves_its_rules_in_force(
    backend: FakeBackend, tmp_path: Path
) -> None:
    async with running(backend, written(tmp_path / "a", "192.0.2.1")) as kept:
        (tmp_path / "a").unlink()
        await backend.turn()

        assert "No such file" in kept.warnings[0]
    assert backend.rules == {"list:a": {"192.0.2.1"}}


async def test_a_good_version_ends_the_warning(backend: FakeBackend, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    async with running(backend, ListSettings(file=tmp_path / "a", origin="list:a")) as kept:
        assert kept.warnings
        written(tmp_path / "a", "192.0.2.1")
        await backend.turn()

        assert kept.warnings == ()


async def test_a_broken_version_is_logged_by_one_sentence(
    backend: FakeBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a").write_text("300.1.1.1\n")
    async with running(backend, ListSettings(file=tmp_path / "a", origin="list:a")) as kept:
        assert [record.getMessage() for record in caplog.records] == ["list-refused"]
        assert vars(caplog.records[0])["xdpctl_fields"]["error"] == kept.warnings[0]
        assert "\n" not in kept.warnings[0]


async def test_what_no_rule_can_say_is_a_warning(backend: FakeBackend, tmp_path: Path) -> None:
    one = written(tmp_path / "a", "0.0.0.0 bad.example", "192.0.2.1 www.example")
    async with running(backend, one) as kept:
        (warning,) = kept.warnings
        assert warning.startswith(f"list a from {tmp_path / 'a'} has entries that are left")
        assert "1 name with an address of its own ('192.0.2.1 www.example')" in warning
        written(tmp_path / "a", "0.0.0.0 bad.example")
        await backend.turn()

        assert kept.warnings == ()


async def test_a_full_map_is_a_warning_that_says_what_went_in(
    backend: FakeBackend, tmp_path: Path
) -> None:
    backend.failure = MapFullError("cannot add", 7, map_name="addr-v4", capacity=8)
    backend.failure.done = 8
    async with running(backend, written(tmp_path / "a", "192.0.2.1")) as kept:
        assert "addr-v4 is full at 8 entries" in kept.warnings[0]
        assert kept.warnings[0].endswith("8 of its entries went in and the rest is missing")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("failure", [StateError("the disk is full"), KernelError("cannot", 1)])
async def test_what_is_not_the_files_fault_is_tried_again(
    backend: FakeBackend, tmp_path: Path, failure: XdpctlError, caplog: pytest.LogCaptureFixture
) -> None:
    backend.failure = failure
    async with running(backend, written(tmp_path / "a", "192.0.2.1")) as kept:
        await backend.turn()
        assert failure.sentence in kept.warnings[0]
        backend.failure = None
        await backend.turn()

        assert kept.warnings == ()
    assert [record.getMessage() for record in caplog.records].count("list-refused") == 1


@pytest.mark.usefixtures("quick")
async def test_a_version_is_read_once_however_often_it_is_looked_at(
    backend: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, thrice = [], asyncio.Event()
    loop, look_at = asyncio.get_running_loop(), files._look_at

    def count(path: Path) -> object:
        looks.append(path)
        if len(looks) == 4:
            loop.call_soon_threadsafe(thrice.set)
        return look_at(path)

    monkeypatch.setattr(files, "_look_at", count)
    async with running(backend, written(tmp_path / "a", "192.0.2.1")):
        async with asyncio.timeout(20):
            await thrice.wait()

        assert backend.calls == ["bulk list:a"]


# --- versions that are not taken over -------------------------------------------------


FOUR = ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")


async def test_a_version_that_lost_more_than_half_is_not_taken_over(
    backend: FakeBackend, tmp_path: Path
) -> None:
    async with running(backend, written(tmp_path / "a", *FOUR)) as kept:
        written(tmp_path / "a", *FOUR[:2])
        await backend.turn()
        assert (kept.warnings, len(backend.rules["list:a"])) == ((), 2)
        written(tmp_path / "a", *FOUR)
        await backend.turn()
        written(tmp_path / "a", FOUR[0])
        await backend.turn()
        (warning,) = kept.warnings
        assert "it has 1 rules, and 4 are in force, so that more than max-shrink (50%)" in warning
        assert "`xdpctl lists accept a` takes it over" in warning
        assert len(backend.rules["list:a"]) == 4
        (view,) = kept.views()
        assert (view.error, view.good and view.good.rules) == (warning, 4)

        assert (await kept.read_now("a", accept=True)).error == ""
        assert (kept.warnings, backend.rules["list:a"]) == ((), {FOUR[0]})


@pytest.mark.parametrize("content", ["", "# nothing\n", "\n"])
async def test_a_list_without_a_rule_is_taken_over_when_it_is_accepted_and_after_reloads(
    backend: FakeBackend, tmp_path: Path, content: str
) -> None:
    one = written(tmp_path / "a", *FOUR)
    async with running(backend, one) as kept:
        (tmp_path / "a").write_text(content)
        await backend.turn()
        assert len(backend.rules["list:a"]) == 4
        assert "`xdpctl lists accept a`" in kept.warnings[0]
        with pytest.raises(ListError, match="lists accept"):
            await kept.read_now("list:a")
        await kept.read_now("list:a", accept=True)
        assert (kept.warnings, backend.rules["list:a"]) == ((), set())
        backend.turned.clear()
        kept.reload(settings_of(one))
        await backend.turn()
    async with running(backend, one) as kept:
        assert kept.warnings == ()


async def test_a_list_may_be_emptied_by_a_comment_where_all_of_it_may_go(
    backend: FakeBackend, tmp_path: Path
) -> None:
    one = replace(written(tmp_path / "a", *FOUR), max_shrink=1.0)
    async with running(backend, one) as kept:
        written(tmp_path / "a", "# nothing")
        await backend.turn()
        assert (kept.warnings, backend.rules["list:a"]) == ((), set())
        (tmp_path / "a").write_text("")
        await backend.turn()
        assert "it is empty" in kept.warnings[0]


async def test_a_list_that_had_no_rule_and_has_none_is_a_warning_of_its_own(
    backend: FakeBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(backend, written(tmp_path / "a", "# nothing yet")) as kept:
        assert "it has no rule" in kept.warnings[0]
        assert kept.views()[0].error == kept.warnings[0]
    assert [record.getMessage() for record in caplog.records] == ["list-empty"]


async def test_what_a_list_may_cover_is_bounded_unless_it_is_accepted(
    backend: FakeBackend, tmp_path: Path
) -> None:
    listed = written(tmp_path / "a", "10.0.0.0/8")
    async with running(backend, listed) as kept:
        await kept.read_now("a", accept=True)
    asked = [(change.cover_max, change.covered) for change in backend.changes]
    assert asked == [(LIST_MAX, Reach()), (None, Reach(0.5))]


async def test_the_rules_of_a_zone_do_not_stay_under_the_name_of_a_file(
    backend: FakeBackend, tmp_path: Path
) -> None:
    """The settings were changed while the service was stopped, and the file is not there."""
    good = {"format": "rpz", "rules": 1, "left_out": 0, "success": 1.0, "zone": "rpz.example"}
    backend.facts["list-versions"] = json.dumps({"list:a": good})
    backend.rules["list:a"] = {"a.example"}
    async with running(backend, ListSettings(file=tmp_path / "a", origin="list:a")) as kept:
        assert backend.rules == {}
        assert kept.views()[0].good is None


async def test_what_is_no_list_cannot_be_accepted(backend: FakeBackend, tmp_path: Path) -> None:
    async with running(backend, written(tmp_path / "a", *FOUR)) as kept:
        (tmp_path / "a").write_text("<html>\n")
        with pytest.raises(ListError, match="a page of HTML"):
            await kept.read_now("a", accept=True)
        assert len(backend.rules["list:a"]) == 4
        backend.turned.clear()
        written(tmp_path / "a", FOUR[0])
        await backend.turn()
        assert "max-shrink" in kept.warnings[0]


async def test_a_list_that_is_not_there_is_named(backend: FakeBackend, tmp_path: Path) -> None:
    async with running(backend, written(tmp_path / "a", *FOUR)) as kept:
        with pytest.raises(NotFoundError, match="no list 'b': there are a"):
            await kept.read_now("b")


async def test_a_file_whose_last_line_has_no_end_is_read_when_it_is_quiet_without_that_line(
    backend: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ages, look_at = [0.0, 0.0, 60.0], files._look_at

    def look(path: Path) -> files._Look:
        found = look_at(path)
        return found if found.whole else found._replace(age=ages.pop(0))

    async with running(backend, written(tmp_path / "a", "192.0.2.1")) as kept:
        monkeypatch.setattr(files, "_look_at", look)
        (tmp_path / "a").write_text("192.0.2.2\n192.0.2.3\n192.0.2.1")
        await backend.turn()
        assert (ages, backend.rules["list:a"]) == ([], {"192.0.2.2", "192.0.2.3"})
        assert "1 last line without an end ('192.0.2.1')" in kept.warnings[0]


@pytest.mark.parametrize(
    ("content", "whole"),
    [(b"a\n", True), (b"a\r", True), (b"a", False), (b"", True), (b"\x1f\x8bxx", True)],
)
def test_a_file_is_whole_if_its_last_line_has_an_end_or_it_is_packed(
    tmp_path: Path, content: bytes, *, whole: bool
) -> None:
    (tmp_path / "a").write_bytes(content)
    assert files._look_at(tmp_path / "a").whole is whole


async def test_what_is_known_of_a_list_outlives_the_service(
    backend: FakeBackend, tmp_path: Path
) -> None:
    one = written(tmp_path / "a", "0.0.0.0 a.example", "0.0.0.0 192.0.2.1")
    async with running(backend, one) as kept:
        (before,) = kept.views()
        assert (before.name, before.format, before.error) == ("a", "hosts", "")
        assert before.good is not None
        assert (before.good.rules, before.good.left_out) == (1, 1)
    (tmp_path / "a").unlink()
    async with running(backend, one) as kept:
        (after,) = kept.views()
        assert (after.good, after.format) == (before.good, "hosts")
        assert after.error.endswith("the rules of its last good version stay in force")


async def test_a_list_that_never_had_a_good_version_says_so(
    backend: FakeBackend, tmp_path: Path
) -> None:
    async with running(backend, ListSettings(tmp_path / "a", "list:a")) as kept:
        assert kept.warnings[0].endswith("no version of it has been used so far")
        assert kept.views()[0].good is None


async def test_denials_are_logged_once_a_list(
    backend: FakeBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    one = written(tmp_path / "a", *HEAD.splitlines(), "bad.example CNAME .")
    async with running(backend, one) as kept:
        backend.turned.clear()
        kept.reload(settings_of(one))
        await backend.turn()
    (record,) = [each for each in caplog.records if each.getMessage() == "list-denials"]
    assert "1 RPZ record for NXDOMAIN or NODATA drop" in vars(record)["xdpctl_fields"]["text"]


# --- reload -------------------------------------------------------------------------


async def test_a_reload_reads_every_list_again(backend: FakeBackend, tmp_path: Path) -> None:
    one = written(tmp_path / "a", "192.0.2.1")
    async with running(backend, one) as kept:
        backend.rules.clear()
        kept.reload(settings_of(one))
        await backend.turn()

    assert backend.rules == {"list:a": {"192.0.2.1"}}


async def test_a_reload_brings_new_lists(backend: FakeBackend, tmp_path: Path) -> None:
    async with running(backend) as kept:
        kept.reload(settings_of(written(tmp_path / "a", "192.0.2.1")))
        await backend.turn()

    assert backend.rules == {"list:a": {"192.0.2.1"}}


async def test_a_list_that_is_taken_out_loses_its_rules(
    backend: FakeBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    backend.rules["list:imported"] = {"192.0.2.9"}
    async with running(backend, written(tmp_path / "a", "192.0.2.1")) as kept:
        kept.reload(settings_of())
        await backend.turn()

    assert backend.rules == {"list:imported": {"192.0.2.9"}}
    assert caplog.records[-1].getMessage() == "list-removed"


async def test_a_list_that_was_taken_out_meanwhile_loses_its_rules_too(
    backend: FakeBackend, tmp_path: Path
) -> None:
    backend.facts[REMEMBERED] = '["list:former"]'
    backend.rules["list:former"] = {"192.0.2.9"}
    async with running(backend, written(tmp_path / "a", "192.0.2.1")):
        await backend.turn()

    assert backend.rules == {"list:a": {"192.0.2.1"}}
    assert json.loads(backend.facts[REMEMBERED]) == ["list:a"]


async def test_the_warnings_of_a_list_go_with_it(backend: FakeBackend, tmp_path: Path) -> None:
    one = ListSettings(file=tmp_path / "absent", origin="list:a")
    async with running(backend, one) as kept:
        assert kept.warnings
        kept.reload(settings_of())
        await backend.turn()

        assert kept.warnings == ()


async def test_rules_that_are_written_while_their_list_leaves_are_removed(
    backend: FakeBackend, tmp_path: Path
) -> None:
    """The keeper of zones takes newer settings over during a reading."""
    going, bulk = asyncio.Event(), backend.bulk

    async def slowly(change: Change) -> BulkResult:
        backend.turned.set()
        await going.wait()
        return await bulk(change)

    backend.bulk = slowly  # type: ignore[method-assign]
    async with running(backend, written(tmp_path / "a", "192.0.2.1")) as kept:
        await kept._origins.take_over(())
        await kept._origins.remove_leaving()
        going.set()
        async with asyncio.timeout(20):
            while backend.calls.count("flush list:a") < 2:  # noqa: ASYNC110 - a fake's list
                await asyncio.sleep(0.005)
        assert backend.rules == {}


@pytest.mark.usefixtures("quick")
async def test_rules_that_could_not_be_removed_are_tried_again(
    backend: FakeBackend, tmp_path: Path
) -> None:
    async with running(backend, written(tmp_path / "a", "192.0.2.1")) as kept:
        backend.failure = StateError("the disk is full")
        kept.reload(settings_of())
        await backend.turn()
        assert "cannot remove the rules of list:a" in kept.warnings[0]
        backend.failure = None
        await backend.turn()

        assert kept.warnings == ()
    assert backend.rules == {}


@pytest.mark.parametrize("fact", ["nonsense", "{}", "3"])
async def test_a_fact_that_cannot_be_read_is_none(
    backend: FakeBackend, tmp_path: Path, fact: str
) -> None:
    backend.facts[REMEMBERED] = fact
    async with running(backend, written(tmp_path / "a", "192.0.2.1")):
        assert backend.rules == {"list:a": {"192.0.2.1"}}


async def test_a_state_that_cannot_be_used_keeps_no_list_from_its_rules(
    backend: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: str) -> str:
        raise StateError("the disk is full")

    monkeypatch.setattr(backend, "recall", fail)
    monkeypatch.setattr(backend, "remember", fail)
    async with running(backend, written(tmp_path / "a", "192.0.2.1")):
        assert backend.rules == {"list:a": {"192.0.2.1"}}
