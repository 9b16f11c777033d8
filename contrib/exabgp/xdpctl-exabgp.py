#!/usr/bin/env python3
"""ExaBGP process: sources that BGP announces are dropped before they reach the DNS server.

ExaBGP runs this program and writes what its peers announce to it, as lines of JSON; this program
runs `xdpctl`. README.md beside it shows the configuration. Two kinds of routes become claims of
the origin app:exabgp, on prefixes of *sources*:

    flowspec   a source prefix with `discard` (rate-limit 0), and of the other components only
               UDP, TCP, port 53, and a destination that XDPCTL_EXABGP_DESTINATIONS has
    unicast    a route with a blackhole community (65535:666), so from a peer that announces
               attackers (RFC 5635), never victims

A withdrawal ends the claim. When a session ends, its routes stay for XDPCTL_EXABGP_HOLD seconds
and are gone then, or with the end of the new table, unless they are announced again. Each claim
ends by itself XDPCTL_EXABGP_LEASE seconds after it was last renewed, so that nothing stays when
ExaBGP is gone for good. At start the claims of a former run are taken over in the same way.

Environment: XDPCTL_CONTROL names the service's socket, XDPCTL_PROGRAM another `xdpctl`,
XDPCTL_EXABGP_ACTION=truncate answers TC=1 instead of dropping, XDPCTL_EXABGP_COMMUNITIES the
blackhole communities, XDPCTL_EXABGP_MAX how many sources at most (1000).

A peer may say anything: prefixes shorter than /8 and /16, and whatever the service protects, are
left out; so is what is over the maximum, and every line that is not understood. Each kind of that
is reported on standard error at most once a minute, with its number.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

ORIGIN: Final = "app:exabgp"
SHORTEST: Final = {4: 8, 6: 16}
"""Prefixes that are shorter are never a source; the service's own guard says the same."""

_LINE_MAX = 1 << 20
_PAUSE_SECONDS = 0.2
_TOGETHER_SECONDS = 1.0
_AGAIN_SECONDS = 5.0
_REPORT_SECONDS = 60.0
_TARGETS_OF_A_CALL = 1000
_OURS: Final = {"protocol": {"=udp", "=tcp"}, "destination-port": {"=53"}}
"""Components of a flow that say no more than "DNS"."""


@dataclass(frozen=True)
class Settings:
    """What the environment says."""

    program: str = "xdpctl"
    action: str = "drop"
    communities: frozenset[str] = frozenset({"65535:666"})
    destinations: tuple[IPv4Network | IPv6Network, ...] = ()
    most: int = 1000
    hold: float = 120.0
    lease: float = 3600.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Return the settings of an environment; ValueError with the word that is wrong."""

        def number(name: str, default: float) -> float:
            return float(environment.get(f"XDPCTL_EXABGP_{name}", default))

        def words(name: str, default: str) -> list[str]:
            text = environment.get(f"XDPCTL_EXABGP_{name}", default)
            return [word for word in text.replace(",", " ").split() if word]

        return cls(
            program=environment.get("XDPCTL_PROGRAM", "xdpctl"),
            action=environment.get("XDPCTL_EXABGP_ACTION", "drop"),
            communities=frozenset(words("COMMUNITIES", "65535:666")),
            destinations=tuple(ip_network(word) for word in words("DESTINATIONS", "")),
            most=int(number("MAX", 1000)),
            hold=number("HOLD", 120.0),
            lease=number("LEASE", 3600.0),
        )


class LeftOutError(Exception):
    """A route or line that no claim can stand for; the kind of thing it is, and an example."""

    def __init__(self, kind: str, example: str) -> None:
        super().__init__(kind)
        self.kind = kind
        self.example = example


class Reports:
    """What is left out, as one line a kind and minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[str, tuple[int, float]] = {}

    def add(self, error: LeftOutError) -> None:
        """Count something that is left out, and report it now and then."""
        number, due = self._kinds.get(error.kind, (0, 0.0))
        number += 1
        if self._clock() >= due:
            times = f", {number} since the last report" if number > 1 else ""
            say(f"{error.example[:200]!r} is left out: {error.kind}{times}")
            number, due = 0, self._clock() + _REPORT_SECONDS
        self._kinds[error.kind] = (number, due)


