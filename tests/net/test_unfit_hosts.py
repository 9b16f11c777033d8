"""`check` and a start refuse hosts where nothing could be filtered, and say why."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab import Service
from tests.lab.hosts import LINKS, PYTHON, setns
from tests.lab.service import arguments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.lab import Host, Lab

pytestmark = pytest.mark.root

TUNSETIFF, TUNSETLINK = 0x400454CA, 0x400454CD
IFF_TUN, IFF_TAP, IFF_NO_PI = 1, 2, 0x1000
ETHER, PPP, NONE = 1, 512, 0xFFFE

PROGRAM = (PYTHON, "-m", "xdpctl")
NO_HEADER = "its packets have no Ethernet header"
SAME_CARD = "it is the same card as"
READ_ONLY = "it is mounted read-only"


@pytest.fixture
def server(lab: Lab) -> Host:
    return lab.pair()[1]


def start(host: Host, interfaces: Sequence[str], *options: str) -> str:
    """Start the service, which is to refuse; return its last line."""
    process = host.start("refused", *PROGRAM, *arguments(host, interfaces), *options)
    assert process.wait(30) == 1, process.text
    assert "Traceback" not in process.text
    return process.lines[-1]


def check(host: Host, interfaces: Sequence[str], *before: str, status: int = 1) -> str:
    """Return the errors of `check`."""
    program, *options = arguments(host, interfaces)
    done = host.run(*before, *PROGRAM, "check", program, *options, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return "\n".join(line for line in done.stdout.splitlines() if line.startswith("FAIL"))


@contextlib.contextmanager
def tun(host: Host, name: str, flags: int = IFF_TUN) -> Iterator[int]:
    """Make a tun device and hold it; yield its descriptor."""
    made: list[int] = []

    def make() -> None:
        with host.path.open("rb") as namespace:
            setns(namespace.fileno())
        made.append(os.open("/dev/net/tun", os.O_RDWR))
        fcntl.ioctl(made[0], TUNSETIFF, struct.pack("16sH22x", name.encode(), flags | IFF_NO_PI))

    with ThreadPoolExecutor(1) as pool:  # only its thread moves into the namespace
        pool.submit(make).result()
    host.ip("link", "set", name, "up")
    try:
        yield made[0]
    finally:
        os.close(made[0])


def test_a_tun_device_is_refused_by_check_and_at_start(server: Host) -> None:
    with tun(server, "tun0"):
        for said in (check(server, ["tun0"]), start(server, ["tun0"])):
            assert f"cannot filter tun0: {NO_HEADER} (tun, WireGuard" in said
        assert server.xdp("tun0") is None


def test_a_tunnel_beside_a_good_card_is_refused_before_anything_is_attached(server: Host) -> None:
    with tun(server, "tun0"):
        assert NO_HEADER in start(server, ["eth0", "tun0"])
        assert server.xdp("eth0") is None


def test_a_tap_device_has_a_header_and_is_filtered(server: Host) -> None:
    with tun(server, "tap0", IFF_TAP):
        assert Service(server, interfaces=["tap0"]).verb("status").returncode == 0
        assert server.xdp("tap0") is not None


def test_an_awaited_tun_device_is_refused_when_it_appears(server: Host) -> None:
    service = Service(server, "--wait", interfaces=["eth0", "tun0"], await_ready=False)
    service.process.line("attached")
    with tun(server, "tun0"):
        service.process.line(f"attach-failed.*{NO_HEADER}")
        assert server.xdp("tun0") is None
        assert service.get("/readyz").status == 503


def test_a_device_whose_type_changes_loses_the_filter_and_gets_it_back(server: Host) -> None:
    """TUNSETLINK changes the type of a device that is down; the flag IFF_TAP stays."""
    with tun(server, "tap0", IFF_TAP) as device:
        service = Service(server, interfaces=["tap0"])
        for link_type, log in ((PPP, f"lost .*{NO_HEADER} .ppp"), (ETHER, "reattached")):
            server.ip("link", "set", "tap0", "down")
            fcntl.ioctl(device, TUNSETLINK, link_type)
            server.ip("link", "set", "tap0", "up")
            service.process.line(log)
            assert (server.xdp("tap0") is not None) is (link_type == ETHER)


NAMES = {"name, altname": ("eth0", "nic0"), "altname, name": ("nic0", "eth0")}


def altname(host: Host, name: str = "nic0") -> None:
    host.ip("link", "property", "add", "dev", "eth0", "altname", name)


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("options", [(), ("--wait",), ("--xsk",)], ids=["plain", "wait", "xsk"])
def test_one_card_under_two_names_is_refused(
    server: Host, names: tuple[str, str], options: tuple[str, ...]
) -> None:
    altname(server)
    assert f"cannot filter {names[1]}: {SAME_CARD} {names[0]}" in start(server, names, *options)
    assert server.xdp() is None


def test_check_names_one_card_under_two_names(server: Host) -> None:
    altname(server)
    assert f"cannot filter nic0: {SAME_CARD} eth0" in check(server, ["eth0", "nic0"])


def test_two_altnames_in_the_settings_file_are_one_card(server: Host) -> None:
    altname(server)
    altname(server, "a-name-that-is-longer-than-15")
    config = server.lab.write("two.toml", 'interface = ["nic0", "eth0"]\n')
    assert SAME_CARD in start(server, [], "--config", str(config))


def test_a_reload_that_names_the_card_twice_is_refused_and_changes_nothing(server: Host) -> None:
    altname(server)
    config = server.lab.write("one.toml", 'interface = ["eth0"]\n')
    service = Service(server, "--config", str(config), interfaces=[])
    config.write_text('interface = ["eth0", "nic0"]\nport = [5353]\n')
    service.process.send(signal.SIGHUP)
    service.process.line(f"reload-failed.*{SAME_CARD} eth0")
    config.write_text('interface = ["eth0"]\n')
    service.process.send(signal.SIGHUP)
    service.process.line("reloaded")


def test_an_awaited_name_that_the_card_gets_is_not_a_second_interface(server: Host) -> None:
    service = Service(server, "--wait", interfaces=["eth0", "nic0"], await_ready=False)
    service.process.line("attached interface=eth0")
    before = server.xdp_id()
    altname(server)
    service.process.line(f"attach-failed.*{SAME_CARD} eth0")
    assert server.xdp_id() == before
    metrics = service.metrics()
    attached = [metrics.sum("xdpctl_interface_attached", interface=n) for n in ("eth0", "nic0")]
    assert attached == [1, 0]


def test_a_second_service_cannot_take_the_card_by_its_other_name(server: Host) -> None:
    altname(server)
    service = Service(server)
    before = server.xdp_id()
    control = server.lab.directory / "second.sock"
    said = start(server, ["nic0"], "--control", str(control), "--listen", "none")
    assert "another xdpctl already serves this card as eth0" in said
    assert (server.xdp_id(), service.verb("status").returncode) == (before, 0)


def test_a_card_is_served_by_its_altname_alone(server: Host) -> None:
    altname(server)
    service = Service(server, interfaces=["nic0"])
    assert server.xdp() == "native"
    assert "rename" not in service.verb("status").stdout


REMOUNTS = {
    "a bind mount (a container, ProtectKernelTunables=)": "mount -o remount,ro,bind /sys/fs/bpf",
    "the file system itself": "mount -o bind /sys/fs/bpf /sys/fs/bpf && "
    "mount -o remount,ro,bind /sys/fs/bpf",
    "only the directory of our own pins": "mkdir -p /sys/fs/bpf/xdpctl && mount --bind"
    " /sys/fs/bpf/xdpctl /sys/fs/bpf/xdpctl && mount -o remount,ro,bind /sys/fs/bpf/xdpctl",
}


def mounted(command: str) -> list[str]:
    """Return what runs a command after this one, in a mount namespace of its own."""
    return ["unshare", "--mount", "sh", "-c", f'{command} && exec "$@"', "sh"]


@pytest.mark.parametrize("remount", REMOUNTS.values(), ids=REMOUNTS)
def test_a_read_only_bpffs_is_named_by_check_and_at_start(server: Host, remount: str) -> None:
    LINKS.mkdir(exist_ok=True)
    (LINKS / f"{server.inode}-kept:lock").mkdir()  # or another service's end takes the directory
    before = mounted(remount)
    assert READ_ONLY in check(server, ["eth0"], *before)
    process = server.start("refused", *before, *PROGRAM, *arguments(server))
    assert process.wait(30) == 1
    assert READ_ONLY in process.lines[-1]
    assert "run as root" not in process.lines[-1]
    assert server.xdp() is None


@pytest.mark.parametrize("what", ["--state", "--control"])
def test_a_read_only_directory_of_the_service_is_named(server: Host, what: str) -> None:
    place = server.lab.directory / "read-only"
    place.mkdir()
    before = mounted(f"mount -t tmpfs -o ro none {place}")
    options = [*arguments(server), what, str(place / "file")]
    done = server.run(*before, *PROGRAM, "check", *options, check=False)
    assert (done.returncode, READ_ONLY in done.stdout) == (1, True), done.stdout
    process = server.start("refused", *before, *PROGRAM, *options)
    assert process.wait(30) == 1
    assert READ_ONLY in process.lines[-1]


def test_a_state_file_on_a_read_only_mount_is_not_called_damaged(server: Host) -> None:
    service = Service(server)
    state = Path(service.control).with_suffix(".db")
    assert service.stop() == 0
    place = server.lab.directory / "states"
    place.mkdir()
    (place / "state.db").write_bytes(state.read_bytes())
    before = mounted(f"mount --bind {place} {place} && mount -o remount,ro,bind {place}")
    options = [*arguments(server), "--state", str(place / "state.db")]
    process = server.start("refused", *before, *PROGRAM, *options)
    assert process.wait(30) == 1
    assert READ_ONLY in process.lines[-1]
    assert "damaged" not in process.text
