"""DNS UPDATE (RFC 2136) over TCP with TSIG: one connection to a primary, and what it answers.

Owns the messages, their prerequisites, and the sentence about each refusal. Every change states
what is there before, so that another's record is never overwritten; a message without a change
asks whether that is so. Does not own which changes are wanted (changes.py). dnspython makes, signs
and checks the messages. Everything blocks. Called by changes.py.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.tsig
import dns.update

from xdpctl.errors import PublishError, TransferError
from xdpctl.feeds.formats.owners import POLICY_OF
from xdpctl.transfers.channel import Bounds, Channel, connect

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from xdpctl.abi import RuleAction
    from xdpctl.feeds.formats.owners import Owner
    from xdpctl.feeds.publish.edits import RecordEdit
    from xdpctl.rules import Name
    from xdpctl.transfers.client import Primary

BOUNDS = Bounds(idle=5.0, seconds=10.0, messages=10_000, octets=1 << 24, records=0)
"""What a connection may take: a verb that waits for the one before has its answer in time."""

_MESSAGE_MAX = 65_535
_HEADER = struct.Struct("!HH8x")
"""A message's number and flags (RFC 1035, 4.1.1)."""

_NOT_MET = frozenset({dns.rcode.YXDOMAIN, dns.rcode.YXRRSET, dns.rcode.NXRRSET, dns.rcode.NXDOMAIN})
"""A prerequisite was not met, so nothing was changed."""

_REFUSALS: dict[int, tuple[str, str]] = {
    dns.rcode.FORMERR: ("failed", "it cannot read the update (FORMERR); see its log"),
    dns.rcode.SERVFAIL: (
        "failed",
        (
            "it could not apply the update (SERVFAIL); see its log: often it cannot write the"
            " zone's file or journal"
        ),
    ),
    dns.rcode.NOTIMP: (
        "no-update",
        (
            "it takes no DNS UPDATE (NOTIMP), as NSD never does; give the server that does with the"
            " key update of the [[list]]"
        ),
    ),
    dns.rcode.REFUSED: (
        "refused",
        (
            "it refuses the update (REFUSED); allow it for {key} there (BIND: allow-update or"
            " update-policy; Knot: an acl with action update; PowerDNS: dnsupdate and"
            " TSIG-ALLOW-DNSUPDATE; it says the same of a wrong secret or clock)"
        ),
    ),
    dns.rcode.NOTAUTH: (
        "not-primary",
        (
            "it is not the primary of the zone (NOTAUTH); check the zone's name there, or give the"
            " primary with the key update of the [[list]]"
        ),
    ),
    dns.rcode.NOTZONE: ("failed", "it takes the records to be of another zone (NOTZONE)"),
}


def _opened(primary: Primary, seconds: float) -> socket.socket:
    opened = connect(primary.address, primary.port, seconds)
    if primary.tls is None:
        return opened
    from xdpctl.transfers.tls import TlsContexts  # noqa: PLC0415 - loads ssl, which few need

    return TlsContexts().secure(opened, primary.tls)


