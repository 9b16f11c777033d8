"""Command line, environment and file become one value, or one sentence that names its source."""

from __future__ import annotations

import dataclasses
import grp
import os
import pwd
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xdpctl import __version__
from xdpctl.abi import MapName
from xdpctl.errors import SettingsError
from xdpctl.process.command_line import ArgumentParser
from xdpctl.process.log import LogFormat, LogLevel
from xdpctl.rules import AnyQtype, Name
from xdpctl.settings import (
    Changes,
    Listen,
    ModeSetting,
    OnExit,
    Owner,
    Proof,
    Settings,
    StalePolicy,
    XskFamily,
    add_service_options,
    control_path,
    load_settings,
    reloadable_changes,
    settings_from,
)
from xdpctl.settings.options import OPTIONS
from xdpctl.settings.values import DnstapTarget
from xdpctl.settings.zones import PrimaryAddress, ZoneLimit, ZoneNames

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_FILE = Path("/nonexistent/xdpctl.toml")

# One value of each option as text, its value, and the same in TOML.
EXAMPLES: list[tuple[str, str, object, str]] = [
    ("interface", "eth0", ("eth0",), '["eth0"]'),
    ("mode", "native", ModeSetting.NATIVE, '"native"'),
    ("on-exit", "keep", OnExit.KEEP, '"keep"'),
    ("port", "5300", (5300,), "[5300]"),
    ("address-port", "853", (853,), "853"),
    ("address", "192.0.2.53", (ip_network("192.0.2.53/32"),), '["192.0.2.53"]'),
    ("any-qtype", "65535", AnyQtype.NEW, "65535"),
    ("protect", "2001:db8::/32", (ip_network("2001:db8::/32"),), '["2001:db8::/32"]'),
    ("xsk-family", "4", XskFamily.V4, "4"),
    ("number-of-queues", "8", 8, "8"),
    ("maps-size", "4096", 4096, "4_096"),
    ("map-size", "qnames=7", ((MapName.QNAMES, 7),), '["qnames=7"]'),
    ("pin-dir", "/sys/fs/bpf/x", Path("/sys/fs/bpf/x"), '"/sys/fs/bpf/x"'),
    ("pin-owner", "0:0", Owner(0, 0), '"0:0"'),
    ("pin-mode", "0660", 0o660, '"0660"'),
    ("stale-dnsdist", "expire:1h30m", StalePolicy(5400), '"expire:1h30m"'),
    ("exempt", "192.0.2.0/24", (ip_network("192.0.2.0/24"),), '["192.0.2.0/24"]'),
    ("rate-limit", "50", 50, "50"),
    ("rate-limit-burst", "125", 125, "125"),
    ("rate-limit-slip", "2", 2, "2"),
    ("rate-limit-prefixes", "32:1,20:64", ((32, 1), (20, 64)), '"32:1,20:64"'),
    ("rate-limit-prefixes6", "56:2", ((56, 2),), '"56:2"'),
    ("rate-limit-table", "1024", 1024, "1024"),
    ("proof", "cgroup", Proof.CGROUP, '"cgroup"'),
    ("flood-limit", "100000", 100000, "100_000"),
    ("flood-limit-proven", "50000", 50000, "50_000"),
    ("proven-factor", "32", 32, "32"),
    ("proven-lifetime", "7d", 604800, '"7d"'),
    (
        "zone-limit",
        ".example.com=500",
        (ZoneLimit(Name.from_text("example.com"), 500),),
        '[".example.com=500"]',
    ),
    (
        "zone-names",
        ".example.com=192.0.2.53:5300",
        (
            ZoneNames(
                Name.from_text("example.com"), PrimaryAddress(IPv4Address("192.0.2.53"), 5300)
            ),
        ),
        '[".example.com=192.0.2.53:5300"]',
    ),
    ("cookie-secret-file", "/etc/x.cookies", Path("/etc/x.cookies"), '"/etc/x.cookies"'),
    ("sample-budget", "500", 500, "500"),
    ("sample-length", "100", 100, "100"),
    ("sample-addresses", "24,48", (24, 48), '"24,48"'),
    (
        "sample-dnstap",
        "tcp:[2001:db8::1]:6000",
        DnstapTarget("tcp", None, "2001:db8::1", 6000),
        '"tcp:[2001:db8::1]:6000"',
    ),
    ("notify-listen", "[::]:5300", Listen(IPv6Address("::"), 5300), '"[::]:5300"'),
    ("publish", "Block.RPZ.example.", Name.from_text("block.rpz.example"), '"block.rpz.example"'),
    ("listen", "[::1]:0", Listen(IPv6Address("::1"), 0), '"[::1]:0"'),
    ("listen", "[fe80::1%lo]:9953", Listen(IPv6Address("fe80::1%lo"), 9953), '"[fe80::1%lo]:9953"'),
    ("token-file", "/etc/x.token", Path("/etc/x.token"), '"/etc/x.token"'),
    ("control", "/run/x.sock", Path("/run/x.sock"), '"/run/x.sock"'),
    ("control-group", "0", 0, '"0"'),
    ("log-level", "debug", LogLevel.DEBUG, '"debug"'),
    ("log-format", "json", LogFormat.JSON, '"json"'),
    ("state", "/tmp/x.db", Path("/tmp/x.db"), '"/tmp/x.db"'),  # noqa: S108 - never opened
]
FLAGS = ("page", "rate-limit-dry-run", "replace", "tcp", "wait", "xsk", "xsk-restore")
PAIR = ("tls-cert", "tls-key")
"""Neither goes without the other: tests/unit/http/test_options.py."""

