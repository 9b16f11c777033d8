"""The API's rules: what is taken, what is refused and with which words, what is asked for."""

from __future__ import annotations

from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.support.fake_backend import NOTE
from xdpctl.abi import RULE_PLACES, MapName, RuleAction
from xdpctl.errors import (
    ConflictError,
    GuardError,
    KernelError,
    MapFullError,
    NotFoundError,
    StateError,
)
from xdpctl.feeds.versions import GoodVersion, ListView
from xdpctl.http.api.queries import PAGE_MAX, PageQuery, properties_of
from xdpctl.http.api.uploads import FEW
from xdpctl.process.clock import boot_clock
from xdpctl.rules import Rule, parse_target
from xdpctl.store.store import StillClaimed

if TYPE_CHECKING:
    from tests.support.fake_backend import Site

RULES = "/api/v1/rules"


def many(count: int, **fields: object) -> list[dict[str, Any]]:
    """Return so many rules, none like another."""
    return [{"target": str(ip_address(0x0A00_0000 + number)), **fields} for number in range(count)]


# --- POST -----------------------------------------------------------------------------


async def test_one_rule_needs_nothing_but_its_target(api: Site) -> None:
    answer = await api.ask("POST", RULES, {"target": "192.0.2.1"})
    assert answer.json() == {"created": 1, "updated": 0, "warnings": ["a warning"]}
    assert api.backend.asked == [
        (
            "put",
            [Rule(ip_address("192.0.2.1"), origin="api", keeps_reason=True, keeps_end=True)],
            False,
        )
    ]


async def test_every_field_of_a_rule_is_taken(api: Site) -> None:
    rule = {
        "target": "Dropped.Example",
        "qtype": "AAAA",
        "action": "truncate",
        "expires_in": 600,
        "reason": "a flood",
        "origin": "list:x",
        "hits": 3,
    }
    await api.ask("POST", RULES, [rule])
    target = parse_target("dropped.example.", "AAAA")
    wanted = Rule(target, RuleAction.TRUNCATE, "a flood", "list:x", expires_in=600)
    assert api.backend.asked == [("put", [wanted], False)]


@pytest.mark.parametrize("text", [".evil.example", "*.evil.example", "*."])
async def test_a_zone_is_a_target_that_is_made_and_removed(api: Site, text: str) -> None:
    zone = parse_target(text, "TXT")
    await api.ask("POST", RULES, {"target": text, "qtype": "TXT"})
    await api.ask("DELETE", f"{RULES}?target={quote(text)}&qtype=TXT")
    rule = Rule(zone, origin="api", keeps_reason=True, keeps_end=True)
    assert api.backend.asked == [("put", [rule], False), ("remove", [zone])]


@pytest.mark.parametrize("text", ["a.*.example", "*evil.example", "." + "a." * 17, ".."])
async def test_a_zone_that_cannot_be_is_refused_with_its_text(api: Site, text: str) -> None:
    answer = await api.ask("POST", RULES, {"target": text})
    assert (answer.status, answer.json()["field"]) == (422, "target")
    assert api.backend.asked == []


async def test_a_listed_rule_can_be_sent_back_as_it_is(api: Site) -> None:
    (rule,) = (await api.ask("GET", RULES)).json()["rules"]
    assert (await api.ask("POST", RULES, rule)).status == 200


async def test_an_empty_list_makes_nothing(api: Site) -> None:
    assert (await api.ask("POST", RULES, [])).json()["created"] == 0


@pytest.mark.parametrize(
    "media", ["application/json", "text/plain", "application/x-www-form-urlencoded"]
)
async def test_json_is_read_whatever_it_is_called(api: Site, media: str) -> None:
    """Curl -d calls it a form; a browser's page cannot come by without the token anyway."""
    headers = {"Content-Type": media}
    answer = await api.ask("POST", RULES, b'{"target":"192.0.2.1"}', headers=headers)
    assert answer.status == 200


async def test_force_is_handed_on_with_many_rules(api: Site) -> None:
    await api.ask("POST", RULES, many(1_500))
    await api.ask("POST", f"{RULES}?force=1", many(1_500))
    assert [bulk.force for bulk in api.backend.bulks] == [False, True]


