"""A filter goes on, swaps, is lost, comes back and goes off; no failure leaves a trace."""

from __future__ import annotations

import contextlib
import errno
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_host import INTERFACE, USED_MAPS, FakeHost, bytecode
from tests.support.fake_kernel import Faults
from tests.support.kernel_contract import PASS_PROGRAM
from xdpctl.abi import COUNTERS_SIZE, MAPS, MapName, PacketAction, Reason, decode_control
from xdpctl.errors import (
    ForeignProgramError,
    InterfaceError,
    KernelError,
    VerifierError,
    XdpctlError,
)
from xdpctl.filter.filter import Filter
from xdpctl.filter.native_retry import FIRST_SECONDS, LONGEST_SECONDS
from xdpctl.filter.view import FilterState, note_of_batches
from xdpctl.kernel.bpf.pins import netns_inode
from xdpctl.kernel.bpf.programs import XdpMode
from xdpctl.settings import ModeSetting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.net.interfaces import Attached

PINS = {
    f"{netns_inode()}-{INTERFACE}{suffix}" for suffix in ("", ":program", ":counters", ":control")
}
KEY = bytes(4)


class Site:
    """A host with rule maps, and filters on its interface."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.kernel = host.kernel
        self.shared = host.rule_maps()
        self.now = 0.0

    def filter(self, mode: ModeSetting = ModeSetting.AUTO, *, replace: bool = False) -> Filter:
        """Return a filter of one service's life."""
        host = self.host
        return Filter(
            host.bpf,
            host.netlink,
            INTERFACE,
            mode=mode,
            replace=replace,
            directory=host.own,
            clock=lambda: self.now,
        )

    def attach(
        self, filter_: Filter, mark: int = 0, *, panic: bool = False, maps: tuple[MapName, ...] = ()
    ) -> None:
        """Put a program on."""
        filter_.attach(bytecode(*maps, mark=mark), self.shared, panic=panic)

    def leave(self, filter_: Filter | None = None) -> None:
        """Let a former service keep its filter on the interface and end."""
        with filter_ or self.filter() as kept:
            self.attach(kept)

    def foreign(self, mode: XdpMode = XdpMode.NATIVE, *, link: bool = False) -> int:
        """Put another's program on; return its id."""
        bpf, device = self.host.bpf, self.host.device
        program = bpf.load_program(PASS_PROGRAM, "theirs")
        if link:
            bpf.create_link(program, device.index, mode=mode)
        else:
            self.host.netlink.attach_program(device.index, mode, program)
        number = program.info.id
        program.close()
        return number

    @property
    def attached(self) -> Attached | None:
        """What is on the interface."""
        return self.kernel.attached(INTERFACE)

    @property
    def pins(self) -> set[str]:
        """Our own pins."""
        return self.host.pinned().get("xdpctl", set())

    def own(self, name: MapName) -> Map:
        """Open an own map by its pin."""
        return self.host.bpf.open_map(self.host.own / f"{netns_inode()}-{INTERFACE}:{name}")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    return Site(FakeHost(monkeypatch, tmp_path))


@pytest.fixture
def running(site: Site) -> Iterator[Filter]:
    """A filter that is attached."""
    with site.filter() as filter_:
        site.attach(filter_)
        yield filter_


# --- attaching -----------------------------------------------------------------------------


def test_a_filter_is_missing_until_it_is_attached(site: Site) -> None:
    with site.filter() as filter_:
        view = filter_.view()
    assert (view.state, view.index, view.mode, view.program_id, view.counters) == (
        FilterState.MISSING,
        None,
        None,
        None,
        {},
    )


def test_an_attached_filter_says_what_is_on_the_interface(site: Site, running: Filter) -> None:
    view = running.view()
    assert site.attached is not None
    assert (view.state, view.index, view.mode, view.program_id) == (
        FilterState.ATTACHED,
        site.host.device.index,
        XdpMode.NATIVE,
        site.attached.program_id,
    )


def test_link_counters_and_control_are_pinned(site: Site, running: Filter) -> None:
    assert running.view().state is FilterState.ATTACHED
    assert site.pins == PINS


def test_the_program_uses_the_shared_maps_and_the_own_ones(site: Site, running: Filter) -> None:
    program = site.kernel.programs[running.view().program_id or 0]
    names = {site.kernel.maps[number].info.name for number in program.info.map_ids}
    assert names == {name.replace("-", "_") for name in USED_MAPS}


def test_panic_is_in_force_from_the_first_packet(site: Site) -> None:
    with site.filter() as filter_:
        site.attach(filter_, panic=True)
        with site.own(MapName.CONTROL) as control:
            assert decode_control(control.lookup(KEY) or b"")


def test_panic_can_be_set_and_ended_while_it_runs(site: Site, running: Filter) -> None:
    with site.own(MapName.CONTROL) as control:
        said = []
        for panic in (True, False):
            running.set_panic(panic=panic)
            said.append(decode_control(control.lookup(KEY) or b""))
    assert said == [True, False]


def test_panic_of_a_filter_that_is_nowhere_is_harmless(site: Site) -> None:
    with site.filter() as filter_:
        filter_.set_panic(panic=True)
        assert filter_.view().state is FilterState.MISSING


def test_counters_are_summed_over_all_cpus(site: Site, running: Filter) -> None:
    count(site, packets=3)
    found = running.view().counters[Reason.ADDR_V4, PacketAction.DROP]
    assert (found.packets, found.bytes) == (6, 360)


def test_an_interface_that_does_not_exist_is_refused(site: Site) -> None:
    site.kernel.remove_interface(INTERFACE)
    with site.filter() as filter_, pytest.raises(InterfaceError):
        site.attach(filter_)


