"""The web page in a real Chromium, under a real flood.

SCREENSHOTS=DIR keeps pictures of the page there.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
from typing import TYPE_CHECKING

import pytest

from tests.lab import Lab, Service
from tests.lab.browser import Browser, browser_on
from tests.lab.flooding import FLOODER
from tests.lab.hosts import PYTHON, ROOT
from tests.lab.service import PORT
from tests.packets.message import query
from xdpctl.http.transport.limits import STREAMS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab import Host

pytestmark = [pytest.mark.root, pytest.mark.slow]

RATE = 1_000
"""Packets a second of the flood: enough to be seen, and no burden for tests beside this one."""

ADDRESS = f"http://127.0.0.1:{PORT}/"
ESCAPE, TAB, ENTER = "\ue00c", "\ue004", "\ue007"  # WebDriver's keys


class OpenPage:
    """The page, and what is behind it.

    Attributes:
        start: starts the service anew.
        token: that lets one in.
        client: where packets come from.
    """

    def __init__(
        self, browser: Browser, start: Callable[[], Service], token: str, client: Host
    ) -> None:
        self.browser = browser
        self.client = client
        self.start = start
        self.service = start()
        self.token = token

    def open(self) -> None:
        """Load the page in a tab that knows no token."""
        self.browser.open(ADDRESS)
        self.browser.run("sessionStorage.clear()")
        self.browser.open(ADDRESS)

    def sign_in(self) -> None:
        """Give the token, and wait for the first figures."""
        self.browser.type("#token", self.token + ENTER)
        self.browser.until(lambda: "arrive" in self.browser.text("#state-text"), "figures")

    def rate(self, action: str) -> float:
        """Return the packets a second of an action, as the page says."""
        found = re.search(r"([\d.,]+)/s", self.browser.text(f"#legend .{action}"))
        return float(found[1].replace(",", "")) if found else 0.0

    def share(self, row: str) -> float:
        """Return the share of a row of who comes, in percent."""
        return float(self.browser.text(f"{row} .share").rstrip("%"))

    def drawing(self) -> str:
        """Return what the graph looks like."""
        return str(self.browser.run("return document.querySelector('#graph canvas').toDataURL()"))


@pytest.fixture(scope="module")
def page() -> Iterator[OpenPage]:
    """A service with a token under a flood, and a browser beside it."""
    with Lab() as lab:
        client, server = lab.pair()
        token = secrets.token_hex(16)
        file = lab.write("token", token)
        file.chmod(0o600)

        def start() -> Service:
            return Service(server, "--token-file", str(file))

        flood = client.start("flood", PYTHON, "-m", "tests.lab.flooding", server.v4, str(RATE))
        flood.line("^flooding$", timeout=30)
        with browser_on(server) as browser:
            browser.look(1280, 900)
            yield OpenPage(browser, start, token, client)


def test_an_operator_sees_a_flood_and_lets_everything_pass(page: OpenPage) -> None:
    """And a rule's effect; nothing is loaded from elsewhere, and the browser finds no fault."""
    browser, service = page.browser, page.service
    page.open()
    assert browser.is_shown("#sign-in")
    assert not browser.is_shown("#board")
    page.sign_in()
    browser.until(lambda: page.rate("pass") > RATE / 2, "the flood")
    before = page.drawing()
    browser.until(lambda: page.drawing() != before, "a graph that moves")

    assert service.verb("block", FLOODER, "--reason", "a flood").returncode == 0
    browser.until(lambda: page.rate("drop") > page.rate("pass") > 0, "dropped packets")
    browser.until(lambda: FLOODER in browser.text("#rules"), "the rule and its hits")
    browser.until(lambda: f"{FLOODER} blocked" in browser.text("#changes"), "the change")
    heard = "return document.getElementById('state-said').textContent"
    browser.until(lambda: not browser.run(heard), "other figures, which are not said aloud")
    assert "are dropped" in browser.text("#state-text")

    browser.click("#panic")
    assert not browser.is_shown("#question-yes:enabled")
    browser.type("#question-word", "panic")
    browser.click("#question-yes")
    browser.until(lambda: "Panic is on" in browser.text("#state-text"), "panic")
    browser.until(lambda: page.rate("drop") == 0 < page.rate("pass"), "everything passing")
    assert service.metrics().sum("xdpctl_panic") == 1
    keep_pictures(browser, "panic")
    browser.click("#panic")
    browser.click("#question-yes")
    browser.until(lambda: page.rate("drop") > 0, "dropped packets again")

    keep_pictures(browser, "page")
    browser.until(lambda: browser.is_shown("#rules button"), "what may be done about the rule")
    browser.click("#rules button")
    browser.click("#question-yes")
    browser.until(lambda: not service.rules(), "the rule's end")
    assert {address for address in browser.loaded() if not address.startswith(ADDRESS)} == set()
    assert browser.complaints() == []


