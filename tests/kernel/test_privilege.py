"""Giving up what is not needed, on the real kernel: each time in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from xdpctl.process.privileges import LOADERS, NEEDED, OF_ROOT

SERVICE = "from xdpctl.process.privileges import keep_needed as give_up, lending\n"
COMPILER = "from xdpctl.process.privileges import give_up_everything as give_up\n"
LOOK = "import subprocess; subprocess.run(['cat', '/proc/self/status'])\n"
SELF = "print(open('/proc/self/status').read())\n"

NEEDED_BITS = sum(1 << bit for bit in NEEDED.values())
ROOT_BITS = sum(1 << bit for bit in OF_ROOT.values())
LOADER_BITS = sum(1 << bit for bit in LOADERS.values())
PERFMON = 1 << LOADERS["CAP_PERFMON"]
WORDS = ",".join("+" + name.removeprefix("CAP_").lower() for name in LOADERS)
AS_USER = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    *(f"--inh-caps=-all,{WORDS}", f"--ambient-caps=-all,{WORDS}", f"--bounding-set=-all,{WORDS}"),
)
"""A user with what the unit gives, and nothing else."""


def sets_of(code: str, *command: str) -> dict[str, int]:
    """Run Python and return the capability sets that it printed, by their names in /proc."""
    done = subprocess.run(
        [*command, sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    found = re.findall(r"^(Cap\w+|NoNewPrivs):\s*([0-9a-f]+)$", done.stdout, re.MULTILINE)
    return {name: int(value, 16) for name, value in found}


def test_a_service_of_a_user_gives_up_what_reads_memory() -> None:
    sets = sets_of(f"{SERVICE}assert give_up()\n{SELF}", *AS_USER)

    assert NEEDED_BITS | PERFMON == LOADER_BITS
    assert (sets["CapEff"], sets["CapPrm"]) == (NEEDED_BITS, NEEDED_BITS)
    assert sets["CapInh"] & PERFMON == sets["CapAmb"] == 0
    assert sets["NoNewPrivs"] == 1


def test_where_it_may_not_it_says_so() -> None:
    """A unit's seccomp filter may forbid capset(2)."""
    code = (
        "from xdpctl.process import capabilities\n"
        "capabilities.hold = lambda *_: False\n"
        f"{SERVICE}assert not give_up()\n{SELF}"
    )
    assert sets_of(code, *AS_USER)["CapEff"] == LOADER_BITS


def test_what_it_starts_has_nothing() -> None:
    sets = sets_of(f"{SERVICE}give_up()\n{LOOK}", *AS_USER)

    assert (sets["CapEff"], sets["CapPrm"], sets["CapAmb"]) == (0, 0, 0)


def test_what_a_service_of_a_user_lends_ends_with_the_loan() -> None:
    lend = f"with lending('CAP_BPF'):\n    {LOOK}"
    lent = sets_of(f"{SERVICE}give_up()\n{lend}", *AS_USER)
    assert lent["CapEff"] == lent["CapPrm"] == 1 << NEEDED["CAP_BPF"]

    after = sets_of(f"{SERVICE}give_up()\nwith lending('CAP_BPF'): pass\n{LOOK}", *AS_USER)
    assert (after["CapEff"], after["CapPrm"], after["CapAmb"]) == (0, 0, 0)


def test_a_loan_needs_no_call_that_a_units_seccomp_filter_forbids() -> None:
    code = (
        f"{SERVICE}give_up()\n"
        "from xdpctl.process import capabilities\n"
        "capabilities.hold = lambda *_: 1 / 0\n"
        f"with lending('CAP_BPF'):\n    {LOOK}"
    )
    assert sets_of(code, *AS_USER)["CapEff"] == 1 << NEEDED["CAP_BPF"]


def test_a_service_of_a_user_has_what_it_had_after_a_loan() -> None:
    sets = sets_of(f"{SERVICE}give_up()\nwith lending('CAP_BPF'): pass\n{SELF}", *AS_USER)

    assert (sets["CapEff"], sets["CapPrm"], sets["CapAmb"]) == (NEEDED_BITS, NEEDED_BITS, 0)


def test_a_service_of_root_keeps_what_it_uses() -> None:
    before = sets_of(SELF)["CapPrm"]
    sets = sets_of(f"{SERVICE}assert give_up()\n{SELF}")

    assert not sets["CapPrm"] & PERFMON
    assert sets["CapPrm"] == before & (NEEDED_BITS | ROOT_BITS)
    assert sets["CapEff"] == sets["CapBnd"] == sets["CapPrm"]


def test_what_a_start_lends_the_loader_ends_with_it() -> None:
    lend = f"with lending(*{[*LOADERS]}):\n    {LOOK}"
    lent = sets_of(f"{SERVICE}{lend}", *AS_USER)
    assert lent["CapEff"] == lent["CapPrm"] == LOADER_BITS

    perfmon = f"with lending('CAP_PERFMON'):\n    {LOOK}"
    after = sets_of(f"{SERVICE}{lend}give_up()\n{perfmon}".replace(LOOK, "pass\n", 1), *AS_USER)
    assert (after["CapEff"], after["CapAmb"]) == (0, 0)


def test_nothing_that_root_starts_gets_it_back() -> None:
    assert not sets_of(f"{SERVICE}give_up()\n{LOOK}")["CapEff"] & PERFMON


def test_what_root_starts_gains_no_more() -> None:
    sets = sets_of(f"{SERVICE}give_up()\n{LOOK}")

    assert sets["CapPrm"] & ~(NEEDED_BITS | ROOT_BITS) == 0


@pytest.mark.parametrize("command", [(), AS_USER])
def test_the_compiler_keeps_nothing_and_gains_nothing(command: tuple[str, ...]) -> None:
    sets = sets_of(f"{COMPILER}give_up()\n{SELF}", *command)

    assert (sets["CapEff"], sets["CapPrm"], sets["NoNewPrivs"]) == (0, 0, 1)


def test_where_there_is_nothing_the_call_is_not_made() -> None:
    """A unit's seccomp filter forbids capset(2), and what has nothing needs none."""
    code = (
        "from xdpctl.process import capabilities\n"
        "capabilities.hold = lambda *_: 1 / 0\n"
        f"{COMPILER}give_up()\n{SELF}"
    )
    nothing = ("setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all")
    assert sets_of(code, *nothing)["CapPrm"] == 0
