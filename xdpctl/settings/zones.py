"""Own zones with a limit: `--zone-limit`, `--zone-names`, and the `[[zone]]` tables of the file.

Owns their forms and how they come together: what the options say about a zone takes the place of
what its table says. Does not transfer zones (zones/) or write limits (service/zone_limits.py).
Called by sources.py and settings.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from xdpctl.abi import ZONE_LEVELS, ZONES_MAX
from xdpctl.errors import SettingsError
from xdpctl.rules.names import Name
from xdpctl.settings.tables import fields_of, tables_of, text_of
from xdpctl.settings.values import RATE_MAX, refuse_unusable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DNS_PORT = 53
WATCHED_LIMIT = 100
"""Queries a second for names that do not exist, of a zone with `watch` and no limit."""

_BURST = 2.5
_BRACKETED = re.compile(r"\[([^\]]+)\](?::([0-9]{1,5}))?")
_WITH_PORT = re.compile(r"([^:]+):([0-9]{1,5})")


class PrimaryAddress(NamedTuple):
    """Where a primary listens; its text is as the options take it."""

    address: IPv4Address | IPv6Address
    port: int = DNS_PORT


class ZoneLimit(NamedTuple):
    """One `--zone-limit`: queries a second."""

    name: Name
    limit: int


class ZoneNames(NamedTuple):
    """One `--zone-names`: where a zone's names come from."""

    name: Name
    primary: PrimaryAddress


@dataclass(frozen=True, slots=True)
class ZoneSettings:
    """An own zone.

    Attributes:
        name: of the zone.
        limit: queries a second for names below it that do not exist; 0: none but by `watch`.
        primaries: that its names come from, in the order in which they are asked; none: every
            name below it counts.
        key_file: of the key that is shared with them.
        watch: whether the service may limit it by itself, while it is attacked.
    """

    name: Name
    limit: int = 0
    primaries: tuple[PrimaryAddress, ...] = ()
    key_file: Path | None = None
    watch: bool = False

    @property
    def burst(self) -> int:
        """Queries that may come at one moment."""
        return max(1, round(_BURST * (self.limit or WATCHED_LIMIT)))


def parse_zone_name(text: str) -> Name:
    """Return the zone written as `.example.com`.

    Raises:
        ValueError, TargetError: it is another form, the root, or too deep.
    """
    if text.startswith("*.") or not text.startswith("."):
        bare = text.removeprefix("*.").removeprefix(".")
        example = bare if bare.isprintable() else "example.com"
        raise ValueError(f"a zone is written with a leading dot: .{example}")
    name = Name.from_text(text[1:] or ".")
    labels = len(name.labels)
    if not labels:
        raise ValueError("the root cannot have a limit; --flood-limit limits all queries")
    if labels > ZONE_LEVELS:
        raise ValueError(f"a zone with a limit has at most {ZONE_LEVELS} labels")
    return name


def parse_zone_limit(text: str) -> ZoneLimit:
    """Return the value of `--zone-limit .example.com=500`.

    Raises:
        ValueError, TargetError: it is not one.
    """
    zone, equals, rate = text.rpartition("=")
    if not equals:
        raise ValueError("write it as .example.com=500: a zone and queries a second")
    return ZoneLimit(parse_zone_name(zone), _rate(rate))


def parse_zone_names(text: str) -> ZoneNames:
    """Return the value of `--zone-names .example.com=192.0.2.53:5300`.

    Raises:
        ValueError, TargetError: it is not one.
    """
    zone, equals, primary = text.partition("=")
    if not equals:
        raise ValueError("write it as .example.com=127.0.0.1: a zone and its primary")
    return ZoneNames(parse_zone_name(zone), parse_primary(primary))


def parse_primary(text: str, default_port: int = DNS_PORT) -> PrimaryAddress:
    """Return where a primary listens: `ADDR`, `ADDR:PORT`, `[ADDR]:PORT` or `ADDR@PORT`.

    Raises:
        ValueError: it is no address, or none that a server can have.
    """
    address, at, port = text.partition("@")
    if not at and (found := _BRACKETED.fullmatch(text) or _WITH_PORT.fullmatch(text)):
        address, port = found[1], found[2] or ""
    try:
        parsed = ip_address(address)
    except ValueError:
        raise ValueError(
            "a primary is an address, with :PORT behind it where it is not 53: 127.0.0.1,"
            " 192.0.2.53:5300, [2001:db8::53]:5300"
        ) from None
    if isinstance(parsed, IPv6Address) and parsed.scope_id:
        raise ValueError("a primary's address cannot have a scope")
    number = int(port) if port or at else default_port
    if not 0 < number <= 0xFFFF:  # noqa: PLR2004 - 16 bits
        raise ValueError(f"there is no port {port}; use 1 to 65535")
    return PrimaryAddress(refuse_unusable(parsed), number)


