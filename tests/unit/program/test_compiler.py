"""From a configuration to bytecode: what is rendered, what the process does and how it fails."""

from __future__ import annotations

import logging
import os
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.lab.process import eventually
from tests.packets.case import DEFAULT
from tests.support.foreign_module import find_anew
from xdpctl.abi import MAPS, MapName, Scope, names_of
from xdpctl.errors import CompilerError
from xdpctl.kernel.bytecode import Bytecode
from xdpctl.program import bcc_process, compiler
from xdpctl.program.compiler import Compilation, compile_program_blocking
from xdpctl.program.config import ProgramConfig, render_config
from xdpctl.rules import AnyQtype
from xdpctl.settings import XskFamily

XSK_MAPS = {MapName.XSKMAP, MapName.XSK_DESTINATIONS_V4, MapName.XSK_DESTINATIONS_V6}
FAKE_BYTECODE = b"\x95" + bytes(7)
ELSEWHERE = names_of(Scope.TABLES, Scope.WRITER, Scope.LIMITS, Scope.SAMPLES)
WITHOUT_TABLES = set(MAPS) - set(ELSEWHERE)


@pytest.fixture
def bcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is imported as `bcc` here and in the compiling process."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    find_anew(monkeypatch, "bcc")
    return folder / "bcc.py"


