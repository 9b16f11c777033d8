"""Lists of JSON objects, one a line, as Spamhaus publishes DROP and ASN-DROP.

`{"cidr":"192.0.2.0/24","sblid":"SBL1"}` is a prefix with a reason. The object with type metadata
says how many there are, so that a file which was cut is noticed. AS numbers have no rules: they
are left out and counted. Called by feeds/reader.py on a thread. Does no I/O.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from xdpctl.errors import ListError, TargetError
from xdpctl.feeds.formats.lines import ActionlessFormat
from xdpctl.rules.comments import content_of, reason_of
from xdpctl.rules.keys import NAMED, place_of
from xdpctl.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xdpctl.abi import RuleAction
    from xdpctl.feeds.formats.account import LeftOut
    from xdpctl.rules import AnyQtype
    from xdpctl.rules.keys import Row


class JsonLines(ActionlessFormat):
    """The lines of one list.

    Args:
        origin: of every row.
        action: of every row.
        any_qtype: how a rule for a name with every type is stored.
        left_out: gets the objects without a prefix, and the lines that cannot be read.
    """

    def __init__(
        self, origin: str, action: RuleAction, any_qtype: AnyQtype, left_out: LeftOut
    ) -> None:
        super().__init__(origin, action, any_qtype, left_out)
        self._count = 0
        self._known = 0
        self._records: int | None = None

    def rows(self, lines: Iterable[str], first: int) -> Iterator[Row]:
        """See `LineFormat`."""
        for number, line in enumerate(lines, first):
            text = content_of(line)
            if not text:
                continue
            try:
                row = self._row(text)
            except TargetError as error:
                self._left_out.add_line(error.at_line(number))
                continue
            if row is not None:
                yield row

    def end(self) -> Iterator[Row]:
        """See `LineFormat`.

        Raises:
            ListError: the list has fewer objects than its metadata says, or none has a prefix.
        """
        if self._count and not self._known:
            raise ListError("none of its JSON objects has a prefix as cidr, or an AS number as asn")
        if self._records is not None and self._count < self._records:
            raise ListError(
                f"it is not complete: it has {self._count} of the {self._records} records that its"
                " metadata names"
            )
        return iter(())

    def _row(self, text: str) -> Row | None:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise TargetError(
                f"cannot read {shown(text)} as JSON: write one object a line", text=text
            ) from error
        if not isinstance(found, dict):
            raise TargetError(f"cannot use {shown(text)}: a line must be a JSON object", text=text)
        if found.get("type") == "metadata":
            records = found.get("records")
            self._records = records if type(records) is int else None
            return None
        self._count += 1
        prefix = found.get("cidr")
        self._known += prefix is not None or "asn" in found
        if prefix is None:
            kind = "AS numbers" if "asn" in found else "objects without a prefix"
            self._left_out.add(kind, text)
            return None
        ref, key = place_of(str(prefix), None, self._any_qtype, self._book)
        if ref in NAMED:
            raise TargetError(f"cannot use {shown(str(prefix))} as a prefix", text=str(prefix))
        reason = reason_of(str(found.get("sblid") or ""))
        return ref, key, self._action, reason, None, self._origin
