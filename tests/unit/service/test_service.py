"""Start, life and stop of the whole: in order, in one piece, and leaving nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sqlite3
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast
from unittest.mock import Mock

import pytest

from tests.support.fake_host import INTERFACE, dnsdist_writes
from tests.support.fake_kernel import Device, Faults, MapState
from tests.support.kernel_contract import PASS_PROGRAM
from tests.support.whole_service import Home
from xdpctl.abi import MAPS, RULE_MAPS, MapName, decode_control
from xdpctl.errors import (
    CompilerError,
    ForeignProgramError,
    InterfaceError,
    KernelError,
    ListenError,
    PinError,
    SettingsError,
    StateError,
    VerifierError,
    XdpctlError,
)
from xdpctl.filter.filter import Filter
from xdpctl.filter.lock import InterfaceLock
from xdpctl.kernel.bpf.pins import netns_inode
from xdpctl.kernel.bpf.programs import XdpMode
from xdpctl.process.children import SIGNALS
from xdpctl.process.log import LogLevel
from xdpctl.rules import parse_target
from xdpctl.service import current_program, readiness
from xdpctl.service import service as service_module
from xdpctl.service.bootstrap import Bootstrap
from xdpctl.service.service import Service, run_service
from xdpctl.store.state import PANIC, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
    from pathlib import Path

    from xdpctl.program.cache import CachingCompiler
    from xdpctl.program.loader.parent import Loader

NOTHING = {"attached": [], "descriptors": 0, "own pins": set(), "control socket": False}
TWO = ("--interface", "eth0", "--interface", "eth1")


@pytest.fixture
async def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    home = Home(monkeypatch, tmp_path)
    home.kernel.add_interface("eth1")
    return home


@pytest.fixture(autouse=True)
def _closing(home: Home) -> Iterator[None]:
    yield
    home.close()


# --- start and stop ---------------------------------------------------------------------------


async def test_ready_is_attached_and_answering(home: Home) -> None:
    async with home.running():
        assert home.kernel.attached(INTERFACE) is not None
        assert (await home.ask("GET", "/readyz")).status == 200


async def test_systemd_is_told_what_is_filtered_and_that_it_ends(home: Home) -> None:
    service = home.service(*TWO)
    task = asyncio.create_task(service.run())
    assert await home.told("READY=1") == "READY=1\nSTATUS=filtering eth0, eth1"
    service._stop.set()
    await home.told("STOPPING=1")
    assert await task == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_nothing_left_but_the_shared_pins(
    home: Home, number: signal.Signals
) -> None:
    async with home.running(*TWO) as service:
        signal.raise_signal(number)
        await asyncio.wait_for(service._stop.wait(), 10)
    assert (home.traces(), home.host.pinned()["dnsdist"]) == (NOTHING, set(RULE_MAPS))


async def test_a_second_signal_does_no_harm(home: Home) -> None:
    async with home.running():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
    assert home.traces() == NOTHING


async def test_on_exit_keep_leaves_the_program_and_its_pins(home: Home) -> None:
    async with home.running("--on-exit", "keep"):
        pass
    assert home.kernel.attached(INTERFACE) is not None
    prefix = f"{netns_inode()}-{INTERFACE}"
    beside = {f"{prefix}:{name}" for name in ("program", "counters", "control", "name-index")}
    assert home.host.pinned()["xdpctl"] == {prefix} | beside


async def test_what_was_kept_is_taken_over_and_then_detached(home: Home) -> None:
    async with home.running("--on-exit", "keep"):
        pass
    links = set(home.kernel.links)
    async with home.running():
        assert set(home.kernel.links) == links
    assert home.traces() == NOTHING


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_it_compiles_ends_it_at_once(
    home: Home, number: signal.Signals
) -> None:
    home.slow.clear()
    task = asyncio.create_task(home.service().run())
    await asyncio.wait_for(home.compiling.wait(), 10)
    await asyncio.sleep(0.01)
    signal.raise_signal(number)
    assert await asyncio.wait_for(task, 10) == 0
    assert home.traces() == NOTHING
    assert not any("READY=1" in message for message in home.heard())


@pytest.mark.parametrize(
    ("number", "on_exit", "stays"),
    [
        (signal.SIGTERM, "detach", False),
        (signal.SIGTERM, "keep", True),
        (signal.SIGUSR2, "detach", True),
    ],
)
async def test_a_signal_while_it_compiles_does_with_a_former_filter_as_on_exit_says(
    home: Home, number: signal.Signals, on_exit: str, *, stays: bool
) -> None:
    async with home.running("--on-exit", "keep"):
        pass
    home.slow.clear()
    home.compiling.clear()
    task = asyncio.create_task(home.service("--on-exit", on_exit).run())
    await asyncio.wait_for(home.compiling.wait(), 10)
    await asyncio.sleep(0.01)
    signal.raise_signal(number)
    assert await asyncio.wait_for(task, 10) == 0
    assert (home.kernel.attached(INTERFACE) is not None) == stays


async def test_a_signal_while_it_attaches_ends_it_with_nothing_left(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach = Filter.attach

    def interrupted(*arguments: object, **options: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        attach(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Filter, "attach", interrupted)
    assert await asyncio.wait_for(home.service(*TWO).run(), 10) == 0
    assert home.traces() == NOTHING


async def test_a_start_that_compiles_for_long_says_so_and_asks_for_time(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A flood that takes the processor makes half a second's work long; systemd waits a minute."""
    monkeypatch.setattr(readiness, "COMPILING_SECONDS", 0.01)
    home.slow.clear()
    task = asyncio.create_task(home.service().run())
    await home.told("EXTEND_TIMEOUT_USEC=30000000")
    await home.told_in_part("STATUS=compiling the filter for")
    await home.told("EXTEND_TIMEOUT_USEC=30000000")
    assert caplog.messages.count("compiling") == 1
    home.slow.set()
    await home.told("READY=1")
    signal.raise_signal(signal.SIGTERM)
    assert await asyncio.wait_for(task, 10) == 0