def test_a_filter_knows_its_interfaces_queues(site: Site) -> None:
    site.host.device.rx_queues = 4
    with site.filter() as filter_:
        assert filter_.inspect().rx_queues == 4
        assert filter_.view().queues == 4


def test_inspecting_a_free_interface_changes_nothing(site: Site) -> None:
    with site.filter() as filter_:
        filter_.inspect()
    assert (site.attached, site.pins) == (None, set())


# --- taking over -----------------------------------------------------------------------------


def test_what_a_dead_service_left_is_taken_over_without_a_gap(site: Site) -> None:
    site.leave()
    site.kernel.faults.calls.clear()
    with site.filter() as filter_:
        site.attach(filter_, mark=1)
        assert filter_.view().program_id == (site.attached and site.attached.program_id)
    used = set(site.kernel.faults.calls)
    assert "link.update" in used
    assert used.isdisjoint({"create_link", "link.detach", "detach_program"})


def test_only_what_a_former_service_left_counts_as_adopted(site: Site) -> None:
    with site.filter() as first:
        site.attach(first)
        first.swap(bytecode(mark=1), site.shared, panic=False)
        assert not first.adopted
    with site.filter() as second:
        site.attach(second)
        assert second.adopted


def test_the_same_program_over_the_same_maps_is_adopted_as_it_is(site: Site) -> None:
    site.leave()
    before = site.attached
    with site.filter() as filter_:
        site.attach(filter_)
        assert (site.attached, filter_.view().state) == (before, FilterState.ATTACHED)
    assert "link.update" not in site.kernel.faults.calls


def test_the_same_program_over_another_map_takes_the_place_of_the_former(site: Site) -> None:
    """As after a pin was made again: the former program would read a map that nothing fills."""
    site.leave()
    before = site.attached
    site.shared = {**site.shared, MapName.QNAMES: site.host.rule_maps()[MapName.QNAMES]}
    with site.filter() as filter_:
        site.attach(filter_)
        assert site.attached != before


def test_a_former_program_without_its_pin_is_replaced(site: Site) -> None:
    site.leave()
    before = site.attached
    (site.host.own / f"{netns_inode()}-{INTERFACE}:program").unlink()
    with site.filter() as filter_:
        site.attach(filter_)
        assert site.attached != before
        assert site.pins == PINS


def test_what_a_former_service_attached_can_be_held_without_a_program_of_our_own(
    site: Site,
) -> None:
    site.leave()
    count(site, packets=5)
    with site.filter() as filter_:
        assert filter_.adopt()
        view = filter_.view()
        assert site.attached is not None
        assert (view.state, view.program_id) == (FilterState.ATTACHED, site.attached.program_id)
        assert view.counters[Reason.ADDR_V4, PacketAction.DROP].packets == 10
        filter_.set_panic(panic=True)
        with site.own(MapName.CONTROL) as control:
            assert decode_control(control.lookup(KEY) or b"")
        assert filter_.detach()
    assert site.pins == set()


def test_nothing_is_held_where_nothing_of_ours_is(site: Site) -> None:
    site.foreign()
    with site.filter() as filter_:
        assert not filter_.adopt()
        assert filter_.view().state is FilterState.MISSING


def test_the_next_program_takes_the_place_of_what_is_held(site: Site) -> None:
    site.leave()
    with site.filter() as filter_:
        filter_.adopt()
        filter_.swap(bytecode(mark=1), site.shared, panic=False)
        assert filter_.view().state is FilterState.ATTACHED
    assert "create_link" not in site.kernel.faults.calls[-20:]


def test_counters_go_on_where_the_program_stayed(site: Site) -> None:
    site.leave()
    count(site, packets=5)
    with site.filter() as filter_:
        site.attach(filter_, mark=1)
        assert filter_.view().counters[Reason.ADDR_V4, PacketAction.DROP].packets == 10


@pytest.mark.parametrize("spoilt", ["gone", "another layout", "a link"])
def test_counters_that_cannot_be_taken_over_begin_anew(site: Site, spoilt: str) -> None:
    site.leave()
    path = site.host.own / f"{netns_inode()}-{INTERFACE}:counters"
    path.unlink()
    if spoilt == "another layout":
        with site.host.bpf.create_map(MAPS[MapName.SCRATCH], 1) as other:
            other.pin(path)
    elif spoilt == "a link":
        with site.host.bpf.open_link(site.host.own / f"{netns_inode()}-{INTERFACE}") as link:
            link.pin(path)
    with site.filter() as filter_:
        site.attach(filter_)
        assert filter_.view().counters[Reason.ADDR_V4, PacketAction.DROP].packets == 0
        with site.own(MapName.COUNTERS) as counters:
            assert counters.info.value_size == COUNTERS_SIZE


def test_a_defunct_link_of_ours_is_replaced(site: Site) -> None:
    site.leave()
    site.kernel.remove_interface(INTERFACE)
    site.host.device = site.kernel.add_interface(INTERFACE)
    with site.filter() as filter_:
        site.attach(filter_)
        assert filter_.view().index == site.host.device.index
    assert (site.pins, site.attached is not None) == (PINS, True)


def test_a_taken_over_generic_filter_is_taken_over_without_a_gap_in_auto(site: Site) -> None:
    site.leave(site.filter(ModeSetting.GENERIC))
    with site.filter() as filter_:
        site.attach(filter_)
        assert filter_.view().mode is XdpMode.GENERIC


