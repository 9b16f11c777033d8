"""The self-test accepts the program in every configuration and refuses one that is broken."""

from __future__ import annotations

import shutil
import struct
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from tests.bench.in_process import compile_directory
from tests.engines.host_build import SOURCES
from tests.engines.made_once import compiled_once
from tests.packets.case import DEFAULT
from xdpctl.errors import SelfTestError
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.kernel.bytecode import Bytecode
from xdpctl.program import selftest
from xdpctl.program.config import ProgramConfig
from xdpctl.rules import AnyQtype
from xdpctl.settings import XskFamily

if TYPE_CHECKING:
    from pathlib import Path

NARROW = ProgramConfig(
    ports=(5353, 53),
    address_ports=(853,),
    addresses=(ip_network("198.51.100.0/24"), ip_network("2001:db8:1::/64")),
    tcp=False,
    any_qtype=AnyQtype.LEGACY,
    xsk=XskFamily.BOTH,
)
ONE_FAMILY = ProgramConfig(
    ports=(53,),
    address_ports=(),
    addresses=(ip_network("2001:db8::53/128"),),
    tcp=True,
    any_qtype=AnyQtype.NEW,
    xsk=XskFamily.V4,
)


@pytest.fixture(scope="module")
def compiled() -> Bytecode:
    return compiled_once(DEFAULT)


@pytest.mark.parametrize("config", [DEFAULT, NARROW, ONE_FAMILY])
def test_the_program_passes_in_every_configuration(config: ProgramConfig) -> None:
    selftest.run(Bpf(), config, compiled_once(config))


@pytest.mark.parametrize(
    ("verdict", "complaint"),
    [(2, "from a blocked address is not dropped"), (1, "that no rule matches does not pass")],
)
def test_a_program_with_one_verdict_for_all_is_refused(verdict: int, complaint: str) -> None:
    instructions = struct.pack("=BBhiBBhi", 0xB7, 0, 0, verdict, 0x95, 0, 0, 0)
    maps = b"".join(
        struct.pack("=BBhiBBhi", 0x18, 0x11, 0, ref, 0, 0, 0, 0) for ref in range(1, 13)
    )
    with pytest.raises(SelfTestError, match=complaint):
        selftest.run(Bpf(), DEFAULT, Bytecode(maps + instructions))


@pytest.mark.parametrize(
    ("source", "whole", "broken", "complaint"),
    [
        ("filter.bpf.c", "dns_is_pointer(name, left)", "false", "with a compression pointer"),
        ("answer.h", "if (is_between_nobody(ctx, scratch))", "if (0)", "from its own destination"),
    ],
)
def test_a_program_without_one_of_the_drops_is_refused(
    tmp_path: Path, source: str, whole: str, broken: str, complaint: str
) -> None:
    sources = shutil.copytree(SOURCES, tmp_path / "xdp")
    text = (sources / source).read_text(encoding="utf-8")
    assert text.count(whole) == 1
    (sources / source).write_text(text.replace(whole, broken), encoding="utf-8")
    with pytest.raises(SelfTestError, match=f"{complaint} is not dropped"):
        selftest.run(Bpf(), DEFAULT, compile_directory(DEFAULT, sources))


def test_a_program_for_other_ports_is_refused(compiled: Bytecode) -> None:
    with pytest.raises(SelfTestError, match=r"not dropped|not answered"):
        selftest.run(Bpf(), NARROW, compiled)
