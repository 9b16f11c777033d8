"""Response policy zones: what a rule can say is a row, all else is counted and named."""

from __future__ import annotations

import io
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.strategies import names, networks
from tests.unit.test_lists_lines import ORIGIN, said
from xdpctl.abi import RuleAction
from xdpctl.errors import ListError
from xdpctl.lists import rpz
from xdpctl.lists.lines import LeftOut
from xdpctl.rules import AnyQtype, Name, Question, Target

DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS
SOA = "@ SOA ns.invalid. root.invalid. 1 60 60 60 60\n@ NS ns.invalid.\n"
HEAD = "$TTL 60\n$ORIGIN rpz.example.\n" + SOA


def read(
    content: str, denial: RuleAction = TRUNCATE, left_out: LeftOut | None = None
) -> list[tuple[Target, RuleAction]]:
    """Return targets and actions of a zone file."""
    rows = rpz.rows(
        io.StringIO(content),
        ORIGIN,
        denial,
        AnyQtype.NEW,
        LeftOut() if left_out is None else left_out,
    )
    return [said(row) for row in rows]


def name(text: str) -> Question:
    return Question(Name.from_text(text))


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
        ("*.bad.example CNAME .", "wildcards"),
        ("* CNAME rpz-drop.", "wildcards"),
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
    assert str(left_out) == f"1 {kind} ({record.partition(' ')[0]!r})"


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


def test_a_zone_may_have_no_triggers() -> None:
    assert read(HEAD) == []


@pytest.mark.parametrize(
    ("content", "said_of_it"),
    [
        ("", "not even its SOA"),
        ("; nothing\n", "not even its SOA"),
        ("bad.example. CNAME .\n", "does not begin with its SOA"),
        (HEAD + "bad.example NONSENSE x\n", "line 5: unknown rdatatype"),
        (HEAD + "bad.example CNAME\n", "up to line 6: "),
        (HEAD + "a..b CNAME .\n", "line 5"),
        (HEAD + "bad.example CNAME ( .\n", "up to line 6: "),
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


@given(names.filter(lambda one: 1 < len(one.wire) < 230))
def test_every_name_that_is_no_other_trigger_is_itself(one: Name) -> None:
    if one.labels[0] == b"*":
        return
    text = dns.name.Name(one.labels).to_text()

    assert read(f"{HEAD}{text} CNAME rpz-drop.\n") == [(Question(one), DROP)]


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
