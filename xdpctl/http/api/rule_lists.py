"""A body with many rules, read in parts: JSON, or a list of any format, to rows.

Each part is some tens of kilobytes, so that no step holds the interpreter for long and a million
rules need no more memory than a few. store/bulk.py works the rows in. Everything blocks, and may
run in another process (store/worker/). Owns the JSON of such a body. Does not own the formats of
lists (feeds/) or receiving the body (transport/body.py). Called by uploads.py.
"""

from __future__ import annotations

import io
from contextlib import nullcontext
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, TypeVar

import msgspec

from xdpctl.errors import TargetError
from xdpctl.feeds.reader import ReadAs, Reading
from xdpctl.http.api.documents import ENUMS, RuleIn, whole
from xdpctl.http.refusals import ListedRuleError, RequestError, not_json, not_of_the_schema
from xdpctl.process.clock import boot_clock
from xdpctl.rules import ACTIONS, DNSDIST_ORIGIN, parse_reason
from xdpctl.rules.keys import NO_END, NO_REASON, book_of, place_of
from xdpctl.rules.lines import in_blocks
from xdpctl.rules.rules import own_origin
from xdpctl.store.source import RuleSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from xdpctl.feeds.bounded import Octets
    from xdpctl.rules import AnyQtype
    from xdpctl.rules.keys import Row, Rows

_T = TypeVar("_T")

PART = 64 * 1024
"""Bytes read at a time."""

ELEMENT_MAX = 2**20
"""Bytes of one rule or line at most."""

_SPACE = b" \t\r\n"
_OPTIONS_KEPT = 1_000
_ONE = msgspec.json.Decoder(RuleIn, dec_hook=whole)
_LIST = msgspec.json.Decoder(list[RuleIn], dec_hook=whole)


def rules_in(file: IO[bytes], *, single: bool) -> Iterator[list[RuleIn]]:
    """Yield the rules of a JSON list in parts.

    A part ends behind a `}` outside of strings: a rule has no object in it, so a rule
    ends there, or what is there is no rule.

    Args:
        file: the document, at its start.
        single: one rule without a list around it is accepted too.

    Raises:
        RequestError: not JSON (400), or not rules (422).
    """
    opening, rest, count, position = b"[", b"", 0, 0
    while data := file.read(PART):
        rest += data
        start = len(rest) - len(rest.lstrip(_SPACE))
        if single and not count and rest[start : start + 1] == b"{":
            break
        cut = _last_end(rest)
        if not cut:
            _see_length(rest, "rule")
            continue
        if rest[start : start + 1] != opening:
            break
        text = rest[:start] + b"[" + rest[start + 1 : cut] + b"]"
        rules: list[RuleIn] = _decode(_LIST, text, count, position)
        yield rules
        opening, rest = b",", rest[cut:]
        count, position = count + len(rules), position + cut
    if count and rest.strip(_SPACE) == b"]":
        return
    yield _decode_rest(rest, file, count, position, single=single)


def _decode_rest(
    rest: bytes, file: IO[bytes], count: int, position: int, *, single: bool
) -> list[RuleIn]:
    """Decode the rest: a document without parts, or what is wrong with one."""
    rest += file.read(ELEMENT_MAX)
    behind = rest.lstrip(_SPACE)
    if not count:
        if single and behind[:1] == b"{":
            _see_length(rest, "rule")
            rule: RuleIn = _decode(_ONE, rest, 0, position)
            return [rule]
        rules: list[RuleIn] = _decode(_LIST, rest, 0, position)
        return rules
    if behind[:1] == b",":
        _decode(_LIST, b"[" + behind[1:], count, position)
    raise RequestError(
        HTTPStatus.BAD_REQUEST,
        f"the body is not JSON: rule {count} of the list is followed neither by a comma and a"
        " rule nor by the list's end",
        index=count,
    )


def _decode(decoder: msgspec.json.Decoder[_T], text: bytes, first: int, position: int) -> _T:
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise not_of_the_schema(error, first, ENUMS) from error
    except ValueError as error:  # DecodeError; UnicodeDecodeError
        raise not_json(error, position) from error


def _last_end(text: bytes) -> int:
    """Return the place behind the last `}` outside of strings, 0 where there is none.

    `text` begins outside of a string. A string that is not whole yet has no such place
    behind its quote, so what is cut off there continues in the next part.
    """
    masked = text.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    end = len(masked)
    quotes = masked.count(b'"')
    while (place := masked.rfind(b"}", 0, end)) >= 0:
        quotes -= masked.count(b'"', place, end)
        if quotes % 2 == 0:
            return place + 1
        end = masked.rfind(b'"', 0, place)
        quotes -= 1
    return 0


def _see_length(rest: bytes, what: str) -> None:
    if len(rest) > ELEMENT_MAX:
        raise RequestError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"cannot take a {what} of more than {ELEMENT_MAX // 2**20} MiB: is it one?",
        )


