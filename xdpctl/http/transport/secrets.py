"""The secrets of the TCP listener, read together: token, certificate and key.

Read once at the start, where an error stops it, and again at each reload, where an error
leaves the former ones in force. Called by http/listeners.py and the verb `check`.
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
    """The files that protect the TCP listener: of its token, and of TLS."""

    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def read(self) -> tuple[Token | None, ssl.SSLContext | None]:
        """Return what the files hold; blocks.

        Raises:
            ListenError: one is not fit.
        """
        token = read_token(self.token_file) if self.token_file else None
        if self.tls_cert and self.tls_key:
            return token, server_context(self.tls_cert, self.tls_key)
        return token, None
