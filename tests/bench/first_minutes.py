"""A flood in front of a real BIND, asked question by question; `make demo-flood` (as root).

Some addresses send 40,000 queries a second for random names below a zone that BIND serves; honest
clients ask for another zone beside them, one of them from the network of the flood. Each question
that an operator has in the first minutes is a command, and its answer is what that command wrote.
The whole is written to docs/first-minutes.md, with a picture of the page as it looked then.

    python -m tests.bench.first_minutes [--rate 40000] [--to docs]
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import re
import secrets
import select
import socket
import sys
import threading
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.bench.machine import Machine
from tests.lab import Host, Lab, LabError, Service, eventually
from tests.lab.authorities import BIND, BIND_ZONE, WIDE, ZONE
from tests.lab.browser import Browser, browser_on
from tests.lab.hosts import INTERFACE, ROOT
from tests.lab.service import PORT
from tests.packets import message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.process import Process

RATE: Final = 40_000
SECONDS: Final = 150
"""The flood ends then, whatever became of the questions."""

SERVER: Final = "192.0.2.53"
BOTS: Final = "203.0.113.16/28"
NETWORK: Final = "203.0.113.0/24"
NEIGHBOUR: Final = "203.0.113.200"
"""An honest client in the network of the flood."""

OFFICE: Final = tuple(f"198.51.100.{number}" for number in range(10, 30))
ASKED: Final = 50
"""Honest questions a second."""

HONEST_ZONE: Final = "shop.example"
VICTIM: Final = "victim.example"
NAMES: Final = 50_000
PHASE_SECONDS: Final = 5.0
SECOND_WIRE: Final = "eth1"
PICTURE: Final = "first-minutes.png"
COLOURS: Final = 128
"""Of the picture, which git keeps: those that cover most, for small areas such as a legend's have
their own then."""


class Honest:
    """Clients that ask for www.shop.example in turn; a context manager.

    Args:
        host: where they are.
    """

    def __init__(self, host: Host) -> None:
        self._sockets = []
        for address in (*OFFICE, NEIGHBOUR):
            made = host.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind((address, 0))
            made.connect((SERVER, 53))
            made.setblocking(False)  # noqa: FBT003 - socket's own
            self._sockets.append(made)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="honest")
        self.asked: deque[tuple[float, str, bool]] = deque(maxlen=100_000)
        """Moment, client, and whether an answer came within a second."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for opened in self._sockets:
            opened.close()

    def answered(self, seconds: float, *, neighbour: bool = False) -> float:
        """Return the share of what was answered, of questions asked in the last seconds."""
        now = time.monotonic()
        found = [
            came
            for moment, client, came in list(self.asked)
            if now - seconds - 1 < moment < now - 1 and (client == NEIGHBOUR) == neighbour
        ]
        return sum(found) / len(found) if found else 0.0

    def _ask(self) -> None:
        waiting: dict[tuple[socket.socket, int], float] = {}
        numbers = itertools.count()
        following = time.monotonic()
        while not self._over.is_set():
            now = time.monotonic()
            if now >= following:
                number = next(numbers)
                asker = self._sockets[number % len(self._sockets)]
                query = message.query(f"www.{HONEST_ZONE}", ident=number & 0xFFFF)
                waiting[asker, number & 0xFFFF] = now
                self._tried(asker, query)
                following += 1 / ASKED
            ready, _, _ = select.select(self._sockets, [], [], max(0.0, following - now))
            for opened in ready:
                answer = self._taken(opened)
                asked = waiting.pop((opened, int.from_bytes(answer[:2], "big")), None)
                if asked is not None:
                    self._note(asked, opened, came=True)
            for (opened, ident), asked in list(waiting.items()):
                if now - asked > 1:
                    del waiting[opened, ident]
                    self._note(asked, opened, came=False)

    def _note(self, asked: float, opened: socket.socket, *, came: bool) -> None:
        self.asked.append((asked, opened.getsockname()[0], came))

    @staticmethod
    def _tried(asker: socket.socket, query: bytes) -> None:
        try:
            asker.send(query)
        except OSError:  # no room, or a refusal from before: an answer is missing then
            return

    @staticmethod
    def _taken(opened: socket.socket) -> bytes:
        try:
            return opened.recv(4096)
        except OSError:
            return b""


@dataclass
class Phase:
    """How BIND and the honest fared for some seconds.

    Attributes:
        answered, neighbour: shares of honest questions, and of the neighbour's.
        bind: processors that BIND used.
    """

    name: str
    answered: float
    neighbour: float
    bind: float


