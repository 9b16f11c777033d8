"""Who loads programs in the place of this process, as the BPF system call sees it.

program/loader/parent.py implements it; a process without one loads by itself.
"""

from __future__ import annotations

from typing import Protocol

from xdpctl.kernel.bpf.loading import ProgramKind


class ProgramLoader(Protocol):
    """Loads programs with rights that this process does not have."""

    @property
    def lacking(self) -> tuple[str, ...]:
        """Capabilities that a load takes and that it was not given."""

    def load(
        self, name: bytes, instructions: bytes, kind: ProgramKind = ProgramKind.XDP
    ) -> tuple[int, bytes]:
        """Load as `loading.load`.

        Raises:
            LoadRefusedError: it does not load such a program.
            KernelError: it has ended.
        """


class LoadRefusedError(Exception):
    """The loader does not load such a program; the text says why. Stays in the kernel layer."""
