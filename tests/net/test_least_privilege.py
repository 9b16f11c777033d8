"""What somebody could do who has taken the service over, and the loader that keeps the rest.

The service is the unit's: its user, its capabilities, after `prepare`. What attacks has the
capabilities that the running service was found with.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.bench.memory import processes_of, pss_bytes
from tests.lab import dig, eventually
from tests.lab.hosts import PYTHON
from tests.lab.service import READY
from tests.net.test_without_root import SERVICE, UID, blocks, machine, prepared
from xdpctl.process.privileges import LOADERS, NEEDED

if TYPE_CHECKING:
    from tests.lab import Service
    from tests.net.test_without_root import Machine

__all__ = ["machine", "prepared"]  # fixtures

pytestmark = pytest.mark.root

LOADER_MOST = 6_000_000

SPY = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
held = int(sys.argv[1], 16)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
low, high = held & 0xFFFFFFFF, held >> 32
assert libc.capset(header, (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)) == 0
slots = (  # *(u64 *)(r10 - 8) = what lies at the third argument of the system call; return 0
    (0x79, 0x16, 0, 0), (0xBF, 0xA1, 0, 0), (0x07, 0x01, 0, -8), (0xB7, 0x02, 0, 8),
    (0xBF, 0x63, 0, 0), (0x07, 0x03, 0, 104), (0x85, 0, 0, 113), (0xB7, 0, 0, 0), (0x95, 0, 0, 0),
)
program = b"".join(struct.pack("=BBhi", *slot) for slot in slots)
code, licence = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"GPL")
RAW_TRACEPOINT, PROG_LOAD = 17, 5
attributes = struct.pack(
    "=IIQQ", RAW_TRACEPOINT, len(slots), ctypes.addressof(code), ctypes.addressof(licence)
).ljust(128, bytes(1))
number = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
call = number[os.uname().machine]
fd = libc.syscall(call, PROG_LOAD, ctypes.create_string_buffer(attributes, 128), 128)
print("loaded" if fd >= 0 else os.strerror(ctypes.get_errno()))
"""
"""Loads what reads another process's memory, with bpf(2) alone (finding 14's caps/spy.py)."""


def loader_of(service: Service) -> int:
    """Return the loader's process."""
    return loader_beside(service.process.pid)


def loader_beside(service_pid: int) -> int:
    """Return the loader's process of the service with this process id."""
    family = processes_of(service_pid)
    (found,) = [pid for pid in family if b"program.loader.process" in command(pid)]
    return found


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def effective(pid: int) -> int:
    """Return the capabilities that a process has in effect."""
    found = re.search(
        r"^CapEff:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
    )
    assert found
    return int(found[1], 16)


def bits(held: dict[str, int]) -> int:
    return sum(1 << bit for bit in held.values())


def spies(machine: Machine, held: int) -> str:
    """Attack as the service's user with these capabilities; return what came of it."""
    names = ",".join(
        f"+{name.removeprefix('CAP_').lower()}" for name, bit in LOADERS.items() if held >> bit & 1
    )
    done = machine.as_root(
        *("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs"),
        *(f"--inh-caps=-all,{names}", f"--ambient-caps=-all,{names}"),
        *(PYTHON, "-I", "-S", "-c", SPY, f"{held:x}"),
    )
    return done.stdout.strip()


def test_whoever_takes_the_service_over_reads_no_memory(prepared: Machine) -> None:
    service = prepared.service()
    held = effective(service.process.pid)
    assert held == bits(NEEDED)
    assert spies(prepared, held) == "Operation not permitted"
    loaders = effective(loader_of(service))
    assert loaders == bits(LOADERS)
    assert spies(prepared, loaders) == "loaded"  # it is the capability that makes the difference
    blocks(prepared, service)


def test_the_loader_is_small(prepared: Machine) -> None:
    service = prepared.service()
    service.metrics()
    assert pss_bytes(loader_of(service)) <= LOADER_MOST


def test_the_process_of_a_long_list_and_the_compiler_get_no_such_right(prepared: Machine) -> None:
    """Whatever the service starts, while it starts it: nobody but the loader has it."""
    service = prepared.service(compiles=True)
    loader = loader_of(service)
    seen: set[bytes] = set()
    long = prepared.lab.directory / "long.rules"
    long.write_text("listed.example\n" + "# and nothing else\n" * 2**16)
    importing = prepared.lab.start(
        "import",
        [*service.command, "import", str(long), "--control", str(service.control)],
    )
    prepared.config.write_text(f"{prepared.settings}port = [53, 5353]\n")
    service.process.send(signal.SIGHUP)

    def done() -> bool:
        for pid in processes_of(service.process.pid):
            try:
                words, held = command(pid), effective(pid)
            except FileNotFoundError:
                continue
            if b"xdpctl.store.worker" in words or b"bcc_process" in words:
                seen.add(words.split(b"\0")[5 if b"-P" in words else 0])
            if pid != loader:
                assert not held >> LOADERS["CAP_PERFMON"] & 1, words
        return importing.status is not None and "reloaded changed=port" in service.process.text

    eventually(done, "both", timeout=30)
    assert importing.status == 0
    assert seen


def test_the_loader_ends_with_a_service_that_is_killed(prepared: Machine) -> None:
    service = prepared.service()
    loader = loader_of(service)
    service.process.send(signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{loader}").exists(), "its end", timeout=5)
    assert prepared.server.xdp() == "native"


def test_without_its_loader_it_filters_and_says_what_helps(prepared: Machine) -> None:
    service = prepared.service()
    blocks(prepared, service)
    prepared.as_root("kill", "-KILL", str(loader_of(service)))
    eventually(lambda: service.get("/readyz").status == 503, "what is missing")
    said = service.get("/readyz").body
    assert "the process that loads programs was ended by SIGKILL" in said
    assert "restart the service" in said
    assert "NOT READY: the process that loads programs" in service.verb("status").stdout
    assert not dig(prepared.client, "dropped.example").arrived
    prepared.config.write_text(f"{prepared.settings}port = [53, 5353]\n")
    service.process.send(signal.SIGHUP)
    service.process.line(r"reload-failed .*loads programs was ended by SIGKILL", timeout=30)
    assert not dig(prepared.client, "dropped.example").arrived
    assert service.stop(signal.SIGUSR2) == 0
    assert prepared.server.xdp() == "native"
    after = prepared.service()
    assert after.get("/readyz").status == 200
    assert not dig(prepared.client, "dropped.example").arrived


def test_the_units_seccomp_filter_lets_it_give_up_what_reads_memory(prepared: Machine) -> None:
    """The units' kernels have systemd's own filter; here it is made of the same lines."""
    under = (*SERVICE.as_its_user(), PYTHON, "-m", "tests.lab.seccomp", SERVICE.path.name)
    process = prepared.start(before=under)
    process.line(READY, timeout=60)
    (child,) = [
        pid for pid in processes_of(process.pid) if b"program.loader.process" in command(pid)
    ]
    assert "Seccomp:\t2" in Path(f"/proc/{child}/status").read_text()
    assert effective(process.pid) == bits(NEEDED)
    assert effective(child) == bits(LOADERS)
    assert "cannot give up" not in process.text


def test_signals_to_everybody_end_the_service_in_order(prepared: Machine) -> None:
    """KillMode=control-group sends SIGTERM to the loader as well."""
    service = prepared.service()
    prepared.as_root("kill", "-TERM", str(loader_of(service)), str(service.process.pid))
    assert service.process.wait() == 0
    assert "loads programs" not in service.process.text
    assert prepared.server.xdp() is None
