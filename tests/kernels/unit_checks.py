"""What is claimed of deploy/'s units, looked at from inside the guest that runs them.

`python -m tests.kernels.unit_checks`, started by systemd, writes one line of JSON a
claim. Emulated, everything takes its time: what comes about is waited for.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.kernels.checks import Check
from xdpctl.errors import KernelError
from xdpctl.kernel.bpf.pins import OWN_DIRECTORY
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.process.privileges import LOADERS, NEEDED

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE: Final = 120.0
ENOUGH: Final = 20
"""Looks at the interface that a claim about all the time has to rest on."""

LOADER_MOST: Final = 6_000_000 // 1024
"""kB."""

SETTINGS: Final = Path("/etc/xdpctl/xdpctl.toml")
LONG: Final = Path("/run/test-long.rules")
MODES: Final = {
    "/run/xdpctl": "0750 xdpctl:xdpctl",
    "/run/xdpctl/control.sock": "0660 xdpctl:xdpctl",
    "/var/lib/xdpctl": "0750 xdpctl:xdpctl",
    "/var/lib/xdpctl/state.db": "0640 xdpctl:xdpctl",
    "/sys/fs/bpf": "0711 root:root",
    "/sys/fs/bpf/xdpctl": "0700 xdpctl:xdpctl",
    "/sys/fs/bpf/dnsdist": "0770 _dnsdist:xdpctl",
    "/sys/fs/bpf/dnsdist/addr-v4": "0660 _dnsdist:xdpctl",
}
"""What the service and dnsdist use, and nobody else."""


def run(*argv: str) -> str:
    """Run a command to its end and return all that it wrote."""
    done = subprocess.run(
        argv, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return done.stdout.strip()


def ask(name: str) -> str:
    """Ask dnsdist over UDP, from the other end of the wire."""
    client = ("nsenter", "--net=/run/netns/client")
    return run(*client, "dig", "@192.0.2.53", "+short", "+time=2", "+tries=1", name)


def check(claim: str, look: Callable[[], str], wanted: str) -> bool:
    """Look until `wanted` is in what is seen, or patience ends; write the claim down."""
    deadline = time.monotonic() + PATIENCE
    while wanted not in (seen := look()) and time.monotonic() < deadline:
        time.sleep(1)
    held = wanted in seen
    if not held:
        journal = run("journalctl", "-u", "xdpctl", "-u", "dnsdist", "--no-pager", "-n", "20")
        seen = f"{seen[-1500:]}\n{journal[-3000:]}"
    sys.stdout.write(Check(claim, held, "" if held else seen).line())
    sys.stdout.flush()
    return held


def active(unit: str) -> str:
    """Return "=active=" while the unit is active."""
    return f"={run('systemctl', 'is-active', unit)}="


def started() -> bool:
    """Check that both are up."""
    up = check("the service starts", lambda: active("xdpctl"), "=active=")
    beside = check("dnsdist starts beside it", lambda: active("dnsdist"), "=active=")
    return up and beside


def pid() -> str:
    """Return the service's main process."""
    return run("systemctl", "show", "--property=MainPID", "--value", "xdpctl")


def since(before: str) -> str:
    """Return "=active, another=" when another process than `before` is the service, and up."""
    which = "the same" if pid() == before else "another"
    return f"={active('xdpctl').strip('=')}, {which}="


def attached() -> str:
    """Return "=link N=" for our pinned link while it is on an interface, else "=none=".

    The link's id is the kernel's: the same id again means that it was never taken off.
    """
    for path in OWN_DIRECTORY.glob("*-eth0"):
        with suppress(KernelError), Bpf().open_link(path) as link:
            info = link.info()
            return f"=link {info.id}=" if info.ifindex else "=none="
    return "=none="


class Watch:
    """Looks at the interface, all the time while in the block."""

    def __init__(self) -> None:
        self._seen = [attached()]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            self._seen.append(attached())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def same(self, claim: str) -> None:
        """Check that one and the same link was on the interface all the time."""
        seen = [*dict.fromkeys(self._seen)]
        well = len(seen) == 1 and "=none=" not in seen and len(self._seen) > ENOUGH
        told = "the same" if well else f"{seen} in {len(self._seen)} looks"
        check(claim, lambda: told, "the same")


def mode(path: str) -> str:
    """Return mode and owner of a file as "=0660 user:group="."""
    return f"={run('stat', '--format=%04a %U:%G', path)}="


def works() -> None:
    """Check that it filters, for dnsdist too."""
    check("a query is answered", lambda: ask("www.example"), "192.0.2.80")
    check("it went over AF_XDP", lambda: run("xdpctl", "status"), "redirect  redirect")
    blocked = run("xdpctl", "block", "dropped.example")
    check("a rule is made", lambda: blocked, "drop: dropped.example (every type)")
    check("it is heeded", lambda: ask("dropped.example"), "timed out")
    LONG.write_text("listed.example\n" + "# and nothing else\n" * 2**16)
    listed = run("xdpctl", "import", str(LONG))
    check("a list so long that another process works it in is taken", lambda: listed, "1 rule made")
    check("and heeded", lambda: ask("listed.example"), "timed out")


