"""TLS for the TCP listener: certificate and key to a context. Everything blocks."""

from __future__ import annotations

import os
import ssl
import stat
from contextlib import ExitStack
from typing import TYPE_CHECKING

from xdpctl.errors import ForeignFileError, ListenError
from xdpctl.kernel.provenance import open_fed, open_own

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZE_MAX = 2**20
"""Bytes of a file of TLS; a long chain has some ten thousand."""

_WHY = {
    "KEY_VALUES_MISMATCH": "the key is not the certificate's; give the two that belong together",
    "NO_START_LINE": "it is not PEM; give the certificate chain and the key in PEM",
    "PEM_LIB": "it is not PEM, or no certificate and key; give the chain and the key in PEM",
}


def server_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Return a context for servers, TLS 1.2 and later.

    Args:
        cert: the certificate and those that vouch for it, PEM.
        key: its private key, PEM, without a passphrase.

    Raises:
        ListenError: a file cannot be read or is not what it must be.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_into(context, cert, key)
    return context


def load_into(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    """Let new connections see this certificate; where it cannot be, the former stays.

    Raises:
        ListenError: as `server_context`.
    """
    with ExitStack() as stack:
        opened_cert = _opened(stack, "--tls-cert", cert, open_fed)
        opened_key = _opened(stack, "--tls-key", key, open_own)
        _see_secret(opened_key, key)
        _load(context, opened_cert, opened_key, cert, key)


def _opened(stack: ExitStack, name: str, path: Path, opener: Callable[[Path], int]) -> int:
    """Open a file for as long as `stack` lasts.

    Raises:
        ListenError: it cannot be read, is somebody else's, or is no PEM file by its size.
    """
    tried = f"cannot use {name} {path}"
    try:
        opened = opener(path)
        stack.callback(os.close, opened)
    except ForeignFileError as error:
        raise ListenError(f"{tried}: {error.sentence}") from error
    except OSError as error:
        raise ListenError(
            f"{tried}: {error.strerror or error}; see that it is there and readable"
        ) from error
    if os.fstat(opened).st_size > SIZE_MAX:
        raise ListenError(
            f"{tried}: it has more than {SIZE_MAX} bytes; give the chain and the key in PEM"
        )
    return opened


def _see_secret(opened: int, key: Path) -> None:
    """Raise where everybody may read the private key."""
    mode = stat.S_IMODE(os.fstat(opened).st_mode)
    if mode & stat.S_IRWXO:
        raise ListenError(
            f"cannot use --tls-key {key}: its mode {mode:04o} lets everybody on this machine use"
            f" it; chmod o= {key}, and have another certificate issued"
        )


def _load(
    context: ssl.SSLContext, opened_cert: int, opened_key: int, cert: Path, key: Path
) -> None:
    """Load what was opened; the paths are for errors alone."""

    def no_passphrase() -> str:  # which OpenSSL would else ask for on the terminal
        raise ListenError(
            f"cannot use --tls-key {key}: it has a passphrase, which nobody is there to type;"
            " give one without, mode 0600"
        )

    try:
        context.load_cert_chain(_again(opened_cert), _again(opened_key), password=no_passphrase)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        why = _WHY.get(reason, f"{reason}; give the chain and the key in PEM")
        raise ListenError(f"cannot use --tls-cert {cert} with --tls-key {key}: {why}") from error


def _again(opened: int) -> str:
    """Return the path by which OpenSSL, which takes no descriptors, opens this very file."""
    return f"/proc/self/fd/{opened}"
