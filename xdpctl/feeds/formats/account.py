"""The account of one reading: what was left out, what could not be read, what became a Drop.

Owns the counts, their examples, and the bound beyond which a list with unreadable lines is not
used. It is complete at the end of the reading, and goes back to the service if another process
read the list. Filled by the formats; read by files.py and http/api/.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xdpctl.abi import RuleAction
from xdpctl.errors import ListError, TargetError, within
from xdpctl.rules.names import shown

if TYPE_CHECKING:
    from typing import NoReturn

    from xdpctl.errors import XdpctlError
    from xdpctl.settings import ListFormat

EXAMPLES = 3
"""How many examples of a kind are shown."""

UNREADABLE_MAX = 1_000
UNREADABLE_SHARE = 100
"""A list is used without its unreadable lines if they are at most so many, and at most one in so
many lines with content."""

_UNREADABLE = "lines that cannot be read"
_CUT = "last line without an end"


_SINGULAR = (
    (re.compile(r"\b(address)es\b|\b(\w+[^s\W])s\b"), r"\1\2"),
    (re.compile(r"\bare\b"), "is"),
    (re.compile(r"\btheir\b"), "its"),
    (re.compile(r"\bthat claim\b"), "that claims"),
)


def counted(number: int, kind: str) -> str:
    """Return how many of a kind: `1 wildcard`, `3 wildcards`."""
    if number == 1:
        for plural, singular in _SINGULAR:
            kind = plural.sub(singular, kind, count=1)
    return f"{number:,} {kind}"


def implied_passes(count: int) -> str:
    """Return what the implied rules of an imported list do, which are an operator's."""
    rules = "rule lets" if count == 1 else "rules let"
    return (
        f"{count:,} implied {rules} pass what is below names that this list itself does not block,"
        " also where a [[list]] blocks it; with --origin list:NAME, each list is for itself"
    )


def denials(count: int, action: RuleAction | None) -> str:
    """Return what became of an RPZ zone's NXDOMAIN and NODATA, which XDP cannot answer."""
    what = f"{count:,} RPZ {'record' if count == 1 else 'records'} for NXDOMAIN or NODATA"
    if action is RuleAction.TRUNCATE:
        return (
            f"{what} answer TC=1: clients retry over TCP, where the server behind must apply the"
            " policy"
        )
    return (
        f'{what} drop the query; with denial = "truncate" clients retry over TCP, and the server'
        " behind answers by its policy"
    )


class LeftOut:
    """What a reading left out, and what else it found.

    Attributes:
        format: the format that the list was read in.
        denied: RPZ records that answer NXDOMAIN or NODATA and became rules.
        denial: the action of those rules.
        implied: rules that let pass what the list's own wider rules would stop.
        skipped: rules whose origin is dnsdist's.
        unreadable: lines that could not be read.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}
        self._first_error: XdpctlError | None = None
        self.format: ListFormat | None = None
        self.denied = 0
        self.denial: RuleAction | None = None
        self.implied = 0
        self.skipped = 0
        self.unreadable = 0

    def add(self, kind: str, text: str) -> None:
        """Count one entry; `kind` is a plural, `text` is as in the file."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        examples = self._examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(shown(text))

    def add_unreadable(self, error: XdpctlError, number: int, text: str) -> None:
        """Count a line that cannot be read.

        Raises:
            TargetError, ListError: there are too many.
        """
        self._first_error = self._first_error or error
        self.unreadable += 1
        self.add(_UNREADABLE, f"line {number}: {text.strip()}")
        if self.unreadable > UNREADABLE_MAX:
            self._refuse(f"more than {UNREADABLE_MAX:,} lines cannot be read")

    def add_line(self, error: TargetError) -> None:
        """Count a line that is not a target; as `add_unreadable`."""
        self.add_unreadable(error, error.line or 0, error.text)

    def add_cut(self, text: str) -> None:
        """Count the last line, which has no end, so that the file may have been cut there."""
        self.add(_CUT, text)

    def see_share(self, lines: int) -> None:
        """Raise the first line's error if too many of `lines` with content cannot be read."""
        if self.unreadable * UNREADABLE_SHARE > lines:
            more = self.unreadable > 1
            self._refuse(f"{self.unreadable} of {lines} lines cannot be read" if more else "")

    def _refuse(self, how_many: str) -> NoReturn:
        first = self._first_error or ListError("it cannot be read")
        if not how_many:
            raise first
        sentence = within(lambda text: f"{text}; {how_many}", first.sentence)
        if not isinstance(first, TargetError):
            raise ListError(sentence)
        error = TargetError(sentence, text=first.text, field=first.field)
        error.line = first.line
        raise error

    def __len__(self) -> int:
        return sum(self._counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """How many entries of each kind were left out."""
        return dict(self._counts)

    @property
    def kinds(self) -> str:
        """What was left out, without examples from the file: `3 wildcards`."""
        return ", ".join(counted(number, kind) for kind, number in self._counts.items())

    def __str__(self) -> str:
        """Return what was left out in words: `3 wildcards ('*.a.example', …)`."""
        return ", ".join(
            f"{counted(number, kind)} ({', '.join(self._examples[kind])}"
            f"{', …' if number > EXAMPLES else ''})"
            for kind, number in self._counts.items()
        )
