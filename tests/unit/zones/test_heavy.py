"""Zones that are asked for much, and what is proposed; public suffixes."""

from __future__ import annotations

import shlex
import struct
from typing import TYPE_CHECKING

import pytest

from xdpctl.abi import HEAVY_CELL_SIZE, HEAVY_CELLS_OFFSET, HEAVY_SHARE, HEAVY_SIZE
from xdpctl.rules.names import Name
from xdpctl.zones.heavy import HeavyEnd, merge, views
from xdpctl.zones.suffixes import PublicSuffixes

if TYPE_CHECKING:
    from pathlib import Path

LIST = "// a comment\ncom\nuk\nco.uk\n*.ck\n!www.ck\nxn--p1ai\n\u043a\u043e\u043c.\u0440\u0444\n\n"


@pytest.fixture
def suffixes(tmp_path: Path) -> PublicSuffixes:
    path = tmp_path / "list.dat"
    path.write_text(LIST, encoding="utf-8")
    return PublicSuffixes(path)


def cpu(names: int, *cells: tuple[str, int, int]) -> bytes:
    """Return what one CPU has seen: (end, how often, fronts)."""
    value = bytearray(HEAVY_SIZE)
    struct.pack_into("=Q", value, 0, names)
    for number, (text, seen, fronts) in enumerate(cells):
        at = HEAVY_CELLS_OFFSET + HEAVY_CELL_SIZE * number
        wire = Name.from_text(text).wire[:-1]
        struct.pack_into("=4Q", value, at, 1 + number, seen, fronts, len(wire))
        value[at + 32 : at + 32 + len(wire)] = wire
    return bytes(value)


def test_cpus_are_merged() -> None:
    value = cpu(100, ("a.example", 30, 0b11), ("b.example", 10, 1)) + cpu(60, ("a.example", 50, 4))
    first, second = merge(value, 2.0)
    assert (first.name.to_text(), first.rate, first.fronts) == ("a.example", 40.0 * HEAVY_SHARE, 3)
    assert first.share == 0.5
    assert second.name.to_text() == "b.example"


def end(text: str, fronts: int = 60, rate: float = 5000.0, share: float = 0.9) -> HeavyEnd:
    return HeavyEnd(Name.from_text(text), rate, fronts, share)


@pytest.mark.parametrize(
    ("seen", "proposal"),
    [
        (end("victim.com"), "--zone-limit .victim.com=100"),
        (end("victim.com", fronts=3), "xdpctl block .victim.com --action truncate --for 10m"),
        (end("victim.com", rate=900.0), ""),
        (end("victim.com", share=0.1), ""),
        (end("co.uk"), ""),
        (end("own.com"), ""),
        (end("kept.com"), ""),
    ],
)
def test_what_is_proposed(seen: HeavyEnd, proposal: str, suffixes: PublicSuffixes) -> None:
    (view,) = views(
        [seen],
        limited=[Name.from_text("own.com")],
        protected=[Name.from_text("www.kept.com")],
        suffixes=suffixes,
    )
    assert view.proposal == proposal


@pytest.mark.parametrize(
    ("fronts", "words"),
    [(60, ["--zone-limit", r".a\042b.com=100"]), (3, ["xdpctl", "block", r".a\042b.com"])],
)
def test_a_proposal_is_pasted_into_a_shell_as_it_is(
    fronts: int, words: list[str], suffixes: PublicSuffixes
) -> None:
    name = Name(b"\3a*b\3com\0")
    (view,) = views(
        [HeavyEnd(name, 5000.0, fronts, 0.9)], limited=[], protected=[], suffixes=suffixes
    )
    assert shlex.split(view.proposal)[: len(words)] == words


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("com", True),
        ("anything", True),
        ("co.uk", True),
        ("example.co.uk", False),
        ("any.ck", True),
        ("www.ck", False),
        ("example.com", False),
        ("xn--j1aef.xn--p1ai", True),
        ("xn--e1afmkfd.xn--p1ai", False),
    ],
)
def test_public_suffixes(name: str, suffixes: PublicSuffixes, *, public: bool) -> None:
    assert suffixes.has(name) == public


@pytest.mark.parametrize("name", ["in-addr.arpa", "ip6.arpa"])
def test_nobody_has_all_reverse_names(tmp_path: Path, name: str) -> None:
    assert PublicSuffixes(tmp_path / "none").has(name)


def test_without_the_list_only_top_level_domains_are_known(tmp_path: Path) -> None:
    none = PublicSuffixes(tmp_path / "none")
    assert none.has("com")
    assert not none.has("co.uk")