def test_a_source_is_blocked_for_ten_minutes_from_the_page(page: OpenPage) -> None:
    """It is the first of those who come, by the samples of the flood."""
    browser, service = page.browser, page.service
    page.open()
    page.sign_in()
    browser.until(lambda: browser.is_shown("#talkers button"), "who comes")
    first = "#talkers tbody tr:first-child"
    browser.until(lambda: FLOODER in browser.text(first), "the source of the flood")
    browser.until(lambda: 60 < page.share(first) < 90, "its share")
    browser.click(f"{first} button")
    assert FLOODER in browser.text("#question-text")
    browser.press(ESCAPE)
    assert service.rules() == []
    browser.click(f"{first} button")
    browser.click("#question-yes")
    browser.until(lambda: page.rate("drop") > page.rate("pass"), "dropped packets")
    (rule,) = service.rules()
    assert (rule["target"], rule["action"], rule["origin"]) == (FLOODER, "drop", "api")
    browser.until(lambda: "all dropped" in browser.text(first), "what is done with it")
    assert 0 < rule["expires_in"] <= 600
    assert service.verb("unblock", FLOODER).returncode == 0
    assert browser.complaints() == []


def test_the_page_works_with_the_keyboard_alone_and_on_a_narrow_screen(page: OpenPage) -> None:
    browser = page.browser
    browser.look(360, 640)
    page.open()
    browser.press(page.token + ENTER)  # the field for the token has the keyboard
    browser.until(lambda: browser.is_shown("#talkers button"), "figures")
    reached = set()
    for _ in range(12):
        browser.press(TAB)
        reached.add(
            browser.run("return document.activeElement.id || document.activeElement.tagName")
        )
    assert reached >= {"panic", "talkers-by", "BUTTON"}
    browser.run("document.getElementById('panic').focus()")
    browser.press(ENTER)
    browser.until(lambda: browser.is_shown("#question"), "the question")
    browser.press("panik" + ENTER)
    assert browser.is_shown("#question")
    browser.press(ESCAPE)
    browser.until(lambda: not browser.is_shown("#question"), "its end")
    assert browser.run("return document.activeElement.id") == "panic"
    assert page.service.metrics().sum("xdpctl_panic") == 0
    assert browser.run("return document.documentElement.scrollWidth") <= 360
    browser.look(1280, 900)


def test_without_the_token_the_page_has_no_data(page: OpenPage) -> None:
    browser = page.browser
    page.open()
    assert browser.run("return (await fetch('api/v1/live')).status") == 401
    browser.type("#token", "a wrong token" + ENTER)
    browser.until(lambda: "is not the token" in browser.text("#sign-in-error"), "a blank in it")
    browser.type("#token", "\u0441\u043b\u043e\u0432\u043e" + ENTER)  # no header has such letters
    browser.until(lambda: "is not the token" in browser.text("#sign-in-error"), "letters in it")
    assert browser.text("#connection") == ""
    browser.type("#token", "another-token" + ENTER)
    browser.until(lambda: "is wrong" in browser.text("#sign-in-error"), "the refusal")
    assert not browser.is_shown("#board")
    browser.complaints()  # Chromium itself logs each 401


def test_what_an_intruder_would_load_from_elsewhere_is_stopped(page: OpenPage) -> None:
    browser = page.browser
    page.open()
    browser.complaints()
    browser.run(
        "const image = document.createElement('img');"
        "image.src = 'http://192.0.2.1/'; document.body.append(image)"
    )
    browser.until(lambda: any("img-src" in text for text in browser.complaints()), "a report")
    script = "try { document.body.innerHTML = '<b>x</b>' } catch (error) { return error.name }"
    assert browser.run(script) == "TypeError"


HOSTILE = (
    [b"<img src=x onerror=alert(1)>", b"example"],
    [b"\xe2\x80\xae" + "עברית".encode(), b"\0\n\x1b[2J", b"example"],
    [bytes(range(128, 191)), b"\xff" * 63, b"\xff" * 63, b"\xff" * 55],
)


