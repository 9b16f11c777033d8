"""The `[[list]]` tables of the file: lists of rules that the service follows.

Owns their keys and the rules between them. Does not read lists (feeds/). Called by sources.py; the
command line and the environment cannot name lists. Does not own the file (sources.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from xdpctl.abi import RuleAction
from xdpctl.errors import SettingsError, TargetError
from xdpctl.process.command_line import unknown
from xdpctl.rules import parse_action, parse_duration, parse_origin
from xdpctl.rules.keys import LIST_PREFIX
from xdpctl.rules.names import shown
from xdpctl.settings import values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


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


_KEYS: dict[str, Callable[[str], object]] = {
    "file": values.path,
    "name": _name,
    "origin": _origin,
    "action": parse_action,
    "format": values.choice(ListFormat),
    "refresh": _refresh,
    "denial": values.choice(Denial),
    "max-shrink": _max_shrink,
}
_FIELDS = {"name": "origin", "max-shrink": "max_shrink"}
"""Fields of ListSettings that are not called as their keys."""


def lists_from(value: object, path: Path, file_name: str) -> tuple[ListSettings, ...]:
    """Return the lists in the key `list` of a file.

    Args:
        value: the value from TOML.
        path: the file; relative paths of lists are relative to its directory.
        file_name: the name of the file for errors.

    Raises:
        SettingsError: not tables, an unknown key, an invalid value, or an origin used twice.
    """
    source = f"key list in {file_name}"
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise SettingsError(
            f"cannot use {source}: a list is a table; begin each with a line [[list]]",
            source=source,
        )
    found: list[ListSettings] = []
    for number, table in enumerate(value, 1):
        added = _list_from(
            table, path.absolute().parent, f"[[list]] number {number} in {file_name}"
        )
        for other in found:
            if added.origin == other.origin:
                raise SettingsError(
                    f"cannot use [[list]] number {number} in {file_name}: another list has the"
                    f" same origin {shown(added.origin)}; give it another name with the key name",
                    source=source,
                )
        found.append(added)
    return tuple(found)


def _list_from(table: Mapping[str, object], folder: Path, source: str) -> ListSettings:
    fields: dict[str, object] = {}
    for key, value in table.items():
        if key not in _KEYS:
            raise SettingsError(
                f"cannot use key {shown(key)} of {source}: {unknown(key, _KEYS, 'key')}",
                source=source,
            )
        field = _FIELDS.get(key, key)
        if field in fields:
            raise SettingsError(
                f"cannot use {source}: it has both name and origin, which say the same; leave one"
                " out",
                source=source,
            )
        fields[field] = _value(key, value, f"key {key} of {source}")
    if "file" not in fields:
        raise SettingsError(f"cannot use {source}: it has no file; add the key file", source=source)
    file = folder / str(fields["file"])
    fields |= {"file": file}
    if "origin" not in fields:
        fields["origin"] = _value(
            "origin", f"{LIST_PREFIX}{file.name}", f"{source}: its file's name"
        )
    settings = ListSettings(**fields)  # type: ignore[arg-type]  # _KEYS has the fields' types
    if settings.format is ListFormat.RPZ and settings.action is RuleAction.PASS:
        raise SettingsError(
            f"cannot use {source} with the action pass: the records of an RPZ zone define their"
            " action; leave out the key action",
            source=source,
        )
    return settings


def _value(key: str, value: object, source: str) -> object:
    if not isinstance(value, str):
        raise SettingsError(f"{source}: it must be a string", source=source)
    try:
        return _KEYS[key](value)
    except TargetError as error:
        raise SettingsError(f"{source}: {error}", source=source) from error
    except ValueError as error:
        raise SettingsError(
            f"{source}: cannot use {shown(value)}: {error}", source=source
        ) from error
