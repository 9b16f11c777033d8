"""The secrets of the TCP listener, read together: token, certificate and key.

They are read at start, where an error stops the start, and at each reload, where an error leaves
the former ones in use. Called by http/listeners.py and the verb `check`. Owns the order of
reading. Does not own the files' formats (token.py, tls.py).
"""

from __future__ import annotations

import contextlib
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

    def stamp(self) -> tuple[object, ...]:
        """Return what is another value when a file was replaced or written; blocks."""
        found: list[object] = []
        for path in (self.token_file, self.tls_cert, self.tls_key):
            with contextlib.suppress(OSError):  # `read` says what is wrong with it
                known = None if path is None else path.stat()
                found.append(known and (known.st_ino, known.st_mtime_ns, known.st_size))
        return tuple(found)

    def read(self) -> tuple[Token | None, ssl.SSLContext | None]:
        """Return the token and the TLS context from the files; blocks.

        Raises:
            ListenError: a file is not usable.
        """
        token = read_token(self.token_file) if self.token_file else None
        if self.tls_cert and self.tls_key:
            return token, server_context(self.tls_cert, self.tls_key)
        return token, None
