"""Frames made from the table's frames: bits, cuts, fields, splices, headers put in.

A tape of octets (tape.py) decides everything: which case, which scene, which
mutations. The same tape gives the same frame as long as table and scenes are the same.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import TYPE_CHECKING

from tests.fuzz.layout import Field, layout_of
from tests.fuzz.rules import SETS, name_from, source_from, table_scene
from tests.fuzz.scenes import LIMITED, SCENES
from tests.packets.build import CLIENT4, CLIENT6, QINQ, SERVER4, SERVER6, VLAN
from tests.packets.table import THEMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fuzz.tape import Tape
    from tests.packets.case import Case, Scene

TAPE_OCTETS = 48
LONGEST = 2600
"""Octets of a mutant at most, so that every engine takes it."""

NOT_YET = ("jumbo",)
"""Themes that the filter cannot run yet; while zones are among them, no table_scene."""

_HOW_MANY = (0, 1, 1, 1, 1, 1, 2, 2, 3, 4)

_SEEDS = tuple(
    tuple(case for case in theme if len(case.frame) <= LONGEST)
    for title, theme in THEMES.items()
    if title not in NOT_YET
)

_VALUES: dict[str, tuple[int, ...]] = {
    "ethertype": (0x0800, 0x86DD, VLAN, QINQ, 0x9100, 0x0806),
    "version, ihl": (*range(0x40, 0x50), 0x65, 0x05),
    "protocol": (17, 6, 1, 58, 44, 0),
    "next header": (17, 6, 0, 43, 44, 51, 60, 59, 50, 58),
    "header length": (0, 1, 2, 3, 4, 8, 31, 255),
    "fragment": (0, 0x4000, 0x2000, 0x8000, 1, 8, 0x1FFF, 0xFFF8, 0xFFFF, 6),
    "sport": (53, 0, 5353, 65535),
    "dport": (53, 5353, 5300, 853, 443, 0, 13568),
    "flags, high": (*range(0, 256, 8), 1, 3, 0x81, 0x83),
    "qdcount": (0, 1, 2, 256, 257, 65535),
    "ancount": (0, 1, 256),
    "nscount": (0, 1, 256),
    "arcount": (0, 1, 2, 256, 65535),
    "label length": (0, 1, 3, 7, 62, 63, 64, 0x80, 0xC0, 0xFF),
    "qtype": (1, 2, 16, 28, 255, 65535, 0, 256),
    "qclass": (1, 3, 255, 0),
    "opt type": (41, 0x2900, 0, 250),
    "opt flags": (0, 0x8000, 0x7FFF, 0xFFFF),
    "destination mac": (0, 1, 2, 0xFF),
    "source mac": (0, 1, 2, 0xFF),
    "tci": (0, 0xE000, 0x1000, 5, 100, 0x0FFF),
}
_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFF00, 0xFFFF)

_ADDRESSES: dict[str, dict[int, tuple[str, ...]]] = {
    "source": {
        4: (
            CLIENT4,
            "192.0.2.2",
            "192.0.2.66",
            "192.0.2.67",
            "192.0.2.68",
            "192.0.2.200",
            "203.0.113.9",
            SERVER4,
            "0.0.0.7",
            "127.0.0.1",
            "224.0.0.251",
            "255.255.255.255",
        ),
        16: (
            CLIENT6,
            "2001:db8:1:2::3",
            "2001:db8:66::1",
            "2001:db8:67::1",
            "2001:db8:68::1",
            "2001:db8:9::1",
            SERVER6,
            "::",
            "::1",
            "::2",
            "ff02::fb",
            "::ffff:192.0.2.66",
        ),
    },
    "destination": {
        4: (SERVER4, SERVER4, "198.51.100.54", "203.0.113.200", "192.0.2.1", "127.0.0.1"),
        16: (SERVER6, SERVER6, "2001:db8:53::54", "2001:db8:77::53", "2001:db8:99::1", "ff02::1"),
    },
}
"""By field and its size: addresses that scenes have rules for, and their neighbours."""


def mutant(tape: Tape) -> tuple[Scene, bytes]:
    """Return a scene and a frame to put before the engines in it."""
    case = _seed(tape)
    frame = case.frame
    scenes = (case.scene, *SCENES, *LIMITED)
    which = tape.octet() % (3 * len(scenes)) - len(scenes)
    if which >= len(scenes) and "zones" in NOT_YET:
        which -= len(scenes)
    if which < len(scenes):
        scene = scenes[max(0, which)]
    else:
        scene = table_scene(tape.below(SETS))
        frame = _move_source(tape, _rename(tape, frame))
    for _ in range(tape.pick(_HOW_MANY)):
        frame = tape.pick(MUTATIONS)(tape, frame)[:LONGEST]
    return scene, frame


def _seed(tape: Tape) -> Case:
    theme = tape.pick(_SEEDS)
    return theme[tape.word() % len(theme)]


def _flip_bit(tape: Tape, frame: bytes) -> bytes:
    at = tape.below(len(frame))
    return _with(frame, at, bytes([frame[at] ^ 1 << tape.below(8)])) if frame else frame


def _set_octet(tape: Tape, frame: bytes) -> bytes:
    return _with(frame, tape.below(len(frame)), bytes([tape.octet()])) if frame else frame


def _cut(tape: Tape, frame: bytes) -> bytes:
    return frame[: tape.below(len(frame) + 1)]


def _cut_a_little(tape: Tape, frame: bytes) -> bytes:
    return frame[: max(0, len(frame) - 1 - tape.below(24))]


def _cut_at_a_header(tape: Tape, frame: bytes) -> bytes:
    at = tape.pick(layout_of(frame).starts) + tape.below(17) - 8
    return frame[: max(0, at)]


def _extend(tape: Tape, frame: bytes) -> bytes:
    filling = tape.pick((b"\0", b"\xff", b"\3www\3bad\7example\0\0\1\0\1", frame or b"\0"))
    size = tape.pick((1, 2, 3, 4, 11, 12, 18, 40, 300, 1792))
    return frame + (filling * size)[:size]


def _take_out(tape: Tape, frame: bytes) -> bytes:
    at = tape.below(len(frame))
    return frame[:at] + frame[at + 1 + tape.below(16) :]


def _put_in(tape: Tape, frame: bytes) -> bytes:
    at = tape.below(len(frame) + 1)
    return frame[:at] + bytes([tape.octet()]) * (1 + tape.below(16)) + frame[at:]


def _set_field(tape: Tape, frame: bytes) -> bytes:
    fields = layout_of(frame).fields
    return _field_set(tape, frame, tape.pick(fields)) if fields else frame


def _set_address(tape: Tape, frame: bytes) -> bytes:
    for field in layout_of(frame).fields:
        if field.name in _ADDRESSES and tape.below(4):
            text = tape.pick(_ADDRESSES[field.name][field.size])
            frame = _with(frame, field.at, ip_address(text).packed)
    return frame


def _field_set(tape: Tape, frame: bytes, field: Field) -> bytes:
    now = int.from_bytes(frame[field.at : field.at + field.size], "big")
    most = (1 << 8 * field.size) - 1
    known = _VALUES.get(field.name, _EDGES)
    value = tape.pick((*known, now + 1, now - 1, tape.word(), tape.octet()))
    return _with(frame, field.at, (value & most).to_bytes(field.size, "big"))


def _rename(tape: Tape, frame: bytes) -> bytes:
    """Ask for a name that rules of both books may be about, in any letter case."""
    starts = [field.at for field in layout_of(frame).fields if field.name == "label length"]
    if not starts:
        return frame
    wire = name_from(tape)
    if tape.below(2):
        wire = wire.upper() if tape.below(2) else wire.title()
    return frame[: starts[0]] + wire + frame[starts[-1] + 1 :]


def _move_source(tape: Tape, frame: bytes) -> bytes:
    """Ask from an address that rules of both books may be about."""
    for field in layout_of(frame).fields:
        if field.name == "source" and tape.below(2):
            source = source_from(tape, 4 if field.size == 4 else 6)
            frame = _with(frame, field.at, ip_address(source).packed)
    return frame


def _splice(tape: Tape, frame: bytes) -> bytes:
    other = _seed(tape).frame
    if tape.below(4):
        return (
            frame[: tape.pick(layout_of(frame).starts)]
            + other[tape.pick(layout_of(other).starts) :]
        )
    return frame[: tape.below(len(frame) + 1)] + other[tape.below(len(other) + 1) :]


def _swap_message(tape: Tape, frame: bytes) -> bytes:
    other = _seed(tape).frame
    return frame[: layout_of(frame).dns] + other[layout_of(other).dns :]


def _tag(tape: Tape, frame: bytes) -> bytes:
    return frame[:12] + struct.pack("!HH", tape.pick((VLAN, QINQ)), tape.word()) + frame[12:]


def _priority_tags(tape: Tape, frame: bytes) -> bytes:
    """Put tags in of which some have VID 0."""
    tags = [
        struct.pack("!HH", tape.pick((VLAN, QINQ)), tape.pick((0, 0, 0xE000, 0x1000, 5)))
        for _ in range(1 + tape.below(4))
    ]
    return frame[:12] + b"".join(tags) + frame[12:]


def _untag(tape: Tape, frame: bytes) -> bytes:
    del tape
    return frame[:12] + frame[16:]


def _add_ip_part(tape: Tape, frame: bytes) -> bytes:
    """Put options behind an IPv4 header, or an extension header behind an IPv6 one."""
    at = layout_of(frame).ip
    if at >= len(frame) or frame[at] >> 4 != 6:
        words = tape.below(11)
        if at >= len(frame):
            return frame
        frame = _with(frame, at, bytes([frame[at] + words & 0xFF]))
        return frame[: at + 20] + bytes(4 * words) + frame[at + 20 :]
    if at + 40 > len(frame):
        return frame
    kind, units = tape.pick((0, 60, 43, 51, 44)), tape.below(4)
    size = {51: (units + 2) * 4, 44: 8}.get(kind, (units + 1) * 8)
    header = bytes([frame[at + 6], units if kind != 44 else 0]).ljust(size, b"\0")
    if kind == 44:
        header = _with(header, 2, struct.pack("!H", tape.pick((0, 1, 8, 0xFFF9))))
    return _with(frame, at + 6, bytes([kind]))[: at + 40] + header + frame[at + 40 :]


def _fix_lengths(tape: Tape, frame: bytes) -> bytes:
    """Let the headers' lengths agree with the frame, as AF_XDP needs it."""
    del tape
    layout = layout_of(frame)
    for field in layout.fields:
        length = {
            "total length": len(frame) - layout.ip,
            "payload length": len(frame) - layout.ip - 40,
            "udp length": len(frame) - layout.upper,
        }.get(field.name)
        if length is not None:
            frame = _with(frame, field.at, struct.pack("!H", length & 0xFFFF))
    return frame


