"""Our rules for names of any type, when --any-qtype becomes another.

The program of another mode looks such an entry up under another type. So that it finds
every one from its first packet on, they are written under its type before it is put on,
and what only the former one found is removed after; claims that wait go with them. A rule
that was for one type, and means every type now, is remembered, so that operators see it.
What dnsdist wrote stays: its mode is the operator's to agree with. Called by the store;
everything blocks.
"""

from __future__ import annotations

import errno
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from xdpctl import abi
from xdpctl.abi import MapName
from xdpctl.errors import KernelError
from xdpctl.kernel.bpf.libbpf import BPF_ANY, BPF_NOEXIST
from xdpctl.process.log import event
from xdpctl.rules import AnyQtype, target_of, target_text
from xdpctl.store.entries import NOTES_AT_ONCE, owns
from xdpctl.store.state import place_in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from xdpctl.abi import RuleValue
    from xdpctl.store.claims import Claims
    from xdpctl.store.entries import Entries
    from xdpctl.store.reconcile import Reconciler
    from xdpctl.store.rule_map import RuleMap
    from xdpctl.store.state import Note, State

_FACT = "any-qtype"
"""Name of the mode that our notes were written in."""

_WIDENED = "any-qtype-widened"
"""Name of the rules that mean every type since it changed: see `widened_names`."""

WIDENED_KEPT = 1_000
"""So many of them are remembered, the last ones."""

_WHY_WIDENED = (
    "these rules were for one type, which means every type now: look for them"
    " with `xdpctl list --map qnames`"
)
_WHY_ENDED = (
    "these rules were for one type, and their names have a rule for every type, which stays"
)

_log = logging.getLogger(__name__)