@dataclass(frozen=True)
class Key:
    """Which route it is: of which peer, family and, within it, what."""

    peer: str
    family: str
    nlri: str


@dataclass
class Routes:
    """The routes that name a source.

    Attributes:
        most: how many at most.
        fresh: target of each route.
        stale: routes of a former session or run, with when they are gone; None: not before some
            session begins or ends.
    """

    most: int
    fresh: dict[Key, str] = field(default_factory=dict)
    stale: dict[Key, tuple[str, float | None]] = field(default_factory=dict)

    def announce(self, key: Key, target: str) -> None:
        """Add a route, or say that it is still there."""
        self.stale.pop(key, None)
        self.stale.pop(Key("", "", target), None)
        full = len(self.fresh) + len(self.stale) >= self.most
        if key not in self.fresh and full:
            raise LeftOutError(
                f"there are {self.most} already; XDPCTL_EXABGP_MAX allows more", target
            )
        self.fresh[key] = target

    def withdraw(self, key: Key) -> None:
        """Take a route away."""
        self.fresh.pop(key, None)
        self.stale.pop(key, None)
        self.stale.pop(Key("", "", key.nlri), None)

    def take_over(self, targets: Iterable[str]) -> None:
        """Add what a former run had, but for what was announced meanwhile."""
        for target in {*targets} - self.targets:
            self.stale[Key("", "", target)] = (target, None)

    def lose(self, peer: str, end: float) -> None:
        """Take note that a session has ended: its routes stay until `end`."""
        for key in [key for key in self.fresh if key.peer == peer]:
            self.stale[key] = (self.fresh.pop(key), end)
        for key, (target, due) in self.stale.items():
            if due is None:
                self.stale[key] = (target, end)

    def expect(self, peer: str, end: float) -> None:
        """Take note that a session began: what it does not announce again is gone at `end`."""
        for key, (target, _) in self.stale.items():
            if key.peer in (peer, ""):
                self.stale[key] = (target, end)

    def settle(self, peer: str, family: str) -> None:
        """Take note that a table was sent whole: what was not in it is gone."""
        for key in [key for key in self.stale if (key.peer, key.family) == (peer, family)]:
            del self.stale[key]

    def pass_time(self, now: float) -> None:
        """Remove what was stale for too long."""
        for key in [key for key, (_, due) in self.stale.items() if due is not None and due <= now]:
            del self.stale[key]

    @property
    def targets(self) -> set[str]:
        """Every source that some route names."""
        return {*self.fresh.values(), *(target for target, _ in self.stale.values())}


# --- what ExaBGP says ------------------------------------------------------------------


