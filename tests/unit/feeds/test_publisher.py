"""What this host publishes: remembered, removed at its end, and brought in order at a start."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import dns.rcode
import pytest

from tests.support.fake_update_primary import FakeUpdatePrimary
from xdpctl.abi import RuleAction
from xdpctl.errors import ConflictError, NotFoundError, PublishError, TargetError
from xdpctl.feeds.publish import publisher as publisher_module
from xdpctl.feeds.publish.changes import settle, verify
from xdpctl.feeds.publish.claims import ClaimedRecord
from xdpctl.feeds.publish.publisher import LOOK_SECONDS, Publisher
from xdpctl.feeds.publish.update import UpdateConnection
from xdpctl.rules import Name, parse_target
from xdpctl.settings import ZoneListSettings, load_settings
from xdpctl.settings.zones import PrimaryAddress
from xdpctl.store.published import PublishedRecord, PublishedTable
from xdpctl.store.state import State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from xdpctl.process.caller import Caller
    from xdpctl.settings import Settings

DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS
ZONE = "rpz.example"
START = 1_700_000_000.0


class Host:
    """A publisher with a state file, at a primary."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = START
        self.fake = FakeUpdatePrimary(ZONE)
        self.claims: dict[str, ClaimedRecord] = {}
        self.notes: list[tuple[str, tuple[str, ...], str]] = []
        self.changes: list[tuple[str, int]] = []
        key = folder / "key"
        key.write_text(
            'key "xdpctl.key" { algorithm hmac-sha256; secret "MDEyMzQ1Njc4OWFiY2RlZg=="; };'
        )
        key.chmod(0o600)
        self.listed = ZoneListSettings(
            zone=Name.from_text(ZONE),
            origin="list:block",
            primaries=(PrimaryAddress(IPv4Address("192.0.2.53")),),
            key_file=key,
        )
        self.state = State.open(folder / "state.db")
        self.publisher = self.make()

    def settings(self, *lists: ZoneListSettings, publish: str = "none") -> Settings:
        found = load_settings(["--publish", publish], {}, require_interface=False)
        values = {name: getattr(found, name) for name in type(found).__slots__}
        return type(found)(**values | {"zone_lists": lists})

    def make(self, *, publish: str = "none") -> Publisher:
        """Return the publisher of a start."""

        def connected(zone: Name, primary: Any) -> UpdateConnection:  # noqa: ANN401
            return UpdateConnection(zone, primary, self.fake.open)

        self.publisher = Publisher(
            PublishedTable.open(self.state),
            self.settings(self.listed, publish=publish),
            lambda _: dict(self.claims),
            self,
            on_state=asyncio.to_thread,
            on_network=asyncio.to_thread,
            on_change=lambda zone, removed: self.changes.append((zone.to_text(), removed)),
            clock=lambda: self.now,
            settle=partial(settle, connecting=connected),
            verify=partial(verify, connecting=connected),
        )
        return self.publisher

    def published(
        self, _who: Caller, verb: str, records: Sequence[PublishedRecord], detail: str
    ) -> None:
        """Note what was published."""
        self.notes.append((verb, tuple(record.target for record in records), detail))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Publisher]:
        """Run the part for the time of a block."""
        task = asyncio.create_task(self.publisher.run())
        try:
            yield self.publisher
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def turn(self) -> None:
        """Let the part look again at once."""
        self.publisher._wake.set()

    async def publish(
        self, *texts: str, action: RuleAction = DROP, seconds: int | None = 600
    ) -> Any:  # noqa: ANN401
        targets = [parse_target(text) for text in texts]
        return await self.publisher.publish(ZONE, targets, action, seconds)

    async def unpublish(self, *texts: str) -> tuple[int, list[str]]:
        return await self.publisher.unpublish(ZONE, [parse_target(text) for text in texts])

    def stored(self) -> dict[str, PublishedRecord]:
        """Return what is in the state, by target."""
        return {record.target: record for record in PublishedTable(self.state).read()}

    def has_failed_more_than(self, tries: int) -> bool:
        (view,) = self.publisher.zones()
        return view.results["unreachable"] > tries

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something is so, and let the part look meanwhile."""
        async with asyncio.timeout(10):
            while not holds():
                self.turn()
                await asyncio.sleep(0.01)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(publisher_module, "POLL_SECONDS", 0.01)
    made = Host(tmp_path)
    yield made
    made.state.close()


# --- what operators ask for --------------------------------------------------------------


async def test_a_zone_rule_is_two_records_until_its_end(host: Host) -> None:
    async with host.running():
        found = await host.publish(".evil.example", "192.0.2.1")
        assert found.made == ("evil.example", "*.evil.example", "192.0.2.1")
        assert host.fake.records == {
            "evil.example": (600, "rpz-drop."),
            "*.evil.example": (600, "rpz-drop."),
            "32.1.2.0.192.rpz-client-ip": (600, "rpz-drop."),
        }
        assert host.fake.updates == 1
        host.now += 599
        host.turn()
        await asyncio.sleep(0.05)
        assert len(host.fake.records) == 3
        host.now += 1
        await host.until(lambda: len(host.notes) == 2)
        assert (host.fake.records, host.stored()) == ({}, {})
    assert host.notes == [
        ("publish", found.made, "in rpz.example, for 10m"),
        ("unpublish", found.made, "in rpz.example: ended"),
    ]


async def test_publishing_again_changes_action_and_end(host: Host) -> None:
    async with host.running():
        await host.publish("a.example")
        found = await host.publish("a.example", "b.example", action=PASS, seconds=None)
    assert (found.made, found.changed) == (("b.example",), ("a.example",))
    assert host.fake.records["a.example"] == (2**31 - 1, "rpz-passthru.")
    assert host.stored()["a.example"].ends is None


async def test_another_s_record_stays_and_nothing_is_published(host: Host) -> None:
    host.fake.records["a.example"] = 60, "rpz-passthru."
    async with host.running():
        with pytest.raises(ConflictError, match=r"cannot publish a\.example in rpz\.example"):
            await host.publish("a.example", "b.example")
        assert host.fake.data() == {"a.example": "rpz-passthru."}
        assert host.stored() == {}
        (view,) = host.publisher.zones()
        assert view.results == {"done": 1, "conflict": 1}


async def test_the_same_record_of_another_is_not_removed_at_our_end(host: Host) -> None:
    host.fake.records["a.example"] = 60, "rpz-drop."
    async with host.running():
        found = await host.publish("a.example")
        assert found.same == ("a.example",)
        with pytest.raises(NotFoundError, match="this host has not published it"):
            await host.unpublish("a.example")
    assert host.fake.data() == {"a.example": "rpz-drop."}


async def test_unpublish_removes_our_own(host: Host) -> None:
    async with host.running():
        await host.publish("a.example", "b.example")
        assert await host.unpublish("a.example") == (1, [])
        assert host.fake.data() == {"b.example": "rpz-drop."}
        host.fake.records["b.example"] = 60, "rpz-passthru."
        removed, warnings = await host.unpublish("b.example")
    assert (removed, len(warnings)) == (1, 1)
    assert "another has changed it" in warnings[0]
    assert host.fake.data() == {"b.example": "rpz-passthru."}
    assert host.stored() == {}


@pytest.mark.parametrize(
    ("zone", "text", "error", "sentence"),
    [
        ("192.0.2.1", "a.example", TargetError, "as a name"),
        (
            "other.example",
            "a.example",
            TargetError,
            "no .* has this zone; choose one of rpz.example",
        ),
        (ZONE, "0.0.0.0/0", TargetError, "a prefix has a length from 1 on"),
    ],
)
async def test_what_cannot_be_published_is_refused(
    host: Host, zone: str, text: str, error: type[Exception], sentence: str
) -> None:
    async with host.running():
        with pytest.raises(error, match=sentence):
            await host.publisher.publish(zone, [parse_target(text)], DROP, None)
    assert host.fake.asked == 0


async def test_a_hundred_records_are_the_most_of_one_request(host: Host) -> None:
    with pytest.raises(TargetError, match="102 records at once: 100 are the most"):
        await host.publish(*(f".n{number}.example" for number in range(51)))


async def test_a_refusal_leaves_nothing_behind(host: Host) -> None:
    host.fake.rcode = dns.rcode.REFUSED
    async with host.running():
        with pytest.raises(PublishError, match="nothing was published") as caught:
            await host.publish("a.example")
        assert caught.value.result == "refused"
        assert host.stored() == {}
        host.fake.rcode = dns.rcode.NOERROR
        await host.publish("a.example")
        host.fake.rcode = dns.rcode.REFUSED
        with pytest.raises(PublishError):
            await host.publish("a.example", action=PASS)
    assert host.stored()["a.example"].action is DROP


@pytest.mark.parametrize("done", [False, True])
async def test_an_update_without_an_answer_is_taken_back(host: Host, done: bool) -> None:  # noqa: FBT001
    async with host.running():
        await host.publish("there.example")
        host.fake.silent = done
        with pytest.raises(PublishError, match="undone as soon as it answers"):
            await host.publish("a.example", "there.example", action=PASS)
        assert host.stored()["a.example"].leaving
        host.fake.silent = None
        host.now += 60  # the next try is due
        await host.until(lambda: set(host.stored()) == {"there.example"})
        await host.until(lambda: host.stored()["there.example"].sent is None)
    assert host.fake.data() == {"there.example": "rpz-drop."}


async def test_a_forged_refusal_hides_no_record_from_its_end(host: Host) -> None:
    async with host.running():
        host.fake.forged = dns.rcode.REFUSED
        with pytest.raises(PublishError, match="not signed, so anybody may have sent it: in case"):
            await host.publish("a.example")
        assert host.fake.data() == {"a.example": "rpz-drop."}
        assert host.stored()["a.example"].leaving
        host.fake.forged = None
        host.now += 60
        await host.until(lambda: not host.stored())
    assert host.fake.data() == {}


async def test_a_primary_that_always_refuses_unsigned_is_given_up_after_a_day(host: Host) -> None:
    async with host.running():
        await host.publish("there.example", seconds=10)
        host.fake.rcode, host.fake.unsigned = dns.rcode.REFUSED, True
        with pytest.raises(PublishError, match="which is tried for a day"):
            await host.publish("a.example")
        host.now += 86_000
        await host.until(lambda: host.publisher.zones()[0].results["refused"] > 1)
        assert set(host.stored()) == {"a.example", "there.example"}
        host.now += 800
        await host.until(lambda: set(host.stored()) == {"there.example"})  # which it has taken
        (note,) = [note for note in host.notes if note[1] == ("a.example",)]
        assert "given up, the primary has refused for a day" in note[2]


# --- a primary that is gone -----------------------------------------------------------------


async def test_a_removal_is_tried_until_the_primary_takes_it(host: Host) -> None:
    async with host.running():
        await host.publish("a.example", seconds=10)
        host.fake.unreachable = True
        host.now += 20
        await host.until(lambda: bool(host.publisher.warnings))
        (warning,) = host.publisher.warnings
        assert "cannot update rpz.example: 192.0.2.53: no TCP connection" in warning
        assert "1 record to be sent or removed, which is tried again within" in warning
        waits = []
        for _ in range(8):
            (view,) = host.publisher.zones()
            assert view.next is not None
            waits.append(view.next - host.now)
            host.now = view.next
            await host.until(partial(host.has_failed_more_than, view.results["unreachable"]))
        assert waits[:6] == sorted(waits[:6])
        assert 4.4 < waits[0] < 5.6
        assert 269 < waits[-1] < 331
        host.fake.unreachable = False
        host.now += 400
        await host.until(lambda: not host.stored())
        await host.until(lambda: not host.publisher.warnings)
    assert host.fake.records == {}


async def test_unpublish_without_a_primary_is_remembered(host: Host) -> None:
    async with host.running():
        await host.publish("a.example", seconds=None)
        host.fake.unreachable = True
        with pytest.raises(PublishError, match="tried again until it is done"):
            await host.unpublish("a.example")
        host.fake.unreachable = False
        host.now += 60
        await host.until(lambda: not host.stored())
    assert host.fake.records == {}


async def test_without_a_key_it_is_said_before_anything_is_sent(host: Host) -> None:
    assert host.listed.key_file is not None
    host.listed.key_file.unlink()
    async with host.running():
        with pytest.raises(PublishError, match="cannot use key-file"):
            await host.publish("a.example")
    assert (host.fake.asked, host.stored()) == (0, {})


# --- a start --------------------------------------------------------------------------------


async def test_a_start_removes_what_ended_and_puts_back_what_has_time_left(host: Host) -> None:
    async with host.running():
        await host.publish("ended.example", seconds=10)
        await host.publish("kept.example", "vanished.example", "taken.example", seconds=600)
        await host.publish("forever.example", "gone.example", seconds=None)
    host.now += 60
    del host.fake.records["vanished.example"], host.fake.records["gone.example"]
    host.fake.records["taken.example"] = 60, "rpz-passthru."
    host.notes.clear()
    host.make()
    async with host.running():
        await host.until(lambda: len(host.notes) == 5)
    assert host.fake.records == {
        "kept.example": (600, "rpz-drop."),
        "vanished.example": (540, "rpz-drop."),
        "forever.example": (2**31 - 1, "rpz-drop."),
        "taken.example": (60, "rpz-passthru."),
    }
    assert set(host.stored()) == {"kept.example", "vanished.example", "forever.example"}
    assert sorted(host.notes) == [
        ("publish", ("vanished.example",), "in rpz.example, for 9m"),
        (
            "publish",
            ("vanished.example",),
            "in rpz.example: it had vanished at the primary and is put back until its end",
        ),
        ("unpublish", ("ended.example",), "in rpz.example: ended"),
        (
            "unpublish",
            ("gone.example",),
            "in rpz.example: it had vanished at the primary, and without an end it stays so",
        ),
        ("unpublish", ("taken.example",), "in rpz.example: another had changed it at the primary"),
    ]


async def test_what_vanishes_while_the_service_runs_is_seen(host: Host) -> None:
    async with host.running():
        await host.publish("back.example", "kept.example")
        await host.publish("gone.example", "taken.example", seconds=None)
        del host.fake.records["back.example"], host.fake.records["gone.example"]
        host.fake.records["taken.example"] = 60, "rpz-passthru."
        host.notes.clear()
        host.now += LOOK_SECONDS - 1
        host.turn()
        await asyncio.sleep(0.05)
        assert not host.notes
        host.now += 1
        await host.until(lambda: len(host.notes) == 4)
        shown = {record.target: record.there for record in host.publisher.records()}
    assert shown == {"back.example": DROP, "kept.example": DROP}
    assert "taken.example" in host.fake.records
    assert host.changes == [(ZONE, 0)] * 3


async def test_what_is_removed_is_told_so_that_the_list_may_shrink(host: Host) -> None:
    async with host.running():
        await host.publish(".a.example", seconds=10)
        await host.publish("b.example")
        await host.unpublish("b.example")
        host.now += 10
        await host.until(lambda: len(host.changes) == 4)
        with pytest.raises(TargetError, match=r"cannot unpublish from .other\.example.: no"):
            await host.publisher.unpublish("other.example", [parse_target("a.example")])
    assert host.changes == [(ZONE, 0), (ZONE, 0), (ZONE, 1), (ZONE, 2)]


async def test_a_service_that_is_killed_while_it_sends_leaves_nothing(host: Host) -> None:
    record = PublishedRecord(
        zone=ZONE,
        target="a.example",
        action=DROP,
        origin="cli",
        created=START,
        leaving=True,
        sent=DROP,
    )
    PublishedTable(host.state).write([record])
    host.fake.records["a.example"] = 600, "rpz-drop."
    host.make()
    async with host.running():
        await host.until(lambda: not host.stored())
    assert host.fake.records == {}


async def test_records_of_a_zone_that_no_list_has_are_warned_of(host: Host) -> None:
    async with host.running():
        await host.publish("a.example", seconds=10)
        host.publisher.reload(host.settings())
        host.now += 20
        await host.until(lambda: bool(host.publisher.warnings))
        assert (
            "1 record of this host in rpz.example cannot be removed" in host.publisher.warnings[0]
        )
        host.publisher.reload(host.settings(host.listed))
        await host.until(lambda: not host.stored())
        await host.until(lambda: not host.publisher.warnings)


# --- dynamic claims --------------------------------------------------------------------------


def claims(ends: float, *targets: str) -> Mapping[str, ClaimedRecord]:
    return {target: ClaimedRecord(DROP, "dnsdist-dynamic", START, ends) for target in targets}


async def test_dynamic_claims_are_published_and_removed_with_them(host: Host) -> None:
    host.claims |= claims(START + 90, "192.0.2.1", "192.0.2.2")
    host.make(publish=ZONE)
    async with host.running():
        await host.until(lambda: len(host.fake.records) == 2)
        assert set(host.fake.records.values()) == {(300, "rpz-drop.")}
        del host.claims["192.0.2.1"]
        await host.until(lambda: len(host.notes) == 2)
    assert [note[0] for note in host.notes] == ["publish", "unpublish"]
    assert len(host.fake.records) == 1
    assert host.stored()["192.0.2.2"].origin == "dnsdist-dynamic"


async def test_a_claim_that_is_prolonged_costs_few_updates(host: Host) -> None:
    host.claims |= claims(START + 90, "192.0.2.1")
    host.make(publish=ZONE)
    async with host.running():
        await host.until(lambda: len(host.fake.records) == 1)
        for _ in range(20):  # ten minutes
            host.now += 30
            host.claims |= claims(host.now + 90, "192.0.2.1")
            await host.until(
                lambda: (
                    host.publisher.records()[0].ends == host.now + 90
                    and not any(view.waiting for view in host.publisher.zones())
                )
            )
        assert 3 <= host.fake.updates <= 5
        assert host.fake.records["32.1.2.0.192.rpz-client-ip"][0] == 300


async def test_what_an_operator_publishes_comes_before_a_claim(host: Host) -> None:
    host.claims |= claims(START + 3600, "192.0.2.1")
    host.make(publish=ZONE)
    async with host.running():
        await host.until(lambda: len(host.fake.records) == 1)
        found = await host.publish("192.0.2.1", action=PASS)
        assert found.changed == ("192.0.2.1",)
        host.claims.clear()
        host.turn()
        await asyncio.sleep(0.05)
    assert host.fake.data() == {"32.1.2.0.192.rpz-client-ip": "rpz-passthru."}


async def test_what_an_operator_takes_out_is_not_published_again(host: Host) -> None:
    host.claims |= claims(START + 3600, "192.0.2.1")
    host.make(publish=ZONE)
    async with host.running():
        await host.until(lambda: len(host.fake.records) == 1)
        removed, warnings = await host.unpublish("192.0.2.1")
        assert removed == 1
        assert "by itself" in warnings[0]
        host.turn()
        await asyncio.sleep(0.05)
        assert host.fake.records == {}
        host.claims.clear()
        await host.until(lambda: not host.publisher._elsewhere)
        host.claims |= claims(START + 3600, "192.0.2.1")
        await host.until(lambda: len(host.fake.records) == 1)


async def test_another_host_s_record_is_looked_at_again_later(host: Host) -> None:
    host.fake.records["32.1.2.0.192.rpz-client-ip"] = 60, "rpz-drop."
    host.claims |= claims(START + 3600, "192.0.2.1")
    host.make(publish=ZONE)
    async with host.running():
        await host.until(lambda: host.fake.asked > 0 and not host.stored())
        asked = host.fake.asked
        host.turn()
        await asyncio.sleep(0.05)
        assert host.fake.asked == asked
        host.fake.records.clear()
        host.now += 301
        await host.until(lambda: len(host.fake.records) == 1)


async def test_without_the_option_the_records_of_claims_are_removed(host: Host) -> None:
    host.claims |= claims(START + 3600, "192.0.2.1")
    host.make(publish=ZONE)
    async with host.running():
        await host.until(lambda: len(host.fake.records) == 1)
        host.publisher.reload(host.settings(host.listed))
        await host.until(lambda: not host.stored())
    assert host.fake.records == {}
