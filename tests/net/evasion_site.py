"""Five real servers behind one filter, and everything that is known to get past a filter.

`direct` puts attacker and servers on one wire, `routed` a plain router between them. A
salvo sends every shape to every server over both versions of IP, under one rule, in bursts;
behind each burst an honest query to each server is answered, so that what the servers had
to say about the burst is in. Used by test_evasion.py and test_evasion_routed.py.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.evasion import fragments, messages, mixtures, zones
from tests.evasion.messages import PLAIN
from tests.evasion.shape import Ask
from tests.evasion.table import SHAPES
from tests.lab.authorities import authorities
from tests.lab.hosts import INTERFACE, Host
from tests.lab.process import LabError
from tests.lab.service import Service
from tests.lab.wire import Wire, mac
from tests.packets.build import TCP, UDP
from tests.packets.message import question

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tests.evasion.shape import Shape
    from tests.lab import Lab
    from tests.lab.authorities import Authority
    from tests.lab.wire import Reply

GOOD = "www.example"
DROPPED = "bad.example"
LONGER = "worse.example"
"""Its question ends where a first fragment can lie about letters of the name."""

TYPED = "at.example"
"""Blocked for type A alone; a first fragment can lie about the type and nothing else."""

TRUNCATED = "limited.example"
ZONES = (GOOD, DROPPED, LONGER, TYPED, TRUNCATED)

WIDE, BELOW = "evil.example", "vile.example"
"""Zones with an answer for every name in them: one blocked whole, one only below itself."""

DEEP = ".".join("abcdefghijklmnopq")
"""Labels in front of a zone, so many that its own are not among the first 16."""

VERSIONS = (4, 6)
FIRST_PORT = 1024
BURST = 100
"""Frames in one go, a little more at most; a veth end's ring takes 256."""

PATIENCE_SECONDS = 2.0
TRIES = 5
AFTERMATH_SECONDS = 0.3
EFFECT_SECONDS = 0.1
"""After which an entry acts (PACKETS.md)."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Addresses of the attacker, by version: one no rule concerns, and two with rules."""

    honest: dict[int, str]
    dropped: dict[int, str]
    truncated: dict[int, str]


@dataclass(frozen=True, slots=True)
class Rule:
    """What is blocked, and what is asked that it blocks.

    Attributes:
        name: of the rule.
        qname: that is asked for.
        target: that is blocked, where it is neither the name nor the source.
        source: who asks, an attribute of Sources.
        options: of its line in a list, behind the target.
        protocol: of what is sent.
        shapes: that are sent.
    """

    name: str
    qname: str = GOOD
    target: str = ""
    source: str = "honest"
    options: tuple[str, ...] = ()
    protocol: int = UDP
    shapes: tuple[Shape, ...] = SHAPES

    @property
    def blocked(self) -> bytes:
        """What stands in the answer to the blocked question, in lower case; empty: anything."""
        if self.source != "honest":
            return b""
        asked = question(self.qname)
        return asked if "qtype=A" in self.options else asked[:-4]

    def targets(self, sources: Sources) -> list[str]:
        """Return what is blocked."""
        if self.target:
            return [self.target]
        if self.source == "honest":
            return [self.qname]
        return list(getattr(sources, self.source).values())


_QUERIES = tuple(shape for shape in SHAPES if not shape.any_protocol)
_ANY = tuple(shape for shape in SHAPES if shape.any_protocol)
_FRONTS = tuple(shape for shape in zones.SHAPES if shape not in messages.SHAPES)
_LIES = tuple(shape for shape in fragments.SHAPES if not shape.any_protocol)

