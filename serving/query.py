"""The query or the body of a request as one model.

FastAPI checks each parameter of a function by itself, which costs more than a point look-up does. An address that is
asked thousands of times a second depends on `asked(Model)` instead. It also takes a body into memory, whole and however
large, before it asks who sends it; an address that takes JSON depends on `sent(…)`, behind what asks that.

Guarantee: what is refused, and how it is described, is the same as if FastAPI did it; of a body no more than
`BODY_BYTES_MAX` is ever held.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from serving.problems import BODY_TOO_LARGE, UPLOAD_STALLED, Problem

BODY_BYTES_MAX = 1 << 20
BODY_S_MAX = 30.0


class Query(BaseModel):
    """What models of queries share."""

    model_config = ConfigDict(frozen=True, validate_by_name=False, validate_by_alias=True)


Asked = TypeVar("Asked", bound=Query)


def asked(model: type[Asked]) -> Callable[[Request], Awaitable[Asked]]:
    """What an address depends on to be given its query.

    Args:
        model: Its fields are the parameters; of one that is given twice the last counts.
    """

    async def query(request: Request) -> Asked:
        try:
            return model.model_validate(dict(request.query_params))
        except ValidationError as error:
            raise _refused("query", error) from error

    return query


Sent = TypeVar("Sent")


def sent(kind: TypeAdapter[Sent]) -> Callable[[Request], Awaitable[Sent]]:
    """What an address depends on to be given its JSON body.

    Args:
        kind: What the body must be.
    """

    async def body(request: Request) -> Sent:
        try:
            return kind.validate_json(await _bounded(request))
        except ValidationError as error:
            raise _refused("body", error) from error

    return body


async def _bounded(request: Request) -> bytes:
    held = bytearray()
    try:
        with anyio.fail_after(BODY_S_MAX):
            async for piece in request.stream():
                held += piece
                if len(held) > BODY_BYTES_MAX:
                    raise Problem(BODY_TOO_LARGE, f"The body may have at most {BODY_BYTES_MAX} bytes.")
    except TimeoutError as error:
        raise Problem(UPLOAD_STALLED, f"The body was not there after {BODY_S_MAX:g} seconds.") from error
    return bytes(held)


def _refused(place: str, error: ValidationError) -> RequestValidationError:
    return RequestValidationError(
        [{**item, "loc": (place, *item["loc"])} for item in error.errors(include_url=False)]
    )


def described(model: type[Query]) -> dict[str, Any]:
    """What the reference says of the parameters of `model`, for `openapi_extra`."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    needed = schema.get("required", [])
    kinds = schema.get("$defs", {})
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": name in needed,
                "schema": _inlined(kinds, given),
                "description": given["description"],
            }
            for name, given in schema["properties"].items()
        ]
    }


def described_body(kind: TypeAdapter[Any]) -> dict[str, Any]:
    """What the reference says of a JSON body, for `openapi_extra`."""
    schema = kind.json_schema()
    shown = _inlined(schema.pop("$defs", {}), schema)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": shown}}}}


def _inlined(kinds: dict[str, Any], given: Any) -> Any:
    """A schema without references: its definitions are not among the components of the reference."""
    if isinstance(given, list):
        return [_inlined(kinds, one) for one in given]
    if not isinstance(given, dict):
        return given
    if "$ref" in given:
        return _inlined(kinds, kinds[given["$ref"].rsplit("/", 1)[-1]])
    return {name: _inlined(kinds, value) for name, value in given.items()}
