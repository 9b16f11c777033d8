"""The `[[list]]` tables of the file: lists of rules that the service follows.

A list is a file (`file`) or a response policy zone that a primary serves (`zone`). Owns the keys of
both and the rules between them. Does not read lists (feeds/). Called by sources.py; the command
line and the environment cannot name lists. Does not own the file (sources.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from xdpctl.abi import RuleAction
from xdpctl.errors import SettingsError, TargetError
from xdpctl.process.command_line import unknown
from xdpctl.rules import parse_action, parse_duration, parse_origin
from xdpctl.rules.keys import LIST_PREFIX
from xdpctl.rules.names import Name, shown
from xdpctl.settings import values
from xdpctl.settings.tables import tables_of
from xdpctl.settings.zones import DNS_PORT, parse_primary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from xdpctl.settings.zones import PrimaryAddress


class ListFormat(StrEnum):
    """The format of a list; feeds/ describes each."""

    AUTO = "auto"
    TARGETS = "targets"
    CIDR = "cidr"
    HOSTS = "hosts"
    RPZ = "rpz"
    ADBLOCK = "adblock"
    DNSMASQ = "dnsmasq"
    UNBOUND = "unbound"
    FIRST_COLUMN = "first-column"
    JSON = "json"


class Denial(StrEnum):
    """What stands for NXDOMAIN and NODATA of an RPZ zone, which XDP cannot answer."""

    DROP = "drop"
    TRUNCATE = "truncate"
    SKIP = "skip"


MAX_SHRINK = 0.5
"""Share of a list's rules that may be gone in a new version."""

NO_SHRINK_LIMIT = 1.0
"""All of them may, so that the list may also have no rule at all."""


@dataclass(frozen=True, slots=True)
class ListSettings:
    """One list.

    Attributes:
        file: its path.
        origin: the origin of its rules, list:NAME.
        action: for rules that do not have one; None: drop, or as an RPZ zone says.
        format: its format.
        refresh: seconds between two reads; None: read it when the file changes.
        denial: for RPZ records that answer NXDOMAIN or NODATA.
        max_shrink: share of the rules that may be gone in a new version, 0 to 1.
    """

    file: Path
    origin: str
    action: RuleAction | None = None
    format: ListFormat = ListFormat.AUTO
    refresh: int | None = None
    denial: Denial = Denial.DROP
    max_shrink: float = MAX_SHRINK

    @property
    def name(self) -> str:
        """The list's name: its origin without `list:`."""
        return self.origin.removeprefix(LIST_PREFIX)


class Expire(StrEnum):
    """When the rules of a zone end because no primary has confirmed it for long."""

    KEEP = "keep"
    SOA = "soa"


class Lifetime(StrEnum):
    """How long a rule of a zone stays."""

    NONE = "none"
    TTL = "ttl"


class Passthru(StrEnum):
    """What a client's address with PASSTHRU means."""

    ALLOW = "allow"
    EXEMPT = "exempt"


@dataclass(frozen=True, slots=True)
class ZoneListSettings:
    """A list that is a response policy zone, transferred from primaries.

    Attributes:
        zone: its name.
        origin: the origin of its rules, list:NAME.
        primaries: that are asked, in this order.
        key_file: of the TSIG key that is shared with them.
        tls_name: the name in the primaries' certificates; None: not over TLS.
        tls_ca: file of the authorities that certify it; None: the system's.
        refresh: seconds between two looks at the serial; None: as the SOA says.
        expire: when the rules end after the last contact; a number: so many seconds.
        lifetime: how long each rule stays.
        passthru: what PASSTHRU for a client's address means.
        update: where DNS UPDATE for `xdpctl publish` goes; empty: to the primaries.
        update_key_file: of the TSIG key for it; None: `key_file`.
        action, denial, max_shrink: as of `ListSettings`.
    """

    zone: Name
    origin: str
    primaries: tuple[PrimaryAddress, ...]
    key_file: Path | None = None
    tls_name: str | None = None
    tls_ca: Path | None = None
    refresh: int | None = None
    expire: Expire | int = Expire.KEEP
    lifetime: Lifetime = Lifetime.NONE
    passthru: Passthru = Passthru.ALLOW
    update: tuple[PrimaryAddress, ...] = ()
    update_key_file: Path | None = None
    action: RuleAction | None = None
    denial: Denial = Denial.DROP
    max_shrink: float = MAX_SHRINK

    @property
    def name(self) -> str:
        """The list's name: its origin without `list:`."""
        return self.origin.removeprefix(LIST_PREFIX)

    @property
    def least_refresh(self) -> int:
        """The seconds between two looks at least, whatever `refresh` says."""
        return REFRESH_NEAR if all(at.address.is_loopback for at in self.primaries) else REFRESH_FAR


