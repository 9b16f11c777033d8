"""Response policy zones: what a rule can say is a row, all else is counted and named."""

from __future__ import annotations

import io
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import dns.exception
import dns.name
import dns.rdataclass
import dns.tokenizer
import dns.transaction
import dns.zonefile
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.strategies import names, networks, zone_names
from tests.unit.feeds.test_lines import ORIGIN, said
from xdpctl.abi import RuleAction, ZoneScope
from xdpctl.errors import ListError, public
from xdpctl.feeds.formats.account import LeftOut
from xdpctl.feeds.formats.rpz import RpzLines
from xdpctl.feeds.formats.zonefile import ZoneFile
from xdpctl.rules import AnyQtype, Name, Question, Target, Zone, parse_target
from xdpctl.rules.rules import IMPLIED

DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS
SOA = "@ SOA ns.invalid. root.invalid. 1 60 60 60 60\n@ NS ns.invalid.\n"
HEAD = "$TTL 60\n$ORIGIN rpz.example.\n" + SOA


def read(
    content: str,
    denial: RuleAction | None = TRUNCATE,
    left_out: LeftOut | None = None,
    only: RuleAction | None = None,
) -> list[tuple[Target, RuleAction]]:
    """Return targets and actions of a zone file."""
    left_out = LeftOut() if left_out is None else left_out
    lines = RpzLines(ORIGIN, denial, AnyQtype.NEW, left_out, only=only)
    every = content.splitlines(keepends=True)
    lines.look(every, 1)
    rows = [*lines.rows(every, 1)]
    rows += lines.end()
    left_out.see_share(0)
    return [said(row) for row in rows]


def name(text: str) -> Question:
    return Question(Name.from_text(text))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (
            "bad.example CNAME . ; Malware, see https://x.example/1/",
            "Malware, see https://x.example/1/",
        ),
        ("bad.example 60 IN CNAME *.;SBL1", "SBL1"),
        ("*.bad.example CNAME . ; SBL2", "SBL2"),
        ("bad.example ( CNAME ; one\n . ) ; two", "two"),
        ("24.0.2.0.192.rpz-client-ip CNAME rpz-drop. ; net", "net"),
        ("bad.example CNAME . ;", ""),
        ("bad.example CNAME .\n; of nothing", ""),
    ],
)
def test_a_comment_behind_a_record_is_the_reason_of_its_rule(record: str, reason: str) -> None:
    lines = RpzLines(ORIGIN, DROP, AnyQtype.NEW, LeftOut())
    every = f"{HEAD}{record}\n".splitlines(keepends=True)
    lines.look(every, 1)

    assert [row[3] for row in (*lines.rows(every, 1), *lines.end())] == [reason]


@pytest.mark.parametrize(
    ("policy", "action"),
    [
        ("CNAME rpz-drop.", DROP),
        ("CNAME rpz-tcp-only.", TRUNCATE),
        ("CNAME rpz-passthru.", PASS),
        ("CNAME RPZ-Drop.", DROP),
        ("CNAME .", TRUNCATE),
        ("CNAME *.", TRUNCATE),
        ("IN 300 CNAME .", TRUNCATE),
    ],
)
@pytest.mark.parametrize(
    ("trigger", "target"),
    [
        ("Bad.Example", name("bad.example")),
        ("32.1.2.0.192.rpz-client-ip", IPv4Address("192.0.2.1")),
        ("24.0.2.0.192.rpz-client-ip", IPv4Network("192.0.2.0/24")),
        ("128.1.zz.db8.2001.rpz-client-ip", IPv6Address("2001:db8::1")),
        ("32.zz.db8.2001.rpz-client-ip", IPv6Network("2001:db8::/32")),
        ("128.1.zz.rpz-client-ip", IPv6Address("::1")),
        ("0.zz.rpz-client-ip", IPv6Network("::/0")),
        ("48.0.0.0.0.0.1.db8.2001.RPZ-Client-IP", IPv6Network("2001:db8:1::/48")),
    ],
)
def test_a_trigger_and_its_policy_are_a_rule(
    trigger: str, target: Target, policy: str, action: RuleAction
) -> None:
    assert read(f"{HEAD}{trigger} {policy}\n") == [(target, action)]


