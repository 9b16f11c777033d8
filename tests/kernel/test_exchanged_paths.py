"""Users who exchange a file for a link, again and again, while root sets owners and modes.

Each owns the directory that root works in, or may write to it, and goes on until both sides have
had enough turns. What the link leads to is root's alone and has to stay so. Beside these races:
what is put there once.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.kernel_contract import PASS_PROGRAM
from xdpctl.abi import MAPS, MapName
from xdpctl.cli.verbs import prepare
from xdpctl.errors import ListenError, PinError, XdpctlError
from xdpctl.filter.lock import InterfaceLock
from xdpctl.http.transport.binding import bind_control
from xdpctl.kernel.bpf import pins
from xdpctl.kernel.bpf.maps import Map
from xdpctl.kernel.bpf.pins import PinPolicy
from xdpctl.maps.shared import SharedMaps
from xdpctl.settings import Owner, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.settings import Settings

pytestmark = pytest.mark.root

OTHER = 65534
SERVICE = Owner(64901, 64901)
SECONDS = 60.0
"""After which an attack has failed that did not come to enough turns."""

ATTACKER = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None)
seconds, uid, name, link, victim, how, enough = sys.argv[1:]
os.setgroups([]); os.setresgid(*[int(uid)] * 3); os.setresuid(*[int(uid)] * 3)
end, swaps = time.monotonic() + float(seconds), 0
here, there = name.encode(), link.encode()

def exchange():
    return libc.renameat2(-100, here, -100, there, 2) == 0

def attempt(call, *arguments):
    try:
        call(*arguments)
    except OSError:
        pass

print("begun", flush=True)
while time.monotonic() < end:
    attempt(os.symlink, victim, link)
    if swaps >= int(enough) > 0:
        print("enough", flush=True)
        enough = 0
    if how == "exchange":
        for _ in range(1000):
            swaps += exchange()
        time.sleep(0.0005)
    else:  # let it be pinned again, and put the link there at that very moment
        attempt(os.unlink, name)
        while time.monotonic() < end and not any(exchange() for _ in range(50)):
            pass
        swaps += 1
        time.sleep(0.0003)
        attempt(os.unlink, name)
        attempt(os.rename, link, name)
"""


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A file of root's alone, which has to stay so."""
    path = tmp_path / "victim"
    path.write_text("secret")
    path.chmod(0o600)
    before = owner_and_mode(path)
    yield path
    assert owner_and_mode(path) == before == (0, 0, 0o100600)
    assert path.read_text() == "secret"


@pytest.fixture
def settings(directory: Path, tmp_path: Path) -> Settings:
    """Return settings as of README: dnsdist's user owns the pins, a service's group may write."""
    return load_settings(
        [
            *("--interface", "eth0", "--pin-dir", str(directory / "dnsdist")),
            *("--pin-owner", f"{OTHER}:{SERVICE.gid}", "--pin-mode", "0660"),
            *("--control", str(tmp_path / "run/control.sock")),
            *("--state", str(tmp_path / "lib/state.db")),
        ],
        {},
    )


@dataclass(frozen=True)
class Attack:
    """How names are exchanged ("exchange", "pinned"), and how many turns each side has at least."""

    how: str
    ours: int
    theirs: int


