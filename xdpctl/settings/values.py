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
from ipaddress import IPV4LENGTH, IPV6LENGTH, IPv4Address, IPv6Address, ip_address
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from xdpctl.abi import DESTINATION_MAPS, RULE_MAPS, MapName
from xdpctl.errors import TargetError
from xdpctl.rules import Name, format_duration, parse_duration, parse_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Network, IPv6Network

_Choice = TypeVar("_Choice", bound=StrEnum)

_DIGITS = re.compile(r"[0-9]{1,10}")
_OCTAL = re.compile(r"(?:0o?)?([0-7]{3})")
_HOST_PORT = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*)):([0-9]{1,5})")
_INTERFACE_NAME_MAX = 15
_SOCKET_PATH_MAX = 107
_ID_MAX = 2**32 - 2
_FLOOD_MIN, _FLOOD_MAX = 64, 10**8
_LEVEL = re.compile(r"([0-9]{1,3}):([0-9]{1,4})")
_LEVEL_EXAMPLES = {32: "32:1,24:32", 128: "64:1,48:8"}

RATE_MAX = 10**6
"""Most queries a second of one source that are limited."""

LEVELS_MAX = 4
"""Prefix lengths of one address that have an account."""

MULTIPLIER_MAX = 1024

TABLE_WORDS = (2**10, 2**19)
"""Least and most words of the table of accounts: Linux 5.10 makes no array value over 4 MiB."""

LIFETIME_SECONDS = (60, 7 * 86400)
"""Shortest and longest time that a proof lasts; the table has room for the time of 24 days."""

EXEMPT_SHORTEST = {4: 8, 6: 16}

_BROADCAST = IPv4Address("255.255.255.255")

SAMPLES_MAX = 10**6
"""Most samples a second."""

SAMPLE_OCTETS = (64, 2048)
"""Least and most octets of a sampled packet that are kept."""

_KEPT_BITS = re.compile(r"([0-9]{1,2}),([0-9]{1,3})")

KeptBits: TypeAlias = "tuple[int, int]"
"""Bits of an IPv4 and of an IPv6 address that are kept."""

Levels: TypeAlias = "tuple[tuple[int, int], ...]"
"""Prefix lengths and their multipliers, the longest prefix first."""


@dataclass(frozen=True, slots=True)
class DnstapTarget:
    """Where sampled queries go as dnstap (`sample-dnstap`).

    Attributes:
        kind: unix, file, tcp or tls.
        path: of a socket or file.
        host, port: of a receiver.
    """

    kind: str
    path: Path | None
    host: str = ""
    port: int = 0


class ModeSetting(StrEnum):
    """`--mode`: where in the path of a packet the program runs."""

    AUTO = "auto"
    NATIVE = "native"
    GENERIC = "generic"


class XskFamily(StrEnum):
    """`--xsk-family`: which IP versions are redirected."""

    BOTH = "both"
    V4 = "4"


class Proof(StrEnum):
    """`--proof`: who notices TCP connections, which prove a source."""

    SOCKET = "socket"
    CGROUP = "cgroup"


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
        port_number = number(0, 65535)(number_text)
    except ValueError:
        raise ValueError(
            "it must be an address and a port such as 127.0.0.1:9953 or [::1]:9953, or none"
        ) from None
    return Listen(refuse_unusable(host, may_be_every=True), port_number)


def refuse_unusable(
    address: IPv4Address | IPv6Address, *, may_be_every: bool = False
) -> IPv4Address | IPv6Address:
    """Return an address that a host can have.

    Args:
        address: to listen on, or of a server that is asked.
        may_be_every: whether 0.0.0.0 and :: are meant: every address of this host.

    Raises:
        ValueError: no host has it, or it is of no use without an interface.
    """
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    plain = mapped or address
    if plain.is_unspecified and not may_be_every:
        raise ValueError(
            f"no host has the address {address}; write the server's own, or 127.0.0.1 or ::1"
        )
    if plain == _BROADCAST:
        raise ValueError(f"{address} is the broadcast address; write the address of one host")
    if plain.is_multicast:
        raise ValueError(f"{address} is a multicast address; write the address of one host")
    if isinstance(plain, IPv6Address) and plain.is_link_local and not plain.scope_id:
        raise ValueError(
            f"{address} is a link-local address, which means nothing without an interface; write"
            " another address of that host"
        )
    return address


def server(text: str) -> str:
    """Return a name, or an address that a server can have."""
    try:
        address = ip_address(text)
    except ValueError:
        return text
    return str(refuse_unusable(address, may_be_every=True))