@pytest.mark.parametrize("denial", ["CNAME .", "CNAME *."])
def test_a_denial_is_a_drop_where_the_list_says_so(denial: str) -> None:
    assert read(f"{HEAD}bad.example {denial}\n", DROP) == [(name("bad.example"), DROP)]


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ("*." + "a." * 17 + "x CNAME .", "wildcards of more than 16 labels"),
        ("a.*.example CNAME .", "names with a star that is not the first label"),
        ("a*.example CNAME .", "names with a star that is not the first label"),
        ("*.*.example CNAME .", "names with a star that is not the first label"),
        ("||evil.example^ CNAME .", "names with a character of another syntax"),
        ("a=b.example CNAME .", "names with a character of another syntax"),
        ("*.a/b.example ( CNAME . )", "names with a character of another syntax"),
        ("192.0.2.1 CNAME .", "names that end in a number"),
        ("*.192.0.2 CNAME .", "names that end in a number"),
        ("192.0.2.1 CNAME . ; x", "names that end in a number"),
        ("203.0.113.1-9 CNAME rpz-drop.", "names that end in a number"),
        ("as64500 CNAME .", "names that end in a number"),
        ("024.0.2.0.192.rpz-client-ip CNAME .", "triggers that cannot be read"),
        ("*.bad.example A 192.0.2.1", "records with an answer of their own"),
        ("24.0.2.0.192.rpz-ip CNAME .", "triggers by an answer's address"),
        ("24.0.2.0.192.rpz-nsip CNAME .", "triggers by a name server's address"),
        ("ns.bad.example.rpz-nsdname CNAME .", "triggers by a name server's name"),
        ("bad.example A 192.0.2.1", "records with an answer of their own"),
        ("bad.example CNAME garden.example.", "records with an answer of their own"),
        ("bad.example CNAME rpz-drop", "records with an answer of their own"),
        ("bad.example CNAME *.garden.example.", "records with an answer of their own"),
        ("bad.example TXT nothing", "records with an answer of their own"),
        ("24.1.2.0.192.rpz-client-ip CNAME .", "triggers that cannot be read"),
        ("33.0.2.0.192.rpz-client-ip CNAME .", "triggers that cannot be read"),
        ("24.0.2.0.256.rpz-client-ip CNAME .", "triggers that cannot be read"),
        ("24.0.2.192.rpz-client-ip CNAME .", "triggers that cannot be read"),
        ("zz.rpz-client-ip CNAME .", "triggers that cannot be read"),
        ("128.1.zz.2.zz.rpz-client-ip CNAME .", "triggers that cannot be read"),
        ("rpz-client-ip CNAME .", "triggers that cannot be read"),
        ("bad.example.other. CNAME .", "records outside the zone"),
    ],
)
def test_what_a_rule_cannot_say_is_left_out_counted_and_named(record: str, kind: str) -> None:
    left_out = LeftOut()
    found = read(f"{HEAD}{record}\ngood.example CNAME .\n", left_out=left_out)

    assert found == [(name("good.example"), TRUNCATE)]
    assert left_out.counts == {kind: 1}
    assert str(left_out).endswith(f" ({record.partition(' ')[0]!r})")


APEX = "rpz.example. 60 IN SOA ns.invalid. root.invalid. 1 60 60 60 60\n"
IN_ROOT = "$ORIGIN .\nrpz.example 60 IN SOA ns.invalid. root.invalid. 1 60 60 60 60\n"
FOLDED = "; a comment\n@ IN SOA ns.invalid. root.invalid. (\n 1 60 60\n 60 60 ) ; x\n"


@pytest.mark.parametrize(
    "content",
    [
        HEAD + "bad.example CNAME .\n",
        SOA + "bad.example CNAME .\n",
        APEX + "bad.example CNAME .\n",
        APEX + "bad.example.rpz.example. CNAME .\n",
        IN_ROOT + "bad.example.rpz.example CNAME .\n",
        IN_ROOT + "$ORIGIN rpz.example.\nbad.example CNAME .\n",
        FOLDED + "\nbad.example IN CNAME . ; y\n",
    ],
)
def test_the_zone_may_be_written_in_every_usual_way(content: str) -> None:
    left_out = LeftOut()

    assert read(content, left_out=left_out) == [(name("bad.example"), TRUNCATE)]
    assert len(left_out) == 0


def test_a_record_without_a_name_has_the_one_before() -> None:
    left_out = LeftOut()
    read(f"{HEAD}bad.example A 192.0.2.1\n  AAAA 2001:db8::1\n", left_out=left_out)

    assert str(left_out).startswith("2 records with an answer of their own ('bad.example'")


