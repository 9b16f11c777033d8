"""The table program: what it writes is what a dictionary would have, and what packets meet.

Everything is asked of the C compiled for this machine and, as root, of the loaded program.
"""

from __future__ import annotations

import contextlib
import threading
from ipaddress import (
    IPV4LENGTH,
    IPV6LENGTH,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
)
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engines.table_program import HostTables, KernelTables, clear, count
from tests.packets.build import Udp, ethernet, ipv4, ipv6
from tests.packets.case import Verdict
from tests.packets.message import query
from xdpctl.abi import (
    HEAD_MOVES_OFFSET,
    HEAD_NAMES_OFFSET,
    HEAD_SECRETS_OFFSET,
    HEAD_SOURCES_OFFSET,
    NAMES_LISTS,
    NAMES_OPERATOR,
    SOURCES_V4,
    SOURCES_V6,
    SPREAD,
    TABLE_REQUESTS,
    TABLE_SLOTS,
    TABLES,
    WILDCARD_QTYPE,
    MapName,
    PacketAction,
    Reason,
    RuleAction,
    ZoneScope,
    decode_counters,
    encode_list_source,
    encode_scoped_name,
    shorten_list_source,
    shorten_scoped_name,
)
from xdpctl.errors import KernelError, TableFullError
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.store.tables.shape import Shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hypothesis.strategies import SearchStrategy

    from tests.engines.table_program import Tables
    from xdpctl.abi import ListSource

SMALL = Shape.for_entries(1, 1)
PASS, DROP, TRUNCATE = map(int, RuleAction)
NAMES = (MapName.ZONES, MapName.LIST_NAMES)


def name_key(text: str, scope: ZoneScope = ZoneScope.SELF, qtype: int = WILDCARD_QTYPE) -> bytes:
    wire = b"".join(bytes((len(label),)) + label.encode() for label in text.split(".") if label)
    return shorten_scoped_name(encode_scoped_name(wire + b"\0", qtype, scope))


def source_key(source: ListSource) -> bytes:
    return shorten_list_source(encode_list_source(source))


def some_names(number: int, pattern: str = "n%06d.example") -> list[bytes]:
    return [name_key(pattern % each) for each in range(number)]


@pytest.fixture(scope="module", params=["host", pytest.param("kernel", marks=pytest.mark.root)])
def tables(request: pytest.FixtureRequest) -> Iterator[Tables]:
    with contextlib.ExitStack() as stack:
        if request.param == "host":
            yield HostTables(SMALL)
        else:
            yield KernelTables(Bpf(), stack, SMALL)


# --- against a dictionary -------------------------------------------------------------------

_LABELS = st.sampled_from(["a", "b", "example", "x" * 63, "1234567", "12345678"])
_NAME = st.lists(_LABELS, max_size=3).map(".".join)
_TYPES = st.sampled_from([WILDCARD_QTYPE, 1, 28])
_ZONE = st.builds(name_key, _NAME, st.sampled_from([ZoneScope.ALL, ZoneScope.BELOW]), _TYPES)
_LISTED = st.builds(name_key, _NAME, st.sampled_from(ZoneScope), _TYPES)
_V4 = st.sampled_from([0, 1, 0x0A000001, 0x0A0000FF, 0xC0000201, 0xFFFFFFFF])
_V6 = st.sampled_from([0, 1, 0x20010DB8 << 96, (0x20010DB8 << 96) + 1, (1 << 128) - 1])
_SOURCE: st.SearchStrategy[ListSource] = st.one_of(
    st.builds(IPv4Address, _V4),
    st.builds(IPv6Address, _V6),
    st.builds(lambda a, n: IPv4Network((a, n), strict=False), _V4, st.integers(8, 32)),
    st.builds(lambda a, n: IPv6Network((a, n), strict=False), _V6, st.integers(0, 128)),
)
_PLACE = st.one_of(
    st.tuples(st.just(MapName.ZONES), _ZONE),
    st.tuples(st.just(MapName.LIST_NAMES), _LISTED),
    st.tuples(st.just(MapName.LIST_SOURCES), _SOURCE.map(source_key)),
)
_STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "remove", "look up"]), _PLACE, st.sampled_from(RuleAction)),
    max_size=60,
)


