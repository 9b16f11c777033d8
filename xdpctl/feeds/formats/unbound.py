"""Lists in the syntax of Unbound's configuration.

`local-zone: "evil.example" always_nxdomain`, and the other types that do not let a query through
to a resolver or to data, block the name and everything below it. `local-data:` with an address
that leads nowhere blocks its name. Zones of other types let the server answer, as does
`local-data:` with another answer; they, all other settings, and what is for the clients of a
`view:` only, are left out and counted. Called by feeds/reader.py on a thread. Does no I/O.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xdpctl.abi import ZoneScope
from xdpctl.errors import TargetError
from xdpctl.feeds.formats.addresses import leads_nowhere
from xdpctl.feeds.formats.answers import INCLUDED, AnswerLines, Data, Setting
from xdpctl.rules.names import shown
from xdpctl.rules.targets import ALL_MARK, BELOW_MARK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xdpctl.abi import RuleAction
    from xdpctl.feeds.formats.account import LeftOut
    from xdpctl.rules import AnyQtype
    from xdpctl.rules.keys import Row

_LINE = re.compile(r"""([a-z][a-z0-9-]*):(?:(?:\s+|(?=["']))(.*))?""")
_ZONE = re.compile(r"""["']?([^"'\s]+)["']?\s+["']?([a-z_]+)["']?""")
_DATA = re.compile(r"""(?:"([^"]*)"|'([^']*)'|([^"'#]*))""")

_BLOCKS = {
    "always_nxdomain": Data.IGNORED,
    "always_nodata": Data.IGNORED,
    "always_refuse": Data.IGNORED,
    "always_deny": Data.IGNORED,
    "always_null": Data.IGNORED,
    "static": Data.ANSWERED,
    "refuse": Data.ANSWERED,
    "deny": Data.ANSWERED,
    "inform_deny": Data.ANSWERED,
    "redirect": Data.ANSWER,
    "inform_redirect": Data.ANSWER,
}
"""The types of a zone that block, and what data means in such a zone."""

_ANSWERS = {
    *("transparent", "typetransparent", "always_transparent", "inform", "nodefault", "noview"),
    *("block_a", "ipset"),
}
"""The types of a zone that is answered, in whole or in part."""

_ANSWERS_BESIDE_DATA = {"typetransparent", "always_transparent"}
"""Those of which data that leads nowhere does not stop the other types."""

_CLAUSES = {
    *("server", "view", "forward-zone", "stub-zone", "auth-zone", "rpz", "remote-control"),
    *("python", "dynlib", "dnscrypt", "cachedb", "redis", "ipset", "dnstap"),
}
_INCLUDES = {"include", "include-toplevel"}
_OTHER = Setting(kind="other settings")
_OF_VIEWS = Setting(kind="settings of views, which are for some clients only")
_ROOT = "."


class UnboundLines(AnswerLines):
    """The lines of one configuration file of Unbound."""

    blocking_ends = tuple(f"{kind}\n" for kind in _BLOCKS)

    plain = re.compile(
        r'local-zone: "([^"]+)"'
        r" (?:always_(?:nxdomain|nodata|refuse|deny|null)|static|refuse|deny)\n"
    )

    def __init__(
        self, origin: str, action: RuleAction, any_qtype: AnyQtype, left_out: LeftOut
    ) -> None:
        super().__init__(origin, action, any_qtype, left_out)
        self._in_view = self._has_views = False

    @property
    def has_sections(self) -> bool:
        """See `AnswerLines`."""
        return self._has_views

    def rows(self, lines: Iterable[str], first: int) -> Iterator[Row]:
        """See `LineFormat`."""
        if first == 1:
            self._in_view = False
        return super().rows(lines, first)

    def read(self, text: str) -> Setting:
        """See `AnswerLines`."""
        found = _LINE.fullmatch(text)
        if found is None:
            raise TargetError(
                f"cannot read {shown(text)} as a line of an Unbound configuration: write"
                ' local-zone: "NAME" TYPE',
                text=text,
            )
        option, value = found.groups(default="")
        if option in _CLAUSES and (not value or value[0] == "#" or _LINE.fullmatch(value)):
            self._in_view = option == "view"
            self._has_views = self._has_views or self._in_view
            if value and value[0] != "#":
                return self.read(value)
            return Setting() if option == "server" else _OF_VIEWS if self._in_view else _OTHER
        if self._in_view:
            return _OF_VIEWS
        if option == "local-zone":
            return _zone(text, value)
        if option == "local-data":
            return _data(text, value)
        return INCLUDED if option in _INCLUDES else _OTHER


def _zone(text: str, value: str) -> Setting:
    found = _ZONE.fullmatch(value)
    if found is None:
        raise TargetError(f'cannot read {shown(text)}: write local-zone: "NAME" TYPE', text=text)
    name, kind = found.groups()
    target = BELOW_MARK if name == _ROOT else f"{ALL_MARK}{name}"
    if kind in _BLOCKS:
        return Setting((target,), blocks=True, data=_BLOCKS[kind])
    if kind not in _ANSWERS:
        raise TargetError(
            f"cannot read {shown(text)}: {shown(kind)} is not a type of Unbound's local zones",
            text=text,
        )
    return Setting(
        (target,),
        excepts=ZoneScope.ALL,
        kind="zones that are answered",
        answers=kind in _ANSWERS_BESIDE_DATA,
    )


def _data(text: str, value: str) -> Setting:
    found = _DATA.fullmatch(value)
    words = next(filter(None, found.groups()), "").split() if found else []
    if len(words) < 3:  # noqa: PLR2004 - name, type, data
        raise TargetError(
            f'cannot read {shown(text)}: write local-data: "NAME TYPE DATA"', text=text
        )
    if leads_nowhere(words[-1]) and words[-2].upper() in {"A", "AAAA"}:
        return Setting((words[0],), blocks=True)
    return Setting((words[0],), excepts=ZoneScope.SELF, kind="names with an answer of their own")