def _lie_about_the_end(tape: Tape, frame: bytes) -> bytes:
    """Let the IP packet end some octets before the frame, or behind it."""
    layout = layout_of(frame)
    less = tape.pick((0, 1, 4, 7, 8, 12, 16, 24, 32, -1, -8)) + tape.pick((0, 0, 1, 8))
    for field in layout.fields:
        whole = {
            "total length": len(frame) - layout.ip,
            "payload length": len(frame) - layout.ip - 40,
        }.get(field.name)
        if whole is not None:
            frame = _with(frame, field.at, struct.pack("!H", (whole - less) & 0xFFFF))
    return frame


def _first_fragment(tape: Tape, frame: bytes) -> bytes:
    """Make it a first fragment, whose data is more often than not a multiple of eight."""
    at = layout_of(frame).ip
    if at + 40 > len(frame):
        return frame
    if frame[at] >> 4 == 6:
        header = bytes([frame[at + 6], 0, 0, 1, 0, 0, 0, tape.octet()])
        frame = _with(frame, at + 6, bytes([44]))[: at + 40] + header + frame[at + 40 :]
        data = at + 48
    else:
        frame = _with(frame, at + 6, struct.pack("!H", 0x2000))
        data = at + (frame[at] & 15) * 4
    if tape.below(4):
        odd = (len(frame) - data) % 8
        frame = frame[: len(frame) - odd] if tape.below(2) else frame + bytes(-odd % 8)
    return _fix_lengths(tape, frame) if tape.below(4) else _lie_about_the_end(tape, frame)


