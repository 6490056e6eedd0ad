"""Every error answer as a problem document of RFC 9457.

Guarantee: whatever goes wrong, the answer is `application/problem+json` with `type`, `title`, `status`,
`detail` and `action`, the last of which says what to do. A kind's `type` is a link into this service's own
reference. Nothing about the inside of the service stands in a 500.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from infra.errors import DeliveryError, UnavailableError

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: its slug in `type`, its status and what the caller should do."""

    slug: str
    status: int
    title: str
    action: str


INVALID_REQUEST = Kind(
    "invalid-request",
    422,
    "The request is not valid",
    "Correct the parameters named in errors and ask again.",
)
DELIVERY_REFUSED = Kind(
    "delivery-refused",
    422,
    "The file cannot be accepted",
    "Correct the file, its name or its content and send it again.",
)
UNKNOWN_DELIVERY = Kind(
    "unknown-delivery",
    404,
    "There is no such delivery",
    "Look up the id in GET /v1/deliveries; a file just sent appears there within seconds.",
)
NO_FORECAST = Kind(
    "no-forecast",
    404,
    "No forecast is published for this customer yet",
    "Deliver sales and let the daily run finish; GET /v1/forecasts/runs says why a run was not published.",
)
UNKNOWN_RUN = Kind(
    "unknown-run",
    404,
    "There is no such run",
    "Take the run_id of one of GET /v1/forecasts/runs that is accepted; refused runs are not served.",
)
STALE_CURSOR = Kind(
    "stale-cursor",
    410,
    "What this cursor pages through has changed",
    "Ask again from the start, without cursor.",
)
BAD_CURSOR = Kind(
    "bad-cursor",
    400,
    "The cursor does not belong to this request",
    "Use the link of rel=next of the page before unchanged, or leave out cursor to begin again.",
)
NOT_ACCEPTABLE = Kind(
    "not-acceptable",
    406,
    "None of the types asked for can be made",
    "Ask for one of the types named in detail.",
)
TOO_LARGE = Kind(
    "too-large", 413, "The file is too large", "Split the file and send the parts as deliveries of their own."
)
BODY_TOO_LARGE = Kind(
    "body-too-large", 413, "The request is too large", "Ask in several requests, each for a part."
)
UPLOAD_BROKEN = Kind(
    "upload-broken",
    400,
    "The upload ended early",
    "Send the file again from the start; nothing of it was accepted.",
)
UPLOAD_STALLED = Kind(
    "upload-stalled",
    408,
    "The upload stood still for too long",
    "Send the file again; nothing of it was accepted.",
)
KEY_IN_USE = Kind(
    "key-in-use",
    409,
    "A request with this key is under way",
    "Wait for its answer, or try again after the time in Retry-After.",
)
KEY_OF_ANOTHER = Kind(
    "key-of-another",
    422,
    "This key was used for another file",
    "Make a new key for each file; send the old one only to repeat the same request.",
)
TOO_MANY_UPLOADS = Kind(
    "too-many-uploads",
    503,
    "As many uploads as can be taken are under way",
    "Try again after the time in Retry-After.",
)
NOT_SIGNED_IN = Kind(
    "not-signed-in",
    401,
    "This address is for those with a token",
    "Send the header Authorization: Bearer TOKEN. The operator makes tokens by headrace token make, and a link "
    "into the page by headrace page.",
)
MISSING_SCOPE = Kind(
    "missing-scope",
    403,
    "The token may not do this",
    "Use a token with the scope named in detail; the operator makes it.",
)
FOREIGN_CUSTOMER = Kind(
    "foreign-customer",
    403,
    "The token is for another customer",
    "Ask for the customer named in detail.",
)
FOREIGN_LOCATION = Kind(
    "foreign-location",
    403,
    "The token is for other locations",
    "Ask for a location named by GET /v1/session, or use a token for all of them.",
)
TOO_MANY_REQUESTS = Kind(
    "too-many-requests",
    429,
    "More requests than this caller may make",
    "Wait for the seconds in Retry-After, and ask for more rows at once instead of more often.",
)
SPENT_LINK = Kind(
    "spent-link",
    410,
    "This link into the page is spent",
    "Make another by headrace page; each works once, for ten minutes.",
)
FOREIGN_ORIGIN = Kind(
    "foreign-origin",
    403,
    "A page of another site may not change anything here",
    "Send the request from this service's page or a program.",
)
TOO_BUSY = Kind(
    "too-busy",
    503,
    "As many requests as can be taken are under way",
    "Try again after the time in Retry-After.",
)
UNAVAILABLE = Kind(
    "unavailable",
    503,
    "Something that this answer needs cannot be reached",
    "Try again after the time in Retry-After; GET /readyz says what is missing.",
)
NOT_FOUND = Kind("not-found", 404, "There is nothing at this address", "GET /docs lists every address.")
METHOD_NOT_ALLOWED = Kind(
    "method-not-allowed",
    405,
    "This address does not take this method",
    "Use a method named in the header Allow.",
)
REFUSED = Kind("refused", 400, "The request was refused", "Compare the request with GET /docs.")
INTERNAL = Kind(
    "internal",
    500,
    "The service failed at this request",
    "Try again; if it stays so, send the operator the time and address of the request.",
)

