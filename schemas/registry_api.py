"""The REST API of the embedded schema registry: Confluent's, with Confluent's error codes.

Guarantee: every answer is JSON, also an error's; a body has a bound; what is asked of the log and fails stops
the server, since nobody can say what stands in the log.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.errors import HeadraceError
from schemas.registry_rules import RefusedError, SchemaRegistry

BODY_BYTES_MAX = 2**19
"""Largest request; what is larger would not fit into a message of the log."""

_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request, taken apart: what stands in its path, its query and its body."""

    path: dict[str, str]
    query: dict[str, str]
    body: dict[str, Any]

    @property
    def subject(self) -> str:
        return self.path["subject"]

    @property
    def schema(self) -> tuple[Any, str, list[Any]]:
        """Text, kind and references of the schema in the body."""
        if not isinstance(self.body.get("schema"), str):
            raise RefusedError(42201, 'Invalid schema: the body has no text under "schema"')
        return self.body["schema"], self.body.get("schemaType") or "AVRO", self.body.get("references") or []

    def flag(self, name: str) -> bool:
        return self.query.get(name, "false").lower() == "true"

    @property
    def schema_id(self) -> int:
        text = self.path["id"]
        if not text.isascii() or not text.isdigit() or len(text) > 10:
            raise RefusedError(40403, f"Schema {text[:40]!r} not found")
        return int(text)


Handler = Callable[[SchemaRegistry, _Asked], Any]


def registry_app(registry: SchemaRegistry, failed: Callable[[HeadraceError], None]) -> Starlette:
    """The HTTP application.

    Args:
        registry: What it answers from.
        failed: Called with the error when the log cannot be written any more.
    """
    return Starlette(
        routes=[
            Route(path, _endpoint(registry, handler, failed), methods=[method])
            for method, path, handler in _ROUTES
        ]
    )


