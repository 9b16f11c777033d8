"""What a program is loaded as.

Owns the kinds of our programs. Does not own what differs between them (loading.py). The loader
(program/loader/process.py) has their numbers only, as `enum` would be a seventh of its memory.
Pure.
"""

from __future__ import annotations

from enum import IntEnum

from xdpctl.kernel.bpf.libbpf import (
    PROGRAM_TYPE_SCHED_CLS,
    PROGRAM_TYPE_SOCK_OPS,
    PROGRAM_TYPE_XDP,
)


class ProgramKind(IntEnum):
    """What a program is loaded as; the number is the kernel's.

    A program that is only ever run by program test runs is TEST_RUN: as XDP, each series of
    runs would change the kernel's dispatcher and wait for all processors. One that is called for
    the TCP connections of this host's processes is SOCK_OPS.
    """

    TEST_RUN = PROGRAM_TYPE_SCHED_CLS
    XDP = PROGRAM_TYPE_XDP
    SOCK_OPS = PROGRAM_TYPE_SOCK_OPS
