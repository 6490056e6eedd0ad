"""What the stream knows at this moment: windowed sums of what was sold, and how far each job is behind."""

import polars as pl
from fastapi import APIRouter, Request, Response

from serving import cursors
from serving.access import Operator, Reader
from serving.answers import LagAnswer, LagsAnswer, WindowsAnswer, problems
from serving.negotiation import FORMATS, Format, choose
from serving.parameters import (
    ROWS_DEFAULT,
    Ask,
    Cursor,
    Customer,
    End,
    Final,
    Limit,
    Location,
    Product,
    Start,
    WindowName,
    check_days,
)
from serving.ports import WINDOW_COLUMNS
from serving.problems import BAD_CURSOR, NOT_ACCEPTABLE
from serving.service import Parts
from serving.tables import TIME_TEXT, Page, page_response

router = APIRouter(tags=["Stream"])

_ORDER = "(order)"
_SEPARATOR = "\0"


@router.get(
    "/v1/sales/windows",
    response_model=WindowsAnswer,
    responses={
        200: {"content": FORMATS, "description": "A page of windows."},
        **problems(BAD_CURSOR, NOT_ACCEPTABLE),
    },
)
def list_windows(
    request: Request,
    parts: Parts,
    caller: Reader,
    customer_id: Customer,
    location_id: Location = None,
    product_id: Product = None,
    window: WindowName = None,
    start: Start = None,
    end: End = None,
    final: Final = None,
    cursor: Cursor = None,
    limit: Limit = ROWS_DEFAULT,
    form: Ask = None,
) -> Response:
    """Read what was sold by windows of time, as far as sales have come.

    Start and end select by the local day on which a window starts. The newest million windows of the installation are
    at hand; older ones are in the topic `sales-windows`, and days in the lake.
    """
    check_days(start, end)
    chosen = choose(request.headers.get("accept"), form, tuple(Format))
    table = parts.windows.windows(customer_id)
    equal = {"location_id": location_id, "product_id": product_id, "window": window, "final": final}
    wanted = [pl.lit(value=True)]
    wanted += [pl.col(name) == value for name, value in equal.items() if value is not None]
    wanted += [pl.col("location_id").is_in(caller.location_ids)] if caller.location_ids is not None else []
    wanted += [pl.col("starts_on") >= start] if start is not None else []
    wanted += [pl.col("starts_on") <= end] if end is not None else []
    query = ("windows", customer_id, *equal.values(), str(start), str(end))
    begins = pl.col("starts_at").dt.strftime(TIME_TEXT)
    order = pl.concat_str("location_id", "product_id", "window", begins, separator=_SEPARATOR)
    found = table.rows.filter(wanted).with_columns(order.alias(_ORDER)).sort(_ORDER)
    about = {"customer_id": customer_id, "total": found.height, "complete": table.ready}
    if cursor is not None:
        # By the last window shown, not by a count: a page stays right while windows come and go.
        found = found.filter(pl.col(_ORDER) > cursors.decode_text(cursor, query))
    shown = found.head(limit)
    following = cursors.encode(query, "", str(shown[_ORDER][-1])) if found.height > limit else None
    return page_response(request, Page("windows", shown.select(WINDOW_COLUMNS), about, following), chosen)


@router.get("/v1/lags", response_model=LagsAnswer)
def list_lags(parts: Parts, _: Operator) -> LagsAnswer:
    """Say how far each job is behind its input, by partition."""
    found = [
        LagAnswer(job=one.job, topic=one.topic, partition=one.partition, messages=one.messages, end=one.end)
        for one in parts.lags.lags()
    ]
    return LagsAnswer(lags=found)
