"""What text that is not a target was probably meant to be.

Owns the forms of other programs that people and lists use in the place of a target: URLs, ports,
ranges, masks, numbers, and the syntax of other lists. Only proposes: targets.py reads every
proposal before it shows one. Does not own targets. Called by targets.py for errors; lists use the
ranges and masks (feeds/formats/lines.py).
"""

from __future__ import annotations

import re
import unicodedata
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
    summarize_address_range,
)
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROPOSED_MAX = 6
"""Targets that one sentence proposes."""


class Meant(NamedTuple):
    """A guess.

    Attributes:
        what: what the text is, as the middle of a sentence.
        texts: the targets that it stands for; none: a rule cannot express it.
        either: only one of them is meant.
    """

    what: str
    texts: tuple[str, ...] = ()
    either: bool = False

    def sentence(self) -> str:
        """Return the guess as the end of a sentence."""
        if not self.texts:
            return self.what
        return f"{self.what}; write {(' or ' if self.either else ', ').join(self.texts)}"


_URL = re.compile(
    r"(?:[a-z][a-z0-9+.-]*:)?//(?:[^/@?#]*@)?(?P<host>\[[^\]]*\]|[^/:?#]+)(?::[0-9]*)?(?:[/?#].*)?",
    re.IGNORECASE,
)
_MAIL = re.compile(r"(?:mailto:)?[^@/|:]+@(?P<host>[^@]*[^@0-9][^@]*)", re.IGNORECASE)
_ADBLOCK = re.compile(
    r"(?P<pass>@@)?(?P<bars>\|\|?)?(?P<host>[^|^/$#@,;=\s]+)(?P<end>[|^]*)(?:\$.*)?"
)
_COSMETIC = re.compile(r"[^#]*#[@$?%]*#.+")
_REGEX = re.compile(r"/.+/|(?:regexp?|keyword):.*", re.IGNORECASE)
_DNSMASQ = re.compile(r"(?:--)?(?:address|local|server)\s*=\s*/(?P<names>.+)/[^/]*")
_PREFIXED = {
    re.compile(r"(?:\+\.|domain:|domain-suffix[,:]|suffix:)(.+)", re.IGNORECASE): ".",
    re.compile(r"(?:=|full:|domain,)(.+)", re.IGNORECASE): "",
}
"""Syntaxes of dnscrypt-proxy, Clash and V2Ray: with names below, or the name alone."""

_FILE = re.compile(r"[@~.]?/.*|@.+|file:.*|[a-z]:\\.*", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"\[(?P<host>[^\]]+)\](?:[:#@.][0-9a-z]+)?(?P<length>/[0-9]+)?")
_WITH_PORT = re.compile(
    r"(?P<host>[^:.]*\.[^:]*):[0-9a-z-]+|(?P<other>[^#@]+)[#@][0-9]+", re.IGNORECASE
)
_PATH = re.compile(r"(?P<host>[^/:]*[^/:0-9.][^/:]*)/.*")
_RANGE = re.compile(
    r"(?P<first>[0-9a-f:.]+)\s*[-\u2013\u2014]\s*(?P<last>[0-9a-f:.]+)", re.IGNORECASE
)
_SOME_OCTETS = re.compile(
    r"(?P<octets>(?:[0-9]{1,3}\.){0,2}[0-9]{1,3})(?P<rest>\.|(?:\.[*x])+)?", re.IGNORECASE
)
_SHORT_PREFIX = re.compile(r"(?P<octets>(?:[0-9]{1,3}\.){0,2}[0-9]{1,3})\.?/(?P<length>[0-9]{1,2})")
_MASKED = re.compile(r"(?P<address>[0-9.]+)(?:/|\s+)(?P<mask>[0-9]+(?:\.[0-9]+){3})")
_NUMBERS = re.compile(r"(?:0x[0-9a-f]+|[0-9]+)(?:\.(?:0x[0-9a-f]+|[0-9]+)){0,3}", re.IGNORECASE)
_HARDWARE = re.compile(r"[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}", re.IGNORECASE)
_AS = re.compile(r"as[0-9]{1,10}\.?", re.IGNORECASE)
_DOTS = str.maketrans(dict.fromkeys("\u3002\uff0e\uff61", "."))
_BETWEEN = re.compile(r"[\s,;|]+")
_AROUND = " \t\r\n\"'`<>()[]{},;|"
_OCTETS, _OCTET = 4, 255
_READABLE_MAX = 300
"""Characters: no target of this length is guessed at."""


def meant(text: str) -> Iterator[Meant]:
    """Yield guesses, the most probable first."""
    if 0 < len(text) <= _READABLE_MAX:
        for guess in _GUESSES:
            if (found := guess(text)) is not None:
                yield found


def _of_url(text: str) -> Meant | None:
    found = _URL.fullmatch(text)
    if found is None or text.lower().startswith("file:"):
        return None
    return Meant("it is a URL", (found["host"].strip("[]"),))


