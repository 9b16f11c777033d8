"""Rules that go by themselves: when, whatever the clocks do, and what is left alone.

Time is two fake clocks; no test waits or measures.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fake_store import Ledger
from xdpctl.abi import MapName, RuleAction
from xdpctl.errors import StateError
from xdpctl.service.expiry import EXPIRY_SECONDS, Expiry
from xdpctl.store import reconcile
from xdpctl.store.state import Note

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

DROP, PASS = RuleAction.DROP, RuleAction.PASS
A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(monkeypatch, tmp_path)
    yield ledger
    ledger.state.close()


def put(ledger: Ledger, text: str, seconds: int | None, **fields: Any) -> None:  # noqa: ANN401
    """Make a rule that lasts so long."""
    if seconds is not None:
        fields["expires_in"] = seconds
    ledger.put(text, **fields)


def expire(ledger: Ledger) -> int:
    """Remove what is due, as the service does: again while there is more; return how many."""
    removed = ledger.store.expire().total()
    while ledger.store.next_expiry() == 0:
        removed += ledger.store.expire().total()
    return removed


# --- when ------------------------------------------------------------------------------------


def test_a_rule_goes_when_its_time_is_over_and_not_before(ledger: Ledger) -> None:
    put(ledger, A, 600)
    ledger.pass_time(599.99)
    assert expire(ledger) == 0
    ledger.pass_time(0.01)
    assert expire(ledger) == 1
    assert (ledger.shown(), ledger.noted()) == ({}, {})


@pytest.mark.parametrize("text", [A, "2001:db8::1", "10.0.0.0/8", "2001:db8::/32", "www.example"])
def test_in_each_map_and_it_is_told_which(ledger: Ledger, text: str) -> None:
    put(ledger, text, 5)
    ledger.pass_time(5)
    name = ledger.place(text)[0]
    assert ledger.store.expire() == {name: 1}
    assert ledger.changes[name] == 0


def test_the_next_expiry_is_that_of_the_rule_that_goes_first(ledger: Ledger) -> None:
    put(ledger, A, 600)
    put(ledger, B, 30)
    put(ledger, C, None)
    ledger.pass_time(10)
    assert ledger.store.next_expiry() == 20
    ledger.pass_time(100)
    assert ledger.store.next_expiry() == 0


def test_without_rules_that_end_nothing_is_next(ledger: Ledger) -> None:
    put(ledger, A, None)
    assert ledger.store.next_expiry() is None
    assert expire(ledger) == 0


def test_a_new_end_takes_the_place_of_the_former_and_the_counter_stays(ledger: Ledger) -> None:
    put(ledger, A, 10)
    ledger.hit(A, 41)
    put(ledger, A, 100)
    ledger.pass_time(50)
    assert expire(ledger) == 0
    assert ledger.shown() == {A: (DROP, 41, "cli")}
    assert ledger.store.next_expiry() == 50


def test_a_rule_made_again_without_an_end_stays(ledger: Ledger) -> None:
    put(ledger, A, 10)
    put(ledger, A, None)
    ledger.pass_time(1000)
    assert expire(ledger) == 0


def test_one_due_among_a_hundred_thousand_waiting_is_found_without_looking_at_them(
    ledger: Ledger,
) -> None:
    """Not by time: nothing but the due entry is looked up or removed."""
    ledger.state.put(
        Note(MapName.ADDR_V4, n.to_bytes(4, "big"), DROP, "api", "", 0.0, ledger.boot + 1000 + n)
        for n in range(100_000)
    )
    put(ledger, A, 60)
    ledger.pass_time(60)
    ledger.kernel.faults.calls.clear()
    assert ledger.store.next_expiry() == 0
    assert ledger.store.expire() == {MapName.ADDR_V4: 1}
    assert ledger.kernel.faults.calls == ["map.lookup", "map.delete_batch"]
    assert ledger.store.next_expiry() == 940
    plan = ledger.state._connection.execute(
        "EXPLAIN QUERY PLAN SELECT * FROM note WHERE expires <= 1 ORDER BY expires LIMIT 1"
    ).fetchall()
    assert "note_expires" in str(plan)


def test_of_many_due_at_once_each_step_takes_some(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a single rule waits for one step at most."""
    monkeypatch.setattr(reconcile, "DUE_AT_ONCE", 4)
    monkeypatch.setattr(reconcile, "NEWEST", 2)
    ledger.bulk([f"192.0.2.{n} for=5s" for n in range(10)])
    ledger.pass_time(5)
    steps = []
    while ledger.store.next_expiry() == 0:
        steps.append(ledger.store.expire().total())
    assert (max(steps), sum(steps)) == (6, 10)