KINDS: tuple[Kind, ...] = (
    INVALID_REQUEST,
    DELIVERY_REFUSED,
    UNKNOWN_DELIVERY,
    NO_FORECAST,
    UNKNOWN_RUN,
    STALE_CURSOR,
    BAD_CURSOR,
    NOT_ACCEPTABLE,
    TOO_LARGE,
    BODY_TOO_LARGE,
    UPLOAD_BROKEN,
    UPLOAD_STALLED,
    KEY_IN_USE,
    KEY_OF_ANOTHER,
    TOO_MANY_UPLOADS,
    NOT_SIGNED_IN,
    MISSING_SCOPE,
    FOREIGN_CUSTOMER,
    FOREIGN_LOCATION,
    TOO_MANY_REQUESTS,
    SPENT_LINK,
    FOREIGN_ORIGIN,
    TOO_BUSY,
    UNAVAILABLE,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    REFUSED,
    INTERNAL,
)
"""Every kind, in the order in which the reference shows them."""


class Problem(Exception):  # noqa: N818 – RFC 9457 calls it a problem.
    """A request that is answered with a problem document.

    Args:
        kind: What sort of problem.
        detail: What was expected and what was found in this request.
        headers: Further headers of the answer.
        errors: For a refused request, one entry a parameter.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str,
        headers: Mapping[str, str] | None = None,
        errors: tuple[Mapping[str, str], ...] = (),
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = errors


def problem_response(problem: Problem, path: str) -> Response:
    """The answer to a request to `path` that met `problem`."""
    kind = problem.kind
    document: dict[str, object] = {
        "type": f"/docs#{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "action": kind.action,
        "instance": path,
    }
    if problem.errors:
        document["errors"] = list(problem.errors)
    return Response(orjson.dumps(document), kind.status, problem.headers, MEDIA_TYPE)


def of_validation(error: RequestValidationError) -> Problem:
    """The problem of parameters that FastAPI refused; what was sent is not repeated back."""
    found = tuple(
        {"parameter": ".".join(str(part) for part in item["loc"][1:]) or "body", "message": str(item["msg"])}
        for item in error.errors()
    )
    named = "; ".join(f"{item['parameter']}: {item['message']}" for item in found)
    return Problem(INVALID_REQUEST, named, errors=found)


def allowed_methods(app: FastAPI, path: str) -> list[str]:
    """Every method that the address `path` takes; the framework itself names those of one route only."""
    found = {
        method.upper()
        for template, methods in app.openapi()["paths"].items()
        if compile_path(template)[0].match(path)
        for method in methods
    }
    return sorted(found)


def of_http(error: HTTPException, methods: Sequence[str]) -> Problem:
    """The problem of an error that the framework itself raised, such as an unknown address.

    Args:
        error: The error.
        methods: What the address takes.
    """
    headers = dict(error.headers or {})
    if error.status_code == NOT_FOUND.status:
        return Problem(NOT_FOUND, "No resource has this address.", headers)
    if error.status_code == METHOD_NOT_ALLOWED.status:
        allowed = ", ".join(methods) or headers.get("Allow", "GET")
        return Problem(METHOD_NOT_ALLOWED, f"Allowed: {allowed}.", {**headers, "Allow": allowed})
    kind = Kind(REFUSED.slug, error.status_code, REFUSED.title, REFUSED.action)
    return Problem(kind, str(error.detail), headers)


def of_exception(error: Exception, request: Request) -> Problem:
    """The problem of an error that a request met."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return of_validation(error)
    if isinstance(error, HTTPException):
        return of_http(error, allowed_methods(request.app, request.url.path))
    if isinstance(error, DeliveryError):
        return Problem(DELIVERY_REFUSED, str(error))
    return Problem(UNAVAILABLE, str(error), {"Retry-After": "5"})


def install(app: FastAPI) -> None:
    """Make `app` answer every error with a problem document."""

    async def answer(request: Request, error: Exception) -> Response:
        return problem_response(of_exception(error, request), request.url.path)

    for sort in (Problem, RequestValidationError, HTTPException, DeliveryError, UnavailableError):
        app.add_exception_handler(sort, answer)