def _of_other_lists(text: str) -> Meant | None:
    """Guess at a line of a list in another format."""
    if _COSMETIC.fullmatch(text):
        return Meant("it is a cosmetic rule of AdBlock syntax, which is about web pages")
    if (found := _DNSMASQ.fullmatch(text)) is not None:
        names = tuple(f".{name.lstrip('.')}" for name in found["names"].split("/") if name)
        return Meant("it is a setting of dnsmasq, about each name and all below", names)
    found = _ADBLOCK.fullmatch(text)
    if found is not None and (found["pass"] or found["bars"] or found["end"]):
        name = found["host"]
        if found["bars"] != "|" and not name.startswith("*."):
            name = f".{name}"
        passes = ", where @@ lets a name pass" if found["pass"] else ""
        return Meant(f"it is AdBlock syntax{passes}", (name,))
    if _REGEX.fullmatch(text):
        return Meant("it is a regular expression, which no rule can have; write names")
    for begins, mark in _PREFIXED.items():
        if (prefixed := begins.fullmatch(text)) is not None:
            return Meant(
                "it is the syntax of another program", (f"{mark}{prefixed[1].lstrip('.')}",)
            )
    return None


def _of_mail(text: str) -> Meant | None:
    found = _MAIL.fullmatch(text)
    return None if found is None else Meant("it is a mail address", (found["host"],))


def _of_hardware(text: str) -> Meant | None:
    if _HARDWARE.fullmatch(text) is None:
        return None
    return Meant("it is a hardware address; rules are about IP addresses and names")


def _of_as(text: str) -> Meant | None:
    if _AS.fullmatch(text) is None:
        return None
    return Meant("it is an AS number, which has no rule of its own; write its prefixes")


def _of_port(text: str) -> Meant | None:
    if (found := _IN_BRACKETS.fullmatch(text)) is not None:
        what = "an address has no brackets and no port here"
        if found["length"]:
            return _prefix_or_address(found["host"], int(found["length"][1:]), what)
        return Meant(what, (found["host"],))
    if (found := _WITH_PORT.fullmatch(text)) is not None:
        return Meant("a target has no port", (found["host"] or found["other"],))
    address, dot, port = text.rpartition(".")
    if dot and ":" in address and port.isdigit() and "." not in address:
        return Meant("a target has no port", (address,))
    return None


def _of_range(text: str) -> Meant | None:
    found = _RANGE.fullmatch(text)
    if found is None:
        return None
    last = found["last"]
    if last.isdigit():
        last = f"{found['first'].rpartition('.')[0]}.{last}"
    prefixes = prefixes_of(found["first"], last)
    if prefixes is None:
        return None
    if not prefixes or len(prefixes) > PROPOSED_MAX:
        return Meant("it is a range; write it as prefixes such as 192.0.2.0/24")
    return Meant("it is a range", tuple(map(shortest, prefixes)))


def prefixes_of(first: str, last: str) -> list[IPv4Network] | list[IPv6Network] | None:
    """Return the prefixes that are exactly a range of addresses; None if it is not one."""
    try:
        start, end = ip_address(first), ip_address(last)
        if isinstance(start, IPv4Address) and isinstance(end, IPv4Address):
            return list(summarize_address_range(start, end))
        if isinstance(start, IPv6Address) and isinstance(end, IPv6Address):
            return list(summarize_address_range(start, end))
    except ValueError:
        pass
    return None


def shortest(network: IPv4Network | IPv6Network) -> str:
    """Return the text of a prefix; of a single address, that address."""
    return str(network.network_address if network.num_addresses == 1 else network)


def prefix_length(mask: str) -> int | None:
    """Return the length of a prefix for a mask (255.255.255.0) or its inverse; None for others."""
    try:
        return ip_network(f"0.0.0.0/{mask}").prefixlen if "." in mask else None
    except ValueError:
        return None


def _of_mask(text: str) -> Meant | None:
    if (found := _MASKED.fullmatch(text)) is None:
        return None
    length = prefix_length(found["mask"])
    return None if length is None else _prefix_or_address(found["address"], length)


def _of_short_prefix(text: str) -> Meant | None:
    if (found := _SHORT_PREFIX.fullmatch(text)) is None:
        return None
    octets = found["octets"].split(".")
    address = ".".join([*octets, *["0"] * (_OCTETS - len(octets))])
    return _prefix_or_address(
        address, int(found["length"]), "it is a prefix with fewer than four octets"
    )


def _prefix_or_address(
    address: str, length: int, what: str = "the length of a prefix is a number"
) -> Meant | None:
    try:
        network = ip_network((address, length), strict=False)
        is_whole = network.network_address == ip_address(address)
    except ValueError:
        return None
    if is_whole:
        return Meant(what, (str(network),))
    return Meant(what, (str(network), address), either=True)


