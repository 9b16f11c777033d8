"""The document of dynamic blocks: its syntax, and what each entry means.

The documents have the shape that 1.7.3, 1.9.16 and 2.1.3 answered with.
"""

from __future__ import annotations

import contextlib
import json
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl import abi
from xdpctl.abi import MapName, RuleAction, ZoneScope
from xdpctl.errors import DnsdistError
from xdpctl.feeds.dnsdist.blocks import (
    BlockKind,
    BlockReader,
    DynamicBlock,
    meaning,
    plain_meaning,
)
from xdpctl.feeds.dnsdist.document import ENTRY_MAX, read_entries
from xdpctl.rules import AnyQtype, Name, parse_target
from xdpctl.rules.guard import Guard
from xdpctl.rules.keys import stored_place
from xdpctl.settings import OtherAction

GUARD = Guard([ip_network("192.0.2.10/32"), parse_target("health.example")], [])  # type: ignore[list-item]


def entry(action: str = "Drop", **more: object) -> dict[str, object]:
    """Return what 1.7 says of a subnet; 1.8 and later add `ebpf`, suffixes lack `warning`."""
    return {"action": action, "blocks": 7, "reason": "too many", "seconds": 9, **more}


def read(document: object, other: OtherAction = OtherAction.SKIP) -> dict[str, DynamicBlock]:
    """Return the blocks of a document."""
    reader = BlockReader(other, AnyQtype.BOTH, GUARD)
    return reader.read_all(read_entries(json.dumps(document).encode())).blocks


def test_a_document_of_1_7_has_a_subnet_an_address_and_a_suffix() -> None:
    found = read(
        {
            "192.0.2.0/24": entry(warning=False),
            "198.51.100.7/32": entry("Truncate over UDP", warning=False),
            "evil.example.": entry(),
        }
        | {"2001:db8::/64": entry(warning=False)}
    )
    name = Name.from_text("evil.example").wire
    assert {key: block[:4] for key, block in found.items()} == {
        "192.0.2.0/24": (BlockKind.GUARDED, None, RuleAction.DROP, "too many"),
        "2001:db8::/64": (
            BlockKind.PREFIX,
            (MapName.CIDR6, abi.encode_cidr(ip_network("2001:db8::/64"))),
            RuleAction.DROP,
            "too many",
        ),
        "198.51.100.7/32": (
            BlockKind.ADDRESS,
            (MapName.ADDR_V4, bytes((7, 100, 51, 198))),
            RuleAction.TRUNCATE,
            "too many",
        ),
        "evil.example.": (
            BlockKind.SUFFIX,
            (MapName.ZONES, abi.encode_scoped_name(name, abi.WILDCARD_QTYPE, ZoneScope.ALL)),
            RuleAction.DROP,
            "too many",
        ),
    }
    assert not any(block.reported for block in found.values())


def test_a_document_of_2_1_says_what_is_in_the_maps() -> None:
    found = read(
        {
            "198.51.100.7/32": entry(ebpf=True, warning=False),
            "198.51.100.8/32": entry(ebpf=False, warning=False),
            "evil.example.": entry(ebpf=False),
        }
    )
    assert [block.kind for block in found.values()] == [
        BlockKind.IN_MAPS,
        BlockKind.ADDRESS,
        BlockKind.SUFFIX,
    ]
    assert found["198.51.100.7/32"].place is not None  # it may be ended there
    assert all(block.reported for block in found.values())