@pytest.mark.parametrize("text", ["1", "true"])
async def test_force_is_handed_on(api: Site, text: str) -> None:
    await api.ask("POST", f"{RULES}?force={text}", {"target": "10.0.0.0/7"})
    assert api.backend.asked[0][2] is True


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"nonsense",
        b"{",
        b'{"target":"192.0.2.1"',
        b"[",
        b'[{"target":"a"},]',
        b'[{"target":"a.example"}] x',
        b"\xff",
        b'{"target":"\xff"}',
        b'{"target":"\\ud800"}',
        b"\xef\xbb\xbf[]",
        b'[{"target":"a"}{}]',
    ],
)
async def test_what_is_not_json_is_400(api: Site, body: bytes) -> None:
    answer = await api.ask("POST", RULES, body)
    assert answer.status == 400
    assert "not JSON" in answer.problem["detail"]
    assert api.backend.asked == []


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"target": "300.1.1.1"}, "target"),
        ({"target": "192.0.2.1/24"}, "target"),
        ({"target": 5}, "target"),
        ({"target": "x" * 3000}, "target"),
        ({}, "target"),
        ({"target": "192.0.2.1", "qtype": "A"}, "qtype"),
        ({"target": "a.example", "qtype": "NONESUCH"}, "qtype"),
        ({"target": "192.0.2.1", "action": "redirect"}, "action"),
        ({"target": "192.0.2.1", "expires_in": 0}, "expires_in"),
        ({"target": "192.0.2.1", "expires_in": -5}, "expires_in"),
        ({"target": "192.0.2.1", "expires_in": 1.5}, "expires_in"),
        ({"target": "192.0.2.1", "expires_in": "10m"}, "expires_in"),
        ({"target": "192.0.2.1", "expires_in": 10**12}, "expires_in"),
        ({"target": "192.0.2.1", "reason": "two\nlines"}, "reason"),
        ({"target": "192.0.2.1", "origin": "me"}, "origin"),
        ({"target": "192.0.2.1", "origin": "dnsdist"}, "origin"),
        ({"target": "192.0.2.1", "hits": "x"}, "hits"),
        ({"target": "192.0.2.1", "ttl": 5}, "ttl"),
    ],
)
async def test_a_wrong_field_is_422_and_named(
    api: Site, rule: dict[str, object], field: str
) -> None:
    for body, index in ((rule, None), ([{"target": "192.0.2.9"}, rule], 1)):
        problem = (await api.ask("POST", RULES, body)).problem
        assert (problem["status"], problem["field"]) == (422, field)
        assert problem.get("index") == index
    assert api.backend.asked == []


@pytest.mark.parametrize("body", [5, None, "x", [5], [[]], [None], True])
async def test_json_that_is_no_rule_is_422(api: Site, body: object) -> None:
    document = b"null" if body is None else body
    assert (await api.ask("POST", RULES, document)).problem["status"] == 422


@pytest.mark.parametrize(
    ("error", "status", "extra"),
    [
        (ConflictError("it is dnsdist's"), 409, {}),
        (
            ConflictError("it is dnsdist's", text="192.0.2.1"),
            409,
            {"field": "target", "text": "192.0.2.1"},
        ),
        (
            GuardError("it is short", text="0.0.0.0/0"),
            409,
            {"field": "target", "text": "0.0.0.0/0"},
        ),
        (
            MapFullError("cannot write", 7, map_name="addr-v4", capacity=8),
            507,
            {"map": "addr-v4", "done": 0},
        ),
        (KernelError("cannot write", 1), 500, {}),
        (StateError("no room on the disk"), 500, {}),
        (RuntimeError("a bug"), 500, {}),
    ],
)
async def test_what_the_service_cannot_do_has_a_status_of_its_own(
    api: Site, error: Exception, status: int, extra: dict[str, object]
) -> None:
    api.backend.failure = error
    problem = (await api.ask("POST", RULES, {"target": "192.0.2.1"})).problem
    assert problem["status"] == status
    assert extra.items() <= problem.items()
    assert "a bug" not in problem["detail"]


# --- many -----------------------------------------------------------------------------


async def test_a_thousand_rules_are_still_one_put(api: Site) -> None:
    await api.ask("POST", RULES, many(FEW))
    assert len(api.backend.asked[0][1]) == FEW
    assert api.backend.bulks == []


async def test_more_go_as_rows_and_strictly(api: Site) -> None:
    now = boot_clock()
    answer = await api.ask("POST", RULES, many(FEW + 1, expires_in=60, origin="cli", reason="r"))
    waiting = 3  # behind others' claims, as the fake has it
    assert answer.json() == {"created": FEW + 1 + waiting, "updated": 0, "warnings": []}
    (bulk,) = api.backend.bulks
    assert (bulk.replace, bulk.strict, bulk.rows) == (False, True, FEW + 1)
    ref, _, action, reason, expires, origin = bulk.kept[0]
    assert (ref, action, reason, origin) == (1, 1, "r", "cli")
    assert expires is not None
    assert now + 60 <= expires <= boot_clock() + 60


