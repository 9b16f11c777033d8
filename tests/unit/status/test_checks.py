"""Each finding, from made-up facts: when it is made, how grave it is, what it says."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from xdpctl.filter.view import note_of_batches
from xdpctl.kernel.bpf.pins import PinPolicy
from xdpctl.kernel.bpf.programs import XdpMode
from xdpctl.kernel.net.interfaces import Attached, Interface
from xdpctl.settings import load_settings
from xdpctl.status.checks.facts import (
    DirectoryFacts,
    Facts,
    Finding,
    HostFacts,
    InterfaceFacts,
    Level,
    PinFacts,
    XdpFacts,
)
from xdpctl.status.checks.interface import queue_shortage
from xdpctl.status.checks.report import findings, interface_warnings, warnings_at_start

if TYPE_CHECKING:
    from xdpctl.settings import Settings

PIN_DIR = Path("/sys/fs/bpf/dnsdist")
HOST = HostFacts("6.1.0-42-amd64", (6, 1))
OURS = XdpFacts(42, "xdpctl", ours=True, held_by_link=True)
FOREIGN = XdpFacts(7, "xdp_pass", ours=False, held_by_link=False)


def wanted(*arguments: str) -> Settings:
    """Return the settings of a command line."""
    return load_settings(arguments, {}, default_file=Path("/nonexistent"), require_interface=False)


def card(**changes: Any) -> Interface:  # noqa: ANN401 - fields of all types
    """Return an interface that nothing is wrong with, but for the changes."""
    usual = Interface(
        name="eth0",
        index=2,
        mtu=1500,
        up=True,
        kind=None,
        driver="i40e",
        rx_queues=1,
        attached=None,
        master=None,
    )
    return replace(usual, **changes)


def on_card(
    interface: Interface | None = None,
    **changes: Any,  # noqa: ANN401 - the same
) -> Facts:
    """Return facts about one interface."""
    one = InterfaceFacts("eth0", interface or card(), vlan_offload=False)
    return facts(interfaces=(replace(one, **changes),))


def facts(host: HostFacts = HOST, **changes: Any) -> Facts:  # noqa: ANN401 - the same
    """Return facts that nothing is wrong with, but for the changes."""
    directory = DirectoryFacts(PIN_DIR, exists=True, bpffs=True)
    return replace(Facts(host, directory, PinPolicy()), **changes)


def found(looked_at: Facts, *arguments: str) -> list[Finding]:
    """Return the findings under the settings of a command line."""
    return findings(wanted(*arguments), looked_at)


def of_level(level: Level, looked_at: Facts, *arguments: str) -> list[str]:
    """Return the sentences of one level."""
    return [one.sentence for one in found(looked_at, *arguments) if one.level is level]


def errors(looked_at: Facts, *arguments: str) -> list[str]:
    return of_level(Level.ERROR, looked_at, *arguments)


def warnings(looked_at: Facts, *arguments: str) -> list[str]:
    return of_level(Level.WARNING, looked_at, *arguments)


def notes(looked_at: Facts, *arguments: str) -> str:
    return "\n".join(of_level(Level.NOTE, looked_at, *arguments))


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({}, []),
        ({"hidden": "no /proc"}, ["no /proc: which process holds a shared map"]),
        ({"own_network": True}, ["network namespace of its own"]),
        ({"hidden": "a", "own_network": True}, ["a: which process", "network namespace"]),
    ],
)
def test_what_cannot_be_seen_from_a_container_is_a_note(
    seen: dict[str, Any], said: list[str]
) -> None:
    notes = [
        each
        for each in findings(wanted(), facts(replace(HOST, **seen)))
        if each.topic == "namespace"
    ]
    assert [each.level for each in notes] == [Level.NOTE] * len(said)
    assert all(words in each.sentence for words, each in zip(said, notes, strict=True))


def test_where_nothing_is_wrong_there_is_neither_error_nor_warning() -> None:
    assert (errors(on_card()), warnings(on_card())) == ([], [])


def test_every_finding_names_its_topic() -> None:
    assert all(one.topic for one in found(on_card(), "--xsk"))


# --- host ---------------------------------------------------------------------------


def test_a_kernel_before_5_10_is_an_error_by_its_release() -> None:
    old = HostFacts("5.9.0-5", (5, 9))

    assert errors(facts(old)) == [
        "the kernel is Linux 5.9.0-5, but xdpctl needs Linux 5.10 or later"
    ]


def test_kernel_5_10_will_do() -> None:
    assert errors(facts(HostFacts("5.10.0", (5, 10)))) == []


def test_missing_capabilities_are_named() -> None:
    unprivileged = replace(HOST, missing=frozenset({"CAP_PERFMON", "CAP_BPF", "CAP_CHOWN"}))

    assert "lacks CAP_BPF, CAP_PERFMON and cannot load" in errors(facts(unprivileged))[0]


def test_what_keeps_bcc_from_compiling_is_an_error() -> None:
    assert errors(facts(replace(HOST, compiler="cannot import bcc"))) == ["cannot import bcc"]


def test_a_missing_library_is_an_error() -> None:
    assert errors(facts(replace(HOST, libraries="no libbpf"))) == ["no libbpf"]


def test_an_interpreted_program_is_a_warning() -> None:
    assert "net.core.bpf_jit_enable=1" in warnings(facts(replace(HOST, jit=False)))[0]


def test_a_kernel_that_does_not_say_is_not_warned_of() -> None:
    assert warnings(facts(replace(HOST, jit=None))) == []


LIMITED: dict[str, Any] = {
    "memory_lock": 65536,
    "missing": frozenset({"CAP_SYS_RESOURCE"}),
}


def test_before_5_11_a_limit_of_locked_memory_is_a_warning() -> None:
    assert "65536 bytes" in warnings(facts(HostFacts("5.10.0", (5, 10), **LIMITED)))[0]


@pytest.mark.parametrize(
    "host",
    [
        HostFacts("5.11.0", (5, 11), **LIMITED),
        HostFacts("5.10.0", (5, 10), memory_lock=65536),
        HostFacts("5.10.0", (5, 10), missing=frozenset({"CAP_SYS_RESOURCE"})),
    ],
)
def test_a_limit_that_does_not_count_is_not_warned_of(host: HostFacts) -> None:
    assert warnings(facts(host)) == []


def test_mounts_that_nobody_else_sees_are_a_warning() -> None:
    assert "nsenter --net=" in warnings(facts(replace(HOST, apart=True)))[0]


def test_an_address_in_use_is_an_error() -> None:
    assert errors(facts(replace(HOST, listen="cannot listen"))) == ["cannot listen"]
    assert errors(facts(replace(HOST, notify="cannot listen"))) == ["cannot listen"]


def test_a_running_service_is_noted_and_may_have_the_address() -> None:
    running = facts(replace(HOST, listen="cannot listen", service="a service is running"))

    assert errors(running) == []
    assert "a service is running" in notes(running)


def test_directories_that_cannot_be_made_are_errors() -> None:
    assert (
        "cannot make or write to /run/xdpctl"
        in (errors(facts(replace(HOST, unwritable=(Path("/run/xdpctl"),))))[0])
    )


# --- interface ----------------------------------------------------------------------


def test_an_unknown_interface_is_an_error_in_netlinks_words() -> None:
    unknown = InterfaceFacts("eth9", None, "cannot use interface eth9: there is none")

    assert errors(facts(interfaces=(unknown,))) == ["cannot use interface eth9: there is none"]


def test_an_interface_that_is_waited_for_is_no_error() -> None:
    unknown = InterfaceFacts("eth9", None, "there is none", missing=True)
    (note,) = [one for one in found(facts(interfaces=(unknown,)), "--wait") if one.topic == "eth9"]
    assert note.level is Level.NOTE
    assert note.sentence.startswith("interface eth9 does not exist yet")


def test_an_interface_that_cannot_be_asked_for_is_an_error_though_it_may_be_waited_for() -> None:
    unseen = InterfaceFacts("eth9", None, "cannot ask the kernel")
    assert errors(facts(interfaces=(unseen,)), "--wait") == ["cannot ask the kernel"]


def test_our_own_program_is_fine() -> None:
    assert errors(on_card(xdp=OURS)) == []


def test_a_foreign_program_is_an_error_by_id_and_name() -> None:
    (sentence,) = errors(on_card(xdp=FOREIGN))

    assert "eth0 has the XDP program 7 (xdp_pass), which is not ours" in sentence


def test_a_foreign_program_without_a_name_is_named_by_id() -> None:
    assert "program 7, which is not ours" in errors(on_card(xdp=replace(FOREIGN, name="")))[0]


def test_a_foreign_program_to_be_replaced_is_a_warning() -> None:
    looked_at = on_card(xdp=FOREIGN)

    assert errors(looked_at, "--replace") == []
    assert "packets between the two" in warnings(looked_at, "--replace")[0]


def test_one_held_by_a_foreign_link_is_an_error_even_so() -> None:
    held = on_card(xdp=replace(FOREIGN, held_by_link=True))

    assert "cannot be replaced" in errors(held, "--replace")[0]


def test_whose_it_is_is_not_claimed_where_it_cannot_be_seen() -> None:
    unseen = on_card(xdp=replace(FOREIGN, ours=None))

    assert errors(unseen) == []
    assert "only root can see" in warnings(unseen)[0]


@pytest.mark.parametrize(
    ("mode", "said"),
    [("auto", "in generic mode, which costs more"), ("native", "cannot start there")],
)
def test_a_driver_without_native_xdp_is_a_warning(mode: str, said: str) -> None:
    assert said in warnings(on_card(card(driver="e1000")), "--mode", mode)[0]


def test_asked_for_generic_mode_any_driver_will_do() -> None:
    only = [note_of_batches("eth0")]

    assert warnings(on_card(card(driver="e1000", mtu=9000)), "--mode", "generic") == only


@pytest.mark.parametrize("changes", [{"driver": "e1000"}, {"mtu": 9000}])
def test_where_auto_may_be_generic_what_that_lets_through_is_a_warning(
    changes: dict[str, Any],
) -> None:
    may = on_card(card(**changes))

    assert note_of_batches("eth0") in warnings(may)
    assert note_of_batches("eth0") not in warnings(may, "--mode", "native")


def test_an_attached_filter_is_warned_of_by_its_own_mode() -> None:
    generic = card(attached=Attached(42, XdpMode.GENERIC))

    assert warnings(on_card(generic, xdp=OURS)) == [note_of_batches("eth0")]


def test_the_running_service_leaves_the_mode_to_its_filter() -> None:
    (one,) = on_card(card()).interfaces

    assert interface_warnings(wanted("--mode", "generic"), one) == []


def test_an_interface_without_a_driver_is_known_by_its_kind() -> None:
    assert warnings(on_card(card(driver=None, kind="veth"))) == []


def test_a_list_that_cannot_be_read_is_a_warning() -> None:
    host = replace(HOST, lists=("the service will start without the list x from /x: no",))
    assert warnings(facts(host)) == ["the service will start without the list x from /x: no"]


def test_an_mtu_over_a_page_is_a_warning() -> None:
    assert "MTU 9000" in warnings(on_card(card(mtu=9000)))[0]


def test_an_mtu_that_was_accepted_warns_of_what_is_behind_the_first_buffer() -> None:
    attached = card(mtu=9000, attached=Attached(42, XdpMode.NATIVE))

    (sentence,) = warnings(on_card(attached, xdp=OURS))
    assert "MTU 9000: of a frame in several buffers only the first one is read" in sentence


def test_generic_mode_reads_whole_frames_whatever_the_mtu() -> None:
    attached = card(mtu=9000, attached=Attached(42, XdpMode.GENERIC))

    assert not any("MTU" in sentence for sentence in warnings(on_card(attached, xdp=OURS)))


def test_vlan_offload_under_vlans_is_a_warning_that_says_what_is_lost() -> None:
    (sentence,) = warnings(on_card(vlan_offload=True, vlans=("eth0.5", "eth0.6")))

    assert "TC=1 answers to queries from a VLAN leave without the tag" in sentence
    assert "(VLANs: eth0.5, eth0.6)" in sentence
    assert "`ethtool -K eth0 rxvlan off`" in sentence


def test_vlan_offload_with_af_xdp_concerns_its_answers_too() -> None:
    looked_at = on_card(vlan_offload=True, vlans=("eth0.5",))

    assert "TC=1 and AF_XDP answers" in warnings(looked_at, "--xsk")[0]


def test_vlan_offload_below_a_bridge_is_a_warning() -> None:
    assert "rxvlan off" in warnings(on_card(card(master=9), vlan_offload=True))[0]


def test_vlan_offload_without_vlans_is_a_note() -> None:
    looked_at = on_card(vlan_offload=True)

    assert warnings(looked_at) == []
    assert "there is no VLAN here now" in notes(looked_at)


def upper(kind: str, name: str) -> Interface:
    return card(name=name, index=9, kind=kind)


def test_a_port_of_a_bond_whose_other_ports_are_not_filtered_is_a_warning() -> None:
    looked_at = on_card(upper=upper("bond", "bond0"), ports=("eth1", "eth2"))
    (text,) = warnings(looked_at, "--interface", "eth0", "--interface", "eth2")
    assert text.startswith(
        "eth0 is part of bond0: the filter sees packets that arrive on eth0, but not"
    )
    assert "those on eth1;" in text


def test_a_bond_of_which_every_port_is_filtered_is_fine() -> None:
    looked_at = on_card(upper=upper("bond", "bond0"), ports=("eth1",))
    assert warnings(looked_at, "--interface", "eth0", "--interface", "eth1") == []


def test_a_port_of_a_bridge_filters_what_is_forwarded_and_it_is_noted() -> None:
    looked_at = on_card(upper=upper("bridge", "br0"))
    assert any("port of the bridge br0" in text for text in of_level(Level.NOTE, looked_at))
    restricted = of_level(Level.NOTE, looked_at, "--address", "192.0.2.0/24")
    assert not any("bridge" in text for text in restricted)


def test_an_interface_that_is_down_is_a_warning() -> None:
    assert warnings(on_card(card(up=False))) == [
        "eth0 is down and receives nothing: use `ip link set eth0 up`"
    ]


def test_more_queues_than_slots_are_an_error_with_the_numbers() -> None:
    (sentence,) = errors(on_card(card(rx_queues=96)), "--xsk")

    assert "receives on 96 queues, but its xskmap has 64 slots" in sentence


def test_a_pinned_xskmap_counts_with_its_own_size() -> None:
    looked_at = on_card(card(rx_queues=8), slots=4)

    assert "has 4 slots" in errors(looked_at, "--xsk", "--number-of-queues", "64")[0]


def test_queues_do_not_matter_without_af_xdp() -> None:
    assert errors(on_card(card(rx_queues=96))) == []


def test_as_many_queues_as_slots_will_do() -> None:
    assert queue_shortage("eth0", 64, 64) is None


def test_several_queues_need_several_sockets() -> None:
    assert "needs a socket for each" in notes(on_card(card(rx_queues=8)), "--xsk")


def test_frames_too_long_for_af_xdp_are_noted() -> None:
    assert "frames longer than 1792 bytes" in notes(on_card(card(mtu=3000)), "--xsk")


# --- pins ---------------------------------------------------------------------------


def test_what_is_wrong_with_the_directory_is_an_error() -> None:
    directory = DirectoryFacts(PIN_DIR, error="it is a file")

    assert errors(facts(directory=directory)) == ["it is a file"]


def test_a_directory_of_somebody_else_is_a_warning_with_what_helps() -> None:
    theirs = replace(facts().directory, foreign="the directory /x belongs to user 65534")
    (warning,) = [
        finding.sentence
        for finding in found(facts(directory=theirs))
        if finding.level is Level.WARNING
    ]

    assert warning.startswith("the directory /x belongs to user 65534: only a service")
    assert "--pin-owner" in warning


def test_a_file_system_that_everybody_may_write_to_is_noted() -> None:
    theirs = replace(facts().directory, anybody=True)

    assert any("chmod 0711 /sys/fs/bpf" in each.sentence for each in found(facts(directory=theirs)))


def test_a_directory_elsewhere_is_an_error() -> None:
    directory = DirectoryFacts(Path("/var/pins"), exists=True, mountable=False)

    assert "/var/pins is not on a BPF file system" in errors(facts(directory=directory))[0]


def test_a_bpffs_that_will_be_mounted_is_fine() -> None:
    assert errors(facts(directory=DirectoryFacts(PIN_DIR))) == []


def test_a_bpffs_that_may_not_be_mounted_is_an_error() -> None:
    host = replace(HOST, missing=frozenset({"CAP_SYS_ADMIN"}))

    assert "`xdpctl prepare` as root" in errors(facts(host, directory=DirectoryFacts(PIN_DIR)))[0]


def test_a_directory_that_will_be_made_is_fine() -> None:
    assert errors(facts(directory=DirectoryFacts(PIN_DIR, bpffs=True))) == []


def test_pins_that_only_root_can_use_are_noted() -> None:
    assert "without --pin-owner" in notes(facts())


def test_a_directory_that_is_anothers_already_is_not() -> None:
    directory = DirectoryFacts(PIN_DIR, exists=True, bpffs=True, owner=(108, 113))

    assert "without --pin-owner" not in notes(facts(directory=directory))


OWNED = PinPolicy(108, 113)


def test_an_owner_that_cannot_be_set_is_an_error() -> None:
    host = replace(HOST, missing=frozenset({"CAP_CHOWN"}))

    assert "does not have the owner of --pin-owner" in errors(facts(host, policy=OWNED))[0]


def test_an_owner_that_is_set_needs_no_capability() -> None:
    host = replace(HOST, missing=frozenset({"CAP_CHOWN"}))
    directory = DirectoryFacts(PIN_DIR, exists=True, bpffs=True, owner=(108, 113))

    assert errors(facts(host, policy=OWNED, directory=directory)) == []


def test_a_pin_that_cannot_be_used_is_an_error() -> None:
    pin = PinFacts("addr-v4", 1024, error="cannot use map addr-v4: the legacy format")

    assert errors(facts(pins=(pin,))) == ["cannot use map addr-v4: the legacy format"]


def test_a_pin_of_another_size_is_a_warning_with_both_numbers() -> None:
    (sentence,) = warnings(facts(pins=(PinFacts("qnames", 1024, 64),)))

    assert "qnames has room for 64 entries, but the settings ask for 1024" in sentence


@pytest.mark.parametrize("pin", [PinFacts("qnames", 1024), PinFacts("qnames", 1024, 1024)])
def test_a_pin_that_is_right_or_not_there_is_fine(pin: PinFacts) -> None:
    assert warnings(facts(pins=(pin,))) == []


@pytest.mark.parametrize(
    ("owner", "mode", "count"),
    [((108, 113), 0o600, 0), ((0, 0), 0o600, 1), ((108, 0), 0o600, 1), ((108, 113), 0o640, 1)],
)
def test_a_pin_of_another_owner_or_mode_is_a_warning(
    owner: tuple[int, int], mode: int, count: int
) -> None:
    directory = DirectoryFacts(PIN_DIR, exists=True, bpffs=True, owner=(108, 113))
    pin = PinFacts("qnames", 1024, 1024, owner=owner, mode=mode)

    assert len(warnings(facts(policy=OWNED, directory=directory, pins=(pin,)))) == count


def test_without_wishes_any_owner_will_do() -> None:
    assert warnings(facts(pins=(PinFacts("qnames", 1024, 1024, owner=(5, 5), mode=0o666),))) == []


# --- settings and facts together ----------------------------------------------------


def test_truncate_rules_without_a_tcp_listener_are_a_warning() -> None:
    looked_at = facts(truncating=True, listening={53: False, 5300: False, 54: True})

    assert "no program listens on TCP port 53 and 5300" in warnings(looked_at)[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"truncating": False, "listening": {53: False}},
        {"truncating": True, "listening": {53: True}},
        {"truncating": True, "listening": None},
    ],
)
def test_otherwise_nothing_is_said_of_tcp(changes: dict[str, Any]) -> None:
    assert warnings(facts(**changes)) == []


@pytest.mark.parametrize(
    "limits",
    [
        ("--rate-limit", "50", "--rate-limit-table", "65536"),
        ("--zone-limit", ".example.com=100"),
    ],
)
def test_limits_without_a_tcp_listener_are_a_warning_whatever_the_rules_are(
    limits: tuple[str, ...],
) -> None:
    for truncating in (False, None):
        (said,) = warnings(facts(truncating=truncating, listening={53: False}), *limits)
        assert said.startswith("there are limits, but no program listens on TCP port 53")


def test_limits_that_send_nobody_to_tcp_are_none() -> None:
    limits = ("--rate-limit", "50", "--flood-limit", "10000", "--rate-limit-slip", "0")
    assert warnings(facts(truncating=False, listening={53: False}), *limits) == []


def test_a_table_that_is_too_small_is_a_warning() -> None:
    limits = ("--rate-limit", "50", "--rate-limit-table", "1024", "--flood-limit", "100000")
    assert "use --rate-limit-table 8192" in warnings(facts(), *limits)[0]


def test_rules_that_cannot_be_read_are_noted() -> None:
    assert "it is unknown whether there are Truncate rules" in notes(facts(truncating=None))


@pytest.mark.parametrize(("local", "count"), [("192.0.2.53", 1), ("198.51.100.1", 0)])
def test_a_host_that_filters_for_others_needs_no_listener(local: str, count: int) -> None:
    looked_at = facts(truncating=True, listening={53: False}, addresses=(IPv4Address(local),))

    assert len(warnings(looked_at, "--address", "192.0.2.0/24")) == count


def test_ipv6_over_af_xdp_is_noted_for_dnsdist_1_9() -> None:
    assert "if your dnsdist is 1.9, use --xsk-family 4" in notes(facts(), "--xsk")


@pytest.mark.parametrize("arguments", [[], ["--xsk", "--xsk-family", "4"]])
def test_it_is_not_where_ipv6_is_left_to_the_kernel(arguments: list[str]) -> None:
    assert "1.9" not in notes(facts(), *arguments)


def test_the_xskmap_of_each_interface_is_noted() -> None:
    looked_at = facts(
        interfaces=tuple(InterfaceFacts(name, card(name=name)) for name in ("eth0", "eth1")),
        pins=(
            PinFacts("addr-v4", 1024),
            PinFacts("xskmap", 64),
            PinFacts("xskmap-eth1", 64),
            PinFacts("xsk-destinations-v4", 1024),
        ),
    )

    assert "eth0 xskmap, eth1 xskmap-eth1" in notes(looked_at, "--xsk")


def test_what_the_settings_warn_of_is_found_too() -> None:
    assert (
        "AF_XDP cannot work with --pin-dir"
        in (warnings(facts(), "--xsk", "--pin-dir", "/sys/fs/bpf/other")[0])
    )


def test_the_service_is_given_what_it_does_not_find_itself() -> None:
    looked_at = replace(
        on_card(card(up=False)),
        host=replace(HOST, jit=False),
        pins=(PinFacts("qnames", 1024, 64),),
        truncating=True,
        listening={53: False},
    )
    (said,) = warnings_at_start(wanted("--xsk", "--pin-dir", "/sys/fs/bpf/other"), looked_at)
    assert said.startswith("the kernel interprets BPF programs")


def test_of_an_interface_all_that_is_no_good_news_is_a_warning_while_the_service_runs() -> None:
    (one,) = on_card(card(up=False, rx_queues=9), vlan_offload=True, vlans=("eth0.5",)).interfaces
    said = interface_warnings(wanted("--xsk", "--number-of-queues", "8"), one)
    assert [sentence.split(":")[0].split(",")[0] for sentence in said] == [
        "eth0 removes VLAN tags before the filter sees a frame",
        "eth0 receives on 9 queues",
        "eth0 is down and receives nothing",
    ]


@pytest.mark.parametrize("mode", ["auto", "native", "generic"])
def test_a_card_without_an_ethernet_header_is_an_error_and_nothing_else(mode: str) -> None:
    tunnel = on_card(card(driver="tun", link_type=65534))
    said = [one for one in found(tunnel, "--mode", mode) if one.topic == "eth0"]

    assert [one.level for one in said] == [Level.ERROR]
    assert said[0].sentence.startswith("cannot filter eth0: its packets have no Ethernet header")


def test_one_card_under_two_names_is_an_error_that_names_both() -> None:
    names = tuple(InterfaceFacts(name, card()) for name in ("eth0", "nic0"))

    assert [error[:48] for error in errors(facts(interfaces=names))] == [
        "cannot filter nic0: it is the same card as eth0 "
    ]


def test_two_cards_are_not_taken_for_one() -> None:
    names = tuple(InterfaceFacts(f"eth{n}", card(index=n)) for n in (2, 3))

    assert errors(facts(interfaces=names)) == []


def test_a_read_only_bpf_file_system_is_an_error_that_names_the_usual_causes() -> None:
    directory = replace(facts().directory, read_only=Path("/sys/fs/bpf"))
    (error,) = errors(facts(directory=directory))

    assert error.startswith("nothing can be pinned below /sys/fs/bpf: it is mounted read-only")
    assert "ProtectKernelTunables=" in error
    assert "a container's mount" in error


def test_a_read_only_directory_of_the_state_is_an_error_that_says_so() -> None:
    (error,) = errors(facts(replace(HOST, read_only=(Path("/var/lib/xdpctl"),))))

    assert error.startswith("nothing can be written to /var/lib/xdpctl: it is mounted read-only")
