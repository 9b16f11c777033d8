"""`[[list]]` in the file: what it may say, and what each error names."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xdpctl.abi import RuleAction
from xdpctl.errors import SettingsError
from xdpctl.rules.names import Name
from xdpctl.settings import (
    Denial,
    Expire,
    Lifetime,
    ListFormat,
    ListSettings,
    Passthru,
    PrimaryAddress,
    ZoneListSettings,
    load_settings,
)
from xdpctl.settings.lists import _ZONE_KEYS, lists_from

if TYPE_CHECKING:
    from pathlib import Path


ZONE = '[[list]]\nzone = "a.example"\nprimary = "127.0.0.1"\n'


def zone_lists(folder: Path, content: str) -> tuple[ZoneListSettings, ...]:
    """Return the zones of a file with this content."""
    path = folder / "xdpctl.toml"
    path.write_text(content, "utf-8")
    return load_settings([], {}, default_file=path, require_interface=False).zone_lists


def lists(folder: Path, content: str) -> tuple[ListSettings, ...]:
    """Return the lists of a file with this content."""
    path = folder / "xdpctl.toml"
    path.write_text(content, "utf-8")
    return load_settings([], {}, default_file=path, require_interface=False).lists


def refused(folder: Path, content: str) -> str:
    """Return the sentence that this content leads to."""
    with pytest.raises(SettingsError) as caught:
        lists(folder, content)
    assert caught.value.sentence.isprintable()
    return caught.value.sentence


def test_without_tables_there_are_no_lists(tmp_path: Path) -> None:
    assert lists(tmp_path, "") == ()


def test_a_file_is_enough(tmp_path: Path) -> None:
    assert lists(tmp_path, '[[list]]\nfile = "/var/lib/bad.txt"') == (
        ListSettings(
            file=tmp_path.__class__("/var/lib/bad.txt"),
            origin="list:bad.txt",
            action=None,
            format=ListFormat.AUTO,
            refresh=None,
        ),
    )


def test_every_key_is_read(tmp_path: Path) -> None:
    content = """
    [[list]]
    file = "/a"
    origin = "list:mine"
    action = "truncate"
    format = "hosts"
    refresh = "5m"
    [[list]]
    file = "/b"
    refresh = "watch"
    """
    first, second = lists(tmp_path, content)

    assert (first.origin, first.action, first.format, first.refresh) == (
        "list:mine",
        RuleAction.TRUNCATE,
        ListFormat.HOSTS,
        300,
    )
    assert second.refresh is None


def test_a_relative_file_lies_beside_the_settings(tmp_path: Path) -> None:
    (found,) = lists(tmp_path, '[[list]]\nfile = "lists/bad.txt"')

    assert found.file == tmp_path / "lists" / "bad.txt"


def test_a_drop_that_is_said_is_told_from_one_that_is_not(tmp_path: Path) -> None:
    (said,) = lists(tmp_path, '[[list]]\nfile = "/a"\naction = "drop"')

    assert said.action is RuleAction.DROP


def test_a_zone_and_a_primary_on_loopback_are_enough(tmp_path: Path) -> None:
    assert zone_lists(tmp_path, ZONE) == (
        ZoneListSettings(
            Name.from_text("a.example"),
            "list:a.example",
            (PrimaryAddress(ip_address("127.0.0.1"), 53),),
        ),
    )


def test_every_key_of_a_zone_is_read(tmp_path: Path) -> None:
    content = """
    [[list]]
    zone = "Block.RPZ.example."
    name = "block"
    primary = ["192.0.2.1", "2001:db8::1@5353"]
    key-file = "rpz.key"
    tls-name = "ns1.example"
    tls-ca = "ca.pem"
    refresh = "10s"
    expire = "7d"
    lifetime = "ttl"
    passthru = "exempt"
    update = "192.0.2.7"
    update-key-file = "update.key"
    denial = "skip"
    action = "drop"
    format = "rpz"
    max-shrink = "10%"
    """
    assert zone_lists(tmp_path, content) == (
        ZoneListSettings(
            zone=Name.from_text("block.rpz.example"),
            origin="list:block",
            primaries=(
                PrimaryAddress(ip_address("192.0.2.1"), 853),
                PrimaryAddress(ip_address("2001:db8::1"), 5353),
            ),
            key_file=tmp_path / "rpz.key",
            tls_name="ns1.example",
            tls_ca=tmp_path / "ca.pem",
            refresh=10,
            expire=7 * 86400,
            lifetime=Lifetime.TTL,
            passthru=Passthru.EXEMPT,
            update=(PrimaryAddress(ip_address("192.0.2.7"), 53),),
            update_key_file=tmp_path / "update.key",
            action=RuleAction.DROP,
            denial=Denial.SKIP,
            max_shrink=0.1,
        ),
    )


def test_over_tls_with_a_name_no_key_is_needed(tmp_path: Path) -> None:
    content = '[[list]]\nzone = "a.example"\nprimary = "192.0.2.1"\n'
    (found,) = zone_lists(tmp_path, f'{content}tls-name = "ns1.example"\nexpire = "soa"')

    assert (found.key_file, found.expire) == (None, Expire.SOA)


@pytest.mark.parametrize("text", ["192.0.2.1", "192.0.2.1:0", "here:53"])
def test_notify_comes_to_an_address_and_a_port(text: str) -> None:
    with pytest.raises(SettingsError, match="notify-listen"):
        load_settings(["--notify-listen", text], {}, require_interface=False)


def test_notify_without_a_zone_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "xdpctl.toml"
    path.write_text('notify-listen = "[::]:5300"', "utf-8")
    found = load_settings([], {}, default_file=path, require_interface=False)

    assert str(found.notify_listen) == "[::]:5300"
    assert "--notify-listen has no effect without a [[list]] with the key zone" in found.warnings


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("list = 1", "begin each with a line [[list]]"),
        ('list = ["/a"]', "begin each with a line [[list]]"),
        ('[list]\nfile = "/a"', "begin each with a line [[list]]"),
        ("[[list]]", "it has no file and no zone"),
        ('[[list]]\nfile = "/a"\nzone = "a.example"', "it has both file and zone"),
        ('[[list]]\nfile = "/a"\nprimary = "127.0.0.1"', "it is for a list that is a zone"),
        ('[[list]]\nzone = "a.example"\nfiles = "/b"', "there is no key with this name"),
        ('[[list]]\nzone = "a.example"', "it has no primary"),
        ('[[list]]\nzone = "a.example"\nprimary = []', "it has no primary"),
        ('[[list]]\nzone = "."\nprimary = "127.0.0.1"', "the root zone cannot be a list"),
        ('[[list]]\nzone = "a.example"\nprimary = "ns1.example"', "a primary is an address"),
        ('[[list]]\nzone = "a.example"\nprimary = "192.0.2.1"', "add key-file with the TSIG key"),
        (
            '[[list]]\nzone = "a.example"\nprimary = ["127.0.0.1", "192.0.2.1"]',
            "anybody on the way to 192.0.2.1",
        ),
        (f'{ZONE}refresh = "watch"', "a zone is watched by its serial"),
        (f'{ZONE}format = "hosts"', "a zone is always read as rpz"),
        (f'{ZONE}expire = "never"', "'never' as a duration"),
        (f'{ZONE}lifetime = "soa"', "one of none, ttl"),
        (f'{ZONE}passthru = "drop"', "one of allow, exempt"),
        (f'{ZONE}action = "pass"', "with the action pass"),
        (f'{ZONE}tls-ca = "/ca.pem"', "add the key tls-name"),
        (f'{ZONE}tls-name = "."', "the name in the primary's certificate"),
        (f'{ZONE}[[list]]\nfile = "/b"\nname = "a.example"', "number 2 in"),
        ('[[list]]\nfile = "/a"\nfiles = "/b"', "key 'files' of [[list]] number 1"),
        ('[[list]]\nfile = "/a"\nfiles = "/b"', "did you mean file?"),
        ("[[list]]\nfile = 1", "key file of [[list]] number 1"),
        ('[[list]]\nfile = ""', "it must be a path"),
        ('[[list]]\nfile = "/a"\norigin = "cli"', "the origin of a list must begin with list:"),
        ('[[list]]\nfile = "/a"\norigin = "dnsdist"', "the origin of a list must begin with list:"),
        ('[[list]]\nfile = "/a"\norigin = "list:"', "as an origin"),
        ('[[list]]\nfile = "/"', "its file's name"),
        ('[[list]]\nfile = "/a"\naction = "block"', "'block' as an action"),
        ('[[list]]\nfile = "/a"\nformat = "csv"', "one of auto, targets, cidr, hosts, rpz"),
        ('[[list]]\nfile = "/a"\nrefresh = "often"', "'often' as a duration"),
        ('[[list]]\nfile = "/a"\nrefresh = 300', "it must be a string"),
        ('[[list]]\nfile = "/a"\nformat = "rpz"\naction = "pass"', "with the action pass"),
        (
            '[[list]]\nfile = "/a/x"\n[[list]]\nfile = "/b/x"',
            "number 2 in",
        ),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_names_it(
    tmp_path: Path, content: str, said: str
) -> None:
    assert said in refused(tmp_path, content)


toml_values = st.recursive(
    st.text() | st.integers() | st.booleans() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["file", "origin", "action", "format", "refresh"]) | st.text(),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    toml_values
    | st.lists(st.dictionaries(st.sampled_from(["file", "origin"]), st.text()))
    | st.lists(
        st.fixed_dictionaries(
            {
                "zone": st.text() | st.just("a.example"),
                "primary": st.text() | st.sampled_from(["127.0.0.1", "192.0.2.1", ["::1", 5]]),
            },
            optional={
                key: st.text() | st.sampled_from(["soa", "ttl", "exempt", "1h", "rpz"])
                for key in sorted(_ZONE_KEYS.keys() - {"zone", "primary"})
            },
        ),
        max_size=2,
    )
)
def test_any_value_is_lists_or_our_error(tmp_path: Path, value: object) -> None:
    try:
        found = lists_from(value, tmp_path / "x.toml", "x.toml")
    except SettingsError as error:
        assert error.sentence.isprintable()  # noqa: PT017 - both ends are right
    else:
        assert len({entry.origin for entry in found}) == len(found)
