#!/usr/bin/env python3
"""FastNetMon notify script: a host of yours that floods is dropped before the DNS server sees it.

FastNetMon runs this program as `notify_script_path`, with ADDRESS DIRECTION PPS ban|unban, and this
program runs `xdpctl`. README.md beside it shows the configuration.

An *outgoing* attack comes from the address: `ban` blocks it, `unban` unblocks it, as a claim of the
origin app:fastnetmon. What others block or allow stays as it is. An *incoming* attack is against
the address: it is the victim, to block it would not help, and this program says so and does
nothing.

A claim ends by itself after XDPCTL_FASTNETMON_FOR (1d), for nobody unblocks when FastNetMon is
stopped. Give it more than FastNetMon's `ban_time`. Other variables: XDPCTL_CONTROL names the
service's socket, XDPCTL_PROGRAM another `xdpctl`, XDPCTL_FASTNETMON_ACTION=truncate answers TC=1
instead of dropping.

Exit status: xdpctl's; 0 when there was nothing to do; 2 for other arguments than FastNetMon's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import ip_address, ip_network

PROGRAM = os.environ.get("XDPCTL_PROGRAM", "xdpctl")
ACTION = os.environ.get("XDPCTL_FASTNETMON_ACTION", "drop")
LASTING = os.environ.get("XDPCTL_FASTNETMON_FOR", "1d")
ORIGIN = "app:fastnetmon"


def target_of(text: str) -> str:
    """Return an address or prefix as xdpctl takes it; ValueError where it is neither."""
    if "%" in text:
        raise ValueError(text)
    if "/" not in text:
        return str(ip_address(text))
    network = ip_network(text)
    whole = network.prefixlen == network.max_prefixlen
    return str(network.network_address if whole else network)


def take_details() -> None:
    """Read what FastNetMon writes about the attack, which it must not be hindered from."""
    while not sys.stdin.isatty() and sys.stdin.buffer.read(1 << 16):
        pass


def say(sentence: str) -> None:
    """Write a line to standard error."""
    print(f"xdpctl-notify: {sentence}", file=sys.stderr)


def main() -> int:
    """Carry out one call of FastNetMon's."""
    match sys.argv[1:]:
        case [address, direction, rate, "ban" | "unban" | "attack_details" as action]:
            if action != "unban":
                take_details()
        case _:
            say("call it as FastNetMon does: ADDRESS DIRECTION PPS ban|unban")
            return 2
    try:
        target = target_of(address)
    except ValueError:
        say(f"{address!r} is left out: it is not an address or prefix")
        return 2
    common = ["--only-addresses", "--origin", ORIGIN]
    match action, direction:
        case "unban", _:  # whatever its direction: a claim that is not there is no failure
            command = ["unblock", "--missing-ok", *common]
        case "ban", "outgoing":
            reason = f"fastnetmon: sends {rate[:20]} packets/s"
            command = ["block", "--waiting-ok", "--action", ACTION, "--for", LASTING]
            command += ["--reason", reason, *common]
        case "ban", _:
            say(f"{target} is not blocked: it is the victim of an {direction} attack")
            return 0
        case _:
            return 0
    try:
        return subprocess.run([PROGRAM, *command, "--", target], check=False).returncode
    except OSError as error:
        say(f"cannot run {PROGRAM}: {error.strerror}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
