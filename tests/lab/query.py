"""One DNS query by a real client, and what came of it.

dig and kdig are what operators reach for; both come back over TCP by themselves when an
answer says TC=1. Their output is parsed into an `Answer`; nothing is guessed from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.hosts import Host

HEADER = re.compile(r"status: (\w+)")
FLAGS = re.compile(r"^;; [Ff]lags: ([a-z ]*);", re.MULTILINE)
RECORD = re.compile(r"^[^;\s]\S*\s+\d+\s+IN\s+(\S+\s+.*)$", re.MULTILINE)
TCP = re.compile(r"^;; (?:SERVER: .*\(TCP\)|From .*\(TCP\))", re.MULTILINE)
RETRY = re.compile(r"[Tt]runcated.*TCP")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client was told in the end.

    Attributes:
        status: DNS status such as NOERROR; "" when nothing answered in time.
        flags: of the last message received, such as {"qr", "tc", "rd"}.
        records: of the answer section, as "TYPE DATA".
        over_tcp: the last answer came over TCP.
        retried: an answer over UDP said TC=1 and the client came back over TCP.
        text: what the client printed.
    """

    status: str
    flags: frozenset[str]
    records: tuple[str, ...]
    over_tcp: bool
    retried: bool
    text: str

    @property
    def arrived(self) -> bool:
        """Something answered."""
        return bool(self.status)


def dig(  # noqa: PLR0913 - what a query can vary in
    client: Host,
    name: str,
    qtype: str = "A",
    *options: str,
    server: str = "192.0.2.53",
    source: str | None = None,
    wait: int = 1,
) -> Answer:
    """Send one query with BIND's dig.

    Args:
        client: the host to send from.
        name: the question's name.
        qtype: its type.
        options: further ones, such as "+nocookie" or "+tcp".
        server: its address.
        source: address to send from, the host's own choice when None.
        wait: seconds for an answer; one try.
    """
    bind = ["-b", source] if source else []
    command = ["dig", *bind, f"@{server}", f"+time={wait}", "+tries=1", *options, name, qtype]
    return parse(client.run(*command, check=False).stdout)


def kdig(  # noqa: PLR0913 - what a query can vary in
    client: Host,
    name: str,
    qtype: str = "A",
    *options: str,
    server: str = "192.0.2.53",
    source: str | None = None,
    wait: int = 1,
) -> Answer:
    """Send one query with Knot's kdig; the arguments are those of `dig`."""
    bind = ["-b", source] if source else []
    command = ["kdig", *bind, f"@{server}", f"+time={wait}", "+retry=0", *options, name, qtype]
    done = client.run(*command, check=False)
    return parse(done.stdout + done.stderr)


def parse(text: str) -> Answer:
    """Read what dig or kdig printed."""
    statuses, flags = HEADER.findall(text), FLAGS.findall(text)
    return Answer(
        status=statuses[-1] if statuses else "",
        flags=frozenset(flags[-1].split()) if flags else frozenset(),
        records=tuple(" ".join(record.split()) for record in RECORD.findall(text)),
        over_tcp=bool(TCP.search(text)),
        retried=bool(RETRY.search(text)),
        text=text,
    )
