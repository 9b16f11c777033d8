"""TLS for the TCP listener: certificate and key to a context. Everything blocks."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from xdpctl.errors import ListenError

if TYPE_CHECKING:
    from pathlib import Path

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
    for name, path in (("--tls-cert", cert), ("--tls-key", key)):
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            raise ListenError(
                f"cannot use {name} {path}: {error.strerror or error}; see that it is there and"
                " readable"
            ) from error

    def no_passphrase() -> str:  # which OpenSSL would else ask for on the terminal
        raise ListenError(
            f"cannot use --tls-key {key}: it has a passphrase, which nobody is there to type;"
            " give one without, mode 0600"
        )

    try:
        context.load_cert_chain(cert, key, password=no_passphrase)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        why = _WHY.get(reason, f"{reason}; give the chain and the key in PEM")
        raise ListenError(f"cannot use --tls-cert {cert} with --tls-key {key}: {why}") from error
