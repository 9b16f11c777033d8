"""Lists in AdBlock syntax, as far as it is about names.

`||evil.example^` blocks the name and everything below it, `||*.evil.example^` what is below,
`@@` in front of either lets it pass, a bare domain is that name only. As there, an exception
wins over every block at or below it. Patterns, modifiers, regular expressions and cosmetic rules
depend on web content: they are left out and counted. `!`, `#` and `;` begin a comment; behind a
blank, `#` and `;` do, and the comment is the rule's reason. Called by feeds/reader.py on a thread.
Does no I/O.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xdpctl.abi import RuleAction
from xdpctl.errors import TargetError
from xdpctl.feeds.formats.exceptions import Exceptions
from xdpctl.feeds.formats.lines import ActionlessFormat
from xdpctl.rules.comments import reason_of, split_behind_blank
from xdpctl.rules.keys import NAMED, name_in, place_of, plain_place
from xdpctl.rules.names import shown
from xdpctl.rules.targets import ALL_MARK, BELOW_MARK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from xdpctl.feeds.formats.account import LeftOut
    from xdpctl.rules import AnyQtype
    from xdpctl.rules.keys import Row

_COMMENT = re.compile(r"!.*|#+(?:\s.*)?|#[^#@$?%].*|\[.*\]|;.*|//\s.*")
_COSMETIC = re.compile(r"#[@$?%]*#")
_HOST = re.compile(r"""\|\|((?:\*\.)?[^\s/|^*:?=&%~,;()!@"'\\]+)\^""")
_DOMAIN = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.[A-Za-z][A-Za-z0-9-]+")


class AdblockLines(ActionlessFormat):
    """The lines of one list.

    Args:
        origin: of every row.
        action: of what is blocked.
        any_qtype: how a rule for a name with every type is stored.
        left_out: gets the lines that are not about a name and everything below it.
        only: the action in the settings, which no line can change; None if there is none.
    """

    reads_twice = True

    def __init__(
        self,
        origin: str,
        action: RuleAction,
        any_qtype: AnyQtype,
        left_out: LeftOut,
        *,
        only: RuleAction | None = None,
    ) -> None:
        super().__init__(origin, action, any_qtype, left_out)
        self._may_pass = only in {None, RuleAction.PASS}
        self._excepted = Exceptions()

    def look(self, lines: Sequence[str], first: int) -> None:
        """Find the exceptions."""
        del first
        for line in lines:
            if "@@" in line and (text := line.strip()).startswith("@@"):
                place = self._read(split_behind_blank(text)[0][2:])
                if not isinstance(place, str):
                    self._excepted.add(*name_in(*place))

    def rows(self, lines: Iterable[str], first: int) -> Iterator[Row]:
        """See `LineFormat`."""
        any_qtype, book, excepted = self._any_qtype, self._book, self._excepted
        for number, line in enumerate(lines, first):
            if line[:2] == "||" and line[-2:] == "^\n":
                place = plain_place(f".{line[2:-2]}", any_qtype, book)
                if (
                    place is not None
                    and place[0] in NAMED
                    and not (excepted and excepted.cover(*name_in(*place)))
                ):
                    yield *place, self._action, "", None, self._origin
                    continue
            text = line.strip()
            if text and not _COMMENT.fullmatch(text) and (row := self._row(number, text)):
                yield row

    def _row(self, number: int, text: str) -> Row | None:
        """Return the row of a line that is not a comment; None if it is left out."""
        if text[0] == "<":
            error = TargetError(
                f"cannot read {shown(text)} as a line in AdBlock syntax: it looks like HTML",
                text=text,
            )
            self._left_out.add_line(error.at_line(number))
            return None
        text, comment = split_behind_blank(text)
        passes = text.startswith("@@")
        place = self._read(text[2:]) if passes else self._read(text, bare=True)
        if isinstance(place, str):
            kind = place
        elif passes and not self._may_pass:
            kind = "lines with another action than the list's"
        elif not passes and self._excepted.cover(*name_in(*place)):
            kind = "lines that an exception of the list overrides"
        else:
            action = int(RuleAction.PASS) if passes else self._action
            return *place, action, reason_of(comment), None, self._origin
        self._left_out.add(kind, text)
        return None

    def _read(self, text: str, *, bare: bool = False) -> tuple[int, bytes] | str:
        """Return (map number, stored key) of a pattern, or the kind of what is left out.

        Args:
            text: the pattern, without `@@`.
            bare: whether a domain alone is a name.
        """
        if _COSMETIC.search(text):
            return "cosmetic rules"
        if "$" in text:
            return "rules with modifiers"
        if found := _HOST.fullmatch(text):
            name = found[1]
            return self._place(name if name.startswith(BELOW_MARK) else f"{ALL_MARK}{name}")
        if text.startswith("/") and text.endswith("/"):
            return "regular expressions"
        if bare and _DOMAIN.fullmatch(text):
            return self._place(text)
        return "patterns"

    def _place(self, text: str) -> tuple[int, bytes] | str:
        try:
            place = place_of(text, None, self._any_qtype, self._book)
        except TargetError:
            return "patterns"
        return place if place[0] in NAMED else "patterns"