AnyList: TypeAlias = ListSettings | ZoneListSettings

REFRESH_NEAR, REFRESH_FAR = 1, 5
"""Seconds between two looks at a zone at least: if every primary is on loopback, elsewhere."""

LISTED_MAX = 1_000
"""Clients that lists may exempt, all together."""

TLS_PORT = 853
"""Where a primary listens for transfers over TLS (RFC 9103, 7.1)."""

_PERCENT = re.compile(r"([0-9]{1,3})%")


def _max_shrink(text: str) -> float:
    found = _PERCENT.fullmatch(text)
    if found is None or int(found[1]) > 100:  # noqa: PLR2004 - percent
        raise ValueError('write a percentage from "0%" to "100%"')
    return int(found[1]) / 100


def _name(text: str) -> str:
    return parse_origin(f"{LIST_PREFIX}{text}")


def _refresh(text: str) -> int | None:
    return None if text == "watch" else parse_duration(text)


def _origin(text: str) -> str:
    if not text.startswith(LIST_PREFIX):
        raise ValueError(f"the origin of a list must begin with {LIST_PREFIX}")
    return parse_origin(text)


def _zone(text: str) -> Name:
    name = Name.from_text(text)
    if not name.labels:
        raise ValueError("the root zone cannot be a list")
    return name


def _zone_refresh(text: str) -> int:
    if text == "watch":
        raise ValueError("a zone is watched by its serial and by NOTIFY; write a time, or leave it")
    return parse_duration(text)


def _expire(text: str) -> Expire | int:
    try:
        return Expire(text)
    except ValueError:
        return parse_duration(text, ", or keep, or soa")


def _tls_name(text: str) -> str:
    name = Name.from_text(text)
    if not name.labels:
        raise ValueError("it must be the name in the primary's certificate")
    return name.to_text().removesuffix(".")


def _zone_format(text: str) -> None:
    if values.choice(ListFormat)(text) not in {ListFormat.AUTO, ListFormat.RPZ}:
        raise ValueError("a zone is always read as rpz")


_COMMON: dict[str, Callable[[str], object]] = {
    "name": _name,
    "origin": _origin,
    "action": parse_action,
    "denial": values.choice(Denial),
    "max-shrink": _max_shrink,
}
_FILE_KEYS: dict[str, Callable[[str], object]] = {
    "file": values.path,
    "format": values.choice(ListFormat),
    "refresh": _refresh,
    **_COMMON,
}
_ZONE_KEYS: dict[str, Callable[[str], object]] = {
    "zone": _zone,
    "primary": str,  # read when it is known whether it is asked over TLS
    "key-file": values.path,
    "tls-name": _tls_name,
    "tls-ca": values.path,
    "refresh": _zone_refresh,
    "expire": _expire,
    "lifetime": values.choice(Lifetime),
    "passthru": values.choice(Passthru),
    "update": parse_primary,
    "update-key-file": values.path,
    "format": _zone_format,
    **_COMMON,
}
_KEYS = _FILE_KEYS | _ZONE_KEYS
_SEVERAL = frozenset({"primary", "update"})
"""Keys whose value may be a list."""

_FIELDS = {"name": "origin", "primary": "primaries"}
"""Fields that are not called as their keys."""


def lists_from(value: object, path: Path, file_name: str) -> tuple[AnyList, ...]:
    """Return the lists in the key `list` of a file.

    Args:
        value: the value from TOML.
        path: the file; relative paths of lists are relative to its directory.
        file_name: the name of the file for errors.

    Raises:
        SettingsError: not tables, an unknown key, an invalid value, or an origin used twice.
    """
    found: list[AnyList] = []
    for table, folder, source in tables_of("list", "a list", value, path, file_name):
        added = _list_from(table, folder, source)
        if any(other.origin == added.origin for other in found):
            raise SettingsError(
                f"cannot use {source}: another list has the same origin {shown(added.origin)};"
                " give it another name with the key name",
                source=source,
            )
        found.append(added)
    return tuple(found)


