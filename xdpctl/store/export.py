"""The rules as lines, which `import` takes: all of ours, and dnsdist's where asked for.

Owns how rules become lines, and how many lines are given at a time. Lines of many rules
are made in a process of their own (worker/). Reads only. Called by store.py.
"""

from __future__ import annotations

import math
from functools import partial
from ipaddress import IPv4Address
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from xdpctl.abi import RULE_PLACES, TABLES, MapName, RuleAction
from xdpctl.errors import TargetError
from xdpctl.process.clock import boot_clock
from xdpctl.rules import (
    DNSDIST_ORIGIN,
    AnyQtype,
    Rule,
    format_rule_line,
    qtype_of,
    target_of,
    target_text,
)
from xdpctl.rules.keys import REFS, full_key, plain_text, stored_key
from xdpctl.store.entries import NOTES_AT_ONCE, goes_on, read_stored, whole_map
from xdpctl.store.state import place_in_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.store.entries import Entries
    from xdpctl.store.state import Note

EXPORT_LINES = 2_000
"""Lines of one part: some 10 ms and 64 kB."""

_ANY = IPv4Address(0)
_LINES_KEPT = 1_000


class Export(Protocol):
    """Lines of rules, part by part; each call blocks."""

    def part(self) -> bytes:
        """Return the next lines, empty at the end."""

    def close(self) -> None:
        """End it, also before its end and from another thread."""


class ExportInProcess:
    """Lines as they are made."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def part(self) -> bytes:
        """Return the next lines; empty at the end. Blocks."""
        return "".join([f"{line}\n" for line in islice(self._lines, EXPORT_LINES)]).encode()

    def close(self) -> None:
        """Make no more."""
        self._lines = iter(())


def lines_of(
    entries: Entries, any_qtype: AnyQtype, *, everything: bool, at_once: bool = False
) -> Iterator[str]:
    """Yield the lines of `export`: all claims of ours, and with `everything` dnsdist's too.

    Args:
        entries: what is in the maps, and the notes.
        any_qtype: how a name without a type is written.
        everything: dnsdist's too.
        at_once: read each map whole, for which there is time and memory, rather than
            each of our entries in a call of its own.
    """
    text = _Lines(any_qtype)
    for name in RULE_PLACES:
        ref, after = REFS[name], b""
        opened = entries.maps[name]
        whole = at_once and name not in TABLES
        read = whole_map(opened, ref) if whole else partial(read_stored, opened, ref)
        while rows := entries.state.rows(name, after, NOTES_AT_ONCE):
            after = rows[-1][1]
            for row, value in zip(rows, read([row[1] for row in rows]), strict=True):
                _, stored, _, origin, reason, _, expires, noted = row
                if value is not None and (name in TABLES or goes_on(value, noted)):
                    yield from text.of(name, stored, value.action, origin, reason, expires)
        for claim in _waiting(entries, name):
            options = claim.action, claim.origin, claim.reason, claim.expires
            yield from text.of(name, stored_key(ref, claim.key), *options)
        if everything and name not in TABLES:
            for entry in entries.entries(name, DNSDIST_ORIGIN):
                stored = stored_key(ref, entry.key)
                yield from text.of(name, stored, entry.action, DNSDIST_ORIGIN, "", None)


def _waiting(entries: Entries, name: MapName) -> Iterator[Note]:
    """Yield the claims that wait in a map: an import of the lines makes them wait again."""
    after = b""
    while claims := entries.state.waiting_page(name, after, NOTES_AT_ONCE):
        after = place_in_order(claims[-1])
        yield from claims


class _Lines:
    """Lines of rules: what follows the target is formatted once and kept."""

    def __init__(self, any_qtype: AnyQtype) -> None:
        self._any_qtype = any_qtype
        self._kept: dict[tuple[RuleAction, str, str, int | None], str] = {}

    def of(  # noqa: PLR0913, PLR0917 - the columns of a note, by the million
        self,
        name: MapName,
        stored: bytes,
        action: RuleAction,
        origin: str,
        reason: str,
        expires: float | None,
    ) -> tuple[str, ...]:
        """Return the line of a rule, none where no packet matches its key."""
        expires_in = None if expires is None else max(1, math.ceil(expires - boot_clock()))
        text = plain_text(REFS[name], stored, self._any_qtype)
        if text is None:
            try:
                target = target_of(name, full_key(REFS[name], stored), self._any_qtype)
            except TargetError:
                return ()
            if qtype_of(target) is not None:
                rule = Rule(target, action, reason, origin, expires_in=expires_in)
                return (format_rule_line(rule),)
            text = target_text(target)
        options = action, origin, reason, expires_in
        rest = self._kept.get(options)
        if rest is None:
            rule = Rule(_ANY, action, reason, origin, expires_in=expires_in)
            rest = format_rule_line(rule).removeprefix(str(_ANY))
            if len(self._kept) < _LINES_KEPT:
                self._kept[options] = rest
        return (f"{text}{rest}",)