async def test_the_last_of_many_rules_is_checked_too(api: Site) -> None:
    body = [*many(5_000), {"target": "300.1.1.1"}]
    problem = (await api.ask("POST", RULES, body)).problem
    assert (problem["status"], problem["index"], problem["text"]) == (422, 5_000, "300.1.1.1")


async def test_each_of_many_rules_keeps_its_own_origin(api: Site) -> None:
    body = [{"target": "192.0.2.1"}, *many(1_500, origin="cli")]
    await api.ask("POST", RULES, body)
    assert [row[-1] for row in api.backend.bulks[0].kept[:3]] == ["api", "cli", "cli"]


async def test_none_of_many_rules_may_be_dnsdists(api: Site) -> None:
    body = [*many(1_500), {"target": "192.0.2.1", "origin": "dnsdist"}]
    problem = (await api.ask("POST", RULES, body)).problem
    assert (problem["field"], problem["index"]) == ("origin", 1_500)


# --- PUT ------------------------------------------------------------------------------


async def test_a_put_replaces_an_origins_list(api: Site) -> None:
    answer = await api.ask("PUT", f"{RULES}?origin=list:x", many(3))
    assert answer.json() == {
        "created": 3,
        "updated": 0,
        "removed": 0,
        "unchanged": 0,
        "left_to_dnsdist": 1,
        "left_to_others": 2,
        "skipped": 0,
        "guarded": 3,
        "waiting": 3,
        "ends_removed": 0,
    }
    (bulk,) = api.backend.bulks
    assert (bulk.origin, bulk.replace, bulk.strict) == ("list:x", True, False)


async def test_an_empty_put_empties_the_list(api: Site) -> None:
    assert (await api.ask("PUT", f"{RULES}?origin=api", [])).json()["created"] == 0
    assert api.backend.bulks[0].replace


async def test_rules_of_dnsdists_in_a_put_are_skipped_and_counted(api: Site) -> None:
    body = [{"target": "192.0.2.1"}, {"target": "not read", "origin": "dnsdist"}]
    answer = (await api.ask("PUT", f"{RULES}?origin=api", body)).json()
    assert (answer["created"], answer["skipped"]) == (1, 1)


async def test_a_rule_of_another_origin_is_not_put_silently_under_this_one(api: Site) -> None:
    body = many(1, origin="api")
    assert (await api.ask("PUT", f"{RULES}?origin=list:x", body)).problem["field"] == "origin"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("?origin=", 400),
        ("?origin=me", 422),
        ("?origin=dnsdist", 422),
        ("?origin=api&origin=cli", 422),
        ("?origin=api&force=1", 422),
    ],
)
async def test_a_put_names_an_origin_of_our_own(api: Site, query: str, status: int) -> None:
    problem = (await api.ask("PUT", RULES + query, [])).problem
    assert problem["status"] == status
    assert problem["field"] in {"origin", "force"}
    assert api.backend.bulks == []


@pytest.mark.parametrize(("body", "status"), [({"target": "192.0.2.1"}, 422), (b"[", 400)])
async def test_a_put_wants_a_list(api: Site, body: object, status: int) -> None:
    assert (await api.ask("PUT", f"{RULES}?origin=api", body)).problem["status"] == status


# --- DELETE ---------------------------------------------------------------------------


async def test_targets_are_removed_together(api: Site) -> None:
    answer = await api.ask("DELETE", f"{RULES}?target=192.0.2.1&target=192.0.2.2")
    assert answer.json() == {"removed": 2, "warnings": []}
    assert api.backend.asked == [("remove", [ip_address("192.0.2.1"), ip_address("192.0.2.2")])]


async def test_a_type_goes_with_its_name(api: Site) -> None:
    await api.ask("DELETE", f"{RULES}?target=a.example&qtype=AAAA")
    assert api.backend.asked == [("remove", [parse_target("a.example", "AAAA")])]


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("origin=api", (None, "api")),
        ("origin=list:x&map=qnames", (MapName.QNAMES, "list:x")),
        ("origin=*", (None, None)),
        ("origin=*&map=cidr4", (MapName.CIDR4, None)),
    ],
)
async def test_an_origins_rules_are_flushed(
    api: Site, query: str, asked: tuple[object, object]
) -> None:
    assert (await api.ask("DELETE", f"{RULES}?{query}")).json() == {"removed": 3, "warnings": []}
    assert api.backend.asked[0] == ("flush", *asked)


