"""A host that is none: a kernel in memory, a directory as its BPF file system, a filter.

What the tests of the layers above the kernel share. Needs no root and no network.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.support.fake_kernel import FakeBpf, FakeKernel, FakeNetlink, pretend_bpffs
from xdpctl.abi import MAPS, RULE_MAPS, MapName, RuleAction, encode_value
from xdpctl.kernel.bytecode import Bytecode
from xdpctl.rules import AnyQtype, Rule, key_of, map_of, parse_target
from xdpctl.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.rules import Target
    from xdpctl.settings import Settings

INTERFACE = "eth0"
USED_MAPS = (*RULE_MAPS, MapName.COUNTERS, MapName.CONTROL, MapName.SCRATCH)


def bytecode(*maps: MapName, mark: int = 0) -> Bytecode:
    """Return a program that refers to these maps (all of a plain filter by default).

    Another `mark` gives another program, longer by so many instructions.
    """
    loads = [
        struct.pack("=BBhi", 0x18, 0x11, 0, MAPS[name].ref) + bytes(8) for name in maps or USED_MAPS
    ]
    return Bytecode(b"".join(loads) + struct.pack("=BBhi", 0xB7, 0, 0, 2) * (1 + mark), "0.0")


class FakeHost:
    """One host.

    Attributes:
        kernel, bpf, netlink: tests/support/fake_kernel.py; it has the interface eth0.
        root: stands for /sys/fs/bpf. `own` and `pins`: our directory and dnsdist's on it.
        directory: for sockets and the state.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.kernel = FakeKernel()
        self.bpf = FakeBpf(self.kernel)
        self.netlink = FakeNetlink(self.kernel)
        self.directory = directory
        self.root = pretend_bpffs(monkeypatch, directory / "bpf")
        self.root.mkdir()
        self.own = self.root / "xdpctl"
        self.pins = self.root / "dnsdist"
        self.device = self.kernel.add_interface(INTERFACE)

    def rule_maps(self, room: int = 8) -> dict[MapName, Map]:
        """Make the five rule maps, held open."""
        return {name: self.bpf.create_map(MAPS[name], room) for name in RULE_MAPS}

    def settings(self, *options: str) -> Settings:
        """Return settings that keep a service inside this host."""
        own = {
            "--interface": INTERFACE,
            "--pin-dir": str(self.pins),
            "--control": str(self.directory / "control" / "sock"),
            "--state": str(self.directory / "state" / "state.db"),
            "--listen": "none",
        }
        given = [word for pair in own.items() for word in pair if pair[0] not in options]
        return load_settings([*given, *options], {}, default_file=self.directory / "none.toml")

    def pinned(self) -> dict[str, set[str]]:
        """Return the names in both directories of pins."""
        return {
            path.name: {pin.name for pin in path.iterdir()}
            for path in (self.own, self.pins)
            if path.is_dir()
        }


def rule(text: str, action: RuleAction = RuleAction.DROP, qtype: str | None = None) -> Rule:
    """Return a rule of ours."""
    return Rule(parse_target(text, qtype), action)


def dnsdist_writes(
    maps: Mapping[MapName, Map],
    target: Target,
    hits: int = 0,
    any_qtype: AnyQtype = AnyQtype.NEW,
    action: RuleAction = RuleAction.DROP,
) -> None:
    """Write an entry behind the store's back, garbage behind the action included."""
    value = encode_value(action, hits)[:9] + b"\xd1\x57garbage"[:7]
    maps[map_of(target)].update(key_of(target, any_qtype), value)
