"""The options of the TCP listener's token and certificate: what must agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from xdpctl.errors import SettingsError
from xdpctl.settings import Settings, load_settings

CERT, KEY = ("--tls-cert", "/x/cert.pem"), ("--tls-key", "/x/key.pem")
TOKEN = ("--token-file", "/x/token")


def load(*argv: str) -> Settings:
    no_file = Path("/nonexistent/xdpctl.toml")
    return load_settings(argv, {}, default_file=no_file, require_interface=False)


def refused(*argv: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(*argv)
    return caught.value.sentence


def test_certificate_and_key_are_taken_together() -> None:
    settings = load(*CERT, *KEY)
    assert (settings.tls_cert, settings.tls_key) == (Path(CERT[1]), Path(KEY[1]))


@pytest.mark.parametrize(("given", "missing"), [(CERT, KEY), (KEY, CERT)])
def test_half_of_a_pair_is_refused_naming_the_other(
    given: tuple[str, str], missing: tuple[str, str]
) -> None:
    assert f"without {missing[0]}" in refused(*given)


@pytest.mark.parametrize("listen", ["192.0.2.1:9953", "0.0.0.0:9953", "[::]:9953"])
def test_a_token_beyond_loopback_needs_tls(listen: str) -> None:
    said = refused(*TOKEN, "--listen", listen)
    assert listen in said
    assert "--tls-cert" in said


def test_a_token_beyond_loopback_is_taken_with_tls() -> None:
    assert load(*TOKEN, *CERT, *KEY, "--listen", "192.0.2.1:9953").token_file == Path(TOKEN[1])


@pytest.mark.parametrize("listen", ["127.0.0.1:9953", "127.9.9.9:1", "[::1]:9953"])
def test_a_token_on_loopback_needs_no_tls(listen: str) -> None:
    assert load(*TOKEN, "--listen", listen).tls_cert is None


def test_without_a_listener_the_token_is_said_to_do_nothing() -> None:
    assert load(*TOKEN, "--listen", "none").warnings == (
        "--token-file has no effect with --listen none",
    )


def test_a_token_itself_cannot_be_an_argument() -> None:
    assert "--token" in refused("--token", "secret-word")
