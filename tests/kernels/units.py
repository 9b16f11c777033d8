"""deploy/ under a real systemd: the service, and dnsdist 1.9.16 with AF_XDP beside it.

`ask_units` boots a kernel into the host's systemd with the units as they ship put over
the root, and reads what `unit_checks` found inside. Debian's own unit of dnsdist is
taken from the root that dnsdist is in; only RootDirectory is added to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.kernels.checks import checks_in
from tests.kernels.kernel import debian_kernel
from tests.kernels.machine import run_systemd
from tests.kernels.systemd import debian_systemd
from tests.lab.hosts import ROOT
from tests.roots.apt import RootError
from tests.roots.roots import dnsdist_root

if TYPE_CHECKING:
    from tests.kernels.checks import Check
    from tests.roots.roots import Root

PYTHON: Final = ROOT / ".venv/bin/python"
SERIES: Final = {"5.10": "bullseye", "6.1": None}
"""What Debian 11 and 12 run, with the systemd of each (247; None: the machine's own, 252).

Between the two kernels opening a pin became a matter of its owner.
"""

_NETWORK: Final = """#!/bin/sh
set -e
systemd-sysusers /etc/sysusers.d/xdpctl.conf
systemd-tmpfiles --create /etc/tmpfiles.d/xdpctl.conf
ip link set lo up
ip netns add client
ip link add eth0 type veth peer eth0 netns client
ethtool -K eth0 gro on
nsenter --net=/run/netns/client ethtool -K eth0 gro on
ip address add 192.0.2.53/24 dev eth0
ip address add 2001:db8::53/64 dev eth0 nodad
ip link set eth0 up
ip -n client address add 192.0.2.1/24 dev eth0
ip -n client link set eth0 up
"""

_NETWORK_UNIT: Final = """[Unit]
DefaultDependencies=no
After=local-fs.target
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/bin/test-network
"""

_CHECKS_UNIT: Final = """[Unit]
Wants=test-network.service xdpctl.service dnsdist.service
After=xdpctl.service dnsdist.service
[Service]
Type=oneshot
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
WorkingDirectory={checkout}
ExecStart=-{python} -m tests.kernels.unit_checks
ExecStopPost=/bin/systemctl poweroff -ff
"""

_XDPCTL: Final = """#!{python}
import sys
sys.path.insert(0, "{checkout}")
from xdpctl.cli.main import main
sys.exit(main())
"""

_ELSEWHERE: Final = """[Service]
RootDirectory={root}
MountAPIVFS=yes
BindPaths=/sys/fs/bpf /run/systemd/notify
BindReadOnlyPaths=/etc/dnsdist
"""

_IMPATIENT: Final = "[Service]\nWatchdogSec=10\n"
"""A third of what ships, so that a wedged service need not be waited for so long."""

_SPOOF: Final = '\naddAction(AllRule(), SpoofAction("192.0.2.80"))\n'
_RETAIN: Final = 'addCapabilitiesToRetain("CAP_BPF")'
"""What dnsdist-1.9-xsk.lua says, as a comment, for kernels before 5.19."""


def _over(root: Root, *, old: bool) -> dict[str, str]:
    """Return the files that are put over the guest's root."""
    settings = (ROOT / "deploy/xdpctl.toml").read_text()
    for switched_off in ("xsk = true", "number-of-queues = 64"):
        settings = _replaced(settings, f"#{switched_off}", switched_off)
    config = (ROOT / "contrib/dnsdist/dnsdist-1.9-xsk.lua").read_text()
    if old:
        config = _replaced(config, f"--     {_RETAIN}", _RETAIN)
    put = {"checkout": str(ROOT), "python": str(PYTHON), "root": str(root.path)}
    units = "etc/systemd/system"
    return {
        f"{units}/xdpctl.service": (ROOT / "deploy/xdpctl.service").read_text(),
        f"{units}/xdpctl.service.d/impatient.conf": _IMPATIENT,
        f"{units}/xdpctl-filter.service": (ROOT / "deploy/xdpctl-filter.service").read_text(),
        "etc/sysusers.d/xdpctl.conf": (ROOT / "deploy/xdpctl.sysusers.conf").read_text(),
        "etc/tmpfiles.d/xdpctl.conf": (ROOT / "deploy/xdpctl.tmpfiles.conf").read_text(),
        "etc/xdpctl/xdpctl.toml": settings,
        f"{units}/dnsdist.service": (
            root.path / "usr/lib/systemd/system/dnsdist.service"
        ).read_text(),
        f"{units}/dnsdist.service.d/xdpctl.conf": (
            ROOT / "deploy/dnsdist.service.d/xdpctl.conf"
        ).read_text(),
        f"{units}/dnsdist.service.d/zz-elsewhere.conf": _ELSEWHERE.format(**put),
        "etc/dnsdist/dnsdist.conf": config + _SPOOF,
        f"{units}/test-network.service": _NETWORK_UNIT,
        "usr/local/bin/test-network": _NETWORK,
        f"{units}/test-checks.service": _CHECKS_UNIT.format(**put),
        f"{units}/test-checks.target": "[Unit]\nRequires=test-checks.service\n",
        "usr/local/bin/xdpctl": _XDPCTL.format(**put),
    }


def _replaced(text: str, old: str, new: str) -> str:
    if old not in text:
        raise RootError(f"a file that ships does not say {old!r} any more")
    return text.replace(old, new)


def ask_units(series: str) -> tuple[Check, ...]:
    """Return what was found of the units on the kernel of this series.

    Raises:
        RootError: kernel or root could not be had, or the guest did not finish.
    """
    kernel = debian_kernel(series)
    over = _over(dnsdist_root("trixie"), old=series == "5.10")
    suite = SERIES[series]
    systemd = None if suite is None else debian_systemd(suite)
    lines = run_systemd(kernel, "test-checks.target", over, systemd=systemd, seconds=900)
    found = checks_in(lines)
    if not found or found[-1].claim != "done":
        end = "\n".join(line for line in lines[-40:] if line)
        raise RootError(f"the units' guest with {kernel.release} did not finish; last:\n{end}")
    return found[:-1]