class Listener:
    """Reads ExaBGP's messages into routes."""

    def __init__(
        self,
        settings: Settings,
        routes: Routes,
        reports: Reports,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._routes = routes
        self._reports = reports
        self._clock = clock

    def take(self, line: str) -> None:
        """Take one line; one that is not understood is reported and changes nothing."""
        if not line.startswith("{"):
            return  # ExaBGP's answers to commands
        try:
            message = json.loads(line)
            self._take(message)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self._reports.add(LeftOutError("it is not a message of ExaBGP's", line.strip()))

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] not in ("state", "update"):
            return
        neighbor = message["neighbor"]
        peer = str(neighbor["address"]["peer"])
        if message["type"] == "state":
            self._session(peer, neighbor["state"])
        elif "eor" in neighbor["message"]:
            end = neighbor["message"]["eor"]
            self._routes.settle(peer, f"{end['afi']} {end['safi']}")
        else:
            self._update(peer, neighbor["message"]["update"])

    def _session(self, peer: str, state: str) -> None:
        end = self._clock() + self._settings.hold
        if state == "down":
            self._routes.lose(peer, end)
        elif state == "up":
            self._routes.expect(peer, end)

    def _update(self, peer: str, update: dict[str, Any]) -> None:
        for family, routes in update.get("withdraw", {}).items():
            for nlri in nlris(routes):
                self._routes.withdraw(Key(peer, family, name_of(nlri)))
        attributes = update.get("attribute", {})
        for family, by_next_hop in update.get("announce", {}).items():
            for routes in by_next_hop.values():
                for nlri in nlris(routes):
                    self._announce(Key(peer, family, name_of(nlri)), nlri, attributes)

    def _announce(self, key: Key, nlri: dict[str, Any], attributes: dict[str, Any]) -> None:
        try:
            if key.family.endswith(" flow"):
                target = self._source_of_flow(nlri, attributes)
            elif key.family in ("ipv4 unicast", "ipv6 unicast"):
                target = self._source_of_route(key.nlri, attributes)
            else:
                return
            self._routes.announce(key, target)
        except LeftOutError as error:
            self._routes.withdraw(key)  # the same route may have been one of ours before
            self._reports.add(error)

    def _source_of_route(self, prefix: str, attributes: dict[str, Any]) -> str:
        communities = {":".join(map(str, pair)) for pair in attributes.get("community", ())}
        if not communities & self._settings.communities:
            raise LeftOutError("it has no blackhole community", prefix)
        return source_of(prefix)

    def _source_of_flow(self, flow: dict[str, Any], attributes: dict[str, Any]) -> str:
        shown = str(flow.get("string", flow))
        actions = {str(action["string"]) for action in attributes.get("extended-community", ())}
        if actions != {"rate-limit:0"}:
            raise LeftOutError("its action is not to discard", shown)
        sources = [*flow.get("source-ipv4", ()), *flow.get("source-ipv6", ())]
        if len(sources) != 1:
            raise LeftOutError("it has no source prefix", shown)
        for component, tests in flow.items():
            if component in ("string", "source-ipv4", "source-ipv6"):
                continue
            if component in ("destination-ipv4", "destination-ipv6"):
                good = all(self._is_here(str(test)) for test in tests)
            else:
                good = set(tests) <= _OURS.get(component, set())
            if not good:
                raise LeftOutError(f"its {component} says more than a rule of ours can", shown)
        return source_of(str(sources[0]))

    def _is_here(self, destination: str) -> bool:
        """Whether a destination of a flow has all of this host's addresses of its version."""
        network = network_of(destination)
        own = [one for one in self._settings.destinations if one.version == network.version]
        return bool(own) and all(one.subnet_of(network) for one in own)  # type: ignore[arg-type]


