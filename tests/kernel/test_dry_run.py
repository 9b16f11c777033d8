"""`xdpctl test` on the kernel: it names the rule that the program hits, and counts nothing."""

from __future__ import annotations

import contextlib
import itertools
import random
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from tests.engines.made_once import compiled_once
from tests.packets.case import DEFAULT
from tests.packets.case import TABLES as WITH_TABLES
from xdpctl.abi import (
    MAPS,
    RULE_MAPS,
    TABLES,
    MapName,
    PacketAction,
    Reason,
    RuleAction,
    Scope,
    encode_xsk_destination,
)
from xdpctl.filter.dry_run import decide
from xdpctl.filter.own_maps import OwnMaps
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.program.config import TableProgram
from xdpctl.program.datagram import query_for
from xdpctl.rules import AnyQtype, Question, Rule, parse_target
from xdpctl.settings import XskFamily
from xdpctl.store.deciding import deciding_rule
from xdpctl.store.state import State
from xdpctl.store.store import Store
from xdpctl.store.tables.generation import KernelGenerations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.programs import Program
    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.program.config import Recipe
    from xdpctl.store.entries import Entry

pytestmark = pytest.mark.root

ADDRESSES = ("192.0.2.1", "192.0.2.77", "198.51.100.1", "2001:db8::1", "2001:db8:1::1")
NAMES = (
    "example", "evil.example", "www.evil.example", "a.www.evil.example", "other.example", ".",
    ".".join(["deep"] * 20) + ".evil.example",
)  # fmt: skip
TYPES = ("A", "TXT")
SOURCES = (
    *ADDRESSES, "192.0.2.1/32", "192.0.2.0/25", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::1/128",
    "2001:db8::/32", "::/0",
)  # fmt: skip
ZONES = (
    ".example", "*.example", ".evil.example", "*.evil.example", ".www.evil.example",
    "*.www.evil.example", "*.",
)  # fmt: skip


class Site:
    """A store over the kernel's maps and tables, and the program that reads them.

    Attributes:
        maps: all that the program refers to, except an interface's own.
    """

    def __init__(self, state: State, stack: contextlib.ExitStack) -> None:
        self.bpf = Bpf()
        self._stack = stack
        self._program: Program | None = None
        self.shared: dict[MapName, Map] = {
            name: stack.enter_context(self.bpf.create_map(MAPS[name], 64)) for name in RULE_MAPS
        }
        self.own = stack.enter_context(OwnMaps.make(self.bpf, Scope.SERVICE))
        self.store = Store(self.shared, state, AnyQtype.BOTH)
        self.store.reconcile()
        self.maps: dict[MapName, Map] = {**self.shared, **self.own}

    def hits(self) -> dict[tuple[MapName, bytes], int]:
        """Return how often each entry was hit."""
        return {(entry.map, entry.key): entry.hits for entry in self.store.entries()}

    def count(self, bytecode: Bytecode, frame: bytes) -> set[tuple[MapName, bytes]]:
        """Run the counting program on a frame; return the entries whose counter grew."""
        before = self.hits()
        self._counting(bytecode).test_run(frame)
        return {place for place, hits in self.hits().items() if hits > before[place]}

    def _counting(self, bytecode: Bytecode) -> Program:
        """Load the program as the filter has it, when it is first asked for."""
        if self._program is None:
            used = {**self.maps}
            for scope in (Scope.INTERFACE, Scope.PROGRAM):
                used |= self._stack.enter_context(OwnMaps.make(self.bpf, scope))
            fds = {MAPS[name].ref: opened.fd for name, opened in used.items()}
            loaded = self.bpf.load_program(bytecode.relocate(fds), "xdpctl_test")
            self._program = self._stack.enter_context(loaded)
        return self._program


@pytest.fixture
async def site(bytecode_of: Callable[[Recipe], Bytecode], tmp_path: Path) -> AsyncIterator[Site]:
    async def compiled() -> Bytecode:
        return bytecode_of(TableProgram())

    generations = KernelGenerations(Bpf(), compiled)
    await generations.prepare()
    with contextlib.ExitStack() as stack:
        made = Site(stack.enter_context(State.open(tmp_path / "state.db")), stack)
        generation = generations.make(dict.fromkeys(TABLES, 256), 1)
        stack.callback(made.store.tables.close)
        made.store.tables.use(generation)
        made.maps |= generation.maps
        yield made


def rules(seed: int) -> list[Rule]:
    """Return rules of operator and lists, chosen by a seed."""
    chance = random.Random(seed)
    found: dict[tuple[object, bool], Rule] = {}
    for text, listed in itertools.product((*SOURCES, *NAMES, *ZONES), (False, True)):
        is_source = text in SOURCES
        for qtype in (None,) if is_source else (None, *TYPES):
            if chance.random() < 0.8:
                continue
            try:
                target = parse_target(text, qtype)
            except Exception:  # noqa: BLE001, S112 - `*.` with a type, and the like
                continue
            origin = "list:x" if listed else "cli"
            action = chance.choice(tuple(RuleAction))
            found[target, listed] = Rule(target, action, origin=origin)
    return list(found.values())


def queries() -> list[tuple[str, str, str]]:
    return list(itertools.product(ADDRESSES, NAMES, TYPES))


