"""Who runs the service inside: a real systemd, or this, which does what the unit says.

`Bare` stands in for systemd in a chroot: ExecStartPre as root, the command as the unit's
user with the unit's capabilities, READY=1 waited for, its signals for restart and stop.
It has no sandbox of systemd's; the guest shows that. Stands on the standard library alone.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Protocol

from tests.packages.unit import read_unit

UNIT: Final = Path("/lib/systemd/system/xdpctl.service")
FILTER_UNIT: Final = "xdpctl-filter.service"
SLOW: Final = Path("/run/systemd/system/xdpctl.service.d/slow.conf")
START_SECONDS: Final = 90.0


def run(*argv: str) -> str:
    """Run a command to its end and return all that it wrote, its status last if not 0."""
    done = subprocess.run(
        argv,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
    )
    return done.stdout.strip() + (f"\nexit status {done.returncode}" if done.returncode else "")


class Manager(Protocol):
    """What the story needs of a service manager."""

    settings: str
    """What else the configuration says."""

    def start(self) -> str:
        """Start it as an operator would; "" when it is ready, else what is wrong."""

    def restart(self) -> str:
        """Start it again; "" when it is ready, else what is wrong."""

    def upgraded(self) -> None:
        """Do what is left to do behind an upgrade of the package."""

    def pid(self) -> int:
        """Return the service's process; 0 when there is none."""


class Systemd:
    """The real one: `systemctl`, and the package's own scripts do the rest."""

    settings = ""

    def __init__(self) -> None:
        """Give the service the time that an emulated machine takes."""
        SLOW.parent.mkdir(parents=True)
        SLOW.write_text("[Service]\nTimeoutStartSec=900\nTimeoutStopSec=300\nWatchdogSec=900\n")

    def start(self) -> str:
        """Enable it and start it."""
        if said := run("systemctl", "--quiet", "enable", "--now", "xdpctl"):
            said += run("journalctl", "-u", "xdpctl", "--no-pager", "-n", "20", "-o", "cat")
        return said

    def restart(self) -> str:
        """Have systemd start it again."""
        return run("systemctl", "--quiet", "restart", "xdpctl")

    def upgraded(self) -> None:
        """Nothing: postinst has started it again."""

    def pid(self) -> int:
        """Return what systemd takes for its main process."""
        return int(run("systemctl", "show", "--property=MainPID", "--value", "xdpctl") or 0)


class Bare:
    """The unit's words without systemd."""

    settings = 'on-exit = "keep"\n'  # so that it is prerm that takes the filter off

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start it and wait for READY=1."""
        unit = read_unit(UNIT)
        for command in unit.prepare:
            if "exit status" in (said := run(*command)):
                return said
        ambient = ",".join(["-all", *(f"+{name}" for name in sorted(unit.ambient))])
        bounding = ",".join(["-all", *(f"+{name}" for name in sorted(unit.bounding))])
        with (
            tempfile.TemporaryDirectory(prefix="notify-") as folder,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
        ):
            notified.bind(path := f"{folder}/socket")
            Path(folder).chmod(0o755)
            Path(path).chmod(0o777)
            notified.settimeout(START_SECONDS)
            log = Path("/run/service.log")
            with log.open("ab") as sink:
                self._process = subprocess.Popen(
                    [
                        *("setpriv", "--reuid", unit.user, "--regid", unit.user, "--init-groups"),
                        *("--inh-caps", ambient, "--ambient-caps", ambient),
                        *("--bounding-set", bounding, "--no-new-privs", *unit.command),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                    env={"PATH": os.defpath, "NOTIFY_SOCKET": path},
                )
            try:
                while b"READY=1" not in notified.recv(4096):
                    pass
            except TimeoutError:
                return log.read_text()
        return ""

    def restart(self) -> str:
        """Start it again, with the signal that the unit has for that."""
        if self._process is not None:
            self._process.send_signal(signal.Signals[f"SIG{read_unit(UNIT).restart_signal}"])
            self._process.wait(START_SECONDS)
        return self.start()

    def upgraded(self) -> None:
        """Start it again: postinst leaves that to the service manager."""
        self.restart()

    def pid(self) -> int:
        """Return the process that was started."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if self._process is not None and alive else 0