@given(_STEPS)
@settings(max_examples=150, deadline=None)
def test_entries_are_those_of_a_dictionary(
    tables: Tables, steps: list[tuple[str, tuple[MapName, bytes], RuleAction]]
) -> None:
    clear(tables, SMALL)
    model: dict[tuple[MapName, bytes], RuleAction] = {}
    for what, (name, key), action in steps:
        if what == "put":
            assert tables.requests.put(name, [key], [action]) == ((name, key) not in model)
            model[name, key] = action
        elif what == "remove":
            assert tables.requests.remove(name, [key]) == ((name, key) in model)
            model.pop((name, key), None)
        assert tables.requests.look_up(name, [key]) == [model.get((name, key))]
    for name in TABLES:
        assert count(tables, name) == sum(place[0] is name for place in model)
    for (name, key), action in model.items():
        assert tables.requests.look_up(name, [key]) == [action]


@given(_STEPS)
@settings(max_examples=50, deadline=None)
def test_what_is_empty_is_not_asked_for(
    tables: Tables, steps: list[tuple[str, tuple[MapName, bytes], RuleAction]]
) -> None:
    clear(tables, SMALL)
    there: set[tuple[MapName, bytes]] = set()
    for what, (name, key), action in steps:
        if what == "put":
            tables.requests.put(name, [key], [action])
            there.add((name, key))
        else:
            tables.requests.remove(name, [key])
            there.discard((name, key))
        head = tables.memory[MapName.TABLE_HEAD].cast("Q")
        names, sources = head[HEAD_NAMES_OFFSET // 8], head[HEAD_SOURCES_OFFSET // 8]
        assert bool(names & NAMES_OPERATOR) == any(each[0] is MapName.ZONES for each in there)
        assert bool(names & NAMES_LISTS) == any(each[0] is MapName.LIST_NAMES for each in there)
        listed = any(each[0] is MapName.LIST_SOURCES for each in there)
        assert listed or not sources & (SOURCES_V4 | SOURCES_V6)


def test_many_keys_are_written_in_their_order(tables: Tables) -> None:
    clear(tables, SMALL)
    keys = some_names(5) * 1000
    actions = [PASS, DROP, TRUNCATE, DROP, PASS] * 999 + [TRUNCATE, PASS, PASS, TRUNCATE, DROP]
    assert len(keys) > TABLE_REQUESTS
    assert tables.requests.put(MapName.LIST_NAMES, keys, actions) == 5
    assert tables.requests.look_up(MapName.LIST_NAMES, keys[:5]) == actions[-5:]


def test_another_action_leaves_the_counter_as_it_is(tables: Tables) -> None:
    clear(tables, SMALL)
    key = name_key("evil.example")
    tables.requests.put(MapName.LIST_NAMES, [key], [DROP])
    for _ in range(3):
        assert tables.judge(_query("evil.example")) == Verdict.DROP
    tables.requests.put(MapName.LIST_NAMES, [key], [PASS])
    assert tables.requests.look_up(MapName.LIST_NAMES, [key]) == [3 << 8 | PASS]
    assert tables.judge(_query("evil.example")) == Verdict.PASS
    assert tables.requests.look_up(MapName.LIST_NAMES, [key]) == [4 << 8 | PASS]


def test_an_entry_that_comes_again_counts_from_zero(tables: Tables) -> None:
    clear(tables, SMALL)
    key = name_key("evil.example")
    tables.requests.put(MapName.LIST_NAMES, [key], [DROP])
    tables.judge(_query("evil.example"))
    assert tables.requests.remove(MapName.LIST_NAMES, [key]) == 1
    tables.requests.put(MapName.LIST_NAMES, [key], [DROP])
    assert tables.requests.look_up(MapName.LIST_NAMES, [key]) == [DROP]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (MapName.ZONES, name_key("a." * 17, ZoneScope.ALL)),
        (MapName.LIST_NAMES, name_key("a." * 17, ZoneScope.BELOW)),
        (MapName.LIST_NAMES, b"\3" + name_key("a")[1:]),
        (MapName.LIST_NAMES, b"\0\xff\xff\x40" + b"a" * 64),
        (MapName.LIST_NAMES, b"\0\xff\xff" + b"\x01a" * 128),
        (MapName.LIST_SOURCES, b"\5\x20" + bytes(4)),
        (MapName.LIST_SOURCES, b"\4\x21" + bytes(4)),
        (MapName.LIST_SOURCES, b"\6\x81" + bytes(16)),
    ],
    ids=["deep zone", "deep list zone", "scope", "long label", "no end", "family", "v4", "v6"],
)
def test_what_is_no_key_is_refused_and_nothing_behind_it_is_done(
    tables: Tables, name: MapName, key: bytes
) -> None:
    clear(tables, SMALL)
    good = name_key("evil.example", ZoneScope.ALL) if name in NAMES else b"\4\xff" + bytes(4)
    with pytest.raises(KernelError, match="cannot use a key") as caught:
        tables.requests.put(name, [good, key, good], [DROP, DROP, PASS])
    assert caught.value.done == 1
    assert tables.requests.look_up(name, [good]) == [DROP]


