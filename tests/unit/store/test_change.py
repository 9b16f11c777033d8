"""A change of many rules is one value, here and in another process."""

from __future__ import annotations

import io
import pickle
from dataclasses import fields
from typing import Any

from xdpctl.feeds.reader import ReadAs
from xdpctl.http.api.rule_lists import ImportedList
from xdpctl.rules import AnyQtype, parse_target
from xdpctl.rules.guard import Guard
from xdpctl.rules.reach import Reach
from xdpctl.store.change import Change

PRESET = {"progress", "source", "guard"}
"""Fields that are compared by what they do."""


def test_every_field_arrives_in_another_process() -> None:
    source = ImportedList(io.BytesIO(b"192.0.2.1\n"), ReadAs(origin="file:x"), AnyQtype.BOTH)
    asked: dict[str, Any] = {
        field.name: {
            "str": f"file:{field.name}",
            "bool": not field.default,
            "float | None": 0.25,
            "Reach": Reach(1.0, 2.0),
            "Reach | None": Reach(3.0, 4.0),
        }[str(field.type)]
        for field in fields(Change)
        if field.name not in PRESET
    }
    change = Change(source=source, guard=Guard([], []), progress=lambda *_: None, **asked)
    arrived = pickle.loads(pickle.dumps(change.to_send()))  # noqa: S301 - ours
    assert {name: getattr(arrived, name) for name in asked} == asked
    assert [len(list(part)) for part in arrived.source] == [1]
    assert arrived.guard.reason(parse_target("0.0.0.0/1"))


def test_progress_is_reported_by_the_process_that_works() -> None:
    told: list[object] = []
    change = Change(source=(), origin="api", progress=lambda *word: told.append(word))
    change.to_send().progress("read", 1, 2)
    assert told == []
    change.progress("read", 1, 2)
    assert told == [("read", 1, 2)]
