"""Limits of zones in a running service: what is in force, what is watched, what is proposed.

Names that come from a real primary are tests/net/test_zone_limits.py's.
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.whole_service import PATIENCE, Home
from tests.unit.service.test_limits import fields, limits, pinned, reload, state, until
from tests.unit.zones.test_heavy import LIST, cpu
from xdpctl.abi import (
    ZONE_CELL_SIZE,
    ZONE_ENDS_OFFSET,
    ZONE_TIME_SHIFT,
    ZONES_LAYOUT,
    MapName,
    ZoneKnowledge,
    ZoneLimitValue,
    decode_zone_limit,
)
from xdpctl.process.clock import ticks_a_second
from xdpctl.service import zone_limits as module
from xdpctl.service.limit_tables import LimitTables
from xdpctl.zones.suffixes import PublicSuffixes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = ("--zone-limit", ".example.com=10")
_ALL = 2**64 - 1
NOW = 5_000_000


@pytest.fixture
async def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    suffixes = tmp_path / "suffixes"
    suffixes.write_text(LIST, encoding="utf-8")
    monkeypatch.setattr(module, "PublicSuffixes", lambda: PublicSuffixes(suffixes))
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(LimitTables, "now", lambda _tables: NOW)
    return Home(monkeypatch, tmp_path)


@pytest.fixture(autouse=True)
def _closing(home: Home) -> Iterator[None]:
    yield
    home.close()


def in_force(home: Home) -> list[ZoneLimitValue]:
    """Return the zones in the kernel that limit somebody."""
    values = map(decode_zone_limit, state(home, MapName.ZONE_LIMITS).entries.values())
    return [value for value in values if value.room < 1 << 58]


def config(home: Home, *lines: str, name: str = "example.com") -> tuple[str, ...]:
    """Write the file of a service with a watched zone; return its options."""
    path = home.directory / "xdpctl.toml"
    top = [line for line in lines if line.startswith("protect")]
    table = [line for line in lines if line not in top]
    path.write_text("\n".join([*top, "[[zone]]", f'name = "{name}"', "watch = true", *table, ""]))
    return ("--config", str(path))


def seen(home: Home, *cells: tuple[str, int, int]) -> None:
    """Let the program have counted ends of names: (end, how often, fronts)."""
    value = cpu(sum(count for _, count, _ in cells) or 1, *cells)
    state(home, MapName.HEAVY_ZONES).entries[bytes(4)] = value + cpu(0)


def spend(home: Home, seconds: float) -> None:
    """Let the account of zone 0 be so far ahead of its limit."""
    memory = state(home, MapName.ZONE_CELLS).memory
    assert memory is not None
    ahead = round(seconds * ticks_a_second()) << ZONE_TIME_SHIFT
    struct.pack_into("=Q", memory, 0, (NOW << ZONE_TIME_SHIFT) + ahead)
    assert ZONE_CELL_SIZE >= 8


class Attack:
    """Many names below an end are asked for, all the time."""

    def __init__(self, home: Home, end: str = "example.com", fronts: int = _ALL) -> None:
        self._home = home
        self._cell = (end, 1_000_000, fronts)

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        seconds = 0.0
        while True:
            seen(self._home, self._cell)
            spend(self._home, seconds := seconds + 1.0)
            await asyncio.sleep(0.001)


async def looks(home: Home, count: int = 6) -> None:
    """Wait for so many looks at what was counted."""
    for _ in range(count):
        seen(home, ("other.example", 1, 1))
        async with asyncio.timeout(PATIENCE):
            while any(state(home, MapName.HEAVY_ZONES).entries[bytes(4)]):  # noqa: ASYNC110
                await asyncio.sleep(0.005)


# --- in force -------------------------------------------------------------------------------


async def test_a_zone_without_a_primary_is_limited_from_the_start(home: Home) -> None:
    async with home.running(*LIMIT):
        await until(lambda: bool(in_force(home)))
        (value,) = in_force(home)
        assert value.names is ZoneKnowledge.UNKNOWN
        assert value.room == pytest.approx(25 * value.price)
        (zone,) = (await limits(home))["zones"]
        assert (zone["zone"], zone["limit"], zone["in_force"]) == (".example.com", 10, True)


async def test_another_limit_and_none_come_with_a_reload(home: Home) -> None:
    async with home.running(*LIMIT):
        await until(lambda: bool(in_force(home)))
        price = in_force(home)[0].price
        await reload(home, "--zone-limit", ".example.com=20", "--zone-limit", ".example.net=5")
        await until(lambda: len(in_force(home)) == 2)
        assert in_force(home)[0].price == pytest.approx(price / 2, rel=0.01)
        await reload(home)
        assert "zone-limits" not in pinned(home)
        assert (await limits(home))["zones"] == []


async def test_a_zone_whose_names_are_to_come_is_not_limited_and_that_is_said(home: Home) -> None:
    options = (*LIMIT, "--zone-names", ".example.com=127.0.0.1:1")
    async with home.running(*options):
        await until(lambda: "zone-limits" in pinned(home))
        (zone,) = (await limits(home))["zones"]
        assert (zone["in_force"], zone["names"]) == (False, None)
        await home.until("/api/v1/status", ready=True)

        async def said() -> bool:
            texts = (await limits(home))["warnings"]
            return any("is not limited, as its names are not known" in text for text in texts)

        async with asyncio.timeout(PATIENCE):
            while not await said():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert in_force(home) == []


async def test_a_watched_zone_whose_names_cannot_be_had_says_so(home: Home) -> None:
    def in_vain(texts: list[str]) -> bool:
        return any(
            text.startswith(".example.com is not limited, as its names are not known: cannot")
            for text in texts
        )

    async with home.running(*config(home, 'primary = "127.0.0.1:1"')):
        async with asyncio.timeout(PATIENCE):
            while not in_vain((await limits(home))["warnings"]):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_zones_of_another_version_begin_anew_and_that_is_said(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async with home.running("--on-exit", "keep", *LIMIT):
        await until(lambda: bool(in_force(home)))
        head = state(home, MapName.ZONE_HEAD).memory
        assert head is not None
    head[0] = ZONES_LAYOUT + 1
    async with home.running(*LIMIT):
        await until(lambda: bool(fields(caplog, "limits-left")))
        assert head[0] == ZONES_LAYOUT
        await until(lambda: bool(in_force(home)))


# --- watched --------------------------------------------------------------------------------


async def test_a_watched_zone_is_limited_while_it_is_attacked_and_no_longer(
    home: Home, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(module, "WATCHED_SECONDS", 0.1)
    async with home.running(*config(home, "limit = 10")):
        await looks(home)
        assert in_force(home) == []
        (zone,) = (await limits(home))["zones"]
        assert (zone["watch"], zone["in_force"], zone["ends"]) == (True, False, None)
        async with Attack(home):
            await until(lambda: bool(in_force(home)))
            (zone,) = (await limits(home))["zones"]
            assert zone["in_force"]
            assert zone["ends"] is not None
        spend(home, 0.0)
        seen(home)
        await until(lambda: not in_force(home))
        history = (await home.ask("GET", "/api/v1/history")).body["changes"]
        rows = [(row["verb"], row["detail"]) for row in history if "zone" in row["verb"]]
        assert rows == [
            ("zone-limited", ".example.com origin=dynamic: names that are many"),
            ("zone-free", ".example.com origin=dynamic: no attack was seen any more"),
        ]


def ends(home: Home) -> int:
    """Return the tick at which the program ends the limit of zone 0; 0: never."""
    memory = state(home, MapName.ZONE_CELLS).memory
    assert memory is not None
    return int(struct.unpack_from("=Q", memory, ZONE_ENDS_OFFSET)[0])


async def test_the_program_ends_the_limit_of_a_watched_zone_if_no_service_does(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WATCHED_SECONDS", 300.0)
    wanted = NOW + 300 * ticks_a_second()
    options = ("--on-exit", "keep", *config(home, "limit = 10"))
    async with home.running(*options):
        await looks(home)
        assert ends(home) == 0
        async with Attack(home):
            await until(lambda: bool(in_force(home)))
            assert wanted - 3 * ticks_a_second() < ends(home) <= wanted + 1
    assert in_force(home)
    assert ends(home) > 0
    async with home.running(*options):  # which does not know of an attack
        await until(lambda: not in_force(home))
        assert ends(home) == 0


async def spared(home: Home, attack: Attack, *options: str) -> None:
    """See that no zone is limited while names are asked for."""
    async with home.running(*options):
        await looks(home, 2)
        async with attack:
            await looks(home)
            await asyncio.sleep(0.1)
            assert in_force(home) == []


async def test_few_names_that_are_asked_for_much_are_no_attack(home: Home) -> None:
    await spared(home, Attack(home, fronts=0b111), *config(home))


async def test_a_public_suffix_is_never_limited_by_the_service_itself(home: Home) -> None:
    await spared(home, Attack(home, "co.uk"), *config(home, name="co.uk"))


async def test_a_zone_that_holds_what_is_protected_is_never_limited_by_the_service_itself(
    home: Home,
) -> None:
    await spared(home, Attack(home), *config(home, 'protect = ["www.example.com"]'))


async def test_a_zone_below_a_protected_one_is_never_limited_either_and_that_is_said(
    home: Home,
) -> None:
    options = config(home, 'protect = [".example.com"]', name="www.example.com")
    await spared(home, Attack(home), *options)
    async with home.running(*options):
        async with asyncio.timeout(PATIENCE):
            while not (texts := (await limits(home))["warnings"]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert "watched in vain: protect has .example.com" in texts[-1]


async def test_a_watched_zone_that_is_protected_by_a_reload_is_free_at_once(home: Home) -> None:
    async with home.running(*config(home)):
        await looks(home)
        async with Attack(home):
            await until(lambda: bool(in_force(home)))
            await reload(home, *config(home, 'protect = ["www.example.com"]'))
            await until(lambda: not in_force(home))
            history = (await home.ask("GET", "/api/v1/history")).body["changes"]
            (detail,) = [row["detail"] for row in history if row["verb"] == "zone-free"]
            assert detail == ".example.com origin=dynamic: protect has www.example.com"


@pytest.mark.parametrize("step", [-1e9, 1e9])
async def test_a_clock_that_is_set_does_not_move_the_end_of_a_watched_zones_limit(
    home: Home, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    monkeypatch.setattr(module, "WATCHED_SECONDS", 1.0)
    async with home.running(*config(home)):
        await looks(home)
        async with Attack(home):
            await until(lambda: bool(in_force(home)))
        spend(home, 0.0)
        seen(home)
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + step)
        assert in_force(home)
        await until(lambda: not in_force(home))


async def test_what_was_said_of_heavy_zones_is_not_kept_for_ever(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever attacks one zone after the other fills no memory."""
    monkeypatch.setattr(module, "SAY_SECONDS", 0.05)
    parts: list[module.ZoneLimits] = []
    make = module.ZoneLimits.__init__

    def logged() -> list[dict[str, Any]]:
        return fields(caplog, "zone-heavy")

    def made(part: module.ZoneLimits, *given: Any, **named: Any) -> None:  # noqa: ANN401
        make(part, *given, **named)
        parts.append(part)

    monkeypatch.setattr(module.ZoneLimits, "__init__", made)
    async with home.running("--rate-limit", "100"):
        for number in range(5):

            def said(number: int = number) -> bool:
                seen(home, (f"heavy{number}.example", 1_000_000, _ALL))
                return any(each["zone"] == f".heavy{number}.example" for each in logged())

            await until(said)
            await asyncio.sleep(0.06)
        await looks(home, 2)
        assert len(parts[0]._said) <= 2