@dataclass
class Story:
    """What was asked, in Markdown; printed as it comes."""

    service: Service
    directory: Path
    parts: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Add a paragraph."""
        print(f"{text}\n", flush=True)
        self.parts.append(text)

    def ask(self, question: str, *commands: str, lines: int = 12) -> list[str]:
        """Ask a question by commands; return what each wrote.

        Raises:
            LabError: a command failed.
        """
        found = []
        shown = []
        for command in commands:
            text = self._run(command)
            found.append(text)
            kept = text.splitlines()
            if len(kept) > lines:
                kept = [*kept[:lines], f"… {len(kept) - lines} more lines"]
            shown += [f"$ {command}", *kept]
        block = "\n".join(shown)
        self.say(f"**{question}**\n\n```\n{block}\n```")
        return found

    def _run(self, command: str) -> str:
        words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', command)]
        in_place = [
            str(self.directory / word) if word.endswith(".pcapng") else word for word in words
        ]
        if words[0] == "xdpctl":
            done = self.service.verb(*in_place[1:])
        else:
            done = self.service.host.run(*in_place, check=False)
        if done.returncode:
            raise LabError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout.rstrip().replace(f"{self.directory}/", "")


class Site:
    """BIND behind the filter, who floods it, and who asks honestly.

    Attributes:
        token: of the service.
    """

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self.lab = lab
        self.bots, self.server, self.office = (
            lab.host("bots"),
            lab.host("server"),
            lab.host("office"),
        )
        lab.wire(self.bots, self.server)
        lab.wire(self.office, self.server, name=SECOND_WIRE)
        self.bots.ip("link", "set", INTERFACE, "xdp", "off")  # kxdpgun brings its own
        self.bots.ip("address", "add", "192.0.2.1/24", "dev", INTERFACE)
        self.server.ip("address", "add", f"{SERVER}/24", "dev", INTERFACE)
        self.server.ip("address", "add", "198.51.100.53/24", "dev", SECOND_WIRE)
        for address in (*OFFICE, NEIGHBOUR):
            self.office.ip("address", "add", f"{address}/24", "dev", SECOND_WIRE)
        self.office.ip("route", "add", f"{SERVER}/32", "via", "198.51.100.53")
        self.server.ip("route", "add", BOTS, "via", "192.0.2.1")
        self.server.ip("route", "add", f"{NEIGHBOUR}/32", "via", OFFICE[0])
        self.named = self._bind()
        self.token = secrets.token_hex(16)
        file = lab.write("token", self.token)
        file.chmod(0o600)
        self.service = Service(
            self.server, "--token-file", str(file), interfaces=(INTERFACE, SECOND_WIRE)
        )
        self.bots.run("ping", "-c", "1", SERVER)  # kxdpgun reads the neighbour table
        self.honest = stack.enter_context(Honest(self.office))

    def _bind(self) -> Process:
        for zone, text in ((HONEST_ZONE, WIDE), (VICTIM, ZONE)):
            self.lab.write(f"{zone}.zone", text.format(zone=zone))
        directory = self.lab.directory
        zones = [BIND_ZONE.format(zone=zone, directory=directory) for zone in (HONEST_ZONE, VICTIM)]
        config = BIND.format(directory=directory, v4=SERVER, v6="none", zones="\n".join(zones))
        file = self.lab.write("named.conf", config)
        named = self.server.start("named", "named", "-g", "-n", "1", "-c", str(file))
        named.line(r"\brunning$", timeout=30)
        return named

    def flood(self, rate: int) -> Process:
        """Begin the flood."""
        chance = random.Random(1)
        lines = (f"{chance.getrandbits(44):x}.{VICTIM}. A\n" for _ in range(NAMES))
        queries = self.lab.write("queries", "".join(lines))
        argv = ("-t", str(SECONDS), "-Q", str(rate), "-l", BOTS, "-i", str(queries), SERVER)
        return self.bots.start("kxdpgun", "kxdpgun", *argv)

    def phase(self, name: str) -> Phase:
        """Look for some seconds."""
        before = cpu_seconds(self.named.pid)
        time.sleep(PHASE_SECONDS + 1)
        used = (cpu_seconds(self.named.pid) - before) / (PHASE_SECONDS + 1)
        office, neighbour = (
            self.honest.answered(PHASE_SECONDS, neighbour=each) for each in (False, True)
        )
        return Phase(name, office, neighbour, used)


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tell(site: Site, story: Story, rate: int, picture: Path) -> None:
    """Flood the server, ask, act, and look again."""
    phases = [site.phase("before the flood")]
    flood = site.flood(rate)
    rates = ("top", "--live", "action", "-n", "4")
    eventually(lambda: "." in site.service.verb(*rates).stdout, "the flood", 60)
    with page(site) as browser:
        phases.append(site.phase("in the flood"))
        story.ask("Who sends it?", "xdpctl top --live source -n 5")
        story.ask("Is it one network?", "xdpctl top --live source24 -n 3")
        story.ask("Which names?", "xdpctl top --live name -n 4")
        story.ask("Below which zone, and of which type?",
                  "xdpctl top --live zone2 -n 3", "xdpctl top --live type -n 3")  # fmt: skip
        story.say(
            "It is 203.0.113.0/24, and only random names of one zone. Block the network, for now:"
        )
        story.ask(
            "Stop it.", f'xdpctl block {NETWORK} --for 10m --reason "random names of {VICTIM}"'
        )
        phases.append(site.phase(f"{NETWORK} blocked"))
        story.ask("What is dropped now, and what passes?",
                  "xdpctl top --live reason -n 4", "xdpctl top -n 3")  # fmt: skip
        (harm, *_) = story.ask(
            "Is the rule hurting honest clients? Who asks for the other zone, and is dropped?",
            f"xdpctl watch --action drop --name .{HONEST_ZONE} -n 3",
            f"xdpctl test {NEIGHBOUR} www.{HONEST_ZONE}",
        )
        if NEIGHBOUR not in harm:
            raise LabError(f"the neighbour is not among the dropped:\n{harm}")
        story.ask("Yes, one. Let it through, and see that it is.",
                  f"xdpctl allow {NEIGHBOUR} --for 1h --reason honest",
                  f"xdpctl watch --source {NEIGHBOUR} -n 2")  # fmt: skip
        phases.append(site.phase(f"and {NEIGHBOUR} allowed"))
        story.ask(
            "What does such a packet look like, for the provider of these addresses?",
            f"xdpctl watch --name .{VICTIM} -n 100 --pcap evil.pcapng",
            "tcpdump -n -c 2 -r evil.pcapng",
            "tshark -r evil.pcapng -c 2 -T fields -e ip.src -e dns.qry.name -e frame.comment",
        )
        story.ask("Who did what?", "xdpctl history --since 10m")
        browser.until(lambda: NETWORK in browser.text("#rules"), "the rule on the page")
        browser.picture(picture)
        have_few_colours(picture)
        if complaints := browser.complaints():
            raise LabError(f"the browser complains: {complaints}")
    flood.kill()
    story.say(f"The page at the same time:\n\n![the page in the flood]({PICTURE})")
    story.say("\n".join(["How BIND and the honest clients fared:", "", *table(phases)]))


def have_few_colours(picture: Path) -> None:
    """Make a picture small."""
    from PIL import Image  # noqa: PLC0415 - the tests of this module have none

    with Image.open(picture) as drawn:
        few = drawn.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
    few.save(picture, optimize=True)


def table(phases: list[Phase]) -> Iterator[str]:
    """Yield the lines of the phases' table."""
    yield "| | honest questions answered | those of 203.0.113.200 | processors BIND used |"
    yield "| --- | --- | --- | --- |"
    for phase in phases:
        yield (
            f"| {phase.name} | {phase.answered:.1%} | {phase.neighbour:.1%} | {phase.bind:.2f} |"
        )


