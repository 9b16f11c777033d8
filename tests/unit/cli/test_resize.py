"""`resize` looks who holds a map before it asks the service, and says what is left to do."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from xdpctl.maps.holders import Holder, Holders, Sighting

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

RESIZE = "/api/v1/resize"
STATUS = {"pid": 4711, "maps": [{"name": "qnames", "id": 9}, {"name": "cidr4", "id": 10}]}


def seen(
    monkeypatch: pytest.MonkeyPatch, *holders: Holder, whole: bool = True, root: bool = True
) -> None:
    """Let the verb see these holders of every map."""

    def keepers(_: Holders, number: int) -> Sighting:
        return Sighting({number: frozenset(holders)}, whole)

    monkeypatch.setattr(Holders, "keepers", keepers)
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)


def test_the_service_is_known_by_its_number_here_not_by_its_own(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a PID namespace of its own it has another one, and would be taken for a holder."""
    asked = []
    seen(monkeypatch)
    init = Holders.__init__

    def noted(self: Holders, *, own: int) -> None:
        asked.append(own)
        init(self, own=own)

    monkeypatch.setattr(Holders, "__init__", noted)
    assert cli("resize", "qnames=5000").status == 0
    assert (asked, service.requests[0].path) == ([os.getpid()], "/api/v1/status")


@pytest.fixture
def service(service: FakeService) -> FakeService:
    service.answer("GET", "/api/v1/status", STATUS)
    service.answer("POST", RESIZE, {"map": "qnames", "capacity": 5000, "entries": 3})
    return service


VIEWS = {
    "root sees that nobody holds it": ((True, True), [], True),
    "root cannot see all": ((False, True), [], False),
    "another user leaves it to the service": ((True, False), [], False),
    "forced": ((False, False), ["--force"], True),
}


@pytest.mark.parametrize(("view", "options", "force"), VIEWS.values(), ids=VIEWS)
def test_force_is_what_is_certain_or_asked_for(  # noqa: PLR0913, PLR0917 - the case
    cli: CommandLine,
    service: FakeService,
    monkeypatch: pytest.MonkeyPatch,
    view: tuple[bool, bool],
    options: list[str],
    force: bool,  # noqa: FBT001 - the case
) -> None:
    seen(monkeypatch, whole=view[0], root=view[1])
    result = cli("resize", "qnames=5000", *options)
    assert result.output == (
        "qnames has room for 5,000 entries now, its 3 entries are kept;"
        ' for the next boot, set map-size = ["qnames=5000"]\n'
    )
    query = [("map", "qnames"), ("entries", "5000"), *([("force", "1")] if force else [])]
    assert service.requests[-1].query == query


def test_a_holder_is_named_and_nothing_is_asked_for(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen(monkeypatch, Holder(7, 1, "dnsdist"), Holder(8, 1, "other"))
    result = cli("resize", "qnames=5000", "--json")
    assert result.status == 1
    assert "dnsdist (pid 7) and other (pid 8) have the present map open" in result.errors
    assert json.loads(result.output)["error"]["code"] == "conflict"
    assert [request.path for request in service.requests] == ["/api/v1/status"]


@pytest.mark.parametrize("size", ["qnames", "qnames=0", "zones=5", "xskmap=5", "=5"])
def test_a_size_that_cannot_be_read_is_a_usage_error(
    cli: CommandLine, service: FakeService, size: str
) -> None:
    assert cli("resize", size).status == 2
    assert service.requests == []