def _endpoint(
    registry: SchemaRegistry,
    handler: Handler,
    failed: Callable[[HeadraceError], None],
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            body = await _body(request)
            asked = _Asked(dict(request.path_params), dict(request.query_params), body)
            return _reply(200, await run_in_threadpool(handler, registry, asked))
        except RefusedError as error:
            return _reply(error.status, {"error_code": error.code, "message": str(error)})
        except HeadraceError as error:
            failed(error)
            return _reply(500, {"error_code": 50001, "message": f"Error in the backend data store: {error}"})

    return answer


def _reply(status: int, content: Any) -> Response:
    return Response(json.dumps(content, ensure_ascii=False), status, media_type=_MEDIA_TYPE)


async def _body(request: Request) -> dict[str, Any]:
    if request.method in ("GET", "DELETE"):
        return {}
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > BODY_BYTES_MAX:
            raise RefusedError(413, f"the body is larger than {BODY_BYTES_MAX} bytes")
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the body is no JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise RefusedError(400, "the body is no JSON object")
    return parsed


def _referenced_by(registry: SchemaRegistry, asked: _Asked) -> list[int]:
    registry.version(asked.subject, asked.path["version"])
    # Schemas with references are refused, so nothing refers to any.
    return []


def _config(registry: SchemaRegistry, asked: _Asked) -> dict[str, Any]:
    if asked.flag("defaultToGlobal"):
        return {"compatibilityLevel": registry.level(asked.subject)}
    return {"compatibilityLevel": registry.own_level(asked.subject)}


def _compatible(registry: SchemaRegistry, asked: _Asked) -> dict[str, Any]:
    reasons = registry.check(asked.subject, asked.path.get("version"), *asked.schema)
    answer: dict[str, Any] = {"is_compatible": not reasons}
    if asked.flag("verbose"):
        answer["messages"] = reasons
    return answer


_ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/", lambda _registry, _asked: {}),
    (
        "GET",
        "/subjects",
        lambda registry, asked: registry.subjects(
            asked.query.get("subjectPrefix", ""), asked.flag("deleted")
        ),
    ),
    (
        "POST",
        "/subjects/{subject}",
        lambda registry, asked: (
            registry.lookup(asked.subject, *asked.schema, deleted=asked.flag("deleted")).shown
        ),
    ),
    (
        "DELETE",
        "/subjects/{subject}",
        lambda registry, asked: registry.delete_subject(asked.subject, asked.flag("permanent")),
    ),
    (
        "GET",
        "/subjects/{subject}/versions",
        lambda registry, asked: registry.versions(asked.subject, asked.flag("deleted")),
    ),
    (
        "POST",
        "/subjects/{subject}/versions",
        lambda registry, asked: registry.register(asked.subject, *asked.schema).shown,
    ),
    (
        "GET",
        "/subjects/{subject}/versions/{version}",
        lambda registry, asked: (
            registry.version(asked.subject, asked.path["version"], asked.flag("deleted")).shown
        ),
    ),
    (
        "DELETE",
        "/subjects/{subject}/versions/{version}",
        lambda registry, asked: registry.delete_version(
            asked.subject, asked.path["version"], asked.flag("permanent")
        ),
    ),
    (
        "GET",
        "/subjects/{subject}/versions/{version}/schema",
        lambda registry, asked: json.loads(
            registry.version(asked.subject, asked.path["version"], asked.flag("deleted")).schema
        ),
    ),
    (
        "GET",
        "/subjects/{subject}/versions/{version}/referencedby",
        _referenced_by,
    ),
    (
        "GET",
        "/schemas",
        lambda registry, asked: [
            version.shown
            for version in registry.all_versions(
                asked.query.get("subjectPrefix", ""), asked.flag("deleted"), asked.flag("latestOnly")
            )
        ],
    ),
    ("GET", "/schemas/types", lambda _registry, _asked: ["AVRO"]),
    ("GET", "/schemas/ids/{id}", lambda registry, asked: {"schema": registry.schema(asked.schema_id)}),
    ("GET", "/schemas/ids/{id}/schema", lambda registry, asked: json.loads(registry.schema(asked.schema_id))),
    (
        "GET",
        "/schemas/ids/{id}/subjects",
        lambda registry, asked: [
            version.subject for version in registry.versions_of_id(asked.schema_id, asked.flag("deleted"))
        ],
    ),
    (
        "GET",
        "/schemas/ids/{id}/versions",
        lambda registry, asked: [
            {"subject": version.subject, "version": version.version}
            for version in registry.versions_of_id(asked.schema_id, asked.flag("deleted"))
        ],
    ),
    ("GET", "/config", lambda registry, _asked: {"compatibilityLevel": registry.level(None)}),
    (
        "PUT",
        "/config",
        lambda registry, asked: {"compatibility": registry.set_level(None, asked.body.get("compatibility"))},
    ),
    ("DELETE", "/config", lambda registry, _asked: {"compatibilityLevel": registry.unset_level(None)}),
    ("GET", "/config/{subject}", _config),
    (
        "PUT",
        "/config/{subject}",
        lambda registry, asked: {
            "compatibility": registry.set_level(asked.subject, asked.body.get("compatibility"))
        },
    ),
    (
        "DELETE",
        "/config/{subject}",
        lambda registry, asked: {"compatibilityLevel": registry.unset_level(asked.subject)},
    ),
    ("GET", "/mode", lambda registry, _asked: {"mode": registry.mode(None)}),
    ("PUT", "/mode", lambda registry, asked: {"mode": registry.set_mode(None, asked.body.get("mode"))}),
    ("DELETE", "/mode", lambda registry, _asked: {"mode": registry.unset_mode(None)}),
    (
        "GET",
        "/mode/{subject}",
        lambda registry, asked: {
            "mode": registry.mode(asked.subject, default_to_global=asked.flag("defaultToGlobal"))
        },
    ),
    (
        "PUT",
        "/mode/{subject}",
        lambda registry, asked: {"mode": registry.set_mode(asked.subject, asked.body.get("mode"))},
    ),
    ("DELETE", "/mode/{subject}", lambda registry, asked: {"mode": registry.unset_mode(asked.subject)}),
    ("POST", "/compatibility/subjects/{subject}/versions", _compatible),
    ("POST", "/compatibility/subjects/{subject}/versions/{version}", _compatible),
)
