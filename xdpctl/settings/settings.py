"""`Settings`: every option as one frozen value.

Owns the rules between options, and which changes a running service can apply. Called by the
command line at start and by the service on SIGHUP. The rest of the service gets values and does
not call this module. Does not own single options (options.py) or their sources (sources.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xdpctl import __version__
from xdpctl.errors import SettingsError
from xdpctl.process.clock import ticks_a_second
from xdpctl.process.command_line import ArgumentParser
from xdpctl.settings.arguments import add_service_options
from xdpctl.settings.lists import Passthru
from xdpctl.settings.options import BY_NAME, CONFIG, DEFAULT_FILE, OPTIONS
from xdpctl.settings.sources import (
    control_in_file,
    from_command_line,
    from_environment,
    from_file,
    read_default,
)
from xdpctl.settings.zones import merged, without_limit

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from xdpctl.abi import MapName
    from xdpctl.process.log import LogFormat, LogLevel
    from xdpctl.rules import AnyQtype, Name, Question, Zone
    from xdpctl.settings.dnsdist import DnsdistSettings
    from xdpctl.settings.lists import AnyList, ListSettings, ZoneListSettings
    from xdpctl.settings.values import (
        DnstapTarget,
        KeptBits,
        Levels,
        Listen,
        ModeSetting,
        OnExit,
        Owner,
        Proof,
        StalePolicy,
        XskFamily,
    )
    from xdpctl.settings.zones import ZoneLimit, ZoneNames, ZoneSettings

_DNSDIST_PIN_DIR = Path("/sys/fs/bpf/dnsdist")
EXEMPT_MAX = 1024
"""Prefixes of `exempt`; the maps have as much room for those of lists."""

_ONLY_WITH_XSK = ("xsk-family", "xsk-restore", "number-of-queues")
_ONLY_WITH_LISTEN = ("token-file", "tls-cert", "tls-key", "page")
_ONLY_WITH_RATE = (
    "rate-limit-burst",
    "rate-limit-prefixes",
    "rate-limit-prefixes6",
    "rate-limit-table",
    "proven-factor",
)
_ONLY_WITH_A_LIMIT = (
    "rate-limit-slip",
    "rate-limit-dry-run",
    "proof",
    "proven-lifetime",
    "cookie-secret-file",
)
_BURST_SECONDS = 3600
_TICKS = 2
"""Ticks of the kernel's clock that a burst must last: two may pass between two looks at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One field for each option (CONTRACT.md, "The service"), and what only the file has.

    Attributes:
        addresses: empty: every destination.
        map_sizes: (map, entries) that differ from `maps_size`; see `entries_for`.
        pin_owner: None: the user of the program that makes directory and pins owns them.
        rate_limit, flood_limit: queries a second; 0: no such limit.
        rate_limit_burst: None: 2.5 times the rate.
        rate_limit_prefixes, rate_limit_prefixes6: prefix lengths and multipliers.
        rate_limit_table: words; None: by the rule of limits/parameters.py.
        flood_limit_proven: None: as `flood_limit`.
        proven_lifetime: seconds.
        page: None: where `listen` is on loopback.
        sample_budget: samples a second; 0: none.
        sample_addresses: bits of addresses that are kept; None: all.
        sample_dnstap: where sampled queries go; None: nowhere.
        publish: the zone in which dynamic claims are published; None: in none.
        notify_listen: where NOTIFY of the primaries of `zone_lists` comes; None: nowhere.
        lists: the `[[list]]` tables of the file that are files. `zone_lists`: those that are zones.
        zone_tables: its `[[zone]]` tables. `dnsdists`: its `[[dnsdist]]` tables.
        zones: all zones with a limit, of every source.
        config: the file that was read.
        warnings: sentences for the log about valid options without the expected effect.
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
    protect: tuple[IPv4Network | IPv6Network | Question | Zone, ...]
    xsk: bool
    xsk_family: XskFamily
    xsk_restore: bool
    number_of_queues: int
    maps_size: int
    map_sizes: tuple[tuple[MapName, int], ...]
    stale_dnsdist: StalePolicy
    pin_dir: Path
    pin_owner: Owner | None
    pin_mode: int
    exempt: tuple[IPv4Network | IPv6Network, ...]
    rate_limit: int
    rate_limit_burst: int | None
    rate_limit_slip: int
    rate_limit_prefixes: Levels
    rate_limit_prefixes6: Levels
    rate_limit_table: int | None
    rate_limit_dry_run: bool
    flood_limit: int
    flood_limit_proven: int | None
    proof: Proof
    proven_factor: int
    proven_lifetime: int
    cookie_secret_file: Path | None
    zone_limits: tuple[ZoneLimit, ...]
    zone_names: tuple[ZoneNames, ...]
    sample_budget: int
    sample_length: int
    sample_addresses: KeptBits | None
    sample_dnstap: DnstapTarget | None
    notify_listen: Listen | None
    publish: Name | None
    listen: Listen | None
    token_file: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    page: bool | None
    control: Path
    control_group: int | None
    log_level: LogLevel
    log_format: LogFormat
    state: Path
    lists: tuple[ListSettings, ...] = ()
    zone_lists: tuple[ZoneListSettings, ...] = ()
    zone_tables: tuple[ZoneSettings, ...] = ()
    zones: tuple[ZoneSettings, ...] = ()
    dnsdists: tuple[DnsdistSettings, ...] = ()
    config: Path | None = None
    warnings: tuple[str, ...] = ()

    def entries_for(self, name: MapName) -> int:
        """Return max_entries for a new shared map; xskmap has an option of its own."""
        return dict(self.map_sizes).get(name, self.maps_size)

    @property
    def list_origins(self) -> frozenset[str]:
        """The origins of all lists."""
        every: tuple[AnyList, ...] = (*self.lists, *self.zone_lists)
        return frozenset(each.origin for each in every)

    @property
    def exempting(self) -> frozenset[str]:
        """The origins of lists that may exempt clients."""
        return frozenset(
            each.origin for each in self.zone_lists if each.passthru is Passthru.EXEMPT
        )

    @property
    def has_lists(self) -> bool:
        """Whether there are lists, of either kind."""
        return bool(self.lists or self.zone_lists)