def nlris(routes: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - as JSON gives it
    """Yield the routes of one next hop, or withdrawn ones."""
    for route in routes:
        yield route if isinstance(route, dict) else {"nlri": route}


def name_of(nlri: dict[str, Any]) -> str:
    """Return what tells a route from the others of its peer and family."""
    if set(nlri) == {"nlri"}:
        return str(nlri["nlri"])
    return json.dumps({key: nlri[key] for key in nlri if key != "string"}, sort_keys=True)


def network_of(text: str) -> IPv4Network | IPv6Network:
    """Return a prefix; an IPv6 one of a flow has its offset behind it, which must be 0."""
    address, _, rest = text.partition("/")
    length, _, offset = rest.partition("/")
    if "%" in text or offset not in ("", "0"):
        raise LeftOutError("it is not a prefix", text)
    try:
        return ip_network(f"{address}/{length}" if length else address)
    except ValueError:
        raise LeftOutError("it is not a prefix", text) from None


def source_of(text: str) -> str:
    """Return a source as xdpctl takes it."""
    network = network_of(text)
    if network.prefixlen < SHORTEST[network.version]:
        raise LeftOutError(f"it is shorter than /{SHORTEST[network.version]}", text)
    whole = network.prefixlen == network.max_prefixlen
    return str(network.network_address if whole else network)


# --- what xdpctl is told ---------------------------------------------------------------


class Claims:
    """Makes the claims of our origin what they should be, by running xdpctl."""

    def __init__(
        self,
        settings: Settings,
        run: Callable[[list[str], str], tuple[int, str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._run = run
        self._clock = clock
        self._claimed: set[str] | None = None
        self._renewal = 0.0
        self._again = 0.0

    def become(self, wanted: Callable[[], set[str]], take_over: Callable[[set[str]], None]) -> None:
        """Add and end claims; renew all of them now and then. What fails is tried again.

        Args:
            wanted: gives the targets to be claimed.
            take_over: is given, once, those that a former run has claimed.
        """
        now = self._clock()
        if now < self._again:
            return
        self._again = now + _AGAIN_SECONDS
        if self._claimed is None:
            former = self._former()
            if former is None:
                return
            take_over(former)
            self._claimed = former
        if self._change(wanted(), self._claimed, now):
            self._again = now

    def _former(self) -> set[str] | None:
        status, printed = self._run(["list", "--all-claims", "--json", "--origin", ORIGIN], "")
        return (
            {str(rule["target"]) for rule in json.loads(printed)["rules"]} if not status else None
        )

    def _change(self, wanted: set[str], claimed: set[str], now: float) -> bool:
        renewed = now >= self._renewal
        made = wanted if renewed else wanted - claimed
        ended = claimed - wanted
        if not self._end(sorted(ended)):
            return False
        self._claimed = claimed - ended
        if not self._make(sorted(made)):
            return False
        self._claimed = wanted
        if renewed:
            self._renewal = now + self._settings.lease / 3
        return True

    def _make(self, targets: list[str]) -> bool:
        if not targets:
            return True
        end, action = int(self._settings.lease), self._settings.action
        lines = (
            f'{target} action={action} for={end}s reason="announced by BGP"\n' for target in targets
        )
        command = ["import", "-", "--json", "--format", "targets", "--origin", ORIGIN]
        status, printed = self._run(command, "".join(lines))
        guarded = 0 if status else json.loads(printed).get("guarded")
        if guarded:
            say(f"{guarded} of {len(targets)} sources are left out: the service protects them")
        return status == 0

    def _end(self, targets: list[str]) -> bool:
        good = True
        for start in range(0, len(targets), _TARGETS_OF_A_CALL):
            some = targets[start : start + _TARGETS_OF_A_CALL]
            command = ["unblock", "--only-addresses", "--missing-ok", "--origin", ORIGIN]
            good &= self._run([*command, "--", *some], "")[0] == 0
        return good


def xdpctl(program: str) -> Callable[[list[str], str], tuple[int, str]]:
    """Return what runs xdpctl; its errors go to standard error unchanged."""

    def run(words: list[str], given: str) -> tuple[int, str]:
        try:
            done = subprocess.run(
                [program, *words], check=False, input=given, stdout=subprocess.PIPE, text=True
            )
        except OSError as error:
            say(f"cannot run {program}: {error.strerror}")
            return 1, ""
        return done.returncode, done.stdout

    return run


def say(sentence: str) -> None:
    """Write a line to standard error, which ExaBGP logs."""
    print(f"xdpctl-exabgp: {sentence}", file=sys.stderr, flush=True)


class Lines:
    """Whole lines of a descriptor; one that is too long is left out."""

    def __init__(self, descriptor: int, reports: Reports) -> None:
        self._descriptor = descriptor
        self._reports = reports
        self._rest = b""
        self._skipping = False
        self.ended = False

    def within(self, seconds: float) -> Iterator[str]:
        """Yield the lines that come, until a pause, or the seconds are over."""
        end = time.monotonic() + seconds
        pause = seconds
        while not self.ended and time.monotonic() < end:
            if not select.select([self._descriptor], [], [], pause)[0]:
                return
            pause = _PAUSE_SECONDS
            octets = os.read(self._descriptor, 1 << 16)
            self.ended = not octets
            *whole, self._rest = (self._rest + octets).split(b"\n")
            for line in whole:
                if not self._skipping:
                    yield line.decode(errors="replace")
                self._skipping = False
            if len(self._rest) > _LINE_MAX:
                shown = self._rest[:80].decode(errors="replace")
                self._reports.add(
                    LeftOutError(f"the line is longer than {_LINE_MAX} octets", shown)
                )
                self._rest, self._skipping = b"", True


def main() -> int:
    """Follow ExaBGP until it ends. Then the claims stay until their lease ends."""
    try:
        settings = Settings.from_environment(os.environ)
    except ValueError as error:
        say(f"a variable XDPCTL_EXABGP_… cannot be used: {error}")
        return 2
    reports, routes = Reports(), Routes(settings.most)
    claims = Claims(settings, xdpctl(settings.program))
    listener = Listener(settings, routes, reports)
    lines = Lines(sys.stdin.fileno(), reports)
    while not lines.ended:
        for line in lines.within(_TOGETHER_SECONDS):
            listener.take(line)
        routes.pass_time(time.monotonic())
        claims.become(lambda: routes.targets, routes.take_over)
    return 0


if __name__ == "__main__":
    sys.exit(main())