def test_the_name_before_is_that_under_the_origin_of_then() -> None:
    left_out = LeftOut()
    content = "a.b CNAME .\n$ORIGIN x.rpz.example.\n A 192.0.2.1\nc CNAME .\n A 192.0.2.1\n"
    read(HEAD + content, left_out=left_out)

    assert str(left_out) == "2 records with an answer of their own ('a.b', 'c.x')"


def test_a_zone_may_have_no_triggers() -> None:
    assert read(HEAD) == []


@pytest.mark.parametrize(
    ("content", "said_of_it"),
    [
        ("", "not even its SOA"),
        ("; nothing\n", "not even its SOA"),
        ("bad.example. CNAME .\n", "does not begin with its SOA"),
        (HEAD + "bad.example NONSENSE x\n", "line 5: 'NONSENSE' is not a record type"),
        (HEAD + "bad.example CNAME\n", "line 5"),
        (HEAD + "a..b CNAME .\n", "line 5"),
        (HEAD + "bad.example CNAME ( .\n", "line 5"),
        (HEAD + "$INCLUDE /etc/passwd\n", "$INCLUDE"),
        (HEAD + "$GENERATE 1-9999999 $.bad CNAME .\n", "$GENERATE"),
        ("<html>\n", "RPZ zone"),
    ],
)
def test_what_is_no_zone_file_is_our_error(content: str, said_of_it: str) -> None:
    with pytest.raises(ListError) as caught:
        read(content)
    assert said_of_it in caught.value.sentence
    assert caught.value.sentence.isprintable()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("a.\\042.example", "a.\\042.example"),
        ("a\\@b.example", "a\\064b.example"),
        ("\\049", "\\049"),
        ("0/25.2.0.192.in-addr.arpa", "0\\04725.2.0.192.in-addr.arpa"),
    ],
)
def test_an_escaped_character_is_part_of_a_name_as_is_the_slash_of_rfc_2317(
    owner: str, name: str
) -> None:
    assert read(f"{HEAD}{owner} CNAME rpz-drop.\n") == [(parse_target(name), DROP)]


@pytest.mark.parametrize("owner", ["good.example", "Good.Example", "good.example.rpz.example."])
def test_a_cname_to_the_name_itself_lets_it_pass(owner: str) -> None:
    """That is how PASSTHRU was written at first."""
    found = read(f"{HEAD}{owner} CNAME good.example.\n*.example CNAME .\n", denial=DROP)
    assert (parse_target("good.example"), PASS) in found


@given(names.filter(lambda entry: 1 < len(entry.wire) < 230))
def test_every_name_that_is_no_other_trigger_is_itself(entry: Name) -> None:
    if entry.labels[0] == b"*":
        return
    assert read(f"{HEAD}{entry.to_text()} CNAME rpz-drop.\n") == [(Question(entry), DROP)]


@given(zone_names.filter(lambda one: len(one.wire) < 220))
def test_every_wildcard_is_what_is_below_its_name(one: Name) -> None:
    text = f"*.{one.to_text()}".rstrip(".")
    wanted = [(Zone(one, None, ZoneScope.BELOW), DROP)]
    assert read(f"{HEAD}{text} CNAME rpz-drop.\n") == wanted
    assert read(f"{HEAD}{text} ( CNAME rpz-drop. )\n") == wanted


@given(networks)
def test_every_prefix_is_itself(network: IPv4Network | IPv6Network) -> None:
    if network.version == 4:
        parts = str(network.network_address).split(".")
    else:
        parts = [part.lstrip("0") or "0" for part in network.network_address.exploded.split(":")]
    owner = ".".join([str(network.prefixlen), *reversed(parts)])
    exact = network.prefixlen == network.max_prefixlen
    target = ip_address(network.network_address) if exact else network

    assert read(f"{HEAD}{owner}.rpz-client-ip CNAME rpz-drop.\n") == [(target, DROP)]


pieces = st.sampled_from(
    ["$ORIGIN", "$TTL", "@", "SOA", "CNAME", ".", "*.", "rpz-drop.", "(", ")", ";", '"', "\\", "\n"]
) | st.text(max_size=4)


@given(st.text() | st.lists(pieces, max_size=12).map(lambda some: HEAD + " ".join(some)))
def test_any_text_is_rows_or_our_error(content: str) -> None:
    try:
        assert all(isinstance(action, RuleAction) for _, action in read(content))
    except ListError as error:
        assert "RPZ zone" in error.sentence  # noqa: PT017 - both ends are right


