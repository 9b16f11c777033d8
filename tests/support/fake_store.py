"""A store on fake maps with clocks that a test turns: lists, expiry, restarts, reboots.

What the tests of the modules around the store share. Needs no root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from tests.support.fake_kernel import FakeBpf, FakeKernel, FakeMap
from tests.support.fake_tables import FakeEngine, FakeGrowth
from xdpctl.abi import (
    MAPS,
    RULE_MAPS,
    RULE_PLACES,
    TABLES,
    Book,
    MapName,
    RuleAction,
    decode_value,
    encode_value,
)
from xdpctl.rules import AnyQtype, Rule, key_of, map_of, parse_target, target_of, target_text
from xdpctl.rules.keys import REFS, full_key, stored_key
from xdpctl.rules.lines import LineReader
from xdpctl.rules.reach import NO_REACH, Reach
from xdpctl.store.change import Change
from xdpctl.store.state import State
from xdpctl.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import pytest

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.rules import Target
    from xdpctl.rules.keys import Row
    from xdpctl.store.bulk import BulkResult

GARBAGE = b"garbage"
"""What dnsdist leaves behind the action."""

Shown = dict[str, tuple[RuleAction, int, str]]


class CrashError(BaseException):
    """Stands for the end of the process: nothing of ours may catch it."""


class Ledger:
    """Maps, notes and the store over both.

    Attributes:
        wall, boot: the two clocks; turned by `pass_time` and by hand.
        boot_id: of the machine's present life.
        changes: sum of what the store said that it did, by map.
        growth: makes our own tables when the first rule needs them.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        directory: Path,
        room: int = 64,
        any_qtype: AnyQtype = AnyQtype.BOTH,
    ) -> None:
        self.kernel = FakeKernel()
        self.directory = directory
        self.room = room
        self.any_qtype = any_qtype
        self.wall, self.boot, self.boot_id = 1_700_000_000.0, 5_000.0, "first"
        monkeypatch.setattr("xdpctl.store.reconcile.boot_id", lambda: self.boot_id)
        for module in ("entries", "export"):
            monkeypatch.setattr(f"xdpctl.store.{module}.boot_clock", lambda: self.boot)
        self.maps = self._new_maps()
        self.growth = FakeGrowth()
        self.engine: FakeEngine | None = None
        self.open()

    def _new_maps(self) -> dict[MapName, Map]:
        bpf = FakeBpf(self.kernel)
        return {name: bpf.create_map(MAPS[name], self.room) for name in RULE_MAPS}

    def open(self) -> None:
        """Start on the present maps, as the service does."""
        self.changes = dict.fromkeys(RULE_PLACES, 0)
        self.state = State.open(self.directory / "state.db")
        self.store = Store(
            self.maps,
            self.state,
            self.any_qtype,
            reserve=self.growth,
            on_change=self._changed,
            clock=lambda: self.wall,
            boot=lambda: self.boot,
        )
        self.growth.store = self.store
        if self.engine is None and any(self.state.count(name) for name in TABLES):
            self.engine = FakeEngine()
        if self.engine is not None:
            self.store.tables.use(self.engine)
        self.store.reconcile()

    def _changed(self, name: MapName, difference: int) -> None:
        self.changes[name] += difference

    def restart(self) -> None:
        """Stop and start; also what comes after a crash."""
        self.engine = self.tables()
        self.state.close()
        self.maps = {
            name: FakeMap(self.kernel, cast("FakeMap", opened).state, opened.label)
            for name, opened in self.maps.items()
        }
        self.open()

    def reboot(self, down: float, before: Callable[[], None] = lambda: None) -> None:
        """Lose the maps and the boot clock; be down so long; `before` may fill new maps."""
        self.state.close()
        self.maps = self._new_maps()
        self.engine = None
        self.wall += down
        self.boot, self.boot_id = 20.0, self.boot_id + "'"
        before()
        self.open()

    def pass_time(self, seconds: float) -> None:
        """Let both clocks go on."""
        self.wall += seconds
        self.boot += seconds

    # --- what is done -----------------------------------------------------------------

    def bulk(  # noqa: PLR0913 - what a list may ask for
        self,
        lines: Iterable[str],
        origin: str = "file:x",
        *,
        replace: bool = False,
        strict: bool = False,
        part: int = 3,
        on_progress: Callable[[str, int, int], None] = lambda *_: None,
        may_be_empty: bool = True,
        max_shrink: float | None = None,
        cover_max: Reach | None = None,
        covered: Reach = NO_REACH,
    ) -> BulkResult:
        """Import lines, so many in one part."""
        return self.store.bulk(
            Change(
                source=self.parts(lines, origin, part),
                origin=origin,
                replace=replace,
                strict=strict,
                progress=on_progress,
                may_be_empty=may_be_empty,
                max_shrink=max_shrink,
                cover_max=cover_max,
                covered=covered,
            )
        )

    def parts(self, lines: Iterable[str], origin: str, part: int) -> Iterator[Iterator[Row]]:
        """Yield the rows of lines in parts."""
        reader = LineReader(origin, self.store.any_qtype, self.boot)
        every = list(lines)
        for start in range(0, len(every), part):
            yield reader.rows(every[start : start + part], start + 1)

    def put(self, text: str, action: RuleAction = RuleAction.DROP, **fields: str | int) -> None:
        """Make one rule, as `block` does."""
        self.store.put([Rule(parse_target(text), action, **fields)])  # type: ignore[arg-type]

    def tables(self) -> FakeEngine | None:
        """Return the generation of our own tables that is read."""
        current = self.store.tables.current
        assert current is None or isinstance(current, FakeEngine)
        return current

    def hit(self, text: str, hits: int, book: Book = Book.OPERATOR) -> None:
        """Let an entry's counter be this."""
        name, key = self.place(text, book)
        if name in TABLES:
            engine = self.tables()
            assert engine is not None
            engine.hit(name, stored_key(REFS[name], key), hits)
            return
        value = self.entries(name)[key]
        self.entries(name)[key] = encode_value(decode_value(value)[0], hits)

    def dnsdist(self, text: str, hits: int = 0, action: RuleAction = RuleAction.DROP) -> None:
        """Write an entry behind the store's back, over what may be there."""
        name, key = self.place(text)
        self.entries(name)[key] = encode_value(action, hits)[:9] + GARBAGE

    def vanish(self, text: str) -> None:
        """Take an entry away behind the store's back."""
        name, key = self.place(text)
        del self.entries(name)[key]

    # --- what is there ----------------------------------------------------------------

    def place(self, text: str, book: Book = Book.OPERATOR) -> tuple[MapName, bytes]:
        """Return where the entry of a target's text lies."""
        target = parse_target(text)
        return map_of(target, book), key_of(target, self.any_qtype, book)

    def entries(self, name: MapName) -> dict[bytes, bytes]:
        """Return a map's entries themselves; those of a table as a map would have them."""
        if name in TABLES:
            engine = self.tables()
            return {
                full_key(REFS[name], key): encode_value(action, hits)
                for (table, key), (hits, action) in (
                    {} if engine is None else engine.entries
                ).items()
                if table == name
            }
        return cast("FakeMap", self.maps[name]).state.entries

    def value(self, text: str, book: Book = Book.OPERATOR) -> bytes | None:
        """Return an entry's value."""
        name, key = self.place(text, book)
        return self.entries(name).get(key)

    def text(self, name: MapName, key: bytes) -> str:
        """Return an entry's target as text."""
        return target_text(self.target(name, key))

    def target(self, name: MapName, key: bytes) -> Target:
        """Return an entry's target."""
        return target_of(name, key, self.any_qtype)

    def shown(self, origin: str | None = None) -> Shown:
        """Return what `list` says: action, hits, origin of each target."""
        return {
            self.text(e.map, e.key): (e.action, e.hits, e.origin)
            for e in self.store.entries(origin=origin)
        }

    def noted(self) -> dict[str, str]:
        """Return the origins of all notes, valid or not."""
        return {
            self.text(note.map, note.key): note.origin
            for name in RULE_PLACES
            for note in self.state.notes(name).values()
        }

    def agrees(self) -> bool:
        """Tell whether each note has its entry, with its action, and counts are told right."""
        return all(
            (value := self.entries(name).get(key)) is not None
            and decode_value(value) >= (note.action, note.hits)
            and decode_value(value)[0] == note.action
            for name in RULE_PLACES
            for key, note in self.state.notes(name).items()
        )
