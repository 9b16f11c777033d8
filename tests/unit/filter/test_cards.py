"""A card is filtered once, whatever it is called, and only with an Ethernet header."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_host import INTERFACE, FakeHost, bytecode
from xdpctl.errors import InterfaceError
from xdpctl.filter.filter import Filter
from xdpctl.filter.own_pins import LOCK, detach_interface
from xdpctl.filter.view import FilterState
from xdpctl.kernel.bpf.pins import netns_inode
from xdpctl.service.resources import refuse_unfit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fake_kernel import Device

ETHERNET = {"Ethernet": 1, "loopback": 772}
OTHERS = {
    "ppp": 512,
    "raw IP": 519,
    "ipip": 768,
    "ip6tnl": 769,
    "sit": 776,
    "gre": 778,
    "ip6gre": 823,
    "tun, WireGuard": 65534,
    "InfiniBand": 32,
    "link type 4711": 4711,
}


class Site:
    """A host with one card, and filters that know of each other."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.shared = host.rule_maps()
        self.filters: list[Filter] = []

    def filter(self, name: str = INTERFACE) -> Filter:
        """Return one more filter of the same service."""
        host = self.host
        made = Filter(host.bpf, host.netlink, name, directory=host.own, siblings=self.filters)
        self.filters.append(made)
        return made

    def attach(self, filter_: Filter) -> None:
        filter_.attach(bytecode(), self.shared, panic=False)

    def awaiting(self, name: str) -> Filter:
        """Return a filter that has its program and no card yet (--wait)."""
        made = self.filter(name)
        made.swap(bytecode(), self.shared, panic=False)
        return made

    @property
    def device(self) -> Device:
        return self.host.device


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    made = Site(FakeHost(monkeypatch, tmp_path))
    yield made
    for filter_ in made.filters:
        filter_.close()


@pytest.mark.parametrize("link_type", ETHERNET.values(), ids=ETHERNET)
def test_a_card_with_an_ethernet_header_is_filtered(site: Site, link_type: int) -> None:
    site.device.link_type = link_type
    site.attach(site.filter())
    assert site.filters[0].is_on


@pytest.mark.parametrize(("kind", "link_type"), OTHERS.items(), ids=OTHERS)
def test_a_card_without_one_is_refused_by_its_kind(site: Site, kind: str, link_type: int) -> None:
    site.device.link_type = link_type
    with pytest.raises(InterfaceError) as refused:
        site.attach(site.filter())
    assert f"cannot filter {INTERFACE}: its packets have no Ethernet header ({kind}" in str(
        refused.value
    )
    assert site.device.attached is None


def test_an_awaited_card_without_one_is_not_filtered_when_it_appears(site: Site) -> None:
    filter_ = site.awaiting("tun0")
    site.host.kernel.add_interface("tun0").link_type = 65534
    filter_.watch(panic=False)
    view = filter_.view()
    assert (view.state, view.trouble[:18]) == (FilterState.MISSING, "cannot filter tun0")


def test_a_card_that_loses_its_header_loses_the_filter_and_gets_it_back(site: Site) -> None:
    filter_ = site.filter()
    site.attach(filter_)
    site.device.link_type = 65534
    filter_.watch(panic=False, closely=True)
    assert (filter_.is_on, site.device.attached) == (False, None)
    assert "no Ethernet header" in filter_.view().trouble
    site.device.link_type = 1
    filter_.watch(panic=False, closely=True)
    assert filter_.is_on


def test_a_card_is_filtered_by_its_alternative_name_without_a_note(site: Site) -> None:
    site.device.altnames = ("nic0",)
    filter_ = site.filter("nic0")
    site.attach(filter_)
    for _ in range(2):
        filter_.watch(panic=False, closely=True)
    view = filter_.view()
    assert (view.state, view.notes) == (FilterState.ATTACHED, ())


@pytest.mark.parametrize("names", [(INTERFACE, "nic0"), ("nic0", INTERFACE), ("nic0", "nic1")])
def test_one_card_under_two_names_is_refused_by_index(site: Site, names: tuple[str, ...]) -> None:
    site.device.altnames = ("nic0", "nic1")
    with pytest.raises(InterfaceError) as refused:
        refuse_unfit(site.host.netlink, names)
    assert f"cannot filter {names[1]}: it is the same card as {names[0]}" in str(refused.value)
    assert f"(interface index {site.device.index})" in str(refused.value)


def test_two_cards_and_a_name_without_a_card_are_fit(site: Site) -> None:
    site.host.kernel.add_interface("eth1")
    refuse_unfit(site.host.netlink, (INTERFACE, "eth1", "eth9"))


def test_an_awaited_name_that_a_filtered_card_gets_is_refused(site: Site) -> None:
    first, second = site.filter(), site.awaiting("nic0")
    site.attach(first)
    site.device.altnames = ("nic0",)
    for filter_ in site.filters:
        filter_.watch(panic=False, closely=True)
    assert (first.is_on, second.is_on) == (True, False)
    assert "the same card as" in second.view().trouble


def test_a_card_renamed_to_another_configured_name_stays_filtered_once(site: Site) -> None:
    first, second = site.filter(), site.awaiting("wan0")
    site.attach(first)
    site.device.name = "wan0"
    for _ in range(2):
        for filter_ in site.filters:
            filter_.watch(panic=False, closely=True)
    assert [filter_.is_on for filter_ in (first, second)] == [True, False]
    assert site.device.attached is not None


def test_cards_that_exchange_their_names_are_both_filtered(site: Site) -> None:
    other = site.host.kernel.add_interface("eth1")
    for name in (INTERFACE, "eth1"):
        site.attach(site.filter(name))
    site.device.name, other.name = other.name, site.device.name
    for _ in range(3):
        for filter_ in site.filters:
            filter_.watch(panic=False, closely=True)
    assert all(filter_.is_on for filter_ in site.filters)
    assert {filter_.index for filter_ in site.filters} == {site.device.index, other.index}
    assert None not in (site.device.attached, other.attached)


@pytest.fixture
def served(site: Site) -> Iterator[Site]:
    """A card that another service filters under its first name."""
    filter_ = site.filter()
    site.attach(filter_)
    site.filters.clear()  # what follows is another service
    lock = site.host.own / f"{netns_inode()}-{INTERFACE}:{LOCK}"
    lock.mkdir()
    descriptor = os.open(lock, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    site.device.altnames = ("nic0",)
    yield site
    os.close(descriptor)
    filter_.close()


def test_a_second_service_does_not_take_the_card_by_another_name(served: Site) -> None:
    before = served.device.attached
    with pytest.raises(InterfaceError, match="another xdpctl already serves this card"):
        served.attach(served.filter("nic0"))
    assert served.device.attached == before


def test_detach_by_another_name_leaves_a_served_card_to_its_service(served: Site) -> None:
    host = served.host
    with pytest.raises(InterfaceError, match="another xdpctl already serves this card"):
        detach_interface(host.bpf, host.netlink, "nic0", host.own)
    assert served.device.attached is not None


def test_a_dead_services_filter_is_taken_over_by_another_name(site: Site) -> None:
    with site.filter() as former:
        site.attach(former)
    site.filters.clear()
    site.device.altnames = ("nic0",)
    filter_ = site.filter("nic0")
    site.attach(filter_)
    assert filter_.adopted
