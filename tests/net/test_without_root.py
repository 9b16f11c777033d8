"""The service as deploy/ runs it: a user of its own, three capabilities, after `prepare`.

User, capabilities and command lines are read from the units, settings are deploy/'s.
Everything is in a mount namespace without a BPF file system, where /etc/passwd and
/etc/group know the user.
"""

from __future__ import annotations

import shlex
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab import Dnsdist17, Lab, Responder, Service, bytecode, dig, eventually
from tests.lab.dnsdist import OWN_USER
from tests.lab.hosts import BPFFS, PYTHON, run, unmeasured
from tests.lab.primaries import Software, on_host, start_primary
from tests.lab.service import READY
from tests.lab.unit import DEPLOY, Unit
from tests.net.test_limits import FAR, OTHER, told_by

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence

    from tests.lab import Process

pytestmark = pytest.mark.root

UID = 64901
SERVICE, FILTER = Unit("xdpctl.service"), Unit("xdpctl-filter.service")
PROGRAM = (PYTHON, "-m", "xdpctl")
PINS = BPFFS / "dnsdist"

APART = """
for file in passwd group; do mount --bind {folder}/$file /etc/$file; done
while mountpoint -q /sys/fs/bpf; do umount /sys/fs/bpf; done
echo apart
exec sleep 1000
"""


