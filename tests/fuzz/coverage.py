"""`python -m tests.fuzz.coverage --seconds N`: libFuzzer over the C, compiled for here.

Builds coverage.c with every configuration of inputs.py under AddressSanitizer and
UndefinedBehaviorSanitizer, and lets libFuzzer mutate the kept corpus and the table's
cases for that long. Ends with status 1 and a reproducer at the first finding. `--keep`
writes what it takes to reach all that was reached, in few octets, to tests/fuzz/corpus/.
Needs clang and its runtime, and no root.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engines.entries import destination_keys
from tests.engines.host_build import SOURCES, TICKS, WARNINGS
from tests.engines.limited import ARRAYS, exempt_entries, limit_arrays
from tests.engines.tables import OWN, SHAPE
from tests.engines.zoned import ZONE_ARRAYS, maps_of
from tests.fuzz.compare import say
from tests.fuzz.inputs import CONFIGS, CORPUS, LIMITED, judged, read_corpus, seeds, write_corpus
from tests.packets.case import Scene
from tests.packets.xsk import DESTINATIONS
from tests.packets.zone_limits import ALL as EVERY_LIMIT
from xdpctl.abi import (
    HEAD_BIT_NUMBERS_OFFSET,
    HEAD_SECRETS_OFFSET,
    HEAD_SIZE,
    MAPS,
    MapName,
)
from xdpctl.program.compiler import FUNCTION
from xdpctl.program.config import render_config

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "fuzz"
LONGEST_INPUT = 2048
KEPT_OCTETS = 140_000
"""In base64 a third more."""

_COMPILER = "clang-14"
_FLAGS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", *WARNINGS)


def build(directory: Path) -> Path:
    """Return the fuzzing program, compiled into `directory`. Blocks for half a minute."""
    objects = []
    for number, config in enumerate(CONFIGS):
        rendered = directory / f"config-{number}.h"
        rendered.write_text(render_config(config), encoding="ascii")
        made = directory / f"filter-{number}.o"
        compile_(
            "-fsanitize=fuzzer-no-link",
            "-DXDPCTL_HOST",
            f"-D{FUNCTION}=filter_{number}",
            f"-I{SOURCES}",
            "-include",
            rendered,
            "-Wno-missing-prototypes",
            "-c",
            SOURCES / "filter.bpf.c",
            "-o",
            made,
        )
        objects.append(made)
    table = directory / "table.c"
    table.write_text(_table(), encoding="ascii")
    program = directory / "coverage"
    compile_(
        "-fsanitize=fuzzer",
        "-DXDPCTL_HOST",
        f"-I{SOURCES}",
        f"-I{HERE}",
        "-include",
        directory / "config-0.h",  # of the other programs, which host.c brings
        HERE / "coverage.c",
        table,
        *objects,
        "-o",
        program,
    )
    return program


def compile_(*arguments: str | Path) -> None:
    """Run the compiler with the sanitizers."""
    subprocess.run([_COMPILER, *_FLAGS, *map(str, arguments)], check=True)


def _table() -> str:
    """Return the C that coverage.c declares: configurations and destinations."""
    numbers = range(len(CONFIGS))
    lines = ['#include "abi.h"', "#include <stddef.h>", "struct xdp_md;"]
    lines += [f"int filter_{number}(struct xdp_md *ctx);" for number in numbers]
    fields = "int (*filter)(struct xdp_md *ctx); int has_xsk; int has_tables; int has_limits;"
    lines.append(f"struct configuration {{ {fields} }};")
    rows = [
        f"{{filter_{number}, {int(config.xsk is not None)}, {int(config.tables)},"
        f" {int(config.limits)}}}"
        for number, config in zip(numbers, CONFIGS, strict=True)
    ]
    lines += _array("struct configuration", "configurations", "configuration_count", rows)
    keys = destination_keys(Scene(destinations=DESTINATIONS))
    for family, name in (("v4", MapName.XSK_DESTINATIONS_V4), ("v6", MapName.XSK_DESTINATIONS_V6)):
        found = [key for map_name, key in keys if map_name is name]
        rows = [f"{{{', '.join(map(str, key))}}}" for key in found]
        what = f"destinations_{family}"
        lines += _array("__u8", f"{what}[][{len(found[0])}]", f"{what}_count", rows)
    head = ", ".join(map(str, _head()))
    lines += _array("__u8", f"table_head_value[][{HEAD_SIZE}]", "table_heads", [f"{{{head}}}"])
    entries = {name: SHAPE.entries(name) for name in OWN}
    entries |= ARRAYS | ZONE_ARRAYS | {MapName.HEAVY_ZONES: 1}
    rows = [f"{{{MAPS[name].ref}, {count}}}" for name, count in entries.items()]
    lines += _array("__u32", "array_sizes[][2]", "array_sizes_count", rows)
    return "\n".join(lines + _limits()) + "\n"


def _limits() -> list[str]:
    """Return the C of what the limits' maps hold: values, end to end, and where each belongs."""
    values, parts = b"", []
    for number, (limits, exempt) in enumerate(LIMITED):
        scene = Scene(config=EVERY_LIMIT, limits=limits, exempt=exempt)
        zones = maps_of(scene, TICKS)
        found = [(name, 0, held) for name, held in limit_arrays(scene, TICKS).items()]
        found += [(name, 0, held) for name, held in zones.arrays.items()]
        found += [(MapName.ZONE_LIMITS, 0, key + held) for key, held in zones.limits.items()]
        found += [(MapName.ZONE_NAMES, zone, held) for zone, held in zones.names.items()]
        found += [(name, 0, key) for name, key in exempt_entries(scene)]
        for name, entry, held in found:
            place = (number, MAPS[name].ref, entry, len(values), len(held))
            parts.append(f"{{{', '.join(map(str, place))}}}")
            values += held
    fields = "__u32 scene, map, entry, at, size;"
    return [
        f"struct limits_part {{ {fields} }};",
        *_array("struct limits_part", "limits_parts", "limits_parts_count", parts),
        *_array("__u8", "limits_values", "limits_values_size", [*map(str, values)]),
        f"const __u32 limits_scenes = {len(LIMITED)};",
    ]


