"""libbpf.so.1 as ctypes sees it: the structures, the prototypes, and loading it once.

Owns the layouts of linux/bpf.h and bpf/bpf.h that are used; a test compares the former with
the kernel's header. Does not own errors (kernel/failure.py) or objects (maps.py, programs.py,
syscall.py). Called by the rest of kernel/bpf/, and by the processes that have no `Bpf`
(program/loader/, store/worker/); other rooms use its constants. Every function of libbpf 1.x
returns -errno when it fails. A `CDLL` releases the interpreter's lock during a call.
"""

from __future__ import annotations

import ctypes
import errno
from ctypes import c_char, c_char_p, c_int, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p

from xdpctl.errors import KernelError

BPF_ANY = 0
"""Insert or update."""

BPF_NOEXIST = 1
"""Insert only: EEXIST when the key is there."""

BPF_EXIST = 2
"""Update only: ENOENT when the key is not there."""

ENOTSUPP = 524
"""The kernel's own "not supported", for an operation that a map type lacks."""

PROGRAM_TYPE_SCHED_CLS = 3
PROGRAM_TYPE_XDP = 6
PROGRAM_TYPE_SOCK_OPS = 13
LINK_TYPE_CGROUP = 3
LINK_TYPE_XDP = 6
ATTACH_TYPE_SOCK_OPS = 3
ATTACH_TYPE_XDP = 37

XDP_FLAGS_SKB_MODE = 1 << 1
XDP_FLAGS_DRV_MODE = 1 << 2
XDP_FLAGS_REPLACE = 1 << 4

BPF_F_REPLACE = 1 << 2
BPF_F_XDP_HAS_FRAGS = 1 << 5

_NAME_LENGTH = 16


class MapInfoStruct(ctypes.Structure):
    """`struct bpf_map_info` up to its name."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("map_flags", c_uint32),
        ("name", c_char * _NAME_LENGTH),
    )


class ProgramInfoStruct(ctypes.Structure):
    """`struct bpf_prog_info` up to verified_insns (which Linux 5.16 added)."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("tag", c_uint8 * 8),
        ("jited_prog_len", c_uint32),
        ("xlated_prog_len", c_uint32),
        ("jited_prog_insns", c_uint64),
        ("xlated_prog_insns", c_uint64),
        ("load_time", c_uint64),
        ("created_by_uid", c_uint32),
        ("nr_map_ids", c_uint32),
        ("map_ids", c_uint64),
        ("name", c_char * _NAME_LENGTH),
        ("ifindex", c_uint32),
        ("gpl_compatible", c_uint32),
        ("netns_dev", c_uint64),
        ("netns_ino", c_uint64),
        ("nr_jited_ksyms", c_uint32),
        ("nr_jited_func_lens", c_uint32),
        ("jited_ksyms", c_uint64),
        ("jited_func_lens", c_uint64),
        ("btf_id", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("func_info", c_uint64),
        ("nr_func_info", c_uint32),
        ("nr_line_info", c_uint32),
        ("line_info", c_uint64),
        ("jited_line_info", c_uint64),
        ("nr_jited_line_info", c_uint32),
        ("line_info_rec_size", c_uint32),
        ("jited_line_info_rec_size", c_uint32),
        ("nr_prog_tags", c_uint32),
        ("prog_tags", c_uint64),
        ("run_time_ns", c_uint64),
        ("run_cnt", c_uint64),
        ("recursion_misses", c_uint64),
        ("verified_insns", c_uint32),
        ("attach_btf_obj_id", c_uint32),
    )


