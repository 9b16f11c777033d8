"""Lists with one entry a line: targets, addresses and prefixes, hosts files.

Owns what a line means in each format. A line that is not in the format is counted with its number
(account.py), so that a page of HTML or half a download is never used as a list. Called by
feeds/reader.py on a thread. Does no I/O. Does not own reading the file (feeds/reader.py).
"""

from __future__ import annotations

import io
from ipaddress import ip_network
from typing import TYPE_CHECKING

from xdpctl.abi import BY_REF, TABLE_LEVELS
from xdpctl.errors import TargetError
from xdpctl.feeds.formats.addresses import is_address, leads_nowhere
from xdpctl.rules import book_of, target_of, target_text
from xdpctl.rules.comments import reason_of, split_anywhere
from xdpctl.rules.keys import NAMED, Block, full_key, place_if_read, place_of
from xdpctl.rules.lines import LineReader, in_blocks
from xdpctl.rules.meant import prefix_length, prefixes_of, shortest
from xdpctl.rules.names import shown
from xdpctl.rules.targets import ALL_MARK, BELOW_MARK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from xdpctl.abi import RuleAction
    from xdpctl.feeds.formats.account import LeftOut
    from xdpctl.rules import AnyQtype
    from xdpctl.rules.keys import Options, Row, Rows

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


_MARKS = {ALL_MARK[0], BELOW_MARK[0]}

TOO_DEEP = f"zones of more than {TABLE_LEVELS} labels"
"""The kind under which zones are left out that no rule can express."""


def lines_of(text: str) -> list[str]:
    """Return the lines of a text, each with its LF."""
    return io.StringIO(text).readlines()


def _with_reason(line: str) -> tuple[str, str]:
    """Return a line without its comment, and the reason that this is; most lines have none."""
    if "#" in line or ";" in line or "//" in line or "\ufeff" in line:
        text, comment = split_anywhere(line)
        return text, reason_of(comment)
    return line, ""


class LineFormat:
    """Turns the lines of one list into rows.

    Attributes:
        reads_twice: whether all lines go through `look` before the first goes through `rows`.
    """

    reads_twice = False

    def look(self, lines: Sequence[str], first: int) -> None:
        """Note what some lines mean for others; raises as `rows`."""

    def rows(self, lines: Iterable[str], first: int) -> Iterator[Row]:
        """Yield the rows of some lines; `first` is the number of the first.

        Lines that are not in the format, or that no rule can express, go to the account.

        Raises:
            TargetError, ListError: there are too many of those, or the list is broken.
        """
        raise NotImplementedError

    def items(self, text: str, first: int) -> Iterator[Rows]:
        """Yield the rows of a text of whole lines, most of them in blocks; raises as `rows`."""
        return in_blocks(self.rows(lines_of(text), first))

    def end(self) -> Iterator[Row]:
        """End the list, no line follows: return the rows that are left.

        Raises:
            ListError: the list is not complete.
        """
        return iter(())


class ActionlessFormat(LineFormat):
    """A format whose lines name no action: what they block has the list's.

    Args:
        origin: of every row.
        action: of what is blocked.
        any_qtype: how a rule for a name with every type is stored.
        left_out: gets what no rule can express, and the lines that cannot be read.
    """

    def __init__(
        self, origin: str, action: RuleAction, any_qtype: AnyQtype, left_out: LeftOut
    ) -> None:
        self._origin = origin
        self._action = int(action)
        self._any_qtype = any_qtype
        self._book = book_of(origin)
        self._left_out = left_out

    def kind_of_zone(self, text: str, otherwise: str) -> str:
        """Return the kind under which the text of a zone is left out, which is not a target.

        Where only its labels are too many, its own name is one.
        """
        mark = BELOW_MARK if text.startswith(BELOW_MARK) else ALL_MARK
        name = text.removeprefix(mark)
        place = None if name[:1] in _MARKS else place_if_read(name, self._any_qtype, self._book)
        return otherwise if place is None or place[0] not in NAMED else TOO_DEEP


