"""Errors as RFC 9457 problem documents: one sentence, and the offending field."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

import msgspec
from aiohttp import web

from xdpctl.errors import (
    ConflictError,
    KernelError,
    MapFullError,
    NotFoundError,
    TargetError,
    XdpctlError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBLEM_TYPE = "application/problem+json"

_JSON_PATH = re.compile(r" - at `\$(?:\[(?P<index>[0-9]+|\.\.\.)\])?\.?(?P<field>[^`]*)`$")
_BYTE = re.compile(r"byte ([0-9]+)")
_FIELD = re.compile(r"(?:unknown field|missing required field) `(?P<field>[^`]+)`")

_STATUS: tuple[tuple[type[XdpctlError], HTTPStatus], ...] = (
    (TargetError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (ConflictError, HTTPStatus.CONFLICT),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (MapFullError, HTTPStatus.INSUFFICIENT_STORAGE),
    (KernelError, HTTPStatus.INTERNAL_SERVER_ERROR),
)


class Problem(msgspec.Struct):
    """An error (RFC 9457).

    `detail` is one sentence: what was tried, what happened, what helps. `field` and `text`
    name what was wrong in a request, `index` the rule of a list, counted from 0. Where a
    map is full, `map` names it and `done` says how many entries went in before.
    """

    type: str
    title: str
    status: Annotated[int, msgspec.Meta(ge=400, le=599)]
    detail: str
    field: str | msgspec.UnsetType = msgspec.UNSET
    text: str | msgspec.UnsetType = msgspec.UNSET
    index: int | msgspec.UnsetType = msgspec.UNSET
    map: str | msgspec.UnsetType = msgspec.UNSET
    done: int | msgspec.UnsetType = msgspec.UNSET


class RequestError(XdpctlError):
    """A request that is refused for what it is, not for the rules in it.

    Args:
        status: what it is answered with.
        sentence: one sentence.
        field: the parameter or field that it is about, if it is about one.
        index: number of the rule in the list, from 0, if it is about one.
    """

    def __init__(
        self, status: HTTPStatus, sentence: str, *, field: str = "", index: int | None = None
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.field = field
        self.index = index


class ListedRuleError(TargetError):
    """A rule of a list is not valid; `index` counts from 0."""

    def __init__(self, error: TargetError, index: int) -> None:
        super().__init__(
            f"rule {index + 1} of the list: {error.sentence}", text=error.text, field=error.field
        )
        self.index = index


def not_json(error: ValueError, position: int = 0) -> RequestError:
    """Return the error of a body that is not JSON, from the decoder's (400).

    Args:
        error: DecodeError or UnicodeDecodeError.
        position: where in the body the decoder's text began.
    """
    what = str(error).removeprefix("JSON is malformed: ")
    what = _BYTE.sub(lambda found: f"byte {position + int(found[1])}", what)
    if isinstance(error, UnicodeDecodeError):
        what = "a string is not UTF-8"
    return RequestError(
        HTTPStatus.BAD_REQUEST,
        f"the body is not JSON: {what}; see /api/v1/openapi.json for what is wanted",
    )


def not_of_the_schema(error: msgspec.ValidationError, first: int = 0) -> RequestError:
    """Return the error of a document that is JSON and not of the schema (422).

    Args:
        error: of a whole document, or of a list of rules out of one.
        first: number of that list's first rule in the document.
    """
    text = str(error)
    path = _JSON_PATH.search(text)
    named = _FIELD.search(text)
    field = (named or path or {"field": ""})["field"]
    index = None
    what = text.removesuffix(path.group()) if path else text
    where = field or "this document"
    if path and path["index"] and path["index"].isdigit():
        index = first + int(path["index"])
        where = f"{field or 'the whole'} of rule {index + 1} of the list"
    return RequestError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"cannot take {where}: {what[:1].lower()}{what[1:]}",
        field=field,
        index=index,
    )


def problem(
    status: HTTPStatus,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, str | int] | None = None,
) -> web.Response:
    """Return a problem document.

    Args:
        status: also gives the title.
        detail: one sentence.
        headers: of the response, beside its content type.
        extra: further members: field, text, done …
    """
    return _response(_document(status, detail, extra or {}), headers)


def from_error(error: XdpctlError) -> web.Response:
    """Return the problem document of one of our own errors, as a response."""
    return _response(document_of(error))


def document_of(error: XdpctlError) -> Problem:
    """Return the problem document of one of our own errors."""
    status = next(
        (status for kind, status in _STATUS if isinstance(error, kind)),
        HTTPStatus.INTERNAL_SERVER_ERROR,
    )
    extra: dict[str, str | int] = {}
    if isinstance(error, TargetError):
        extra = {"field": error.field, "text": error.text}
    elif isinstance(error, MapFullError):
        extra = {"map": error.map_name, "done": error.done}
    elif isinstance(error, RequestError):
        status = error.status
        extra = {"field": error.field} if error.field else {}
    index = getattr(error, "index", None)
    if index is not None:
        extra["index"] = index
    return _document(status, error.sentence, extra)


def _document(status: HTTPStatus, detail: str, extra: Mapping[str, str | int]) -> Problem:
    document = Problem("about:blank", status.phrase, status.value, detail)
    for name, value in extra.items():
        setattr(document, name, value)
    return document


def _response(document: Problem, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=document.status,
        body=msgspec.json.encode(document),
        content_type=PROBLEM_TYPE,
        headers=headers,
    )
