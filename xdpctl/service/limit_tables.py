"""The limits in force: the maps that the program reads, and what the service writes there.

A reload is in two steps, as the program may have to be exchanged between them: `prepare` makes
everything that can fail and changes nothing that is read, `use` puts it in force. Owns the open
maps and the values in them. Does not own when that happens (limits.py) or the arithmetic
(limits/). Everything blocks for some milliseconds at most; but for the looks, it is called on the
thread that filters belong to.
"""

from __future__ import annotations

import contextlib
import logging
import struct
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from xdpctl.abi import (
    LIMITS_CLOCK_OFFSET,
    LIMITS_COOKIE_BASE_OFFSET,
    LIMITS_LIVE_SIZE,
    LIMITS_SIZE,
    MapName,
    encode_cidr,
    encode_limits,
)
from xdpctl.filter.limit_maps import OF_ANOTHER_VERSION, LimitMaps, fitted, needed
from xdpctl.filter.own_maps import OwnMaps
from xdpctl.limits.cookies import cookie_base, cookie_rate, read_cookie_secrets
from xdpctl.limits.parameters import values_of
from xdpctl.limits.proven import WORDS, ProvenSources, lifetime_units
from xdpctl.limits.table import load_of, words_of
from xdpctl.limits.ticks import Ticks
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from xdpctl.abi import LimitValues
    from xdpctl.filter.filter import Filter
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.limits.cookies import CookieKey
    from xdpctl.program.config import ProgramConfig
    from xdpctl.settings import Settings

SAMPLED_WORDS = 4096
"""So many words of the table are looked at to see how full it is: a source's place is random."""

CLOCK_TOLERANCE = 1 << 30
"""A fourth of a second, by which the cookies' clock may be wrong before it is set again."""

