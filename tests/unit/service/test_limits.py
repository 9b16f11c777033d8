"""The limits in a running service: made, changed live, taken over, followed; and what may fail."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import struct
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fake_host import INTERFACE
from tests.support.fake_kernel import FakeMap
from tests.support.whole_service import PATIENCE, Home
from xdpctl.abi import (
    COUNTERS_SIZE,
    LIMITS_COOKIE_BASE_OFFSET,
    LIMITS_LAYOUT,
    LIMITS_SIZE,
    MapName,
    PacketAction,
    Reason,
    Scope,
    TallyRow,
    encode_cidr,
    names_of,
)
from xdpctl.errors import KernelError
from xdpctl.filter.own_pins import remove_left
from xdpctl.kernel.bpf.pins import netns_inode
from xdpctl.program.config import program_config
from xdpctl.rules import parse_network
from xdpctl.service import limits as limits_module
from xdpctl.service.limit_tables import LimitTables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.fake_kernel import MapState

KEEP = ("--on-exit", "keep")
TWO = ("--interface", "eth0", "--interface", "eth1")
RATE = ("--rate-limit", "50", "--rate-limit-table", "1024")
FLOOD = ("--flood-limit", "1000")
NOTHING = {"attached": [], "descriptors": 0, "own pins": set(), "control socket": False}
_NAMES = {str(name) for name in names_of(Scope.LIMITS)}


@pytest.fixture
async def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    home = Home(monkeypatch, tmp_path)
    home.kernel.add_interface("eth1")
    monkeypatch.setattr(limits_module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(limits_module, "CARE_SECONDS", 0.01)
    return home


@pytest.fixture(autouse=True)
def _closing(home: Home) -> Iterator[None]:
    yield
    home.close()


def pinned(home: Home, interface: str = INTERFACE) -> set[str]:
    """Return the maps of the limits that are pinned beside an interface's link."""
    prefix = f"{netns_inode()}-{interface}:"
    names = {name.removeprefix(prefix) for name in home.host.pinned()["xdpctl"]}
    return names & _NAMES


def state(home: Home, name: MapName, interface: str = INTERFACE) -> MapState:
    """Return a map of the limits as the kernel has it."""
    opened = home.host.bpf.open_map(home.host.own / f"{netns_inode()}-{interface}:{name}")
    with opened:
        return opened.state


def words(home: Home) -> tuple[int, ...]:
    """Return struct limits."""
    memory = state(home, MapName.LIMITS).memory
    assert memory is not None
    return struct.unpack_from(f"={LIMITS_SIZE // 8}Q", memory)


def exempt(home: Home) -> set[bytes]:
    """Return the keys of both maps of exempt prefixes."""
    return {*state(home, MapName.EXEMPT4).entries, *state(home, MapName.EXEMPT6).entries}


async def reload(home: Home, *options: str) -> None:
    """Let the service read other settings, and wait for the end of that."""
    home.heard()
    home.options = options
    signal.raise_signal(signal.SIGHUP)
    await home.told("RELOADING=1")
    await home.told("READY=1")


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - a fake kernel has no event
            await asyncio.sleep(0.01)


async def limits(home: Home) -> dict[str, Any]:
    """Return what the API says about limits."""
    found: dict[str, Any] = (await home.ask("GET", "/api/v1/limits")).body
    return found


def count(home: Home, reason: Reason, action: PacketAction, packets: int) -> None:
    """Let a program count packets on eth0."""
    counters = state(home, MapName.COUNTERS)
    value = bytearray(counters.entries.get(bytes(4), bytes(2 * COUNTERS_SIZE)))
    struct.pack_into("=Q", value, (reason * len(PacketAction) + action) * 16, packets)
    counters.entries[bytes(4)] = bytes(value)


def tally(home: Home, row: TallyRow, number: int, *, good: bool) -> None:
    """Let a program count proofs or cookies on eth0."""
    counters = state(home, MapName.COUNTERS)
    value = bytearray(counters.entries.get(bytes(4), bytes(2 * COUNTERS_SIZE)))
    struct.pack_into("=Q", value, (row * len(PacketAction) + good) * 16, number)
    counters.entries[bytes(4)] = bytes(value)


def program(home: Home, interface: str = INTERFACE) -> int:
    """Return the id of the program on an interface."""
    attached = home.kernel.attached(interface)
    assert attached is not None
    return attached.program_id