@pytest.fixture
def hanging(bcc: Path, tmp_path: Path) -> Path:
    """A pipe from which comes the number of the compiling process, which never ends."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    bcc.write_text(
        "import os, time\n"
        f"with open({str(pipe)!r}, 'w') as pipe:\n"
        "    pipe.write(str(os.getpid()))\n"
        "time.sleep(3600)\n"
    )
    return pipe


def fake(body: str) -> str:
    """Return a module that looks like BCC and runs `body` to compile."""
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    return (
        "import ctypes, os, sys, time\n"
        "__version__ = '9.9'\n"
        "class BPF:\n"
        "    def __init__(self, text, cflags):\n"
        f"{lines}"
        "    def dump_func(self, func_name):\n"
        f"        return {FAKE_BYTECODE!r}\n"
    )


def refs(config: ProgramConfig) -> set[MapName]:
    """Return the maps that the program of this configuration uses."""
    numbers = compile_program_blocking(config).refs()
    return {name for name, spec in MAPS.items() if spec.ref in numbers}


def load64(register: int, kind: int, immediate: int) -> bytes:
    return struct.pack("=BBhi", 0x18, kind << 4 | register, 0, immediate) + bytes(8)


# What a configuration means


def test_every_port_is_rendered() -> None:
    text = render_config(replace(DEFAULT, ports=(53, 5353), address_ports=(853,)))
    assert "#define CONFIG_PORTS(is) is(0x35) is(0x14e9)\n" in text
    assert "#define CONFIG_ADDRESS_PORTS(is) is(0x355)\n" in text


def test_no_address_is_every_address() -> None:
    text = render_config(DEFAULT)
    assert "#define CONFIG_ADDRESS_ANY 1\n" in text


def test_addresses_are_rendered_as_network_and_mask_in_host_order() -> None:
    networks = (ip_network("192.0.2.0/24"), ip_network("2001:db8::1/128"))
    text = render_config(replace(DEFAULT, addresses=networks))
    assert "#define CONFIG_ADDRESS_ANY 0\n" in text
    assert "#define CONFIG_ADDRESSES_V4(in) in(0xc0000200, 0xffffff00)\n" in text
    assert (
        "#define CONFIG_ADDRESSES_V6(in)"
        " in(0x20010db800000000, 0x1, 0xffffffffffffffff, 0xffffffffffffffff)\n"
    ) in text


@pytest.mark.parametrize(
    ("mode", "new", "legacy"),
    [(AnyQtype.BOTH, 1, 1), (AnyQtype.NEW, 1, 0), (AnyQtype.LEGACY, 0, 1)],
)
def test_a_wildcard_mode_says_which_types_are_every_type(
    mode: AnyQtype, new: int, legacy: int
) -> None:
    text = render_config(replace(DEFAULT, any_qtype=mode))
    assert f"#define CONFIG_QTYPE_65535 {new}\n#define CONFIG_QTYPE_255 {legacy}\n" in text


@pytest.mark.parametrize(
    ("families", "v4", "v6"),
    [(None, 0, 0), (XskFamily.V4, 1, 0), (XskFamily.BOTH, 1, 1)],
)
def test_xsk_families_say_which_destinations_are_looked_up(
    families: XskFamily | None, v4: int, v6: int
) -> None:
    text = render_config(replace(DEFAULT, xsk=families))
    assert f"#define CONFIG_XSK_V4 {v4}\n#define CONFIG_XSK_V6 {v6}\n" in text


def test_tcp_can_be_left_out() -> None:
    assert "#define CONFIG_TCP 0\n" in render_config(replace(DEFAULT, tcp=False))


# Bytecode


def test_map_numbers_are_found_and_other_constants_are_not() -> None:
    number = load64(register=1, kind=0, immediate=7)
    bytecode = Bytecode(load64(2, 1, 5) + FAKE_BYTECODE + number + load64(3, 2, 10))
    assert bytecode.refs() == {5, 10}


def test_the_second_half_of_a_constant_is_never_taken_for_an_instruction() -> None:
    half = load64(1, 1, 5)[:8]
    constant = load64(1, 0, 0)[:8] + half
    assert Bytecode(constant + FAKE_BYTECODE).refs() == frozenset()


def test_relocation_puts_descriptors_in_and_leaves_all_else_alone() -> None:
    before = load64(2, 1, 5) + FAKE_BYTECODE + load64(3, 2, 10)
    after = load64(2, 1, 105) + FAKE_BYTECODE + load64(3, 2, 110)
    assert Bytecode(before).relocate({5: 105, 10: 110, 11: 111}) == after


def test_relocation_without_a_map_fails() -> None:
    with pytest.raises(KeyError):
        Bytecode(load64(2, 1, 5)).relocate({6: 1})


# The real compiler


def test_a_program_without_xsk_uses_every_other_map() -> None:
    assert refs(DEFAULT) == WITHOUT_TABLES - XSK_MAPS


def test_a_program_with_xsk_uses_every_map() -> None:
    assert refs(replace(DEFAULT, xsk=XskFamily.BOTH)) == WITHOUT_TABLES


def test_xsk_for_ipv4_uses_no_map_of_ipv6_destinations() -> None:
    unused = {MapName.XSK_DESTINATIONS_V6}
    assert refs(replace(DEFAULT, xsk=XskFamily.V4)) == WITHOUT_TABLES - unused


def test_only_a_program_that_samples_uses_the_maps_of_samples() -> None:
    samples = set(names_of(Scope.SAMPLES))
    assert refs(replace(DEFAULT, samples=512)) == WITHOUT_TABLES - XSK_MAPS | samples


def test_the_same_configuration_gives_the_same_bytecode() -> None:
    assert compile_program_blocking(DEFAULT) == compile_program_blocking(DEFAULT)


def test_what_a_configuration_does_not_use_is_not_in_the_program() -> None:
    small = compile_program_blocking(DEFAULT)
    large = compile_program_blocking(replace(DEFAULT, tables=True))
    assert 1.5 * len(small.instructions) < len(large.instructions)


def test_the_version_of_bcc_comes_with_the_bytecode() -> None:
    assert compile_program_blocking(DEFAULT).bcc[0].isdigit()


@pytest.mark.root
def test_no_header_of_this_machine_is_needed() -> None:
    hide = "mount -t tmpfs none /usr/include && mount -t tmpfs none /usr/src && "
    program = (
        "from tests.unit.program.test_compiler import DEFAULT, compile_program_blocking as c;"
        "print(len(c(DEFAULT).instructions))"
    )
    command = f"{hide} exec {sys.executable} -c {program!r}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) == len(compile_program_blocking(DEFAULT).instructions)


def test_sources_in_an_installed_package_go_before_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "xdpctl" / "_xdp"
    installed.mkdir(parents=True)
    monkeypatch.setattr(compiler, "files", lambda _: tmp_path / "xdpctl")
    assert compiler.source_directory() == installed


# The process around it


def what_is_said(bcc: Path, code: str) -> str:
    """Return what the compiler's process prints when it compiles."""
    bcc.write_text(fake(f"raise RuntimeError({code})"))
    with pytest.raises(CompilerError) as failure:
        compile_program_blocking(DEFAULT)
    said = re.search(r"the filter: (.*); run with", failure.value.sentence)
    assert said, failure.value.sentence
    return said[1]


