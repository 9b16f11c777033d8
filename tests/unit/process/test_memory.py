"""How much memory can still be asked for: the host's, or less in a control group."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from xdpctl.process.memory import available_memory

if TYPE_CHECKING:
    from pathlib import Path

MEMINFO = "MemTotal:       24000000 kB\nMemFree:  1000 kB\nMemAvailable:    2048 kB\n"

HOSTS = {
    "no control group": ({"proc/meminfo": MEMINFO}, 2 << 20),
    "a group without a limit": (
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/system.slice/x.service\n",
            "sys/fs/cgroup/system.slice/x.service/memory.max": "max\n",
        },
        2 << 20,
    ),
    "a group with less": (
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "1048576\n",
        },
        1 << 20,
    ),
    "a group with more": (
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "4:memory:/old\n0::/\n",
            "sys/fs/cgroup/memory.max": "1073741824\n",
        },
        2 << 20,
    ),
    "nothing that says so": ({}, None),
}


@pytest.mark.parametrize(("files", "octets"), HOSTS.values(), ids=HOSTS)
def test_the_least_of_host_and_group_counts(
    tmp_path: Path, files: dict[str, str], octets: int | None
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    assert available_memory(tmp_path) == octets


def test_this_host_says_how_much_there_is() -> None:
    found = available_memory()

    assert found is not None
    assert found > 0


MAPPED = """
import xdpctl.process.memory
{}
bytes(8 << 20)  # a freed block of this size raises glibc's own limit
def size():
    return int(open("/proc/self/statm").read().split()[0])
before = size()
large = bytes(6 << 20)
beside = [bytes(1000) for _ in range(10)]
held = size() - before
del large
print(held > 1000, size() - before > 1000)
"""


@pytest.mark.parametrize(
    ("first", "freed"),
    [("", "True True"), ("xdpctl.process.memory.map_large_blocks()", "True False")],
    ids=["by default a large block stays", "of the service it goes back"],
)
def test_a_large_block_goes_back_when_it_is_freed(first: str, freed: str) -> None:
    program = MAPPED.format(first)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == freed
