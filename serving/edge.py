"""What surrounds every request: its time is measured, its answer guarded and written down, its failure answered.

Guarantee: an answer that comes before the end of a request's body ends the connection, so nobody can send on for ever;
one that its reader does not take for `STALL_S_MAX` seconds is given up. A failure that nothing else caught is logged
with its traceback and answered with a problem document that shows nothing of it. Metrics name the route's template,
never the address asked, so their number is bounded.
"""

import logging
import time

import anyio
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra import telemetry
from serving import audit
from serving.problems import INTERNAL, TOO_BUSY, Problem, problem_response

logger = logging.getLogger(__name__)

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
REQUESTS_MAX = 512
"""Most requests at once in one process; each further one is told to come again, at once and at little cost."""

STALL_S_MAX = 60.0
BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Edge:
    """Bounds and measures requests and adds the headers above to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, begun = time.perf_counter(), 500, False
        whole = scope["method"] in BODILESS

        async def heard() -> Message:
            nonlocal whole
            message = await receive()
            whole = not message.get("more_body", False)
            return message

        async def guarded(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if not whole:
                    headers["Connection"] = "close"
                await send(message)
            elif message.get("more_body", False):
                with anyio.fail_after(STALL_S_MAX):
                    await send(message)
            else:
                await send(message)

        self._running += 1
        try:
            if self._running > REQUESTS_MAX:
                busy = Problem(TOO_BUSY, f"{REQUESTS_MAX} requests are under way.", {"Retry-After": "1"})
                await problem_response(busy, scope["path"])(scope, receive, guarded)
            else:
                await self._app(scope, heard, guarded)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if begun:
                raise
            failure = problem_response(Problem(INTERNAL, "An unexpected error was logged."), scope["path"])
            await failure(scope, receive, guarded)
        finally:
            self._running -= 1
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in METHODS else "other"
            seconds = time.perf_counter() - started
            telemetry.http_seconds.labels(method, route, str(status)).observe(seconds)
            audit.record(scope, status, seconds)
