"""Text to rule and back (rules, targets, names): strict, and without a loss."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import dns.name
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.strategies import (
    addresses,
    names,
    networks,
    own_types,
    questions,
    rules,
    targets,
)
from xdpctl import abi
from xdpctl.abi import Book, MapName, RuleAction
from xdpctl.errors import TargetError
from xdpctl.rules import (
    AnyQtype,
    Name,
    Question,
    Rule,
    Target,
    format_duration,
    format_rule_line,
    key_of,
    keys_of,
    map_of,
    parse_action,
    parse_duration,
    parse_end,
    parse_network,
    parse_origin,
    parse_qtype,
    parse_reason,
    parse_rule_line,
    parse_target,
    qtype_of,
    qtype_text,
    target_of,
    target_text,
)
from xdpctl.rules.keys import REFS

WILD = [(mode, type_) for mode in AnyQtype for type_ in mode.wildcards]


def wire(*labels: bytes) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def question(*labels: bytes, qtype: int | None = None) -> Question:
    return Question(Name(wire(*labels)), qtype)


# --- what a target's text means -----------------------------------------------------


@pytest.mark.parametrize(
    ("text", "target", "map_name"),
    [
        ("192.0.2.1", IPv4Address("192.0.2.1"), MapName.ADDR_V4),
        ("2001:DB8::1", IPv6Address("2001:db8::1"), MapName.ADDR_V6),
        ("::ffff:192.0.2.1", IPv4Address("192.0.2.1"), MapName.ADDR_V4),
        ("::FFFF:c000:201", IPv4Address("192.0.2.1"), MapName.ADDR_V4),
        ("0:0:0:0:0:ffff:192.0.2.1/128", IPv4Network("192.0.2.1/32"), MapName.CIDR4),
        ("::ffff:192.0.2.0/120", IPv4Network("192.0.2.0/24"), MapName.CIDR4),
        ("::ffff:0:0/96", IPv4Network("0.0.0.0/0"), MapName.CIDR4),
        ("::/95", IPv6Network("::/95"), MapName.CIDR6),
        ("192.0.2.1/32", IPv4Network("192.0.2.1/32"), MapName.CIDR4),
        ("2001:db8::1/128", IPv6Network("2001:db8::1/128"), MapName.CIDR6),
        ("198.51.100.0/24", IPv4Network("198.51.100.0/24"), MapName.CIDR4),
        ("0.0.0.0/0", IPv4Network("0.0.0.0/0"), MapName.CIDR4),
        ("2001:db8::/032", IPv6Network("2001:db8::/32"), MapName.CIDR6),
        ("www.Example.COM", question(b"www", b"example", b"com"), MapName.QNAMES),
        ("www.example.com.", question(b"www", b"example", b"com"), MapName.QNAMES),
        (".", question(), MapName.QNAMES),
        ("example", question(b"example"), MapName.QNAMES),
        ("1.example", question(b"1", b"example"), MapName.QNAMES),
        (r"_dmarc.\042.example", question(b"_dmarc", b"*", b"example"), MapName.QNAMES),
        (r"\042.example", question(b"*", b"example"), MapName.QNAMES),
        (r"\*.example", question(b"*", b"example"), MapName.QNAMES),
        ("\\064", question(b"@"), MapName.QNAMES),
        ("\\@.", question(b"@"), MapName.QNAMES),
        (r"a\047b.example", question(b"a/b", b"example"), MapName.QNAMES),
        (
            r"0\04725.2.0.192.in-addr.arpa",
            question(b"0/25", b"2", b"0", b"192", b"in-addr", b"arpa"),
            MapName.QNAMES,
        ),
        (r"5\/b.example", question(b"5/b", b"example"), MapName.QNAMES),
        (r"mail\.admin.example", question(b"mail.admin", b"example"), MapName.QNAMES),
        (r"mail\.5", question(b"mail.5"), MapName.QNAMES),
        (r"a.\049", question(b"a", b"1"), MapName.QNAMES),
        (r"a\,b.example", question(b"a,b", b"example"), MapName.QNAMES),
        (r"\000\255.example", question(b"\x00\xff", b"example"), MapName.QNAMES),
        (r"\065.example", question(b"a", b"example"), MapName.QNAMES),
        ("xn--bcher-kva.example", question(b"xn--bcher-kva", b"example"), MapName.QNAMES),
        ("xn--99999999.example", question(b"xn--99999999", b"example"), MapName.QNAMES),
    ],
)
def test_text_means_one_target_in_one_map(text: str, target: Target, map_name: MapName) -> None:
    assert (parse_target(text), map_of(target)) == (target, map_name)


@pytest.mark.parametrize(
    "text",
    [
        "300.1.1.1",
        "192.0.2",
        "192.0.2.1.",
        "192.0.2.01",
        "1.2.3.4.5",
        "12345",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/-1",
        "10.0.0.0/8/8",
        "10.0.0.0/255.0.0.0",
        "2001:db8::/129",
        "2001:db8::/\u0663",
        "2001:db8:::1",
        "[2001:db8::1]",
        "fe80::1%eth0",
        "fe80::1%eth0/64",
        "192.0.2.1:53",
        "http://www.example",
        "0/25.2.0.192.in-addr.arpa",
        ":",
    ],
)
def test_what_looks_like_an_address_is_one_or_an_error(text: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(text)
    assert caught.value.text == text
    assert repr(text) in caught.value.sentence


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "a..b",
        "a b.example",
        " example",
        "example\n",
        "exam\u2028ple",
        "a\x00b",
        "exam\u00a0ple",
        "\udcff.example",
        "x" * 64 + ".example",
        "x." * 127 + "xx",
        "x" * 5000,
        "a\\",
        r"a\12",
        r"a\256.example",
        "bü\\.cher.example",
        "bücher.a\\",
        "b\u200bücher.example",
        "\uff11.example",
        "ü" * 63 + ".example",
        "\ufeffexample",
        "a\u3002example",
        "-ü-.example",
        '"192.0.2.1"',
        "'192.0.2.1'",
        "a.example,b.example",
        "a.example;",
        r"a\\,b.example",
        "(a.example)",
    ],
)
def test_what_is_no_name_is_an_error_with_the_offending_text(text: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(text)
    assert caught.value.text == text
    assert repr(text[:70])[1:-1] in caught.value.sentence
    assert caught.value.sentence.isprintable()


def test_a_name_may_have_255_octets_and_labels_of_63() -> None:
    text = ".".join(["x" * 63] * 3 + ["y" * 61])
    assert len(Name.from_text(text).wire) == 255


def test_the_longest_text_of_a_name_is_read() -> None:
    text = ".".join([r"\001" * 63] * 3 + [r"\001" * 61]) + "."
    assert len(Name.from_text(text).wire) == 255


@pytest.mark.parametrize(
    ("text", "a_labels"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.Example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("_tcp.bücher.example.", "_tcp.xn--bcher-kva.example"),
        ("\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example", "xn--mgba3gch31f060k.example"),
    ],
)
def test_a_u_label_becomes_its_a_label(text: str, a_labels: str) -> None:
    assert target_text(parse_target(text)) == a_labels


def test_a_name_is_shown_to_people_with_u_labels() -> None:
    assert Name.from_text("www.xn--bcher-kva.example").to_unicode() == "www.bücher.example"


def test_an_a_label_that_says_nothing_is_shown_as_it_is() -> None:
    assert Name.from_text("xn--99999999.example").to_unicode() == "xn--99999999.example"


@pytest.mark.parametrize(
    ("text", "network", "address"),
    [("192.0.2.1/24", "192.0.2.0/24", "192.0.2.1"), ("2001:db8::1/32", "2001:db8::/32", "db8::1")],
)
def test_host_bits_are_refused_with_the_prefix_that_could_be_meant(
    text: str, network: str, address: str
) -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(text)
    assert network in caught.value.sentence
    assert address in caught.value.sentence


@pytest.mark.parametrize("text", ["192.0.2.1", "192.0.2.0/24", "2001:db8::1"])
def test_a_type_with_an_address_is_refused(text: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(text, "AAAA")
    assert (caught.value.field, caught.value.text) == ("qtype", "AAAA")


def test_a_name_without_type_is_every_type() -> None:
    assert parse_target("www.example") == parse_target("www.example", "")
    assert parse_target("www.example") == question(b"www", b"example", qtype=None)


def test_a_type_belongs_to_a_name() -> None:
    assert parse_target("www.example", "aaaa") == question(b"www", b"example", qtype=28)


@given(st.text() | st.text("0123456789./:\\abcxnü-%@ *"), st.none() | st.text(max_size=8))
@example("\\", None)
@example("xn--a.\u0661", None)
@example("a" * 2000, None)
@example("A", "TYPE³")
@example("A", "9" * 8)
def test_any_text_is_a_target_that_round_trips_or_our_error(text: str, qtype: str | None) -> None:
    try:
        target = parse_target(text, qtype)
    except TargetError:
        return
    type_text = None
    if (number := qtype_of(target)) is not None:
        type_text = qtype_text(number)
    assert parse_target(target_text(target), type_text) == target


@given(targets)
def test_a_target_round_trips_through_its_text(target: Target) -> None:
    type_text = None
    if (number := qtype_of(target)) is not None:
        type_text = qtype_text(number)
    assert parse_target(target_text(target), type_text) == target


@given(targets)
def test_a_targets_text_is_one_printable_ascii_word(target: Target) -> None:
    text = target_text(target)
    assert text.isascii()
    assert text.isprintable()
    assert not set(text) & set(' "#=')


@given(names)
def test_a_name_is_read_as_dnspython_reads_it(name: Name) -> None:
    assert dns.name.from_text(name.to_text()).to_wire() == name.wire


@given(names)
def test_labels_are_those_of_the_wire_form(name: Name) -> None:
    assert wire(*name.labels) == name.wire


@pytest.mark.parametrize("octets", [b"", b"\x01A\0", b"\x01a", b"\x01a\0\0", b"\x40" * 66])
def test_a_name_that_no_query_can_match_is_no_value(octets: bytes) -> None:
    with pytest.raises(TargetError) as caught:
        Name(octets)
    assert caught.value.text == octets.hex()


# --- networks of options ------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.1", "192.0.2.1/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("192.0.2.0/25", "192.0.2.0/25"),
    ],
)
def test_an_address_can_stand_for_its_full_prefix(text: str, network: str) -> None:
    assert parse_network(text) == ip_network(network)


def test_a_name_is_no_network() -> None:
    with pytest.raises(TargetError, match=r"www\.example"):
        parse_network("www.example")


# --- query types --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "qtype"),
    [
        ("A", 1),
        ("aaaa", 28),
        ("HTTPS", 65),
        ("ANY", 255),
        ("TYPE65280", 65280),
        ("type1", 1),
        ("257", 257),
        ("0", 0),
        ("0065535", 65535),
        ("NSAP-PTR", 23),
    ],
)
def test_a_type_is_a_mnemonic_or_a_number(text: str, qtype: int) -> None:
    assert parse_qtype(text) == qtype


@pytest.mark.parametrize(
    "text", ["", "NOPE", "TYPE", "TYPE65536", "65536", "-1", "TYPE³", "٣", "A ", "1.5", "*", "ä"]
)
def test_what_is_no_type_is_an_error_of_its_field(text: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_qtype(text)
    assert (caught.value.text, caught.value.field) == (text, "qtype")


def test_every_type_round_trips_through_its_text() -> None:
    assert [n for n in range(65536) if parse_qtype(qtype_text(n)) != n] == []


# --- keys ---------------------------------------------------------------------------


@given(targets, st.sampled_from(AnyQtype), st.sampled_from(Book))
def test_a_target_round_trips_through_its_key_in_each_book(
    target: Target, any_qtype: AnyQtype, book: Book
) -> None:
    name, key = map_of(target, book), key_of(target, any_qtype, book)
    assert len(key) == abi.BY_REF[REFS[name]].key_size
    assert target_of(name, key, any_qtype) == target


@pytest.mark.parametrize(
    ("mode", "written"),
    [(AnyQtype.BOTH, 65535), (AnyQtype.NEW, 65535), (AnyQtype.LEGACY, 255)],
)
def test_a_name_without_type_is_written_with_the_modes_wildcard(
    mode: AnyQtype, written: int
) -> None:
    assert abi.decode_qname(key_of(question(b"example"), mode))[1] == written


@pytest.mark.parametrize(("mode", "type_"), WILD)
def test_an_entry_of_a_type_that_stands_for_every_type_has_none(mode: AnyQtype, type_: int) -> None:
    key = abi.encode_qname(wire(b"example"), type_)
    assert target_of(MapName.QNAMES, key, mode) == question(b"example")


@pytest.mark.parametrize("mode", AnyQtype)
def test_every_key_that_means_every_type_is_a_key_of_the_name(mode: AnyQtype) -> None:
    assert keys_of(question(b"example"), mode) == tuple(
        abi.encode_qname(wire(b"example"), type_) for type_ in mode.wildcards
    )


@given(st.one_of(addresses, networks, questions.filter(lambda q: q.qtype is not None)))
def test_every_other_target_has_one_key(target: Target) -> None:
    assert keys_of(target, AnyQtype.BOTH) == (key_of(target, AnyQtype.BOTH),)


def test_type_any_is_written_as_255_where_that_blocks_no_other_type() -> None:
    key = key_of(question(b"example", qtype=255), AnyQtype.NEW)
    assert abi.decode_qname(key)[1] == 255
    assert target_of(MapName.QNAMES, key, AnyQtype.NEW) == question(b"example", qtype=255)


@pytest.mark.parametrize("mode", [AnyQtype.BOTH, AnyQtype.LEGACY])
def test_type_any_is_refused_where_it_would_block_every_type(mode: AnyQtype) -> None:
    with pytest.raises(TargetError, match=r"blocks every type.*--any-qtype 65535") as caught:
        key_of(question(b"example", qtype=255), mode)
    assert (caught.value.text, caught.value.field) == ("ANY", "qtype")


@pytest.mark.parametrize("mode", [AnyQtype.BOTH, AnyQtype.NEW])
def test_type_65535_is_refused_where_it_stands_for_every_type(mode: AnyQtype) -> None:
    with pytest.raises(TargetError, match="blocks every type") as caught:
        key_of(question(b"example", qtype=65535), mode)
    assert caught.value.text == "TYPE65535"


def test_an_entry_of_type_65535_is_of_that_type_where_255_is_the_wildcard() -> None:
    key = abi.encode_qname(wire(b"example"), 65535)
    target = target_of(MapName.QNAMES, key, AnyQtype.LEGACY)
    assert target == question(b"example", qtype=65535)
    assert key_of(target, AnyQtype.LEGACY) == key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (MapName.CIDR4, b"\xff\xff\xff\xff" + bytes(4)),
        (MapName.CIDR6, b"\xff\xff\xff\xff" + bytes(16)),
        (MapName.QNAMES, b"\x01A".ljust(258, b"\0")),
        (MapName.QNAMES, b"\xff" * 258),
        (MapName.QNAMES, b"\x01a\0\x01".ljust(258, b"\0")),
    ],
)
def test_an_entry_that_nothing_matches_is_our_error(name: MapName, key: bytes) -> None:
    with pytest.raises(TargetError, match="nothing matches it") as caught:
        target_of(name, key, AnyQtype.BOTH)
    assert caught.value.text == key.hex()


@given(
    st.sampled_from(abi.RULE_PLACES).flatmap(
        lambda name: st.tuples(
            st.just(name),
            st.binary(
                min_size=abi.BY_REF[REFS[name]].key_size, max_size=abi.BY_REF[REFS[name]].key_size
            ),
        )
    ),
    st.sampled_from(AnyQtype),
)
def test_any_key_is_a_target_of_its_map_or_our_error(
    entry: tuple[MapName, bytes], any_qtype: AnyQtype
) -> None:
    name, key = entry
    try:
        target = target_of(name, key, any_qtype)
    except TargetError:
        return
    assert name in {map_of(target, book) for book in Book}


def test_a_map_without_rules_has_no_targets() -> None:
    with pytest.raises(TypeError, match="xskmap"):
        target_of(MapName.XSKMAP, bytes(4), AnyQtype.BOTH)


# --- the words of a rule ------------------------------------------------------------


@pytest.mark.parametrize("action", RuleAction)
def test_an_action_is_its_name_in_small_letters(action: RuleAction) -> None:
    assert parse_action(action.name.lower()) is action


@pytest.mark.parametrize("text", ["", "Drop", "reject", "1", "drop "])
def test_another_word_is_no_action(text: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_action(text)
    assert (caught.value.text, caught.value.field) == (text, "action")


@pytest.mark.parametrize("text", ["cli", "api", "dnsdist", "file:bad names.txt", "list:x"])
def test_an_origin_is_a_word_or_a_kind_with_a_name(text: str) -> None:
    assert parse_origin(text) == text


@pytest.mark.parametrize("text", ["", "me", "file:", "list", "CLI", "cli ", "file:a\nb", "list:\0"])
def test_another_text_is_no_origin(text: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_origin(text)
    assert (caught.value.text, caught.value.field) == (text, "origin")


@pytest.mark.parametrize("text", ["two\nlines", "bell\a", "x" * 201, "\udc80"])
def test_a_reason_is_one_short_printable_line(text: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_reason(text)
    assert (caught.value.text, caught.value.field) == (text, "reason")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("10m", 600),
        ("2h", 7200),
        ("7d", 604_800),
        ("1w", 604_800),
        ("1h30m", 5400),
        ("1w1d1h1m1s", 694_861),
        ("90m", 5400),
        ("3650d", 315_360_000),
    ],
)
def test_a_duration_is_numbers_with_units(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "0s", "0w0d", "-1m", "10", "m", "1.5h", "30m1h", "1h1h", "1y", "1H", " 1h", "1h\n", "٣m",
     "3651d", "3650d1s", "999999999w", "1" * 5000 + "s"],
)  # fmt: skip
def test_what_is_no_duration_is_an_error_of_its_field(text: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_duration(text)
    assert (caught.value.text, caught.value.field) == (text, "for")


@given(st.integers(1, 10 * 365 * 86_400))
def test_a_duration_round_trips(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


def test_a_duration_is_shown_in_its_largest_units() -> None:
    assert format_duration(694_800 + 5) == "1w1d1h5s"


# --- a rule's line ------------------------------------------------------------------


@given(rules)
@example(Rule(question(b'#a="b c'), reason='say "no"\\ #1', origin="list:a b"))
@example(Rule(question(), origin='file:"'))
def test_a_rule_round_trips_through_its_line(rule: Rule) -> None:
    line = format_rule_line(rule)
    assert line.isprintable()
    assert parse_rule_line(line) == rule


@given(rules.map(format_rule_line), st.sampled_from(["\n", "\r\n", "  # because", "\t#", " "]))
def test_what_stands_behind_a_rule_in_its_line_changes_nothing(line: str, tail: str) -> None:
    assert parse_rule_line(line + tail) == parse_rule_line(line)


@given(st.text() | st.text('ab.="\\# \t10:'))
def test_any_line_is_a_rule_or_nothing_or_our_error(line: str) -> None:
    try:
        rule = parse_rule_line(line)
    except TargetError:
        return
    assert rule is None or parse_rule_line(format_rule_line(rule)) == rule


@pytest.mark.parametrize("line", ["", "\n", "   ", "# 192.0.2.1", "  #", "#"])
def test_a_line_may_have_no_rule(line: str) -> None:
    assert parse_rule_line(line) is None


def test_a_target_alone_is_dropped_for_ever_by_whoever_reads_it() -> None:
    assert parse_rule_line("192.0.2.1", "file:bad.txt") == Rule(
        IPv4Address("192.0.2.1"), RuleAction.DROP, reason="", origin="file:bad.txt"
    )


def test_a_line_may_say_everything_in_any_order() -> None:
    line = 'www.example origin=list:x reason="a \\"b\\" \\\\ #c" for=1h30m action=truncate qtype=A'
    assert parse_rule_line(line) == Rule(
        question(b"www", b"example", qtype=1),
        RuleAction.TRUNCATE,
        reason='a "b" \\ #c',
        origin="list:x",
        expires_in=5400,
    )


@pytest.mark.parametrize(
    ("line", "end", "keeps_end", "keeps_reason"),
    [
        ("192.0.2.1", None, True, True),
        ("192.0.2.1 for=10m", 600, False, True),
        ("192.0.2.1 for=forever", None, False, True),
        ('192.0.2.1 reason=""', None, True, False),
    ],
)
def test_a_line_keeps_what_it_does_not_say(
    line: str, end: int | None, *, keeps_end: bool, keeps_reason: bool
) -> None:
    rule = parse_rule_line(line)
    assert rule is not None
    assert (rule.expires_in, rule.keeps_end, rule.keeps_reason) == (end, keeps_end, keeps_reason)


@pytest.mark.parametrize("text", ["ever", "Forever", "0", "-5m", "10 years", "99999999999d"])
def test_an_end_that_cannot_be_read_is_answered_with_those_that_can(text: str) -> None:
    with pytest.raises(TargetError, match=r"1h30m, 7d or 2w.*or forever") as caught:
        parse_end(text)
    assert caught.value.field == "for"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("192.0.2.1 banana", "banana"),
        ("192.0.2.1 until=10m", "until=10m"),
        ("192.0.2.1 for=1m for=2m", "for=2m"),
        ('192.0.2.1 reason="open', 'reason="open'),
        ('192.0.2.1 reason="a"b', 'reason="a"b'),
        ('192.0.2.1 reason="\\n"', 'reason="\\n"'),
        ('192.0.2.1 "reason"', '"reason"'),
    ],
)
def test_what_does_not_belong_in_a_line_is_named(line: str, text: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_rule_line(line)
    assert (caught.value.text, caught.value.field) == (text, "line")


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("300.1.1.1", "target"),
        ('"192.0.2.1"', "target"),
        ("192.0.2.1 qtype=A", "qtype"),
        ("www.example qtype=NOPE", "qtype"),
        ("www.example action=kill", "action"),
        ("www.example for=ever", "for"),
        ("www.example origin=me", "origin"),
        ("www.example reason=" + "x" * 201, "reason"),
    ],
)
def test_a_bad_field_of_a_line_is_named(line: str, field: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_rule_line(line)
    assert caught.value.field == field


@given(own_types)
def test_a_types_line_names_it(qtype: int) -> None:
    line = format_rule_line(Rule(question(b"example", qtype=qtype)))
    assert line == f"example qtype={qtype_text(qtype)} action=drop origin=cli"
