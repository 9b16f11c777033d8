"""What the API needs of the service, as one protocol.

service/operations.py implements it, tests fake it. Handlers and the application import
nothing else of the service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from xdpctl.abi import MapName
    from xdpctl.http.api.documents import RuleOut, Status
    from xdpctl.rules import AnyQtype, Rule, Target
    from xdpctl.status.snapshot import Snapshot
    from xdpctl.store.bulk import BulkResult
    from xdpctl.store.change import Change
    from xdpctl.store.store import PutResult
    from xdpctl.store.top import TopEntry


class Backend(Protocol):
    """What the handlers ask of the service; none of it blocks the loop."""

    @property
    def any_qtype(self) -> AnyQtype:
        """How a name without a type is written."""

    def snapshot(self) -> Snapshot:
        """Return what was last seen."""

    def status(self) -> Status:
        """Return the whole service as a document."""

    async def put(self, rules: Sequence[Rule], *, force: bool) -> PutResult:
        """Make or update rules."""

    async def remove(self, targets: Sequence[Target]) -> int:
        """Remove own rules."""

    async def bulk(self, change: Change) -> BulkResult:
        """Change the rules of an origin; the change's source is read on another thread."""

    async def flush(self, map_name: MapName | None, origin: str | None) -> int:
        """Remove one origin's rules, or all our own."""

    async def page(
        self, map_name: MapName | None, origin: str | None, after: str | None, limit: int
    ) -> tuple[list[RuleOut], str | None]:
        """Return rules behind a cursor, and the next cursor."""

    async def top(
        self, count: int, map_name: MapName | None, by: Literal["rate", "hits"]
    ) -> list[TopEntry]:
        """Return the entries hit most."""

    def export(self, *, everything: bool) -> AsyncGenerator[bytes, None]:
        """Yield the lines of an export in parts."""

    async def set_panic(self, *, panic: bool) -> None:
        """Pass everything, or end that."""

    async def detach(self, interfaces: Sequence[str]) -> list[str]:
        """Take the program off."""
