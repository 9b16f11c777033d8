"""Lists in the syntax of dnsmasq's configuration.

`address=/evil.example/` and `address=/evil.example/0.0.0.0` (or `::`, `#`), `local=/evil.example/`
and `server=/evil.example/` block the name and everything below it, of each name between the
slashes. The same settings with another address let the server answer; they and all other
settings are left out and counted. Called by feeds/reader.py on a thread. Does no I/O.
"""

from __future__ import annotations

import re

from xdpctl.abi import ZoneScope
from xdpctl.errors import TargetError
from xdpctl.feeds.formats.addresses import is_address, leads_nowhere
from xdpctl.feeds.formats.answers import INCLUDED, AnswerLines, Setting
from xdpctl.rules.names import shown
from xdpctl.rules.targets import ALL_MARK, BELOW_MARK

_DOMAINS = re.compile(r"(?:--)?(address|local|server)\s*=\s*/(.*)/([^/]*)")
_ANY_DOMAIN = "#"
_OPTION = re.compile(r"(?:--)?[a-z][A-Za-z0-9-]*\s*(?:=.*)?")
_HALF = re.compile(r"(?:--)?(?:address|local)\s*=")
"""Settings that need a name between slashes."""

_INCLUDE = re.compile(r"(?:--)?(?:conf-file|conf-dir|addn-hosts|hostsdir|servers-file)\s*=.*")
_OTHER = Setting(kind="other settings")


class DnsmasqLines(AnswerLines):
    """The lines of one configuration file of dnsmasq."""

    blocking_ends = ("/\n", "/0.0.0.0\n", "/::\n", "/127.0.0.1\n", "/::1\n")

    plain = re.compile(
        r"address=/([^/*#]+)/(?:0\.0\.0\.0|::|127\.0\.0\.1)?\n|(?:local|server)=/([^/*#]+)/\n"
    )

    def read(self, text: str) -> Setting:
        """See `AnswerLines`."""
        found = _DOMAINS.fullmatch(text)
        if found is None:
            if _OPTION.fullmatch(text) is None or _HALF.match(text) is not None:
                raise TargetError(
                    f"cannot read {shown(text)} as a line of a dnsmasq configuration: write"
                    " address=/NAME/, local=/NAME/ or server=/NAME/",
                    text=text,
                )
            return INCLUDED if _INCLUDE.fullmatch(text) else _OTHER
        option, names, address = found.groups()
        if option == "address":
            address = _address(text, address)
        targets = [_target(name) for name in names.split("/") if name]
        if not targets:  # names without a dot
            return _OTHER
        if not address or (option == "address" and (address == "#" or leads_nowhere(address))):
            return Setting(targets, blocks=True)
        return Setting(
            targets,
            excepts=ZoneScope.ALL,
            kind="names with an answer of their own",
            answers=option == "address",
        )


def _address(text: str, address: str) -> str:
    """Return what `address=` answers with, without a comment directly behind it.

    Raises:
        TargetError: it is no address.
    """
    bare = address.partition("#")[0].rstrip()
    if bare and is_address(bare):
        return bare
    if address not in {"", "#"}:
        raise TargetError(
            f"cannot read {shown(text)}: behind the last / comes an address, # or nothing",
            text=text,
        )
    return address


def _target(name: str) -> str:
    """Return the text of the zone that dnsmasq means by a name."""
    if name == _ANY_DOMAIN:
        return BELOW_MARK
    if name.startswith((ALL_MARK, BELOW_MARK)):
        return name
    return f"{ALL_MARK}{name}"
