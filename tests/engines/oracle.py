"""PACKETS.md in Python: slow, plain, in the order of its rows.

Owns the verdict of every frame as an independent reading of that page; imports
nothing of xdpctl/ but the numbers of reasons, actions and modes, and no builder.
The table holds it to what is written down, the fuzzers hold the C side to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING

from tests.packets.case import Result, Scene, Verdict
from xdpctl.abi import WILDCARD_QTYPE, Book, PacketAction, Reason, RuleAction, ZoneScope
from xdpctl.rules import AnyQtype
from xdpctl.settings import XskFamily

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.packets.case import LimitedZone, Rule

VLAN_TYPES = (b"\x81\x00", b"\x88\xa8")
MOST_TAGS = 2
IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"
TCP, UDP = 6, 17
FRAGMENT, AH = 44, 51
EXTENSIONS = (0, 43, FRAGMENT, AH, 60)
MOST_EXTENSIONS = 6
DNS_HEADER = 12
XSK_MOST = 1792
OPT_FIXED = 11
ANSWER_OPT_SIZE = 1232
ANSWER_TTL = 64
RX_QUEUE = 0
NS, DNAME = 2, 39
DEEPEST = 40
"""Labels of a name that are looked up in a zone's names; of a longer one the last so many."""
NOTIFY, UPDATE = 4, 5
NOBODY = tuple(
    ip_network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/127", "ff00::/8", "::ffff:0:0/96")
)
"""Whom nothing is sent to, and who sends nothing."""
STRONGEST: tuple[int, ...] = (RuleAction.PASS, RuleAction.DROP, RuleAction.TRUNCATE)
"""The order of actions where a name is in `.z` and in `*.z`."""
REASONS = {
    IPv4Address: Reason.ADDR_V4,
    IPv6Address: Reason.ADDR_V6,
    IPv4Network: Reason.CIDR4,
    IPv6Network: Reason.CIDR6,
    bytes: Reason.QNAME,
}
"""Of a rule in the five rule maps, by its subject."""

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Packet:
    """A UDP or TCP packet, or the first fragment of one, with its ports.

    Attributes:
        frame: what of it lies in its first buffer.
        size: octets of all its buffers.
        ip_at, upper_at: offsets of the IP and of the UDP or TCP header.
        first_fragment: offset 0 and more to come.
        plain_ip: neither IP options nor extension headers.
        ip_length: of the whole IP packet, as its header says.
        data_at: of a first fragment: offset of what the fragments carry.
    """

    frame: bytes
    size: int
    ip_at: int
    upper_at: int
    protocol: int
    source: Address
    destination: Address
    first_fragment: bool
    plain_ip: bool
    ip_length: int
    data_at: int = 0

    @property
    def end(self) -> int:
        """The frame's, but of a first fragment where its IP length says, if that is earlier."""
        size = len(self.frame)
        return min(size, self.ip_at + self.ip_length) if self.first_fragment else size

    @property
    def has_more_buffers(self) -> bool:
        return self.size > len(self.frame)

    @property
    def goes_on(self) -> bool:
        """Whether what stands at its end is in another buffer."""
        return self.has_more_buffers and self.end == len(self.frame)

    @property
    def carried(self) -> int:
        """Of a first fragment: octets of what the fragments carry."""
        return min(self.size, self.ip_at + self.ip_length) - self.data_at

    @property
    def tagged(self) -> bool:
        return self.ip_at > 14

    @property
    def sport(self) -> int:
        return number(self.frame, self.upper_at)

    @property
    def dport(self) -> int:
        return number(self.frame, self.upper_at + 2)

    @property
    def udp_length(self) -> int:
        return number(self.frame, self.upper_at + 4)

    @property
    def dns(self) -> bytes:
        """Everything behind the UDP header."""
        return self.frame[self.upper_at + 8 : self.end]


@dataclass(frozen=True, slots=True)
class Question:
    """A whole first question; `end` is its offset in the message."""

    folded_name: bytes
    qtype: int
    end: int


@dataclass(frozen=True, slots=True)
class Filtered:
    """A filtered packet.

    Attributes:
        registered: its destination is an AF_XDP one.
        at_port: it goes to a `--port` of an `--address`.
        plain_dns: UDP to a `--port` or an AF_XDP destination.
    """

    scene: Scene
    packet: Packet
    registered: bool
    at_port: bool
    plain_dns: bool


