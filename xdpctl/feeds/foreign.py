"""Files that are not lists, and lists in forms that are not read.

Owns the sentence for each: what the file is, and how to make a list of it. Does not own the
formats that are read (detection.py). Does no I/O. Called by reader.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from xdpctl.errors import ListError
from xdpctl.feeds.formats.addresses import is_address, is_source
from xdpctl.rules.comments import split
from xdpctl.rules.names import looks_like_address, shown
from xdpctl.settings import ListFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

_PAGE = re.compile(r"<(?:!doctype|\?xml|!--|[a-z][a-z0-9]*[\s/>])", re.IGNORECASE)

_BY_LINES = {
    ListFormat.TARGETS,
    ListFormat.CIDR,
    ListFormat.HOSTS,
    ListFormat.FIRST_COLUMN,
}
"""Formats of one entry a line, which such a file may be given for."""


class _Kind(NamedTuple):
    """A kind of file: its first line with content, what it is, and what helps."""

    begins: re.Pattern[str]
    what: str


_KINDS = (
    _Kind(
        re.compile(r"version https://git-lfs\.github\.com/"),
        "it is a pointer of Git LFS, not the file itself: fetch that one",
    ),
    _Kind(re.compile(r"%PDF-"), "it is a PDF document, not a list"),
    _Kind(
        re.compile(r"-----BEGIN PGP (?:SIGNED )?MESSAGE"),
        "it is signed or encrypted with PGP: take the text out with `gpg --decrypt`",
    ),
    _Kind(re.compile(r"-----BEGIN "), "it is a key or a certificate, not a list"),
    _Kind(
        re.compile(r"(?:create|add) \S+ (?:hash|bitmap|list):|add \S+ [0-9a-f.:/]+(?:\s|$)"),
        "it is what `ipset save` writes: take the entries out with `awk '/^add/ {print $3}'`",
    ),
    _Kind(
        re.compile(r"(?:table|add (?:table|set|element)) (?:ip6?|inet|arp|bridge|netdev)\s"),
        "it is a rule set of nftables: write one address or prefix a line",
    ),
    _Kind(
        re.compile(r"(?:\*filter|-[AI] [A-Z]+ )"),
        "it is a rule set of iptables: write one address or prefix a line",
    ),
    _Kind(
        re.compile(
            r'zone\s+"?[^\s"]+"?(?:\s+IN)?\s*\{|(?:options|acl|view|logging)\b[^;]*\{',
            re.IGNORECASE,
        ),
        "it is a configuration of BIND: write its zones one a line, such as .evil.example,"
        ' for example with `sed -n \'s/^ *zone *"\\([^"]*\\)".*/.\\1/p\'`',
    ),
    _Kind(
        re.compile(r"---$|payload:$|- ['\"]?[^\s'\"]+['\"]?$"),
        "it is YAML: write one target a line and nothing else",
    ),
)
_JSON = re.compile(r'\[(?:\s*$|\s*["{\[\]])|\{\s*$|\{\s*"')
_JSON_LINE = re.compile(r"\{.*\}$")
_WORD = re.compile(r"[A-Za-z][\w-]{0,62}")
_OF_OTHER_SYNTAX = re.compile(r"[#|$^]")
_MOST = 0.5


def refuse_page(line: str) -> None:
    """Raise ListError if the first line with content begins a page of HTML or XML."""
    if _PAGE.match(line):
        raise ListError("it is a page of HTML or XML, not a list")


def refuse_foreign(lines: Sequence[str], form: ListFormat, *, guessed: bool) -> None:
    """Raise ListError if the first lines with content are in a form that is not read.

    Args:
        lines: none of them is blank or a comment.
        form: the format that they are to be read in. Those that are not of one entry a line have
            errors of their own.
        guessed: the settings do not name it.
    """
    first = lines[0]
    if form is ListFormat.JSON or form in _BY_LINES:
        whole = sum(_JSON_LINE.match(line) is not None for line in lines)
        if _JSON.match(first) and (form is not ListFormat.JSON or whole < _MOST * len(lines)):
            raise ListError(
                "it is JSON, of which only one object a line is read: convert it, for example with"
                " `jq -c '.[]'` for a list of objects, `jq -r '.[]'` for a list of texts"
            )
    if form not in _BY_LINES:
        return
    for kind in _KINDS:
        if kind.begins.match(first):
            raise ListError(kind.what)
    _refuse_csv(lines)
    _refuse_semicolons(lines)
    if guessed and all(map(_is_word, lines)):
        raise ListError(
            f"it has only single words such as {shown(first)}, as a message has and not a list: a"
            " name of one label needs a dot at its end"
        )


def _is_word(line: str) -> bool:
    """Return whether a line is one word, which is neither an address nor a name of two labels."""
    text, _ = split(line)
    return _WORD.fullmatch(text) is not None and not looks_like_address(text)


def _refuse_csv(lines: Sequence[str]) -> None:
    """Raise ListError if most lines have commas between fields."""
    rows = [split(line)[0] for line in lines]
    if sum(map(_is_csv, rows)) <= _MOST * len(rows):
        return
    column = _column([[field.strip(" \"'") for field in row.split(",")] for row in rows])
    helps = "write one address, prefix or name a line"
    if column:
        helps += f", for example with `cut -d, -f{column} | tr -d '\" '`"
    raise ListError(f"it is CSV, several columns with commas between them: {helps}")


def _refuse_semicolons(lines: Sequence[str]) -> None:
    """Raise ListError if most lines have another target behind a semicolon: it is no comment."""
    rows = [[field.strip() for field in line.split(";")] for line in lines]
    several = [row for row in rows if sum(is_source(f) or _is_name(f) for f in row) > 1]
    if len(several) > _MOST * len(lines):
        raise ListError(
            "it has several columns with semicolons between them: write one address, prefix or"
            " name a line, for example with `cut -d';' -f1`"
        )


def _is_csv(row: str) -> bool:
    first = row.split(None, 1)[0] if row else ""
    return ("," in first and not _OF_OTHER_SYNTAX.search(first)) or (
        first[:1] == '"' and '","' in row
    )


def _column(rows: Sequence[Sequence[str]]) -> int:
    """Return the number of the column with addresses, or else with names; 0: there is none."""
    for is_one in (is_source, _is_name):
        for column in range(max(map(len, rows))):
            found = sum(len(row) > column and is_one(row[column]) for row in rows)
            if found > _MOST * (len(rows) - 1):
                return column + 1
    return 0


def _is_name(text: str) -> bool:
    return re.fullmatch(r"(?:[\w-]+\.)+[a-z][\w-]+\.?", text, re.IGNORECASE) is not None


def is_title(line: str) -> bool:
    """Return whether the first line with content names the columns and has no entry."""
    words = line.lower().replace('"', "").split()
    return (
        bool(words)
        and words[0] in _TITLES
        and not any(is_address(word) for word in words)
        and all(word.replace("_", "").isalpha() for word in words)
    )


_TITLES = frozenset(
    {
        *("address", "addresses", "ip", "ip_address", "ipaddress", "ips", "ipv4", "ipv6"),
        *("cidr", "netblock", "network", "networks", "prefix", "prefixes", "range", "start", "end"),
        *("domain", "domains", "fqdn", "host", "hostname", "hosts", "name", "names", "url"),
        *("entry", "indicator", "value"),
    }
)
"""What columns of lists are called."""
