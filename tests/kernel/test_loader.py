"""The loader on the real kernel: what it loads, what it refuses, what it may, and when it ends."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engines.made_once import compiled_once
from tests.lab.process import eventually
from tests.support.kernel_contract import PASS_PROGRAM
from xdpctl.abi import MAPS, MapName
from xdpctl.errors import KernelError, VerifierError
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.process.privileges import LOADERS
from xdpctl.program import selftest
from xdpctl.program.config import ProgramConfig
from xdpctl.program.loader.parent import Loader
from xdpctl.rules import AnyQtype
from xdpctl.settings import XskFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

LOADER_BITS = sum(1 << bit for bit in LOADERS.values())
EVERYTHING = ProgramConfig((53,), (853,), (), tcp=True, any_qtype=AnyQtype.BOTH, xsk=XskFamily.BOTH)
READ_KERNEL, READ_USER, PRINT = 113, 112, 6


@pytest.fixture
def loader() -> Iterator[Loader]:
    with Loader.start() as started:
        yield started


@pytest.fixture
def bpf(loader: Loader) -> Bpf:
    return Bpf(loader)


def pid_of(loader: Loader) -> int:
    return loader._process.pid


def status_of(pid: int) -> dict[str, int]:
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.findall(r"^(Cap\w+|NoNewPrivs|SigBlk):\s*([0-9a-f]+)$", text, re.MULTILINE)
    return {name: int(value, 16) for name, value in found}


def open_in(pid: int) -> set[str]:
    """Return what kinds of things a process has open."""
    found = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed since
            found.add(str(fd.readlink()).partition(":")[0])
    return found


def serving(bpf: Bpf, loader: Loader) -> int:
    """Return its process, when it has answered once, and so has given up what it does."""
    bpf.load_program(PASS_PROGRAM, "p").close()
    return pid_of(loader)


def test_a_program_with_every_map_passes_its_self_test(bpf: Bpf) -> None:
    selftest.run(bpf, EVERYTHING, compiled_once(EVERYTHING))


def test_a_program_has_the_name_and_maps_that_it_was_given(bpf: Bpf) -> None:
    with bpf.create_map(MAPS[MapName.ADDR_V4], 1) as made:
        load = struct.pack("=BBhi", 0x18, 0x11, 0, made.fd) + bytes(8)
        with bpf.load_program(load + PASS_PROGRAM, "xdp-filter for eth0.100") as program:
            assert program.info.name == "xdp_filter_f100"
            assert program.info.map_ids == (made.info.id,)
            assert program.test_run(bytes(60)).return_value == selftest.XDP_PASS


def test_the_verifiers_log_comes_back(bpf: Bpf) -> None:
    reads_r2 = struct.pack("=BBhi", 0xBF, 0x20, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)
    with pytest.raises(VerifierError, match="R2 !read_ok") as refused:
        bpf.load_program(reads_r2, "broken")
    assert "R2 !read_ok" in refused.value.log


@pytest.mark.parametrize("helper", [READ_KERNEL, READ_USER, PRINT])
def test_a_helper_that_reads_memory_is_refused_which_the_kernel_would_load(
    bpf: Bpf, helper: int
) -> None:
    reads = b"".join(
        struct.pack("=BBhi", *instruction)
        for instruction in (
            (0x7A, 10, -8, 0),  # *(u64 *)(r10 - 8) = 0
            (0xBF, 0xA1, 0, 0),  # r1 = r10
            (0x07, 1, 0, -8),
            (0xB7, 2, 0, 8),
            (0xB7, 3, 0, 0),
            (0x85, 0, 0, helper),
        )
    )
    Bpf().load_program(reads + PASS_PROGRAM, "reads").close()
    with pytest.raises(VerifierError, match=f"refused it: it calls helper {helper}"):
        bpf.load_program(reads + PASS_PROGRAM, "reads")


def test_it_keeps_three_capabilities_and_nothing_else(bpf: Bpf, loader: Loader) -> None:
    pid = serving(bpf, loader)
    found = status_of(pid)
    assert (found["CapEff"], found["CapPrm"]) == (LOADER_BITS, LOADER_BITS)
    assert (found["CapInh"], found["CapAmb"], found["NoNewPrivs"]) == (0, 0, 1)
    wanted = {"/dev/null", "socket"}
    eventually(lambda: open_in(pid) == wanted, f"nothing but {wanted}, not {open_in(pid)}")
    assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1


def test_nobody_of_its_own_user_looks_into_it(bpf: Bpf, loader: Loader) -> None:
    """Not even who has what the service has: it cannot take CAP_PERFMON from there."""
    pid = serving(bpf, loader)
    held = "-all,+bpf,+net_admin"
    look = ("setpriv", f"--bounding-set={held}", f"--inh-caps={held}", sys.executable, "-c")
    for name in ("mem", "environ", "maps"):
        code = f"open('/proc/{pid}/{name}', 'rb').read(1)"
        done = subprocess.run([*look, code], check=False, capture_output=True, text=True)
        assert "Permission denied" in done.stderr, name


def test_a_closed_socket_ends_it() -> None:
    with Loader.start() as started:
        pid = serving(Bpf(started), started)
        assert started.trouble == ""
    assert not Path(f"/proc/{pid}").exists()


PARENT = """
import sys, time
sys.path.insert(0, {checkout!r})
from xdpctl.program.loader.parent import Loader
import signal
from xdpctl.process.children import SIGNALS
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
loader = Loader.start()
from tests.support.kernel_contract import PASS_PROGRAM
from xdpctl.kernel.bpf.syscall import Bpf
Bpf(loader).load_program(PASS_PROGRAM, "p").close()
print(loader._process.pid, flush=True)
sys.stdin.read(1)
Bpf(loader).load_program(PASS_PROGRAM, "p").close()
print("loaded", flush=True)
time.sleep(60)
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    code = PARENT.format(checkout=str(Path(__file__).parents[2]))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_it_ends_with_a_service_that_is_killed(parent: subprocess.Popen[str]) -> None:
    pid = int(line(parent))
    parent.kill()
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "its end", timeout=5)


