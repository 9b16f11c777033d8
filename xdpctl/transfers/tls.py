"""Transfers over TLS (XoT, RFC 9103): the primary's certificate must be for a name.

Owns what is asked of the connection: TLS 1.3, the protocol "dot", a certificate of an authority
that is trusted. Does not own the connection's bounds (channel.py). Called by client.py. Blocks.
"""

from __future__ import annotations

import os
import ssl
import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdpctl.errors import ForeignFileError, TransferError
from xdpctl.kernel.provenance import open_own

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

ALPN = "dot"
"""The protocol of XoT (RFC 9103, 7.1). A server that selects none is taken, too: NSD 4.6."""

TLS_PORT = 853

KEPT_SECONDS = 3600.0
"""After this time the authorities of the host are read again."""

_SIZE_MAX = 4 << 20


@dataclass(frozen=True, slots=True)
class Tls:
    """What a primary's certificate must be.

    Attributes:
        name: that it is for.
        authorities: certificates that it may be signed by, as PEM; None: the host's.
    """

    name: str
    authorities: str | None = field(default=None, repr=False)


def read_authorities(path: Path) -> str:
    """Return the certificates in a file. Blocks.

    Raises:
        TransferError: it cannot be read, has no certificates, or another user can change it: that
            user would choose whom we trust.
    """
    try:
        text = _read(path).decode("ascii", "replace")
        _context(text)
    except ForeignFileError as error:
        raise TransferError(f"cannot use tls-ca {path}: {error.sentence}") from error
    except OSError as error:
        if isinstance(error, ssl.SSLError):
            raise TransferError(
                f"cannot use tls-ca {path}: it has no certificates as PEM"
            ) from error
        raise TransferError(f"cannot read tls-ca {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise TransferError(f"cannot use tls-ca {path}: it has no certificates as PEM") from error
    return text


def _read(path: Path) -> bytes:
    with os.fdopen(open_own(path), "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ForeignFileError(
                f"its mode {mode:04o} lets others write to it; run chmod go-w {path}"
            )
        return file.read(_SIZE_MAX)


class TlsContexts:
    """What connections are made from; kept, as the host's authorities are many. One thread.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str | None, tuple[float, ssl.SSLContext]] = {}

    def secure(self, connected: socket.socket, tls: Tls) -> ssl.SSLSocket:
        """Return a connection over TLS; it takes the time that the socket's timeout gives.

        Raises:
            TransferError: the primary is not the one that is meant, or does not speak TLS 1.3;
                the socket is closed.
        """
        try:
            return self._of(tls).wrap_socket(connected, server_hostname=tls.name)
        except ssl.SSLCertVerificationError as error:
            connected.close()
            raise TransferError(
                f"its certificate is not to be trusted for {tls.name}: {error.verify_message};"
                " compare tls-name and the authority with the primary's certificate"
            ) from error
        except TimeoutError as error:
            connected.close()
            raise TransferError("no TLS connection: the primary does not answer in time") from error
        except (OSError, ValueError) as error:
            connected.close()
            why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise TransferError(
                f"no TLS connection: {why}; check that the port speaks TLS 1.3"
            ) from error

    def _of(self, tls: Tls) -> ssl.SSLContext:
        now = self._clock()
        made, context = self._kept.get(tls.authorities, (now - KEPT_SECONDS, None))
        if context is None or now - made >= KEPT_SECONDS:
            context = _context(tls.authorities)
            self._kept[tls.authorities] = now, context
        return context


def _context(authorities: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authorities is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    return context
