"""Requests about what this host publishes in response policy zones.

Owns these handlers, as handlers.py has the others. Does not own documents (publish_documents.py).
Called by aiohttp through routes.py.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from xdpctl.http.api.handlers import answer
from xdpctl.http.api.keys import BACKEND
from xdpctl.http.api.publish_documents import PublishIn, Unpublished
from xdpctl.http.api.queries import NoQuery, PublishQuery, UnpublishQuery, read_query
from xdpctl.http.refusals import RequestError, not_json, not_of_the_schema
from xdpctl.http.transport.body import received
from xdpctl.rules import ACTIONS, parse_target

if TYPE_CHECKING:
    from aiohttp import web

    from xdpctl.http.api.backend import PublishControl

_BODY_MAX = 256 * 1024
"""Bytes of a document with targets."""

_ENUMS = {"action": tuple(ACTIONS)}


async def published(request: web.Request) -> web.Response:
    """GET /api/v1/published: what this host publishes in zones, and where it can."""
    read_query(request, NoQuery)
    control: PublishControl = request.app[BACKEND]
    return answer(await control.published())


async def publish(request: web.Request) -> web.Response:
    """POST /api/v1/published: publish records in a zone, for every host that follows it.

    It is one DNS UPDATE to the zone's primary: all of it is done or, if one record is another's,
    nothing (409). The service removes the records at their end.
    """
    force = read_query(request, PublishQuery).force
    async with received(request, _BODY_MAX) as file:
        body = file.read()
    try:
        wanted = msgspec.json.decode(body, type=PublishIn)
    except msgspec.ValidationError as error:
        raise not_of_the_schema(error, enums=_ENUMS) from error
    except ValueError as error:
        raise not_json(error) from error
    targets = [parse_target(text) for text in wanted.targets]
    action = ACTIONS[wanted.action]
    control: PublishControl = request.app[BACKEND]
    return answer(
        await control.publish(wanted.zone, targets, action, wanted.expires_in, force=force)
    )


async def unpublish(request: web.Request) -> web.Response:
    """DELETE /api/v1/published: remove records that this host has published.

    Another's are not touched. While the primary does not answer, it is tried again until it does.
    """
    query = read_query(request, UnpublishQuery)
    texts = [text for text in query.target if text]
    if not texts:
        raise RequestError(
            HTTPStatus.BAD_REQUEST, "say what to remove with target=", field="target"
        )
    control: PublishControl = request.app[BACKEND]
    removed, warnings = await control.unpublish(query.zone, [parse_target(text) for text in texts])
    return answer(Unpublished(removed, warnings))
