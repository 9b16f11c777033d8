"""The protocol of an object that loads programs for this process.

Owns the protocol, not a loader. program/loader/parent.py implements it, and syscall.py calls it. A
process without a loader loads its programs itself.
"""

from __future__ import annotations

from typing import Protocol

from xdpctl.kernel.bpf.kind import ProgramKind


class ProgramLoader(Protocol):
    """Loads programs with rights that this process does not have."""

    @property
    def lacking(self) -> tuple[str, ...]:
        """The capabilities that a load needs and that the loader does not have."""

    def load(
        self, name: bytes, instructions: bytes, kind: ProgramKind = ProgramKind.XDP
    ) -> tuple[int, bytes]:
        """Load as `loading.load`.

        Raises:
            LoadRefusedError: the loader refuses such a program.
            KernelError: the loader has ended.
        """


class LoadRefusedError(Exception):
    """The loader refuses a program; the text says why. syscall.py turns it into a sentence."""
