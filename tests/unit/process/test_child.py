"""A child that cannot be started is one sentence, and leaves no descriptor behind."""

from __future__ import annotations

import errno
import os
import re
from multiprocessing import connection
from typing import NoReturn

import pytest

from tests.support.descriptors import none_left_open
from xdpctl.errors import XdpctlError
from xdpctl.process import child as child_module
from xdpctl.process.child import Child

WHERE = {"no descriptor": (connection, "Pipe"), "no process": (child_module, "start_python")}


@pytest.mark.parametrize(("module", "name"), WHERE.values(), ids=WHERE)
def test_it_cannot_be_started(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(module, name, refuse)
    sentence = "cannot start a process for the test: Too many open files; see that there is memory"
    with none_left_open(), pytest.raises(XdpctlError, match=re.escape(sentence)):
        Child("xdpctl.none", "the test", None)
