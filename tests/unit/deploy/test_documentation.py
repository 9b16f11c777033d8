"""The documentation holds together: links lead somewhere, tables are whole, examples are valid."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from xdpctl.abi import Reason
from xdpctl.errors import XdpctlError
from xdpctl.settings import dnsdist, lists, load_settings
from xdpctl.settings.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[3]
PAGES: Final = sorted(
    [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("contrib/*/README.md"),
    ]
)
REFERENCE: Final = ROOT / "docs" / "reference.md"
LISTS: Final = ROOT / "docs" / "lists.md"

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_TOML = re.compile(r"^( *)```toml\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_METRIC = re.compile(r"Metric(?:Family)?\(\s*\"(xdpctl_\w+)\"|_gauge\(\s*\"(xdpctl_\w+)\"")


def name_of(page: Path) -> str:
    """Return the page's path in the repository."""
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(page.read_text())
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_links_every_page() -> None:
    linked = set(_LINK.findall((ROOT / "README.md").read_text()))

    assert {name_of(page) for page in ROOT.glob("docs/*.md")} <= linked


def examples() -> Iterator[tuple[str, str]]:
    """Yield each TOML example of the documentation, with where it is."""
    shipped = (ROOT / "deploy" / "xdpctl.toml").read_text()
    yield "deploy/xdpctl.toml", re.sub(r"^#(?=[a-z\[])", "", shipped, flags=re.MULTILINE)
    for page in PAGES:
        for indent, text in _TOML.findall(page.read_text()):
            yield name_of(page), re.sub(f"^{indent}", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize(("page", "text"), list(examples()))
def test_an_example_is_valid_settings(page: str, text: str, tmp_path: Path) -> None:
    """But for users and groups that this machine does not have."""
    known = re.sub(r'^pin-owner = ".*?"', 'pin-owner = "root"', text, flags=re.MULTILINE)
    file = tmp_path / "xdpctl.toml"
    file.write_text(known)
    above = [] if "interface = " in text else ["--interface", "eth0"]

    assert load_settings([*above, "--config", str(file)], {}).interfaces, page


def test_the_reference_has_every_reason() -> None:
    table = REFERENCE.read_text().partition("### Reasons")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = {label for row in rows for label in re.findall(r"`([\w-]+)`", row)}

    assert named == {reason.label for reason in Reason}


def test_the_reference_has_every_metric() -> None:
    source = (ROOT / "xdpctl" / "status" / "metrics.py").read_text()
    made = {name for found in _METRIC.findall(source) for name in found if name}
    table = REFERENCE.read_text().partition("## Metrics")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(xdpctl_\w+)`", table))

    assert made
    assert {re.sub(r"_(total|info)$", "", name) for name in named} == {
        re.sub(r"_info$", "", name) for name in made
    }


def tagged(page: Path, heading: str) -> set[str]:
    """Return the words of code in the first column of the first table below a heading."""
    text = page.read_text().partition(f"\n{heading}\n")[2].partition("\n\n|")[2]
    rows = text.partition("\n\n")[0].splitlines()[2:]
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_the_reference_has_every_error_code() -> None:
    text = REFERENCE.read_text().partition("their `code` is for programs")[2].partition("\n\n")[0]
    kinds: list[type[XdpctlError]] = [XdpctlError, *XdpctlError.__subclasses__()]
    kinds += [kind for base in kinds[1:] for kind in base.__subclasses__()]
    codes = {kind.code for kind in kinds}

    assert codes <= set(re.findall(r"`([a-z-]+)`", text))


def test_every_key_of_a_list_is_documented() -> None:
    assert tagged(LISTS, "## Following a file") == set(lists._FILE_KEYS)
    assert tagged(LISTS, "## Following a zone") == set(lists._ZONE_KEYS) | {"zone"}


def test_every_key_of_a_dnsdist_is_documented() -> None:
    page = ROOT / "docs" / "dnsdist.md"
    assert tagged(page, "### Keys of `[[dnsdist]]`") == set(dnsdist._KEYS)


def test_every_format_of_a_list_is_documented() -> None:
    named = tagged(LISTS, "## Formats")

    assert named == {*lists.ListFormat} - {lists.ListFormat.AUTO}


def test_the_packaged_settings_show_a_list_and_the_address_of_metrics() -> None:
    text = (ROOT / "deploy" / "xdpctl.toml").read_text()

    assert re.search(r"^#?\[\[list\]\]$", text, re.MULTILINE)
    assert re.search(r"^#?listen = ", text, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_an_option_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"`(?:xdpctl )?--([a-z][a-z-]+)[ `]", text))
    source = "".join(path.read_text() for path in ROOT.glob("xdpctl/cli/**/*.py"))
    known = {option.name for option in OPTIONS} | set(re.findall(r'"--([a-z-]+)"', source))
    known |= {"help", "version", "no-tcp"}
    elsewhere = {
        "check-config",
        "privileged",
        "publish",
        "security-opt",
        "stop-signal",
    }  # dnsdist, podman

    assert named <= known | elsewhere
