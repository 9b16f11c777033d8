"""What the kernel and its fake (fake_kernel.py) must both do: one contract, run twice.

tests/unit/kernel/test_fake_kernel.py runs it on the fake, tests/kernel/test_bpf.py on the kernel.
A class that uses it gives the fixtures `bpf`, `netlink`, `directory` (for pins) and
`ifindex` (an interface with native XDP and nothing attached).
"""

from __future__ import annotations

import contextlib
import errno
import struct
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_kernel import FakeMap
from xdpctl.abi import MAPS, MapName, MapType, RuleAction, encode_value
from xdpctl.errors import KernelError, MapFrozenError, MapFullError, PinError
from xdpctl.kernel.bpf import pins
from xdpctl.kernel.bpf.libbpf import BPF_EXIST, BPF_NOEXIST, load_library
from xdpctl.kernel.bpf.programs import Link, Program, XdpMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.kernel.net.interfaces import Netlink

ROOM = 8
DROP = encode_value(RuleAction.DROP)
TRUNCATE = encode_value(RuleAction.TRUNCATE, hits=7)
PASS_PROGRAM = struct.pack("=BBhi", 0xB7, 0, 0, 2) + struct.pack("=BBhi", 0x95, 0, 0, 0)
"""r0 = XDP_PASS; exit."""

FRAME = bytes(60)


def key_v4(number: int) -> bytes:
    """Return a key of addr-v4."""
    return struct.pack("=I", 0xC0000200 + number)


def key_cidr(number: int, length: int = 24) -> bytes:
    """Return a key of cidr4: 198.51.`number`.0."""
    return struct.pack("=I", length) + bytes((198, 51, number, 0))


