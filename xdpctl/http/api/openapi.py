"""The API's own description: one table of routes, as an OpenAPI 3.1 document.

What is in the document comes from where requests are checked: parameters from queries.py, bodies
and answers from documents.py, paths and methods from routes.py. Owns the form of the document.
Does not own routes or types. Called by routes.py and http/app.py.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from xdpctl import __version__
from xdpctl.http.api.queries import NoQuery, properties_of
from xdpctl.http.problems import PROBLEM_TYPE, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aiohttp.typedefs import Handler

PATH = "/api/v1/openapi.json"

_REFERENCE = "#/components/schemas/{name}"

_ALWAYS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.MISDIRECTED_REQUEST,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    HTTPStatus.INTERNAL_SERVER_ERROR,
)

_MEANING = {
    HTTPStatus.BAD_REQUEST: "Not HTTP or not JSON, a parameter is missing, or the body broke off",
    HTTPStatus.UNAUTHORIZED: "This listener wants the token; the body was not read",
    HTTPStatus.FORBIDDEN: "A page of another site asked (Origin, Sec-Fetch-Site)",
    HTTPStatus.NOT_FOUND: "There is no such rule or interface",
    HTTPStatus.REQUEST_TIMEOUT: "The head or the body took too long",
    HTTPStatus.CONFLICT: "The entry is dnsdist's, no limit asks for a proof, or a zone has"
    " another's record; nothing was changed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too long",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is compressed",
    HTTPStatus.MISDIRECTED_REQUEST: "A loopback listener was asked under another host's name",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A field or parameter is wrong or not known",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many look at samples already",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The head is longer than 32 KiB",
    HTTPStatus.BAD_GATEWAY: "The primary of a zone did not take the update",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The kernel or the state refused; the log has more",
    HTTPStatus.SERVICE_UNAVAILABLE: "Too many such reads are running (try again after"
    " Retry-After seconds), or a map is frozen and its entries cannot be changed any more",
    HTTPStatus.INSUFFICIENT_STORAGE: "A map is full, or the disk for long bodies",
}

OF_A_QUERY = (HTTPStatus.UNPROCESSABLE_ENTITY,)
OF_A_LONG_READ = (*OF_A_QUERY, HTTPStatus.SERVICE_UNAVAILABLE)
OF_A_BODY = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.INSUFFICIENT_STORAGE,
)


@dataclass(frozen=True, slots=True)
class Content:
    """What is sent or answered.

    Attributes:
        schema: the type of the document; None: text.
        media: media types, the usual one first.
        example: a text as it may be.
        parts: types of documents within a text; the document describes them, too.
    """

    schema: Any = None
    media: tuple[str, ...] = ("application/json",)
    example: str | None = None
    parts: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    Attributes:
        handler: its docstring's summary is the operation's.
        answer: with status 200.
        problems: what it can be refused with, beside what every route can.
        query: its parameters.
        body: what is sent; None: nothing.
        optional: the body may be left out.
        others: answers that are neither 200 nor a problem.
    """

    method: str
    path: str
    handler: Handler
    answer: Content
    problems: tuple[HTTPStatus, ...] = ()
    query: type[msgspec.Struct] = NoQuery
    body: Content | None = None
    optional: bool = False
    others: Mapping[HTTPStatus, str] = field(default_factory=dict)


def openapi(routes: Sequence[Route]) -> bytes:
    """Return the document of these routes, as JSON."""
    contents = [content for route in routes for content in (route.answer, route.body) if content]
    types = [content.schema for content in contents if content.schema is not None]
    types += [part for content in contents for part in content.parts]
    _, components = msgspec.json.schema_components([*types, Problem], ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "xdpctl",
            "version": __version__,
            "summary": "What an XDP shield of a DNS server blocks",
            "description": (
                "Served on the control socket, where everything is allowed, and on --listen,"
                " where writes need the token, and on any address but loopback all else than"
                " metrics and health. --listen holds 64 connections, 32 of one address (loopback"
                " 64); a connection that idles makes room for another. A head has 10 s and 32 KiB,"
                " the next request 75 s. Each listener answers four pages of rules or rankings"
                " and one export at once."
            ),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {str(status.value): _refusal(status) for status in _MEANING},
        },
    }
    return msgspec.json.encode(_cleaned(document))


def _operation(route: Route) -> dict[str, Any]:
    summary = inspect.getdoc(route.handler) or ""
    summary, _, description = summary.partition("\n\n")
    name = route.path.rpartition("/")[2].partition(".")[0] or "root"
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{name}",
        "summary": summary.partition(": ")[2].strip(),
        "parameters": list(_parameters(route.query)),
        "responses": dict(_responses(route)),
    }
    if description:
        operation["description"] = description
    if route.body is not None:
        body = {"required": not route.optional, "content": _content(route.body)}
        operation["requestBody"] = body
    return operation


def _parameters(query: type[msgspec.Struct]) -> Iterable[dict[str, Any]]:
    required = {field.name for field in msgspec.structs.fields(query) if field.required}
    for name, schema in properties_of(query).items():
        described = {key: value for key, value in schema.items() if key != "description"}
        yield {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": schema.get("description", ""),
            "schema": described,
        }


def _responses(route: Route) -> Iterable[tuple[str, dict[str, Any]]]:
    yield "200", {"description": "Done", "content": _content(route.answer)}
    for status, meaning in route.others.items():
        content = _content(Content(media=("text/plain",)))
        yield str(status.value), {"description": meaning, "content": content}
    for status in sorted({*route.problems, *_ALWAYS}):
        yield str(status.value), {"$ref": f"#/components/responses/{status.value}"}


def _refusal(status: HTTPStatus) -> dict[str, Any]:
    refusal: dict[str, Any] = {
        "description": _MEANING[status],
        "content": {PROBLEM_TYPE: {"schema": {"$ref": _REFERENCE.format(name="Problem")}}},
    }
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        refusal["headers"] = {"Retry-After": {"required": False, "schema": {"type": "integer"}}}
    if status is HTTPStatus.UNAUTHORIZED:
        refusal["headers"] = {
            "WWW-Authenticate": {"required": True, "schema": {"type": "string"}},
        }
    return refusal


def _content(content: Content) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if content.schema is not None:
        (schema,), _ = msgspec.json.schema_components([content.schema], ref_template=_REFERENCE)
    entry: dict[str, Any] = {"schema": schema}
    if content.example is not None:
        entry["example"] = content.example
    return dict.fromkeys(content.media, entry)


def _cleaned(value: Any) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Return a document whose descriptions, which are docstrings, are not indented."""
    if isinstance(value, dict):
        return {
            key: inspect.cleandoc(inner)
            if key == "description" and isinstance(inner, str)
            else _cleaned(inner)
            for key, inner in value.items()
        }
    return [_cleaned(inner) for inner in value] if isinstance(value, list) else value
