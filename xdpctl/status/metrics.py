"""The Prometheus metrics of CONTRACT.md, collected from the last snapshot.

A scrape reads one frozen value that observer.py made, and this process's own numbers (`process_*`)
from /proc. Called by http/.
Owns the names, labels and help of the metrics. Does not own the values.
"""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from xdpctl import __version__
from xdpctl.abi import RULE_MAPS, RULE_PLACES, TABLES, PacketAction, Reason
from xdpctl.feeds.dnsdist.blocks import BlockKind
from xdpctl.filter.view import FilterState
from xdpctl.rules.rules import ClaimClass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from prometheus_client.metrics_core import Metric

    from xdpctl.feeds.dnsdist.views import BridgeView
    from xdpctl.feeds.publish.views import PublishZoneView
    from xdpctl.feeds.versions import ListView
    from xdpctl.filter.view import FilterView
    from xdpctl.limits.view import LimitsView
    from xdpctl.status.snapshot import Snapshot

    ClaimNumbers: TypeAlias = tuple[Mapping[str, int], Mapping[str, int]]
    """How many claims of each class are in force, and how many wait."""

_RULE_REASONS = (
    *(Reason.ADDR_V4, Reason.ADDR_V6, Reason.CIDR4, Reason.CIDR6, Reason.QNAME),
    *(Reason.ZONE, Reason.LIST_SOURCE, Reason.LIST_NAME),
)

_LIMIT_REASONS = (Reason.LIMIT, Reason.UNPROVEN, Reason.ZONE_LIMIT)

_ONLY_DROPPED = (Reason.MALFORMED, Reason.UNANSWERABLE)

_REDIRECTING = (
    *_RULE_REASONS,
    *_LIMIT_REASONS,
    Reason.RESPONSE,
    Reason.OPCODE,
    Reason.REDIRECT,
    Reason.EXEMPT,
)

POSSIBLE: frozenset[tuple[Reason, PacketAction]] = frozenset(
    {(reason, PacketAction.PASS) for reason in Reason if reason not in _ONLY_DROPPED}
    | {(reason, PacketAction.DROP) for reason in _RULE_REASONS}
    | {(reason, PacketAction.TRUNCATE) for reason in _RULE_REASONS}
    | {(reason, PacketAction.DROP) for reason in _LIMIT_REASONS}
    | {(reason, PacketAction.TRUNCATE) for reason in _LIMIT_REASONS}
    | {(reason, PacketAction.REDIRECT) for reason in _REDIRECTING}
    | {(reason, PacketAction.DROP) for reason in (*_ONLY_DROPPED, Reason.FRAGMENT)}
)
"""Pairs that the program can count (PACKETS.md); the first scrape shows them with 0."""


class SnapshotCollector(Collector):
    """The metrics of the snapshot that `snapshot` returns during a scrape."""

    def __init__(  # noqa: PLR0913 - whose numbers are shown
        self,
        snapshot: Callable[[], Snapshot],
        *,
        bcc: Callable[[], str],
        lists: Callable[[], Sequence[ListView]] = tuple,
        notified: Callable[[], Mapping[str, int]] = dict,
        claims: Callable[[], ClaimNumbers] = lambda: ({}, {}),
        limits: Callable[[], LimitsView] | None = None,
        publishing: Callable[[], Sequence[PublishZoneView]] = tuple,
        dnsdist: Callable[[], BridgeView] | None = None,
        samples_lost: Callable[[], int] = int,
    ) -> None:
        self._snapshot = snapshot
        self._lists = lists
        self._notified = notified
        self._claims = claims
        self._limits = limits
        self._publishing = publishing
        self._dnsdist = dnsdist
        self._samples_lost = samples_lost
        self._bcc = bcc
        self._build = {"version": __version__, "kernel": platform.release()}

    def collect(self) -> Iterable[Metric]:
        """Yield each family once."""
        snapshot = self._snapshot()
        yield from _packets(snapshot.filters)
        yield from _maps(snapshot)
        yield from _interfaces(snapshot.filters)
        lost = CounterMetricFamily(
            "xdpctl_xsk_destinations_lost",
            "AF_XDP destinations that were removed while packets were redirected to them",
        )
        lost.add_metric([], snapshot.destinations_lost)
        yield lost
        yield _gauge(
            "xdpctl_ready", "1 while the filter is on and its maps are sound", snapshot.ready
        )
        yield _gauge("xdpctl_warnings", "Warnings of xdpctl status", len(snapshot.warnings))
        yield _gauge("xdpctl_panic", "1 while every packet passes (xdpctl panic)", snapshot.panic)
        yield _gauge(
            "xdpctl_snapshot_age_seconds",
            "Age of these counters",
            max(0.0, time.monotonic() - snapshot.taken),
        )
        yield from _claims(*self._claims())
        views = self._lists()
        yield from _lists(views)
        if any(view.zone for view in views):
            yield from _zone_lists(views, self._notified())
        if published := self._publishing():
            yield from _publishing(published)
        if self._limits is not None:
            yield from _limits(self._limits())
        if self._dnsdist is not None:
            yield from _dnsdist(self._dnsdist())
        samples = CounterMetricFamily(
            "xdpctl_samples_lost", "Samples of packets that somebody who looked did not get"
        )
        samples.add_metric([], self._samples_lost())
        yield samples
        build = InfoMetricFamily("xdpctl_build", "Versions of xdpctl, BCC and the kernel")
        build.add_metric([], {**self._build, "bcc": self._bcc()})
        yield build