class TargetLines(LineFormat):
    """One target a line, or the lines of `import`.

    Args:
        origin: of every row, also if its line has another.
        action: of lines without an action.
        any_qtype: how a rule for a name with every type is stored.
        now: seconds of CLOCK_BOOTTIME from which `for=` counts.
        present: seconds of CLOCK_BOOTTIME; rules that ended before are skipped.
        left_out: gets the lines with dnsdist's origin, or with another action than `only`, and
            those that cannot be read.
        only: the action in the settings, which no line can change; None if there is none.
        fixed: whether a line's own origin means nothing.
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
        fixed: bool = True,
    ) -> None:
        self._reader = LineReader(
            origin,
            any_qtype,
            now,
            fixed=fixed,
            action=action,
            unreadable=left_out.add_line,
        )
        self._present = present
        self._left_out = left_out
        self._only = only
        self._any_qtype = any_qtype
        self._fixed = fixed

    def rows(self, lines: Iterable[str], first: int) -> Iterator[Row]:
        """See `LineFormat`."""
        for row in self._reader.rows(lines, first):
            if self._is_wanted(row):
                yield row
        self._count_skipped()

    def items(self, text: str, first: int) -> Iterator[Rows]:
        """See `LineFormat`; most lines of a list become blocks."""
        for item in self._reader.items(text, first):
            if not isinstance(item, Block):
                if self._is_wanted(item):
                    yield item
            elif self._is_kept(item.options):
                yield item
            else:
                yield from filter(self._is_wanted, item.rows())
        self._count_skipped()

    def _is_kept(self, options: Options) -> bool:
        """Return whether rules with these options are in force."""
        action, _, expires, _ = options
        return self._only in {None, action} and (expires is None or expires > self._present)

    def _is_wanted(self, row: Row) -> bool:
        ref, key, action, _, expires, _ = row
        if self._only is not None and action != self._only:
            self._left_out.add(
                "lines with another action than the list's",
                target_text(target_of(BY_REF[ref].name, full_key(ref, key), self._any_qtype)),
            )
            return False
        return expires is None or expires > self._present

    def _count_skipped(self) -> None:
        skipped, self._reader.skipped = self._reader.skipped, 0
        self._left_out.skipped += skipped
        if self._fixed:
            for _ in range(skipped):
                self._left_out.add("lines that claim to be dnsdist's", "origin=dnsdist")


class SourceLines(ActionlessFormat):
    """An address or prefix a line. With `columns`, other columns may follow it.

    Args:
        origin, action, any_qtype, left_out: as of `ActionlessFormat`.
        columns: whether only the beginning of a line counts.
        guessed: nobody named the format, so that two addresses in a line are not understood.
    """

    def __init__(  # noqa: PLR0913 - two facts more than the others
        self,
        origin: str,
        action: RuleAction,
        any_qtype: AnyQtype,
        left_out: LeftOut,
        *,
        columns: bool = False,
        guessed: bool = False,
    ) -> None:
        super().__init__(origin, action, any_qtype, left_out)
        self._columns = columns
        self._guessed = guessed

    def rows(self, lines: Iterable[str], first: int) -> Iterator[Row]:
        """See `LineFormat`."""
        any_qtype, book, columns = self._any_qtype, self._book, self._columns
        for number, line in enumerate(lines, first):
            text, reason = _with_reason(line)
            if not (text := text.strip()):
                continue
            rest: Sequence[str] = ()
            try:
                if columns:
                    whole, words = text, text.split(None, 2)
                    text = words[0]
                    if len(words) > 1 and ("." in words[1] or ":" in words[1] or words[1] == "-"):
                        text, *rest = self._sources(whole)
                ref, key = place_of(text, None, any_qtype, book)
                if ref in NAMED:
                    raise self._no_source(text)
            except TargetError as error:
                self._left_out.add_line(error.at_line(number))
                continue
            yield ref, key, self._action, reason, None, self._origin
            for each in rest:
                yield (
                    *place_of(each, None, any_qtype, book),
                    self._action,
                    reason,
                    None,
                    self._origin,
                )

    def _no_source(self, text: str) -> TargetError:
        what = (
            "the first column of each line must be one"
            if self._columns
            else "write one a line and nothing else"
        )
        return TargetError(
            f"cannot use {shown(text)} as an address or prefix: {what}",
            text=text,
        )

    def _sources(self, text: str) -> Sequence[str]:
        """Return the addresses and prefixes that a line with several columns begins with.

        That is its first word, unless an end or a mask follows: START - END, START END LENGTH
        (DShield), ADDRESS MASK.

        Raises:
            TargetError: it has two addresses whose relation is not known.
        """
        words = text.split(None, 3)
        if words[1] == "-" and len(words) > 2:  # noqa: PLR2004 - an end
            prefixes = prefixes_of(words[0], words[2])
            return [shortest(each) for each in prefixes] if prefixes else words[:1]
        if words[1].isdigit() or not is_address(words[1]) or not is_address(words[0]):
            return words[:1]
        length = prefix_length(words[1])
        if length and _is_prefix(f"{words[0]}/{length}"):
            return [f"{words[0]}/{length}"]
        prefixes = prefixes_of(words[0], words[1])
        lengths = [str(each.prefixlen) for each in prefixes or ()]
        if lengths and lengths == words[2:3]:
            return [f"{words[0]}/{words[2]}"]
        if not self._guessed:
            return words[:1]
        raise TargetError(
            f"cannot read {shown(text)}: it begins with two addresses; write a range as START - END"
            " or as a prefix, or name the format first-column to use the first address only",
            text=text,
        )


def _is_prefix(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


class HostsLines(ActionlessFormat):
    """The lines of a hosts file: a blocking address, then names."""

    def rows(self, lines: Iterable[str], first: int) -> Iterator[Row]:
        """See `LineFormat`."""
        for number, line in enumerate(lines, first):
            text, reason = _with_reason(line)
            words = text.split()
            if not words:
                continue
            address, *names = words
            if not is_address(address) or not names:
                self._refuse(number, line.strip())
                continue
            nowhere = leads_nowhere(address)
            for name in names:
                if name.lower().rstrip(".") in LOCAL_NAMES:
                    continue
                if name[0] in _MARKS:
                    self._left_out.add("zones in the place of a name", name)
                elif not nowhere:
                    self._left_out.add("names with an address of their own", f"{address} {name}")
                else:
                    try:
                        ref, key = place_of(name, None, self._any_qtype, self._book)
                    except TargetError as error:
                        self._left_out.add_line(error.at_line(number))
                        continue
                    if ref in NAMED:
                        yield ref, key, self._action, reason, None, self._origin
                    else:
                        self._left_out.add("addresses in the place of a name", name)

    def _refuse(self, number: int, text: str) -> None:
        error = TargetError(
            f"cannot read {shown(text)} as a line of a hosts file: write an address followed by"
            " names",
            text=text,
        )
        self._left_out.add_line(error.at_line(number))
