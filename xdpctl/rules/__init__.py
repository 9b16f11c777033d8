"""Rules as values: text to value and back, target to key and back.

    names.py     domain names and query types
    targets.py   what a rule is about: address, prefix, name, zone
    meant.py     what text that is not a target was probably meant to be
    keys.py      target and book to map and key, and back
    rules.py     a rule: action, origin, reason, duration, line
    comments.py  comments in lists, and the reasons that they become
    lines.py     millions of rules, without an object for each
    guard.py     rules that are refused without `--force`
    reach.py     how much the prefixes of a list cover together

Other rooms import the public names from here.
"""

from xdpctl.rules.keys import book_of, key_of, keys_at, keys_of, map_of, target_of
from xdpctl.rules.names import Name, parse_qtype, qtype_text
from xdpctl.rules.rules import (
    ACTIONS,
    DNSDIST_FLUSH_WARNING,
    DNSDIST_ORIGIN,
    Rule,
    format_duration,
    format_rule_line,
    parse_action,
    parse_duration,
    parse_end,
    parse_origin,
    parse_reason,
    parse_rule_line,
)
from xdpctl.rules.targets import (
    AnyQtype,
    Question,
    Target,
    Zone,
    parse_network,
    parse_protected,
    parse_target,
    qtype_of,
    target_text,
    target_unicode,
)

__all__ = [
    "ACTIONS",
    "DNSDIST_FLUSH_WARNING",
    "DNSDIST_ORIGIN",
    "AnyQtype",
    "Name",
    "Question",
    "Rule",
    "Target",
    "Zone",
    "book_of",
    "format_duration",
    "format_rule_line",
    "key_of",
    "keys_at",
    "keys_of",
    "map_of",
    "parse_action",
    "parse_duration",
    "parse_end",
    "parse_network",
    "parse_origin",
    "parse_protected",
    "parse_qtype",
    "parse_reason",
    "parse_rule_line",
    "parse_target",
    "qtype_of",
    "qtype_text",
    "target_of",
    "target_text",
    "target_unicode",
]