def _claims(forced: Mapping[str, int], waiting: Mapping[str, int]) -> Iterator[Metric]:
    """Yield the numbers of our own rules; each class is there from the first scrape on."""
    rules = GaugeMetricFamily(
        "xdpctl_rules", "Own rules in force by the class of their origin", labels=["class"]
    )
    waits = GaugeMetricFamily(
        "xdpctl_claims_waiting",
        "Claims that wait behind another one, or behind an entry of dnsdist's, by class",
        labels=["class"],
    )
    for family, numbers in ((rules, forced), (waits, waiting)):
        for claim_class in ClaimClass:
            family.add_metric([claim_class.label], numbers.get(claim_class.label, 0))
        yield family


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text)
    family.add_metric([], float(value))
    return family


def _packets(filters: Iterable[FilterView]) -> Iterator[Metric]:
    labels = ["interface", "action", "reason"]
    packets = CounterMetricFamily("xdpctl_packets", "Packets by action and reason", labels=labels)
    size = CounterMetricFamily("xdpctl_bytes", "Bytes of these packets, as received", labels=labels)
    for view in filters:
        for (reason, action), count in view.counters.items():
            if count.packets or (reason, action) in POSSIBLE:
                names = [view.interface, action.name.lower(), reason.label]
                packets.add_metric(names, count.packets)
                size.add_metric(names, count.bytes)
    yield packets
    yield size


def _maps(snapshot: Snapshot) -> Iterator[Metric]:
    entries = GaugeMetricFamily("xdpctl_map_entries", "Entries of a pinned map", labels=["map"])
    capacity = GaugeMetricFamily("xdpctl_map_capacity", "Capacity of a pinned map", labels=["map"])
    frozen = GaugeMetricFamily(
        "xdpctl_shared_map_frozen",
        "1 if a pinned map is frozen and cannot be changed",
        labels=["map"],
    )
    for view in snapshot.maps:
        if view.entries is not None:
            entries.add_metric([view.name], view.entries)
        capacity.add_metric([view.name], view.capacity)
        if view.name in TABLES:  # nobody else has them
            continue
        frozen.add_metric([view.name], float(view.frozen))
    yield entries
    yield capacity
    yield frozen
    errors = CounterMetricFamily(
        "xdpctl_map_errors", "Writes to a map that failed", labels=["map", "error"]
    )
    for (name, error), count in snapshot.map_errors.items():
        errors.add_metric([name, error], count)
    yield errors
    expired = CounterMetricFamily(
        "xdpctl_rules_expired", "Own rules removed because they expired", labels=["map"]
    )
    for rule_map in RULE_PLACES:
        expired.add_metric([rule_map], snapshot.expired.get(rule_map, 0))
    yield expired
    stale = GaugeMetricFamily(
        "xdpctl_stale_dnsdist_entries",
        "Entries of dnsdist's that are older than the process that holds the map",
        labels=["map"],
    )
    for shared in RULE_MAPS:
        if (stale_here := snapshot.stale.get(shared, 0)) is not None:
            stale.add_metric([shared], stale_here)
    yield stale


def _interfaces(filters: Iterable[FilterView]) -> Iterator[Metric]:
    attached = GaugeMetricFamily(
        "xdpctl_interface_attached", "1 while the program is attached", labels=["interface"]
    )
    again = CounterMetricFamily(
        "xdpctl_interface_reattach",
        "Times that the program was attached again",
        labels=["interface"],
    )
    program = InfoMetricFamily(
        "xdpctl_program", "The program on the interface", labels=["interface", "id", "tag", "mode"]
    )
    for view in filters:
        attached.add_metric([view.interface], float(view.state is FilterState.ATTACHED))
        again.add_metric([view.interface], view.reattached)
        if view.program_id is not None:
            program.add_metric(
                [view.interface, str(view.program_id), view.tag or "", view.mode or ""], {}
            )
    yield attached
    yield again
    yield program


