"""Our own tables under a filter: pinned beside the link, moved, found again, left behind."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_host import INTERFACE, USED_MAPS, FakeHost, bytecode
from tests.support.fake_store import CrashError
from xdpctl.abi import MAPS, MapName, Scope, names_of
from xdpctl.errors import KernelError, VerifierError
from xdpctl.filter.filter import Filter
from xdpctl.filter.own_pins import FreshPins, detach_interface
from xdpctl.filter.rollout import Rollout
from xdpctl.kernel.bpf.pins import netns_inode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.support.fake_kernel import FakeLink
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bytecode import Bytecode

TABLES = names_of(Scope.TABLES)
WITH_TABLES = bytecode(*USED_MAPS, *TABLES)
WITHOUT = bytecode()
PINS = {f"{netns_inode()}-{INTERFACE}:{name}" for name in TABLES}


class Site:
    """A host with rule maps, and generations of tables."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.shared = host.rule_maps()

    def filter(self, interface: str = INTERFACE) -> Filter:
        """Return a filter of one service's life."""
        return Filter(self.host.bpf, self.host.netlink, interface, directory=self.host.own)

    def tables(self) -> dict[MapName, Map]:
        """Return another generation."""
        return {name: self.host.bpf.create_map(MAPS[name], 1) for name in TABLES}

    def attach(
        self, one: Filter, tables: Mapping[MapName, Map], code: Bytecode = WITH_TABLES
    ) -> None:
        """Put a program on, over these tables."""
        one.attach(code, {**self.shared, **tables}, panic=False)

    def pinned(self) -> set[str]:
        """Return the names of the pins of tables."""
        return {name for name in self.host.pinned()["xdpctl"] if name in PINS}

    def ids(self, interface: str = INTERFACE) -> set[int]:
        """Return the ids of the maps that the attached program reads."""
        attached = self.host.kernel.attached(interface)
        assert attached is not None
        return set(self.host.kernel.programs[attached.program_id].info.map_ids)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    return Site(FakeHost(monkeypatch, tmp_path))


@pytest.fixture
def running(site: Site) -> Iterator[Filter]:
    with site.filter() as one:
        site.attach(one, {}, WITHOUT)
        yield one


def ids_of(tables: Mapping[MapName, Map]) -> set[int]:
    """Return the ids of these maps."""
    return {opened.info.id for opened in tables.values()}


def former(site: Site) -> set[int]:
    """Return the ids of the tables that the next service finds."""
    with site.filter() as one, one.former_tables() as found:
        return ids_of(found)


def test_without_tables_none_are_pinned_nor_found(site: Site, running: Filter) -> None:
    assert running.is_on
    assert (site.pinned(), former(site)) == (set(), set())


def test_the_tables_of_the_program_are_pinned_beside_its_link(site: Site, running: Filter) -> None:
    tables = site.tables()
    site.attach(running, tables)
    assert site.pinned() == PINS
    assert ids_of(tables) <= site.ids()
    assert former(site) == ids_of(tables)


def test_another_generation_takes_the_place_of_the_first(site: Site, running: Filter) -> None:
    first, second = site.tables(), site.tables()
    site.attach(running, first)
    site.attach(running, second)
    assert site.pinned() == PINS
    assert former(site) == ids_of(second)
    assert not ids_of(first) & site.ids()


def test_a_program_without_tables_leaves_no_pin_of_them(site: Site, running: Filter) -> None:
    site.attach(running, site.tables())
    site.attach(running, {}, WITHOUT)
    assert (site.pinned(), former(site)) == (set(), set())


