"""A BIND that is the primary of one zone, with a key for transfers and updates.

On a host of a lab or, without privileges, on this machine's loopback. Changes are made with
nsupdate, so that BIND keeps a journal and can answer IXFR.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lab.process import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.lab.process import Process

CONFIG = """\
include "{key}";
options {{
    directory "{directory}";
    pid-file none;
    session-keyfile none;
    listen-on port {port} {{ {address}; {also} }};
    listen-on-v6 {{ none; }};
    recursion no;
    dnssec-validation no;
    empty-zones-enable no;
    ixfr-from-differences no;
}};
controls {{ }};
zone "{zone}" {{
    type primary;
    file "{file}";
    allow-transfer {{ key "xdpctl"; }};
    allow-update {{ key "xdpctl"; }};
}};
"""

HEAD = """\
$ORIGIN {zone}.
$TTL 60
@ SOA ns hostmaster 1 1 1 3600 60
@ NS ns
ns A 192.0.2.53
"""


@dataclass(frozen=True, slots=True)
class BindPrimary:
    """A running BIND.

    Attributes:
        zone: that it is the primary of.
        address, port: where it listens.
        key_file: of the key that may transfer and update.
        process: itself.
        command: puts a command where it can reach the server.
    """

    zone: str
    address: str
    port: int
    key_file: Path
    process: Process
    command: Callable[..., list[str]]

    def update(self, *lines: str) -> None:
        """Send one DNS UPDATE: `add NAME TTL TYPE DATA`, `delete NAME [TYPE [DATA]]`."""
        text = "\n".join(
            [
                f"server {self.address} {self.port}",
                f"zone {self.zone}",
                *(f"update {line}" for line in lines),
                "send\n",
            ]
        )
        done = subprocess.run(
            self.command("nsupdate", "-v", "-k", str(self.key_file)),
            check=False,
            input=text,
            text=True,
            capture_output=True,
            timeout=60,
        )
        if done.returncode:
            raise LabError(f"nsupdate: {done.stdout}{done.stderr}")


def bind_primary(  # noqa: PLR0913 - where, and what
    directory: Path,
    start: Callable[..., Process],
    command: Callable[..., list[str]],
    *,
    zone: str,
    records: Iterable[str],
    address: str,
    also: str = "",
    port: int = 53,
) -> BindPrimary:
    """Start BIND and wait until it answers.

    Args:
        directory: for its files.
        start: starts a process, given its name and command.
        command: puts a command where it can reach the server.
        zone: without a dot at the end.
        records: lines of its zone file, besides SOA, NS and the server's address.
        address: where it listens.
        also: another address.
        port: of both.
    """
    key = directory / "primary.key"
    if not key.exists():
        done = subprocess.run(["tsig-keygen", "xdpctl"], check=True, capture_output=True, text=True)
        key.write_text(done.stdout)
        key.chmod(0o600)
    file = directory / f"{zone}.zone"
    with file.open("w") as sink:
        sink.write(HEAD.format(zone=zone))
        sink.writelines(f"{line}\n" for line in records)
    config = directory / "primary.conf"
    config.write_text(
        CONFIG.format(
            key=key,
            directory=directory,
            port=port,
            address=address,
            also=f"{also};" if also else "",
            zone=zone,
            file=file,
        )
    )
    process = start("primary", "named", "-g", "-n", "1", "-c", str(config))
    process.line(r"\brunning$", 30.0)
    return BindPrimary(zone, address, port, key, process, command)
