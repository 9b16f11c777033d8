"""The live table: who sends most, and what, of everything that comes in.

One stream of the service brings every dimension once a second; keys choose which one is shown, and
a row that is chosen can be blocked or allowed, after a question. Owns the screen and the keys. Does
not own the sums (samples/talkers.py). Called by verbs/top.py.
"""

from __future__ import annotations

import textwrap
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xdpctl.cli.client import AGAIN
from xdpctl.cli.keyboard import Keyboard
from xdpctl.cli.render import Table, columns, count, printable, shortened, shown_rate
from xdpctl.cli.screen import SILENT, Screen
from xdpctl.errors import ServiceUnreachableError, XdpctlError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from xdpctl.cli.client import Client
    from xdpctl.cli.verb import Session

ALL_BY = (
    "source", "source24", "source64", "source48", "name", "zone2", "zone3", "type", "port",
    "source-port", "action", "reason",
)  # fmt: skip
"""What the stream brings."""

VIEWS = {
    "s": (("SOURCE", ("source",)), ("NETWORK", ("source24", "source64")), ("SITE", ("source48",))),
    "p": (("PORT", ("port",)), ("SOURCE PORT", ("source-port",))),
    "n": (("NAME", ("name",)),),
    "2": (("ZONE", ("zone2",)),),
    "3": (("ZONE", ("zone3",)),),
    "t": (("TYPE", ("type",)),),
    "a": (("ACTION", ("action",)), ("REASON", ("reason",))),
}
"""The views of each key; the key again leads to the next of them."""

_WORDS = {
    "SOURCE": "addresses",
    "NETWORK": "networks, /24 and /64",
    "SITE": "IPv6 sites, /48",
    "PORT": "ports",
    "SOURCE PORT": "source ports",
    "ACTION": "what was done",
    "REASON": "why, by reason",
}
"""What each of several views shows."""

TARGETS = frozenset({"source", "source24", "source64", "source48", "name", "zone2", "zone3"})
"""Dimensions whose keys can be blocked."""

ROWS = 60
"""Of each dimension that are asked for: as many as a tall terminal shows."""

BLOCK_SECONDS = 600

AGAIN_SECONDS = 1.0
"""Until a stream that has ended is asked for again."""

KEYS = "q quit  ↑↓ choose  b block  s source  n name  2 3 zone  t type  a action  p port"
CHOSEN = "b block 10 min  a allow  Esc back"

_ACTIONS = ("pass", "drop", "truncate", "redirect")
_HEADERS = ("", "RATE", "±", "SHARE", *(action.upper() for action in _ACTIONS))
_LEAST_OF_COLUMNS = 2
"""The mark and the rate are shown in every terminal."""

_LEAST_OF_LINES = 10
"""A terminal of fewer has no line that says what else there is."""

_KEY_ROOM = 45
"""Columns that a key may have before others: as many as an IPv6 prefix at its longest."""

_ANSWERS = " [y/N]"
_KEY_SECONDS = 0.25


