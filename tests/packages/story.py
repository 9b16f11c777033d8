"""The life of the package, from inside: installed, started, upgraded, removed, purged.

`python -m tests.packages.story bare|systemd OLD.deb NEW.deb` runs in a root where OLD
is installed, or in a guest where what it needs is. It writes one line a claim. Stands on the
standard library alone: nothing of .venv is there.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.packages import wire
from tests.packages.claims import DONE, tell, wait
from tests.packages.managers import FILTER_UNIT, UNIT, Bare, Manager, Systemd, run
from tests.packages.unit import read_unit
from tests.packages.wire import BLOCKED, HONEST, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG: Final = Path("/etc/xdpctl/xdpctl.toml")
BPFFS: Final = Path("/sys/fs/bpf")
PINS: Final = BPFFS / "xdpctl"
OWN: Final = '# mine\ninterface = ["eth0"]\n'
UNREADABLE: Final = "interface = [\n"
SOURCE: Final = Path("/usr/lib/xdpctl/xdpctl/_xdp/filter.bpf.c")
POSTINST: Final = "/var/lib/dpkg/info/xdpctl.postinst"

_APT: Final = ("apt-get", "-y", "-o", "Dpkg::Use-Pty=0")

CAPABILITIES: Final = {"net_admin": 12, "perfmon": 38, "bpf": 39}
"""Numbers of include/uapi/linux/capability.h."""


def attached() -> int:
    """Return the id of the program on eth0, 0 for none."""
    (link,) = json.loads(run("ip", "-json", "link", "show", "eth0"))
    return int(link.get("xdp", {}).get("prog", {}).get("id", 0))


def link_id() -> int:
    """Return the kernel's id of our bpf_link, 0 where none is pinned."""
    libbpf = ctypes.CDLL("libbpf.so.1")
    for pin in PINS.glob("*eth0") if PINS.is_dir() else ():
        descriptor = libbpf.bpf_obj_get(str(pin).encode())
        if descriptor >= 0:
            text = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
            os.close(descriptor)
            if found := re.search(r"^link_id:\s*(\d+)", text, re.MULTILINE):
                return int(found[1])
    return 0


