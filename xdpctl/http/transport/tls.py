"""TLS for the TCP listener: makes a context from certificate and key. Everything blocks.

Owns the checks of the two files. Does not own connections. Called by secrets.py and
http/listeners.py.
"""

from __future__ import annotations

import os
import ssl
from contextlib import ExitStack
from typing import TYPE_CHECKING

from xdpctl.errors import ForeignFileError, ListenError
from xdpctl.kernel.provenance import open_fed, open_secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZE_MAX = 2**20
"""Bytes of a certificate or key file; a long chain has about ten thousand."""

_WHY = {
    "KEY_VALUES_MISMATCH": "the key is not for this certificate; give two that belong together",
    "NO_START_LINE": "it is not PEM; give the certificate chain and the key in PEM",
    "PEM_LIB": "it is not PEM, or not a certificate and a key; give the chain and the key in PEM",
}


def server_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Return a context for servers, TLS 1.2 and later.

    Args:
        cert: the certificate and its chain, PEM.
        key: its private key, PEM, without a passphrase.

    Raises:
        ListenError: a file cannot be read or is not usable.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_into(context, cert, key)
    return context


def load_into(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    """Use this certificate for new connections; on an error the former one stays.

    Raises:
        ListenError: as `server_context`.
    """
    with ExitStack() as stack:
        opened_cert = _opened(stack, "--tls-cert", cert, open_fed)
        opened_key = _opened(stack, "--tls-key", key, _open_key)
        _load(context, opened_cert, opened_key, cert, key)


def _opened(stack: ExitStack, name: str, path: Path, opener: Callable[[Path], int]) -> int:
    """Open a file for as long as `stack` lasts.

    Raises:
        ListenError: it cannot be read, belongs to another user, or is too large for PEM.
    """
    tried = f"cannot use {name} {path}"
    try:
        opened = opener(path)
        stack.callback(os.close, opened)
    except ForeignFileError as error:
        raise ListenError(f"{tried}: {error.sentence}") from error
    except OSError as error:
        raise ListenError(
            f"{tried}: {error.strerror or error}; the file must exist and be readable"
        ) from error
    if os.fstat(opened).st_size > SIZE_MAX:
        raise ListenError(
            f"{tried}: it has more than {SIZE_MAX} bytes; give the chain and the key in PEM"
        )
    return opened


def _open_key(key: Path) -> int:
    """Open the private key, as `open_secret`."""
    return open_secret(key, "get a new key and certificate")


def _load(
    context: ssl.SSLContext, opened_cert: int, opened_key: int, cert: Path, key: Path
) -> None:
    """Load the opened files; the paths are only for errors."""

    def no_passphrase() -> str:  # without this OpenSSL asks for it on the terminal
        raise ListenError(
            f"cannot use --tls-key {key}: it has a passphrase, which the service cannot"
            " enter; give a key without one, mode 0600"
        )

    try:
        context.load_cert_chain(_again(opened_cert), _again(opened_key), password=no_passphrase)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        why = _WHY.get(reason, f"{reason}; give the chain and the key in PEM")
        raise ListenError(f"cannot use --tls-cert {cert} with --tls-key {key}: {why}") from error


def _again(opened: int) -> str:
    """Return a path by which OpenSSL, which accepts no descriptors, opens this same file."""
    return f"/proc/self/fd/{opened}"