FIELD = {option.name: option.field for option in OPTIONS}

each_option = pytest.mark.parametrize(
    ("name", "text", "value", "toml"), EXAMPLES, ids=[example[0] for example in EXAMPLES]
)


def load(*argv: str, environ: Mapping[str, str] | None = None, file: Path = NO_FILE) -> Settings:
    """Return the settings of these sources and none of the machine's."""
    return load_settings(argv, environ or {}, default_file=file, require_interface=False)


def refused(
    *argv: str, environ: Mapping[str, str] | None = None, file: Path = NO_FILE
) -> SettingsError:
    """Return the error that these sources lead to."""
    with pytest.raises(SettingsError) as caught:
        load(*argv, environ=environ, file=file)
    assert "\n" not in caught.value.sentence
    assert caught.value.exit_status == 2
    return caught.value


def sentence(*argv: str, environ: Mapping[str, str] | None = None, file: Path = NO_FILE) -> str:
    """Return the error's sentence, empty where there is none; anything else it raises is a bug."""
    try:
        load(*argv, environ=environ, file=file)
    except SettingsError as error:
        return error.sentence
    return ""


def written(folder: Path, content: str) -> Path:
    """Return a file with this content."""
    path = folder / "xdpctl.toml"
    path.write_text(content, "utf-8")
    return path


def value_of(loaded: Settings, name: str) -> Any:  # noqa: ANN401 - any field
    return getattr(loaded, FIELD[name])


# --- defaults and the table ---------------------------------------------------------


def test_defaults_are_the_contracts() -> None:
    assert load("--interface", "eth0") == Settings(
        interfaces=("eth0",),
        mode=ModeSetting.AUTO,
        replace=False,
        on_exit=OnExit.DETACH,
        wait=False,
        ports=(53,),
        address_ports=(),
        addresses=(),
        tcp=True,
        any_qtype=AnyQtype.BOTH,
        protect=(),
        xsk=False,
        xsk_family=XskFamily.BOTH,
        xsk_restore=False,
        number_of_queues=64,
        maps_size=1024,
        map_sizes=(),
        pin_dir=Path("/sys/fs/bpf/dnsdist"),
        pin_owner=None,
        pin_mode=0o600,
        notify_listen=None,
        publish=None,
        listen=Listen(IPv4Address("127.0.0.1"), 9953),
        token_file=None,
        tls_cert=None,
        tls_key=None,
        page=None,
        control=Path("/run/xdpctl/control.sock"),
        control_group=None,
        log_level=LogLevel.INFO,
        log_format=LogFormat.TEXT,
        state=Path("/var/lib/xdpctl/state.db"),
        stale_dnsdist=StalePolicy(),
        exempt=(),
        rate_limit=0,
        rate_limit_burst=None,
        rate_limit_slip=1,
        rate_limit_prefixes=((32, 1), (24, 32)),
        rate_limit_prefixes6=((64, 1), (48, 8)),
        rate_limit_table=None,
        rate_limit_dry_run=False,
        flood_limit=0,
        flood_limit_proven=None,
        proof=Proof.SOCKET,
        proven_factor=8,
        proven_lifetime=86400,
        cookie_secret_file=None,
        zone_limits=(),
        zone_names=(),
        sample_budget=2000,
        sample_length=512,
        sample_addresses=None,
        sample_dnstap=None,
    )


