"""Reads the three sources of settings with the table of options.

Each source returns only the values that it sets; settings.py, which calls this module, combines
them. Every error is one sentence that names its source: option, variable, or key and file. A value
must be valid even if a higher source overrides it. Owns the order and the errors of reading. Does
not own parsers (values.py).
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from xdpctl.errors import SettingsError, TargetError
from xdpctl.process.command_line import unknown
from xdpctl.rules.names import shown
from xdpctl.settings.dnsdist import dnsdists_from
from xdpctl.settings.lists import ListSettings, ZoneListSettings, lists_from
from xdpctl.settings.options import BY_NAME, CONFIG, ENVIRONMENT_PREFIX, OPTIONS, Option
from xdpctl.settings.zones import zones_from

FILE_MAX = 2**20
"""Most bytes of a configuration file; a thousand lists take some hundred thousand."""

_ERROR_LINE = re.compile(r"at line ([0-9]+),")
_BARE_TEXT = re.compile(
    r"""\s*(?P<key>[\w-]+)\s*=\s*(?P<text>[^\s"'\[\]{}#,=][^"'\[\]{}#,=]*?)\s*(?:#.*)?$"""
)
"""A line `key = text`, whose text lacks its quotes."""

_WORD_MAX = 200
_BIG = 2**63
"""Numbers from here on are written in hexadecimal, because decimal text of int has a limit."""

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def read_default(option: Option) -> Any:  # noqa: ANN401 - the field's type is Settings'
    """Return the value of an option that no source sets."""
    if option.default is None:
        return None
    texts = [option.default] if isinstance(option.default, str) else option.default
    return _read(option, texts, "default")


def from_command_line(namespace: argparse.Namespace) -> dict[str, Any]:
    """Return field and value of every option that was given.

    Raises:
        SettingsError: a value is not valid; names the option.
    """
    found = {}
    for option in (*OPTIONS, CONFIG):
        given = getattr(namespace, option.field, None)
        if given is None:
            continue
        name = f"--{option.name}"
        if isinstance(given, bool):
            name = name if given else f"--no-{option.name}"
            given = "yes" if given else "no"
        texts = [given] if isinstance(given, str) else given
        found[option.field] = _read(option, texts, f"option {name}")
    return found


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return field and value of every XDPCTL_… variable; commas separate the items of a list.

    Raises:
        SettingsError: a value is not valid, or there is no such option.
    """
    options = {option.variable: option for option in (*OPTIONS, CONFIG)}
    found = {}
    for variable, text in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        source = f"variable {_word(variable)}"
        option = options.get(variable)
        if option is None:
            raise SettingsError(
                f"cannot use {source}: {unknown(variable, options, 'variable')}", source=source
            )
        texts = [text]
        if option.is_list:
            texts = [part.strip() for part in text.split(",")] if text.strip() else []
        found[option.field] = _read(option, texts, source)
    return found


_TABLES = ("list", "zone", "dnsdist")
"""Keys whose values are tables that come several times."""


def _refuse_options(key: str, tables: object, source: str) -> None:
    """Refuse an option of the service that stands below the line of a table."""
    for table in tables if isinstance(tables, list) else ():
        for option in table if isinstance(table, dict) else ():
            if option in BY_NAME:
                raise SettingsError(
                    f"cannot use key {_word(option)} as one of [[{key}]]: it is an option of the"
                    " service; write it above the first line [[…]] of the file",
                    source=source,
                )


def from_file(path: Path) -> dict[str, Any]:
    """Return field and value of every key of a TOML file. Blocks.

    Raises:
        SettingsError: the file cannot be read or is not TOML, a key is unknown, or a value is
            not valid.
    """
    found: dict[str, Any] = {}
    for key, value in _load(path).items():
        source = f"key {_word(key)} in {_word(str(path))}"
        if key in _TABLES:
            _refuse_options(key, value, source)
        if key == "list":
            lists = lists_from(value, path, _word(str(path)))
            found["lists"] = tuple(each for each in lists if isinstance(each, ListSettings))
            found["zone_lists"] = tuple(
                each for each in lists if isinstance(each, ZoneListSettings)
            )
            continue
        if key == "zone":
            found["zone_tables"] = zones_from(value, path, _word(str(path)))
            continue
        if key == "dnsdist":
            found["dnsdists"] = dnsdists_from(value, path, _word(str(path)))
            continue
        option = BY_NAME.get(key)
        if option is None:
            known = (*BY_NAME, *_TABLES)
            raise SettingsError(f"cannot use {source}: {unknown(key, known, 'key')}", source=source)
        found[option.field] = _read(option, _texts(option, value, source), source)
    return found


def control_in_file(path: Path) -> Any:  # noqa: ANN401 - as above
    """Return the value of `control` in a TOML file, None if it has none. Blocks.

    A verb needs nothing else from the file, so other keys are not checked here.

    Raises:
        SettingsError: the file cannot be read or is not TOML, or the value is not valid.
    """
    option, source = BY_NAME["control"], f"key control in {_word(str(path))}"
    content = _load(path)
    if option.name not in content:
        return None
    return _read(option, _texts(option, content[option.name], source), source)


def _load(path: Path) -> dict[str, Any]:
    content = ""
    try:
        content = _content(path)
        return tomllib.loads(content)
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, RecursionError) as error:
        text = " ".join(str(error).split())
        reason = f"it is not valid TOML: {text}{_unquoted(content, text)}"
    source = f"file {_word(str(path))}"
    raise SettingsError(f"cannot read the settings in {source}: {reason}", source=source)


def _unquoted(content: str, error: str) -> str:
    """Return what helps if the line of a TOML error has a text without quotes; else nothing."""
    place = _ERROR_LINE.search(error)
    lines = content.splitlines()
    if place is None or int(place[1]) > len(lines):
        return ""
    found = _BARE_TEXT.match(lines[int(place[1]) - 1])
    if found is None:
        return ""
    return f'; a text needs quotes: {_word(found["key"])} = "{_word(found["text"])}"'


def _content(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(FILE_MAX + 1)
    if len(content) > FILE_MAX:
        raise ValueError(f"it has more than {FILE_MAX} bytes")
    return content.decode("utf-8-sig")  # Windows editors write a byte order mark


def _texts(option: Option, value: object, source: str) -> Sequence[str]:
    """Return a value of the file as the texts that the command line would give."""
    if isinstance(value, list) and option.is_joined and all(isinstance(x, str) for x in value):
        value = ",".join(value)
    items = value if isinstance(value, list) and option.is_list else [value]
    texts = []
    for item in items:
        if isinstance(item, str) and not option.is_flag:
            texts.append(item)
        elif isinstance(item, bool) and option.is_flag:
            texts.append("yes" if item else "no")
        elif type(item) is int and not option.is_flag and not option.as_text:
            texts.append(str(item) if abs(item) < _BIG else hex(item))
        else:
            wanted = "true or false" if option.is_flag else "a string"
            if not option.is_flag and not option.as_text:
                wanted += " or a number"
            if option.is_list:
                wanted += ", or a list of these"
            raise SettingsError(f"{source}: it must be {wanted}, not {_kind(item)}", source=source)
    return texts


def _word(name: str) -> str:
    """Return a name from outside, quoted and cut if it does not fit into a line."""
    return name if name.isprintable() and len(name) < _WORD_MAX else shown(name)


def _kind(item: object) -> str:
    """Return the kind of a value in the file, without its text, which may be very long."""
    kinds = {bool: "true or false", int: "a number", float: "a number with a point"}
    kinds |= {str: "a string", list: "a list", dict: "a table"}
    return kinds.get(type(item), "a date or time")


def _read(option: Option, texts: Sequence[str], source: str) -> Any:  # noqa: ANN401 - as above
    """Return the value of `texts`; exactly one text if the option is not a list."""
    found = []
    for text in texts:
        try:
            value = option.parse(text)
        except TargetError as error:
            raise SettingsError(f"{source}: {error}", source=source) from error
        except ValueError as error:
            raise SettingsError(
                f"{source}: cannot use {shown(text)}: {error}", source=source
            ) from error
        if value in found:
            raise SettingsError(
                f"{source}: cannot use {shown(text)} twice; leave one out", source=source
            )
        found.append(value)
    return tuple(found) if option.is_list else found[0]
