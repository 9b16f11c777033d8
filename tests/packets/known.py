"""Cases of PACKETS.md, "Limits": sources that are proven, and queries with a DNS cookie.

Of both, whoever would be refused goes on: over the limit by source, and where nothing of the
total is left. The cookies are those of RFC 9018's appendix where it has one, else made by
cookies.py.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from tests.packets.build import (
    CLIENT4,
    CLIENT6,
    MF,
    Tag,
    Udp,
    ethernet,
    fragment,
    hop_by_hop,
    ipv4,
    ipv6,
)
from tests.packets.case import KNOWN, LIMITS, Case, Limits, Scene, dropped, passed, redirected
from tests.packets.cookies import COOKIE_OPTION, server_cookie
from tests.packets.limits import QUERY, frames, pair
from tests.packets.message import COOKIE, RD, eights, opcode, opt, padding, query
from tests.packets.xsk import DESTINATIONS
from xdpctl.abi import Reason
from xdpctl.settings import XskFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = bytes.fromhex("e5e973e5a6b2a43f48e7dc849e37bfcf")
OTHER_KEY = bytes.fromhex("445536bcd2513298075a5d379663c962")
NOW = 1_800_000_000
NO_MATCH = passed(Reason.NO_MATCH)
SPENT = (f"{CLIENT4}/32", "2001:db8:1::/64")

_NOTHING = Limits(x_left=False, slip=0, cookie_keys=(KEY, OTHER_KEY), now=NOW)
EMPTY = Scene(config=KNOWN, limits=_NOTHING)
OVER = Scene(config=KNOWN, limits=replace(_NOTHING, x_left=True, spent=SPENT))
PROVEN = Scene(config=KNOWN, limits=Limits(x_left=False, slip=0, proven=(CLIENT4, CLIENT6)))

REFUSED = dropped(Reason.UNPROVEN)
LIMITED = dropped(Reason.LIMIT)


def option(code: int, data: bytes, length: int | None = None) -> bytes:
    """Return an EDNS option, whose length may lie."""
    return struct.pack("!HH", code, len(data) if length is None else length) + data


def cookie_of(source: str, stamp: int = NOW, key: bytes = KEY) -> bytes:
    """Return a cookie that a server made for this source."""
    return server_cookie(key, ip_address(source), stamp % 2**32)


def with_options(options: bytes, *, length: int | None = None, behind: bytes = b"") -> bytes:
    """Return a query with an OPT of these options; its RDLENGTH may lie."""
    record = opt(1232, options=options, length=length)
    return query("www.example", flags=RD, counts=(1, 0, 0, 1), behind=record + behind)


def each(made: dict[str, bytes]) -> tuple[bytes, bytes]:
    """Return the frames of both clients' messages, by source."""
    v4, v6 = made[CLIENT4], made[CLIENT6]
    return ethernet(ipv4(Udp(v4))), ethernet(ipv6(Udp(v6)))


def cookies(stamp: int = NOW, key: bytes = KEY) -> tuple[bytes, bytes]:
    """Return a query of each client with its cookie alone."""
    return each(
        {
            source: with_options(option(COOKIE_OPTION, cookie_of(source, stamp, key)))
            for source in (CLIENT4, CLIENT6)
        }
    )


def around(before: bytes, behind: bytes = b"", *, length: int | None = None) -> tuple[bytes, bytes]:
    """Return a query of each client with its good cookie between other options."""
    return each(
        {
            source: with_options(
                before + option(COOKIE_OPTION, cookie_of(source)) + behind, length=length
            )
            for source in (CLIENT4, CLIENT6)
        }
    )


def _vector(number: int, source: str, octets: str, now: int, *keys: str) -> Case:
    """Return a cookie of RFC 9018's appendix, as a server has it at that time."""
    keys_of = tuple(bytes.fromhex(key) for key in keys)
    limits = replace(_NOTHING, cookie_keys=keys_of, now=now)
    message = with_options(option(COOKIE_OPTION, bytes.fromhex(octets)))
    build = ipv4 if "." in source else ipv6
    frame = ethernet(build(Udp(message), source=source))
    return Case(
        f"RFC 9018, A.{number}, {octets[-4:]}", Scene(config=KNOWN, limits=limits), frame, NO_MATCH
    )


_FIRST = "e5e973e5a6b2a43f48e7dc849e37bfcf"
_SECOND, _THIRD = "dd3bdf9344b678b185a6f5cb60fca715", "445536bcd2513298075a5d379663c962"
_ROLLED = "2001:db8:220:1:59de:d0f4:8769:82b8"

