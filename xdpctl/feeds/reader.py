"""Reads one list once: unpacks it, detects its format, yields rows in parts.

The same reading serves `[[list]]` and `import`. Owns the reasons, beside its lines, for which a
version is broken: it is missing, not a regular file, not text, cut or empty, or users who may not
choose the rules can change it (kernel/provenance.py); and the bound of unreadable lines. Rows are
yielded while the list is read, so that no list is ever held whole. Everything blocks; it runs on
the thread for bulk work, or, for a long list, in another process (store/worker/). Does not own
formats (formats/, detection.py), packing (packed.py) or when a list is read (files.py).
"""

from __future__ import annotations

import os
import time
from abc import abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl.abi import RuleAction
from xdpctl.errors import (
    EmptyListError,
    ForeignFileError,
    IrregularFileError,
    ListError,
    XdpctlError,
)
from xdpctl.feeds.bounded import LINE_MAX, PART, Text
from xdpctl.feeds.detection import SAMPLE, format_of
from xdpctl.feeds.foreign import is_title, refuse_foreign, refuse_page
from xdpctl.feeds.formats.account import LeftOut
from xdpctl.feeds.formats.adblock import AdblockLines
from xdpctl.feeds.formats.dnsmasq import DnsmasqLines
from xdpctl.feeds.formats.lines import HostsLines, SourceLines, TargetLines, lines_of
from xdpctl.feeds.formats.ndjson import JsonLines
from xdpctl.feeds.formats.policies import denial_of
from xdpctl.feeds.formats.unbound import UnboundLines
from xdpctl.feeds.packed import HEAD, is_packed, unpacked
from xdpctl.kernel.provenance import open_fed
from xdpctl.process.clock import boot_clock
from xdpctl.rules.comments import content_of
from xdpctl.rules.lines import in_blocks
from xdpctl.settings import Denial, ListFormat
from xdpctl.store.source import RuleSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from xdpctl.feeds.bounded import Octets
    from xdpctl.feeds.formats.lines import LineFormat
    from xdpctl.feeds.formats.rpz import RpzLines
    from xdpctl.rules import AnyQtype
    from xdpctl.rules.keys import Rows
    from xdpctl.settings import ListSettings

__all__ = ["BLANK_MAX", "LINE_MAX", "PART", "ListReading", "ReadAs", "Reading"]

BLANK_MAX = 100_000
"""How many lines without content are skipped before the file counts as empty."""

PACKED_TO = 10
"""How many octets of a list one octet of a packed file stands for, about."""

_OF_NAMES = {
    ListFormat.HOSTS: HostsLines,
    ListFormat.DNSMASQ: DnsmasqLines,
    ListFormat.UNBOUND: UnboundLines,
    ListFormat.JSON: JsonLines,
}

