"""How large each configuration's program may be: instructions, machine code, verifier steps.

All three repeat exactly for the same C, BCC and kernel, which no time does: so this is what
CI fails on. `ceilings.json` beside this file holds what was measured when it was last
renewed; another series of kernels counts otherwise and gets more room. Who makes the
program larger on purpose renews the file in the same commit.

    python -m tests.bench.ceilings           what is, beside what may be
    python -m tests.bench.ceilings --renew   write the file
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.engines.made_once import compiled_once
from tests.kernels.configurations import CONFIGURATIONS, kind_of
from xdpctl.abi import MAPS
from xdpctl.kernel.bpf.syscall import Bpf

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xdpctl.program.config import Recipe

CEILINGS: Final = Path(__file__).with_name("ceilings.json")

HERE, ELSEWHERE = 1.02, 1.5
"""Room above the file: on the same series of kernels, and on another."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large one program is.

    Attributes:
        instructions: as the kernel translated them (xlated).
        machine_code: octets of this machine's (jited).
        verified: steps that the verifier took.
    """

    instructions: int
    machine_code: int
    verified: int

    def above(self, ceiling: Size, room: float) -> Iterator[str]:
        """Yield a sentence for each figure that is above its ceiling by more than `room` allows."""
        for field in fields(self):
            measured, allowed = getattr(self, field.name), getattr(ceiling, field.name)
            if measured > allowed * room:
                yield f"{field.name.replace('_', ' ')}: {measured}, where {allowed} were measured"


def size_of(recipe: Recipe) -> Size:
    """Load a program over maps of its own and return how large it became."""
    bytecode = compiled_once(recipe)
    bpf = Bpf()
    with ExitStack() as stack:
        fds = {
            spec.ref: stack.enter_context(bpf.create_map(spec, spec.entries)).fd
            for spec in MAPS.values()
            if spec.ref in bytecode.refs()
        }
        info = stack.enter_context(
            bpf.load_program(bytecode.relocate(fds), "ceilings", kind_of(recipe))
        ).info
    return Size(info.xlated_length // 8, info.jited_length, info.verified_instructions)


def read_ceilings() -> tuple[dict[str, Size], float]:
    """Return the file's figures by configuration, and the room above them on this kernel."""
    document = json.loads(CEILINGS.read_text(encoding="utf-8"))
    sizes = {name: Size(**size) for name, size in document["configurations"].items()}
    same = _series(document["kernel"]) == _series(platform.release())
    return sizes, HERE if same else ELSEWHERE


def _series(release: str) -> list[str]:
    return release.split(".")[:2]


def measured_now() -> dict[str, Size]:
    """Return what every configuration measures on this kernel."""
    return {name: size_of(recipe) for name, recipe in CONFIGURATIONS.items()}


def renew(sizes: Mapping[str, Size]) -> None:
    """Write the file."""
    document = {
        "kernel": platform.release(),
        "machine": os.uname().machine,
        "configurations": {name: asdict(size) for name, size in sizes.items()},
    }
    CEILINGS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Print what is beside what may be; 1 when something is above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--renew", action="store_true", help="write the file")
    sizes = measured_now()
    if parser.parse_args(arguments).renew:
        renew(sizes)
    ceilings, room = read_ceilings()
    good = True
    for name, size in sizes.items():
        sys.stdout.write(
            f"{name:12}{size.instructions:6} instructions{size.machine_code:7} octets of machine"
            f" code{size.verified:8} verified\n"
        )
        for sentence in size.above(ceilings[name], room):
            good = False
            sys.stdout.write(f"    above its ceiling: {sentence}\n")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
