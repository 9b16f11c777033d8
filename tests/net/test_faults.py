"""The real service on a real interface, and one system call of its start that fails.

A few of what `make test-faults` goes through.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from tests.faults.errnos import name_of
from tests.faults.trial import Bench, Fault

if TYPE_CHECKING:
    from tests.lab import Lab

pytestmark = [pytest.mark.root, pytest.mark.slow]

FEW = (
    ("bpf", errno.EPERM, 1),
    ("bpf", errno.ENOMEM, 25),
    ("bpf", errno.EINVAL, 40),
    ("bpf", errno.EMFILE, 50),
    ("statfs", errno.EIO, 1),
    ("flock", errno.ENOLCK, 1),
    ("rename", errno.ENOSPC, 2),
    ("pipe2", errno.EMFILE, 1),
)


def test_whatever_fails_it_is_ready_or_one_sentence_and_nothing_is_left(lab: Lab) -> None:
    bench = Bench(lab)
    refused = 0
    for call, number, when in FEW:
        verdict = bench.run(Fault(call, number, str(when)))
        what = f"{call} {name_of(number)} {when}: {verdict.text}"
        assert verdict.struck, what
        assert verdict.wrong == (), what
        refused += not verdict.ready
    assert refused >= 4
