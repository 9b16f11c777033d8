"""Reads one list once: opens the file, detects its format, yields rows in parts.

Owns the reasons, beside its content, for which a file is a broken version: it is missing, not a
regular file, not text or empty, or users who may not choose the rules can change it
(kernel/provenance.py). Rows are yielded while the file is read, so that no list is ever held
whole. Everything blocks; it runs on the thread for bulk work, or, for a long list, in another
process (store/worker/). Does not own formats (formats/) or when a list is read (files.py, which
calls it).
"""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from xdpctl.abi import RuleAction
from xdpctl.errors import ForeignFileError, IrregularFileError, ListError
from xdpctl.feeds.bounded import CHUNK, LINE_MAX, numbered, parts
from xdpctl.feeds.formats.adblock import AdblockLines
from xdpctl.feeds.formats.dnsmasq import DnsmasqLines
from xdpctl.feeds.formats.lines import CidrLines, HostsLines, LeftOut, TargetLines, is_address
from xdpctl.feeds.formats.unbound import UnboundLines
from xdpctl.kernel.provenance import open_fed
from xdpctl.process.clock import boot_clock
from xdpctl.rules.lines import in_blocks
from xdpctl.settings import ListFormat
from xdpctl.store.source import RuleSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from xdpctl.feeds.formats.lines import LineFormat
    from xdpctl.feeds.formats.rpz import RpzLines
    from xdpctl.rules import AnyQtype
    from xdpctl.rules.keys import Rows
    from xdpctl.settings import ListSettings

__all__ = ["BLANK_MAX", "CHUNK", "LINE_MAX", "ListReading"]

BLANK_MAX = 100_000
"""How many lines without content are skipped before the file counts as empty."""


_OF_NAMES = {
    ListFormat.HOSTS: HostsLines,
    ListFormat.DNSMASQ: DnsmasqLines,
    ListFormat.UNBOUND: UnboundLines,
}


