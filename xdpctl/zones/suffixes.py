"""Public suffixes: names below which zones of different owners are (com, co.uk).

Owns the reading of the list that Debian's package publicsuffix keeps. Without the package only
top-level domains and the zones of reverse names are known for such. It is read at its first use,
which blocks, and kept as one text: a set of its ten thousand rules takes ten times as much, and few
names are ever looked up.
Called by heavy.py and service/zone_limits.py.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from xdpctl.errors import TargetError
from xdpctl.rules.names import Name

LIST = Path("/usr/share/publicsuffix/public_suffix_list.dat")

_A_LABEL = "xn--"
_REVERSE = frozenset({"in-addr.arpa", "ip6.arpa"})
"""Below which the addresses of everybody are, also without the list."""


class PublicSuffixes:
    """The list.

    Args:
        path: of its file, in the format of publicsuffix.org.
    """

    def __init__(self, path: Path = LIST) -> None:
        self._path = path

    def _read(self) -> list[str]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return []
        lines = (line.split(" ")[0].strip() for line in text.splitlines())
        return [line for line in lines if line and "//" not in line]

    @cached_property
    def _rules(self) -> str:
        """Those in ASCII, each between two line feeds."""
        return "\n".join(["", *filter(str.isascii, self._read()), ""])

    @cached_property
    def _others(self) -> frozenset[str]:
        """Those of other characters, as names are written in queries."""
        return frozenset(_ascii(line) for line in self._read() if not line.isascii())

    @property
    def is_there(self) -> bool:
        """Whether there is a list; without one only top-level domains are known. Blocks once."""
        return len(self._rules) > 1

    def has(self, name: str) -> bool:
        """Return whether a name, lower-case and without a dot at the end, is a public suffix.

        Blocks once, and once more for the first name with an A-label.
        """
        if "." not in name or name in _REVERSE:
            return True
        if self._is_rule(f"!{name}"):
            return False
        return self._is_rule(name) or self._is_rule(f"*.{name.partition('.')[2]}")

    def _is_rule(self, text: str) -> bool:
        return f"\n{text}\n" in self._rules or (_A_LABEL in text and text in self._others)


def _ascii(rule: str) -> str:
    """Return a rule as names are written in queries; empty for one that cannot be."""
    head = "".join(prefix for prefix in ("!", "*.") if rule.startswith(prefix))
    try:
        return head + Name.from_text(rule.removeprefix(head)).to_text()
    except TargetError:
        return ""
