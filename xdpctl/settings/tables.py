"""Tables of a TOML file that come several times: `[[zone]]`, `[[list]]`, `[[dnsdist]]`.

Owns what they have in common: that they are tables, and the errors that say which one it is. Does
not own their keys (zones.py, lists.py, dnsdist.py, which call it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xdpctl.errors import SettingsError, TargetError
from xdpctl.process.command_line import unknown
from xdpctl.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


def tables_of(
    key: str, what: str, value: object, path: Path, file_name: str
) -> Iterator[tuple[Mapping[str, object], Path, str]]:
    """Yield each table, the folder that its paths are relative to, and its name for errors.

    Args:
        key: of the file.
        what: what a table is, as in "a list".
        value: of the key, from TOML.
        path: the file.
        file_name: its name for errors.

    Raises:
        SettingsError: the value is not a list of tables.
    """
    source = f"key {key} in {file_name}"
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise SettingsError(
            f"cannot use {source}: {what} is a table; begin each with a line [[{key}]]",
            source=source,
        )
    folder = path.absolute().parent
    for number, table in enumerate(value, 1):
        yield table, folder, f"[[{key}]] number {number} in {file_name}"


def fields_of(
    table: Mapping[str, object],
    keys: Mapping[str, tuple[str, Callable[[Any], object]]],
    source: str,
) -> dict[str, Any]:
    """Return the values of a table by the names of fields.

    Args:
        table: from TOML.
        keys: for each key the field, and what reads its value.
        source: the name of the table for errors.

    Raises:
        SettingsError: an unknown key, or an invalid value.
    """
    fields: dict[str, Any] = {}
    for key, value in table.items():
        if key not in keys:
            raise SettingsError(
                f"cannot use key {shown(key)} of {source}: {unknown(key, keys, 'key')}",
                source=source,
            )
        field, read = keys[key]
        try:
            fields[field] = read(value)
        except (ValueError, TargetError) as error:
            raise SettingsError(
                f"cannot use key {key} of {source}: {error}", source=source
            ) from error
    return fields


def text_of(value: object) -> str:
    """Return a value that is a text.

    Raises:
        ValueError: it is not, or it is empty.
    """
    if not isinstance(value, str) or not value:
        raise ValueError("it must be a text in quotes")
    return value