_EXEMPT = {4: MapName.EXEMPT4, 6: MapName.EXEMPT6}
_EXEMPT_VALUE = (1).to_bytes(8, "little")
_HALF = 1 << 63
_WORD = struct.Struct("=Q")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Limits that are made and not yet in force.

    Attributes:
        settings: that they are made for.
        maps: what the program will read.
        keys: of the cookie secrets.
        has_other_maps: the program must be given these maps before they are used.
    """

    settings: Settings
    maps: LimitMaps
    keys: tuple[CookieKey, ...]
    has_other_maps: bool


class LimitTables:
    """The limits in force. A context manager that closes the maps at its end; pinned ones stay.

    Args:
        bpf: the kernel.
        wall_clock: seconds since the epoch.

    Attributes:
        maps: what the program reads; empty without a limit.
        keys: of the cookie secrets in force.
        proven: the table of proven sources; None where nothing asks for it.
        on_use: called when others are in force, with the maps above.
        listed: clients that lists exempt, beside those of the settings.
    """

    def __init__(
        self,
        bpf: Bpf,
        wall_clock: Callable[[], float] = time.time,
        *,
        listed: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        self._bpf = bpf
        self.listed = tuple(listed)
        self._wall_clock = wall_clock
        self._ticks: Ticks | None = None
        self._settings: Settings | None = None
        self._values: LimitValues | None = None
        self._live: memoryview | None = None
        self._cells: memoryview | None = None
        self.maps = LimitMaps()
        self.keys: tuple[CookieKey, ...] = ()
        self.proven: ProvenSources | None = None
        self.on_use: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the maps."""
        self.maps.close_except(LimitMaps())
        self.maps = LimitMaps()

    # --- another configuration ----------------------------------------------------------

    def prepare(
        self, settings: Settings, config: ProgramConfig, former: Mapping[MapName, Map] | None = None
    ) -> Prepared:
        """Make what other settings need, and change nothing that is in force.

        Args:
            settings: to be used.
            config: of the program that will read it.
            former: maps that a former service left, at the start.

        Raises:
            CookieSecretError: the file of secrets cannot be used.
            KernelError, VerifierError: a map cannot be made.
        """
        keys: tuple[CookieKey, ...] = ()
        if config.cookies and settings.cookie_secret_file is not None:
            keys = read_cookie_secrets(settings.cookie_secret_file)
        wanted = needed(config, words_of(settings))
        if MapName.LIMITS in wanted and self._ticks is None:
            self._ticks = Ticks.measured(self._bpf)
        present = self.maps.maps if former is None else former
        made = fitted(self._bpf, wanted, present)
        found = Prepared(settings, made, keys, dict(made.maps) != dict(present))
        try:
            if self._has_another_rate(settings, made):
                why = "another --rate-limit: accounts begin anew, proofs stay"
                found = replace(found, maps=replace(made, forgotten=why))
            self._fill_new(found)
        except BaseException:
            self.discard(found)
            raise
        return found

    def _has_another_rate(self, settings: Settings, made: LimitMaps) -> bool:
        """Return whether accounts are taken over whose time goes at another rate."""
        kept = made.maps.keys() - made.new
        if not kept >= {MapName.LIMITS, MapName.LIMIT_CELLS}:
            return False
        memory = made.maps[MapName.LIMITS].memory()
        (clock,) = _WORD.unpack_from(memory, LIMITS_CLOCK_OFFSET)
        ticks = self._known_ticks().per_second
        return clock not in {0, values_of(settings, ticks).clock}

    def _fill_new(self, prepared: Prepared) -> None:
        """Write into maps that no program reads yet."""
        if MapName.LIMITS in prepared.maps.new:
            value = encode_limits(self._values_for(prepared))
            prepared.maps.maps[MapName.LIMITS].memory()[:LIMITS_LIVE_SIZE] = value
        if prepared.maps.new.intersection(_EXEMPT.values()):
            _exempt(prepared.maps.maps, (*prepared.settings.exempt, *self.listed))

    def discard(self, prepared: Prepared) -> None:
        """Give up what was prepared."""
        prepared.maps.close_except(self.maps)

    def use(self, prepared: Prepared) -> None:
        """Put it in force: the program, if it had to be another one, reads its maps by now."""
        former, self.maps = self.maps, prepared.maps
        try:
            self._use(prepared)
            for called in self.on_use:
                called()
        finally:
            former.close_except(prepared.maps)

    def _use(self, prepared: Prepared) -> None:
        self._settings, self.keys = prepared.settings, prepared.keys
        maps, ticks = prepared.maps.maps, self._ticks
        head, cells, lines = map(
            maps.get, (MapName.LIMITS, MapName.LIMIT_CELLS, MapName.LIMIT_PROVEN)
        )
        _exempt(maps, (*prepared.settings.exempt, *self.listed))
        self._cells = None if cells is None else cells.memory().cast("B").cast("Q")
        self.proven = self._values = self._live = None
        if head is None or ticks is None:
            return
        memory = head.memory()
        self._values = self._values_for(prepared)
        self._live = memory.cast("B").cast("Q")
        for place, word in enumerate(memoryview(encode_limits(self._values)).cast("Q")):
            if self._live[place] != word:  # each word by itself is valid at any time
                self._live[place] = word
        if lines is not None:
            lifetime = lifetime_units(prepared.settings.proven_lifetime, ticks.per_second)
            self.proven = ProvenSources(
                lines.memory(), bytes(memory[:LIMITS_SIZE]), ticks, lambda: lifetime
            )

    def _values_for(self, prepared: Prepared) -> LimitValues:
        ticks = self._known_ticks()
        values = values_of(prepared.settings, ticks.per_second, prepared.keys)
        return replace(values, cookie_base=self._base(ticks))

    def _known_ticks(self) -> Ticks:
        if self._ticks is None:
            raise RuntimeError("the ticks are measured before there are limits")
        return self._ticks

    def _base(self, ticks: Ticks) -> int:
        return cookie_base(self._wall_clock(), ticks(), cookie_rate(ticks.per_second))

    def exempt_listed(self, clients: Sequence[IPv4Network | IPv6Network]) -> None:
        """Let exactly these clients be exempt beside those of the settings.

        Raises:
            KernelError: a map cannot be written; what was written stays.
        """
        self.listed = tuple(clients)
        if self._settings is not None:
            _exempt(self.maps.maps, (*self._settings.exempt, *self.listed))

    # --- while they are in force --------------------------------------------------------

    def set_clock(self) -> bool:
        """Set the cookies' clock if it is wrong: the time of day was changed, or it drifts."""
        if self._live is None or not self.keys:
            return False
        place, wanted = LIMITS_COOKIE_BASE_OFFSET // 8, self._base(self._known_ticks())
        wrong = (wanted - self._live[place] + _HALF) % (2 * _HALF) - _HALF
        if abs(wrong) < CLOCK_TOLERANCE:
            return False
        self._live[place] = wanted
        return True

    def load(self) -> float:
        """Return which share of the table of accounts is in use, from a part of it."""
        if self._cells is None or self._values is None:
            return 0.0
        words = self._cells[:SAMPLED_WORDS].tolist()
        return load_of(words, self._values, self._known_ticks()())

    def now(self) -> int:
        """Return the kernel's clock, in ticks; 0 without a limit."""
        return 0 if self._ticks is None else self._ticks()

    @property
    def words(self) -> int:
        """How many words the table of accounts has."""
        return 0 if self._cells is None else len(self._cells)

    @property
    def room(self) -> int:
        """How many sources can be proven."""
        lines = self.maps.maps.get(MapName.LIMIT_PROVEN)
        return 0 if lines is None else lines.info.max_entries * WORDS


