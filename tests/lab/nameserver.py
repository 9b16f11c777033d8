"""A small DNS server for any name, over UDP and TCP.

Answers every A with 192.0.2.80, every AAAA with 2001:db8::80, every TXT with one text,
everything else with no data. Prints one line a query. A program of its own, started by
`Responder`: `python -m tests.lab.nameserver PORT ADDRESS …`.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from typing import cast

import dns.message
import dns.rdatatype
import dns.rrset

DATA = {
    dns.rdatatype.A: "192.0.2.80",
    dns.rdatatype.AAAA: "2001:db8::80",
    dns.rdatatype.TXT: '"from the responder"',
}


def answer(query_wire: bytes) -> bytes:
    """Return the answer to one query in wire form, recursion available."""
    query = dns.message.from_wire(query_wire)
    response = dns.message.make_response(query, recursion_available=True)
    question = query.question[0]
    if question.rdtype in DATA:
        response.answer.append(
            dns.rrset.from_text(question.name, 60, "IN", question.rdtype, DATA[question.rdtype])
        )
    return response.to_wire()


class UdpService(asyncio.DatagramProtocol):
    """One listening UDP socket."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        print("query udp", addr[0], flush=True)  # noqa: T201 - the lab reads it
        self.transport.sendto(answer(data), addr)


async def serve_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer queries on one TCP connection until the client closes it."""
    try:
        while True:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            query = await reader.readexactly(length)
            print("query tcp", writer.get_extra_info("peername")[0], flush=True)  # noqa: T201
            wire = answer(query)
            writer.write(struct.pack("!H", len(wire)) + wire)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve(port: int, addresses: list[str]) -> None:
    """Listen on every address over UDP and TCP, until killed."""
    loop = asyncio.get_running_loop()
    for address in addresses:
        await loop.create_datagram_endpoint(UdpService, local_addr=(address, port))
        await asyncio.start_server(serve_tcp, address, port)
    print("ready", flush=True)  # noqa: T201 - the lab waits for it
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2:]))
