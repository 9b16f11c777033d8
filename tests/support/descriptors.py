"""The claim that a piece of code leaves no descriptor of this process open.

One count of all is not enough: what other tests left to the garbage collector, and their
threads, close descriptors at any time, and such a close looks like a fault of the code on trial.
"""

import gc
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

# For how long a thread that comes to its end may still hold what it opened, in seconds.
_PATIENCE = 1.0


def open_descriptors() -> Counter[str]:
    """Return how many descriptors this process has open, by what they lead to."""
    found: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - tests strike at the methods of Path
        try:
            leads = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115 - the same
        except OSError:
            continue
        # Numbers differ each time, and a link is `bpf_link` at first and `bpf-link` from its pin.
        found[re.sub(r":\[\d+\]$", "", leads).replace("_", "-")] += 1
    return found


@contextmanager
def none_left_open() -> Iterator[None]:
    """Claim that after the block no more descriptors of any kind are open than before it."""
    before = open_descriptors()
    yield
    until = time.monotonic() + _PATIENCE
    while (new := open_descriptors() - before) and time.monotonic() < until:
        gc.collect()
        time.sleep(0.01)
    assert not new, dict(new)
