"""Targets as people type and paste them: what is refused, and what was probably meant.

A single word, a URL or a host with its port can be read as a name or cannot be read at all; either
way the answer says how it is written. Owns these refusals. Does not own the syntax of targets
(rules/). Called by the verbs that take targets.
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import ip_address, summarize_address_range

from xdpctl.errors import TargetError
from xdpctl.rules import parse_duration, parse_qtype
from xdpctl.rules.names import shown, split_labels

_URL = re.compile(r"[a-z][a-z0-9+.-]*://(?:[^/?#@]*@)?(\[[^\]]*\]|[^/?#:]*).*", re.IGNORECASE)
_WITH_PORT = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+):[0-9]{1,5}", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"\[([0-9a-f:.]+)\]", re.IGNORECASE)
_PREFIXES_SHOWN = 4


def refuse_pasted(text: str) -> None:
    """Raise TargetError for what is around or between targets in other programs' output."""
    if why := _pasted(text):
        raise TargetError(f"cannot use {shown(text)} as a target: {why}", text=text)


def _pasted(text: str) -> str:
    """Return why a text is no target, and how it is written; empty: it may be one."""
    if found := _URL.fullmatch(text):
        return f"it is a URL; write its host alone: {shown(found[1].strip('[]'))}"
    if "," in text.strip(","):
        return f"several targets have blanks between them: {shown(text.replace(',', ' '))}"
    if found := _WITH_PORT.fullmatch(text):
        return f"a target has no port; write {shown(found[1].strip('[]'))}"
    if found := _IN_BRACKETS.fullmatch(text):
        return f"write it without brackets: {shown(found[1])}"
    first, dash, last = text.partition("-")
    if dash:
        with suppress(ValueError, TypeError):
            prefixes = list(summarize_address_range(ip_address(first), ip_address(last)))
            named = " ".join(map(str, prefixes[:_PREFIXES_SHOWN]))
            more = " …" if len(prefixes) > _PREFIXES_SHOWN else ""
            return f"a range is written as prefixes: {named}{more}"
    return ""


def refuse_word(text: str) -> None:
    """Raise TargetError for a single word, which is rarely meant as a name.

    `xdpctl block flood.example txt` would otherwise block every type of flood.example, and a
    name `txt`. With a dot at its end it is a name; with one in front, or with --zone, a zone.
    """
    labels = split_labels(text)
    if labels is None or len(labels) > 1 or not text:
        return
    raise TargetError(
        f"cannot use {shown(text)} as a name: it is a single word;"
        f" {_meant(text)}; as a name it is written {shown(f'{text}.')}",
        text=text,
    )


def _meant(text: str) -> str:
    """Return what a single word on the command line was probably meant to be."""
    word = text.lower()
    meant = _MEANT.get(word)
    if meant is None and _AS_NUMBER.fullmatch(word):
        meant = "an AS has no rule of its own, write its prefixes"
    for parse, option, value in (
        (parse_duration, "a time is given as --for", word),
        (parse_qtype, "a query type is given as --qtype", text.upper()),
    ):
        if meant is None:
            with suppress(TargetError):
                parse(word)
                meant = f"{option} {value}"
    return meant or f"a file of rules is read by `xdpctl import {text}`"


_MEANT = {
    "-": "rules on standard input are read by `xdpctl import -`",
    "forever": "a rule without end is made with --for forever",
    "drop": "an action is given as --action drop",
    "truncate": "an action is given as --action truncate",
    "pass": "a target is let through by `xdpctl allow TARGET`",
    "allow": "a target is let through by `xdpctl allow TARGET`",
    "type": "the option is written --qtype",
    **{
        option: f"the option is written --{option}"
        for option in ("for", "reason", "qtype", "action", "zone", "force")
    },
}
"""What some single words on the command line were probably meant to be."""

_AS_NUMBER = re.compile(r"as[0-9]{1,10}")
