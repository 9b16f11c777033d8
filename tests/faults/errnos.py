"""How system calls of the kernel layer fail, by their manual pages.

bpf(2), mount(2), statfs(2), mkdir(2), chmod(2), chown(2), unlink(2), rename(2), open(2),
flock(2), socket(2), bind(2), listen(2), setsockopt(2), send(2), recv(2), netlink(7),
ioctl(2), netdevice(7), inotify_init(2), inotify_add_watch(2), pipe(2), vfork(2),
execve(2), pread(2), pwrite(2), fsync(2), ftruncate(2). Left out are the errnos of a
programming mistake in the caller's memory (EFAULT), and what cannot come from a call as
it is made here. libbpf hands on the errno of bpf(2).
"""

from __future__ import annotations

import errno

_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_PATH = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EROFS, errno.EIO)
_MEMORY = (errno.ENOMEM,)

BPF: dict[str, tuple[int, ...]] = {
    "bpf_map_create": (errno.EPERM, errno.EINVAL, errno.E2BIG, *_MEMORY, *_DESCRIPTORS),
    "bpf_map_lookup_elem": (errno.EBADF, errno.EINVAL, errno.EPERM, *_MEMORY),
    "bpf_map_update_elem": (
        *(errno.EBADF, errno.EINVAL, errno.EPERM, errno.E2BIG, errno.ENOSPC, errno.EBUSY),
        *_MEMORY,
    ),
    "bpf_map_delete_elem": (errno.EBADF, errno.EINVAL, errno.EPERM, errno.EBUSY),
    "bpf_map_get_next_key": (errno.EBADF, errno.EINVAL, errno.EPERM, *_MEMORY),
    "bpf_map_lookup_batch": (errno.EBADF, errno.EPERM, errno.EAGAIN, *_MEMORY),
    "bpf_map_update_batch": (
        *(errno.EBADF, errno.EPERM, errno.E2BIG, errno.ENOSPC, errno.EBUSY),
        *_MEMORY,
    ),
    "bpf_map_delete_batch": (errno.EBADF, errno.EPERM, errno.EBUSY, *_MEMORY),
    "bpf_obj_get": (errno.EACCES, errno.EPERM, errno.EINVAL, *_MEMORY, *_DESCRIPTORS),
    "bpf_obj_pin": (
        *(errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOENT, errno.ENOSPC),
        *_MEMORY,
    ),
    "bpf_obj_get_info_by_fd": (errno.EBADF, errno.EINVAL, errno.EPERM, *_MEMORY),
    "bpf_prog_load": (
        *(errno.EPERM, errno.EACCES, errno.EINVAL, errno.E2BIG, errno.EAGAIN),
        *(*_MEMORY, *_DESCRIPTORS),
    ),
    "bpf_prog_get_fd_by_id": (errno.EINVAL, *_MEMORY, *_DESCRIPTORS),
    "bpf_prog_test_run_opts": (errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP, *_MEMORY),
    "bpf_link_create": (
        *(errno.EPERM, errno.EBUSY, errno.EEXIST, errno.ENODEV, errno.EOPNOTSUPP),
        *(errno.EINVAL, *_MEMORY, *_DESCRIPTORS),
    ),
    "bpf_link_update": (errno.EPERM, errno.EINVAL, errno.ENOLINK, *_MEMORY),
    "bpf_link_detach": (errno.EBADF, errno.EINVAL, errno.EPERM),
    "bpf_link_get_next_id": (errno.EPERM, errno.EINVAL),
    "bpf_link_get_fd_by_id": (errno.EPERM, *_MEMORY, *_DESCRIPTORS),
}
"""By function of libbpf. ENOENT where it is an answer and no failure is left out, and so are
what a batch says of a map type that has none (EINVAL, EOPNOTSUPP)."""

SYSTEM: dict[str, tuple[int, ...]] = {
    "bpf": (
        *(errno.EPERM, errno.EINVAL, errno.EBADF, errno.E2BIG, errno.EAGAIN, errno.ENOSPC),
        *(errno.EBUSY, errno.EEXIST, errno.EACCES, *_MEMORY, *_DESCRIPTORS),
    ),
    "mount": (errno.EPERM, errno.EBUSY, errno.ENODEV, errno.EINVAL, *_MEMORY),
    "statfs": (errno.EACCES, errno.EIO, errno.ENOSYS, *_MEMORY),
    "mkdir": (*_PATH, errno.ENOSPC, errno.EDQUOT, *_MEMORY),
    "chmod": (*_PATH, *_MEMORY),
    "chown": (*_PATH, *_MEMORY),
    "unlink": (*_PATH, errno.EBUSY, *_MEMORY),
    "rename": (*_PATH, errno.ENOSPC, errno.EDQUOT, *_MEMORY),
    "openat": (*_PATH, errno.ENOSPC, *_MEMORY, *_DESCRIPTORS),
    "flock": (errno.EINTR, errno.ENOLCK, errno.EBADF),
    "socket": (errno.EACCES, errno.EPROTONOSUPPORT, errno.ENOBUFS, *_MEMORY, *_DESCRIPTORS),
    "setsockopt": (errno.ENOPROTOOPT, errno.EBADF, errno.ENOBUFS),
    "bind": (errno.EACCES, errno.EADDRINUSE, errno.EINVAL, *_MEMORY),
    "listen": (errno.EADDRINUSE, errno.EOPNOTSUPP),
    "sendto": (errno.EPERM, errno.ENOBUFS, errno.ECONNREFUSED, *_MEMORY),
    "recvfrom": (errno.ENOBUFS, errno.EAGAIN, *_MEMORY),
    "ioctl": (errno.EOPNOTSUPP, errno.EPERM, errno.ENODEV),
    "inotify_init1": (*_DESCRIPTORS, *_MEMORY),
    "inotify_add_watch": (errno.EACCES, errno.ENOSPC, *_MEMORY),
    "pipe2": _DESCRIPTORS,
    "vfork": (errno.EAGAIN, *_MEMORY),
    "execve": (errno.EACCES, errno.ENOENT, errno.E2BIG, *_MEMORY),
    "pread64": (errno.EIO, errno.EINTR),
    "pwrite64": (errno.ENOSPC, errno.EIO, errno.EDQUOT),
    "fdatasync": (errno.EIO, errno.ENOSPC),
    "ftruncate": (errno.EIO, errno.EPERM),
}
"""By system call, as strace names it on x86-64."""


def name_of(number: int) -> str:
    """Return an errno's symbol, as manual pages and strace write it."""
    return "EOPNOTSUPP" if number == errno.EOPNOTSUPP else errno.errorcode[number]
