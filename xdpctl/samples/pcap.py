"""Samples as pcapng, which tcpdump and Wireshark read: each packet with a comment.

Owns the blocks (draft-ietf-opsawg-pcapng): one section, a description of each interface before its
first packet, and packets with `opt_comment` and the direction. Does not own files or samples. Pure
but for the interfaces that were described; called by cli/verbs/watch.py.
"""

from __future__ import annotations

import struct

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_MAGIC, _VERSION = 0x1A2B3C4D, (1, 0)
_ETHERNET = 1
_COMMENT, _APPLICATION, _FLAGS = 1, 4, 2
_IF_NAME = 2
_INBOUND = struct.pack("=I", 1)
_UNKNOWN_LENGTH = -1
_WORD = 4
SNAP_LENGTH = 262_144
"""Octets of a packet at most; the same for all interfaces, as libpcap wants it."""

COMMENT_MAX = 60_000
"""Octets of a comment: an option's length has 16 bits."""


class PcapWriter:
    """Makes the blocks of one file.

    Args:
        application: the program that writes it.
    """

    def __init__(self, application: str) -> None:
        self._application = application
        self._interfaces: dict[str, int] = {}

    def begin(self) -> bytes:
        """Return what a file begins with."""
        options = _option(_APPLICATION, self._application.encode())
        body = struct.pack("=IHHq", _MAGIC, *_VERSION, _UNKNOWN_LENGTH) + _options(options)
        return _block(_SECTION, body)

    def packet(self, interface: str, time: float, frame: bytes, length: int, comment: str) -> bytes:
        """Return the blocks of one packet.

        Args:
            interface: where it came in.
            time: Unix time.
            frame: its first octets.
            length: octets of the whole frame.
            comment: of one line.
        """
        blocks = b""
        number = self._interfaces.get(interface)
        if number is None:
            number = self._interfaces[interface] = len(self._interfaces)
            blocks = self._description(interface)
        moment = round(time * 1_000_000)  # the resolution where none is named
        head = struct.pack(
            "=IIIII", number, moment >> 32, moment & 0xFFFFFFFF, len(frame), max(length, len(frame))
        )
        text = comment.encode()[:COMMENT_MAX]
        options = _options(_option(_COMMENT, text) + _option(_FLAGS, _INBOUND))
        return blocks + _block(_PACKET, head + _padded(frame) + options)

    @staticmethod
    def _description(interface: str) -> bytes:
        options = _option(_IF_NAME, interface.encode())
        body = struct.pack("=HHI", _ETHERNET, 0, SNAP_LENGTH) + _options(options)
        return _block(_INTERFACE, body)


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % _WORD)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + _padded(value)


def _options(options: bytes) -> bytes:
    return options + bytes(_WORD)


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("=I", len(body) + 12)
    return struct.pack("=I", kind) + size + body + size
