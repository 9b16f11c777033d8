"""Settings of DNS servers that block names: what dnsmasq.py and unbound.py have in common.

A setting stands for a name and everything below it, and of several the longest decides. So a
setting below a blocked one that lets the server answer is an exception: no rule of ours, but a
name that the rule above it must not stop. Owns this relation, and the rows; the formats read
the lines. Does no I/O.
"""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from xdpctl.abi import RuleAction, ZoneScope
from xdpctl.errors import TargetError
from xdpctl.feeds.formats.exceptions import Exceptions
from xdpctl.feeds.formats.lines import ActionlessFormat
from xdpctl.rules.comments import content_of, reason_of, split_behind_blank
from xdpctl.rules.keys import NAMED, name_in, name_place, place_if_read, plain_place
from xdpctl.rules.rules import IMPLIED
from xdpctl.rules.targets import ALL_MARK

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Iterator, Sequence

    from xdpctl.feeds.formats.account import LeftOut
    from xdpctl.rules import AnyQtype
    from xdpctl.rules.keys import Row


class Data(Enum):
    """What the server's own data for a name means for a blocked zone."""

    IGNORED = "it is not answered"
    ANSWERED = "it is answered, at and below the zone's name"
    ANSWER = "for the zone's own name, it is the answer for the whole zone"


class Setting(NamedTuple):
    """What one line says.

    Attributes:
        targets: texts of the zones, or of the name, that it is about.
        blocks: whether it blocks them.
        excepts: what it excepts from a blocked zone above, or None.
        kind: under which it is counted where it does not block; empty: not at all.
        data: what data means for the zones that it blocks.
        answers: it answers some types of the targets' own names, so that nothing blocks these.
    """

    targets: Sequence[str] = ()
    blocks: bool = False
    excepts: ZoneScope | None = None
    kind: str = ""
    data: Data = Data.ANSWERED
    answers: bool = False


INCLUDED = Setting(kind="includes of other files, which are not read")


class AnswerLines(ActionlessFormat):
    """The lines of one list. What a line says is a format's, which has `read`.

    Args:
        origin: of every row.
        action: of what is blocked.
        any_qtype: how a rule for a name with every type is stored.
        left_out: gets the lines that block nothing.
    """

    reads_twice = True

    blocking_ends: tuple[str, ...]
    """Ends of lines that except nothing: `look` need not read them."""

    plain: re.Pattern[str]
    """A whole line that blocks one zone, as nearly all lines do; its last group is the name."""

    def __init__(
        self, origin: str, action: RuleAction, any_qtype: AnyQtype, left_out: LeftOut
    ) -> None:
        super().__init__(origin, action, any_qtype, left_out)
        self._excepted = Exceptions()
        self._answered: set[bytes] = set()
        self._last = b""
        """The name of the zone that was blocked last."""

    @property
    def has_sections(self) -> bool:
        """Whether a line may mean nothing because of the section that it is in."""
        return False

    def read(self, text: str) -> Setting:
        """Return what a line says, which is neither blank nor a comment.

        Raises:
            TargetError: it is not a line of the format.
        """
        raise NotImplementedError

    def look(self, lines: Sequence[str], first: int) -> None:
        """Find the exceptions."""
        del first
        for line in lines:
            if line.endswith(self.blocking_ends) or (setting := self._excepts(line)) is None:
                continue
            for target in setting.targets:
                if setting.excepts is not None and (place := self._place(target)) is not None:
                    octets, _ = name_in(*place)
                    self._excepted.add(octets, setting.excepts)
                    if setting.answers:
                        self._answered.add(octets)

    def rows(self, lines: Iterable[str], first: int) -> Iterator[Row]:
        """See `LineFormat`."""
        plain = None if self._excepted or self.has_sections else self.plain.fullmatch
        for number, line in enumerate(lines, first):
            if plain is not None and (found := plain(line)) is not None:
                name = found.group(found.lastindex or 0)
                place = plain_place(f"{ALL_MARK}{name}", self._any_qtype, self._book)
                if place is not None and place[0] in NAMED:
                    self._last = name_in(*place)[0]
                    yield *place, self._action, "", None, self._origin
                    continue
            text, comment = split_behind_blank(content_of(line))
            try:
                setting = self.read(text) if text else Setting()
            except TargetError as error:
                self._left_out.add_line(error.at_line(number))
                continue
            if setting.kind:
                self._left_out.add(setting.kind, text)
            elif setting.blocks:
                for target in setting.targets:
                    yield from self._blocked(target, setting.data, reason_of(comment))

    def _excepts(self, line: str) -> Setting | None:
        """Return what a line says if it excepts something; it is read again by `rows`."""
        text, _ = split_behind_blank(content_of(line))
        if not text:
            return None
        with suppress(TargetError):
            setting = self.read(text)
            return None if setting.excepts is None else setting
        return None

    def _blocked(self, target: str, data: Data, reason: str) -> Iterator[Row]:
        place = self._place(target)
        if place is None:
            self._left_out.add(self.kind_of_zone(target, "names that cannot be read"), target)
            return
        octets, scope = name_in(*place)
        if scope is ZoneScope.SELF:
            if self._excepted.has(octets, scope) or octets in self._answered:
                self._left_out.add("names with an answer of their own, too", target)
            elif not _is_within(octets, self._last):
                yield *place, self._action, reason, None, self._origin
            return
        answered = octets in self._answered
        if answered or (data is Data.ANSWER and self._excepted.has(octets, ZoneScope.SELF)):
            self._left_out.add("zones with an answer of their own", target)
            return
        self._last = octets
        yield *place, self._action, reason, None, self._origin
        if not self._excepted:
            return
        for below, excepted in self._excepted.below(octets):
            exact = excepted is ZoneScope.SELF
            if exact and (data is Data.IGNORED or (below == octets and scope is ZoneScope.BELOW)):
                continue
            spared = name_place(below, excepted, self._any_qtype, self._book)
            self._left_out.implied += 1
            yield *spared, int(RuleAction.PASS), IMPLIED, None, self._origin

    def _place(self, text: str) -> tuple[int, bytes] | None:
        """Return (map number, stored key) of a name or zone; None if it cannot be read."""
        place = place_if_read(text, self._any_qtype, self._book)
        return place if place is not None and place[0] in NAMED else None


def _is_within(octets: bytes, zone: bytes) -> bool:
    while zone and len(octets) >= len(zone):
        if octets == zone:
            return True
        octets = octets[octets[0] + 1 :]
    return False