def fields(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, Any]]:
    """Return the fields of each log line of this name."""
    return [vars(r)["xdpctl_fields"] for r in caplog.records if r.getMessage() == name]


# --- made -----------------------------------------------------------------------------------


async def test_without_a_limit_there_is_no_map_and_no_program_for_it(home: Home) -> None:
    async with home.running():
        assert pinned(home) == set()
        assert not home.compiled[0].limits
        found = await limits(home)
        assert (found["rate_limit"], found["flood_limit"], found["proven"]) == (None, None, None)


async def test_limits_are_in_force_with_the_first_packet_on_every_interface(home: Home) -> None:
    async with home.running(*TWO, *RATE, *FLOOD, "--exempt", "192.0.2.0/24"):
        assert (
            pinned(home)
            == pinned(home, "eth1")
            == _NAMES
            & {
                "limits",
                "zone-head",
                "heavy-zones",
                "limit-cells",
                "limit-proven",
                "flood",
                "exempt4",
                "exempt6",
            }
        )
        assert state(home, MapName.LIMITS).info == state(home, MapName.LIMITS, "eth1").info
        assert words(home)[0] == LIMITS_LAYOUT
        assert words(home)[3] > 0, "the clock of a limit by source"
        assert exempt(home) == {encode_cidr(parse_network("192.0.2.0/24"))}
        used = home.kernel.programs[program(home)].info.map_ids
        assert state(home, MapName.LIMIT_CELLS).info.id in used
    remove_left(home.host.own)
    assert home.traces() == NOTHING


