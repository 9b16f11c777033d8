"""A start that cannot succeed says so in one sentence, and leaves everything as it was."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.lab import Dnsdist17, Process, Service
from tests.lab.hosts import PYTHON, unmeasured
from tests.lab.service import PORT, arguments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.lab import Host, Lab

pytestmark = pytest.mark.root

PROGRAM = (PYTHON, "-m", "xdpctl")
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
NO_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@pytest.fixture
def server(lab: Lab) -> Host:
    return lab.pair()[1]


def pins(host: Host) -> frozenset[str]:
    """Return the names of the shared pins."""
    path = host.lab.pins
    return frozenset(pin.name for pin in path.iterdir()) if path.is_dir() else frozenset()


def refusal(
    host: Host,
    *options: str,
    before: Sequence[str] = (),
    interfaces: Sequence[str] = ("eth0",),
    environ: Mapping[str, str] | None = None,
    status: int = 1,
) -> str:
    """Start the service, see that it refuses and changes nothing; return its sentence.

    Args:
        host: where it runs.
        *options: further options.
        before: a command that runs the service as its child or in its own place.
        interfaces: that it is to filter.
        environ: added to its environment.
        status: the exit status that is expected.
    """
    had = host.xdp(), pins(host)
    command = [*before, *PROGRAM, *arguments(host, interfaces), *options]
    process = host.start("refused", *command, environ=environ)
    assert process.wait(30) == status, process.text
    assert (host.xdp(), pins(host)) == had
    return sentence(process)


def sentence(process: Process) -> str:
    """Return the last line, which is the error; a traceback has no place before it."""
    assert "Traceback" not in process.text
    last = process.lines[-1]
    assert last.startswith("xdpctl: ")
    return last


def test_an_unknown_interface_is_named(server: Host) -> None:
    assert "eth7" in refusal(server, interfaces=("eth7",))


def test_one_unknown_interface_keeps_the_others_from_being_attached(server: Host) -> None:
    assert "eth7" in refusal(server, interfaces=("eth0", "eth7"))


def test_no_interface_is_a_usage_error(server: Host) -> None:
    assert "--interface" in refusal(server, interfaces=(), status=2)


def test_an_unknown_option_is_a_usage_error(server: Host) -> None:
    assert "--interfaec" in refusal(server, "--interfaec", "eth0", status=2)


def test_a_user_without_privileges_is_told_who_may(server: Host) -> None:
    assert "run as root" in refusal(server, before=unmeasured(*NOBODY))


def test_root_without_capabilities_is_told_what_is_missing(server: Host) -> None:
    assert "CAP_" in refusal(server, before=NO_CAPABILITIES)


def test_a_missing_bcc_is_named_by_its_debian_package(server: Host) -> None:
    broken = server.lab.directory / "broken"
    (broken / "bcc").mkdir(parents=True)
    (broken / "bcc" / "__init__.py").write_text("raise ImportError('no BCC here')\n")
    assert "python3-bpfcc" in refusal(server, environ={"PYTHONPATH": str(broken)})


def test_a_bpffs_that_cannot_be_mounted_is_named(server: Host) -> None:
    umount = 'umount /sys/fs/bpf && exec setpriv --bounding-set=-sys_admin --inh-caps=-all "$@"'
    before = ("unshare", "--mount", "sh", "-c", umount, "sh")
    assert "/sys/fs/bpf" in refusal(server, before=before)


def test_dnsdists_legacy_layout_is_called_that(server: Host) -> None:
    """Without the fourth argument of newBPFFilter dnsdist 1.7 makes maps of its own form."""
    server.lab.pins.mkdir()
    shared = f'pinnedPath="{server.lab.pins}'
    Dnsdist17(
        server,
        f'old = newBPFFilter({{maxItems=8, {shared}/addr-v4"}}, {{maxItems=8, {shared}/addr-v6"}},'
        f' {{maxItems=8, {shared}/qnames"}})',
        share_maps=False,
    )
    assert "external" in refusal(server)


def test_a_file_where_the_pin_directory_should_be_is_named(server: Host, tmp_path: Path) -> None:
    path = tmp_path / "pins"
    path.write_text("")
    assert str(path) in refusal(server, "--pin-dir", str(path))
    assert path.read_text() == ""


def test_a_foreign_program_is_refused_by_id_and_stays(server: Host) -> None:
    foreign = server.attach_empty_program("eth0")
    assert str(foreign) in refusal(server)
    assert server.xdp_id() == foreign


def test_a_foreign_program_is_replaced_when_asked_for(server: Host) -> None:
    foreign = server.attach_empty_program("eth0")
    Service(server, "--replace")
    assert server.xdp_id() not in (None, foreign)


def test_a_port_in_use_is_named(server: Host) -> None:
    with server.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", PORT))
        taken.listen()
        assert str(PORT) in refusal(server)


def test_a_second_service_on_one_interface_is_refused(server: Host) -> None:
    service = Service(server)
    assert "already serves eth0" in refusal(server, "--listen", "none")
    assert service.verb("status").returncode == 0


def test_the_control_socket_of_a_live_service_is_not_taken(server: Host) -> None:
    server.lab.wire(server.lab.host("other"), server, name="eth1")
    service = Service(server)
    said = refusal(server, "--listen", "none", interfaces=("eth1",))
    assert str(service.control) in said
    assert service.verb("status").returncode == 0


def test_the_control_socket_of_a_dead_service_is_taken_over(server: Host) -> None:
    first = Service(server)
    first.process.kill()
    assert first.control.exists()
    assert Service(server).verb("status").returncode == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("interface = [", "xdpctl.toml"),
        ("interfaec = ['eth0']", "interfaec"),
        ("port = 'fifty-three'", "fifty-three"),
    ],
)
def test_a_wrong_config_file_is_quoted(server: Host, text: str, said: str) -> None:
    path = server.lab.directory / "wrong-xdpctl.toml"
    path.write_text(text)
    assert said in refusal(server, "--config", str(path), status=2)


def test_a_wrong_environment_variable_is_named(server: Host) -> None:
    assert "XDPCTL_MODE" in refusal(server, environ={"XDPCTL_MODE": "fast"}, status=2)


@pytest.mark.parametrize("target", ["300.1.1.1", "10.0.0.0/33", "192.0.2.1/24", "a..example"])
def test_a_target_that_cannot_be_meant_is_quoted(server: Host, target: str) -> None:
    service = Service(server)
    done = service.verb("block", target)
    assert done.returncode in (1, 2)
    assert target in done.stderr.splitlines()[-1]
    assert service.rules() == []


def test_a_verb_without_a_service_says_so(server: Host) -> None:
    service = Service(server)
    service.stop()
    done = service.verb("list")
    assert done.returncode == 3
    assert str(service.control) in done.stderr


def test_an_entry_of_dnsdists_is_not_ours_to_block(server: Host) -> None:
    service = Service(server)
    Dnsdist17(server, 'bpf:block(newCA("192.0.2.66"), 2)')
    done = service.verb("block", "192.0.2.66")
    assert done.returncode == 1
    assert [rule["action"] for rule in service.rules()] == ["truncate"]


def test_a_map_of_another_size_is_a_warning(server: Host) -> None:
    """The first is dnsdist here, which makes maps of 1024."""
    server.lab.pins.mkdir()
    Dnsdist17(server)
    service = Service(server, "--maps-size", "2048")
    assert [line for line in service.process.lines if "warning" in line and "1024" in line]
