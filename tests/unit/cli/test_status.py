"""`status`: the first line says whether it works; the rest is in the order of urgency."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fake_service import STATUS
from xdpctl.cli.verbs.status import report

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

NOW = 1_000_000.0 + 90_061


def lines(**changes: object) -> list[str]:
    """Return the report on a service that differs from the usual one."""
    return list(report({**copy.deepcopy(STATUS), **changes}, now=NOW, width=None))


def block(report_lines: list[str], title: str) -> list[str]:
    """Return the lines under a title."""
    start = report_lines.index(title) + 1
    end = report_lines.index("", start) if "" in report_lines[start:] else len(report_lines)
    return report_lines[start:end]


def interface(**changes: object) -> dict[str, Any]:
    """Return an interface that differs from the usual one."""
    return {**STATUS["interfaces"][0], **changes}


def test_a_service_that_works_is_ready() -> None:
    assert lines()[0] == "READY"


def test_one_that_does_not_says_why_in_the_first_line() -> None:
    assert lines(ready=False, reasons=["eth0 is lost", "qnames\x1b is gone"])[0] == (
        r"NOT READY: eth0 is lost; qnames\x1b is gone"
    )


def test_no_reason_is_said_too() -> None:
    assert lines(ready=False)[0] == "NOT READY: the service gives no reason"


@pytest.mark.parametrize("ready", [True, False])
def test_panic_is_in_the_first_line(ready: bool) -> None:  # noqa: FBT001 - the case
    assert (
        "PANIC is on: every packet passes until `xdpctl resume`"
        in lines(ready=ready, reasons=["x"], panic=True)[0]
    )


def test_the_second_line_says_which_process_and_since_when() -> None:
    assert lines()[1] == "xdpctl 0.1.0, pid 4711, up 1d 1h"


def test_interfaces_are_a_table() -> None:
    assert block(lines(), "interfaces") == [
        "  NAME  STATE     MODE    PROGRAM  TAG               QUEUES  REATTACHED",
        "  eth0  attached  native  42       0011223344556677       4           0",
    ]


def test_what_is_not_known_of_an_interface_is_a_dash() -> None:
    lost = interface(state="lost", mode=None, program_id=None, tag=None, queues=None)

    assert block(lines(interfaces=[lost]), "interfaces")[1] == (
        "  eth0  lost   -     -        -         -           0"
    )


def test_with_af_xdp_each_interface_names_its_xskmap() -> None:
    both = [interface(xskmap="xskmap"), interface(name="eth1", xskmap="xskmap-eth1")]

    assert [line.split()[-1] for line in block(lines(interfaces=both), "interfaces")] == [
        "XSKMAP",
        "xskmap",
        "xskmap-eth1",
    ]


def test_maps_show_how_full_they_are() -> None:
    maps = [
        {"name": "addr-v4", "entries": 1020, "capacity": 1024},
        {"name": "qnames", "entries": None, "capacity": 1_000_000},
    ]

    assert block(lines(maps=maps), "maps") == [
        "  NAME     ENTRIES   CAPACITY  FILL",
        "  addr-v4    1,020      1,024   99%",
        "  qnames         ?  1,000,000     ?",
    ]


def counter(reason: str, action: str, packets: int) -> dict[str, Any]:
    """Return a counter."""
    return {"reason": reason, "action": action, "packets": packets, "bytes": packets * 60}


def test_counters_that_count_are_sorted_by_packets() -> None:
    counted = interface(
        counters=[
            counter("other", "pass", 5),
            counter("qname", "drop", 7000),
            counter("panic", "pass", 0),
        ]
    )

    assert block(lines(interfaces=[counted]), "counters") == [
        "  REASON  ACTION  RATE  PACKETS    BYTES",
        "  qname   drop       -    7,000  420,000",
        "  other   pass       -        5      300",
    ]


def test_rates_are_shown_and_summed_up() -> None:
    counted = [
        interface(
            counters=[
                {**counter("qname", "drop", 7000), "rate": 20038.4},
                {**counter("cidr4", "truncate", 7), "rate": 0.5},
            ]
        ),
        interface(
            name="eth1",
            counters=[
                {**counter("qname", "drop", 70), "rate": 1.0},
                {**counter("other", "pass", 7), "rate": 0.0},
            ],
        ),
    ]
    report_lines = lines(interfaces=counted)
    assert report_lines[2] == (
        "now 20,040/s packets: 20,039/s dropped, 0.5/s answered with TC=1, 0/s passed"
    )
    rates = [line.split()[3] for line in block(report_lines, "counters")[1:]]
    assert rates == ["20,038/s", "0.5/s", "1.0/s", "0/s"]


def test_what_was_not_measured_yet_is_no_rate() -> None:
    counted = interface(counters=[counter("qname", "drop", 7000)])
    assert not any(line.startswith("now") for line in lines(interfaces=[counted]))


def test_counters_of_several_interfaces_name_theirs() -> None:
    both = [
        interface(counters=[counter("qname", "drop", 1)]),
        interface(name="eth1", counters=[counter("qname", "drop", 2)]),
    ]

    assert [line.split()[0] for line in block(lines(interfaces=both), "counters")] == [
        "NAME",
        "eth0",
        "eth1",
    ]


def test_sections_without_content_are_left_out() -> None:
    assert not {"maps", "counters", "warnings", "AF_XDP destinations"} & set(lines())


def test_warnings_are_shown_a_line_each() -> None:
    assert block(lines(warnings=["one", "two\n"]), "warnings") == ["  one", r"  two\n"]


def test_destinations_are_shown_as_address_and_port() -> None:
    found = [{"address": "192.0.2.53", "port": 53}, {"address": "2001:db8::53", "port": 53}]

    assert block(lines(destinations=found), "AF_XDP destinations") == [
        "  192.0.2.53:53",
        "  [2001:db8::53]:53",
    ]


def test_many_destinations_are_cut_short() -> None:
    found = [{"address": "192.0.2.53", "port": port} for port in range(20)]

    assert block(lines(destinations=found), "AF_XDP destinations")[-1] == (
        "  and 4 more (--json shows them all)"
    )


def test_af_xdp_without_a_destination_is_said() -> None:
    shown = lines(interfaces=[interface(xskmap="xskmap")])

    assert "no packet goes to AF_XDP" in block(shown, "AF_XDP destinations")[0]


def test_the_verb_prints_the_report(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", "/api/v1/status", STATUS)
    result = cli("status")

    assert (result.status, result.output.splitlines()[0]) == (0, "READY")


def test_a_service_that_is_not_ready_is_no_failure_of_the_verb(
    cli: CommandLine, service: FakeService
) -> None:
    service.answer("GET", "/api/v1/status", {**STATUS, "ready": False, "reasons": ["x"]})

    assert cli("status").status == 0


def test_json_is_the_document_of_the_service(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", "/api/v1/status", STATUS)

    assert json.loads(cli("status", "--json").output) == STATUS


def by_origin(number: int) -> list[str]:
    """Return the block about so many origins."""
    origins = [{"origin": f"list:{n}", "rules": 2_000} for n in range(number)]
    return block(
        list(report(copy.deepcopy(STATUS), now=NOW, width=None, origins=origins)),
        "own rules in force",
    )


def test_own_rules_are_counted_by_origin() -> None:
    assert by_origin(2) == ["  ORIGIN  RULES", "  list:0  2,000", "  list:1  2,000"]


def test_many_origins_are_summed_up() -> None:
    assert by_origin(11)[-1] == "  and 3 more origins with 6,000 rules"


def test_a_service_too_busy_to_count_shows_the_rest(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", "/api/v1/status", STATUS)
    service.refuse("GET", "/api/v1/origins", 503, detail="busy")
    result = cli("status")
    assert (result.status, result.errors) == (0, "")
    assert "own rules" not in result.output


def test_a_zone_that_is_asked_for_much_is_shown_with_what_to_do() -> None:
    heavy = [
        {"zone": ".victim.com", "rate": 5000.0, "propose": "--zone-limit .victim.com=100"},
        {"zone": ".calm.com", "rate": 5.0, "propose": ""},
    ]
    assert lines(heavy=heavy)[2] == (
        ".victim.com is asked for 5,000/s: try --zone-limit .victim.com=100"
    )
    assert not any("calm" in line for line in lines(heavy=heavy))


def test_each_dnsdist_is_shown_with_what_was_read_of_it() -> None:
    dnsdists = [
        {"url": "http://127.0.0.1:8083", "blocks": 1200, "claimed": 7, "last_success": None},
        {"url": "http://[::1]:8083", "blocks": 0, "claimed": 0, "last_success": 1.0},
    ]
    found = lines(dnsdists=dnsdists, held=2)
    at = found.index("dynamic blocks of dnsdist")
    assert [" ".join(line.split()) for line in found[at + 2 : at + 3]] == [
        "http://127.0.0.1:8083 never 1,200 7"
    ]
    assert "ago" in found[at + 3]
    assert found[at + 4] == "  2 held: dnsdist has ended the block, and the flood goes on"
    assert "dynamic blocks of dnsdist" not in lines()