def test_every_option_is_a_field_and_every_field_an_option() -> None:
    fields = {field.name for field in dataclasses.fields(Settings)} - {
        "config",
        "lists",
        "warnings",
        "zone_lists",
        "zone_tables",
        "dnsdists",
        "zones",
    }
    assert fields == set(FIELD.values())


def test_every_option_has_an_example_here() -> None:
    assert {name for name, *_ in EXAMPLES} | {*FLAGS, *PAIR} == set(FIELD)


# --- each option from each source ---------------------------------------------------


@each_option
def test_an_option_of_the_command_line_is_read(
    name: str, text: str, value: object, toml: str
) -> None:
    assert toml
    assert value_of(load(f"--{name}", text), name) == value


@each_option
def test_a_variable_is_read(name: str, text: str, value: object, toml: str) -> None:
    assert toml
    variable = "XDPCTL_" + name.upper().replace("-", "_")
    assert value_of(load(environ={variable: text}), name) == value


@each_option
def test_a_key_of_the_file_is_read(
    name: str, text: str, value: object, toml: str, tmp_path: Path
) -> None:
    assert text
    assert value_of(load(file=written(tmp_path, f"{name} = {toml}")), name) == value


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_can_be_switched_on_and_off_on_the_command_line(name: str) -> None:
    assert value_of(load(f"--{name}"), name) is True
    assert value_of(load(f"--no-{name}"), name) is False


@pytest.mark.parametrize("text", ["1", "true", "yes", "on", "TRUE", "Yes"])
def test_a_flags_variable_says_yes(text: str) -> None:
    assert load(environ={"XDPCTL_XSK": text}).xsk is True


@pytest.mark.parametrize("text", ["0", "false", "no", "off", "OFF"])
def test_a_flags_variable_says_no(text: str) -> None:
    assert load(environ={"XDPCTL_TCP": text}).tcp is False


@pytest.mark.parametrize("name", FLAGS)
def test_a_flags_key_is_true_or_false(name: str, tmp_path: Path) -> None:
    assert value_of(load(file=written(tmp_path, f"{name} = true")), name) is True
    assert value_of(load(file=written(tmp_path, f"{name} = false")), name) is False


def test_the_contracts_own_command_is_read() -> None:
    loaded = load("--interface", "eth0", "--xsk")
    assert (loaded.interfaces, loaded.xsk) == (("eth0",), True)


def test_short_options_are_read() -> None:
    loaded = load("-i", "eth0", "-i", "eth1", "-q", "4", "-m", "8", "--xsk")
    assert (loaded.interfaces, loaded.number_of_queues, loaded.maps_size) == (
        ("eth0", "eth1"),
        4,
        8,
    )


def test_a_lists_variable_is_separated_by_commas() -> None:
    assert load(environ={"XDPCTL_PORT": "53, 5300"}).ports == (53, 5300)


def test_a_lists_empty_variable_is_an_empty_list() -> None:
    loaded = load("--address-port", "853", environ={"XDPCTL_PORT": ""})
    assert loaded.ports == ()


# --- which source wins --------------------------------------------------------------


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "maps-size = 1")
    assert load(environ={"XDPCTL_MAPS_SIZE": "2"}, file=file).maps_size == 2


def test_the_command_line_wins_over_the_environment(tmp_path: Path) -> None:
    file = written(tmp_path, "maps-size = 1")
    loaded = load("--maps-size", "3", environ={"XDPCTL_MAPS_SIZE": "2"}, file=file)
    assert loaded.maps_size == 3


