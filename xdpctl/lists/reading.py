"""One reading of one list: the file opened, its format found, rows in parts.

Owns what makes a file a broken version beside its content: no file, no plain file, no
text, nothing in it. Rows come in parts as they are read, so that a list of hundreds of
thousands of lines is never held whole; an RPZ zone is, packed. Everything blocks and
runs on the thread of bulk work, or where a list is long in another process (apart/).
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from xdpctl.abi import RuleAction
from xdpctl.errors import ListError
from xdpctl.listed import Listed
from xdpctl.lists.lines import CidrLines, HostsLines, LeftOut, TargetLines, is_address
from xdpctl.settings import ListFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TextIO

    from xdpctl.lists.lines import LineFormat
    from xdpctl.rows import Row
    from xdpctl.rules import AnyQtype
    from xdpctl.settings import ListSettings

CHUNK = 10_000
"""Lines, or rows, of one part."""

LINE_MAX = 10_000
"""Characters of one line: none that can be meant is as long."""


def boottime() -> float:
    """Return seconds of CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ListReading(Listed):
    """One reading; used once.

    Args:
        settings: the list's.
        any_qtype: how a name of every type is written.
        clock: seconds since the epoch, as the file's time of change has them.
        boot_clock: seconds of CLOCK_BOOTTIME.

    Attributes:
        found: what no rule can say; whole when all was read.
    """

    found: LeftOut

    def __init__(
        self,
        settings: ListSettings,
        any_qtype: AnyQtype,
        *,
        clock: Callable[[], float] = time.time,
        boot_clock: Callable[[], float] = boottime,
    ) -> None:
        self._settings = settings
        self._any_qtype = any_qtype
        self._clock = clock
        self._boot_clock = boot_clock
        self._read = 0
        self.found = LeftOut()

    @property
    def size(self) -> int:
        """Bytes of the file, 0 where it cannot be looked at."""
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
        """None: the file is opened where it is read."""
        return ()

    def __iter__(self) -> Iterator[Iterator[Row]]:
        """Yield the rows in parts; each part is to be used up before the next.

        Raises:
            ListError, TargetError: this version of the file is broken.
        """
        with self._opened() as stream:
            form = self._format(stream)
            stream.seek(0)
            if form is ListFormat.RPZ:
                yield from self._zone(stream)
            else:
                yield from self._lines(stream, form)

    @contextmanager
    def _opened(self) -> Iterator[TextIO]:
        path = self._settings.file
        try:
            # A pipe or device would be waited for without O_NONBLOCK.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, encoding="utf-8-sig") as stream:  # noqa: PTH123
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ListError("it is no plain file")
                yield stream
        except UnicodeDecodeError as error:
            raise ListError(f"it is no UTF-8 text: {error.reason}") from error
        except OSError as error:
            raise ListError(f"it cannot be read: {error.strerror or error}") from error

    def _format(self, stream: TextIO) -> ListFormat:
        """Return the format: as set, else what the first line is that has no comment.

        Raises:
            ListError: there is not even a comment. Half a download is often nothing at
                all; who wants the list empty can say so by a comment.
        """
        commented = False
        for line in _numbered(stream):
            text = line.strip()
            if text and text[0] not in "#;":
                given = self._settings.format
                return _guessed(text) if given is ListFormat.AUTO else given
            commented = commented or bool(text)
        if not commented:
            raise ListError("it is empty; where that is meant, put a comment line into it")
        given = self._settings.format
        return ListFormat.TARGETS if given is ListFormat.AUTO else given

    def _zone(self, stream: TextIO) -> Iterator[Iterator[Row]]:
        from xdpctl.lists import rpz  # noqa: PLC0415 - half of dnspython, for few lists

        if self._settings.action is RuleAction.PASS:
            raise ListError(
                "it is an RPZ zone, whose records say what is to be done: take the action pass"
                " out of the list's settings"
            )
        denial = self._settings.action or RuleAction.TRUNCATE
        origin = self._settings.origin
        return _parts(rpz.rows(stream, origin, denial, self._any_qtype, self.found))

    def _lines(self, stream: TextIO, form: ListFormat) -> Iterator[Iterator[Row]]:
        reader = self._reader(stream, form)
        lines, first = _numbered(stream), 1
        while part := list(islice(lines, CHUNK)):
            self._read += sum(map(len, part))
            yield reader.rows(part, first)
            first += len(part)

    def _reader(self, stream: TextIO, form: ListFormat) -> LineFormat:
        origin, action = self._settings.origin, self._settings.action
        action = RuleAction.DROP if action is None else action
        if form is ListFormat.CIDR:
            return CidrLines(origin, action, self._any_qtype)
        if form is ListFormat.HOSTS:
            return HostsLines(origin, action, self._any_qtype, self.found)
        present = self._boot_clock()
        age = max(self._clock() - os.fstat(stream.fileno()).st_mtime, 0.0)
        return TargetLines(
            origin,
            action,
            self._any_qtype,
            now=float(round(present - age)),  # the same for each reading of one version
            present=present,
            left_out=self.found,
        )


def _numbered(stream: TextIO) -> Iterator[str]:
    """Yield the lines.

    Raises:
        ListError: one has no end.
    """
    for number, line in enumerate(iter(partial(stream.readline, LINE_MAX), ""), 1):
        if len(line) == LINE_MAX and line[-1] != "\n":
            raise ListError(f"line {number} is longer than {LINE_MAX} characters")
        yield line


def _guessed(text: str) -> ListFormat:
    """Return the format whose first line this can be."""
    words = text.split()
    if text[0] == "$" or "SOA" in map(str.upper, words):
        return ListFormat.RPZ
    if len(words) > 1 and is_address(words[0]) and words[1][0] not in "#;" and "=" not in words[1]:
        return ListFormat.HOSTS
    return ListFormat.TARGETS


def _parts(rows: Iterable[Row]) -> Iterator[Iterator[Row]]:
    rows = iter(rows)
    while part := list(islice(rows, CHUNK)):
        yield iter(part)
