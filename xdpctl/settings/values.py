"""The parsers of an option's text, one for each kind of value.

Each takes text and returns a valid value, or raises ValueError with the rest of a sentence
that begins "cannot use 'TEXT': ". options.py assigns the parsers to options and calls them.
Does not own addresses: rules/targets.py reads them, and raises TargetError with a complete
sentence.
"""

from __future__ import annotations

import grp
import pwd
import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from xdpctl.abi import DESTINATION_MAPS, RULE_MAPS, MapName
from xdpctl.errors import TargetError
from xdpctl.rules import format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

_Choice = TypeVar("_Choice", bound=StrEnum)

_DIGITS = re.compile(r"[0-9]{1,10}")
_OCTAL = re.compile(r"(?:0o?)?([0-7]{3})")
_HOST_PORT = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*)):([0-9]{1,5})")
_INTERFACE_NAME_MAX = 15
_SOCKET_PATH_MAX = 107
_ID_MAX = 2**32 - 2


class ModeSetting(StrEnum):
    """`--mode`: where in the path of a packet the program runs."""

    AUTO = "auto"
    NATIVE = "native"
    GENERIC = "generic"


class XskFamily(StrEnum):
    """`--xsk-family`: which IP versions are redirected."""

    BOTH = "both"
    V4 = "4"


class OnExit(StrEnum):
    """`--on-exit`: what happens to the program on the interface."""

    DETACH = "detach"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class StalePolicy:
    """`--stale-dnsdist`: after how many seconds stale entries end; None: never."""

    seconds: int | None = None

    def __str__(self) -> str:
        """Return the text that the option reads."""
        return "keep" if self.seconds is None else f"expire:{format_duration(self.seconds)}"


@dataclass(frozen=True, slots=True)
class Listen:
    """The address of metrics and API; with port 0 the kernel chooses the port."""

    host: IPv4Address | IPv6Address
    port: int

    def __str__(self) -> str:
        """Return the text that `--listen` reads."""
        host = f"[{self.host}]" if self.host.version == 6 else str(self.host)  # noqa: PLR2004
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Owner:
    """User and group by number."""

    uid: int
    gid: int


def flag(text: str) -> bool:
    """Return the value of a flag."""
    match text.lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
        case _:
            raise ValueError("it must be one of 1, true, yes, on, 0, false, no, off")


def number(low: int, high: int) -> Callable[[str], int]:
    """Return the parser of a number from `low` to `high`."""

    def parse(text: str) -> int:
        if not _DIGITS.fullmatch(text) or not low <= int(text) <= high:
            raise ValueError(f"it must be a number from {low} to {high}")
        return int(text)

    return parse


port = number(1, 65535)
map_size = number(1, 2**31)


def choice(kind: type[_Choice]) -> Callable[[str], _Choice]:
    """Return the parser of an enumeration's values."""

    def parse(text: str) -> _Choice:
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"it must be one of {', '.join(kind)}") from None

    return parse


def interface(text: str) -> str:
    """Return the name of a network interface (the kernel's dev_valid_name)."""
    if not 0 < len(text.encode("utf-8", "surrogateescape")) <= _INTERFACE_NAME_MAX:
        raise ValueError(f"the name of an interface has 1 to {_INTERFACE_NAME_MAX} bytes")
    if text in {".", ".."} or not text.isprintable() or any(c in "/: " for c in text):
        raise ValueError("no interface can have this name")
    return text


def sized_map(text: str) -> tuple[MapName, int]:
    """Return (map, entries) of `NAME=N`."""
    name, equals, size = text.partition("=")
    names = [*RULE_MAPS, *DESTINATION_MAPS]
    if name == MapName.XSKMAP:
        raise ValueError("use --number-of-queues to set the size of xskmap")
    if name not in names or not equals:
        raise ValueError(f"it must be NAME=N with NAME one of {', '.join(names)}")
    return MapName(name), map_size(size)


def path(text: str) -> Path:
    """Return a path."""
    if not text or "\0" in text:
        raise ValueError("it must be a path")
    return Path(text)


def absolute_path(text: str) -> Path:
    """Return a path that does not depend on where the service was started."""
    found = path(text)
    if not found.is_absolute() or ".." in found.parts:
        raise ValueError("it must be an absolute path without ..")
    return found


def socket_path(text: str) -> Path:
    """Return a path that fits into a unix socket's address (unix(7))."""
    found = path(text)
    if len(bytes(found)) > _SOCKET_PATH_MAX:
        raise ValueError(f"the path of a socket can have at most {_SOCKET_PATH_MAX} bytes")
    return found


def listen(text: str) -> Listen | None:
    """Return the address and port of `HOST:PORT`, None for `none`."""
    if text == "none":
        return None
    found = _HOST_PORT.fullmatch(text)
    try:
        if found is None:
            raise ValueError(text)  # noqa: TRY301 - the sentence is the same for all of it
        v6, v4, number_text = found.groups()
        if v6 is not None:
            host: IPv4Address | IPv6Address = IPv6Address(v6)
        else:
            host = IPv4Address("127.0.0.1" if v4 == "localhost" else v4)
        return Listen(host, number(0, 65535)(number_text))
    except ValueError:
        raise ValueError(
            "it must be an address and a port such as 127.0.0.1:9953 or [::1]:9953, or none"
        ) from None


def stale_entries(text: str) -> StalePolicy:
    """Return the value of `keep` or `expire:TIME`."""
    if text == "keep":
        return StalePolicy()
    word, colon, duration = text.partition(":")
    if word != "expire" or not colon:
        raise ValueError("it must be keep, or expire:TIME with a time such as 10m or 1h")
    try:
        return StalePolicy(parse_duration(duration))
    except TargetError as error:
        raise ValueError("its time is written like 30s, 10m, 1h30m or 7d, at most 10 years") from (
            error
        )


def mode(text: str) -> int:
    """Return permission bits from octal text."""
    found = _OCTAL.fullmatch(text)
    if found is None:
        raise ValueError("it must be permission bits in octal, such as 0660")
    return int(found.group(1), 8)


def group(text: str) -> int:
    """Return the number of a group given by name or number."""
    if _DIGITS.fullmatch(text) and int(text) <= _ID_MAX:
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError):
        raise ValueError("this host has no such group") from None


def owner(text: str) -> Owner:
    """Return user and group of `USER[:GROUP]`, by name or number; default is the user's group."""
    user, colon, group_text = text.partition(":")
    is_number = _DIGITS.fullmatch(user) and int(user) <= _ID_MAX
    try:
        entry = pwd.getpwuid(int(user)) if is_number else pwd.getpwnam(user)
        uid, gid = entry.pw_uid, entry.pw_gid
    except (KeyError, ValueError):
        if not is_number:
            raise ValueError(f"this host has no user {user!r}") from None
        if not colon:
            raise ValueError(
                f"this host does not know user {user} and its group: use {user}:GROUP"
            ) from None
        uid = gid = int(user)
    return Owner(uid, group(group_text) if colon else gid)