def open_limits(  # noqa: PLR0913 - what was found so far
    bpf: Bpf,
    filters: Sequence[Filter],
    settings: Settings,
    config: ProgramConfig,
    stack: contextlib.AsyncExitStack,
    *,
    listed: Sequence[IPv4Network | IPv6Network] = (),
) -> LimitTables:
    """Take the limits' maps of a former service over, or make them, and write the values.

    At the start, before there is a program of ours. `listed`: clients that lists exempt.

    Raises:
        CookieSecretError, KernelError, VerifierError: as `LimitTables.prepare`.
    """
    tables = stack.enter_context(LimitTables(bpf, listed=listed))
    former = next((maps for filter_ in filters if (maps := filter_.former_limits())), OwnMaps())
    others = any(filter_.has_other_limits() for filter_ in filters)
    with contextlib.ExitStack() as failing:
        failing.enter_context(former)
        prepared = tables.prepare(settings, config, former)
        tables.use(prepared)
        failing.pop_all()
    LimitMaps(former).close_except(tables.maps)
    taken = prepared.maps.maps.keys() - prepared.maps.new
    if taken:
        event(_log, "limits-adopted", maps=", ".join(sorted(taken)))
    if others and prepared.maps.new and not prepared.maps.forgotten:
        prepared = replace(prepared, maps=replace(prepared.maps, forgotten=OF_ANOTHER_VERSION))
    say_forgotten(prepared)
    return tables


def say_forgotten(prepared: Prepared) -> None:
    """Log what was lost with maps that did not fit."""
    if prepared.maps.forgotten:
        event(_log, "limits-left", logging.WARNING, why=prepared.maps.forgotten)


def _exempt(maps: Mapping[MapName, Map], prefixes: Sequence[IPv4Network | IPv6Network]) -> None:
    """Make the maps of exempt prefixes exactly these."""
    for version, name in _EXEMPT.items():
        if name not in maps:
            continue
        wanted = {encode_cidr(prefix) for prefix in prefixes if prefix.version == version}
        size = maps[name].info.key_size
        present = {
            keys[start : start + size]
            for keys, _ in maps[name].chunks()
            for start in range(0, len(keys), size)
        }
        for key in present - wanted:
            maps[name].delete(key)
        for key in wanted - present:
            maps[name].update(key, _EXEMPT_VALUE)