def test_a_list_of_a_higher_source_replaces_the_lower_ones(tmp_path: Path) -> None:
    file = written(tmp_path, "port = [53, 5353]")
    assert load("--port", "5300", file=file).ports == (5300,)


def test_a_flag_of_the_file_can_be_switched_off_on_the_command_line(tmp_path: Path) -> None:
    assert load("--no-xsk", file=written(tmp_path, "xsk = true")).xsk is False


def test_sources_add_up_where_they_name_different_options(tmp_path: Path) -> None:
    loaded = load("--xsk", environ={"XDPCTL_PORT": "1"}, file=written(tmp_path, "maps-size = 2"))
    assert (loaded.xsk, loaded.ports, loaded.maps_size) == (True, (1,), 2)


# --- which file ---------------------------------------------------------------------


def test_the_default_file_is_read_where_it_exists(tmp_path: Path) -> None:
    file = written(tmp_path, "maps-size = 2")
    loaded = load(file=file)
    assert (loaded.maps_size, loaded.config) == (2, file)


def test_without_a_default_file_nothing_is_read() -> None:
    assert load().config is None


def test_a_named_file_is_read_in_place_of_the_default(tmp_path: Path) -> None:
    default = written(tmp_path, "maps-size = 2")
    named = tmp_path / "other.toml"
    named.write_text("xsk = true")
    loaded = load("--config", str(named), file=default)
    assert (loaded.maps_size, loaded.xsk, loaded.config) == (1024, True, named)


def test_the_environment_can_name_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "maps-size = 2")
    assert load(environ={"XDPCTL_CONFIG": str(file)}).maps_size == 2


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    error = refused("--config", str(tmp_path / "none.toml"))
    assert "none.toml" in error.sentence
    assert "No such file" in error.sentence


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "Is a directory" in refused("--config", str(tmp_path)).sentence


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.touch()
    os.truncate(path, 2**30)
    with pytest.raises(SettingsError, match="more than 1048576 bytes"):
        load_settings(["--config", str(path)], {})


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    assert load(file=written(tmp_path, '\ufeffinterface = ["eth0"]')).interfaces == ("eth0",)


def test_a_file_that_is_no_toml_says_where(tmp_path: Path) -> None:
    error = refused(file=written(tmp_path, "xsk = true\nport = [53"))
    assert "xdpctl.toml: it is not valid TOML" in error.sentence
    assert error.source == f"file {tmp_path / 'xdpctl.toml'}"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = " + b"[" * 5000, b"port = " + b"9" * 5000])
def test_a_file_of_nonsense_is_our_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "xdpctl.toml"
    path.write_bytes(content)
    assert "not valid TOML" in refused(file=path).sentence


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text() | st.sampled_from(["interface", "port", "xsk"]).map(lambda k: k + " = [[{}]]"))
def test_any_file_is_settings_or_our_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "xdpctl.toml"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    assert sentence(file=path).isprintable()


# --- what no source may say ---------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "nearest"), [("--prot", "--port"), ("--interfaces=eth0", "--interface")]
)
def test_an_unknown_option_is_an_error_with_the_nearest(word: str, nearest: str) -> None:
    assert f"did you mean {nearest}?" in refused(word).sentence


@pytest.mark.parametrize("word", ["--zzzzzzzzz", "banana", "", "\n", "--x\ny"])
def test_an_unknown_word_is_an_error(word: str) -> None:
    assert "there is no option or argument with this name" in refused(word).sentence


def test_options_are_not_abbreviated() -> None:
    assert "'--interfac'" in refused("--interfac", "eth0").sentence


def test_an_option_without_its_value_is_an_error() -> None:
    assert "--port needs a value" in refused("--port").sentence


def test_a_flag_with_a_value_is_an_error() -> None:
    assert "it takes no value, but was given 'yes'" in refused("--xsk=yes").sentence


def test_an_unknown_variable_is_an_error_with_the_nearest() -> None:
    error = refused(environ={"XDPCTL_PROT": "53"})
    assert error.source == "variable XDPCTL_PROT"
    assert "did you mean XDPCTL_PORT?" in error.sentence


def test_other_programs_variables_are_not_looked_at() -> None:
    assert load(environ={"PORT": "x", "XDP_PORT": "x"}) == load()


