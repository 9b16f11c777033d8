"""`check`, `prepare`, `detach`: the verbs that need no service."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_kernel import FakeBpf, FakeKernel, FakeNetlink, pretend_bpffs
from tests.support.fake_service import STATUS
from xdpctl import abi
from xdpctl.cli.verbs import prepare
from xdpctl.errors import CompilerError, InterfaceError, KernelError, XdpctlError
from xdpctl.filter import own_pins
from xdpctl.kernel.bpf import syscall
from xdpctl.kernel.bpf.programs import XdpMode
from xdpctl.kernel.bytecode import Bytecode
from xdpctl.kernel.net import interfaces
from xdpctl.kernel.paths import Opened
from xdpctl.program import compiler
from xdpctl.settings import Owner, load_settings, parse_owner
from xdpctl.status.checks import survey
from xdpctl.status.checks.facts import Finding, Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService
    from xdpctl.program.config import ProgramConfig
    from xdpctl.settings import Settings


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeKernel:
    """A fake kernel under the verbs, whose compiler always works."""
    kernel = FakeKernel()
    root = pretend_bpffs(monkeypatch, tmp_path)
    monkeypatch.setenv("XDPCTL_PIN_DIR", str(root / "dnsdist"))
    monkeypatch.setenv("XDPCTL_LISTEN", "none")
    monkeypatch.setattr(syscall, "Bpf", lambda: FakeBpf(kernel))
    monkeypatch.setattr(interfaces, "Netlink", lambda: FakeNetlink(kernel))
    monkeypatch.setattr(compiler, "compile_program_blocking", lambda _: Bytecode(b""))
    monkeypatch.setattr(survey, "missing_capabilities", lambda *_: ())
    return kernel


# --- check --------------------------------------------------------------------------


@pytest.mark.usefixtures("kernel")
def test_a_host_that_will_do_is_said_to(cli: CommandLine) -> None:
    result = cli("check")

    assert result.status == 0
    assert result.output.splitlines()[-1] == (
        "the service can work on this host (no --interface given)"
    )


@pytest.mark.usefixtures("kernel")
def test_a_token_that_others_can_read_is_found(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    token.chmod(0o644)
    monkeypatch.setenv("XDPCTL_LISTEN", "127.0.0.1:0")
    result = cli("check", "--token-file", str(token))

    assert result.status == 1
    assert f"FAIL  cannot use --token-file {token}: its mode 0644" in result.output


@pytest.mark.usefixtures("kernel")
def test_secrets_of_cookies_that_are_none_are_found(cli: CommandLine, tmp_path: Path) -> None:
    secrets = tmp_path / "cookies"
    secrets.write_text("0123456789abcdef")
    secrets.chmod(0o600)
    result = cli("check", "--cookie-secret-file", str(secrets))

    assert result.status == 1
    assert (
        f"FAIL  cannot use --cookie-secret-file {secrets}: it must have one or two" in result.output
    )
    assert "0123456789" not in result.output


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(("proof", "status"), [("socket", 0), ("cgroup", 1)])
def test_the_root_of_control_groups_is_looked_for_where_it_is_needed(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, proof: str, status: int
) -> None:
    def no_root() -> int:
        raise KernelError("cannot find the root of all control groups", errno.ENOENT)

    monkeypatch.setattr("xdpctl.status.checks.survey.open_root", no_root)
    result = cli("check", "--proof", proof)

    assert result.status == status
    assert ("FAIL  cannot find the root of all control groups" in result.output) is bool(status)


def test_an_interface_is_checked_by_name(cli: CommandLine, kernel: FakeKernel) -> None:
    kernel.add_interface("eth0").driver = "veth"
    result = cli("check", "--interface", "eth0")

    assert result.status == 0
    assert "ok    eth0 (driver veth, MTU 1500) supports native XDP\n" in result.output
    assert result.output.endswith("the service can work on eth0\n")


@pytest.mark.usefixtures("kernel")
def test_an_error_makes_it_fail(cli: CommandLine) -> None:
    result = cli("check", "--interface", "eth9")

    assert (result.status, result.errors) == (1, "")
    assert "FAIL  cannot use interface eth9" in result.output
    assert result.output.endswith("the service cannot work on eth9: 1 error\n")


def test_a_warning_does_not(cli: CommandLine, kernel: FakeKernel) -> None:
    kernel.add_interface("eth0").up = False
    result = cli("check", "-i", "eth0")

    assert result.status == 0
    assert "warn  eth0 is down" in result.output
    assert result.output.endswith("the service can work on eth0, 3 warnings\n")


@pytest.mark.usefixtures("kernel")
def test_the_environment_names_the_interface_too(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDPCTL_INTERFACE", "eth9")

    assert "eth9" in cli("check").output


@pytest.mark.usefixtures("kernel")
def test_what_would_be_compiled_is_compiled(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[ProgramConfig] = []

    def compile_program_blocking(config: ProgramConfig) -> Bytecode:
        compiled.append(config)
        raise CompilerError("cannot import bcc: install python3-bpfcc")

    monkeypatch.setattr(compiler, "compile_program_blocking", compile_program_blocking)
    result = cli("check", "--port", "5300")

    assert "FAIL  cannot import bcc: install python3-bpfcc" in result.output
    assert compiled[0].ports == (5300,)


@pytest.mark.usefixtures("kernel")
def test_json_is_one_document(cli: CommandLine) -> None:
    result = cli("check", "--interface", "eth9", "--json")
    document = json.loads(result.output)

    assert (result.status, document["ok"]) == (1, False)
    assert {
        "level": "error",
        "topic": "eth9",
        "sentence": "cannot use interface eth9: there is none",
    } in document["findings"]


@pytest.mark.usefixtures("kernel")
def test_a_running_service_is_named(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", "/api/v1/status", STATUS)

    assert "note  a service is running (pid 4711)" in cli("check").output


@pytest.mark.usefixtures("kernel")
def test_a_service_that_does_not_answer_well_is_named(
    cli: CommandLine, service: FakeService
) -> None:
    service.answer("GET", "/api/v1/status", b"nonsense")

    assert "note  a service may be running: the program that answers" in cli("check").output


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("verb", ["check", "prepare"])
def test_an_option_that_cannot_be_is_a_usage_error(cli: CommandLine, verb: str) -> None:
    result = cli(verb, "--mode", "fast")

    assert (result.status, result.output) == (2, "")
    assert "'fast'" in result.errors


@pytest.mark.usefixtures("kernel")
def test_a_finding_cannot_write_to_the_terminal(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "xdpctl.status.checks.report.findings", lambda *_: [Finding(Level.NOTE, "a\x1b[2J", "x")]
    )

    assert "\x1b" not in cli("check").output


# --- prepare ------------------------------------------------------------------------


def settings(root: Path, *arguments: str) -> Settings:
    """Return settings with everything below `root`."""
    return load_settings(
        [
            *("--control", str(root / "run" / "control.sock")),
            *("--state", str(root / "state" / "deep" / "state.db")),
            *("--pin-dir", str(root / "bpf" / "dnsdist")),
            *arguments,
        ],
        {},
        default_file=Path("/nonexistent"),
        require_interface=False,
    )


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory whose `bpf` is taken for a BPF file system."""
    (tmp_path / "bpf").mkdir()
    pretend_bpffs(monkeypatch, tmp_path / "bpf")
    return tmp_path


