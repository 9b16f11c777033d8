"""openapi.json: says what is served and all of it; whether it is true, test_api.py sees."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.support.fake_backend import FakeBackend, site
from xdpctl.http.api.documents import RuleIn
from xdpctl.http.api.openapi import PATH, openapi
from xdpctl.http.api.routes import ROUTES
from xdpctl.http.app import make_app
from xdpctl.http.transport.access import Access
from xdpctl.status.metrics import Exposition, SnapshotCollector


@pytest.fixture
async def document() -> dict[str, Any]:
    """The document as it is served."""
    with tempfile.TemporaryDirectory(prefix="xdpctl-") as name:
        async with site(Path(name), tcp=False) as served:
            found: dict[str, Any] = (await served.ask("GET", PATH)).json()
            return found


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return each operation by method and path."""
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def found_in(value: object, key: str) -> list[object]:
    """Return every value under a key, however deep."""
    if isinstance(value, dict):
        inner = [item for part in value.values() for item in found_in(part, key)]
        return [*inner, value[key]] if key in value else inner
    return (
        [item for part in value for item in found_in(part, key)] if isinstance(value, list) else []
    )


def test_what_is_described_is_what_is_served(document: dict[str, Any]) -> None:
    backend = FakeBackend()
    exposition = Exposition(SnapshotCollector(backend.snapshot, bcc=lambda: "0"))
    app = make_app(backend, exposition, Access.EVERYTHING)
    served = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method not in {"HEAD", "*"}
    }
    assert set(operations(document)) == served


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = found_in(document, "$ref")
    assert references
    for reference in references:
        place: Any = document
        for part in str(reference).removeprefix("#/").split("/"):
            place = place[part]
        assert place


def test_every_schema_is_json_schema(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        )


def test_every_operation_and_parameter_is_described(document: dict[str, Any]) -> None:
    for operation in operations(document).values():
        assert operation["summary"]
        for parameter in operation["parameters"]:
            assert parameter["description"]


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(document).values()]
    assert len(set(names)) == len(names)


def test_every_refusal_is_a_problem_document(document: dict[str, Any]) -> None:
    for refusal in document["components"]["responses"].values():
        assert list(refusal["content"]) == ["application/problem+json"]


def test_every_operation_may_want_the_token(document: dict[str, Any]) -> None:
    assert all("401" in operation["responses"] for operation in operations(document).values())


def test_a_rule_is_described_as_it_is_checked(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["RuleIn"]
    assert set(schema["properties"]) == set(RuleIn.__struct_fields__)
    assert schema["required"] == ["target"]
    assert schema["additionalProperties"] is False


def test_descriptions_are_not_indented(document: dict[str, Any]) -> None:
    assert not [text for text in found_in(document, "description") if re.search(r"\n +", str(text))]


def test_the_document_is_the_same_each_time() -> None:
    assert openapi(ROUTES) == openapi(ROUTES)