def privileges(pid: int) -> tuple[str, frozenset[str]]:
    """Return (user id, effective capabilities) of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    bits = int(re.search(r"^CapEff:\s*(\w+)", status, re.MULTILINE)[1], 16)  # type: ignore[index]
    names = {number: name for name, number in CAPABILITIES.items()}
    held = frozenset(names.get(bit, str(bit)) for bit in range(64) if bits >> bit & 1)
    return re.search(r"^Uid:\s*(\d+)", status, re.MULTILINE)[1], held  # type: ignore[index]


def installed() -> None:
    """Tell what is there before anybody configured it."""
    said = run("dpkg-query", "-W", "-f", "${db:Status-Status}", "xdpctl")
    tell("the package is installed and configured", said == "installed", said)
    lines = [line for line in CONFIG.read_text().splitlines() if line.strip()]
    tell("its configuration says nothing yet", all(line[0] == "#" for line in lines), lines)
    tell("nothing is attached before it is configured", not attached(), attached())
    said = run("runuser", "-u", "xdpctl", "--", "xdpctl", "--version")
    tell("its user can run it", said.startswith("xdpctl "), said)
    folders = [Path(name) for name in ("/run/xdpctl", "/var/lib/xdpctl")]
    seen = [f"{path} {path.owner()} {path.stat().st_mode & 0o777:o}" for path in folders]
    tell("its folders are its user's alone", all(" xdpctl 750" in line for line in seen), seen)
    compiled = list(Path("/usr/lib/xdpctl/xdpctl").rglob("*.pyc"))
    tell("its modules are compiled", len(compiled) > 50, len(compiled))


def started(manager: Manager) -> bool:
    """Configure, start, block; return whether it started at all."""
    stream = wire.passing()
    tell("packets pass before", stream.arrived == stream.sent, stream.told)
    CONFIG.write_text(OWN + manager.settings)
    said = manager.start()
    if not tell("it starts with a line or two of configuration", not said, said):
        return False
    tell("its program is on the interface", attached(), run("ip", "link", "show", "eth0"))
    unit = read_unit(UNIT)
    user = run("id", "-u", unit.user)
    pid = manager.pid()
    wanted = (user, unit.ambient - {"perfmon"})
    tell("it has the unit's user, and gave perfmon up", privileges(pid) == wanted, wanted)
    beside = [
        int(child)
        for task in Path(f"/proc/{pid}/task").glob("*/children")
        for child in task.read_text().split()
    ]
    wanted = (user, unit.ambient)
    held = [privileges(child) for child in beside]
    tell("only the loader beside it has the unit's capabilities", held == [wanted], held)
    said = run("xdpctl", "block", BLOCKED, "--reason", "package")
    tell("a rule is made", said.startswith(f"drop: {BLOCKED}"), said)
    stream = wire.passing()
    tell("what is blocked does not arrive", not stream.arrived[BLOCKED], stream.told)
    tell("what is honest does", stream.arrived[HONEST] == stream.sent[HONEST], stream.told)
    return True


def without_a_gap(event: str, manager: Manager, change: Callable[[], str]) -> None:
    """Change something while packets come in."""
    link, pid = link_id(), manager.pid()
    with Stream() as stream:
        time.sleep(0.5)
        said = change()
        time.sleep(0.5)
    served = manager.pid()
    tell(f"{event}: another process serves", served not in {0, pid}, f"{pid}, {served}\n{said}")
    same = link and link == link_id()
    tell(f"{event}: the filter's bpf_link is the same", same, (link, link_id()))
    tell(f"{event}: nothing blocked came through", not stream.arrived[BLOCKED], stream.told)
    honest = stream.arrived[HONEST] == stream.sent[HONEST]
    tell(f"{event}: nothing honest was lost", honest, stream.told)
    tell(f"{event}: {stream.sent[HONEST]} of each were sent in this time", stream.sent[HONEST])
    listed = run("xdpctl", "list", "--json")
    tell(f"{event}: its rule is still its own", '"package"' in listed, listed)


def upgraded(manager: Manager, package: str) -> None:
    """Install another version while packets come in."""

    def install() -> str:
        said = run(*_APT, "install", package)
        manager.upgraded()
        return said

    before = CONFIG.read_text()
    without_a_gap("upgraded", manager, install)
    version = run("dpkg-query", "-W", "-f", "${Version}", "xdpctl")
    tell("it is the higher version", package.split("_")[1] == version, version)
    kept = CONFIG.read_text()
    tell("the operator's configuration was kept", kept == before, kept)


def confined(manager: Manager) -> None:
    """Tell what AppArmor has to do with it, where the kernel has that."""
    profile = Path(f"/proc/{manager.pid()}/attr/current").read_text().strip()
    tell("AppArmor's profile of it is in force", profile == "xdpctl (enforce)", profile)
    inside = ("aa-exec", "--profile=xdpctl", "--", "/usr/bin/python3", "-c")
    said = run(*inside, "import os; os.execv('/bin/sh', ['sh', '-c', ':'])")
    tell("inside of it nobody gets a shell", "Permission denied" in said, said)
    said = run(*inside, "open('/etc/xdpctl/new', 'w')")
    tell("inside of it nobody writes to /etc, root neither", "Permission denied" in said, said)


def denials() -> str:
    """Return what AppArmor has denied the service, as the kernel said it."""
    said = run("journalctl", "--dmesg", "--no-pager", "--output=cat", "--grep=apparmor=.DENIED")
    return "\n".join(line for line in said.splitlines() if 'profile="xdpctl"' in line)


def troubled(manager: Manager) -> None:
    """Have it fail to start, for two reasons, under systemd."""
    link, source = link_id(), SOURCE.read_bytes()
    SOURCE.write_text("no program\n")
    said = run(POSTINST, "configure", "0")
    tell("an upgrade whose program is refused comes to its end", "not ready" in said, said)
    tell("and leaves the former filter on", link == link_id() and attached(), (link, link_id()))
    SOURCE.write_bytes(source)
    before = CONFIG.read_text()
    CONFIG.write_text(UNREADABLE)
    said = manager.restart()
    tell("it does not start with settings that cannot be read", said, said)
    tell("and leaves the filter on", link == link_id() and attached(), (link, link_id()))
    run("systemctl", "stop", "xdpctl")
    wait("a stop takes it off all the same", attached, lambda seen: not seen)
    CONFIG.write_text(before)
    said = manager.restart()
    tell("a start puts it on again", attached() and not said, said)


def removed(manager: Manager) -> None:
    """Remove and purge."""
    before = CONFIG.read_text()
    said = run(*_APT, "remove", "xdpctl")
    wait("removing it takes the program off", attached, lambda seen: not seen)
    stream = wire.passing()
    tell("every packet passes again", stream.arrived == stream.sent, stream.told)
    tell("no process is left", not manager.pid(), f"{manager.pid()}\n{said}")
    tell("the operator's configuration is still there", CONFIG.read_text() == before, said)
    said = run(*_APT, "purge", "xdpctl")
    tell("it can be purged", "exit status" not in said, said)
    found = run("find", "/", "-xdev", "-name", "*xdpctl*", "-not", "-name", "*.deb")
    tell("no file of it is left", not found, found)
    pins = [*BPFFS.glob("xdpctl*"), *BPFFS.glob("dnsdist*")]
    tell("no pin of it is left, where there is no dnsdist", not pins, pins)


def main(kind: str, old: str, new: str) -> None:
    """Tell the story; the line DONE comes last."""
    wire.lay()
    manager: Manager = Systemd() if kind == "systemd" else Bare()
    if kind == "systemd":
        said = run(*_APT, "install", old)
        tell("it installs under a running systemd", "exit status" not in said, said)
    installed()
    if kind == "systemd":
        states = [
            run("systemctl", word, "xdpctl").split()[0] for word in ("is-enabled", "is-active")
        ]
        tell("it neither runs nor would at boot", states == ["disabled", "inactive"], states)
    if started(manager):
        without_a_gap("restarted", manager, manager.restart)
        upgraded(manager, new)
        if kind == "systemd":
            said = run("systemctl", "is-active", FILTER_UNIT)
            tell("the filter's own unit is up", said == "active", said)
            tell("it can be reloaded", not (said := run("systemctl", "reload", "xdpctl")), said)
            tell("AppArmor has denied it nothing so far", not (said := denials()), said)
            confined(manager)
            troubled(manager)
        removed(manager)
    tell(DONE, held=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
