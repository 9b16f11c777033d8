"""`Settings`: every option as one frozen value.

Owns what must agree between options, and which changes a running service can
apply. Called by the command line at start and by the service on SIGHUP; the
rest of the service is given values, never this module's functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xdpctl import __version__
from xdpctl.errors import SettingsError
from xdpctl.settings.arguments import ArgumentParser, add_service_options
from xdpctl.settings.options import BY_NAME, CONFIG, DEFAULT_FILE, OPTIONS
from xdpctl.settings.sources import (
    control_in_file,
    from_command_line,
    from_environment,
    from_file,
    read_default,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from xdpctl.abi import MapName
    from xdpctl.process.log import LogFormat, LogLevel
    from xdpctl.rules import AnyQtype
    from xdpctl.settings.lists import ListSettings
    from xdpctl.settings.values import Listen, ModeSetting, OnExit, Owner, XskFamily

_DNSDIST_PIN_DIR = Path("/sys/fs/bpf/dnsdist")
_ONLY_WITH_XSK = ("xsk-family", "xsk-restore", "number-of-queues")
_ONLY_WITH_LISTEN = ("token-file", "tls-cert", "tls-key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One field an option (CONTRACT.md, "The service"), and what only the file has.

    Attributes:
        addresses: () is every destination.
        map_sizes: (map, entries) that differ from `maps_size`; see `entries_for`.
        pin_owner: None leaves the owner to whoever makes directory and pins.
        lists: the `[[list]]` tables of the file.
        config: the file that was read.
        warnings: sentences for the log: what is valid but will not do what it seems to.
    """

    interfaces: tuple[str, ...]
    mode: ModeSetting
    replace: bool
    on_exit: OnExit
    wait: bool
    ports: tuple[int, ...]
    address_ports: tuple[int, ...]
    addresses: tuple[IPv4Network | IPv6Network, ...]
    tcp: bool
    any_qtype: AnyQtype
    protect: tuple[IPv4Network | IPv6Network, ...]
    xsk: bool
    xsk_family: XskFamily
    xsk_restore: bool
    number_of_queues: int
    maps_size: int
    map_sizes: tuple[tuple[MapName, int], ...]
    pin_dir: Path
    pin_owner: Owner | None
    pin_mode: int
    listen: Listen | None
    token_file: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    control: Path
    control_group: int | None
    log_level: LogLevel
    log_format: LogFormat
    state: Path
    lists: tuple[ListSettings, ...] = ()
    config: Path | None = None
    warnings: tuple[str, ...] = ()

    def entries_for(self, name: MapName) -> int:
        """Return max_entries of a shared map that has to be made; xskmap's is another option."""
        return dict(self.map_sizes).get(name, self.maps_size)


@dataclass(frozen=True, slots=True)
class Changes:
    """Names of the options in which two settings differ."""

    applied: tuple[str, ...]
    need_restart: tuple[str, ...]


def reloadable_changes(old: Settings, new: Settings) -> Changes:
    """Return what differs: what a running service can apply, and what needs a restart."""
    changed = [
        option for option in OPTIONS if getattr(old, option.field) != getattr(new, option.field)
    ]
    return Changes(
        applied=tuple(option.name for option in changed if option.reload),
        need_restart=tuple(option.name for option in changed if not option.reload),
    )


def load_settings(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    default_file: Path = Path(DEFAULT_FILE),
    require_interface: bool = True,
) -> Settings:
    """Return the settings of a service that is started with these arguments. Blocks (a file).

    Raises:
        SettingsError: any source says what cannot be.
        SystemExit: 0, for --help and --version.
    """
    parser = ArgumentParser(prog="xdpctl", description="An XDP shield for DNS servers.")
    parser.add_argument("--version", action="version", version=f"xdpctl {__version__}")
    add_service_options(parser)
    return settings_from(
        parser.parse_args(argv),
        environ,
        default_file=default_file,
        require_interface=require_interface,
    )


