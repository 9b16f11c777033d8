"""The man page has every verb, argument, option, variable, list key and format that exists."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from xdpctl.cli.main import FAMILIES, find
from xdpctl.settings import dnsdist, lists
from xdpctl.settings.options import CONFIG, OPTIONS

if TYPE_CHECKING:
    from types import ModuleType

    from xdpctl.settings.options import Option

SOURCE: Final = Path(__file__).parents[3] / "deploy" / "debian" / "manual.py"
HEADINGS: Final = (
    *("NAME", "SYNOPSIS", "DESCRIPTION", "VERBS", "OPTIONS", "TARGETS"),
    *("LINES OF IMPORT AND EXPORT", "LISTS", "DYNAMIC BLOCKS OF DNSDIST", "UNITS", "ENVIRONMENT"),
    *("SIGNALS", "EXIT STATUS", "FILES", "EXAMPLES", "SEE ALSO"),
)


@pytest.fixture(scope="module")
def manual() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manual", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(manual: ModuleType) -> str:
    text: str = manual.page()
    return text


def part(page: str, heading: str) -> str:
    """Return a section without its markup."""
    text = page.partition(f"\n.SH {heading}\n")[2].partition("\n.SH ")[0]
    return re.sub(r"\\f[BIR]|\\&", "", text).replace("\\-", "-")


def own(parser: argparse.ArgumentParser) -> set[str]:
    """Return the options of a verb but those of every verb, of the service, and refused ones."""
    shared = {"-h", "--help", "--json", "--control", "--config", "--log-level"}
    shared |= {f"--{option.name}" for option in OPTIONS} | {f"--no-{o.name}" for o in OPTIONS}
    shared |= {f"-{option.short}" for option in OPTIONS}
    actions = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    return {name for action in actions for name in action.option_strings} - shared


def test_the_sections_are_those_of_a_man_page(page: str) -> None:
    assert re.findall(r"^\.SH (.*)$", page, re.MULTILINE) == list(HEADINGS)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_verb_is_there_with_its_arguments(page: str, name: str) -> None:
    verbs = part(page, "VERBS")
    text = re.split(rf"^\.TP\n{name}(?: .*)?$", verbs, maxsplit=1, flags=re.MULTILINE)[1]
    text = text.partition("\n.RE\n")[0]
    assert find(name).summary[1:] in text
    for option in own(find(name).parser()):
        assert option in text, option


@pytest.mark.parametrize("option", [*OPTIONS, CONFIG], ids=lambda option: option.name)
def test_every_option_is_there_with_default_and_variable(page: str, option: Option) -> None:
    entries = part(page, "OPTIONS").split("\n.TP\n")
    tag = re.compile(rf"(?<!\S)--{option.name}(?![\w-])")
    (text,) = (entry for entry in entries if tag.search(entry.partition("\n")[0]))
    assert option.variable in text
    assert isinstance(option.default, tuple) or (option.default or "") in text
    assert f"\n{option.variable}\n" in part(page, "ENVIRONMENT")


def test_every_key_and_format_of_a_list_is_there(page: str) -> None:
    text = part(page, "LISTS")
    for name in (*lists._KEYS, *lists.ListFormat):
        assert f"\n{name}\n" in text or f'"{name}"' in text or f"{name}," in text, name


def test_every_key_of_a_dnsdist_is_there(page: str) -> None:
    text = part(page, "DYNAMIC BLOCKS OF DNSDIST")
    for name in dnsdist._KEYS:
        assert f"\n{name}\n" in text, name


def test_the_lines_of_import_and_the_settings_file_are_there(page: str) -> None:
    assert "TARGET [qtype=A]" in part(page, "LINES OF IMPORT AND EXPORT")
    assert "[[list]]" in part(page, "FILES")


def test_nothing_is_left_to_be_generated_and_no_mark_up_of_markdown(page: str) -> None:
    assert "GENERATED" not in page
    assert page.isascii()
    assert "](" not in part(page, "LISTS")
    assert "`" not in part(page, "LISTS")


def test_a_line_that_begins_with_a_dot_is_text(manual: ModuleType) -> None:
    assert manual.prose(".flood.example") == "\\&.flood.example"
    assert manual.prose("a `-b` [c](d.md) \\\\ e") == "a \\fB\\-b\\fR c \\e\\e e"


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_has_nothing_to_say(page: str) -> None:
    done = subprocess.run(
        ["groff", "-man", "-wmac", "-wfont", "-wchar", "-winput", "-Wbreak", "-Tutf8"],
        input=page.encode(),
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