class LinkInfoStruct(ctypes.Structure):
    """`struct bpf_link_info` with the member of its union that XDP uses."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("prog_id", c_uint32),
        ("_hole", c_uint32),
        ("ifindex", c_uint32),
        ("_other_types", c_uint32 * 7),
    )


class LoadOptions(ctypes.Structure):
    """`struct bpf_prog_load_opts` up to log_buf."""

    _fields_ = (
        ("sz", c_size_t),
        ("attempts", c_int),
        ("expected_attach_type", c_uint32),
        ("prog_btf_fd", c_uint32),
        ("prog_flags", c_uint32),
        ("prog_ifindex", c_uint32),
        ("kern_version", c_uint32),
        ("attach_btf_id", c_uint32),
        ("attach_prog_fd", c_uint32),
        ("attach_btf_obj_fd", c_uint32),
        ("fd_array", c_void_p),
        ("func_info", c_void_p),
        ("func_info_cnt", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("line_info", c_void_p),
        ("line_info_cnt", c_uint32),
        ("line_info_rec_size", c_uint32),
        ("log_level", c_uint32),
        ("log_size", c_uint32),
        ("log_buf", c_void_p),
    )


class MapOptions(ctypes.Structure):
    """`struct bpf_map_create_opts` up to map_flags, padded to a multiple of 8."""

    _fields_ = (
        ("sz", c_size_t),
        ("btf_fd", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
    )


class BatchOptions(ctypes.Structure):
    """`struct bpf_map_batch_opts`."""

    _fields_ = (("sz", c_size_t), ("elem_flags", c_uint64), ("flags", c_uint64))


class LinkCreateOptions(ctypes.Structure):
    """`struct bpf_link_create_opts` up to flags."""

    _fields_ = (("sz", c_size_t), ("flags", c_uint32), ("_hole", c_uint32))


class LinkUpdateOptions(ctypes.Structure):
    """`struct bpf_link_update_opts` up to old_prog_fd."""

    _fields_ = (("sz", c_size_t), ("flags", c_uint32), ("old_prog_fd", c_uint32))


class TestRunOptions(ctypes.Structure):
    """`struct bpf_test_run_opts`."""

    __test__ = False  # not a test, whatever its name says to pytest
    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_char_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


_BATCH_POINTERS = (c_void_p, c_void_p, c_void_p)

_PROTOTYPES: dict[str, tuple[object, ...]] = {
    "bpf_map_create": (c_int, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p),
    "bpf_map_lookup_elem": (c_int, c_char_p, c_void_p),
    "bpf_map_update_elem": (c_int, c_char_p, c_char_p, c_uint64),
    "bpf_map_delete_elem": (c_int, c_char_p),
    "bpf_map_get_next_key": (c_int, c_void_p, c_void_p),
    "bpf_map_lookup_batch": (c_int, c_void_p, *_BATCH_POINTERS, c_void_p, c_void_p),
    "bpf_map_update_batch": (c_int, *_BATCH_POINTERS, c_void_p),
    "bpf_map_delete_batch": (c_int, *_BATCH_POINTERS),
    "bpf_obj_get": (c_char_p,),
    "bpf_obj_pin": (c_int, c_char_p),
    "bpf_obj_get_info_by_fd": (c_int, c_void_p, c_void_p),
    "bpf_btf_load": (c_char_p, c_size_t, c_void_p),
    "bpf_prog_load": (c_int, c_char_p, c_char_p, c_char_p, c_size_t, c_void_p),
    "bpf_prog_get_fd_by_id": (c_uint32,),
    "bpf_prog_test_run_opts": (c_int, c_void_p),
    "bpf_link_create": (c_int, c_int, c_int, c_void_p),
    "bpf_link_update": (c_int, c_int, c_void_p),
    "bpf_link_detach": (c_int,),
    "bpf_link_get_next_id": (c_uint32, c_void_p),
    "bpf_link_get_fd_by_id": (c_uint32,),
    "libbpf_num_possible_cpus": (),
    "libbpf_set_print": (c_void_p,),
}


def load_library(name: str = "libbpf.so.1") -> ctypes.CDLL:
    """Return libbpf with its prototypes set and its own messages switched off.

    Raises:
        KernelError: ENOENT; it is not installed, or too old.
    """
    try:
        library = ctypes.CDLL(name)
        for function, arguments in _PROTOTYPES.items():
            getattr(library, function).argtypes = arguments
    except (OSError, AttributeError) as error:
        raise KernelError(
            f"cannot load {name}",
            errno.ENOENT,
            f"install libbpf 1.0 or later (Debian: libbpf1, which BCC's package brings): {error}",
        ) from error
    library.libbpf_set_print(None)
    return library


def options(structure: type[ctypes.Structure], **fields: int | bytes | None) -> ctypes.Structure:
    """Return one of the option structures with `sz` and the given fields set."""
    return structure(sz=ctypes.sizeof(structure), **fields)