def _list_from(table: Mapping[str, object], folder: Path, source: str) -> AnyList:
    is_zone = "zone" in table
    if is_zone and "file" in table:
        raise SettingsError(
            f"cannot use {source}: it has both file and zone; a list is one of them", source=source
        )
    fields = _fields_of(table, _ZONE_KEYS if is_zone else _FILE_KEYS, source)
    return _zone_list(fields, folder, source) if is_zone else _file_list(fields, folder, source)


def _fields_of(
    table: Mapping[str, object], keys: Mapping[str, Callable[[str], object]], source: str
) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in table.items():
        if key not in keys:
            helps = unknown(key, keys, "key")
            if key in _KEYS:
                helps = "it is for a list that is a zone" if keys is _FILE_KEYS else _FOR_FILES
            raise SettingsError(f"cannot use key {shown(key)} of {source}: {helps}", source=source)
        field = _FIELDS.get(key, key.replace("-", "_"))
        if field in fields:
            raise SettingsError(
                f"cannot use {source}: it has both name and origin, which say the same; leave one"
                " out",
                source=source,
            )
        read = partial(_value, keys[key], source=f"key {key} of {source}")
        if key in _SEVERAL:
            fields[field] = tuple(map(read, value if isinstance(value, list) else [value]))
        else:
            fields[field] = read(value)
    return fields


_FOR_FILES = "it is for a list that is a file"


def _file_list(fields: dict[str, Any], folder: Path, source: str) -> ListSettings:
    if "file" not in fields:
        raise SettingsError(
            f"cannot use {source}: it has no file and no zone; add the key file, or zone",
            source=source,
        )
    file = folder / str(fields["file"])
    fields |= {"file": file}
    if "origin" not in fields:
        origin = f"{LIST_PREFIX}{file.name}"
        fields["origin"] = _value(_origin, origin, f"{source}: its file's name")
    settings = ListSettings(**fields)
    if settings.format is ListFormat.RPZ:
        _refuse_pass(settings, source)
    return settings


def _zone_list(fields: dict[str, Any], folder: Path, source: str) -> ZoneListSettings:
    fields.pop("format", None)
    zone, texts = fields["zone"].to_text().removesuffix("."), fields.get("primaries", ())
    if not texts:
        raise SettingsError(
            f"cannot use {source}: it has no primary; add the key primary, as in"
            ' primary = "192.0.2.1"',
            source=source,
        )
    port = TLS_PORT if fields.get("tls_name") else DNS_PORT
    read = partial(parse_primary, default_port=port)
    fields["primaries"] = tuple(
        _value(read, text, f"key primary of {source}") for text in dict.fromkeys(texts)
    )
    for field in ("key_file", "tls_ca", "update_key_file"):
        if field in fields:
            fields[field] = folder / fields[field]
    if "origin" not in fields:
        fields["origin"] = _value(_origin, f"{LIST_PREFIX}{zone}", f"{source}: its zone's name")
    settings = ZoneListSettings(**fields)
    _refuse_pass(settings, source)
    if settings.tls_ca is not None and settings.tls_name is None:
        raise SettingsError(
            f"cannot use {source}: tls-ca is for a primary that is asked over TLS; add the key"
            " tls-name",
            source=source,
        )
    far = [each.address for each in settings.primaries if not each.address.is_loopback]
    if far and settings.key_file is None and settings.tls_name is None:
        raise SettingsError(
            f"cannot use {source}: without a key anybody on the way to {far[0]} could choose its"
            " rules; add key-file with the TSIG key of the primary, or tls-name",
            source=source,
        )
    return settings


def _refuse_pass(settings: AnyList, source: str) -> None:
    if settings.action is RuleAction.PASS:
        raise SettingsError(
            f"cannot use {source} with the action pass: the records of an RPZ zone define their"
            " action; leave out the key action",
            source=source,
        )


def _value(read: Callable[[str], Any], value: object, source: str) -> Any:  # noqa: ANN401 - the keys have their types
    if not isinstance(value, str):
        raise SettingsError(f"{source}: it must be a string", source=source)
    try:
        return read(value)
    except TargetError as error:
        raise SettingsError(f"{source}: {error}", source=source) from error
    except ValueError as error:
        raise SettingsError(
            f"{source}: cannot use {shown(value)}: {error}", source=source
        ) from error
