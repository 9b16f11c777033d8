"""What the API needs of the service: one protocol a resource, and all of them as `Backend`.

service/operations.py implements them, tests fake them. A handler names the one that it needs.
Handlers and the application import nothing else of the service. No method blocks the loop. Owns
the protocols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from xdpctl.http.api.sample_view import SampleView

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from xdpctl.abi import MapName, RuleAction
    from xdpctl.http.api.documents import (
        ChangeOut,
        ListOut,
        Removed,
        RuleOut,
        Status,
        Tested,
        TopRule,
    )
    from xdpctl.http.api.limit_documents import LimitsOut
    from xdpctl.http.api.live_documents import LiveOut
    from xdpctl.http.api.publish_documents import Published, PublishedList
    from xdpctl.http.api.shared_samples import SharedSamples
    from xdpctl.rules import AnyQtype, Question, Rule, Target
    from xdpctl.status.snapshot import Snapshot
    from xdpctl.store.bulk import BulkResult
    from xdpctl.store.change import Change
    from xdpctl.store.store import PutResult


class RuleChanges(Protocol):
    """Rules are made and removed."""

    @property
    def any_qtype(self) -> AnyQtype:
        """How a name without a type is written."""

    async def put(self, rules: Sequence[Rule], *, force: bool, beneath: bool = False) -> PutResult:
        """Make or update rules; `force` overrides the guard, `beneath` waits for dnsdist."""

    async def bulk(self, change: Change) -> BulkResult:
        """Change the rules of an origin; the change's source is read on another thread."""

    async def remove(self, targets: Sequence[Target], origin: str | None = None) -> Removed:
        """End the operator's claims on targets, or another origin's."""

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
        self,
        map_name: MapName | None,
        origin: str | None,
        after: str | None,
        limit: int,
        *,
        all_claims: bool = False,
    ) -> tuple[list[RuleOut], str | None]:
        """Return rules behind a cursor, and the next cursor; see `PageQuery`."""

    async def rules_on(self, target: Target, *, contains: bool) -> list[RuleOut]:
        """Return the rules for a target, or also those that contain it."""

    async def origins(self, map_name: MapName | None) -> dict[str, int]:
        """Return how many rules of our own each origin has, in one map or all."""

    async def history(self, target: str | None, since: float | None, limit: int) -> list[ChangeOut]:
        """Return the last changes."""

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


class PacketTests(Protocol):
    """What the program decides about a query."""

    async def test(
        self, address: IPv4Address | IPv6Address, question: Question, interface: str
    ) -> Tested:
        """Return what it decides, and which rule it is."""


class PanicControl(Protocol):
    """Everything is passed, or filtered again."""

    async def set_panic(self, *, panic: bool) -> bool:
        """Pass everything, or end that."""


class AttachedFilters(Protocol):
    """The program on the interfaces."""

    async def detach(self, interfaces: Sequence[str]) -> list[str]:
        """Take the program off these interfaces, or all; return those it was on."""

    async def attach(self, interfaces: Sequence[str]) -> list[str]:
        """Attach the program again after `detach`; return those where it was detached."""


class ListControl(Protocol):
    """The lists of the settings."""

    def lists(self) -> list[ListOut]:
        """Return how each list is now."""

    async def read_list(self, name: str, *, accept: bool) -> ListOut:
        """Read a list now; `accept`: take its version also if it shrank."""


class PublishControl(Protocol):
    """What this host publishes in zones."""

    async def published(self) -> PublishedList:
        """Return it, and the zones."""

    async def publish(
        self,
        zone: str,
        targets: Sequence[Target],
        action: RuleAction,
        seconds: int | None,
        *,
        force: bool,
    ) -> Published:
        """Publish records until their end; `force` overrides the guard."""

    async def unpublish(self, zone: str, targets: Sequence[Target]) -> tuple[int, list[str]]:
        """Remove records; return how many, and what was not as expected."""


class LimitControl(Protocol):
    """The limits, and the sources that are proven."""

    def limits(self) -> LimitsOut:
        """Return what is limited, and what the limits do now."""

    async def prove(self, addresses: Sequence[IPv4Address | IPv6Address], *, proven: bool) -> int:
        """Let sources count as proven, or no longer; return how many changed."""


class LiveView(Protocol):
    """What the service sees, as it goes on."""

    def live(self) -> AsyncGenerator[LiveOut, None]:
        """Yield a snapshot at once, and one each second."""


class SampleStreams(SampleView, Protocol):
    """Sampled packets, and what streams share of them."""

    @property
    def shared(self) -> SharedSamples:
        """Sums and lines, made once for all streams."""


class Backend(
    RuleChanges,
    RuleListing,
    ServiceState,
    PanicControl,
    AttachedFilters,
    ListControl,
    PublishControl,
    PacketTests,
    LimitControl,
    LiveView,
    SampleStreams,
    Protocol,
):
    """All that the API needs of the service."""