def _of_some_octets(text: str) -> Meant | None:
    """Guess at `192.0.2.*`, `192.0.2.`, `127.1`."""
    if (found := _SOME_OCTETS.fullmatch(text)) is None:
        return None
    octets = [int(octet) for octet in found["octets"].split(".")]
    if max(octets) > _OCTET or any(part != str(int(part)) for part in found["octets"].split(".")):
        return None
    rest = found["rest"] or ""
    if len(octets) + rest.count(".") > _OCTETS or (len(octets) == 1 and not rest):
        return None
    padded = [*octets, *[0] * (_OCTETS - len(octets))]
    prefix = f"{'.'.join(map(str, padded))}/{8 * len(octets)}"
    if rest:
        return Meant("it is part of an address", (prefix,))
    address = ".".join(map(str, [*octets[:-1], *[0] * (_OCTETS - len(octets)), octets[-1]]))
    return Meant("it is part of an address", (address, prefix), either=True)


def _of_numbers(text: str) -> Meant | None:
    """Guess at what inet_aton(3) would read: octal, hexadecimal, fewer than four numbers."""
    if _NUMBERS.fullmatch(text) is None:
        return None
    parts = text.lower().split(".")
    readings = []
    for octal in (False, True):
        try:
            numbers = [_number(part, octal=octal) for part in parts]
        except ValueError:  # 08 is not octal
            continue
        room = 256 ** (_OCTETS + 1 - len(numbers))
        if max(numbers[:-1], default=0) <= _OCTET and numbers[-1] < room:
            value = sum(number << 8 * (3 - at) for at, number in enumerate(numbers[:-1]))
            readings.append(str(IPv4Address(value + numbers[-1])))
    texts = tuple(dict.fromkeys(readings))
    if texts == (text,):
        return None
    is_octal = any(len(part) > 1 and part[0] == "0" and part.isdigit() for part in parts)
    what = (
        "a number with a zero in front is octal to some programs" if is_octal else "it is a number"
    )
    return Meant(what if texts else "no number in an IPv4 address is above 255", texts, either=True)


def _number(part: str, *, octal: bool) -> int:
    if part.startswith("0x"):
        return int(part, 16)
    return int(part, 8 if octal and part[0] == "0" else 10)


def _of_number_end(text: str) -> Meant | None:
    """Guess at `name.123`, and at an address of five numbers."""
    head, dot, last = text.rstrip(".").rpartition(".")
    if not dot or not last.isdigit() or ":" in text or "/" in text:
        return None
    if head.replace(".", "").isdigit():
        if text.startswith("."):
            return Meant("an address has no names below it", (text[1:],))
        if text.endswith("."):
            return Meant("an address has no dot at its end", (f"{head}.{last}",))
        return Meant("an IPv4 address has four numbers")
    escaped = f"{head}.\\{ord(last[0]):03d}{last[1:]}"
    return Meant(
        "no name on the Internet ends in a number, so one that does needs an escape", (escaped,)
    )


def _of_unicode(text: str) -> Meant | None:
    """Guess at look-alikes and invisible characters, and at names outside of IDNA 2008."""
    if text.isascii() or "xn--" in text.lower():
        return None
    if any(unicodedata.category(each) == "Cs" for each in text):
        return Meant("it is not UTF-8; convert it, for example with `iconv -f latin1 -t utf8`")
    visible = "".join(each for each in text if unicodedata.category(each) != "Cf")
    plain = unicodedata.normalize("NFKC", visible.translate(_DOTS)).strip()
    if plain != text:
        return Meant(
            "it has characters that only look like those of a target, or that cannot be seen",
            (plain,),
        )
    try:
        labels = [
            label if label.isascii() else f"xn--{label.lower().encode('punycode').decode('ascii')}"
            for label in plain.split(".")
        ]
    except UnicodeError:
        return None
    return Meant(
        "a label is not valid in IDNA 2008; its A-label may be what clients ask for",
        (".".join(labels),),
    )


def _of_path(text: str) -> Meant | None:
    if (found := _PATH.fullmatch(text)) is None:
        return None
    return Meant("a target has no path", (found["host"],))


def _of_file(text: str) -> Meant | None:
    if _FILE.fullmatch(text) is None:
        return None
    return Meant("a file of targets is read by `xdpctl import FILE`")


def _of_several(text: str) -> Meant | None:
    parts = tuple(filter(None, (part.strip(_AROUND) for part in _BETWEEN.split(text))))
    if not 1 < len(parts) <= PROPOSED_MAX or any(
        "." not in each and ":" not in each for each in parts
    ):
        return None
    return Meant("it is several targets; each is one by itself", parts)


def _of_marks(text: str) -> Meant | None:
    """Guess at marks around a target, and doubled dots."""
    plain = text.strip(_AROUND)
    if plain != text and plain:
        return Meant("it has quotes, brackets or blanks around it", (plain,))
    plain = re.sub(r"\.{2,}", ".", text)
    return (
        None
        if plain in {text, "."} or text.startswith("..") or "*" in text
        else Meant("it has a character too many", (plain,))
    )


_GUESSES: tuple[Callable[[str], Meant | None], ...] = (
    _of_url,
    _of_other_lists,
    _of_hardware,
    _of_as,
    _of_range,
    _of_mask,
    _of_short_prefix,
    _of_some_octets,
    _of_numbers,
    _of_mail,
    _of_port,
    _of_unicode,
    _of_several,
    _of_file,
    _of_path,
    _of_number_end,
    _of_marks,
)