def test_signals_that_mean_the_service_do_not_end_it(parent: subprocess.Popen[str]) -> None:
    pid = int(line(parent))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        os.kill(pid, number)
    time.sleep(0.1)
    assert parent.stdin is not None
    parent.stdin.write("x")
    parent.stdin.flush()
    assert line(parent) == "loaded"


def test_one_that_is_killed_is_named_and_what_is_loaded_goes_on(bpf: Bpf, loader: Loader) -> None:
    with bpf.load_program(PASS_PROGRAM, "p") as program:
        os.kill(pid_of(loader), signal.SIGKILL)
        with pytest.raises(KernelError, match=r"ended by SIGKILL.*: restart the service"):
            bpf.load_program(PASS_PROGRAM, "p")
        assert program.test_run(bytes(60)).return_value == selftest.XDP_PASS
    assert "SIGKILL" in loader.trouble


@pytest.mark.parametrize("wanted", ["perfmon", "bpf"])
def test_what_it_lacks_is_named(wanted: str) -> None:
    held = ",".join(
        f"+{name.removeprefix('CAP_').lower()}"
        for name in LOADERS
        if name != f"CAP_{wanted.upper()}"
    )
    code = (
        "import struct\n"
        "from xdpctl.kernel.bpf.syscall import Bpf\n"
        "from xdpctl.program.loader.parent import Loader\n"
        "from xdpctl.errors import XdpctlError\n"
        "from tests.kernel.test_loader import SUBTRACTS\n"
        "with Loader.start() as loader:\n"
        "    try: Bpf(loader).load_program(SUBTRACTS, 'p')\n"
        "    except XdpctlError as error: print(error)\n"
    )
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    sets = (f"--inh-caps=-all,{held}", f"--ambient-caps=-all,{held}", f"--bounding-set=-all,{held}")
    done = subprocess.run(
        [*user, *sets, sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert f"run as root, or give this process CAP_{wanted.upper()}" in done.stdout


SUBTRACTS = (
    b"".join(
        struct.pack("=BBhi", *instruction)
        for instruction in (
            (0x61, 0x12, 0, 0),  # r2 = ctx->data
            (0x61, 0x13, 4, 0),  # r3 = ctx->data_end
            (0x1F, 0x23, 0, 0),  # r3 -= r2
        )
    )
    + PASS_PROGRAM
)
"""What the verifier lets only CAP_PERFMON do."""