VECTORS = (
    _vector(
        1,
        "198.51.100.100",
        "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
        1559731985,
        _FIRST,
    ),
    _vector(
        2,
        "198.51.100.100",
        "2464c4abcf10c957010000005cf7a871d4a564a1442aca77",
        1559734385,
        _FIRST,
    ),
    _vector(
        3,
        "203.0.113.203",
        "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
        0x5CF78F71 + 2400,
        _FIRST,
    ),
    _vector(
        4,
        _ROLLED,
        "22681ab97d52c298010000005cf7c57926556bd0934c72f8",
        0x5CF7C609,
        _THIRD,
        _SECOND,
    ),
    _vector(
        4, _ROLLED, "22681ab97d52c298010000005cf7c609a6bb79d16625507a", 0x5CF7C609, _THIRD, _SECOND
    ),
)

PROVED = (
    *pair("a proven source when nothing of the total is left", PROVEN, frames(QUERY), NO_MATCH),
    *pair(
        "a source that is not proven",
        PROVEN,
        frames(QUERY, ("192.0.2.2", "2001:db8:1:100::1")),
        REFUSED,
    ),
    Case(
        "a neighbour in the /56 of a proven source",
        PROVEN,
        frames(QUERY, (CLIENT4, "2001:db8:1:ff::2"))[1],
        NO_MATCH,
    ),
    *pair(
        "a proven source when nothing is left for those either",
        replace(PROVEN, limits=replace(PROVEN.limits, y_left=False)),
        frames(QUERY),
        REFUSED,
    ),
    *pair(
        "a proven source over its first limit",
        replace(PROVEN, limits=replace(PROVEN.limits, x_left=True, spent=SPENT)),
        frames(QUERY),
        NO_MATCH,
    ),
    *pair(
        "a source over its first limit that is not proven",
        replace(PROVEN, limits=replace(PROVEN.limits, x_left=True, spent=SPENT, proven=())),
        frames(QUERY),
        LIMITED,
    ),
    *pair(
        "a proven source where proofs do not count",
        replace(PROVEN, config=LIMITS),
        frames(QUERY),
        REFUSED,
    ),
    *pair(
        "a proven source's message without a whole question",
        PROVEN,
        frames(QUERY[:20]),
        NO_MATCH,
    ),
)

GOOD = (
    *pair("a good cookie when nothing of the total is left", EMPTY, cookies(), NO_MATCH),
    *pair("a good cookie over the limit", OVER, cookies(), NO_MATCH),
    *pair("a cookie by the second secret", EMPTY, cookies(key=OTHER_KEY), NO_MATCH),
    *pair("a cookie of an hour ago", EMPTY, cookies(NOW - 3600), NO_MATCH),
    *pair("a cookie of five minutes ahead", EMPTY, cookies(NOW + 300), NO_MATCH),
    *pair(
        "a cookie of before the clock's turn",
        replace(EMPTY, limits=replace(_NOTHING, now=100)),
        cookies(2**32 - 1),
        NO_MATCH,
    ),
    *pair(
        "a cookie of behind the clock's turn",
        replace(EMPTY, limits=replace(_NOTHING, now=2**32 - 100)),
        cookies(100),
        NO_MATCH,
    ),
    *pair("a good cookie before padding", EMPTY, around(b"", padding(40)), NO_MATCH),
    *pair("a good cookie in the second option", EMPTY, around(padding(0)), NO_MATCH),
    *pair("a good cookie in the fourth option", EMPTY, around(padding(7) * 3), NO_MATCH),
    *pair("a good cookie before a bad one", EMPTY, around(b"", option(10, bytes(24))), NO_MATCH),
    *pair("a good cookie before an option that is cut", EMPTY, around(b"", b"\0\x0c\0"), NO_MATCH),
    Case(
        "a good cookie behind VLAN tags",
        EMPTY,
        ethernet(
            ipv4(Udp(with_options(option(COOKIE_OPTION, cookie_of(CLIENT4))))), tags=(Tag(), Tag())
        ),
        NO_MATCH,
    ),
    Case(
        "a good cookie behind IP options",
        EMPTY,
        ethernet(
            ipv4(Udp(with_options(option(COOKIE_OPTION, cookie_of(CLIENT4)))), options=bytes(40))
        ),
        NO_MATCH,
    ),
    Case(
        "a good cookie behind extension headers",
        EMPTY,
        ethernet(
            ipv6(
                Udp(with_options(option(COOKIE_OPTION, cookie_of(CLIENT6)))),
                extensions=(hop_by_hop(3),),
            )
        ),
        NO_MATCH,
    ),
    *pair(
        "a good cookie to a socket",
        Scene((), replace(KNOWN, xsk=XskFamily.BOTH), DESTINATIONS, (0,), limits=_NOTHING),
        cookies(),
        redirected(),
    ),
)


def _changed(at: int, octet: int) -> tuple[bytes, bytes]:
    """Return each client's good cookie with one octet changed."""
    made = {}
    for source in (CLIENT4, CLIENT6):
        data = bytearray(cookie_of(source))
        data[at] ^= octet
        made[source] = with_options(option(COOKIE_OPTION, bytes(data)))
    return each(made)


