"""Health, metrics, the page and the reference.

Guarantee: the page and the reference load nothing from outside this service; the header
`Content-Security-Policy` holds browsers to it.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from serving.access import GUARDS, Operator
from serving.answers import PartAnswer, ProblemAnswer, ReadyAnswer, problems
from serving.examples import EXAMPLES
from serving.ports import PartHealth
from serving.problems import KINDS, NOT_FOUND, Problem
from serving.problems import MEDIA_TYPE as PROBLEM_TYPE
from serving.service import Parts

router = APIRouter(tags=["Service"])

# What the page may load, by its name in the folder `page`; nothing else of the folder is served.
ASSETS: Mapping[str, str] = {
    "app.js": "text/javascript; charset=utf-8",
    "api.js": "text/javascript; charset=utf-8",
    "entry.js": "text/javascript; charset=utf-8",
    "chart.js": "text/javascript; charset=utf-8",
    "deliveries.js": "text/javascript; charset=utf-8",
    "picker.js": "text/javascript; charset=utf-8",
    "stream.js": "text/javascript; charset=utf-8",
    "windows.js": "text/javascript; charset=utf-8",
    "words.js": "text/javascript; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
CACHE = {"Cache-Control": "no-cache"}


def page_bytes(name: str) -> bytes:
    """A file of the page, from wherever the package is installed."""
    return files("serving").joinpath("page", name).read_bytes()


@router.get("/", include_in_schema=False)
def page() -> Response:
    """The planner's page."""
    return Response(page_bytes("index.html"), headers=CACHE, media_type="text/html; charset=utf-8")


@router.get("/docs", include_in_schema=False)
def reference() -> Response:
    """The reference of the API."""
    return Response(page_bytes("docs.html"), headers=CACHE, media_type="text/html; charset=utf-8")


@router.get("/page/{name}", include_in_schema=False)
def asset(name: str) -> Response:
    """A file that the page loads."""
    if name not in ASSETS:
        raise Problem(NOT_FOUND, "The page has no such file.")
    return Response(page_bytes(name), headers=CACHE, media_type=ASSETS[name])


@router.get("/healthz", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def health() -> Response:
    """Say that the process answers; it leans on nothing else."""
    return Response(b"ok\n", media_type="text/plain")


@router.get("/readyz", response_model=ReadyAnswer, responses={503: {"model": ReadyAnswer}})
def readiness(parts: Parts) -> Response:
    """Say whether everything that the service leans on can be used, and what cannot."""
    found = [*parts.health.parts(), PartHealth("forecasts", *parts.forecasts.health())]
    shown = [PartAnswer(name=one.name, ready=one.ready, detail=one.detail) for one in found]
    answer = ReadyAnswer(ready=all(one.ready for one in found), parts=shown)
    return Response(
        answer.model_dump_json(),
        200 if answer.ready else 503,
        {"Cache-Control": "no-store"},
        "application/json",
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **problems(*GUARDS)},
)
def metrics(_: Operator) -> Response:
    """Metrics of this process for Prometheus."""
    return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request) -> Response:
    """The description of the API, with the kinds of problems beside the addresses."""
    document = request.app.openapi()
    kinds = [
        {"slug": kind.slug, "status": kind.status, "title": kind.title, "action": kind.action}
        for kind in KINDS
    ]
    shown = {**document, "paths": described(document["paths"]), "x-problems": kinds}
    return Response(orjson.dumps(shown), headers=CACHE, media_type="application/json")


def described(paths: dict[str, Any]) -> dict[str, Any]:
    """The addresses with an example of each JSON answer, and problems under the type that they are sent with."""
    return {
        path: {
            method: {
                **operation,
                "responses": {status: _described(one) for status, one in operation["responses"].items()},
            }
            for method, operation in methods.items()
        }
        for path, methods in paths.items()
    }


def _described(answer: dict[str, Any]) -> dict[str, Any]:
    shown = {}
    for media_type, content in answer.get("content", {}).items():
        name = content.get("schema", {}).get("$ref", "").rsplit("/", 1)[-1]
        example = {"example": EXAMPLES[name]} if name in EXAMPLES else {}
        shown[PROBLEM_TYPE if name == ProblemAnswer.__name__ else media_type] = {**content, **example}
    return {**answer, **({"content": shown} if shown else {})}
