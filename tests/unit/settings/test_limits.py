"""The options of the limits: what is taken, what is refused, and with which sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from xdpctl.errors import SettingsError
from xdpctl.process.clock import ticks_a_second
from xdpctl.settings import Settings, load_settings
from xdpctl.settings.settings import EXEMPT_MAX


def load(*argv: str) -> Settings:
    """Return the settings of a command line alone."""
    return load_settings(argv, {}, default_file=Path("/nonexistent"), require_interface=False)


def refused(*argv: str) -> str:
    """Return the sentence that refuses a command line."""
    with pytest.raises(SettingsError) as caught:
        load(*argv)
    return caught.value.sentence


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("32:1", ((32, 1),)),
        ("32:1,24:32", ((32, 1), (24, 32))),
        ("32:1, 24:32", ((32, 1), (24, 32))),
        ("32:1,28:1,24:8,16:1024", ((32, 1), (28, 1), (24, 8), (16, 1024))),
    ],
)
def test_one_to_four_prefixes_are_read(text: str, levels: object) -> None:
    assert load("--rate-limit-prefixes", text).rate_limit_prefixes == levels


def test_a_list_of_prefixes_in_the_file_is_read_like_a_text(tmp_path: Path) -> None:
    file = tmp_path / "xdpctl.toml"
    file.write_text('rate-limit-prefixes = ["32:1", "24:32"]\nrate-limit-prefixes6 = ["64:1"]\n')
    found = load("--config", str(file))
    assert found.rate_limit_prefixes == ((32, 1), (24, 32))
    assert found.rate_limit_prefixes6 == ((64, 1),)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 to 4 prefix lengths"),
        ("32", "1 to 4 prefix lengths"),
        ("32:1,", "1 to 4 prefix lengths"),
        ("32:1,28:1,24:1,20:1,16:1", "1 to 4 prefix lengths"),
        ("33:1", "a length is from 1 to 32"),
        ("0:1", "a length is from 1 to 32"),
        ("32:0", "a multiplier from 1 to 1024"),
        ("32:1025", "a multiplier from 1 to 1024"),
        ("24:32,32:1", "shorter than the one before"),
        ("32:1,32:2", "shorter than the one before"),
        ("32:8,24:1", "its multiplier not smaller"),
    ],
)
def test_nonsense_prefixes_are_refused(text: str, why: str) -> None:
    assert why in refused("--rate-limit-prefixes", text)


@pytest.mark.parametrize("text", ["-1", "1.5", "1000001", "ten", ""])
def test_a_nonsense_rate_is_refused(text: str) -> None:
    assert "a number from 0 to 1000000" in refused(f"--rate-limit={text}")


@pytest.mark.parametrize("text", ["1", "63", "100000001", "many"])
def test_a_flood_limit_under_a_batch_of_tickets_is_refused(text: str) -> None:
    assert "0 or a number from 64 to 100000000" in refused("--flood-limit", text)


@pytest.mark.parametrize("text", ["0", "1000", "512", "1048576", "x"])
def test_a_table_is_a_power_of_two(text: str) -> None:
    assert "a power of two from 1024 to 524288" in refused("--rate-limit-table", text)


@pytest.mark.parametrize(("text", "why"), [("30s", "from 1m to 1w"), ("8d", "to 1w"), ("1", "30m")])
def test_a_lifetime_is_a_minute_to_a_week(text: str, why: str) -> None:
    assert why in refused("--proven-lifetime", text)


def test_a_burst_under_two_ticks_is_refused_with_the_least_that_works() -> None:
    ticks = ticks_a_second()
    sentence = refused("--rate-limit", str(10 * ticks), "--rate-limit-burst", "19")
    assert f"{ticks} ticks a second" in sentence
    assert "use at least 20" in sentence


def test_a_burst_of_more_than_an_hour_is_refused() -> None:
    sentence = refused("--rate-limit", "2", "--rate-limit-burst", "7201")
    assert "use at most 7200" in sentence
    assert load("--rate-limit", "2", "--rate-limit-burst", "7200").rate_limit_burst == 7200


def test_a_burst_of_two_ticks_is_taken() -> None:
    argv = ("--rate-limit", str(10 * ticks_a_second()), "--rate-limit-burst", "20")
    assert load(*argv).rate_limit_burst == 20


@pytest.mark.parametrize("text", ["0.0.0.0/0", "10.0.0.0/7", "::/0", "2000::/15"])
def test_what_would_exempt_nearly_everybody_is_refused(text: str) -> None:
    assert "xdpctl panic" in refused("--exempt", text)


def test_more_exempt_prefixes_than_there_is_room_for_are_refused() -> None:
    argv = [f"--exempt=192.0.{n >> 8}.{n & 255}" for n in range(EXEMPT_MAX + 1)]
    assert "there is room for 1024" in refused(*argv)


@pytest.mark.parametrize(
    ("option", "value", "needed"),
    [
        ("rate-limit-burst", "100", "--rate-limit"),
        ("rate-limit-table", "1024", "--rate-limit"),
        ("proven-factor", "8", "--rate-limit"),
        ("flood-limit-proven", "100", "--flood-limit"),
        ("rate-limit-slip", "2", "--rate-limit or --flood-limit"),
        ("proven-lifetime", "1h", "--rate-limit or --flood-limit"),
        ("cookie-secret-file", "/x", "--rate-limit or --flood-limit"),
    ],
)
def test_an_option_without_its_limit_is_warned_of(option: str, value: str, needed: str) -> None:
    assert load(f"--{option}", value).warnings == (f"--{option} has no effect without {needed}",)


def test_options_with_their_limit_are_not_warned_of() -> None:
    argv = ("--rate-limit", "50", "--flood-limit", "1000", "--rate-limit-burst", "100")
    assert load(*argv, "--flood-limit-proven", "0", "--proven-factor", "8").warnings == ()
