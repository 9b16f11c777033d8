"""The `[[list]]` tables of the file: lists of rules that the service follows.

Owns their keys and the rules between them. Does not read lists (feeds/). Called by sources.py; the
command line and the environment cannot name lists. Does not own the file (sources.py).
"""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class ListSettings:
    """One list.

    Attributes:
        file: its path.
        origin: the origin of its rules, list:NAME.
        action: for rules that do not have one; None: drop, or as an RPZ zone says.
        format: its format.
        refresh: seconds between two reads; None: read it when the file changes.
    """

    file: Path
    origin: str
    action: RuleAction | None = None
    format: ListFormat = ListFormat.AUTO
    refresh: int | None = None


def _refresh(text: str) -> int | None:
    return None if text == "watch" else parse_duration(text)


def _origin(text: str) -> str:
    if not text.startswith(LIST_PREFIX):
        raise ValueError(f"the origin of a list must begin with {LIST_PREFIX}")
    return parse_origin(text)


_KEYS: dict[str, Callable[[str], object]] = {
    "file": values.path,
    "origin": _origin,
    "action": parse_action,
    "format": values.choice(ListFormat),
    "refresh": _refresh,
}


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
                    f" same origin {shown(added.origin)}; set a different one with the key origin",
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
        fields[key] = _value(key, value, f"key {key} of {source}")
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