def _cut(size: int) -> tuple[bytes, bytes]:
    """Return each client's good cookie, of which the option has so many octets."""
    return each(
        {
            source: with_options(option(COOKIE_OPTION, (cookie_of(source) + bytes(8))[:size]))
            for source in (CLIENT4, CLIENT6)
        }
    )


def _bad() -> Iterator[Case]:
    for at in (0, 7, 9, 15, 16, 23):
        yield from pair(f"a cookie of which octet {at} is another", EMPTY, _changed(at, 1), REFUSED)
    yield from pair("a cookie of version 2", EMPTY, _changed(8, 3), REFUSED)
    yield from pair("a cookie of an hour and a second ago", EMPTY, cookies(NOW - 3601), REFUSED)
    yield from pair("a cookie of 301 seconds ahead", EMPTY, cookies(NOW + 301), REFUSED)
    yield from pair("a cookie of half the clock's turn", EMPTY, cookies(NOW + 2**31), REFUSED)
    yield from pair("a cookie by another secret", EMPTY, cookies(key=bytes(16)), REFUSED)
    yield from pair("a bad cookie over the limit", OVER, cookies(key=bytes(16)), LIMITED)
    for size in (0, 8, 16, 23, 25, 32):
        yield from pair(f"a cookie of {size} octets", EMPTY, _cut(size), REFUSED)
    yield from pair(
        "another address's cookie",
        EMPTY,
        each(
            {
                CLIENT4: with_options(option(COOKIE_OPTION, cookie_of("192.0.2.2"))),
                CLIENT6: with_options(option(COOKIE_OPTION, cookie_of("2001:db8:1::2"))),
            }
        ),
        REFUSED,
    )
    yield from pair("a good cookie behind a bad one", EMPTY, around(option(10, bytes(24))), REFUSED)
    yield from pair("a good cookie behind a client's", EMPTY, around(COOKIE), REFUSED)
    yield from pair("a good cookie in the fifth option", EMPTY, around(padding(7) * 4), REFUSED)
    yield from pair(
        "an RDLENGTH that ends within the cookie", EMPTY, around(b"", length=27), REFUSED
    )
    yield from pair(
        "an RDLENGTH that ends within the option's header", EMPTY, around(b"", length=3), REFUSED
    )
    yield from pair("an RDLENGTH behind the packet's end", EMPTY, around(b"", length=29), REFUSED)
    yield from pair(
        "an option before it that goes over the end",
        EMPTY,
        around(option(12, b"", 2000)),
        REFUSED,
    )
    yield from pair(
        "no secret in force",
        replace(EMPTY, limits=replace(_NOTHING, cookie_keys=())),
        cookies(),
        REFUSED,
    )
    yield from pair(
        "a cookie where cookies do not count",
        replace(EMPTY, config=replace(KNOWN, cookies=False)),
        cookies(),
        REFUSED,
    )


def _elsewhere() -> Iterator[Case]:
    """Yield a good cookie in messages where it does not stand right behind the one question."""
    data = option(COOKIE_OPTION, cookie_of(CLIENT4))
    record = opt(1232, options=data)
    for counts in ((1, 1, 0, 1), (1, 0, 1, 1), (1, 0, 0, 0), (2, 0, 0, 1), (0, 0, 0, 1)):
        message = query("www.example", counts=counts, behind=record)
        yield Case(f"a cookie, counts {counts}", EMPTY, ethernet(ipv4(Udp(message))), REFUSED)
    yield Case(
        "a cookie in a record of another type",
        EMPTY,
        ethernet(
            ipv4(Udp(query("www.example", counts=(1, 0, 0, 1), behind=b"\0\0\x2a" + record[3:])))
        ),
        REFUSED,
    )
    yield Case(
        "a good cookie in a message of OPCODE 2",
        EMPTY,
        ethernet(
            ipv4(Udp(query("www.example", flags=opcode(2), counts=(1, 0, 0, 1), behind=record)))
        ),
        NO_MATCH,
    )
    whole = eights(with_options(data))
    yield Case(
        "a cookie in a first fragment, v4", EMPTY, ethernet(ipv4(Udp(whole), flags=MF)), REFUSED
    )
    sixth = eights(with_options(option(COOKIE_OPTION, cookie_of(CLIENT6))))
    yield Case(
        "a cookie in a first fragment, v6",
        EMPTY,
        ethernet(ipv6(Udp(sixth), extensions=(fragment(more=True),))),
        REFUSED,
    )
    yield Case(
        "a cookie that goes on in another buffer",
        replace(EMPTY, first_buffer=len(ethernet(ipv4(Udp(with_options(data))))) - 8),
        ethernet(ipv4(Udp(with_options(data)))),
        REFUSED,
    )


CASES = (*PROVED, *VECTORS, *GOOD, *_bad(), *_elsewhere())