# --- full, and larger -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern", ["n%06d.example", "%06x.com", "a.%03d.b.example", "www.%08d.de"]
)
def test_a_table_takes_nine_of_ten_slots_whatever_the_names(tables: Tables, pattern: str) -> None:
    """Names that were counted through lie at regular distances for a linear hash."""
    for _ in range(20):
        clear(tables, SMALL)
        keys = some_names(SMALL.name_room, pattern)
        assert tables.requests.put(MapName.LIST_NAMES, keys, [DROP] * len(keys)) == len(keys)
        assert None not in tables.requests.look_up(MapName.LIST_NAMES, keys)


def test_sources_take_nine_of_ten_slots(tables: Tables) -> None:
    clear(tables, SMALL)
    keys = [source_key(IPv4Address(0x0A000000 + each)) for each in range(SMALL.source_room)]
    assert tables.requests.put(MapName.LIST_SOURCES, keys, [DROP] * len(keys)) == len(keys)
    assert None not in tables.requests.look_up(MapName.LIST_SOURCES, keys)


def test_a_full_table_keeps_what_it_has(tables: Tables) -> None:
    clear(tables, SMALL)
    keys = some_names(SMALL.name_buckets * TABLE_SLOTS + 1)
    with pytest.raises(TableFullError) as caught:
        tables.requests.put(MapName.LIST_NAMES, keys, [DROP] * len(keys))
    done = caught.value.done
    assert SMALL.name_room < done == caught.value.created == count(tables, MapName.LIST_NAMES)
    found = tables.requests.look_up(MapName.LIST_NAMES, keys)
    assert found == [DROP] * done + [None] * (len(keys) - done)
    assert tables.requests.put(MapName.LIST_NAMES, keys[:1], [PASS]) == 0
    assert tables.requests.remove(MapName.LIST_NAMES, keys[:done]) == done
    assert count(tables, MapName.LIST_NAMES) == 0


def _larger(tables: Tables, stack: contextlib.ExitStack, shape: Shape) -> Tables:
    """Return empty tables of another shape, with the same secrets, that can take hits over."""
    grown: Tables
    if isinstance(tables, KernelTables):
        grown = KernelTables(Bpf(), stack, shape, tables)
    else:
        assert isinstance(tables, HostTables)
        grown = HostTables(shape, tables)
    secrets = slice(HEAD_SECRETS_OFFSET, None)
    grown.memory[MapName.TABLE_HEAD][secrets] = tables.memory[MapName.TABLE_HEAD][secrets]
    return grown


def test_a_larger_table_takes_the_hits_over_by_their_tags(tables: Tables) -> None:
    clear(tables, SMALL)
    zones = [name_key("evil.example", ZoneScope.ALL), name_key("gone.example", ZoneScope.ALL)]
    source = source_key(IPv4Address("192.0.2.1"))
    tables.requests.put(MapName.ZONES, zones, [DROP, DROP])
    tables.requests.put(MapName.LIST_SOURCES, [source], [TRUNCATE])
    for name in ("www.evil.example", "gone.example"):
        assert tables.judge(_query(name, "198.51.100.1")) == Verdict.DROP
    assert tables.judge(_query("www.example", "192.0.2.1")) == Verdict.TX
    slots = SMALL.name_buckets * TABLE_SLOTS
    with contextlib.ExitStack() as stack:
        grown = _larger(tables, stack, Shape.for_entries(5000, 3000))
        grown.requests.put(MapName.ZONES, zones[:1], [PASS])
        grown.requests.put(MapName.LIST_SOURCES, [source], [DROP])
        grown.requests.add_hits(MapName.ZONES, slots)
        grown.requests.add_hits(MapName.LIST_SOURCES, slots)
        assert grown.requests.look_up(MapName.ZONES, zones) == [1 << 8 | PASS, None]
        assert grown.requests.look_up(MapName.LIST_SOURCES, [source]) == [1 << 8 | DROP]


# --- packets --------------------------------------------------------------------------------


def _query(name: str, source: str = "192.0.2.1") -> bytes:
    return ethernet((ipv6 if ":" in source else ipv4)(Udp(query(name)), source=source))