def _head() -> bytes:
    """Return the head of empty tables with a secret that is none: the same in every run."""
    head = bytearray(SHAPE.head(1))
    size = HEAD_BIT_NUMBERS_OFFSET - HEAD_SECRETS_OFFSET
    head[HEAD_SECRETS_OFFSET:HEAD_BIT_NUMBERS_OFFSET] = random.Random("coverage").randbytes(size)
    return bytes(head)


def _array(kind: str, declared: str, count: str, rows: list[str]) -> list[str]:
    name, _, bounds = declared.partition("[]")
    return [
        f"const {kind} {name}[]{bounds} = {{{', '.join(rows)}}};",
        f"const size_t {count} = {len(rows)};",
    ]


def write_inputs(directory: Path, inputs: Iterable[bytes]) -> None:
    """Write each input to a file named by its hash, as libFuzzer does."""
    directory.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (directory / hashlib.sha256(data).hexdigest()[:40]).write_bytes(data)


def fuzz(program: Path, seconds: int, *, seed: int = 0) -> Path | None:
    """Mutate for so many seconds; return the input that broke a rule, if one did."""
    found, findings = BUILD / "found", BUILD / "findings"
    findings.mkdir(exist_ok=True)
    write_inputs(found, read_corpus() if CORPUS.exists() else ())
    write_inputs(found, seeds())
    before = set(findings.iterdir())
    done = subprocess.run(
        [
            program,
            f"-max_total_time={seconds}",
            f"-max_len={LONGEST_INPUT}",
            f"-artifact_prefix={findings}/",
            f"-seed={seed}",
            "-timeout=300",  # by the clock: a busy machine may stand still
            "-rss_limit_mb=2048",
            "-use_value_profile=1",
            "-print_final_stats=1",
            found,
        ],
        check=False,
    )
    if done.returncode == 0:
        return None
    return next(iter(set(findings.iterdir()) - before), found)


def reproducer(program: Path, path: Path) -> str:
    """Return what an input is, as text, and how to run it again."""
    meant = judged(path.read_bytes()) if path.is_file() else None
    if meant is None:
        return f"{program} {path}"
    scene, frame = meant
    return f"{program} {path}\nframe ({len(frame)} octets): {frame.hex()}\nscene: {scene!r}"


def keep(program: Path) -> str:
    """Write a small corpus that reaches what all that was found reaches; say how far."""
    with tempfile.TemporaryDirectory(dir=BUILD) as temporary:
        less = Path(temporary)
        done = subprocess.run(
            [program, "-merge=1", less, BUILD / "found"],
            check=True,
            capture_output=True,
            text=True,
        )
        inputs = sorted((path.read_bytes() for path in less.iterdir()), key=len)
    kept, octets = [], 0
    for data in inputs:
        octets += len(data)
        if octets > KEPT_OCTETS:
            break
        kept.append(data)
    write_corpus(kept)
    reached = re.findall(r"MERGE-OUTER: .*", done.stderr)
    return f"kept {len(kept)} of {len(inputs)} inputs; {reached[-1] if reached else ''}"


def main() -> int:
    """Build, fuzz, keep."""
    parser = argparse.ArgumentParser(description="libFuzzer over the filter on the host.")
    parser.add_argument("--seconds", type=int, default=3600, help="how long (3600)")
    parser.add_argument("--seed", type=int, default=0, help="libFuzzer's; 0: another each time")
    parser.add_argument("--keep", action="store_true", help="write the smaller corpus")
    options = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    program = build(BUILD)
    if path := fuzz(program, options.seconds, seed=options.seed):
        say(f"a finding: {reproducer(program, path)}")
        return 1
    say(f"no finding in {options.seconds} seconds")
    if options.keep:
        say(keep(program))
    return 0


if __name__ == "__main__":
    sys.exit(main())