class RuleReader:
    """Turns the rules of one request into rows.

    Args:
        origin: of a rule that names none.
        any_qtype: how a name without a type is written.
        now: seconds of CLOCK_BOOTTIME that `expires_in` counts from.
        whole: they are all of that origin's: rules of another origin are refused, and those
            of dnsdist, which cannot be made, are left out and counted.

    Attributes:
        skipped: rules left out.
    """

    def __init__(self, origin: str, any_qtype: AnyQtype, now: float, *, whole: bool) -> None:
        self._origin = origin
        self._any_qtype = any_qtype
        self._now = now
        self._whole = whole
        self._seen: dict[tuple[str | None, str], str] = {}
        self.skipped = 0

    def rows(self, rules: Sequence[RuleIn], first: int) -> Iterator[Row]:
        """Yield a row for each rule.

        Raises:
            ListedRuleError: names the rule by its number, `first` being that of the first.
        """
        for index, rule in enumerate(rules, first):
            try:
                origin = self._seen.get((rule.origin, rule.note)) or self._origin_of(rule)
                if not origin:
                    continue
                ref, key = place_of(rule.target, rule.qtype, self._any_qtype, book_of(origin))
            except TargetError as error:
                raise ListedRuleError(error, index) from error
            yield ref, key, _ACTIONS[rule.action], self._reason(rule), self._expiry(rule), origin

    def _expiry(self, rule: RuleIn) -> float | None:
        if rule.expires_in is msgspec.UNSET:
            return None
        return NO_END if rule.expires_in is None else self._now + rule.expires_in

    @staticmethod
    def _reason(rule: RuleIn) -> str:
        return rule.note or ("" if rule.reason is msgspec.UNSET else NO_REASON)

    def _origin_of(self, rule: RuleIn) -> str:
        """Look at what many rules of a list have in common; empty where it is left out."""
        origin = self._origin if rule.origin is None else rule.origin
        if self._whole and origin == DNSDIST_ORIGIN:
            self.skipped += 1
            return ""
        own_origin(origin)
        if self._whole and origin != self._origin:
            raise TargetError(
                f"this list is all of {self._origin}'s, and what is not in it goes: send the rules"
                f" of {origin} in a list of their own",
                text=origin,
                field="origin",
            )
        parse_reason(rule.note)
        if len(self._seen) < _OPTIONS_KEPT:
            self._seen[rule.origin, rule.note] = origin
        return origin


_ACTIONS = {name: int(action) for name, action in ACTIONS.items()}


class Body:
    """The file with a request's body, which can go to another process.

    Args:
        file: at any place.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.size = file.seek(0, io.SEEK_END)
        file.seek(0)

    def __reduce__(self) -> tuple[object, ...]:
        """Send a short body as it is, a long one as its descriptor."""
        if isinstance(self.file, io.BytesIO):
            return Body._of_bytes, (self.file.getvalue(),)
        return Body._of_descriptor, (self.file.fileno(),)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Return the descriptor that another process needs, if it needs one."""
        return () if isinstance(self.file, io.BytesIO) else (self.file.fileno(),)

    @staticmethod
    def _of_bytes(data: bytes) -> Body:
        return Body(io.BytesIO(data))

    @staticmethod
    def _of_descriptor(number: int) -> Body:
        return Body(open(number, "rb", closefd=False))


class InBody(RuleSource):
    """A list in a body."""

    _body: Body

    @property
    def file(self) -> IO[bytes]:
        """The body."""
        return self._body.file

    @property
    def size(self) -> int:
        """Octets of the body."""
        return self._body.size

    @property
    def descriptors(self) -> tuple[int, ...]:
        """See `RuleSource`."""
        return self._body.descriptors


class JsonList(InBody):
    """A JSON list of rules, or one rule where `whole` is not asked for.

    Args:
        file: the body.
        origin: of a rule that names none.
        any_qtype: how a name without a type is written.
        whole: as of `RuleReader`.

    Attributes:
        found: how many rules were left out as dnsdist's.

    Reading raises RequestError and ListedRuleError, as `rules_in` and `RuleReader.rows`.
    """

    found: int = 0

    def __init__(self, file: IO[bytes], origin: str, any_qtype: AnyQtype, *, whole: bool) -> None:
        self._body = Body(file)
        self._origin = origin
        self._any_qtype = any_qtype
        self._now = boot_clock()
        self._whole = whole

    @property
    def position(self) -> int:
        """Octets read so far."""
        return self._body.file.tell()

    def __iter__(self) -> Iterator[Iterator[Rows]]:
        """Yield the rows in parts."""
        reader = RuleReader(self._origin, self._any_qtype, self._now, whole=self._whole)
        count = 0
        for rules in rules_in(self._body.file, single=not self._whole):
            yield in_blocks(reader.rows(rules, count))
            count += len(rules)
        self.found = reader.skipped


class ImportedList(InBody, Reading):
    """A list in a body, in any format that `[[list]]` reads (feeds/reader.py).

    Args:
        file: the body.
        read_as: what it is read as.
        any_qtype: how a name without a type is written.
    """

    def __init__(self, file: IO[bytes], read_as: ReadAs, any_qtype: AnyQtype) -> None:
        super().__init__(read_as, any_qtype)
        self._body = Body(file)
        self._now = boot_clock()

    def opened(self) -> AbstractContextManager[Octets]:
        """See `Reading`."""
        return nullcontext(self._body.file)

    def times(self, stream: Octets) -> tuple[float, float]:
        """See `Reading`; an end counts from the import."""
        del stream
        return self._now, self._now