class Oracle:
    """The engine."""

    name = "oracle"

    @staticmethod
    def takes(frame: bytes) -> bool:
        del frame
        return True

    def judge(self, scene: Scene, frame: bytes) -> Result:
        return judge(scene, frame)


def number(data: bytes, at: int, size: int = 2) -> int:
    """Return an integer in network order."""
    return int.from_bytes(data[at : at + size], "big")


def judge(scene: Scene, frame: bytes) -> Result:
    """Return what PACKETS.md says becomes of the frame."""
    if scene.panic:
        return Result(Verdict.PASS, Reason.PANIC, PacketAction.PASS)
    packet = way_in(frame[: scene.first_buffer], len(frame))
    if isinstance(packet, Result):
        return packet
    filtered = filtered_as(scene, packet)
    if filtered is None:
        return other()
    if nobody_sends := no_stacks(filtered):
        return nobody_sends
    if is_exempt(scene, packet.source):
        return go_on(filtered, Reason.EXEMPT, None)
    return by_rules(filtered)


def by_rules(filtered: Filtered) -> Result:
    """Return what becomes of a packet that is not exempt."""
    for book in Book:
        hit = address_rule(filtered.scene, book, filtered.packet.source)
        if hit is not None:
            return obey(filtered, hit)
    return without_address_rule(filtered)


def no_stacks(filtered: Filtered) -> Result | None:
    """Return what it meets before any rule: no stack cuts it so, or it is no DNS message."""
    packet = filtered.packet
    if packet.first_fragment and packet.carried % 8:
        return drop(Reason.FRAGMENT)
    if filtered.plain_dns and len(packet.dns) < DNS_HEADER:
        return other() if packet.goes_on else drop(Reason.MALFORMED)
    return None


def without_address_rule(filtered: Filtered) -> Result:
    """Return what becomes of a packet from an address that no rule knows."""
    packet = filtered.packet
    if not filtered.plain_dns:
        return no_hit(filtered)
    asks = is_query(packet.dns) and number(packet.dns, 4) >= 1
    if asks and leads_to_a_pointer(packet.dns):
        return drop(Reason.MALFORMED)
    question = first_question(packet.dns)
    if question is None:
        hides = packet.first_fragment and filtered.at_port and not is_response(packet.dns)
        if packet.goes_on and (asks or hides) and is_cut(packet.dns):
            return other()
        return drop(Reason.FRAGMENT) if hides else within_limits(filtered)
    if asks:
        hit = name_rule(filtered.scene, question)
        if hit is not None:
            return obey(filtered, hit)
    return within_limits(filtered)


# The way in


def other() -> Result:
    return Result(Verdict.PASS, Reason.OTHER, PacketAction.PASS)


def later_fragment() -> Result:
    return Result(Verdict.PASS, Reason.FRAGMENT, PacketAction.PASS)


def drop(reason: Reason, hit: int | None = None) -> Result:
    return Result(Verdict.DROP, reason, PacketAction.DROP, None, hit)


def way_in(frame: bytes, whole: int) -> Packet | Result:
    """Return the packet with its ports, or what becomes of what has none.

    Args:
        frame: what of it lies in its first buffer.
        whole: octets of all its buffers.
    """
    at = 12
    vids: list[int] = []
    while frame[at : at + 2] in VLAN_TYPES:
        if len(frame) < at + 6:  # the tag, and what it announces
            return other()
        vids.append(number(frame, at + 2) & 0x0FFF)
        if len(vids) > MOST_TAGS:
            return drop(Reason.MALFORMED) if 0 in vids else other()
        at += 4
    ethertype = frame[at : at + 2]
    at += 2
    if ethertype == IPV4 and len(frame) >= at + 20 and frame[at] >> 4 == 4:
        return way_in_ipv4(frame, whole, at)
    if ethertype == IPV6 and len(frame) >= at + 40 and frame[at] >> 4 == 6:
        return way_in_ipv6(frame, whole, at)
    return other()