def prepared(root: Path, *arguments: str, service: str = "") -> list[str]:
    user = parse_owner(service) if service else None
    bpf = FakeBpf(FakeKernel())
    own = root / "bpf" / "xdpctl"
    return list(prepare.steps(settings(root, *arguments), user, bpf=bpf, own_directory=own))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_everything_that_a_start_needs_is_made(root: Path) -> None:
    prepared(root)

    assert {path: mode(root / path) for path in ("bpf/dnsdist", "bpf/xdpctl", "run")} == {
        "bpf/dnsdist": 0o700,
        "bpf/xdpctl": 0o700,
        "run": 0o750,
    }
    assert mode(root / "state" / "deep") == 0o750


def test_what_was_made_is_said(root: Path) -> None:
    uid, gid = os.geteuid(), os.getegid()

    assert prepared(root)[0] == (f"made {root / 'bpf/dnsdist'}: owner {uid}:{gid}, mode 0700")


def test_to_do_it_again_changes_nothing(root: Path) -> None:
    prepared(root)

    assert prepared(root) == []


def test_a_change_of_mode_is_said(root: Path) -> None:
    prepared(root)

    assert prepared(root, "--pin-mode", "0660")[0].startswith(f"changed {root / 'bpf/dnsdist'}")


def test_a_mount_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "ensure_bpffs", lambda _: True)

    assert prepared(root)[0] == "mounted a BPF file system at /sys/fs/bpf"


