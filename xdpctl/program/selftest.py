"""The self-test that a compiled program must pass before it is attached.

Loads it a second time, with small maps of its own, and runs it on a few packets with
BPF_PROG_TEST_RUN: a plain query passes, a rule of each kind drops, an answer is correct with its
checksums, impossible packets are dropped, and panic passes everything. It uses no real packets
and no shared maps. Owns these packets and the expected verdicts. Does not own the program. Called
by service/ after compiling; blocks for some milliseconds.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final

from xdpctl.abi import MAPS, MapName, MapType, RuleAction, encode_control, encode_value
from xdpctl.errors import SelfTestError
from xdpctl.program.datagram import Datagram
from xdpctl.rules import Question, key_of, map_of
from xdpctl.rules.names import Name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xdpctl.abi import MapSpec
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.programs import Program
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.program.config import ProgramConfig
    from xdpctl.rules import Target

XDP_DROP, XDP_PASS, XDP_TX = 1, 2, 3

_ROOM = 4
_INDEX = bytes(4)
_NAME = b"\x09self-test\x06xdpctl\x07invalid\x00"
_SENDERS: Final[dict[int, IPv4Address | IPv6Address]] = {
    4: IPv4Address("192.0.2.1"),
    6: IPv6Address("2001:db8::1"),
}
_SERVERS: Final[list[IPv4Address | IPv6Address]] = [
    IPv4Address("192.0.2.53"),
    IPv6Address("2001:db8::53"),
]
_SENDER_PORT = 40053
_BLOCKED: Final = Question(Name(_NAME))
_POINTED: Final = _NAME[:-1] + b"\xc0\x04"
"""The same name for a server that follows pointers: the octet pointed to is zero."""


def run(bpf: Bpf, config: ProgramConfig, bytecode: Bytecode) -> None:
    """Test a program that was compiled for a configuration.

    Raises:
        SelfTestError: it gives a packet the wrong verdict.
        VerifierError, KernelError: it cannot be loaded or run.
    """
    used = bytecode.refs()
    with contextlib.ExitStack() as stack:
        maps = {
            name: stack.enter_context(bpf.create_map(spec, _room_of(spec)))
            for name, spec in MAPS.items()
            if spec.ref in used
        }
        descriptors = {MAPS[name].ref: opened.fd for name, opened in maps.items()}
        program = stack.enter_context(
            bpf.load_program(bytecode.relocate(descriptors), "xdpctl_test")
        )
        trial = _Trial(program, maps, config)
        for query in _queries(config):
            trial.judge(query)


class _Trial:
    """A loaded program under test.

    Args:
        program: the program, which refers to these maps.
        maps: its own maps.
        config: the configuration that it was compiled for.
    """

    def __init__(
        self, program: Program, maps: Mapping[MapName, Map], config: ProgramConfig
    ) -> None:
        self._program = program
        self._maps = maps
        self._any_qtype = config.any_qtype

    def judge(self, query: Datagram) -> None:
        """Test the verdict on a query, without rules and with each kind of rule."""
        frame, sender = query.frame(), query.sender
        kind = f"an IPv{sender.version} query"
        self._expect(frame, XDP_PASS, frame, f"{kind} that no rule matches does not pass unchanged")
        for target, what in (
            (sender, "from a blocked address"),
            (_network_of(sender), "from a blocked prefix"),
            (_BLOCKED, "for a blocked name"),
        ):
            with self._rule(target, RuleAction.DROP):
                self._expect(frame, XDP_DROP, None, f"{kind} {what} is not dropped")
                self._panic(on=True)
                self._expect(frame, XDP_PASS, frame, f"{kind} does not pass during a panic")
                self._panic(on=False)
        with self._rule(_BLOCKED, RuleAction.TRUNCATE):
            answer = query.answer().frame()
            self._expect(frame, XDP_TX, answer, f"{kind} is not answered with TC=1 as it must be")
            itself = replace(query, sender=query.server).frame()
            self._expect(itself, XDP_DROP, None, f"{kind} from its own destination is not dropped")
        pointed = replace(query, name=_POINTED).frame()
        self._expect(pointed, XDP_DROP, None, f"{kind} with a compression pointer is not dropped")

    def _expect(self, frame: bytes, verdict: int, after: bytes | None, complaint: str) -> None:
        found = self._program.test_run(frame)
        if found.return_value != verdict or (after is not None and found.frame != after):
            raise SelfTestError(
                f"the compiled program fails its self-test: {complaint} (verdict"
                f" {found.return_value}, not {verdict}); it is not attached: reinstall xdpctl and"
                " python3-bpfcc, and report this with the kernel's release"
            )

    @contextlib.contextmanager
    def _rule(self, target: Target, action: RuleAction) -> Iterator[None]:
        opened = self._maps[map_of(target)]
        key = key_of(target, self._any_qtype)
        opened.update(key, encode_value(action))
        yield
        opened.delete(key)

    def _panic(self, *, on: bool) -> None:
        self._maps[MapName.CONTROL].update(_INDEX, encode_control(panic=on))


def _room_of(spec: MapSpec) -> int:
    """Return how large a map of the test's own is: a ring buffer has pages, not entries."""
    return spec.entries if spec.type is MapType.RINGBUF else min(spec.entries, _ROOM)


def _queries(config: ProgramConfig) -> Iterator[Datagram]:
    """Yield a query of each family that the configuration filters."""
    servers: dict[int, IPv4Address | IPv6Address] = {}
    filtered: list[IPv4Address | IPv6Address] = [net.network_address for net in config.addresses]
    for server in filtered or _SERVERS:
        servers.setdefault(server.version, server)
    for version, address in servers.items():
        yield Datagram(_SENDERS[version], address, _SENDER_PORT, config.ports[0], name=_NAME)


def _network_of(address: IPv4Address | IPv6Address) -> IPv4Network | IPv6Network:
    return ip_network((address, 24 if address.version == 4 else 48), strict=False)  # noqa: PLR2004 - IPv4