def _decides(model: Mapping[tuple[tuple[str, ...], ZoneScope], RuleAction], name: str) -> bool:
    """Whether the longest rule drops the name: a search through all suffixes."""
    labels = tuple(name.split("."))
    for start in range(len(labels) + 1):
        suffix = labels[start:]
        scopes = (
            [(ZoneScope.SELF,), (ZoneScope.ALL,)]
            if not start
            else [(ZoneScope.ALL, ZoneScope.BELOW)]
        )
        for together in scopes:
            found = [model[suffix, scope] for scope in together if (suffix, scope) in model]
            if found:
                return min(found) is RuleAction.DROP
    return False


_RULES = st.tuples(
    st.lists(st.sampled_from("abc"), max_size=5).map(tuple),
    st.sampled_from(ZoneScope),
    st.sampled_from([RuleAction.DROP, RuleAction.PASS]),
)
_CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), _RULES),
        st.tuples(st.just("remove"), _RULES),
    ),
    max_size=25,
)
_ASKED = st.lists(st.sampled_from("abc"), min_size=1, max_size=18).map(".".join)


@given(_CHANGES, st.lists(_ASKED, min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_the_longest_rule_decides_after_every_sequence_of_changes(
    tables: Tables,
    changes: list[tuple[str, tuple[tuple[str, ...], ZoneScope, RuleAction]]],
    asked: list[str],
) -> None:
    clear(tables, SMALL)
    model: dict[tuple[tuple[str, ...], ZoneScope], RuleAction] = {}
    for what, (labels, scope, action) in changes:
        key = name_key(".".join(labels), scope)
        if what == "put":
            tables.requests.put(MapName.LIST_NAMES, [key], [action])
            model[labels, scope] = action
        else:
            tables.requests.remove(MapName.LIST_NAMES, [key])
            model.pop((labels, scope), None)
    for name in asked:
        expected = Verdict.DROP if _decides(model, name) else Verdict.PASS
        assert tables.judge(_query(name)) == expected, name


_NEAR4 = st.builds(
    lambda network, host: IPv4Address(network << 8 | host),
    st.sampled_from([0x0A0000, 0x0A0001, 0x0A0100, 0xC00002, 0x000000, 0xFFFFFF]),
    st.sampled_from([0, 1, 127, 128, 255]),
)
_NEAR6 = st.builds(
    lambda network, host: IPv6Address(network << 64 | host),
    st.sampled_from(
        [0x20010DB8 << 32, 0x20010DB8 << 32 | 1, 0x20010DB8 << 32 | 1 << 16, 0x20010DB9 << 32,
         0x20010E << 40, 0x20020D << 40, 0, (1 << 64) - 1]
    ),
    st.sampled_from([0, 1, 1 << 31, 1 << 63, (1 << 64) - 1]),
)  # fmt: skip
"""Addresses that have a /24, a /48 or a /64 in common, or none of them."""

_EDGES: Final = (0, 1, 24, 25, 31, 32, 48, 49, 57, 64, 65, 66, 128)
"""Lengths at which what the source filter knows of a prefix changes, and some between."""


def _listed(near: SearchStrategy[IPv4Address | IPv6Address], bits: int) -> SearchStrategy[Any]:
    """Return a source of a list: an address, or the prefix of any length around it."""
    network = IPv4Network if bits == IPV4LENGTH else IPv6Network
    return st.one_of(
        near,
        st.builds(
            lambda address, length: network((int(address), length), strict=False),
            near,
            st.one_of(st.integers(0, bits), st.sampled_from([n for n in _EDGES if n <= bits])),
        ),
    )


def _sequences(
    near: SearchStrategy[IPv4Address | IPv6Address], bits: int
) -> SearchStrategy[tuple[list[Any], list[Any]]]:
    change = st.tuples(
        st.sampled_from(["put", "put", "remove"]),
        _listed(near, bits),
        st.sampled_from([RuleAction.DROP, RuleAction.PASS]),
    )
    return st.tuples(st.lists(change, max_size=20), st.lists(near, min_size=1, max_size=8))


@given(st.one_of(_sequences(_NEAR4, IPV4LENGTH), _sequences(_NEAR6, IPV6LENGTH)))
@settings(max_examples=200, deadline=None)
def test_the_longest_prefix_decides_after_every_sequence_of_changes(
    tables: Tables,
    sequence: tuple[list[tuple[str, ListSource, RuleAction]], list[IPv4Address | IPv6Address]],
) -> None:
    clear(tables, SMALL)
    changes, asked = sequence
    model: dict[ListSource, RuleAction] = {}
    for what, source, action in changes:
        if what == "put":
            tables.requests.put(MapName.LIST_SOURCES, [source_key(source)], [action])
            model[source] = action
        else:
            tables.requests.remove(MapName.LIST_SOURCES, [source_key(source)])
            model.pop(source, None)
    for address in asked:
        covering = [
            net for net in model if isinstance(net, IPv4Network | IPv6Network) and address in net
        ]
        longest = max(covering, key=lambda net: net.prefixlen, default=None)
        found = model.get(address, model[longest] if longest else None)
        expected = Verdict.DROP if found is RuleAction.DROP else Verdict.PASS
        assert tables.judge(_query("www.example", str(address))) == expected, address


# --- readers and a writer at once -----------------------------------------------------------


TINY: Final = Shape(4, 64, 4, 64, 16)


def _buckets(tag: int, mask: int) -> tuple[int, int]:
    """Return the two buckets of a tag, as table.h has them."""
    spread = tag >> 4
    spread ^= spread >> 32
    spread = spread * SPREAD % 2**64
    spread ^= spread >> 32
    return spread & mask, spread >> 32 & mask


def test_no_entry_moves_within_its_bucket() -> None:
    """What moves has both slots for a moment: a reader could not say which, in one bucket."""
    tables = HostTables(TINY)
    words = tables.memory[MapName.NAME_TABLE].cast("Q")
    moves = bound = 0
    for number in range(300):
        clear(tables, TINY)
        former: dict[int, int] = {}
        for key in some_names(16, f"r{number}-%d.example"):
            with contextlib.suppress(TableFullError):
                tables.requests.put(MapName.LIST_NAMES, [key], [DROP])
            slots = {words[2 * slot]: slot for slot in range(len(words) // 2)}
            slots.pop(0, None)
            for tag, slot in former.items():
                first, second = _buckets(tag, TINY.name_buckets - 1)
                assert slots[tag] // TABLE_SLOTS in (first, second)
                if first == second:
                    bound += 1
                    assert slots[tag] == slot
                moves += slots[tag] != slot
            former = slots
    assert moves > 100
    assert bound > 100


def _while_entries_move(tables: KernelTables, frame: bytes, packets: int, moves: int) -> int:
    """Run the filter on so many packets, and more until so many entries have moved.

    Another processor fills and empties the tables meanwhile. Returns the number of packets.
    """
    stop = threading.Event()

    def fill_and_empty() -> None:
        number = 0
        while not stop.is_set():
            number = (number + 1) % 10_000
            keys = some_names(14, f"r{number}-%d.example")
            with contextlib.suppress(TableFullError):
                tables.requests.put(MapName.LIST_NAMES, keys, [DROP] * len(keys))
            tables.requests.remove(MapName.LIST_NAMES, keys)

    writer = threading.Thread(target=fill_and_empty)
    writer.start()
    moved = tables.memory[MapName.TABLE_HEAD].cast("Q")
    sent = 0
    try:
        while sent < packets or moved[HEAD_MOVES_OFFSET // 8] < moves:
            tables.filter.test_run(frame, 20_000)
            sent += 20_000
    finally:
        stop.set()
        writer.join()
    return sent


@pytest.mark.root
@pytest.mark.parametrize(
    ("rules", "asked", "decides"),
    [
        ([(ZoneScope.SELF, DROP)], "evil.example", DROP),
        ([(ZoneScope.ALL, PASS), (ZoneScope.BELOW, DROP)], "www.evil.example", PASS),
    ],
    ids=["a name", "the stronger of two zones"],
)
def test_packets_find_an_entry_that_moves_to_make_room_for_others(
    rules: list[tuple[ZoneScope, int]], asked: str, decides: int
) -> None:
    """A million packets on one processor, and on another a table of four buckets under change."""
    with contextlib.ExitStack() as stack:
        tables = KernelTables(Bpf(), stack, TINY)
        for scope, action in rules:
            key = name_key("evil.example", scope)
            tables.requests.put(MapName.LIST_NAMES, [key], [action])
        packets = _while_entries_move(tables, _query(asked), 1_000_000, 20_000)
        counted = decode_counters(tables.maps[MapName.COUNTERS].lookup(bytes(4)) or b"")
    action = PacketAction.PASS if decides == PASS else PacketAction.DROP
    assert counted[Reason.LIST_NAME, action].packets == packets
