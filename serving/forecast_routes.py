"""Forecasts, the runs that made them, and the history they go on from.

Guarantee: every answer with forecasts names its run, model, day and manifest, in JSON beside the rows, in the
other formats as columns, and always in headers. All rows of an answer are of one run, and following the pages
stays in the run that the first page was of.
"""

import zlib
from typing import Annotated

import polars as pl
from fastapi import APIRouter, Query, Request, Response

from lake.forecast_status import ForecastStatus
from serving import cursors
from serving.access import Caller, Reader
from serving.answers import ForecastsAnswer, HistoryAnswer, RunAnswer, RunsAnswer, problems
from serving.forecast_run import RunTable, Selection
from serving.negotiation import FORMATS, Format, choose
from serving.parameters import (
    ID_CHARS_MAX,
    ROWS_DEFAULT,
    Ask,
    Cursor,
    Customer,
    End,
    Limit,
    Location,
    Product,
    Start,
    check_days,
)
from serving.problems import BAD_CURSOR, NO_FORECAST, NOT_ACCEPTABLE, STALE_CURSOR, Problem
from serving.service import Parts, Service
from serving.tables import DESCRIPTIONS, Page, page_response

router = APIRouter(tags=["Forecasts"])

ORIGIN_HEADERS = {
    "Headrace-Run-Id": "run_id",
    "Headrace-Model": "model",
    "Headrace-Made-On": "made_on",
    "Headrace-Manifest": "manifest",
}
HISTORY_DAYS_MAX = 1_100
VARY = "Accept, Authorization, Cookie"


def run_to_read(
    parts: Service, customer_id: str, cursor: str | None, query: tuple[object, ...]
) -> tuple[RunTable, ForecastStatus, int]:
    """The run that a request reads, how the customer's forecasts stand, and the row to begin at.

    Raises:
        Problem: 404 when no run is published; 410 when the cursor's run is gone.
    """
    if cursor is None:
        held = parts.forecasts.published(customer_id)
        if held is None:
            why = parts.forecasts.status(customer_id).reasons
            text = f"The customer {customer_id} has no published run"
            raise Problem(NO_FORECAST, f"{text}: {'; '.join(why)}" if why else f"{text}.")
        return held.run, held.status, 0
    run_id, position = cursors.decode_number(cursor, query)
    run = parts.forecasts.run(customer_id, run_id)
    if run is None:
        raise Problem(STALE_CURSOR, f"The run {run_id} has been replaced since.")
    return run, parts.forecasts.status(customer_id), position


def etag_of(run: RunTable, status: ForecastStatus, form: Format, caller: Caller) -> str:
    """The entity tag of an answer from a run; the address, and what the caller may see, say which of its rows."""
    degraded = f".{status.as_of}" if status.state == "degraded" else ""
    seen = "" if caller.location_ids is None else f".{zlib.crc32(repr(caller.location_ids).encode()):x}"
    return f'"{run.origin.run_id}{degraded}.{form.value}{seen}"'


def is_known(request: Request, etag: str) -> bool:
    """Whether the caller holds this very answer already (`If-None-Match`, weak comparison)."""
    held = [text.strip().removeprefix("W/") for text in request.headers.get("if-none-match", "").split(",")]
    return etag in held or "*" in held


def origin_columns(run: RunTable) -> list[pl.Expr]:
    """What JSON says beside the rows, as columns for the formats that have only columns."""
    return [pl.lit(value).alias(name) for name, value in run.origin.fields().items()]


@router.get(
    "/v1/forecasts",
    response_model=ForecastsAnswer,
    responses={
        200: {"content": FORMATS, "description": "A page of forecasts, all of one run."},
        304: {"description": "The run is still the one of If-None-Match."},
        **problems(BAD_CURSOR, NO_FORECAST, NOT_ACCEPTABLE, STALE_CURSOR),
    },
)
def list_forecasts(
    request: Request,
    parts: Parts,
    caller: Reader,
    customer_id: Customer,
    location_id: Location = None,
    product_id: Product = None,
    start: Start = None,
    end: End = None,
    cursor: Cursor = None,
    limit: Limit = ROWS_DEFAULT,
    form: Ask = None,
) -> Response:
    """Read the published forecasts, sorted by location, product and day."""
    check_days(start, end)
    chosen = choose(request.headers.get("accept"), form, tuple(Format))
    wanted = Selection(location_id, product_id, start, end, caller.location_ids)
    query = ("forecasts", customer_id, location_id, product_id, str(start), str(end))
    run, status, position = run_to_read(parts, customer_id, cursor, query)
    headers = {name: str(run.origin.fields()[field]) for name, field in ORIGIN_HEADERS.items()}
    headers |= {"Headrace-Forecast-State": status.state, "ETag": etag_of(run, status, chosen, caller)}
    headers |= {"Cache-Control": "private, no-cache", "Vary": VARY}
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    rows, following = run.page(wanted, position, limit)
    if chosen is not Format.JSON:
        rows = rows.with_columns(origin_columns(run))
    onward = None if following is None else cursors.encode(query, run.origin.run_id, following)
    about = {**run.origin.fields(), "state": status.state, "degraded_because": list(status.reasons)}
    page = Page("forecasts", rows, about, onward, DESCRIPTIONS["forecasts"])
    return page_response(request, page, chosen, headers)


@router.get("/v1/forecasts/runs", response_model=RunsAnswer)
def list_runs(
    parts: Parts,
    _: Reader,
    customer_id: Customer,
    limit: Annotated[int, Query(ge=1, le=200, description="Most runs, the newest first.")] = 20,
) -> RunsAnswer:
    """List the runs of the forecasting flow, also those that were not published, and why."""
    current = parts.runs.current(customer_id)
    found, total = parts.runs.newest(customer_id, limit)
    shown = [
        RunAnswer(
            run_id=run.run_id,
            current=run.run_id == current,
            model=run.model,
            manifest=run.manifest,
            made_on=run.made_on,
            origin=run.origin,
            horizon_days=run.horizon_days,
            accepted=run.accepted,
            reasons=list(run.reasons),
            metrics=dict(run.metrics),
        )
        for run in found
    ]
    status = parts.runs.status(customer_id)
    return RunsAnswer(
        customer_id=customer_id,
        current=current,
        state=status.state,
        degraded_because=list(status.reasons),
        degraded_since=status.since,
        total=total,
        runs=shown,
    )


@router.get(
    "/v1/history",
    response_model=HistoryAnswer,
    responses={200: {"content": FORMATS}, **problems(NOT_ACCEPTABLE)},
)
def list_history(
    request: Request,
    parts: Parts,
    _: Reader,
    customer_id: Customer,
    location_id: Annotated[
        str, Query(max_length=ID_CHARS_MAX, description="The location.", examples=["berlin-1"])
    ],
    product_id: Annotated[
        str, Query(max_length=ID_CHARS_MAX, description="The product.", examples=["milk-1l"])
    ],
    start: Start = None,
    end: End = None,
    days: Annotated[
        int, Query(ge=1, le=HISTORY_DAYS_MAX, description="Days up to the end, without start.")
    ] = 84,
    form: Ask = None,
) -> Response:
    """Read what one location sold of one product, by sealed day; a day without a sale has no row."""
    check_days(start, end)
    chosen = choose(request.headers.get("accept"), form, tuple(Format))
    found = parts.history.series(customer_id, location_id, product_id, start, end, days)
    about = {"customer_id": customer_id, "manifest": found.manifest, "data_up_to": found.data_up_to}
    return page_response(
        request, Page("history", found.rows, about, None, DESCRIPTIONS["sales_daily"]), chosen
    )
