"""`make bench-scale`: one million addresses and 100,000 names through a running service.

Prints a table with the goal and the floor beside each figure, and writes it, and JSON. The floor
of what writes or reads maps is the bare batch system calls (kernel/bpf/maps.py) on maps of
the same size in the same run, with keys and values ready in memory.

    python -m tests.bench.scale [--addresses 1000000] [--names 100000] [--origin list:scale]
    python -m tests.bench.scale --only-overlap

Rules of a list are in tables of our own, those of another origin (`file:scale`) in the maps
shared with dnsdist.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import random
import statistics
import subprocess
import time
from dataclasses import asdict
from ipaddress import IPv4Address
from typing import IO, TYPE_CHECKING, Final

from tests.bench.machine import Machine
from tests.bench.memory import table_bytes
from tests.bench.overlap import GOAL, ROUNDS, Took, apart, document, overlapping
from tests.bench.reaction import block_to_drop, lateness
from tests.bench.report import RAW, table_path, write_raw, write_table
from tests.bench.ticking import Ticks
from tests.bench.watch import Watch, ask, idle, scrape_seconds, timed
from tests.lab import Lab, Service
from tests.lab.hosts import PYTHON
from xdpctl.abi import MAPS, RULE_MAPS, MapName, RuleAction, encode_value
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.rules import AnyQtype
from xdpctl.rules.keys import full_key, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.bench.watch import Strain
    from xdpctl.kernel.bpf.maps import Map

ROOM: Final = 1_200_000
ORIGIN: Final = "list:scale"
CHANGED: Final = 100
"""One in so many is another one in the second list."""

LIFE: Final = 60
"""Seconds from the start of an import to the end of all its rules."""

ENDINGS: Final = 3
"""How often it is seen meanwhile how late single rules end; four seconds each."""

WAITING: Final = 100_000
"""Rules that wait for their end while others are due."""

PAGES: Final = 30
SCRAPE_GOAL, LOOP_GOAL, MEMORY_GOAL = 100.0, 20.0, 400.0


def targets(addresses: int, names: int, seed: int) -> list[str]:
    """Return a list of so many addresses and names, in no order."""
    chosen = random.Random(seed)
    numbers = chosen.sample(range(1 << 24, 223 << 24), addresses)
    every = [str(IPv4Address(number)) for number in numbers]
    every += [f"host{number}.zone{number % 977}.example" for number in range(names)]
    chosen.shuffle(every)
    return every


def with_changes(every: list[str]) -> list[str]:
    """Return the list with one in a hundred exchanged for another."""
    return [
        f"x{number}.example" if number % CHANGED == 0 else text for number, text in enumerate(every)
    ]


class Floor:
    """The bare batch system calls on maps of the same size."""

    def __init__(self, every: list[str], room: int) -> None:
        self._keys: dict[MapName, bytes] = {}
        by_ref: dict[int, list[bytes]] = {}
        for text in every:
            ref, stored = place_of(text, None, AnyQtype.BOTH)
            by_ref.setdefault(ref, []).append(full_key(ref, stored))
        for name in (MapName.ADDR_V4, MapName.QNAMES):
            self._keys[name] = b"".join(by_ref.get(MAPS[name].ref, []))
        self._room = room

    def measure(self) -> dict[str, float]:
        """Return seconds by what is done."""
        bpf = Bpf()
        value = encode_value(RuleAction.DROP)
        floors: dict[str, float] = {"write all": 0.0, "read all": 0.0, "1 % out and in": 0.0}
        for name, keys in self._keys.items():
            size = MAPS[name].key_size
            count = len(keys) // size
            part = keys[: count // CHANGED * size]
            values, some = value * count, value * (count // CHANGED)
            with bpf.create_map(MAPS[name], self._room) as opened:
                floors["write all"] += timed(lambda: opened.update_batch(keys, values))  # noqa: B023 - called at once
                floors["read all"] += timed(lambda: sum(len(k) for k, _ in opened.chunks(16384)))
                floors["1 % out and in"] += timed(lambda: opened.delete_batch(part))  # noqa: B023
                floors["1 % out and in"] += timed(lambda: opened.update_batch(part, some))  # noqa: B023
                floors["write one"] = timed(lambda: opened.update(keys[:size], value))  # noqa: B023
        return floors


class Scale:
    """A service with large maps, and the figures.

    Args:
        lab: where.
        every: the list.
        room: of the shared maps.
        origin: whose rules the list has.
    """

    def __init__(self, lab: Lab, every: list[str], room: int, origin: str) -> None:
        self.lab = lab
        self.origin = origin
        self.every = every
        self.client, self.server = lab.pair()
        clock = lab.directory / "ticks"
        self.ticks, self.idle = Ticks(clock), Ticks(lab.directory / "idle")
        sizes = [f"--map-size={name}={room}" for name in (MapName.ADDR_V4, MapName.QNAMES)]
        command = (PYTHON, "-m", "tests.bench.ticking", str(clock))
        self.service = Service(self.server, *sizes, command=command)
        self.watch = Watch(self.service, self.ticks, self.idle)
        self.strains: dict[str, Strain] = {}
        self.file = lab.write("scale.rules", "".join(f"{text}\n" for text in every))

    def run(self, name: str, work: Callable[[], object]) -> None:
        """Do something, and watch the service during it."""
        with self.watch.during() as strain:
            work()
        self.strains[name] = strain
        print(f"  {name}: {strain.seconds:.2f} s", flush=True)

    def verb(self, *words: str, output: Path | None = None) -> None:
        """Run a verb of the command line to its end."""
        with contextlib.ExitStack() as stack:
            sink = None if output is None else stack.enter_context(output.open("wb"))
            run_verb(self.service, *words, output=sink)

    def work(self) -> None:
        """Import, export, import again, PUT."""
        self.run("import", lambda: self.verb("import", str(self.file), "--origin", self.origin))
        self.run(
            "import again", lambda: self.verb("import", str(self.file), "--origin", self.origin)
        )
        exported = self.lab.directory / "exported"
        self.run("export", lambda: self.verb("export", output=exported))
        with exported.open("rb") as lines:
            count = sum(1 for _ in lines)
        if count != len(self.every):
            raise AssertionError(f"{count} lines were exported, not {len(self.every)}")
        body = json.dumps([{"target": text} for text in with_changes(self.every)]).encode()
        path = f"/api/v1/rules?origin={self.origin}"
        self.run("put", lambda: print("   ", ask(self.service.control, "PUT", path, body).decode()))

    def page_seconds(self, limit: int) -> list[float]:
        """Return how long each of some pages takes, one behind the other."""
        took, cursor = [], ""
        for _ in range(PAGES):
            path = f"/api/v1/rules?limit={limit}{cursor}"
            answers: list[bytes] = []
            took.append(timed(lambda: answers.append(ask(self.service.control, "GET", path))))  # noqa: B023 - called at once
            following = json.loads(answers[0])["next"]
            cursor = f"&cursor={following}" if following else ""
        return took

    def few_scrape_seconds(self) -> float:
        """Return how long a scrape takes with ten rules, which are there for as long."""
        few = [f"198.51.100.{number}" for number in range(10)]
        self.verb("block", *few)
        seconds = scrape_seconds(self.service)
        self.verb("unblock", *few)
        return seconds

    def let_wait(self) -> None:
        """Put in rules that end much later."""
        numbers = range(WAITING)
        text = "".join(f"198.{18 + n // 65536}.{n >> 8 & 255}.{n & 255} for=1h\n" for n in numbers)
        path = self.lab.write("waiting.rules", text)
        self.verb("import", str(path), "--origin", "file:waiting")

    def wait_until_gone(self) -> None:
        """Wait until the list has no rule."""
        while self.origin.encode() in ask(self.service.control, "GET", "/api/v1/origins"):
            time.sleep(0.5)

    def maps(self) -> dict[MapName, Map]:
        """Return the service's rule maps, opened through their pins."""
        return {name: Bpf().open_map(self.lab.pins / name) for name in RULE_MAPS}


