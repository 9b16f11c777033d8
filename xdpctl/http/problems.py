"""Errors as RFC 9457 problem documents: one sentence, and the offending field."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

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

_JSON_PATH = re.compile(r" - at `\$(?:\[(?P<index>[0-9]+|\.\.\.)\])?\.?(?P<field>[^`]*)`$")
_FIELD = re.compile(r"(?:unknown field|missing required field) `(?P<field>[^`]+)`")

_STATUS: tuple[tuple[type[XdpctlError], HTTPStatus], ...] = (
    (TargetError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (ConflictError, HTTPStatus.CONFLICT),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (MapFullError, HTTPStatus.INSUFFICIENT_STORAGE),
    (KernelError, HTTPStatus.INTERNAL_SERVER_ERROR),
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
    document = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        **(extra or {}),
    }
    return web.Response(
        status=status.value,
        body=msgspec.json.encode(document),
        content_type="application/problem+json",
        headers=headers,
    )


def from_error(error: XdpctlError) -> web.Response:
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
    return problem(status, error.sentence, extra=extra)


def from_validation(error: msgspec.ValidationError) -> web.Response:
    """Return the problem of a document that is JSON and not of the schema (422)."""
    text = str(error)
    path = _JSON_PATH.search(text)
    named = _FIELD.search(text)
    extra: dict[str, str | int] = {}
    field = (named or path or {"field": ""})["field"]
    if field:
        extra["field"] = field
    if path and path["index"] and path["index"].isdigit():
        extra["index"] = int(path["index"])
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, f"cannot take this document: {text}", extra=extra
    )