async def test_flushing_dnsdists_comes_with_a_warning(api: Site) -> None:
    (warning,) = (await api.ask("DELETE", f"{RULES}?origin=dnsdist")).json()["warnings"]
    assert "running dnsdist" in warning


FOLLOWED = ListView("ads.txt", "/l/ads.txt", "hosts", GoodVersion("hosts", 7, 0, 1.0), 2.0, "")
NEVER_USED = ListView("new.txt", "/l/new.txt", "auto", None, 2.0, "no")


@pytest.mark.parametrize(
    "query",
    ["origin=list:ads.txt", "origin=*", "origin=*&map=list-names"],
)
async def test_what_is_removed_of_a_list_comes_back_and_the_answer_says_how_to_keep_it_away(
    api: Site, query: str
) -> None:
    api.backend.views = (FOLLOWED, NEVER_USED)
    (warning,) = (await api.ask("DELETE", f"{RULES}?{query}")).json()["warnings"]
    assert "the service follows list ads.txt: what was removed comes back" in warning
    assert "remove its [[list]] from the settings" in warning


@pytest.mark.parametrize("query", ["origin=api", "origin=list:other", "origin=*&map=qnames"])
async def test_what_is_removed_of_others_does_not_come_back(api: Site, query: str) -> None:
    api.backend.views = (FOLLOWED,)
    assert (await api.ask("DELETE", f"{RULES}?{query}")).json()["warnings"] == []


async def test_a_lists_claim_on_one_target_comes_back_too(api: Site) -> None:
    api.backend.views = (FOLLOWED,)
    query = "target=192.0.2.1&claimant=list:ads.txt"
    (warning,) = (await api.ask("DELETE", f"{RULES}?{query}")).json()["warnings"]
    assert "comes back" in warning


@pytest.mark.parametrize(
    "query",
    [
        "",
        "target=",
        "origin=",
        "map=addr-v4",
        "qtype=A",
        "target=192.0.2.1&origin=api",
        "target=192.0.2.1&map=addr-v4",
        "origin=api&qtype=A",
    ],
)
async def test_a_removal_that_does_not_say_of_what_is_400(api: Site, query: str) -> None:
    problem = (await api.ask("DELETE", f"{RULES}?{query}")).problem
    assert (problem["status"], problem["code"]) == (400, "request")
    assert api.backend.asked == []


async def test_removing_what_is_not_there_is_404(api: Site) -> None:
    api.backend.failure = NotFoundError("there is no rule for it")
    problem = (await api.ask("DELETE", f"{RULES}?target=192.0.2.1")).problem
    assert (problem["status"], problem["code"]) == (404, "not-found")


# --- GET ------------------------------------------------------------------------------


async def test_a_page_is_rules_and_a_cursor(api: Site) -> None:
    answer = (await api.ask("GET", RULES)).json()
    assert answer["next"] == "a:cursor"
    assert answer["rules"] == [
        {
            "target": "192.0.2.1",
            "qtype": None,
            "action": "drop",
            "hits": 7,
            "origin": "api",
            "reason": "a flood",
            "expires_in": None,
            "created": 1000.0,
            "map": "addr-v4",
            "wildcard": None,
            "claims": [
                {
                    "origin": "api",
                    "class": "operator",
                    "action": "drop",
                    "reason": "a flood",
                    "expires_in": None,
                    "in_force": True,
                }
            ],
        }
    ]


async def test_all_claims_of_an_origin_are_asked_for_by_name(api: Site) -> None:
    await api.ask("GET", f"{RULES}?origin=app:jail&all_claims=1")
    assert api.backend.asked == [("page", None, "app:jail", None, PAGE_MAX, "all")]


async def test_one_origins_claim_on_a_target_ends(api: Site) -> None:
    api.backend.left = [StillClaimed(parse_target("www.example", "A"), RuleAction.PASS, (NOTE,))]
    answer = await api.ask("DELETE", f"{RULES}?target=192.0.2.1&claimant=app:jail")
    assert api.backend.asked == [("remove", [ip_address("192.0.2.1")], "app:jail")]
    (left,) = answer.json()["left"]
    assert (left["target"], left["qtype"]) == ("www.example", "A")
    assert [(c["origin"], c["class"], c["in_force"]) for c in left["claims"]] == [
        ("dnsdist", "dnsdist", True),
        ("api", "operator", False),
    ]