def settings_from(
    namespace: argparse.Namespace,
    environ: Mapping[str, str],
    *,
    default_file: Path = Path(DEFAULT_FILE),
    require_interface: bool = True,
) -> Settings:
    """Return the settings of options that `add_service_options` has parsed. Blocks (a file).

    Args:
        namespace: what the parser gave; attributes that are no option are not looked at.
        environ: the XDPCTL_… variables; others are not looked at.
        default_file: read where it exists, unless --config or XDPCTL_CONFIG names another.
        require_interface: the service needs one, `check` and `prepare` do not.

    Raises:
        SettingsError: any source says what cannot be.
    """
    above_file = from_environment(environ) | from_command_line(namespace)
    file = _file(above_file, default_file)
    given = (from_file(file) if file else {}) | above_file | {CONFIG.field: file}
    settings = Settings(**{option.field: read_default(option) for option in OPTIONS} | given)
    _check(settings, require_interface=require_interface)
    return Settings(**_fields(settings) | {"warnings": tuple(_warnings(settings, given))})


def control_path(
    namespace: argparse.Namespace,
    environ: Mapping[str, str],
    *,
    default_file: Path = Path(DEFAULT_FILE),
) -> Path:
    """Return the control socket that a verb talks to. Blocks (a file).

    The file is read only where neither option nor variable names the socket.

    Raises:
        SettingsError: the option, the variable or the file is not valid.
    """
    option = BY_NAME["control"]
    variables = {option.variable, CONFIG.variable}
    found = from_environment({k: v for k, v in environ.items() if k in variables})
    found |= from_command_line(namespace)
    if option.field not in found and (file := _file(found, default_file)):
        found[option.field] = control_in_file(file)
    return Path(found.get(option.field) or read_default(option))


def _file(found: Mapping[str, Any], default_file: Path) -> Path | None:
    named: Path | None = found.get(CONFIG.field)
    return named or (default_file if _may_exist(default_file) else None)


def _may_exist(path: Path) -> bool:
    """Whether a file is there, or cannot be looked for: reading it then says why."""
    try:
        return path.exists()
    except OSError:
        return True


def _fields(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in Settings.__slots__}


def _check(settings: Settings, *, require_interface: bool) -> None:
    """Refuse what cannot be meant together.

    Raises:
        SettingsError: names the options.
    """
    if require_interface and not settings.interfaces:
        raise SettingsError(
            "cannot start: no interface is named; use --interface NAME, XDPCTL_INTERFACE or"
            " the file's key interface",
            source="interface",
        )
    both = [port for port in settings.ports if port in settings.address_ports]
    if both:
        raise SettingsError(
            f"cannot use port {both[0]} as --port and as --address-port: a port of plain DNS has"
            " address rules already; name it once",
            source="address-port",
        )
    if not settings.ports and not settings.address_ports and not settings.xsk:
        raise SettingsError(
            "cannot start: neither port nor address-port names a port, so nothing would be"
            " filtered; name one",
            source="port",
        )
    _check_secrets(settings)
    names = [name for name, _ in settings.map_sizes]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise SettingsError(
            f"cannot use two sizes for map {twice[0]}: leave out one --map-size",
            source="map-size",
        )


def _check_secrets(settings: Settings) -> None:
    """Refuse half of a TLS key pair, and a token that would go over the network in the clear.

    Raises:
        SettingsError: names the options.
    """
    if (settings.tls_cert is None) != (settings.tls_key is None):
        given, missing = ("tls-cert", "tls-key") if settings.tls_cert else ("tls-key", "tls-cert")
        raise SettingsError(
            f"cannot use --{given} without --{missing}: TLS needs the certificate and its key;"
            " give both",
            source=given,
        )
    listen = settings.listen
    if settings.token_file and listen and not listen.host.is_loopback and not settings.tls_cert:
        raise SettingsError(
            f"cannot use --token-file on {listen} without TLS: whoever is on the way could read"
            " the token; give --tls-cert and --tls-key, or listen on 127.0.0.1",
            source="token-file",
        )


def _warnings(settings: Settings, given: Mapping[str, Any]) -> list[str]:
    """Return a sentence for everything that will not do what it seems to."""
    sentences = []
    if settings.xsk and settings.pin_dir != _DNSDIST_PIN_DIR:
        sentences.append(
            f"AF_XDP cannot work with --pin-dir {settings.pin_dir}: dnsdist opens"
            f" xsk-destinations-v4 and -v6 in {_DNSDIST_PIN_DIR} and nowhere else"
        )
    if not settings.xsk:
        sentences += [
            f"--{name} does nothing without --xsk"
            for name in _ONLY_WITH_XSK
            if BY_NAME[name].field in given
        ]
    if settings.listen is None:
        sentences += [
            f"--{name} does nothing with --listen none"
            for name in _ONLY_WITH_LISTEN
            if BY_NAME[name].field in given
        ]
    return sentences
