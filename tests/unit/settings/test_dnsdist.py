"""`[[dnsdist]]` in the file: what it may say, and what each error names."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.errors import SettingsError
from xdpctl.settings import DnsdistSettings, OtherAction, Settings, load_settings
from xdpctl.settings.dnsdist import dnsdists_from

URL = 'url = "http://127.0.0.1:8083"\n'


def load(folder: Path, content: str) -> Settings:
    """Return the settings of a file with this content."""
    path = folder / "xdpctl.toml"
    path.write_text(content, "utf-8")
    return load_settings([], {}, default_file=path, require_interface=False)


def test_a_url_is_enough_and_nothing_is_held(tmp_path: Path) -> None:
    (found,) = load(tmp_path, f"[[dnsdist]]\n{URL}").dnsdists
    assert found == DnsdistSettings("http://127.0.0.1:8083")
    assert (found.poll, found.other, found.hold, found.address) == (
        1,
        OtherAction.SKIP,
        0,
        ("127.0.0.1", 8083),
    )


def test_a_table_has_everything(tmp_path: Path) -> None:
    content = (
        f'[[dnsdist]]\n{URL}key-file = "dnsdist.key"\npoll = "5s"\nother = "truncate"\n'
        'hold = "1h"\nhold-rate = 25\n'
    )
    (found,) = load(tmp_path, content).dnsdists
    assert found.key_file == tmp_path / "dnsdist.key"
    assert (found.poll, found.other, found.hold, found.hold_rate) == (
        5,
        OtherAction.TRUNCATE,
        3600,
        25,
    )


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("http://127.0.0.1:8083/", "http://127.0.0.1:8083"),
        ("http://LocalHost:80", "http://localhost"),
        ("http://[2001:DB8:0::1]:8083", "http://[2001:db8::1]:8083"),
    ],
)
def test_a_url_has_one_form(tmp_path: Path, url: str, same: str) -> None:
    (found,) = load(tmp_path, f'[[dnsdist]]\nurl = "{url}"').dnsdists
    assert found.url == same


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("dnsdist = 1", "begin each with a line [[dnsdist]]"),
        ("[[dnsdist]]", "add the key url"),
        ("[[dnsdist]]\nurl = 1", "it must be a text in quotes"),
        ('[[dnsdist]]\nurl = "127.0.0.1:8083"', "not a URL of http"),
        ('[[dnsdist]]\nurl = "https://127.0.0.1"', "has no TLS"),
        ('[[dnsdist]]\nurl = "http://u:p@127.0.0.1"', "cannot hold a password"),
        ('[[dnsdist]]\nurl = "http://127.0.0.1/jsonstat"', "without a path"),
        ('[[dnsdist]]\nurl = "http://127.0.0.1:99999"', "is not a URL"),
        ('[[dnsdist]]\nurl = "http://127.0.0.1:0"', "no host"),
        ('[[dnsdist]]\nurl = "http://a b:1"', "no host"),
        ('[[dnsdist]]\nurl = "http://:8083"', "no host"),
        ('[[dnsdist]]\nurl = "http://239.0.0.1:8083"', "239.0.0.1 is a multicast address"),
        ('[[dnsdist]]\nurl = "http://[ff02::1]"', "ff02::1 is a multicast address"),
        (f'[[dnsdist]]\n{URL}pol = "1s"', "did you mean poll?"),
        (f'[[dnsdist]]\n{URL}poll = "often"', "'often' as a duration"),
        (f'[[dnsdist]]\n{URL}other = "drop"', "one of skip, truncate"),
        (f"[[dnsdist]]\n{URL}hold-rate = 5", "add the key hold"),
        (f'[[dnsdist]]\n{URL}hold = "forever"', "or none"),
        (f'[[dnsdist]]\n{URL}hold = "1h"\nhold-rate = 0', "packets a second"),
        (f"[[dnsdist]]\n{URL}[[dnsdist]]\n{URL}", "another one has the same url"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_names_it(
    tmp_path: Path, content: str, said: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, content)
    assert said in caught.value.sentence
    assert caught.value.sentence.isprintable()


@pytest.mark.parametrize(
    ("host", "warned"), [("127.0.0.1", False), ("[::1]", False), ("192.0.2.1", True)]
)
def test_blocks_and_a_key_that_cross_the_network_are_warned_of(
    tmp_path: Path, host: str, *, warned: bool
) -> None:
    url = f"http://{host}:8083"
    for key, said in (
        ("", f"the blocks of {url}"),
        ('key-file = "k"', f"and the API key of {url}"),
    ):
        found = load(tmp_path, f'[[dnsdist]]\nurl = "{url}"\n{key}')
        assert any(said in text and "unencrypted" in text for text in found.warnings) is warned


values = st.text() | st.integers() | st.booleans() | st.floats() | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from(["url", "key-file", "poll", "hold", "hold-rate"]), values))
def test_any_value_is_settings_or_our_error(table: dict[str, object]) -> None:
    try:
        found = dnsdists_from([table], Path("/etc/x.toml"), "x.toml")
    except SettingsError:
        return
    assert all(each.url.startswith("http://") for each in found)
