"""Errors as RFC 9457 problem documents: one sentence, and the offending field.

Owns the form of the documents and the status of each error. Does not own the errors
(xdpctl/errors.py, refusals.py). Called by the rest of http/.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

import msgspec
from aiohttp import web

from xdpctl.errors import (
    ConflictError,
    KernelError,
    ListError,
    MapFrozenError,
    MapFullError,
    NoSamplesError,
    NotFoundError,
    PublishError,
    ReadersError,
    TargetError,
    XdpctlError,
    public,
)
from xdpctl.http.refusals import REQUEST_CODE, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBLEM_TYPE = "application/problem+json"

TEXT_MAX = 300
"""Characters of an offending text that are quoted."""
SERVER = "xdpctl"
"""The Server header: no version, which would tell an attacker what to try."""


_STATUS: tuple[tuple[type[XdpctlError], HTTPStatus], ...] = (
    (TargetError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (ListError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (ConflictError, HTTPStatus.CONFLICT),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (PublishError, HTTPStatus.BAD_GATEWAY),
    (MapFullError, HTTPStatus.INSUFFICIENT_STORAGE),
    (MapFrozenError, HTTPStatus.SERVICE_UNAVAILABLE),
    (NoSamplesError, HTTPStatus.SERVICE_UNAVAILABLE),
    (ReadersError, HTTPStatus.TOO_MANY_REQUESTS),
    (KernelError, HTTPStatus.INTERNAL_SERVER_ERROR),
)


_CODES = {
    HTTPStatus.UNAUTHORIZED: "access",
    HTTPStatus.FORBIDDEN: "access",
    HTTPStatus.NOT_FOUND: "no-path",
    HTTPStatus.METHOD_NOT_ALLOWED: "no-method",
    HTTPStatus.MISDIRECTED_REQUEST: "access",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal",
    HTTPStatus.SERVICE_UNAVAILABLE: "busy",
}
"""The code of a refusal that is not one of our errors; of any other status, `request`."""


class Problem(msgspec.Struct):
    """An error (RFC 9457).

    `detail` is one sentence: what was tried, what happened, what helps. `field` and `text`
    name what was wrong in a request, `index` the rule of a list, counted from 0. Where a
    map is full (507) or frozen (503), `map` names it and `done` says how many entries went
    in before. `code` is the kind of error, for programs.
    """

    type: str
    title: str
    status: Annotated[int, msgspec.Meta(ge=400, le=599)]
    detail: str
    code: str
    field: str | msgspec.UnsetType = msgspec.UNSET
    text: str | msgspec.UnsetType = msgspec.UNSET
    index: int | msgspec.UnsetType = msgspec.UNSET
    map: str | msgspec.UnsetType = msgspec.UNSET
    done: int | msgspec.UnsetType = msgspec.UNSET


def problem(
    status: HTTPStatus,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Return a problem document for what is not one of our own errors.

    Args:
        status: also determines the title.
        detail: one sentence.
        headers: of the response, beside its content type.
    """
    return _response(_document(status, detail, _CODES.get(status, REQUEST_CODE), {}), headers)


def from_error(error: XdpctlError, *, in_public: bool = True) -> web.Response:
    """Return a response with the problem document of one of our own errors."""
    return _response(document_of(error, in_public=in_public))


def document_of(error: XdpctlError, *, in_public: bool = True) -> Problem:
    """Return the problem document of one of our own errors.

    Args:
        error: the error.
        in_public: leave out what its sentence quotes from a file (errors.Sentence).
    """
    status = next(
        (status for kind, status in _STATUS if isinstance(error, kind)),
        HTTPStatus.INTERNAL_SERVER_ERROR,
    )
    extra: dict[str, str | int] = {}
    if isinstance(error, TargetError):
        extra |= {"field": error.field, "text": _bounded(error.text)}
    elif isinstance(error, ConflictError):
        extra |= {"field": "target", "text": _bounded(error.text)} if error.text else {}
    elif isinstance(error, MapFullError | MapFrozenError):
        extra |= {"map": error.map_name, "done": error.done}
    elif isinstance(error, RequestError):
        status = error.status
        extra |= {"field": error.field} if error.field else {}
    index = getattr(error, "index", None)
    if index is not None:
        extra["index"] = index
    sentence = public(error.sentence) if in_public else str(error.sentence)
    return _document(status, sentence, error.code, extra)


def wire_form(error: XdpctlError) -> bytes:
    """Return an HTTP/1.1 response with the error's problem document; it closes the connection."""
    document = document_of(error)
    body = _body(document)
    lines = (
        f"HTTP/1.1 {document.status} {document.title}",
        f"Content-Type: {PROBLEM_TYPE}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode() + body


def _document(
    status: HTTPStatus, detail: str, code: str, extra: Mapping[str, str | int]
) -> Problem:
    document = Problem("about:blank", status.phrase, status.value, _writable(detail), code)
    for name, value in extra.items():
        setattr(document, name, _writable(value) if isinstance(value, str) else value)
    return document


def _bounded(text: str) -> str:
    """Return a text, cut if it is longer than a target can be."""
    return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 1]}…"


def json_of(document: object) -> bytes:
    """Return a document as JSON, each `Sentence` in its public form.

    Sentences may quote a path, which may have octets that are not UTF-8: these are escaped.
    """
    try:
        return msgspec.json.encode(document, enc_hook=public)
    except UnicodeEncodeError:
        plain = msgspec.to_builtins(document, enc_hook=public)
        return msgspec.json.encode(_all_writable(plain))


def _all_writable(value: object) -> object:
    match value:
        case str():
            return _writable(value)
        case list():
            return [_all_writable(part) for part in value]
        case dict():
            return {_all_writable(key): _all_writable(part) for key, part in value.items()}
    return value


def _writable(text: str) -> str:
    """Return the text with lone surrogates (octets that are not UTF-8) escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _body(document: Problem) -> bytes:
    return msgspec.json.encode(document) + b"\n"


def _response(document: Problem, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=document.status,
        body=_body(document),
        content_type=PROBLEM_TYPE,
        headers={"Server": SERVER, **(headers or {})},
    )