def test_an_unknown_key_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    error = refused(file=written(tmp_path, 'interfaces = ["eth0"]'))
    assert error.source == f"key interfaces in {tmp_path / 'xdpctl.toml'}"
    assert "did you mean interface?" in error.sentence


@pytest.mark.parametrize("key", [r"two\nlines", "x" * 5000, ""])
def test_the_sentence_about_a_key_is_one_line(key: str, tmp_path: Path) -> None:
    error = refused(file=written(tmp_path, f'"{key}" = 1'))
    assert error.sentence.isprintable()
    assert len(error.sentence) < 500


def test_the_file_cannot_name_a_file(tmp_path: Path) -> None:
    assert "key config" in refused(file=written(tmp_path, 'config = "x"')).sentence


@pytest.mark.parametrize(
    ("argv", "environ", "content", "source"),
    [
        (("--port", "0"), {}, "", "option --port: cannot use '0'"),
        ((), {"XDPCTL_PORT": "53,0"}, "", "variable XDPCTL_PORT: cannot use '0'"),
        ((), {}, "port = [53, 0]", "key port in {file}: cannot use '0'"),
        (("--address", "300.1.1.1"), {}, "", "option --address: cannot read '300.1.1.1'"),
        ((), {"XDPCTL_XSK": "maybe"}, "", "variable XDPCTL_XSK: cannot use 'maybe'"),
        ((), {"XDPCTL_PORT": "53,,54"}, "", "variable XDPCTL_PORT: cannot use ''"),
        ((), {"XDPCTL_MODE": ""}, "", "variable XDPCTL_MODE: cannot use ''"),
    ],
)
def test_an_error_names_its_source_and_the_text(
    argv: tuple[str, ...], environ: dict[str, str], content: str, source: str, tmp_path: Path
) -> None:
    file = written(tmp_path, content)
    assert refused(*argv, environ=environ, file=file).sentence.startswith(source.format(file=file))


def test_a_value_that_is_overridden_must_be_valid_too() -> None:
    assert "XDPCTL_PORT" in refused("--port", "53", environ={"XDPCTL_PORT": "x"}).sentence


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("pin-mode = 0o660", "must be a string, not a number"),
        ("xsk = 1", "must be true or false, not a number"),
        ('xsk = "yes"', "must be true or false, not a string"),
        ("port = true", "a string or a number, or a list of these, not true or false"),
        ("port = [[53]]", "not a list"),
        ("maps-size = [1]", "not a list"),
        ("maps-size = 1.5", "not a number with a point"),
        ("maps-size = 2026-11-21", "not a date or time"),
        ("map-size = {qnames = 1}", "not a table"),
        ("maps-size = 0x" + "f" * 6000, "must be a number from 1 to"),
    ],
)
def test_a_value_of_another_kind_is_an_error_of_its_key(
    content: str, kind: str, tmp_path: Path
) -> None:
    assert kind in refused(file=written(tmp_path, content)).sentence


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("interface", ""),
        ("interface", "x" * 16),
        ("interface", "eth 0"),
        ("interface", "a/b"),
        ("interface", "eth0:1"),
        ("interface", ".."),
        ("interface", "eth0\n"),
        ("interface", "\udcff"),
        ("mode", "offload"),
        ("on-exit", "stay"),
        ("port", "65536"),
        ("port", "dns"),
        ("port", "٣"),
        ("port", "+53"),
        ("port", "9" * 30),
        ("address-port", "-1"),
        ("address", "192.0.2.1/24"),
        ("address", "www.example"),
        ("any-qtype", "any"),
        ("protect", "10.0.0.0/40"),
        ("protect", "a.*.example"),
        ("xsk-family", "6"),
        ("number-of-queues", "0"),
        ("number-of-queues", "65537"),
        ("maps-size", "0"),
        ("maps-size", "2147483649"),
        ("map-size", "qnames"),
        ("map-size", "names=5"),
        ("map-size", "counters=5"),
        ("map-size", "qnames=0"),
        ("pin-dir", ""),
        ("pin-dir", "sys/fs/bpf"),
        ("pin-dir", "/sys/fs/bpf/../x"),
        ("pin-owner", "no-such-user"),
        ("pin-owner", "4294967295"),
        ("pin-owner", "4294967294"),
        ("pin-owner", "0:no-such-group"),
        ("pin-owner", "0:"),
        ("pin-owner", ":0"),
        ("pin-mode", "660w"),
        ("pin-mode", "1777"),
        ("pin-mode", "888"),
        ("notify-listen", "192.0.2.1:0"),
        ("publish", "."),
        ("publish", "192.0.2.1"),
        ("listen", "9953"),
        ("listen", ":9953"),
        ("listen", "[::1]"),
        ("listen", "::1:9953"),
        ("listen", "[127.0.0.1]:1"),
        ("listen", "127.0.0.1:65536"),
        ("listen", "dns.example:53"),
        ("listen", "224.0.0.1:9953"),
        ("listen", "[fe80::1]:9953"),
        ("notify-listen", "255.255.255.255:53"),
        ("sample-dnstap", "tcp:239.0.0.1:6000"),
        ("control", ""),
        ("control", "a\0b"),
        ("control", "/run/" + "x" * 103),
        ("control-group", "no-such-group"),
        ("control-group", "99999999999"),
        ("log-level", "trace"),
        ("log-format", "xml"),
        ("state", ""),
    ],
)
def test_what_an_option_cannot_mean_is_refused_with_its_text(name: str, text: str) -> None:
    error = refused(f"--{name}={text}")
    assert error.source == f"option --{name}"
    assert repr(text[:70])[1:-1] in error.sentence


