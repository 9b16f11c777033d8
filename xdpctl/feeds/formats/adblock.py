"""Lists in AdBlock syntax, as far as it is about names.

`||evil.example^` blocks the name and everything below it, `||*.evil.example^` what is below,
`|evil.example^` and a bare domain that name only; `@@` in front lets it pass. A line as in a hosts
file blocks its names. As there, an exception wins over every block at or below it, `$important`
over exceptions without it, and `$badfilter` takes a line of the list away. Patterns, other
modifiers, regular expressions and cosmetic rules depend on more than the name: they are left out
and counted.
`!`, `#` and `;` begin a comment; behind a blank, it is the rule's reason. Called by feeds/reader.py
on a thread. Does no I/O.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from xdpctl.abi import RuleAction
from xdpctl.errors import TargetError
from xdpctl.feeds.formats.addresses import leads_nowhere
from xdpctl.feeds.formats.exceptions import Exceptions
from xdpctl.feeds.formats.lines import ActionlessFormat
from xdpctl.rules.comments import reason_of, split_behind_blank
from xdpctl.rules.keys import NAMED, name_in, place_if_read, plain_place
from xdpctl.rules.names import shown
from xdpctl.rules.targets import ALL_MARK, BELOW_MARK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from xdpctl.feeds.formats.account import LeftOut
    from xdpctl.rules import AnyQtype
    from xdpctl.rules.keys import Row

_COMMENT = re.compile(r"!.*|#+(?:\s.*)?|#[^#@$?%].*|\[.*\]|;.*|//\s.*")
_COSMETIC = re.compile(r"#[@$?%]*#")
_REGEX = re.compile(r"/.*/(?:\$[^/]*)?")
_NAME = r"""(?:\*\.)?[^\s/|^*:?=&%~,;()!@"'\\]+"""
_HOST = re.compile(rf"\|\|({_NAME})\^")
_EXACT = re.compile(rf"\|({_NAME})[\^|]")
_DOMAIN = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.[A-Za-z][A-Za-z0-9-]+\.?")
_WIDE = re.compile(rf"(?:\|\|({_NAME})|({_DOMAIN.pattern}))[\^|]*")
"""An exception that is also about names which only begin or end alike."""

_OF_SOME = {"client", "ctag", "dnstype"}
"""Modifiers of an exception for some clients or types only: no rule can express it, and the name is
not blocked."""


_OF_DNS = _OF_SOME | {"denyallow", "dnsrewrite"}
"""Modifiers of filters for names: counted one by one, as an operator may expect a rule."""


class _Line(NamedTuple):
    """What a line is.

    Attributes:
        kind: under which it is counted if it is left out, whatever else the list says; or empty.
        places: (map number, stored key) of the names that it is about.
        passes: it is an exception.
        important: it has this modifier.
    """

    kind: str
    places: Sequence[tuple[int, bytes]] = ()
    passes: bool = False
    important: bool = False


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
        self._seen: list[tuple[str, _Line]] = []
        self._disabled: set[str] = set()
        self._excepted = Exceptions()
        self._always_excepted = Exceptions()
        self._important = Exceptions()
        """The zones that a line with this modifier blocks."""

    def look(self, lines: Sequence[str], first: int) -> None:
        """Find what decides about other lines."""
        del first
        for line in lines:
            if not ("@@" in line or "$" in line):
                continue
            text = _split(line.strip())[0]
            if _is_disabling(text):
                self._disabled.add(_without_badfilter(text))
            elif text.startswith("@@") or "important" in text:
                self._seen.append((text.lower(), self._read(text)))

    def rows(self, lines: Iterable[str], first: int) -> Iterator[Row]:
        """See `LineFormat`."""
        self._decide()
        any_qtype, book, excepted = self._any_qtype, self._book, self._excepted
        always, disabled = self._always_excepted, self._disabled
        for number, line in enumerate(lines, first):
            if line[:2] == "||" and line[-2:] == "^\n" and not disabled and not always:
                place = plain_place(f".{line[2:-2]}", any_qtype, book)
                if (
                    place is not None
                    and place[0] in NAMED
                    and not (excepted and excepted.cover(*name_in(*place)))
                ):
                    yield *place, self._action, "", None, self._origin
                    continue
            text = line.strip()
            if text and not _COMMENT.fullmatch(text):
                yield from self._rows(number, text)

    def _decide(self) -> None:
        """Take over the exceptions and important blocks that no line takes away."""
        seen, self._seen = self._seen, []
        for text, line in seen:
            if text in self._disabled:
                continue
            into = self._always_excepted if line.important else self._excepted
            for place in line.places:
                (into if line.passes else self._important).add(*name_in(*place))

    def _rows(self, number: int, text: str) -> Iterator[Row]:
        """Yield the rows of a line that is not a comment."""
        if text[0] == "<":
            error = TargetError(
                f"cannot read {shown(text)} as a line in AdBlock syntax: it looks like HTML",
                text=text,
            )
            self._left_out.add_line(error.at_line(number))
            return
        text, comment = _split(text)
        if _is_disabling(text):
            return
        line = self._read(text)
        kind = line.kind
        if text.lower() in self._disabled:
            kind = "lines that $badfilter takes away"
        if not kind and line.passes and not self._may_pass:
            kind = "lines with another action than the list's"
        places = (
            [] if kind else [place for place in line.places if not self._is_beaten(line, place)]
        )
        action = int(RuleAction.PASS) if line.passes else self._action
        for place in places:
            yield *place, action, reason_of(comment), None, self._origin
        if not places:
            beaten = "$important overrides" if line.passes else "an exception of the list overrides"
            self._left_out.add(kind or f"lines that {beaten}", text)

    def _is_beaten(self, line: _Line, place: tuple[int, bytes]) -> bool:
        """Return whether another line decides about all that this one is about."""
        name = name_in(*place)
        if line.passes:
            return not line.important and self._important.cover(*name)
        if self._always_excepted.cover(*name):
            return True
        return not line.important and self._excepted.cover(*name)

    def _read(self, text: str) -> _Line:
        """Return what a line is, without regard to the others."""
        if _COSMETIC.search(text):
            return _Line("cosmetic rules")
        passes = text.startswith("@@")
        if passes:
            text = text[2:]
        if _REGEX.fullmatch(text):
            return _Line("regular expressions")
        pattern, has_modifiers, words = text.partition("$")
        modifiers = set(words.lower().split(",")) if has_modifiers else set()
        important = "important" in modifiers
        modifiers.discard("important")
        names = {modifier.partition("=")[0] for modifier in modifiers}
        if modifiers and not (passes and names <= _OF_SOME):
            return _Line(_with_modifiers(names))
        places = self._places(pattern, passes=passes)
        kind = "" if places else "patterns"
        if modifiers:
            kind = _with_modifiers(names)
        elif not places and (host := _HOST.fullmatch(pattern)):
            kind = self.kind_of_zone(_zone(host[1]), kind)
        return _Line(kind, places, passes, important)

    def _places(self, pattern: str, *, passes: bool) -> Sequence[tuple[int, bytes]]:
        """Return the places of a pattern without modifiers; none if it is not about names."""
        first, *names = pattern.split() or [""]
        if names:
            if passes or not leads_nowhere(first) or not all(map(_DOMAIN.fullmatch, names)):
                return ()
            found = [place_if_read(name, self._any_qtype, self._book) for name in names]
            return [place for place in found if place is not None and place[0] in NAMED]
        if host := _HOST.fullmatch(pattern) or (_WIDE.fullmatch(pattern) if passes else None):
            name = next(filter(None, host.groups()))
            name = _zone(name)
        elif exact := _EXACT.fullmatch(pattern):
            name = exact[1]
        elif _DOMAIN.fullmatch(pattern):
            name = pattern
        else:
            return ()
        place = place_if_read(name, self._any_qtype, self._book)
        return (place,) if place is not None and place[0] in NAMED else ()


def _zone(name: str) -> str:
    """Return the text of the zone that `||` in front of a name means."""
    return name if name.startswith(BELOW_MARK) else f"{ALL_MARK}{name}"


def _with_modifiers(names: set[str]) -> str:
    """Return the kind under which a line with these modifiers is left out."""
    known = sorted(names & _OF_DNS)
    return f"rules with ${known[0]}" if known else "rules with modifiers"


def _split(text: str) -> tuple[str, str]:
    """Return a line's content and its comment, which begins behind a blank."""
    text, comment = split_behind_blank(text)
    if comment:
        return text, comment
    content, mark, comment = text.partition(" !")
    return (content.rstrip(), f"!{comment}") if mark else (text, "")


def _is_disabling(text: str) -> bool:
    return "badfilter" in text and "badfilter" in text.rpartition("$")[2].split(",")


def _without_badfilter(text: str) -> str:
    """Return the text of the line that a line with `$badfilter` takes away."""
    pattern, _, words = text.lower().rpartition("$")
    rest = [word for word in words.split(",") if word != "badfilter"]
    return f"{pattern}${','.join(rest)}" if rest else pattern
