"""A rule as a frozen value: text to rule and back.

Owns actions, origins, reasons, durations, and the line format of `import` and `export`.
Does not own targets (targets.py), names and types (names.py), the rules that exist (store/)
or access to maps (kernel/). Called by settings/, store/, http/ and cli/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache

from xdpctl.abi import RuleAction
from xdpctl.errors import TargetError
from xdpctl.rules.names import qtype_text, shown
from xdpctl.rules.targets import Target, parse_target, qtype_of, target_text

ACTIONS = {action.name.lower(): action for action in RuleAction}
"""The actions by their text: pass, drop, truncate."""

DNSDIST_ORIGIN = "dnsdist"
"""Origin of every entry in the shared maps that we did not write."""

DNSDIST_FLUSH_WARNING = (
    "dnsdist keeps its own count of its entries: a running dnsdist logs 'Error removing' for each"
    " flushed entry and does not lower the count, so that it can add fewer and fewer ('Table full')"
    " until it is restarted; flush its entries while dnsdist is stopped, or restart it afterwards"
)
"""What the API and the verb `flush` tell an operator who flushes this origin."""

DYNAMIC_ORIGINS = ("dynamic", "dnsdist-dynamic")
"""Origins of claims that the service makes by itself."""

ORIGIN_PATTERN = r"cli|api|dnsdist|dynamic|dnsdist-dynamic|(?:file|app|list):.{1,200}"
ORIGIN_KINDS = "cli, api, file:NAME, app:NAME or list:NAME"
_ORIGIN = re.compile(ORIGIN_PATTERN)
_PROGRAM = re.compile(r"[a-z0-9][a-z0-9_-]{2,30}")
_NEEDS_QUOTES = re.compile(r'[\s"]')
IMPLIED = "implied: the list itself does not block this; what other lists say of it applies"
"""The reason of a rule that a list's reader adds so that a zone of the list is not too wide. It
is a Pass where no other list has a rule (store/implied.py)."""

REASON_MAX = 200
"""Characters of a reason."""

FOREVER = "forever"
"""In place of a duration: the rule has no end."""

_DURATION = re.compile(
    r"(?=[0-9])(?:([0-9]{1,9})w)?(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?"
    r"(?:([0-9]{1,9})s)?"
)
_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
DURATION_MAX = 10 * 365 * 86_400
"""Ten years in seconds: the longest duration of a rule that expires."""

_TOKEN = re.compile(r'\s*(?:#.*|(?:([a-z]+)=)?("(?:[^"\\]|\\["\\])*"|[^\s"]+)(?=\s|$))?')


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        target: what it matches.
        action: what happens to a packet that matches.
        reason: free text on one line, may be empty.
        origin: who made it: cli, api, file:NAME, app:NAME, list:NAME, dnsdist.
        hits: packets that matched, as counted in the map.
        expires_in: seconds until it is removed; None: it stays.
        keeps_reason, keeps_end: where its origin has a claim on the target already, the reason,
            or the end, of that one stays. Not part of the rule itself.
    """

    target: Target
    action: RuleAction = RuleAction.DROP
    reason: str = ""
    origin: str = "cli"
    hits: int = 0
    expires_in: int | None = None
    keeps_reason: bool = field(default=False, compare=False)
    keeps_end: bool = field(default=False, compare=False)


class ClaimClass(IntEnum):
    """Which claims are in force before which (CONTRACT.md, "Claims")."""

    OPERATOR = 0
    PROGRAM = 1
    DYNAMIC = 2
    LIST = 3

    @property
    def label(self) -> str:
        """The name in answers and metrics."""
        return self.name.lower()


@lru_cache(maxsize=1_024)
def class_of(origin: str) -> ClaimClass:
    """Return the class of an origin's claims; dnsdist has none, it comes before all."""
    if origin.startswith("list:"):
        return ClaimClass.LIST
    if origin.startswith("app:"):
        return ClaimClass.PROGRAM
    return ClaimClass.DYNAMIC if origin in DYNAMIC_ORIGINS else ClaimClass.OPERATOR


def parse_action(text: str) -> RuleAction:
    """Return the action named drop, truncate or pass.

    Raises:
        TargetError: another word; field `action`.
    """
    if text not in ACTIONS:
        raise TargetError(
            f"cannot use {shown(text)} as an action: it must be drop, truncate or pass",
            text=text,
            field="action",
        )
    return ACTIONS[text]


def parse_origin(text: str) -> str:
    """Return `text` if it is an origin, also one that is reserved.

    Raises:
        TargetError: it is not an origin; field `origin`.
    """
    if not _is_origin(text):
        raise _not_an_origin(text, f"{ORIGIN_KINDS}, or dnsdist")
    return text


def _is_origin(text: str) -> bool:
    return _ORIGIN.fullmatch(text) is not None and text.isprintable()


def _not_an_origin(text: str, kinds: str) -> TargetError:
    """Return the error of a text that is no origin; of a plain word a program's is meant."""
    meant = f"; did you mean app:{text}?" if _PROGRAM.fullmatch(text) else ""
    return TargetError(
        f"cannot use {shown(text)} as an origin: it must be {kinds}{meant}",
        text=text,
        field="origin",
    )