def test_the_size_of_xskmap_is_the_number_of_queues() -> None:
    assert "--number-of-queues" in refused("--map-size", "xskmap=5").sentence


@given(st.sampled_from([option.name for option in OPTIONS]), st.text())
def test_any_text_of_a_variable_is_settings_or_our_error(name: str, text: str) -> None:
    assert sentence(environ={"XDPCTL_" + name.upper().replace("-", "_"): text}).isprintable()


@given(st.lists(st.text() | st.sampled_from([f"--{option.name}" for option in OPTIONS])))
def test_any_command_line_is_settings_or_our_error(argv: list[str]) -> None:
    words = [word for word in argv if word not in {"-h", "--help", "--version"}]
    assert sentence(*words).isprintable()


# --- what must agree ----------------------------------------------------------------


def test_the_service_needs_an_interface() -> None:
    with pytest.raises(SettingsError, match="cannot start without an interface"):
        load_settings([], {}, default_file=NO_FILE)


def test_a_port_is_not_plain_and_encrypted_at_once() -> None:
    assert "port 53" in refused("--address-port", "53").sentence


def test_without_ports_nothing_would_be_filtered() -> None:
    assert "nothing would be filtered" in refused(environ={"XDPCTL_PORT": ""}).sentence


def test_af_xdp_needs_no_port() -> None:
    assert load("--xsk", environ={"XDPCTL_PORT": ""}).ports == ()


@pytest.mark.parametrize(
    "argv",
    [
        ("-i", "eth0", "-i", "eth0"),
        ("--port", "53", "--port", "053"),
        ("--address", "192.0.2.1", "--address", "192.0.2.1/32"),
    ],
)
def test_nothing_is_named_twice(argv: tuple[str, ...]) -> None:
    assert "twice" in refused(*argv).sentence


def test_a_map_has_one_size() -> None:
    error = refused("--map-size", "qnames=1", "--map-size", "qnames=2")
    assert "two sizes for map qnames" in error.sentence


def test_a_map_has_its_own_size_or_that_of_all() -> None:
    loaded = load("--maps-size", "5", "--map-size", "qnames=7")
    assert (loaded.entries_for(MapName.QNAMES), loaded.entries_for(MapName.CIDR4)) == (7, 5)


def test_af_xdp_with_another_pin_directory_is_a_warning() -> None:
    (warning,) = load("--xsk", "--pin-dir", "/sys/fs/bpf/other").warnings
    assert "/sys/fs/bpf/other" in warning


def test_another_pin_directory_alone_is_none() -> None:
    assert load("--pin-dir", "/sys/fs/bpf/other").warnings == ()


