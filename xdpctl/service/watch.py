"""Samples for whoever looks through the API: parsed, chosen, and with the rule that decided.

A frame is parsed once, however many look. The rule is looked for among the rules of now, for those
samples only that are shown one by one, a few at once: a flood must not become one of look-ups.
Owns that. Does not own samples (samples/hub.py) or what they come to (samples/talkers.py). Made by
start.py; used through operations.py and by dnstap_output.py.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl.abi import Reason
from xdpctl.errors import NotFoundError, TargetError, XdpctlError
from xdpctl.rules import Name, Question, target_of
from xdpctl.rules.names import shown
from xdpctl.samples.packets import address_of, read_packet
from xdpctl.samples.selection import Selection
from xdpctl.service.tasks import on_thread
from xdpctl.store.deciding import deciding_rule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Container, Sequence
    from concurrent.futures import Executor

    from xdpctl.rules import Target
    from xdpctl.samples.hub import Hub, Inbox
    from xdpctl.samples.packets import Packet
    from xdpctl.samples.sample import Sample
    from xdpctl.settings import Settings
    from xdpctl.store.entries import Entry
    from xdpctl.store.store import Store

LOOKUPS_MAX = 20
LOOKUPS_SECONDS = 0.1
"""Rules that are looked for in such a time, for all who look together."""

AT_ONCE = 40
"""Samples that are parsed, and worked on by who looks, before others on the loop have their turn:
about a millisecond."""

KNOWN_SECONDS = 2.0
KNOWN_MAX = 4_096
"""For how long a rule that was found counts as that of equal packets, and how many are kept."""

PARSED_MAX = 1_024
"""Frames that are kept parsed, for others who look at the same batch: ten come a second."""

WHOLE = (32, 128)
"""Bits of whole addresses."""

_BY_SOURCE = frozenset(
    {Reason.ADDR_V4, Reason.ADDR_V6, Reason.CIDR4, Reason.CIDR6, Reason.LIST_SOURCE}
)
_BY_NAME = frozenset({Reason.QNAME, Reason.ZONE, Reason.LIST_NAME})
_ROOT = Name(b"\0")


@dataclass(frozen=True, slots=True)
class SeenRule:
    """The rule that decided.

    Attributes:
        origin: who made it.
    """

    target: Target
    origin: str


class Seen:
    """The samples of one who looks: `async for batch in seen`.

    Args:
        inbox: where they come.
        parse: reads a frame.
        selection: which of them are wanted.
    """

    def __init__(
        self, inbox: Inbox, parse: Callable[[Sample], Packet], selection: Selection
    ) -> None:
        self._inbox = inbox
        self._parse = parse
        self._has = selection.has if selection != Selection() else None

    @property
    def lost(self) -> int:
        """How many samples did not come, since the beginning."""
        return self._inbox.lost

    @property
    def until(self) -> float:
        """Unix time up to which all samples have come."""
        return self._inbox.until

    async def __aiter__(self) -> AsyncIterator[list[tuple[Sample, Packet]]]:
        """Yield what has come, `AT_ONCE` at a time at most, or none; others have their turns.

        What is done with so few is not interrupted.
        """
        async for batch in self._inbox:
            for start in range(0, len(batch), AT_ONCE):
                parsed = [(one, self._parse(one)) for one in batch[start : start + AT_ONCE]]
                yield parsed if self._has is None else [each for each in parsed if self._has(*each)]
                await asyncio.sleep(0)


class Watch:
    """Gives samples to those who look.

    Args:
        hub: has them.
        settings: those in force.
        store: the rules, read on `thread`.
        thread: reads rules.
        clock: seconds of a monotonic clock.
    """

    def __init__(
        self,
        hub: Hub,
        settings: Callable[[], Settings],
        store: Store,
        *,
        thread: Executor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.hub = hub
        self._settings = settings
        self._store = store
        self._thread = thread
        self._clock = clock
        self._parsed: dict[int, tuple[Sample, Packet]] = {}
        self._known: dict[tuple[object, ...], tuple[float, SeenRule | None]] = {}
        self._lookups, self._lookups_end = 0, 0.0

    def kept(self) -> tuple[int, int]:
        """Return the bits of an IPv4 and an IPv6 address that samples have."""
        return self._settings().sample_addresses or WHOLE

    @asynccontextmanager
    async def open(self, selection: Selection) -> AsyncIterator[Seen]:
        """Look, for the time of a block.

        Raises:
            NotFoundError: there is no such interface.
            NoSamplesError: none are taken; the sentence says why.
            ReadersError: too many look already.
        """
        if selection.interface is not None:
            self._refuse_unknown(selection.interface)
        encrypted: Container[int] = frozenset(self._settings().address_ports)

        def parse(sample: Sample) -> Packet:
            known = self._parsed.get(id(sample))
            if known is None or known[0] is not sample:
                port_is_ours = sample.reason is not Reason.OTHER
                packet = read_packet(sample.frame, encrypted if port_is_ours else _ALL_PORTS)
                known = sample, packet
                if len(self._parsed) >= PARSED_MAX:
                    self._parsed.clear()
                self._parsed[id(sample)] = known
            return known[1]

        async with self.hub.subscribe() as inbox:
            yield Seen(inbox, parse, selection)
        if not self.hub.readers:
            self._parsed.clear()
            self._known.clear()

    def _refuse_unknown(self, interface: str) -> None:
        """Raise NotFoundError for a name that no sample can have."""
        if interface in self._settings().interfaces:
            return
        try:
            socket.if_nametoindex(interface)  # a card below a bond is none of the settings'
        except (OSError, ValueError) as error:  # ValueError: it has an octet 0
            raise NotFoundError(
                f"cannot show packets of {shown(interface)}: this host has no such interface;"
                " `xdpctl status` has those that are filtered"
            ) from error

    async def rules_of(self, seen: Sequence[tuple[Sample, Packet]]) -> list[SeenRule | None]:
        """Return the rule that decided about each sample; None: none did, or it is not known.

        Of very many different packets only some are looked up (`LOOKUPS_MAX`).
        """
        now = self._clock()
        if now >= self._lookups_end:
            self._lookups, self._lookups_end = LOOKUPS_MAX, now + LOOKUPS_SECONDS
        keys = [self._key(*pair) for pair in seen]
        wanted: dict[tuple[object, ...], tuple[Sample, Packet]] = {}
        for key, pair in zip(keys, seen, strict=True):
            if key is None or len(wanted) >= self._lookups:
                continue
            if key not in self._known or self._known[key][0] < now:
                wanted[key] = pair
        self._lookups -= len(wanted)
        if wanted:
            found = await on_thread(self._thread, lambda: [*map(self._find, wanted.values())])
            if len(self._known) > KNOWN_MAX:
                self._known.clear()
            until = now + KNOWN_SECONDS
            self._known |= {key: (until, rule) for key, rule in zip(wanted, found, strict=True)}
        nothing = (0.0, None)
        return [None if key is None else self._known.get(key, nothing)[1] for key in keys]

    def _key(self, sample: Sample, packet: Packet) -> tuple[object, ...] | None:
        """Return what decides which rule it is; None where it is no rule's."""
        reason = sample.reason
        by_name = reason in _BY_NAME
        if reason is Reason.UNANSWERABLE:
            by_name = packet.name is not None
        elif reason not in _BY_SOURCE and not by_name:
            return None
        if not packet.source or (by_name and packet.name is None):
            return None
        if not by_name and self._is_truncated(packet.source):
            return None
        name = (packet.name, packet.qtype) if by_name else None
        return reason, b"" if reason in _BY_NAME else packet.source, name

    def _is_truncated(self, source: bytes) -> bool:
        """Return whether samples do not have the whole of such an address."""
        v4, v6 = self.kept()
        return (v4 if len(source) == 4 else v6) < len(source) * 8  # noqa: PLR2004 - IPv4

    def _find(self, pair: tuple[Sample, Packet]) -> SeenRule | None:
        """Return the rule; an error of the store means that it is not known. Blocks."""
        sample, packet = pair
        name = _ROOT if packet.name is None else Name(packet.name)
        question = Question(name, packet.qtype)
        mode = self._store.any_qtype
        try:
            entry = deciding_rule(
                self._store.listing, sample.reason, address_of(packet.source), question, mode
            )
            return None if entry is None else _seen_rule(entry, self._store)
        except XdpctlError:
            return None


def _seen_rule(entry: Entry, store: Store) -> SeenRule | None:
    try:
        return SeenRule(target_of(entry.map, entry.key, store.any_qtype), entry.origin)
    except TargetError:  # its key is nonsense
        return None


_ALL_PORTS = range(0x10000)
"""A packet of no concern: whatever its port, it is not read as DNS."""
