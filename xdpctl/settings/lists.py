"""The `[[list]]` tables of the file: lists of rules that the service keeps up with.

Owns their keys and what must agree between them. Reading a list is feeds/, deciding when
is its keeper's. Called by sources.py; the command line and the environment have no lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from xdpctl.abi import RuleAction
from xdpctl.errors import SettingsError, TargetError
from xdpctl.rules import parse_action, parse_duration, parse_origin
from xdpctl.rules.names import shown
from xdpctl.settings import values
from xdpctl.settings.arguments import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

PREFIX = "list:"
"""What a list's origin begins with, so that no list replaces what somebody typed."""


class ListFormat(StrEnum):
    """How a list is written; feeds/ says what each is."""

    AUTO = "auto"
    TARGETS = "targets"
    CIDR = "cidr"
    HOSTS = "hosts"
    RPZ = "rpz"


@dataclass(frozen=True, slots=True)
class ListSettings:
    """One list.

    Attributes:
        file: where it lies.
        origin: of its rules, list:NAME.
        action: of what names none; None: not said, which is drop but in an RPZ zone.
        format: how it is written.
        refresh: seconds between looks; None: as soon as the file changes.
    """

    file: Path
    origin: str
    action: RuleAction | None = None
    format: ListFormat = ListFormat.AUTO
    refresh: int | None = None


def _refresh(text: str) -> int | None:
    return None if text == "watch" else parse_duration(text)


def _origin(text: str) -> str:
    if not text.startswith(PREFIX):
        raise ValueError(f"the origin of a list begins with {PREFIX}")
    return parse_origin(text)


_KEYS: dict[str, Callable[[str], object]] = {
    "file": values.path,
    "origin": _origin,
    "action": parse_action,
    "format": values.choice(ListFormat),
    "refresh": _refresh,
}


def lists_from(value: object, path: Path, file_name: str) -> tuple[ListSettings, ...]:
    """Return the lists of a file's key `list`.

    Args:
        value: as TOML gives it.
        path: the file; a list's path that does not begin with / is beside it.
        file_name: the file as errors name it.

    Raises:
        SettingsError: no tables, an unknown key, a value that cannot be, or an origin twice.
    """
    source = f"key list in {file_name}"
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise SettingsError(
            f"cannot use {source}: lists are tables, each under a line [[list]]", source=source
        )
    found: list[ListSettings] = []
    for number, table in enumerate(value, 1):
        one = _list_from(table, path.absolute().parent, f"[[list]] number {number} in {file_name}")
        for other in found:
            if one.origin == other.origin:
                raise SettingsError(
                    f"cannot use [[list]] number {number} in {file_name}: its origin"
                    f" {shown(one.origin)} is that of another list; give it one with the key"
                    " origin",
                    source=source,
                )
        found.append(one)
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
        raise SettingsError(
            f"cannot use {source}: it names no file; add the key file", source=source
        )
    file = folder / str(fields["file"])
    fields |= {"file": file}
    if "origin" not in fields:
        fields["origin"] = _value("origin", f"{PREFIX}{file.name}", f"{source}: its file's name")
    one = ListSettings(**fields)  # type: ignore[arg-type]  # _KEYS has the fields' types
    if one.format is ListFormat.RPZ and one.action is RuleAction.PASS:
        raise SettingsError(
            f"cannot use {source} with the action pass: the records of an RPZ zone say what is to"
            " be done; leave the action out",
            source=source,
        )
    return one


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
