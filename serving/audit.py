"""The audit log: who asked what, when, and how it was answered.

Guarantee: one line of JSON in the log `headrace.audit` for each request of a caller and for each that was
turned away. It names tokens by their ids; no header, no body, and of the parameters only the customer stand in
it, so no secret does.
"""

import logging
from urllib.parse import parse_qs

import orjson
from starlette.types import Scope

from serving.problems import NOT_SIGNED_IN

logger = logging.getLogger("headrace.audit")

PATH_CHARS_MAX = 200
CUSTOMER_CHARS_MAX = 64


def record(scope: Scope, status: int, seconds: float) -> None:
    """Write down a request that was answered.

    Args:
        scope: The request as ASGI has it.
        status: Of the answer.
        seconds: How long it took.
    """
    caller = scope.get("state", {}).get("caller")
    if (caller is None and status != NOT_SIGNED_IN.status) or not logger.isEnabledFor(logging.INFO):
        return
    asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("customer_id", [])
    client = scope.get("client")
    line = {
        "who": caller.token.parent or caller.token.token_id if caller else None,
        "name": caller.token.name if caller else None,
        "from": client[0] if client else None,
        "method": scope["method"],
        "path": scope["path"][:PATH_CHARS_MAX],
        "customer_id": asked[0][:CUSTOMER_CHARS_MAX] if asked else None,
        "status": status,
        "ms": round(seconds * 1e3, 1),
    }
    logger.info("%s", orjson.dumps(line).decode())