@dataclass(frozen=True, slots=True)
class Changes:
    """Names of the options in which two settings differ."""

    applied: tuple[str, ...]
    need_restart: tuple[str, ...]


def reloadable_changes(old: Settings, new: Settings) -> Changes:
    """Return the changes that a running service can apply, and those that need a restart."""
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
        SettingsError: a source holds something invalid.
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
        namespace: the result of the parser; attributes that are not options are ignored.
        environ: the XDPCTL_… variables; others are ignored.
        default_file: read if it exists, unless --config or XDPCTL_CONFIG gives another.
        require_interface: True for the service; `check` and `prepare` work without one.

    Raises:
        SettingsError: a source holds something invalid.
    """
    above_file = from_environment(environ) | from_command_line(namespace)
    file = _file(above_file, default_file)
    given = (from_file(file) if file else {}) | above_file | {CONFIG.field: file}
    settings = Settings(**{option.field: read_default(option) for option in OPTIONS} | given)
    _check(settings, require_interface=require_interface)
    zones = merged(settings.zone_tables, settings.zone_limits, settings.zone_names)
    return Settings(
        **_fields(settings) | {"warnings": tuple(_warnings(settings, given)), "zones": zones}
    )


def control_path(
    namespace: argparse.Namespace,
    environ: Mapping[str, str],
    *,
    default_file: Path = Path(DEFAULT_FILE),
) -> Path:
    """Return the control socket that a verb uses. Blocks (a file).

    The file is read only if neither the option nor the variable gives the socket.

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
    """Return whether a file exists, or may exist: reading it then gives the error."""
    try:
        return path.exists()
    except OSError:
        return True


def _fields(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in Settings.__slots__}


def _check(settings: Settings, *, require_interface: bool) -> None:
    """Refuse options that contradict each other.

    Raises:
        SettingsError: names the options.
    """
    if require_interface and not settings.interfaces:
        raise SettingsError(
            "cannot start without an interface: use --interface NAME, XDPCTL_INTERFACE or the"
            " key interface of the file",
            source="interface",
        )
    both = [port for port in settings.ports if port in settings.address_ports]
    if both:
        raise SettingsError(
            f"cannot use port {both[0]} as --port and as --address-port: address rules already"
            " apply to a --port; give it only once",
            source="address-port",
        )
    if not settings.ports and not settings.address_ports and not settings.xsk:
        raise SettingsError(
            "cannot start without a port: with no --port and no --address-port, nothing would be"
            " filtered; give one of them",
            source="port",
        )
    _check_secrets(settings)
    _check_limits(settings)
    names = [name for name, _ in settings.map_sizes]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise SettingsError(
            f"cannot use two sizes for map {twice[0]}: leave out one --map-size",
            source="map-size",
        )


