"""The fuzzing of what primaries send: it takes what is right, and notices what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import transfers
from tests.fuzz.tape import Tape
from tests.fuzz.transfers import TAPE_OCTETS, difference, main, mutant, seeds
from tests.support.fake_primary import ZONE
from xdpctl.errors import TransferError
from xdpctl.transfers import records
from xdpctl.transfers.messages import parse_answer
from xdpctl.transfers.notify import parse_notify

if TYPE_CHECKING:
    from xdpctl.transfers.messages import AnswerMessage


def test_the_seeds_are_taken() -> None:
    for number in range(len(seeds())):
        assert mutant(Tape(bytes((number,)))) == seeds()[number]
        assert difference(Tape(bytes((number,)))) is None
    for kind, wire in seeds():
        if kind is None:
            assert parse_notify(wire).zone
        else:
            assert parse_answer(wire, transfers.NUMBER, ZONE.wire, kind).records


@given(st.binary(min_size=8, max_size=TAPE_OCTETS))
def test_no_mutant_is_taken_wrongly(octets: bytes) -> None:
    assert difference(Tape(octets)) is None


def test_a_reader_that_is_wrong_is_noticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def shorter(*arguments: object) -> AnswerMessage:
        found = parse_answer(*arguments)  # type: ignore[arg-type]
        return type(found)(found.wire, 0, tuple(r._replace(ttl=9) for r in found.records), None)

    monkeypatch.setattr(transfers, "parse_answer", shorter)
    assert main(["--messages", "200", "--seed", "1"]) == 1
    assert "to dnspython" in capsys.readouterr().err


def test_pointers_without_end_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads to thousands of others once ended the process that read it."""
    monkeypatch.setattr(records, "_DEPTH_MAX", 1 << 16)
    chain = b"\0" + b"".join((0xC000 + max(0, 2 * n - 1)).to_bytes(2, "big") for n in range(8000))
    with pytest.raises(RecursionError):
        records.RecordReader(chain).name(len(chain) - 2)
    monkeypatch.undo()
    with pytest.raises(TransferError):
        records.RecordReader(chain).name(len(chain) - 2)
