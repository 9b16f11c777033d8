"""A primary that takes DNS UPDATE (RFC 2136), at the other end of a socket pair.

Independent of feeds/publish/: dnspython reads and signs its messages, and prerequisites are checked
by the RFC's words. What it has can be changed by a test as another would change it.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.update

from tests.support.fake_primary import KEY, tsig_key
from xdpctl.errors import TransferError

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdpctl.transfers.client import Primary

ANY, NONE = dns.rdataclass.ANY, dns.rdataclass.NONE
NOERROR = dns.rcode.NOERROR
_REFUSALS = dns.rcode.REFUSED, dns.rcode.NOTAUTH, dns.rcode.NOTIMP, dns.rcode.SERVFAIL


class FakeUpdatePrimary:
    """A zone that can be updated.

    Args:
        zone: its name.

    Attributes:
        records: TTL and data by owner (relative text), a CNAME each; data is a text.
        rcode: instead of doing anything, answer this.
        not_for: refuse updates of these owners.
        silent: take the next messages without an answer, and without (False) or with (True)
            doing what they say; None: answer.
        unsigned: refusals have no signature, as PowerDNS's; or somebody on the way answers so.
        forged: this answer takes the place of every other, whatever was done.
        mangle: changes the octets of each answer.
        unreachable: nobody accepts connections.
        updates: how many messages have changed something.
        asked: how many messages there were.
    """

    def __init__(self, zone: str = "rpz.example") -> None:
        self.zone = dns.name.from_text(zone)
        self.records: dict[str, tuple[int, str]] = {}
        self.rcode = NOERROR
        self.not_for: set[str] = set()
        self.silent: bool | None = None
        self.unsigned = False
        self.forged: dns.rcode.Rcode | None = None
        self.mangle: Callable[[bytes], bytes] = lambda octets: octets
        self.unreachable = False
        self.updates = self.asked = 0

    def open(self, primary: Primary, _seconds: float) -> socket.socket:
        """Return the client's end of a connection.

        Raises:
            TransferError: there is none.
        """
        del primary
        if self.unreachable:
            raise TransferError("no TCP connection: Connection refused; check that it runs")
        ours, theirs = socket.socketpair()
        threading.Thread(target=self._serve, args=(theirs,), daemon=True).start()
        return ours

    def _serve(self, connection: socket.socket) -> None:
        keyring = {tsig_key(KEY).name: tsig_key(KEY)}
        with connection, suppress(OSError):
            while head := connection.recv(2, socket.MSG_WAITALL):
                (size,) = struct.unpack("!H", head)
                wire = connection.recv(size, socket.MSG_WAITALL)
                update = dns.message.from_wire(wire, keyring=keyring)
                assert isinstance(update, dns.update.UpdateMessage)
                self.asked += 1
                if self.silent is not None:
                    if self.silent:
                        self._answer_of(update)
                    return
                answer = dns.update.UpdateMessage(self.zone, id=update.id)
                answer.flags |= dns.flags.QR
                rcode = self._answer_of(update)
                answer.set_rcode(rcode if self.forged is None else self.forged)
                if self.forged is None and not (self.unsigned and rcode in _REFUSALS):
                    answer.use_tsig(tsig_key(KEY))
                    answer.request_mac = update.mac or b""
                octets = self.mangle(answer.to_wire() or b"")
                connection.sendall(struct.pack("!H", len(octets)) + octets)

    def _answer_of(self, update: dns.update.UpdateMessage) -> dns.rcode.Rcode:
        if self.rcode != NOERROR:
            return self.rcode
        if update.zone[0].name != self.zone:
            return dns.rcode.NOTAUTH
        for there in update.prerequisite:
            if (rcode := self._require(there)) != NOERROR:
                return rcode
        changes = list(update.update)
        if any(self._owner(change.name) in self.not_for for change in changes):
            return dns.rcode.REFUSED
        self.updates += bool(changes)
        for change in changes:
            owner = self._owner(change.name)
            if change.deleting == ANY:
                self.records.pop(owner, None)
            elif change.deleting is None and owner not in self.records:
                (data,) = change
                self.records[owner] = change.ttl, data.to_text()
        return NOERROR

    def _require(self, there: dns.rrset.RRset) -> dns.rcode.Rcode:
        """Check one prerequisite (RFC 2136, 3.2)."""
        found = self.records.get(self._owner(there.name))
        if there.deleting == NONE and there.rdtype == dns.rdatatype.ANY:
            return NOERROR if found is None else dns.rcode.YXDOMAIN
        assert there.deleting is None
        assert there.rdtype == dns.rdatatype.CNAME
        same = found is not None and [each.to_text() for each in there] == [found[1]]
        return NOERROR if same else dns.rcode.NXRRSET

    def _owner(self, name: dns.name.Name) -> str:
        return name.relativize(self.zone).to_text()

    def data(self) -> dict[str, str]:
        """Return the data by owner."""
        return {owner: data for owner, (_, data) in self.records.items()}
