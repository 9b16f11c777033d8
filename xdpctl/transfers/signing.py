"""TSIG: signs a query, and checks the signatures of the messages that answer it (RFC 8945).

Owns the order in which messages are signed: the first and the last one are, and at most 99 in a
row between them are not (RFC 8945, 5.3.1). The cryptography is dnspython's (dns.tsig), which is
imported here alone in this room; its own transfers are not used, for up to 2.8 they write an
unsigned transfer to the zone before they raise. Called by client.py.
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


class Signing:
    """The signatures of one exchange.

    Args:
        key: shared with the primary.
        clock: the time of day, seconds.
    """

    def __init__(self, key: TsigKey, clock: Callable[[], float] = time.time) -> None:
        self._key = dns.tsig.Key(
            _name(key.name.wire), key.secret, dns.name.from_text(key.algorithm)
        )
        self._owner = key.name.wire
        self._clock = clock
        self._mac = b""
        self._context: object = None
        self._unsigned = 0

    def sign(self, query: bytes) -> bytes:
        """Return the query with its signature."""
        now = int(self._clock())
        number = _COUNT.unpack_from(query)[0]
        empty = TSIG(  # type: ignore[no-untyped-call]
            dns.rdataclass.ANY,
            dns.rdatatype.TSIG,
            self._key.algorithm,
            now,
            FUDGE,
            b"",
            number,
            0,
            b"",
        )
        signed, _ = dns.tsig.sign(query, self._key, empty, now, b"")  # type: ignore[no-untyped-call]
        self._mac = signed.mac
        data = cast("bytes", signed.to_wire())
        (count,) = _COUNT.unpack_from(query, _ADDITIONAL)
        head = self._owner + struct.pack(
            "!HHIH", dns.rdatatype.TSIG, dns.rdataclass.ANY, 0, len(data)
        )
        return query[:_ADDITIONAL] + _COUNT.pack(count + 1) + query[_ADDITIONAL + 2 :] + head + data

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


def _name(wire: bytes) -> dns.name.Name:
    return dns.name.from_wire(wire, 0)[0]