def test_a_rule_goes_in_the_next_step_although_many_were_due_before_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "DUE_AT_ONCE", 4)
    monkeypatch.setattr(reconcile, "NEWEST", 2)
    ledger.bulk([f"192.0.2.{n} for=5s" for n in range(50, 90)])
    put(ledger, A, 6)
    ledger.pass_time(5)
    ledger.store.expire()
    assert A in ledger.shown()
    ledger.pass_time(1)
    ledger.store.expire()
    assert A not in ledger.shown()
    assert ledger.store.next_expiry() == 0


def test_what_waits_behind_one_of_many_due_is_in_force_with_the_first_step(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "DUE_AT_ONCE", 4)
    monkeypatch.setattr(reconcile, "NEWEST", 2)
    many = [f"192.0.2.{n}" for n in range(50, 90)]
    ledger.bulk([f"{text} for=5s" for text in many])
    put(ledger, many[17], None, origin="app:jail", action=PASS)
    assert ledger.shown()[many[17]][0] == DROP
    ledger.pass_time(5)
    ledger.store.expire()
    assert ledger.shown()[many[17]][0] == PASS
    assert len(ledger.shown()) > 30


def test_every_part_of_what_waits_is_looked_at_before_the_oldest_go(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "BEHIND_AT_ONCE", 3)
    monkeypatch.setattr(reconcile, "NEWEST", 1)
    many = [f"192.0.2.{n}" for n in range(50, 60)]
    ledger.bulk([f"{text} for=5s" for text in many])
    for text in many:
        put(ledger, text, None, origin="app:jail", action=PASS)
    ledger.pass_time(5)
    for _ in range(4):
        ledger.store.expire()
    assert [ledger.shown()[text][0] for text in many] == [PASS] * 10
    assert ledger.store.next_expiry() is None


def test_many_claims_that_wait_end_some_at_a_time(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "DUE_AT_ONCE", 4)
    texts = [f"192.0.2.{n}" for n in range(10)]
    for text in texts:
        put(ledger, text, None)
        put(ledger, text, 5, origin="app:jail")
    ledger.pass_time(5)
    steps = 0
    while ledger.store.next_expiry() == 0:
        ledger.store.expire()
        steps += 1
    assert (steps, ledger.state.has_waiting()) == (3, False)
    assert len(ledger.shown()) == 10


def test_whether_names_of_lists_end_is_asked_without_a_look_at_all_of_them(ledger: Ledger) -> None:
    """Not by time: the state is asked for what is due only."""
    asked: list[str] = []
    ledger.state._connection.set_trace_callback(asked.append)
    put(ledger, A, 5)
    ledger.pass_time(5)
    asked.clear()
    ledger.store.expire()
    plans = [
        str(ledger.state._connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall())
        for query in list(asked)
        if query.startswith("SELECT") and "FROM note" in query
    ]
    assert plans
    assert not [plan for plan in plans if "(map=?)" in plan]


# --- clocks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [-86_400.0, 3600.0, 1e9, -1.6e9])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_step_of_the_wall_clock_moves_no_rules_end(
    ledger: Ledger, step: float, *, restarted: bool
) -> None:
    put(ledger, A, 600)
    ledger.wall += step
    if restarted:
        ledger.restart()
    else:
        ledger.store.settle()
    ledger.pass_time(599)
    assert expire(ledger) == 0
    ledger.pass_time(1)
    assert expire(ledger) == 1


def test_over_a_reboot_the_wall_clock_counts(ledger: Ledger) -> None:
    put(ledger, A, 600)
    put(ledger, B, 100)
    ledger.pass_time(50)
    ledger.reboot(down=200)
    assert set(ledger.shown()) == {A} == set(ledger.noted())
    assert ledger.store.next_expiry() == pytest.approx(350)


def test_over_a_reboot_behind_a_step_of_the_wall_clock_too(ledger: Ledger) -> None:
    put(ledger, A, 600)
    ledger.wall += 86_400
    ledger.store.settle()  # the step is seen
    ledger.reboot(down=100)
    assert ledger.store.next_expiry() == pytest.approx(500)


def test_over_many_reboots_the_end_stays_where_it_was(ledger: Ledger) -> None:
    put(ledger, A, 1000)
    for _ in range(9):
        ledger.pass_time(10)
        ledger.reboot(down=90)
    assert ledger.store.next_expiry() == pytest.approx(100)
    assert set(ledger.shown()) == {A}
    ledger.reboot(down=100)
    assert ledger.shown() == {}


