"""Rules by the million: lines and API documents to rows, without an object for each.

A row is what the state stages: where the entry lies and what we note of it. The
meaning is rules.py's; here is only a short way for what lists are made of (a plain
address, the same options on every line), tested to agree with the long one. Called by
bulk work (bulk.py) and by the import handler.
"""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, TypeAlias

from xdpctl import abi
from xdpctl.abi import MapName
from xdpctl.errors import TargetError
from xdpctl.rules import (
    DNSDIST_ORIGIN,
    Rule,
    key_of,
    map_of,
    parse_rule_line,
    parse_target,
)
from xdpctl.state import stored_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xdpctl.rules import AnyQtype

_V4, _V6 = abi.MAPS[MapName.ADDR_V4].ref, abi.MAPS[MapName.ADDR_V6].ref
_REFS = {name: spec.ref for name, spec in abi.MAPS.items()}
_V4_STEP = -1 if sys.byteorder == "little" else 1
_OPTIONS_KEPT = 1000


Row: TypeAlias = tuple[int, bytes, int, str, float | None]
"""One entry as it is staged: map number (enum map_ref), key as the state stores it
(`state.stored_key`), action, reason, expiry in seconds of CLOCK_BOOTTIME or None."""


def place_of(target: str, qtype: str | None, any_qtype: AnyQtype) -> tuple[int, bytes]:
    """Return (map number, key as stored) of a target's text.

    Raises:
        TargetError: as `rules.parse_target` and `rules.key_of`.
    """
    if not qtype:
        try:
            if ":" in target:
                return _V6, socket.inet_pton(socket.AF_INET6, target)
            return _V4, socket.inet_pton(socket.AF_INET, target)[::_V4_STEP]
        except (OSError, ValueError):
            pass  # the long way knows what it is, or says what is wrong
    parsed = parse_target(target, qtype)
    ref = _REFS[map_of(parsed)]
    return ref, stored_key(ref, key_of(parsed, any_qtype))


class LineReader:
    """Reads the lines of one import.

    Args:
        origin: of lines that name none, and of the whole.
        now: seconds of CLOCK_BOOTTIME that `for=` counts from.

    Attributes:
        skipped: lines of origin dnsdist, which nobody may claim.
    """

    def __init__(self, origin: str, any_qtype: AnyQtype, now: float) -> None:
        self._origin = origin
        self._any_qtype = any_qtype
        self._now = now
        self._options: dict[str, tuple[str | None, int, str, float | None, bool]] = {}
        self.skipped = 0

    def rows(self, lines: Iterable[str], first: int = 1) -> Iterator[Row]:
        """Yield a row for each line that has a rule.

        Raises:
            TargetError: names the line by its number, counted from `first`.
        """
        for number, line in enumerate(lines, first):
            try:
                row = self._row(line)
            except TargetError as error:
                raise TargetError(
                    f"line {number}: {error.sentence}", text=error.text, field=error.field
                ) from error
            if row is not None:
                yield row

    def _row(self, line: str) -> Row | None:
        target, _, rest = line.strip().partition(" ")
        if not target or target[0] == "#":
            return None
        if '"' in target or "#" in target or "\t" in target:
            rule = parse_rule_line(line, self._origin)
            return None if rule is None else self._row_of(rule)
        qtype, action, reason, expires, theirs = self._options.get(rest) or self._read(rest)
        if theirs:
            self.skipped += 1
            return None
        ref, key = place_of(target, qtype, self._any_qtype)
        return ref, key, action, reason, expires

    def _row_of(self, rule: Rule) -> Row | None:
        if rule.origin == DNSDIST_ORIGIN:
            self.skipped += 1
            return None
        expires = None if rule.expires_in is None else self._now + rule.expires_in
        ref = _REFS[map_of(rule.target)]
        key = stored_key(ref, key_of(rule.target, self._any_qtype))
        return ref, key, int(rule.action), rule.reason, expires

    def _read(self, rest: str) -> tuple[str | None, int, str, float | None, bool]:
        """Read the options behind a target, and keep them for the lines that follow."""
        qtype = None
        rule = parse_rule_line(f"root.invalid {rest}", self._origin)
        if rule is None:
            raise TargetError(f"cannot read {rest!r}", text=rest, field="line")
        found = getattr(rule.target, "qtype", None)
        if found is not None:
            qtype = f"TYPE{found}"
        expires = None if rule.expires_in is None else self._now + rule.expires_in
        options = qtype, int(rule.action), rule.reason, expires, rule.origin == DNSDIST_ORIGIN
        if len(self._options) < _OPTIONS_KEPT:
            self._options[rest] = options
        return options