def way_in_ipv4(frame: bytes, whole: int, at: int) -> Packet | Result:
    size = (frame[at] & 0x0F) * 4
    if size < 20 or len(frame) < at + size:
        return other()
    fragment_word = number(frame, at + 6)
    if fragment_word & 0x1FFF:
        return later_fragment()
    return ports(
        Packet(
            frame=frame,
            size=whole,
            ip_at=at,
            upper_at=at + size,
            protocol=frame[at + 9],
            source=IPv4Address(frame[at + 12 : at + 16]),
            destination=IPv4Address(frame[at + 16 : at + 20]),
            first_fragment=bool(fragment_word & 0x2000),
            plain_ip=size == 20,
            ip_length=number(frame, at + 2),
            data_at=at + size,
        )
    )


def way_in_ipv6(frame: bytes, whole: int, at: int) -> Packet | Result:
    upper_at = at + 40
    following = frame[at + 6]
    walked = 0
    ip_length = 40 + number(frame, at + 4)
    end = len(frame)
    data_at = 0
    while following in EXTENSIONS:
        if walked == MOST_EXTENSIONS:
            return drop(Reason.MALFORMED)
        cut_in_fragment = data_at and (whole == len(frame) or end < len(frame))
        if end < upper_at + 8:  # none of them is shorter
            return drop(Reason.FRAGMENT) if cut_in_fragment else other()
        size = extension_size(following, frame[upper_at + 1])
        if end < upper_at + size:
            return drop(Reason.FRAGMENT) if cut_in_fragment else other()
        if following == FRAGMENT:
            fragment_word = number(frame, upper_at + 2)
            if fragment_word >> 3:
                return later_fragment()
            if fragment_word & 1 and not data_at:  # from here on it is known where it ends
                data_at = upper_at + 8
                end = min(end, at + ip_length)
                if end < data_at:
                    return drop(Reason.FRAGMENT)
        following = frame[upper_at]
        upper_at += size
        walked += 1
    return ports(
        Packet(
            frame=frame,
            size=whole,
            ip_at=at,
            upper_at=upper_at,
            protocol=following,
            source=IPv6Address(frame[at + 8 : at + 24]),
            destination=IPv6Address(frame[at + 24 : at + 40]),
            first_fragment=data_at > 0,
            plain_ip=walked == 0,
            ip_length=ip_length,
            data_at=data_at,
        )
    )


def extension_size(kind: int, length: int) -> int:
    """Return the octets of an extension header with this length octet."""
    if kind == FRAGMENT:
        return 8
    return (length + 2) * 4 if kind == AH else (length + 1) * 8


def ports(packet: Packet) -> Packet | Result:
    least = {UDP: 8, TCP: 4}.get(packet.protocol)
    if least is None:
        return other()
    if packet.end < packet.upper_at + least:
        hidden = packet.first_fragment and not packet.goes_on
        return drop(Reason.FRAGMENT) if hidden else other()
    return packet


def filtered_as(scene: Scene, packet: Packet) -> Filtered | None:
    """Return what it is filtered as, None where it is not filtered."""
    config = scene.config
    registered = is_registered(scene, packet)
    here = not config.addresses or any(packet.destination in net for net in config.addresses)
    looked_at = here and (config.tcp or packet.protocol == UDP)
    at_port = looked_at and packet.dport in config.ports
    at_address_port = looked_at and packet.dport in config.address_ports
    if not (registered or at_port or at_address_port):
        return None
    is_udp = packet.protocol == UDP
    return Filtered(scene, packet, registered, at_port, is_udp and (registered or at_port))


def is_registered(scene: Scene, packet: Packet) -> bool:
    """Whether it goes to an AF_XDP destination that this configuration knows."""
    families = scene.config.xsk
    if packet.protocol != UDP or families is None:
        return False
    if packet.destination.version == 6 and families is XskFamily.V4:
        return False
    return (str(packet.destination), packet.dport) in scene.destinations


# Rules


def address_rule(scene: Scene, book: Book, source: Address) -> int | None:
    """Return the index of the book's rule for the exact address, else for the longest prefix."""
    best: tuple[int, int] | None = None
    for index, rule in enumerate(scene.rules):
        if rule.book is not book:
            continue
        match rule.subject:
            case IPv4Address() | IPv6Address() as address if address == source:
                return index
            case IPv4Network() | IPv6Network() as network if (
                network.version == source.version and source in network
            ):
                if best is None or network.prefixlen > best[0]:
                    best = network.prefixlen, index
    return None if best is None else best[1]


