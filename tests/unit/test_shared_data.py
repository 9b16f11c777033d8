"""What dnsdist really wrote into its maps decodes to the rules it was configured with.

The maps are those of shared/data; its README names the rules behind them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xdpctl import abi
from xdpctl.abi import RULE_MAPS, MapName, RuleAction
from xdpctl.rules import AnyQtype, Rule, Target, format_rule_line, key_of, parse_target, target_of

COPIES = Path(__file__).parent.parent / "data"
SHARED = Path(__file__).parents[3] / "shared" / "data"
FOLDERS = [folder for folder in (COPIES, SHARED) if folder.is_dir()]

FIRST_MAPS = (MapName.ADDR_V4, MapName.ADDR_V6, MapName.QNAMES)

RULES_OF_ALL = {
    ("192.0.2.77", None, RuleAction.DROP),
    ("192.0.2.78", None, RuleAction.TRUNCATE),
    ("2001:db8::42", None, RuleAction.DROP),
    ("2001:db8::43", None, RuleAction.TRUNCATE),
    ("evildomain.com", None, RuleAction.DROP),
    ("only-a.example", "A", RuleAction.DROP),
}
RULES_SINCE_1_8 = {
    ("198.51.100.0/24", None, RuleAction.DROP),
    ("203.0.113.128/25", None, RuleAction.TRUNCATE),
    ("2001:db8:1::/48", None, RuleAction.TRUNCATE),
}

Expected = set[tuple[str, str | None, RuleAction]]

CONFIGURED = [
    ("1.7.3", AnyQtype.LEGACY, RULES_OF_ALL),
    ("1.7.3", AnyQtype.BOTH, RULES_OF_ALL),
    (
        "1.9.16",
        AnyQtype.BOTH,
        RULES_OF_ALL | RULES_SINCE_1_8 | {("tc.example", None, RuleAction.TRUNCATE)},
    ),
    (
        "2.1.3",
        AnyQtype.BOTH,
        RULES_OF_ALL | RULES_SINCE_1_8 | {("tc.example", None, RuleAction.TRUNCATE)},
    ),
    (
        "2.1.3",
        AnyQtype.NEW,
        RULES_OF_ALL | RULES_SINCE_1_8 | {("tc.example", "ANY", RuleAction.TRUNCATE)},
    ),
]

in_every_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
for_every_version = pytest.mark.parametrize(("version", "any_qtype", "expected"), CONFIGURED)


def maps_of(folder: Path, version: str) -> dict[str, Any]:
    maps: dict[str, Any] = json.loads((folder / f"dnsdist-{version}-maps.json").read_text())
    return maps


def entries_of(folder: Path, version: str) -> list[tuple[MapName, bytes, bytes]]:
    return [
        (MapName(name), bytes.fromhex(key), bytes.fromhex(value))
        for name, content in maps_of(folder, version).items()
        if name in RULE_MAPS
        for key, value in content["entries"]
    ]


def targets_of(expected: Expected) -> dict[Target, RuleAction]:
    return {parse_target(text, qtype): action for text, qtype, action in expected}


@in_every_folder
@for_every_version
def test_dnsdists_entries_decode_to_the_rules_it_was_given(
    folder: Path, version: str, any_qtype: AnyQtype, expected: Expected
) -> None:
    decoded = {
        target_of(name, key, any_qtype): abi.decode_value(value)[0]
        for name, key, value in entries_of(folder, version)
    }
    assert decoded == targets_of(expected)


@in_every_folder
@pytest.mark.parametrize(
    ("version", "any_qtype", "expected"),
    [(v, a, e) for v, a, e in CONFIGURED if a is not AnyQtype.BOTH],
)
def test_our_keys_are_dnsdists(
    folder: Path, version: str, any_qtype: AnyQtype, expected: Expected
) -> None:
    """With the --any-qtype of that version; `both` writes 65535 where 1.9 wrote 255."""
    ours = {key_of(target, any_qtype) for target in targets_of(expected)}
    assert ours == {key for _, key, _ in entries_of(folder, version)}


@in_every_folder
@pytest.mark.parametrize("version", ["1.7.3", "1.9.16", "2.1.3"])
def test_our_values_are_dnsdists_but_for_the_bytes_it_leaves_to_chance(
    folder: Path, version: str
) -> None:
    for _, _, value in entries_of(folder, version):
        action, hits = abi.decode_value(value)
        assert abi.encode_value(action, hits)[:9] == value[:9]


@in_every_folder
def test_the_bytes_behind_the_action_really_are_garbage(folder: Path) -> None:
    garbage = {value[9:] for _, _, value in entries_of(folder, "1.7.3")}
    assert bytes(7) not in garbage


@in_every_folder
@pytest.mark.parametrize(
    ("version", "names"),
    [("1.7.3", FIRST_MAPS), ("1.9.16", RULE_MAPS), ("2.1.3", RULE_MAPS)],
)
def test_our_table_of_maps_is_dnsdists(
    folder: Path, version: str, names: tuple[MapName, ...]
) -> None:
    maps = maps_of(folder, version)
    assert {name: _layout(maps[name]) for name in names} == {
        name: (spec.type, spec.key_size, spec.value_size, spec.entries, spec.flags)
        for name in names
        for spec in (abi.MAPS[name],)
    }


def _layout(content: dict[str, int]) -> tuple[int, ...]:
    return tuple(
        content[field] for field in ("type", "key_size", "value_size", "max_entries", "map_flags")
    )


@pytest.mark.parametrize("file", sorted(path.name for path in COPIES.glob("*.json")))
def test_our_copies_are_what_was_recorded(file: str) -> None:
    for folder in FOLDERS:
        assert (folder / file).read_bytes() == (COPIES / file).read_bytes()


def test_an_entry_of_dnsdists_is_exported_as_a_line() -> None:
    (rule,) = (
        Rule(target_of(name, key, AnyQtype.BOTH), abi.decode_value(value)[0], origin="dnsdist")
        for name, key, value in entries_of(COPIES, "2.1.3")
        if name is MapName.CIDR6
    )
    assert format_rule_line(rule) == "2001:db8:1::/48 action=truncate origin=dnsdist"
