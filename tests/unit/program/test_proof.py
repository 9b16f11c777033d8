"""Which TCP segments and which connections prove their source, on the C compiled for this host.

The table that they write to is read by xdpctl/limits/proven.py, which shares no code with it.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engines.host_build import HostFilter
from tests.packets.build import (
    CLIENT4,
    CLIENT6,
    CLIENT_PORT,
    MF,
    SERVER4,
    SERVER6,
    TCP,
    Raw,
    Tag,
    Tcp,
    destination_options,
    ethernet,
    fragment,
    hop_by_hop,
    ipv4,
    ipv6,
)
from tests.packets.case import DEFAULT, drop
from xdpctl.abi import (
    LIMITS_SECRETS_SIZE,
    MAPS,
    LimitValues,
    MapName,
    PacketAction,
    Reason,
    RuleAction,
    TallyRow,
    encode_addr_v4,
    encode_limits,
    encode_limits_kept,
    encode_value,
)
from xdpctl.limits.proven import WORDS, ProvenSources, lifetime_units

if TYPE_CHECKING:
    from xdpctl.program.config import ProgramConfig

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, TIME_WAIT = range(1, 7)
CLOSE, CLOSE_WAIT, LAST_ACK, LISTEN, CLOSING, NEW_SYN_RECV = range(7, 13)
HZ = 250
DAY = 24 * 3600 * HZ
LIFETIME = lifetime_units(24 * 3600, HZ)
LINES = 16
SECRETS = bytes(range(LIMITS_SECRETS_SIZE))
CONFIG = replace(DEFAULT, proof=True, proven=True, ports=(53, 5353), address_ports=(853,))


class Site:
    """A filter that proves sources, on a host whose sockets and clock a test sets.

    Attributes:
        now: ticks, in step with the filter's.
        proven: the table as Python reads it.
    """

    def __init__(self, config: ProgramConfig = CONFIG) -> None:
        self.filter = HostFilter(config, sanitize=True)
        self.limits = self.filter.array(MAPS[MapName.LIMITS].ref, 1)
        self.lines = self.filter.array(MAPS[MapName.LIMIT_PROVEN].ref, LINES)
        self.start(SECRETS)

    def start(self, drawn: bytes, lifetime: int = LIFETIME) -> None:
        """Empty everything."""
        value = encode_limits(LimitValues(proven_lifetime=lifetime))
        value += encode_limits_kept(1, LINES, drawn)
        self.limits[:] = value
        self.lines[:] = bytes(len(self.lines))
        self.filter.clear()
        self.now = DAY
        self.proven = ProvenSources(self.lines, value, lambda: self.now, lambda: lifetime)

    def wait(self, ticks: int) -> None:
        self.now += ticks
        self.filter.set_ticks(self.now)

    def connect(self, source: str = CLIENT4, state: int = ESTABLISHED, port: int = 53) -> None:
        """Give the host a socket for segments from this source."""
        server = SERVER4 if "." in source else SERVER6
        ends = ip_address(source).packed + ip_address(server).packed
        self.filter.make_socket(ends + struct.pack("!2H", CLIENT_PORT, port), state)

    def gets(self, frame: bytes) -> tuple[Reason, PacketAction]:
        run = self.filter.run(frame)
        assert run.frame == frame
        return run.reason, run.action

    def asked(self) -> tuple[int, int]:
        """Return how often the last frame made the program look a socket up: (in vain, not)."""
        tally = self.filter.tally
        return tally(TallyRow.PROOFS, good=False), tally(TallyRow.PROOFS, good=True)


def tcp(flags: int = ACK, port: int = 53, payload: bytes = b"") -> Tcp:
    """Return a segment."""
    return Tcp(payload, CLIENT_PORT, port, flags)


def cut(size: int) -> Raw:
    """Return the first octets of a segment."""
    return Raw(TCP, tcp().wire(CLIENT4, SERVER4)[:size])


def segment(flags: int = ACK, source: str = CLIENT4, port: int = 53) -> bytes:
    if "." in source:
        return ethernet(ipv4(tcp(flags, port), source=source))
    return ethernet(ipv6(tcp(flags, port), source=source))


@pytest.fixture(scope="module")
def shared() -> Site:
    return Site()


@pytest.fixture
def site(shared: Site) -> Site:
    shared.start(SECRETS)
    return shared


SOURCES = (CLIENT4, CLIENT6)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("flags", [ACK, ACK | PSH, ACK | FIN])
def test_a_segment_of_a_connection_proves_its_source(site: Site, source: str, flags: int) -> None:
    site.connect(source)
    assert site.gets(segment(flags, source)) == (Reason.NO_MATCH, PacketAction.PASS)
    assert site.proven.is_proven(ip_address(source))
    assert site.asked() == (0, 1)
    assert site.proven.count() == 1


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("flags", [SYN, SYN | ACK, RST, RST | ACK, FIN, PSH, 0])
def test_other_flags_ask_for_no_socket(site: Site, source: str, flags: int) -> None:
    site.connect(source)
    site.gets(segment(flags, source))
    assert site.asked() == (0, 0)
    assert site.proven.count() == 0


@pytest.mark.parametrize("source", SOURCES)
def test_a_forged_segment_proves_nothing(site: Site, source: str) -> None:
    site.gets(segment(ACK, source))
    assert site.asked() == (1, 0)
    assert site.proven.count() == 0


@pytest.mark.parametrize(
    ("state", "count"),
    [
        (ESTABLISHED, 1),
        (SYN_SENT, 0),
        (SYN_RECV, 0),
        (FIN_WAIT1, 1),
        (FIN_WAIT2, 1),
        (TIME_WAIT, 0),
        (CLOSE, 0),
        (CLOSE_WAIT, 1),
        (LAST_ACK, 1),
        (LISTEN, 0),
        (CLOSING, 1),
        (NEW_SYN_RECV, 0),
    ],
)
def test_only_a_connection_whose_handshake_is_complete_proves(
    site: Site, state: int, count: int
) -> None:
    site.connect(state=state)
    site.gets(segment())
    assert site.proven.count() == count


@pytest.mark.parametrize("port", [853, 80])
def test_a_port_that_is_not_plain_dns_proves_nothing(site: Site, port: int) -> None:
    site.connect(port=port)
    site.gets(segment(port=port))
    assert site.asked() == (0, 0)


def test_every_port_of_plain_dns_proves(site: Site) -> None:
    site.connect(port=5353)
    site.gets(segment(port=5353))
    assert site.proven.count() == 1


def test_a_dropped_source_proves_nothing(site: Site) -> None:
    site.connect()
    rule = drop(CLIENT4)
    key = encode_addr_v4(IPv4Address(CLIENT4))
    site.filter.set_entry(MAPS[MapName.ADDR_V4].ref, key, encode_value(RuleAction(rule.action)))
    assert site.gets(segment()) == (Reason.ADDR_V4, PacketAction.DROP)
    assert site.proven.count() == 0


def test_a_first_fragment_proves_nothing(site: Site) -> None:
    site.connect()
    site.connect(CLIENT6)
    data = tcp(payload=bytes(4))
    site.gets(ethernet(ipv4(data, flags=MF)))
    site.gets(ethernet(ipv6(data, extensions=(fragment(more=True),))))
    assert site.proven.count() == 0


def test_extension_headers_and_tags_are_walked(site: Site) -> None:
    site.connect(CLIENT6)
    chain = (hop_by_hop(), destination_options(2))
    site.gets(ethernet(ipv6(tcp(), extensions=chain), tags=(Tag(),)))
    assert site.proven.count() == 1


@pytest.mark.parametrize("size", range(1, 14))
def test_a_header_that_is_cut_proves_nothing(site: Site, size: int) -> None:
    site.connect()
    site.gets(ethernet(ipv4(cut(size))))
    assert site.proven.count() == 0


def test_a_source_that_is_the_destination_proves_nothing(site: Site) -> None:
    ends = ip_address(SERVER4).packed * 2 + struct.pack("!2H", CLIENT_PORT, 53)
    site.filter.make_socket(ends, ESTABLISHED)
    site.gets(segment(source=SERVER4))
    assert site.proven.count() == 0


def test_a_new_proof_is_not_asked_for_again(site: Site) -> None:
    site.connect()
    site.gets(segment())
    site.wait((LIFETIME // 4 - 1) * 256)
    site.gets(segment())
    assert site.asked() == (0, 0)


def test_an_older_proof_is_made_new(site: Site) -> None:
    site.connect()
    site.gets(segment())
    site.wait((LIFETIME // 4) * 256)
    site.gets(segment())
    assert site.asked() == (0, 1)
    site.wait((LIFETIME - 1) * 256)
    assert site.proven.is_proven(ip_address(CLIENT4))
    assert site.proven.count() == 1


def test_a_proof_ends(site: Site) -> None:
    site.connect()
    site.gets(segment())
    site.wait(LIFETIME * 256 - 1)
    assert site.proven.is_proven(ip_address(CLIENT4))
    site.wait(1)
    assert not site.proven.is_proven(ip_address(CLIENT4))


def test_without_a_lifetime_nobody_is_proven(site: Site) -> None:
    site.start(bytes(LIMITS_SECRETS_SIZE), lifetime=0)
    site.connect()
    site.gets(segment())
    assert site.asked() == (0, 0)


def test_a_source_of_ipv6_is_its_56(site: Site) -> None:
    site.connect("2001:db8:1:ff::1")
    site.gets(segment(source="2001:db8:1:ff::1"))
    assert site.proven.is_proven(IPv6Address("2001:db8:1:00::"))
    assert not site.proven.is_proven(IPv6Address("2001:db8:1:100::"))


@pytest.mark.parametrize(
    ("tcp_is_filtered", "reason", "action"),
    [
        (True, Reason.NO_MATCH, PacketAction.DROP),
        (False, Reason.OTHER, PacketAction.PASS),
    ],
)
def test_without_tcp_a_segment_proves_and_nothing_else(
    *, tcp_is_filtered: bool, reason: Reason, action: PacketAction
) -> None:
    site = Site(replace(CONFIG, tcp=tcp_is_filtered))
    site.connect()
    assert site.gets(segment()) == (reason, PacketAction.PASS)
    assert site.proven.count() == 1
    ragged = ethernet(ipv4(tcp(payload=b"!"), flags=MF))
    assert site.gets(ragged)[1] is action


# --- the table ----------------------------------------------------------------------------

_ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
_FEW = st.sampled_from([IPv4Address(0xC0000200 + number) for number in range(40)])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_ADDRESSES, st.binary(min_size=LIMITS_SECRETS_SIZE, max_size=LIMITS_SECRETS_SIZE))
def test_program_and_service_agree_where_a_source_is(
    site: Site, address: IPv4Address | IPv6Address, drawn: bytes
) -> None:
    site.start(drawn)
    peer = ops(address, port=53)
    site.filter.see_connection(peer)
    there = bytes(site.lines)
    peers_own = address.is_loopback or address == IPv6Address("::")
    if any(there):
        site.lines[:] = bytes(len(site.lines))
        shown = address if not mapped(address) else mapped(address)
        assert shown is not None
        site.proven.prove(shown)
        assert bytes(site.lines) == there
        assert site.proven.unprove(shown)
        assert not any(site.lines)
    else:
        assert peers_own or (address.version == 6 and not int(address) >> 64)


def mapped(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    return address.ipv4_mapped if isinstance(address, IPv6Address) else None


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_FEW, st.booleans(), st.integers(0, 3 * 256)), max_size=60))
def test_program_and_service_write_the_same_lines(
    site: Site, steps: list[tuple[IPv4Address, bool, int]]
) -> None:
    """The program's writes are repeated by the service on another table."""
    site.start(bytes(LIMITS_SECRETS_SIZE - 8) + b"\3\7\1\2\5\1\1\1")
    other = memoryview(bytearray(len(site.lines)))
    twin = ProvenSources(other, bytes(site.limits), lambda: site.now, lambda: LIFETIME)
    for address, goes, ticks in steps:
        site.wait(ticks)
        if goes:
            was_new = twin.is_proven(address)
            site.filter.see_connection(ops(address, port=53))
            if not was_new:
                twin.prove(address)
        else:
            assert site.proven.unprove(address) == twin.unprove(address)
        assert bytes(site.lines) == bytes(other)
        assert site.proven.count() == twin.count()


