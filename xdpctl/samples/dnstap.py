"""Samples as dnstap messages, and the frame streams that carry them.

Owns the two encodings: protobuf for `dnstap.proto` (a CLIENT_QUERY, with a Policy where the filter
did more than let it pass), and frame streams (fstrm) with the four control frames of the handshake.
Does not own connections (service/sample_output.py) or samples. Pure; called there and by
cli/verbs/watch.py.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl.abi import PacketAction, Reason
from xdpctl.rules import Question, Zone
from xdpctl.samples.packets import QR, UDP, question_end
from xdpctl.samples.policy import owner_name

if TYPE_CHECKING:
    from xdpctl.rules import Target
    from xdpctl.samples.packets import Packet
    from xdpctl.samples.sample import Sample

CONTENT_TYPE = b"protobuf:dnstap.Dnstap"

FRAME_MAX = 64 * 1024
"""Octets of a control frame of the other side at most."""

_CLIENT_QUERY = 5
_INET, _INET6 = 1, 2
_DATAGRAM = 1
_MESSAGE = 1
_V4 = 4
_PASS, _DROP, _TRUNCATE = 3, 4, 5
_ACTIONS = {
    PacketAction.PASS: _PASS,
    PacketAction.REDIRECT: _PASS,
    PacketAction.DROP: _DROP,
    PacketAction.TRUNCATE: _TRUNCATE,
}
_OF_QNAME, _OF_CLIENT_IP = 1, 2
_POLICY_TYPE = b"xdpctl"
_BY_SOURCE = frozenset({Reason.LIMIT, Reason.UNPROVEN, Reason.EXEMPT})
_BY_NAME = frozenset({Reason.ZONE_LIMIT})
_NO_COUNTS = bytes(6)
_MORE = 0x80


# --- frame streams ----------------------------------------------------------------------------

ACCEPT, START, STOP, READY, FINISH = 1, 2, 3, 4, 5
_CONTENT_FIELD = 1
_ESCAPE = bytes(4)


def control_frame(kind: int) -> bytes:
    """Return a control frame: READY and START carry the content type."""
    field = b""
    if kind in {READY, START, ACCEPT}:
        field = struct.pack("!II", _CONTENT_FIELD, len(CONTENT_TYPE)) + CONTENT_TYPE
    body = struct.pack("!I", kind) + field
    return _ESCAPE + struct.pack("!I", len(body)) + body


def data_frame(message: bytes) -> bytes:
    """Return the frame of one message."""
    return struct.pack("!I", len(message)) + message


def accepts(body: bytes) -> bool:
    """Return whether the body of a control frame accepts our content type."""
    if len(body) < 4 or struct.unpack_from("!I", body)[0] != ACCEPT:  # noqa: PLR2004 - a word
        return False
    at, types = 4, []
    while at + 8 <= len(body):
        field, size = struct.unpack_from("!II", body, at)
        if field == _CONTENT_FIELD:
            types.append(body[at + 8 : at + 8 + size])
        at += 8 + size
    return not types or CONTENT_TYPE in types


# --- dnstap -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DnstapEncoder:
    """Makes messages.

    Attributes:
        identity: of the server; empty: none.
        version: of the program that writes them.
    """

    identity: bytes
    version: bytes

    def message(self, sample: Sample, packet: Packet, rule: Target | None) -> bytes | None:
        """Return the message of a sample; None where it is not a DNS query over UDP.

        Args:
            sample: one packet.
            packet: what its frame says.
            rule: the rule that decided, if one did and it is still there.
        """
        if packet.flags is None or packet.flags & QR or not packet.message:
            return None
        seconds = int(sample.time)
        nanoseconds = min(round((sample.time - seconds) * 1e9), 999_999_999)
        inner = (
            _number(1, _CLIENT_QUERY)
            + _number(2, _INET if len(packet.source) == _V4 else _INET6)
            + (_number(3, _DATAGRAM) if packet.protocol == UDP else b"")
            + _octets(4, packet.source)
            + _octets(5, packet.destination)
            + _number(6, packet.source_port or 0)
            + _number(7, packet.port or 0)
            + _number(8, seconds)
            + _fixed32(9, nanoseconds)
            + _octets(10, _query(sample, packet))
        )
        policy = _policy(sample, packet, rule)
        if policy:
            inner += _octets(15, policy)
        about = f"interface={sample.interface} reason={sample.reason.label} weight={sample.weight}"
        outer = _octets(1, self.identity) if self.identity else b""
        outer += _octets(2, self.version) + _octets(3, about.encode())
        return outer + _octets(14, inner) + _number(15, _MESSAGE)


def _query(sample: Sample, packet: Packet) -> bytes:
    """Return the message; of one that is cut, header and question, as a message of its own."""
    part = packet.message
    whole = sample.frame[part.start : part.stop]
    if part.stop < len(sample.frame) or sample.length <= len(sample.frame):
        return whole
    end = question_end(sample.frame, part.start)
    if end is None:
        return whole
    return whole[:4] + b"\0\x01" + _NO_COUNTS + sample.frame[part.start + 12 : end]


def _policy(sample: Sample, packet: Packet, rule: Target | None) -> bytes:
    """Return the Policy; empty where nothing decided and the packet went on."""
    if rule is None and _ACTIONS[sample.action] == _PASS and sample.reason not in _BY_SOURCE:
        return b""
    named = isinstance(rule, Question | Zone) or (rule is None and sample.reason in _BY_NAME)
    by_source = rule is not None or sample.reason in _BY_SOURCE
    policy = _octets(1, _POLICY_TYPE)
    if rule is not None:
        policy += _octets(2, owner_name(rule, packet.name))
    policy += _number(3, _ACTIONS[sample.action])
    if named and packet.name is not None:
        policy += _number(4, _OF_QNAME) + _octets(5, packet.name)
    elif by_source and not named:
        policy += _number(4, _OF_CLIENT_IP) + _octets(5, packet.source)
    return policy


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number >= _MORE:
        octets.append(number % _MORE | _MORE)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _octets(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _fixed32(field: int, value: int) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<I", value)