def test_a_pin_that_cannot_be_removed_is_left_and_not_believed(
    site: Site, running: Filter, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.attach(running, site.tables())
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", _refuse)
        with contextlib.suppress(KernelError):
            running._pins.remove_others([])
    site.attach(running, {}, WITHOUT)
    assert former(site) == set()


def _refuse(*_: object, **__: object) -> None:
    raise PermissionError(errno.EPERM, "no")


def test_a_detached_filter_leaves_no_pin_of_its_tables(site: Site, running: Filter) -> None:
    site.attach(running, site.tables())
    assert running.detach()
    assert site.host.pinned()["xdpctl"] == set()


def test_the_verb_detach_takes_the_tables_too(site: Site, running: Filter) -> None:
    site.attach(running, site.tables())
    assert detach_interface(site.host.bpf, site.host.netlink, INTERFACE, site.host.own)
    assert site.host.pinned().get("xdpctl", set()) == set()


def test_pins_of_tables_that_vanish_are_made_again_with_the_others(
    site: Site, running: Filter
) -> None:
    tables = site.tables()
    site.attach(running, tables)
    (site.host.own / next(iter(PINS))).unlink()
    running.watch(panic=False)
    assert site.pinned() == PINS
    assert former(site) == ids_of(tables)


@pytest.mark.parametrize("missing", TABLES)
def test_tables_of_which_one_pin_is_another_map_are_not_found(
    site: Site, running: Filter, missing: MapName
) -> None:
    site.attach(running, site.tables())
    path = running.pin_of(missing)
    path.unlink()
    site.host.bpf.create_map(MAPS[missing], 1).pin(path)
    assert former(site) == set()


@pytest.mark.parametrize("step", ["link.update", "commit", "half a commit"])
def test_a_service_that_is_killed_in_an_exchange_leaves_what_the_next_one_finds(
    site: Site, running: Filter, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Killed before the program is exchanged, before the pins have their names, in between."""
    first, second = site.tables(), site.tables()
    site.attach(running, first)
    with monkeypatch.context() as patch:
        if step == "link.update":
            patch.setattr("tests.support.fake_kernel.FakeLink.update", _crash)
        elif step == "commit":
            patch.setattr(FreshPins, "commit", _crash)
        else:
            patch.setattr(FreshPins, "commit", _half)
        patch.setattr(FreshPins, "discard", lambda _pins: None)
        with pytest.raises(CrashError):
            site.attach(running, second)
    expected = first if step == "link.update" else second
    assert ids_of(expected) <= site.ids()
    assert former(site) == ids_of(expected)
    with site.filter() as following, following.former_tables() as found:
        site.attach(following, found)
        assert ids_of(expected) <= site.ids()
        assert former(site) == ids_of(expected)
        assert not [name for name in site.host.pinned()["xdpctl"] if name.endswith(":new")]
        pinned = {name: site.host.bpf.open_map(following.pin_of(name)) for name in TABLES}
        assert ids_of(pinned) == ids_of(expected)
        following.detach()
    assert site.host.pinned()["xdpctl"] == set()


def test_what_a_service_killed_with_its_first_tables_left_is_removed_by_the_next(
    site: Site, running: Filter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("tests.support.fake_kernel.FakeLink.update", _crash)
        patch.setattr(FreshPins, "discard", lambda _pins: None)
        with pytest.raises(CrashError):
            site.attach(running, site.tables())
    with site.filter() as following:
        assert former(site) == set()
        site.attach(following, {}, WITHOUT)
        assert site.host.pinned()["xdpctl"] == {
            f"{netns_inode()}-{INTERFACE}{end}" for end in ("", ":program", ":counters", ":control")
        }


def _crash(*_: object, **__: object) -> None:
    raise CrashError


def _half(pins: FreshPins) -> None:
    """Give every other pin its name, and end."""
    for fresh, path in list(pins._staged.items())[::2]:
        fresh.rename(path)
    raise CrashError


def test_looking_for_tables_leaves_no_descriptor(site: Site, running: Filter) -> None:
    site.attach(running, site.tables())
    before = len(site.host.kernel.open)
    former(site)
    assert len(site.host.kernel.open) == before


# --- on several interfaces ---------------------------------------------------------------------


@pytest.fixture
def two(site: Site) -> Iterator[list[Filter]]:
    site.host.kernel.add_interface("eth1")
    with site.filter() as one, site.filter("eth1") as other:
        yield [one, other]


def rollout(site: Site) -> Rollout:
    """Return a rollout that compiles nothing."""
    return Rollout(site.host.bpf, None, None)  # type: ignore[arg-type]


def test_where_the_second_interface_refuses_the_first_has_its_former_tables_again(
    site: Site, two: list[Filter], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = site.tables(), site.tables()
    roll = rollout(site)
    roll.install(WITH_TABLES, two, lambda _name: {**site.shared, **first}, panic=False)
    update = site.host.bpf.load_program
    loads: list[str] = []

    def refusing(instructions: bytes, name: str, *kind: object) -> object:
        loads.append(name)
        if len(loads) == 2:
            raise VerifierError("cannot load program xdpctl: no", log="")
        return update(instructions, name, *kind)  # type: ignore[arg-type]

    monkeypatch.setattr(site.host.bpf, "load_program", refusing)
    with pytest.raises(VerifierError):
        roll.exchange(WITH_TABLES, two, lambda _name: {**site.shared, **second}, panic=False)
    for interface in (INTERFACE, "eth1"):
        assert ids_of(first) <= site.ids(interface)
    assert former(site) == ids_of(first)


def test_where_the_second_interface_refuses_the_first_tables_the_first_has_none_again(
    site: Site, two: list[Filter], monkeypatch: pytest.MonkeyPatch
) -> None:
    roll, tables = rollout(site), site.tables()
    roll.install(WITHOUT, two, lambda _name: site.shared, panic=False)
    links: list[FakeLink] = []

    def refusing(link: FakeLink, *arguments: object) -> None:
        links.append(link)
        if len(links) == 2:
            raise KernelError("cannot replace the program", errno.EBUSY)
        type(link).__mro__[0].update_as_before(link, *arguments)  # type: ignore[attr-defined]

    from tests.support import fake_kernel  # noqa: PLC0415

    monkeypatch.setattr(
        fake_kernel.FakeLink, "update_as_before", fake_kernel.FakeLink.update, raising=False
    )
    monkeypatch.setattr(fake_kernel.FakeLink, "update", refusing)
    with pytest.raises(KernelError):
        roll.exchange(WITH_TABLES, two, lambda _name: {**site.shared, **tables}, panic=False)
    assert site.pinned() == set()
    assert roll.bytecode is WITHOUT
    assert not ids_of(tables) & (site.ids() | site.ids("eth1"))
