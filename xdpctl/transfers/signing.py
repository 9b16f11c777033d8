"""TSIG: signs a query, and checks the signatures of the messages that answer it (RFC 8945).

Also the other way round, for NOTIFY: checks the signature of a message, and signs its answer.

Owns the order in which messages are signed: the first and the last one are, and at most 99 in a
row between them are not (RFC 8945, 5.3.1). The cryptography is dnspython's (dns.tsig), which is
imported here alone in this room; its own transfers are not used, for up to 2.8 they write an
unsigned transfer to the zone before they raise. Called by client.py and feeds/zone/.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, cast

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tsig
from dns.rdtypes.ANY.TSIG import TSIG

from xdpctl.errors import TransferError

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdpctl.transfers.key_file import TsigKey
    from xdpctl.transfers.messages import AnswerMessage

FUDGE = 300
"""Seconds that the clocks may differ (RFC 8945, 10)."""

UNSIGNED_MAX = 99
_COUNT = struct.Struct("!H")
_ADDITIONAL = 10
"""Offset of ARCOUNT in a message."""


class _Signatures:
    """Signatures with one key.

    Args:
        key: shared with the primary.
        clock: the time of day, seconds.
    """

    def __init__(self, key: TsigKey, clock: Callable[[], float] = time.time) -> None:
        self._key = _key(key)
        self._owner = key.name.wire
        self._clock = clock
        self._mac = b""

    def sign(self, message: bytes) -> bytes:
        """Return a query, or the answer to what was checked, with its signature."""
        now = int(self._clock())
        signed, self._mac = _signed(message, self._key, self._owner, now, self._mac)
        return signed


class Signing(_Signatures):
    """The signatures of one exchange: of the query, and of the messages of the answer."""

    _context: object = None
    _unsigned = 0

    def check(self, answer: AnswerMessage) -> None:
        """Take the next message of the answer.

        Raises:
            TransferError: it is wrongly signed, or the first one, or one after too many
                others, is not signed.
        """
        if answer.signature is None:
            self._pass_unsigned(answer)
            return
        owner, start, data, size = answer.signature
        try:
            found = dns.rdata.from_wire(
                dns.rdataclass.ANY, dns.rdatatype.TSIG, answer.wire, data, size
            )
            self._context = dns.tsig.validate(  # type: ignore[no-untyped-call]
                answer.wire,
                self._key,
                _name(owner),
                found,
                int(self._clock()),
                self._mac,
                start,
                self._context,
                multi=True,
            )
        except dns.tsig.BadTime as error:
            raise TransferError(
                "the signature's time is more than five minutes from this host's; set the clocks"
            ) from error
        except (dns.tsig.PeerBadKey, dns.tsig.BadKey, dns.tsig.BadAlgorithm) as error:
            raise TransferError(
                f"the primary does not have the key {self._key.name.to_text(omit_final_dot=True)}"
                " with this algorithm; compare both configurations"
            ) from error
        except dns.tsig.PeerBadTime as error:
            raise TransferError(
                "the primary's clock is more than five minutes from this host's; set the clocks"
            ) from error
        except (dns.exception.DNSException, ValueError, NotImplementedError) as error:
            raise TransferError(
                "its signature is wrong; compare the key's secret on both sides"
            ) from error
        self._unsigned = 0

    def _pass_unsigned(self, answer: AnswerMessage) -> None:
        self._unsigned += 1
        if self._context is None or self._unsigned > UNSIGNED_MAX:
            raise TransferError("the answer is not signed; let the primary use the key for it")
        context = cast("dns.tsig.HMACTSig", self._context)
        context.update(answer.wire)  # type: ignore[no-untyped-call]

    def finish(self) -> None:
        """Accept the message that was taken last as the last one.

        Raises:
            TransferError: it was not signed.
        """
        if self._context is None or self._unsigned:
            raise TransferError("the last message of the answer is not signed")


class AnswerSigning(_Signatures):
    """The signatures of a message that came, and of the answer to it."""

    def check(self, wire: bytes, signature: tuple[bytes, int, int, int]) -> None:
        """Take the message.

        Args:
            wire: itself.
            signature: where its TSIG record is, as in messages.AnswerMessage.

        Raises:
            TransferError: it is wrongly signed.
        """
        owner, start, data, size = signature
        try:
            found = dns.rdata.from_wire(dns.rdataclass.ANY, dns.rdatatype.TSIG, wire, data, size)
            now = int(self._clock())
            dns.tsig.validate(wire, self._key, _name(owner), found, now, b"", start)  # type: ignore[no-untyped-call]
        except (dns.exception.DNSException, ValueError, NotImplementedError) as error:
            raise TransferError("the message's signature is wrong") from error
        self._mac = cast("TSIG", found).mac


def _key(key: TsigKey) -> dns.tsig.Key:
    return dns.tsig.Key(_name(key.name.wire), key.secret, dns.name.from_text(key.algorithm))


def _signed(
    message: bytes, key: dns.tsig.Key, owner: bytes, now: int, answered: bytes
) -> tuple[bytes, bytes]:
    """Return a message with its signature, and the signature's octets.

    Args:
        message: without a signature.
        key: that signs.
        owner: name of the key in wire form.
        now: the time of day.
        answered: the signature's octets of the message that this one answers.
    """
    (number,) = _COUNT.unpack_from(message)
    empty = TSIG(  # type: ignore[no-untyped-call]
        dns.rdataclass.ANY,
        dns.rdatatype.TSIG,
        key.algorithm,
        now,
        FUDGE,
        b"",
        number,
        0,
        b"",
    )
    signed, _ = dns.tsig.sign(message, key, empty, now, answered)  # type: ignore[no-untyped-call]
    data = cast("bytes", signed.to_wire())
    (count,) = _COUNT.unpack_from(message, _ADDITIONAL)
    head = owner + struct.pack("!HHIH", dns.rdatatype.TSIG, dns.rdataclass.ANY, 0, len(data))
    whole = message[:_ADDITIONAL] + _COUNT.pack(count + 1) + message[_ADDITIONAL + 2 :]
    return whole + head + data, signed.mac


def _name(wire: bytes) -> dns.name.Name:
    return dns.name.from_wire(wire, 0)[0]
