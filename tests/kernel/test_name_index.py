"""The index on the real kernel: a rule takes effect, no matter what writes it.

Times are the contract's own: an entry acts within 100 ms of being written, no matter what wrote
it and whether or not anybody keeps the index. What is measured is that it acts at all; the
bound is in the bench. A program test run stands for a packet.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Self

import pytest

from tests.engines.made_once import compiled_once
from tests.packets.build import Udp, ethernet, ipv4, ipv6
from tests.packets.case import DEFAULT, Verdict
from tests.packets.message import name, query
from xdpctl.abi import (
    INDEX_ASKED_OFFSET,
    INDEX_EMPTY_OFFSET,
    MAPS,
    RULE_MAPS,
    MapName,
    RuleAction,
    encode_addr_v4,
    encode_addr_v6,
    encode_cidr,
    encode_empty,
    encode_qname,
    encode_value,
)
from xdpctl.maps.name_follower import NameFollower

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.kernel.bytecode import Bytecode

pytestmark = pytest.mark.root

DROP = encode_value(RuleAction.DROP)
PATIENCE = 10.0
WRITER = """
import sys
from pathlib import Path
from xdpctl.kernel.bpf.syscall import Bpf
with Bpf().open_map(Path(sys.argv[1])) as qnames:
    qnames.update(bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3]))
"""
KEEPER = """
import sys, time
from pathlib import Path
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.abi import MapName
from xdpctl.maps.name_follower import NameFollower
with Bpf().open_map(Path(sys.argv[1])) as qnames, NameFollower(
    Bpf(), {MapName.QNAMES: qnames}
) as names:
    names.map.pin(Path(sys.argv[2]))
    print("kept", flush=True)
    time.sleep(60)
