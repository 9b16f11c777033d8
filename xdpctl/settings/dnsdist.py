"""The `[[dnsdist]]` tables of the file: each a dnsdist whose dynamic blocks the service reads.

Owns their keys and the rules between them. Does not read blocks (feeds/dnsdist/) or key files.
Called by sources.py; the command line and the environment cannot name them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from xdpctl.errors import SettingsError
from xdpctl.rules import parse_duration
from xdpctl.rules.names import shown
from xdpctl.settings.tables import fields_of, tables_of, text_of
from xdpctl.settings.values import RATE_MAX, choice, server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HTTP_PORT = 80
HOLD_RATE = 10
"""Packets a second of a held block, where `hold-rate` is not given."""

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\]")


class OtherAction(StrEnum):
    """What becomes of a block that refuses: NXDomain, Refused, ServFail; no filter can."""

    SKIP = "skip"
    TRUNCATE = "truncate"


@dataclass(frozen=True, slots=True)
class DnsdistSettings:
    """One dnsdist.

    Attributes:
        url: of its web server, without a slash at its end; its name in metrics and warnings.
        key_file: holds the API key; None: it asks for none.
        poll: seconds between two reads.
        other: for blocks with an action that the filter does not have.
        hold: seconds that a block stays at most after dnsdist has ended it; 0: it ends at once.
        hold_rate: packets a second that keep it.
    """

    url: str
    key_file: Path | None = None
    poll: float = 1
    other: OtherAction = OtherAction.SKIP
    hold: int = 0
    hold_rate: int = HOLD_RATE

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        parts = urlsplit(self.url)
        return str(parts.hostname), parts.port or HTTP_PORT

    @property
    def is_local(self) -> bool:
        """Whether the key does not leave this host."""
        host, _ = self.address
        if host == "localhost":
            return True
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return False


def dnsdists_from(value: object, path: Path, file_name: str) -> tuple[DnsdistSettings, ...]:
    """Return what is in the key `dnsdist` of a file.

    Args:
        value: the value from TOML.
        path: the file; a relative `key-file` is relative to its directory.
        file_name: the name of the file for errors.

    Raises:
        SettingsError: not tables, an unknown key, an invalid value, or a URL used twice.
    """
    found: list[DnsdistSettings] = []
    for table, folder, source in tables_of("dnsdist", "a dnsdist", value, path, file_name):
        added = _dnsdist_from(table, folder, source)
        if any(other.url == added.url for other in found):
            raise SettingsError(
                f"cannot use {source}: another one has the same url; leave one out", source=source
            )
        found.append(added)
    return tuple(found)


def _dnsdist_from(table: Mapping[str, object], folder: Path, source: str) -> DnsdistSettings:
    fields = fields_of(table, _KEYS, source)
    if "url" not in fields:
        raise SettingsError(
            f'cannot use {source}: it has no url; add the key url, as in url = "http://127.0.0.1:8083"',
            source=source,
        )
    if "key_file" in fields:
        fields["key_file"] = folder / fields["key_file"]
    if "hold_rate" in fields and not fields.get("hold"):
        raise SettingsError(
            f"cannot use {source}: hold-rate is for hold; add the key hold, or leave hold-rate out",
            source=source,
        )
    return DnsdistSettings(**fields)


def _url(value: object) -> str:
    """Return the URL of a web server, in one form."""
    text = text_of(value)
    helps = "write it as http://127.0.0.1:8083"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{shown(text)} is not a URL; {helps}") from error
    if parts.scheme == "https":
        raise ValueError(f"dnsdist's web server has no TLS; {helps}")
    if parts.scheme != "http":
        raise ValueError(f"{shown(text)} is not a URL of http; {helps}")
    if "@" in parts.netloc:
        raise ValueError(f"a URL cannot hold a password; use key-file, and {helps}")
    if parts.path.strip("/") or parts.query or parts.fragment or text.endswith(("?", "#")):
        raise ValueError(f"only the web server's address is given, without a path; {helps}")
    host, _, rest = parts.netloc.rpartition(":") if port is not None else (parts.netloc, "", "")
    if not _HOST.fullmatch(host) or parts.hostname is None or port == 0 or (rest and not port):
        raise ValueError(f"{shown(text)} has no host to connect to; {helps}")
    if host.startswith("["):
        host = f"[{ip_address(parts.hostname)}]"
    server(parts.hostname)
    return f"http://{host.lower()}" + ("" if port in {None, HTTP_PORT} else f":{port}")


def _duration(value: object) -> int:
    return parse_duration(text_of(value))


def _hold(value: object) -> int:
    return 0 if value == "none" else parse_duration(text_of(value), ", or none")


def _rate(value: object) -> int:
    if type(value) is not int or not 0 < value <= RATE_MAX:
        raise ValueError(f"it must be a number of packets a second, 1 to {RATE_MAX}")
    return value


def _path(value: object) -> Path:
    text = text_of(value)
    if "\0" in text:
        raise ValueError("it must be a path")
    return Path(text)


def _other(value: object) -> OtherAction:
    return choice(OtherAction)(text_of(value))


_KEYS: dict[str, tuple[str, Callable[[object], object]]] = {
    "url": ("url", _url),
    "key-file": ("key_file", _path),
    "poll": ("poll", _duration),
    "other": ("other", _other),
    "hold": ("hold", _hold),
    "hold-rate": ("hold_rate", _rate),
}
