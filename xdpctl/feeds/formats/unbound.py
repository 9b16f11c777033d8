"""Lists in the syntax of Unbound's configuration.

`local-zone: "evil.example" always_nxdomain`, and the other types that do not let a query through
to a resolver or to data, block the name and everything below it. Zones of other types let the
server answer, as does `local-data:` with an address that leads somewhere; they and all other
settings are left out and counted. Called by feeds/reader.py on a thread. Does no I/O.
"""

from __future__ import annotations

import re

from xdpctl.abi import ZoneScope
from xdpctl.errors import TargetError
from xdpctl.feeds.formats.addresses import leads_nowhere
from xdpctl.feeds.formats.answers import AnswerLines, Data, Setting
from xdpctl.rules.names import shown
from xdpctl.rules.targets import ALL_MARK, BELOW_MARK

_LINE = re.compile(r"([a-z][a-z0-9-]*):(?:\s+(.*))?")
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

_OTHER = Setting(kind="other settings")
_ROOT = "."


class UnboundLines(AnswerLines):
    """The lines of one configuration file of Unbound."""

    blocking_ends = tuple(f"{kind}\n" for kind in _BLOCKS)

    plain = re.compile(
        r'local-zone: "([^"]+)"'
        r" (?:always_(?:nxdomain|nodata|refuse|deny|null)|static|refuse|deny)\n"
    )

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
        if option == "local-zone":
            return _zone(text, value)
        if option == "local-data":
            return _data(text, value)
        return Setting() if option == "server" and value[:1] in {"", "#"} else _OTHER


def _zone(text: str, value: str) -> Setting:
    found = _ZONE.fullmatch(value)
    if found is None:
        raise TargetError(f'cannot read {shown(text)}: write local-zone: "NAME" TYPE', text=text)
    name, kind = found.groups()
    target = BELOW_MARK if name == _ROOT else f"{ALL_MARK}{name}"
    if kind in _BLOCKS:
        return Setting((target,), blocks=True, data=_BLOCKS[kind])
    return Setting((target,), excepts=ZoneScope.ALL, kind="zones that are answered")


def _data(text: str, value: str) -> Setting:
    found = _DATA.fullmatch(value)
    words = next(filter(None, found.groups()), "").split() if found else []
    if len(words) < 3:  # noqa: PLR2004 - name, type, data
        raise TargetError(
            f'cannot read {shown(text)}: write local-data: "NAME TYPE DATA"', text=text
        )
    if leads_nowhere(words[-1]) and words[-2].upper() in {"A", "AAAA"}:
        return Setting()
    return Setting((words[0],), excepts=ZoneScope.SELF, kind="names with an answer of their own")
