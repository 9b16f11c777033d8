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
    if _is_word(text):
        meant = _meant(text) or f"a file of rules is read by `xdpctl import {text}`"
        raise TargetError(
            f"cannot use {shown(text)} as a name: it is a single word;"
            f" {meant}; as a name it is written {shown(f'{text}.')}",
            text=text,
        )


def refuse_word_as_zone(text: str) -> None:
    """Raise TargetError for a single word beside other targets of --zone that means a type or so.

    `xdpctl block flood.example txt --zone` is not about a zone `txt`. Any other word is a zone.
    """
    if _is_word(text) and (meant := _meant(text)):
        raise TargetError(
            f"cannot use {shown(text)} as a zone: it is a single word beside other targets;"
            f" {meant}; as a zone it is written {shown(f'.{text}')}",
            text=text,
        )


def _is_word(text: str) -> bool:
    labels = split_labels(text)
    return bool(text) and labels is not None and len(labels) == 1


def _meant(text: str) -> str:
    """Return what a single word was probably meant to be; empty: there is no guess."""
    word = text.lower()
    if word in _MEANT:
        return _MEANT[word]
    if _AS_NUMBER.fullmatch(word):
        return "an AS has no rule of its own, write its prefixes"
    with suppress(TargetError):
        parse_duration(word)
        return f"a time is given as --for {word}"
    with suppress(TargetError):
        parse_qtype(word)
        return f"a query type is given as --qtype {text.upper()}"
    return ""


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
