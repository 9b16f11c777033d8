"""The story of `make demo-flood`: its commands, and what becomes of their answers."""

from __future__ import annotations

import contextlib
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.bench import first_minutes
from tests.bench.first_minutes import NEIGHBOUR, NETWORK, Phase, Story, tell
from tests.lab.process import LabError
from xdpctl.cli.main import find

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = Path(__file__).parents[3] / "docs" / "first-minutes.md"


class FakeSite:
    """Answers every command; `failing` is the first word of one that fails.

    Attributes:
        asked: the commands, word by word.
        harmed: what `watch --action drop` shows.
    """

    token = "a-token"  # noqa: S105 - a test's

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.failing = ""
        self.harmed = f"drop cidr4 {NEIGHBOUR}"
        self.flooding: list[int] = []
        self.service = SimpleNamespace(verb=self.verb, host=SimpleNamespace(run=self.run))

    def verb(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("xdpctl", *words)

    def run(self, *words: str, **_: bool) -> subprocess.CompletedProcess[str]:
        self.asked.append(words)
        text = self.harmed if "drop" in words else "\n".join(f"1.{n}" for n in range(20))
        return subprocess.CompletedProcess(words, int(self.failing in words), f"{text}\n", "")

    def flood(self, rate: int) -> Any:  # noqa: ANN401 - a process
        self.flooding.append(rate)
        return SimpleNamespace(kill=self.flooding.clear)

    def phase(self, name: str) -> Phase:
        return Phase(name, 0.5 if self.flooding else 1.0, 0.25, 0.1)


class FakeBrowser:
    """Shows the rule at once."""

    def until(self, condition: Any, what: str) -> None:  # noqa: ANN401 - a function
        assert condition(), what

    def text(self, _: str) -> str:
        return NETWORK

    def picture(self, file: Path) -> None:
        file.write_bytes(b"a picture")

    def complaints(self) -> list[str]:
        return []


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> FakeSite:
    @contextlib.contextmanager
    def page(_: object) -> Iterator[FakeBrowser]:
        yield FakeBrowser()

    monkeypatch.setattr(first_minutes, "page", page)
    monkeypatch.setattr(first_minutes, "have_few_colours", lambda _: None)
    return FakeSite()


def told(place: FakeSite, folder: Path) -> list[str]:
    """Return the paragraphs of the story."""
    story = Story(cast("Any", place.service), folder)
    tell(cast("Any", place), story, 40_000, folder / "page.png")
    return story.parts


def test_every_command_is_one_that_the_program_takes(place: FakeSite, tmp_path: Path) -> None:
    told(place, tmp_path)
    verbs = [words[1:] for words in place.asked if words[0] == "xdpctl"]
    assert {verb for verb, *_ in verbs} == {"top", "watch", "test", "block", "allow", "history"}
    for verb, *words in verbs:
        find(verb).parser().parse_args(words)


def test_what_is_in_quotes_is_one_word_and_a_file_is_in_the_labs_folder(
    place: FakeSite, tmp_path: Path
) -> None:
    told(place, tmp_path)
    (block,) = [words for words in place.asked if "block" in words]
    assert block[-2:] == ("--reason", "random names of victim.example")
    files = {word for words in place.asked for word in words if word.endswith(".pcapng")}
    assert files == {str(tmp_path / "evil.pcapng")}


def test_the_story_has_questions_commands_and_answers(place: FakeSite, tmp_path: Path) -> None:
    parts = told(place, tmp_path)
    assert parts[0] == (
        "**Who sends it?**\n\n```\n$ xdpctl top --live source -n 5\n"
        + "".join(f"1.{n}\n" for n in range(12))
        + "… 8 more lines\n```"
    )
    assert "| before the flood | 100.0% | 25.0% | 0.10 |" in parts[-1]
    assert f"| {NETWORK} blocked | 50.0% | 25.0% | 0.10 |" in parts[-1]
    assert not place.flooding


def test_the_page_of_the_documentation_is_this_story(place: FakeSite, tmp_path: Path) -> None:
    """It was written by this script, and not before a question or command changed."""
    story = "\n\n".join(told(place, tmp_path))
    document = DOCUMENT.read_text()
    for kind in (r"^\*\*.*\*\*$", r"^\$ .*$"):
        asked = re.findall(kind, story, re.MULTILINE)
        assert re.findall(kind, document, re.MULTILINE) == asked


@pytest.mark.parametrize("failing", ["history", "tshark"])
def test_a_command_that_fails_ends_it(place: FakeSite, tmp_path: Path, failing: str) -> None:
    place.failing = failing
    with pytest.raises(LabError, match=failing):
        told(place, tmp_path)


def test_a_flood_that_harms_nobody_is_not_the_one_that_is_told(
    place: FakeSite, tmp_path: Path
) -> None:
    place.harmed = "drop cidr4 203.0.113.17"
    with pytest.raises(LabError, match="the neighbour is not among the dropped"):
        told(place, tmp_path)
