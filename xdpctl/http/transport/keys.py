"""The keys under which the application stores what its handlers need.

Owns only the keys; the values come from service/operations.py, status/metrics.py and http/app.py.
aiohttp has typed keys since 3.9 and warns about any other key; Debian 12's 3.8 accepts every
hashable value. Does not own what is stored. Used by http/app.py, body.py and http/api/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from aiohttp.web import AppKey

else:

    class _AppKey:
        """A key by its identity, for an aiohttp without a class for keys."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __repr__(self) -> str:
            return f"<key {self._name}>"

    AppKey = getattr(web, "AppKey", _AppKey)


__all__ = ["SPOOL", "AppKey"]

SPOOL: AppKey[Path | None] = AppKey("spool")
"""Directory for large bodies while they are processed; None: the system's default."""

STOPPING: AppKey[asyncio.Event] = AppKey("stopping")
"""Set when the listener stops, so that streams end by themselves."""

IN_PUBLIC: AppKey[bool] = AppKey("in-public")
"""Whether answers leave out quotations from files: on every listener but the control socket."""
