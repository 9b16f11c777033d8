"""Lines that are drawn over those of before, in a terminal of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fake_terminal import Terminal
from xdpctl.cli.screen import Screen
from xdpctl.cli.verb import Session

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def resize(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Give the terminal a size."""

    def to(columns: int, lines: int) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", str(lines))

    to(80, 24)
    return to


@pytest.fixture
def drawn() -> Terminal:
    return Terminal()


@pytest.fixture
def screen(drawn: Terminal) -> Screen:
    return Screen(Session(drawn, drawn, {}))


def test_lines_are_drawn_over_those_of_before(
    screen: Screen, drawn: Terminal, resize: Callable[[int, int], None]
) -> None:
    resize(80, 24)
    screen.draw(["a", "b"])
    screen.draw(["c"])
    assert drawn.getvalue() == "\r\x1b[Ja\nb\n\x1b[2A\r\x1b[Jc\n"


def test_a_terminal_does_not_scroll(
    screen: Screen, drawn: Terminal, resize: Callable[[int, int], None]
) -> None:
    """The cursor is below the last line, which takes a line too."""
    resize(20, 5)
    screen.draw(["x" * 30] * 9)
    lines = drawn.getvalue().removeprefix("\r\x1b[J").splitlines()
    assert lines == ["x" * 19 + "…"] * 4


def test_a_resized_terminal_is_cleared(
    screen: Screen, drawn: Terminal, resize: Callable[[int, int], None]
) -> None:
    """As what was drawn there has wrapped, or is out of sight."""
    screen.draw(["a"])
    resize(10, 24)
    screen.draw(["b"])
    screen.draw(["c"])
    assert drawn.getvalue() == "\r\x1b[Ja\n\x1b[2J\x1b[H\r\x1b[Jb\n\x1b[1A\r\x1b[Jc\n"
