"""Large values without long garbage collections.

A collection holds the interpreter, and so the loop, for as long as it takes to look at every
object: a tenth of a second for some hundred thousand new ones, again and again while they are made.
Owns when Python's collector looks. Called where lists of that size are read.
"""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def no_collection(*, keep: bool) -> Iterator[None]:
    """Collect nothing during a block, on any thread.

    Args:
        keep: what is there at the end is left out of later collections, until it is freed. What
            is garbage in cycles at that moment stays for ever, so this is for rare growth only.
    """
    gc.disable()
    try:
        yield
    finally:
        if keep:
            gc.freeze()
        gc.enable()