@pytest.mark.parametrize(
    ("primary", "refresh", "is_short"),
    [
        *(("192.0.2.1", "4s", True), ("192.0.2.1", "5s", False)),
        *(("127.0.0.1", "1s", False), ('["::1", "192.0.2.1"]', "1s", True)),
    ],
)
def test_a_refresh_below_the_least_is_a_warning(
    tmp_path: Path, primary: str, refresh: str, *, is_short: bool
) -> None:
    path = tmp_path / "xdpctl.toml"
    primary = primary if primary.startswith("[") else f'"{primary}"'
    path.write_text(
        f'[[list]]\nzone = "rpz.example"\nprimary = {primary}\nkey-file = "/k"\n'
        f'refresh = "{refresh}"\n'
    )
    warnings = load("--config", str(path)).warnings
    seconds = refresh.removesuffix("s")
    assert warnings == is_short * (
        (
            f"the refresh of {seconds} s of list rpz.example is too short: its primaries are asked"
            " every 5 s; a NOTIFY (--notify-listen) tells of a change at once"
        ),
    )


@pytest.mark.parametrize(
    "argv", [("--xsk-family", "4"), ("--xsk-restore",), ("--number-of-queues", "8")]
)
def test_an_option_of_af_xdp_without_it_is_a_warning(argv: tuple[str, ...]) -> None:
    (warning,) = load(*argv).warnings
    assert f"{argv[0]} has no effect without --xsk" in warning
    assert load("--xsk", *argv).warnings == ()


# --- single values ------------------------------------------------------------------


def test_listening_can_be_switched_off() -> None:
    assert load("--listen", "none").listen is None


def test_localhost_is_its_address() -> None:
    assert load("--listen", "localhost:80").listen == Listen(IPv4Address("127.0.0.1"), 80)


@pytest.mark.parametrize("text", ["127.0.0.1:9953", "[2001:db8::1]:0"])
def test_where_to_listen_is_shown_as_it_is_written(text: str) -> None:
    assert str(load("--listen", text).listen) == text


def test_an_owner_is_found_by_name_with_the_users_group() -> None:
    user = pwd.getpwall()[-1]
    assert load("--pin-owner", user.pw_name).pin_owner == Owner(user.pw_uid, user.pw_gid)


def test_an_owners_group_can_be_named() -> None:
    group = grp.getgrall()[-1]
    assert load("--pin-owner", f"root:{group.gr_name}").pin_owner == Owner(0, group.gr_gid)


def test_an_owner_without_a_name_needs_a_group() -> None:
    assert "3999999999:GROUP" in refused("--pin-owner", "3999999999").sentence
    assert load("--pin-owner", "3999999999:5").pin_owner == Owner(3999999999, 5)


@pytest.mark.parametrize("text", ["660", "0660", "0o660"])
def test_a_mode_is_octal(text: str) -> None:
    assert load("--pin-mode", text).pin_mode == 0o660


# --- the parser ---------------------------------------------------------------------


def test_help_shows_default_and_variable_of_every_option(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        load("--help")
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for option in OPTIONS:
        assert f"--{option.name}" in shown
        assert option.variable in shown
    assert "(default 53; XDPCTL_PORT)" in shown


def test_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load("--version")
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"xdpctl {__version__}\n"


def test_verbs_can_stand_beside_the_services_options() -> None:
    parser = ArgumentParser(prog="xdpctl")
    add_service_options(parser)
    verbs = parser.add_subparsers(dest="verb")
    verbs.add_parser("status").add_argument("--json", action="store_true")
    namespace = parser.parse_args(["--interface", "eth0", "--xsk"])
    assert settings_from(namespace, {}, default_file=NO_FILE).interfaces == ("eth0",)
    assert parser.parse_args(["status", "--json"]).verb == "status"


def test_an_unknown_option_of_a_verb_is_our_error() -> None:
    parser = ArgumentParser(prog="xdpctl")
    parser.add_subparsers(dest="verb").add_parser("status")
    with pytest.raises(SettingsError, match="'--jason'"):
        parser.parse_args(["status", "--jason"])


# --- the control socket of a verb ---------------------------------------------------


def control(*argv: str, environ: Mapping[str, str] | None = None, file: Path = NO_FILE) -> Path:
    parser = ArgumentParser(prog="xdpctl")
    add_service_options(parser)
    return control_path(parser.parse_args(argv), environ or {}, default_file=file)


def test_a_verb_talks_to_the_default_socket() -> None:
    assert control() == Path("/run/xdpctl/control.sock")


def test_a_verbs_option_wins_over_its_variable_and_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, 'control = "/file.sock"')
    environ = {"XDPCTL_CONTROL": "/variable.sock"}
    assert control(file=file) == Path("/file.sock")
    assert control(environ=environ, file=file) == Path("/variable.sock")
    assert control("--control", "/option.sock", environ=environ, file=file) == Path("/option.sock")


