"""The filter's C compiled for this machine, and run on frames through ctypes.

Owns the build (host.c and xdp/ with one configuration, cached by the hash of all of
it) and its calling; compares nothing. A frame lies with one end at a page that
faults, so that a read behind it is found. Needs a C compiler, and neither root nor
BCC.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engines.made_once import alone, folder
from xdpctl.abi import BY_REF, ZONE_BUCKET_SIZE, PacketAction, Reason, TallyRow
from xdpctl.program.config import render_config

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xdpctl.program.config import ProgramConfig

_Source = tuple[str, int, int]
"""Path, time of the last change and size."""

HERE = Path(__file__).parent
DRIVER = HERE / "host.c"
SOURCES = Path(__file__).parents[2] / "xdp"
WARNINGS = ("-Wall", "-Wextra", "-Werror")
FRAME_MAX = 65536
TICKS = 24 * 3600 * 250
"""What the clock shows before anybody sets it."""

_ERRORS = {
    1: "it read or wrote outside of the frame, or did what C does not define",
    2: "it did not count exactly one packet of the frame's length",
    3: "the frame is too long, or there is no memory for it",
    4: "it asked for a frame longer than it was, or shorter than an Ethernet header",
}


class HostError(AssertionError):
    """The filter did what no packet may make it do."""


@dataclass(frozen=True, slots=True)
class HostResult:
    """What became of a frame.

    Attributes:
        verdict: the kernel's code, XDP_PASS and so on.
        reason, action: the one cell that was counted in.
        frame: the bytes that are left.
    """

    verdict: int
    reason: Reason
    action: PacketAction
    frame: bytes


class _Outcome(ctypes.Structure):
    _fields_ = (
        ("verdict", ctypes.c_int32),
        ("reason", ctypes.c_uint32),
        ("action", ctypes.c_uint32),
        ("length", ctypes.c_uint32),
    )


_TAKER = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)


class HostFilter:
    """One configuration's filter, with maps of its own.

    Args:
        config: what it is compiled for.
        compiler: the command of the C compiler.
        sanitize: trap on undefined behaviour.
        address_sanitizer: also find overruns of maps and stack; the process must have
            been started with libasan preloaded.
    """

    def __init__(
        self,
        config: ProgramConfig,
        *,
        compiler: str = "gcc",
        sanitize: bool = False,
        address_sanitizer: bool = False,
    ) -> None:
        flags = ["-Og", "-fPIC", "-shared", *WARNINGS]
        if sanitize:
            flags += ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
        if address_sanitizer:
            flags += ["-fsanitize=address"]
        self._library = _load_copy(build(config, compiler, tuple(flags)))
        self._library.host_key_size.restype = ctypes.c_size_t
        self._library.host_array.restype = ctypes.c_void_p
        self._library.host_zone_names.restype = ctypes.c_void_p
        self._library.host_tally.restype = ctypes.c_uint64
        self._library.host_samples_lost.restype = ctypes.c_uint64
        self._output = ctypes.create_string_buffer(FRAME_MAX)
        self.wants_changes = False
        self._taker = _TAKER()

    def set_entry(self, map_ref: int, key: bytes, value: bytes) -> None:
        """Write an entry: a rule, a destination, a queue's socket, the control map's, the index."""
        self._check(map_ref, key)
        if self._library.host_set(map_ref, key, value, ctypes.c_size_t(len(value))):
            raise ValueError(f"no map {map_ref} with values of {len(value)} bytes")

    def array(self, map_ref: int, entries: int) -> memoryview:
        """Return the memory of a new array of our own tables, which stays where it is."""
        address = self._library.host_array(map_ref, entries)
        if not address:
            raise ValueError(f"no array {map_ref}")
        size = BY_REF[map_ref].value_size * entries
        return memoryview((ctypes.c_char * size).from_address(address)).cast("B")

    def zone_names(self, number: int, buckets: int) -> memoryview:
        """Return the memory of a new array of names of a zone, until `clear`."""
        address = self._library.host_zone_names(number, buckets)
        if not address:
            raise ValueError(f"no zone {number}")
        size = ZONE_BUCKET_SIZE * buckets
        return memoryview((ctypes.c_char * size).from_address(address)).cast("B")

    def test_run(self, frame: bytes, repeat: int) -> None:
        """Run the table program so often, as its program test runs do."""
        del frame  # nor does the program look at it
        self._library.host_table(repeat)

    def make_socket(self, ends: bytes, state: int) -> None:
        """Make a TCP socket.

        Args:
            ends: of a segment for it, in wire order: both addresses and ports, source first.
            state: `enum bpf_tcp_state`.
        """
        if self._library.host_socket(ends, len(ends), state):
            raise ValueError("too many sockets")

    def tally(self, row: TallyRow, *, good: bool) -> int:
        """Return how many packets of the last run were counted in a row that is no reason's."""
        count: int = self._library.host_tally(int(row), int(good))
        return count

    def see_connection(self, words: Sequence[int]) -> int:
        """Run the program that sees connections; return what it returns.

        Args:
            words: `struct bpf_sock_ops` of platform.h, whose last one it may change.
        """
        ops = (ctypes.c_uint32 * len(words))(*words)
        result: int = self._library.host_tcp_proof(ops)
        self.wants_changes = bool(ops[-1])
        return result

    def set_ticks(self, ticks: int) -> None:
        """Set the clock; before, and after `clear`, it shows a day."""
        self._library.host_set_ticks(ctypes.c_uint64(ticks))

    def value(self, map_ref: int, key: bytes) -> bytes:
        """Return the 16 bytes of an entry's value; KeyError where there is none."""
        self._check(map_ref, key)
        value = ctypes.create_string_buffer(16)
        if self._library.host_get(map_ref, key, value):
            raise KeyError(key)
        return value.raw

    def hits(self, map_ref: int, key: bytes) -> int:
        """Return how often a rule was hit."""
        return int.from_bytes(self.value(map_ref, key)[:8], "little")

    def clear(self) -> None:
        """Empty every map and end panic."""
        self._library.host_clear()

    def run(
        self,
        frame: bytes,
        *,
        rx_queue: int = 0,
        guard_start: bool = False,
        first_buffer: int | None = None,
    ) -> HostResult:
        """Run the filter on one frame.

        Args:
            frame: from its Ethernet header on.
            first_buffer: octets of a longer frame that its first buffer holds.
            rx_queue: the queue it came in on.
            guard_start: put its start instead of its end at a page that faults.

        Raises:
            HostError: it touched what it must not, or counted wrongly.
        """
        outcome = _Outcome()
        error = self._library.host_run(
            frame,
            ctypes.c_size_t(len(frame)),
            ctypes.c_size_t(len(frame) if first_buffer is None else first_buffer),
            rx_queue,
            int(guard_start),
            ctypes.byref(outcome),
            self._output,
        )
        if error:
            raise HostError(f"{_ERRORS[error]}: {frame.hex()}")
        return HostResult(
            verdict=outcome.verdict,
            reason=Reason(outcome.reason),
            action=PacketAction(outcome.action),
            frame=ctypes.string_at(self._output, outcome.length),
        )

    def samples_to(self, taker: Callable[[bytes], None] | None) -> None:
        """Have each sample from now on taken by a function; None: there is no room for any."""
        if taker is None:
            self._taker = _TAKER()
        else:
            self._taker = _TAKER(lambda record, size: taker(ctypes.string_at(record, size)))
        self._library.host_samples(self._taker)

    def samples_lost(self) -> int:
        """Return how many samples there was no room for, since the last `run`."""
        lost: int = self._library.host_samples_lost()
        return lost

    def stream(self, frame: bytes, at: int, numbers: bytes, *, per_tick: int) -> None:
        """Run the filter on many frames, and do not look at what becomes of them.

        Args:
            frame: what they have in common.
            at: where in it each has its 4 octets of `numbers`.
            numbers: of all frames, in their order.
            per_tick: after so many the clock goes on by a tick.
        """
        self._library.host_stream(
            frame,
            ctypes.c_size_t(len(frame)),
            ctypes.c_size_t(at),
            numbers,
            ctypes.c_size_t(len(numbers) // 4),
            ctypes.c_uint64(per_tick),
        )

    def goes(self, batch: ctypes.Structure, *, guard_start: bool = False) -> bool:
        """Return whether every frame of a batch (batch.h) goes as it says."""
        return bool(self._library.host_batch(ctypes.byref(batch), int(guard_start), self._output))

    def _check(self, map_ref: int, key: bytes) -> None:
        size = self._library.host_key_size(map_ref)
        if size and len(key) != size:
            raise ValueError(f"map {map_ref} has keys of {size} bytes, not {len(key)}")


def build(config: ProgramConfig, compiler: str, flags: tuple[str, ...]) -> Path:
    """Return the library for `config`, compiled unless the same was before. Blocks."""
    return compiled([compiler, *flags, "-DXDPCTL_HOST"], DRIVER, render_config(config))


def compiled(command: Sequence[str], source: Path, rendered: str = "") -> Path:
    """Return what a command makes of a source with `rendered` before it, xdp/ at hand.

    Compiled unless the same was before. Blocks.
    """
    recipe = hashlib.sha256(repr((rendered, *command)).encode() + _digest(_sources(source)))
    library = folder() / f"{recipe.hexdigest()[:32]}.so"
    with alone(library.with_suffix(".lock")):
        if not library.exists():
            _compile(rendered, command, source, library)
    return library


def _sources(source: Path) -> tuple[_Source, ...]:
    """Return what a library is made of; its files are read again only if one of these changes."""
    near = [(file.path, file.stat()) for file in os.scandir(HERE) if file.name.endswith(".h")]
    ours = [
        (file.path, file.stat()) for file in os.scandir(SOURCES) if file.name.endswith((".h", ".c"))
    ]
    files = [(str(source), source.stat()), *sorted(near), *sorted(ours)]
    return tuple((path, state.st_mtime_ns, state.st_size) for path, state in files)


@lru_cache(maxsize=4)
def _digest(sources: tuple[_Source, ...]) -> bytes:
    digest = hashlib.sha256()
    for path, _, _ in sources:
        digest.update(Path(path).read_bytes())
    return digest.digest()


def _compile(rendered: str, command: Sequence[str], source: Path, library: Path) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent) as directory:
        config = Path(directory) / "rendered.h"
        config.write_text(rendered, encoding="utf-8")
        made = Path(directory) / library.name
        subprocess.run(
            [*command, f"-I{SOURCES}", "-include", str(config), "-o", str(made), str(source)],
            check=True,
        )
        made.rename(library)


def _load_copy(library: Path) -> ctypes.CDLL:
    """Load a library under another name: filters of one configuration share no maps."""
    with tempfile.TemporaryDirectory(dir=library.parent) as directory:
        copy = Path(directory) / library.name
        copy.write_bytes(library.read_bytes())
        return ctypes.CDLL(str(copy))
