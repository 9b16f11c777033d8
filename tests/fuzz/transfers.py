"""`python -m tests.fuzz.transfers --messages N`: mutants of what primaries send, and our readers.

Messages that dnspython made, NOTIFY and answers to SOA, AXFR and IXFR, signed or not, are changed:
bits, lengths, pointers, counts, cuts, splices. Our readers must take each or raise our error,
and what they and dnspython both take must mean the same to both. A tape of octets (tape.py)
decides everything. Ends with status 1 and a reproducer at the first disagreement.
"""

from __future__ import annotations

import argparse
import random
import secrets
import struct
import sys
import time
from functools import cache

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rrset

from tests.fuzz.tape import Tape
from tests.support.fake_primary import KEY, ZONE, Reply, answers, soa, tsig_key
from xdpctl.errors import TransferError
from xdpctl.transfers.messages import parse_answer, query
from xdpctl.transfers.notify import notify_answer, parse_notify
from xdpctl.transfers.records import NAMED, RecordType, ZoneRecord
from xdpctl.transfers.stream import TransferStream

TAPE_OCTETS = 48
NUMBER = 7
HEADER = 12
PLAIN = {1, 16, 28}
"""Types whose data has no names: A, TXT, AAAA."""

SECONDS = 2.0
"""Processor time that no message may take: each takes well below a hundredth."""

_RECORDS = [
    "Www.example.com. 60 IN CNAME rpz-drop.",
    "*.Bad.www.example.com. 5 IN CNAME rpz-tcp-only.",
    "a.b.c.d.e.example.com. 5 IN CNAME a.b.c.d.e.example.com.",
    "32.1.2.0.192.rpz-client-ip.example.com. 60 IN CNAME .",
    "a.example.com. 60 IN A 192.0.2.1",
    'a.example.com. 60 IN TXT "some text"',
    "b.example.com. 60 IN NS ns.example.net.",
]


@cache
def seeds() -> list[tuple[RecordType | None, bytes]]:
    """Return messages, each with what it answers; None: it is a NOTIFY."""
    made: list[tuple[RecordType | None, bytes]] = []
    for signed in (False, True):
        notify = dns.message.make_query(ZONE.to_text() + ".", "SOA", use_edns=0, id=NUMBER)
        notify.set_opcode(dns.opcode.NOTIFY)
        notify.flags = (notify.flags & 0x7800) | dns.flags.AA
        notify.answer.append(dns.rrset.from_text(*soa(4).split(" ", 4)))  # type: ignore[arg-type]
        if signed:
            notify.use_tsig(tsig_key(KEY))
        made.append((None, notify.to_wire()))
        for kind, messages in (
            (RecordType.SOA, [[soa(4)]]),
            (RecordType.AXFR, [[soa(4), *_RECORDS, soa(4)]]),
            (RecordType.IXFR, [[soa(4), soa(3), *_RECORDS[:3], soa(4), *_RECORDS[3:], soa(4)]]),
        ):
            asked = dns.message.from_wire(query(NUMBER, ZONE.wire, kind))
            reply = Reply(messages, key=KEY if signed else None)
            made.extend((kind, wire) for wire in answers(asked, reply))
    return made


def mutant(tape: Tape) -> tuple[RecordType | None, bytes]:
    """Return a message that the tape makes of one of the seeds."""
    kind, seed = tape.pick(seeds())
    wire = bytearray(seed)
    for _ in range(tape.below(5)):
        _change(wire, tape.below(len(wire)), tape)
        if len(wire) < HEADER:
            wire += bytes(HEADER)
    return kind, bytes(wire[:65535])