@pytest.mark.parametrize("only", [DROP, TRUNCATE])
def test_a_record_has_no_other_action_than_the_list_names(only: RuleAction) -> None:
    policies = ["rpz-drop.", "rpz-tcp-only.", "rpz-passthru.", "."]
    content = HEAD + "".join(f"n{n}.example CNAME {p}\n" for n, p in enumerate(policies))
    content += "".join(
        f"*.w.example CNAME {p}\n8.0.0.0.{n}.rpz-client-ip CNAME {p}\n"
        for n, p in enumerate(policies)
    )
    left_out = LeftOut()

    found = read(content, only, left_out, only)

    assert [action for _, action in found] == [only] * 6
    assert left_out.kinds == "6 records with another action than the list's"


@pytest.mark.parametrize(
    "record",
    [
        "x TXT ( " + "a\n" * 6_000 + ")\n",
        "x TXT ( " + "; c\n" * 3_000 + "a )\n",
        "(" * 10_001,
        'x TXT "' + "a" * 10_001 + '"\n',
        "a" * 10_001 + " CNAME .\n",
        "(\n" * 6_000 + ")\n" * 6_000,
    ],
)
def test_a_record_has_a_bound_as_a_line_has(record: str) -> None:
    with pytest.raises(ListError, match="longer than 10000 characters"):
        read(HEAD + record)


def test_what_is_said_in_public_quotes_nothing_of_the_file() -> None:
    for record in ("s3cret NONSENSE x", "a..s3cret CNAME .", '"s3cret', "$s3cret", "x CH s3cret"):
        with pytest.raises(ListError) as caught:
            read(f"{HEAD}{record}\n")
        assert "line 5" in public(caught.value.sentence)
        assert "s3cret" not in public(caught.value.sentence)


@pytest.mark.parametrize("origin", ["rpz.example.", ".", "sub.rpz.example.", "other."])
def test_plain_records_are_read_as_all_others(origin: str) -> None:
    """Those of the short way, and the same written so that it does not take them."""
    owners = [
        "a",
        "A.b",
        "*.a",
        "a.rpz.example",
        "b.sub.rpz.example.",
        "a.rpz-ip",
        "c.RPZ.example.",
    ]
    owners += ["a-1_", "1.2.3.4", "d.rpzx.example.", "x" * 63, ".".join(["x" * 58] * 4)]
    targets = ["rpz-drop.", "RPZ-passthru.", ".", "*.", "garden.", "garden.", "rpz-drop"]
    plain = "".join(f"{o} 60 IN CNAME {t}\n IN A 192.0.2.1\n" for o in owners for t in targets)
    odd = (
        plain.replace("CNAME", "CNAME ( ")
        .replace("\n", " )\n")
        .replace("A 192.0.2.1 )", "A 192.0.2.1")
    )
    found = []
    for content in (plain, odd):
        left_out = LeftOut()
        found.append((read(f"{HEAD}$ORIGIN {origin}\n{content}", left_out=left_out), str(left_out)))
    assert found[0] == found[1]


# --- what wildcards do not match ----------------------------------------------------


def below(text: str) -> Zone:
    return Zone(Name.from_text(text), None, ZoneScope.BELOW)


def test_an_exact_name_inside_a_wildcard_hides_what_is_below_it() -> None:
    content = "good.evil.example CNAME rpz-passthru.\n*.evil.example CNAME rpz-drop.\n"
    assert read(HEAD + content) == [
        (name("good.evil.example"), PASS),
        (below("evil.example"), DROP),
        (below("good.evil.example"), PASS),
    ]


def test_a_wildcard_of_its_own_needs_no_other() -> None:
    content = "*.evil.example CNAME rpz-drop.\n*.a.evil.example CNAME .\na.evil.example CNAME .\n"
    assert read(HEAD + content) == [
        (below("evil.example"), DROP),
        (below("a.evil.example"), TRUNCATE),
        (name("a.evil.example"), TRUNCATE),
    ]


def test_a_name_that_exists_only_above_others_is_not_matched_and_hides_too() -> None:
    content = "*.evil.example CNAME rpz-drop.\na.b.evil.example CNAME rpz-drop.\n"
    assert set(read(HEAD + content)) == {
        (below("evil.example"), DROP),
        (name("a.b.evil.example"), DROP),
        (below("a.b.evil.example"), PASS),
        (below("b.evil.example"), PASS),
        (name("b.evil.example"), PASS),
    }


