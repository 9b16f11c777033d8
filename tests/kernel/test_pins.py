"""The BPF file system on the real kernel: mounting, directories, maps opened or made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.support.descriptors import none_left_open
from tests.support.kernel_contract import DROP, PASS_PROGRAM, key_v4
from xdpctl.abi import BPF_F_NO_PREALLOC, MAPS, MapName, MapSpec, MapType
from xdpctl.errors import KernelError, PinError
from xdpctl.kernel.bpf import pins
from xdpctl.kernel.bpf.pins import OpenedMap, PinPolicy
from xdpctl.kernel.bpf.syscall import Bpf

if TYPE_CHECKING:
    from xdpctl.kernel.bpf.maps import Map

pytestmark = pytest.mark.root

SPEC = MAPS[MapName.ADDR_V4]
DEFAULT = PinPolicy()
DNSDIST = PinPolicy(uid=12345, gid=23456, mode=0o660)


def open_or_create(bpf: Bpf, directory: Path, policy: PinPolicy = DEFAULT) -> OpenedMap:
    return pins.open_or_create(bpf, directory, SPEC, entries=8, policy=policy)


def pin_another(bpf: Bpf, directory: Path, **changes: int) -> None:
    """Pin a map at addr-v4 that differs from the contract."""
    with bpf.create_map(replace(SPEC, **cast("dict[str, Any]", changes)), 8) as made:
        made.pin(directory / "addr-v4")


def owner_and_mode(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid, found.st_mode & 0o7777


class TestOpenOrCreate:
    """A pin is opened, or made, and is what the contract says before it is used."""

    def test_a_missing_map_is_made_and_pinned(self, bpf: Bpf, directory: Path) -> None:
        opened = open_or_create(bpf, directory)
        with opened.map:
            assert (opened.created, opened.map.info.max_entries, opened.warnings) == (True, 8, ())
        assert owner_and_mode(directory / "addr-v4") == (0, 0, 0o600)

    def test_an_existing_map_is_opened_with_what_is_in_it(self, bpf: Bpf, directory: Path) -> None:
        with open_or_create(bpf, directory).map as first:
            first.update(key_v4(1), DROP)
        opened = open_or_create(bpf, directory)
        with opened.map:
            assert (opened.created, opened.map.lookup(key_v4(1))) == (False, DROP)

    @pytest.mark.parametrize("name", list(MAPS))
    def test_every_map_of_the_contract_can_be_made_and_opened(
        self, bpf: Bpf, directory: Path, name: MapName
    ) -> None:
        spec = MAPS[name]
        entries = spec.entries if spec.type is MapType.RINGBUF else 1  # octets, whole pages
        for created in (True, False):
            opened = pins.open_or_create(bpf, directory, spec, entries=entries, policy=DEFAULT)
            with opened.map:
                assert opened.created is created

    def test_another_number_of_entries_is_a_warning(self, bpf: Bpf, directory: Path) -> None:
        with bpf.create_map(SPEC, 5) as made:
            made.pin(directory / "addr-v4")
        opened = open_or_create(bpf, directory)
        with opened.map:
            assert len(opened.warnings) == 1
            assert "room for 5 entries, not the configured 8" in opened.warnings[0]

    def test_a_pin_may_have_another_name_than_its_map(self, bpf: Bpf, directory: Path) -> None:
        name = f"xskmap-{pins.pin_name_for('eth0.100')}"
        opened = pins.open_or_create(
            bpf, directory, MAPS[MapName.XSKMAP], entries=8, policy=DEFAULT, pin_name=name
        )
        with opened.map:
            assert opened.map.label == "xskmap-eth0:100"
        assert (directory / "xskmap-eth0:100").exists()

    @pytest.mark.parametrize(
        ("changes", "complaint"),
        [
            ({"type": MapType.PERCPU_ARRAY}, "type is PERCPU_ARRAY, not HASH"),
            ({"type": 5}, "type is type 5, not HASH"),
            ({"key_size": 8}, "key size is 8, not 4"),
            ({"value_size": 24}, "value size is 24, not 16"),
            ({"flags": BPF_F_NO_PREALLOC}, "flags is 1, not 0"),
        ],
    )
    def test_another_layout_is_refused_and_stays(
        self,
        bpf: Bpf,
        directory: Path,
        changes: dict[str, int],
        complaint: str,
    ) -> None:
        pin_another(bpf, directory, **changes)
        with pytest.raises(PinError, match=complaint):
            open_or_create(bpf, directory)
        assert (directory / "addr-v4").exists()

    @pytest.mark.parametrize("name", [MapName.ADDR_V4, MapName.ADDR_V6, MapName.QNAMES])
    def test_dnsdists_legacy_format_is_named_with_the_way_out(
        self, bpf: Bpf, directory: Path, name: MapName
    ) -> None:
        spec = MAPS[name]
        assert spec.legacy is not None
        legacy = MapSpec(name, spec.ref, spec.type, *spec.legacy, spec.flags, 8, spec.scope)
        with bpf.create_map(legacy, 8) as made:
            made.pin(directory / name)
        with pytest.raises(PinError, match=r"legacy format.*external=true.*remove the pin"):
            pins.open_or_create(bpf, directory, spec, entries=8, policy=DEFAULT)

    def test_a_pinned_program_is_refused(self, bpf: Bpf, directory: Path) -> None:
        with bpf.load_program(PASS_PROGRAM, "p") as program:
            program.pin(directory / "addr-v4")
        with pytest.raises(PinError, match="a program is pinned there, not a map"):
            open_or_create(bpf, directory)

    def test_a_directory_in_its_place_is_refused(self, bpf: Bpf, directory: Path) -> None:
        (directory / "addr-v4").mkdir()
        with pytest.raises(PinError, match="it is a directory; move it away"):
            open_or_create(bpf, directory)

    def test_a_plain_file_in_its_place_is_refused(self, bpf: Bpf, tmp_path: Path) -> None:
        (tmp_path / "addr-v4").touch()
        with pytest.raises(PinError, match="it is a plain file; move it away"):
            open_or_create(bpf, tmp_path)

    def test_a_link_to_nothing_in_its_place_is_refused(self, bpf: Bpf, directory: Path) -> None:
        (directory / "addr-v4").symlink_to(directory / "missing")
        with pytest.raises(PinError, match="it is a link; move it away"):
            open_or_create(bpf, directory)

    def test_a_directory_that_is_no_bpffs_is_a_kernel_error(self, bpf: Bpf, tmp_path: Path) -> None:
        with pytest.raises(KernelError, match="must be on a BPF file system"):
            open_or_create(bpf, tmp_path)

    def test_one_who_makes_it_at_the_same_time_wins(self, directory: Path) -> None:
        """As dnsdist, started together with the service, may."""

        class Racing(Bpf):
            """Another pins the map between our look and our pin."""

            def create_map(self, spec: MapSpec, max_entries: int) -> Map:
                with super().create_map(spec, max_entries) as theirs:
                    theirs.pin(directory / spec.name)
                    theirs.update(key_v4(1), DROP)
                return super().create_map(spec, max_entries)

        with none_left_open():
            opened = open_or_create(Racing(), directory)
            with opened.map:
                assert (opened.created, opened.map.lookup(key_v4(1))) == (False, DROP)

    def test_no_descriptor_outlives_a_refusal(self, bpf: Bpf, directory: Path) -> None:
        pin_another(bpf, directory, key_size=8)
        with none_left_open():
            with pytest.raises(PinError):
                open_or_create(bpf, directory)
            with pytest.raises(PinError):
                pins.open_or_create(bpf, directory / "nowhere", SPEC, entries=8, policy=DEFAULT)

    def test_looking_makes_nothing(self, bpf: Bpf, directory: Path) -> None:
        assert pins.open_existing(bpf, directory / "addr-v4", SPEC) is None
        assert not (directory / "addr-v4").exists()


class TestOwners:
    """dnsdist's user gets what it needs, and nothing that exists changes unasked."""

    def test_a_made_pin_gets_owner_and_mode(self, bpf: Bpf, directory: Path) -> None:
        open_or_create(bpf, directory, DNSDIST).map.close()
        assert owner_and_mode(directory / "addr-v4") == (12345, 23456, 0o660)

    def test_an_existing_pin_gets_them_when_asked_for(self, bpf: Bpf, directory: Path) -> None:
        open_or_create(bpf, directory).map.close()
        open_or_create(bpf, directory, DNSDIST).map.close()
        assert owner_and_mode(directory / "addr-v4") == (12345, 23456, 0o660)

    def test_an_existing_pin_keeps_them_when_not_asked_for(self, bpf: Bpf, directory: Path) -> None:
        open_or_create(bpf, directory, DNSDIST).map.close()
        open_or_create(bpf, directory).map.close()
        assert owner_and_mode(directory / "addr-v4") == (12345, 23456, 0o660)

    def test_a_narrow_umask_does_not_narrow_a_made_pin(self, bpf: Bpf, directory: Path) -> None:
        before = os.umask(0o777)
        try:
            open_or_create(bpf, directory).map.close()
        finally:
            os.umask(before)
        assert owner_and_mode(directory / "addr-v4") == (0, 0, 0o600)

    @pytest.mark.parametrize(
        ("mode", "searchable"),
        [(0o600, 0o700), (0o660, 0o770), (0o640, 0o750), (0o666, 0o777), (0o604, 0o705)],
    )
    def test_who_may_read_pins_may_search_their_directory(
        self, directory: Path, mode: int, searchable: int
    ) -> None:
        pins.ensure_directory(directory / "dnsdist", PinPolicy(mode=mode))
        assert owner_and_mode(directory / "dnsdist") == (0, 0, searchable)

    def test_an_owner_gets_the_directory_and_the_way_to_it(self, directory: Path) -> None:
        pins.ensure_directory(directory / "site" / "dnsdist", DNSDIST)
        assert owner_and_mode(directory / "site" / "dnsdist") == (12345, 23456, 0o770)
        assert [path.stat().st_mode & 0o001 for path in (directory / "site", directory)] == [1, 1]

    def test_roots_own_directory_opens_no_way(self, directory: Path) -> None:
        pins.ensure_directory(directory / "xdpctl", DEFAULT)
        modes = [owner_and_mode(path)[2] for path in (directory, directory / "xdpctl")]
        assert modes == [0o1700, 0o700]

    def test_an_existing_directory_keeps_owner_and_mode(self, directory: Path) -> None:
        pins.ensure_directory(directory / "dnsdist", PinPolicy(uid=0, gid=23456, mode=0o660))
        pins.ensure_directory(directory / "dnsdist", DEFAULT)
        assert owner_and_mode(directory / "dnsdist") == (0, 23456, 0o770)

    def test_a_file_where_the_directory_should_be_is_one_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "dnsdist").touch()
        with pytest.raises(PinError, match="as a directory for pins: it is a file"):
            pins.ensure_directory(tmp_path / "dnsdist", DEFAULT)

    def test_a_link_to_nothing_is_one_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "dnsdist").symlink_to(tmp_path / "missing")
        with pytest.raises(PinError, match="it is a link to nothing"):
            pins.ensure_directory(tmp_path / "dnsdist" / "pins", DEFAULT)

    def test_the_pins_are_of_use_to_their_owner_only(self, bpf: Bpf, directory: Path) -> None:
        """Reading and writing is what dnsdist opens a pin for, as its own user."""
        place = directory / "dnsdist"
        pins.ensure_directory(place, DNSDIST)
        open_or_create(bpf, place, DNSDIST).map.close()
        action = "print(os.access(path, os.R_OK | os.W_OK))"
        answers = [as_user(uid, action, place / "addr-v4") for uid in (12345, 54321)]
        assert answers == ["True\n", "False\n"]


