"""The messages between the service and the loader: a request and an answer.

Owns their format: a fixed head, then the parts whose lengths are in the head. Descriptors come
with the head's first byte. The type of a program is not sent, because there is only one. A peer
that breaks the format gets no further messages (`BrokenError`). Does not own the socket. Called
by parent.py and process.py, so it imports little.
"""

from __future__ import annotations

import struct

from xdpctl.program.loader.instructions import HELPERS, MOST, SIZE

MAPS_MOST = 64
LOG_MOST = 1 << 16
"""Most bytes of the verifier's log, or of a sentence; a longer text keeps its end."""

LOADED, FAILED, REFUSED = range(3)
"""Kinds of answer: with a descriptor; with the kernel's errno and log; with the loader's reason."""

_MAGIC = b"xdpctl1\n"
REQUEST = struct.Struct("=8s16sIII")
ANSWER = struct.Struct("=8sIiI")


class BrokenError(Exception):
    """The peer is gone, or broke the protocol."""


def insist(kept: bool) -> None:  # noqa: FBT001 - a condition, as assert has it
    """Raise BrokenError unless the peer kept to the protocol."""
    if not kept:
        raise BrokenError


def request(name: bytes, instructions: bytes, maps: int, kind: int) -> bytes:
    """Return a request; the descriptors of its maps go with it."""
    return REQUEST.pack(_MAGIC, name, kind, maps, len(instructions)) + instructions


def request_head(head: bytes) -> tuple[bytes, int, int, int]:
    """Return name, kind, number of maps and length of the instructions behind the head.

    Raises:
        BrokenError: it is not the head of a request.
    """
    magic, name, kind, maps, length = REQUEST.unpack(head)
    if magic != _MAGIC or kind not in HELPERS or maps > MAPS_MOST or length > MOST * SIZE:
        raise BrokenError
    name, _, rest = name.partition(b"\0")
    if rest.strip(b"\0") or not all(c in _NAME for c in name):
        raise BrokenError
    return name, kind, maps, length


def answer(outcome: int, number: int = 0, text: bytes = b"") -> bytes:
    """Return an answer; a text that is too long keeps only its end."""
    text = text[-LOG_MOST:]
    return ANSWER.pack(_MAGIC, outcome, number, len(text)) + text


def answer_head(head: bytes) -> tuple[int, int, int]:
    """Return outcome, errno, and length of the text that follows the head.

    Raises:
        BrokenError: it is not the head of an answer.
    """
    magic, outcome, number, length = ANSWER.unpack(head)
    if magic != _MAGIC or outcome > REFUSED or length > LOG_MOST or number < 0:
        raise BrokenError
    return outcome, number, length


_NAME = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_."
