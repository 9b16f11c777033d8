"""The wheel that ships is the wheel that works: installed, from another folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab import Responder, Service, dig
from tests.lab.hosts import PYTHON, ROOT, run, unmeasured

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab import Lab

pytestmark = [pytest.mark.root, pytest.mark.slow]


def test_an_installed_wheel_attaches_and_serves_from_another_folder(
    lab: Lab, tmp_path: Path
) -> None:
    wheels, venv = tmp_path / "wheels", tmp_path / "venv"
    pip = ["-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(ROOT)]
    run([PYTHON, *pip, *build], timeout=300)
    (wheel,) = wheels.iterdir()
    run(["/usr/bin/python3", "-m", "venv", "--system-site-packages", str(venv)], timeout=300)
    run([str(venv / "bin" / "python"), *pip, "install", str(wheel)], timeout=300)

    client, server = lab.pair()
    Responder(server)
    service = Service(
        server,
        command=unmeasured("env", "-C", str(tmp_path), str(venv / "bin" / "xdpctl")),
    )
    assert service.get("/page/main.js").status == 200
    assert service.verb("block", "dropped.example").returncode == 0
    assert dig(client, "www.example").arrived
    assert not dig(client, "dropped.example").arrived
    assert service.stop() == 0
