"""The host build finds what it is there to find, and keeps filters apart."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.engines import host_build
from tests.engines.host_build import WARNINGS, HostError, HostFilter
from tests.kernels.configurations import CONFIGURATIONS
from tests.packets.case import DEFAULT
from xdpctl.abi import MAPS, MapName, PacketAction, Reason, RuleAction, encode_value
from xdpctl.program.config import ProgramConfig

if TYPE_CHECKING:
    from pathlib import Path

ADDR_V4 = MAPS[MapName.ADDR_V4].ref
SOURCE = bytes([1, 2, 0, 192])  # 192.0.2.1 as addr-v4 has it on a little-endian host
FRAME = bytes.fromhex(
    "020000000001 020000000002 0800"
    "45000021 00000000 40110000 c0000201 c6336435"
    "9c40 0035 000d 0000"
    "1234010000010000000000000161000001 0001"
)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of xdp/ that a test may break; builds of it are kept out of the cache."""
    copy = shutil.copytree(host_build.SOURCES, tmp_path / "xdp")
    monkeypatch.setattr(host_build, "SOURCES", copy)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return copy


def break_(source: Path, whole: str, broken: str) -> None:
    text = source.read_text(encoding="utf-8")
    assert text.count(whole) == 1
    source.write_text(text.replace(whole, broken), encoding="utf-8")


def test_a_read_behind_the_frames_end_is_found(sources: Path) -> None:
    break_(sources / "dns.h", "if (behind > end)\n\t\t\tbreak;", "if (!end)\n\t\t\tbreak;")
    with pytest.raises(HostError, match="outside of the frame"):
        HostFilter(DEFAULT).run(FRAME[:-5])


def test_a_read_before_the_frames_start_is_found(sources: Path) -> None:
    break_(sources / "plain.h", "header *)cursor->start;", "header *)(cursor->start - 16);")
    with pytest.raises(HostError, match="outside of the frame"):
        HostFilter(DEFAULT).run(FRAME, guard_start=True)


def test_undefined_behaviour_is_found(sources: Path) -> None:
    break_(sources / "dns.h", "word >> 8 * (8 - count)", "word >> 8 * (16 - count)")
    with pytest.raises(HostError, match="what C does not define"):
        HostFilter(DEFAULT, sanitize=True).run(FRAME)


def test_a_packet_counted_twice_is_found(sources: Path) -> None:
    break_(sources / "filter.bpf.c", "cell->packets++", "cell->packets += 2")
    with pytest.raises(HostError, match="count exactly one packet"):
        HostFilter(DEFAULT).run(FRAME)


def test_a_packet_of_another_length_is_found(sources: Path) -> None:
    break_(sources / "filter.bpf.c", "cell->bytes += bytes", "cell->bytes += bytes + 1")
    with pytest.raises(HostError, match="count exactly one packet"):
        HostFilter(DEFAULT).run(FRAME)


def test_a_frame_that_grows_is_found(sources: Path) -> None:
    break_(sources / "answer.h", "-(int)excess", "1")
    filter_ = HostFilter(DEFAULT)
    filter_.set_entry(ADDR_V4, SOURCE, encode_value(RuleAction.TRUNCATE))
    with pytest.raises(HostError, match="longer than it was"):
        filter_.run(FRAME + bytes(20))


def test_a_pointer_from_before_the_trim_is_found(sources: Path) -> None:
    reload = "\t\tstart = frame_start(ctx);\n\t\tend = frame_end(ctx);\n"
    break_(sources / "answer.h", reload, "")
    filter_ = HostFilter(DEFAULT)
    filter_.set_entry(ADDR_V4, SOURCE, encode_value(RuleAction.TRUNCATE))
    with pytest.raises(HostError, match="outside of the frame"):
        filter_.run(FRAME + bytes(20))


def test_a_compiler_that_follows_every_value_has_no_warning() -> None:
    """The engines' libraries are made with -Og, which takes half as long and sees less.

    Type punning is the kernel's way, and the driver's: -fno-strict-aliasing as there.
    """
    config = CONFIGURATIONS["everything"]
    assert isinstance(config, ProgramConfig)
    flags = ("-O2", "-fno-strict-aliasing", "-fPIC", "-shared", *WARNINGS)
    assert host_build.build(config, "gcc", flags).exists()


def test_a_filter_works_again_after_a_fault(sources: Path) -> None:
    break_(sources / "dns.h", "if (behind > end)\n\t\t\tbreak;", "if (!end)\n\t\t\tbreak;")
    filter_ = HostFilter(DEFAULT)
    with pytest.raises(HostError):
        filter_.run(FRAME[:-5])
    assert filter_.run(FRAME).reason is Reason.NO_MATCH


def test_the_hit_of_a_rule_is_counted_in_its_entry() -> None:
    filter_ = HostFilter(DEFAULT)
    filter_.set_entry(ADDR_V4, SOURCE, encode_value(RuleAction.DROP, 41))
    result = filter_.run(FRAME)
    assert (result.reason, result.action) == (Reason.ADDR_V4, PacketAction.DROP)
    assert filter_.hits(ADDR_V4, SOURCE) == 42


def test_filters_of_one_configuration_share_no_maps() -> None:
    one, other = HostFilter(DEFAULT), HostFilter(DEFAULT)
    one.set_entry(ADDR_V4, SOURCE, encode_value(RuleAction.DROP))
    assert other.run(FRAME).action is PacketAction.PASS


def test_cleared_maps_are_empty() -> None:
    filter_ = HostFilter(DEFAULT)
    filter_.set_entry(ADDR_V4, SOURCE, encode_value(RuleAction.DROP))
    filter_.clear()
    with pytest.raises(KeyError):
        filter_.hits(ADDR_V4, SOURCE)


def test_a_key_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="keys of 4 bytes"):
        HostFilter(DEFAULT).set_entry(ADDR_V4, SOURCE + b"\0", encode_value(RuleAction.DROP))
