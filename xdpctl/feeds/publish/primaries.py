"""Where the updates of a zone go, and with which key.

Owns the choice between the `[[list]]` keys `update` and `update-key-file`, and those that transfers
use. The key is read each time, so that a new one is used at once. Blocks. Called by publisher.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.errors import PublishError, TransferError
from xdpctl.transfers.client import Primary
from xdpctl.transfers.key_file import read_key

if TYPE_CHECKING:
    from xdpctl.settings import ZoneListSettings
    from xdpctl.transfers.tls import Tls


def primaries_of(settings: ZoneListSettings) -> tuple[Primary, ...]:
    """Return the servers that take updates of a zone, in the order in which they are asked.

    Raises:
        PublishError: the key cannot be read, or there is none.
    """
    path = settings.update_key_file or settings.key_file
    addresses = settings.update or settings.primaries
    try:
        key = None if path is None else read_key(path)
    except TransferError as error:
        raise PublishError(error.sentence, "key") from error
    far = [each for each in addresses if not each.address.is_loopback]
    if key is None and far:
        raise PublishError(
            f"{far[0].address}: an update must be signed; give the [[list]] a key with key-file or"
            " update-key-file",
            "key",
        )
    return tuple(Primary(each.address, each.port, key, _tls(settings)) for each in addresses)


def _tls(settings: ZoneListSettings) -> Tls | None:
    """Return what the certificate of the primaries must be; servers of `update` have none."""
    if settings.tls_name is None or settings.update:
        return None
    from xdpctl.transfers.tls import Tls, read_authorities  # noqa: PLC0415 - loads ssl, which few need

    try:
        text = None if settings.tls_ca is None else read_authorities(settings.tls_ca)
    except TransferError as error:
        raise PublishError(error.sentence, "unreachable") from error
    return Tls(settings.tls_name, text)