def test_hostile_names_are_text_that_fits_a_narrow_screen(page: OpenPage) -> None:
    browser = page.browser
    browser.look(360, 640, dark=True)
    page.open()
    browser.complaints()
    page.sign_in()
    browser.until(lambda: browser.is_shown("#talkers button"), "who comes")
    browser.run(
        "const by = document.getElementById('talkers-by');"
        "by.value = 'name'; by.dispatchEvent(new Event('change'))"
    )
    wires = [b"".join(bytes([len(label)]) + label for label in name) + b"\0" for name in HOSTILE]
    with page.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((page.service.host.v4, 53))

        def seen() -> bool:
            for wire in wires * 40:
                with contextlib.suppress(ConnectionRefusedError):
                    sock.send(query(wire))
            text = browser.text("#talkers")
            return all(part in text for part in (r"\060img", r"\226\128\174", r"\128\129"))

        browser.until(seen, "the names")
    assert not browser.run("return document.querySelector('#board img')")
    assert browser.run("return document.documentElement.scrollWidth") <= 360
    keep_picture(browser, "hostile")
    turned = "a program \u202ecalled\u200bthis\0"
    script = "const { plain } = await import('/page/text.js'); return plain(%s)"
    assert browser.run(script % json.dumps(turned)) == r"a program \u202ecalled\u200bthis\u0000"
    assert browser.complaints() == []
    browser.look(1280, 900)


def test_a_page_too_many_waits_for_its_turn_and_has_samples_then(page: OpenPage) -> None:
    browser, host = page.browser, page.service.host
    page.open()
    head = f"GET /api/v1/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {page.token}\r\n\r\n"
    taken = 0
    with contextlib.ExitStack() as others:

        def take() -> bool:  # that of the page before ends within a second
            nonlocal taken
            sock = others.enter_context(host.socket(socket.AF_INET, socket.SOCK_STREAM))
            sock.connect(("127.0.0.1", PORT))
            sock.sendall(head.encode())
            taken += b" 200 " in sock.recv(4096)
            return taken == STREAMS_MAX

        browser.until(take, "every stream there is")
        browser.type("#token", page.token + ENTER)
        browser.until(lambda: "is busy" in browser.text("#connection"), "a refusal")
    browser.until(lambda: browser.is_shown("#talkers button"), "who comes")
    assert browser.text("#connection") == "live"
    browser.complaints()  # Chromium itself logs each 503


def test_while_the_service_is_away_the_page_says_so_and_goes_on_afterwards(page: OpenPage) -> None:
    browser = page.browser
    page.open()
    page.sign_in()
    page.service.stop()
    browser.until(lambda: "is not known" in browser.text("#state-text"), "no state of before")
    assert browser.run("return document.title").startswith("! ")
    browser.click("#panic")
    browser.type("#question-word", "panic" + ENTER)
    browser.until(lambda: "did not answer" in browser.text("#answers"), "what became of it")
    page.service = page.start()
    browser.until(lambda: "arrive" in browser.text("#state-text"), "the state of now")
    browser.complaints()  # Chromium itself logs each attempt


def test_rows_that_are_pointed_at_stay_and_do_not_become_many(page: OpenPage) -> None:
    page.open()
    found = page.browser.run(
        """
        const { Rows, setText } = await import('/page/rows.js');
        const place = document.createElement('div');
        document.body.append(place);
        const show = (cell, item) => {
          const button = document.createElement('button');
          button.textContent = item;
          cell.replaceChildren(button);
        };
        const columns = [{ label: 'x', show }];
        const rows = new Rows(place, { label: 'x', empty: '', key: (item) => item, columns });
        rows.show(['first', 'second']);
        place.querySelector('button').focus();
        for (let number = 0; number < 100; number += 1) rows.show([`${number}`, 'second']);
        const texts = [...place.querySelectorAll('tbody tr')].map((row) => row.textContent);
        document.activeElement.blur();
        rows.show(['last']);
        return [texts.slice(0, 2), texts.length, place.querySelectorAll('tbody tr').length];
        """
    )
    assert found == [["first", "second"], 30, 1]


@pytest.mark.parametrize(
    ("state", "rates", "tone", "words"),
    [
        ({}, {}, "good", "No packets arrive."),
        ({}, {"pass": 1234.4}, "good", "1,234 packets a second arrive, none is refused."),
        ({}, {"pass": 1, "drop": 0.25}, "acting", "1.3 packets a second arrive: 0.25 are dropped."),
        (
            {},
            {"pass": 1, "drop": 20, "truncate": 30},
            "acting",
            "51 packets a second arrive: 20 are dropped and 30 are sent to TCP.",
        ),
        ({"warnings": ["cidr4 is 87 % full"]}, {}, "acting", "No packets arrive."),
        ({"panic": True}, {}, "bad", "Panic is on: every packet passes. No packets arrive."),
        ({"ready": False}, {}, "bad", "Not ready. No packets arrive."),
        (
            {"interfaces": [{"name": "eth1", "state": "missing", "mode": None}]},
            {},
            "bad",
            "Not filtered: eth1 (missing). No packets arrive.",
        ),
        (
            {"limits": [{"reason": "unproven"}, {"reason": "limit"}]},
            {},
            "acting",
            "A limit acts, the flood limit and the limit of each source. No packets arrive.",
        ),
        (
            {"limits": [{"reason": "unproven", "dry_run": True}]},
            {},
            "acting",
            "A limit would act, the flood limit, but it is in a dry run. No packets arrive.",
        ),
    ],
)
def test_the_state_is_said_in_words(
    page: OpenPage, state: dict[str, object], rates: dict[str, float], tone: str, words: str
) -> None:
    interface = {"name": "eth0", "state": "attached", "mode": "native"}
    sound = {"ready": True, "panic": False, "reasons": [], "warnings": [], "limits": []}
    document = {**sound, "interfaces": [interface], **state}
    page.open()
    said = page.browser.run(
        "const { stateWords } = await import('/page/text.js');"
        f"return stateWords({json.dumps(document)}, {json.dumps(rates)})"
    )
    assert (said["tone"], said["text"]) == (tone, words)


