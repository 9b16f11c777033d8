"""The survey tells facts as they are, fails never and changes nothing."""

from __future__ import annotations

import errno
import os
import resource
import socket
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_kernel import Device, FakeBpf, FakeKernel, FakeNetlink, pretend_bpffs
from xdpctl import abi
from xdpctl.abi import MAPS, MapName, RuleAction
from xdpctl.errors import CompilerError, KernelError
from xdpctl.kernel.bpf import pins
from xdpctl.kernel.bpf.programs import Program, XdpMode
from xdpctl.kernel.paths import ForeignError, Opened
from xdpctl.maps.shared import Pin, pins_for
from xdpctl.settings import load_settings
from xdpctl.status.checks import survey as survey_module
from xdpctl.status.checks.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.settings import Settings
    from xdpctl.status.checks.facts import XdpFacts

PROGRAM = bytes(16)


class Site:
    """A fake kernel, a directory for pins, and surveys of the two."""

    def __init__(self, directory: Path) -> None:
        self.kernel = FakeKernel()
        self.bpf = FakeBpf(self.kernel)
        self.directory = directory
        self.pins = directory / "dnsdist"
        self.own = directory / "xdpctl"
        self.proc = directory / "proc"

    def settings(self, *arguments: str) -> Settings:
        return load_settings(
            [
                *("--control", str(self.directory / "run" / "control.sock")),
                *("--state", str(self.directory / "state" / "state.db")),
                *("--pin-dir", str(self.pins)),
                *("--listen", "none"),
                *arguments,
            ],
            {},
            default_file=Path("/nonexistent"),
            require_interface=False,
        )

    def survey(self, *arguments: str) -> Survey:
        return Survey(
            self.bpf,
            FakeNetlink(self.kernel),
            self.settings(*arguments),
            own_directory=self.own,
            proc=self.proc,
        )

    def pin(self, name: MapName, entries: int = 1024, *, pin_name: str | None = None) -> None:
        """Make and pin a map as dnsdist would."""
        self.pins.mkdir(exist_ok=True)
        with self.bpf.create_map(MAPS[name], entries) as made:
            made.pin(self.pins / (pin_name or name))

    def write(self, name: MapName, key: bytes, action: RuleAction) -> None:
        """Put a rule into a pinned map."""
        with self.bpf.open_map(self.pins / name) as opened:
            opened.update(key, abi.encode_value(action))

    def program(self, name: str = "xdpctl") -> Program:
        return self.bpf.load_program(PROGRAM, name)

    def proc_file(self, name: str, text: str) -> None:
        path = self.proc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    pretend_bpffs(monkeypatch, tmp_path)
    return Site(tmp_path)


@pytest.fixture
def eth0(site: Site) -> Device:
    return site.kernel.add_interface("eth0")


def fine() -> None:
    """Compile successfully."""


# --- host ---------------------------------------------------------------------------


def test_the_kernel_is_named_by_its_release(site: Site) -> None:
    assert site.survey().host(fine).release == os.uname().release


def test_a_lists_file_that_cannot_be_opened_is_a_fact(site: Site, tmp_path: Path) -> None:
    there, pipe = tmp_path / "there", tmp_path / "pipe"
    there.write_text("192.0.2.1\n")
    os.mkfifo(pipe)
    config = tmp_path / "xdpctl.toml"
    names = (there, tmp_path / "missing", pipe)
    config.write_text("".join(f'[[list]]\nfile = "{path}"\n' for path in names))
    missing, irregular = site.survey("--config", str(config)).host(fine).lists
    assert missing.startswith("the service will start without the list missing from")
    assert missing.endswith("it cannot be read: No such file or directory")
    assert "list pipe" in irregular


def test_the_key_of_a_zone_that_cannot_be_read_is_a_fact(site: Site, tmp_path: Path) -> None:
    config = tmp_path / "xdpctl.toml"
    config.write_text(
        f'[[list]]\nzone = "a.example"\nprimary = "192.0.2.1"\nkey-file = "{tmp_path}/no.key"\n'
    )
    (sentence,) = site.survey("--config", str(config)).host(fine).lists
    assert sentence.startswith("the list a.example will not be transferred: ")
    assert "no.key" in sentence


