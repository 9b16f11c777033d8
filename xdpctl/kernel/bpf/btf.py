"""The type information of a program, written by hand: one function over `struct xdp_md`.

With it, `bpftool` shows the function's name, and a tracing program can be attached to the filter:
`xdpdump` so shows each packet with the filter's verdict. The kernel needs no more than five types,
and none of their members. Owns these octets (Documentation/bpf/btf.rst). Does not own loading
(loading.py), which is without them where the kernel refuses them. Pure.
"""

from __future__ import annotations

import struct

FUNCTION = 5
"""Number of the function among the types."""

_HEADER = struct.Struct("=HBB5I")
_TYPE = struct.Struct("=3I")
_MAGIC, _VERSION = 0xEB9F, 1
_INT, _PTR, _STRUCT, _FUNC, _FUNC_PROTO = (kind << 24 for kind in (1, 2, 4, 12, 13))
_SIGNED_32 = 1 << 24 | 32
_GLOBAL = 1

FUNC_INFO = struct.pack("=2I", 0, FUNCTION)
"""The one record of a program's functions: the one at instruction 0 has this type."""


def function_over_xdp_md(name: bytes) -> bytes:
    """Return the types of `int name(struct xdp_md *ctx)`.

    Args:
        name: a name of C.
    """
    strings, offsets = b"\0", []
    for text in (b"int", b"xdp_md", b"ctx", name):
        offsets.append(len(strings))
        strings += text + b"\0"
    integer, context, argument, function = offsets
    types = b"".join(
        (
            _TYPE.pack(integer, _INT, 4) + struct.pack("=I", _SIGNED_32),
            _TYPE.pack(context, _STRUCT, 0),
            _TYPE.pack(0, _PTR, 2),
            _TYPE.pack(0, _FUNC_PROTO | 1, 1) + struct.pack("=2I", argument, 3),
            _TYPE.pack(function, _FUNC | _GLOBAL, 4),
        )
    )
    size = _HEADER.size
    head = _HEADER.pack(_MAGIC, _VERSION, 0, size, 0, len(types), len(types), len(strings))
    return head + types + strings
