"""Hypothesis strategies for values: names, targets, rules."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network

from hypothesis import strategies as st

from xdpctl.abi import TABLE_LEVELS, RuleAction, ZoneScope
from xdpctl.rules import Name, Question, Rule, Zone

octets = st.integers(0, 255).map(lambda octet: octet + 32 if 65 <= octet <= 90 else octet)


def _wire(parts: list[bytes]) -> bytes:
    wire = b""
    for part in parts:
        if len(wire) + len(part) + 2 <= 255:
            wire += bytes((len(part),)) + part
    return wire + b"\0"


def _labels(longest: int) -> st.SearchStrategy[bytes]:
    return st.lists(octets, min_size=1, max_size=longest).map(bytes)


wire_names = st.one_of(
    st.lists(_labels(63), max_size=8).map(_wire),
    st.lists(_labels(2), max_size=127).map(_wire),
    st.lists(st.sampled_from([b"www", b"1", b"0/25", b"a:b", b"xn--bcher-kva"]), max_size=4).map(
        _wire
    ),
)
"""Every lower-case name in wire form: from the root to 127 labels or 255 octets."""

names = wire_names.map(Name)
addresses = st.ip_addresses().filter(
    lambda address: address.version == 4 or address.ipv4_mapped is None
)
"""Every address that a packet can have."""


def _network(address: object, length: int) -> IPv4Network | IPv6Network:
    longest = 32 if isinstance(address, IPv4Address) else 128
    return ip_network(f"{address}/{length % (longest + 1)}", strict=False)


networks = st.builds(_network, addresses, st.integers(0, 128)).filter(
    lambda network: not (network.version == 6 and network.network_address.ipv4_mapped)
)
own_types = st.integers(0, 65534).filter(lambda qtype: qtype != 255)
"""Types that stand for every type in no mode."""

questions = st.builds(Question, names, st.none() | own_types)
zone_names = names.map(
    lambda name: Name(_wire(list(name.labels[-TABLE_LEVELS:]))) if name.labels else name
)
zones = st.builds(
    lambda name, qtype, scope: Zone(name, qtype, scope if name.labels else ZoneScope.BELOW),
    zone_names,
    st.none() | own_types,
    st.sampled_from([ZoneScope.ALL, ZoneScope.BELOW]),
)
"""Every zone that can be: of at most 16 labels; of the root only what is below it."""

targets = st.one_of(addresses, networks, questions, zones)
printable = st.text(max_size=200).filter(str.isprintable)
origins = st.one_of(
    st.sampled_from(["cli", "api", "dnsdist"]),
    st.builds("{}:{}".format, st.sampled_from(["file", "list"]), printable.filter(bool)),
)
rules = st.builds(
    Rule,
    target=targets,
    action=st.sampled_from(RuleAction),
    reason=printable,
    origin=origins,
    expires_in=st.none() | st.integers(1, 10 * 365 * 86_400),
)