class UpdateConnection:
    """A connection to a primary, for updates of one zone; a context manager.

    Args:
        zone: its name.
        primary: who is asked, with the key that signs.
        opener: gives a socket that is connected.
        bounds: what the connection may take.
    """

    def __init__(
        self,
        zone: Name,
        primary: Primary,
        opener: Callable[[Primary, float], socket.socket] = _opened,
        bounds: Bounds = BOUNDS,
    ) -> None:
        self._zone = dns.name.Name((*zone.labels, b""))
        self._primary = primary
        try:
            self._channel = Channel(opener(primary, bounds.idle), bounds)
        except TransferError as error:
            raise PublishError(error.sentence, "unreachable") from error
        key = primary.key
        self._key = None
        if key is not None:
            owner = dns.name.Name((*key.name.labels, b""))
            self._key = dns.tsig.Key(owner, key.secret, key.algorithm)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.__exit__()

    def apply(self, edits: Sequence[RecordEdit]) -> bool:
        """Make all changes, or none; return whether they were made.

        Args:
            edits: `EDITS_MAX` at most.

        Returns:
            False if for at least one of them something else is there than `before`.

        Raises:
            PublishError: the primary refuses, or nobody knows whether it made them (`maybe`).
        """
        message = self._message()
        for edit in edits:
            self._require(message, edit.owner, edit.before)
        for edit in edits:
            name = self._name(edit.owner)
            if edit.before is not None:
                message.delete(name, "CNAME")
            if edit.after is not None:
                message.add(name, edit.ttl, _cname(edit.after))
        return self._send(message)

    def holds(self, there: Sequence[tuple[Owner, RuleAction | None]]) -> bool:
        """Return whether all these owners have this record, or with None are not in use.

        Raises:
            PublishError: the primary refuses, or does not answer.
        """
        message = self._message()
        for owner, action in there:
            self._require(message, owner, action)
        try:
            return self._send(message)
        except PublishError as error:
            error.maybe = False  # nothing was to be changed
            raise

    def _message(self) -> dns.update.UpdateMessage:
        message = dns.update.UpdateMessage(self._zone)
        if self._key is not None:
            message.use_tsig(self._key)
        return message

    def _name(self, owner: Owner) -> dns.name.Name:
        return dns.name.Name((*owner, *self._zone.labels))

    def _require(
        self, message: dns.update.UpdateMessage, owner: Owner, there: RuleAction | None
    ) -> None:
        if there is None:
            message.absent(self._name(owner))
        else:
            message.present(self._name(owner), _cname(there))

    def _send(self, message: dns.update.UpdateMessage) -> bool:
        """Send an update; return whether it was made.

        Raises:
            PublishError: see `apply`.
        """
        wire = message.to_wire(max_size=_MESSAGE_MAX)
        try:
            self._channel.send(wire)
            answer = self._channel.receive()
        except TransferError as error:
            raise PublishError(error.sentence, "unreachable", maybe=True) from error
        rcode, is_signed = self._rcode(message, answer)
        if rcode in _NOT_MET:
            return False
        if rcode != dns.rcode.NOERROR:
            result, sentence = _REFUSALS.get(
                rcode, ("failed", f"it refuses the update ({dns.rcode.to_text(rcode)})")
            )
            raise PublishError(
                sentence.format(key=self._key_text()),
                result,
                maybe=not is_signed,
                unsigned=not is_signed,
            )
        return True

    def _rcode(
        self, message: dns.update.UpdateMessage, wire: bytes
    ) -> tuple[dns.rcode.Rcode, bool]:
        """Return the response code of an answer, and whether it is to be believed.

        Without a key everything is. With one, only a refusal may lack its signature: PowerDNS and
        NSD sign none, and nobody can for a key that it does not have.

        Raises:
            PublishError: it is not the answer, or its signature is not good.
        """
        keyring = {} if self._key is None else {self._key.name: self._key}
        try:
            answer = dns.message.from_wire(wire, keyring=keyring, request_mac=message.mac)
        except dns.tsig.PeerBadKey as error:
            raise PublishError(
                f"it does not have {self._key_text()} with this algorithm; compare both"
                " configurations",
                "key",
                maybe=True,
                unsigned=True,
            ) from error
        except dns.tsig.PeerBadSignature as error:
            raise PublishError(
                f"it finds our signature wrong; compare the secret of {self._key_text()} on both"
                " sides",
                "key",
                maybe=True,
                unsigned=True,
            ) from error
        except (dns.tsig.PeerBadTime, dns.tsig.BadTime) as error:
            raise PublishError(
                "its clock is more than five minutes from this host's; set the clocks",
                "time",
                maybe=True,
                unsigned=True,
            ) from error
        except (dns.exception.DNSException, ValueError, NotImplementedError) as error:
            if (refusal := _refusal_in(message, wire)) is not None:
                return refusal, self._key is None
            raise PublishError(
                f"its answer cannot be used ({type(error).__name__}); check that a DNS primary"
                f" listens there and has {self._key_text()}",
                "failed",
                maybe=True,
            ) from error
        if answer.id != message.id or not _is_answer(answer):
            raise PublishError("its answer is to another question", "failed", maybe=True)
        rcode = answer.rcode()
        is_signed = self._key is None or answer.had_tsig
        if not is_signed and rcode not in _REFUSALS:
            raise PublishError(
                "its answer is not signed; let the primary use the key for updates",
                "key",
                maybe=True,
            )
        return rcode, is_signed

    def _key_text(self) -> str:
        if self._key is None:
            return "this host, which has no key"
        return f"the key {self._key.name.to_text(omit_final_dot=True)}"


def _refusal_in(message: dns.update.UpdateMessage, wire: bytes) -> dns.rcode.Rcode | None:
    """Return the response code of a refusal that is not signed, which may be a header alone.

    A server signs nothing for one whose key it does not have. Such an answer proves nothing: the
    primary may have taken the update, and somebody on the way may have sent this in its place.
    """
    if len(wire) < _HEADER.size:
        return None
    number, flags = _HEADER.unpack_from(wire)
    rcode = flags & 0xF
    is_answer = flags & dns.flags.QR and dns.opcode.from_flags(flags) == dns.opcode.UPDATE
    return (
        dns.rcode.Rcode(rcode)
        if is_answer and number == message.id and rcode in _REFUSALS
        else None
    )


def _is_answer(message: dns.message.Message) -> bool:
    return bool(message.flags & dns.flags.QR) and message.opcode() == dns.opcode.UPDATE


def _cname(action: RuleAction) -> dns.rdata.Rdata:
    return dns.rdata.from_text("IN", "CNAME", POLICY_OF[action])
