"""What the application carries to its handlers, and the keys under which it does.

Owns the keys alone; what stands behind them is service/operations.py's, status/metrics.py's and
http/app.py's. aiohttp has typed keys since 3.9 and warns of any other there; Debian 12's 3.8 takes
every hashable value for a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp.web import AppKey

else:

    class _AppKey:
        """A key by its identity, where aiohttp has no class for it."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __repr__(self) -> str:
            return f"<key {self._name}>"

    AppKey = getattr(web, "AppKey", _AppKey)


__all__ = ["SPOOL", "AppKey"]

SPOOL: AppKey[Path | None] = AppKey("spool")
"""Where large bodies are kept while they are worked on; None: the system's choice."""

IN_PUBLIC: AppKey[bool] = AppKey("in-public")
"""Whether answers leave out what is quoted of files: on every listener but the control socket."""
