"""The listeners' sockets: a dead service's is taken over, a live one's never, none is left."""

from __future__ import annotations

import errno
import os
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from xdpctl.errors import ListenError
from xdpctl.http.listeners import Listeners
from xdpctl.http.transport.binding import bind_control, bind_tcp
from xdpctl.kernel.paths import Opened
from xdpctl.settings import Listen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOOPBACK = Listen(ip_address("127.0.0.1"), 0)
OTHER_GROUP = os.getgid() + 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "control.sock"


@pytest.fixture
def live(path: Path) -> Iterator[socket.socket]:
    """A service that answers on the path."""
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def there(path: Path) -> bool:
    return path.is_socket()


def remove(path: Path) -> None:
    path.unlink()


def inode(path: Path) -> int:
    return path.stat().st_ino


# --- the control socket --------------------------------------------------------------------------


def test_the_socket_is_made_for_owner_and_group_with_its_directory(path: Path) -> None:
    with bind_control(path, None):
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o660, 0o750)
        assert connects(path)


def test_nobody_can_connect_before_the_socket_has_its_mode(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_mode, seen = Opened.set_mode, []

    def noting(made: Opened, mode: int) -> None:
        seen.append(connects(path))
        set_mode(made, mode)

    monkeypatch.setattr(Opened, "set_mode", noting)
    with bind_control(path, None):
        assert seen == [False]


def test_the_process_wide_umask_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler's thread makes files at the same time."""
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("changed"))
    with bind_control(path, None):
        assert path.is_socket()


def test_what_a_dead_service_left_is_taken_over(path: Path, live: socket.socket) -> None:
    live.close()
    before = connects(path)
    with bind_control(path, None):
        assert (before, connects(path)) == (False, True)


def test_a_live_services_socket_is_refused_and_left(path: Path, live: socket.socket) -> None:
    before = inode(path)
    with pytest.raises(ListenError, match=r"another service answers .* choose another"):
        bind_control(path, None)
    assert (live.fileno() >= 0, inode(path), connects(path)) == (True, before, True)


def test_a_service_too_busy_to_answer_is_alive(
    path: Path, live: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    assert live.fileno() >= 0
    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", busy)
        with pytest.raises(ListenError, match="another service answers"):
            bind_control(path, None)


def test_a_file_in_the_sockets_place_is_refused_and_left(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(ListenError, match="something that is not a socket is there"):
        bind_control(path, None)
    assert path.read_text() == "mine"


def test_a_directory_in_the_sockets_place_is_refused_and_left(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(ListenError, match="choose another --control"):
        bind_control(path, None)
    assert path.is_dir()


def test_a_file_in_the_directorys_place_is_one_sentence(path: Path) -> None:
    path.parent.write_text("in the way")
    with pytest.raises(ListenError, match="cannot make the control socket"):
        bind_control(path, None)


def test_a_directory_that_may_not_be_searched_is_one_sentence(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Opened:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Opened, "open", refuse)
    with pytest.raises(ListenError, match="Permission denied"):
        bind_control(path, None)


def test_a_path_too_long_for_a_socket_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="too long"):
        bind_control(tmp_path / ("x" * 120), None)


def test_a_group_that_may_not_be_given_leaves_no_socket(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Opened, "set_owner", refuse)
    with pytest.raises(ListenError, match="Operation not permitted"):
        bind_control(path, OTHER_GROUP)
    assert not path.exists()


@pytest.mark.parametrize(
    ("mode", "given"), [(0o750, True), (0o700, True), (0o755, False), (0o1777, False)]
)
def test_only_a_directory_that_the_group_could_not_enter_is_given_to_it(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: int,
    given: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """/run and /tmp belong to others."""
    path.parent.mkdir()
    path.parent.chmod(mode)
    changed: list[tuple[Path, int, int]] = []
    monkeypatch.setattr(
        Opened, "set_owner", lambda self, uid, gid: changed.append((self.path, uid, gid))
    )
    with bind_control(path, OTHER_GROUP):
        pass
    expected = [(path, -1, OTHER_GROUP)] + given * [(path.parent, -1, OTHER_GROUP)]
    assert changed == expected


# --- TCP ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_families_are_listened_on(host: str) -> None:
    with bind_tcp(Listen(ip_address(host), 0)) as listener:
        assert listener.getsockname()[0] == host


def test_a_port_in_use_is_named_with_what_helps() -> None:
    with bind_tcp(LOOPBACK) as first:
        wanted = Listen(ip_address("127.0.0.1"), first.getsockname()[1])
        with pytest.raises(
            ListenError,
            match=rf"Address already in use by .* \(pid {os.getpid()}\); choose another",
        ):
            bind_tcp(wanted)


def test_an_address_of_another_host_is_refused() -> None:
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:9953"):
        bind_tcp(Listen(ip_address("192.0.2.1"), 9953))


# --- both -----------------------------------------------------------------------------------------


async def test_what_was_bound_is_closed_and_the_socket_removed(path: Path) -> None:
    async with Listeners(path, None, LOOPBACK) as listeners:
        listeners.bind()
        address = listeners.address
        assert there(path)
    assert (address is not None, listeners.address, there(path)) == (True, None, False)


async def test_a_control_socket_that_somebody_removed_is_no_error_at_the_end(path: Path) -> None:
    async with Listeners(path, None, None) as listeners:
        listeners.bind()
        remove(path)
    assert not there(path)


async def test_without_listen_there_is_no_address(path: Path) -> None:
    async with Listeners(path, None, None) as listeners:
        listeners.bind()
        assert listeners.address is None


async def test_where_one_cannot_be_bound_neither_is(path: Path, live: socket.socket) -> None:
    assert live.fileno() >= 0
    listeners = Listeners(path, None, LOOPBACK)
    with pytest.raises(ListenError):
        listeners.bind()
    assert (listeners.address, there(path)) == (None, True)


async def test_a_refused_start_does_not_remove_another_services_socket(
    path: Path, live: socket.socket
) -> None:
    async with Listeners(path, None, None) as listeners:
        with pytest.raises(ListenError):
            listeners.bind()
    assert (connects(path), live.fileno() >= 0) == (True, True)