def test_what_expired_while_the_service_was_down_goes_at_start(ledger: Ledger) -> None:
    put(ledger, A, 60)
    put(ledger, B, 600)
    ledger.hit(B, 7)
    ledger.pass_time(100)
    ledger.restart()
    assert ledger.shown() == {B: (DROP, 7, "cli")}
    assert set(ledger.noted()) == {B}


times = st.integers(1, 500)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 3), times),
        st.tuples(st.just("time"), times, st.just(0)),
        st.tuples(st.just("wall"), st.integers(-100_000, 100_000), st.just(0)),
        st.tuples(st.just("restart"), times, st.just(0)),
        st.tuples(st.just("reboot"), times, st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_whatever_the_clocks_do_a_rule_lasts_as_long_as_was_said(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    """True time is the boot clock's within a boot, and the wall clock's over a reboot."""
    with pytest.MonkeyPatch.context() as patch:
        ledger = Ledger(patch, tmp_path_factory.mktemp("ledger"))
        ends: dict[str, float] = {}
        now = 0.0
        for what, number, seconds in steps:
            if what == "put":
                put(ledger, f"192.0.2.{number}", seconds)
                ends[f"192.0.2.{number}"] = now + seconds
            elif what == "wall":
                ledger.wall += number
                ledger.store.settle()
            else:
                now += number
                if what == "reboot":
                    ledger.reboot(down=number)
                else:
                    ledger.pass_time(number)
                    if what == "restart":
                        ledger.restart()
            expire(ledger)
            ends = {text: end for text, end in ends.items() if end > now + 0.001}
            assert set(ledger.shown()) == set(ends)
        ledger.state.close()


# --- what is left alone ----------------------------------------------------------------------


def test_what_dnsdist_wrote_never_expires_by_our_hand(ledger: Ledger) -> None:
    put(ledger, A, 60)
    ledger.hit(A, 9)
    ledger.store.settle()
    ledger.dnsdist(A, hits=1)
    ledger.dnsdist(B)
    ledger.pass_time(100)
    assert expire(ledger) == 0
    assert ledger.shown() == {A: (DROP, 1, "dnsdist"), B: (DROP, 0, "dnsdist")}
    assert ledger.noted() == {}


def test_an_entry_that_was_gone_before_its_time_is_no_error(ledger: Ledger) -> None:
    put(ledger, A, 60)
    ledger.vanish(A)
    ledger.pass_time(60)
    assert (expire(ledger), ledger.noted()) == (0, {})


# --- the task --------------------------------------------------------------------------------


class Clockwork:
    """What the expiry task asks of the operations; ends the test after some turns."""

    def __init__(self, *answers: float | Exception | None) -> None:
        self.answers = list(answers)
        self.expiry_changed = asyncio.Event()
        self.waits: list[float] = []

    async def expire(self) -> float | None:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def waits_of(
    monkeypatch: pytest.MonkeyPatch, *answers: float | Exception | None
) -> list[float]:
    """Return how long the task waits behind each answer."""
    work = Clockwork(*answers)
    waits: list[float] = []

    def timeout(seconds: float) -> asyncio.Timeout:
        waits.append(seconds)
        if not work.answers:
            raise asyncio.CancelledError
        return asyncio.Timeout(0.0)  # over at once

    monkeypatch.setattr(asyncio, "timeout", timeout)
    with pytest.raises(asyncio.CancelledError):
        await Expiry(work).run()  # type: ignore[arg-type]
    return waits


async def test_the_task_waits_for_the_next_end_but_a_second_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A timer stands still while the machine sleeps, a rule's time does not."""
    assert await waits_of(monkeypatch, 0.2, 0.0, None, 3600.0) == [0.2, 0.0, 1.0, 1.0]
    assert EXPIRY_SECONDS == 1.0


async def test_the_task_goes_on_after_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await waits_of(monkeypatch, StateError("no room"), 0.5) == [1.0, 0.5]


async def test_the_task_ends_when_it_is_cancelled_while_something_changes() -> None:
    """In Python 3.11 asyncio.wait_for gives the result and forgets the cancellation."""
    work = Clockwork(*[None] * 100)
    task = asyncio.create_task(Expiry(work).run())  # type: ignore[arg-type]
    await asyncio.sleep(0)
    work.expiry_changed.set()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=20)
    assert task.cancelled()
