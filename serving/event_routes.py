"""Server-sent events over HTTP: told when a delivery is done or a new run is current, instead of asking ever again."""

import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated

import anyio
import anyio.to_thread
from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from infra.errors import UnavailableError
from serving.access import Caller, Watcher
from serving.answers import problems
from serving.events import Mark
from serving.parameters import Customer
from serving.problems import BAD_CURSOR, TOO_BUSY
from serving.service import Parts, Service
from serving.tokens import now_utc

router = APIRouter(tags=["Deliveries"])

LISTEN_S_MAX = 3_600
POLL_S = 0.5
SILENCE_S_MAX = 15.0
"""After so much silence a comment is sent, so that proxies and listeners see that the connection lives."""

EVENT_STREAM = "text/event-stream"
EVENT = {
    "type": "object",
    "description": "One event; the answer is a row of them.",
    "required": ["event", "id", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["run", "delivery"]},
        "id": {"type": "string", "description": "For Last-Event-ID."},
        "data": {
            "type": "string",
            "description": "JSON: the run, or the delivery as GET /v1/deliveries/ID has it.",
        },
    },
}
EXAMPLE = (
    "event: run\nid: 2026-11-20-7 2026-11-20T12:00:04+00:00 42\n"
    'data: {"customer_id":"corner-shops","run_id":"2026-11-20-7","model":"global_trees",'
    '"made_on":"2026-11-20","manifest":7}\n\n'
)


@router.get(
    "/v1/events",
    response_class=Response,
    responses={
        200: {
            "content": {EVENT_STREAM: {"schema": EVENT, "example": EXAMPLE}},
            "description": "Events `run` and `delivery`, as they come.",
        },
        **problems(BAD_CURSOR, TOO_BUSY),
    },
)
async def listen(
    parts: Parts,
    caller: Watcher,
    customer_id: Customer,
    seconds: Annotated[
        int, Query(ge=0, le=LISTEN_S_MAX, description="How long to listen; with 0 what is new, and the end.")
    ] = LISTEN_S_MAX,
    last_event_id: Annotated[
        str | None,
        Header(
            max_length=300,
            description="Id of the last event that came through; browsers send it by themselves.",
        ),
    ] = None,
) -> Response:
    """Listen to what becomes known of a customer, as server-sent events.

    First comes `run` with the current run, then `run` for each that becomes current, and `delivery` for each delivery
    that is done or rejected. Who comes back with Last-Event-ID is told what came to pass meanwhile.
    """
    with ExitStack() as entered:
        entered.enter_context(parts.events)
        if last_event_id is None:
            mark = await anyio.to_thread.run_sync(parts.events.now, customer_id)
        else:
            mark = Mark.parsed(last_event_id)
        # From here on the answer itself keeps the place, to its end.
        place = entered.pop_all()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    told = events_of(parts, caller, customer_id, mark, seconds, place)
    return StreamingResponse(told, headers=headers, media_type=EVENT_STREAM)


async def events_of(
    parts: Service, caller: Caller, customer_id: str, mark: Mark, seconds: float, place: ExitStack
) -> AsyncIterator[bytes]:
    """The events of a customer since a mark, until the time is over, the token ends or the service stops.

    Args:
        parts: Of the service.
        caller: Who listens.
        customer_id: To whose events.
        mark: Up to where it was told before.
        seconds: How long it listens.
        place: Its place among the listeners, given back at the end.
    """
    with place:
        began_s = told_s = time.monotonic()
        yield b"retry: 2000\n\n"
        while True:
            try:
                news = await anyio.to_thread.run_sync(
                    lambda since: list(parts.events.since(customer_id, since)), mark
                )
            except UnavailableError:
                news = []  # The lake comes back, and with it the news.
            for event, mark in news:  # noqa: B007 – the last one is where the next look begins.
                yield event
            now_s = time.monotonic()
            told_s = now_s if news else told_s
            over = now_s - began_s >= seconds or parts.events.stopping
            if over or not parts.tokens.is_valid(caller.token, now_utc()):
                return
            if now_s - told_s > SILENCE_S_MAX:
                told_s = now_s
                yield b": still here\n\n"
            await anyio.sleep(POLL_S)