def test_the_oldest_of_a_line_gives_way(site: Site) -> None:
    site.start(bytes(LIMITS_SECRETS_SIZE))  # every factor is 0: one line for all, one tag
    words = site.lines.cast("B").cast("Q")
    site.connect()
    for number in range(WORDS):
        words[number] = number + 2 << 24 | (site.now >> 8) - 100 - (number * 5) % 8
    site.gets(segment())
    gone = [number for number in range(WORDS) if words[number] >> 24 == 1]
    assert gone == [max(range(WORDS), key=lambda number: number * 5 % 8)]


# --- connections seen by tcp_proof.bpf.c --------------------------------------------------

PASSIVE, STATE = 5, 10


def ops(  # noqa: PLR0913 - one argument a field
    remote: IPv4Address | IPv6Address,
    local: IPv4Address | IPv6Address | None = None,
    *,
    port: int = 53,
    op: int = STATE,
    old: int = SYN_RECV,
    new: int = ESTABLISHED,
    family: int | None = None,
) -> list[int]:
    """Return what the kernel says of a connection (struct bpf_sock_ops of platform.h)."""
    here = local or (IPv4Address("10.0.0.2") if remote.version == 4 else IPv6Address("fd00::2"))
    v4 = [int.from_bytes(end.packed, "little") if end.version == 4 else 0 for end in (remote, here)]
    v6 = [
        word
        for end in (remote, here)
        for word in (struct.unpack("<4I", end.packed) if end.version == 6 else (0, 0, 0, 0))
    ]
    known = 2 if remote.version == 4 else 10
    return [op, old, new, 0, 0, known if family is None else family, *v4, *v6, port, 0]


