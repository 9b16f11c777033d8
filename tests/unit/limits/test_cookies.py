"""The file with the secrets of DNS cookies, and the clock of their time stamps."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.errors import CookieSecretError
from xdpctl.limits import cookies
from xdpctl.limits.cookies import CookieKey, cookie_base, cookie_rate, read_cookie_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST = "e5e973e5a6b2a43f48e7dc849e37bfcf"  # RFC 9018, A.1
SECOND = "445536bcd2513298075a5d379663c962"


@pytest.fixture
def file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="xdpctl-") as name:
        path = Path(name) / "cookies"
        path.write_text(f"{FIRST}\n")
        path.chmod(0o600)
        yield path


def refused(file: Path) -> str:
    """Return the sentence about a file that cannot be used; it shows nothing of a secret."""
    with pytest.raises(CookieSecretError) as caught:
        read_cookie_secrets(file)
    sentence = caught.value.sentence
    assert sentence.startswith(f"cannot use --cookie-secret-file {file}: ")
    assert FIRST not in sentence
    return sentence


def test_a_secret_is_read_as_the_two_words_of_siphash(file: Path) -> None:
    assert read_cookie_secrets(file) == (CookieKey(0x3FA4B2A6E573E9E5, 0xCFBF379E84DCE748),)


def test_two_secrets_are_read_in_their_order(file: Path) -> None:
    file.write_text(f"{SECOND}\n\n  {FIRST.upper()}")
    keys = [CookieKey.from_octets(bytes.fromhex(line)) for line in (SECOND, FIRST)]
    assert read_cookie_secrets(file) == tuple(keys)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n",
        FIRST[:-1],
        f"{FIRST}0",
        f"{FIRST[:-1]}g",
        f"{FIRST} {SECOND}",
        f"{FIRST}\n{SECOND}\n{FIRST}\n",
        f"# the present one\n{FIRST}\n",
        f"{FIRST}\n" + "\n" * 1000,
        "é" * 16,
    ],
)
def test_anything_else_is_refused(file: Path, content: str) -> None:
    file.write_text(content)
    assert "one or two lines of 32 hexadecimal digits" in refused(file)


@pytest.mark.parametrize("mode", [0o604, 0o666, 0o602, 0o640, 0o660])
def test_a_file_that_anybody_but_its_owner_can_use_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    who = "everybody on this machine" if mode & 0o007 else "its group"
    assert f"its mode {mode:04o} lets {who} use it; run chmod go=" in refused(file)


def test_a_file_of_another_user_is_refused(file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    os.chown(file, 65534, 65534)
    assert "belongs to user 65534" in refused(file)


def test_a_missing_file_is_refused(file: Path) -> None:
    file.unlink()
    assert "No such file" in refused(file)


def test_a_file_that_the_service_may_not_read_says_whose_it_must_be(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(*_: object, **__: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cookies, "read_secret", forbid)
    assert "Permission denied; let the user that the service runs as own it" in refused(file)


def test_a_key_shows_nothing_of_itself(file: Path) -> None:
    assert "hidden" in repr(read_cookie_secrets(file)[0])


@given(
    st.integers(0, 2**33),
    st.integers(0, 2**48),
    st.sampled_from([100, 250, 300, 1000]),
    st.integers(0, 2**24),
)
def test_ticks_become_unix_time(unix_time: int, ticks: int, hz: int, later: int) -> None:
    """Also where it has more than 32 bits, and a day later."""
    rate = cookie_rate(hz)
    base = cookie_base(unix_time, ticks, rate)
    seconds = ((ticks + later) * rate + base) % 2**64 >> 32
    assert (unix_time + later // hz - seconds) % 2**32 in {0, 1}