def as_user(uid: int, action: str, path: Path) -> str:
    """Run a statement with `bpf`, `pins`, `path` as a user; return the error's sentence.

    The folders above the test's own file system are root's alone, so that the process
    goes into it before it becomes another user.
    """
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from xdpctl.errors import XdpctlError\n"
        "from xdpctl.kernel.bpf import pins\n"
        "from xdpctl.kernel.bpf.syscall import Bpf\n"
        "from xdpctl.kernel.paths import look\n"
        "bpf = Bpf(); bpf.possible_cpus()\n"
        "os.chdir(sys.argv[2])\n"
        "os.setresgid(65534, 65534, 65534)\n"
        "os.setgroups([])\n"
        "os.setresuid(*[int(sys.argv[1])] * 3)\n"
        "path = Path(sys.argv[3])\n"
        f"try: {action}\n"
        "except XdpctlError as error: print(error)\n"
    )
    root = next(place for place in path.parents if place.name == "bpf")
    return subprocess.run(
        [sys.executable, "-c", code, str(uid), root, path.relative_to(root)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    ).stdout


class TestBpffs:
    """The file system is mounted where it belongs, and nowhere else."""

    def test_what_is_on_one_needs_no_mount(self, directory: Path) -> None:
        assert pins.ensure_bpffs(directory / "not" / "yet" / "there") is False

    def test_another_place_is_one_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(PinError, match=r"not on a BPF file system; choose a directory below"):
            pins.ensure_bpffs(tmp_path / "dnsdist")

    def test_a_file_in_the_way_is_one_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(PinError, match="it is a file"):
            pins.ensure_bpffs(tmp_path / "file" / "dnsdist")

    def test_a_missing_bpffs_is_mounted_searchable_by_root_only(self) -> None:
        """In a mount namespace with a sysfs of its own, as `ip netns exec` makes one."""
        assert mounted_apart("/sys/fs/bpf/dnsdist") == [True, False, "1700"]

    def test_below_another_name_of_it_it_is_mounted_too(self) -> None:
        assert mounted_apart("/sys/fs/bpf")[0] is True

    def test_without_privilege_to_mount_the_sentence_says_which(self) -> None:
        sentence = mounted_apart("/sys/fs/bpf/dnsdist", uid=65534)[0]
        assert sentence == (
            "cannot mount the BPF file system at /sys/fs/bpf: Operation not permitted; run as"
            " root, or give this process CAP_SYS_ADMIN, or run `xdpctl prepare` as root first"
        )

    def test_without_a_sysfs_the_sentence_says_so(self) -> None:
        sentence = mounted_apart("/sys/fs/bpf/dnsdist", file_system="tmpfs")[0]
        assert "/sys/fs/bpf does not exist; mount sysfs at /sys" in str(sentence)

    def test_a_directory_that_may_not_be_searched_is_one_sentence(self, directory: Path) -> None:
        pins.ensure_directory(directory / "closed", DEFAULT)
        said = as_user(65534, "pins.ensure_bpffs(path)", directory / "closed" / "dnsdist")
        assert "needs search permission" in said

    def test_without_privilege_an_owner_cannot_be_set(self, bpf: Bpf, directory: Path) -> None:
        open_or_create(bpf, directory).map.close()
        directory.chmod(0o755)
        action = "pins.apply_policy(look(path), pins.PinPolicy(uid=1), 0o600)"
        said = as_user(65534, action, directory / "addr-v4")
        assert "give this process CAP_CHOWN and CAP_FOWNER, or run `xdpctl prepare`" in said

    def test_without_privilege_no_directory_is_made(self, directory: Path) -> None:
        directory.chmod(0o755)
        said = as_user(
            65534, "pins.ensure_directory(path, pins.PinPolicy())", directory / "dnsdist"
        )
        assert "cannot make the directory dnsdist: Permission denied; run as root" in said

    def test_mounting_on_what_is_not_there_is_one_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(PinError, match=r"No such file or directory; mount it by hand"):
            pins.mount_bpffs(tmp_path / "missing")


def mounted_apart(path: str, *, uid: int = 0, file_system: str = "sysfs") -> list[object]:
    """Ensure a bpffs twice behind a new /sys; return both answers and the mount's mode.

    All of it in a mount namespace that ends with the process. A refusal is returned as
    its sentence, alone.
    """
    code = (
        "import json, os, sys\n"
        "from pathlib import Path\n"
        "from xdpctl.errors import PinError\n"
        "from xdpctl.kernel.bpf import pins\n"
        "uid, path = int(sys.argv[1]), Path(sys.argv[2])\n"
        "os.setresuid(uid, uid, uid)\n"
        "try:\n"
        "    answers = [pins.ensure_bpffs(path), pins.ensure_bpffs(path)]\n"
        "    mode = f'{pins.MOUNT_POINT.stat().st_mode & 0o7777:04o}'\n"
        "    print(json.dumps([*answers, mode]))\n"
        "except PinError as error:\n"
        "    print(json.dumps([str(error)]))\n"
    )
    script = 'mount -t "$0" "$0" /sys && exec "$@"'
    run = subprocess.run(
        [
            *("unshare", "--net", "--mount", "sh", "-c", script, file_system),
            *(sys.executable, "-c", code, str(uid), path),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    answers: list[object] = json.loads(run.stdout)
    return answers


def test_the_namespace_of_the_network_has_an_inode() -> None:
    assert str(pins.netns_inode()) in Path("/proc/self/ns/net").readlink().name


def test_an_interfaces_dot_becomes_a_colon() -> None:
    assert pins.pin_name_for("eth0.100") == "eth0:100"


def test_an_unreadable_pin_says_which_options_help(bpf: Bpf, directory: Path) -> None:
    open_or_create(bpf, directory).map.close()
    directory.chmod(0o755)
    said = as_user(65534, "pins.open_existing(bpf, path, None)", directory / "addr-v4")
    assert "search permission on its directories (--pin-owner, --pin-mode)" in said