def _check_secrets(settings: Settings) -> None:
    """Refuse an incomplete TLS key pair, and a token that would cross the network unencrypted.

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
            f"cannot use --token-file on {listen} without TLS: the token could be read on the"
            " network; give --tls-cert and --tls-key, or listen on 127.0.0.1",
            source="token-file",
        )


def _check_limits(settings: Settings) -> None:
    """Refuse a burst that is too small or too large, and too many exempt prefixes.

    Raises:
        SettingsError: names the option.
    """
    least = -(-_TICKS * settings.rate_limit // ticks_a_second())
    if settings.rate_limit_burst is not None and settings.rate_limit_burst < least:
        raise SettingsError(
            f"cannot use --rate-limit-burst {settings.rate_limit_burst} with --rate-limit"
            f" {settings.rate_limit}: the clock of this kernel has {ticks_a_second()} ticks a"
            f" second, and a burst must hold two of them; use at least {least}",
            source="rate-limit-burst",
        )
    most = _BURST_SECONDS * settings.rate_limit
    if settings.rate_limit and (settings.rate_limit_burst or 0) > most:
        raise SettingsError(
            f"cannot use --rate-limit-burst {settings.rate_limit_burst} with --rate-limit"
            f" {settings.rate_limit}: that is more than an hour's queries at one moment, and would"
            f" limit nobody; use at most {most}",
            source="rate-limit-burst",
        )
    if len(settings.exempt) > EXEMPT_MAX:
        raise SettingsError(
            f"cannot exempt {len(settings.exempt)} prefixes: there is room for {EXEMPT_MAX};"
            " use shorter prefixes",
            source="exempt",
        )


def _warnings(settings: Settings, given: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each option that will not have the expected effect."""
    sentences = []
    if settings.xsk and settings.pin_dir != _DNSDIST_PIN_DIR:
        sentences.append(
            f"AF_XDP cannot work with --pin-dir {settings.pin_dir}: dnsdist opens"
            f" xsk-destinations-v4 and -v6 only in {_DNSDIST_PIN_DIR}"
        )
    if not settings.xsk:
        sentences += [
            f"--{name} has no effect without --xsk"
            for name in _ONLY_WITH_XSK
            if BY_NAME[name].field in given
        ]
    if settings.listen is None:
        sentences += [
            f"--{name} has no effect with --listen none"
            for name in _ONLY_WITH_LISTEN
            if BY_NAME[name].field in given
        ]
    if settings.publish not in {None, *(each.zone for each in settings.zone_lists)}:
        sentences.append("--publish has no effect without a [[list]] with this zone")
    sentences += [
        f"the blocks {'and the API key of' if each.key_file else 'of'} {each.url} cross the network"
        " unencrypted, where others can change them: let dnsdist's web server listen on this"
        " host's loopback"
        for each in settings.dnsdists
        if not each.is_local
    ]
    sentences += [
        f"the refresh of {each.refresh} s of list {each.name} is too short: its primaries are asked"
        f" every {each.least_refresh} s; a NOTIFY (--notify-listen) tells of a change at once"
        for each in settings.zone_lists
        if each.refresh is not None and each.refresh < each.least_refresh
    ]
    if settings.notify_listen is not None and not settings.zone_lists:
        sentences.append("--notify-listen has no effect without a [[list]] with the key zone")
    zones = settings.zone_tables or settings.zone_limits
    sentences += [
        f"--zone-names .{name.to_text()}=… has no effect without --zone-limit .{name.to_text()}=N"
        for name in without_limit(settings.zone_tables, settings.zone_limits, settings.zone_names)
    ]
    limits = settings.rate_limit or settings.flood_limit or zones
    for names, needed, there in (
        (_ONLY_WITH_RATE, "--rate-limit", settings.rate_limit),
        (("flood-limit-proven",), "--flood-limit", settings.flood_limit),
        (_ONLY_WITH_A_LIMIT, "--rate-limit or --flood-limit", limits),
    ):
        sentences += [
            f"--{name} has no effect without {needed}"
            for name in names
            if not there and BY_NAME[name].field in given
        ]
    return sentences