RULES = {
    rule.name: rule
    for rule in (
        Rule("name", DROPPED),
        Rule("longer name", LONGER, shapes=_LIES),
        Rule("name of one type", TYPED, options=("qtype=A",), shapes=_LIES),
        Rule("truncated name", TRUNCATED, options=("action=truncate",), shapes=_QUERIES),
        Rule("source", source="dropped"),
        Rule("truncated source", source="truncated", options=("action=truncate",)),
        Rule("source over TCP", source="dropped", protocol=TCP, shapes=_ANY),
        Rule("zone", f"www.{WIDE}", f".{WIDE}", shapes=(*SHAPES, *_FRONTS)),
        Rule("zone itself", WIDE, f".{WIDE}", shapes=(*messages.SHAPES, *_FRONTS)),
        Rule("below a zone", f"a.{BELOW}", f"*.{BELOW}", shapes=(*_QUERIES, *_FRONTS)),
        Rule("deep in a zone", f"{DEEP}.{WIDE}", f".{WIDE}", shapes=(*_LIES, *mixtures.SHAPES)),
    )
}

ROUTED = ("name", "longer name", "source", "source over TCP", "zone")
"""Rules that are tried through a router too; the others differ in what follows a match."""

ALONE = ("name", "longer name", "name of one type", "source over TCP", "zone")
"""Rules whose shapes are sent without the filter too."""

LET_GO = frozenset(
    {
        "plain",
        "EDNS with 1000 octets of padding",
        "IPv4 options: a router alert",
        "IPv6: 6 x destination options",
        "IPv6: an atomic fragment",
        "2 x VID 0 in 0x88a8 and 0x8100",
        "two fragments at 48",
        "two fragments at 48, reversed",
        "two fragments at 48 behind hop-by-hop",
    }
)
"""Shapes with a whole question in the first packet, which honest clients may send."""

HONEST = Rule("honest", shapes=tuple(shape for shape in SHAPES if shape.name in LET_GO))
"""What no rule concerns and every server answers."""

BESIDE = Rule("beside a zone", BELOW, shapes=HONEST.shapes)
"""The name of a zone that is blocked only below itself; every server answers."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One shape for one server."""

    shape: str
    server: str
    version: int
    size: int

    def __str__(self) -> str:
        return f"{self.shape}, v{self.version}, {self.server}"


@dataclass(slots=True)
class Outcome:
    """What a salvo brought: the replies to each trial, none where a trial is missing.

    Attributes:
        rule: that it was sent under.
        trials: how many were sent.
        replies: by trial.
    """

    rule: Rule
    trials: int = 0
    replies: dict[Trial, list[Reply]] = field(default_factory=dict)

    def where(self, what: Callable[[Reply], bool]) -> list[Trial]:
        """Return the trials with such a reply."""
        return [trial for trial, replies in self.replies.items() if any(map(what, replies))]

    @property
    def answered(self) -> list[Trial]:
        """Trials to which a server gave what is asked for."""
        blocked = self.rule.blocked
        return self.where(lambda reply: reply.is_positive and blocked in reply.message.lower())

    def servers(self) -> dict[tuple[str, int], set[str]]:
        """Return the servers that gave what is asked for, by shape and version."""
        found: dict[tuple[str, int], set[str]] = {}
        for trial in self.answered:
            found.setdefault((trial.shape, trial.version), set()).add(trial.server)
        return found


def report(trials: Iterable[Trial]) -> str:
    """Return one line a shape: its versions and how many servers, or which ones."""
    seen: dict[str, set[tuple[int, str]]] = {}
    for trial in trials:
        seen.setdefault(trial.shape, set()).add((trial.version, trial.server))
    lines = []
    for shape, which in seen.items():
        for version in sorted({version for version, _ in which}):
            names = sorted(server for at, server in which if at == version)
            lines.append(f"{shape}: v{version} {' '.join(names)}")
    return "\n".join(lines)


