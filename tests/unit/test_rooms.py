"""The rooms of xdpctl/ (one folder a concept), the floors they are on, and what each may import.

Reads the source: an import counts wherever it is, in a function or for types alone.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import xdpctl
from xdpctl import abi

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(xdpctl.__file__).parent

FLOORS = (
    {"abi", "errors"},
    {"kernel", "process", "rules"},
    {"limits", "samples", "settings", "store", "transfers"},
    {"feeds", "maps", "program", "zones"},
    {"filter"},
    {"status"},
    {"http"},
    {"service"},
    {"cli"},
)
"""From the ground up. Rooms of one floor do not know each other."""

INSIDE = (
    ("xdpctl.http.api", "xdpctl.http.transport", "xdpctl.http.problems", "xdpctl.http.refusals"),
    ("xdpctl.kernel.net", "xdpctl.kernel.bpf", "xdpctl.kernel.failure"),
)
"""From the top down, inside a room."""

FOREIGN = {
    "aiohttp": ("xdpctl.http",),
    "bcc": ("xdpctl.program.bcc_process",),
    "dns": ("xdpctl.rules.names", "xdpctl.feeds", "xdpctl.transfers.signing"),
    "idna": ("xdpctl.rules.names",),
    "msgspec": ("xdpctl.http",),
    "prometheus_client": ("xdpctl.status.metrics",),
    "pyroute2": ("xdpctl.kernel.net.codecs",),
    "sqlite3": ("xdpctl.store", "xdpctl.feeds.zone.records"),
}
"""A library, and where alone it is imported."""

HANDING_ON = {"xdpctl", "xdpctl.rules", "xdpctl.settings"}
"""The packages whose __init__ holds more than a docstring."""


def module_of(path: Path) -> str:
    """Return the dotted name of a file's module."""
    parts = ("xdpctl", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(part for part in parts if part != "__init__")


FILES = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}
PACKAGES = {module: path for module, path in FILES.items() if path.name == "__init__.py"}


def imports_of(text: str) -> Iterator[str]:
    """Yield the modules that a module's text imports, by statement or by name."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=str(module), names=names):
                for name in names:
                    inner = f"{module}.{name.name}"
                    yield inner if inner in FILES else module
            case ast.Call(
                func=ast.Name(id="import_module"), args=[ast.Constant(value=str(module)), *_]
            ):
                yield module
            case ast.Assign(value=ast.Constant(value=str(text))):
                if text.partition(".")[0] in FOREIGN:  # imported by a name that is kept
                    yield text


@cache
def imports() -> dict[str, set[str]]:
    """Return what each module imports."""
    return {module: set(imports_of(path.read_text())) for module, path in FILES.items()}


@cache
def own_imports() -> dict[str, set[str]]:
    """Return what each module imports of this package."""
    return {module: found & FILES.keys() for module, found in imports().items()}


def floor_of(module: str) -> int:
    """Return which floor a module is on; the package itself and its __main__ are the roof."""
    room = module.split(".")[1] if "." in module else "xdpctl"
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), len(FLOORS))


def is_in(module: str, place: str) -> bool:
    """Return whether a module is a place or inside it."""
    return f"{module}.".startswith(f"{place}.")


def entries_of(folder: Path) -> list[Path]:
    """Return what is in a package, without what Python keeps there, or left of a former one."""
    return [path for path in folder.iterdir() if path.is_file() or any(path.rglob("*.py"))]


def test_every_entry_at_the_top_is_a_room() -> None:
    entries = {path.stem for path in entries_of(ROOT)}
    assert entries - {"__init__", "__main__", "py"} == set().union(*FLOORS)


def test_imports_go_down() -> None:
    wrong = [
        f"{module} imports {other}"
        for module, found in own_imports().items()
        for other in found
        if other != "xdpctl"  # its version
        and module.split(".")[:2] != other.split(".")[:2]
        and floor_of(other) >= floor_of(module)
    ]
    assert wrong == []


@pytest.mark.parametrize("places", INSIDE)
def test_imports_inside_a_room_go_down(places: tuple[str, ...]) -> None:
    wrong = [
        f"{module} imports {other}"
        for upper, lower in pairwise(places)
        for module, found in own_imports().items()
        if is_in(module, lower)
        for other in found
        if is_in(other, upper)
    ]
    assert wrong == []


def test_no_modules_import_in_a_circle() -> None:
    try:
        TopologicalSorter(own_imports()).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@pytest.mark.parametrize("library", FOREIGN)
def test_a_foreign_library_is_imported_in_its_place(library: str) -> None:
    users = {
        module for module, found in imports().items() if any(is_in(name, library) for name in found)
    }
    assert users
    strays = [one for one in users if not any(is_in(one, place) for place in FOREIGN[library])]
    assert strays == []


def test_every_foreign_library_has_a_place() -> None:
    roots = {name.partition(".")[0] for found in imports().values() for name in found}
    assert roots - sys.stdlib_module_names - {"xdpctl"} <= FOREIGN.keys()


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_lists_exactly_its_files(package: str) -> None:
    text = ast.get_docstring(ast.parse(PACKAGES[package].read_text())) or ""
    listed = re.findall(r"^\s*(\w+(?:\.py|/))  +\S", text, re.MULTILINE)
    entries = entries_of(PACKAGES[package].parent)
    there = {f"{path.name}/" if path.is_dir() else path.name for path in entries}
    assert Counter(listed) == Counter(there - {"__init__.py", "py.typed"})


@pytest.mark.parametrize("package", sorted(PACKAGES.keys() - HANDING_ON))
def test_a_package_is_a_docstring(package: str) -> None:
    assert len(ast.parse(PACKAGES[package].read_text()).body) == 1


def test_maps_that_may_be_empty_have_a_bit_for_it() -> None:
    """Their bits are below the tick that they share a word with (abi.h, `struct name_index`)."""
    sources = (path.read_text() for path in (ROOT.parent / "xdp").glob("*.[ch]"))
    names = {name for text in sources for name in re.findall(r"\bEMPTY_BIT\(MAP_(\w+)\)", text)}
    assert names == {name.name for name in abi.RULE_MAPS}
    assert all(abi.MAPS[abi.MapName[name]].ref < abi.EMPTY_TICK_SHIFT for name in names)


def test_the_store_decodes_values_in_one_module() -> None:
    decoding = [
        module
        for module, path in FILES.items()
        if is_in(module, "xdpctl.store") and "decode_value" in path.read_text()
    ]
    assert decoding == ["xdpctl.store.entries"]


def test_every_own_map_has_a_scope() -> None:
    shared = {*abi.RULE_MAPS, *abi.DESTINATION_MAPS, abi.MapName.XSKMAP}
    assert {*abi.names_of(abi.Scope.SHARED)} == shared
    assert {*abi.names_of(*abi.Scope)} == {*abi.MapName} - {*abi.TABLES}


def test_no_two_classes_share_a_name() -> None:
    names = Counter(
        node.name
        for path in FILES.values()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in names.items() if count > 1] == []