STATUS = "' '.join(open('/proc/self/status').read().split())"


@pytest.mark.root
def test_the_compiler_runs_without_any_privilege_as_a_user_of_its_own(bcc: Path) -> None:
    status = what_is_said(bcc, STATUS)
    ids = re.search(r"Uid: (\d+) \1 \1 \1 Gid: \1 \1 \1 \1 ", status)
    assert ids, status
    assert int(ids[1]) in bcc_process.USERS
    assert re.search(r"Groups: (?=NStgid)", status)
    for held in ("CapPrm", "CapEff"):
        assert f"{held}: 0000000000000000" in status
    assert "NoNewPrivs: 1" in status


@pytest.mark.root
def test_nobody_else_reads_what_the_compiler_is_given(bcc: Path) -> None:
    look = (
        "' '.join('%o:%d:%d:%d' % (s.st_mode, s.st_uid, s.st_gid, os.getuid())"
        " for s in (os.stat(cflags[0][2:] + end) for end in ('', '/abi.h', '/shim')))"
    )
    found = [row.split(":") for row in what_is_said(bcc, look).split()]
    assert [row[:2] for row in found] == [["40750", "0"], ["100640", "0"], ["40750", "0"]]
    assert all(row[2] == row[3] for row in found)


SIGNALS_AS_NOBODY = """
import os, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    os.kill(int(sys.argv[1]), 0)
except OSError as error:
    print(error.strerror)
else:
    print("allowed")
"""


