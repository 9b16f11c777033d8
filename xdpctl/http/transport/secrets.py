"""The secrets of the TCP listener, read together: token, certificate and key.

They are read at start, where an error stops the start, and at each reload, where an error leaves
the former ones in use. Called by http/listeners.py and the verb `check`. Owns the order of
reading. Does not own the files' formats (token.py, tls.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl.http.transport.tls import server_context
from xdpctl.http.transport.token import read_token

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from xdpctl.http.transport.token import Token


@dataclass(frozen=True, slots=True)
class Secrets:
    """The files that protect the TCP listener: the token, certificate and key."""

    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def read(self) -> tuple[Token | None, ssl.SSLContext | None]:
        """Return the token and the TLS context from the files; blocks.

        Raises:
            ListenError: a file is not usable.
        """
        token = read_token(self.token_file) if self.token_file else None
        if self.tls_cert and self.tls_key:
            return token, server_context(self.tls_cert, self.tls_key)
        return token, None
