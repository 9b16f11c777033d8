"""The arithmetic of `make bench-attack`: what it says of a defence is what was heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.attack import wire
from tests.bench.attack.attacks import ATTACKS, NAMES, QUIET, QUIET_CLIENTS, RESOLVERS, name
from tests.bench.attack.honest import questions
from tests.bench.attack.outcome import TRYING, Trial
from tests.bench.attack.sender import plan, query_frame

if TYPE_CHECKING:
    from tests.bench.attack.attacks import Attack

START = 2.0
SECONDS = 10.0


def heard(*asked: tuple[float, float | None], calm: bool = False) -> Trial:
    """Return the trial of questions, each by its moment and that of its answer."""
    found = [[moment, "quiet", answer, False, 1] for moment, answer in asked]
    return Trial.of(
        found,
        start=START,
        seconds=SECONDS,
        sent=100,
        lost=10,
        reached=50,
        busy=5.0,
        connections=20,
        calm=calm,
    )


def test_questions_of_the_first_second_and_those_whose_tries_outlast_the_attack_do_not_count() -> (
    None
):
    last = START + SECONDS - TRYING
    trial = heard((1.0, None), (2.5, None), (4.0, 4.1), (6.0, None), (last + 0.1, None))
    assert (trial.asked, trial.answered) == (2, 0.5)


def test_in_calm_every_question_counts_and_one_that_is_not_answered_is_limited() -> None:
    trial = heard((2.5, None), (4.0, 4.1), (START + SECONDS - 0.1, 12.0), calm=True)
    assert (trial.asked, trial.limited) == (3, 1)


def test_a_defence_holds_from_the_second_after_the_last_bad_one() -> None:
    moments = [START + 0.05 * number for number in range(int(20 * (SECONDS - TRYING)))]
    bad = [(moment, None if 3 <= moment - START < 4 else moment + 0.01) for moment in moments]
    assert heard(*bad).holds == 4
    assert heard(*((moment, moment) for moment in moments)).holds == 0
    assert heard(*((moment, None) for moment in moments)).holds is None


def test_honest_queries_are_not_said_to_be_the_attacks() -> None:
    trial = heard(*((4.0, 4.1) for _ in range(30)))
    assert trial.reached == 20


@given(
    st.integers(0, 0xFFFF), st.integers(0, NAMES - 1), st.sampled_from([b"", bytes(8), bytes(24)])
)
def test_a_query_is_what_a_resolver_sends(ident: int, number: int, cookie: bytes) -> None:
    query = dns.message.from_wire(wire.query(ident, name(number), cookie))
    assert (query.id, query.question[0].name.to_text()) == (ident, f"{name(number)}.")
    assert query.edns == 0
    assert [option.otype for option in query.options] == ([10] if cookie else [])


def test_an_answer_is_good_truncated_or_neither() -> None:
    query = dns.message.from_wire(wire.query(7, name(7), bytes(8)))
    response = dns.message.make_response(query)
    assert not wire.is_good(response.to_wire())
    response.flags |= dns.flags.TC
    assert wire.is_truncated(response.to_wire())
    good = dns.message.make_response(query)
    good.answer.append(dns.rrset.from_text(f"{name(7)}.", 0, "IN", "A", "192.0.2.80"))
    cookie = bytes(range(24))
    good.use_edns(0, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, cookie)])
    assert wire.is_good(good.to_wire())
    assert not wire.is_bad_cookie(good.to_wire())
    assert wire.ident_of(good.to_wire()) == 7
    assert wire.server_cookie(good.to_wire()) == cookie
    bad = dns.message.make_response(query)
    bad.set_rcode(dns.rcode.BADCOOKIE)
    assert wire.is_bad_cookie(bad.to_wire())


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.key)
def test_what_is_sent_is_a_query_for_a_name_of_eight_letters(attack: Attack) -> None:
    frame = query_frame("192.0.2.53", bytes(6), bytes(6))
    query = dns.message.from_wire(frame[42:])
    assert query.question[0].name.to_text() == f"{name(0)}."
    assert frame[54] == len(name(0).partition(".")[0])
    assert frame in plan(attack, 1e5, 1, frame, 0)


def test_who_asks_is_the_same_for_every_defence() -> None:
    asked = questions(3.0, 1, relayed=10)
    assert asked == questions(3.0, 1, relayed=10)
    assert [one.due for one in asked] == sorted(one.due for one in asked)
    assert {one.kind for one in asked} == {"quiet", "resolver", "unbound", "relayed"}
    assert len(questions(3.0, 1, relayed=0, speed=2.0)) > 1.5 * len(questions(3.0, 1, relayed=0))
    assert RESOLVERS[-1] not in QUIET
    assert QUIET.num_addresses > QUIET_CLIENTS