class Wildcards:
    """The entries of one mode and of the next.

    Args:
        maps, state: the rule maps and the notes, open.
        entries, reconciler, claims: both together.
        on_change: called with (map, difference of entries).
    """

    def __init__(  # noqa: PLR0913, PLR0917 - both sides
        self,
        maps: Mapping[MapName, RuleMap],
        state: State,
        entries: Entries,
        reconciler: Reconciler,
        claims: Claims,
        on_change: Callable[[MapName, int], None],
    ) -> None:
        self._qnames = maps[MapName.QNAMES]
        self._state = state
        self._entries = entries
        self._reconciler = reconciler
        self._claims = claims
        self._on_change = on_change
        self._widening: dict[str, float] = {}

    def prepare(self, mode: AnyQtype) -> None:
        """Write what the program of this mode would not find; may be done again.

        Raises:
            KernelError: the map is full; what the former program finds is all there.
        """
        self._say_widened(mode)
        self._move(self._rewritten(mode) - {*mode.wildcards}, mode)

    def _move(self, types: Collection[int], mode: AnyQtype) -> None:
        """Write rules and claims that are under these types under the mode's type too."""
        count = 0
        for notes in self._of_types(types):
            count += self._copy(notes, mode)
        for claims in self._waiting_of(types):
            self._copy_waiting(self._moving(claims, mode), mode)
        if count:
            event(_log, "names-rewritten", any_qtype=mode, count=count)

    def finish(self, mode: AnyQtype) -> None:
        """Remove what was written under another type; the program of this mode is in force.

        What this program finds under two types is written under one of them only now: before, it
        may have meant less. Without room it stays where it is.
        """
        types = self._rewritten(mode)
        try:
            self._move(types & {*mode.wildcards}, mode)
        except KernelError as error:
            event(_log, "failed", logging.ERROR, error=error.sentence)
            types -= {*mode.wildcards}
        for claims in self._waiting_of(types):
            self._state.write_claims(end=[(each.map, each.key, each.origin) for each in claims])
            self._claims.end({(each.map, _key_in(mode, each)): None for each in claims}, None)
        for notes in self._of_types(types):
            self._reconciler.remove(notes)
        if self._state.get_meta(_FACT) != mode:
            self._state.set_meta(_FACT, mode)
        if self._widening:
            kept = [*_remembered(self._state).items(), *self._widening.items()]
            self._state.set_meta(_WIDENED, json.dumps(dict(kept[-WIDENED_KEPT:])))
            self._widening = {}

    def _rewritten(self, mode: AnyQtype) -> set[int]:
        """Return the types that mean every type, before or now, and that we write no longer."""
        former = self._former()
        if former is None or former is mode:
            return set()
        return {*former.wildcards, *mode.wildcards} - {mode.wildcards[0]}

    def _say_widened(self, mode: AnyQtype) -> None:
        """Log which of our rules for one type mean every type to the program of this mode.

        Where their names also have a rule for every type, that one stays, and they end: the mode
        can express one of them only.
        """
        self._widening = {}
        if (former := self._former()) is None:
            return
        widened = ended = 0
        for notes in self._of_types({*mode.wildcards} - {*former.wildcards}):
            keys = [_key_in(former, note) for note in notes]
            there = self._state.get_many(MapName.QNAMES, keys)
            alone = [note for note, key in zip(notes, keys, strict=True) if key not in there]
            widened, ended = widened + len(alone), ended + len(notes) - len(alone)
            self._widening |= {_wire(note).hex(): note.created for note in alone[:WIDENED_KEPT]}
        for name, count, why in (
            ("names-widened", widened, _WHY_WIDENED),
            ("names-ended", ended, _WHY_ENDED),
        ):
            if count:
                event(_log, name, logging.WARNING, any_qtype=mode, count=count, why=why)

    def _moving(self, claims: list[Note], mode: AnyQtype) -> list[Note]:
        """Return those of some claims that wait which go to the type of this mode.

        Not those on one type whose name has a rule of its own for every type.
        """
        if (before := self._former()) is None:
            return []
        former = self._state.get_many(MapName.QNAMES, [claim.key for claim in claims])
        others = self._state.get_many(MapName.QNAMES, [_key_in(mode, claim) for claim in claims])

        def moves(claim: Note) -> bool:
            if abi.decode_qname(claim.key)[1] in before.wildcards:
                return True
            note, other = former.get(claim.key), others.get(_key_in(mode, claim))
            if note is None or other is None:
                return other is None
            return _is_copy(other, note)

        return [claim for claim in claims if moves(claim)]

    def _former(self) -> AnyQtype | None:
        """Return the mode that our notes were written in, None if there is none yet."""
        return _mode_of(self._state)

    def _of_types(self, types: Collection[int]) -> Iterator[list[Note]]:
        """Yield our notes of names with these types."""
        after = b""
        while types and (page := self._state.page(MapName.QNAMES, after, NOTES_AT_ONCE)):
            yield [note for note in page if abi.decode_qname(note.key)[1] in types]
            after = place_in_order(page[-1])

    def _waiting_of(self, types: Collection[int]) -> Iterator[list[Note]]:
        """Yield the claims that wait at names with these types."""
        after = b""
        while types and (page := self._state.waiting_page(MapName.QNAMES, after, NOTES_AT_ONCE)):
            yield [claim for claim in page if abi.decode_qname(claim.key)[1] in types]
            after = place_in_order(page[-1])

    def _copy(self, notes: list[Note], mode: AnyQtype) -> int:
        """Write the entries of these notes under the mode's type too; return how many.

        A rule for every type takes the place of one that was for a single type, and would mean
        every type now.
        """
        keys = [_key_in(mode, note) for note in notes]
        values = self._entries.values(
            (MapName.QNAMES, key) for key in (*keys, *(note.key for note in notes))
        )
        there = self._state.get_many(MapName.QNAMES, keys)
        copies = [
            replace(note, key=key, hits=value.hits)
            for note, key in zip(notes, keys, strict=True)
            if (value := values[note.map, note.key]) is not None
            and owns(note, value)
            and self._is_free(note, values[note.map, key], there.get(key))
        ]
        self._state.put(copies)
        replaced = [copy.key for copy in copies if values[copy.map, copy.key] is not None]
        waiting = self._state.waiting_at(MapName.QNAMES, replaced).values()
        self._state.write_claims(
            end=[(claim.map, claim.key, claim.origin) for claims in waiting for claim in claims]
        )
        for number, copy in enumerate(copies):
            is_new = values[copy.map, copy.key] is None
            try:
                self._qnames.update(
                    copy.key,
                    abi.encode_value(copy.action, copy.hits),
                    BPF_NOEXIST if is_new else BPF_ANY,
                )
            except KernelError as error:
                if error.errno == errno.EEXIST:  # written by dnsdist since we looked
                    self._state.forget([(copy.map, copy.key)])
                    continue
                self._state.forget((note.map, note.key) for note in copies[number:])
                self._state.put(there[note.key] for note in copies[number:] if note.key in there)
                raise
            self._on_change(copy.map, int(is_new))
        return len(copies)

    def _is_free(self, note: Note, value: RuleValue | None, there: Note | None) -> bool:
        """Return whether a rule may be written to a place with this entry and note of ours."""
        if value is None:
            return True
        if (former := self._former()) is None or there is None or not owns(there, value):
            return False
        is_every_type = abi.decode_qname(note.key)[1] == former.wildcards[0]
        return is_every_type and not _is_copy(there, note)

    def _copy_waiting(self, claims: list[Note], mode: AnyQtype) -> None:
        """Let these claims wait at the mode's type too, and decide there what is in force."""
        copies = [replace(claim, key=_key_in(mode, claim)) for claim in claims]
        keys = [copy.key for copy in copies]
        notes = self._state.get_many(MapName.QNAMES, keys)
        waiting = self._state.waiting_at(MapName.QNAMES, keys)
        known = {(key, note.origin) for key, note in notes.items()}
        known |= {(key, claim.origin) for key, found in waiting.items() for claim in found}
        fresh = [copy for copy in copies if (copy.key, copy.origin) not in known]
        if not fresh:
            return
        self._state.write_claims(wait=[(copy, False) for copy in fresh])
        try:
            self._claims.end({(copy.map, copy.key): None for copy in fresh}, None)
        except KernelError:
            self._state.write_claims(end=[(copy.map, copy.key, copy.origin) for copy in fresh])
            raise


