"""What the API needs of the service: one protocol a resource, and all of them as `Backend`.

service/operations.py implements them, tests fake them. A handler names the one that it needs.
Handlers and the application import nothing else of the service. No method blocks the loop. Owns
the protocols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from xdpctl.abi import MapName
    from xdpctl.http.api.documents import RuleOut, Status, TopRule
    from xdpctl.rules import AnyQtype, Rule, Target
    from xdpctl.status.snapshot import Snapshot
    from xdpctl.store.bulk import BulkResult
    from xdpctl.store.change import Change
    from xdpctl.store.store import PutResult


class RuleChanges(Protocol):
    """Rules are made and removed."""

    @property
    def any_qtype(self) -> AnyQtype:
        """How a name without a type is written."""

    async def put(self, rules: Sequence[Rule], *, force: bool) -> PutResult:
        """Make or update rules; `force` overrides the guard."""

    async def bulk(self, change: Change) -> BulkResult:
        """Change the rules of an origin; the change's source is read on another thread."""

    async def remove(self, targets: Sequence[Target]) -> int:
        """Remove own rules."""

    async def theirs(self, targets: Sequence[Target]) -> list[Target]:
        """Return the targets that dnsdist has an entry for."""

    async def lift(self, targets: Sequence[Target]) -> int:
        """Remove dnsdist's entries for targets."""

    async def resize(self, name: MapName, entries: int, *, force: bool) -> int:
        """Give a shared map more room; return how many entries were kept."""

    async def flush(self, map_name: MapName | None, origin: str | None) -> int:
        """Remove one origin's rules, or all our own."""


class RuleListing(Protocol):
    """Rules are shown."""

    async def page(
        self, map_name: MapName | None, origin: str | None, after: str | None, limit: int
    ) -> tuple[list[RuleOut], str | None]:
        """Return rules behind a cursor, and the next cursor."""

    async def top(
        self, count: int, map_name: MapName | None, by: Literal["rate", "hits"]
    ) -> list[TopRule]:
        """Return the rules hit most."""

    def export(self, *, everything: bool) -> AsyncGenerator[bytes, None]:
        """Yield the lines of an export in parts."""


class ServiceState(Protocol):
    """How the service is."""

    def snapshot(self) -> Snapshot:
        """Return what was last seen."""

    def status(self) -> Status:
        """Return the whole service as a document."""


class PanicControl(Protocol):
    """Everything is passed, or filtered again."""

    async def set_panic(self, *, panic: bool) -> None:
        """Pass everything, or end that."""


class AttachedFilters(Protocol):
    """The program on the interfaces."""

    async def detach(self, interfaces: Sequence[str]) -> list[str]:
        """Take the program off these interfaces, or all; return those it was on."""


class Backend(RuleChanges, RuleListing, ServiceState, PanicControl, AttachedFilters, Protocol):
    """All that the API needs of the service."""