async def test_the_compiler_works_while_the_rest_is_looked_at(home: Home) -> None:
    """It was begun before anything was asked of the kernel."""
    seen: list[int] = []
    find = home.host.netlink.find

    def noting(name: str) -> object:
        seen.append(len(home.compiled))
        return find(name)

    setattr(home.host.netlink, "find", noting)  # noqa: B010 - mypy minds the assignment
    async with home.running():
        assert seen[0] == 1


async def test_a_look_under_way_does_not_attach_again_what_was_detached(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Filter.watch
    begun = threading.Event()
    async with home.running() as service:

        def late(self: Filter, *, panic: bool, closely: bool) -> None:
            begun.set()
            while not service._stop.is_set():
                pass
            watch(self, panic=panic, closely=closely)

        monkeypatch.setattr(Filter, "watch", late)
        await asyncio.to_thread(begun.wait, 10)
    assert home.traces() == NOTHING


async def test_requests_are_refused_before_anything_is_detached(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    detach = Filter.detach
    reachable: list[bool] = []

    def watched(self: Filter, *, keeping: Collection[MapName] = ()) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(home.control))
            except OSError:
                reachable.append(False)
            else:
                reachable.append(True)
        return detach(self, keeping=keeping)

    monkeypatch.setattr(Filter, "detach", watched)
    async with home.running():
        pass
    assert reachable == [False]


async def test_an_error_of_its_own_ends_it_and_leaves_the_filter_on(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = home.service()
    task = asyncio.create_task(service.run())
    await home.told("READY=1")
    monkeypatch.setattr(Filter, "watch", lambda *_, **__: 1 / 0)
    with pytest.raises(ExceptionGroup):
        await asyncio.wait_for(task, 10)
    assert home.kernel.attached(INTERFACE) is not None
    assert (home.control.exists(), len(home.kernel.open)) == (False, 0)


# --- waiting for an interface -----------------------------------------------------------------


@contextlib.asynccontextmanager
async def waiting(home: Home, *options: str) -> AsyncIterator[Service]:
    """Give a service that serves, and waits for eth1."""
    home.kernel.remove_interface("eth1")
    service = home.service("--wait", *TWO, *options)
    task = asyncio.create_task(service.run(), name="service")
    await home.told(
        "STATUS=waiting for eth1: there is no interface of this name yet; filtering eth0"
    )
    try:
        yield service
    finally:
        service._stop.set()
        assert await asyncio.wait_for(task, 10) == 0


async def test_a_service_that_waits_filters_what_there_is_and_is_not_ready(home: Home) -> None:
    async with waiting(home):
        assert home.kernel.attached(INTERFACE) is not None
        answer = await home.ask("GET", "/readyz")
        assert (answer.status, answer.body.strip()) == (
            503,
            "eth1 is missing: there is no interface of this name yet",
        )
        assert not any("READY=1" in message for message in home.heard())


async def test_it_is_ready_when_the_interface_is_there(home: Home) -> None:
    async with waiting(home):
        home.kernel.add_interface("eth1")
        assert await home.told("READY=1") == "READY=1\nSTATUS=filtering eth0, eth1"
        assert home.mark("eth1") == 1
        found = await home.until("/api/v1/status", ready=True)
        assert [item["reattached"] for item in found["interfaces"]] == [0, 0]


async def test_what_it_waits_for_is_one_line_and_ready_another(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with waiting(home):
        await home.told("EXTEND_TIMEOUT_USEC=30000000")
        await home.told("EXTEND_TIMEOUT_USEC=30000000")
        assert caplog.messages.count("waiting") == 1
        assert "ready" not in caplog.messages
        home.kernel.add_interface("eth1")
        await home.told("READY=1")
    assert [m for m in caplog.messages if m in {"waiting", "ready"}] == ["waiting", "ready"]


async def test_it_need_not_have_any_interface(home: Home) -> None:
    home.kernel.remove_interface(INTERFACE)
    task = asyncio.create_task(home.service("--wait").run())
    await home.told("EXTEND_TIMEOUT_USEC=30000000")
    home.kernel.add_interface(INTERFACE)
    await home.told("READY=1")
    signal.raise_signal(signal.SIGTERM)
    assert await asyncio.wait_for(task, 10) == 0
    assert home.traces() == NOTHING


async def test_a_stop_while_it_waits_leaves_nothing(home: Home) -> None:
    async with waiting(home):
        signal.raise_signal(signal.SIGTERM)
    assert home.traces() == NOTHING


async def test_what_came_with_another_program_is_waited_for_until_that_is_gone(
    home: Home,
) -> None:
    async with waiting(home):
        with home.host.bpf.load_program(PASS_PROGRAM, "theirs") as theirs:
            state = home.kernel.programs[theirs.info.id]
            card = Device("eth1", home.kernel.new_id(), netlink=(state, XdpMode.NATIVE))
            home.kernel.move_back(card)
            await home.told_in_part("which is not ours")
            home.host.netlink.detach_program(card.index, XdpMode.NATIVE, theirs)
        await home.told("READY=1")


async def test_a_reload_while_it_waits_is_what_is_attached_later(home: Home) -> None:
    async with waiting(home):
        home.options = ("--wait", *TWO, "--port", "53", "--port", "5353")
        signal.raise_signal(signal.SIGHUP)
        while home.mark() != 2:
            await home.told("EXTEND_TIMEOUT_USEC=30000000")
        assert not any("RELOADING" in m or "READY" in m for m in home.heard())
        home.kernel.add_interface("eth1")
        await home.told("READY=1")
        assert home.mark("eth1") == 2


async def test_an_interface_of_another_name_is_refused_without_wait(home: Home) -> None:
    home.kernel.remove_interface("eth1")
    with pytest.raises(InterfaceError, match="eth1"):
        await home.service(*TWO).run()
    assert home.traces() == NOTHING


async def test_systemd_and_log_are_told_when_an_interface_is_lost_and_back(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with home.running(*TWO):
        home.kernel.remove_interface("eth1")
        await home.told(
            "STATUS=NOT READY: eth1 is lost: the interface is gone; the filter comes back with it"
        )
        home.kernel.add_interface("eth1")
        await home.told("STATUS=filtering eth0, eth1")
    said = [m for m in caplog.messages if m in {"ready", "not-ready", "ready-again"}]
    assert said == ["ready", "not-ready", "ready-again"]


# --- a start that fails -----------------------------------------------------------------------


def another_service(home: Home) -> contextlib.AbstractContextManager[object]:
    return InterfaceLock(home.host.own, INTERFACE)


def a_live_control_socket(home: Home) -> contextlib.AbstractContextManager[object]:
    home.control.parent.mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(home.control))
    listener.listen()
    return listener


def no_interface(home: Home) -> None:
    home.kernel.remove_interface(INTERFACE)


def a_foreign_program(home: Home) -> None:
    with home.host.bpf.load_program(PASS_PROGRAM, "theirs") as theirs:
        home.host.netlink.attach_program(home.host.device.index, XdpMode.NATIVE, theirs)


def a_legacy_pin(home: Home) -> None:
    home.host.pins.mkdir()
    spec = replace(MAPS[MapName.ADDR_V4], value_size=8)
    with home.host.bpf.create_map(spec, 8) as legacy:
        legacy.pin(home.host.pins / "addr-v4")


def a_program_that_does_not_compile(home: Home) -> None:
    home.compiler = CompilerError("cannot compile the filter: no BCC; install python3-bpfcc")


def a_file_in_the_states_place(home: Home) -> None:
    (home.directory / "state").write_text("in the way")


def a_verifier_that_refuses(home: Home) -> None:
    for_clock_and_filter = 2
    error = VerifierError("cannot load program", log="")
    home.kernel.faults.set("load_program", error, times=for_clock_and_filter)


def no_room_for_maps(home: Home) -> None:
    home.kernel.faults.set("create_map", errno.ENOMEM, times=2)  # without samples it goes on


def a_driver_that_refuses(home: Home) -> None:
    home.host.device.native = errno.EOPNOTSUPP


def a_second_interface_that_refuses(home: Home) -> None:
    next(d for d in home.kernel.devices.values() if d.name == "eth1").native = errno.EOPNOTSUPP


def a_file_in_the_pin_directorys_place(home: Home) -> None:
    home.host.pins.write_text("in the way")


FAILURES: list[tuple[Callable[[Home], object], type[XdpctlError], str, tuple[str, ...]]] = [
    (another_service, InterfaceError, "another xdpctl already serves eth0", ()),
    (a_live_control_socket, ListenError, "another service answers", ()),
    (no_interface, InterfaceError, "eth0", ()),
    (a_foreign_program, ForeignProgramError, "which is not ours", ()),
    (a_legacy_pin, PinError, "without external=true", ()),
    (a_file_in_the_pin_directorys_place, PinError, "it is a file", ()),
    (a_program_that_does_not_compile, CompilerError, "python3-bpfcc", ()),
    (a_file_in_the_states_place, StateError, "--state", ()),
    (no_room_for_maps, KernelError, "ENOMEM", ()),
    (a_verifier_that_refuses, VerifierError, "cannot load program", ()),
    (a_driver_that_refuses, InterfaceError, "native mode", ("--mode", "native")),
    (a_second_interface_that_refuses, InterfaceError, "eth1", ("--mode", "native", *TWO)),
]


@pytest.mark.parametrize(("breaks", "kind", "words", "options"), FAILURES)
async def test_a_start_that_fails_is_one_sentence_and_leaves_nothing(
    home: Home,
    breaks: Callable[[Home], object],
    kind: type[XdpctlError],
    words: str,
    options: tuple[str, ...],
) -> None:
    held = breaks(home)
    with contextlib.ExitStack() as stack:
        if held is not None:
            stack.enter_context(cast("contextlib.AbstractContextManager[object]", held))
        before = home.traces()
        with pytest.raises(kind) as caught:
            await asyncio.wait_for(home.service(*options).run(), 10)
        assert words in caught.value.sentence
        assert "\n" not in caught.value.sentence
        assert home.traces() == before
    assert not any("READY=1" in message for message in home.heard())


async def test_a_port_in_use_stops_the_start_before_anything(home: Home) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ListenError, match=r"Address already in use by .*; choose another"):
            await asyncio.wait_for(home.service("--listen", address).run(), 10)
    assert (home.traces(), home.host.pinned().get("dnsdist")) == (NOTHING, None)
    assert not (home.directory / "state").exists()


async def test_what_does_not_compile_is_known_before_maps_and_state_are_made(home: Home) -> None:
    a_program_that_does_not_compile(home)
    with pytest.raises(CompilerError):
        await home.service().run()
    assert home.host.pinned().get("dnsdist") is None
    assert not (home.directory / "state").exists()


async def test_too_few_slots_for_queues_stop_the_start(home: Home) -> None:
    home.host.device.rx_queues = 8
    with pytest.raises(InterfaceError, match="8"):
        await home.service("--xsk", "--number-of-queues", "4").run()
    assert home.traces() == NOTHING


async def test_a_failed_start_goes_on_filtering_where_a_former_service_did(home: Home) -> None:
    async with home.running("--on-exit", "keep"):
        pass
    a_second_interface_that_refuses(home)
    with pytest.raises(InterfaceError):
        await home.service("--mode", "native", *TWO).run()
    assert home.traces()["attached"] == [INTERFACE]


class NthFault(Faults):
    """Lets the n-th call of any kind fail."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.struck: str | None = None

    def check(self, call: str) -> None:
        super().check(call)
        if len(self.calls) == self.number:
            self.struck = call
            raise KernelError(f"cannot {call}", errno.EIO)


async def test_a_failure_of_any_call_of_a_start_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    turn, struck = 0, True
    while struck:
        turn += 1
        (tmp_path / str(turn)).mkdir()
        home = Home(monkeypatch, tmp_path / str(turn))
        faults = home.kernel.faults = NthFault(turn)
        service = home.service()
        task = asyncio.create_task(service.run())
        ready = asyncio.create_task(home.told("READY=1"))
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        struck = faults.struck is not None
        faults.number = 0
        ready.cancel()
        if task.done():
            assert isinstance(task.exception(), XdpctlError), faults.struck
        service._stop.set()
        with contextlib.suppress(XdpctlError):
            await task
        assert home.traces() == NOTHING, faults.struck
        home.close()
    assert turn > 50


# --- life -------------------------------------------------------------------------------------


async def test_rules_and_looks_meet_on_the_running_service(home: Home) -> None:
    async with home.running():
        made = await home.ask("POST", "/api/v1/rules", json={"target": "192.0.2.1"})
        assert (made.status, made.body["created"]) == (200, 1)
        listed = (await home.ask("GET", "/api/v1/rules")).body["rules"]
        assert [(item["target"], item["origin"]) for item in listed] == [("192.0.2.1", "api")]


async def test_what_the_store_refuses_has_a_status_of_its_own(home: Home) -> None:
    async with home.running("--map-size", "addr-v4=2"):
        with home.host.bpf.open_map(home.host.pins / "addr-v4") as table:
            dnsdist_writes({MapName.ADDR_V4: table}, parse_target("192.0.2.66"))
        theirs = await home.ask("POST", "/api/v1/rules", json={"target": "192.0.2.66"})
        absent = await home.ask("DELETE", "/api/v1/rules", params={"target": "192.0.2.9"})
        wrong = await home.ask("POST", "/api/v1/rules", json={"target": "300.1.1.1"})
        many = [{"target": f"192.0.2.{number}"} for number in range(3)]
        full = await home.ask("POST", "/api/v1/rules", json=many)
    assert [answer.status for answer in (theirs, absent, wrong, full)] == [409, 404, 422, 507]
    assert (wrong.body["field"], full.body["map"], full.body["done"]) == ("target", "addr-v4", 0)


async def test_rules_are_there_after_a_restart(home: Home) -> None:
    async with home.running():
        await home.ask("POST", "/api/v1/rules", json={"target": "192.0.2.1", "reason": "why"})
    async with home.running():
        (item,) = (await home.ask("GET", "/api/v1/rules")).body["rules"]
    assert (item["target"], item["origin"], item["reason"]) == ("192.0.2.1", "api", "why")


async def test_a_start_in_a_panic_warns(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    async with home.running():
        await home.ask("POST", "/api/v1/panic")
    caplog.clear()
    async with home.running():
        texts = [str(vars(line).get("xdpctl_fields")) for line in caplog.records]
        assert [text for text in texts if "panic is on since before this start" in text]
        await home.ask("POST", "/api/v1/resume")
    caplog.clear()
    async with home.running():
        assert not [line for line in caplog.records if "panic" in str(vars(line))]


async def test_the_history_outlives_a_restart(home: Home) -> None:
    async with home.running():
        await home.ask(
            "POST", "/api/v1/rules", json={"target": "192.0.2.1", "expires_in": 1, "reason": "x"}
        )
        await home.ask("DELETE", "/api/v1/rules?target=192.0.2.1")
    async with home.running():
        changes = (await home.ask("GET", "/api/v1/history")).body["changes"]
    assert [change["verb"] for change in changes] == ["block", "unblock"]
    assert changes[0]["who"]["pid"] == os.getpid()
    assert (changes[0]["reason"], changes[0]["detail"]) == ("x", "for 1s")


async def test_what_expired_while_no_service_ran_is_in_the_history(home: Home) -> None:
    async with home.running():
        await home.ask("POST", "/api/v1/rules", json={"target": "192.0.2.1", "expires_in": 600})
    with sqlite3.connect(home.settings().state) as state:
        state.execute("UPDATE note SET expires = 1")
    async with home.running():
        changes = (await home.ask("GET", "/api/v1/history")).body["changes"]
    assert [(change["verb"], change["target"]) for change in changes] == [
        ("block", "192.0.2.1"), ("expire", "192.0.2.1"),
    ]  # fmt: skip


async def test_panic_outlives_a_restart(home: Home) -> None:
    async with home.running():
        assert (await home.ask("POST", "/api/v1/panic")).body["panic"]
    async with home.running():
        with home.host.bpf.open_map(
            home.host.own / f"{netns_inode()}-{INTERFACE}:control"
        ) as control:
            assert decode_control(control.lookup(bytes(4)) or b"")
        await home.until("/api/v1/status", panic=True)
        await home.ask("POST", "/api/v1/resume")
    with State.open(home.directory / "state" / "state.db") as state:
        assert state.get_meta(PANIC) == "0"


async def test_a_rule_goes_when_its_time_is_over(home: Home) -> None:
    async with home.running():
        await home.ask("POST", "/api/v1/rules", json={"target": "192.0.2.1", "expires_in": 1})
        await home.ask("POST", "/api/v1/rules", json={"target": "192.0.2.2"})
        async with asyncio.timeout(20):
            while True:
                left = (await home.ask("GET", "/api/v1/rules")).body["rules"]
                if len(left) == 1:
                    break
                await asyncio.sleep(0.05)
    assert [item["target"] for item in left] == ["192.0.2.2"]


async def test_an_interface_that_is_lost_is_told_and_comes_back(home: Home) -> None:
    async with home.running():
        home.kernel.remove_interface(INTERFACE)
        lost = await home.until("/api/v1/status", ready=False)
        assert lost["reasons"] == [
            "eth0 is lost: the interface is gone; the filter comes back with it"
        ]
        home.kernel.add_interface(INTERFACE)
        back = await home.until("/api/v1/status", ready=True)
        assert back["interfaces"][0]["reattached"] == 1


async def test_a_look_that_fails_is_no_end(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = threading.Event()

    def refuse(*_: object) -> None:
        failing.set()
        raise KernelError("cannot look", errno.EIO)

    async with home.running():
        with monkeypatch.context() as patch:
            patch.setattr("xdpctl.status.observer.Observer.look", refuse)
            patch.setattr("xdpctl.store.store.Store.settle", refuse)
            patch.setattr("xdpctl.store.store.Store.expire", refuse)
            await asyncio.to_thread(failing.wait, 10)
        assert (await home.ask("GET", "/healthz")).status == 200


async def test_what_is_odd_at_the_start_is_logged_and_shown(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    home.host.pins.mkdir()
    with home.host.bpf.create_map(MAPS[MapName.QNAMES], 5) as small:
        small.pin(home.host.pins / "qnames")
    async with home.running():
        warnings = (await home.ask("GET", "/api/v1/status")).body["warnings"]
    assert any("room for 5 entries" in warning for warning in warnings)
    assert "warning" in caplog.messages


async def test_the_watchdog_hears_a_sign_of_life_again_and_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    async with home.running():
        for _ in range(3):
            await home.told("WATCHDOG=1")


async def test_without_a_watchdog_there_is_no_sign_of_life(home: Home) -> None:
    async with home.running():
        await asyncio.sleep(0.05)
    assert not any("WATCHDOG" in message for message in home.heard())


async def test_metrics_and_health_are_served_over_tcp(home: Home) -> None:
    async with home.running("--listen", "127.0.0.1:0"):
        metrics = (await home.ask("GET", "/metrics")).body
    assert 'xdpctl_interface_attached{interface="eth0"} 1.0' in metrics


async def test_nothing_blocks_the_loop_once_it_serves(home: Home) -> None:
    """No call to the kernel and no transaction on the loop's thread, whatever is asked.

    But for a panic: its one write, of microseconds, must wait for no thread.
    """
    async with home.running() as service:
        threads = noted_threads(home)
        await home.ask("POST", "/api/v1/rules", json=[{"target": "192.0.2.1"}])
        await home.ask("GET", "/api/v1/rules")
        await home.ask("GET", "/api/v1/status")
        await home.ask("GET", "/metrics")
        home.options = ("--port", "53", "--port", "5353")
        service._reload.set()
        await home.told("READY=1")
        await home.ask("DELETE", "/api/v1/rules", params={"target": "192.0.2.1"})
        await home.ask("POST", "/api/v1/detach")
        seen = set(threads)
    assert seen
    assert threading.main_thread().name not in seen


async def test_asked_to_leave_for_the_next_one_it_leaves_the_filter_on(home: Home) -> None:
    async with home.running() as service:
        signal.raise_signal(signal.SIGUSR2)
        await service._stop.wait()
    assert home.mark() == 1


# --- SIGHUP -----------------------------------------------------------------------------------


async def reload(home: Home, *options: str) -> None:
    """Change the settings and send SIGHUP; wait until it is done."""
    home.options = options
    signal.raise_signal(signal.SIGHUP)
    await home.told("RELOADING=1")
    await home.told("READY=1")


async def test_another_port_is_compiled_and_swapped_in(home: Home) -> None:
    async with home.running():
        before = home.mark()
        await reload(home, "--port", "53", "--port", "5353")
        assert (before, home.mark()) == (1, 2)
        assert (await home.ask("GET", "/readyz")).status == 200


async def test_what_was_changed_can_be_changed_back(home: Home) -> None:
    async with home.running():
        await reload(home, "--port", "53", "--port", "5353")
        await reload(home)
        assert (home.mark(), len(home.compiled)) == (1, 3)


async def test_the_same_settings_compile_nothing(home: Home) -> None:
    async with home.running():
        await reload(home)
        assert len(home.compiled) == 1


async def test_another_log_level_is_taken_over(home: Home) -> None:
    async with home.running():
        await reload(home, "--log-level", "debug")
    assert home.configured[-1][0] is LogLevel.DEBUG


async def test_another_wildcard_is_what_names_are_written_with(home: Home) -> None:
    async with home.running():
        await reload(home, "--any-qtype", "255")
        await home.ask("POST", "/api/v1/rules", json={"target": "www.example"})
        (item,) = (await home.ask("GET", "/api/v1/rules")).body["rules"]
    assert (item["qtype"], item["wildcard"]) == (None, 255)


@pytest.mark.parametrize("way", ["reload", "restart"])
async def test_a_name_that_is_blocked_goes_on_being_so_under_another_wildcard(
    home: Home, way: str
) -> None:
    async with home.running():
        await home.ask("POST", "/api/v1/rules", json={"target": "www.example"})
        if way == "reload":
            await reload(home, "--any-qtype", "255")
            (item,) = (await home.ask("GET", "/api/v1/rules")).body["rules"]
    if way == "restart":
        async with home.running("--any-qtype", "255"):
            (item,) = (await home.ask("GET", "/api/v1/rules")).body["rules"]
    assert (item["qtype"], item["wildcard"], item["origin"]) == (None, 255, "api")


async def test_settings_that_are_wrong_leave_the_former_and_say_why(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with home.running():
        with monkeypatch.context() as patch:
            patch.setattr(home.host, "settings", raising(SettingsError("no such option; look")))
            await reload(home)
        found = await home.until("/api/v1/status", ready=False)
        assert found["reasons"] == [
            "reload failed, the former settings are in force: no such option; look"
        ]
        assert home.mark() == 1
        await reload(home)
        await home.until("/api/v1/status", ready=True)


async def test_what_does_not_compile_leaves_the_former_program(home: Home) -> None:
    async with home.running():
        home.compiler = CompilerError("cannot compile the filter; look")
        await reload(home, "--port", "53", "--port", "5353")
        await home.until("/api/v1/status", ready=False)
        assert home.mark() == 1


async def test_what_one_interface_refuses_is_on_none(home: Home) -> None:
    async with home.running(*TWO):
        attach, calls = Filter.attach, []

        def second_refuses(self: Filter, *arguments: object, **options: object) -> None:
            calls.append(self.interface)
            if calls == ["eth0", "eth1"]:
                raise KernelError("cannot attach", errno.EIO)
            attach(self, *arguments, **options)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Filter, "attach", second_refuses)
            await reload(home, *TWO, "--port", "53", "--port", "5353")
        assert calls == ["eth0", "eth1", "eth0"]
        assert (home.mark("eth0"), home.mark("eth1")) == (1, 1)


async def test_a_detached_interface_stays_off(home: Home) -> None:
    async with home.running(*TWO):
        await home.ask("POST", "/api/v1/detach", json={"interfaces": ["eth1"]})
        await reload(home, *TWO, "--port", "53", "--port", "5353")
        assert (home.mark("eth0"), home.kernel.attached("eth1")) == (2, None)


async def test_what_needs_a_restart_is_said_and_not_applied(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async with home.running():
        await reload(home, "--on-exit", "keep", "--xsk", "--port", "53", "--port", "5353")
        (said,) = [r for r in caplog.records if r.getMessage() == "needs-restart"]
        assert "on-exit, xsk" in str(vars(said))
        assert (home.mark(), home.compiled[-1].xsk) == (2, None)
    assert home.traces() == NOTHING


async def test_a_stop_while_it_reloads_ends_it(home: Home) -> None:
    async with home.running():
        home.slow.clear()
        home.options = ("--port", "53", "--port", "5353")
        signal.raise_signal(signal.SIGHUP)
        await home.told("RELOADING=1")
    assert home.traces() == NOTHING


# --- from the command line --------------------------------------------------------------------


def test_a_service_that_cannot_start_raises_its_one_sentence(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "Bpf", lambda _: home.host.bpf)
    monkeypatch.setattr(service_module, "Netlink", lambda: home.host.netlink)
    monkeypatch.setattr(service_module, "Service", partial(Service, directory=home.host.own))
    settings = replace(home.settings(), interfaces=("eth9",))
    compiler = cast("CachingCompiler", Mock(side_effect=home.compile, ahead=home.compile_ahead))
    try:
        with pytest.raises(InterfaceError, match="eth9"):
            run_service(Bootstrap(settings, home.settings, compiler, cast("Loader", None)))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    assert home.traces() == NOTHING


def raising(error: Exception) -> Callable[..., Awaitable[None]]:
    """Return a function that raises."""

    def fail(*_: object) -> Awaitable[None]:
        raise error

    return fail


def noted_threads(home: Home) -> list[str]:
    """Begin to note on which threads the kernel is asked."""
    threads: list[str] = []
    check = home.kernel.faults.check

    def noted(call: str) -> None:
        threads.append(threading.current_thread().name)
        check(call)

    setattr(home.kernel.faults, "check", noted)  # noqa: B010 - mypy minds the assignment
    return threads


# --- a former service's program ---------------------------------------------------------------


@pytest.mark.parametrize("what", ["compiler", "test_failure"])
async def test_without_a_program_the_former_one_stays_in_force_and_it_is_not_ready(
    home: Home, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with home.running("--on-exit", "keep"):
        before = home.kernel.attached(INTERFACE)
    setattr(home, what, CompilerError("cannot compile"))
    monkeypatch.setattr(current_program, "RETRY_SECONDS", 0.05)
    service = home.service()
    task = asyncio.create_task(service.run())
    await home.told("EXTEND_TIMEOUT_USEC=30000000")
    found = await home.until("/api/v1/status", ready=False)
    assert found["reasons"] == [
        "the program of a former service is in force, because there is no new one: cannot compile"
    ]
    assert home.kernel.attached(INTERFACE) == before
    setattr(home, what, None)
    await home.told("READY=1")
    service._stop.set()
    assert await task == 0


async def test_the_same_program_is_adopted_as_it_is(home: Home) -> None:
    async with home.running("--on-exit", "keep"):
        before = home.kernel.attached(INTERFACE)
    async with home.running():
        assert home.kernel.attached(INTERFACE) == before


async def test_a_program_that_fails_its_self_test_is_not_attached(home: Home) -> None:
    home.test_failure = VerifierError("refused", log="")
    with pytest.raises(VerifierError):
        await home.service().run()
    assert home.traces() == NOTHING


# --- pins -------------------------------------------------------------------------------------


async def _there(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - a pin has no event
            await asyncio.sleep(0.01)


def used_maps(home: Home) -> tuple[int, ...]:
    """Return the ids of the maps that the attached program reads."""
    attached = home.kernel.attached(INTERFACE)
    assert attached is not None
    return home.kernel.programs[attached.program_id].info.map_ids


async def test_a_pin_that_is_removed_is_made_again(home: Home) -> None:
    async with home.running():
        pin = home.host.pins / "qnames"
        before = home.kernel.pinned(pin, "map")
        pin.unlink()
        await _there(pin.exists)
        assert home.kernel.pinned(pin, "map") is before
        assert (await home.until("/api/v1/status", ready=True))["reasons"] == []


async def test_the_program_moves_to_a_map_that_is_pinned_in_the_place_of_ours(home: Home) -> None:
    async with home.running():
        rule = {"target": "192.0.2.1"}
        assert (await home.ask("POST", "/api/v1/rules", json=rule)).status == 200
        links, pin = set(home.kernel.links), home.host.pins / "addr-v4"
        with home.host.bpf.create_map(MAPS[MapName.ADDR_V4], 8) as other:
            other.pin(aside := pin.with_name("aside"))
            aside.rename(pin)  # a look must not find it gone in between
            await _there(lambda: other.info.id in used_maps(home))
            assert sum(len(keys) for keys, _ in other.chunks()) == 4
        assert set(home.kernel.links) == links


async def test_a_frozen_map_is_said_and_the_service_lives(home: Home) -> None:
    rule = {"target": "192.0.2.1", "expires_in": 1}
    async with home.running("--on-exit", "keep"):
        assert (await home.ask("POST", "/api/v1/rules", json=rule)).status == 200
        state = home.kernel.pinned(home.host.pins / "addr-v4", "map")
        assert isinstance(state, MapState)
        state.frozen = True
        found = await home.until("/api/v1/status", ready=False)
        assert "addr-v4 is frozen" in found["reasons"][0]
        assert [item["name"] for item in found["maps"] if item["frozen"]] == ["addr-v4"]
        reply = await home.ask("GET", "/readyz")
        assert reply.status == 503
        assert "remove the pin" in reply.body
        for method, path in (
            ("POST", "/api/v1/rules"),
            ("DELETE", "/api/v1/rules?target=192.0.2.1"),
            ("DELETE", "/api/v1/rules?origin=api"),
        ):
            reply = await home.ask(method, path, json={"target": "192.0.2.2"})
            assert reply.status == 503
            assert "the map addr-v4 is frozen: " in reply.body["detail"]
            assert reply.body["map"] == "addr-v4"
        assert (
            'xdpctl_shared_map_frozen{map="addr-v4"} 1.0'
            in (await home.ask("GET", "/metrics")).body
        )


async def test_rules_without_room_in_a_smaller_map_make_it_not_ready(home: Home) -> None:
    async with home.running():
        rules = [{"target": f"192.0.2.{number}"} for number in range(10)]
        assert (await home.ask("POST", "/api/v1/rules", json=rules)).status == 200
        pin = home.host.pins / "addr-v4"
        for room, left in ((4, "6 of our rules are not in force"), (64, "")):
            with home.host.bpf.create_map(MAPS[MapName.ADDR_V4], room) as other:
                other.pin(aside := pin.with_name("aside"))
                aside.rename(pin)
                await _there(lambda: other.info.id in used_maps(home))
            found = await home.until("/api/v1/status", ready=not left)
            while left not in "".join(found["reasons"]):  # "moving" may come before
                found = await home.until("/api/v1/status", ready=False)
            shrunk = [item for item in found["warnings"] if "was replaced by a map" in item]
            assert bool(shrunk) == bool(left)


async def test_a_start_on_a_frozen_map_filters_and_is_not_ready(home: Home) -> None:
    async with home.running("--on-exit", "keep"):
        rule = {"target": "192.0.2.1", "expires_in": 1}
        assert (await home.ask("POST", "/api/v1/rules", json=rule)).status == 200
        state = home.kernel.pinned(home.host.pins / "addr-v4", "map")
        assert isinstance(state, MapState)
        state.frozen = True
    entries = dict(state.entries)
    await asyncio.sleep(1)  # the rule's time is over
    service = home.service("--on-exit", "detach")
    task = asyncio.create_task(service.run())
    await home.told_in_part("addr-v4 is frozen")
    assert home.kernel.attached(INTERFACE) is not None
    assert (await home.ask("GET", "/readyz")).status == 503
    assert state.entries == entries
    (home.host.pins / "addr-v4").unlink()  # which is what the sentence says
    await home.until("/api/v1/status", ready=True)
    reply = await home.ask("POST", "/api/v1/rules", json={"target": "192.0.2.2"})
    assert reply.status == 200
    service._stop.set()
    assert await task == 0


async def test_own_pins_that_are_removed_are_made_again(home: Home) -> None:
    async with home.running():
        pins = home.host.pinned()["xdpctl"]
        for pin in home.host.own.iterdir():
            if pin.is_file():
                pin.unlink()
        await _there(lambda: home.host.pinned()["xdpctl"] == pins)
