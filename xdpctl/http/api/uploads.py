"""Requests with rules in their body: POST, PUT, import.

A body is received completely before anything is done, so that a body that breaks off changes
nothing. The store then reads it in parts (rule_lists.py). Owns these handlers. Does not own the
format of lists. Called by aiohttp through routes.py.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from aiohttp import web

from xdpctl.errors import EmptyListError, TargetError, XdpctlError
from xdpctl.feeds.reader import ReadAs
from xdpctl.http.api.converter import imported, merged, put_out
from xdpctl.http.api.documents import API_ORIGIN, Imported, Progress, Put
from xdpctl.http.api.handlers import answer
from xdpctl.http.api.keys import BACKEND
from xdpctl.http.api.queries import ImportQuery, PostQuery, PutQuery, read_query
from xdpctl.http.api.rule_lists import ImportedList, JsonList, rules_in
from xdpctl.http.problems import Problem, document_of, from_error
from xdpctl.http.refusals import ListedRuleError, RequestError
from xdpctl.http.transport.body import received
from xdpctl.rules import ACTIONS
from xdpctl.rules.names import shown
from xdpctl.rules.rules import own_origin
from xdpctl.settings import Denial, ListFormat
from xdpctl.store.change import Change

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.http.api.backend import Backend, RuleChanges
    from xdpctl.http.api.documents import RuleIn
    from xdpctl.rules import Rule

FEW = 1_000
"""Rules of one POST up to which each is an object; above, they are rows of a bulk."""

PROGRESS_SECONDS = 0.2

LINES_TYPE = "application/x-ndjson"


class ImportLine(msgspec.Struct):
    """A line of an import's answer: one of the three, `result` or `problem` at the end."""

    progress: Progress | msgspec.UnsetType = msgspec.UNSET
    result: Imported | msgspec.UnsetType = msgspec.UNSET
    problem: Problem | msgspec.UnsetType = msgspec.UNSET


async def post_rules(request: web.Request) -> web.Response:
    """POST /api/v1/rules: one rule or a list; all or nothing on bad input."""
    query = read_query(request, PostQuery)
    backend: Backend = request.app[BACKEND]
    async with received(request) as file:
        begin = await asyncio.to_thread(_first, rules_in(file, single=True))
        if len(begin) <= FEW:
            rules = await asyncio.to_thread(_rules, begin)
            done = await backend.put(rules, force=query.force, beneath=query.waiting_ok)
            document = put_out(done)
            document.warnings += backend.snapshot().without_effect
            return answer(document)
        source = JsonList(file, API_ORIGIN, backend.any_qtype, whole=False)
        result = await backend.bulk(
            Change(
                source=source,
                origin=API_ORIGIN,
                strict=not query.waiting_ok,
                force=query.force,
            )
        )
    waiting = result.theirs + result.others
    warnings = [*backend.snapshot().without_effect]
    return answer(Put(result.created + waiting, result.updated + result.unchanged, warnings))


def _first(parts: Iterator[list[RuleIn]]) -> list[RuleIn]:
    """Return the rules of a document, or the first of them where they are many; blocks."""
    found: list[RuleIn] = []
    for part in parts:
        found += part
        if len(found) > FEW:
            break
    return found


def _rules(given: list[RuleIn]) -> list[Rule]:
    rules = []
    for index, rule in enumerate(given):
        try:
            rules.append(rule.rule())
        except TargetError as error:
            raise (ListedRuleError(error, index) if len(given) > 1 else error) from error
    return rules


async def put_rules(request: web.Request) -> web.Response:
    """PUT /api/v1/rules: make an origin's rules exactly this list, by difference."""
    origin = own_origin(read_query(request, PutQuery).origin)
    backend: RuleChanges = request.app[BACKEND]
    async with received(request) as file:
        source = JsonList(file, origin, backend.any_qtype, whole=True)
        result = await backend.bulk(Change(source=source, origin=origin, replace=True))
    return answer(merged(result, source.found))


_Outcome: TypeAlias = "Imported | XdpctlError"


async def import_rules(request: web.Request) -> web.StreamResponse:
    """POST /api/v1/import: a list of any format, answered with progress and then the result.

    An import that ends before the first report of progress is answered with its own status.
    """
    query = read_query(request, ImportQuery)
    origin = own_origin(query.origin)
    backend: Backend = request.app[BACKEND]
    news: asyncio.Queue[Progress | _Outcome] = asyncio.Queue()
    async with received(request) as file:
        may_be_empty = query.yes or not query.replace
        read_as = ReadAs(
            origin=origin,
            action=ACTIONS[query.action] if query.action else None,
            format=ListFormat(query.format),
            denial=Denial(query.denial),
            may_be_empty=may_be_empty,
        )
        source = ImportedList(file, read_as, backend.any_qtype)
        change = Change(
            source=source,
            origin=origin,
            replace=query.replace,
            may_be_empty=may_be_empty,
            progress=_Report(news).progress,
        )

        async def work() -> None:
            try:
                result = await backend.bulk(change)
            except EmptyListError as error:
                news.put_nowait(_emptied(error, origin))
            except XdpctlError as error:
                news.put_nowait(error)
            else:
                document = imported(result, source.found, origin)
                document.warnings += backend.snapshot().without_effect
                news.put_nowait(document)

        async with asyncio.TaskGroup() as group:
            group.create_task(work(), name="import")
            return await _tell(request, news)


def _emptied(error: EmptyListError, origin: str) -> RequestError:
    """Return the refusal of an import that would remove every rule of its origin."""
    return RequestError(
        HTTPStatus.CONFLICT,
        f"cannot replace the rules of {shown(origin)} by this list: {error.sentence}; use --yes"
        " (in a request yes=1) to remove them all",
        field="yes",
    )


async def _tell(
    request: web.Request, news: asyncio.Queue[Progress | _Outcome]
) -> web.StreamResponse:
    """Write an import's reports to its end, even if the client is gone."""
    response = web.StreamResponse(headers={"Content-Type": LINES_TYPE})
    heard = await news.get()
    if isinstance(heard, XdpctlError):
        return from_error(heard)
    listening = True
    while True:
        if listening:
            listening = await _write(request, response, _line(heard))
        if not isinstance(heard, Progress):
            return response
        heard = await news.get()


def _line(heard: Progress | _Outcome) -> bytes:
    match heard:
        case Progress():
            line = ImportLine(progress=heard)
        case Imported():
            line = ImportLine(result=heard)
        case XdpctlError():
            line = ImportLine(problem=document_of(heard))
    return msgspec.json.encode(line) + b"\n"


async def _write(request: web.Request, response: web.StreamResponse, line: bytes) -> bool:
    """Write a line, the first behind the header; return whether the client is still there."""
    try:
        if not response.prepared:
            await response.prepare(request)
        await response.write(line)
    except ConnectionError:
        return False
    return True


class _Report:
    """Brings progress from the bulk thread to the loop, some times a second.

    Args:
        news: where progress is put.
    """

    def __init__(self, news: asyncio.Queue[Progress | _Outcome]) -> None:
        self._news = news
        self._loop = asyncio.get_running_loop()
        self._next = time.monotonic() + PROGRESS_SECONDS

    def progress(self, what: str, done: int, total: int) -> None:
        """Report progress, unless the last report was just before."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PROGRESS_SECONDS
            self._loop.call_soon_threadsafe(self._news.put_nowait, Progress(what, done, total))
