"""The process that asks honestly: `python -m tests.bench.attack.honest SERVER`.

Reads a JSON object from standard input, a line a run: seconds, seed, relayed (random names a second
that clients of the real resolvers ask for), speed (times the usual rates). Answers each with one
array a question: when it was asked (seconds from the start), who asked, when its answer came (or
null), whether over TCP, tries.

Three kinds ask: quiet clients, one question each few seconds; resolvers, which ask all the time,
every other one with a DNS cookie; and clients of real Unbounds on this host. A question that is
not answered is asked again after a second and after two, as stubs do; one that is answered TC=1 is
asked over TCP at once, one that is answered BADCOOKIE with the new cookie at once.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import json
import os
import random
import resource
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.bench.attack import wire
from tests.bench.attack.attacks import NAMES, QUIET, QUIET_CLIENTS, RESOLVERS, ZONE, name

if TYPE_CHECKING:
    from collections.abc import Iterator

UNBOUNDS: Final = 2
"""Of the resolvers, the first."""

QUIET_RATE: Final = 500.0
RESOLVER_RATE: Final = 10.0
UNBOUND_RATE: Final = 60.0
"""Questions a second: of all quiet clients, of each resolver, of the clients of each Unbound."""

TRIES: Final = 3
PATIENCE: Final = 1.0
"""Seconds until a question is asked again."""

LAST_PATIENCE: Final = 1.5
"""Seconds after the last question of a run."""

ASIDE: Final = 0.00015
"""Seconds that the asker steps aside before it sends. The attacker shares its core, so a question
would otherwise leave in a pause of the attack, when the server's socket has room."""

PORT: Final = 5353
_UDP_CORK: Final = 1  # linux/udp.h
_IP_PKTINFO: Final = 8  # linux/in.h; Python 3.11 has no name for it
_SO_RCVBUFFORCE: Final = 33
_IP_BIND_ADDRESS_NO_PORT: Final = 24
_ROOM: Final = 16 << 20


@dataclass(slots=True)
class Question:
    """One question.

    Attributes:
        number: its place, and its DNS id modulo 2^16.
        due: when it is asked, seconds from the start.
        kind: quiet, resolver, unbound or relayed.
        source: address in wire order; of an Unbound's client: the Unbound's port.
        name: that is asked for.
    """

    number: int
    due: float
    kind: str
    source: bytes | int
    name: str
    answered: float | None = None
    tcp: bool = False
    tries: int = 0

    @property
    def ident(self) -> int:
        """DNS id."""
        return self.number & 0xFFFF


def questions(seconds: float, seed: int, relayed: int, speed: float = 1.0) -> list[Question]:
    """Return all questions of a run, in their order."""
    chance = random.Random(seed)
    found: list[tuple[float, str, bytes | int, str]] = []

    def arrivals(rate: float) -> Iterator[float]:
        moment = chance.expovariate(rate) if rate else seconds
        while moment < seconds:
            yield moment
            moment += chance.expovariate(rate)

    def known() -> str:
        return name(chance.randrange(NAMES))

    for moment in arrivals(speed * QUIET_RATE):
        source = QUIET[chance.randrange(QUIET_CLIENTS)].packed
        found.append((moment, "quiet", source, known()))
    for resolver in RESOLVERS[UNBOUNDS:]:
        found += [
            (m, "resolver", resolver.packed, known()) for m in arrivals(speed * RESOLVER_RATE)
        ]
    for number in range(UNBOUNDS):
        port = PORT + 1 + number
        found += [(m, "unbound", port, known()) for m in arrivals(speed * UNBOUND_RATE)]
        found += [
            (m, "relayed", port, f"{chance.randbytes(5).hex()}.{ZONE}") for m in arrivals(relayed)
        ]
    found.sort(key=lambda one: one[0])
    return [Question(number, *one) for number, one in enumerate(found)]


@dataclass(slots=True)
class Conversation:
    """A TCP connection for one question."""

    sock: socket.socket
    question: Question
    query: bytes
    got: bytes = b""