def test_a_file_in_the_way_of_a_directory_is_an_error(root: Path) -> None:
    (root / "run").write_text("")
    with pytest.raises(XdpctlError, match=r"cannot make the directory .*run is a plain file"):
        prepared(root)


def test_the_control_group_owns_the_sockets_directory(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners: list[tuple[str, int, int]] = []
    monkeypatch.setattr(
        Opened, "set_owner", lambda self, uid, gid: owners.append((self.path.name, uid, gid))
    )
    prepared(root, "--control-group", "54321")

    assert owners == [("run", -1, 54321)]


def test_a_directory_that_everybody_may_enter_keeps_its_group(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "run").mkdir(mode=0o755)
    monkeypatch.setattr(Opened, "set_owner", lambda *_: pytest.fail("given away"))
    prepared(root, "--control-group", "54321")


def test_only_root_prepares(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = cli("prepare")

    assert result.status == 1
    assert "run `xdpctl prepare` as root" in result.errors


# The tests' own user and group stand for the service's: others may only be given by root.


def service_user() -> str:
    return f"{os.geteuid()}:{os.getegid()}"


def test_for_a_services_user_the_shared_pins_are_made(root: Path) -> None:
    prepared(root, service=service_user())

    assert {path.name for path in (root / "bpf/dnsdist").iterdir()} == set(abi.RULE_MAPS)


def test_without_one_they_are_left_to_the_service(root: Path) -> None:
    prepared(root)

    assert not list((root / "bpf/dnsdist").iterdir())


def test_pins_that_the_services_user_could_not_open_are_refused(root: Path) -> None:
    with pytest.raises(
        XdpctlError, match=r"the service could not open them; use dnsdist's user with"
    ):
        prepared(root, "--pin-owner", "7777:7777", service="8888:8888")


def test_pins_for_its_group_need_read_and_write(root: Path) -> None:
    with pytest.raises(XdpctlError, match=r'pin-mode = "0660"'):
        prepared(root, "--pin-owner", "7777:8888", "--pin-mode", "0640", service="8888:8888")


def test_a_directory_that_the_services_user_cannot_write_to_is_refused(root: Path) -> None:
    (root / "run").mkdir(mode=0o750)
    uid = os.geteuid() + 1
    with pytest.raises(XdpctlError, match=rf"the service's user {uid} cannot write to {root}/run"):
        prepare._ensure_plain_directory(root / "run", Owner(uid, os.getegid() + 1), None)


def test_a_services_user_that_does_not_exist_is_a_usage_error(cli: CommandLine) -> None:
    result = cli("prepare", "--service-user", "nobody-has-this-name")

    assert (result.status, result.output) == (2, "")
    assert "this host has no user 'nobody-has-this-name'" in result.errors


def as_root(monkeypatch: pytest.MonkeyPatch, steps: list[str]) -> None:
    """Let `prepare` be root and do nothing but say these steps."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(prepare, "steps", lambda *_, **__: iter(steps))


def test_the_steps_are_printed(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    as_root(monkeypatch, ["mounted", "made"])
    result = cli("prepare")

    assert (result.status, result.output) == (0, "mounted\nmade\n")


def test_that_there_was_nothing_to_do_is_said(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_root(monkeypatch, [])

    assert cli("prepare").output == "nothing to do: everything is prepared already\n"


def test_the_steps_are_a_document(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    as_root(monkeypatch, ["mounted", "made"])

    assert json.loads(cli("prepare", "--json").output) == {"done": ["mounted", "made"]}


# --- detach -------------------------------------------------------------------------


@pytest.fixture
def carrying(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeKernel:
    """A kernel where a dead service left its program on eth0; eth1 carries another's."""
    own = tmp_path / "xdpctl"
    own.mkdir()
    detach = own_pins.detach_interface
    monkeypatch.setattr(
        own_pins, "detach_interface", lambda one, two, name: detach(one, two, name, own)
    )
    fake = FakeBpf(kernel)
    for name, path in (("eth0", own_pins.OwnPins(own, "eth0").link_path), ("eth1", None)):
        device = kernel.add_interface(name)
        with fake.load_program(bytes(16), name) as program:
            if path is None:
                device.netlink = (kernel.programs[program.info.id], XdpMode.NATIVE)
                continue
            with fake.create_link(program, device.index, mode=XdpMode.NATIVE) as link:
                link.pin(path)
    return kernel


NOTHING = "there is no program of xdpctl"


@pytest.mark.parametrize("arguments", [[], ["--interface", "eth0"], ["-i", "eth0", "-i", "eth0"]])
def test_a_dead_services_program_is_taken_off(
    cli: CommandLine, carrying: FakeKernel, arguments: list[str]
) -> None:
    result = cli("detach", *arguments)

    assert (result.status, result.output) == (0, "detached from eth0\n")
    assert carrying.attached("eth0") is None


def test_anothers_program_is_never_taken_off(cli: CommandLine, carrying: FakeKernel) -> None:
    cli("detach")
    result = cli("detach", "--interface", "eth1")

    assert (result.status, result.output) == (1, "")
    assert f"{NOTHING} on eth1" in result.errors
    assert carrying.attached("eth1") is not None


@pytest.mark.usefixtures("carrying")
def test_what_was_not_there_is_named_beside_what_was(cli: CommandLine) -> None:
    result = cli("detach", "-i", "eth1", "-i", "eth0")

    assert (result.status, result.output) == (1, "detached from eth0\n")
    assert f"{NOTHING} on eth1" in result.errors


@pytest.mark.usefixtures("carrying")
def test_nothing_of_ours_is_none_where_that_is_asked_for(cli: CommandLine) -> None:
    cli("detach")
    result = cli("detach", "--if-any")

    assert (result.status, result.output, result.errors) == (0, "", "")


@pytest.mark.usefixtures("carrying")
def test_nothing_of_ours_is_a_failure(cli: CommandLine) -> None:
    cli("detach")
    result = cli("detach")

    assert result.status == 1
    assert f"{NOTHING} on any interface" in result.errors


@pytest.mark.usefixtures("carrying")
def test_an_unknown_interface_is_a_failure(cli: CommandLine) -> None:
    result = cli("detach", "--interface", "eth9")

    assert result.status == 1
    assert "cannot use interface eth9" in result.errors


def test_an_interface_that_goes_meanwhile_is_left_out(
    cli: CommandLine, carrying: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., bool] = own_pins.detach_interface

    def detach(one: object, two: object, name: str) -> bool:
        if name == "eth1":
            raise InterfaceError("gone", interface=name)
        return real(one, two, name)

    monkeypatch.setattr(own_pins, "detach_interface", detach)

    assert cli("detach").output == "detached from eth0\n"
    assert carrying.attached("eth0") is None


def test_a_service_is_asked_where_one_answers(
    cli: CommandLine, service: FakeService, carrying: FakeKernel
) -> None:
    service.answer("GET", "/api/v1/status", STATUS)
    service.answer("POST", "/api/v1/detach", {"detached": ["eth0"]})
    result = cli("detach", "--json")

    assert json.loads(result.output) == {"detached": ["eth0"]}
    assert service.requests[-1].body == {"interfaces": []}
    assert carrying.attached("eth0") is not None


def test_what_the_service_does_not_serve_is_detached_directly(
    cli: CommandLine, service: FakeService, carrying: FakeKernel
) -> None:
    other = {**STATUS["interfaces"][0], "name": "eth7"}
    service.answer("GET", "/api/v1/status", {**STATUS, "interfaces": [other]})
    service.answer("POST", "/api/v1/detach", {"detached": ["eth7"]})
    result = cli("detach", "-i", "eth0", "-i", "eth7")

    assert (result.status, result.output) == (0, "detached from eth7, eth0\n")
    assert service.requests[-1].body == {"interfaces": ["eth7"]}
    assert carrying.attached("eth0") is None


def test_what_only_the_service_serves_is_its_own_to_detach(
    cli: CommandLine, service: FakeService, carrying: FakeKernel
) -> None:
    service.answer("GET", "/api/v1/status", STATUS)
    service.answer("POST", "/api/v1/detach", {"detached": []})
    result = cli("detach", "-i", "eth0")

    assert result.status == 1
    assert carrying.attached("eth0") is not None
