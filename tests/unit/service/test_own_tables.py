"""Our own tables in a running service: made, grown, taken over, ended; and what may go wrong."""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_host import INTERFACE
from tests.support.whole_service import PATIENCE, Home
from xdpctl.abi import TABLES, MapName, Scope, names_of
from xdpctl.errors import CompilerError, KernelError
from xdpctl.kernel.bpf.pins import netns_inode
from xdpctl.service import own_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.fake_tables import FakeGeneration

NOTHING = {"attached": [], "descriptors": 0, "own pins": set(), "control socket": False}
KEEP = ("--on-exit", "keep")
TWO = ("--interface", "eth0", "--interface", "eth1")
ZONE = ".evil.example"


@pytest.fixture
async def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    home = Home(monkeypatch, tmp_path)
    home.kernel.add_interface("eth1")
    monkeypatch.setattr(own_tables, "CARE_SECONDS", 0.01)
    monkeypatch.setattr(own_tables, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(own_tables, "PACKETS_SECONDS", 0.0)
    return home


@pytest.fixture(autouse=True)
def _closing(home: Home) -> Iterator[None]:
    yield
    home.close()


def table_pins(interface: str = INTERFACE) -> set[str]:
    """Return the names of the pins of our own tables beside a link."""
    return {f"{netns_inode()}-{interface}:{name}" for name in names_of(Scope.TABLES)}


def pinned(home: Home) -> set[str]:
    """Return the pins of our own tables that there are."""
    return {
        name for name in home.host.pinned()["xdpctl"] if name.rpartition(":")[2] in {*_TABLE_MAPS}
    }


_TABLE_MAPS = {str(name) for name in names_of(Scope.TABLES)}


async def block(home: Home, *targets: str, **fields: object) -> int:
    """Block targets; return the status."""
    rules = [{"target": target, **fields} for target in targets]
    return (await home.ask("POST", "/api/v1/rules", json=rules)).status


async def shown(home: Home) -> dict[str, int]:
    """Return the rules that `list` shows, and their hits."""
    found = (await home.ask("GET", "/api/v1/rules?limit=1000")).body
    return {rule["target"]: rule["hits"] for rule in found["rules"]}


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - a fake kernel has no event
            await asyncio.sleep(0.01)


def newest(home: Home) -> FakeGeneration:
    """Return the generation that was made last."""
    return home.generations.made[-1]


# --- the first rule ------------------------------------------------------------------------


async def test_without_a_zone_or_a_lists_rule_nothing_is_made_compiled_or_pinned(
    home: Home,
) -> None:
    async with home.running():
        assert await block(home, "192.0.2.1", "www.example") == 200
        assert (home.generations.made, home.generations.prepared) == ([], 0)
        assert pinned(home) == set()
        assert [config.tables for config in home.compiled] == [False]


async def test_the_answer_to_the_first_zone_comes_when_the_program_reads_it(home: Home) -> None:
    async with home.running(*TWO):
        assert await block(home, ZONE) == 200
        for interface in ("eth0", "eth1"):
            assert home.reads_tables(interface)
            assert home.mark(interface) == 1
        assert pinned(home) == table_pins("eth0") | table_pins("eth1")
        assert await shown(home) == {ZONE: 0}
    assert home.traces() == NOTHING


async def test_other_rules_are_written_while_the_first_zone_waits_for_its_program(
    home: Home,
) -> None:
    async with home.running():
        home.slow.clear()
        home.compiling.clear()
        waiting = asyncio.create_task(block(home, ZONE))
        await home.compiling.wait()
        assert await block(home, "192.0.2.1") == 200
        assert await shown(home) == {"192.0.2.1": 0}
        assert not waiting.done()
        home.slow.set()
        assert await waiting == 200
        assert await shown(home) == {"192.0.2.1": 0, ZONE: 0}


async def test_two_first_zones_at_once_make_one_generation(home: Home) -> None:
    async with home.running():
        done = await asyncio.gather(block(home, ZONE), block(home, ".other.example"))
        assert list(done) == [200, 200]
        assert len(home.generations.made) == 1
        assert set(await shown(home)) == {ZONE, ".other.example"}


async def test_an_imported_list_is_in_the_tables_with_its_first_answer(home: Home) -> None:
    async with home.running():
        reply = await home.ask(
            "PUT", "/api/v1/rules?origin=list:feed", json=[{"target": "192.0.2.1"}]
        )
        assert reply.status == 200
        assert home.reads_tables()
        assert newest(home).count(MapName.LIST_SOURCES) == 1


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("prepare", CompilerError("cannot compile the filter: no BCC")),
        ("make", KernelError("cannot create map name-table", errno.ENOMEM)),
        ("load_program", KernelError("cannot load program xdpctl", errno.ENOMEM)),
        ("compile", CompilerError("cannot compile the filter: out of memory")),
        ("link.update", KernelError("cannot replace the program", errno.EBUSY)),
        ("map.pin", KernelError("cannot pin", errno.ENOSPC)),
    ],
)
async def test_where_anything_refuses_the_first_zone_all_is_as_it_was_and_a_sentence_says_so(
    home: Home, step: str, error: Exception
) -> None:
    async with home.running(*TWO):
        before = home.kernel.attached("eth0"), home.kernel.attached("eth1")
        pins = home.host.pinned()
        descriptors = len(home.kernel.open)
        if step in {"prepare", "make"}:
            home.generations.failure[step] = error
        elif step == "compile":
            home.compiler = error
        else:
            home.kernel.faults.set(step, error)
        reply = await home.ask("POST", "/api/v1/rules", json=[{"target": ZONE}])
        assert reply.status >= 500
        assert str(error).partition(":")[0] in reply.body["detail"]
        home.compiler = None
        assert await shown(home) == {}
        assert home.host.pinned() == pins
        await until(lambda: len(home.kernel.open) <= descriptors)  # a look may be under way
        if step not in {"link.update", "map.pin"}:
            assert (home.kernel.attached("eth0"), home.kernel.attached("eth1")) == before
        assert (home.mark("eth0"), home.reads_tables("eth0")) == (1, False)
        assert await block(home, ZONE) == 200
        assert home.reads_tables("eth1")
    assert home.traces() == NOTHING


