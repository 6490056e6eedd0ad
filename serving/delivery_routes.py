"""Deliveries over HTTP: send a file, ask what became of it, read what was refused.

Guarantee: an answer of 200 or 202 means that the file is stored and stands in the log of deliveries. The same
bytes sent again are answered with the first id, so sending again after a broken connection is always safe.
"""

from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import UTC
from typing import Annotated, BinaryIO, cast

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from serving import cursors
from serving.access import Caller, Deliverer, Watcher
from serving.answers import DeliveriesAnswer, DeliveryAnswer, ErrorsAnswer, ReceiptAnswer, problems
from serving.negotiation import MEDIA_TYPES, Format, choose
from serving.parameters import (
    Ask,
    Cursor,
    Customer,
    DeliveryId,
    DeliveryStates,
    FileContent,
    FileName,
    IdempotencyKey,
    Limit,
)
from serving.ports import Content, Delivery, Receipt
from serving.problems import (
    BAD_CURSOR,
    FOREIGN_CUSTOMER,
    FOREIGN_ORIGIN,
    KEY_IN_USE,
    MISSING_SCOPE,
    NOT_ACCEPTABLE,
    STALE_CURSOR,
    TOO_LARGE,
    UNKNOWN_DELIVERY,
    UPLOAD_BROKEN,
    UPLOAD_STALLED,
    Problem,
)
from serving.service import Parts, Service
from serving.tables import DESCRIPTIONS, Page, page_response
from serving.uploads import RequestBody, UploadError, buffered, too_large

router = APIRouter(tags=["Deliveries"])

ERROR_COLUMNS = (
    "position",
    "codes",
    "messages",
    "sale_id",
    "location_id",
    "product_id",
    "sold_at",
    "quantity",
    "unit_price",
    "voided",
    "content",
    "judged_at",
)
ERROR_FORMATS = (Format.JSON, Format.CSV)


def check_length(request: Request, bytes_max: int) -> None:
    """Refuse a body that says itself that it is too large, before any of it is read.

    Raises:
        Problem: 413.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > bytes_max:
        raise too_large(bytes_max)


@router.post(
    "/v1/deliveries",
    status_code=202,
    response_model=ReceiptAnswer,
    responses={
        200: {
            "model": ReceiptAnswer,
            "description": "The same bytes, or a request with this key, were accepted before; this is their id.",
        },
        202: {"description": "Stored and queued; ask for the delivery to learn what became of it."},
        **problems(
            UPLOAD_BROKEN,
            MISSING_SCOPE,
            FOREIGN_CUSTOMER,
            FOREIGN_ORIGIN,
            UPLOAD_STALLED,
            KEY_IN_USE,
            TOO_LARGE,
        ),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The file: XML, CSV, JSON Lines or Parquet, plain or packed with gzip or zstd.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def deliver(
    request: Request,
    parts: Parts,
    _: Deliverer,
    customer_id: Customer,
    name: FileName,
    content: FileContent = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Deliver a file of sales, locations, products, prices or events."""
    with parts.keys.using(customer_id, idempotency_key):
        if idempotency_key is not None:
            known = await anyio.to_thread.run_sync(parts.keys.answered, customer_id, idempotency_key, name)
            if known is not None:
                return receipt_response(known)
        receipt = await received(request, parts, customer_id, content, name)
        if idempotency_key is not None:
            await anyio.to_thread.run_sync(parts.keys.remember, customer_id, idempotency_key, name, receipt)
    return receipt_response(receipt)


async def received(
    request: Request, parts: Service, customer_id: str, content: Content | None, name: str
) -> Receipt:
    """Hand the body of a request to the desk as it arrives.

    Raises:
        Problem: The body is too large, stalled, trickled or broke, or all places are taken.
        DeliveryError: The file cannot be accepted.
        UnavailableError: The store or the log cannot be reached.
    """
    bounds = parts.settings.ingest
    check_length(request, bounds.file_bytes_max)
    pieces = cast("AsyncIterator[bytes]", request.stream())
    arriving = RequestBody(pieces, bounds.file_bytes_max, bounds.upload_bytes_per_s_min)
    with parts.uploads as slot, buffered(arriving) as body:
        # A BufferedReader has the methods of BinaryIO but is not declared as one.
        stream = cast("BinaryIO", body)
        try:
            return await anyio.to_thread.run_sync(
                parts.desk.accept, customer_id, content, name, stream, limiter=slot.limiter
            )
        except UploadError as error:
            raise error.problem from error