def run_verb(service: Service, *words: str, output: IO[bytes] | None = None) -> None:
    """Run a verb of the command line to its end, however long it takes."""
    subprocess.run(
        [PYTHON, "-m", "xdpctl", *words, "--control", str(service.control)],
        check=True,
        stdout=subprocess.DEVNULL if output is None else output,
        env=service.host.lab.environ,
    )


def end_at_once(scale: Scale) -> dict[str, float]:
    """Let all rules of a list end at one moment; see the loop, and how late others are."""
    scale.verb("flush", "--yes", "--origin", scale.origin)
    lines = "".join(f"{text} for={LIFE}s\n" for text in scale.every)
    path = scale.lab.write("ending.rules", lines)
    began = time.monotonic()
    scale.verb("import", str(path), "--origin", scale.origin)
    time.sleep(max(0.0, began + LIFE - 1 - time.monotonic()))
    late: list[float] = []
    with scale.watch.during() as strain:
        for _ in range(ENDINGS):
            late += lateness(scale.maps(), scale.service.control).values
        scale.wait_until_gone()
    return {
        "seconds": round(time.monotonic() - began - LIFE, 2),
        "loop_held_max_ms": round(1000 * strain.held, 2),
        "late_median_ms": round(1000 * statistics.median(late), 2),
        "late_most_ms": round(1000 * max(late), 2),
    }


