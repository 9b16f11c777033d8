"""The target of a rule: text to target and back.

Owns addresses, prefixes, names and zones with types as one kind of value, and how text becomes
one of them (CONTRACT.md, "Targets"). Does not own the text of names and types (names.py) or the
map and key of a target (keys.py). Called by rules.py, keys.py and settings/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias, assert_never

from xdpctl.abi import LEGACY_WILDCARD_QTYPE, TABLE_LEVELS, WILDCARD_QTYPE, ZoneScope
from xdpctl.errors import TargetError
from xdpctl.rules.meant import Meant, meant
from xdpctl.rules.names import Name, parse_qtype, shown, split_labels

ALL_MARK, BELOW_MARK = ".", "*."
"""What is written in front of a zone's name, by its scope."""

_GUESSES_DEEP = 3
"""A guess may need another one: a URL in quotes has a port."""

_PREFIX_LENGTH = re.compile(r"[0-9]{1,3}")
_MAPPED = 96
"""Length of ::ffff:0:0/96, whose addresses stand for IPv4 addresses (RFC 4291, 2.5.5.2)."""


class AnyQtype(StrEnum):
    """`--any-qtype`: which types in an entry mean every type (PACKETS.md)."""

    BOTH = "both"
    NEW = "65535"
    LEGACY = "255"

    @property
    def wildcards(self) -> tuple[int, ...]:
        """The types that mean every type to the program; we write the first."""
        match self:
            case AnyQtype.BOTH:
                return WILDCARD_QTYPE, LEGACY_WILDCARD_QTYPE
            case AnyQtype.NEW:
                return (WILDCARD_QTYPE,)
            case AnyQtype.LEGACY:
                return (LEGACY_WILDCARD_QTYPE,)
            case _:
                assert_never(self)


@dataclass(frozen=True, slots=True)
class Question:
    """Queries for one name and one type; with `qtype` None, for every type."""

    name: Name
    qtype: int | None = None


@dataclass(frozen=True, slots=True)
class Zone:
    """Queries for the names of a zone and one type; with `qtype` None, for every type.

    Attributes:
        name: the zone's own name, of at most 16 labels.
        qtype: the type, or None.
        scope: `ALL`: the name and every name below it; `BELOW`: only the names below it.
    """

    name: Name
    qtype: int | None = None
    scope: ZoneScope = ZoneScope.ALL

    def __post_init__(self) -> None:
        """Refuse what no rule can express.

        Raises:
            TargetError: the name has more than 16 labels, or is the root and the scope `ALL`.
            ValueError: the scope is `SELF`, which is a Question.
        """
        if self.scope is ZoneScope.SELF:
            raise ValueError("a zone covers names below its own")
        if len(self.name.labels) > TABLE_LEVELS:
            text = target_text(self)
            raise TargetError(
                f"cannot use {shown(text)} as a zone: it has {len(self.name.labels)} labels, and"
                f" a zone can have at most {TABLE_LEVELS}; use a zone above it, or the exact"
                " name",
                text=text,
            )
        if self.scope is ZoneScope.ALL and self.name == ROOT:
            raise TargetError(
                "cannot use the root as a zone with its own name: write *. for every name below"
                " the root, and . for the root's own name",
                text=".",
            )

    def covers(self, name: Name) -> bool:
        """Return whether `name` is a name of the zone."""
        return name.is_within(self.name) and (self.scope is ZoneScope.ALL or name != self.name)


ROOT = Name(b"\0")

Target: TypeAlias = IPv4Address | IPv6Address | IPv4Network | IPv6Network | Question | Zone
"""What a rule matches. An address and its /32 or /128 are different targets, as are the two
scopes of a zone and its exact name."""


def parse_target(text: str, qtype: str | None = None, *, zone: bool = False) -> Target:
    """Return the target that `text` means: an address, a prefix, or a name or zone with a type.

    Text with a `:`, or with only digits in the last label before a `/`, is an address or
    prefix; `::ffff:a.b.c.d` is the IPv4 address, which is what packets have. Everything else
    is a name, or with `.` or `*.` in front of it a zone.

    Args:
        text: the text of an operator.
        qtype: mnemonic, TYPEnnn or number; None or empty: every type.
        zone: a name without `.` in front of it is a zone, too.

    Raises:
        TargetError: invalid text, host bits are set, or an address has a type. The sentence
            says what was probably meant.
    """
    try:
        return read_target(text, qtype, zone=zone)
    except TargetError as error:
        raise _with_guess(error, text) from error.__cause__


def _with_guess(error: TargetError, text: str) -> TargetError:
    """Return the error of a text with what it was probably meant to be, if there is a guess."""
    if error.text != text or _is_target(text):
        return error
    guess = _guess(text, _GUESSES_DEEP)
    if guess is None:
        return error
    return TargetError(f"cannot read {shown(text)} as a target: {guess.sentence()}", text=text)


def _guess(text: str, depth: int) -> Meant | None:
    """Return the first guess of which every text is a target, itself or by another guess."""
    for guess in meant(text) if depth else ():
        texts: list[str] = []
        for each in guess.texts:
            if _is_target(each):
                texts.append(each)
                continue
            if (deeper := _guess(each, depth - 1)) is None or not deeper.texts:
                break
            texts += deeper.texts
            guess = guess._replace(either=guess.either or deeper.either)  # noqa: PLW2901
        else:
            return guess._replace(texts=tuple(texts))
    return None


