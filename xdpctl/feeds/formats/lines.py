"""Lists with one entry a line: targets, addresses and prefixes, hosts files.

Owns what a line means in each format, and counts what was left out. A line that is not in the
format is an error with its number, so that a page of HTML or half a download is never used as a
list. Called by feeds/reader.py on a thread. Does no I/O. Does not own reading the file
(feeds/reader.py).
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

from xdpctl.abi import BY_REF, RuleAction
from xdpctl.errors import TargetError
from xdpctl.rules import book_of, target_of, target_text
from xdpctl.rules.keys import NAMED, Block, each_row, full_key, place_of
from xdpctl.rules.lines import LineReader, in_blocks
from xdpctl.rules.names import shown
from xdpctl.rules.targets import ALL_MARK, BELOW_MARK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from xdpctl.rules import AnyQtype
    from xdpctl.rules.keys import Options, Row, Rows

EXAMPLES = 3
"""How many examples of a kind are shown."""

IMPLIED = "implied: the list does not block this, though it blocks what is above"
"""The reason of a Pass rule that a list needs so that a zone of its own is not too wide. It is
to end the search within that list only."""

_UP_TO_COMMENT = re.compile(r'((?:"(?:[^"\\]|\\.)*"|[^"])*?)\s[;#]')
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_ACTION = re.compile(r"\saction=")

NOWHERE = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1"})  # noqa: S104 - not bound to
"""Addresses that a hosts file uses to block a name."""

LOCAL_NAMES = frozenset(
    {
        "0.0.0.0",  # noqa: S104 - a name here: some lists have a line with this address twice
        "broadcasthost",
        "ip6-allhosts",
        "ip6-allnodes",
        "ip6-allrouters",
        "ip6-localhost",
        "ip6-localnet",
        "ip6-loopback",
        "ip6-mcastprefix",
        "local",
        "localhost",
        "localhost.localdomain",
        "localhost4",
        "localhost4.localdomain4",
        "localhost6",
        "localhost6.localdomain6",
    }
)
"""Names at the beginning of every hosts file; none of them becomes a rule."""


class LeftOut:
    """What a reading left out because no rule can express it."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, kind: str, text: str) -> None:
        """Count one entry; `kind` is a plural, `text` is as in the file."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        examples = self._examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(shown(text))

    def __len__(self) -> int:
        return sum(self._counts.values())

    @property
    def kinds(self) -> str:
        """What was left out, without examples from the file: `3 wildcards`."""
        return ", ".join(f"{number} {kind}" for kind, number in self._counts.items())

    def __str__(self) -> str:
        """Return what was left out in words: `3 wildcards ('*.a.example', …)`."""
        return ", ".join(
            f"{number} {kind} ({', '.join(self._examples[kind])}"
            f"{', …' if number > EXAMPLES else ''})"
            for kind, number in self._counts.items()
        )


class LineFormat:
    """Turns the lines of one list into rows.

    Attributes:
        reads_twice: whether all lines go through `look` before the first goes through `rows`.
    """

    reads_twice = False

    def look(self, lines: Sequence[str], first: int) -> None:
        """Note what some lines mean for others; raises as `rows`."""

    def items(self, lines: Sequence[str], first: int) -> Iterator[Rows]:
        """Yield the rows of some lines, most of them in blocks; raises as `rows`."""
        return in_blocks(self.rows(lines, first))

    def rows(self, lines: Iterable[str], first: int) -> Iterator[Row]:
        """Yield the rows of some lines, one by one.

        Raises:
            TargetError: a line is not in the format; the error has its number, counted from
                `first`.
        """
        raise NotImplementedError

    def end(self) -> Iterator[Row]:
        """End the list, no line follows: return the rows that are left.

        Raises:
            ListError: the list is not complete.
        """
        return iter(())


class TargetLines(LineFormat):
    """One target a line, or the lines of `import`; `#` and `;` begin a comment.

    Args:
        origin: of every row, also if its line has another.
        action: of lines without an action.
        any_qtype: how a rule for a name with every type is stored.
        now: seconds of CLOCK_BOOTTIME from which `for=` counts.
        present: seconds of CLOCK_BOOTTIME; rules that ended before are skipped.
        left_out: gets the lines with dnsdist's origin, or with another action than `only`.
        only: the action in the settings, which no line can change; None if there is none.
    """

    def __init__(  # noqa: PLR0913 - the list's settings and three facts of this reading
        self,
        origin: str,
        action: RuleAction,
        any_qtype: AnyQtype,
        *,
        now: float,
        present: float,
        left_out: LeftOut,
        only: RuleAction | None = None,
    ) -> None:
        self._reader = LineReader(origin, any_qtype, now, fixed=True)
        self._present = present
        self._action = "" if action is RuleAction.DROP else f" action={action.name.lower()}"
        self._left_out = left_out
        self._only = only
        self._any_qtype = any_qtype

    def items(self, lines: Sequence[str], first: int) -> Iterator[Rows]:
        """See `LineFormat`."""
        found = self._reader.items(
            "".join(lines), first, options=self._action.strip(), line_of=self._line
        )
        for item in found:
            if isinstance(item, Block) and self._is_kept(item.options):
                yield item
            else:
                yield from self._kept(each_row((item,)))
        self._note_skipped()

    def rows(self, lines: Iterable[str], first: int) -> Iterator[Row]:
        """See `LineFormat`."""
        yield from self._kept(self._reader.rows(map(self._line, lines), first))
        self._note_skipped()

    def _is_kept(self, options: Options) -> bool:
        """Return whether rules with these options are in force."""
        action, _, expires, _ = options
        return self._only in {None, action} and (expires is None or expires > self._present)

    def _kept(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows that are in force; count those with another action."""
        only = self._only
        for row in rows:
            ref, key, action, _, expires, _ = row
            if only is not None and action != only:
                self._left_out.add(
                    "lines with another action than the list's",
                    target_text(target_of(BY_REF[ref].name, full_key(ref, key), self._any_qtype)),
                )
                continue
            if expires is None or expires > self._present:
                yield row

    def _note_skipped(self) -> None:
        for _ in range(self._reader.skipped):
            self._left_out.add("lines that claim to be dnsdist's", "origin=dnsdist")
        self._reader.skipped = 0

    def _line(self, line: str) -> str:
        """Return a line as `import` reads it, with the list's action if it has none."""
        text = line.strip()
        if not text or text[0] in "#;":
            return ""
        if (";" in text or "#" in text) and (found := _UP_TO_COMMENT.match(text)):
            text = found[1]
        if self._action and not _ACTION.search(_QUOTED.sub("", text)):
            target, blank, rest = text.partition(" ")
            text = f"{target}{self._action}{blank}{rest}"
        return text