def test_a_record_that_no_rule_can_express_is_not_stopped_by_the_wildcard_above() -> None:
    content = "*.evil.example CNAME rpz-drop.\na.evil.example A 192.0.2.1\n"
    assert set(read(HEAD + content)) == {
        (below("evil.example"), DROP),
        (name("a.evil.example"), PASS),
        (below("a.evil.example"), PASS),
    }


@pytest.mark.parametrize(
    "content",
    [
        "evil.example CNAME .\n*.evil.example CNAME .\n",
        "a.good.example CNAME .\n*.good.example CNAME rpz-passthru.\n",
        "a.evil.example CNAME .\n*.xevil.example CNAME .\n",
    ],
)
def test_a_name_outside_of_every_wildcard_that_stops_needs_no_rule(content: str) -> None:
    assert len(read(HEAD + content)) == 2


def test_what_a_pass_stands_for_is_its_reason() -> None:
    lines = RpzLines(ORIGIN, DROP, AnyQtype.NEW, LeftOut())
    every = (HEAD + "*.evil.example CNAME .\na.evil.example CNAME .\n").splitlines(keepends=True)
    lines.look(every, 1)
    assert {row[3] for row in lines.rows(every, 1)} == {""}
    assert {row[3] for row in lines.end()} == {IMPLIED}


POLICIES = {"rpz-drop.": DROP, "rpz-tcp-only.": TRUNCATE, "rpz-passthru.": PASS, "garden.": None}
parts = st.lists(st.sampled_from("abc"), max_size=4)
owners = (
    st.tuples(st.booleans(), parts)
    .filter(any)
    .map(lambda one: (("*",) if one[0] else ()) + tuple(one[1]))
)


def by_the_standard(zone: dict[tuple[str, ...], RuleAction | None], asked: tuple[str, ...]) -> bool:
    """Return whether the zone stops a name: RFC 4592 with a set of tuples, deepest label first."""
    nodes = {owner[start:] for owner in zone for start in range(len(owner) + 1)}
    if asked in nodes:
        return zone.get(asked) in {DROP, TRUNCATE}
    closest = next(asked[start:] for start in range(len(asked) + 1) if asked[start:] in nodes)
    return zone.get(("*", *closest)) in {DROP, TRUNCATE}


def by_rules(found: list[tuple[Target, RuleAction]], asked: Name) -> bool:
    """Return whether rules stop a name: its own first, then those of the longest zone."""
    rules = dict(found)
    if (action := rules.get(Question(asked))) is None:
        zones = [zone for zone in rules if isinstance(zone, Zone) and zone.covers(asked)]
        longest = max(zones, key=lambda zone: len(zone.name.labels), default=None)
        action = PASS if longest is None else rules[longest]
    return action is not PASS


@given(
    st.dictionaries(owners, st.sampled_from(sorted(POLICIES)), min_size=1, max_size=8),
    st.lists(parts.filter(bool), min_size=1, max_size=20),
    st.sampled_from(["{}", "( {} )"]),
)
@example({("*",): "rpz-drop.", ("a", "b"): "garden."}, [["b"], ["c", "b"], ["c"]], "( {} )")
def test_names_are_stopped_as_in_the_dns(
    zone: dict[tuple[str, ...], str], asked: list[list[str]], way: str
) -> None:
    content = HEAD + "$ORIGIN evil.test.rpz.example.\n"
    for owner, policy in zone.items():
        content += f"{'.'.join(owner)} CNAME {way.format(policy)}\n"
    found = read(content)
    actions = {owner: POLICIES[policy] for owner, policy in zone.items()}
    for labels in asked:
        text = ".".join([*labels, "evil.test"])
        assert by_rules(found, Name.from_text(text)) == by_the_standard(actions, tuple(labels)), (
            text
        )


class _Taken(dns.transaction.Transaction):
    """What dnspython reads of a zone file: the owner and data of each record."""

    def __init__(self) -> None:
        super().__init__(_Zone())
        self.records: list[tuple[dns.name.Name, str]] = []

    def add(self, *args: Any) -> None:  # noqa: ANN401 - dnspython's
        name, _, data = args
        self.records.append((name, f"{data.rdtype} {data}"))

    def _set_origin(self, origin: dns.name.Name) -> None:
        del origin