@pytest.mark.parametrize("seed", range(6))
def test_the_rule_that_is_named_is_the_rule_that_is_hit(
    site: Site, bytecode_of: Callable[[Recipe], Bytecode], seed: int
) -> None:
    site.store.put(rules(seed))
    bytecode = bytecode_of(WITH_TABLES)
    chance = random.Random(seed)
    reasons = set[Reason]()
    for text, name, qtype in chance.sample(queries(), 12):
        address, question = ip_address(text), parse_target(name, qtype)
        assert isinstance(question, Question)
        frame = query_for(WITH_TABLES, address, question).frame()
        before = site.hits()
        decision = decide(site.bpf, bytecode, site.maps, frame, panic=False)
        assert site.hits() == before, "a dry run counts nothing"
        named = deciding_rule(site.store.listing, decision.reason, address, question, AnyQtype.BOTH)
        assert place_of(named) == site.count(bytecode, frame), (text, name, qtype, decision)
        reasons.add(decision.reason)
        if named is not None and decision.reason is not Reason.UNANSWERABLE:
            assert named.action.name == decision.action.name
    assert reasons


def place_of(entry: Entry | None) -> set[tuple[MapName, bytes]]:
    return set() if entry is None else {(entry.map, entry.key)}


def test_every_kind_of_rule_is_named(site: Site, bytecode_of: Callable[[Recipe], Bytecode]) -> None:
    """One rule at a time, each hit by the same query."""
    address, question = ip_address("192.0.2.1"), parse_target("www.evil.example", "A")
    assert isinstance(question, Question)
    bytecode = bytecode_of(WITH_TABLES)
    frame = query_for(WITH_TABLES, address, question).frame()
    for target, qtype, origin, reason in (
        ("192.0.2.1", None, "cli", Reason.ADDR_V4),
        ("192.0.2.0/24", None, "cli", Reason.CIDR4),
        ("192.0.2.1", None, "list:x", Reason.LIST_SOURCE),
        ("192.0.0.0/16", None, "list:x", Reason.LIST_SOURCE),
        ("www.evil.example", None, "cli", Reason.QNAME),
        ("www.evil.example", "A", "cli", Reason.QNAME),
        (".evil.example", "A", "cli", Reason.ZONE),
        ("*.example", None, "cli", Reason.ZONE),
        ("www.evil.example", "A", "list:x", Reason.LIST_NAME),
        (".www.evil.example", None, "list:x", Reason.LIST_NAME),
        ("*.", None, "list:x", Reason.LIST_NAME),
    ):
        wanted = parse_target(target, qtype)
        site.store.put([Rule(wanted, RuleAction.TRUNCATE, origin=origin)])
        decision = decide(site.bpf, bytecode, site.maps, frame, panic=False)
        assert (decision.reason, decision.action) == (reason, PacketAction.TRUNCATE), target
        named = deciding_rule(site.store.listing, decision.reason, address, question, AnyQtype.BOTH)
        assert named is not None
        assert named.origin == origin
        site.store.remove([wanted], origin)


def test_a_panic_passes_and_an_unfiltered_query_is_nobodys(
    site: Site, bytecode_of: Callable[[Recipe], Bytecode]
) -> None:
    site.store.put([Rule(ip_address("192.0.2.1"), RuleAction.DROP)])
    question = parse_target("www.example", "A")
    assert isinstance(question, Question)
    frame = query_for(DEFAULT, ip_address("192.0.2.1"), question).frame()
    bytecode = bytecode_of(DEFAULT)
    found = [decide(site.bpf, bytecode, site.maps, frame, panic=on) for on in (False, True)]
    assert [(one.reason, one.action) for one in found] == [
        (Reason.ADDR_V4, PacketAction.DROP),
        (Reason.PANIC, PacketAction.PASS),
    ]


def test_the_second_load_has_no_atomic_instruction_left() -> None:
    bytecode = compiled_once(WITH_TABLES)
    changed = bytecode.without_hits()
    opcodes = [changed.instructions[at] for at in range(0, len(changed.instructions), 8)]
    assert 0xDB in bytecode.instructions[::8]
    assert 0xDB not in opcodes
    assert len(changed.instructions) == len(bytecode.instructions)
    assert changed.refs() == bytecode.refs()


def test_only_what_is_filtered_is_acted_on(
    site: Site, bytecode_of: Callable[[Recipe], Bytecode]
) -> None:
    """With --address of one family, a query of the other is not looked at."""
    config = replace(DEFAULT, addresses=(ip_network("198.51.100.0/24"),), ports=(5353,))
    site.store.put(
        [Rule(ip_address(text), RuleAction.DROP) for text in ("192.0.2.1", "2001:db8::1")]
    )
    question = parse_target("www.example", "A")
    assert isinstance(question, Question)
    found = []
    for text in ("192.0.2.1", "2001:db8::1"):
        packet = query_for(config, ip_address(text), question)
        decision = decide(site.bpf, bytecode_of(config), site.maps, packet.frame(), panic=False)
        found.append((str(packet.server), packet.server_port, decision.reason))
    assert found == [
        ("198.51.100.0", 5353, Reason.ADDR_V4),
        ("2001:db8::53", 5353, Reason.OTHER),
    ]


def test_a_query_that_af_xdp_serves_is_redirected(
    site: Site, bytecode_of: Callable[[Recipe], Bytecode]
) -> None:
    config = replace(DEFAULT, xsk=XskFamily.BOTH)
    served = (ip_address("198.51.100.53"), 53)
    question = parse_target("www.example", "A")
    assert isinstance(question, Question)
    with contextlib.ExitStack() as stack:
        maps = dict(site.maps)
        for name in (MapName.XSKMAP, MapName.XSK_DESTINATIONS_V4, MapName.XSK_DESTINATIONS_V6):
            maps[name] = stack.enter_context(site.bpf.create_map(MAPS[name], 4))
        maps[MapName.XSK_DESTINATIONS_V4].update(encode_xsk_destination(*served), b"\1")
        packet = query_for(config, ip_address("192.0.2.1"), question, [served])
        assert (packet.server, packet.server_port) == served
        decision = decide(site.bpf, bytecode_of(config), maps, packet.frame(), panic=False)
    assert decision.reason is Reason.REDIRECT