"""


def key(text: str, qtype: int = 65535) -> bytes:
    return encode_qname(name(text), qtype)


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


class Site:
    """The filter over qnames (pinned) and an index that somebody keeps."""

    def __init__(self, bpf: Bpf, directory: Path, bytecode: Bytecode) -> None:
        self.bpf = bpf
        self.pin = directory / "qnames"
        self.index_pin = directory / "name-index"
        self._bytecode = bytecode
        self.maps: dict[MapName, Map] = {}

    def __enter__(self) -> Self:
        for spec in MAPS.values():
            if spec.ref in self._bytecode.refs() and spec.name is not MapName.NAME_INDEX:
                self.maps[spec.name] = self.bpf.create_map(spec, spec.entries)
        self.qnames.pin(self.pin)
        return self

    def __exit__(self, *_: object) -> None:
        for opened in self.maps.values():
            opened.close()

    @property
    def qnames(self) -> Map:
        return self.maps[MapName.QNAMES]

    @property
    def rule_maps(self) -> dict[MapName, Map]:
        return {found: self.maps[found] for found in RULE_MAPS}

    def load(self, index: Map) -> None:
        """Load the program with this index."""
        maps = {**self.maps, MapName.NAME_INDEX: index}
        fds = {MAPS[found].ref: opened.fd for found, opened in maps.items()}
        self.program = self.bpf.load_program(self._bytecode.relocate(fds), "index_test")
        self.words = index.memory().cast("Q")

    def drops(self, text: str, qtype: int = 1) -> bool:
        """Return what becomes of a query."""
        frame = ethernet(ipv4(Udp(query(text, qtype))))
        return self.program.test_run(frame).return_value == Verdict.DROP

    def drops_from(self, source: IPv4Address | IPv6Address) -> bool:
        """Return what becomes of a query for a name that no rule has."""
        upper = Udp(query("no-rule.example"))
        packet = (ipv4 if source.version == 4 else ipv6)(upper, source=str(source))
        return self.program.test_run(ethernet(packet)).return_value == Verdict.DROP

    def says_empty(self, wanted: MapName) -> bool:
        """Ask for something; return whether the index says that the map has no entry."""
        self.drops("anything.example")
        return bool(self.words[INDEX_EMPTY_OFFSET // 8] & encode_empty(0, [wanted]))

    def is_in_force(self) -> bool:
        """Ask for a name; return whether the index decides, for which it is told a lie."""
        self.drops("anything.example")
        return self.words[0] != 0

    def write_elsewhere(self, text: str) -> None:
        """Write a rule from another process, as dnsdist does: through the pin."""
        arguments = [sys.executable, "-c", WRITER, str(self.pin), key(text).hex(), DROP.hex()]
        subprocess.run(arguments, check=True)


@pytest.fixture(scope="module")
def bytecode() -> Bytecode:
    return compiled_once(DEFAULT)


@pytest.fixture
def site(bpf: Bpf, directory: Path, bytecode: Bytecode) -> Iterator[Site]:
    with Site(bpf, directory, bytecode) as made:
        yield made


@pytest.fixture
def followed(site: Site) -> Iterator[Site]:
    """The site with a follower in this process, and its index in force."""
    with NameFollower(site.bpf, site.rule_maps) as names:
        site.load(names.map)
        assert eventually(site.is_in_force)
        yield site


def test_what_another_process_writes_acts(followed: Site) -> None:
    assert not followed.drops("theirs.example")
    followed.write_elsewhere("theirs.example")
    assert eventually(lambda: followed.drops("theirs.example"))


def test_what_another_descriptor_writes_acts_within_100_ms_always(followed: Site) -> None:
    late = []
    with followed.bpf.open_map(followed.pin) as theirs:
        for number in range(40):
            text = f"host{number}.example"
            followed.drops(text)
            theirs.update(key(text), DROP)
            written = time.monotonic()
            time.sleep(max(0.0, written + 0.1 - time.monotonic()))
            if not followed.drops(text):
                late.append(text)
    assert late == []


def test_what_this_service_writes_acts_at_once(followed: Site) -> None:
    missed = []
    for number in range(500):
        text = f"host{number}.example"
        followed.qnames.update(key(text), DROP)
        if not followed.drops(text):
            missed.append(text)
    assert missed == []


def test_many_that_this_service_writes_act_at_once(followed: Site) -> None:
    texts = [f"host{number}.example" for number in range(900)]
    followed.qnames.update_batch(b"".join(map(key, texts)), DROP * len(texts))
    assert [text for text in texts if not followed.drops(text)] == []


def test_an_index_in_force_keeps_a_name_from_being_looked_up(followed: Site) -> None:
    """Seen by a lie: while its bits are wiped out, a rule that is there does not act."""
    followed.qnames.update(key("hidden.example"), DROP)

    def is_hidden() -> bool:
        followed.words[8:] = memoryview(bytes(len(followed.words[8:]) * 8)).cast("Q")
        return not followed.drops("hidden.example")

    assert eventually(is_hidden)


def test_what_was_there_before_the_follower_acts(site: Site) -> None:
    texts = [f"host{number}.example" for number in range(1000)]
    site.qnames.update_batch(b"".join(map(key, texts)), DROP * len(texts))
    with NameFollower(site.bpf, site.rule_maps) as names:
        site.load(names.map)
        assert eventually(site.is_in_force)
        assert [text for text in texts if not site.drops(text)] == []


def test_while_entries_come_and_go_none_that_stays_is_missed(followed: Site) -> None:
    stays = [f"stays{number}.example" for number in range(40)]
    missed = []
    with followed.bpf.open_map(followed.pin) as theirs:
        theirs.update_batch(b"".join(map(key, stays)), DROP * len(stays))
        time.sleep(0.1)
        end = time.monotonic() + 2
        number = 0
        while time.monotonic() < end:
            theirs.update(key(f"goes{number % 300}.example"), DROP)
            theirs.update(key(stays[number % 40]), DROP)
            theirs.delete(key(f"goes{(number + 150) % 300}.example"))
            missed += [text for text in stays[number % 40 :: 7] if not followed.drops(text)]
            number += 1
    assert missed == []


def test_without_a_follower_everything_is_looked_up(site: Site, bpf: Bpf) -> None:
    with bpf.create_map(MAPS[MapName.NAME_INDEX], 1) as index:
        site.load(index)
        site.qnames.update(key("www.example"), DROP)
        assert site.drops("www.example")


def test_a_follower_that_has_ended_is_not_believed(site: Site) -> None:
    with NameFollower(site.bpf, site.rule_maps) as names:
        site.load(names.map)
        assert eventually(site.is_in_force)
    with site.bpf.open_map(site.pin) as theirs:
        theirs.update(key("late.example"), DROP)
    assert site.drops("late.example")


def test_a_service_that_was_killed_is_not_believed_after_100_ms(site: Site) -> None:
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(site.pin), str(site.index_pin)], stdout=subprocess.PIPE
    )
    try:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == b"kept\n"
        with site.bpf.open_map(site.index_pin) as index:
            site.load(index)
        assert eventually(site.is_in_force)
        os.kill(keeper.pid, signal.SIGKILL)
        keeper.wait()
        assert site.words[0]  # its heartbeat is still there, and will be for ever
        time.sleep(0.1)
        missed = []
        for number in range(100):
            site.qnames.update(key(f"host{number}.example"), DROP)
            if not site.drops(f"host{number}.example"):
                missed.append(number)
        assert missed == []
    finally:
        keeper.kill()
        keeper.communicate()


def test_a_map_with_more_names_than_are_followed_is_looked_up(site: Site, bpf: Bpf) -> None:
    site.qnames.close()
    site.maps[MapName.QNAMES] = bpf.create_map(MAPS[MapName.QNAMES], 12_000)
    texts = [f"host{number}.example" for number in range(11_000)]
    with NameFollower(bpf, site.rule_maps) as names:
        site.load(names.map)
        assert eventually(site.is_in_force)
        site.qnames.update_batch(b"".join(map(key, texts)), DROP * len(texts))
        assert site.words[0] == 0
        assert [text for text in texts[::100] if not site.drops(text)] == []
        site.qnames.delete_batch(b"".join(map(key, texts[5_000:])))
        assert eventually(site.is_in_force)
        assert [text for text in texts[:5_000:50] if not site.drops(text)] == []


# --- maps that are empty -----------------------------------------------------------

SOURCE4, SOURCE6 = IPv4Address("192.0.2.66"), IPv6Address("2001:db8::66")
SOURCES = [
    pytest.param(MapName.ADDR_V4, encode_addr_v4(SOURCE4), SOURCE4, id="addr-v4"),
    pytest.param(MapName.CIDR4, encode_cidr(IPv4Network("192.0.2.0/24")), SOURCE4, id="cidr4"),
    pytest.param(MapName.ADDR_V6, encode_addr_v6(SOURCE6), SOURCE6, id="addr-v6"),
    pytest.param(MapName.CIDR6, encode_cidr(IPv6Network("2001:db8::/32")), SOURCE6, id="cidr6"),
]


@pytest.mark.parametrize(("name", "entry", "source"), SOURCES)
def test_what_this_service_writes_into_an_empty_map_acts_at_once(
    followed: Site, name: MapName, entry: bytes, source: IPv4Address | IPv6Address
) -> None:
    assert eventually(lambda: followed.says_empty(name))
    followed.maps[name].update(entry, DROP)
    assert followed.drops_from(source)


@pytest.mark.parametrize(("name", "entry", "source"), SOURCES)
def test_what_another_descriptor_writes_into_an_empty_map_acts_within_100_ms(
    followed: Site,
    directory: Path,
    name: MapName,
    entry: bytes,
    source: IPv4Address | IPv6Address,
) -> None:
    followed.maps[name].pin(directory / name)
    late = []
    with followed.bpf.open_map(directory / name) as theirs:
        for number in range(10):
            assert eventually(lambda: followed.says_empty(name))
            theirs.update(entry, DROP)
            written = time.monotonic()
            time.sleep(max(0.0, written + 0.1 - time.monotonic()))
            if not followed.drops_from(source):
                late.append(number)
            theirs.delete(entry)
    assert late == []


def test_a_name_written_into_an_empty_map_acts_at_once(followed: Site) -> None:
    assert eventually(lambda: followed.says_empty(MapName.QNAMES))
    followed.qnames.update(key("www.example"), DROP)
    assert followed.drops("www.example")


def test_an_empty_map_is_not_looked_into(followed: Site) -> None:
    """Seen by a lie: while the index says that the map is empty, its rule does not act."""
    followed.maps[MapName.ADDR_V4].update(encode_addr_v4(SOURCE4), DROP)

    def is_hidden() -> bool:
        followed.words[INDEX_EMPTY_OFFSET // 8] |= encode_empty(0, [MapName.ADDR_V4])
        return not followed.drops_from(SOURCE4)

    assert eventually(is_hidden)


def test_a_packet_that_meets_empty_maps_only_keeps_the_service_looking(followed: Site) -> None:
    assert eventually(lambda: followed.says_empty(MapName.QNAMES))
    before = followed.words[INDEX_ASKED_OFFSET // 8]
    time.sleep(0.02)
    followed.drops_from(SOURCE4)
    assert followed.words[INDEX_ASKED_OFFSET // 8] > before


def test_a_follower_that_has_ended_says_no_map_empty(site: Site) -> None:
    with NameFollower(site.bpf, site.rule_maps) as names:
        site.load(names.map)
        assert eventually(lambda: site.says_empty(MapName.ADDR_V4))
    site.maps[MapName.ADDR_V4].before_write = None  # as if somebody else wrote
    site.maps[MapName.ADDR_V4].update(encode_addr_v4(SOURCE4), DROP)
    assert site.drops_from(SOURCE4)