class _Zone(dns.transaction.TransactionManager):
    def origin_information(self) -> tuple[dns.name.Name | None, bool, dns.name.Name | None]:
        return dns.name.root, False, dns.name.root


def by_dnspython(content: str) -> list[tuple[dns.name.Name, str]] | None:
    """Return the records as dnspython reads them; None: it does not."""
    taken = _Taken()
    reader = dns.zonefile.Reader(
        dns.tokenizer.Tokenizer(content, "text"),
        dns.rdataclass.IN,
        taken,
        allow_directives=("$ORIGIN", "$TTL"),
        default_ttl=60,
    )
    reader.current_origin = reader.last_name = dns.name.from_text("rpz.example.")
    try:
        reader.read()
    except (dns.exception.DNSException, ValueError, IndexError):
        return None
    return taken.records


def by_us(content: str) -> list[tuple[dns.name.Name, str]] | None:
    zone = ZoneFile()
    found = []
    try:
        for number, line in enumerate(io.StringIO(content), 1):
            if record := zone.take(number, line):
                found.append((record.name, f"{record.data.rdtype} {record.data}"))
        zone.end()
    except ListError:
        return None
    return found


WORDS = (
    "a b.c *.d @ e. IN in CH 60 1h CNAME SOA A TXT TYPE65280 . *. rpz-drop. 192.0.2.1 ( ) ; \\# 0"
    ' "q" "(;" \\( \\; \\032 x\\.y $ORIGIN $TTL sub.rpz.example.'
)
words = st.sampled_from(WORDS.split())
records = st.tuples(
    st.sampled_from(["", " ", "\t"]), st.lists(words, max_size=6), st.sampled_from([" ", "", "\t"])
).map(
    lambda entry: entry[0] + entry[2].join(entry[1]) if entry[2] else entry[0] + " ".join(entry[1])
)


@given(st.lists(records, max_size=6).map("\n".join), st.sampled_from(["", "\n", " ; x\n"]))
@example("a CNAME b.c ; x", "")
@example("a CNAME ( b.c\n\n ) ; x", "\n")
@example(" CNAME .\n\tIN 60 CNAME .\nb 60 IN CNAME *.", "\n")
@example('b TXT "x" y"z"\nb TXT \\# 2 0161', "\n")
@example("$ORIGIN sub.rpz.example.\na CNAME x\n$TTL 1d\n@ CNAME @", "\n")
def test_records_are_those_that_dnspython_reads(content: str, end: str) -> None:
    content = HEAD + content + end
    theirs, ours = by_dnspython(content), by_us(content)

    if not re.search(r"\$ORIGIN\s+\S*[^.\s]", content):  # a relative one stays so in dnspython
        assert ours == theirs


plain_records = st.builds(
    "{} {}CNAME {}".format,
    st.sampled_from(["a", "b.c", "*.d", "*.e.f", "*.e", "*"]),
    st.sampled_from(["", "60 ", "IN "]),
    st.sampled_from([".", "*.", "rpz-drop.", "rpz-passthru.", "garden."]),
)


@given(
    st.lists(records | plain_records | plain_records, max_size=12).map("\n".join),
    st.integers(1, 4),
)
@example("a CNAME .\n CNAME .\n*.b CNAME .\n CNAME rpz-tcp-only.", 1)
@example("a CNAME .\nb CNAME .\n$ORIGIN x.rpz.example.\n*.b CNAME .\n CNAME *.", 2)
@example("*.b TXT (\n*.c CNAME .\n) \n*.d CNAME .", 2)
def test_a_look_ahead_finds_the_wildcards_that_reading_finds(content: str, size: int) -> None:
    lines = [f"{line}\n" for line in (HEAD + content).splitlines()]
    try:
        rows = list(RpzLines(ORIGIN, TRUNCATE, AnyQtype.NEW, LeftOut()).rows(lines, 1))
    except ListError:
        return
    reader = RpzLines(ORIGIN, TRUNCATE, AnyQtype.NEW, LeftOut())
    for start in range(0, len(lines), size):
        reader.look(lines[start : start + size], start + 1)
    wanted = {
        key[3:]: action is not PASS
        for _, key, action, *_ in rows
        if key[0] == ZoneScope.BELOW and (action is not DROP or (key[3:] and len(key) > 4 + key[3]))
    }
    assert reader._hidden._wildcards == wanted