def name_rule(scene: Scene, question: Question) -> int | None:
    """Return the index of the rule for the name: the operator's, else the lists'."""
    hit = shared_name_rule(scene, question)
    for book in Book:
        if hit is None:
            hit = longest_rule(scene, book, question)
    return hit


def shared_name_rule(scene: Scene, question: Question) -> int | None:
    """Return the index of the rule in qnames for the own type, else for a wildcard type."""
    wildcards = {
        AnyQtype.BOTH: (65535, 255),
        AnyQtype.NEW: (65535,),
        AnyQtype.LEGACY: (255,),
    }[scene.config.any_qtype]
    for qtype in (question.qtype, *wildcards):
        for index, rule in enumerate(scene.rules):
            shared = not rule.in_tables
            if shared and rule.subject == question.folded_name and rule.qtype == qtype:
                return index
    return None


def longest_rule(scene: Scene, book: Book, question: Question) -> int | None:
    """Return the index of the rule in our own tables for the longest name that ends the question's.

    For the whole name: exact rules, then `.z`. For a shorter one: `.z` and `*.z` alike.
    """
    rules: dict[tuple[bytes, ...], list[int]] = {}
    for index, rule in enumerate(scene.rules):
        if rule.book is book and rule.in_tables and isinstance(rule.subject, bytes):
            rules.setdefault(labels_of(rule.subject), []).append(index)
    labels = labels_of(question.folded_name)
    scopes: tuple[tuple[ZoneScope, ...], ...] = ((ZoneScope.SELF,), (ZoneScope.ALL,))
    while rules:
        for match in scopes:
            for qtype in (question.qtype, WILDCARD_QTYPE):
                found = [
                    index
                    for index in rules.get(labels, ())
                    if scene.rules[index].scope in match and scene.rules[index].qtype == qtype
                ]
                if found:
                    return min(found, key=lambda index: strength(scene.rules[index]))
        if not labels:
            break
        labels, scopes = labels[1:], ((ZoneScope.ALL, ZoneScope.BELOW),)
    return None


def strength(rule: Rule) -> tuple[int, ZoneScope]:
    """Return what is least for the rule that decides; of equals, `.z` counts the hit."""
    return STRONGEST.index(rule.action), rule.scope


def reason_of(rule: Rule) -> Reason:
    """Return why a packet met what the rule says."""
    if rule.book is Book.LISTS:
        return Reason.LIST_NAME if isinstance(rule.subject, bytes) else Reason.LIST_SOURCE
    return Reason.ZONE if rule.in_tables else REASONS[type(rule.subject)]


def obey(filtered: Filtered, hit: int) -> Result:
    """Return what the rule that was hit does to the packet."""
    rule = filtered.scene.rules[hit]
    if rule.action == RuleAction.DROP:
        return drop(reason_of(rule), hit)
    if rule.action == RuleAction.TRUNCATE and filtered.plain_dns:
        return truncate(filtered, reason_of(rule), hit)
    return go_on(filtered, reason_of(rule), hit)


# DNS


def is_response(dns: bytes) -> bool:
    return bool(dns[2] & 0x80)


def opcode(dns: bytes) -> int:
    return dns[2] >> 3 & 0x0F


def is_query(dns: bytes) -> bool:
    return not is_response(dns) and opcode(dns) not in {NOTIFY, UPDATE}


def fold(label: bytes) -> bytes:
    """Return it with ASCII A-Z as a-z, every other octet as it is."""
    return bytes(octet + 32 if 65 <= octet <= 90 else octet for octet in label)


def labels_of(wire: bytes) -> tuple[bytes, ...]:
    """Return the labels of a name in wire form, the first one first."""
    labels: list[bytes] = []
    at = 0
    while wire[at]:
        labels.append(wire[at + 1 : at + 1 + wire[at]])
        at += 1 + wire[at]
    return tuple(labels)


def leads_to_a_pointer(dns: bytes) -> bool:
    """Whether the first question's labels end in a compression pointer of two octets."""
    at = DNS_HEADER
    while at < len(dns) and 1 <= dns[at] <= 63:
        at += 1 + dns[at]
    return at + 2 <= len(dns) and dns[at] >= 0xC0 and at - DNS_HEADER <= 254