@dataclass
class LiveTable:
    """What is shown, and what the keys do to it. Pure but for `call`.

    Attributes:
        call: posts rules to the service.
        key: of the view. `number`: which of its views.
        chosen: the row that is chosen; None: none is.
        question: what is asked now, and what a yes does.
        note: what came of the last one.
        document: the last sums; None: none have come yet.
        trouble: why none come any more; empty: they do.
    """

    call: Callable[[list[dict[str, object]]], Mapping[str, Any]]
    key: str = "s"
    number: int = 0
    chosen: str | None = None
    question: tuple[str, dict[str, object]] | None = None
    note: str = ""
    document: Mapping[str, Any] | None = field(default=None)
    trouble: str = ""

    @property
    def view(self) -> tuple[str, tuple[str, ...]]:
        """Title and dimensions of what is shown."""
        return VIEWS[self.key][self.number]

    def rows(self) -> list[Mapping[str, Any]]:
        """Return the rows of the view, those with the most packets first."""
        by = {} if self.document is None else self.document.get("by", {})
        found = [row for name in self.view[1] for row in by.get(name, [])]
        return sorted(found, key=lambda row: -float(row.get("rate") or 0))

    def press(self, key: str) -> bool:
        """Do what a key asks for; return False where it ends the table."""
        if self.question is not None:
            self._answer(self.question[1], yes=key == "y")
        elif key == "q":
            return False
        elif key in {"up", "down"}:
            self._move(-1 if key == "up" else 1)
        elif key == "escape":
            self.chosen = None
        elif key == "b" or (key == "a" and self.chosen is not None):
            self._ask(key)
        elif key in VIEWS:
            again = key == self.key
            self.number = (self.number + 1) % len(VIEWS[key]) if again else 0
            self.key, self.chosen, self.note = key, None, ""
        return True

    def lines(self, size: tuple[int, int]) -> list[str]:
        """Return the lines of a screen with so many columns and lines."""
        width, height = size
        if self.question is not None:
            prompt = _asked(*self.question, width, max(height - 1, 1))
        else:
            prompt = [KEYS if self.chosen is None else CHOSEN]
        note = textwrap.wrap(self.note, width)[: max(height // 2, 1)] if self.note else []
        top = [self._headline(), *prompt, *note]
        if not note and height >= _LEAST_OF_LINES:
            top.append(self._hint())
        rows = self._in_sight(max(height - len(top) - 1, 1))
        table = self._table(rows, width) or [self._nothing()]
        over = max(0, len(top) + len(table) - height) if self.question is None else 0
        return [shortened(printable(line), width) for line in [*top[over:], *table][:height]]

    def _in_sight(self, most: int) -> list[Mapping[str, Any]]:
        """Return so many rows, of them the chosen one."""
        rows = self.rows()
        keys = [str(row["key"]) for row in rows]
        at = keys.index(self.chosen) if self.chosen in keys else 0
        first = max(0, at - most + 1)
        return rows[first : first + most]

    def _table(self, rows: Sequence[Mapping[str, Any]], width: int) -> list[str]:
        """Return the lines of rows.

        In a narrow terminal the columns that say nothing are left out, then the last ones, until
        the key has its room.
        """
        cells = [self._cells(row) for row in rows]
        if not cells:
            return []
        kept = [*range(len(_HEADERS) + 1)]
        widths = [
            max(columns(text) for text in column)
            for column in zip((*_HEADERS, self.view[0]), *cells, strict=True)
        ]
        room = min(widths[-1], _KEY_ROOM)
        empty = [at for at in kept[:-1] if {row[at] for row in cells} == {"-"}]
        for at in [*reversed(empty), *reversed(kept[:-1])]:
            needed = sum(widths[one] + 2 for one in kept[:-1]) + room
            if needed > width and at in kept[_LEAST_OF_COLUMNS:]:
                kept.remove(at)
        headers = [(*_HEADERS, self.view[0])[at] for at in kept]
        table = Table(headers, right=frozenset(headers[1:-1]))
        return list(table.lines([row[at] for at in kept] for row in cells))

    def _headline(self) -> str:
        if self.trouble:
            return f"trying again; {self.trouble}"
        if self.document is None:
            return "waiting for the first samples"
        document = self.document
        seconds = float(document.get("seconds") or 1)
        weight = int(document.get("weight") or 0)
        lost = int(document.get("lost") or 0)
        parts = [f"{shown_rate(weight / seconds)} in {seconds:.0f} s"]
        shares = {row["key"]: row["share"] for row in document.get("by", {}).get("action", [])}
        parts += [f"{each} {_percent(shares[each])}" for each in _ACTIONS if each in shares]
        if lost:
            parts.append(f"{count(lost)} samples lost")
        return "  ".join(parts)

    def _hint(self) -> str:
        """Return what the key of the view leads to when it is pressed again."""
        views = VIEWS[self.key]
        following = views[(self.number + 1) % len(views)][0]
        leads_there = len(views) > 1 and (self.key != "a" or self.chosen is None)
        return f"{self.key} again: {_WORDS[following]}" if leads_there else ""

    def _nothing(self) -> str:
        if self.document is None:
            return ""
        of = "IPv6 packets" if self.view[0] == "SITE" else "packets with such a key"
        return f"no {of} came within that time"

    def _cells(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        actions = row.get("actions") or {}
        packets = max(int(row.get("packets") or 0), 1)
        return (
            ">" if row["key"] == self.chosen else "",
            shown_rate(row.get("rate")),
            _percent(int(row.get("error") or 0) / packets),
            _percent(float(row.get("share") or 0)),
            *(_percent(int(actions.get(action) or 0) / packets) for action in _ACTIONS),
            str(row["key"]),
        )

    def _move(self, step: int) -> None:
        keys = [str(row["key"]) for row in self.rows()]
        if not keys:
            return
        if self.chosen not in keys:
            self.chosen = keys[0]
        else:
            at = keys.index(self.chosen) + step
            self.chosen = keys[max(0, min(at, len(keys) - 1))]

    def _ask(self, key: str) -> None:
        rows = self.rows()
        if not TARGETS.issuperset(self.view[1]):
            self.note = "only sources, names and zones can be blocked or allowed"
            return
        if not rows:
            return
        target = self.chosen or str(rows[0]["key"])
        rule: dict[str, object] = {"target": target, "origin": "cli"}
        if key == "b":
            rule |= {"expires_in": BLOCK_SECONDS, "reason": "blocked in top --live"}
            self.question = f"block {target} for 10 minutes?", rule
        else:
            rule |= {"action": "pass", "reason": "allowed in top --live"}
            self.question = (
                f"allow {target} until you unblock it, in front of all rules but dnsdist's?",
                rule,
            )

    def _answer(self, rule: dict[str, object], *, yes: bool) -> None:
        self.question = None
        target = str(rule["target"])
        if not yes:
            self.note = f"{target} stays as it is"
            return
        try:
            answer = self.call([rule])
        except XdpctlError as error:
            self.note = str(error.sentence)
            return
        done = "allowed" if rule.get("action") == "pass" else "blocked for 10 minutes"
        self.note = "; ".join([f"{target} is {done}", *map(str, answer.get("warnings", []))])


def _asked(text: str, rule: Mapping[str, object], width: int, most: int) -> list[str]:
    """Return a question in lines; of a name too long for them, begin and end are kept."""
    target = str(rule["target"])
    over = len(printable(text)) + len(_ANSWERS) - width * most
    if over > 0:
        kept = max(len(target) - over - 1, 2)
        text = text.replace(target, f"{target[: kept // 2]}…{target[-(kept - kept // 2) :]}")
    text = f"{printable(text)}{_ANSWERS}"
    return [text[at : at + width] for at in range(0, len(text), width)]


def _percent(share: float) -> str:
    if not share:
        return "-"
    percent = 100 * share
    return "<1%" if percent < 1 else f"{percent:.0f}%"


def _of(error: XdpctlError) -> str:
    """Return what is wrong, without what helps: the stream is opened again by itself."""
    if isinstance(error, ServiceUnreachableError):
        return SILENT
    return error.sentence.removesuffix(AGAIN)


class _Feed:
    """Reads the stream on a thread, for the keys are waited for here.

    A stream that has brought something is opened again when it ends: the service is restarted.

    Args:
        client: the service.
        query: what is asked for.

    Attributes:
        latest: the last sums; None: there are none now.
        trouble: why there are none any more.
        ended: why there are none at all.
    """

    def __init__(self, client: Client, query: Mapping[str, str]) -> None:
        self._client = client
        self._query = query
        self.latest: Mapping[str, Any] | None = None
        self.trouble = ""
        self.ended: XdpctlError | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask for no more; a stream that is open is read until it ends, or the process does."""
        self._stopped.set()

    def _read(self) -> None:
        answered = False
        while not self._stopped.is_set():
            try:
                for name, document in self._client.events("/api/v1/live", self._query):
                    if name == "talkers":
                        self.latest, self.trouble, answered = document, "", True
            except XdpctlError as error:
                if not answered:
                    self.ended = error
                    return
                self.trouble, self.latest = _of(error), None
            self._stopped.wait(AGAIN_SECONDS)


def show(client: Client, query: Mapping[str, str], session: Session, view: str) -> None:
    """Draw the table again and again until q or Ctrl-C.

    Args:
        client: the service.
        query: filters, and the seconds that are summed up.
        session: of the verb.
        view: the key of the first view.

    Raises:
        XdpctlError: the stream cannot be had.
    """
    wanted = {**query, "samples": "1", "snapshots": "0", "by": ",".join(ALL_BY), "n": str(ROWS)}
    feed = _Feed(client, wanted)
    table = LiveTable(lambda rules: client.post("/api/v1/rules", rules), key=view)
    feed.start()
    screen = Screen(session)
    with suppress(KeyboardInterrupt), Keyboard(session.input) as keyboard:
        while feed.ended is None:
            table.document, table.trouble = feed.latest, feed.trouble
            screen.draw(table.lines(screen.size()))
            key = keyboard.wait(_KEY_SECONDS)
            if key and not table.press(key):
                break
    feed.stop()
    session.write("\r")
    if feed.ended is not None:
        raise feed.ended
