"""Our rules for names of any type, when --any-qtype becomes another.

The program of another mode looks such an entry up under another type. So that it finds
every one from its first packet on, they are written under its type before it is put on,
and what only the former one found is removed after. What dnsdist wrote stays: its mode is
the operator's to agree with. Called by the store; everything blocks.
"""

from __future__ import annotations

import errno
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from xdpctl import abi
from xdpctl.abi import MapName
from xdpctl.errors import KernelError
from xdpctl.kernel.bpf.libbpf import BPF_NOEXIST
from xdpctl.process.log import event
from xdpctl.rules import AnyQtype
from xdpctl.store.entries import NOTES_AT_ONCE, owns
from xdpctl.store.state import place_in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from xdpctl.store.entries import Entries
    from xdpctl.store.reconcile import Reconciler
    from xdpctl.store.rule_map import RuleMap
    from xdpctl.store.state import Note, State

_FACT = "any-qtype"
"""Name of the mode that our notes were written in."""

_log = logging.getLogger(__name__)


class Wildcards:
    """The entries of one mode and of the next.

    Args:
        maps, state: the rule maps and the notes, open.
        entries, reconciler: both together.
        on_change: called with (map, difference of entries).
    """

    def __init__(
        self,
        maps: Mapping[MapName, RuleMap],
        state: State,
        entries: Entries,
        reconciler: Reconciler,
        on_change: Callable[[MapName, int], None],
    ) -> None:
        self._qnames = maps[MapName.QNAMES]
        self._state = state
        self._entries = entries
        self._reconciler = reconciler
        self._on_change = on_change

    def prepare(self, mode: AnyQtype) -> None:
        """Write what the program of this mode would not find; may be done again.

        Raises:
            KernelError: the map is full; what the former program finds is all there.
        """
        if widened := sum(map(len, self._widened(mode))):
            event(
                _log,
                "names-widened",
                logging.WARNING,
                any_qtype=mode,
                count=widened,
                why="these rules were for one type, which means every type now: look for them"
                " with `xdpctl list --map qnames`",
            )
        count = 0
        for notes in self._unfound(mode):
            count += self._copy(notes, mode)
        if count:
            event(_log, "names-rewritten", any_qtype=mode, count=count)

    def finish(self, mode: AnyQtype) -> None:
        """Remove what the program of this mode, which is in force now, does not find."""
        for notes in self._unfound(mode):
            self._reconciler.remove(notes)
        if self._state.get_meta(_FACT) != mode:
            self._state.set_meta(_FACT, mode)

    def _unfound(self, mode: AnyQtype) -> Iterator[list[Note]]:
        """Yield our notes of names of any type that the program of this mode does not find."""
        former = self._former()
        return self._of_types({*former.wildcards} - {*mode.wildcards}) if former else iter(())

    def _widened(self, mode: AnyQtype) -> Iterator[list[Note]]:
        """Yield our notes of names of one type that means every type to the program of this mode.

        Without those whose names also have a rule for every type.
        """
        if (former := self._former()) is None:
            return
        for notes in self._of_types({*mode.wildcards} - {*former.wildcards}):
            wires = [abi.decode_qname(note.key)[0] for note in notes]
            keys = [abi.encode_qname(wire, former.wildcards[0]) for wire in wires]
            there = self._state.get_many(MapName.QNAMES, keys)
            yield [note for note, key in zip(notes, keys, strict=True) if key not in there]

    def _former(self) -> AnyQtype | None:
        """Return the mode that our notes were written in, None if there is none yet."""
        former = self._state.get_meta(_FACT)
        return AnyQtype(former) if former in set(AnyQtype) else None

    def _of_types(self, types: Collection[int]) -> Iterator[list[Note]]:
        """Yield our notes of names with these types."""
        after = b""
        while types and (page := self._state.page(MapName.QNAMES, after, NOTES_AT_ONCE)):
            yield [note for note in page if abi.decode_qname(note.key)[1] in types]
            after = place_in_order(page[-1])

    def _copy(self, notes: list[Note], mode: AnyQtype) -> int:
        """Write the entries of these notes under the mode's type too; return how many."""
        keys = [
            abi.encode_qname(abi.decode_qname(note.key)[0], mode.wildcards[0]) for note in notes
        ]
        values = self._entries.values(
            (MapName.QNAMES, key) for key in (*keys, *(note.key for note in notes))
        )
        copies = [
            replace(note, key=key, hits=value.hits)
            for note, key in zip(notes, keys, strict=True)
            if (value := values[note.map, note.key]) is not None
            and owns(note, value)
            and values[note.map, key] is None
        ]
        self._state.put(copies)
        for number, copy in enumerate(copies):
            try:
                self._qnames.update(copy.key, abi.encode_value(copy.action, copy.hits), BPF_NOEXIST)
            except KernelError as error:
                if error.errno == errno.EEXIST:  # written by dnsdist since we looked
                    self._state.forget([(copy.map, copy.key)])
                    continue
                self._state.forget((note.map, note.key) for note in copies[number:])
                raise
            self._on_change(copy.map, 1)
        return len(copies)
