"""The errors for which a request is rejected: not JSON, not of the schema, an invalid rule.

problems.py turns them into answers. They are separate because lists are read in a process
(store/worker/) that has nothing to do with HTTP and should not import it. Owns these errors.
Raised by api/ and transport/.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING

from xdpctl.errors import TargetError, XdpctlError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import msgspec

_JSON_PATH = re.compile(r" - at `\$(?:\[(?P<index>[0-9]+|\.\.\.)\])?\.?(?P<field>[^`]*)`$")
_BYTE = re.compile(r"byte ([0-9]+)")
_ENUM = re.compile(r"Invalid enum value (?P<text>.*)", re.DOTALL)
_TYPES = re.compile(r"Expected `(?P<wanted>[a-z |]+)`(?:, got `(?P<got>[a-z]+)`)?$")
_WORDS = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "object": "an object",
    "str": "text",
}
"""What JSON calls the types of the decoder's sentences."""

_FIELD = re.compile(r"(?:unknown field|missing required field) `(?P<field>[^`]+)`")


REQUEST_CODE = "request"


class RequestError(XdpctlError):
    """A request that is rejected for its form, not for the rules in it.

    Args:
        status: of the answer.
        sentence: one sentence.
        field: the invalid parameter or field, if there is one.
        index: number of the invalid rule in the list, from 0, if there is one.
    """

    code = REQUEST_CODE

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
    """Return the error for a body that is not JSON (400), made from the decoder's error.

    Args:
        error: DecodeError or UnicodeDecodeError.
        position: where in the body the decoded text began.
    """
    what = str(error).removeprefix("JSON is malformed: ")
    what = _BYTE.sub(lambda found: f"byte {position + int(found[1])}", what)
    if isinstance(error, UnicodeDecodeError):
        what = "a string is not UTF-8"
    return RequestError(
        HTTPStatus.BAD_REQUEST,
        f"the body is not JSON: {what}; see /api/v1/openapi.json for the schema",
    )


def not_of_the_schema(
    error: msgspec.ValidationError,
    first: int = 0,
    enums: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> RequestError:
    """Return the error for a document that is JSON but not of the schema (422).

    Args:
        error: for a whole document, or for a list of rules in it.
        first: number of that list's first rule in the document.
        enums: the values of each field that takes one of some words.
    """
    text = str(error)
    path = _JSON_PATH.search(text)
    named = _FIELD.search(text)
    field = (named or path or {"field": ""})["field"]
    index = None
    what = text.removesuffix(path.group()) if path else text
    if found := _ENUM.match(what):
        what = f"{found['text']} is not one of {', '.join(enums.get(field, ())) or 'its values'}"
    elif found := _TYPES.match(what):
        what = f"expected {_in_words(found['wanted'])}"
        what += f", got {_in_words(found['got'])}" if found["got"] else ""
    where = field or "this document"
    if path and path["index"] and path["index"].isdigit():
        index = first + int(path["index"])
        where = f"{field or 'the whole'} of rule {index + 1} of the list"
    return RequestError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"cannot use {where}: {what[:1].lower()}{what[1:]}",
        field=field,
        index=index,
    )


def _in_words(types: str) -> str:
    return " or ".join(_WORDS.get(each, each) for each in types.split(" | "))
