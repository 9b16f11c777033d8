"""`export --rpz`: the zone decides as the rules do, in the DNS's own terms and for our reader."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import addresses, names, networks, zones
from tests.unit.feeds.test_rpz import read
from xdpctl.abi import RuleAction, ZoneScope
from xdpctl.feeds.formats.account import LeftOut
from xdpctl.feeds.formats.owners import InexpressibleError, Owner, owners_of
from xdpctl.feeds.formats.policy_zone import PolicyZone
from xdpctl.rules import Name, Question, Rule, Target, Zone, parse_target
from xdpctl.rules.rules import IMPLIED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS
RPZ = Name.from_text("rpz.example")
POLICIES = {"rpz-drop.": DROP, "rpz-tcp-only.": TRUNCATE, "rpz-passthru.": PASS}

near = st.lists(st.sampled_from(["a", "b"]), max_size=4).map(
    lambda labels: Name.from_text(".".join([*labels, "evil", "example"]))
)
"""Names that are often inside each other; a wildcard of one label would be guarded."""

near_targets = st.one_of(
    near.map(Question),
    near.map(lambda name: Zone(name, None, ZoneScope.BELOW)),
    near.map(lambda name: Zone(name, None, ZoneScope.ALL)),
)
actions = st.sampled_from(RuleAction)


def written(rules: Iterable[Rule]) -> tuple[PolicyZone, list[str]]:
    """Return a zone of these rules, and its records below its apex."""
    zone = PolicyZone(RPZ)
    for rule in rules:
        zone.add(rule)
    lines = list(zone.lines(1))
    assert [line.split()[0] for line in lines[:4]] == ["$ORIGIN", "$TTL", "@", "@"]
    return zone, lines[4:]


def of(*texts: str) -> tuple[PolicyZone, list[str]]:
    """Return the same of `TARGET ACTION`."""
    pairs = (text.split() for text in texts)
    return written(Rule(parse_target(target), RuleAction[word.upper()]) for target, word in pairs)


def decision(rules: Mapping[Target, RuleAction], name: Name) -> RuleAction | None:
    """Return what zone and name rules decide (PACKETS.md, "Two books, zones")."""
    if (exact := rules.get(Question(name))) is not None:
        return exact
    labels = name.labels
    for start in range(len(labels) + 1):
        above = Name(name.wire[sum(len(label) + 1 for label in labels[:start]) :])
        found = [
            action
            for target, action in rules.items()
            if isinstance(target, Zone) and target.name == above and target.covers(name)
        ]
        if found:
            return min(found)
    return None


def answered(records: Mapping[Owner, RuleAction], name: Name) -> RuleAction | None:
    """Return what a zone has for a name (RFC 4592, 3.3.1)."""
    there = {owner[at:] for owner in records for at in range(len(owner) + 1)}
    labels = name.labels
    if labels in there:
        return records.get(labels)
    closest = next(labels[at:] for at in range(len(labels) + 1) if labels[at:] in there)
    return records.get((b"*", *closest))


def queries(rules: Iterable[Target]) -> set[Name]:
    """Return names worth asking for: of the rules, above, and one and two below."""
    found = set()
    for target in rules:
        wire = target.name.wire  # type: ignore[union-attr]
        while len(wire) > 1:
            found |= {Name(front + wire) for front in (b"", b"\1q", b"\1a", b"\1b\1q")}
            wire = wire[wire[0] + 1 :]
    return found


@given(st.dictionaries(near_targets, actions, max_size=8))
def test_a_zone_decides_as_its_rules_do(rules: dict[Target, RuleAction]) -> None:
    _, lines = written(Rule(target, action) for target, action in rules.items())
    text = "\n".join(lines)
    back = dict(read(f"$ORIGIN rpz.example.\n@ SOA a. b. 1 1 1 1 1\n{text}\n"))
    records = {
        tuple(part.encode() for part in line.split()[0].split(".")): POLICIES[line.split()[-1]]
        for line in lines
    }
    assert len(records) == len(lines)
    for name in queries(rules):
        expected = decision(rules, name)
        assert answered(records, name) == expected
        assert decision(back, name) == expected
    assert len(back) == len(lines)


@given(
    st.dictionaries(
        addresses
        | networks
        | names.map(Question)
        | zones.filter(lambda zone: len(zone.name.labels) > 1),  # else a Drop would be guarded
        actions,
        max_size=6,
    )
)
def test_the_reader_finds_every_rule_again(rules: dict[Target, RuleAction]) -> None:
    zone, lines = written(Rule(target, action) for target, action in rules.items())
    left_out = LeftOut()
    text = "\n".join(lines)
    back = dict(read(f"$ORIGIN rpz.example.\n@ SOA a. b. 1 1 1 1 1\n{text}\n", left_out=left_out))
    expected: dict[Owner, list[tuple[bool, RuleAction]]] = {}
    refused = 0
    for target, action in rules.items():
        try:
            owners = owners_of(target, RPZ)
        except InexpressibleError:
            refused += 1
            continue
        for owner in owners:
            wide = isinstance(target, Zone) and target.scope is ZoneScope.ALL
            wide = wide or getattr(target, "prefixlen", 0) in {32, 128}
            expected.setdefault(owner, []).append((wide and owner[0] != b"*", action))
    assert len(zone.left_out) == refused
    assert len(lines) == len(expected) + zone.added
    found = {owner: action for target, action in back.items() for owner in owners_of(target, RPZ)}
    for owner, said in expected.items():
        assert found[owner] == min(said)[1]
    too_deep = left_out.counts.get("wildcards of more than 16 labels", 0)
    assert len(found) == len(expected) + zone.added - too_deep


def test_a_name_inside_a_zone_rule_does_not_hide_what_is_below_it() -> None:
    zone, lines = of(".evil.example drop", "good.evil.example pass")
    assert lines == [
        "good.evil.example CNAME rpz-passthru.",
        "evil.example CNAME rpz-drop.",
        "*.evil.example CNAME rpz-drop.",
        "*.good.evil.example CNAME rpz-drop.",
    ]
    assert zone.added == 1


def test_of_several_claims_the_one_in_force_is_written() -> None:
    target = parse_target("192.0.2.1")
    _, lines = written(
        Rule(target, action, origin=origin)
        for action, origin in ((DROP, "dynamic"), (TRUNCATE, "cli"), (PASS, "app:jail"))
    )
    assert lines == ["32.1.2.0.192.rpz-client-ip CNAME rpz-tcp-only."]


def test_dnsdists_entry_comes_first() -> None:
    target = parse_target("192.0.2.1")
    rules = [Rule(target, PASS), Rule(target, DROP, origin="dnsdist")]
    assert written(rules)[1] == ["32.1.2.0.192.rpz-client-ip CNAME rpz-drop."]


def test_time_and_reason_are_in_the_record() -> None:
    rules = [
        Rule(parse_target("a.example"), reason="SBL 1; seen", expires_in=600),
        Rule(parse_target("b.example"), expires_in=10**10),
    ]
    assert sorted(written(rules)[1]) == [
        "a.example 600 CNAME rpz-drop. ; SBL 1; seen",
        "b.example 2147483647 CNAME rpz-drop.",
    ]


def test_what_no_record_can_say_is_counted() -> None:
    rules = [Rule(parse_target("a.example", "TXT")), Rule(parse_target("0.0.0.0/0"))]
    zone, lines = written(rules)
    assert lines == []
    assert zone.left_out.kinds == "1 rule for every address, 1 rule with a query type"


def test_what_a_list_does_not_block_stays_unblocked() -> None:
    """An implied rule is no record: the name hides what is below it, as in the list's own zone."""
    implied = Rule(parse_target("*.good.evil.example"), PASS, IMPLIED, "list:x")
    listed = [
        Rule(parse_target(text), action, origin="list:x")
        for text, action in ((".evil.example", DROP), ("good.evil.example", PASS))
    ]
    _, lines = written([*listed, implied])
    assert sorted(chain(line.split()[0] for line in lines)) == [
        "*.evil.example",
        "evil.example",
        "good.evil.example",
    ]
