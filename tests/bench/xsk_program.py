"""ns per packet that goes to an AF_XDP socket, with and without rules, by program test runs.

A query to a registered destination finds a socket in xskmap that is bound to nothing: a
test run of a program that redirects ends with the program's verdict, and sends nothing
anywhere. What is timed is all up to that verdict, not the driver's part.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from tests.bench.cases import NAME_17, NAME_106, v4, v6
from tests.bench.turns import WARM_UP, Subject, Timing
from tests.engines.kernel import AF_XDP, SOL_XDP, XDP_RX_RING
from tests.lab.hosts import EMPTY_PROGRAM
from tests.packets.build import DNS_PORT, SERVER4, SERVER6, Udp
from tests.packets.case import DEFAULT
from tests.packets.message import query
from xdpctl.abi import MAPS, RULE_MAPS, MapName, RuleAction, encode_value, encode_xsk_destination
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.maps.name_follower import NameFollower
from xdpctl.program.compiler import compile_program_blocking
from xdpctl.rules import key_of, map_of, parse_target
from xdpctl.settings import XskFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.kernel.bpf.programs import Program

ROUNDS: Final = 7
RUNS: Final = 200_000
RULES: Final = 900
"""In each of the five rule maps, of 1024 that fit."""

WITH_XSK: Final = replace(DEFAULT, xsk=XskFamily.BOTH)
INDEXED_SECONDS: Final = 0.5
"""Until the index of names is in force, once names are asked for."""

_XDP_PASS: Final = 2
_XDP_REDIRECT: Final = 4
_QUEUE_0: Final = struct.pack("=I", 0)


def missed_rules() -> Iterator[str]:
    """Yield targets that match no frame here, as many for each map."""
    for number in range(RULES):
        high, low = divmod(number, 256)
        yield f"198.18.{high}.{low}"
        yield f"198.19.{number >> 4}.{(number & 15) << 4}/28"
        yield f"2001:db8:ffff::{number:x}"
        yield f"2001:db8:{number + 0x1000:x}::/48"
        yield f"host{number}.blocked.example"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The filter with maps of its own that nobody else sees.

    Attributes:
        plain: the service's program without any option.
        xsk: with --xsk, on the same maps.
    """

    plain: Program
    xsk: Program

    @classmethod
    def into(cls, stack: contextlib.ExitStack, *, rules: bool, index: bool) -> Loaded:
        """Load it.

        Args:
            stack: closes all of it.
            rules: fill the rule maps.
            index: keep the index of names in force, as a running service does.
        """
        bpf = Bpf()
        maps = {
            spec.name: stack.enter_context(bpf.create_map(spec, spec.entries))
            for spec in MAPS.values()
        }
        if index:
            followed = {name: maps[name] for name in RULE_MAPS}
            names = stack.enter_context(NameFollower(bpf, followed))
            maps[MapName.NAME_INDEX] = names.map
        for target in map(parse_target, missed_rules() if rules else ()):
            key = key_of(target, DEFAULT.any_qtype)
            maps[map_of(target)].update(key, encode_value(RuleAction.DROP))
        for name, server in (
            (MapName.XSK_DESTINATIONS_V4, SERVER4),
            (MapName.XSK_DESTINATIONS_V6, SERVER6),
        ):
            maps[name].update(encode_xsk_destination(ip_address(server), DNS_PORT), b"\1")
        unbound = stack.enter_context(socket.socket(AF_XDP, socket.SOCK_RAW))
        # Linux 7 refuses a socket without a receive ring (ENOBUFS).
        unbound.setsockopt(SOL_XDP, XDP_RX_RING, struct.pack("=i", 64))
        maps[MapName.XSKMAP].update(_QUEUE_0, struct.pack("=I", unbound.fileno()))
        fds = {MAPS[name].ref: opened.fd for name, opened in maps.items()}
        plain, xsk = (
            stack.enter_context(
                bpf.load_program(compile_program_blocking(config).relocate(fds), "bench_xsk")
            )
            for config in (DEFAULT, WITH_XSK)
        )
        return cls(plain, xsk)


def subjects(stack: contextlib.ExitStack) -> Iterator[Subject]:
    """Yield what is compared, the empty program first."""
    short, long = (Udp(query(name)) for name in (NAME_17, NAME_106))
    empty = stack.enter_context(Bpf().load_program(EMPTY_PROGRAM, "empty"))
    yield Subject("(an empty program)", empty, v4(short), _XDP_PASS)
    states = {
        "no rules": Loaded.into(stack, rules=False, index=True),
        f"{RULES} a map": Loaded.into(stack, rules=True, index=True),
        f"{RULES} a map, no name index": Loaded.into(stack, rules=True, index=False),
    }
    for rules, loaded in states.items():
        name = f"pass without --xsk, name of 17 octets, {rules}"
        yield Subject(name, loaded.plain, v4(short), _XDP_PASS)
    for what, frame in (
        ("name of 17 octets", v4(short)),
        ("name of 106 octets", v4(long)),
        ("IPv6, name of 17 octets", v6(short)),
    ):
        for rules, loaded in states.items():
            yield Subject(f"redirect, {what}, {rules}", loaded.xsk, frame, _XDP_REDIRECT)


def time_redirects() -> list[Timing]:
    """Time all subjects by turns, so that what disturbs a round disturbs all of them."""
    with contextlib.ExitStack() as stack:
        every = list(subjects(stack))
        nanoseconds: dict[str, list[float]] = {subject.name: [] for subject in every}
        for subject in every:
            subject.check()
            subject.program.test_run(subject.frame, WARM_UP)
        time.sleep(INDEXED_SECONDS)
        for _ in range(ROUNDS):
            for subject in every:
                run = subject.program.test_run(subject.frame, RUNS)
                nanoseconds[subject.name].append(float(run.nanoseconds))
    return [Timing.of(name, values) for name, values in nanoseconds.items()]
