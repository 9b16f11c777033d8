"""Clients that lists exempt: by origin, over restarts, not too many."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from xdpctl.errors import KernelError, ListError
from xdpctl.service import list_exemptions
from xdpctl.service.list_exemptions import REMEMBERED, Exempting, ListExemptions
from xdpctl.store.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

A, B, C = map(ip_network, ("192.0.2.1/32", "2001:db8::/32", "198.51.100.0/24"))


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State.open(tmp_path / "state.db") as state:
        yield state


def test_a_start_knows_who_is_exempt(state: State) -> None:
    first = ListExemptions(state, {"list:a", "list:b"})
    assert first.use("list:a", {A, B})
    assert first.use("list:b", {B, C})
    assert not first.use("list:b", {C, B})

    assert set(ListExemptions(state, {"list:a", "list:b"}).clients) == {A, B, C}
    assert ListExemptions(state, {"list:b"}).clients == (C, B)


def test_a_list_without_clients_leaves_nothing(state: State) -> None:
    exemptions = ListExemptions(state, {"list:a"})
    exemptions.use("list:a", {A})
    assert exemptions.use("list:a", ())
    assert exemptions.clients == ()
    assert state.get_meta(REMEMBERED) == "{}"


def test_all_lists_together_have_a_bound(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_exemptions, "LISTED_MAX", 2)
    exemptions = ListExemptions(state, {"list:a"})
    exemptions.use("list:a", {A, B})
    with pytest.raises(ListError, match="may exempt 2 clients, not 3"):
        exemptions.use("list:b", {C})
    assert set(exemptions.clients) == {A, B}


class Tables:
    """Maps that can be written, or not."""

    def __init__(self) -> None:
        self.written: list[tuple[object, ...]] = []
        self.failure: KernelError | None = None

    def exempt_listed(self, clients: Sequence[object]) -> None:
        if self.failure is not None:
            raise self.failure
        self.written.append(tuple(clients))


async def test_what_could_not_be_written_to_the_maps_is_written_the_next_time(state: State) -> None:
    tables = Tables()
    with ThreadPoolExecutor(1) as thread:
        exempting = Exempting(
            ListExemptions(state, {"list:a"}),
            tables,  # type: ignore[arg-type]
            note_thread=thread,
            thread=thread,
        )
        await exempting.exempt("list:a", {A})
        await exempting.exempt("list:a", {A})
        assert tables.written == [(A,)]
        tables.failure = KernelError("bpf", errno.EPERM)
        with pytest.raises(KernelError):
            await exempting.exempt("list:a", {C})
        with pytest.raises(KernelError):
            await exempting.exempt("list:a", {C})
        tables.failure = None
        await exempting.exempt("list:a", {A})  # as before, but a part of C may be there
        await exempting.exempt("list:a", {A})
    assert tables.written == [(A,), (A,)]


@pytest.mark.parametrize("text", ["[]", "{", '{"list:a": ["x"]}', '{"list:a": 1}'])
def test_a_fact_that_cannot_be_read_is_nobody(state: State, text: str) -> None:
    state.set_meta(REMEMBERED, text)
    assert ListExemptions(state, {"list:a"}).clients == ()
