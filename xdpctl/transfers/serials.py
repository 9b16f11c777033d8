"""Serial numbers of zones: 32 bits that wrap around (RFC 1982).

Owns their order. Does not own where they come from. Called by stream.py and primaries.py.
"""

from __future__ import annotations

SERIAL_MAX = 0xFFFF_FFFF
_HALF = 1 << 31


def is_newer(serial: int, than: int) -> bool:
    """Return whether a serial comes after another one (RFC 1982, 3.2).

    Of two serials that are half the circle apart, none is newer.
    """
    return 0 < (serial - than & SERIAL_MAX) < _HALF