def first_question(dns: bytes) -> Question | None:
    """Return the question behind the header, None where it is not whole or no name."""
    wire = b""
    at = DNS_HEADER
    while True:
        if at >= len(dns):
            return None
        size = dns[at]
        if size > 63:
            return None
        label = dns[at + 1 : at + 1 + size]
        if len(label) < size:
            return None
        wire += dns[at : at + 1] + fold(label)
        if len(wire) > 255:
            return None
        at += 1 + size
        if size == 0:
            break
    if len(dns) < at + 4:
        return None
    return Question(wire, number(dns, at), at + 4)


def is_cut(dns: bytes) -> bool:
    """Whether the first question goes on where the message ends, and may be a whole one."""
    at = DNS_HEADER
    while at < len(dns) and 1 <= dns[at] <= 63:
        at += 1 + dns[at]
    if at - DNS_HEADER > 254:
        return False  # whatever follows, it is no name
    return at >= len(dns) or (dns[at] == 0 and at + 5 > len(dns))


# Limits


def is_exempt(scene: Scene, source: Address) -> bool:
    """Whether the source is in an exempt prefix."""
    prefixes = [ip_network(prefix) for prefix in scene.exempt if scene.config.exempt]
    return any(source in prefix for prefix in prefixes if prefix.version == source.version)


def within_limits(filtered: Filtered) -> Result:
    """Return what becomes of a packet to plain DNS that no rule decided."""
    reason = None if is_response(filtered.packet.dns) else over_a_limit(filtered)
    if reason is None:
        return no_hit(filtered)
    limits = filtered.scene.limits
    if limits.dry_run:
        return go_on(filtered, reason, None)
    if not limits.slip or is_unanswerable(filtered.packet):
        return drop(reason)
    return answer(filtered.packet, reason, None)


def over_a_limit(filtered: Filtered) -> Reason | None:
    """Return why a query does not go on, in the order of PACKETS.md."""
    config, limits = filtered.scene.config, filtered.scene.limits
    source = filtered.packet.source
    proven = config.proven and any(is_same_source(source, known) for known in limits.proven)
    cookie = config.cookies and has_good_cookie(filtered)
    ticket = not config.flood or limits.x_left or (proven and limits.y_left)
    accounts = [limits.spent] if ticket else []
    if cookie:
        accounts.append(limits.cookie_spent)
    elif ticket and proven:
        accounts.append(limits.second_spent)
    if not accounts:
        return Reason.UNPROVEN
    if all(is_spent(filtered, spent) for spent in accounts):
        return Reason.LIMIT
    question = first_question(filtered.packet.dns)
    if config.zone_limits and question and is_limited_name(limits.zones, question.folded_name):
        return Reason.ZONE_LIMIT
    return None


def is_limited_name(zones: Sequence[LimitedZone], folded_name: bytes) -> bool:
    """Whether the longest zone that a name is in has nothing left, and does not know the name."""
    labels = labels_of(folded_name)
    found = {labels_of(wire_of(zone.name)): zone for zone in zones}
    for apex in (labels[at:] for at in range(len(labels))):
        if apex in found:
            return found[apex].spent and not exists_in(found[apex], apex, labels)
    return False


def exists_in(zone: LimitedZone, apex: tuple[bytes, ...], labels: tuple[bytes, ...]) -> bool:
    """Whether a name is the zone's own, has a record, or is above or below one that says so."""
    if zone.records is not None:
        labels = labels[-DEEPEST:]
    if labels == apex:
        return True
    for owner, kind in zone.records or ():
        there = labels_of(wire_of(owner))
        if there[-DEEPEST:][-len(labels) :] == labels:
            return True
        cuts = [there[at + 1 :] for at, label in enumerate(there[: -len(apex)]) if label == b"*"]
        if kind == DNAME or (kind == NS and there != apex):
            cuts.append(there)
        if any(len(labels) > len(cut) and labels[-len(cut) :] == cut for cut in cuts):
            return True
    return False


def wire_of(text: str) -> bytes:
    """Return a lower-case name in wire form."""
    return b"".join(bytes((len(label),)) + label.encode() for label in text.split(".")) + b"\0"


def is_spent(filtered: Filtered, spent: tuple[str, ...]) -> bool:
    """Whether one of the source's prefixes has nothing left."""
    config, source = filtered.scene.config, filtered.packet.source
    lengths = config.limits4 if source.version == 4 else config.limits6
    prefixes = {ip_network((source, length), strict=False) for length in lengths}
    return bool(prefixes & {ip_network(prefix) for prefix in spent})


