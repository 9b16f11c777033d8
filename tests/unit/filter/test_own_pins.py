"""Which pins are ours, which program may be adopted, and who may serve an interface."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.descriptors import none_left_open
from tests.support.fake_host import INTERFACE, FakeHost
from tests.support.kernel_contract import PASS_PROGRAM
from xdpctl.abi import MAPS, MapName
from xdpctl.errors import InterfaceError, KernelError, PinError
from xdpctl.filter import own_pins
from xdpctl.filter.lock import InterfaceLock
from xdpctl.filter.own_pins import OwnPins, detach_interface, remove_left
from xdpctl.kernel.bpf.pins import netns_inode
from xdpctl.kernel.bpf.programs import XdpMode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fake_kernel import FakeLink

NAMESPACE = netns_inode()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHost:
    return FakeHost(monkeypatch, tmp_path)


@pytest.fixture
def pins(host: FakeHost) -> OwnPins:
    return OwnPins(host.own, INTERFACE)


@pytest.fixture
def link(host: FakeHost) -> Iterator[FakeLink]:
    """A link of ours on the interface, not pinned."""
    with (
        host.bpf.load_program(PASS_PROGRAM, "xdpctl") as program,
        host.bpf.create_link(program, host.device.index, mode=XdpMode.NATIVE) as made,
    ):
        yield made


def pin(host: FakeHost, link: FakeLink, name: str = f"{NAMESPACE}-{INTERFACE}") -> Path:
    """Pin a link by hand."""
    host.own.mkdir(exist_ok=True)
    link.pin(host.own / name)
    return host.own / name


def left(host: FakeHost) -> set[str]:
    """Return the names in our directory; none where it is gone."""
    return host.pinned().get("xdpctl", set())


def found(host: FakeHost, pins: OwnPins) -> int | None:
    """Return the program id of the link that is found to be ours."""
    interface = next(i for i in host.netlink.interfaces() if i.index == host.device.index)
    link = pins.find_link(host.bpf, interface)
    if link is None:
        return None
    with link:
        return link.info().program_id


# --- finding -----------------------------------------------------------------------------


def test_a_pinned_link_on_the_interface_is_ours(
    host: FakeHost, pins: OwnPins, link: FakeLink
) -> None:
    pin(host, link)
    assert found(host, pins) == link.info().program_id


def test_an_interface_without_program_has_no_link_of_ours(host: FakeHost, pins: OwnPins) -> None:
    assert found(host, pins) is None


@pytest.mark.usefixtures("link")
def test_a_program_without_any_pin_of_ours_is_not_ours(host: FakeHost, pins: OwnPins) -> None:
    assert found(host, pins) is None


def test_a_link_whose_program_is_not_the_attached_one_is_not_ours(
    host: FakeHost, pins: OwnPins, link: FakeLink
) -> None:
    pin(host, link)
    link.detach()
    with host.bpf.load_program(PASS_PROGRAM, "foreign") as foreign:
        host.netlink.attach_program(host.device.index, XdpMode.NATIVE, foreign)
    assert found(host, pins) is None


def test_a_link_on_another_interface_that_had_this_name_is_not_ours(
    host: FakeHost, pins: OwnPins, link: FakeLink
) -> None:
    pin(host, link)
    host.device.name = "eth7"
    host.device = host.kernel.add_interface(INTERFACE)
    with host.bpf.load_program(PASS_PROGRAM, "foreign") as foreign:
        host.netlink.attach_program(host.device.index, XdpMode.NATIVE, foreign)
        assert found(host, pins) is None


def test_the_pin_of_a_renamed_interface_is_found_and_gets_the_new_name(
    host: FakeHost, link: FakeLink
) -> None:
    pin(host, link)
    for name in (MapName.COUNTERS, MapName.CONTROL):
        with host.bpf.create_map(MAPS[name], 1) as own:
            own.pin(OwnPins(host.own, INTERFACE).path(name))
    host.device.name = "dns0"
    assert found(host, OwnPins(host.own, "dns0")) is not None
    assert host.pinned()["xdpctl"] == {
        f"{NAMESPACE}-dns0",
        f"{NAMESPACE}-dns0:counters",
        f"{NAMESPACE}-dns0:control",
    }


def test_a_link_of_another_network_namespace_is_not_looked_at(
    host: FakeHost, pins: OwnPins, link: FakeLink
) -> None:
    pin(host, link, f"{NAMESPACE + 1}-{INTERFACE}")
    assert found(host, pins) is None


def test_a_link_that_a_dead_service_was_just_pinning_is_ours(
    host: FakeHost, pins: OwnPins, link: FakeLink
) -> None:
    pin(host, link, f"{NAMESPACE}-{INTERFACE}:new")
    assert found(host, pins) == link.info().program_id
    assert host.pinned()["xdpctl"] == {f"{NAMESPACE}-{INTERFACE}"}


def test_pins_of_other_kinds_among_ours_are_passed_over(
    host: FakeHost, pins: OwnPins, link: FakeLink
) -> None:
    pin(host, link, f"{NAMESPACE}-zz0")
    with host.bpf.create_map(MAPS[MapName.CONTROL], 1) as other:
        other.pin(host.own / f"{NAMESPACE}-{INTERFACE}")
        other.pin(host.own / f"{NAMESPACE}-{INTERFACE}:counters:new")
    (host.own / f"{NAMESPACE}-{INTERFACE}:lock").mkdir()
    assert found(host, pins) == link.info().program_id


def test_looking_for_our_link_leaves_no_descriptor(
    host: FakeHost, pins: OwnPins, link: FakeLink
) -> None:
    pin(host, link)
    before = set(host.kernel.open)
    host.device.index += 1  # another interface: ours is looked at and not taken
    found(host, pins)
    assert set(host.kernel.open) == before


@pytest.mark.parametrize("call", ["open_link", "link.info"])
def test_an_error_while_looking_leaves_no_descriptor(
    host: FakeHost, pins: OwnPins, link: FakeLink, call: str
) -> None:
    pin(host, link)
    before = set(host.kernel.open)
    host.kernel.faults.set(call, errno.EMFILE)
    try:
        assert found(host, pins) is None
    except KernelError:
        assert call == "link.info"
    assert set(host.kernel.open) == before


def test_a_rename_that_is_refused_is_one_sentence(
    host: FakeHost, link: FakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(host, link)
    host.device.name = "dns0"
    refuse(monkeypatch, "rename")
    with pytest.raises(PinError, match=r"cannot use our own pin .*dns0: Operation not permitted"):
        found(host, OwnPins(host.own, "dns0"))


# --- pinning -----------------------------------------------------------------------------


def test_a_dot_in_an_interfaces_name_is_a_colon_in_its_pin(host: FakeHost) -> None:
    assert OwnPins(host.own, "eth0.100").link_path.name == f"{NAMESPACE}-eth0:100"


def test_what_was_committed_has_its_name(host: FakeHost, pins: OwnPins, link: FakeLink) -> None:
    with pins.staging() as staging:
        staging.add(link, pins.link_path)
        staging.commit()
    assert host.pinned()["xdpctl"] == {pins.link_path.name}


def test_what_was_not_committed_is_gone(host: FakeHost, pins: OwnPins, link: FakeLink) -> None:
    with pins.staging() as staging:
        staging.add(link, pins.link_path)
    assert host.pinned()["xdpctl"] == set()


def test_what_a_dead_service_left_half_done_is_no_obstacle(
    host: FakeHost, pins: OwnPins, link: FakeLink
) -> None:
    host.own.mkdir()
    (host.own / f"{pins.link_path.name}:new").write_text("left")
    with pins.staging() as staging:
        staging.add(link, pins.link_path)
        staging.commit()
    assert host.pinned()["xdpctl"] == {pins.link_path.name}


def test_a_commit_that_fails_half_way_leaves_what_was_before(
    host: FakeHost, pins: OwnPins, link: FakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    with host.bpf.create_map(MAPS[MapName.COUNTERS], 1) as counters, pins.staging() as staging:
        staging.add(counters, pins.path(MapName.COUNTERS))
        staging.add(link, pins.link_path)
        refuse(monkeypatch, "rename", unless="counters")
        with pytest.raises(PinError):
            staging.commit()
    assert host.pinned()["xdpctl"] == set()


def test_a_commit_that_fails_keeps_a_former_pin(
    host: FakeHost, pins: OwnPins, link: FakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(host, link)
    with host.bpf.create_map(MAPS[MapName.COUNTERS], 1) as counters, pins.staging() as staging:
        staging.add(link, pins.link_path)
        staging.add(counters, pins.path(MapName.COUNTERS))
        refuse(monkeypatch, "rename", unless=f"{INTERFACE}:new")
        with pytest.raises(PinError):
            staging.commit()
    assert host.pinned()["xdpctl"] == {pins.link_path.name}


def test_a_stale_name_that_cannot_be_removed_is_one_sentence(
    pins: OwnPins, link: FakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "unlink")
    with pytest.raises(PinError, match="cannot use our own pin"), pins.staging() as staging:
        staging.add(link, pins.link_path)


def test_a_file_in_our_directorys_place_is_one_sentence(host: FakeHost, pins: OwnPins) -> None:
    host.own.write_text("in the way")
    with pytest.raises(PinError, match="it is a file"), pins.staging():
        pass


def test_removing_takes_our_three_pins_and_no_others(
    host: FakeHost, pins: OwnPins, link: FakeLink
) -> None:
    pin(host, link)
    for name in (MapName.COUNTERS, MapName.CONTROL):
        with host.bpf.create_map(MAPS[name], 1) as own:
            own.pin(pins.path(name))
    pin(host, link, f"{NAMESPACE}-eth1")
    pins.remove()
    assert host.pinned()["xdpctl"] == {f"{NAMESPACE}-eth1"}


def test_removing_what_is_not_there_is_harmless(host: FakeHost, pins: OwnPins) -> None:
    pins.remove()
    assert host.pinned() == {}


def test_a_removal_that_is_refused_is_one_sentence(
    pins: OwnPins, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "unlink")
    with pytest.raises(PinError, match="Operation not permitted"):
        pins.remove()


# --- detaching without a service ------------------------------------------------------------


def test_our_program_is_taken_off_without_a_service(host: FakeHost, link: FakeLink) -> None:
    pin(host, link)
    assert detach_interface(host.bpf, host.netlink, INTERFACE, host.own)
    assert (host.kernel.attached(INTERFACE), left(host)) == (None, set())


@pytest.mark.parametrize("roots", [True, False])
def test_the_directory_goes_with_its_last_entry_if_a_service_of_root_made_it(
    host: FakeHost,
    link: FakeLink,
    monkeypatch: pytest.MonkeyPatch,
    roots: bool,  # noqa: FBT001 - the case
) -> None:
    """`prepare` made it for the service's user, who could not make it again."""
    monkeypatch.setattr(own_pins, "_is_roots", lambda _directory: roots)
    pin(host, link)
    (host.own / f"{NAMESPACE}-{INTERFACE}:lock").mkdir()  # of a killed service
    (host.own / f"{NAMESPACE}-eth1:lock").mkdir()
    assert detach_interface(host.bpf, host.netlink, INTERFACE, host.own)
    assert left(host) == {f"{NAMESPACE}-eth1:lock"}
    (host.own / f"{NAMESPACE}-eth1:lock").rmdir()
    with InterfaceLock(host.own, INTERFACE):
        assert host.own.is_dir()
    assert host.own.is_dir() is not roots


