"""The bearer token of the TCP listener: read from its file, compared, never shown.

Owns the checks of the file and the comparison. Does not own which requests need a token
(access.py). Called by secrets.py and auth.py.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING

from xdpctl.errors import ForeignFileError, ListenError
from xdpctl.kernel.provenance import read_secret, why_unread

if TYPE_CHECKING:
    from pathlib import Path

TOKEN_MIN, TOKEN_MAX = 8, 4096
"""Characters of a token; `openssl rand -hex 32` gives 64."""

_VISIBLE = re.compile(rb"[\x21-\x7e]+")


class Token:
    """A bearer token (RFC 6750) that can be compared but not read.

    Args:
        secret: the token.
        name: what the log and the history call it: the name of its file.
    """

    def __init__(self, secret: bytes, name: str = "token") -> None:
        self._secret = secret
        self.name = name

    def __repr__(self) -> str:
        return "Token([hidden])"

    def matches(self, authorization: str | None) -> bool:
        """Return, in constant time, whether an Authorization header has this token."""
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        found = given.strip(" ").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(found, self._secret)


def read_token(path: Path) -> Token:
    """Return the token in a file, without surrounding white space. Blocks.

    Raises:
        ListenError: the file is unreadable, other users can read or change it, or it is not
            one valid token.
    """
    tried = f"cannot use --token-file {path}"
    try:
        secret = read_secret(path, "choose another token", TOKEN_MAX + 2).strip()
    except ForeignFileError as error:
        raise ListenError(f"{tried}: {error.sentence}") from error
    except OSError as error:
        helps = "write a token into it, mode 0600"
        raise ListenError(f"{tried}: {why_unread(error, helps)}") from error
    if not TOKEN_MIN <= len(secret) <= TOKEN_MAX or not _VISIBLE.fullmatch(secret):
        raise ListenError(
            f"{tried}: it must hold one token of {TOKEN_MIN} to {TOKEN_MAX} visible ASCII"
            f" characters and nothing else; `openssl rand -hex 32` gives one"
        )
    return Token(secret, path.name)
