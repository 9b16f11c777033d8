"""The web page: where it is served, what a browser may do with it, and what its files name."""

from __future__ import annotations

import base64
import hashlib
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_backend import site
from xdpctl.http.static import CONTENT_SECURITY_POLICY, FOLDER, StaticPage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.fake_backend import Answer, Site

INDEX = (FOLDER / "index.html").read_text()
MODULES = sorted(FOLDER.glob("*.js"))
SHEET = (FOLDER / "page.css").read_text()
VENDORED = FOLDER / "uplot"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - of a test


@pytest.fixture
async def served() -> AsyncIterator[Site]:
    """A listener on loopback, which has the page."""
    with tempfile.TemporaryDirectory(prefix="xdpctl-") as name:
        async with site(Path(name)) as serving:
            yield serving


async def get(served: Site, path: str, **headers: str) -> Answer:
    """GET a path of the TCP listener."""
    return await served.ask("GET", path, tcp=True, headers=headers)


# --- where it is --------------------------------------------------------------------------------


async def test_the_page_is_at_the_root_of_a_loopback_listener_and_needs_no_token(
    served: Site,
) -> None:
    answer = await get(served, "/")
    assert (answer.status, answer.body.decode()) == (200, INDEX)


@pytest.mark.parametrize("path", sorted(re.findall(r"(?:href|src)=\"(page/[^\"]+)\"", INDEX)))
async def test_every_file_that_the_page_loads_is_served(served: Site, path: str) -> None:
    answer = await get(served, f"/{path}")
    assert (answer.status, answer.body) == (200, (FOLDER / path.removeprefix("page/")).read_bytes())
    assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "uplot/LICENSE", "uplot/", "x.js", "/etc/passwd"],
)
async def test_nothing_else_is_served_there(served: Site, path: str) -> None:
    line = f"GET /page/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert (await served.raw(line.encode(), tcp=True)).startswith(b"HTTP/1.1 404 ")


async def test_a_browser_that_has_a_file_is_told_so(served: Site) -> None:
    first = await get(served, "/page/main.js")
    again = await get(served, "/page/main.js", **{"If-None-Match": first.headers["Etag"]})
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    ("host", "page", "has_page"),
    [
        ("127.0.0.1", None, True),
        ("127.0.0.1", False, False),
        (EVERYWHERE, None, False),
        (EVERYWHERE, True, True),
    ],
)
async def test_the_page_is_on_by_default_on_loopback_only(
    host: str, *, page: bool | None, has_page: bool
) -> None:
    with tempfile.TemporaryDirectory(prefix="xdpctl-") as name:
        async with site(Path(name), host=host, page=page) as serving:
            root = await get(serving, "/")
            module = await get(serving, "/page/main.js")
    assert root.status == 200
    assert (root.body.decode() == INDEX, module.status == 200) == (has_page, has_page)


async def test_the_control_socket_has_links_instead(api: Site) -> None:
    assert (await api.ask("GET", "/page/main.js")).status == 404


# --- what it may do -----------------------------------------------------------------------------


def test_a_browser_may_load_scripts_styles_images_and_data_from_here_only() -> None:
    rules = dict(rule.split(" ", 1) for rule in CONTENT_SECURITY_POLICY.split("; "))
    assert rules.pop("require-trusted-types-for") == "'script'"
    from_here = {name for name, source in rules.items() if source == "'self'"}
    assert from_here == {"script-src", "style-src", "img-src", "connect-src"}
    assert {rules[name] for name in rules.keys() - from_here} == {"'none'"}
    assert "default-src" in rules.keys() - from_here


@pytest.mark.parametrize(
    "path", [*MODULES, FOLDER / "index.html", FOLDER / "page.css"], ids=lambda p: p.name
)
def test_no_file_names_another_host_or_holds_inline_code(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert "innerHTML" not in text
    assert not re.search(r"<style|<script>|\son\w+=|\sstyle=|javascript:", text)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_imports_files_that_are_there(path: Path) -> None:
    for name in re.findall(r"from \"([^\"]+)\"", path.read_text()):
        assert name.startswith("./")
        assert path.parent / name in MODULES


def test_every_module_is_used() -> None:
    imported = {
        name for path in MODULES for name in re.findall(r"from \"\./([^\"]+)\"", path.read_text())
    }
    assert imported | {"main.js"} == {path.name for path in MODULES}


def test_what_the_modules_look_for_is_in_the_page() -> None:
    wanted = {
        name
        for path in MODULES
        for name in re.findall(r"(?:getElementById|element)\(\"([\w-]+)\"\)", path.read_text())
    }
    assert wanted
    assert wanted <= set(re.findall(r"\sid=\"([\w-]+)\"", INDEX))


def test_light_and_dark_have_the_same_colours() -> None:
    light, dark = re.findall(r":root \{([^}]*)\}", SHEET)
    assert set(re.findall(r"--(?!back:)[\w-]+", dark)) == set(
        re.findall(r"--(?!back:)[\w-]+", light)
    )
    used = set(re.findall(r"var\((--[\w-]+)", SHEET)) - {"--share", "--swatch"}
    assert used <= set(re.findall(r"--[\w-]+", light))


def test_the_graphs_library_is_the_release_that_its_checksums_name() -> None:
    sums = dict(
        reversed(line.split())
        for line in re.findall(
            r"^ +[0-9a-f]{64}  .*$", (VENDORED / "README.md").read_text(), re.MULTILINE
        )
    )
    assert sums.keys() == {"uPlot.iife.min.js", "uPlot.min.css"}
    assert (VENDORED / "LICENSE").read_text().startswith("The MIT License")
    for name, digest in sums.items():
        body = (VENDORED / name).read_bytes()
        assert hashlib.sha256(body).hexdigest() == digest
        integrity = base64.b64encode(hashlib.sha384(body).digest()).decode()
        assert re.search(
            rf"page/uplot/{re.escape(name)}\"\s+integrity=\"sha384-{re.escape(integrity)}\"", INDEX
        )


def test_the_page_is_small() -> None:
    """It is kept in memory: the service's goal leaves no room for more."""
    files = StaticPage.read()._files.values()
    assert sum(len(file.body) for file in files) < 120_000