def _rate(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) <= RATE_MAX:
        raise ValueError(f"a limit is a number of queries a second, 1 to {RATE_MAX}")
    return int(text)


def zones_from(value: object, path: Path, file_name: str) -> tuple[ZoneSettings, ...]:
    """Return the zones in the key `zone` of a file.

    Args:
        value: the value from TOML.
        path: the file; a relative `key-file` is relative to its directory.
        file_name: the name of the file for errors.

    Raises:
        SettingsError: not tables, an unknown key, an invalid value, or a zone used twice.
    """
    found: list[ZoneSettings] = []
    for table, folder, source in tables_of("zone", "a zone", value, path, file_name):
        added = _zone_from(table, folder, source)
        if any(other.name == added.name for other in found):
            raise SettingsError(
                f"cannot use {source}: there is another one of .{added.name.to_text()}; put all"
                " keys into one table",
                source=source,
            )
        found.append(added)
    return tuple(found)


def _zone_from(table: Mapping[str, object], folder: Path, source: str) -> ZoneSettings:
    fields = fields_of(table, _KEYS, source)
    if "name" not in fields:
        raise SettingsError(
            f'cannot use {source}: it has no name; add the key name, as in name = "example.com"',
            source=source,
        )
    zone = ZoneSettings(**fields)
    if zone.key_file is not None:
        zone = replace(zone, key_file=folder / zone.key_file)
        if not zone.primaries:
            raise SettingsError(
                f"cannot use {source}: a key-file is for a primary; add the key primary",
                source=source,
            )
    return zone


def _table_name(value: object) -> Name:
    text = text_of(value)
    return parse_zone_name(text if text.startswith((".", "*.")) else f".{text}")


def _table_limit(value: object) -> int:
    if type(value) is not int:
        raise ValueError("it must be a number")
    return _rate(str(value))


def _table_primaries(value: object) -> tuple[PrimaryAddress, ...]:
    several = value if isinstance(value, list) else [value]
    if not several:
        raise ValueError("there is no primary in it")
    return tuple(parse_primary(text_of(each)) for each in several)


def _table_watch(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("it must be true or false")  # noqa: TRY004 - one kind of error here
    return value


_KEYS = {
    "name": ("name", _table_name),
    "primary": ("primaries", _table_primaries),
    "key-file": ("key_file", lambda value: Path(text_of(value))),
    "limit": ("limit", _table_limit),
    "watch": ("watch", _table_watch),
}


def merged(
    tables: Sequence[ZoneSettings], limits: Sequence[ZoneLimit], names: Sequence[ZoneNames]
) -> tuple[ZoneSettings, ...]:
    """Return the zones of all sources; raise SettingsError if they contradict each other."""
    zones = {table.name: table for table in tables}
    _refuse_twice("zone-limit", [limit.name for limit in limits])
    for name, limit in limits:
        zones[name] = replace(zones.get(name, ZoneSettings(name)), limit=limit)
    named: dict[Name, tuple[PrimaryAddress, ...]] = {}
    for name, primary in names:
        named[name] = (*named.get(name, ()), primary)
    for name, primaries in named.items():
        if name in zones:
            zones[name] = replace(zones[name], primaries=primaries)
    for zone in zones.values():
        _check(zone)
    if len(zones) > ZONES_MAX:
        raise SettingsError(
            f"cannot limit {len(zones)} zones: the filter has room for {ZONES_MAX}; leave some out",
            source="zone-limit",
        )
    return tuple(zones.values())


def without_limit(
    tables: Sequence[ZoneSettings], limits: Sequence[ZoneLimit], names: Sequence[ZoneNames]
) -> list[Name]:
    """Return the zones of `--zone-names` that have no limit, for a warning."""
    limited = {table.name for table in tables} | {limit.name for limit in limits}
    return [name for name in dict.fromkeys(each.name for each in names) if name not in limited]


def _check(zone: ZoneSettings) -> None:
    text = zone.name.to_text()
    if not zone.limit and not zone.watch:
        raise SettingsError(
            f"cannot use [[zone]] {text} without a limit: add the key limit, or watch = true",
            source="zone",
        )
    if zone.watch and len(zone.name.labels) == 1:
        raise SettingsError(
            f"cannot watch [[zone]] {text}: a top-level domain is never limited by the service"
            " itself; give it a limit, or watch a zone below it",
            source="zone",
        )


def _refuse_twice(option: str, names: Sequence[Name]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(
                f"cannot use two values of --{option} for .{name.to_text()}: leave one out",
                source=option,
            )
