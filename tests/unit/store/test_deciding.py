"""The rule that `test` names is the one that the oracle says decides, whatever rules there are.

The oracle stands for the program, with which it agrees (tests/kernel/test_agreement.py); that the
same holds on the kernel is shown for a few queries in tests/kernel/test_dry_run.py.
"""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from tests.engines.entries import entry_of, value_of
from tests.engines.oracle import judge
from tests.engines.tables import stored
from tests.fuzz.rules import name_from, source_from, table_scene
from tests.fuzz.tape import Tape
from tests.packets.message import AAAA, ANY, TXT, A
from tests.support.fake_store import Ledger
from tests.support.fake_tables import FakeEngine
from xdpctl.abi import Reason, ZoneScope
from xdpctl.program.datagram import query_for
from xdpctl.rules import Name, Question
from xdpctl.store.deciding import deciding_rule

if TYPE_CHECKING:
    from pathlib import Path

    from tests.packets.case import Scene

QUERIES = 40
"""For each set of rules."""


def scene_of(number: int) -> Scene:
    """Return a scene of the fuzzers without what we never write: the root's zone with the root."""
    scene = table_scene(number)
    rules = [rule for rule in scene.rules if (rule.subject, rule.scope) != (b"\0", ZoneScope.ALL)]
    return replace(scene, rules=tuple(rules))


def written(ledger: Ledger, scene: Scene) -> None:
    """Write the scene's rules as somebody else would, without a note of ours."""
    engine = FakeEngine(len(scene.rules) + 1)
    ledger.store.tables.use(engine)
    for rule in scene.rules:
        name, key = entry_of(rule)
        if rule.in_tables:
            engine.put(name, [stored(name, key)], [rule.action])
        else:
            ledger.maps[name].update(key, value_of(rule))


def names_near(scene: Scene, tape: Tape) -> bytes:
    """Return a name that some rule is about, with labels in front, or one like it."""
    known = [rule.subject for rule in scene.rules if isinstance(rule.subject, bytes)]
    if not known or not tape.below(4):
        return name_from(tape)
    name = tape.pick(known)
    for _ in range(tape.below(4)):
        if len(name) + 2 <= 255:
            name = b"\1" + tape.pick((b"a", b"w", b"\0")) + name
    return name


@pytest.mark.parametrize("number", range(24))
def test_the_rule_that_is_named_is_the_one_that_decides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    scene = scene_of(number)
    ledger = Ledger(monkeypatch, tmp_path, any_qtype=scene.config.any_qtype)
    written(ledger, scene)
    places = [entry_of(rule) for rule in scene.rules]
    tape = Tape(random.Random(number).randbytes(64 * QUERIES))
    for _ in range(QUERIES):
        address = ip_address(source_from(tape, tape.pick((4, 6))))
        question = Question(Name(names_near(scene, tape)), tape.pick((A, AAAA, TXT, ANY)))
        result = judge(scene, query_for(scene.config, address, question).frame())
        named = deciding_rule(
            ledger.store.listing, result.reason, address, question, scene.config.any_qtype
        )
        found = None if named is None else (named.map, named.key)
        hit = None if result.hit is None else places[result.hit]
        assert found == hit, (address, question.name.to_text(), question.qtype, result)
        assert (hit is None) == (result.reason in {Reason.NO_MATCH, Reason.OTHER, Reason.REDIRECT})
    ledger.state.close()