async def test_a_claimant_without_a_target_is_a_bad_request(api: Site) -> None:
    answer = await api.ask("DELETE", f"{RULES}?origin=api&claimant=app:jail")
    assert (answer.status, answer.problem["field"]) == (400, "claimant")


async def test_a_rule_may_wait_for_dnsdist(api: Site) -> None:
    await api.ask("POST", f"{RULES}?waiting_ok=1", {"target": "192.0.2.1", "origin": "app:jail"})
    assert api.backend.asked[0][-1] == "beneath"


@pytest.mark.parametrize(
    ("given", "keeps", "ends"),
    [({}, True, None), ({"expires_in": None}, False, None), ({"expires_in": 60}, False, 60)],
)
async def test_an_end_that_is_not_given_stays_as_it_was(
    api: Site, given: dict[str, int | None], ends: int | None, *, keeps: bool
) -> None:
    await api.ask("POST", RULES, {"target": "192.0.2.1", "reason": "", **given})
    (rule,) = api.backend.asked[0][1]
    assert (rule.keeps_end, rule.expires_in, rule.keeps_reason) == (keeps, ends, False)


@pytest.mark.parametrize("origin", ["dnsdist", "dynamic", "dnsdist-dynamic", "app:"])
async def test_what_is_reserved_or_no_origin_is_refused(api: Site, origin: str) -> None:
    answer = await api.ask("POST", RULES, {"target": "192.0.2.1", "origin": origin})
    assert (answer.status, answer.problem["field"]) == (422, "origin")


async def test_filters_limit_and_cursor_are_handed_on(api: Site) -> None:
    await api.ask("GET", f"{RULES}?map=cidr6&origin=list:x&limit=5&cursor=abc")
    await api.ask("GET", f"{RULES}?map=&origin=&cursor=")
    assert api.backend.asked == [
        ("page", MapName.CIDR6, "list:x", "abc", 5),
        ("page", None, None, None, PAGE_MAX),
    ]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("map=addr-v5", "map"),
        ("origin=me", "origin"),
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("maps=addr-v4", "maps"),
        ("%00=1", "\0"),
        (f"limit={quote('٣')}", "limit"),
    ],
)
async def test_a_wrong_parameter_is_422_and_named(api: Site, query: str, field: str) -> None:
    problem = (await api.ask("GET", f"{RULES}?{query}")).problem
    assert (problem["status"], problem["field"]) == (422, field)
    assert api.backend.asked == []


def test_the_parameter_map_knows_the_rule_maps() -> None:
    assert set(properties_of(PageQuery)["map"]["enum"]) == {"", *RULE_PLACES}


@pytest.mark.parametrize(
    ("query", "asked", "rate"),
    [("", (10, None, "rate"), 2.5), ("?n=3&map=qnames&by=hits", (3, MapName.QNAMES, "hits"), None)],
)
async def test_top_ranks_by_rate_or_hits(
    api: Site, query: str, asked: tuple[object, ...], rate: float | None
) -> None:
    (rule,) = (await api.ask("GET", f"/api/v1/top{query}")).json()["rules"]
    assert (rule["target"], rule["hits"], rule["rate"]) == ("192.0.2.1", 7, rate)
    assert api.backend.asked == [("top", *asked)]


@pytest.mark.parametrize("query", ["n=0", "n=1001", "by=name", "map=x", "limit=5"])
async def test_a_wrong_parameter_of_top_is_422(api: Site, query: str) -> None:
    assert (await api.ask("GET", f"/api/v1/top?{query}")).problem["status"] == 422


# --- the rest -------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "panic"), [("panic", True), ("resume", False)])
async def test_panic_and_resume_say_what_is(api: Site, verb: str, *, panic: bool) -> None:
    assert (await api.ask("POST", f"/api/v1/{verb}")).json() == {
        "panic": panic,
        "changed": True,
    }
    assert api.backend.asked == [("panic", panic)]


@pytest.mark.parametrize(
    ("body", "asked"),
    [(None, []), (b"{}", []), ({"interfaces": ["eth1"]}, ["eth1"])],
)
async def test_a_detach_without_names_is_of_all(api: Site, body: object, asked: list[str]) -> None:
    await api.ask("POST", "/api/v1/detach", body)
    assert api.backend.asked == [("detach", asked)]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"x", 400), ({"interface": "eth0"}, 422), ([], 422), (b"[" * 70_000, 413)],
)
async def test_a_wrong_detach_is_refused(api: Site, body: object, status: int) -> None:
    assert (await api.ask("POST", "/api/v1/detach", body)).problem["status"] == status
    assert api.backend.asked == []


