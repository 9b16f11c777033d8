"""dnstap messages and frame streams, as Debian's tools read them."""

from __future__ import annotations

import json
import struct
import subprocess
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.samples.seen import NOW, frame_of, sample_of
from xdpctl.abi import PacketAction, Reason
from xdpctl.program.datagram import Datagram
from xdpctl.rules import Name, parse_target
from xdpctl.samples import dnstap
from xdpctl.samples.dnstap import DnstapEncoder, accepts, control_frame, data_frame
from xdpctl.samples.packets import read_packet
from xdpctl.samples.policy import owner_name

if TYPE_CHECKING:
    from pathlib import Path

    from xdpctl.samples.sample import Sample

ENCODER = DnstapEncoder(b"ns1.example", b"xdpctl 1")
DROPPED = sample_of(
    frame_of("192.0.2.7", "www.evil.example"), PacketAction.DROP, Reason.ZONE, weight=97
)


def encoded(sample: Sample, rule: str | None = None) -> bytes:
    target = None if rule is None else parse_target(rule)
    message = ENCODER.message(sample, read_packet(sample.frame), target)
    assert message is not None
    return message


def stream(*messages: bytes) -> bytes:
    """Return what a file has."""
    frames = b"".join(map(data_frame, messages))
    return control_frame(dnstap.START) + frames + control_frame(dnstap.STOP)


def read_with(tool: tuple[str, ...], file: Path) -> str:
    done = subprocess.run(
        [*tool, str(file)], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout


def fields(octets: bytes) -> dict[int, Any]:
    """Return the fields of a protobuf message, by number; an own reader."""
    found: dict[int, Any] = {}

    def varint() -> int:
        nonlocal octets
        value = shift = 0
        while True:
            octet, octets = octets[0], octets[1:]
            value |= (octet & 0x7F) << shift
            shift += 7
            if octet < 0x80:
                return value

    while octets:
        key = varint()
        match key & 7:
            case 0:
                found[key >> 3] = varint()
            case 2:
                size = varint()
                found[key >> 3], octets = octets[:size], octets[size:]
            case 5:
                found[key >> 3], octets = struct.unpack_from("<I", octets)[0], octets[4:]
            case other:
                pytest.fail(f"wire type {other}")
    return found


def policy_of(message: bytes) -> dict[int, Any]:
    inner = fields(fields(message)[14])
    return fields(inner[15]) if 15 in inner else {}


def test_dnstap_ldns_reads_a_file(tmp_path: Path) -> None:
    file = tmp_path / "seen.fstrm"
    six = sample_of(frame_of("2001:db8::1", "a.example", 28))
    file.write_bytes(stream(encoded(DROPPED, ".evil.example"), encoded(six)))
    said = read_with(("/usr/bin/dnstap-ldns", "-y", "-r"), file)
    assert said.count("type: CLIENT_QUERY") == 2
    assert 'query_address: "192.0.2.7"' in said
    assert 'identity: "ns1.example"' in said
    assert "www.evil.example." in said
    assert "a.example." in said


def test_golang_dnstap_reads_the_policy(tmp_path: Path) -> None:
    file = tmp_path / "seen.fstrm"
    file.write_bytes(stream(encoded(DROPPED, ".evil.example")))
    document = json.loads(read_with(("/usr/bin/dnstap", "-j", "-r"), file))
    message = document["message"]
    assert (message["type"], message["query_address"]) == ("CLIENT_QUERY", "192.0.2.7")
    assert message["query_port"] == 40053
    policy = message.get("policy")
    if policy is not None:  # a version without it does not show it
        assert policy["type"] == "xdpctl"


def test_a_message_has_what_the_filter_saw() -> None:
    outer = fields(encoded(DROPPED, ".evil.example"))
    assert (outer[1], outer[2], outer[15]) == (b"ns1.example", b"xdpctl 1", 1)
    assert outer[3] == b"interface=eth0 reason=zone weight=97"
    inner = fields(outer[14])
    assert (inner[1], inner[2], inner[3]) == (5, 1, 1)
    assert inner[4] == ip_address("192.0.2.7").packed
    assert (inner[6], inner[7], inner[8], inner[9]) == (40053, 53, int(NOW), 250_000_000)
    assert inner[10] == DROPPED.frame[42:]


WWW = Name.from_text("www.evil.example").wire


@pytest.mark.parametrize(
    ("rule", "owner", "match", "value"),
    [
        ("192.0.2.7", b"\x0232\x017\x012\x010\x03192\x0drpz-client-ip\0", 2, b"\xc0\0\2\7"),
        ("192.0.2.0/24", b"\x0224\x010\x012\x010\x03192\x0drpz-client-ip\0", 2, b"\xc0\0\2\7"),
        ("www.evil.example", WWW, 1, WWW),
        (".www.evil.example", WWW, 1, WWW),
        (".evil.example", b"\x01*\x04evil\x07example\0", 1, WWW),
        ("*.evil.example", b"\x01*\x04evil\x07example\0", 1, WWW),
    ],
)
def test_a_rule_is_named_as_in_a_policy_zone(
    rule: str, owner: bytes, match: int, value: bytes
) -> None:
    policy = policy_of(encoded(DROPPED, rule))
    assert policy == {1: b"xdpctl", 2: owner, 3: 4, 4: match, 5: value}


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("2001:db8::/32", "32.zz.db8.2001"),
        ("2001:db8::1", "128.1.zz.db8.2001"),
        ("::/0", "0.zz"),
        ("::1", "128.1.zz"),
        ("1:2:3:4:5:6:7:8", "128.8.7.6.5.4.3.2.1"),
    ],
)
def test_ipv6_is_written_in_words_from_behind(text: str, labels: str) -> None:
    target = ip_network(text) if "/" in text else ip_address(text)
    parts = [*labels.split("."), "rpz-client-ip"]
    wire = b"".join(bytes((len(part),)) + part.encode() for part in parts) + b"\0"
    assert owner_name(target) == wire


