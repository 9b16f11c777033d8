"""Recognizes the format of a list by its first lines.

Owns what each format looks like. Nothing is guessed from one line where others disagree: a format
needs most of the lines. Does not own what a line means (formats/), or files that are no lists
(foreign.py). Does no I/O. Called by reader.py.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from xdpctl.feeds.formats.addresses import is_address, is_source, leads_nowhere
from xdpctl.rules.comments import split
from xdpctl.settings import ListFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLE = 1_000
"""Lines with content that decide."""

_SOA = re.compile(
    r"(?:\S+\s+)?(?:[0-9]\w*\s+)?(?:(?:IN|CH|HS|CLASS[0-9]+)\s+)?(?:[0-9]\w*\s+)?SOA\s",
    re.IGNORECASE,
)
"""A record; the word in a rule's reason or comment is none."""
_SOA_LINES = 20
_MOST = 0.5

_LOOKS_LIKE = {
    ListFormat.ADBLOCK: re.compile(r"\|\||@@|[^\s#]*#[@$?%]*#[^#\s]|[^\s#]+\^(?:\$|$)|\|https?:"),
    ListFormat.DNSMASQ: re.compile(r"(?:--)?(?:address|local|server)\s*=\s*/"),
    ListFormat.UNBOUND: re.compile(r"server:\s*(?:#.*|local-.*)?$|(?:view|local-(?:zone|data)):"),
    ListFormat.JSON: re.compile(r"\{.*\}$"),
    ListFormat.RPZ: re.compile(r"\S+\s+(?:[0-9]\w*\s+)?(?:IN\s+)?CNAME\s+\S*\.$", re.IGNORECASE),
}
_FIRST_OF_ADBLOCK = re.compile(r"!|\[(?:ad|ublock)", re.IGNORECASE)
_OPTION = re.compile(r"[a-z]+=|(?:drop|truncate|pass|block|allow|for|reason|qtype)$")
"""A second word of our own lines, or of one that was meant as such."""
_NAME = re.compile(r".*[a-z]", re.IGNORECASE)


def format_of(lines: Sequence[str]) -> ListFormat:
    """Return the format that the first lines with content have, none of which is blank."""
    if not lines:
        return ListFormat.TARGETS
    if lines[0].startswith("$") or any(map(_SOA.match, lines[:_SOA_LINES])):
        return ListFormat.RPZ
    if _FIRST_OF_ADBLOCK.match(lines[0]):
        return ListFormat.ADBLOCK
    counts: Counter[ListFormat] = Counter()
    for line in lines:
        for form, begins in _LOOKS_LIKE.items():
            if begins.match(line):
                counts[form] += 1
                break
    if counts:
        ((form, number),) = counts.most_common(1)
        if number >= _MOST * len(lines) or (form is ListFormat.ADBLOCK and _has_no_address(lines)):
            return form
    return _of_columns([split(line)[0].split() for line in lines])


def _has_no_address(lines: Sequence[str]) -> bool:
    """Return whether a list of AdBlock syntax may have mostly bare domains: they mean the same."""
    return not any(is_source(line.split()[0]) for line in lines)


def _of_columns(lines: Sequence[Sequence[str]]) -> ListFormat:
    """Return targets, hosts, or addresses with other columns behind them."""
    words = [line for line in lines if line]
    pairs = [(line[0], line[1]) for line in words if len(line) > 1]
    if not pairs or any(_OPTION.match(second) for _, second in pairs):
        return ListFormat.TARGETS
    hosts = [
        (first, second) for first, second in pairs if is_address(first) and _NAME.match(second)
    ]
    if len(hosts) >= _MOST * len(words) and _is_of_hosts(hosts):
        return ListFormat.HOSTS
    if all(is_source(line[0]) for line in words):
        return ListFormat.FIRST_COLUMN
    return ListFormat.HOSTS if hosts and len(hosts) >= _MOST * len(words) else ListFormat.TARGETS


def _is_of_hosts(pairs: Sequence[tuple[str, str]]) -> bool:
    """Return whether an address leads nowhere, or one stands for several names."""
    first = {address for address, _ in pairs}
    return any(map(leads_nowhere, first)) or len(first) < len(pairs)
