"""Changes at a primary: ours are made, another's record is never overwritten."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fake_primary import KEY
from tests.support.fake_update_primary import FakeUpdatePrimary
from xdpctl.abi import RuleAction
from xdpctl.feeds.publish.changes import Fate, WantedRecord, ZoneOutcome, settle, verify
from xdpctl.feeds.publish.update import UpdateConnection
from xdpctl.rules import Name
from xdpctl.transfers.client import Primary

if TYPE_CHECKING:
    from collections.abc import Sequence

DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS
ZONE = Name.from_text("rpz.example")
PRIMARY = Primary(IPv4Address("192.0.2.53"), key=KEY)
POLICIES = {DROP: "rpz-drop.", TRUNCATE: "rpz-tcp-only.", PASS: "rpz-passthru."}


def want(
    owner: str,
    action: RuleAction | None = DROP,
    ours: tuple[RuleAction, ...] = (),
    *,
    ttl: int = 60,
    sure: bool = True,
) -> WantedRecord:
    labels = tuple(label.encode() for label in owner.split("."))
    return WantedRecord(labels, ours, action, ttl, sure=sure)


def settled(
    fake: FakeUpdatePrimary, *wanted: WantedRecord, whole: bool = False
) -> tuple[list[Fate | None], ZoneOutcome]:
    """Return the fate of each record, and the whole outcome."""
    outcome = settle(
        ZONE,
        [PRIMARY],
        wanted,
        whole=whole,
        connecting=lambda zone, primary: UpdateConnection(zone, primary, fake.open),
    )
    return [outcome.fates.get(each.owner) for each in wanted], outcome


def fates(fake: FakeUpdatePrimary, *wanted: WantedRecord, whole: bool = False) -> Sequence[object]:
    found, outcome = settled(fake, *wanted, whole=whole)
    assert outcome.error is None
    return found


@pytest.fixture
def fake() -> FakeUpdatePrimary:
    made = FakeUpdatePrimary()
    made.records["theirs.example"] = 60, "rpz-passthru."
    return made


def test_records_are_made_in_one_update(fake: FakeUpdatePrimary) -> None:
    assert fates(fake, want("a.example", ttl=600), want("*.a.example", PASS)) == [Fate.MADE] * 2
    assert fake.records["a.example"] == (600, "rpz-drop.")
    assert fake.records["*.a.example"] == (60, "rpz-passthru.")
    assert fake.updates == 1


def test_another_action_or_ttl_takes_the_place_of_ours(fake: FakeUpdatePrimary) -> None:
    fake.records["a.example"] = 60, "rpz-drop."
    assert fates(fake, want("a.example", TRUNCATE, (DROP,), ttl=90)) == [Fate.MADE]
    assert fake.records["a.example"] == (90, "rpz-tcp-only.")


def test_another_s_record_is_left(fake: FakeUpdatePrimary) -> None:
    found = fates(fake, want("a.example"), want("theirs.example"), want("b.example"))
    assert found == [Fate.MADE, Fate.OTHER, Fate.MADE]
    assert fake.data()["theirs.example"] == "rpz-passthru."


def test_whole_is_all_or_nothing(fake: FakeUpdatePrimary) -> None:
    found = fates(fake, want("a.example"), want("theirs.example"), whole=True)
    assert found == [None, Fate.OTHER]
    assert fake.data() == {"theirs.example": "rpz-passthru."}


def test_the_same_record_of_another_is_not_ours(fake: FakeUpdatePrimary) -> None:
    found = fates(fake, want("theirs.example", PASS), want("a.example"), whole=True)
    assert found == [Fate.SAME, Fate.MADE]


def test_ours_is_removed_and_another_s_is_not(fake: FakeUpdatePrimary) -> None:
    fake.records["a.example"] = 60, "rpz-drop."
    found = fates(
        fake,
        want("a.example", None, (DROP,)),
        want("theirs.example", None, (DROP,)),
        want("gone.example", None, (DROP,)),
        want("never.example", None),
    )
    assert found == [Fate.REMOVED, Fate.OTHER, Fate.VANISHED, Fate.REMOVED]
    assert fake.data() == {"theirs.example": "rpz-passthru."}


def test_ours_that_vanished_is_made_again(fake: FakeUpdatePrimary) -> None:
    assert fates(fake, want("a.example", DROP, (PASS,))) == [Fate.MADE]


def test_what_was_sent_without_an_answer_is_ours_if_it_is_there(fake: FakeUpdatePrimary) -> None:
    fake.records["a.example"] = 60, "rpz-tcp-only."
    found = fates(
        fake,
        want("a.example", DROP, (PASS, TRUNCATE), sure=False),
        want("b.example", DROP, (PASS, TRUNCATE), sure=False),
    )
    assert found == [Fate.MADE, Fate.MADE]
    assert fake.data()["a.example"] == "rpz-drop."


def test_looking_changes_nothing(fake: FakeUpdatePrimary) -> None:
    fake.records |= {f"n{number}.example": (60, "rpz-drop.") for number in range(20)}
    wanted = [want(f"n{number}.example", DROP, (DROP,)) for number in range(30)]
    wanted.append(want("theirs.example", DROP, (DROP,)))
    outcome = verify(
        ZONE,
        [PRIMARY],
        wanted,
        connecting=lambda zone, primary: UpdateConnection(zone, primary, fake.open),
    )
    assert outcome.error is None
    found = [outcome.fates[each.owner] for each in wanted]
    assert found == [Fate.MADE] * 20 + [Fate.VANISHED] * 10 + [Fate.OTHER]
    assert fake.updates == 0


@pytest.mark.parametrize(
    ("rcode", "result", "helps"),
    [
        (dns.rcode.REFUSED, "refused", "allow it for the key xdpctl.key there"),
        (dns.rcode.NOTAUTH, "not-primary", "not the primary of the zone"),
        (dns.rcode.NOTIMP, "no-update", "with the key update of the"),
        (dns.rcode.SERVFAIL, "failed", "see its log"),
        (dns.rcode.NOTZONE, "failed", "of another zone"),
        (dns.rcode.BADVERS, "failed", "refuses the update"),
    ],
)
def test_a_refusal_says_what_to_do(
    fake: FakeUpdatePrimary, rcode: dns.rcode.Rcode, result: str, helps: str
) -> None:
    fake.rcode = rcode
    _, outcome = settled(fake, want("a.example"))
    assert outcome.error is not None
    assert (outcome.error.result, outcome.error.maybe) == (result, False)
    assert outcome.error.sentence.startswith("192.0.2.53: it ")
    assert helps in outcome.error.sentence


@pytest.mark.parametrize(
    "forged", [dns.rcode.REFUSED, dns.rcode.NOTAUTH, dns.rcode.NOTIMP, dns.rcode.SERVFAIL]
)
@pytest.mark.parametrize("size", [12, None])
def test_a_refusal_without_a_signature_proves_nothing(
    fake: FakeUpdatePrimary, forged: dns.rcode.Rcode, size: int | None
) -> None:
    """Somebody on the way lets the update through, and answers in the primary's place."""
    fake.forged = forged
    fake.mangle = lambda octets: octets[:size]
    _, outcome = settled(fake, want("a.example"))
    assert fake.data() == {"a.example": "rpz-drop.", "theirs.example": "rpz-passthru."}
    assert outcome.error is not None
    assert (outcome.error.maybe, outcome.error.unsigned) == (True, True)