def _lists(views: Sequence[ListView]) -> Iterator[Metric]:
    up = GaugeMetricFamily(
        "xdpctl_list_up", "1 while the present version of a list is used", labels=["list"]
    )
    rules = GaugeMetricFamily(
        "xdpctl_list_rules", "Rules of a list's last good version", labels=["list"]
    )
    left_out = GaugeMetricFamily(
        "xdpctl_list_left_out", "Entries of that version that are no rule", labels=["list"]
    )
    success = GaugeMetricFamily(
        "xdpctl_list_last_success_timestamp_seconds",
        "When that version was used; 0 if there has been none",
        labels=["list"],
    )
    for view in views:
        good = view.good
        up.add_metric([view.name], float(not view.error and good is not None))
        rules.add_metric([view.name], 0 if good is None else good.rules)
        left_out.add_metric([view.name], 0 if good is None else good.left_out)
        success.add_metric([view.name], 0 if good is None else good.success)
    yield from (up, rules, left_out, success)


def _dnsdist(view: BridgeView) -> Iterator[Metric]:
    """Yield how dnsdist's dynamic blocks are read, one of each for every `[[dnsdist]]`."""
    if not view.dnsdists:
        return
    up = GaugeMetricFamily(
        "xdpctl_dnsdist_up", "1 while dnsdist's dynamic blocks can be read", labels=["url"]
    )
    blocks = GaugeMetricFamily(
        "xdpctl_dnsdist_blocks",
        "Dynamic blocks of the last list: claimed ones by kind, and those that are left out",
        labels=["url", "kind"],
    )
    success = GaugeMetricFamily(
        "xdpctl_dnsdist_last_success_timestamp_seconds",
        "When the list was last read; 0 if it never was",
        labels=["url"],
    )
    seconds = GaugeMetricFamily(
        "xdpctl_dnsdist_poll_seconds", "What the last poll took", labels=["url"]
    )
    polls = CounterMetricFamily(
        "xdpctl_dnsdist_polls", "Polls by how they ended", labels=["url", "result"]
    )
    for each in view.dnsdists:
        up.add_metric([each.url], float(each.up))
        success.add_metric([each.url], each.success or 0.0)
        seconds.add_metric([each.url], each.seconds)
        for kind in BlockKind:
            blocks.add_metric([each.url, kind], each.blocks.get(kind, 0))
        for result in ("ok", "failed"):
            polls.add_metric([each.url, result], each.polls.get(result, 0))
    yield from (up, blocks, success, seconds, polls)
    yield _gauge(
        "xdpctl_dnsdist_claims", "Claims for dnsdist's dynamic blocks and entries", view.claims
    )
    yield _gauge(
        "xdpctl_dnsdist_held", "Of these, claims whose block dnsdist has ended (hold)", view.held
    )


def _zone_lists(views: Sequence[ListView], notified: Mapping[str, int]) -> Iterator[Metric]:
    """Yield what only lists that are zones have."""
    serial = GaugeMetricFamily(
        "xdpctl_list_serial", "Serial of the zone's version in force", labels=["list"]
    )
    age = GaugeMetricFamily(
        "xdpctl_list_age_seconds", "Since a primary last confirmed the zone", labels=["list"]
    )
    transfers = CounterMetricFamily(
        "xdpctl_list_transfers",
        "Looks at a zone, by what was asked last and how that ended",
        labels=["list", "kind", "result"],
    )
    notifies = CounterMetricFamily(
        "xdpctl_list_notifies", "NOTIFY messages, by what became of them", labels=["result"]
    )
    for view in views:
        if view.serial is not None:
            serial.add_metric([view.name], view.serial)
        if view.contact is not None:
            age.add_metric([view.name], max(0.0, time.time() - view.contact))
        for (kind, result), count in view.transfers.items():
            transfers.add_metric([view.name, kind, result], count)
    for result, count in notified.items():
        notifies.add_metric([str(result)], count)
    yield from (serial, age, transfers, notifies)


def _publishing(views: Sequence[PublishZoneView]) -> Iterator[Metric]:
    """Yield what this host publishes in zones, and how their primaries took it."""
    records = GaugeMetricFamily(
        "xdpctl_published_records", "Records of this host in the zone of a list", labels=["list"]
    )
    waiting = GaugeMetricFamily(
        "xdpctl_published_waiting",
        "Records of this host that are still to be sent to the primary, or removed there",
        labels=["list"],
    )
    updates = CounterMetricFamily(
        "xdpctl_publish_updates",
        "DNS updates for the zone of a list, by how they ended",
        labels=["list", "result"],
    )
    for view in views:
        records.add_metric([view.name], view.records)
        waiting.add_metric([view.name], view.waiting)
        for result, count in view.results.items():
            updates.add_metric([view.name, result], count)
    yield from (records, waiting, updates)