@pytest.mark.parametrize(
    ("key", "fields", "kind"),
    [
        ("198.51.100.0/24", entry(warning=True), BlockKind.WARNING),
        ("198.51.100.0/24", entry("Do nothing"), BlockKind.NO_ACTION),
        ("198.51.100.0/24", entry(seconds=-1), BlockKind.NO_ACTION),
        ("198.51.100.0/24", entry("Send NXDomain"), BlockKind.OTHER_ACTION),
        ("198.51.100.0/24", entry("Delay"), BlockKind.OTHER_ACTION),
        ("198.51.100.0/24", entry(""), BlockKind.OTHER_ACTION),
        ("203.0.113.9:0/4", entry(ebpf=False), BlockKind.PORTS),
        ("[2001:db8::1]:1024/6", entry(ebpf=False), BlockKind.PORTS),
        (".", entry(), BlockKind.ROOT),
        (".", entry("Truncate over UDP"), BlockKind.ROOT),
        ("example.", entry(), BlockKind.GUARDED),
        ("health.example.", entry(), BlockKind.GUARDED),
        ("0.0.0.0/0", entry("Truncate over UDP"), BlockKind.PREFIX),
        ("0.0.0.0/1", entry(), BlockKind.GUARDED),
        ("192.0.2.10/32", entry(), BlockKind.GUARDED),
        ("evil.example", entry(), BlockKind.UNREADABLE),
        ("192.0.2.1/33", entry(), BlockKind.UNREADABLE),
        ("..", entry(), BlockKind.UNREADABLE),
        ("", entry(), BlockKind.UNREADABLE),
        ("a." * 17, entry(), BlockKind.UNREADABLE),
        ("evil.example.", entry(seconds="9"), BlockKind.UNREADABLE),
        ("evil.example.", entry(seconds=True), BlockKind.UNREADABLE),
        ("evil.example.", {"seconds": 9}, BlockKind.UNREADABLE),
        ("evil.example.", "Drop", BlockKind.UNREADABLE),
    ],
)
def test_each_kind_is_told(key: str, fields: object, kind: BlockKind) -> None:
    assert read({key: fields})[key].kind is kind


def test_refusals_are_truncated_where_the_settings_say_so() -> None:
    actions = ("Send NXDomain", "Send Refused", "Send ServFail", "Spoof an answer")
    document = {f"n{number}.example.": entry(action) for number, action in enumerate(actions)}
    found = [*read(document, OtherAction.TRUNCATE).values()]
    assert [block.kind for block in found] == [*[BlockKind.SUFFIX] * 3, BlockKind.OTHER_ACTION]
    assert found[0].action is RuleAction.TRUNCATE


@pytest.mark.parametrize(
    ("key", "labels"),
    [
        ("a/b\\.c.example.", (b"a/b.c", b"example")),
        ("EVIL\\032\\255.example.", (b"evil \xff", b"example")),
        ("*.\\\\.example.", (b"*", b"\\", b"example")),
    ],
)
def test_a_name_is_read_as_dnsdist_writes_it(key: str, labels: tuple[bytes, ...]) -> None:
    wire = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    place = read({key: entry()})[key].place
    assert place == (
        MapName.ZONES,
        abi.encode_scoped_name(wire, abi.WILDCARD_QTYPE, ZoneScope.ALL),
    )


plain_texts = st.one_of(
    st.ip_addresses().map(lambda address: f"{address}/{address.max_prefixlen}"),
    st.builds("{}.{}.{}.0/{}".format, *[st.integers(0, 300)] * 3, st.integers(0, 40)),
    st.builds("2001:db8:{:x}::/{}".format, st.integers(0, 70_000), st.integers(0, 140)),
    st.lists(st.text("aB1-_*.", max_size=4), max_size=18).map(lambda some: ".".join(some) + "."),
    st.text(alphabet="0123456789abcdef.:/\\", max_size=20),
)


@given(plain_texts, st.sampled_from(list(AnyQtype)))
def test_a_plain_key_means_what_the_slow_way_says(key: str, any_qtype: AnyQtype) -> None:
    plain, (kind, target) = plain_meaning(key, any_qtype), meaning(key)
    if plain is not None:
        assert target is not None
        assert plain == (kind, *stored_place(target, any_qtype))


def test_most_keys_are_plain() -> None:
    for key in ("192.0.2.1/32", "192.0.2.0/24", "2001:db8::1/128", "2001:db8::/64", "e.example."):
        assert plain_meaning(key, AnyQtype.BOTH) is not None, key


def test_what_stays_the_same_is_the_same_object_and_what_changes_is_read_again() -> None:
    reader = BlockReader(OtherAction.SKIP, AnyQtype.BOTH, GUARD)

    def again(**more: object) -> DynamicBlock:
        return reader.read_all([("2001:db8::/64", entry() | more)]).blocks["2001:db8::/64"]

    first = again(warning=True)
    assert first.kind is BlockKind.WARNING
    second = again(seconds=9)
    assert (second.kind, again(seconds=5) is second) == (BlockKind.PREFIX, True)
    assert again(ebpf=True).kind is BlockKind.IN_MAPS
    assert again(ebpf=False).kind is BlockKind.PREFIX


