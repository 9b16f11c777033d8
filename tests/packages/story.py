"""The life of the package, from inside: installed, configured, upgraded, removed, purged.

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
from typing import Final

from tests.packages import wire
from tests.packages.claims import DONE, tell, wait
from tests.packages.managers import FILTER_UNIT, UNIT, Bare, Manager, Systemd, run
from tests.packages.unit import read_unit
from tests.packages.wire import BLOCKED, HONEST, Stream

CONFIG: Final = Path("/etc/xdpctl/xdpctl.toml")
PINS: Final = Path("/sys/fs/bpf/xdpctl")
OWN: Final = '# mine\ninterface = ["eth0"]\n'

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
    CONFIG.write_text(OWN)
    said = manager.start()
    if not tell("it starts with one line of configuration", not said, said):
        return False
    tell("its program is on the interface", attached(), run("ip", "link", "show", "eth0"))
    unit = read_unit(UNIT)
    wanted = (run("id", "-u", unit.user), unit.ambient)
    tell("it has the unit's user and capabilities", privileges(manager.pid()) == wanted, wanted)
    said = run("xdpctl", "block", BLOCKED, "--reason", "package")
    tell("a rule is made", "1 rule" in said, said)
    stream = wire.passing()
    tell("what is blocked does not arrive", not stream.arrived[BLOCKED], stream.told)
    tell("what is honest does", stream.arrived[HONEST] == stream.sent[HONEST], stream.told)
    return True


def upgraded(manager: Manager, package: str) -> None:
    """Install another version while packets come in."""
    link, pid = link_id(), manager.pid()
    with Stream() as stream:
        time.sleep(0.5)
        said = run(*_APT, "install", package)
        manager.upgraded()
        time.sleep(0.5)
    version = run("dpkg-query", "-W", "-f", "${Version}", "xdpctl")
    tell("it is upgraded", package.split("_")[1] == version, f"{version}\n{said}")
    tell("another process serves", manager.pid() not in {0, pid}, f"{pid}, {manager.pid()}\n{said}")
    tell("the filter's bpf_link is the same", link and link == link_id(), (link, link_id()))
    tell("nothing blocked came through", not stream.arrived[BLOCKED], stream.told)
    tell("nothing honest was lost", stream.arrived[HONEST] == stream.sent[HONEST], stream.told)
    tell(f"{stream.sent[HONEST]} of each were sent meanwhile", stream.sent[HONEST])
    listed = run("xdpctl", "list", "--json")
    tell("its rule is still its own", '"package"' in listed, listed)
    tell("the operator's configuration was kept", CONFIG.read_text() == OWN, CONFIG.read_text())


def removed(manager: Manager) -> None:
    """Remove and purge."""
    manager.leave()
    said = run(*_APT, "remove", "xdpctl")
    wait("removing it takes the program off", attached, lambda seen: not seen)
    stream = wire.passing()
    tell("every packet passes again", stream.arrived == stream.sent, stream.told)
    tell("no process is left", not manager.pid(), f"{manager.pid()}\n{said}")
    tell("the operator's configuration is still there", CONFIG.read_text() == OWN, said)
    said = run(*_APT, "purge", "xdpctl")
    tell("it can be purged", "exit status" not in said, said)
    found = run("find", "/", "-xdev", "-name", "*xdpctl*", "-not", "-name", "*.deb")
    tell("no file of it is left", not found, found)
    tell("no pin of it is left", not PINS.exists(), PINS)


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
        upgraded(manager, new)
        if kind == "systemd":
            said = run("systemctl", "is-active", FILTER_UNIT)
            tell("the filter's own unit is up", said == "active", said)
        removed(manager)
    tell(DONE, held=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