def test_an_event_that_comes_in_pieces_is_read_whole(page: OpenPage) -> None:
    page.open()
    read = page.browser.run(
        """
        const { eventsOf } = await import('/page/stream.js');
        const text = ['event: a', 'data: {"x": "é"}', '', ': none', '', 'event: b', 'data: [1,',
          'data: 2]', '', ''].join(String.fromCharCode(10));
        const bytes = new TextEncoder().encode(text);
        const found = new Set();
        for (let cut = 0; cut <= bytes.length; cut += 1) {
          const body = new ReadableStream({
            start(sink) {
              sink.enqueue(bytes.slice(0, cut));
              sink.enqueue(bytes.slice(cut));
              sink.close();
            },
          });
          const events = [];
          for await (const event of eventsOf(body)) events.push(event);
          found.add(JSON.stringify(events));
        }
        return [...found];
        """
    )
    assert read == ['[["a",{"x":"é"}],["b",[1,2]]]']


def test_the_graph_goes_on_when_the_services_clock_is_set_back(page: OpenPage) -> None:
    page.open()
    times = page.browser.run(
        """
        const { Graph } = await import('/page/graph.js');
        const graph = new Graph();
        for (const time of [7000, 7001, 7002, 4000, 4001]) graph.add(time, { pass: time });
        return graph.points.map((point) => point.time);
        """
    )
    assert times == [4000, 4001]


def test_the_graph_has_what_came_before_the_page_was_opened_or_while_it_was_away(
    page: OpenPage,
) -> None:
    page.open()
    times = page.browser.run(
        """
        const { Graph } = await import('/page/graph.js');
        const graph = new Graph();
        const past = (...times) => times.map((time) => ({ time, rates: { pass: 1 } }));
        graph.fill(past(7000, 7001));
        graph.add(7002, { pass: 1 });
        graph.fill([]);
        graph.fill(past(7002, 7003, 7004));
        graph.add(7005, { pass: 1 });
        return graph.points.map((point) => point.time);
        """
    )
    assert times == [7000, 7001, 7002, 7003, 7004, 7005]


def test_what_cannot_be_shown_any_more_is_not_shown(page: OpenPage) -> None:
    """Rows of samples stayed below the sentence that there are none; small shares were 0.0%."""
    page.open()
    found = page.browser.run(
        """
        const { TalkerTable } = await import('/page/talkers.js');
        const row = { key: '192.0.2.7', packets: 9999, rate: 2000, share: 0.0002, error: 1 };
        const actions = { pass: 9998, drop: 1 };
        const by = { source: [{ ...row, actions }] };
        const talkers = new TalkerTable();
        talkers.show({ seconds: 5, weight: 10000, lost: 0, by });
        const place = document.getElementById('talkers');
        const words = [...place.querySelectorAll('small, td.share')].map((one) => one.textContent);
        talkers.without('no samples');
        return [...words, place.textContent];
        """
    )
    assert found == ["nearly all passed, <0.1% dropped", "<0.1%", ""]


def keep_picture(browser: Browser, name: str) -> None:
    """Take a picture of the page as it is, if it is wanted."""
    if "SCREENSHOTS" in os.environ:
        folder = ROOT / os.environ["SCREENSHOTS"]
        folder.mkdir(parents=True, exist_ok=True)
        browser.picture(folder / f"{name}.png")


def keep_pictures(browser: Browser, name: str) -> None:
    """Take pictures of the page in all its forms, if they are wanted."""
    if "SCREENSHOTS" not in os.environ:
        return
    for width, dark in ((360, False), (360, True), (1280, True), (1280, False)):
        browser.look(width, 900, dark=dark)
        browser.run("return new Promise((resolve) => setTimeout(resolve, 1500))")
        keep_picture(browser, f"{name}-{width}{'-dark' if dark else ''}")