def test_a_file_without_the_socket_leaves_the_default(tmp_path: Path) -> None:
    assert control(file=written(tmp_path, "nonsense = 1")) == Path("/run/xdpctl/control.sock")


def test_a_verb_that_is_told_the_socket_reads_no_file(tmp_path: Path) -> None:
    file = written(tmp_path, "not toml")
    assert control("--control", "/option.sock", file=file) == Path("/option.sock")


def test_a_verb_does_not_judge_the_services_variables() -> None:
    assert control(environ={"XDPCTL_PROT": "x"}) == Path("/run/xdpctl/control.sock")


def test_a_verb_reads_the_file_it_is_told(tmp_path: Path) -> None:
    file = written(tmp_path, 'control = "/file.sock"')
    assert control(environ={"XDPCTL_CONFIG": str(file)}) == Path("/file.sock")


def test_a_bad_socket_in_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="key control in"):
        control(file=written(tmp_path, "control = true"))


# --- reload -------------------------------------------------------------------------


def test_a_reload_without_a_change_changes_nothing() -> None:
    assert reloadable_changes(load(), load()) == Changes((), ())


def test_what_a_reload_can_apply_is_told_from_what_needs_a_restart() -> None:
    changes = reloadable_changes(
        load(),
        load("--port", "5300", "--no-tcp", "--protect", "192.0.2.1", "--mode", "native", "--xsk"),
    )
    assert changes == Changes(("port", "tcp", "protect"), ("mode", "xsk"))


def test_these_options_and_no_others_are_applied_by_a_reload() -> None:
    assert {option.name for option in OPTIONS if option.reload} == {
        "port",
        "address-port",
        "address",
        "tcp",
        "any-qtype",
        "log-level",
        "protect",
        "stale-dnsdist",
        "exempt",
        "rate-limit",
        "rate-limit-burst",
        "rate-limit-slip",
        "rate-limit-prefixes",
        "rate-limit-prefixes6",
        "rate-limit-table",
        "rate-limit-dry-run",
        "flood-limit",
        "flood-limit-proven",
        "proven-factor",
        "proven-lifetime",
        "cookie-secret-file",
        "zone-limit",
        "zone-names",
        "publish",
        "sample-budget",
        "sample-length",
        "sample-addresses",
        "sample-dnstap",
    }


def test_another_file_with_the_same_settings_is_no_change(tmp_path: Path) -> None:
    assert reloadable_changes(load(), load(file=written(tmp_path, ""))) == Changes((), ())


def test_a_relative_path_is_taken_as_it_is() -> None:
    assert load("--control", "x.sock").control == Path("x.sock")
    assert not os.path.isabs(load("--control", "x.sock").control)  # noqa: PTH117 - the same claim


@pytest.mark.parametrize(
    ("line", "helps"),
    [
        ("interface = eth0", 'a text needs quotes: interface = "eth0"'),
        ("listen = [::1]:9953 ", ""),
        ("control = /run/x.sock # here", 'a text needs quotes: control = "/run/x.sock"'),
        ("reason == 5", ""),
        ('mode = "auto', ""),
    ],
)
def test_a_text_without_quotes_is_told_to_have_some(tmp_path: Path, line: str, helps: str) -> None:
    path = tmp_path / "xdpctl.toml"
    path.write_text(f"# a comment\n{line}\n")
    sentence = refused(file=path).sentence
    assert "not valid TOML" in sentence
    assert ("a text needs quotes" in sentence) == bool(helps)
    assert helps in sentence