def receipt_response(receipt: Receipt) -> Response:
    """The answer to an accepted file."""
    return JSONResponse(
        asdict(receipt),
        200 if receipt.repeated else 202,
        {"Location": f"/v1/deliveries/{receipt.delivery_id}"},
    )


@router.get("/v1/deliveries", response_model=DeliveriesAnswer, responses=problems(BAD_CURSOR))
def list_deliveries(
    parts: Parts,
    _: Watcher,
    customer_id: Customer,
    state: DeliveryStates = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=1_000, description="Most deliveries in one page.")] = 50,
) -> DeliveriesAnswer:
    """List a customer's deliveries, newest first."""
    query = ("deliveries", customer_id, state)
    before = None if cursor is None else cursors.decode_number(cursor, query)[1]
    found = parts.deliveries.page(customer_id, state, before, limit + 1)
    shown = list(found[:limit])
    following = cursors.encode(query, "", shown[-1].delivery_id) if len(found) > limit else None
    return DeliveriesAnswer(
        customer_id=customer_id, deliveries=[DeliveryAnswer.of(one) for one in shown], next_cursor=following
    )


def known_delivery(parts: Service, caller: Caller, delivery_id: int) -> Delivery:
    """A delivery that exists and that the caller may see; whether there is one of another customer is not told.

    Raises:
        Problem: 404.
    """
    delivery = parts.deliveries.get(delivery_id)
    if delivery is None or not caller.sees(delivery.customer_id):
        raise Problem(UNKNOWN_DELIVERY, f"No delivery has the id {delivery_id}.")
    return delivery


@router.get(
    "/v1/deliveries/{delivery_id}", response_model=DeliveryAnswer, responses=problems(UNKNOWN_DELIVERY)
)
def show_delivery(parts: Parts, caller: Watcher, delivery_id: DeliveryId) -> DeliveryAnswer:
    """Show what became of a delivery."""
    return DeliveryAnswer.of(known_delivery(parts, caller, delivery_id))


@router.get(
    "/v1/deliveries/{delivery_id}/errors",
    response_model=ErrorsAnswer,
    responses={
        200: {"content": {MEDIA_TYPES[form]: {} for form in ERROR_FORMATS}},
        **problems(BAD_CURSOR, UNKNOWN_DELIVERY, NOT_ACCEPTABLE, STALE_CURSOR),
    },
)
def list_errors(
    request: Request,
    parts: Parts,
    caller: Watcher,
    delivery_id: DeliveryId,
    cursor: Cursor = None,
    limit: Limit = 100,
    form: Ask = None,
) -> Response:
    """List the refused records of a delivery by their place in the file, with every reason.

    As CSV the sales among them are a delivery file: mend the lines and send it back. The columns that say what was
    wrong are passed over.
    """
    chosen = choose(request.headers.get("accept"), form, ERROR_FORMATS)
    delivery = known_delivery(parts, caller, delivery_id)
    query = ("errors", delivery_id)
    seen, offset = ("", 0) if cursor is None else cursors.decode_number(cursor, query)
    accepted_on = delivery.accepted_at.astimezone(UTC).date()
    rows, listed = parts.lake.errors(
        delivery.customer_id, delivery_id, offset, limit, received_on=accepted_on
    )
    # More refused records may lie before the page's beginning than when the cursor was made.
    if cursor is not None and seen != str(listed):
        raise Problem(STALE_CURSOR, f"{seen} refused records could be listed then, {listed} now.")
    following = cursors.encode(query, str(listed), offset + limit) if offset + limit < listed else None
    about = {
        "delivery_id": delivery_id,
        "customer_id": delivery.customer_id,
        # The report may lag behind the lake as well as run ahead of it.
        "total": max(delivery.invalid, listed),
        "listed": listed,
    }
    page = Page("errors", rows.select(ERROR_COLUMNS), about, following, DESCRIPTIONS["sales_error"])
    return page_response(request, page, chosen, {"Headrace-Total": str(about["total"])})