def test_the_lock_of_a_running_service_stays(host: FakeHost, link: FakeLink) -> None:
    with InterfaceLock(host.own, INTERFACE):
        pin(host, link)
        assert detach_interface(host.bpf, host.netlink, INTERFACE, host.own)
        assert left(host) == {f"{NAMESPACE}-{INTERFACE}:lock"}


def test_a_directory_that_goes_while_the_lock_is_taken_is_made_again(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last service of another interface ends at the same time."""
    real, turns = Path.mkdir, iter([True])

    def late(path: Path, **options: int) -> None:
        if path.name.endswith(":lock") and next(turns, False):
            path.parent.rmdir()
        real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", late)
    with InterfaceLock(host.own, INTERFACE) as lock:
        assert lock._descriptor is not None


def test_what_stopped_services_left_is_removed_and_what_is_in_use_stays(
    host: FakeHost, link: FakeLink
) -> None:
    used = pin(host, link)
    names = ("eth1:limits", "eth1:7:limit-cells", "eth2:limits", f"{INTERFACE}:limits")
    with (
        InterfaceLock(host.own, "eth2"),
        host.bpf.create_map(MAPS[MapName.LIMITS], 1) as limits,
    ):
        for name in (*names, "eth1:control"):
            limits.pin(host.own / f"{NAMESPACE}-{name}")
        limits.pin(host.own / "1-eth1:limits")
        remove_left(host.own)
        stay = {"eth2:lock", "eth2:limits", f"{INTERFACE}:limits", "eth1:control"}
        assert left(host) == {
            used.name,
            "1-eth1:limits",
            *(f"{NAMESPACE}-{name}" for name in stay),
        }


def test_anothers_program_stays(host: FakeHost, link: FakeLink) -> None:
    assert not detach_interface(host.bpf, host.netlink, INTERFACE, host.own)
    assert host.kernel.attached(INTERFACE) is not None
    assert link.info().ifindex == host.device.index


def test_an_unknown_interface_is_said_so(host: FakeHost) -> None:
    with pytest.raises(InterfaceError):
        detach_interface(host.bpf, host.netlink, "eth9", host.own)


# --- one service for each interface -----------------------------------------------------------


def test_a_second_service_for_an_interface_is_refused(host: FakeHost) -> None:
    with (
        InterfaceLock(host.own, INTERFACE),
        pytest.raises(InterfaceError, match="another xdpctl already serves eth0"),
        InterfaceLock(host.own, INTERFACE),
    ):
        pass


def test_another_interface_may_have_a_service_of_its_own(host: FakeHost) -> None:
    with InterfaceLock(host.own, INTERFACE), InterfaceLock(host.own, "eth1"):
        assert len(host.pinned()["xdpctl"]) == 2


def test_a_lock_that_ended_leaves_nothing_and_can_be_taken_again(host: FakeHost) -> None:
    for _ in range(2):
        with InterfaceLock(host.own, INTERFACE):
            pass
    assert left(host) == set()


def test_a_refused_lock_leaves_the_other_services_in_force(host: FakeHost) -> None:
    with InterfaceLock(host.own, INTERFACE):
        for _ in range(2):
            with pytest.raises(InterfaceError), InterfaceLock(host.own, INTERFACE):
                pass


def test_what_a_killed_service_left_is_no_lock(host: FakeHost) -> None:
    host.own.mkdir()
    (host.own / f"{NAMESPACE}-{INTERFACE}:lock").mkdir()
    with InterfaceLock(host.own, INTERFACE) as lock:
        assert lock._descriptor is not None


def test_a_lock_on_a_directory_that_was_just_removed_does_not_count(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The former holder removes the directory between our opening and our locking it."""
    path = host.own / f"{NAMESPACE}-{INTERFACE}:lock"
    real, turns = fcntl.flock, iter([True, True, False])

    def late(descriptor: int, operation: int) -> None:
        if next(turns):
            path.rmdir()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with none_left_open(), InterfaceLock(host.own, INTERFACE) as lock:
        assert lock._descriptor is not None
        assert os.fstat(lock._descriptor).st_ino == path.stat().st_ino


def test_a_lock_directory_that_goes_while_it_is_opened_is_made_again(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, turns = os.open, iter([True, False])

    def late(path: Path | str, flags: int, *, dir_fd: int | None = None) -> int:
        if isinstance(path, Path) and next(turns):
            path.rmdir()
        return real(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", late)
    with InterfaceLock(host.own, INTERFACE) as lock:
        monkeypatch.undo()
        assert lock._descriptor is not None


def test_a_directory_that_cannot_be_locked_is_one_sentence(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with (
        pytest.raises(PinError, match="No locks available"),
        InterfaceLock(host.own, INTERFACE),
    ):
        pass


def test_a_file_in_the_locks_place_is_one_sentence(host: FakeHost) -> None:
    host.own.mkdir()
    (host.own / f"{NAMESPACE}-{INTERFACE}:lock").write_text("in the way")
    with pytest.raises(PinError, match="cannot use our own pin"), InterfaceLock(host.own, "eth0"):
        pass


def open_files() -> int:
    """Return how many descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def refuse(monkeypatch: pytest.MonkeyPatch, call: str, unless: str = "\0") -> None:
    """Let a method of every path fail, but of those whose name has `unless` in it."""
    real = getattr(Path, call)

    def fail(path: Path, *arguments: object, **options: object) -> object:
        if unless in path.name:
            return real(path, *arguments, **options)
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, call, fail)