@pytest.mark.parametrize(
    ("former", "wanted", "mode"),
    [
        (ModeSetting.GENERIC, ModeSetting.NATIVE, XdpMode.NATIVE),
        (ModeSetting.NATIVE, ModeSetting.GENERIC, XdpMode.GENERIC),
    ],
)
def test_another_mode_is_taken_where_it_is_asked_for(
    site: Site, former: ModeSetting, wanted: ModeSetting, mode: XdpMode
) -> None:
    site.leave(site.filter(former))
    with site.filter(wanted) as filter_:
        site.attach(filter_)
        assert filter_.view().mode is mode
    assert site.attached is not None
    assert (site.attached.mode, site.pins) == (mode, PINS)


def test_a_mode_that_the_driver_refuses_leaves_the_former_filter_on(site: Site) -> None:
    site.leave(site.filter(ModeSetting.GENERIC))
    before = site.attached
    site.host.device.native = errno.EOPNOTSUPP
    with site.filter(ModeSetting.NATIVE) as filter_, pytest.raises(InterfaceError):
        site.attach(filter_)
    assert (site.attached, site.pins) == (before, PINS)
    assert before is not None


def test_a_former_filter_that_cannot_be_put_back_is_said_so(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.leave(site.filter(ModeSetting.GENERIC))
    site.host.device.native = errno.EOPNOTSUPP
    site.kernel.privileged = False
    with site.filter(ModeSetting.NATIVE) as filter_, pytest.raises(InterfaceError):
        site.attach(filter_)
    assert (site.attached, "not-put-back" in caplog.messages) == (None, True)


# --- others' programs ---------------------------------------------------------------------------


def test_a_foreign_program_is_refused_by_its_id_and_stays(site: Site) -> None:
    number = site.foreign()
    with site.filter() as filter_, pytest.raises(ForeignProgramError) as caught:
        site.attach(filter_)
    assert caught.value.program_id == number
    assert f"XDP program {number} (theirs)" in caught.value.sentence
    assert "--replace" in caught.value.sentence
    assert site.attached is not None
    assert site.attached.program_id == number


def test_a_foreign_program_is_refused_before_anything_is_loaded(site: Site) -> None:
    site.foreign()
    site.kernel.faults.calls.clear()
    with site.filter() as filter_, pytest.raises(ForeignProgramError):
        site.attach(filter_)
    assert "load_program" not in site.kernel.faults.calls


@pytest.mark.parametrize("mode", [XdpMode.NATIVE, XdpMode.GENERIC])
def test_a_foreign_program_gives_way_where_that_is_asked_for(
    site: Site, mode: XdpMode, caplog: pytest.LogCaptureFixture
) -> None:
    number = site.foreign(mode)
    with site.filter(replace=True) as filter_:
        site.attach(filter_)
        assert site.attached is not None
        assert site.attached.program_id == filter_.view().program_id != number
    assert "replaced" in caplog.messages


@pytest.mark.parametrize("replace", [True, False])
def test_a_program_that_a_foreign_link_holds_is_never_replaced(site: Site, replace: bool) -> None:  # noqa: FBT001 - a parameter of the test
    number = site.foreign(link=True)
    with (
        site.filter(replace=replace) as filter_,
        pytest.raises(ForeignProgramError, match="held by another's bpf_link"),
    ):
        site.attach(filter_)
    assert site.attached is not None
    assert site.attached.program_id == number


def test_a_foreign_program_that_cannot_be_seen_is_still_refused_by_id(site: Site) -> None:
    number = site.foreign()
    site.kernel.privileged = False
    with site.filter() as filter_, pytest.raises(ForeignProgramError, match=f"program {number},"):
        site.attach(filter_)


def test_replacing_needs_privilege_and_says_so(site: Site) -> None:
    number = site.foreign()
    site.kernel.privileged = False
    with (
        site.filter(replace=True) as filter_,
        pytest.raises(ForeignProgramError, match="needs CAP_SYS_ADMIN"),
    ):
        site.attach(filter_)
    assert site.attached is not None
    assert site.attached.program_id == number


def test_a_foreign_program_is_put_back_where_ours_does_not_go_on(site: Site) -> None:
    number = site.foreign()
    site.kernel.faults.set("create_link", errno.EOPNOTSUPP)
    site.kernel.faults.set("create_link", errno.ENOMEM)
    with site.filter(replace=True) as filter_, pytest.raises(KernelError):
        site.attach(filter_)
    assert site.attached is not None
    assert (site.attached.program_id, site.attached.mode) == (number, XdpMode.NATIVE)


def test_a_foreign_program_that_came_meanwhile_is_not_removed(site: Site) -> None:
    """Between our look and our removal another took the place of the first."""
    site.foreign()
    remove = site.host.netlink.detach_program

    def late(*arguments: object) -> None:
        site.host.device.netlink = None
        site.foreign()
        remove(*arguments)  # type: ignore[arg-type]

    setattr(site.host.netlink, "detach_program", late)  # noqa: B010 - mypy minds the assignment
    with site.filter(replace=True) as filter_, pytest.raises(KernelError) as caught:
        site.attach(filter_)
    assert caught.value.errno == errno.EEXIST
    assert site.attached is not None


# --- native and generic ------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL, errno.ERANGE])
def test_a_driver_without_native_mode_makes_auto_generic_and_warns(
    site: Site, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    site.host.device.native = number
    site.host.device.reason = "MTU is too large"
    with site.filter() as filter_:
        site.attach(filter_)
        assert filter_.view().mode is XdpMode.GENERIC
    (record,) = [r for r in caplog.records if r.getMessage() == "native-refused"]
    assert record.levelno == logging.WARNING
    assert "MTU is too large" in str(vars(record))


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EBUSY, errno.ENODEV])
def test_an_error_that_is_not_the_drivers_is_not_met_by_another_mode(
    site: Site, number: int
) -> None:
    site.kernel.faults.set("create_link", number)
    with site.filter() as filter_, pytest.raises(KernelError) as caught:
        site.attach(filter_)
    assert (caught.value.errno, site.kernel.faults.calls.count("create_link")) == (number, 1)


