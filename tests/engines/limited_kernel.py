"""The loaded filter with limits, by program test runs, in the kernel's own time.

Owns its maps, and reads what was counted and what the clock shows: a test compares packets
with ticks, and never with seconds. Needs root.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from tests.engines.limited import drawn_secrets
from tests.engines.made_once import compiled_once
from xdpctl.abi import (
    COUNTERS_SIZE,
    LIMITS_LIVE_SIZE,
    MAPS,
    MapName,
    decode_counters,
    encode_limits,
    encode_limits_kept,
)
from xdpctl.maps.name_follower import TickClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdpctl.abi import LimitValues, PacketAction, Reason
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.programs import Program
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.program.config import ProgramConfig, Recipe


class LimitedKernel:
    """A loaded filter with limits; a context manager.

    Args:
        bpf: the system call.
        config: its configuration.
        sets, lines: entries of limit-cells and limit-proven.
        bytecode_of: where a configuration's program comes from.
    """

    def __init__(
        self,
        bpf: Bpf,
        config: ProgramConfig,
        *,
        sets: int = 1 << 14,
        lines: int = 1 << 12,
        bytecode_of: Callable[[Recipe], Bytecode] = compiled_once,
    ) -> None:
        self.bpf = bpf
        self._config = config
        self._entries = {MapName.LIMIT_CELLS: sets, MapName.LIMIT_PROVEN: lines}
        self._bytecode_of = bytecode_of
        self._stack = ExitStack()
        self.maps: dict[MapName, Map] = {}
        self.kept = encode_limits_kept(sets, lines, drawn_secrets(1))

    def __enter__(self) -> Self:
        bytecode = self._bytecode_of(self._config)
        with ExitStack() as stack:
            for name, spec in MAPS.items():
                if spec.ref in bytecode.refs() or name is MapName.LIMITS:
                    made = self.bpf.create_map(spec, self._entries.get(name, spec.entries))
                    self.maps[name] = stack.enter_context(made)
            self._limits = self.maps[MapName.LIMITS].memory()
            self._limits[LIMITS_LIVE_SIZE:] = self.kept
            index = self.maps[MapName.NAME_INDEX]
            self.ticks = stack.enter_context(TickClock(self.bpf, index, index.memory()))
            fds = {MAPS[name].ref: opened.fd for name, opened in self.maps.items()}
            code = bytecode.relocate(fds)
            self.program = stack.enter_context(self.bpf.load_program(code, "limited"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def own(self, program: Program) -> Program:
        """Close a program at the end, too."""
        return self._stack.enter_context(program)

    @property
    def stack(self) -> ExitStack:
        """What is closed at the end."""
        return self._stack

    def write(self, values: LimitValues) -> None:
        """Write the live part of the limits."""
        self._limits[:LIMITS_LIVE_SIZE] = encode_limits(values)

    def counted(self, reason: Reason, action: PacketAction) -> int:
        """Return the packets counted so, by all CPUs."""
        value = self.maps[MapName.COUNTERS].lookup(bytes(4)) or bytes(COUNTERS_SIZE)
        return decode_counters(value)[reason, action].packets