async def test_readiness_is_503_with_its_reasons(api: Site) -> None:
    api.backend.reasons = ("eth0 is gone", "a pin is gone")
    answer = await api.ask("GET", "/readyz")
    assert (answer.status, answer.body) == (503, b"eth0 is gone\na pin is gone\n")


@pytest.mark.parametrize("path", ["/metrics?name[]=up", "/healthz", "/readyz", "/api/v1/status"])
async def test_what_only_looks_is_200(api: Site, path: str) -> None:
    assert (await api.ask("GET", path)).status == 200


async def test_a_path_that_is_not_there_is_404_and_says_where_to_look(api: Site) -> None:
    problem = (await api.ask("GET", "/api/v2/rules")).problem
    assert (problem["status"], problem["code"]) == (404, "no-path")
    assert "/api/v1/openapi.json" in problem["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PATCH", RULES, {"GET", "HEAD", "POST", "PUT", "DELETE"}),
        ("GET", "/api/v1/panic", {"POST"}),
        ("POST", "/metrics", {"GET", "HEAD"}),
    ],
)
async def test_another_method_is_405_and_says_which_there_are(
    api: Site, method: str, path: str, allow: set[str]
) -> None:
    answer = await api.ask(method, path)
    assert (answer.problem["status"], answer.problem["code"]) == (405, "no-method")
    assert set(answer.headers["Allow"].split(", ")) == allow


@pytest.mark.parametrize("path", ["/healthz", RULES, "/api/v1/export", "/api/v1/openapi.json"])
async def test_head_is_get_without_a_body(api: Site, path: str) -> None:
    answer = await api.ask("HEAD", path)
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    "text",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHo\x00st: x\r\n\r\n",
        b"GET /%s HTTP/1.1\r\n\r\n" % (b"x" * 9_000),
    ],
)
async def test_what_is_not_http_is_400_and_a_problem_too(api: Site, text: bytes) -> None:
    said = await api.raw(text)
    assert said.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
    assert b"application/problem+json" in said
    assert HTTPStatus.BAD_REQUEST.phrase.encode() in said


async def test_force_lifts_what_is_dnsdists_and_removes_what_is_ours_first(api: Site) -> None:
    ours, theirs = ip_address("192.0.2.1"), ip_address("192.0.2.2")
    api.backend.dnsdists = (theirs,)
    answer = await api.ask("DELETE", f"{RULES}?target={theirs}&target={ours}&force=1")
    assert api.backend.asked == [("remove", [ours]), ("remove", [theirs]), ("lift", [theirs])]
    assert answer.json()["removed"] == 3
    assert "keeps its own count" in answer.json()["warnings"][0]


async def test_force_on_our_own_rule_is_a_removal_without_a_warning(api: Site) -> None:
    answer = await api.ask("DELETE", f"{RULES}?target=192.0.2.1&force=1")
    assert answer.json() == {"removed": 1, "warnings": []}


async def test_without_force_dnsdists_entry_is_not_touched(api: Site) -> None:
    api.backend.dnsdists = (ip_address("192.0.2.2"),)
    await api.ask("DELETE", f"{RULES}?target=192.0.2.2")
    assert api.backend.asked == [("remove", [ip_address("192.0.2.2")])]


# --- resize ---------------------------------------------------------------------------


@pytest.mark.parametrize(("more", "force"), [("", False), ("&force=1", True)])
async def test_a_map_is_resized(api: Site, more: str, *, force: bool) -> None:
    answer = await api.ask("POST", f"/api/v1/resize?map=qnames&entries=5000{more}")
    assert answer.json() == {"map": "qnames", "capacity": 5000, "entries": 5}
    assert api.backend.asked == [("resize", MapName.QNAMES, 5000, force)]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("map=qnames", 400),
        ("entries=5", 400),
        ("map=zones&entries=5", 422),
        ("map=qnames&entries=0", 422),
        ("map=qnames&entries=many", 422),
        ("map=qnames&entries=4294967296", 422),
    ],
)
async def test_a_resize_that_cannot_be_meant_is_refused(api: Site, query: str, status: int) -> None:
    assert (await api.ask("POST", f"/api/v1/resize?{query}")).problem["status"] == status
    assert api.backend.asked == []