class Machine:
    """A machine with the units' user, on which nothing has been prepared.

    Args:
        lab: where.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.client, self.server = lab.pair()
        for name, line in (("passwd", f"xdpctl:x:{UID}:{UID}::/:/bin/false"), ("group", "")):
            known = Path("/etc", name).read_text()
            lab.write(name, f"{known}{line or f'xdpctl:x:{UID}:'}\n")
        script = APART.format(folder=lab.directory)
        holder = lab.start("mounts", ["unshare", "--mount", "sh", "-ec", script])
        holder.line("^apart")
        self.apart = ("nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "--")
        lab.pins = PINS  # of that namespace, gone with it
        self.config = lab.directory / "xdpctl.toml"
        self.settings = (DEPLOY / "xdpctl.toml").read_text() + (
            f'control = "{lab.directory}/run/control.sock"\n'
            f'state = "{lab.directory}/lib/state.db"\n'
            'listen = "127.0.0.1:9953"\n'
        )
        self.config.write_text(self.settings)
        self.config.chmod(0o644)

    def words(self, line: str) -> list[str]:
        """Return a command line of a unit, of this checkout and with these settings."""
        program, *words = shlex.split(line.lstrip("+-"))
        assert program == "xdpctl"
        known = "/etc/xdpctl/xdpctl.toml"
        return unmeasured(
            *PROGRAM, *(word if word != known else str(self.config) for word in words)
        )

    def as_root(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.server.run(*self.apart, *argv, check=check)

    def as_service(self, *argv: str, unit: Unit = SERVICE) -> subprocess.CompletedProcess[str]:
        return self.server.run(*self.apart, *unit.as_its_user(), *argv, check=False)

    def prepare(self) -> None:
        self.as_root(*self.words(SERVICE.value("ExecStartPre")))

    def start(self, *options: str, before: Sequence[str] | None = None) -> Process:
        """Start the service as the unit does."""
        rights = SERVICE.as_its_user() if before is None else before
        command = self.words(SERVICE.value("ExecStart"))
        return self.server.start("service", *self.apart, *rights, *command, *options)

    def service(self, *, compiles: bool = False) -> UnitService:
        """Start the service and wait until it is ready; as of Service, it may have to compile."""
        if not compiles:
            bytecode.put(self.lab.directory / "lib", owner=UID)
        self.lab.at_end(lambda: bytecode.take(self.lab.directory / "lib"))
        return UnitService(self)

    def owner(self, path: Path) -> str:
        """Return owner, group and mode."""
        return self.as_root("stat", "--format=%U:%G %04a", str(path)).stdout.strip()


class UnitService(Service):
    """The running service of a unit; verbs run as root."""

    def __init__(self, machine: Machine) -> None:
        self.host = machine.server
        self.command = PROGRAM
        self.control = machine.lab.directory / "run/control.sock"
        self.process = machine.start()
        self.process.line(READY, timeout=30)


@pytest.fixture
def machine(lab: Lab) -> Machine:
    return Machine(lab)


@pytest.fixture
def prepared(machine: Machine) -> Machine:
    machine.prepare()
    return machine


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Machine, UnitService]]:
    """A service that tests share which change nothing, or only rules and settings."""
    with Lab() as lab:
        machine = Machine(lab)
        machine.prepare()
        yield machine, machine.service(compiles=True)


def blocks(machine: Machine, service: Service) -> None:
    """See that a name that is blocked now is dropped from the next packet on."""
    assert service.verb("block", "dropped.example").returncode == 0
    assert not dig(machine.client, "dropped.example").arrived
    eventually(lambda: service.metrics().packets(reason="qname", action="drop"), "it is counted")


def test_a_rule_of_the_services_user_drops_packets(running: tuple[Machine, UnitService]) -> None:
    blocks(*running)


def test_zones_and_long_lists_of_the_services_user_are_in_force(prepared: Machine) -> None:
    """Tables are made, grown and written by a process of its own, and taken over."""
    service = prepared.service()
    Responder(prepared.server)
    for name in ("www.flood.example", "www.zone39999.example"):
        assert dig(prepared.client, name).arrived
    assert service.verb("block", ".flood.example").returncode == 0
    assert not dig(prepared.client, "www.flood.example").arrived
    lines = [f".zone{n}.example\n10.{n >> 16}.{n >> 8 & 255}.{n & 255}\n" for n in range(40_000)]
    path = prepared.lab.write("long.rules", "".join(lines))
    done = service.verb("import", str(path), "--origin", "list:long")
    assert done.returncode == 0, done.stderr
    assert not dig(prepared.client, "www.zone39999.example").arrived
    assert "tables-grown" in service.process.text
    service.process.kill()
    following = prepared.service()
    assert "tables-adopted entries=80001" in following.process.text
    assert following.verb("flush", "--yes").returncode == 0
    assert dig(prepared.client, "www.flood.example").arrived


def test_limits_of_the_services_user_are_in_force_and_taken_over(prepared: Machine) -> None:
    secrets = prepared.lab.write("cookies", "00112233445566778899aabbccddeeff")
    secrets.chmod(0o600)
    prepared.as_root("chown", str(UID), str(secrets))
    prepared.config.write_text(
        f"{prepared.settings}rate-limit = 1\nrate-limit-burst = 60\nflood-limit = 100000\n"
        f'exempt = ["{OTHER}/32"]\ncookie-secret-file = "{secrets}"\non-exit = "keep"\n'
    )
    service = prepared.service()
    Responder(prepared.server)
    assert told_by(prepared.client, 100).truncated >= 10
    assert told_by(prepared.client, 100, OTHER).answered == 100
    assert service.verb("prove", FAR).returncode == 0
    service.process.kill()
    following = prepared.service()
    assert "limits-adopted" in following.process.text
    assert told_by(prepared.client, 60).truncated >= 1


def test_a_list_that_is_a_zone_is_the_services_users_also_after_a_reload(
    prepared: Machine,
) -> None:
    """NOTIFY comes to its sockets; a reload lets a client of the zone in front of every rule."""
    primary = start_primary(
        Software.BIND,
        on_host(prepared.server),
        zone="rpz.example",
        records=["bad.example CNAME rpz-drop.", "32.1.2.0.192.rpz-client-ip CNAME rpz-passthru."],
        notify=[("127.0.0.1", 5300)],
    )
    key = prepared.lab.write("rpz.key", primary.key_file.read_text())
    key.chmod(0o600)
    prepared.as_root("chown", str(UID), str(key))
    wanted = (
        f'{prepared.settings}notify-listen = "[::]:5300"\n[[list]]\nzone = "rpz.example"\n'
        f'primary = "127.0.0.1:{primary.port}"\nkey-file = "{key}"\nrefresh = "1h"\n'
    )
    prepared.config.write_text(wanted)
    service = prepared.service()
    Responder(prepared.server)

    def asked(name: str, source: str) -> bool:
        return dig(prepared.client, name, source=source).arrived

    eventually(lambda: not asked("bad.example", "192.0.2.66"), "the zone is in force", 30)
    primary.update("add worse.example.rpz.example. 60 CNAME rpz-drop.")
    eventually(lambda: not asked("worse.example", "192.0.2.66"), "NOTIFY came", 30)
    assert asked("worse.example", "192.0.2.1")
    assert service.verb("block", "192.0.2.1").returncode == 0
    assert not asked("worse.example", "192.0.2.1")
    prepared.config.write_text(f'{wanted}passthru = "exempt"\n')
    service.process.send(signal.SIGHUP)
    eventually(lambda: asked("worse.example", "192.0.2.1"), "it is exempt", 30)
    assert not asked("worse.example", "192.0.2.66")


def test_check_as_that_user_finds_nothing_wrong(running: tuple[Machine, UnitService]) -> None:
    machine, _ = running
    done = machine.as_service(*machine.words("xdpctl check --config /etc/xdpctl/xdpctl.toml"))
    assert done.returncode == 0, done.stdout


def test_unprepared_it_names_what_helps(machine: Machine) -> None:
    refused = machine.start()
    assert refused.wait(30) == 1
    assert "run `xdpctl prepare` as root" in refused.lines[-1]


def test_without_perfmon_the_verifier_refuses(prepared: Machine) -> None:
    held = SERVICE.as_its_user()
    without = [word.replace(",+perfmon", "") for word in held]
    assert without != held
    prepared.start(before=without).line("CAP_PERFMON", timeout=30)


def test_each_file_is_only_for_those_who_need_it(running: tuple[Machine, UnitService]) -> None:
    machine, _ = running
    places = machine.lab.directory
    found = {
        path: machine.owner(path)
        for path in (
            *(places / "run", places / "run/control.sock", places / "lib"),
            *(places / "lib/state.db", BPFFS / "xdpctl", PINS, PINS / "addr-v4"),
        )
    }
    assert found == {
        places / "run": "xdpctl:xdpctl 0750",
        places / "run/control.sock": "xdpctl:xdpctl 0660",
        places / "lib": "xdpctl:xdpctl 0750",
        places / "lib/state.db": "xdpctl:xdpctl 0640",
        BPFFS / "xdpctl": "xdpctl:xdpctl 0700",
        PINS: "_dnsdist:xdpctl 0770",
        PINS / "addr-v4": "_dnsdist:xdpctl 0660",
    }


def dnsdist(machine: Machine) -> Dnsdist17:
    """Run dnsdist as its own user, blocking an address of the client."""
    Responder(machine.server, "127.0.0.1", port=5300)
    block = 'bpf:block(newCA("192.0.2.66"), 1)'
    return Dnsdist17(machine.server, block, before=(*machine.apart, *OWN_USER))


def test_what_dnsdists_user_blocks_is_dropped(prepared: Machine) -> None:
    service = prepared.service()
    dnsdist(prepared)
    assert not dig(prepared.client, "www.example", source="192.0.2.66").arrived
    service.counted(1, reason="addr-v4", action="drop")
    assert dig(prepared.client, "www.example").arrived


def test_a_pin_that_is_gone_is_made_again_for_dnsdists_user(prepared: Machine) -> None:
    service = prepared.service()
    for pin in ("addr-v4", "addr-v6", "qnames"):
        prepared.as_root("rm", str(PINS / pin))
    for pin in ("addr-v4", "addr-v6", "qnames"):
        service.process.line(rf"pinned-again pin={PINS / pin}")
    dnsdist(prepared)
    assert not dig(prepared.client, "www.example", source="192.0.2.66").arrived
    service.counted(1, reason="addr-v4", action="drop")


def test_a_reload_compiles_and_swaps(running: tuple[Machine, UnitService]) -> None:
    machine, service = running
    before = machine.server.xdp_id()
    machine.config.write_text(f"{machine.settings}port = [53, 5353]\n")
    service.process.send(signal.SIGHUP)
    service.process.line(r"reloaded changed=port", timeout=30)
    assert machine.server.xdp_id() not in (None, before)
    blocks(machine, service)


def test_it_attaches_again_when_the_interface_is_back(prepared: Machine) -> None:
    service = prepared.service()
    prepared.server.ip("link", "delete", "eth0")
    service.process.line(r"lost interface=eth0")
    prepared.lab.wire(prepared.client, prepared.server)
    assert eventually(prepared.server.xdp, "the filter on eth0") == "native"


def test_what_is_prepared_again_is_used_when_the_bpf_file_system_is_another(
    prepared: Machine,
) -> None:
    service = prepared.service()
    prepared.as_root("umount", "--lazy", str(BPFFS))
    eventually(lambda: service.get("/readyz").status == 503, "what is missing")
    prepared.prepare()
    eventually(lambda: service.get("/readyz").status == 200, "readiness")
    blocks(prepared, service)
    eventually(lambda: "eth0" in prepared.as_root("ls", f"{BPFFS}/xdpctl").stdout, "our link")


def test_another_program_is_refused_by_number_without_its_name(prepared: Machine) -> None:
    foreign = prepared.server.attach_empty_program("eth0")
    refused = prepared.start()
    assert refused.wait(30) == 1
    assert f"has the XDP program {foreign}, which is not ours" in refused.lines[-1]


def test_to_take_its_place_is_roots(prepared: Machine) -> None:
    foreign = prepared.server.attach_empty_program("eth0")
    refused = prepared.start("--replace")
    assert refused.wait(30) == 1
    assert "run as root, as --replace needs CAP_SYS_ADMIN" in refused.lines[-1]
    assert prepared.server.xdp_id() == foreign


def test_a_stop_detaches(prepared: Machine) -> None:
    service = prepared.service()
    assert service.stop() == 0
    assert prepared.server.xdp() is None


def test_the_filters_unit_takes_off_what_a_killed_service_left(prepared: Machine) -> None:
    prepared.service().process.kill()
    assert prepared.server.xdp() == "native"
    done = prepared.as_service(*prepared.words(FILTER.value("ExecStop")), unit=FILTER)
    assert (done.returncode, done.stdout) == (0, "detached from eth0\n")
    assert prepared.server.xdp() is None


def test_where_nothing_is_attached_that_unit_has_nothing_to_say(prepared: Machine) -> None:
    done = prepared.as_service(*prepared.words(FILTER.value("ExecStop")), unit=FILTER)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_service_of_root_refuses_directories_of_the_user(prepared: Machine) -> None:
    """Who could exchange what root uses there."""
    refused = prepared.start(before=())
    refused.line(rf"xdpctl belongs to user {UID}, who could replace", timeout=30)
    assert refused.wait() == 1


def test_what_a_service_of_root_left_is_given_to_the_user(machine: Machine) -> None:
    """A host that ran the service as root before: its filter is taken over without a gap."""
    former = machine.start("--on-exit", "keep", before=())
    former.line(r"\bready\b", timeout=30)
    former.stop()
    for name in ("lib", "run"):
        run(["chown", "-R", f"{UID}:{UID}", str(machine.lab.directory / name)])
    program = machine.server.xdp_id()
    machine.prepare()
    blocks(machine, machine.service())
    assert program is not None


def test_a_dnsdist_that_ended_is_noticed_without_root(machine: Machine) -> None:
    """Told by its user, as under ProtectProc=noaccess.

    Told by its name, each dnsdist of other tests on this machine would count as well; that is
    in tests/unit/maps/test_holders.py.
    """
    machine.as_root("mount", "-t", "proc", "-o", "hidepid=1", "proc", "/proc")
    machine.prepare()
    service = machine.service()
    former = dnsdist(machine)
    time.sleep(4)  # the service looks once a second, on a busy machine more rarely

    def stale() -> float:
        return service.metrics().sum("xdpctl_stale_dnsdist_entries", map="addr-v4")

    assert stale() == 0
    former.stop()
    eventually(lambda: stale() == 1, "a stale entry")