@pytest.mark.parametrize("error", [dns.rcode.BADSIG, dns.rcode.BADKEY, dns.rcode.BADTIME])
def test_an_error_about_the_signature_is_not_signed_either(
    fake: FakeUpdatePrimary, error: dns.rcode.Rcode
) -> None:
    def mangle(octets: bytes) -> bytes:
        return octets[:-4] + struct.pack("!HH", error, 0)

    fake.mangle = mangle
    _, outcome = settled(fake, want("a.example"))
    assert "a.example" in fake.records
    assert outcome.error is not None
    assert outcome.error.result in {"key", "time"}
    assert (outcome.error.maybe, outcome.error.unsigned) == (True, True)


@pytest.mark.parametrize("unsigned", [False, True])
def test_a_record_that_is_refused_does_not_keep_the_others(
    fake: FakeUpdatePrimary,
    unsigned: bool,  # noqa: FBT001
) -> None:
    fake.unsigned = unsigned
    fake.not_for = {"b.example"}
    wanted = [want("a.example"), want("b.example"), want("theirs.example"), want("c.example")]
    found, outcome = settled(fake, *wanted)
    assert found == [Fate.MADE, None, Fate.OTHER, Fate.MADE]
    assert outcome.error is not None
    assert (outcome.error.result, outcome.error.maybe) == ("refused", unsigned)