_WITH_TITLES = {
    ListFormat.AUTO,
    ListFormat.TARGETS,
    ListFormat.CIDR,
    ListFormat.FIRST_COLUMN,
    ListFormat.HOSTS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAs:
    """What a list is read as.

    Attributes:
        origin: of its rules.
        fixed: also of a line that names another origin.
        action: of every rule; None: the lines' own, else drop.
        format: of the list.
        denial: what stands for NXDOMAIN and NODATA of an RPZ zone.
        may_be_empty: whether a list without a line is one.
        whole: whether a last line without an end is left out.
    """

    origin: str
    fixed: bool = False
    action: RuleAction | None = None
    format: ListFormat = ListFormat.AUTO
    denial: Denial = Denial.DROP
    may_be_empty: bool = False
    whole: bool = False


class Reading(RuleSource):
    """One reading of a list. It can be used only once.

    Args:
        read_as: what it is read as.
        any_qtype: how a rule for a name with every type is stored.

    Attributes:
        found: the account; complete after the reading.
    """

    found: LeftOut

    def __init__(self, read_as: ReadAs, any_qtype: AnyQtype) -> None:
        self._as = read_as
        self._any_qtype = any_qtype
        self._read = 0
        self._title = ""
        self.found = LeftOut()

    @property
    def position(self) -> int:
        """Octets of the file read so far."""
        return self._read

    @property
    def weight(self) -> int:
        """See `RuleSource`; text shrinks to about a tenth when it is packed."""
        try:
            with self.opened() as file:
                head = file.read(HEAD)
                file.seek(0)
        except XdpctlError:  # the reading reports it
            return 0
        return self.size * (PACKED_TO if is_packed(head) else 1)

    @abstractmethod
    def opened(self) -> AbstractContextManager[Octets]:
        """Open the list, at its start; seekable.

        Raises:
            ListError: it cannot be opened.
        """

    @abstractmethod
    def times(self, stream: Octets) -> tuple[float, float]:
        """Return the seconds of CLOCK_BOOTTIME from which `for=` counts, and the present."""

    def __iter__(self) -> Iterator[Iterator[Rows]]:
        """Yield the rows in parts. Use up each part before the next one.

        Raises:
            ListError, TargetError: this version of the list is broken.
            ForeignFileError: another user can change what is read.
        """
        with self.opened() as file:
            stream, packing = unpacked(file)
            whole = self._as.whole and not packing
            form = self._format(Text(stream, whole=whole))
            self.found.format = form
            if form is None:
                return
            reader = self._reader(form, file)
            if reader.reads_twice:
                stream.seek(0)
                for part, first in Text(stream, whole=whole).parts():
                    reader.look(lines_of(part), first)
            stream.seek(0)
            text = Text(stream, whole=whole)
            for part, first in text.parts():
                self._read = file.tell()
                yield reader.items(self._without_title(part) if self._title else part, first)
            rest = reader.end()
            if reader.reads_twice:
                yield in_blocks(rest)
            if content_of(text.cut):
                self.found.add_cut(text.cut.strip())
            if self.found.unreadable:
                stream.seek(0)
                self.found.see_share(_lines_with_content(Text(stream, whole=whole)))

    def _format(self, text: Text) -> ListFormat | None:
        """Return the format that is given, or the one that the first lines have.

        Returns:
            None if the list has no line, and may be empty.

        Raises:
            ListError: it is in a form that is not read, or it has neither content nor a comment.
                A failed download is often an empty file.
        """
        sample, commented, blank = list[str](), False, 0
        for part, _ in text.parts():
            for line in lines_of(part):
                if content := content_of(line):
                    sample.append(content)
                else:
                    commented = commented or bool(line.strip("\ufeff \t\r\n"))
                    blank += 1
            if len(sample) >= SAMPLE or (blank > BLANK_MAX and not sample):
                break
        given = self._as.format
        if sample:
            refuse_page(sample[0])
            if len(sample) > 1 and given in _WITH_TITLES and is_title(sample[0]):
                self._title = sample.pop(0)
            form = format_of(sample[:SAMPLE]) if given is ListFormat.AUTO else given
            refuse_foreign(sample[:SAMPLE], form, guessed=given is ListFormat.AUTO)
            return form
        if commented:
            return ListFormat.TARGETS if given is ListFormat.AUTO else given
        if self._as.may_be_empty:
            return None
        if text.cut:
            raise EmptyListError("its only line has no end: it may have been cut there")
        raise EmptyListError("it is empty")

    def _without_title(self, part: str) -> str:
        """Return a part without the line that names the columns; an empty one stands for it."""
        lines = lines_of(part)
        for number, line in enumerate(lines):
            if content_of(line):
                self.found.add("lines of titles", self._title)
                self._title, lines[number] = "", "\n"
                break
        return "".join(lines)

    def _reader(self, form: ListFormat, file: Octets) -> LineFormat:
        origin, named, any_qtype = self._as.origin, self._as.action, self._any_qtype
        action = RuleAction.DROP if named is None else named
        if form is ListFormat.RPZ:
            return self._rpz()
        if form in {ListFormat.CIDR, ListFormat.FIRST_COLUMN}:
            columns = form is ListFormat.FIRST_COLUMN
            return SourceLines(
                origin,
                action,
                any_qtype,
                self.found,
                columns=columns,
                guessed=self._as.format is ListFormat.AUTO,
            )
        if form is ListFormat.ADBLOCK:
            return AdblockLines(origin, action, any_qtype, self.found, only=named)
        if form in _OF_NAMES:
            return _OF_NAMES[form](origin, action, any_qtype, self.found)
        now, present = self.times(file)
        return TargetLines(
            origin,
            action,
            any_qtype,
            now=now,
            present=present,
            left_out=self.found,
            only=named,
            fixed=self._as.fixed,
        )

    def _rpz(self) -> RpzLines:
        from xdpctl.feeds.formats.rpz import RpzLines  # noqa: PLC0415 - half of dnspython, for few lists

        action = self._as.action
        if action is RuleAction.PASS:
            raise ListError(
                "it is an RPZ zone, whose records set the action: remove the action pass from the"
                " list's settings"
            )
        denial = denial_of(self._as.denial, action)
        self.found.denial = denial
        return RpzLines(self._as.origin, denial, self._any_qtype, self.found, only=action)


def _lines_with_content(text: Text) -> int:
    return sum(bool(content_of(line)) for part, _ in text.parts() for line in lines_of(part))


class ListReading(Reading):
    """One reading of a list's file.

    Args:
        settings: the list's.
        any_qtype: how a rule for a name with every type is stored.
        accepted: an operator wants this version, even if it has no line.
        clock: seconds since the epoch, as in the file's modification time.
        boot_clock: seconds of CLOCK_BOOTTIME.
    """

    def __init__(
        self,
        settings: ListSettings,
        any_qtype: AnyQtype,
        *,
        accepted: bool = False,
        clock: Callable[[], float] = time.time,
        boot_clock: Callable[[], float] = boot_clock,
    ) -> None:
        read_as = ReadAs(
            origin=settings.origin,
            fixed=True,
            action=settings.action,
            format=settings.format,
            denial=settings.denial,
            may_be_empty=accepted,
            whole=True,
        )
        super().__init__(read_as, any_qtype)
        self._settings = settings
        self._clock = clock
        self._boot_clock = boot_clock

    @property
    def size(self) -> int:
        """Bytes of the file; 0 if its size cannot be read."""
        try:
            return self._settings.file.stat().st_size
        except (OSError, ValueError):
            return 0

    @property
    def descriptors(self) -> tuple[int, ...]:
        """None: the file is opened when it is read."""
        return ()

    @contextmanager
    def opened(self) -> Iterator[Octets]:
        """See `Reading`."""
        try:
            with open(open_fed(self._settings.file), "rb") as stream:  # noqa: PTH123
                yield stream
        except IrregularFileError as error:
            raise ListError("it is not a regular file") from error
        except ForeignFileError as error:
            raise ForeignFileError(f"it is not read: {error.sentence}") from error
        except OSError as error:
            raise ListError(f"it cannot be read: {error.strerror or error}") from error
        except ValueError as error:  # a NUL in the path
            raise ListError(f"it cannot be read: {error}") from error

    def times(self, stream: Octets) -> tuple[float, float]:
        """See `Reading`; the start is the same for each reading of one version."""
        present = self._boot_clock()
        age = max(self._clock() - os.fstat(stream.fileno()).st_mtime, 0.0)
        return float(round(present - age)), present
