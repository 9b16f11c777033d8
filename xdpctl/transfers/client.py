"""Asks one primary: for the zone's SOA record, and for a transfer record by record.

Owns an exchange: the query, its signature, the messages of the answer. Does not own the wire form
(messages.py), the transfer's order (stream.py), bounds (channel.py) or what is done with records.
Called by primaries.py. Everything blocks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xdpctl.errors import TransferError
from xdpctl.transfers.channel import Bounds, Channel, connect
from xdpctl.transfers.messages import (
    NOTAUTH,
    AnswerMessage,
    new_id,
    parse_answer,
    query,
    rcode_text,
)
from xdpctl.transfers.records import RecordType, Soa, ZoneRecord, soa_of
from xdpctl.transfers.stream import Kind, RecordChange, TransferStream

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from xdpctl.rules.names import Name
    from xdpctl.transfers.key_file import TsigKey
    from xdpctl.transfers.signing import Signing
    from xdpctl.transfers.tls import Tls, TlsContexts

DEFAULT_PORT = 53

SOA_SECONDS = 20.0
"""What the answer with one SOA record may take, however slowly it comes."""


@dataclass(frozen=True, slots=True)
class Primary:
    """A server that a zone is transferred from.

    Attributes:
        address, port: where it listens.
        key: shared with it; None: nothing is signed.
        tls: what its certificate must be; None: without TLS.
    """

    address: IPv4Address | IPv6Address
    port: int = DEFAULT_PORT
    key: TsigKey | None = None
    tls: Tls | None = None

    def __str__(self) -> str:
        """Return the address, with the port where it is another one, as the options take it."""
        if self.port == DEFAULT_PORT:
            return str(self.address)
        form = "[{}]:{}" if self.address.version == 6 else "{}:{}"  # noqa: PLR2004 - IPv6
        return form.format(self.address, self.port)


class Transfer:
    """A transfer under way; iterating over it blocks and gives its changes.

    Nothing that it gives may be applied before the iteration has ended without an error: only
    then the last message was verified.

    Args:
        exchange: gives the messages of the answer.
        zone: its name.
        have: the serial that is there; None: AXFR was asked for.
        records: how many at most.
    """

    def __init__(self, exchange: Exchange, zone: Name, have: int | None, records: int) -> None:
        self.have = have
        self._exchange = exchange
        self._stream = TransferStream(zone.wire, have)
        self._left = records

    @property
    def kind(self) -> Kind:
        """What it is; known with the first change, and at the end."""
        return self._stream.kind

    @property
    def soa(self) -> Soa:
        """The SOA record of the version that it leads to."""
        return self._stream.soa

    def __iter__(self) -> Iterator[RecordChange]:
        """Yield the changes; an IXFR's as the primary sends them, removed ones first.

        Raises:
            TransferError: the transfer cannot be used.
        """
        for added, records in self.batches():
            for record in records:
                yield RecordChange(added, record)

    def batches(self) -> Iterator[tuple[bool, Sequence[ZoneRecord]]]:
        """Yield the same changes, several at a time: whether they are added, and the records.

        Raises:
            TransferError: the transfer cannot be used.
        """
        while not self._stream.is_whole:
            answer = self._exchange.next_answer()
            self._left -= len(answer.records) + 1
            if self._left < 0:
                raise TransferError("the answer has more records than a zone may have")
            yield from self._stream.take_all(answer.records)
        self._exchange.finish()


class Exchange:
    """One query and the messages of its answer.

    Args:
        channel: the connection.
        primary: at its other end.
        zone: that is asked for.
        qtype: SOA, AXFR or IXFR.
        have: the serial that is there, of IXFR.
        clock: the time of day, seconds.
    """

    def __init__(  # noqa: PLR0913 - what one query is about
        self,
        channel: Channel,
        primary: Primary,
        *,
        zone: Name,
        qtype: RecordType,
        have: int | None,
        clock: Callable[[], float],
    ) -> None:
        self._channel = channel
        self._zone = zone
        self._qtype = qtype
        self._number = new_id()
        self._signing = _signing(primary.key, clock) if primary.key else None
        message = query(self._number, zone.wire, qtype, have)
        self._query = self._signing.sign(message) if self._signing else message

    def ask(self) -> None:
        """Send the query."""
        self._channel.send(self._query)

    def next_answer(self) -> AnswerMessage:
        """Return the next message of the answer.

        Raises:
            TransferError: there is none, it is wrongly signed or not an answer, or the primary
                refuses.
        """
        wire = self._channel.receive()
        answer = parse_answer(wire, self._number, self._zone.wire, self._qtype)
        if answer.rcode and answer.rcode != NOTAUTH:
            raise RefusedTransferError(rcode_text(answer.rcode), answer.rcode)
        if self._signing:
            self._signing.check(answer)
        if answer.rcode:
            raise RefusedTransferError(rcode_text(answer.rcode), answer.rcode)
        return answer

    def finish(self) -> None:
        """Accept the message that was returned last as the last one.

        Raises:
            TransferError: it was not signed.
        """
        if self._signing:
            self._signing.finish()


def _signing(key: TsigKey, clock: Callable[[], float]) -> Signing:
    """Return the signatures of an exchange; dnspython is only loaded by who transfers."""
    from xdpctl.transfers.signing import Signing  # noqa: PLC0415 - see above

    return Signing(key, clock)


def _tls_contexts() -> TlsContexts:
    """Return what connections over TLS are made from; ssl is only loaded by who uses it."""
    from xdpctl.transfers.tls import TlsContexts  # noqa: PLC0415 - see above

    return TlsContexts()


class RefusedTransferError(TransferError):
    """The primary answered with another response code than 0."""

    def __init__(self, sentence: str, rcode: int) -> None:
        super().__init__(sentence)
        self.rcode = rcode

    @property
    def concerns_kind(self) -> bool:
        """Whether another kind of transfer may be given: FORMERR, or NOTIMP."""
        return self.rcode in (1, 4)


class PrimaryClient:
    """Asks one primary. Everything blocks.

    Args:
        primary: who is asked.
        bounds: what one exchange may take.
        clock: the time of day, seconds.
        opener: gives a socket that is connected, of address, port and seconds.
        contexts: kept for connections over TLS.
    """

    def __init__(
        self,
        primary: Primary,
        bounds: Bounds,
        clock: Callable[[], float] = time.time,
        opener: Callable[[IPv4Address | IPv6Address, int, float], socket.socket] = connect,
        contexts: TlsContexts | None = None,
    ) -> None:
        self._primary = primary
        self._bounds = bounds
        self._clock = clock
        self._opener = opener
        self._contexts = contexts

    def soa(self, zone: Name) -> Soa:
        """Return the zone's SOA record.

        Raises:
            TransferError: the primary does not give it.
        """
        seconds = min(self._bounds.seconds, SOA_SECONDS)
        with self._channel(replace(self._bounds, seconds=seconds)) as channel:
            exchange = self._begin(channel, zone, RecordType.SOA, None)
            answer = exchange.next_answer()
            exchange.finish()
        for record in answer.records:
            if record.type == RecordType.SOA and record.owner == zone.wire:
                return soa_of(record)
        raise TransferError("it has no SOA record for the zone; check the zone's name there")

    def transfer(self, zone: Name, have: int | None, take: Callable[[Transfer], None]) -> Transfer:
        """Transfer a zone, and return the transfer at its end.

        Args:
            zone: its name.
            have: the serial that is there, from which on the changes are asked for; None:
                the whole zone.
            take: is given the transfer and iterates over it.

        Raises:
            TransferError: it cannot be used; nothing that was given may be applied.
        """
        with self._channel(self._bounds) as channel:
            qtype = RecordType.AXFR if have is None else RecordType.IXFR
            exchange = self._begin(channel, zone, qtype, have)
            transfer = Transfer(exchange, zone, have, self._bounds.records)
            take(transfer)
            return transfer

    def _channel(self, bounds: Bounds) -> Channel:
        primary = self._primary
        opened = self._opener(primary.address, primary.port, min(bounds.idle, bounds.seconds))
        if primary.tls is not None:
            opened = (self._contexts or _tls_contexts()).secure(opened, primary.tls)
        return Channel(opened, bounds)

    def _begin(self, channel: Channel, zone: Name, qtype: RecordType, have: int | None) -> Exchange:
        exchange = Exchange(
            channel, self._primary, zone=zone, qtype=qtype, have=have, clock=self._clock
        )
        exchange.ask()
        return exchange