class ListReading(RuleSource):
    """One reading of a list. It can be used only once.

    Args:
        settings: the list's.
        any_qtype: how a rule for a name with every type is stored.
        clock: seconds since the epoch, as in the file's modification time.
        boot_clock: seconds of CLOCK_BOOTTIME.

    Attributes:
        found: what was left out because no rule can express it; complete after the reading.
    """

    found: LeftOut

    def __init__(
        self,
        settings: ListSettings,
        any_qtype: AnyQtype,
        *,
        clock: Callable[[], float] = time.time,
        boot_clock: Callable[[], float] = boot_clock,
    ) -> None:
        self._settings = settings
        self._any_qtype = any_qtype
        self._clock = clock
        self._boot_clock = boot_clock
        self._read = 0
        self.found = LeftOut()

    @property
    def size(self) -> int:
        """Bytes of the file; 0 if its size cannot be read."""
        try:
            return self._settings.file.stat().st_size
        except (OSError, ValueError):
            return 0

    @property
    def position(self) -> int:
        """Characters of the lines read so far."""
        return self._read

    @property
    def descriptors(self) -> tuple[int, ...]:
        """None: the file is opened when it is read."""
        return ()

    def __iter__(self) -> Iterator[Iterator[Rows]]:
        """Yield the rows in parts. Use up each part before the next one.

        Raises:
            ListError, TargetError: this version of the file is broken.
            ForeignFileError: another user can change what is read.
        """
        with self._opened() as stream:
            form = self._format(stream)
            stream.seek(0)
            yield from self._lines(stream, form)

    @contextmanager
    def _opened(self) -> Iterator[TextIO]:
        try:
            with open(open_fed(self._settings.file), encoding="utf-8-sig") as stream:  # noqa: PTH123
                yield stream
        except IrregularFileError as error:
            raise ListError("it is not a regular file") from error
        except ForeignFileError as error:
            raise ForeignFileError(f"it is not read: {error.sentence}") from error
        except UnicodeDecodeError as error:
            raise ListError(f"it is not valid UTF-8: {error.reason}") from error
        except OSError as error:
            raise ListError(f"it cannot be read: {error.strerror or error}") from error
        except ValueError as error:  # a NUL in the path
            raise ListError(f"it cannot be read: {error}") from error

    def _format(self, stream: TextIO) -> ListFormat:
        """Return the format from the settings, or guess it from the first line of content.

        Raises:
            ListError: the file has neither content nor a comment. A failed download is often
                an empty file; a comment shows that an empty list is intended.
        """
        commented = False
        for line in islice(numbered(stream), BLANK_MAX):
            text = line.strip()
            if text and text[0] not in "#;":
                given = self._settings.format
                return _guessed(text) if given is ListFormat.AUTO else given
            commented = commented or bool(text)
        if not commented:
            raise ListError("it is empty; if that is intended, put a comment line into it")
        given = self._settings.format
        return ListFormat.TARGETS if given is ListFormat.AUTO else given

    def _rpz(self) -> RpzLines:
        from xdpctl.feeds.formats.rpz import RpzLines  # noqa: PLC0415 - half of dnspython, for few lists

        action = self._settings.action
        if action is RuleAction.PASS:
            raise ListError(
                "it is an RPZ zone, whose records set the action: remove the action pass from the"
                " list's settings"
            )
        denial = action or RuleAction.TRUNCATE
        origin = self._settings.origin
        return RpzLines(origin, denial, self._any_qtype, self.found, only=action)

    def _lines(self, stream: TextIO, form: ListFormat) -> Iterator[Iterator[Rows]]:
        reader = self._reader(stream, form)
        if reader.reads_twice:
            for part, first in self._parts(stream):
                reader.look(part, first)
            stream.seek(0)
        self._read = 0
        for part, first in self._parts(stream):
            yield reader.items(part, first)
        rest = reader.end()
        if reader.reads_twice:
            yield in_blocks(rest)

    def _parts(self, stream: TextIO) -> Iterator[tuple[list[str], int]]:
        """Yield the lines in parts, and with each part the number of its first line."""
        first = 1
        for part, size in parts(numbered(stream)):
            self._read += size
            yield part, first
            first += len(part)

    def _reader(self, stream: TextIO, form: ListFormat) -> LineFormat:
        origin, named = self._settings.origin, self._settings.action
        action = RuleAction.DROP if named is None else named
        if form is ListFormat.RPZ:
            return self._rpz()
        if form is ListFormat.CIDR:
            return CidrLines(origin, action, self._any_qtype)
        if form is ListFormat.ADBLOCK:
            return AdblockLines(origin, action, self._any_qtype, self.found, only=named)
        if form in _OF_NAMES:
            return _OF_NAMES[form](origin, action, self._any_qtype, self.found)
        return self._targets(stream, action)

    def _targets(self, stream: TextIO, action: RuleAction) -> TargetLines:
        present = self._boot_clock()
        age = max(self._clock() - os.fstat(stream.fileno()).st_mtime, 0.0)
        return TargetLines(
            self._settings.origin,
            action,
            self._any_qtype,
            now=float(round(present - age)),  # the same for each reading of one version
            present=present,
            left_out=self.found,
            only=self._settings.action,
        )


def _guessed(text: str) -> ListFormat:
    """Return the format whose first line this can be."""
    words = text.split()
    if text[0] == "$" or "SOA" in map(str.upper, words):
        return ListFormat.RPZ
    for form, begins in _BEGINS.items():
        if begins.match(text):
            return form
    if len(words) > 1 and is_address(words[0]) and words[1][0] not in "#;" and "=" not in words[1]:
        return ListFormat.HOSTS
    return ListFormat.TARGETS


_BEGINS = {
    ListFormat.ADBLOCK: re.compile(r"!|\|\||@@|\[Ad"),
    ListFormat.DNSMASQ: re.compile(r"(?:address|local|server)\s*=\s*/"),
    ListFormat.UNBOUND: re.compile(r"server:\s*(?:#.*)?$|local-(?:zone|data):"),
}
"""What the first line of content begins with, by format."""
