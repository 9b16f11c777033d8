"""A TSIG key, and the file that holds it as tsig-keygen writes it.

    key "xdpctl" {
            algorithm hmac-sha256;
            secret "BASE64";
    };

Owns the file's checks and its syntax, which is that of named.conf: comments are allowed, one key
must be there. Does not own signatures (signing.py). Called by whoever asks a primary. The key's
secret is never shown.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdpctl.errors import ForeignFileError, TargetError, TransferError
from xdpctl.kernel.provenance import read_secret, why_unread
from xdpctl.rules.names import Name, shown

if TYPE_CHECKING:
    from pathlib import Path

ALGORITHMS = ("hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")
"""Of RFC 8945, 6, without truncation; MD5 is broken, and no primary needs it."""

_SIZE_MAX = 65_536
_COMMENT = re.compile(r'"[^"\n]*"|/\*.*?\*/|(?://|#)[^\n]*', re.DOTALL)
_KEY = re.compile(
    r"""\s* key \s+ ("[^"\n]*"|[^\s"{};]+) \s* \{
        \s* (?: algorithm \s+ ("[^"\n]*"|[^\s"{};]+) \s* ; \s*
              | secret \s+ ("[^"\n]*"|[^\s"{};]+) \s* ; \s* ){2}
        \} \s* ;? \s*""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class TsigKey:
    """A shared secret of a primary and us.

    Attributes:
        name: by which the primary knows it.
        algorithm: one of ALGORITHMS.
        secret: its octets.
    """

    name: Name
    algorithm: str
    secret: bytes = field(repr=False)


def read_key(path: Path) -> TsigKey:
    """Return the key in a file. Blocks.

    Raises:
        TransferError: the file is unreadable, another user can read or change it, or it is
            not one key.
    """
    tried = f"cannot use key-file {path}"
    try:
        octets = read_secret(path, "make another key", _SIZE_MAX)
    except ForeignFileError as error:
        raise TransferError(f"{tried}: {error.sentence}") from error
    except OSError as error:
        helps = "`tsig-keygen NAME` writes such a file"
        raise TransferError(f"{tried}: {why_unread(error, helps)}") from error
    try:
        return parse_key(octets)
    except TransferError as error:
        raise TransferError(f"{tried}: {error.sentence}") from error


def parse_key(octets: bytes) -> TsigKey:
    """Return the key of a file's content.

    Raises:
        TransferError: it is not exactly one key; a part of a sentence that never has the secret.
    """
    try:
        text = octets.decode("ascii")
    except UnicodeDecodeError as error:
        raise TransferError(_NOT_A_KEY) from error
    bare = _COMMENT.sub(lambda found: found[0] if found[0].startswith('"') else " ", text)
    found = _KEY.fullmatch(bare)
    if len(octets) > _SIZE_MAX or found is None or found[2] is None or found[3] is None:
        raise TransferError(_NOT_A_KEY)
    name, algorithm, secret = (part.strip('"') for part in found.groups())
    algorithm = algorithm.lower().removesuffix(".")
    if algorithm not in ALGORITHMS:
        raise TransferError(
            f"it has the algorithm {shown(algorithm)}; use one of {', '.join(ALGORITHMS)}"
        )
    try:
        key_name = Name.from_text(name)
    except TargetError as error:
        raise TransferError(f"its key's name is not a name: {error.sentence}") from error
    try:
        decoded = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TransferError("its secret is not valid base64; make another key") from error
    if not decoded:
        raise TransferError("its secret is empty; make another key")
    return TsigKey(key_name, algorithm, decoded)


_NOT_A_KEY = (
    'it must hold one key as tsig-keygen writes it: key "NAME" { algorithm hmac-sha256; secret'
    ' "…"; };'
)