async def test_a_zone_that_is_watched_without_its_names_is_warned_of(home: Home) -> None:
    async with home.running(*config(home)):
        async with asyncio.timeout(PATIENCE):
            while not (texts := (await limits(home))["warnings"]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert texts[0].startswith(".example.com is watched without its names: 200 queries/s")


async def test_a_host_without_the_list_of_public_suffixes_is_warned_of(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PublicSuffixes", lambda: PublicSuffixes(home.directory / "none"))
    async with home.running(*config(home)):
        async with asyncio.timeout(PATIENCE):
            while not (texts := (await limits(home))["warnings"]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert "install Debian's package publicsuffix" in texts[-1]


async def test_other_names_below_the_same_end_are_no_attack_on_a_deeper_zone(home: Home) -> None:
    """The program counts two labels; the zone's own account says that nobody asks for it."""
    async with home.running(*config(home, name="example.co.uk")):
        await looks(home, 2)
        for _ in range(6):
            seen(home, ("co.uk", 1_000_000, _ALL))
            await asyncio.sleep(0.03)
        assert in_force(home) == []
        async with Attack(home, "co.uk"):
            await until(lambda: bool(in_force(home)))


async def test_a_watched_zone_in_another_one_does_not_hide_its_limit(home: Home) -> None:
    path = home.directory / "xdpctl.toml"
    zones = ('name = "example.com"\nlimit = 10', 'name = "a.example.com"\nwatch = true')
    path.write_text("".join(f"[[zone]]\n{zone}\n" for zone in zones))
    async with home.running("--config", str(path)):
        await until(lambda: bool(in_force(home)))
        assert len(state(home, MapName.ZONE_LIMITS).entries) == 1
        async with Attack(home):
            await until(lambda: len(in_force(home)) == 2)


# --- proposed -------------------------------------------------------------------------------


async def test_a_zone_that_is_asked_for_much_is_shown_with_what_to_do_and_logged_once(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async with home.running("--rate-limit", "50", "--rate-limit-table", "1024"):

        async def proposed() -> list[dict[str, Any]]:
            seen(home, ("victim.com", 1_000_000, _ALL), ("co.uk", 10, _ALL))
            document: dict[str, Any] = (await home.ask("GET", "/api/v1/status")).body
            return [zone for zone in document["heavy"] if zone["propose"]]

        async with asyncio.timeout(PATIENCE):
            while not (found := await proposed()):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert [(zone["zone"], zone["propose"]) for zone in found] == [
            (".victim.com", "--zone-limit .victim.com=100")
        ]
        await until(lambda: bool(fields(caplog, "zone-heavy")))
        for _ in range(4):
            await proposed()
            await asyncio.sleep(0.03)
        (said,) = fields(caplog, "zone-heavy")
        assert (said["zone"], said["propose"]) == (".victim.com", "--zone-limit .victim.com=100")
