"""Comments in lists, and the reasons that they become.

A comment begins with `#`, `;` or `//`: at the start of a line, behind a blank, or directly behind
a target (`192.0.2.0/24;SBL123`), which cannot contain these characters. In quotes there is none.
Owns where a comment stands, and what of it can be a rule's reason. Called by lines.py and by the
formats of lists (feeds/formats/).
"""

from __future__ import annotations

import re

from xdpctl.rules.rules import REASON_MAX

MARKS = ("#", ";", "//")
"""What a comment begins with."""

_BEHIND_BLANK = re.compile(r'((?:"(?:[^"\\]|\\.)*"|[^"])*?)\s(?=[#;]|//)')
_TARGET = re.compile(r"(?:[^\s\\#;/:]|\\.|:(?!//)|/(?!/))+")
_MARK = re.compile("[#;]|(?<!:)//")
_COSMETIC = re.compile(r"#[@$?%]*#")


def content_of(line: str) -> str:
    """Return a line without blanks around it; empty if nothing or a comment is left."""
    text = line.strip().lstrip("\ufeff").lstrip()
    return "" if text.startswith(MARKS) else text


def split(line: str) -> tuple[str, str]:
    """Return a line's content and its comment, each without blanks around it.

    `example.org##.banner` of AdBlock syntax has no comment: it does not mean example.org.
    """
    text = content_of(line)
    if not ("#" in text or ";" in text or "//" in text):
        return text, ""
    found = _TARGET.match(text)
    end = found.end() if found is not None else 0
    if end and text.startswith(MARKS, end) and _COSMETIC.match(text, end) is None:
        return text[:end], text[end:]
    return split_behind_blank(text)


def split_anywhere(line: str) -> tuple[str, str]:
    """Return a line's content and comment, where a mark begins a comment wherever it stands."""
    text = content_of(line)
    found = _MARK.search(text)
    if found is None or _COSMETIC.match(text, found.start()) is not None:
        return text, ""
    return text[: found.start()].rstrip(), text[found.start() :]


def split_behind_blank(text: str) -> tuple[str, str]:
    """Return content and comment, where a comment begins only behind a blank."""
    found = _BEHIND_BLANK.match(text)
    if found is None:
        return text, ""
    return found[1].rstrip(), text[found.end() :]


def reason_of(comment: str) -> str:
    """Return a comment as a reason: one printable line, cut where it is longer than one may be."""
    words = ("".join(filter(str.isprintable, word)) for word in comment.split())
    text = " ".join(filter(None, words)).lstrip("#;/! ")
    return text if len(text) <= REASON_MAX else f"{text[: REASON_MAX - 1]}…"