def _change(wire: bytearray, at: int, tape: Tape) -> None:
    """Change a message at an offset, in one of the ways that readers fall for."""
    match tape.below(9):
        case 0:
            wire[at] ^= 1 << tape.below(8)
        case 1:
            wire[at] = tape.pick((0, 1, 63, 64, 0x80, 0xC0, 0xFF))
        case 2:
            wire[at : at + 2] = struct.pack("!H", 0xC000 | tape.word() % len(wire))
        case 3:
            struct.pack_into("!H", wire, 4 + 2 * tape.below(4), tape.pick((0, 1, 2, 9, 65535)))
        case 4:
            del wire[max(at, HEADER) :]
        case 5:
            wire[at:at] = wire[tape.below(len(wire)) :][: tape.octet()]
        case 6:
            wire[at:at] = tape.pick((b"\x01a", b"\xc0\x0c", b"\x3f")) * tape.word()
        case 7:
            chain = (0xC000 | at + 2 * max(0, each - 1) for each in range(tape.word() % 8000))
            wire[at:at] = b"".join(struct.pack("!H", each & 0xFFFF) for each in chain)
        case _:
            del wire[at : at + tape.below(20)]


def difference(tape: Tape) -> str | None:
    """Return how a mutant is not taken as it should be; None: it is."""
    kind, wire = mutant(tape)
    began = time.process_time()
    try:
        found = _notify(wire) if kind is None else _answer(wire, kind)
    except TransferError:
        found = None
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return f"{type(error).__name__}: {error}: {wire.hex()}"
    if time.process_time() - began > SECONDS:
        return f"it takes more than {SECONDS:g} seconds: {wire.hex()}"
    return f"{found}: {wire.hex()}" if found else None


def _theirs(wire: bytes) -> dns.message.Message | None:
    """Return the message as dnspython reads it, without its signature."""
    try:
        return dns.message.from_wire(wire, keyring=False, one_rr_per_rrset=True)
    except (dns.exception.DNSException, ValueError, KeyError, struct.error, IndexError):
        return None


def _notify(wire: bytes) -> str | None:
    ours, theirs = parse_notify(wire), _theirs(wire)
    if len(notify_answer(ours)) > len(wire):
        return "the answer is longer than the message"
    if theirs is None:
        return None
    if theirs.opcode() != dns.opcode.NOTIFY or theirs.flags & dns.flags.QR:
        return "it is not a NOTIFY"
    if theirs.question[0].name.canonicalize().to_wire() != ours.zone:
        return "it is about another zone"
    return None


def _answer(wire: bytes, kind: RecordType) -> str | None:
    ours, theirs = parse_answer(wire, NUMBER, ZONE.wire, kind), _theirs(wire)
    try:
        stream = TransferStream(ZONE.wire, 3 if kind is RecordType.IXFR else None)
        changes = [each for _, several in stream.take_all(ours.records) for each in several]
        if any(not each.owner.endswith(ZONE.wire) for each in changes):
            return "a record of another zone is a change"
    except TransferError:
        pass
    if theirs is None:
        return None
    wanted = [_as_ours(rrset) for rrset in theirs.answer]
    for mine, other in zip(map(_bare, ours.records), wanted, strict=True):
        if mine != other:
            return f"{mine} is {other} to dnspython"
    return None


def _as_ours(rrset: dns.rrset.RRset) -> ZoneRecord:
    (record,) = rrset or [None]
    data = b"" if record is None else record.to_wire() or b""
    if int(rrset.rdtype) in NAMED:
        data = data.lower()
    owner = rrset.name.canonicalize().to_wire() or b""
    return _bare(ZoneRecord(owner, rrset.rdtype, rrset.rdclass, rrset.ttl, data))


def _bare(record: ZoneRecord) -> ZoneRecord:
    """Return a record without what the two may read in two ways: large TTLs, other types' data."""
    kept = record.type in NAMED or record.type in PLAIN
    ttl = record.ttl if record.ttl < 1 << 31 else 0
    return record._replace(ttl=ttl, data=record.data if kept else b"")


def main(argv: list[str] | None = None) -> int:
    """Judge so many mutants."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.transfers", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    arguments = parser.parse_args(argv)
    octets = random.Random(arguments.seed)
    for number in range(arguments.messages):
        if found := difference(Tape(octets.randbytes(TAPE_OCTETS))):
            sys.stderr.write(f"seed {arguments.seed}, message {number}: {found}\n")
            return 1
    sys.stdout.write(f"{arguments.messages:,} messages, seed {arguments.seed}: no difference\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
