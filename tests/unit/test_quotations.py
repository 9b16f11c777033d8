"""What is quoted of a file goes to the log and the control socket, and nowhere else."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_backend import FakeBackend, Site, site
from tests.unit.feeds.test_files import FakeBackend as ListDesk
from tests.unit.feeds.test_files import running
from tests.unit.feeds.test_rpz import HEAD
from xdpctl.abi import RuleAction
from xdpctl.errors import ListError, Sentence, SettingsError, public, within
from xdpctl.service.readiness import Readiness
from xdpctl.service.reload import failed_reload
from xdpctl.settings import ListSettings
from xdpctl.status.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECRET = "root:$y$j9T$s3cret"  # noqa: S105 - a test's
SAID = Sentence(f"line 1: cannot read '{SECRET}'", "line 1 cannot be read")


class _Desk(FakeBackend):
    def snapshot(self) -> Snapshot:
        return Snapshot(0.0, reasons=(SAID, "a reason"), warnings=("a warning", SAID))


@pytest.fixture
async def served() -> AsyncIterator[Site]:
    with tempfile.TemporaryDirectory(prefix="xdpctl-") as name:
        async with site(Path(name), backend=_Desk()) as serving:
            yield serving


@pytest.mark.parametrize("path", ["/api/v1/status", "/readyz"])
async def test_the_control_socket_shows_the_whole(served: Site, path: str) -> None:
    assert SECRET in (await served.ask("GET", path)).body.decode()


@pytest.mark.parametrize("path", ["/api/v1/status", "/readyz", "/metrics"])
async def test_a_listener_for_others_shows_no_quotation(served: Site, path: str) -> None:
    said = (await served.ask("GET", path, tcp=True)).body.decode()
    assert "s3cret" not in said
    if path != "/metrics":
        assert SAID.public in said
        assert "a reason" in said


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_problem_document_is_no_way_around(served: Site, *, tcp: bool) -> None:
    served.backend.failure = ListError(SAID)
    detail = (await served.ask("GET", "/api/v1/rules", tcp=tcp)).problem["detail"]
    assert detail == (SAID.public if tcp else str(SAID))


class _Heard:
    """Hears what systemd shows to every user."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def ready(self, text: str = "") -> None:
        self.texts.append(text)

    def status(self, text: str) -> None:
        self.texts.append(text)

    def extend(self, _seconds: float) -> None:
        pass


def test_what_systemd_shows_to_everybody_has_no_quotation() -> None:
    heard = _Heard()
    readiness = Readiness(heard)  # type: ignore[arg-type]
    readiness.tell(Snapshot(0.0, reasons=(SAID,)))
    readiness.tell(Snapshot(0.0))
    readiness.tell(Snapshot(0.0, reasons=(SAID,)))

    assert len(heard.texts) == 3
    assert not [text for text in heard.texts if "s3cret" in text]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (f"{SECRET}\n", "line 1 cannot be read"),
        (f"ok.example\n{SECRET}\n", "line 2 cannot be read"),
        (f"0.0.0.0 {SECRET}\n", "line 1 cannot be read"),
        (f"0.0.0.0 ok.example\n{SECRET} x\n", "line 2 cannot be read"),
        (f"{HEAD}x {SECRET} y\n", "line 5 is not valid in a zone file"),
        (f"{HEAD}s3cret TXT x\n", "1 record with an answer of its own"),
        (f"address=/ok.example/\n{SECRET}\n", "line 2 cannot be read"),
        ("address=/s3cret/192.0.2.1\n", "1 name with an answer of its own"),
        (f"server:\n{SECRET}\n", "line 2 cannot be read"),
        ("||ok.example^\n||s3cret^$all\n", "1 rule with modifiers"),
        ("0.0.0.0 ok.example\n192.0.2.1 s3cret\n", "1 name with an address of its own"),
        ("ok.example\ns3cret action=pass\n", "1 line with another action than the list's"),
    ],
)
async def test_a_list_is_quoted_in_the_log_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str, where: str
) -> None:
    path = tmp_path / "list"
    path.write_text(content)
    settings = ListSettings(path, "list:x", None if "SOA" in content else RuleAction.DROP)
    async with running(ListDesk(), settings) as kept:
        (warning,) = kept.warnings
    assert "s3cret" in warning
    assert "s3cret" not in public(warning)
    assert where in public(warning)
    assert "s3cret" in "".join(str(vars(record)) for record in caplog.records)


def test_settings_are_quoted_in_the_log_alone() -> None:
    said = failed_reload(SettingsError(f"key x: cannot use {SECRET!r}: it is no name"))
    assert SECRET in said
    assert "s3cret" not in public(said)
    assert failed_reload(ListError("a reason")).endswith(": a reason")


def test_a_sentence_keeps_its_public_form() -> None:
    assert public(pickle.loads(pickle.dumps(SAID))) == SAID.public  # noqa: S301 - ours
    longer = within(lambda text: f"cannot: {text}; so", SAID)
    assert longer == f"cannot: {SAID}; so"
    assert public(longer) == f"cannot: {SAID.public}; so"
    assert type(within(lambda text: f"{text}!", "plain")) is str