@dataclass(slots=True)
class Site:
    """Attacker, servers, and what is between them.

    Attributes:
        client: the attacker's host.
        server: the host of all servers.
        servers: the five.
        wire: the attacker's.
        client_mac: of the attacker.
        next_mac: of whom the attacker sends to.
        sources: of the attacker.
    """

    client: Host
    server: Host
    servers: tuple[Authority, ...]
    wire: Wire
    client_mac: bytes
    next_mac: bytes
    sources: Sources
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 65536 - FIRST_PORT)))

    def ask(self, server: Authority, version: int, rule: Rule) -> Ask:
        """Return the next trial's question."""
        number = next(self._numbers)
        source = getattr(self.sources, rule.source)[version]
        return Ask(
            version,
            source,
            server.address(version),
            self.client_mac,
            self.next_mac,
            rule.qname,
            FIRST_PORT + number,
            number,
            rule.protocol,
        )

    def salvo(self, rule: Rule) -> Outcome:
        """Send all shapes of a rule to all servers and return what they answered."""
        outcome = Outcome(rule)
        trials: dict[int, Trial] = {}
        burst: list[bytes] = []
        for shape in rule.shapes:
            least = 0 if shape.alone else BURST
            for version, server in itertools.product(shape.versions, self.servers):
                if len(burst) >= least:
                    self._exchange(burst, trials, outcome)
                    burst = []
                ask = self.ask(server, version, rule)
                frames = shape.frames(ask)
                trials[ask.ident] = Trial(shape.name, server.name, version, sum(map(len, frames)))
                burst += frames
            if shape.alone:
                self._exchange(burst, trials, outcome)
                burst = []
        self._exchange(burst, trials, outcome)
        time.sleep(AFTERMATH_SECONDS)
        _sort(self.wire.receive(), trials, outcome)
        outcome.trials = len(trials)
        return outcome

    def _exchange(self, frames: list[bytes], trials: dict[int, Trial], outcome: Outcome) -> None:
        """Send frames; return when every server has answered an honest query behind them."""
        self.wire.send(frames)
        waiting = [(server, version) for server in self.servers for version in VERSIONS]
        for _ in range(TRIES):
            # Port and ID 0 of no trial's: told apart by where the answer comes from.
            for server, version in waiting:
                self.wire.send(self._honest(server, version))
            deadline = time.monotonic() + PATIENCE_SECONDS
            while waiting and (left := deadline - time.monotonic()) > 0:
                replies = self.wire.receive(left)
                known = {reply.source for reply in replies if reply.port == FIRST_PORT}
                waiting = [
                    (s, version) for s, version in waiting if s.address(version) not in known
                ]
                _sort(replies, trials, outcome)
            if not waiting:
                return
        silent = ", ".join(f"{server.name} v{version}" for server, version in waiting)
        raise LabError(f"no answer to honest queries in {TRIES * PATIENCE_SECONDS:g} s: {silent}")

    def _honest(self, server: Authority, version: int) -> Sequence[bytes]:
        return PLAIN.frames(
            Ask(
                version,
                self.sources.honest[version],
                server.address(version),
                self.client_mac,
                self.next_mac,
                GOOD,
                FIRST_PORT,
                0,
            )
        )

    def filter(self, rules: Iterable[Rule]) -> Service:
        """Start the filter with these rules, native as on a card; they act on return."""
        service = Service(self.server, "--mode", "native")
        lines = [
            " ".join((target, *rule.options))
            for rule in rules
            for target in rule.targets(self.sources)
        ]
        rules_file = self.server.lab.write("evaded.txt", "\n".join([*dict.fromkeys(lines), ""]))
        done = service.verb("import", str(rules_file))
        if done.returncode:
            raise LabError(done.stderr)
        time.sleep(EFFECT_SECONDS)
        return service


@dataclass(frozen=True, slots=True)
class Attack:
    """What salvos brought, by the name of their rule.

    Attributes:
        site: where.
        before: without the filter.
        behind: the filter.
        service: that filters.
    """

    site: Site
    before: dict[str, Outcome]
    behind: dict[str, Outcome]
    service: Service


