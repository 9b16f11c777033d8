"""Rules by the million: lines and API documents to rows, without an object for each.

A row is what the state stages: where the entry lies and what we note of it. The
meaning is rules.py's; here is only a short way for what lists are made of (a plain
address, the same options on every line), tested to agree with the long one. Called by
bulk work (bulk.py) and by the import handler.
"""

from __future__ import annotations

import re
import socket
import struct
import sys
from typing import TYPE_CHECKING, TypeAlias

from xdpctl import abi
from xdpctl.abi import MapName
from xdpctl.errors import TargetError
from xdpctl.rules import (
    DNSDIST_ORIGIN,
    AnyQtype,
    Question,
    key_of,
    map_of,
    parse_rule_line,
    parse_target,
)
from xdpctl.state import stored_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_V4, _V6 = abi.MAPS[MapName.ADDR_V4].ref, abi.MAPS[MapName.ADDR_V6].ref
_REFS = {name: spec.ref for name, spec in abi.MAPS.items()}
_QNAMES = abi.MAPS[MapName.QNAMES].ref
_WILDCARDS = {mode: struct.pack("=H", mode.wildcards[0]) for mode in AnyQtype}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_V4_STEP = -1 if sys.byteorder == "little" else 1
_OPTIONS_KEPT = 1000
_BLANK = " \r\n"


Row: TypeAlias = tuple[int, bytes, int, str, float | None, str]
"""One entry as it is staged: map number (enum map_ref), key as the state stores it
(`state.stored_key`), action, reason, expiry in seconds of CLOCK_BOOTTIME or None, origin."""


def place_of(target: str, qtype: str | None, any_qtype: AnyQtype) -> tuple[int, bytes]:
    """Return (map number, key as stored) of a target's text.

    Raises:
        TargetError: as `rules.parse_target` and `rules.key_of`.
    """
    if not qtype and (place := _plain(target, any_qtype)) is not None:
        return place
    parsed = parse_target(target, qtype)
    ref = _REFS[map_of(parsed)]
    return ref, stored_key(ref, key_of(parsed, any_qtype))


def _plain(text: str, any_qtype: AnyQtype) -> tuple[int, bytes] | None:
    """Return where a plain address or name lies; None for all else: the long way reads it."""
    try:
        if ":" in text:
            return _V6, socket.inet_pton(socket.AF_INET6, text)
        return _V4, socket.inet_pton(socket.AF_INET, text)[::_V4_STEP]
    except (OSError, ValueError):
        pass
    if _NAME.fullmatch(text) is None:
        return None
    labels = text.lower().removesuffix(".").split(".")
    octets = "".join([chr(len(label)) + label for label in labels])
    if len(octets) >= abi.NAME_MAX or labels[-1].isdigit():
        return None
    return _QNAMES, _WILDCARDS[any_qtype] + octets.encode("ascii")


class LineReader:
    """Reads the lines of one import.

    Args:
        origin: of lines that name none.
        now: seconds of CLOCK_BOOTTIME that `for=` counts from.

    Attributes:
        skipped: lines of origin dnsdist, which nobody may claim.
    """

    def __init__(self, origin: str, any_qtype: AnyQtype, now: float) -> None:
        self._origin = origin
        self._any_qtype = any_qtype
        self._now = now
        self._options: dict[str, tuple[int, str, float | None, str]] = {}
        self.skipped = 0

    def rows(self, lines: Iterable[str], first: int = 1) -> Iterator[Row]:
        """Yield a row for each line that has a rule.

        Raises:
            TargetError: names the line by its number, counted from `first`.
        """
        for number, line in enumerate(lines, first):
            try:
                row = self._short_way(line) or self._row(line)
            except TargetError as error:
                raise error.at_line(number) from error
            if row is not None:
                yield row

    def _short_way(self, line: str) -> Row | None:
        """Read a plain address or name, with options as they stood behind one before."""
        target, _, rest = line.strip(_BLANK).partition(" ")
        options = self._options.get(rest)
        if options is None or (place := _plain(target, self._any_qtype)) is None:
            return None
        return *place, *options

    def _row(self, line: str) -> Row | None:
        """Read any line."""
        rule = parse_rule_line(line, self._origin)
        if rule is None:
            return None
        if rule.origin == DNSDIST_ORIGIN:
            self.skipped += 1
            return None
        ref = _REFS[map_of(rule.target)]
        key = stored_key(ref, key_of(rule.target, self._any_qtype))
        expires = None if rule.expires_in is None else self._now + rule.expires_in
        options = int(rule.action), rule.reason, expires, rule.origin
        target, _, rest = line.strip(_BLANK).partition(" ")
        if (
            len(self._options) < _OPTIONS_KEPT
            and _plain(target, self._any_qtype) is not None  # so they stand apart from it
            and not (isinstance(rule.target, Question) and rule.target.qtype is not None)
        ):
            self._options[rest] = options
        return ref, key, *options