@pytest.mark.parametrize(
    ("action", "reason", "policy"),
    [
        (PacketAction.PASS, Reason.NO_MATCH, {}),
        (PacketAction.REDIRECT, Reason.REDIRECT, {}),
        (PacketAction.DROP, Reason.MALFORMED, {1: b"xdpctl", 3: 4}),
        (PacketAction.TRUNCATE, Reason.LIMIT, {1: b"xdpctl", 3: 5, 4: 2, 5: b"\xc0\0\2\7"}),
        (PacketAction.DROP, Reason.ZONE_LIMIT, {1: b"xdpctl", 3: 4, 4: 1, 5: WWW}),
        (PacketAction.PASS, Reason.EXEMPT, {1: b"xdpctl", 3: 3, 4: 2, 5: b"\xc0\0\2\7"}),
    ],
)
def test_what_no_rule_decided_has_no_owner_name(
    action: PacketAction, reason: Reason, policy: dict[int, object]
) -> None:
    assert policy_of(encoded(sample_of(DROPPED.frame, action, reason))) == policy


def test_of_a_message_that_is_cut_the_question_is_left() -> None:
    frame = DROPPED.frame[:50] + b"\0\0\0\1" + DROPPED.frame[54:] + b"\0\0\x29"  # an OPT begins
    frame = frame[:38] + struct.pack("!H", len(frame) - 34 + 500) + frame[40:]
    message = encoded(sample_of(frame, length=900))
    query = fields(fields(message)[14])[10]
    assert query == frame[42:46] + b"\0\1" + bytes(6) + DROPPED.frame[54:]


def test_a_response_is_left_out() -> None:
    asked = Datagram(ip_address("192.0.2.1"), ip_address("192.0.2.53"), 40053, 53)
    frame = asked.answer().frame()
    assert ENCODER.message(sample_of(frame), read_packet(frame), None) is None


@pytest.mark.parametrize(
    ("body", "good"),
    [
        (control_frame(dnstap.ACCEPT)[8:], True),
        (struct.pack("!I", dnstap.ACCEPT), True),
        (control_frame(dnstap.READY)[8:], False),
        (struct.pack("!III", dnstap.ACCEPT, 1, 5) + b"other", False),
        (b"", False),
    ],
)
def test_a_receiver_that_wants_something_else_is_noticed(body: bytes, good: bool) -> None:  # noqa: FBT001
    assert accepts(body) is good


@given(st.binary(max_size=60))
def test_no_answer_of_a_receiver_raises(body: bytes) -> None:
    accepts(body)