def zone_or_none(text: str) -> Name | None:
    """Return the name of a zone, None for `none`."""
    if text == "none":
        return None
    name = Name.from_text(text)
    if not name.labels:
        raise ValueError("the root zone cannot be a list")
    return name


def notify_listen(text: str) -> Listen | None:
    """Return the address and port of `HOST:PORT`, None for `none`; primaries must know the port."""
    found = listen(text)
    if found is not None and not found.port:
        raise ValueError("primaries must know the port: write one from 1 to 65535")
    return found


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


def flood_rate(text: str) -> int:
    """Return a number of queries a second, 0 or enough for one batch of tickets a second."""
    if not _DIGITS.fullmatch(text) or not (text == "0" or _FLOOD_MIN <= int(text) <= _FLOOD_MAX):
        raise ValueError(f"it must be 0 or a number from {_FLOOD_MIN} to {_FLOOD_MAX}")
    return int(text)


def table_words(text: str) -> int:
    """Return the number of words of the table of accounts."""
    low, high = TABLE_WORDS
    if not _DIGITS.fullmatch(text) or int(text).bit_count() != 1 or not low <= int(text) <= high:
        raise ValueError(f"it must be a power of two from {low} to {high}, such as 65536")
    return int(text)


def levels(bits: int) -> Callable[[str], Levels]:
    """Return the parser of `LENGTH:MULTIPLIER,…` for addresses of so many bits."""

    def parse(text: str) -> Levels:
        found = [_LEVEL.fullmatch(part.strip()) for part in text.split(",")]
        if not 1 <= len(found) <= LEVELS_MAX or None in found:
            raise ValueError(
                f"it must be 1 to {LEVELS_MAX} prefix lengths with their multipliers, such as"
                f" {_LEVEL_EXAMPLES[bits]}"
            )
        parsed = tuple((int(level[1]), int(level[2])) for level in found if level is not None)
        for length, multiplier in parsed:
            if not 1 <= length <= bits or not 1 <= multiplier <= MULTIPLIER_MAX:
                raise ValueError(
                    f"a length is from 1 to {bits}, and a multiplier from 1 to {MULTIPLIER_MAX}"
                )
        for (longer, lower), (shorter, higher) in pairwise(parsed):
            if shorter >= longer or higher < lower:
                raise ValueError(
                    "each prefix must be shorter than the one before, and its multiplier not"
                    f" smaller, such as {_LEVEL_EXAMPLES[bits]}"
                )
        return parsed

    return parse


def exempt(text: str) -> IPv4Network | IPv6Network:
    """Return a prefix whose packets always pass: not so short that nothing would be filtered."""
    found = parse_network(text)
    shortest = EXEMPT_SHORTEST[found.version]
    if found.prefixlen < shortest:
        raise ValueError(
            f"a prefix shorter than /{shortest} is not exempt as a whole; to pass everything, use"
            " `xdpctl panic`"
        )
    return found


def lifetime(text: str) -> int:
    """Return the seconds that a proof lasts."""
    low, high = LIFETIME_SECONDS
    try:
        seconds = parse_duration(text)
    except TargetError as error:
        raise ValueError("a time is written like 30m, 24h or 7d") from error
    if not low <= seconds <= high:
        raise ValueError(f"it must be from {format_duration(low)} to {format_duration(high)}")
    return seconds


def kept_bits(text: str) -> KeptBits | None:
    """Return how many bits of addresses are kept; None: all."""
    if text == "full":
        return None
    found = _KEPT_BITS.fullmatch(text)
    if found is None or int(found[1]) > IPV4LENGTH or int(found[2]) > IPV6LENGTH:
        raise ValueError(
            "it must be full, or the bits of IPv4 and IPv6 addresses that are kept, such as 24,48"
        )
    return int(found[1]), int(found[2])


def dnstap_target(text: str) -> DnstapTarget:
    """Return where sampled queries go as dnstap."""
    kind, colon, rest = text.partition(":")
    if text.startswith("/"):
        return DnstapTarget("unix", path(text))
    if colon and kind == "file":
        return DnstapTarget("file", path(rest))
    if colon and kind in {"tcp", "tls"} and (found := _HOST_PORT.fullmatch(rest)):
        return DnstapTarget(kind, None, server(found[1] or found[2]), number(1, 65535)(found[3]))
    raise ValueError(
        "it must be the path of a unix socket, tcp:HOST:PORT, tls:HOST:PORT or file:PATH"
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
