"""What the program in force decides about one packet, without counting it and without a card.

Loads the same bytecode a second time, over the same maps of rules, with counters, control and
scratch of its own, and runs it on the packet (BPF_PROG_TEST_RUN). The counters of packets are so
never touched. Neither are the hits of rules: the one instruction that counts a hit is taken out of
the second load (`Bytecode.without_hits`), which changes no decision; and what limits take from an
account is taken from a copy. Owns this. Does not own the
packet (program/datagram.py) or which rule it was (store/deciding.py). Blocks as long as the kernel
verifies the program, some tenths of a second. Called by rollout.py.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl.abi import MAPS, MapName, PacketAction, Reason, Scope, decode_counters, encode_control
from xdpctl.errors import XdpctlError
from xdpctl.filter.own_maps import OwnMaps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.kernel.bytecode import Bytecode

PROGRAM_NAME = "xdpctl_dry_run"
_KEY = bytes(4)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the program decided, as it counts it."""

    reason: Reason
    action: PacketAction


def decide(
    bpf: Bpf, bytecode: Bytecode, maps: Mapping[MapName, Map], frame: bytes, *, panic: bool
) -> Decision:
    """Run the program on a frame.

    Args:
        bpf: the kernel.
        bytecode: of the program in force.
        maps: what it refers to on an interface, except that interface's own maps.
        frame: an Ethernet frame of at least 14 bytes.
        panic: whether every packet is to pass.

    Raises:
        VerifierError, KernelError: it cannot be loaded or run a second time.
    """
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(OwnMaps.make(bpf, Scope.INTERFACE))
        private = stack.enter_context(OwnMaps.make(bpf, Scope.PROGRAM))
        limits = stack.enter_context(_limits_like(bpf, maps))
        own[MapName.CONTROL].update(_KEY, encode_control(panic=panic))
        used = {**maps, **own, **private, **limits}
        descriptors = {MAPS[name].ref: opened.fd for name, opened in used.items()}
        instructions = bytecode.without_hits().relocate(descriptors)
        program = stack.enter_context(bpf.load_program(instructions, PROGRAM_NAME))
        _copy(maps, limits)  # not before: accounts recover while the kernel verifies
        program.test_run(frame)
        counted = decode_counters(own[MapName.COUNTERS].lookup(_KEY) or b"")
    for (reason, action), count in counted.items():
        if count.packets:
            return Decision(reason, action)
    raise XdpctlError(
        "the program did not count the packet of the test: report this with the kernel's release"
    )


_WRITTEN = (MapName.LIMIT_CELLS, MapName.FLOOD, MapName.ZONE_CELLS)
"""Maps of the limits that a program writes to for a packet that it lets pass."""

_FRESH = (MapName.HEAVY_ZONES, MapName.SAMPLE_STATE)
"""Maps that are new: names are counted in the one, and by the other nobody looks at samples."""


def _limits_like(bpf: Bpf, maps: Mapping[MapName, Map]) -> OwnMaps:
    """Return maps for copies of the accounts that the program would take from."""
    made: dict[MapName, Map] = {}
    with contextlib.ExitStack() as stack:
        for name in _WRITTEN:
            if (source := maps.get(name)) is not None:
                made[name] = stack.enter_context(
                    bpf.create_map(MAPS[name], source.info.max_entries)
                )
        for name in _FRESH:
            if name in maps:
                made[name] = stack.enter_context(bpf.create_map(MAPS[name], MAPS[name].entries))
        stack.pop_all()
    return OwnMaps(made)


def _copy(maps: Mapping[MapName, Map], copies: Mapping[MapName, Map]) -> None:
    """Write what accounts hold now into their copies."""
    for name in _WRITTEN:
        if (source := maps.get(name)) is not None:
            copies[name].memory()[:] = source.memory()