def test_blocks_beyond_those_that_are_taken_are_counted_and_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("xdpctl.feeds.dnsdist.blocks.BLOCKS_MAX", 2)
    monkeypatch.setattr("xdpctl.feeds.dnsdist.blocks.ENTRIES_MAX", 6)
    entries = ((f"n{number}.example.", entry()) for number in range(9))
    found = BlockReader(OtherAction.SKIP, AnyQtype.BOTH, GUARD).read_all(entries)
    assert list(found.blocks) == list(found.seconds) == ["n0.example.", "n1.example."]
    assert found.kinds() == {BlockKind.SUFFIX: 2, BlockKind.TOO_MANY: 4}
    assert len(list(entries)) == 3  # which were not read


def test_a_reason_is_one_short_line() -> None:
    text = "a\nb\x1b[0m" + "x" * 500
    reason = read({"e.example.": entry(reason=text)})["e.example."].reason
    assert reason.isprintable()
    assert (len(reason), reason[:4]) == (200, "a b ")
    assert not read({"e.example.": entry(reason=5)})["e.example."].reason


# --- syntax ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "[]", "null", "5", '"x"', "{", "}", '{"a"', '{"a":', '{"a":{}', '{"a":{},'),
        *('{"a":{},}', '{"a":{}} x', '{"a":{}}{}', "{a:{}}", '{"a":5}', '{"a":{"b":NaN}}'),
        *("\x00", '{"a":{"s":' + "9" * 5_000 + "}}", '{"a":' + '{"a":' * 9_000),
        '{"a": {"reason": "' + "x" * (2 * ENTRY_MAX) + '"}}',
    ],
)
def test_what_is_not_the_whole_document_is_our_error(text: str) -> None:
    with pytest.raises(DnsdistError) as caught:
        list(read_entries(text.encode()))
    assert "\n" not in caught.value.sentence


def test_octets_that_are_not_utf_8_do_not_matter() -> None:
    document = b'{"evil.example.": {"reason": "\xff\xfe", "seconds": 5, "action": "Drop"}}'
    (found,) = read_entries(document)
    assert found[0] == "evil.example."


objects = st.dictionaries(
    st.text(max_size=20),
    st.text(max_size=20) | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False),
    max_size=6,
)


@given(
    document=st.dictionaries(st.text(max_size=30), objects, max_size=20),
    step=st.integers(1, 50),
    escaped=st.booleans(),
)
def test_every_object_of_objects_is_read_in_any_steps(
    document: dict[str, Any], step: int, *, escaped: bool
) -> None:
    document = {
        key: {name: v for name, v in value.items() if v not in (float("inf"), -float("inf"))}
        for key, value in document.items()
    }
    octets = json.dumps(document, ensure_ascii=escaped, indent=step % 3 or None).encode(
        "utf-8", "replace"
    )
    if escaped:
        assert dict(read_entries(octets, step)) == document
    else:
        list(read_entries(octets, step))


@given(st.binary(max_size=300) | st.text(alphabet='{}[]":,\\ab1 \n', max_size=100).map(str.encode))
def test_any_octets_are_a_document_or_our_error(octets: bytes) -> None:
    reader = BlockReader(OtherAction.TRUNCATE, AnyQtype.BOTH, GUARD)
    with contextlib.suppress(DnsdistError):
        reader.read_all(read_entries(octets, 7))


@given(
    st.text(alphabet="0123456789abcdef.:/[]\\*- ", max_size=40) | st.text(max_size=40),
    st.sampled_from(["Drop", "Truncate over UDP", "Send Refused", "x"]),
    objects,
)
def test_any_entry_has_a_kind(key: str, action: str, more: dict[str, object]) -> None:
    reader = BlockReader(OtherAction.TRUNCATE, AnyQtype.NEW, GUARD)
    block = reader.read_all([(key, {**more, "action": action, "seconds": 5})]).blocks[key]
    assert (block.place is None) or block.kind in {
        *(BlockKind.ADDRESS, BlockKind.PREFIX, BlockKind.SUFFIX, BlockKind.IN_MAPS)
    }