@dataclass(slots=True)
class Asker:
    """Asks the questions of one run.

    Attributes:
        server: its address. `start`: by time.monotonic.
        cookies: of each resolver that sends them, as last heard; they outlive a run.
        ready: queries to be sent, each with its source, or the port of an Unbound.
    """

    server: str
    cookies: dict[bytes, bytes]
    start: float = 0.0
    connections: int = 0
    ready: list[tuple[bytes, bytes | int]] = field(default_factory=list)
    waiting: dict[int, Question] = field(default_factory=dict)
    again: list[tuple[float, int, Question]] = field(default_factory=list)
    talks: dict[int, Conversation] = field(default_factory=dict)
    poll: select.epoll = field(default_factory=select.epoll)
    udp: socket.socket = field(init=False)
    local: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self.udp = self._bound("", PORT)
        self.local = self._bound("127.0.0.1", 0)

    def _bound(self, address: str, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        sock.settimeout(0)
        sock.bind((address, port))
        self.poll.register(sock, select.EPOLLIN)
        return sock

    def close(self) -> None:
        """Close everything."""
        for talk in self.talks.values():
            talk.sock.close()
        for sock in (self.udp, self.local):
            sock.close()
        self.poll.close()

    def now(self) -> float:
        """Seconds from the start."""
        return time.monotonic() - self.start

    def run(self, asked: list[Question], seconds: float) -> None:
        """Ask all, and wait for the last answers."""
        self.start = time.monotonic()
        upcoming = iter(asked)
        following = next(upcoming, None)
        end = seconds + LAST_PATIENCE + PATIENCE * (TRIES - 1)
        while (now := self.now()) < end:
            while following and following.due <= now:
                self.ask(following)
                following = next(upcoming, None)
            while self.again and self.again[0][0] <= now:
                _, _, question = heapq.heappop(self.again)
                if question.answered is None and question.tries < TRIES:
                    self.ask(question)
            self._send()
            if not following and not self.waiting:
                return
            moments = [following.due if following else end]
            if self.again:
                moments.append(self.again[0][0])
            for descriptor, events in self.poll.poll(max(0.0, min(moments) - now), 256):
                self._take(descriptor, events)

    def ask(self, question: Question) -> None:
        """Have a question sent, for the first time or again."""
        question.tries += 1
        self.waiting[question.ident] = question
        heapq.heappush(self.again, (self.now() + PATIENCE, question.number, question))
        self.ready.append((self._query(question), question.source))

    def _send(self) -> None:
        """Send what is ready.

        A packet to which there might be more (MSG_MORE) has room for a whole MTU, and takes as
        much of the receiver's buffer as one of the attack, which has a page. Else it would find
        a place where the attack's packets are too large.
        """
        if not self.ready:
            return
        ready, self.ready = self.ready, []
        time.sleep(ASIDE)
        for query, source in ready:
            with contextlib.suppress(OSError):  # no room, or nobody there: as good as lost
                if isinstance(source, int):
                    self.local.sendto(query, ("127.0.0.1", source))
                else:
                    control = struct.pack("=I4s4s", 0, source, bytes(4))
                    ancillary = [(socket.IPPROTO_IP, _IP_PKTINFO, control)]
                    self.udp.sendmsg([query], ancillary, socket.MSG_MORE, (self.server, 53))
                    self.udp.setsockopt(socket.IPPROTO_UDP, _UDP_CORK, 0)  # there is no more

    def _query(self, question: Question) -> bytes:
        cookie = b""
        if question.kind == "resolver":
            cookie = self.cookies.get(bytes(question.source), b"")
        return wire.query(question.ident, question.name, cookie)

    def _take(self, descriptor: int, events: int) -> None:
        if descriptor in (self.udp.fileno(), self.local.fileno()):
            sock = self.udp if descriptor == self.udp.fileno() else self.local
            with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                while True:
                    self._answer(sock.recv(4096))
        elif talk := self.talks.get(descriptor):
            self._talk(talk, events)

    def _answer(self, answer: bytes) -> None:
        question = self.waiting.get(wire.ident_of(answer))
        if question is None or question.answered is not None:
            return
        if wire.is_truncated(answer):
            if not isinstance(question.source, int):
                self._learn(question, answer)
                self._connect(question)
        elif wire.is_good(answer) or question.kind == "relayed":
            self._learn(question, answer)
            self._done(question)
        elif wire.is_bad_cookie(answer) and self._learn(question, answer):
            self.ready.append((self._query(question), question.source))

    def _learn(self, question: Question, answer: bytes) -> bool:
        """Take the server's cookie from an answer; tell whether there is another one now."""
        source = question.source
        if not isinstance(source, bytes) or source not in self.cookies:
            return False
        cookie = wire.server_cookie(answer)
        if cookie in (b"", self.cookies[source]):
            return False
        self.cookies[source] = cookie
        return True

    def _done(self, question: Question) -> None:
        question.answered = self.now()
        del self.waiting[question.ident]

    def _connect(self, question: Question) -> None:
        if question.tcp:  # the answer to an earlier try
            return
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(0)
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((socket.inet_ntoa(question.source), 0))  # type: ignore[arg-type]
        found = sock.connect_ex((self.server, 53))
        if found not in (0, errno.EINPROGRESS):
            sock.close()
            return
        self.connections += 1
        question.tcp = True
        query = self._query(question)
        self.talks[sock.fileno()] = Conversation(sock, question, len(query).to_bytes(2) + query)
        self.poll.register(sock, select.EPOLLOUT)

    def _talk(self, talk: Conversation, events: int) -> None:
        try:
            if talk.query and events & select.EPOLLOUT:
                talk.query = talk.query[talk.sock.send(talk.query) :]
                if not talk.query:
                    self.poll.modify(talk.sock, select.EPOLLIN)
                return
            data = talk.sock.recv(4096)
            talk.got += data
            whole = len(talk.got) >= 2 and len(talk.got) >= 2 + int.from_bytes(talk.got[:2])
            if data and not whole:
                return
            question = talk.question
            if whole and question.answered is None and wire.is_good(talk.got[2:]):
                self._learn(question, talk.got[2:])
                self._done(question)
        except BlockingIOError:
            return
        except OSError:
            pass
        del self.talks[talk.sock.fileno()]
        self.poll.unregister(talk.sock)
        talk.sock.close()


def main(server: str) -> None:
    """Ask as it is told until standard input ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 60_000), most))
    cookies = {resolver.packed: os.urandom(8) for resolver in RESOLVERS[UNBOUNDS::2]}
    say({})
    for line in sys.stdin:
        told = json.loads(line)
        asked = questions(**told)
        asker = Asker(server, cookies)
        began = time.time()
        asker.run(asked, told["seconds"])
        asker.close()
        say(
            {
                "began": began,
                "connections": asker.connections,
                "questions": [
                    [q.due, q.kind, q.answered, q.tcp, q.tries]
                    for q in asked
                    if q.kind != "relayed"
                ],
            }
        )


def say(document: dict[str, object]) -> None:
    """Answer."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