def _limits(view: LimitsView) -> Iterator[Metric]:
    """Yield what the limits do; a listener is there from the first connection on."""
    up = GaugeMetricFamily(
        "xdpctl_tcp_listener_up",
        "1 if the DNS server answers over TCP, where limits send clients",
        labels=["port"],
    )
    for port, is_up in view.listeners.items():
        up.add_metric([str(port)], float(is_up))
    yield up
    yield _gauge("xdpctl_proven_sources", "Sources that are proven now", view.proven or 0)
    proofs = CounterMetricFamily(
        "xdpctl_proof_lookups", "TCP connections that the filter looked for", labels=["found"]
    )
    cookies = CounterMetricFamily(
        "xdpctl_cookies", "DNS cookies that the filter checked", labels=["good"]
    )
    for family, events in ((proofs, view.proofs), (cookies, view.cookies)):
        family.add_metric(["yes"], events.found)
        family.add_metric(["no"], events.missed)
        yield family
    flooded = any(acting.reason is Reason.UNPROVEN and acting.rate for acting in view.acting)
    yield _gauge("xdpctl_flood_active", "1 while --flood-limit refuses queries", flooded)
    yield _gauge("xdpctl_limit_table_load", "Share of the table of accounts in use", view.load)
    if view.zones:
        yield from _zones(view)


def _zones(view: LimitsView) -> Iterator[Metric]:
    """Yield what is known of the names of own zones; one without a primary has no names."""
    names = GaugeMetricFamily(
        "xdpctl_zone_names", "Names that are known to exist in the zone", labels=["zone"]
    )
    serials = GaugeMetricFamily(
        "xdpctl_zone_serial", "Serial of the version whose names are known", labels=["zone"]
    )
    verified = GaugeMetricFamily(
        "xdpctl_zone_last_success_timestamp_seconds",
        "When the primary last had this version",
        labels=["zone"],
    )
    transfers = CounterMetricFamily(
        "xdpctl_zone_transfers",
        "Looks at the primary, by how they ended",
        labels=["zone", "result"],
    )
    for zone in view.zones:
        if zone.serial is not None:
            names.add_metric([zone.zone], zone.names or 0)
            serials.add_metric([zone.zone], zone.serial)
            verified.add_metric([zone.zone], zone.verified or 0.0)
        for result, count in zone.transfers.items():
            transfers.add_metric([zone.zone, result], count)
    yield from (names, serials, verified, transfers)


class Exposition:
    """The text of a scrape, in the format that the client asks for."""

    def __init__(self, collector: Collector) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(collector)
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return (body, content type) for the Accept header of a request."""
        encode, content_type = choose_encoder(preferred(accept))
        return encode(self._registry), content_type


_TEXT, _OPEN = "text/plain", "application/openmetrics-text"


def preferred(accept: str) -> str:
    """Return those media ranges of an Accept header that name the format to answer in.

    prometheus_client reads no weights. So the format is chosen here (RFC 9110, 12.5.1), and
    it gets only what is said about this format: of equal weights the first named, and text
    where the header has no format that we have.
    """
    ranges: list[tuple[str, str, float]] = []
    for part in accept.split(","):
        media, *parameters = (word.strip() for word in part.lower().split(";"))
        weights = [word[2:] for word in parameters if word[:2] == "q="]
        named = ";".join([media, *(word for word in parameters if word[:2] != "q=")])
        ranges.append((media, named, _weight(weights[0]) if weights else 1.0))

    def weight_of(offer: str) -> float:
        for pattern in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
            if found := [weight for media, _, weight in ranges if media == pattern]:
                return max(found)
        return 0.0

    order = [media for media, _, weight in ranges if media in {_TEXT, _OPEN} and weight]
    offers = [*order, *(offer for offer in (_TEXT, _OPEN) if offer not in order)]
    chosen = max(offers, key=weight_of)
    if not weight_of(chosen):
        return _TEXT
    return (
        ",".join(named for media, named, weight in ranges if media == chosen and weight) or chosen
    )


def _weight(text: str) -> float:
    """Return the number of a `q=`; 0 to 1, and 1 for what is not a number."""
    try:
        found = float(text)
    except ValueError:
        return 1.0
    return min(max(found, 0.0), 1.0) if found == found else 1.0  # noqa: PLR0124 - not a number
