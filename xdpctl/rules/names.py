"""Domain names and query types: text to value and back.

Owns `Name` (lower-case wire form) and the mnemonics of query types; the only importer of
idna, and of dnspython except for zone files (feeds/formats/rpz.py). Does not own rules
(rules.py) or the keys of names in maps (abi.py). Called by targets.py, rules.py and keys.py.

dnspython reads the master-file form of a name (RFC 1035, 5.1) and knows the types; idna
turns U-labels into A-labels (RFC 5891, IDNA 2008). This module adds what both leave open:
text that is not exactly one name is an error and is never repaired. Both are imported at
their first use, so that most verbs, and a service without names, save 20 ms and 3 MB.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl import abi
from xdpctl.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Iterator

_TEXT_MAX = 1100
"""Longest text of a name: 250 octets, each as \\DDD, and the dots between labels."""

_LABEL = re.compile(r"(?:[^.\\]|\\(?:[0-9]{3}|[^0-9]))*")
ESCAPE = re.compile(r"\\(?:[0-9]{3}|[^0-9])")
FOREIGN = re.compile(r"[!-,/:-@\[\]^`{-~]")
"""ASCII characters that no host name has, but other syntaxes do: URLs, AdBlock, ranges, e-mail."""

_RANGE = re.compile(r"[0-9-]*[0-9][0-9-]*|0[xX][0-9a-fA-F]+")
_GAP = re.compile(r"(?:[0-9]{1,3}\.){1,3}[xX](?:\.[xX])*|[aA][sS][0-9]{1,10}")
"""192.0.2.x, and AS64500."""


_PLAIN_OCTETS = re.compile(rb"[a-z0-9_-]+")
_NUMERIC_TYPE = re.compile(r"(?:TYPE)?0*([0-9]{1,5})", re.IGNORECASE)
_BLANKS_AND_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp", "Zs"})


def shown(text: str) -> str:
    """Return `text` in quotes for an error: on one line, printable, and cut if it is long."""
    return repr(text if len(text) <= 80 else text[:79] + "…")  # noqa: PLR2004 - a line's width


@dataclass(frozen=True, slots=True)
class Name:
    """A domain name.

    Attributes:
        wire: labels, each behind its length, and the root byte (RFC 1035, 3.1);
            A-Z are folded to a-z and nothing else is.
    """

    wire: bytes

    def __post_init__(self) -> None:
        """Refuse a name that no query can match.

        Raises:
            TargetError: not a name in wire form, bytes after its end, or a capital letter.
        """
        try:
            size = abi.qname_size(self.wire)
        except ValueError as error:
            raise TargetError(str(error), text=self.wire.hex()) from error
        if size != len(self.wire) or self.wire != self.wire.lower():
            raise TargetError(
                f"cannot use {self.wire[:32].hex()} as a name: it has capital letters, or bytes"
                " after its end, so no query can match it",
                text=self.wire.hex(),
            )

    @classmethod
    def from_text(cls, text: str, whole: str = "") -> Name:
        """Return the name written as `text`.

        Letter case and a dot at the end do not matter; `.` is the root. An octet can be
        written as a backslash and three digits. Labels beyond ASCII are U-labels.

        Args:
            text: of the name.
            whole: what the name is part of, for errors; empty: it is all of it.

        Raises:
            TargetError: `text` is not exactly one name; carries the whole.
        """
        whole = whole or text
        if not text or len(text) > _TEXT_MAX:
            what = "it is empty" if not text else "it is longer than any name can be"
            raise TargetError(f"cannot read {shown(whole)} as a name: {what}", text=whole)
        for character in text:
            category = unicodedata.category(character)
            if category in _BLANKS_AND_CONTROLS:
                what = "is not UTF-8" if category == "Cs" else "has a blank or control character"
                raise TargetError(
                    f"cannot read {shown(whole)} as a name: it {what}; write such an octet as a"
                    " backslash and three digits",
                    text=whole,
                )
        bare = ESCAPE.sub("", text)
        if "*" in bare:
            raise TargetError(
                f"cannot read {shown(whole)} as a name: * can only be the first label. Write"
                " *.evil.example for every name below evil.example, .evil.example for that name"
                " and every name below it, or evil.example for that name only; \\042 is the"
                " character itself",
                text=whole,
            )
        if found := FOREIGN.search(bare):
            raise TargetError(
                f"cannot read {shown(whole)} as a name: it has the character {found.group()}; if"
                f" that is part of the name, write \\{ord(found.group()):03d}",
                text=whole,
            )
        if looks_like_address(ESCAPE.sub("_", text)):
            raise TargetError(
                f"cannot read {shown(whole)} as a name: its end is a number or a range; write an"
                " address as 192.0.2.1, and a range as a prefix such as 192.0.2.0/24",
                text=whole,
            )
        ascii_text = text if text.isascii() else _to_a_labels(text, whole)
        import dns.exception  # noqa: PLC0415 - see above
        import dns.name  # noqa: PLC0415 - see above

        try:
            labels = dns.name.from_text(ascii_text).labels
        except (dns.exception.DNSException, ValueError) as error:
            raise TargetError(
                f"cannot read {shown(whole)} as a name: {error}", text=whole
            ) from error
        return cls(b"".join(bytes((len(label),)) + label.lower() for label in labels))

    @property
    def labels(self) -> tuple[bytes, ...]:
        """The labels, without their lengths and without the root."""
        return tuple(self._labels())

    def _labels(self) -> Iterator[bytes]:
        start = 0
        while length := self.wire[start]:
            yield self.wire[start + 1 : start + 1 + length]
            start += length + 1

    def is_within(self, zone: Name) -> bool:
        """Return whether this is the name `zone`, or a name below it."""
        own, above = self.labels, zone.labels
        return len(own) >= len(above) and own[len(own) - len(above) :] == above

    def to_text(self) -> str:
        r"""Return text that `from_text`, and `parse_target` in targets.py, read as this name.

        There is no dot at the end, except for the root `.`. Every octet that is not a letter,
        digit, `-` or `_` is written as \DDD. If the last label is a number or a range, so is
        its first octet, because text with such an end is not read as a name.
        """
        texts = [_label_text(label) for label in self._labels()]
        if not texts:
            return "."
        if looks_like_address(".".join(texts)):
            texts[-1] = f"\\{ord(texts[-1][0]):03d}{texts[-1][1:]}"
        return ".".join(texts)

    def to_unicode(self) -> str:
        """Return `to_text` for people, with valid A-labels replaced by U-labels."""
        return ".".join(_u_label(label) for label in self.to_text().split("."))


def looks_like_address(text: str) -> bool:
    """Return whether a text ends in a number or a range (1-9, 0x7f), or is like 192.0.2.x or AS1.

    It is not read as a name, because no query would match it.
    """
    text = text.removesuffix(".")
    return (
        _RANGE.fullmatch(text, text.rfind(".") + 1) is not None or _GAP.fullmatch(text) is not None
    )


def _label_text(label: bytes) -> str:
    if _PLAIN_OCTETS.fullmatch(label):
        return label.decode("ascii")
    return "".join(
        chr(octet) if _PLAIN_OCTETS.match(bytes((octet,))) else f"\\{octet:03d}" for octet in label
    )


def _u_label(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    import idna  # noqa: PLC0415 - see above

    try:
        return idna.ulabel(label)
    except UnicodeError:
        return label


def split_labels(text: str) -> list[str] | None:
    """Return the labels between unescaped dots, or None for an invalid escape."""
    if "\\" not in text:
        return text.split(".")
    labels = []
    end = -1
    while end < len(text):
        start = end + 1
        end = next(_LABEL.finditer(text, start)).end()
        if text[end : end + 1] == "\\":
            return None
        labels.append(text[start:end])
    return labels


def _to_a_labels(text: str, whole: str) -> str:
    labels = split_labels(text)
    if labels is None:
        raise TargetError(
            f"cannot read {shown(whole)} as a name: three digits, or one character that is not a"
            " digit, must follow a backslash",
            text=whole,
        )
    return ".".join(label if label.isascii() else _a_label(label, whole) for label in labels)


def _a_label(label: str, whole: str) -> str:
    if "\\" in label:
        raise TargetError(
            f"cannot read {shown(whole)} as a name: a label has both letters beyond ASCII and a"
            " backslash; write its A-label (xn--…) instead",
            text=whole,
        )
    import idna  # noqa: PLC0415 - see above

    try:
        return idna.alabel(unicodedata.normalize("NFC", label.lower())).decode("ascii")
    except UnicodeError as error:
        raise TargetError(
            f"cannot read {shown(whole)} as a name: {shown(label)} is not a valid label of IDNA"
            f" 2008 ({error})",
            text=whole,
        ) from error


def parse_qtype(text: str) -> int:
    """Return the number of a query type, given as a mnemonic, TYPEnnn or a number.

    Raises:
        TargetError: no such type; carries the text, field `qtype`.
    """
    if found := _NUMERIC_TYPE.fullmatch(text):
        number = int(found.group(1))
        if number <= 0xFFFF:  # noqa: PLR2004 - 16 bits, RFC 1035, 3.2.2
            return number
    elif text.isascii():
        import dns.exception  # noqa: PLC0415 - see above
        import dns.rdatatype  # noqa: PLC0415 - see above

        try:
            return int(dns.rdatatype.from_text(text))
        except (dns.exception.DNSException, ValueError):
            pass
    raise TargetError(
        f"cannot read {shown(text)} as a query type: write a mnemonic such as AAAA, TYPEnnn, or a"
        " number up to 65535",
        text=text,
        field="qtype",
    )


def qtype_text(qtype: int) -> str:
    """Return the mnemonic of a type, or TYPEnnn (RFC 3597)."""
    import dns.rdatatype  # noqa: PLC0415 - see above

    return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(qtype))