def test_native_is_refused_with_the_drivers_own_words(site: Site) -> None:
    site.host.device.native = errno.EOPNOTSUPP
    site.host.device.reason = "single-buffer XDP requires MTU less than 3506"
    with (
        site.filter(ModeSetting.NATIVE) as filter_,
        pytest.raises(InterfaceError, match="its driver fake says single-buffer XDP requires MTU"),
    ):
        site.attach(filter_)
    assert (site.attached, site.pins) == (None, set())


def test_a_driver_without_words_is_quoted_by_errno(site: Site) -> None:
    site.host.device.native = errno.EOPNOTSUPP
    site.host.device.driver = None
    with (
        site.filter(ModeSetting.NATIVE) as filter_,
        pytest.raises(InterfaceError, match=r"\(unknown\) says EOPNOTSUPP"),
    ):
        site.attach(filter_)


def test_words_that_cannot_be_had_do_not_keep_auto_from_generic(site: Site) -> None:
    site.host.device.native = errno.EOPNOTSUPP
    site.kernel.faults.set("refusal", errno.EBUSY)
    with site.filter() as filter_:
        site.attach(filter_)
        assert filter_.view().mode is XdpMode.GENERIC


def test_a_port_of_a_bond_that_has_a_program_is_refused_by_the_bonds_name(site: Site) -> None:
    bond = site.kernel.add_interface("bond0")
    with site.host.bpf.load_program(PASS_PROGRAM, "theirs") as theirs:
        site.host.netlink.attach_program(bond.index, XdpMode.NATIVE, theirs)
    site.host.device.master = bond.index
    site.kernel.faults.set("create_link", errno.EEXIST)
    with site.filter() as filter_, pytest.raises(InterfaceError, match="eth0: it is part of bond0"):
        site.attach(filter_)
    assert (site.attached, site.pins) == (None, set())


def test_generic_does_not_try_native(site: Site) -> None:
    with site.filter(ModeSetting.GENERIC) as filter_:
        site.attach(filter_)
        assert filter_.view().mode is XdpMode.GENERIC
    assert site.kernel.faults.calls.count("create_link") == 1


# --- native again ------------------------------------------------------------------------------


@pytest.fixture
def generic(site: Site) -> Iterator[Filter]:
    """A filter that is generic because the driver refuses native mode."""
    site.host.device.native = errno.EINVAL
    site.host.device.reason = "MTU is too large"
    with site.filter() as filter_:
        site.attach(filter_)
        yield filter_


def test_a_filter_that_had_to_be_generic_says_why(generic: Filter) -> None:
    note, batches = generic.view().notes
    assert batches == note_of_batches("eth0")
    assert note.startswith("eth0 runs the filter in generic mode")
    assert "MTU is too large" in note


