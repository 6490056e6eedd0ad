"""The embedded schema registry: Confluent's REST API on one port.

It serves the one-machine stack, and any client of Confluent's registry. Its state lies in the topic `_schemas`
in Confluent's own form, so that Confluent's registry can take the topic over.

Guarantee: a registered schema keeps its id over any restart; an answer to a change means that the change is
in the log. A registry whose log was taken over by another stops.
"""

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.errors import FencedError, HeadraceError
from infra.settings import Settings
from schemas.registry_log import RegistryLog
from schemas.registry_rules import RefusedError, SchemaRegistry

logger = logging.getLogger(__name__)

BODY_BYTES_MAX = 2**20
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


def registry_app(registry: SchemaRegistry, stop: Callable[[], None] = lambda: None) -> Starlette:
    """The HTTP application.

    Args:
        registry: What it answers from.
        stop: Called when another registry has taken the log over.
    """
    return Starlette(
        routes=[
            Route(path, _endpoint(registry, handler, stop), methods=[method])
            for method, path, handler in _ROUTES
        ]
    )


def run_registry(settings: Settings, port: int) -> None:
    """Serve on the loopback address until told to stop.

    Raises:
        MissingPartError: No broker answers.
        FencedError: Another registry has taken over.
    """
    log = RegistryLog(settings)
    fenced = False

    def stop() -> None:
        nonlocal fenced
        fenced = True
        server.should_exit = True

    try:
        app = registry_app(SchemaRegistry(log), stop)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                host="127.0.0.1",
                port=port,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=5,
            )
        )
        server.run()
    finally:
        log.close()
    if fenced:
        raise FencedError("another schema registry has taken over; run only one on a broker")


def _endpoint(
    registry: SchemaRegistry,
    handler: Handler,
    stop: Callable[[], None],
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            body = await _body(request)
            asked = _Asked(dict(request.path_params), dict(request.query_params), body)
            return _reply(200, await run_in_threadpool(handler, registry, asked))
        except RefusedError as error:
            return _reply(error.status, {"error_code": error.code, "message": str(error)})
        except FencedError as error:
            stop()
            return _reply(500, {"error_code": 50003, "message": str(error)})
        except HeadraceError as error:
            logger.warning("the registry's log: %s", error)
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
        lambda registry, asked: [] if registry.version(asked.subject, asked.path["version"]) else [],
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