def owner_and_mode(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid, found.st_mode


def against(
    directory: Path, name: str, victim: Path, attack: Attack, work: Callable[[], None]
) -> None:
    """Do something again and again while somebody exchanges `name`, until both had enough turns."""
    command = [sys.executable, "-c", ATTACKER, str(SECONDS), str(OTHER), name, "link"]
    with subprocess.Popen(
        [*command, str(victim), attack.how, str(attack.theirs)],
        cwd=directory,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as attacker:
        assert attacker.stdout is not None
        try:
            assert attacker.stdout.readline() == b"begun\n"
            ours, theirs = 0, False
            while ours < attack.ours or not theirs:
                assert attacker.poll() is None, (ours, theirs)
                work()
                ours += 1
                theirs = theirs or bool(select.select([attacker.stdout], [], [], 0)[0])
        finally:
            attacker.kill()


def steps(settings: Settings, bpf: Bpf, directory: Path) -> list[str]:
    return list(prepare.steps(settings, SERVICE, bpf=bpf, own_directory=directory / "xdpctl"))


@pytest.mark.slow
def test_prepare_gives_nothing_away_that_took_a_pins_place(
    settings: Settings, bpf: Bpf, directory: Path, victim: Path
) -> None:
    steps(settings, bpf, directory)
    refusals: list[str] = []

    def work() -> None:
        (directory / "dnsdist").chmod(0o770)
        if (settings.pin_dir / "qnames").is_symlink() is False:
            os.chown(settings.pin_dir / "qnames", 0, 0, follow_symlinks=False)
        try:
            steps(settings, bpf, directory)
        except XdpctlError as error:
            refusals.append(error.sentence)

    against(settings.pin_dir, "qnames", victim, Attack("exchange", 200, 100_000), work)
    assert all("it is a link" in sentence for sentence in refusals), refusals


@pytest.mark.slow
def test_a_service_that_pins_again_gives_away_its_own_map_only(
    settings: Settings, bpf: Bpf, directory: Path, victim: Path
) -> None:
    del directory
    with SharedMaps(bpf, settings) as shared:
        shared.open()
        attack = Attack("pinned", 400, 400)
        against(settings.pin_dir, "qnames", victim, attack, lambda: void(shared.mend()))


@pytest.mark.slow
def test_the_control_socket_is_given_to_the_group_and_nothing_else(
    tmp_path: Path, victim: Path
) -> None:
    place = tmp_path / "run"
    place.mkdir()
    place.chmod(0o777)
    path = place / "control.sock"

    def work() -> None:
        path.unlink(missing_ok=True)
        with contextlib.suppress(ListenError):
            bind_control(path, SERVICE.gid).close()

    against(place, "control.sock", victim, Attack("pinned", 1_000, 400), work)


def void(_: object) -> None:
    """Make a statement of an expression."""


# --- at the worst moment -------------------------------------------------------------------------


@pytest.fixture
def exchanged(monkeypatch: pytest.MonkeyPatch, victim: Path) -> None:
    """Put a link in the place of each pin and socket right after it was made."""

    def after(owner: type, call: str) -> None:
        real = getattr(owner, call)

        def late(self: object, path: Path | str, **named: Path) -> None:
            real(self, path, **named)
            Path(path).rename(f"{path}-theirs")
            Path(path).symlink_to(victim)

        monkeypatch.setattr(owner, call, late)

    after(Map, "pin")
    after(socket.socket, "bind")


@pytest.mark.usefixtures("exchanged")
def test_what_took_a_made_pins_place_is_not_given_away(
    settings: Settings, bpf: Bpf, directory: Path
) -> None:
    with pytest.raises(PinError, match="something else took its place right after"):
        steps(settings, bpf, directory)


def test_what_took_the_place_of_a_pin_made_again_is_not_given_away(
    settings: Settings, bpf: Bpf, request: pytest.FixtureRequest
) -> None:
    with SharedMaps(bpf, settings) as shared:
        shared.open()
        (settings.pin_dir / "qnames").unlink()
        request.getfixturevalue("exchanged")
        shared.mend()
        assert any("it is a link" in sentence for sentence in shared.replaced())


def test_another_map_that_took_its_place_is_not_given_away(
    settings: Settings, bpf: Bpf, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be some other program's of root's."""
    real = Map.pin

    def late(self: Map, path: Path, **named: Path) -> None:
        real(self, path, **named)
        path.unlink()
        with bpf.create_map(MAPS[MapName.QNAMES], 8) as theirs:
            real(theirs, path)

    monkeypatch.setattr(Map, "pin", late)
    with pytest.raises(PinError, match="something else took its place right after"):
        steps(settings, bpf, directory)
    assert {path.stat().st_uid for path in settings.pin_dir.iterdir()} == {0}


@pytest.mark.usefixtures("exchanged")
def test_what_took_the_control_sockets_place_is_not_given_away(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="something else took its place right after"):
        bind_control(tmp_path / "run" / "control.sock", SERVICE.gid)


# --- what is put there once ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x", "1-eth0", "1-eth0:control", "1-eth0:lock", "1-eth0:new"])
def test_prepare_follows_no_link_of_the_services_user(
    settings: Settings, bpf: Bpf, directory: Path, victim: Path, name: str
) -> None:
    steps(settings, bpf, directory)
    (directory / "xdpctl" / name).symlink_to(victim)
    os.chown(directory / "xdpctl" / name, SERVICE.uid, SERVICE.gid, follow_symlinks=False)
    assert steps(settings, bpf, directory) == []


def test_prepare_gives_what_a_service_of_root_left_to_its_user(
    settings: Settings, bpf: Bpf, directory: Path
) -> None:
    own = directory / "xdpctl"
    steps(settings, bpf, directory)
    with bpf.load_program(PASS_PROGRAM, "p") as program:
        for name in ("1-eth0:100:program", "other"):
            program.pin(own / name)
    (own / "1-eth0:lock").mkdir(mode=0o700)
    (own / "1-eth0").mkdir(mode=0o700)
    assert len(steps(settings, bpf, directory)) == 2
    owners = {path.name: path.stat().st_uid for path in own.iterdir()}
    assert owners == {
        "1-eth0:100:program": SERVICE.uid,
        "1-eth0:lock": SERVICE.uid,
        "1-eth0": 0,  # no pin, but a directory
        "other": 0,  # no name of ours
    }


def test_prepare_leaves_a_pin_that_has_a_second_name(
    settings: Settings, bpf: Bpf, directory: Path
) -> None:
    """As where another's pin was linked into the directory."""
    steps(settings, bpf, directory)
    with bpf.load_program(PASS_PROGRAM, "p") as program:
        program.pin(directory / "theirs")
    os.link(directory / "theirs", directory / "xdpctl" / "1-eth0")
    assert steps(settings, bpf, directory) == []
    assert (directory / "theirs").stat().st_uid == 0


def test_a_shared_pin_with_a_second_name_is_not_given_away(
    settings: Settings, bpf: Bpf, directory: Path
) -> None:
    steps(settings, bpf, directory)
    with bpf.create_map(MAPS[MapName.QNAMES], 8) as made:
        made.pin(directory / "theirs")
    (settings.pin_dir / "qnames").unlink()
    os.link(directory / "theirs", settings.pin_dir / "qnames")
    with pytest.raises(PinError, match="it has another name as well"):
        steps(settings, bpf, directory)
    assert (directory / "theirs").stat().st_uid == 0


def test_no_name_that_was_found_is_printed_raw(
    settings: Settings, bpf: Bpf, directory: Path
) -> None:
    steps(settings, bpf, directory)
    with bpf.load_program(PASS_PROGRAM, "p") as program:
        program.pin(directory / "xdpctl" / "1-\x1b]0;owned\a")
    (directory / "xdpctl" / "\x1b[2J").mkdir()
    (said,) = steps(settings, bpf, directory)
    assert said.isprintable()
    assert "\\x1b]0;owned" in said


@pytest.fixture
def open_bpffs(tmp_path: Path) -> Iterator[Path]:
    """Return a BPF file system as `mount -t bpf bpf` makes it: everybody may write."""
    place = tmp_path / "open"
    place.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", place], check=True)
    try:
        assert place.stat().st_mode & 0o7777 == 0o1777
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def squat(path: Path) -> None:
    path.mkdir()
    os.chown(path, OTHER, OTHER)


USES: dict[str, Callable[[Path], object]] = {
    "making": lambda path: pins.ensure_directory(path, PinPolicy()),
    "below": lambda path: pins.ensure_directory(path / "deep", PinPolicy()),
    "looking": lambda path: pins.refuse_foreign(path, PinPolicy()),
    "owner": lambda path: pins.ensure_directory(path, PinPolicy(uid=12345)),
    "lock": lambda path: InterfaceLock(path, "eth0").__enter__(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_directory_of_somebody_else_is_refused(
    open_bpffs: Path, use: Callable[[Path], object]
) -> None:
    squat(open_bpffs / "dnsdist")
    with pytest.raises(
        PinError, match=r"dnsdist belongs to user 65534, .*; run as this user, give"
    ):
        use(open_bpffs / "dnsdist")
    assert not list((open_bpffs / "dnsdist").iterdir())


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_link_of_somebody_else_is_refused(
    open_bpffs: Path, directory: Path, use: Callable[[Path], object]
) -> None:
    (directory / "theirs").mkdir()
    (open_bpffs / "dnsdist").symlink_to(directory / "theirs")
    os.chown(open_bpffs / "dnsdist", OTHER, OTHER, follow_symlinks=False)
    with pytest.raises(PinError, match="dnsdist belongs to user 65534"):
        use(open_bpffs / "dnsdist")
    assert not list((directory / "theirs").iterdir())


def test_the_pins_owner_and_ours_are_no_strangers(open_bpffs: Path) -> None:
    squat(open_bpffs / "dnsdist")
    pins.ensure_directory(open_bpffs / "dnsdist", PinPolicy(uid=OTHER))
    pins.ensure_directory(open_bpffs / "dnsdist", PinPolicy(), owners=(OTHER,))
    assert open_bpffs.stat().st_mode & 0o7777 == 0o1777


def test_the_file_system_is_given_search_and_no_more(directory: Path) -> None:
    pins.ensure_directory(directory / "dnsdist", PinPolicy(uid=OTHER))
    assert directory.stat().st_mode & 0o777 == 0o711


def test_a_mode_alone_opens_no_way(directory: Path) -> None:
    pins.ensure_directory(directory / "dnsdist", PinPolicy(mode=0o666))
    assert directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("parent", ["run", "run/deep"])
def test_a_control_socket_in_a_directory_of_somebody_else_is_refused(
    tmp_path: Path, parent: str
) -> None:
    squat(tmp_path / "run")
    with pytest.raises(ListenError, match=r"run belongs to user 65534"):
        bind_control(tmp_path / parent / "control.sock", None)
    assert not list((tmp_path / "run").iterdir())


def test_prepare_refuses_plain_directories_of_somebody_else(
    settings: Settings, bpf: Bpf, directory: Path, tmp_path: Path
) -> None:
    squat(tmp_path / "lib")
    with pytest.raises(XdpctlError, match=r"lib belongs to user 65534"):
        steps(settings, bpf, directory)


def test_a_link_of_roots_on_the_way_is_followed(tmp_path: Path) -> None:
    """As /var/run is."""
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    with bind_control(tmp_path / "link" / "control.sock", None) as listener:
        assert listener.family == socket.AF_UNIX
        assert (tmp_path / "run/control.sock").is_socket()