def parse_reason(text: str) -> str:
    """Return `text` if it is one printable line of at most 200 characters; empty: no reason.

    Raises:
        TargetError: it is not; field `reason`.
    """
    if len(text) > REASON_MAX or not text.isprintable():
        raise TargetError(
            f"cannot use {shown(text)} as a reason: it must be one line of at most {REASON_MAX}"
            " characters, without control characters",
            text=text,
            field="reason",
        )
    return text


def parse_duration(text: str, also: str = "") -> int:
    """Return the seconds of `10m`, `2h`, `1h30m`; units w, d, h, m, s, each once, in this order.

    Args:
        text: as an operator wrote it.
        also: what else may be written there, for the error: `, or none`.

    Raises:
        TargetError: not in this form, zero, or more than ten years; field `for`.
    """
    return _seconds(text, also)


def parse_end(text: str) -> int | None:
    """Return the seconds until a rule ends, None for `forever`; errors as `parse_duration`."""
    return None if text == FOREVER else _seconds(text, f", or {FOREVER}")


def _seconds(text: str, also: str) -> int:
    """Return the seconds of a duration; the error names what `also` can be written."""
    found = _DURATION.fullmatch(text)
    numbers = found.groups(default="0") if found else ()
    seconds = sum(
        int(number) * unit for number, unit in zip(numbers, _UNITS.values(), strict=False)
    )
    if not 0 < seconds <= DURATION_MAX:
        raise TargetError(
            f"cannot use {shown(text)} as a duration: write it like 30s, 10m, 1h30m, 7d or 2w,"
            f" more than zero and at most ten years{also}",
            text=text,
            field="for",
        )
    return seconds


def format_duration(seconds: int) -> str:
    """Return the shortest text that `parse_duration` reads as this many seconds (1 or more)."""
    parts = []
    for unit, size in _UNITS.items():
        count, seconds = divmod(seconds, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts)


def parse_rule_line(text: str, origin: str = "cli", action: str = "drop") -> Rule | None:
    """Return the rule of one line of a rule file, None if the line has no rule.

    `TARGET [qtype=A] [action=drop] [for=10m|forever] [reason="…"] [origin=…]`. A `#` starts a
    comment. A value with blanks needs double quotes; a quote or backslash in it needs a
    backslash before it.

    Args:
        text: the line, with or without its end.
        origin: the origin of the rule if the line has none.
        action: the action of the rule if the line has none.

    Raises:
        TargetError: with the offending text.
    """
    target, fields = None, dict[str, str]()
    position, end = 0, len(text.rstrip())
    while position < end:
        found = _TOKEN.match(text, position, end)
        if found is None or found.end() == position:
            raise TargetError(
                f"cannot read {shown(text[position:end].strip())}: a value with blanks or quotes"
                ' must be written as "…", with \\" for a quote in it, and a blank must follow it',
                text=text[position:end].strip(),
                field="line",
            )
        key, value = found.groups()
        position = found.end()
        if value is None:
            continue
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        if target is None:
            target = found.group().strip()
        elif key not in {"qtype", "action", "for", "reason", "origin"} or key in fields:
            raise TargetError(
                f"cannot read {shown(found.group().strip())} in a rule's line: after the target"
                " come qtype=, action=, for=, reason= and origin=, each at most once; a list in"
                " another format is read with --format, or the key format of [[list]]",
                text=found.group().strip(),
                field="line",
            )
        else:
            fields[key] = value
    if target is None:
        return None
    return Rule(
        target=parse_target(target, fields.get("qtype")),
        action=parse_action(fields.get("action", action)),
        reason=parse_reason(fields.get("reason", "")),
        origin=parse_origin(fields.get("origin", origin)),
        expires_in=parse_end(fields["for"]) if "for" in fields else None,
        keeps_reason="reason" not in fields,
        keeps_end="for" not in fields,
    )


def format_rule_line(rule: Rule) -> str:
    """Return the line that `parse_rule_line` reads as this rule, without its hits."""
    parts = [target_text(rule.target)]
    if (qtype := qtype_of(rule.target)) is not None:
        parts.append(f"qtype={qtype_text(qtype)}")
    parts.append(f"action={rule.action.name.lower()}")
    if rule.expires_in is not None:
        parts.append(f"for={format_duration(rule.expires_in)}")
    if rule.reason:
        parts.append(f"reason={_quoted(rule.reason)}")
    parts.append(
        f"origin={_quoted(rule.origin) if _NEEDS_QUOTES.search(rule.origin) else rule.origin}"
    )
    return " ".join(parts)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def own_origin(text: str) -> str:
    """Return `text` if it can be the origin of a new rule.

    Raises:
        TargetError: it is not an origin, or it is `dnsdist`.
    """
    if not _is_origin(text):
        raise _not_an_origin(text, ORIGIN_KINDS)
    origin = text
    if origin == DNSDIST_ORIGIN:
        raise TargetError(
            "cannot use dnsdist as the origin of a rule: it is reserved for the entries that"
            " dnsdist wrote; use another origin",
            text=origin,
            field="origin",
        )
    if origin in DYNAMIC_ORIGINS:
        raise TargetError(
            f"cannot use {origin} as the origin of a rule: it is reserved for what the service"
            " blocks by itself; use another origin",
            text=origin,
            field="origin",
        )
    return origin