@pytest.mark.parametrize("mode", [0o644, None])
def test_the_key_of_a_limited_zone_that_cannot_be_used_is_a_fact(
    site: Site, tmp_path: Path, mode: int | None
) -> None:
    key = tmp_path / "zone.key"
    if mode is not None:
        key.write_text('key "xdpctl" { algorithm hmac-sha256; secret "AAAA"; };')
        key.chmod(mode)
    config = tmp_path / "xdpctl.toml"
    config.write_text(
        f'[[zone]]\nname = "a.example"\nlimit = 5\nprimary = "192.0.2.1"\nkey-file = "{key}"\n'
    )
    (sentence,) = site.survey("--config", str(config)).host(fine).lists
    assert sentence.startswith("the names of .a.example will not be transferred: ")
    assert "zone.key" in sentence


def test_other_files_of_keys_that_cannot_be_read_are_facts(site: Site, tmp_path: Path) -> None:
    config = tmp_path / "xdpctl.toml"
    config.write_text(
        '[[list]]\nzone = "a.example"\nprimary = "127.0.0.1"\ntls-name = "ns.example"\n'
        'tls-ca = "/no/ca"\nupdate-key-file = "/no/update"\n'
        '[[dnsdist]]\nurl = "http://127.0.0.1:8083"\nkey-file = "/no/api"\n'
    )
    authorities, update, api = site.survey("--config", str(config)).host(fine).lists
    assert authorities.startswith("the list a.example will not be transferred: ")
    assert "tls-ca /no/ca" in authorities
    assert update.startswith("nothing can be published in a.example: cannot use key-file /no/upd")
    assert api.startswith("the dynamic blocks of http://127.0.0.1:8083 will not be read: ")


def test_keys_are_read_as_the_service(site: Site, tmp_path: Path) -> None:
    config, path = tmp_path / "xdpctl.toml", tmp_path / "rpz.key"
    config.write_text(f'[[list]]\nzone = "a.example"\nprimary = "192.0.2.1"\nkey-file = "{path}"\n')

    @contextmanager
    def as_the_service() -> Iterator[None]:
        path.write_text('key "k" { algorithm hmac-sha256; secret "c2VjcmV0"; };')
        path.chmod(0o600)
        yield
        path.unlink()

    settings = site.settings("--config", str(config))
    survey = Survey(site.bpf, FakeNetlink(site.kernel), settings, as_the_service=as_the_service)
    assert survey.host(fine).lists == ()


def test_a_port_for_notify_that_is_taken_is_a_fact(site: Site) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        found = site.survey("--notify-listen", listen).host(fine).notify
        assert found is not None
        assert found.startswith(f"cannot listen for NOTIFY on {listen}: Address already in use")
        running = site.survey("--notify-listen", listen).host(fine, "a service is running")
        assert running.notify is None


def test_what_the_compiler_says_is_a_fact(site: Site) -> None:
    def broken() -> None:
        raise CompilerError("cannot import bcc")

    assert site.survey().host(broken).compiler == "cannot import bcc"


def test_a_compiler_that_works_is_none(site: Site) -> None:
    assert site.survey().host(fine).compiler is None


def test_a_missing_package_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_module, "_PACKAGES", ("json", "no_such_package"))

    assert "cannot import the Python package no_such_package" in (
        site.survey().host(fine).libraries or ""
    )


def test_a_missing_libbpf_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> int:
        raise KernelError("cannot load libbpf.so.1", errno.ENOENT)

    monkeypatch.setattr(site.bpf, "possible_cpus", missing)

    assert "libbpf.so.1" in (site.survey().host(fine).libraries or "")


def test_with_everything_there_no_library_is_missing(site: Site) -> None:
    assert site.survey().host(fine).libraries is None


@pytest.mark.parametrize(("text", "jit"), [("0\n", False), ("1\n", True), ("2\n", True)])
def test_the_kernel_says_whether_it_compiles_programs(
    site: Site,
    text: str,
    jit: bool,  # noqa: FBT001 - the case
) -> None:
    site.proc_file("sys/net/core/bpf_jit_enable", text)

    assert site.survey().host(fine).jit is jit


def test_a_kernel_that_does_not_say_is_not_guessed_at(site: Site) -> None:
    assert site.survey().host(fine).jit is None


