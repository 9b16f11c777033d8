"""Turns a failed system call into one sentence with a hint.

Owns the hints for this package's system calls. It makes none of those calls itself; it reads
/proc/self/status and calls uname(2). Called by the other modules of kernel/. Does not own the
errors' classes (xdpctl/errors.py).
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from xdpctl.errors import KernelError

OLDEST_KERNEL = (5, 10)
"""The first release that has every call that xdpctl makes."""

LOAD_CAPABILITIES = ("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON")
"""What loading and attaching a program needs."""

_CAPABILITIES = {
    "CAP_CHOWN": 0,
    "CAP_FOWNER": 3,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RESOURCE": 24,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
_IMPLIED_BY_SYS_ADMIN = {"CAP_PERFMON", "CAP_BPF"}

READ_ONLY = (
    "it is mounted read-only: mount it writable, or let the service see it so (systemd's"
    " ProtectKernelTunables=, ProtectSystem= and ReadOnlyPaths=, a container's mount)"
)
"""What helps against EROFS."""

_HINTS = {
    errno.EROFS: READ_ONLY,
    errno.ENOMEM: "free memory, or raise the limit of the memory cgroup (MemoryMax=)",
    errno.EMFILE: "raise the limit of open files (LimitNOFILE=)",
    errno.ENFILE: "raise fs.file-max",
}


def kernel_release(release: str | None = None) -> tuple[int, int]:
    """Return the major and minor version of a release text, by default the running kernel's."""
    found = re.match(r"(\d+)\.(\d+)", release or os.uname().release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def missing_capabilities(*wanted: str, status: str | None = None) -> tuple[str, ...]:
    """Return the capabilities in `wanted` that this process does not have in effect.

    Args:
        wanted: names that start with CAP_.
        status: text of /proc/self/status; None reads it.
    """
    if status is None:
        try:
            status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        except OSError:  # report nothing as missing
            return ()
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    effective = int(found[1], 16) if found else 0
    held = {name for name, bit in _CAPABILITIES.items() if effective >> bit & 1}
    if "CAP_SYS_ADMIN" in held:
        held |= _IMPLIED_BY_SYS_ADMIN
    return tuple(name for name in wanted if name not in held)


def privilege_hint(*wanted: str) -> str:
    """Return what helps against EPERM for a call that needs these capabilities."""
    if missing := missing_capabilities(*wanted):
        return f"run as root, or give this process {' and '.join(missing)}"
    if kernel_release() < (5, 11):
        return "raise the limit of locked memory (LimitMEMLOCK=infinity)"
    return "a security module, seccomp or lockdown forbids it"


def kernel_error(
    tried: str, number: int, *capabilities: str, hints: dict[int, str] | None = None
) -> KernelError:
    """Return the error for a failed call.

    Args:
        tried: start of the sentence: what was tried.
        number: errno.
        capabilities: what the call needs; the hint lists the missing ones for EPERM.
        hints: what helps against particular errnos of this call.
    """
    helps = (hints or {}).get(number) or _HINTS.get(number, "")
    if number == errno.EPERM and not helps:
        helps = privilege_hint(*capabilities)
    elif not helps and number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        helps = _release_hint(number)
    return KernelError(tried, number, helps)


def _release_hint(number: int) -> str:
    """Return a hint for a call that this kernel may not have."""
    if kernel_release() < OLDEST_KERNEL:
        return f"xdpctl needs Linux 5.10 or later, this is {os.uname().release}"
    if number == errno.ENOSYS:
        return "xdpctl needs Linux 5.10 or later with CONFIG_BPF_SYSCALL"
    return ""