async def test_what_is_to_be_known_about_limits_is_logged_once_and_shown(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    options = ("--rate-limit", "50")
    async with home.running(*options):
        await reload(home, *options, "--rate-limit-slip", "2")
        said = [line["text"] for line in fields(caplog, "warning")]
        assert len([text for text in said if "65,536 words" in text]) == 1
        assert any("65,536 words" in text for text in (await limits(home))["warnings"])
        status = (await home.ask("GET", "/api/v1/status")).body
        assert any("65,536 words" in text for text in status["warnings"])


async def test_the_table_has_as_many_words_as_configured(home: Home) -> None:
    async with home.running(*RATE):
        cells = state(home, MapName.LIMIT_CELLS).info
        assert cells.max_entries * cells.value_size == 8 * 1024
        assert (await limits(home))["rate_limit"]["table"] == 1024


async def test_accounts_and_proofs_stay_when_the_program_goes(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with home.running(*RATE, "--exempt", "192.0.2.0/24"):
        cells, kept = state(home, MapName.LIMIT_CELLS).info, words(home)[48:]
    assert home.kernel.attached(INTERFACE) is None
    assert pinned(home) == {"limits", "limit-cells", "limit-proven"}
    async with home.running(*RATE):
        assert state(home, MapName.LIMIT_CELLS).info == cells
        assert words(home)[48:] == kept, "the secrets"
        assert fields(caplog, "limits-adopted")
    async with home.running():
        assert pinned(home) == set(), "nothing limits"
    assert home.traces() == NOTHING


# --- changed live ---------------------------------------------------------------------------


async def test_a_reload_changes_values_and_nothing_else(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with home.running(*RATE):
        before, on, maps = words(home), program(home), state(home, MapName.LIMITS).info
        await reload(home, *RATE, "--rate-limit-slip", "3", "--rate-limit-burst", "60")
        after = words(home)
        assert (after[2], program(home), state(home, MapName.LIMITS).info) == (3, on, maps)
        assert after[3] == before[3], "the time of accounts goes on"
        assert after[4] < before[4], "the room is smaller"
        assert after[48:] == before[48:], "secrets stay"
        (said,) = fields(caplog, "reloaded")
        assert said["changed"] == "rate-limit-burst, rate-limit-slip"


async def test_exempt_prefixes_come_and_go_without_another_program(home: Home) -> None:
    async with home.running("--exempt", "192.0.2.0/24", "--exempt", "2001:db8::/32"):
        on = program(home)
        await reload(home, "--exempt", "198.51.100.1", "--exempt", "2001:db8::/32")
        wanted = ("198.51.100.1/32", "2001:db8::/32")
        assert exempt(home) == {encode_cidr(parse_network(text)) for text in wanted}
        assert program(home) == on


async def test_limits_are_switched_on_and_off_with_another_program(home: Home) -> None:
    async with home.running():
        plain = program(home)
        await reload(home, *RATE)
        assert program(home) != plain
        assert pinned(home) == {"limits", "limit-cells", "limit-proven", "zone-head", "heavy-zones"}
        await reload(home, *RATE, *FLOOD)
        assert "flood" in pinned(home)
        await reload(home)
        assert pinned(home) == set()
    assert home.traces() == NOTHING


async def test_another_table_begins_anew_and_keeps_its_secrets(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async with home.running(*RATE):
        secrets, cells = words(home)[50:], state(home, MapName.LIMIT_CELLS).info.id
        proven = state(home, MapName.LIMIT_PROVEN).info.id
        await reload(home, "--rate-limit", "50", "--rate-limit-table", "2048")
        assert state(home, MapName.LIMIT_CELLS).info.id != cells
        assert state(home, MapName.LIMIT_PROVEN).info.id == proven
        assert words(home)[50:] == secrets
        (said,) = fields(caplog, "limits-left")
        assert "another size" in said["why"]


async def test_another_rate_begins_accounts_anew_and_that_is_said(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    table = ("--rate-limit-table", "65536")
    async with home.running("--rate-limit", "50", *table, "--on-exit", "keep"):
        await reload(home, "--rate-limit", "50", "--rate-limit-burst", "60", *table)
        assert not fields(caplog, "limits-left")
        await reload(home, "--rate-limit", "60", *table)
        (said,) = fields(caplog, "limits-left")
        assert said["why"] == "another --rate-limit: accounts begin anew, proofs stay"
    async with home.running("--rate-limit", "70", *table):
        assert len(fields(caplog, "limits-left")) == 2


async def open_at_rest(home: Home) -> int:
    """Return how many descriptors are open, without those of a look that is under way."""
    counts = []
    for _ in range(20):
        counts.append(len(home.kernel.open))
        await asyncio.sleep(0.01)
    return min(counts)


@pytest.mark.parametrize("call", ["create_map", "load_program"])
async def test_a_reload_that_the_kernel_refuses_changes_nothing(home: Home, call: str) -> None:
    async with home.running(*RATE):
        before, on, maps = words(home), program(home), pinned(home)
        opened = await open_at_rest(home)
        home.kernel.faults.set(call, errno.ENOMEM, times=100)
        await reload(home, "--rate-limit", "50", "--rate-limit-table", "2048", *FLOOD)
        home.kernel.faults.clear()
        assert (words(home), program(home), pinned(home)) == (before, on, maps)
        assert await open_at_rest(home) == opened
        assert (await limits(home))["rate_limit"]["table"] == 1024
    remove_left(home.host.own)
    assert home.traces() == NOTHING


async def test_secrets_of_cookies_are_read_at_a_reload_and_bad_ones_leave_the_former(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    file = home.directory / "cookies"
    file.write_text("00112233445566778899aabbccddeeff\n")
    file.chmod(0o600)
    options = (*RATE, "--cookie-secret-file", str(file))
    async with home.running(*options):
        first = words(home)[10:12]
        assert any(first)
        file.write_text("ffeeddccbbaa99887766554433221100\n")
        await reload(home, *options)
        assert words(home)[10:12] != first
        assert fields(caplog, "reloaded")[-1]["changed"] == "cookie secrets"
        second = words(home)[10:12]
        file.chmod(0o644)
        await reload(home, *options)
        assert words(home)[10:12] == second
        assert "cookie-secret-file" in fields(caplog, "reload-failed")[-1]["error"]
        await home.until("/api/v1/status", ready=False)


async def test_cookies_and_proofs_of_which_none_is_good_are_warned_of(home: Home) -> None:
    file = home.directory / "cookies"
    file.write_text("00112233445566778899aabbccddeeff\n")
    file.chmod(0o600)

    async def said(text: str) -> bool:
        return any(text in each for each in (await limits(home))["warnings"])

    async with home.running(*FLOOD, "--cookie-secret-file", str(file)):
        tally(home, TallyRow.COOKIES, 99, good=False)
        tally(home, TallyRow.PROOFS, 20, good=False)
        async with asyncio.timeout(PATIENCE):
            while not await said("of 20 TCP connections none was found"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert not await said("DNS cookies")
        tally(home, TallyRow.COOKIES, 100, good=False)
        async with asyncio.timeout(PATIENCE):
            while not await said("none of 100 DNS cookies was good"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        file.write_text("ffeeddccbbaa99887766554433221100\n")
        await reload(home, *FLOOD, "--cookie-secret-file", str(file))
        assert not await said("DNS cookies")  # those were of the former secret
        tally(home, TallyRow.COOKIES, 200, good=False)
        async with asyncio.timeout(PATIENCE):
            while not await said("none of 100 DNS cookies was good"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        tally(home, TallyRow.COOKIES, 1, good=True)
        tally(home, TallyRow.PROOFS, 1, good=True)
        async with asyncio.timeout(PATIENCE):
            while await said("DNS cookies") or await said("none was found"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_what_was_counted_before_a_start_is_not_warned_of(home: Home) -> None:
    file = home.directory / "cookies"
    file.touch(0o600)

    async def said(text: str) -> bool:
        return any(text in each for each in (await limits(home))["warnings"])

    for times, secret in enumerate(("00112233445566778899aabbccddeeff", 32 * "f"), start=1):
        file.write_text(f"{secret}\n")
        async with home.running(*KEEP, *FLOOD, "--cookie-secret-file", str(file)):
            tally(home, TallyRow.PROOFS, 20 * times, good=False)
            async with asyncio.timeout(PATIENCE):
                while not await said("of 20 TCP connections none was found"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert not await said("DNS cookies")
            tally(home, TallyRow.COOKIES, 100 * times, good=False)
            async with asyncio.timeout(PATIENCE):
                while not await said("none of 100 DNS cookies was good"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)


async def test_a_start_with_bad_secrets_is_refused(home: Home) -> None:
    with pytest.raises(Exception, match="cannot use --cookie-secret-file"):
        await home.service(*RATE, "--cookie-secret-file", str(home.directory / "none")).run()
    assert home.traces() == NOTHING


# --- taken over -----------------------------------------------------------------------------


async def test_accounts_outlive_the_service(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    async with home.running(*KEEP, *RATE):
        before = {name: state(home, MapName(name)).info.id for name in pinned(home)}
        memory = state(home, MapName.LIMIT_CELLS).memory
        assert memory is not None
        memory[:8] = b"accounts"
        secrets = words(home)[48:]
    caplog.set_level("INFO")
    async with home.running(*KEEP, *RATE):
        assert {name: state(home, MapName(name)).info.id for name in pinned(home)} == before
        assert words(home)[48:] == secrets
        assert state(home, MapName.LIMIT_CELLS).memory is memory
        adopted = "heavy-zones, limit-cells, limit-proven, limits, zone-head"
        assert fields(caplog, "limits-adopted") == [{"maps": adopted}]


async def test_maps_of_another_version_are_not_taken_over_and_that_is_said(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async with home.running(*KEEP, *RATE):
        memory = state(home, MapName.LIMITS).memory
        assert memory is not None
        before = state(home, MapName.LIMIT_CELLS).info.id
    struct.pack_into("=Q", memory, 0, LIMITS_LAYOUT + 1)
    async with home.running(*RATE):
        assert state(home, MapName.LIMIT_CELLS).info.id != before
        assert words(home)[0] == LIMITS_LAYOUT
        (said,) = fields(caplog, "limits-left")
        assert "another version" in said["why"]
    remove_left(home.host.own)
    assert home.traces() == NOTHING


async def test_maps_of_another_size_of_value_are_not_taken_over_and_that_is_said(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async with home.running(*KEEP, *RATE):
        cells = state(home, MapName.LIMIT_CELLS)
    cells.info = replace(cells.info, value_size=2 * cells.info.value_size)
    async with home.running(*RATE):
        assert state(home, MapName.LIMIT_CELLS).info.id != cells.info.id
        (said,) = fields(caplog, "limits-left")
        assert "another version" in said["why"]
    remove_left(home.host.own)
    assert home.traces() == NOTHING


async def test_detach_removes_the_maps_and_attach_brings_the_same(home: Home) -> None:
    async with home.running(*RATE):
        before = state(home, MapName.LIMIT_CELLS).info.id
        assert (await home.ask("POST", "/api/v1/detach")).status == 200
        assert pinned(home) == set()
        assert (await home.ask("POST", "/api/v1/attach")).status == 200
        assert state(home, MapName.LIMIT_CELLS).info.id == before


# --- followed -------------------------------------------------------------------------------


async def test_a_limit_that_acts_is_logged_once_and_in_the_history(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with home.running(*RATE):
        count(home, Reason.LIMIT, PacketAction.DROP, 7)
        await until(lambda: bool(fields(caplog, "limit-acts")))
        found = await limits(home)
        assert [(a["reason"], a["dropped"]) for a in found["acting"]] == [("limit", 7)]
        count(home, Reason.LIMIT, PacketAction.DROP, 9)
        await home.until("/api/v1/status", ready=True)
        assert (await home.ask("GET", "/api/v1/status")).body["limits"][0]["reason"] == "limit"
        (line,) = fields(caplog, "limit-acts")
        assert line["see"] == "`xdpctl limits` names who is limited most"
        history = (await home.ask("GET", "/api/v1/history")).body["changes"]
        assert [(row["verb"], row["detail"]) for row in history] == [("limit-acts", "limit")]


async def test_limits_that_cannot_act_say_why(home: Home) -> None:
    async with home.running(*RATE):
        assert not (await limits(home))["off"]
        for switch, back, words_ in (
            ("panic", "resume", "panic is on"),
            ("detach", "attach", "the filter is not on eth0"),
        ):
            await home.ask("POST", f"/api/v1/{switch}")
            await home.until("/api/v1/status", panic=switch == "panic")
            await until_off(home, words_)
            await home.ask("POST", f"/api/v1/{back}")
            await until_off(home, "")


async def until_off(home: Home, words_: str) -> None:
    """Wait until the limits say that they are off, or not, with these words."""
    async with asyncio.timeout(PATIENCE):
        while True:
            off = (await limits(home))["off"]
            if words_ in off and bool(words_) == bool(off):
                return
            await asyncio.sleep(0.01)


async def test_sources_are_proven_by_hand_and_own_addresses_never_for_good(home: Home) -> None:
    home.kernel.addresses.append(ip_address("192.0.2.53"))
    async with home.running(*FLOOD):
        path = "/api/v1/limits/{}?address=192.0.2.7&address=2001:db8::7"
        assert (await home.ask("POST", path.format("prove"))).body == {"changed": 2}
        assert (await limits(home))["proven"]["sources"] == 2
        assert (await home.ask("POST", path.format("prove"))).body == {"changed": 0}
        own = await home.ask("POST", "/api/v1/limits/prove?address=192.0.2.53&address=192.0.2.9")
        assert own.status == 409
        assert "192.0.2.53: it is this host's own" in own.body["detail"]
        assert (await limits(home))["proven"]["sources"] == 2
        assert (await home.ask("POST", path.format("unprove"))).body == {"changed": 2}
        assert (await limits(home))["proven"]["sources"] == 0
        history = (await home.ask("GET", "/api/v1/history")).body["changes"]
        assert [row["verb"] for row in history].count("prove") == 4
        twice = "/api/v1/limits/prove?address=192.0.2.7&address=::ffff:192.0.2.7"
        assert (await home.ask("POST", twice)).body == {"changed": 1}


NOBODY = ("0.0.0.0", "255.255.255.255", "127.0.0.1", "224.0.0.1", "::", "::1", "ff02::1")  # noqa: S104


@pytest.mark.parametrize(
    ("query", "status", "words_"),
    [
        ("", 400, "address="),
        ("?address=192.0.2.0/24", 422, "of one address"),
        ("?address=www.example", 422, "of one address"),
        ("?address=300.1.1.1", 422, "300.1.1.1"),
        *((f"?address={each}", 422, "no query comes") for each in NOBODY),
        ("?address=192.0.2.1", 409, "no limit asks"),
    ],
)
async def test_a_proof_that_makes_no_sense_is_refused(
    home: Home, query: str, status: int, words_: str
) -> None:
    async with home.running():
        found = await home.ask("POST", f"/api/v1/limits/prove{query}")
        assert found.status == status
        assert words_ in found.body["detail"]


async def test_the_dns_servers_tcp_is_asked_only_while_a_limit_sends_clients_there(
    home: Home, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    asked: list[tuple[list[str], int]] = []
    up = True

    async def answers(addresses: Any, port: int) -> bool:  # noqa: ANN401 - any addresses
        asked.append(([str(address) for address in addresses], port))
        return up

    monkeypatch.setattr(limits_module, "answers", answers)
    home.kernel.addresses[:] = [
        ip_address(text) for text in ("127.0.0.1", "192.0.2.53", "fe80::1", "2001:db8::53")
    ]
    async with home.running(*RATE):
        count(home, Reason.LIMIT, PacketAction.DROP, 3)
        await until(lambda: bool(fields(caplog, "limit-acts")))
        assert not asked, "nobody is sent to TCP"
        count(home, Reason.LIMIT, PacketAction.TRUNCATE, 3)
        await until(lambda: bool(asked))
        assert asked[0] == (["192.0.2.53", "2001:db8::53", "127.0.0.1"], 53)
        await until(lambda: len(asked) > 1)
        assert (await limits(home))["tcp"] == [{"port": 53, "up": True}]
        up = False
        await until(lambda: bool(fields(caplog, "tcp-silent")))
        await home.until("/api/v1/status", ready=True)
        assert any("TCP port 53" in text for text in (await limits(home))["warnings"])
        up = True
        await until(lambda: bool(fields(caplog, "tcp-answers")))
        assert len(fields(caplog, "tcp-silent")) == 1


async def test_a_dry_run_asks_the_dns_servers_tcp_too(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the limit is in force is the time to hear of it."""

    async def answers(*_: object) -> bool:
        return False

    async def said() -> list[str]:
        return [text for text in (await limits(home))["warnings"] if "TCP port 53" in text]

    monkeypatch.setattr(limits_module, "answers", answers)
    home.kernel.addresses.append(ip_address("192.0.2.53"))
    async with home.running(*RATE, "--rate-limit-dry-run"):
        assert await said() == []
        count(home, Reason.LIMIT, PacketAction.PASS, 3)
        async with asyncio.timeout(PATIENCE):
            while not (found := await said()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert "with TC=1 when the dry run has ended" in found[0]


def test_a_clock_that_jumps_is_noticed_and_one_that_drifts_a_little_is_not(home: Home) -> None:
    now = 1_700_000_000.0
    file = home.directory / "cookies"
    file.write_text("00112233445566778899aabbccddeeff\n")
    file.chmod(0o600)
    os.chmod(home.directory, 0o700)  # noqa: PTH101 - as the checks of secrets want it
    settings = home.host.settings(*RATE, "--cookie-secret-file", str(file))
    with LimitTables(home.host.bpf, lambda: now) as tables:
        tables.use(tables.prepare(settings, program_config(settings)))

        def base() -> int:
            memory = tables.maps.maps[MapName.LIMITS].memory()
            return int(struct.unpack_from("=Q", memory, LIMITS_COOKIE_BASE_OFFSET)[0])

        before = base()
        now += 0.1
        assert not tables.set_clock()
        now += 3600
        assert tables.set_clock()
        assert (base() - before) % 2**64 >> 32 in {3599, 3600}
        now -= 86400
        assert tables.set_clock()
        assert not tables.set_clock()


@pytest.mark.parametrize(
    "options",
    [
        ("--rate-limit", "60", "--rate-limit-table", "1024"),  # another rate
        ("--rate-limit", "50", "--rate-limit-table", "2048"),  # another table
        (*RATE, "--exempt", "192.0.2.0/24"),
    ],
)
def test_maps_whose_memory_cannot_be_seen_are_closed_but_for_those_in_force(
    home: Home, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    former, wanted = (home.host.settings(*FLOOD, *each) for each in (RATE, options))
    memory, failed = FakeMap.memory, 0
    with LimitTables(home.host.bpf) as tables:
        tables.use(tables.prepare(former, program_config(former)))
        before = set(home.kernel.open)

        def prepared(failing: int) -> bool:
            """Prepare other settings, of which the memory of one map cannot be seen."""
            left = iter(range(failing))

            def see(self: FakeMap) -> memoryview:
                if next(left, None) is None:
                    raise KernelError("cannot see the memory of a map", errno.ENOMEM)
                return memory(self)

            with monkeypatch.context() as patched, contextlib.suppress(KernelError):
                patched.setattr(FakeMap, "memory", see)
                tables.prepare(wanted, program_config(wanted))
                return True
            return False

        while not prepared(failed):
            assert set(home.kernel.open) == before
            failed += 1
    assert failed