def widened_names(state: State) -> list[str]:
    """Return the names whose rules were for one type and mean every type since another mode.

    Only while the rules are the same ones: what is made again since then is meant so.
    """
    mode, remembered = _mode_of(state), _remembered(state)
    if mode is None or not remembered:
        return []
    keys = {
        abi.encode_qname(bytes.fromhex(wire), mode.wildcards[0]): created
        for wire, created in remembered.items()
    }
    found = state.get_many(MapName.QNAMES, list(keys))
    return [
        target_text(target_of(MapName.QNAMES, key, mode))
        for key, created in keys.items()
        if key in found and found[key].created == created
    ]


def _remembered(state: State) -> dict[str, float]:
    """Return names in hexadecimal wire form, and when their rules were made."""
    found: dict[str, float] = json.loads(state.get_meta(_WIDENED) or "{}")
    return found


def _mode_of(state: State) -> AnyQtype | None:
    former = state.get_meta(_FACT)
    return AnyQtype(former) if former in set(AnyQtype) else None


def _is_copy(copy: Note, note: Note) -> bool:
    """Return whether a note is the same as another one, for another type."""
    return replace(copy, key=note.key, hits=note.hits) == note


def _wire(note: Note) -> bytes:
    return abi.decode_qname(note.key)[0]


def _key_in(mode: AnyQtype, note: Note) -> bytes:
    """Return the key of a note's name for every type in this mode."""
    return abi.encode_qname(_wire(note), mode.wildcards[0])