def loaders(parent: str) -> list[str]:
    """Return the loaders that a service has started; a compiler may run beside them."""
    tasks = Path(f"/proc/{parent}/task").glob("*/children")
    found = [child for task in tasks for child in task.read_text().split()]
    return [child for child in found if "loader" in Path(f"/proc/{child}/cmdline").read_text()]


def memory(process: str) -> int:
    """Return its proportional set size in kB."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    (size,) = re.findall(r"^Pss:\s*(\d+) kB", rollup, re.MULTILINE)
    return int(size)


def has_little_privilege() -> None:
    """Check what the service may do, and who may use what is its own."""
    status = Path(f"/proc/{pid()}/status").read_text()
    found = dict(re.findall(r"^(\w+):\s*(\S+)", status, re.MULTILINE))
    user = run("id", "-u", "xdpctl")
    check("the service runs as user xdpctl", lambda: f"={found['Uid']}=", f"={user}=")
    two, three = (f"{sum(1 << bit for bit in held.values()):016x}" for held in (NEEDED, LOADERS))
    for name, bits in {"CapPrm": two, "CapEff": two, "CapBnd": three}.items():
        check(f"the service's {name} is {bits}", partial(str, found[name]), bits)
    (loader,) = loaders(pid())
    beside = dict(
        re.findall(r"^(\w+):\s*(\S+)", Path(f"/proc/{loader}/status").read_text(), re.MULTILINE)
    )
    check("the loader is of the same user", lambda: f"={beside['Uid']}=", f"={user}=")
    for name in ("CapPrm", "CapEff"):
        check(f"the loader's {name} is {three}", partial(str, beside[name]), three)
    size = memory(loader)
    small = "small" if size <= LOADER_MOST else f"{size} kB"
    check("the loader has 6 MB at most", lambda: small, "small")
    check("what it starts gets none", lambda: found["CapAmb"], "0" * 16)
    inside = ("nsenter", f"--mount=/proc/{pid()}/ns/mnt", "sh", "-c")
    for path in ("/proc/sys/net/ipv4/ip_forward", "/sys/kernel/mm/ksm/run", "/etc/passwd"):
        written = run(*inside, f": >>{path}")
        check(f"{path} is read-only to it", partial(str, written), "Read-only file system")
    for path, wanted in MODES.items():
        check(f"{path} is {wanted}", partial(mode, path), f"={wanted}=")


def stays_through_its_end() -> None:
    """Check that nothing but a stop takes the filter off, and that a stop does."""
    with Watch() as watch:
        before = pid()
        run("systemctl", "kill", "--kill-who=main", "--signal=KILL", "xdpctl")
        check("a killed service is started again", lambda: since(before), "=active, another=")
        watch.same("killed and started again: the same link all the time")
    check("a rule is still its own", lambda: run("xdpctl", "list"), "cli")
    check("and heeded", lambda: ask("dropped.example"), "timed out")
    with Watch() as watch:
        before = pid()
        run("systemctl", "restart", "xdpctl")
        restarted = since(before)
        check("a restart ends with another process", lambda: restarted, "=active, another=")
        watch.same("restarted: the same link all the time")
    with Watch() as watch:
        before = pid()
        with SETTINGS.open("a") as settings:
            settings.write("port = [53, 5353]\n")
        run("systemctl", "reload", "xdpctl")
        journal = ("journalctl", "--unit=xdpctl", "--no-pager", "--lines=20")
        check("a reload takes over a changed port", lambda: run(*journal), "changed=port")
        watch.same("reloaded: the same link all the time")
    check("in the same process", lambda: since(before), "=active, the same=")
    with Watch() as watch:
        run("kill", "-STOP", before)
        check("a wedged service is started again", lambda: since(before), "=active, another=")
        watch.same("wedged and started again: the same link all the time")
    check("it is heeded still", lambda: ask("dropped.example"), "timed out")
    check("dnsdist went on all the time", lambda: active("dnsdist"), "=active=")


def goes_when_stopped() -> None:
    """Check that a stop detaches, whatever the service is about."""
    run("systemctl", "stop", "xdpctl")
    now = attached()
    check("when `systemctl stop` returns the filter is off", lambda: now, "=none=")
    check("and dnsdist goes on", lambda: ask("dropped.example"), "192.0.2.80")
    run("systemctl", "start", "xdpctl")
    started_again = attached()
    check("a start attaches again", lambda: started_again, "=link ")
    run("systemctl", "kill", "--kill-who=main", "--signal=KILL", "xdpctl")
    check("a killed one waits to be started", lambda: active("xdpctl"), "=activating=")
    run("systemctl", "stop", "xdpctl")
    check("a stop then takes the filter off as well", attached, "=none=")
    check("and nothing of it is up", lambda: active("xdpctl-filter"), "=inactive=")
    check("without a complaint", lambda: run("systemctl", "is-failed", "xdpctl-filter"), "inactive")


def main() -> None:
    """Check every claim in order; the line "done" comes last."""
    if started():
        works()
        has_little_privilege()
        stays_through_its_end()
        goes_when_stopped()
    check("done", lambda: "done", "done")


if __name__ == "__main__":
    main()