def test_where_all_is_refused_it_is_not_tried_one_by_one(fake: FakeUpdatePrimary) -> None:
    fake.rcode = dns.rcode.REFUSED
    _, outcome = settled(fake, *(want(f"n{number}.example") for number in range(50)))
    assert outcome.error is not None
    assert fake.asked == 4


@pytest.mark.parametrize("done", [False, True])
def test_without_an_answer_nobody_knows(fake: FakeUpdatePrimary, done: bool) -> None:  # noqa: FBT001
    fake.silent = done
    _, outcome = settled(fake, want("a.example"))
    assert outcome.error is not None
    assert (outcome.error.result, outcome.error.maybe) == ("unreachable", True)


@pytest.mark.parametrize("unsigned", [False, True])
def test_the_next_primary_is_asked_where_the_first_takes_no_updates(unsigned: bool) -> None:  # noqa: FBT001
    first, second = FakeUpdatePrimary(), FakeUpdatePrimary()
    first.unsigned = unsigned
    first.rcode = dns.rcode.NOTIMP
    other = Primary(IPv4Address("192.0.2.54"), key=KEY)
    fakes = {PRIMARY: first, other: second}
    outcome = settle(
        ZONE,
        [PRIMARY, other],
        [want("a.example")],
        connecting=lambda zone, primary: UpdateConnection(zone, primary, fakes[primary].open),
    )
    assert outcome.error is None
    assert second.data() == {"a.example": "rpz-drop."}


actions = st.sampled_from(RuleAction)


@settings(max_examples=80)
@given(
    st.binary(max_size=80)
    | st.lists(st.tuples(st.integers(0, 28), st.integers(1, 255)), min_size=1, max_size=3)
)
def test_an_answer_that_is_not_the_primary_s_never_counts(
    mangled: bytes | list[tuple[int, int]],
) -> None:
    fake = FakeUpdatePrimary()
    same = False

    def mangle(octets: bytes) -> bytes:
        nonlocal same
        if isinstance(mangled, bytes):
            return mangled
        found = bytearray(octets)
        for place, change in mangled:
            found[place] ^= change  # the signature itself has a TTL, which is not signed
        same = found == octets
        return bytes(found)

    fake.mangle = mangle
    (fate,), outcome = settled(fake, want("a.example"))
    if not same:
        assert fate is None
        assert outcome.error is not None
        assert "\n" not in outcome.error.sentence


@settings(max_examples=60)
@given(
    st.dictionaries(st.sampled_from("abcdef"), actions),
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.tuples(st.none() | actions, st.lists(actions, unique=True, max_size=2), st.booleans()),
        min_size=1,
    ),
    st.booleans(),
)
def test_nothing_but_what_we_sent_is_ever_changed(
    there: dict[str, RuleAction],
    wishes: dict[str, tuple[RuleAction | None, list[RuleAction], bool]],
    whole: bool,  # noqa: FBT001
) -> None:
    fake = FakeUpdatePrimary()
    fake.records = {owner: (60, POLICIES[action]) for owner, action in there.items()}
    before = fake.data()
    wanted = [
        want(owner, action, tuple(ours), sure=sure or not ours)
        for owner, (action, ours, sure) in wishes.items()
    ]
    found, _ = settled(fake, *wanted, whole=whole)
    for owner, data in before.items():
        ours = wishes[owner][1] if owner in wishes else []
        if there[owner] not in ours:
            assert fake.data()[owner] == data
    for wish, fate in zip(wanted, found, strict=True):
        (label,) = wish.owner
        left = fake.data().get(label.decode())
        if fate is Fate.MADE:
            assert wish.action is not None
            assert left == POLICIES[wish.action]
        elif fate in {Fate.REMOVED, Fate.VANISHED} and wish.ours:
            assert left is None
        if not whole:
            assert fate is not None