def entries_of(table: Map, size: int = 4096) -> dict[bytes, bytes]:
    """Return all entries of a map by key."""
    found: dict[bytes, bytes] = {}
    for keys, values in table.chunks(size):
        step = table.info.key_size
        for number in range(len(keys) // step):
            key = keys[number * step : (number + 1) * step]
            found[key] = values[number * table.stored_size : (number + 1) * table.stored_size]
    return found


@contextlib.contextmanager
def refused(number: int, kind: type[KernelError] = KernelError) -> Iterator[None]:
    """Expect a KernelError with this errno."""
    with pytest.raises(kind) as caught:
        yield
    assert caught.value.errno == number


def eventually(holds: Callable[[], bool]) -> bool:
    """Wait for what the kernel does a little later, such as ending an unpinned link."""
    for _ in range(1000):
        if holds():
            return True
        time.sleep(0.01)
    return False


def freeze(table: Map) -> None:
    """Freeze a map as anybody with a descriptor to write by can."""
    if isinstance(table, FakeMap):
        table.state.frozen = True
    else:
        assert load_library().bpf_map_freeze(table.fd) == 0


class MapSeam:
    """Entries, one at a time and in batches."""

    @pytest.fixture
    def table(self, bpf: Bpf) -> Iterator[Map]:
        with bpf.create_map(MAPS[MapName.ADDR_V4], ROOM) as made:
            yield made

    @pytest.fixture
    def prefixes(self, bpf: Bpf) -> Iterator[Map]:
        with bpf.create_map(MAPS[MapName.CIDR4], ROOM) as made:
            yield made

    @pytest.mark.parametrize("name", list(MAPS))
    def test_a_made_map_is_what_the_contract_says(self, bpf: Bpf, name: MapName) -> None:
        spec = MAPS[name]
        room = spec.entries if spec.type is MapType.RINGBUF else ROOM  # octets, whole pages
        with bpf.create_map(spec, room) as made:
            assert pins.verify(made.info, spec) is None
            assert made.info.max_entries == room

    def test_what_was_written_is_found(self, table: Map) -> None:
        table.update(key_v4(1), TRUNCATE)
        assert table.lookup(key_v4(1)) == TRUNCATE

    def test_what_was_not_written_is_none(self, table: Map) -> None:
        assert table.lookup(key_v4(1)) is None

    def test_noexist_refuses_what_is_there(self, table: Map) -> None:
        table.update(key_v4(1), DROP, BPF_NOEXIST)
        with refused(errno.EEXIST):
            table.update(key_v4(1), DROP, BPF_NOEXIST)

    def test_exist_refuses_what_is_not_there(self, table: Map) -> None:
        with refused(errno.ENOENT):
            table.update(key_v4(1), DROP, BPF_EXIST)

    def test_delete_says_whether_there_was_anything(self, table: Map) -> None:
        table.update(key_v4(1), DROP)
        assert [table.delete(key_v4(1)), table.delete(key_v4(1))] == [True, False]

    def test_a_frozen_map_is_read_and_takes_no_write(self, table: Map) -> None:
        table.update(key_v4(1), DROP)
        assert not table.is_frozen()
        freeze(table)
        assert table.is_frozen()
        writes: list[Callable[[], object]] = [
            lambda: table.update(key_v4(1), DROP),
            lambda: table.update_batch(key_v4(1), DROP),
            lambda: table.delete(key_v4(1)),
            lambda: table.delete_batch(key_v4(1)),
        ]
        for write in writes:
            with pytest.raises(MapFrozenError, match=r"the map .* is frozen") as caught:
                write()
            assert caught.value.errno == errno.EPERM
        assert [*table.chunks()] == [(key_v4(1), DROP)]
        assert table.lookup(key_v4(1)) == DROP

    def test_a_full_hash_names_map_and_capacity(self, table: Map) -> None:
        for number in range(ROOM):
            table.update(key_v4(number), DROP)
        with pytest.raises(MapFullError) as caught:
            table.update(key_v4(ROOM), DROP)
        error = caught.value
        assert (error.errno, error.map_name, error.capacity) == (errno.E2BIG, "addr-v4", ROOM)

    def test_a_full_hash_still_takes_what_is_there(self, table: Map) -> None:
        for number in range(ROOM):
            table.update(key_v4(number), DROP)
        table.update(key_v4(3), TRUNCATE)
        assert table.lookup(key_v4(3)) == TRUNCATE

    def test_a_full_trie_is_full_too(self, prefixes: Map) -> None:
        for number in range(ROOM):
            prefixes.update(key_cidr(number), DROP)
        with refused(errno.ENOSPC, MapFullError):
            prefixes.update(key_cidr(ROOM), DROP)

    def test_a_prefix_is_not_found_through_one_that_covers_it(self, prefixes: Map) -> None:
        prefixes.update(key_cidr(0, 16), DROP)
        assert prefixes.lookup(key_cidr(7)) is None

    def test_of_nested_prefixes_each_is_found(self, prefixes: Map) -> None:
        prefixes.update(key_cidr(0, 16), DROP)
        prefixes.update(key_cidr(0, 24), TRUNCATE)
        found = (prefixes.lookup(key_cidr(0, 16)), prefixes.lookup(key_cidr(0, 24)))
        assert found == (DROP, TRUNCATE)

    def test_many_prefixes_are_found_at_once_each_for_itself(self, prefixes: Map) -> None:
        prefixes.update(key_cidr(0, 16), DROP)
        prefixes.update(key_cidr(3), TRUNCATE)
        keys = key_cidr(3) + key_cidr(4) + key_cidr(0, 16) + key_cidr(3)
        assert prefixes.lookup_many(keys) == [TRUNCATE, None, DROP, TRUNCATE]

    def test_many_keys_are_found_at_once(self, table: Map) -> None:
        table.update(key_v4(2), DROP)
        assert table.lookup_many(key_v4(1) + key_v4(2)) == [None, DROP]

    def test_no_keys_have_no_values(self, table: Map) -> None:
        assert table.lookup_many(b"") == []

    def test_the_default_route_is_a_prefix(self, prefixes: Map) -> None:
        prefixes.update(bytes(8), DROP)
        assert prefixes.lookup(bytes(8)) == DROP

    @pytest.mark.parametrize("size", [1, 3, ROOM, 4096])
    def test_chunks_give_every_entry_whatever_their_size(self, table: Map, size: int) -> None:
        written = {key_v4(number): DROP for number in range(ROOM)}
        table.update_batch(b"".join(written), b"".join(written.values()))
        assert entries_of(table, size) == written

    @pytest.mark.parametrize("size", [1, 3, 4096])
    def test_chunks_give_every_prefix(self, prefixes: Map, size: int) -> None:
        written = {key_cidr(number): DROP for number in range(ROOM)}
        prefixes.update_batch(b"".join(written), b"".join(written.values()))
        assert entries_of(prefixes, size) == written

    def test_an_empty_map_has_no_chunks(self, table: Map) -> None:
        assert list(table.chunks()) == []

    def test_chunks_stop_where_the_reader_stops(self, table: Map) -> None:
        table.update_batch(key_v4(1) + key_v4(2), DROP * 2)
        keys, _ = next(iter(table.chunks(1)))
        assert len(keys) >= 4

    def test_chunks_survive_the_deletion_of_what_they_gave(self, table: Map) -> None:
        written = {key_v4(number) for number in range(ROOM)}
        table.update_batch(b"".join(written), DROP * ROOM)
        seen = set()
        for keys, _ in table.chunks(2):
            found = {keys[at : at + 4] for at in range(0, len(keys), 4)}
            seen |= found
            table.delete_batch(b"".join(found))
        assert (seen, entries_of(table)) == (written, {})

    def test_update_batch_counts_what_went_in(self, table: Map) -> None:
        assert table.update_batch(key_v4(1) + key_v4(2), DROP * 2) == 2

    def test_update_batch_of_nothing_writes_nothing(self, table: Map) -> None:
        assert table.update_batch(b"", b"") == 0

    def test_update_batch_overwrites(self, table: Map) -> None:
        table.update(key_v4(1), DROP)
        table.update_batch(key_v4(1), TRUNCATE)
        assert table.lookup(key_v4(1)) == TRUNCATE

    def test_update_batch_beyond_capacity_tells_how_many_went_in(self, table: Map) -> None:
        keys = b"".join(key_v4(number) for number in range(ROOM + 3))
        with pytest.raises(MapFullError) as caught:
            table.update_batch(keys, DROP * (ROOM + 3))
        assert caught.value.done == ROOM
        assert set(entries_of(table)) == {key_v4(number) for number in range(ROOM)}

    def test_update_batch_of_a_full_trie_tells_how_many_went_in(self, prefixes: Map) -> None:
        keys = b"".join(key_cidr(number) for number in range(ROOM + 3))
        with pytest.raises(MapFullError) as caught:
            prefixes.update_batch(keys, DROP * (ROOM + 3))
        assert caught.value.done == ROOM

    def test_update_batch_takes_noexist(self, table: Map) -> None:
        table.update(key_v4(2), DROP)
        with pytest.raises(KernelError) as caught:
            table.update_batch(b"".join(map(key_v4, range(4))), TRUNCATE * 4, BPF_NOEXIST)
        assert (caught.value.errno, caught.value.done) == (errno.EEXIST, 2)

    def test_delete_batch_skips_what_is_missing(self, table: Map) -> None:
        table.update_batch(key_v4(1) + key_v4(4), DROP * 2)
        removed = table.delete_batch(b"".join(map(key_v4, range(ROOM))))
        assert (removed, entries_of(table)) == (2, {})

    def test_delete_batch_takes_a_key_twice(self, table: Map) -> None:
        table.update(key_v4(1), DROP)
        assert table.delete_batch(key_v4(1) * 2) == 1

    def test_delete_batch_skips_missing_prefixes(self, prefixes: Map) -> None:
        prefixes.update(key_cidr(3), DROP)
        assert prefixes.delete_batch(b"".join(map(key_cidr, range(ROOM)))) == 1

    @pytest.mark.parametrize("key", [b"", b"\0" * 3, b"\0" * 5])
    def test_a_key_of_another_size_never_reaches_the_kernel(self, table: Map, key: bytes) -> None:
        for call in (table.lookup, table.delete):
            with pytest.raises(ValueError, match="key for map addr-v4"):
                call(key)

    def test_a_value_of_another_size_never_reaches_the_kernel(self, table: Map) -> None:
        with pytest.raises(ValueError, match="8 bytes, not 16"):
            table.update(key_v4(1), bytes(8))

    def test_batches_are_whole_keys(self, table: Map) -> None:
        for call in (
            table.delete_batch,
            table.lookup_many,
            lambda keys: table.update_batch(keys, DROP),
        ):
            with pytest.raises(ValueError, match="whole keys"):
                call(bytes(5))

    def test_batches_have_as_many_values_as_keys(self, table: Map) -> None:
        with pytest.raises(ValueError, match="values for map"):
            table.update_batch(key_v4(1) + key_v4(2), DROP)

    def test_a_per_cpu_array_holds_a_value_for_each_cpu(self, bpf: Bpf) -> None:
        with bpf.create_map(MAPS[MapName.COUNTERS], 1) as counters:
            value = counters.lookup(bytes(4))
            assert value == bytes(counters.info.value_size * bpf.possible_cpus())

    def test_a_per_cpu_array_gives_back_what_each_cpu_has(self, bpf: Bpf) -> None:
        with bpf.create_map(MAPS[MapName.COUNTERS], 1) as counters:
            value = bytes(number % 251 for number in range(counters.stored_size))
            counters.update(bytes(4), value)
            assert counters.lookup(bytes(4)) == value

    def test_an_array_has_no_room_behind_its_end(self, bpf: Bpf) -> None:
        with bpf.create_map(MAPS[MapName.CONTROL], 1) as control:
            assert control.lookup(struct.pack("=I", 1)) is None

    def test_an_array_keeps_its_entries(self, bpf: Bpf) -> None:
        with bpf.create_map(MAPS[MapName.CONTROL], 1) as control, refused(errno.EINVAL):
            control.delete(bytes(4))

    def test_an_empty_xskmap_has_no_look_up(self, bpf: Bpf) -> None:
        with bpf.create_map(MAPS[MapName.XSKMAP], 4) as sockets, refused(errno.EOPNOTSUPP):
            sockets.lookup(bytes(4))

    def test_closing_twice_is_harmless(self, table: Map) -> None:
        table.close()
        table.close()
        assert table.fd == -1

    def test_a_closed_map_is_a_kernel_error(self, table: Map) -> None:
        table.close()
        with refused(errno.EBADF):
            table.lookup(key_v4(1))


class PinSeam:
    """Pins: names in a directory that keep an object alive."""

    def test_a_pinned_map_is_the_same_map(self, bpf: Bpf, directory: Path) -> None:
        with bpf.create_map(MAPS[MapName.ADDR_V4], ROOM) as made:
            made.pin(directory / "addr-v4")
            made.update(key_v4(1), DROP)
            number = made.info.id
        with bpf.open_map(directory / "addr-v4") as opened:
            assert (opened.info.id, opened.lookup(key_v4(1))) == (number, DROP)

    def test_a_missing_pin_is_enoent(self, bpf: Bpf, directory: Path) -> None:
        for call in (bpf.open_map, bpf.open_link):
            with refused(errno.ENOENT):
                call(directory / "missing")

    def test_a_directory_is_eacces(self, bpf: Bpf, directory: Path) -> None:
        (directory / "folder").mkdir()
        for call in (bpf.open_map, bpf.open_link):
            with refused(errno.EACCES):
                call(directory / "folder")

    def test_a_pin_is_never_overwritten(self, bpf: Bpf, directory: Path) -> None:
        with bpf.create_map(MAPS[MapName.ADDR_V4], ROOM) as made:
            made.pin(directory / "addr-v4")
            with refused(errno.EEXIST):
                made.pin(directory / "addr-v4")

    def test_a_pin_needs_its_directory(self, bpf: Bpf, directory: Path) -> None:
        with bpf.create_map(MAPS[MapName.ADDR_V4], ROOM) as made, refused(errno.ENOENT):
            made.pin(directory / "nowhere" / "addr-v4")

    def test_a_pin_has_no_dot_in_its_name(self, bpf: Bpf, directory: Path) -> None:
        with bpf.create_map(MAPS[MapName.ADDR_V4], ROOM) as made, refused(errno.EPERM):
            made.pin(directory / "eth0.100")

    def test_a_pin_is_its_owners_alone(self, bpf: Bpf, directory: Path) -> None:
        with bpf.create_map(MAPS[MapName.ADDR_V4], ROOM) as made:
            made.pin(directory / "addr-v4")
        assert (directory / "addr-v4").stat().st_mode & 0o777 == 0o600

    def test_a_program_is_not_opened_as_a_map(self, bpf: Bpf, directory: Path) -> None:
        with bpf.load_program(PASS_PROGRAM, "pass") as program:
            program.pin(directory / "program")
        with pytest.raises(PinError, match="a program is pinned there, not a map"):
            bpf.open_map(directory / "program")

    def test_a_map_is_not_opened_as_a_link(self, bpf: Bpf, directory: Path) -> None:
        with bpf.create_map(MAPS[MapName.ADDR_V4], ROOM) as made:
            made.pin(directory / "addr-v4")
        with pytest.raises(PinError, match="a map is pinned there, not a link"):
            bpf.open_link(directory / "addr-v4")


class ProgramSeam:
    """Programs and the links that attach them."""

    @pytest.fixture
    def program(self, bpf: Bpf) -> Iterator[Program]:
        with bpf.load_program(PASS_PROGRAM, "first") as loaded:
            yield loaded

    @pytest.fixture
    def other(self, bpf: Bpf) -> Iterator[Program]:
        with bpf.load_program(PASS_PROGRAM, "second") as loaded:
            yield loaded

    @pytest.fixture
    def link(self, bpf: Bpf, ifindex: int, program: Program) -> Iterator[Link]:
        with bpf.create_link(program, ifindex, mode=XdpMode.NATIVE) as made:
            yield made

    def test_a_program_says_what_it_is(self, program: Program) -> None:
        info = program.info
        assert (info.type, info.name, info.xlated_length) == (6, "first", len(PASS_PROGRAM))

    def test_a_test_run_gives_verdict_and_frame(self, program: Program) -> None:
        run = program.test_run(FRAME, repeat=3)
        assert (run.return_value, run.frame) == (2, FRAME)

    def test_a_program_is_found_by_id(self, bpf: Bpf, program: Program) -> None:
        assert bpf.program_info(program.info.id) == program.info

    def test_an_id_that_is_gone_is_none(self, bpf: Bpf) -> None:
        assert bpf.program_info(0x7FFFFFFF) is None

    def test_a_program_names_the_maps_it_uses(self, bpf: Bpf) -> None:
        with bpf.create_map(MAPS[MapName.CONTROL], 1) as control:
            load = struct.pack("=BBhi", 0x18, 0x11, 0, control.fd) + bytes(8)
            with bpf.load_program(load + PASS_PROGRAM, "mapped") as program:
                assert program.info.map_ids == (control.info.id,)

    def test_a_link_says_what_it_attaches(self, ifindex: int, program: Program, link: Link) -> None:
        info = link.info()
        assert (info.program_id, info.ifindex) == (program.info.id, ifindex)

    def test_netlink_sees_the_links_program(
        self, netlink: Netlink, ifindex: int, program: Program, link: Link
    ) -> None:
        assert link.info().ifindex == ifindex
        attached = next(i.attached for i in netlink.interfaces() if i.index == ifindex)
        assert attached is not None
        assert (attached.program_id, attached.mode) == (program.info.id, XdpMode.NATIVE)

    @pytest.mark.parametrize(
        ("mode", "number"), [(XdpMode.NATIVE, errno.EBUSY), (XdpMode.GENERIC, errno.EEXIST)]
    )
    @pytest.mark.usefixtures("link")
    def test_a_second_link_is_refused(
        self, bpf: Bpf, ifindex: int, other: Program, mode: XdpMode, number: int
    ) -> None:
        with refused(number):
            bpf.create_link(other, ifindex, mode=mode)

    def test_an_interface_that_is_not_there_is_enodev(self, bpf: Bpf, program: Program) -> None:
        with refused(errno.ENODEV):
            bpf.create_link(program, 0x7FFFFFF, mode=XdpMode.NATIVE)

    def test_an_update_swaps_the_program(
        self, program: Program, other: Program, link: Link
    ) -> None:
        link.update(other, expected=program)
        assert link.info().program_id == other.info.id

    def test_an_update_needs_no_expectation(self, other: Program, link: Link) -> None:
        link.update(other)
        assert link.info().program_id == other.info.id

    def test_an_update_with_another_program_expected_is_refused(
        self, program: Program, other: Program, link: Link
    ) -> None:
        with refused(errno.EPERM):
            link.update(other, expected=other)
        assert link.info().program_id == program.info.id

    def test_closing_an_unpinned_link_detaches(
        self, netlink: Netlink, ifindex: int, link: Link
    ) -> None:
        link.close()
        assert [i.attached for i in netlink.interfaces() if i.index == ifindex] == [None]

    def test_a_pinned_link_stays_attached(
        self, bpf: Bpf, directory: Path, ifindex: int, link: Link
    ) -> None:
        link.pin(directory / "link")
        link.close()
        with bpf.open_link(directory / "link") as opened:
            assert opened.info().ifindex == ifindex

    def test_removing_the_last_pin_detaches(
        self, netlink: Netlink, directory: Path, ifindex: int, link: Link
    ) -> None:
        link.pin(directory / "link")
        link.close()
        (directory / "link").unlink()
        assert eventually(
            lambda: [i.attached for i in netlink.interfaces() if i.index == ifindex] == [None]
        )

    def test_a_detached_link_is_defunct(self, link: Link) -> None:
        link.detach()
        assert link.info().ifindex == 0

    def test_detaching_twice_is_harmless(self, link: Link) -> None:
        link.detach()
        link.detach()
        assert link.info().ifindex == 0

    def test_a_defunct_link_takes_no_program(self, other: Program, link: Link) -> None:
        link.detach()
        with refused(errno.ENOLINK):
            link.update(other)

    def test_links_are_listed(self, bpf: Bpf, link: Link) -> None:
        assert link.info() in list(bpf.links())

    def test_a_program_without_link_is_seen_and_removed(
        self, netlink: Netlink, ifindex: int, program: Program
    ) -> None:
        netlink.attach_program(ifindex, XdpMode.GENERIC, program)
        seen = [i.attached for i in netlink.interfaces() if i.index == ifindex]
        netlink.detach_program(ifindex, XdpMode.GENERIC, program)
        left = [i.attached for i in netlink.interfaces() if i.index == ifindex]
        assert seen[0] is not None
        assert (seen[0].program_id, seen[0].mode, left) == (
            program.info.id,
            XdpMode.GENERIC,
            [None],
        )

    def test_a_program_is_not_removed_for_another(
        self, netlink: Netlink, ifindex: int, program: Program, other: Program
    ) -> None:
        netlink.attach_program(ifindex, XdpMode.NATIVE, program)
        with refused(errno.EEXIST):
            netlink.detach_program(ifindex, XdpMode.NATIVE, other)

    def test_a_link_over_a_program_is_refused(
        self, bpf: Bpf, netlink: Netlink, ifindex: int, program: Program
    ) -> None:
        netlink.attach_program(ifindex, XdpMode.NATIVE, program)
        with refused(errno.EBUSY):
            bpf.create_link(program, ifindex, mode=XdpMode.NATIVE)

    def test_a_program_over_a_link_is_refused(
        self, netlink: Netlink, ifindex: int, other: Program, link: Link
    ) -> None:
        assert link.info().ifindex == ifindex
        with refused(errno.EBUSY):
            netlink.attach_program(ifindex, XdpMode.NATIVE, other)

    def test_a_links_program_is_not_removed_through_netlink(
        self, netlink: Netlink, ifindex: int, program: Program, link: Link
    ) -> None:
        with refused(errno.EBUSY):
            netlink.detach_program(ifindex, XdpMode.NATIVE, program)
        assert link.info().ifindex == ifindex