def test_a_generic_filter_says_and_logs_once_that_it_lets_batches_through(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with site.filter(ModeSetting.GENERIC) as filter_:
        site.attach(filter_)
        site.attach(filter_)
        (note,) = filter_.view().notes
    assert "judges only the first" in note
    logged = [vars(record) for record in caplog.records if record.getMessage() == "warning"]
    assert [note in str(fields) for fields in logged] == [True]


def test_a_native_filter_does_not_speak_of_batches(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with site.filter() as filter_:
        site.attach(filter_)
        assert filter_.view().notes == ()
    assert "warning" not in [record.getMessage() for record in caplog.records]


def test_a_filter_that_is_generic_by_wish_stays_so(site: Site) -> None:
    with site.filter(ModeSetting.GENERIC) as filter_:
        site.attach(filter_)
        site.now += FIRST_SECONDS
        filter_.watch(panic=False, closely=True)
        assert filter_.view().mode is XdpMode.GENERIC


def test_a_card_that_changed_is_native_at_once(
    site: Site, generic: Filter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = generic.view()
    site.host.device.native, site.host.device.mtu = None, 1400
    generic.watch(panic=False, closely=True)
    view = generic.view()
    assert (view.mode, view.notes, view.program_id) == (XdpMode.NATIVE, (), before.program_id)
    assert site.attached is not None
    assert (site.attached.mode, site.pins) == (XdpMode.NATIVE, PINS)
    assert caplog.messages[-1] == "native-again"


def test_counters_go_on_when_it_is_native_again(site: Site, generic: Filter) -> None:
    count(site, packets=3)
    site.host.device.native, site.host.device.mtu = None, 1400
    generic.watch(panic=False, closely=True)
    assert generic.view().counters[Reason.ADDR_V4, PacketAction.DROP].packets == 6


def test_what_is_native_again_is_kept_by_its_pin(site: Site, generic: Filter) -> None:
    site.host.device.native, site.host.device.mtu = None, 1400
    generic.watch(panic=False, closely=True)
    generic.close()
    assert site.attached is not None
    assert site.attached.mode is XdpMode.NATIVE


def test_without_a_change_it_is_tried_a_minute_later(site: Site, generic: Filter) -> None:
    site.host.device.native = None
    modes = []
    for later in (0, FIRST_SECONDS - 1, 1):
        site.now += later
        generic.watch(panic=False)
        modes.append(generic.view().mode)
    assert modes == [XdpMode.GENERIC, XdpMode.GENERIC, XdpMode.NATIVE]


def test_where_it_is_refused_again_the_generic_one_is_back(
    site: Site, generic: Filter, caplog: pytest.LogCaptureFixture
) -> None:
    before = generic.view()
    caplog.clear()
    site.now += FIRST_SECONDS
    generic.watch(panic=False)
    assert (generic.view(), site.pins) == (before, PINS)
    assert site.attached is not None
    assert site.attached.mode is XdpMode.GENERIC
    assert caplog.messages == []  # the same reason is said once


def test_another_reason_is_said(
    site: Site, generic: Filter, caplog: pytest.LogCaptureFixture
) -> None:
    site.host.device.reason = "LRO is on"
    site.now += FIRST_SECONDS
    generic.watch(panic=False)
    assert caplog.messages[-1] == "native-refused"
    assert "LRO is on" in generic.view().notes[0]


def test_what_fits_neither_way_any_more_is_lost_and_comes_back(site: Site, generic: Filter) -> None:
    site.now += FIRST_SECONDS
    site.kernel.faults.set("create_link", errno.ENOMEM, times=2)
    generic.watch(panic=False)
    lost = generic.view()
    generic.watch(panic=False)
    assert (lost.state, generic.view().mode) == (FilterState.LOST, XdpMode.GENERIC)
    assert "ENOMEM" in lost.trouble
    assert site.pins == PINS


def test_a_driver_that_runs_no_xdp_is_never_tried_again(site: Site) -> None:
    site.host.device.native, site.host.device.native_xdp = errno.EOPNOTSUPP, False
    with site.filter() as filter_:
        site.attach(filter_)
        before = site.kernel.faults.calls.count("link.detach")
        for _ in range(5):
            site.now += FIRST_SECONDS
            filter_.watch(panic=False, closely=True)
        assert site.kernel.faults.calls.count("link.detach") == before


def test_what_a_former_service_left_generic_is_native_a_minute_later(site: Site) -> None:
    site.leave(site.filter(ModeSetting.GENERIC))
    with site.filter() as filter_:
        site.attach(filter_)
        modes = []
        for later in (1, FIRST_SECONDS):
            site.now += later
            filter_.watch(panic=False)
            modes.append(filter_.view().mode)
    assert modes == [XdpMode.GENERIC, XdpMode.NATIVE]


def test_tries_leave_no_descriptor_behind(site: Site, generic: Filter) -> None:
    before = len(site.kernel.open)
    for _ in range(5):
        site.now += LONGEST_SECONDS
        generic.watch(panic=False)
    assert len(site.kernel.open) == before


def test_a_try_that_fails_anywhere_leaves_it_on_or_lost_and_back_at_the_next_look(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    turn, struck = 0, True
    while struck:
        turn += 1
        site = Site(FakeHost(monkeypatch, tmp_path_factory.mktemp("host")))
        site.host.device.native = errno.EINVAL
        with site.filter() as filter_:
            site.attach(filter_)
            held = len(site.kernel.open)
            site.now += FIRST_SECONDS
            faults = site.kernel.faults = NthFault(turn, errno.ENOMEM)
            with contextlib.suppress(XdpctlError):
                filter_.watch(panic=False)
            faults.number = 0
            struck = faults.struck is not None
            filter_.watch(panic=False)
            assert filter_.view().state is FilterState.ATTACHED, faults.struck
            assert site.attached is not None, faults.struck
            assert len(site.kernel.open) == held, faults.struck
    assert turn > 8


# --- swapping -----------------------------------------------------------------------------------


def test_a_swap_puts_another_program_on_and_keeps_link_and_counters(
    site: Site, running: Filter
) -> None:
    count(site, packets=2)
    counters, links = running.view().counters, set(site.kernel.links)
    running.swap(bytecode(mark=1), site.shared, panic=False)
    assert (mark_of(site), set(site.kernel.links)) == (1, links)
    assert running.view().counters == counters


def test_a_refused_swap_leaves_the_former_program_running(site: Site, running: Filter) -> None:
    before = running.view()
    site.kernel.faults.set("load_program", VerifierError("refused", log=""))
    with pytest.raises(VerifierError):
        running.swap(bytecode(mark=1), site.shared, panic=False)
    assert (running.view(), site.attached and site.attached.program_id) == (
        before,
        before.program_id,
    )


def test_after_a_refused_swap_the_former_program_is_what_comes_back(
    site: Site, running: Filter
) -> None:
    site.kernel.faults.set("load_program", VerifierError("refused", log=""))
    with contextlib.suppress(VerifierError):
        running.swap(bytecode(mark=1), site.shared, panic=False)
    site.kernel.remove_interface(INTERFACE)
    site.kernel.add_interface(INTERFACE)
    running.watch(panic=False)
    assert mark_of(site) == 0


def test_a_swap_leaves_a_detached_filter_off(site: Site, running: Filter) -> None:
    running.detach()
    running.swap(bytecode(mark=1), site.shared, panic=False)
    assert (site.attached, running.view().state) == (None, FilterState.DETACHED)


def test_a_swap_of_a_lost_filter_is_what_comes_back(site: Site, running: Filter) -> None:
    site.kernel.remove_interface(INTERFACE)
    running.watch(panic=False)
    running.swap(bytecode(mark=1), site.shared, panic=False)
    site.kernel.add_interface(INTERFACE)
    running.watch(panic=False)
    assert (running.view().state, mark_of(site)) == (FilterState.ATTACHED, 1)


def test_pins_that_somebody_removed_are_made_again_by_a_swap(site: Site, running: Filter) -> None:
    count(site, packets=2)
    for pin in site.host.own.iterdir():
        pin.unlink()
    running.swap(bytecode(mark=1), site.shared, panic=False)
    assert site.pins == PINS
    assert running.view().counters[Reason.ADDR_V4, PacketAction.DROP].packets == 4


def test_another_program_on_our_lost_interface_is_not_taken_for_ours(
    site: Site, running: Filter
) -> None:
    site.host.device.link = None
    number = site.foreign()
    with pytest.raises(ForeignProgramError):
        running.inspect()
    assert site.attached is not None
    assert site.attached.program_id == number


# --- being lost and coming back ------------------------------------------------------------------


def test_a_healthy_filter_is_left_alone(site: Site, running: Filter) -> None:
    before = running.view()
    running.watch(panic=False)
    assert running.view() == before
    assert site.kernel.faults.calls.count("load_program") == 1


def test_a_filter_whose_interface_is_gone_is_lost(site: Site, running: Filter) -> None:
    site.kernel.remove_interface(INTERFACE)
    running.watch(panic=False)
    view = running.view()
    assert (view.state, view.index, view.program_id) == (FilterState.LOST, None, None)


def test_a_filter_is_attached_again_when_its_interface_is_back(
    site: Site, running: Filter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    site.kernel.remove_interface(INTERFACE)
    running.watch(panic=False)
    device = site.kernel.add_interface(INTERFACE)
    running.watch(panic=False)
    view = running.view()
    assert (view.state, view.index, view.reattached) == (FilterState.ATTACHED, device.index, 1)
    assert [m for m in caplog.messages if m in {"lost", "reattached"}] == ["lost", "reattached"]


def test_panic_holds_for_a_filter_that_comes_back(site: Site, running: Filter) -> None:
    site.kernel.remove_interface(INTERFACE)
    running.watch(panic=True)
    site.kernel.add_interface(INTERFACE)
    running.watch(panic=True)
    with site.own(MapName.CONTROL) as control:
        assert decode_control(control.lookup(KEY) or b"")


def test_counters_go_on_when_a_filter_comes_back(site: Site, running: Filter) -> None:
    count(site, packets=3)
    site.kernel.remove_interface(INTERFACE)
    running.watch(panic=False)
    site.kernel.add_interface(INTERFACE)
    running.watch(panic=False)
    assert running.view().counters[Reason.ADDR_V4, PacketAction.DROP].packets == 6


def test_a_lost_filter_says_why(site: Site, running: Filter) -> None:
    site.kernel.remove_interface(INTERFACE)
    running.watch(panic=False)
    assert running.view().trouble == "the interface is gone; the filter comes back with it"
    site.kernel.add_interface(INTERFACE)
    running.watch(panic=False)
    assert running.view().trouble == ""


def test_a_program_that_somebody_took_off_is_put_on_again(site: Site, running: Filter) -> None:
    with site.host.bpf.open_link(site.host.own / f"{netns_inode()}-{INTERFACE}") as link:
        link.detach()
    running.watch(panic=False)
    assert (running.view().reattached, site.attached is not None) == (1, True)


def test_what_keeps_a_filter_from_coming_back_is_said_once(
    site: Site, running: Filter, caplog: pytest.LogCaptureFixture
) -> None:
    site.kernel.remove_interface(INTERFACE)
    site.host.device = site.kernel.add_interface(INTERFACE)
    number = site.foreign()
    for _ in range(3):
        running.watch(panic=False)
    assert caplog.messages.count("attach-failed") == 1
    assert f"has the XDP program {number}" in running.view().trouble


def test_an_interface_that_is_not_there_is_asked_for_and_not_looked_for(
    site: Site, running: Filter
) -> None:
    """Nothing is loaded, and not all interfaces are listed, for as long as it is away."""
    site.kernel.remove_interface(INTERFACE)
    running.watch(panic=False)
    site.kernel.faults.calls.clear()
    for closely in (False, True):
        running.watch(panic=False, closely=closely)
    assert site.kernel.faults.calls == []


# --- names and namespaces ------------------------------------------------------------------------


def test_a_renamed_card_keeps_its_filter_and_it_is_said(
    site: Site, running: Filter, caplog: pytest.LogCaptureFixture
) -> None:
    site.host.device.name = "dns0"
    for _ in range(3):
        running.watch(panic=False)
    view = running.view()
    assert (view.state, view.index) == (FilterState.ATTACHED, site.host.device.index)
    assert [note.split(":")[0] for note in view.notes] == ["eth0 is named dns0 now"]
    assert caplog.messages == ["renamed"]


def test_a_card_that_gets_its_name_back_is_as_before(
    site: Site, running: Filter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = running.view()
    for name in ("dns0", INTERFACE):
        site.host.device.name = name
        running.watch(panic=False)
    assert running.view() == before
    assert caplog.messages == ["renamed", "renamed-back"]


def test_a_renamed_card_takes_a_swap(site: Site, running: Filter) -> None:
    site.host.device.name = "dns0"
    running.watch(panic=False)
    running.swap(bytecode(mark=1), site.shared, panic=False)
    running.watch(panic=False)
    assert len(running.view().notes) == 1
    program = site.kernel.programs[running.view().program_id or 0]
    assert site.host.device.occupied == (program, XdpMode.NATIVE)


def test_a_filter_goes_to_another_card_that_gets_the_name(site: Site, running: Filter) -> None:
    former = site.host.device
    former.name = "dns0"
    running.watch(panic=False)
    card = site.kernel.add_interface(INTERFACE)
    running.watch(panic=False)
    view = running.view()
    assert (view.index, view.reattached, view.notes) == (card.index, 1, ())
    assert (site.kernel.attached("dns0"), site.pins) == (None, PINS)


def test_while_the_card_of_that_name_cannot_be_filtered_the_former_one_still_is(
    site: Site, running: Filter
) -> None:
    former = site.host.device
    former.name = "dns0"
    site.host.device = site.kernel.add_interface(INTERFACE)
    site.foreign()
    running.watch(panic=False)
    assert running.view().state is FilterState.LOST
    assert former.occupied is not None


def test_two_filters_follow_names_that_were_exchanged(site: Site, running: Filter) -> None:
    other = site.kernel.add_interface("eth1")
    with Filter(site.host.bpf, site.host.netlink, "eth1", directory=site.host.own) as second:
        site.attach(second, mark=1)
        site.host.device.name, other.name = "eth1", INTERFACE
        for filter_ in (running, second):
            filter_.watch(panic=False)
        views = [running.view(), second.view()]
        assert [view.index for view in views] == [other.index, site.host.device.index]
        assert [mark_of(site), mark_of(site, "eth1")] == [0, 1]


def test_a_card_that_is_moved_away_goes_without_our_program(
    site: Site, running: Filter, caplog: pytest.LogCaptureFixture
) -> None:
    card = site.kernel.move_away(INTERFACE)
    running.watch(panic=False)
    view = running.view()
    assert (view.state, card.occupied) == (FilterState.LOST, None)
    assert view.trouble.startswith("its card moved to another network namespace")
    assert caplog.messages == ["lost"]


def test_a_card_that_is_moved_back_is_filtered_again(site: Site, running: Filter) -> None:
    card = site.kernel.move_away(INTERFACE)
    running.watch(panic=False)
    site.kernel.move_back(card)
    running.watch(panic=False)
    assert (running.view().reattached, card.occupied is not None) == (1, True)


def test_a_card_that_is_moved_back_unseen_kept_its_filter(site: Site, running: Filter) -> None:
    before = running.view()
    site.kernel.move_back(site.kernel.move_away(INTERFACE))
    running.watch(panic=False, closely=True)
    assert running.view() == before


def test_a_card_of_the_same_name_and_index_is_told_from_one_that_was_moved_away(
    site: Site, running: Filter
) -> None:
    card = site.kernel.move_away(INTERFACE)
    other = site.kernel.add_interface(INTERFACE, card.index)
    running.watch(panic=False, closely=True)
    assert (card.occupied, other.occupied is not None) == (None, True)
    assert running.view().reattached == 1


def test_a_card_that_is_removed_while_it_is_looked_for_is_gone_and_not_moved(
    site: Site, running: Filter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def removed(_: str) -> None:
        if site.kernel.devices:
            site.kernel.remove_interface(INTERFACE)

    monkeypatch.setattr(site.host.netlink, "index_of", removed)
    running.watch(panic=False)
    assert running.view().trouble.startswith("the interface is gone")


# --- waiting for the first time ------------------------------------------------------------------


def test_a_filter_waits_for_an_interface_that_there_never_was(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    site.kernel.remove_interface(INTERFACE)
    with site.filter() as filter_:
        filter_.swap(bytecode(mark=1), site.shared, panic=False)
        filter_.watch(panic=False)
        assert filter_.view().state is FilterState.MISSING
        assert filter_.view().trouble == "there is no interface of this name yet"
        site.kernel.add_interface(INTERFACE)
        filter_.watch(panic=False)
        view = filter_.view()
    assert (view.state, view.reattached, mark_of(site)) == (FilterState.ATTACHED, 0, 1)
    assert caplog.messages == ["attached"]


def test_an_attachment_that_fails_again_is_tried_at_the_next_look(
    site: Site, running: Filter
) -> None:
    site.kernel.remove_interface(INTERFACE)
    site.kernel.add_interface(INTERFACE)
    site.kernel.faults.set("load_program", VerifierError("refused", log=""))
    states = []
    for _ in range(2):
        running.watch(panic=False)
        states.append(running.view().state)
    assert states == [FilterState.LOST, FilterState.ATTACHED]


# --- going off ------------------------------------------------------------------------------------


def test_detaching_takes_the_program_off_and_our_pins_away(site: Site, running: Filter) -> None:
    assert running.detach()
    assert (site.attached, site.pins, running.view().state) == (
        None,
        set(),
        FilterState.DETACHED,
    )


def test_detaching_twice_says_that_nothing_was_on(running: Filter) -> None:
    assert [running.detach(), running.detach()] == [True, False]


def test_a_detached_filter_stays_off(site: Site, running: Filter) -> None:
    running.detach()
    running.watch(panic=False)
    assert site.attached is None


def test_counters_can_be_seen_after_detaching(site: Site, running: Filter) -> None:
    count(site, packets=1)
    running.detach()
    assert running.view().counters[Reason.ADDR_V4, PacketAction.DROP].packets == 2


def test_detaching_a_filter_that_was_never_on_is_harmless(site: Site) -> None:
    with site.filter() as filter_:
        assert not filter_.detach()


def test_a_kernel_that_refuses_to_detach_loses_the_link_instead(
    site: Site, running: Filter
) -> None:
    site.kernel.faults.set("link.detach", errno.EPERM)
    running.detach()
    assert (site.attached, site.pins) == (None, set())


def test_pins_that_cannot_be_removed_are_said_and_the_program_is_off(
    site: Site,
    running: Filter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    refuse_files(monkeypatch, "unlink")
    assert running.detach()
    assert (site.attached, "pins-left" in caplog.messages) == (None, True)


def test_closing_keeps_the_program_on(site: Site) -> None:
    site.leave()
    assert site.attached is not None
    assert site.pins == PINS


def test_closing_leaves_no_descriptor(site: Site) -> None:
    before = set(site.kernel.open)
    site.leave()
    assert set(site.kernel.open) == before


def test_many_swaps_leave_no_descriptor_behind(site: Site, running: Filter) -> None:
    before = len(site.kernel.open)
    for mark in range(5):
        running.swap(bytecode(mark=mark), site.shared, panic=False)
    assert len(site.kernel.open) == before


# --- any failure ---------------------------------------------------------------------------------


class NthFault(Faults):
    """Lets the n-th call of any kind fail; `last` counts all calls of a run."""

    def __init__(self, number: int, error: int) -> None:
        super().__init__()
        self.number = number
        self.error = error
        self.last = 0
        self.struck: str | None = None

    def check(self, call: str) -> None:
        super().check(call)
        self.last += 1
        if self.last == self.number:
            self.struck = call
            raise KernelError(f"cannot {call}", self.error)


def nothing(_: Site) -> None:
    """Leave the interface as it is."""


def ours(site: Site) -> None:
    site.leave()


def ours_in_generic_mode(site: Site) -> None:
    site.leave(site.filter(ModeSetting.GENERIC))


def theirs(site: Site) -> None:
    site.foreign()


def ours_with_spoilt_counters(site: Site) -> None:
    site.leave()
    (site.host.own / f"{netns_inode()}-{INTERFACE}:counters").unlink()


SITUATIONS: list[tuple[Callable[[Site], None], ModeSetting]] = [
    (nothing, ModeSetting.AUTO),
    (nothing, ModeSetting.GENERIC),
    (ours, ModeSetting.AUTO),
    (ours_in_generic_mode, ModeSetting.NATIVE),
    (ours_with_spoilt_counters, ModeSetting.AUTO),
    (theirs, ModeSetting.AUTO),
]


@pytest.mark.parametrize(("before", "mode"), SITUATIONS)
@pytest.mark.parametrize("number", [errno.EPERM, errno.EMFILE, errno.ENOMEM, errno.EIO])
def test_a_failure_of_any_call_leaves_all_as_it_was_or_the_filter_on(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    before: Callable[[Site], None],
    mode: ModeSetting,
    number: int,
) -> None:
    turn, struck = 0, True
    while struck:
        turn += 1
        site = Site(FakeHost(monkeypatch, tmp_path_factory.mktemp("host")))
        before(site)
        was, pins, held = site.attached, site.pins, len(site.kernel.open)
        faults = site.kernel.faults = NthFault(turn, number)
        with site.filter(mode, replace=True) as filter_:
            try:
                site.attach(filter_, mark=1)
            except XdpctlError:
                faults.number = 0
            else:
                faults.number = 0
                assert site.attached is not None, faults.struck
                assert filter_.view().program_id == site.attached.program_id, faults.struck
                was, pins = site.attached, PINS
        struck = faults.struck is not None
        assert len(site.kernel.open) == held, faults.struck
        assert (site.attached, site.pins) == (was, pins), faults.struck
    assert turn > 15


@pytest.mark.parametrize(("before", "mode"), SITUATIONS)
@pytest.mark.parametrize("call", ["rename", "unlink", "mkdir"])
def test_a_pin_directory_that_refuses_leaves_a_filter_where_one_was(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    before: Callable[[Site], None],
    mode: ModeSetting,
    call: str,
) -> None:
    before(site)
    was, pins, held = site.attached, site.pins, len(site.kernel.open)
    with monkeypatch.context() as patch:
        refuse_files(patch, call)
        with site.filter(mode, replace=True) as filter_, contextlib.suppress(XdpctlError):
            site.attach(filter_)
    assert len(site.kernel.open) == held
    assert (site.attached is not None) == (was is not None or site.pins == PINS)
    assert pins <= {pin for pin in site.pins if not pin.endswith(":new")} or site.pins == PINS


def test_a_swap_that_fails_anywhere_leaves_a_program_of_ours_running(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    turn, struck = 0, True
    while struck:
        turn += 1
        site = Site(FakeHost(monkeypatch, tmp_path_factory.mktemp("host")))
        with site.filter() as filter_:
            site.attach(filter_)
            held, before = len(site.kernel.open), site.attached
            faults = site.kernel.faults = NthFault(turn, errno.EIO)
            with contextlib.suppress(XdpctlError):
                filter_.swap(bytecode(mark=1), site.shared, panic=False)
            faults.number = 0
            struck = faults.struck is not None
            assert (len(site.kernel.open), site.pins) == (held, PINS), faults.struck
            assert site.attached is not None, faults.struck
            if filter_.view().program_id == (before and before.program_id):
                assert site.attached == before, faults.struck
    assert turn > 15


def count(site: Site, packets: int) -> None:
    """Let each CPU have counted some packets of 60 bytes, dropped by address."""
    offset = (Reason.ADDR_V4 * len(PacketAction) + PacketAction.DROP) * 16
    with site.own(MapName.COUNTERS) as counters:
        filter_ = bytearray(counters.info.value_size)
        filter_[offset : offset + 16] = packets.to_bytes(8, "little") + (60 * packets).to_bytes(
            8, "little"
        )
        counters.update(KEY, bytes(filter_) * site.host.bpf.possible_cpus())


def mark_of(site: Site, interface: str = INTERFACE) -> int:
    """Return which program is on the interface."""
    attached = site.kernel.attached(interface)
    assert attached is not None
    info = site.kernel.programs[attached.program_id].info
    return info.verified_instructions - 2 * len(USED_MAPS) - 1


def refuse_files(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Let a method of every path fail."""

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, call, fail)
