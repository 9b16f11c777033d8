"""The oracle on the packet table, and the table on itself."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.engines.oracle import judge
from tests.packets.case import Verdict
from tests.packets.table import CASES, THEMES
from xdpctl.abi import PacketAction, Reason


@pytest.mark.parametrize("theme", THEMES)
def test_the_oracle_says_what_the_page_says(theme: str) -> None:
    judged = ((case, judge(case.scene, case.frame)) for case in THEMES[theme])
    assert [
        f"{case.description}: {result} instead of {case.expected}"
        for case, result in judged
        if result != case.expected
    ] == []


def test_no_description_stands_twice_in_a_theme() -> None:
    twice = [
        (theme, description)
        for theme, cases in THEMES.items()
        for description, count in Counter(case.description for case in cases).items()
        if count > 1
    ]
    assert twice == []


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.label)
def test_every_reason_has_cases(reason: Reason) -> None:
    assert [case for case in CASES.values() if case.expected.reason is reason]


_ACTIONS_OF_RULES = {
    (reason, action)
    for reason in (
        Reason.ADDR_V4,
        Reason.ADDR_V6,
        Reason.CIDR4,
        Reason.CIDR6,
        Reason.QNAME,
        Reason.ZONE,
        Reason.LIST_SOURCE,
        Reason.LIST_NAME,
    )
    for action in (PacketAction.PASS, PacketAction.DROP, PacketAction.TRUNCATE)
}
_REDIRECTS = {
    (reason, PacketAction.REDIRECT)
    for reason in (
        Reason.ADDR_V4,
        Reason.CIDR6,
        Reason.QNAME,
        Reason.ZONE,
        Reason.LIST_SOURCE,
        Reason.LIST_NAME,
        Reason.RESPONSE,
        Reason.OPCODE,
        Reason.REDIRECT,
    )
}
_OTHERS = {
    (Reason.FRAGMENT, PacketAction.PASS),
    (Reason.FRAGMENT, PacketAction.DROP),
    (Reason.REDIRECT, PacketAction.PASS),
    (Reason.MALFORMED, PacketAction.DROP),
    (Reason.UNANSWERABLE, PacketAction.DROP),
}


def test_every_action_of_a_reason_has_cases() -> None:
    present = {(case.expected.reason, case.expected.action) for case in CASES.values()}
    assert present >= _ACTIONS_OF_RULES | _REDIRECTS | _OTHERS


def test_a_reason_that_only_passes_has_no_case_of_another_action() -> None:
    passing = (Reason.OTHER, Reason.NO_MATCH, Reason.XSK_INELIGIBLE, Reason.PANIC)
    cases = [case.expected for case in CASES.values() if case.expected.reason in passing]
    assert {expected.action for expected in cases} == {PacketAction.PASS}


def test_the_verdict_is_the_action() -> None:
    pairs = {(case.expected.verdict, case.expected.action) for case in CASES.values()}
    assert pairs == {
        (Verdict.PASS, PacketAction.PASS),
        (Verdict.DROP, PacketAction.DROP),
        (Verdict.TX, PacketAction.TRUNCATE),
        (Verdict.REDIRECT, PacketAction.REDIRECT),
    }


def test_a_frame_is_changed_exactly_when_it_is_answered() -> None:
    changed = {name for name, case in CASES.items() if case.expected.answer is not None}
    answered = {name for name, case in CASES.items() if case.expected.verdict is Verdict.TX}
    assert changed == answered


def test_no_answer_is_longer_than_its_query() -> None:
    longer = [
        name
        for name, case in CASES.items()
        if case.expected.answer is not None and len(case.expected.answer) > len(case.frame)
    ]
    assert longer == []


def test_redirects_need_xsk() -> None:
    families = {
        case.scene.config.xsk
        for case in CASES.values()
        if case.expected.action is PacketAction.REDIRECT
    }
    assert None not in families
