"""Public suffixes: names below which zones of different owners are (com, co.uk).

Owns the reading of the list that Debian's package publicsuffix keeps. Without the package only
top-level domains are known for such. Blocks at its first use. Called by heavy.py.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from xdpctl.errors import TargetError
from xdpctl.rules.names import Name

LIST = Path("/usr/share/publicsuffix/public_suffix_list.dat")


class PublicSuffixes:
    """The list.

    Args:
        path: of its file, in the format of publicsuffix.org.
    """

    def __init__(self, path: Path = LIST) -> None:
        self._path = path

    @cached_property
    def _rules(self) -> frozenset[str]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return frozenset()
        lines = (line.split(" ")[0].strip() for line in text.splitlines())
        return frozenset(
            ascii_form
            for line in lines
            if line and "//" not in line and (ascii_form := _ascii(line))
        )

    @property
    def is_there(self) -> bool:
        """Whether there is a list; without one only top-level domains are known. Blocks once."""
        return bool(self._rules)

    def has(self, name: str) -> bool:
        """Return whether a name, lower-case and without a dot at the end, is a public suffix."""
        if "." not in name:
            return True
        if f"!{name}" in self._rules:
            return False
        return name in self._rules or f"*.{name.partition('.')[2]}" in self._rules


def _ascii(rule: str) -> str:
    """Return a rule as names are written in queries; empty for one that cannot be."""
    if rule.isascii():
        return rule
    head = "".join(prefix for prefix in ("!", "*.") if rule.startswith(prefix))
    try:
        return head + Name.from_text(rule.removeprefix(head)).to_text()
    except TargetError:
        return ""