def attack(site: Site, rules: Iterable[Rule]) -> Attack:
    """Send the salvos of all rules and the honest one, without the filter and then behind it.

    Rules that differ in the source or the action alone are not told apart without it.
    """
    tried = [*rules]
    plain = [rule for rule in tried if rule.name in ALONE]
    before = {rule.name: site.salvo(rule) for rule in plain}
    service = site.filter(tried)
    behind = {rule.name: site.salvo(rule) for rule in (*tried, HONEST, BESIDE)}
    return Attack(site, before, behind, service)


def _sort(replies: Iterable[Reply], trials: dict[int, Trial], outcome: Outcome) -> None:
    """Put replies to their trials: by port, or by ID where the port is not a trial's."""
    for reply in replies:
        trial = trials.get(reply.port - FIRST_PORT) if reply.port > FIRST_PORT else None
        if trial is None and reply.port < FIRST_PORT:
            trial = trials.get(reply.ident)
        if trial is not None:
            outcome.replies.setdefault(trial, []).append(reply)


def _relax(server: Host) -> None:
    """Let the servers' host take whatever reaches it, thousands of lost fragments included."""
    server.run(
        "sysctl",
        "-qw",
        "net.ipv4.conf.all.rp_filter=0",
        f"net.ipv4.conf.{INTERFACE}.rp_filter=0",
        "net.ipv4.ipfrag_high_thresh=67108864",
        "net.ipv6.ip6frag_high_thresh=67108864",
        "net.ipv4.ipfrag_max_dist=0",
    )


def direct(lab: Lab) -> Site:
    """Make the scene on one wire."""
    client, server = lab.pair()
    _relax(server)
    sources = Sources(
        {4: "192.0.2.1", 6: "2001:db8::1"},
        {4: "192.0.2.66", 6: "2001:db8::66"},
        {4: "198.51.100.66", 6: "2001:db8:66::66"},
    )
    return _site(client, server, sources, mac(server))


def routed(lab: Lab) -> Site:
    """Make the scene with a plain Linux router between attacker and servers."""
    client, router, server = lab.host("client"), lab.host("router"), lab.host("server")
    lab.wire(client, router, name="eth0")
    lab.wire(router, server, name="eth1")
    server.ip("link", "set", "eth1", "down")
    server.ip("link", "set", "eth1", "name", INTERFACE)
    server.ip("link", "set", INTERFACE, "up")
    sources = Sources(
        {4: "203.0.113.2", 6: "2001:db8:a::2"},
        {4: "203.0.113.66", 6: "2001:db8:a::66"},
        {4: "203.0.113.67", 6: "2001:db8:a::67"},
    )
    for which in (sources.honest, sources.dropped, sources.truncated):
        for address, length in ((which[4], 24), (which[6], 64)):
            _address(client, f"{address}/{length}", INTERFACE)
    for address, interface in (
        ("203.0.113.1/24", "eth0"),
        ("2001:db8:a::1/64", "eth0"),
        ("192.0.2.1/24", "eth1"),
        ("2001:db8::1/64", "eth1"),
    ):
        _address(router, address, interface)
    _address(server, "192.0.2.53/24", INTERFACE)
    _address(server, "2001:db8::53/64", INTERFACE)
    for host, gateways in (
        (client, ("203.0.113.1", "2001:db8:a::1")),
        (server, ("192.0.2.1", "2001:db8::1")),
    ):
        for gateway in gateways:
            host.ip("route", "add", "default", "via", gateway)
    router.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    _relax(server)
    return _site(client, server, sources, mac(router, "eth0"))


def _address(host: Host, address: str, interface: str) -> None:
    options = ["nodad"] if ":" in address else []
    host.ip("address", "add", address, "dev", interface, *options)


def _site(client: Host, server: Host, sources: Sources, next_mac: bytes) -> Site:
    servers = authorities(server, ZONES, wide=(WIDE, BELOW))
    site = Site(client, server, servers, Wire(client), mac(client), next_mac, sources)
    for which in (sources.honest, sources.dropped, sources.truncated):
        for version in VERSIONS:  # so that both ends know each other before a burst
            client.run("ping", "-qc1", "-I", which[version], servers[0].address(version))
    return site
