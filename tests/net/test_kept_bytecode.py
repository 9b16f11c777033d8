"""What was compiled once is used by the next start, as long as it can be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab import Responder, Service, dig
from tests.lab.process import eventually
from xdpctl.program.cache import FOLDER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab import Host, Lab
    from tests.lab.process import Process

pytestmark = pytest.mark.root

BLOCKED = "192.0.2.66"


def compiled(process: Process) -> list[str]:
    """Return the lines that tell of a compilation."""
    return [line for line in process.lines if " compiled " in line]


def filters(client: Host, service: Service) -> bool:
    """What is blocked goes without an answer, while something else gets one."""
    assert service.verb("block", BLOCKED).returncode == 0
    return (
        dig(client, "www.example").arrived
        and not dig(client, "www.example", source=BLOCKED).arrived
    )


def bcc_of(service: Service) -> str:
    """Return the compiler's version that the metrics tell."""
    (build,) = [
        sample for sample in service.metrics().samples if sample.name == "xdpctl_build_info"
    ]
    return build.labels["bcc"]


@pytest.fixture
def kept(lab: Lab) -> tuple[Host, Host, Path, str]:
    """Client, server, the first file that a first start has kept, and its compiler's version."""
    client, server = lab.pair()
    Responder(server)
    first = Service(server, compiles=True)
    version = bcc_of(first)
    assert compiled(first.process)
    first.stop()
    file = min((lab.directory / FOLDER).iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return client, server, file, version


def test_a_second_start_filters_with_what_the_first_compiled(
    kept: tuple[Host, Host, Path, str],
) -> None:
    client, server, _, version = kept
    second = Service(server)
    assert filters(client, second)
    assert (compiled(second.process), bcc_of(second)) == ([], version)


def test_a_damaged_file_is_said_and_compiled_anew(kept: tuple[Host, Host, Path, str]) -> None:
    client, server, file, _ = kept
    file.write_bytes(file.read_bytes()[:-8])
    second = Service(server)
    assert filters(client, second)
    assert compiled(second.process)
    assert f"the compiled program in {file} is not used: it is damaged" in second.process.text


def test_the_first_zone_needs_no_compiler_when_its_programs_were_compiled_ahead(
    lab: Lab,
) -> None:
    client, server = lab.pair()
    Responder(server)
    service = Service(server, compiles=True)
    said = service.process
    said.until(lambda: said.text.count(" compiled-ahead ") == 2, "both programs", timeout=60)
    folder = lab.directory / FOLDER
    eventually(lambda: len(list(folder.glob("[!.]*"))) == 3, "the third file, whole")
    assert service.verb("block", ".evil.example").returncode == 0
    assert not dig(client, "www.evil.example").arrived
    assert len(compiled(said)) == 1
    service.stop()
    again = Service(server)
    assert not dig(client, "www.evil.example").arrived
    assert "compiled" not in again.process.text
