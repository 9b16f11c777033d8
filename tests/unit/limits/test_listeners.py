"""Whether somebody answers over TCP, with real sockets on loopback."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

from xdpctl.limits.listeners import answers

HERE, NOWHERE = ip_address("127.0.0.1"), ip_address("127.77.77.77")


async def test_a_port_that_accepts_a_connection_answers() -> None:
    met = asyncio.Event()
    peers: list[tuple[str, str]] = []

    def meet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own, other = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        peers.append((own[0], other[0]))
        writer.close()
        met.set()

    server = await asyncio.start_server(meet, str(HERE), 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await answers([NOWHERE, HERE], port)
        await met.wait()
        assert peers == [("127.0.0.1", "127.0.0.1")], "it comes from the address it goes to"
    assert not await answers([HERE], port)


async def test_no_address_answers_nothing() -> None:
    assert not await answers([], 53)


async def test_a_server_at_the_last_of_many_addresses_is_found() -> None:
    def meet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(meet, str(HERE), 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        others = [ip_address(f"127.77.77.{number}") for number in range(100)]
        assert await answers([*others, HERE], port)
