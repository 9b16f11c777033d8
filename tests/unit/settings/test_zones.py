"""Own zones: the options, the tables of the file, and how they come together."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.errors import SettingsError
from xdpctl.rules import Name
from xdpctl.settings import Settings, ZoneSettings, load_settings
from xdpctl.settings.values import refuse_unusable
from xdpctl.settings.zones import PrimaryAddress, parse_primary

NAME = Name.from_text("example.com")
LOCAL = PrimaryAddress(ip_address("127.0.0.1"))


def load(*argv: str, file: str = "", folder: Path = Path("/nonexistent")) -> Settings:
    """Return the settings of a command line and a file."""
    path = folder / "xdpctl.toml"
    if file:
        path.write_text(file)
    return load_settings(argv, {}, default_file=path, require_interface=False)


def refused(*argv: str, file: str = "", folder: Path = Path("/nonexistent")) -> str:
    """Return the sentence that refuses them."""
    with pytest.raises(SettingsError) as caught:
        load(*argv, file=file, folder=folder)
    assert "\n" not in caught.value.sentence
    return caught.value.sentence


def test_a_limit_alone() -> None:
    assert load("--zone-limit", ".Example.COM=500").zones == (ZoneSettings(NAME, 500),)


def test_a_limit_with_names() -> None:
    argv = ("--zone-limit", ".example.com=500", "--zone-names", ".example.com=127.0.0.1")
    (zone,) = load(*argv).zones
    assert zone == ZoneSettings(NAME, 500, (LOCAL,))
    assert zone.burst == 1250


def test_several_primaries_are_asked_in_their_order() -> None:
    argv = [f"--zone-names=.example.com={address}" for address in ("192.0.2.2", "192.0.2.1")]
    (zone,) = load("--zone-limit", ".example.com=5", *argv).zones
    assert [str(each.address) for each in zone.primaries] == ["192.0.2.2", "192.0.2.1"]


def test_names_without_a_limit_are_a_warning() -> None:
    settings = load("--zone-names", ".example.com=127.0.0.1")
    assert settings.zones == ()
    (warning,) = settings.warnings
    assert "no effect without --zone-limit .example.com=N" in warning


def test_a_table_has_everything(tmp_path: Path) -> None:
    text = (
        '[[zone]]\nname = "example.com"\nlimit = 500\nprimary = ["127.0.0.1", "[2001:db8::1]:54"]\n'
        'key-file = "zone.key"\nwatch = true\n'
    )
    (zone,) = load(file=text, folder=tmp_path).zones
    assert zone.key_file == tmp_path / "zone.key"
    assert zone.primaries[1] == PrimaryAddress(ip_address("2001:db8::1"), 54)
    assert (zone.name, zone.limit, zone.watch) == (NAME, 500, True)


def test_options_take_the_place_of_a_tables_keys(tmp_path: Path) -> None:
    text = '[[zone]]\nname = ".example.com"\nlimit = 500\nprimary = "192.0.2.1"\n'
    argv = ("--zone-limit", ".example.com=7", "--zone-names", ".example.com=127.0.0.1")
    assert load(*argv, file=text, folder=tmp_path).zones == (ZoneSettings(NAME, 7, (LOCAL,)),)


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (("--zone-limit", "example.com=5"), "leading dot: .example.com"),
        (("--zone-limit", "*.example.com=5"), "leading dot: .example.com"),
        (("--zone-limit", "\x1f=5"), "leading dot: .example.com"),
        (("--zone-limit", ".example.com"), "write it as .example.com=500"),
        (("--zone-limit", ".example.com=0"), "1 to 1000000"),
        (("--zone-limit", ".example.com=1.5"), "1 to 1000000"),
        (("--zone-limit", ".=5"), "the root cannot have a limit"),
        (("--zone-limit", f".{'a.' * 41}z=5"), "at most 40 labels"),
        (("--zone-limit", ".a..b=5"), "name"),
        (("--zone-limit", ".a.example=5", "--zone-limit", ".a.example=6"), "two values of"),
        (("--zone-names", ".example.com"), "a zone and its primary"),
        (("--zone-names", ".example.com=ns1.example"), "a primary is an address"),
        (("--zone-names", ".example.com=127.0.0.1:0"), "there is no port 0"),
        (("--zone-names", ".example.com=127.0.0.1:65536"), "there is no port 65536"),
        (("--zone-names", ".example.com=fe80::1%eth0"), "cannot have a scope"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(argv: tuple[str, ...], why: str) -> None:
    assert why in refused(*argv)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("limit = 5", "it has no name"),
        ('name = "example.com"', "without a limit"),
        ('name = "example.com"\nlimit = "5"', "it must be a number"),
        ('name = "example.com"\nlimit = 5\nprimary = []', "no primary in it"),
        ('name = "example.com"\nlimit = 5\nprimary = 7', "a text in quotes"),
        ('name = "example.com"\nlimit = 5\nkey-file = "k"', "add the key primary"),
        ('name = "example.com"\nwatch = "yes"', "true or false"),
        ('name = "com"\nwatch = true', "a top-level domain is never limited"),
        ('name = "example.com"\nlimits = 5', "limit"),
        ('name = "example.com"\nlimit = 5\nproof = "cgroup"', "above the first line [["),
        ('name = "example.com"\nlimit = 5\n[[zone]]\nname = ".EXAMPLE.com"\nlimit = 6', "another"),
    ],
)
def test_a_table_that_is_wrong_is_refused(table: str, why: str, tmp_path: Path) -> None:
    assert why in refused(file=f"[[zone]]\n{table}\n", folder=tmp_path)


def test_a_zone_that_is_no_table_is_refused(tmp_path: Path) -> None:
    assert "[[zone]]" in refused(file='zone = "example.com"\n', folder=tmp_path)


NOBODYS = [
    ("0.0.0.0", "no host has the address"),  # noqa: S104 - refused
    ("::", "no host has the address"),
    ("::ffff:0:0", "no host has the address"),
    ("255.255.255.255", "the broadcast address"),
    ("224.0.0.251", "a multicast address"),
    ("ff02::fb", "a multicast address"),
    ("fe80::1", "a link-local address"),
]


@pytest.mark.parametrize(("address", "why"), NOBODYS)
def test_a_primary_whose_address_no_server_has_is_refused(
    address: str, why: str, tmp_path: Path
) -> None:
    zone, key = '[[list]]\nzone = "rpz.example"\nprimary =', f'"{address}@53"'
    own = f'[[zone]]\nname = "example.com"\nlimit = 5\nprimary = {key}\n'
    for sentence in (
        refused("--zone-limit=.example.com=5", f"--zone-names=.example.com={address}"),
        refused(file=own, folder=tmp_path),
        refused(file=f"{zone} {key}\n", folder=tmp_path),
        refused(file=f'{zone} "127.0.0.1"\nupdate = {key}\n', folder=tmp_path),
    ):
        assert address in sentence
        assert why in sentence


def _is_of_a_host(address: IPv4Address | IPv6Address) -> bool:
    try:
        refuse_unusable(address)
    except ValueError:
        return False
    return True


@given(st.ip_addresses().filter(_is_of_a_host), st.integers(1, 65535))
def test_every_primary_is_read_in_each_of_its_forms(address: object, port: int) -> None:
    wanted = PrimaryAddress(ip_address(str(address)), port)
    form = "[{}]:{}" if ":" in str(address) else "{}:{}"
    assert parse_primary(form.format(address, port)) == wanted
    assert parse_primary(f"{address}@{port}") == wanted
    assert parse_primary(str(address)).address == wanted.address