class CidrLines(LineFormat):
    """An address or prefix a line; `#` and `;` begin a comment."""

    def __init__(self, origin: str, action: RuleAction, any_qtype: AnyQtype) -> None:
        self._origin = origin
        self._action = int(action)
        self._any_qtype = any_qtype
        self._book = book_of(origin)

    def rows(self, lines: Iterable[str], first: int) -> Iterator[Row]:
        """See `LineFormat`."""
        for number, line in enumerate(lines, first):
            text = line.partition("#")[0].partition(";")[0].strip()
            if not text:
                continue
            try:
                ref, key = place_of(text, None, self._any_qtype, self._book)
            except TargetError as error:
                raise error.at_line(number) from error
            if ref in NAMED:
                raise TargetError(
                    f"cannot use {shown(text)} as an address or prefix: write one a line and"
                    " nothing else",
                    text=text,
                ).at_line(number)
            yield ref, key, self._action, "", None, self._origin


class HostsLines(LineFormat):
    """The lines of a hosts file: a blocking address, then names; `#` begins a comment."""

    def __init__(
        self, origin: str, action: RuleAction, any_qtype: AnyQtype, left_out: LeftOut
    ) -> None:
        self._origin = origin
        self._action = int(action)
        self._any_qtype = any_qtype
        self._book = book_of(origin)
        self._left_out = left_out

    def rows(self, lines: Iterable[str], first: int) -> Iterator[Row]:
        """See `LineFormat`."""
        for number, line in enumerate(lines, first):
            words = line.partition("#")[0].split()
            if not words:
                continue
            address, *names = words
            if (address not in NOWHERE and not is_address(address)) or not names:
                raise TargetError(
                    f"cannot read {shown(line.strip())} as a line of a hosts file: write an"
                    " address followed by names",
                    text=line.strip(),
                ).at_line(number)
            for name in names:
                if name.lower().rstrip(".") in LOCAL_NAMES:
                    continue
                if name.startswith((ALL_MARK, BELOW_MARK)):
                    self._left_out.add("zones in the place of a name", name)
                    continue
                if address not in NOWHERE:
                    self._left_out.add("names with an address of their own", f"{address} {name}")
                    continue
                try:
                    ref, key = place_of(name, None, self._any_qtype, self._book)
                except TargetError as error:
                    raise error.at_line(number) from error
                if ref in NAMED:
                    yield ref, key, self._action, "", None, self._origin
                else:
                    self._left_out.add("addresses in the place of a name", name)


def is_address(text: str) -> bool:
    """Return whether this can be the address in a line of a hosts file."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
