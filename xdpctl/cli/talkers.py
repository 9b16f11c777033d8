"""The live table: who sends most, and what, of everything that comes in.

One stream of the service brings every dimension once a second; keys choose which one is shown, and
a row that is chosen can be blocked or allowed, after a question. Owns the screen and the keys. Does
not own the sums (samples/talkers.py). Called by verbs/top.py.
"""

from __future__ import annotations

import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xdpctl.cli.keyboard import Keyboard
from xdpctl.cli.render import Table, count, printable, shortened, shown_rate
from xdpctl.errors import XdpctlError

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

TARGETS = frozenset({"source", "source24", "source64", "source48", "name", "zone2", "zone3"})
"""Dimensions whose keys can be blocked."""

ROWS = 60
"""Of each dimension that are asked for: as many as a tall terminal shows."""

BLOCK_SECONDS = 600
KEYS = "s sources  p ports  n names  2 3 zones  t types  a actions  ↑↓ choose  b block  q quit"
CHOSEN = "b block 10 min  a allow  Esc back"

_ACTIONS = ("pass", "drop", "truncate", "redirect")
_HEADERS = ("", "RATE", "±", "SHARE", *(action.upper() for action in _ACTIONS))
_KEY_SECONDS = 0.25
_TITLES = 4


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
    """

    call: Callable[[list[dict[str, object]]], Mapping[str, Any]]
    key: str = "s"
    number: int = 0
    chosen: str | None = None
    question: tuple[str, dict[str, object]] | None = None
    note: str = ""
    document: Mapping[str, Any] | None = field(default=None)

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
        rows = self.rows()[: max(height - _TITLES - 1, 1)]
        lines = [self._headline()]
        if self.question is not None:
            lines.append(f"{self.question[0]} [y/N]")
        elif self.chosen is not None:
            lines.append(CHOSEN)
        else:
            lines.append(KEYS)
        lines.append(self.note)
        table = Table((*_HEADERS, self.view[0]), right=frozenset(_HEADERS[1:]))
        lines += list(table.lines(map(self._cells, rows))) or [self._nothing()]
        return [shortened(printable(line), width) for line in lines]

    def _headline(self) -> str:
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

    def _nothing(self) -> str:
        waiting = self.document is None
        return "" if waiting else "no packets with such a key came within that time"

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
            self.question = f"allow {target}, in front of all rules but dnsdist's?", rule

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


def _percent(share: float) -> str:
    if not share:
        return "-"
    percent = 100 * share
    return "<1%" if percent < 1 else f"{percent:.0f}%"


class _Feed:
    """Reads the stream on a thread, for the keys are waited for here.

    Args:
        client: the service.
        query: what is asked for.
    """

    def __init__(self, client: Client, query: Mapping[str, str]) -> None:
        self._client = client
        self._query = query
        self.latest: Mapping[str, Any] | None = None
        self.ended: XdpctlError | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _read(self) -> None:
        try:
            for name, document in self._client.events("/api/v1/live", self._query):
                if name == "talkers":
                    self.latest = document
        except XdpctlError as error:
            self.ended = error


def show(client: Client, query: Mapping[str, str], session: Session, view: str) -> None:
    """Draw the table again and again until q or Ctrl-C.

    Args:
        client: the service.
        query: filters, and the seconds that are summed up.
        session: of the verb.
        view: the key of the first view.

    Raises:
        XdpctlError: the stream cannot be had, or has ended.
    """
    wanted = {**query, "samples": "1", "snapshots": "0", "by": ",".join(ALL_BY), "n": str(ROWS)}
    feed = _Feed(client, wanted)
    table = LiveTable(lambda rules: client.post("/api/v1/rules", rules), key=view)
    feed.start()
    drawn = 0
    with suppress(KeyboardInterrupt), Keyboard(session.input) as keyboard:
        while feed.ended is None:
            table.document = feed.latest
            drawn = _draw(session, table, drawn)
            key = keyboard.wait(_KEY_SECONDS)
            if key and not table.press(key):
                break
    session.write("\r")
    if feed.ended is not None:
        raise feed.ended


def _draw(session: Session, table: LiveTable, drawn: int) -> int:
    """Draw over the lines of before; return how many lines there are now."""
    size = shutil.get_terminal_size()
    lines: Sequence[str] = table.lines((size.columns, size.lines))
    up = f"\x1b[{drawn}A" if drawn else ""
    session.write(f"{up}\r\x1b[J" + "".join(f"{line}\n" for line in lines))
    session.output.flush()
    return len(lines)