async def test_what_the_second_interface_refuses_is_taken_back_from_the_first(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with home.running(*TWO):
        from xdpctl.filter.filter import Filter  # noqa: PLC0415

        swap = Filter.swap

        def refusing(one: Filter, *arguments: object, **options: object) -> None:
            if one.interface == "eth1":
                raise KernelError("cannot replace the program of eth1", errno.EBUSY)
            swap(one, *arguments, **options)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(Filter, "swap", refusing)
            assert await block(home, ZONE) >= 500
        assert not home.reads_tables("eth0")
        assert pinned(home) == set()


# --- growing -------------------------------------------------------------------------------


async def fill(home: Home, count: int) -> list[str]:
    """Block so many zones one by one."""
    zones = [f".zone{number}.example" for number in range(count)]
    for zone in zones:
        assert await block(home, zone) == 200
    return zones


async def test_tables_that_are_full_grow_and_hits_and_rules_are_kept(home: Home) -> None:
    async with home.running():
        zones = await fill(home, 4)
        first = newest(home)
        for place in list(first.entries):
            first.hit(*place, 7)
        zones += [f".more{number}.example" for number in range(20)]
        assert await block(home, *zones) == 200
        assert home.reads_tables()
        assert newest(home) is not first
        assert pinned(home) == table_pins()
        found = await shown(home)
        assert set(found) == set(zones)
        await until(lambda: sum(hits for hits, _ in newest(home).entries.values()) == 28)
        assert sorted((await shown(home)).values())[-4:] == [7] * 4
        await until(lambda: first.closed)
    assert home.traces() == NOTHING


async def test_tables_grow_by_themselves_before_they_are_full(home: Home) -> None:
    home.generations.least = 20
    async with home.running():
        await fill(home, 19)
        await until(lambda: len(home.generations.made) > 1 and home.reads_tables())
        await until(lambda: home.generations.made[0].closed)
        assert len(await shown(home)) == 19


async def test_tables_from_which_much_was_removed_are_made_anew_at_their_size(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("xdpctl.service.own_tables.WORN", 30)
    home.generations.least = 40
    async with home.running():
        kept = await fill(home, 3)
        first = newest(home)
        for place in list(first.entries):
            first.hit(*place, 7)
        for _ in range(3):
            assert newest(home) is first
            gone = [f".zone{number}.invalid" for number in range(10)]
            assert await block(home, *gone) == 200
            targets = "&".join(f"target={zone}" for zone in gone)
            assert (await home.ask("DELETE", f"/api/v1/rules?{targets}")).status == 200
        await until(lambda: "tables-renewed" in caplog.messages)
        assert first.closed
        assert home.reads_tables()
        assert await shown(home) == dict.fromkeys(kept, 7)
        assert (newest(home).size, newest(home).removed(MapName.ZONES)) == (first.size, 0)


async def test_rules_written_while_the_tables_grow_are_in_the_grown_ones(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.generations.least = 20
    async with home.running():
        await fill(home, 10)
        home.slow.clear()
        prepare, waiting = home.generations.prepare, asyncio.Event()

        async def slowly() -> None:
            await prepare()
            waiting.set()
            await home.slow.wait()

        monkeypatch.setattr(home.generations, "prepare", slowly)
        many = [f".many{number}.example" for number in range(40)]
        growing = asyncio.create_task(block(home, *many))
        await waiting.wait()
        assert await block(home, ".while.example") == 200
        assert (await home.ask("DELETE", "/api/v1/rules?target=.zone3.example")).status == 200
        home.slow.set()
        assert await growing == 200
        found = set(await shown(home))
        assert ".while.example" in found
        assert ".zone3.example" not in found
        assert len(found) == 10 + 40
        assert len(newest(home).entries) == len(found)


async def test_growth_that_is_refused_leaves_the_former_tables_in_force(home: Home) -> None:
    async with home.running():
        zones = await fill(home, 4)
        first = newest(home)
        home.generations.failure["make"] = KernelError("cannot create map", errno.ENOMEM)
        reply = await home.ask(
            "POST", "/api/v1/rules", json=[{"target": f".m{n}.example"} for n in range(20)]
        )
        assert reply.status >= 500
        assert "cannot create map" in reply.body["detail"]
        assert home.reads_tables()
        assert newest(home) is first
        assert not first.closed
        assert set(await shown(home)) == set(zones)


async def test_a_stop_while_a_list_waits_for_room_ends_at_once(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async with home.running() as service:
        home.slow.clear()
        home.compiling.clear()
        putting = asyncio.create_task(
            home.ask("PUT", "/api/v1/rules?origin=list:feed", json=[{"target": "192.0.2.1"}])
        )
        await home.compiling.wait()
        service._stop.set()
        await asyncio.wait({putting})
        putting.exception()
    home.slow.set()
    assert home.traces() == NOTHING
    assert not [record for record in caplog.records if record.exc_info]


# --- a start -------------------------------------------------------------------------------


async def test_the_next_service_compiles_for_tables_at_once_and_takes_them_over(
    home: Home,
) -> None:
    async with home.running(*KEEP):
        await fill(home, 3)
        newest(home).hit(*next(iter(newest(home).entries)), 5)
    home.compiled.clear()
    async with home.running(*KEEP):
        assert [config.tables for config in home.compiled] == [True]
        assert len(home.generations.made) == 1
        assert home.reads_tables()
        assert sorted((await shown(home)).values()) == [0, 0, 5]
        assert await block(home, ".more.example") == 200
        assert len(newest(home).entries) == 4


async def test_after_a_reboot_new_tables_are_filled_before_they_are_attached(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with home.running():  # detached at its end: the maps are gone, the state is there
        zones = await fill(home, 3)
    attached: list[int] = []
    create = home.host.bpf.create_link

    def watched(*arguments: object, **options: object) -> object:
        attached.append(len(newest(home).entries))
        return create(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(home.host.bpf, "create_link", watched)
    async with home.running():
        assert (len(home.generations.made), attached) == (2, [3])
        assert set(await shown(home)) == set(zones)


async def test_where_the_state_is_lost_the_tables_go_and_one_line_says_so(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async with home.running(*KEEP):
        await fill(home, 3)
        assert pinned(home) == table_pins()
    for file in (home.directory / "state").glob("state.db*"):
        file.unlink()
    caplog.set_level(logging.INFO)
    async with home.running(*KEEP):
        assert await shown(home) == {}
        assert pinned(home) == set()
        assert [record.getMessage() for record in caplog.records].count("tables-left") == 1


async def test_tables_of_another_state_file_are_not_believed(home: Home) -> None:
    async with home.running(*KEEP):
        await fill(home, 3)
    other = ("--state", str(home.directory / "other" / "state.db"))
    async with home.running(*other):
        assert await block(home, ".mine.example") == 200
    async with home.running(*KEEP):
        assert len(home.generations.made) == 3
        assert len(await shown(home)) == 3
        assert len(newest(home).entries) == 3


async def test_tables_with_entries_that_the_state_file_does_not_know_are_made_again(
    home: Home,
) -> None:
    async with home.running(*KEEP):
        await fill(home, 3)
        newest(home).put(MapName.ZONES, [b"\x01\xff\xff\x07unknown"], [1])
    async with home.running(*KEEP):
        assert len(home.generations.made) == 2
        assert home.reads_tables()
        assert len(newest(home).entries) == 3


async def test_a_start_whose_tables_cannot_be_made_goes_on_filtering_as_before(
    home: Home,
) -> None:
    async with home.running(*KEEP):
        await fill(home, 3)
    before = home.kernel.attached(INTERFACE)
    home.generations.failure["adopt"] = KernelError("cannot load program", errno.EPERM)
    with pytest.raises(KernelError, match="cannot load program"):
        await home.service(*KEEP).run()
    assert home.kernel.attached(INTERFACE) == before
    async with home.running(*KEEP):
        assert len(await shown(home)) == 3


async def test_a_start_whose_tables_cannot_be_filled_goes_on_filtering_as_before(
    home: Home,
) -> None:
    """As where the kernel does not let us run the program that writes to them."""
    async with home.running():
        await fill(home, 3)
    home.generations.failure["put"] = KernelError("cannot test program", errno.EPERM)
    with pytest.raises(KernelError, match="cannot test program"):
        await home.service().run()
    assert home.traces() == NOTHING
    async with home.running():
        assert len(await shown(home)) == 3


async def test_without_a_table_program_the_former_service_is_held_and_then_replaced(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xdpctl.service.current_program.RETRY_SECONDS", 0.05)
    async with home.running(*KEEP):
        await fill(home, 3)
    home.generations.failure["prepare"] = CompilerError("cannot compile the filter: no BCC")
    async with home.running(*KEEP):
        found = await home.until("/api/v1/status", ready=True)
        assert found["reasons"] == []
        assert home.reads_tables()
        assert len(await shown(home)) == 3


# --- what goes on --------------------------------------------------------------------------


async def test_pins_of_the_tables_that_are_removed_by_hand_are_made_again(home: Home) -> None:
    async with home.running():
        await fill(home, 1)
        for name in table_pins():
            (home.host.own / name).unlink()
        await until(lambda: pinned(home) == table_pins())


async def test_an_interface_that_comes_later_gets_a_program_that_reads_the_tables(
    home: Home,
) -> None:
    home.kernel.remove_interface("eth1")
    service = home.service(*TWO, "--wait")
    task = asyncio.create_task(service.run())
    await until(home.control.exists)
    await home.until("/api/v1/status", ready=False)
    assert await block(home, ZONE) == 200
    home.kernel.add_interface("eth1")
    await home.until("/api/v1/status", ready=True)
    assert home.reads_tables("eth1")
    service._stop.set()
    assert await task == 0


async def test_a_reload_keeps_the_tables(home: Home) -> None:
    async with home.running() as service:
        await fill(home, 2)
        home.options = ("--port", "53", "--port", "5353")
        service._reload.set()
        await home.told("RELOADING=1")
        await home.told("READY=1")
        assert (home.mark(), home.reads_tables()) == (2, True)
        assert [config.tables for config in home.compiled] == [False, True, True]
        assert await block(home, ".more.example") == 200


async def test_tables_without_a_rule_go_after_a_while_and_come_back_with_the_next(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_tables, "EMPTY_SECONDS", 0.05)
    async with home.running():
        await fill(home, 2)
        assert (await home.ask("DELETE", "/api/v1/rules?origin=api")).status == 200
        await until(lambda: not home.reads_tables() and newest(home).closed)
        assert pinned(home) == set()
        assert await block(home, ZONE) == 200
        assert home.reads_tables()
        assert set(await shown(home)) == {ZONE}


async def test_tables_from_which_all_was_removed_end_and_are_not_made_anew_before(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_tables, "CARE_SECONDS", 0.02)
    monkeypatch.setattr(own_tables, "EMPTY_SECONDS", 0.5)
    monkeypatch.setattr(own_tables, "WORN", 3)
    async with home.running():
        await fill(home, 5)
        assert (await home.ask("DELETE", "/api/v1/rules?origin=api")).status == 200
        await until(lambda: not home.reads_tables())
        assert [made.gone.total() for made in home.generations.made] == [5]


async def test_the_entries_of_each_table_are_counted(home: Home) -> None:
    async with home.running():
        await fill(home, 2)
        await home.ask(
            "PUT",
            "/api/v1/rules?origin=list:feed",
            json=[{"target": "192.0.2.1"}, {"target": "www.example"}, {"target": ".x.example"}],
        )
        maps = {one["name"]: one for one in (await home.ask("GET", "/api/v1/status")).body["maps"]}
        assert {name: maps[name]["entries"] for name in TABLES} == {
            MapName.ZONES: 2,
            MapName.LIST_SOURCES: 1,
            MapName.LIST_NAMES: 2,
        }
        metrics = (await home.ask("GET", "/metrics")).body
        assert 'xdpctl_map_entries{map="list-names"} 2.0' in metrics