def _point(tape: Tape, frame: bytes) -> bytes:
    """Put a compression pointer, whole or not, where a label begins."""
    labels = [field.at for field in layout_of(frame).fields if field.name == "label length"]
    if not labels:
        return frame
    at = tape.pick(labels)
    pointer = bytes([tape.pick((0xC0, 0xC0, 0xC1, 0xFF, 0xBF)), tape.pick((0, 4, 12, 0xFF))])
    behind = tape.pick((frame[at + 2 :], frame[at:], b"", b"\0\1\0\1"))
    return frame[:at] + pointer[: 1 + tape.below(8)] + behind


def _fold_name(tape: Tape, frame: bytes) -> bytes:
    """Change what letter case would change, in letters and in other octets."""
    at = layout_of(frame).dns + 12 + tape.below(64)
    size = 1 + tape.below(32)
    return frame[:at] + bytes(octet ^ 0x20 for octet in frame[at : at + size]) + frame[at + size :]


MUTATIONS: tuple[Callable[[Tape, bytes], bytes], ...] = (
    _set_field,
    _set_address,
    _fold_name,
    _fix_lengths,
    _flip_bit,
    _set_octet,
    _cut_a_little,
    _cut,
    _cut_at_a_header,
    _extend,
    _take_out,
    _put_in,
    _splice,
    _swap_message,
    _tag,
    _untag,
    _add_ip_part,
    _priority_tags,
    _lie_about_the_end,
    _first_fragment,
    _point,
    _rename,
    _move_source,
    # what reaches far into the program more often than what breaks a frame
    _set_field,
    _set_field,
    _set_field,
    _set_address,
    _set_address,
    _fix_lengths,
    _swap_message,
    _add_ip_part,
    _extend,
    _first_fragment,
)


def _with(data: bytes, at: int, octets: bytes) -> bytes:
    return data[:at] + octets + data[at + len(octets) :]
