"""What goes into the package and the image is named by its content, not by a name that moves."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

DEPLOY = Path(__file__).parents[3] / "deploy"
PINS = DEPLOY / "build-requirements.txt"
LISTS = (PINS, DEPLOY / "debian" / "bundled.txt")


def requirements(text: str) -> dict[str, list[str]]:
    """Return the hashes of each requirement of a file, by "name==version"."""
    lines = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    words = lines.replace("\\\n", " ").splitlines()
    return {line.split()[0]: line.split()[1:] for line in words if line.strip()}


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_what_is_built_with_or_bundled_has_a_version_and_hashes(path: Path) -> None:
    found = requirements(path.read_text())

    assert found
    for named, hashes in found.items():
        assert re.fullmatch(r"[\w-]+==[\w.]+", named)
        assert hashes
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", digest) for digest in hashes)


def test_all_that_hatchling_needs_is_in_the_list() -> None:
    pinned = {named.split("==")[0] for named in requirements(PINS.read_text())}
    needed = {"hatchling"}
    for line in metadata.requires("hatchling") or []:
        name, _, marker = line.partition(";")
        if "python_version" not in marker:  # tomli: before 3.11
            needed.add(re.split(r"[<>=!~ ]", name)[0])

    assert needed <= pinned


def test_nothing_is_built_with_what_pip_would_fetch_for_it() -> None:
    text = (DEPLOY / "setup.sh").read_text().replace("\\\n", " ")
    installs = [line for line in text.splitlines() if "-m pip install" in line]

    assert installs
    for line in installs:
        assert "--require-hashes" in line or "--no-build-isolation" in line


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """deploy/debian/build.py."""
    spec = importlib.util.spec_from_file_location("deb_build", DEPLOY / "debian" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where a dataclass looks
    spec.loader.exec_module(module)
    return module


def test_the_package_is_not_built_with_another_version(
    builder: Any,  # noqa: ANN401 - a module has no narrower type
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def other(name: str) -> str:
        if name == "pluggy":
            raise metadata.PackageNotFoundError(name)
        return requirements_by_name()[name]

    monkeypatch.setattr(builder.metadata, "version", other)
    with pytest.raises(builder.BuildError, match=r"pluggy [\d.]+, and here is none"):
        builder.insist_on_builders()


def test_the_package_is_built_with_the_listed_versions(
    builder: Any,  # noqa: ANN401 - the same
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(builder.metadata, "version", requirements_by_name().__getitem__)
    builder.insist_on_builders()


def requirements_by_name() -> dict[str, str]:
    """Return the version of each requirement of the list, by its name."""
    return dict(named.split("==") for named in requirements(PINS.read_text()))


@pytest.mark.parametrize(
    ("base", "status"),
    [("debian@sha256:" + "0" * 64, 0), ("debian:bookworm-slim", 1), ("debian", 1), ("", 1)],
)
def test_an_image_is_built_on_a_digest_only(base: str, status: int) -> None:
    """The Containerfile's own check, run by a shell as the build does."""
    text = (DEPLOY / "oci" / "Containerfile").read_text().replace("\\\n", " ")
    (check,) = re.findall(r"^RUN (case .*)$", text, re.MULTILINE)
    argv = ["sh", "-c", check]
    done = subprocess.run(argv, check=False, capture_output=True, env={"BASE": base})

    assert done.returncode == status
    assert re.findall(r"^FROM (.*)$", text, re.MULTILINE) == ["${BASE}"]


def test_the_daemonset_names_its_image_by_digest() -> None:
    text = (DEPLOY / "kubernetes" / "daemonset.yaml").read_text()
    images = re.findall(r"^ +image: (.*)$", text, re.MULTILINE)

    assert len(images) == 2
    assert all("@sha256:" in image for image in images)