@pytest.mark.parametrize(("limit", "fact"), [(resource.RLIM_INFINITY, None), (65536, 65536)])
def test_the_limit_of_locked_memory_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch, limit: int, fact: int | None
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))

    assert site.survey().host(fine).memory_lock == fact


MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
23 27 0:22 / /sys rw,relatime shared:7 - sysfs {} rw
42 23 0:39 / /sys/fs/bpf rw,relatime - bpf bpf rw
"""


@pytest.mark.parametrize(("source", "apart"), [("sysfs", False), ("none", False), ("ns1", True)])
def test_a_sys_named_after_a_namespace_is_that_of_ip_netns_exec(
    site: Site,
    source: str,
    apart: bool,  # noqa: FBT001 - the case
) -> None:
    site.proc_file("self/mountinfo", MOUNTS.format(source))

    assert site.survey().host(fine).apart is apart


def test_without_a_sys_nothing_is_concluded(site: Site) -> None:
    site.proc_file("self/mountinfo", MOUNTS.splitlines()[0])

    assert site.survey().host(fine).apart is False


def test_mounts_that_may_not_be_seen_are_taken_for_the_hosts(site: Site) -> None:
    assert site.survey().host(fine).apart is False


def test_an_address_in_use_is_told_by_trying(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        complaint = site.survey("--listen", address).host(fine).listen

    assert complaint is not None
    assert complaint.startswith(f"cannot listen on {address}: Address already in use by ")
    assert complaint.endswith(f" (pid {os.getpid()}); choose another --listen, or none")


def test_an_address_that_is_free_is_no_complaint(site: Site) -> None:
    assert site.survey("--listen", "[::1]:0").host(fine).listen is None


def test_a_running_services_address_is_not_tried(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"

        assert site.survey("--listen", address).host(fine, "it runs").listen is None


def test_directories_that_can_be_made_are_fine(site: Site) -> None:
    assert site.survey().host(fine).unwritable == ()


def test_a_file_in_the_place_of_a_directory_is_found(site: Site) -> None:
    (site.directory / "run").write_text("")

    assert site.survey().host(fine).unwritable == (site.directory / "run",)


def test_a_directory_that_may_not_be_looked_at_is_found(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exists(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    survey = site.survey()
    monkeypatch.setattr(Path, "exists", exists)

    assert survey.host(fine).unwritable == (
        site.directory / "run",
        site.directory / "state",
    )


# --- interfaces ---------------------------------------------------------------------


def test_an_unknown_interface_is_told_in_netlinks_words(site: Site) -> None:
    facts = site.survey().interface("eth9")

    assert (facts.interface, facts.error) == (
        None,
        "cannot use interface eth9: there is none",
    )


@pytest.mark.parametrize("offload", [True, False, None])
def test_vlan_offload_is_told(site: Site, eth0: Device, offload: bool | None) -> None:  # noqa: FBT001
    eth0.vlan_offload = offload

    assert site.survey().interface("eth0").vlan_offload is offload


def test_the_vlans_on_an_interface_are_those_of_the_kernels_list(site: Site, eth0: Device) -> None:
    site.proc_file(
        "net/vlan/config",
        "VLAN Dev name    | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n"
        "eth0.5         | 5  | eth0\nother          | 6  | eth1\n",
    )

    assert site.survey().interface(eth0.name).vlans == ("eth0.5",)


def test_the_bond_of_an_interface_is_told_with_its_other_ports(site: Site, eth0: Device) -> None:
    bond, other = site.kernel.add_interface("bond0"), site.kernel.add_interface("eth1")
    eth0.master = other.master = bond.index
    found = site.survey().interface("eth0")
    assert found.upper is not None
    assert (found.upper.name, found.ports) == ("bond0", ("eth1",))


def xdp(site: Site) -> XdpFacts | None:
    return site.survey().interface("eth0").xdp


@pytest.mark.usefixtures("eth0")
def test_an_interface_without_a_program_has_none(site: Site) -> None:
    assert xdp(site) is None


def test_a_program_of_netlink_is_foreign(site: Site, eth0: Device) -> None:
    with site.program("other") as program:
        eth0.netlink = (site.kernel.programs[program.info.id], XdpMode.NATIVE)
        found = xdp(site)

    assert found is not None
    assert (found.name, found.ours, found.held_by_link) == ("other", False, False)


def test_a_program_of_our_pinned_link_is_ours(site: Site, eth0: Device) -> None:
    site.own.mkdir()
    with (
        site.program() as program,
        site.bpf.create_link(program, eth0.index, mode=XdpMode.NATIVE) as link,
    ):
        link.pin(site.own / "4026531840-eth0")
        found = xdp(site)

    assert found is not None
    assert (found.ours, found.held_by_link) == (True, True)


def test_a_program_of_another_link_is_not_ours(site: Site, eth0: Device) -> None:
    site.own.mkdir()
    with site.bpf.create_map(MAPS[MapName.COUNTERS], 1) as counters:
        counters.pin(site.own / "4026531840-eth0:counters")
    with (
        site.program() as program,
        site.bpf.create_link(program, eth0.index, mode=XdpMode.NATIVE),
    ):
        found = xdp(site)

    assert found is not None
    assert (found.ours, found.held_by_link) == (False, True)


def test_whose_a_program_is_is_not_guessed_at(
    site: Site, eth0: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def iterdir(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    site.kernel.privileged = False
    with (
        site.program() as program,
        site.bpf.create_link(program, eth0.index, mode=XdpMode.NATIVE),
        monkeypatch.context() as patched,
    ):
        patched.setattr(Path, "iterdir", iterdir)
        found = xdp(site)

    assert found is not None
    assert (found.ours, found.held_by_link, found.name) == (None, False, "")


def test_the_slots_of_an_interface_are_those_of_its_own_xskmap(site: Site) -> None:
    for name in ("eth0", "eth1"):
        site.kernel.add_interface(name)
    site.pin(MapName.XSKMAP, 16)
    site.pin(MapName.XSKMAP, 4, pin_name="xskmap-eth1")
    survey = site.survey("-i", "eth0", "-i", "eth1", "--xsk")

    assert [survey.interface(name).slots for name in ("eth0", "eth1")] == [16, 4]


def test_without_af_xdp_there_are_no_slots(site: Site, eth0: Device) -> None:
    assert site.survey("-i", eth0.name).interface(eth0.name).slots is None


# --- pins ---------------------------------------------------------------------------


def test_a_directory_that_is_there_is_told_with_its_owner(site: Site) -> None:
    site.pins.mkdir()
    facts = site.survey().directory()

    assert (facts.exists, facts.bpffs, facts.error) == (True, True, "")
    assert facts.owner == (os.geteuid(), site.pins.stat().st_gid)


def test_a_directory_that_is_not_there_is_told_by_the_one_above(site: Site) -> None:
    facts = site.survey().directory()

    assert (facts.exists, facts.bpffs) == (False, True)


def test_a_directory_elsewhere_cannot_be_mounted(site: Site) -> None:
    facts = site.survey("--pin-dir", "/proc").directory()

    assert (facts.bpffs, facts.mountable) == (False, False)


def test_the_mount_point_can_be_mounted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_module, "MOUNT_POINT", Path("/proc"))

    assert site.survey("--pin-dir", "/proc/no-such-thing").directory().mountable


def test_a_file_in_the_directorys_place_is_an_error(site: Site) -> None:
    site.pins.write_text("")

    assert f"{site.pins} is not a directory" in site.survey().directory().error


def test_a_directory_that_may_not_be_looked_at_is_an_error(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exists(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    survey = site.survey()
    monkeypatch.setattr(Path, "exists", exists)

    assert "Permission denied; run this as root" in survey.directory().error


def test_a_file_system_that_cannot_be_asked_is_an_error(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_bpffs(path: Path) -> bool:
        raise KernelError(f"cannot read {path}", errno.EIO)

    monkeypatch.setattr(pins, "is_bpffs", is_bpffs)

    assert "(EIO)" in site.survey().directory().error


def test_a_directory_of_somebody_else_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Opened:
        raise ForeignError("the directory /x belongs to user 65534")

    monkeypatch.setattr(survey_module, "open_directory", refuse)

    assert site.survey().directory().foreign == "the directory /x belongs to user 65534"


@pytest.mark.parametrize(("mode", "anybody"), [(0o1777, True), (0o711, False)])
def test_where_anybody_may_make_directories_it_is_seen(
    site: Site,
    mode: int,
    anybody: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    site.pins.parent.chmod(mode)

    assert site.survey().directory().anybody is anybody


QNAMES = Pin("qnames", MapName.QNAMES, 1024)


def test_an_absent_pin_has_no_capacity(site: Site) -> None:
    site.pins.mkdir()
    facts = site.survey().pin(QNAMES)

    assert (facts.capacity, facts.error) == (None, "")


def test_a_pin_is_told_with_capacity_owner_and_mode(site: Site) -> None:
    site.pin(MapName.QNAMES, 64)
    facts = site.survey().pin(QNAMES)

    assert (facts.entries, facts.capacity, facts.mode) == (1024, 64, 0o600)
    assert facts.owner[0] == os.geteuid()


def test_dnsdists_legacy_layout_is_an_error_by_that_name(site: Site) -> None:
    site.pins.mkdir()
    spec = replace(MAPS[MapName.QNAMES], key_size=255)
    with site.bpf.create_map(spec, 1024) as legacy:
        legacy.pin(site.pins / "qnames")

    assert "legacy format" in site.survey().pin(QNAMES).error


def test_a_pin_that_may_not_be_looked_at_is_an_error(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pin(MapName.QNAMES)

    def stat(path: Path) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    survey = site.survey()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", lambda path, **_: stat(path))
        patched.setattr(survey_module, "open_existing", lambda *_: site.program())
        error = survey.pin(QNAMES).error

    assert error == f"cannot read {site.pins / 'qnames'}: Permission denied"


KEY = abi.encode_addr_v4(IPv4Address("192.0.2.1"))


@pytest.mark.parametrize("action", RuleAction)
def test_a_truncate_rule_is_found_and_no_other(site: Site, action: RuleAction) -> None:
    site.pin(MapName.ADDR_V4)
    site.write(MapName.ADDR_V4, KEY, action)

    assert site.survey().truncating() is (action is RuleAction.TRUNCATE)


def test_without_maps_nothing_truncates(site: Site) -> None:
    assert site.survey("--xsk").truncating() is False


def test_maps_that_cannot_be_read_leave_it_open(site: Site) -> None:
    site.pin(MapName.ADDR_V4)
    site.kernel.faults.set("open_map", errno.EACCES)

    assert site.survey().truncating() is None


# --- all ----------------------------------------------------------------------------


def test_all_facts_are_gathered(site: Site, eth0: Device) -> None:
    site.kernel.tcp_listeners.add(53)
    site.kernel.addresses.append(IPv4Address("192.0.2.53"))
    survey = site.survey("-i", eth0.name, "--port", "53", "--port", "5300", "--pin-owner", "7:8")
    facts = survey.facts(fine, "it runs")

    assert [one.name for one in facts.interfaces] == ["eth0"]
    assert [pin.name for pin in facts.pins] == [str(name) for name in abi.RULE_MAPS]
    assert facts.listening == {53: True, 5300: False}
    assert facts.addresses == (IPv4Address("192.0.2.53"),)
    assert (facts.policy.uid, facts.policy.gid, facts.policy.mode) == (7, 8, 0o600)
    assert facts.host.service == "it runs"


@pytest.mark.parametrize("budget", ["2000", "0"])
def test_a_kernel_without_ring_buffers_is_noticed_if_one_is_wanted(site: Site, budget: str) -> None:
    site.kernel.faults.set("create_map", errno.EINVAL)
    facts = site.survey("--sample-budget", budget).host(fine)
    assert (facts.samples is None) == (budget == "0")
    assert facts.samples is None or "EINVAL" in facts.samples


def test_a_survey_changes_nothing(site: Site, eth0: Device) -> None:
    site.survey("-i", eth0.name, "--xsk").facts(fine)

    assert not site.pins.exists()
    assert not (site.directory / "run").exists()
    made = [state.info.type for state in site.kernel.maps.values()]
    assert made == [abi.MapType.RINGBUF]  # to see whether there is one; it ends at once


def test_a_survey_leaves_nothing_open(site: Site, eth0: Device) -> None:
    settings = site.settings("-i", eth0.name, "--xsk")
    for pin in pins_for(settings):
        site.pin(pin.map, pin.entries)
    site.survey("-i", eth0.name, "--xsk").facts(fine)

    assert site.kernel.open == {}