def is_same_source(source: Address, known: str) -> bool:
    """Whether an address is a proven one: IPv6 sources are proven with their /56."""
    length = 32 if source.version == 4 else 56
    return source in ip_network((known, length if ":" in known else 32), strict=False)


def has_good_cookie(filtered: Filtered) -> bool:
    """Whether a cookie in one of the first four options is of a server with our secret."""
    packet, limits = filtered.packet, filtered.scene.limits
    dns = packet.dns
    question = first_question(dns)
    if question is None or packet.first_fragment or number(dns, 4) != 1:
        return False
    cookie = first_cookie(dns, question.end)
    if len(cookie) != 24 or cookie[8] != 1:
        return False
    age = (limits.now - int.from_bytes(cookie[12:16], "big")) % 2**32
    if 3600 < age < 2**32 - 300:
        return False
    hashed = cookie[:16] + packet.source.packed
    return any(siphash(key, hashed) == cookie[16:] for key in limits.cookie_keys)


def first_cookie(dns: bytes, at: int) -> bytes:
    """Return the data of the first cookie among the first four options; b"" without one."""
    if not answer_opt(dns, at):
        return b""
    length = number(dns, at + 9)
    options = dns[at + OPT_FIXED : at + OPT_FIXED + length]
    for _ in range(4):
        if len(options) < 4:
            break
        code, size = number(options, 0), number(options, 2)
        if len(options) < 4 + size:
            break
        if code == 10 and at + OPT_FIXED + length <= len(dns):
            return options[4 : 4 + size]
        options = options[4 + size :]
    return b""


def siphash(key: bytes, data: bytes) -> bytes:
    """Return SipHash-2-4 as its authors' paper has it, in its own order of steps."""
    size = 2**64
    k = [int.from_bytes(key[start : start + 8], "little") for start in (0, 8)]
    a, b, c, d = (
        int.from_bytes(text, "big") ^ k[number % 2]
        for number, text in enumerate((b"somepseu", b"dorandom", b"lygenera", b"tedbytes"))
    )
    last = data + b"\0" * (-(len(data) + 1) % 8) + bytes([len(data) % 256])
    words = [int.from_bytes(last[at : at + 8], "little") for at in range(0, len(last), 8)]
    for word, rounds in [*((word, 2) for word in words), (None, 4)]:
        if word is None:
            c ^= 0xFF
        else:
            d ^= word
        for _ in range(rounds):
            a, c = (a + b) % size, (c + d) % size
            b, d = turned(b, 13) ^ a, turned(d, 16) ^ c
            a = turned(a, 32)
            c, a = (c + b) % size, (a + d) % size
            b, d = turned(b, 17) ^ c, turned(d, 21) ^ a
            c = turned(c, 32)
        a ^= word or 0
    return (a ^ b ^ c ^ d).to_bytes(8, "little")


def turned(word: int, bits: int) -> int:
    """Return 64 bits turned to the left."""
    text = f"{word:064b}"
    return int(text[bits:] + text[:bits], 2)


# Truncate


def truncate(filtered: Filtered, reason: Reason, hit: int) -> Result:
    packet = filtered.packet
    dns = packet.dns
    if is_response(dns):
        return go_on(filtered, Reason.RESPONSE, hit)
    if opcode(dns) in {NOTIFY, UPDATE}:
        return go_on(filtered, Reason.OPCODE, hit)
    if is_unanswerable(packet):
        return drop(Reason.UNANSWERABLE, hit)
    return answer(packet, reason, hit)


def is_unanswerable(packet: Packet) -> bool:
    """Whether no answer with TC=1 can be made of the query."""
    dns = packet.dns
    return (
        opcode(dns) != 0
        or packet.has_more_buffers
        or not packet.plain_ip
        or packet.first_fragment
        or is_between_nobody(packet)
        or number(dns, 4) != 1
        or first_question(dns) is None
    )


def answer(packet: Packet, reason: Reason, hit: int | None) -> Result:
    """Return the answer with TC=1."""
    question = first_question(packet.dns)
    assert question is not None
    asked = packet.dns[DNS_HEADER : question.end]
    frame = answer_frame(packet, asked, answer_opt(packet.dns, question.end))
    return Result(Verdict.TX, reason, PacketAction.TRUNCATE, frame, hit)