def _is_target(text: str) -> bool:
    try:
        read_target(text)
    except TargetError:
        return False
    return True


def read_target(text: str, qtype: str | None = None, *, zone: bool = False) -> Target:
    """See `parse_target`; the errors do not say what was meant, which takes a while to find."""
    if not reads_as_address(text):
        return _parse_name(text, parse_qtype(qtype) if qtype else None, zone=zone)
    target = _parse_address(text)
    if qtype:
        raise TargetError(
            f"cannot use {shown(text)} with query type {shown(qtype)}: an address has no type;"
            " leave out the type",
            text=qtype,
            field="qtype",
        )
    if zone:
        raise TargetError(
            f"cannot use {shown(text)} as a zone: it is an address, which has no names below it;"
            " leave out --zone",
            text=text,
        )
    return target


def _parse_name(text: str, qtype: int | None, *, zone: bool) -> Question | Zone:
    """Return the name or zone of a text that is not an address."""
    if text.startswith(BELOW_MARK):
        rest, scope = text.removeprefix(BELOW_MARK), ZoneScope.BELOW
    elif text.startswith(ALL_MARK) and text != ALL_MARK:
        rest, scope = text.removeprefix(ALL_MARK), ZoneScope.ALL
    else:
        rest, scope = text, ZoneScope.ALL if zone else ZoneScope.SELF
    if zone and scope is ZoneScope.BELOW:
        raise TargetError(
            f"cannot use {shown(text)} with --zone: it leaves out the name itself; leave out"
            " --zone, or write the name without *.",
            text=text,
        )
    if rest != text and rest.startswith("."):
        raise TargetError(
            f"cannot read {shown(text)} as a zone: it has an empty label; write .evil.example for"
            " a name and every name below it, *.evil.example for the names below it, *. for every"
            " name below the root",
            text=text,
        )
    name = ROOT if not rest and scope is ZoneScope.BELOW else Name.from_text(rest, text)
    return Question(name, qtype) if scope is ZoneScope.SELF else Zone(name, qtype, scope)


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """Return a prefix, or an address as a prefix of full length.

    Raises:
        TargetError: invalid text, or host bits are set.
    """
    try:
        target = _parse_address(text)
    except TargetError as error:
        raise _with_guess(error, text) from error.__cause__
    if isinstance(target, IPv4Network | IPv6Network):
        return target
    return ip_network(target)


def parse_protected(text: str) -> IPv4Network | IPv6Network | Question | Zone:
    """Return what a value of the setting `protect` means; an address as its full prefix.

    Raises:
        TargetError: as `parse_target`.
    """
    target = parse_target(text)
    return target if isinstance(target, Question | Zone) else ip_network(target)


def reads_as_address(text: str) -> bool:
    """Return whether a text is an address or prefix, or an error, but never a name."""
    if ":" in text:
        return True
    labels = split_labels(text.partition("/")[0])
    if labels is None:
        return False
    last = labels[-2] if len(labels) > 1 and not labels[-1] else labels[-1]
    return last.isascii() and last.isdigit()


def _parse_address(text: str) -> IPv4Address | IPv6Address | IPv4Network | IPv6Network:
    address_text, slash, length = text.partition("/")
    try:
        address = ip_address(address_text)
    except ValueError as error:
        raise TargetError(
            f"cannot read {shown(text)} as an address: write it like 192.0.2.1 or 2001:db8::1",
            text=text,
        ) from error
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise TargetError(
            f"cannot use {shown(text)} as an address: the source address of a packet has no zone;"
            f" leave out {shown('%' + address.scope_id)}",
            text=text,
        )
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if not slash:
        return mapped or address
    if not _PREFIX_LENGTH.fullmatch(length) or int(length) > address.max_prefixlen:
        raise TargetError(
            f"cannot read {shown(text)} as a prefix: its length must be a number from 0 to"
            f" {address.max_prefixlen}",
            text=text,
        )
    network = ip_network((address, int(length)), strict=False)
    wanted: IPv4Network | IPv6Network = network
    if mapped is not None and network.prefixlen >= _MAPPED:
        wanted = ip_network((mapped, network.prefixlen - _MAPPED), strict=False)
    if network.network_address != address:
        raise TargetError(
            f"cannot use {shown(text)} as a prefix: it has host bits set; write {wanted} for the"
            f" prefix or {mapped or address} for the address",
            text=text,
        )
    return wanted


def target_text(target: Target) -> str:
    """Return text that `parse_target` reads as `target`, without the type of a question."""
    match target:
        case Question():
            return target.name.to_text()
        case Zone():
            return _mark(target) + ("" if target.name == ROOT else target.name.to_text())
        case _:
            return str(target)


def target_unicode(target: Target) -> str:
    """Return `target_text` for people, with valid A-labels replaced by U-labels."""
    match target:
        case Question():
            return target.name.to_unicode()
        case Zone() if target.name != ROOT:
            return _mark(target) + target.name.to_unicode()
        case _:
            return target_text(target)


def _mark(zone: Zone) -> str:
    return ALL_MARK if zone.scope is ZoneScope.ALL else BELOW_MARK


def qtype_of(target: Target) -> int | None:
    """Return the query type that a target is restricted to; None: it has none."""
    return target.qtype if isinstance(target, Question | Zone) else None
