"""Whether the DNS server answers over TCP: where a limit sends honest clients.

Connects and closes at once. Owns the attempt. Does not own when it is made (service/limits.py).
Never blocks the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Address, IPv6Address

CONNECT_SECONDS = 2.0
ADDRESSES_MOST = 256
"""So many of this host's addresses are tried."""


async def answers(addresses: Iterable[IPv4Address | IPv6Address], port: int) -> bool:
    """Return whether a TCP connection to this port of any of these addresses is accepted.

    The connection comes from the address that it goes to, which is this host's own.
    """
    tried: Sequence[str] = [str(address) for address in addresses][:ADDRESSES_MOST]
    waiting = {asyncio.create_task(_accepts(address, port), name="probe") for address in tried}
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            for done in asyncio.as_completed(waiting):
                if await done:
                    return True
    except TimeoutError:
        pass
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return False


async def _accepts(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port, local_addr=(address, 0))
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