@pytest.mark.root
def test_a_process_of_nobodys_cannot_signal_the_compiler(bcc: Path) -> None:
    bcc.write_text(fake("time.sleep(30)"))
    compilation = Compilation(DEFAULT)
    running = threading.Thread(target=pytest.raises, args=(CompilerError, compilation.run))
    running.start()
    try:
        pid = eventually(child_of_another_user, "the compiler's user")
        done = subprocess.run(
            [sys.executable, "-c", SIGNALS_AS_NOBODY, str(pid)],
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout == "Operation not permitted\n"
    finally:
        compilation.cancel()
        running.join()


def child_of_another_user() -> int | None:
    """Return the process that compiles, when it has become another user's."""
    for path in Path("/proc/self/task").glob("*/children"):
        for pid in path.read_text().split():
            status = Path(f"/proc/{pid}/status").read_text()
            if not re.search(r"^Uid:\t0\t", status, re.MULTILINE):
                return int(pid)
    return None


def test_a_user_id_that_somebody_has_is_left_alone() -> None:
    only = bcc_process.USERS[100]
    assert bcc_process.unused_user(set(bcc_process.USERS) - {only}) == only
    assert bcc_process.unused_user(set(bcc_process.USERS)) is None


def test_a_user_id_with_a_name_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    named = bcc_process.USERS[7]
    monkeypatch.setattr(bcc_process, "_is_known", lambda number: number == named)
    assert bcc_process.unused_user(set(bcc_process.USERS) - {named}) is None


def test_the_ids_of_running_processes_are_taken() -> None:
    assert {os.getuid(), os.getgid()} <= bcc_process.taken_users()


def test_the_compiler_may_read_the_sources_that_it_is_given(bcc: Path) -> None:
    bcc.write_text(
        fake(
            "folder = next(flag[2:] for flag in cflags if flag.startswith('-I'))\n"
            "assert 'qname_key' in open(f'{folder}/abi.h').read()\n"
            "assert os.path.isfile(os.environ['BCC_KERNEL_SOURCE'] + '/include/linux/kconfig.h')"
        )
    )
    assert compile_program_blocking(DEFAULT).instructions == FAKE_BYTECODE


def test_the_environment_of_the_service_does_not_reach_the_compiler(
    bcc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDPCTL_TOKEN_FILE", "/run/secret")
    bcc.write_text(fake("assert 'XDPCTL_TOKEN_FILE' not in os.environ"))
    assert compile_program_blocking(DEFAULT).instructions == FAKE_BYTECODE


def test_what_bcc_prints_is_neither_bytecode_nor_seen(
    bcc: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bcc.write_text(fake("print('noise')\nos.write(1, b'noise')\nos.write(2, b'noise')"))
    assert compile_program_blocking(DEFAULT).instructions == FAKE_BYTECODE
    assert capfd.readouterr() == ("", "")


def test_without_bcc_the_package_to_install_is_named(bcc: Path) -> None:
    bcc.write_text("raise ImportError('no libbcc')")
    with pytest.raises(CompilerError, match=r"no libbcc.*python3-bpfcc.*system-site-packages"):
        compile_program_blocking(DEFAULT)


def test_another_package_called_bcc_is_recognised(bcc: Path) -> None:
    bcc.write_text("lattice = 'body-centred cubic'")
    with pytest.raises(CompilerError, match=r"bcc\.py is another package.*python3-bpfcc"):
        compile_program_blocking(DEFAULT)


def test_c_that_does_not_compile_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    broken = shutil.copytree(Path(str(compiler.source_directory())), tmp_path / "xdp")
    with (broken / compiler.MAIN_FILE).open("a") as stream:
        stream.write("int broken(void) { return undeclared; }\n")
    monkeypatch.setattr(compiler, "source_directory", lambda: broken)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(CompilerError) as failure:
        compile_program_blocking(DEFAULT)
    assert failure.value.sentence.startswith("cannot compile the filter: ")
    assert "\n" not in failure.value.sentence
    assert "undeclared identifier 'undeclared'" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_a_compiler_that_dies_is_one_sentence(bcc: Path) -> None:
    bcc.write_text(fake("os.kill(os.getpid(), 9)"))
    with pytest.raises(CompilerError, match=r"ended with status -9"):
        compile_program_blocking(DEFAULT)


def test_a_compiler_that_hangs_is_ended(bcc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bcc.write_text(fake("time.sleep(3600)"))
    monkeypatch.setattr(compiler, "LOOK", 0.1)
    monkeypatch.setattr(compiler, "STANDSTILL", 0.5)
    with pytest.raises(CompilerError, match=r"not done after \d+ seconds, of which its process"):
        compile_program_blocking(DEFAULT)


def test_a_compiler_that_works_has_time_and_works_no_longer_than_it_may(
    bcc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a host that a flood starves, a third of a second of work takes minutes."""
    monkeypatch.setattr(compiler, "LOOK", 0.05)
    monkeypatch.setattr(compiler, "STANDSTILL", 1.0)
    bcc.write_text(fake("while time.process_time() < 2: pass"))
    assert compile_program_blocking(DEFAULT).instructions == FAKE_BYTECODE
    monkeypatch.setattr(compiler, "WORK", 0.5)
    bcc.write_text(fake("while True: pass"))
    with pytest.raises(CompilerError, match=r"of which its process worked (0\.[5-9]|\d+\.\d);"):
        compile_program_blocking(DEFAULT)


@pytest.mark.root
def test_the_work_of_a_process_is_seen_where_its_proc_is_hidden() -> None:
    """As under ProtectProc=noaccess, by a service that is not root."""
    program = (
        "import os, subprocess, sys\n"
        "from pathlib import Path\n"
        "from xdpctl.program.compiler import _worked\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "code = 'import ctypes; ctypes.CDLL(None).prctl(4, 0); print(1, flush=True); input()'\n"
        "pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}\n"
        "with subprocess.Popen(['/usr/bin/python3', '-c', code], **pipes) as process:\n"
        "    process.stdout.readline()\n"
        "    hidden = not os.access(f'/proc/{process.pid}/stat', os.R_OK)\n"
        "    print(hidden, _worked(process.pid) > 0)\n"
        "    process.kill()\n"
    )
    command = f'mount -t proc -o hidepid=1 proc /proc && exec {sys.executable} -c "$0"'
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", command, program],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True True\n"


def test_one_that_nothing_waits_for_may_stand_still_but_not_for_ever(
    bcc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "LOOK", 0.05)
    monkeypatch.setattr(compiler, "STANDSTILL", 0.1)
    bcc.write_text(fake("time.sleep(1)"))
    assert Compilation(DEFAULT, urgent=False).run().instructions == FAKE_BYTECODE
    monkeypatch.setattr(compiler, "PATIENCE", 0.5)
    bcc.write_text(fake("time.sleep(3600)"))
    with pytest.raises(CompilerError, match="check the load of this host and try again"):
        Compilation(DEFAULT, urgent=False).run()


def test_nothing_is_left_behind(bcc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    bcc.write_text(fake("raise RuntimeError"))
    with pytest.raises(CompilerError):
        compile_program_blocking(DEFAULT)
    assert list(room.iterdir()) == []


def test_what_a_killed_one_left_is_removed_when_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, age in (
        ("xdpctl-compile-old", 3600),
        ("xdpctl-compile-young", 5),
        ("another-old", 3600),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "abi.h").touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    (tmp_path / "xdpctl-compile-link").symlink_to(tmp_path / "another-old")
    compiler.remove_abandoned()
    assert {file.name for file in tmp_path.iterdir()} == {
        "xdpctl-compile-young",
        "another-old",
        "xdpctl-compile-link",
    }


def test_no_room_for_the_sources_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(CompilerError, match=r"No such file.*room for a copy in .*missing"):
        compile_program_blocking(DEFAULT)


def test_cancelling_ends_the_process(hanging: Path) -> None:
    compilation = compiler.Compilation(DEFAULT)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(compilation.run)
        process = os.pidfd_open(int(hanging.read_text()))
        compilation.cancel()
        assert isinstance(running.exception(10), CompilerError)
    ended, _, _ = select.select([process], [], [], 10)
    os.close(process)
    assert ended == [process]


@pytest.mark.parametrize("urgent", [True, False])
def test_only_what_something_waits_for_compiles_at_the_usual_priority(
    hanging: Path, *, urgent: bool
) -> None:
    compilation = compiler.Compilation(DEFAULT, urgent=urgent)
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(compilation.run)
        process = int(hanging.read_text())
        try:
            wanted = usual if urgent else 19
            eventually(lambda: os.getpriority(os.PRIO_PROCESS, process) == wanted, "its priority")
        finally:
            compilation.cancel()
        assert isinstance(running.exception(10), CompilerError)


def test_cancelling_before_the_process_starts_keeps_it_from_starting() -> None:
    compilation = compiler.Compilation(DEFAULT)
    compilation.cancel()
    with pytest.raises(CompilerError, match="cancelled before it began"):
        compilation.run()


# Within the process


def test_the_module_is_asked_for_the_function(bcc: Path) -> None:
    bcc.write_text(fake("assert text == b'int f;'"))
    request = bcc_process.Request(text="int f;", function="f", directory="/nowhere")
    found = bcc_process.import_bcc()
    assert bcc_process.compile_request(found, request) == FAKE_BYTECODE


def test_a_failure_of_bcc_becomes_a_sentence(bcc: Path) -> None:
    bcc.write_text(fake("raise Exception('Failed to compile BPF module <text>')"))
    request = bcc_process.Request(text="", function="f", directory="/nowhere")
    with pytest.raises(CompilerError, match=r"Failed to compile BPF module <text>; run with"):
        bcc_process.compile_request(bcc_process.import_bcc(), request)