V4, V6 = IPv4Address(CLIENT4), IPv6Address(CLIENT6)


@pytest.mark.parametrize("remote", [V4, V6])
def test_a_connection_that_is_established_proves(
    site: Site, remote: IPv4Address | IPv6Address
) -> None:
    assert site.filter.see_connection(ops(remote, op=PASSIVE)) == 1
    assert site.filter.wants_changes
    assert site.proven.count() == 0  # it may be the SYN of a fast open
    assert site.filter.see_connection(ops(remote)) == 1
    assert site.proven.is_proven(remote)


@pytest.mark.parametrize(
    ("old", "new"),
    [(ESTABLISHED, CLOSE_WAIT), (SYN_SENT, ESTABLISHED), (SYN_RECV, CLOSE), (SYN_RECV, FIN_WAIT1)],
)
def test_other_changes_prove_nothing(site: Site, old: int, new: int) -> None:
    site.filter.see_connection(ops(V4, old=old, new=new))
    assert site.proven.count() == 0


@pytest.mark.parametrize("op", [0, 1, 2, 3, 4, 6, 8, 11, 12])
def test_other_calls_change_nothing(site: Site, op: int) -> None:
    assert site.filter.see_connection(ops(V4, op=op)) == 1
    assert not site.filter.wants_changes
    assert site.proven.count() == 0


def test_other_ports_are_left_alone(site: Site) -> None:
    assert site.filter.see_connection(ops(V4, port=80, op=PASSIVE)) == 1
    assert not site.filter.wants_changes
    site.filter.see_connection(ops(V4, port=80))
    assert site.proven.count() == 0


def test_ipv4_over_a_socket_for_both_families_is_ipv4(site: Site) -> None:
    site.filter.see_connection(ops(IPv6Address(f"::ffff:{CLIENT4}")))
    assert site.proven.is_proven(V4)
    assert site.proven.count() == 1


@pytest.mark.parametrize("text", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "192.0.2.9", "fd00::9"])
def test_this_host_is_not_proven(site: Site, text: str) -> None:
    here = ip_address(text)
    site.filter.see_connection(ops(here, here))
    assert site.proven.count() == 0


def test_a_family_that_is_neither_proves_nothing(site: Site) -> None:
    site.filter.see_connection(ops(V4, family=1))
    assert site.proven.count() == 0