class page:  # noqa: N801 - reads as a function
    """The web page in a browser on the server, signed in, for `with`."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stack = ExitStack()

    def __enter__(self) -> Browser:
        browser = self._stack.enter_context(browser_on(self._site.server))
        browser.look(1100, 900)
        browser.open(f"http://127.0.0.1:{PORT}/")
        browser.type("#token", f"{self._site.token}\ue007")
        browser.until(lambda: browser.is_shown("#talkers button"), "who comes")
        return browser

    def __exit__(self, *_: object) -> None:
        self._stack.close()


HEAD: Final = """\
# In the first minutes of a flood
tcpdump shows nothing of what the filter drops, and the server's own figures nothing of what never
reached it. These are the questions one has then, with the command for each and what it wrote, in
front of a real BIND. `make demo-flood` does all of it again, and writes this page.
[seeing.md](seeing.md) has every view; [under-attack.md](under-attack.md) is about limits, which
answer a flood before anybody is awake.

Addresses of {bots} send {rate:,} queries a second for random names below `{victim}`, which
BIND serves. Twenty honest clients ask for a name of `{honest}` beside them, and another one in the
network of the flood, {neighbour}. {machine}
"""


def main() -> int:
    """Do it all and write the page; return the exit status."""
    parser = argparse.ArgumentParser(prog="tests.bench.first_minutes", description=__doc__)
    parser.add_argument("--rate", type=int, default=RATE, help="queries a second (%(default)s)")
    parser.add_argument("--to", type=Path, default=ROOT / "docs", help="folder of the page")
    wanted = parser.parse_args()
    wanted.to.mkdir(parents=True, exist_ok=True)
    head = HEAD.format(
        bots=BOTS,
        rate=wanted.rate,
        victim=VICTIM,
        honest=HONEST_ZONE,
        machine=Machine.now().text,
        neighbour=NEIGHBOUR,
    )
    with Lab() as lab, ExitStack() as stack:
        site = Site(lab, stack)
        story = Story(site.service, lab.directory, [head.rstrip()])
        tell(site, story, wanted.rate, wanted.to / PICTURE)
    (wanted.to / "first-minutes.md").write_text("\n\n".join(story.parts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
