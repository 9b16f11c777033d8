"""The secrets by which the program knows a DNS cookie that the server made (RFC 9018).

Owns the format of the file and the clock that the program reads cookies' time stamps by. Does not
own the check of a cookie (xdp/cookie.h) or when the file is read. The same secret is given to the
DNS server: BIND's `cookie-secret`, NSD's `cookie-secret`, Knot's mod-cookies `secret`. Called by
service/. Reading blocks.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from xdpctl.errors import CookieSecretError, ForeignFileError
from xdpctl.kernel.provenance import read_secret, why_unread

if TYPE_CHECKING:
    from pathlib import Path

SECRETS_MOST = 2
"""The present secret, and the next or the former one while servers change to another."""

SECRET_DIGITS = 32
FILE_MOST = 512
"""Octets of a file; two lines have 66."""

_HEX = frozenset(b"0123456789abcdefABCDEF")
_KEY = struct.Struct("<QQ")
_WORD = 1 << 64


class CookieKey(NamedTuple):
    """A secret as SipHash's two words; its text does not show it."""

    first: int
    second: int

    def __repr__(self) -> str:
        return "CookieKey([hidden])"

    @classmethod
    def from_octets(cls, secret: bytes) -> CookieKey:
        """Return the key that 16 octets are."""
        return cls(*_KEY.unpack(secret))


def read_cookie_secrets(path: Path) -> tuple[CookieKey, ...]:
    """Return the one or two secrets in a file. Blocks.

    Raises:
        CookieSecretError: the file is unreadable, anybody but its owner can use it, or it does
            not have one or two lines of 32 hexadecimal digits. The text never quotes it.
    """
    tried = f"cannot use --cookie-secret-file {path}"
    try:
        text = read_secret(path, "give the DNS servers another secret", FILE_MOST, group=False)
    except ForeignFileError as error:
        raise CookieSecretError(f"{tried}: {error.sentence}") from error
    except OSError as error:
        helps = "write the secret of the DNS server's cookies into it, mode 0600"
        raise CookieSecretError(f"{tried}: {why_unread(error, helps)}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    sound = all(len(line) == SECRET_DIGITS and _HEX.issuperset(line) for line in lines)
    if len(text) > FILE_MOST or not sound or not 1 <= len(lines) <= SECRETS_MOST:
        raise CookieSecretError(
            f"{tried}: it must have one or two lines of {SECRET_DIGITS} hexadecimal digits and"
            " nothing else, the secrets that the DNS servers make their cookies with;"
            " `openssl rand -hex 16` gives one"
        )
    return tuple(CookieKey.from_octets(bytes.fromhex(line.decode())) for line in lines)


def cookie_rate(ticks_per_second: int) -> int:
    """Return by what the program multiplies its ticks: 2^32 seconds a tick."""
    return (1 << 32) // ticks_per_second


def cookie_base(unix_time: float, ticks: int, rate: int) -> int:
    """Return the word that makes ticks into time.

    Unix time modulo 2^32 is the upper half of ticks * rate + this word, modulo 2^64.

    Args:
        unix_time: seconds, at the moment of `ticks`.
        ticks: jiffies.
        rate: as `cookie_rate`.
    """
    return (int(unix_time * (1 << 32)) - ticks * rate) % _WORD