def measure_overlap(addresses: int, names: int) -> dict[str, float]:
    """Import three lists that have rules in common, beside as many rules of lists apart."""
    every = targets(addresses, names, seed=5)
    kinds = {"apart": apart(every), "overlapping": overlapping(every)}
    took: dict[str, Took] = {}
    for _ in range(ROUNDS):
        for kind, lists in kinds.items():
            with Lab() as lab:
                service = Service(lab.pair()[1])
                files = [
                    lab.write(f"{number}.rules", "".join(f"{text}\n" for text in part))
                    for number, part in enumerate(lists)
                ]

                def work(files: list[Path] = files, service: Service = service) -> None:
                    for number, file in enumerate(files):
                        words = ("import", str(file), "--replace", "--origin", f"list:{number}")
                        run_verb(service, *words)

                for step in ("import", "again"):
                    name = f"{kind}: {step}"
                    took.setdefault(name, Took()).run(service, work)
                    print(f"  {name}: {took[name].passed[-1]:.2f} s", flush=True)
                service.stop()
    return document(took)


@contextlib.contextmanager
def idle_process(path: Path) -> Iterator[None]:
    """Have a process that does nothing but tick."""
    Ticks(path)
    process = multiprocessing.get_context("spawn").Process(target=idle, args=(path,), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def measure(addresses: int, names: int, origin: str) -> dict[str, object]:
    """Run everything and return the document."""
    every = targets(addresses, names, seed=4)
    room = max(ROOM, addresses + names + WAITING)
    floors = Floor(every, room).measure()
    with Lab() as lab, idle_process(lab.directory / "idle"):
        scale = Scale(lab, every, room, origin)
        scrapes = {"10": scale.few_scrape_seconds()}
        scale.work()
        kernel = table_bytes(scale.server)
        scrapes[str(addresses + names)] = scrape_seconds(scale.service)
        pages = {limit: statistics.median(scale.page_seconds(limit)) for limit in (100, 1000)}
        reaction = block_to_drop(scale.client, scale.server, scale.service.control)
        print(f"  block: {1000 * reaction.median:.1f} ms", flush=True)
        scale.let_wait()
        late = lateness(scale.maps(), scale.service.control)
        print(f"  expiry: {1000 * late.median:.1f} ms", flush=True)
        ending = end_at_once(scale)
        print(f"  all end at once: {ending['seconds']:.1f} s", flush=True)
        problems = [line for line in scale.service.process.lines if "error" in line]
        scale.service.stop()
    return {
        "origin": origin,
        "addresses": addresses,
        "names": names,
        "floor_seconds": {name: round(value, 4) for name, value in floors.items()},
        "work": {name: strain.row() for name, strain in scale.strains.items()},
        "table_mb": round(kernel / 1e6, 1),
        "scrape_ms": {rules: round(1000 * value, 2) for rules, value in scrapes.items()},
        "page_ms": {str(limit): round(1000 * value, 2) for limit, value in pages.items()},
        "block_to_drop": reaction.document(),
        "expiry_lateness": late.document(),
        "ending": ending,
        "log_errors": problems,
    }


def rows(found: dict[str, object]) -> Iterator[tuple[str, float, str, str, str]]:
    """Yield what is printed: what, figure, unit, goal, floor."""
    floors, work = found["floor_seconds"], found["work"]
    pages, block, late = found["page_ms"], found["block_to_drop"], found["expiry_lateness"]
    scrapes = found["scrape_ms"]
    assert isinstance(floors, dict)
    assert isinstance(work, dict)
    assert isinstance(scrapes, dict)
    assert isinstance(pages, dict)
    assert isinstance(block, dict)
    assert isinstance(late, dict)
    goals = {"import": 5.0, "import again": 2.0, "export": 6.0, "put": 5.0}
    floor_of = {
        "import": "write all",
        "import again": "read all",
        "export": "read all",
        "put": "1 % out and in",
    }
    for name, goal in goals.items():
        yield (
            name,
            work[name]["seconds"],
            "s",
            f"{goal:g}" if goal else "",
            f"{floors[floor_of[name]]:.3f} ({floor_of[name]})",
        )
    for name, strain in work.items():
        yield f"  scrape while {name}, most", strain["scrape_max_ms"], "ms", f"{SCRAPE_GOAL:g}", ""
        yield f"  /healthz while {name}, most", strain["healthz_max_ms"], "ms", "", ""
        yield (
            f"  loop held while {name}, most",
            strain["loop_held_max_ms"],
            "ms",
            f"{LOOP_GOAL:g}",
            "",
        )
        yield (
            f"  loop late while {name}, most",
            strain["loop_late_max_ms"],
            "ms",
            "",
            f"{strain['idle_process_late_max_ms']:.1f} (a process that does nothing)",
        )
        yield f"  memory while {name}", strain["memory_max_mb"], "MB", f"{MEMORY_GOAL:g}", ""
    tables = found["table_mb"]
    assert isinstance(tables, float)
    yield "kernel memory of our own tables", tables, "MB", "70", ""
    for rules, value in scrapes.items():
        yield f"a scrape with {int(rules):,} rules, median", value, "ms", "", ""
    for limit, value in pages.items():
        yield f"a page of {limit}, median", value, "ms", "20", ""
    write = f"{1000 * floors['write one']:.3f} (one write)"
    yield "block to first drop, median", block["median_ms"], "ms", "5", write
    yield "block to first drop, most", block["most_ms"], "ms", "", ""
    yield f"late at the end, {WAITING} waiting, median", late["median_ms"], "ms", "", ""
    yield f"late at the end, {WAITING} waiting, most", late["most_ms"], "ms", "250", ""
    yield from rows_of_ending(found)
    yield from rows_of_overlap(found)


def rows_of_ending(found: dict[str, object]) -> Iterator[tuple[str, float, str, str, str]]:
    """Yield what is printed about many rules that end at once."""
    ending = found["ending"]
    assert isinstance(ending, dict)
    yield "all rules of a list end at once", ending["seconds"], "s", "", ""
    yield "  loop held meanwhile, most", ending["loop_held_max_ms"], "ms", f"{LOOP_GOAL:g}", ""
    yield "  another rule late meanwhile, median", ending["late_median_ms"], "ms", "", ""
    yield "  another rule late meanwhile, most", ending["late_most_ms"], "ms", "250", ""


def rows_of_overlap(found: dict[str, object]) -> Iterator[tuple[str, float, str, str, str]]:
    """Yield what is printed about lists with rules in common."""
    overlap = found.get("overlap") or {}
    assert isinstance(overlap, dict)
    for name, value in overlap.items():
        is_ratio = name.startswith("ratio")
        what = name if is_ratio else f"three lists {name}"
        what = what.removesuffix(", s")
        yield what, value, "" if is_ratio else "s", f"{GOAL:g}" if is_ratio else "", ""


def table(found: dict[str, object]) -> str:
    """Return the rows as Markdown."""
    lines = ["| what | figure | goal | floor |", "| --- | ---: | ---: | --- |"]
    lines += (
        f"| {what.strip()} | {figure:.2f} {unit} | {goal} | {floor} |"
        for what, figure, unit, goal, floor in rows(found)
    )
    return "\n".join(lines)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__)
    parser.add_argument("--addresses", type=int, default=1_000_000)
    parser.add_argument("--names", type=int, default=100_000)
    parser.add_argument("--origin", default=ORIGIN)
    parser.add_argument(
        "--only-overlap", action="store_true", help="only lists with rules in common; print it"
    )
    given = parser.parse_args()
    machine = Machine.now()
    print(machine.text)
    if given.only_overlap:
        print(json.dumps(measure_overlap(given.addresses, given.names), indent=2))
        return
    began = time.monotonic()
    found = measure(given.addresses, given.names, given.origin)
    found["overlap"] = measure_overlap(given.addresses, given.names)
    print(f"\n{'':44}{'figure':>10}      {'goal':>6}   floor")
    for what, figure, unit, goal, floor in rows(found):
        print(f"{what:44}{figure:10.2f} {unit:4}{goal:>7}   {floor}")
    text = (
        f"{given.addresses:,} addresses and {given.names:,} names of {given.origin} through a"
        f" running service; the floor is the bare batch system calls.\n{machine.text}\n\n"
        f"{table(found)}\n"
    )
    write_table("bench-scale", machine, text)
    document = json.dumps({"machine": asdict(machine), **found}, indent=2)
    write_raw("bench-scale", document + "\n")
    print(f"\nwritten to {table_path(machine)} and {RAW} after {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