def is_between_nobody(packet: Packet) -> bool:
    """Whether an answer would go to a group or nobody, come from one, or be to ourselves."""
    ends = (packet.source, packet.destination)
    group_mac = packet.frame[0] & 1 or packet.frame[6] & 1
    nobody = any(end in net for end in ends for net in NOBODY if net.version == end.version)
    return bool(group_mac) or nobody or packet.source == packet.destination


def answer_opt(dns: bytes, end: int) -> bytes:
    """Return the bare OPT of the answer, nothing where the query had no EDNS."""
    answers, authorities, additional = number(dns, 6), number(dns, 8), number(dns, 10)
    opt = dns[end : end + OPT_FIXED]
    if answers or authorities or not additional or len(opt) < OPT_FIXED:
        return b""
    if opt[0] != 0 or number(opt, 1) != 41:
        return b""
    dnssec_ok = opt[7] & 0x80
    return b"\0\0\x29" + ANSWER_OPT_SIZE.to_bytes(2, "big") + bytes([0, 0, dnssec_ok, 0, 0, 0])


def answer_frame(packet: Packet, asked: bytes, opt: bytes) -> bytes:
    frame, dns = packet.frame, packet.dns
    recursion_desired = dns[2] & 0x01
    checking_disabled = dns[3] & 0x10
    flags = bytes([0x80 | 0x02 | recursion_desired, recursion_desired << 7 | checking_disabled])
    counts = bytes([0, 1, 0, 0, 0, 0, 0, 1 if opt else 0])
    message = dns[:2] + flags + counts + asked + opt

    udp_length = 8 + len(message)
    udp = frame[packet.upper_at + 2 : packet.upper_at + 4]
    udp += frame[packet.upper_at : packet.upper_at + 2] + udp_length.to_bytes(2, "big")
    ends = packet.destination.packed + packet.source.packed
    pseudo = ends + bytes([0, UDP]) + udp_length.to_bytes(2, "big")
    udp += (checksum(pseudo + udp + message) or 0xFFFF).to_bytes(2, "big")

    ip = bytearray(frame[packet.ip_at : packet.upper_at])
    if packet.source.version == 4:
        ip[2:4] = (20 + udp_length).to_bytes(2, "big")
        ip[8] = ANSWER_TTL
        ip[10:12] = bytes(2)
        ip[12:20] = ends
        ip[10:12] = checksum(bytes(ip)).to_bytes(2, "big")
    else:
        ip[4:6] = udp_length.to_bytes(2, "big")
        ip[7] = ANSWER_TTL
        ip[8:40] = ends
    link = frame[6:12] + frame[:6] + frame[12 : packet.ip_at]
    return link + bytes(ip) + udp + message


def checksum(data: bytes) -> int:
    """Return the ones' complement of the ones' complement sum: arithmetic modulo 65535."""
    total = int.from_bytes(data + bytes(len(data) % 2), "big")
    return 0xFFFF - (total % 0xFFFF or 0xFFFF)  # a sum of nothing but zeros is no packet's


# No hit


def no_hit(filtered: Filtered) -> Result:
    if not filtered.registered:
        return Result(Verdict.PASS, Reason.NO_MATCH, PacketAction.PASS)
    eligible = is_eligible(filtered.packet)
    return go_on(filtered, Reason.REDIRECT if eligible else Reason.XSK_INELIGIBLE, None)


def go_on(filtered: Filtered, reason: Reason, hit: int | None) -> Result:
    """Return: redirected where it can be, else passed, under the reason given."""
    socket_there = RX_QUEUE in filtered.scene.sockets
    if filtered.registered and is_eligible(filtered.packet) and socket_there:
        return Result(Verdict.REDIRECT, reason, PacketAction.REDIRECT, None, hit)
    return Result(Verdict.PASS, reason, PacketAction.PASS, None, hit)


def is_eligible(packet: Packet) -> bool:
    """Whether dnsdist would take it from the socket."""
    upper_length = packet.ip_length - (packet.upper_at - packet.ip_at)
    return (
        not packet.tagged
        and not packet.has_more_buffers
        and packet.plain_ip
        and not packet.first_fragment
        and len(packet.frame) == 14 + packet.ip_length
        and packet.udp_length == upper_length
        and len(packet.frame) <= XSK_MOST
    )
