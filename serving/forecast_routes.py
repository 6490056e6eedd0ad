"""Forecasts: pages of a run, some series at once, sums of groups; and the history that they go on from.

Guarantee: every answer with forecasts names its run, model, day and manifest, in JSON beside the rows, in the
other formats as columns, and always in headers. All rows of an answer are of one run, and following the pages
stays in the run that the first page was of.
"""

import zlib
from typing import Annotated

import anyio.to_thread
import polars as pl
from fastapi import APIRouter, Depends, Request, Response
from fastapi import Query as QueryParameter
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from infra.settings import CustomerId
from lake.forecast_status import ForecastStatus
from serving import cursors
from serving.access import Caller, Reader
from serving.answers import ForecastsAnswer, GroupsAnswer, HistoryAnswer, SeriesAnswer, problems
from serving.forecast_run import KEYS, QUANTILES, RunTable, Selection
from serving.groups import GROUPS, Group, group_means
from serving.negotiation import FORMATS, Format, choose
from serving.parameters import (
    ID_CHARS_MAX,
    ROWS_DEFAULT,
    RUN_ID,
    Ask,
    Cursor,
    Customer,
    End,
    Limit,
    Location,
    Product,
    Quantiles,
    RunId,
    Start,
    check_days,
    chosen_quantiles,
)
from serving.problems import (
    BAD_CURSOR,
    BODY_TOO_LARGE,
    INVALID_REQUEST,
    NO_FORECAST,
    NOT_ACCEPTABLE,
    STALE_CURSOR,
    UNKNOWN_RUN,
    UPLOAD_STALLED,
    Problem,
)
from serving.query import Query, asked, described, described_body, sent
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
VARY = "Accept, Accept-Encoding, Authorization, Cookie"
SERIES_MAX = 1_000
INLINE_ROWS_MAX = 500
"""Answers of no more rows than this are made at once; a turn in another thread would take longer than they do."""


class ForecastQuery(Query):
    """Which forecasts, and how many of them at once."""

    customer_id: Customer
    location_id: Location = None
    product_id: Product = None
    start: Start = None
    end: End = None
    quantiles: Quantiles = None
    run_id: RunId = None
    cursor: Cursor = None
    limit: Limit = ROWS_DEFAULT
    form: Ask = None


def named_run(parts: Service, customer_id: str, run_id: str | None) -> tuple[RunTable, ForecastStatus]:
    """The run that a request names, or the current one, and how the customer's forecasts stand.

    Raises:
        Problem: 404; there is none.
    """
    if run_id is None:
        held = parts.forecasts.published(customer_id)
        if held is None:
            why = parts.forecasts.status(customer_id).reasons
            text = f"The customer {customer_id} has no published run"
            raise Problem(NO_FORECAST, f"{text}: {'; '.join(why)}" if why else f"{text}.")
        return held.run, held.status
    run = parts.forecasts.run(customer_id, run_id)
    if run is None:
        raise Problem(UNKNOWN_RUN, f"The customer {customer_id} has no published run {run_id}.")
    return run, parts.forecasts.status(customer_id)


def run_to_read(
    parts: Service, wanted: ForecastQuery, query: tuple[object, ...]
) -> tuple[RunTable, ForecastStatus, int]:
    """The run that a request reads, how the customer's forecasts stand, and the row to begin at.

    Raises:
        Problem: 404 when there is no such run; 410 when the cursor's run is gone.
    """
    if wanted.cursor is None:
        return *named_run(parts, wanted.customer_id, wanted.run_id), 0
    run_id, position = cursors.decode_number(wanted.cursor, query)
    run = parts.forecasts.run(wanted.customer_id, run_id)
    if run is None:
        raise Problem(STALE_CURSOR, f"The run {run_id} is gone.")
    return run, parts.forecasts.status(wanted.customer_id), position


def about_of(run: RunTable, status: ForecastStatus) -> dict[str, object]:
    """What JSON says beside the rows of a run."""
    return {**run.origin.fields(), "state": status.state, "degraded_because": list(status.reasons)}


def origin_headers(run: RunTable, status: ForecastStatus, form: Format, caller: Caller) -> dict[str, str]:
    """What the headers of an answer from a run say.

    The address, and what the caller may see, say which of its rows. The tag is weak, since the same rows may be packed
    in several ways.
    """
    fields = run.origin.fields()
    degraded = f".{status.as_of}" if status.state == "degraded" else ""
    seen = "" if caller.location_ids is None else f".{zlib.crc32(repr(caller.location_ids).encode()):x}"
    return {
        **{name: str(fields[field]) for name, field in ORIGIN_HEADERS.items()},
        "Headrace-Forecast-State": status.state,
        "ETag": f'W/"{run.origin.run_id}{degraded}.{form.value}{seen}"',
        "Cache-Control": "private, no-cache",
        "Vary": VARY,
    }


def is_known(request: Request, etag: str) -> bool:
    """Whether the caller holds this very answer already (`If-None-Match`, weak comparison)."""
    given = request.headers.get("if-none-match")
    if given is None:
        return False
    held = [text.strip().removeprefix("W/") for text in given.split(",")]
    return etag.removeprefix("W/") in held or "*" in held


def with_origin(run: RunTable, rows: pl.DataFrame, form: Format) -> pl.DataFrame:
    """Rows with what JSON says beside them as columns, for the formats that have only columns."""
    if form is Format.JSON:
        return rows
    # In Arrow a text that is the same in every row is one entry of a dictionary, a third of the answer otherwise.
    words = pl.Categorical if form is Format.ARROW else pl.String
    return rows.with_columns(
        pl.lit(value, words if isinstance(value, str) else None).alias(name)
        for name, value in run.origin.fields().items()
    )


@router.get(
    "/v1/forecasts",
    response_model=ForecastsAnswer,
    responses={
        200: {"content": FORMATS, "description": "A page of forecasts, all of one run."},
        304: {"description": "The run is still the one of If-None-Match."},
        **problems(BAD_CURSOR, NO_FORECAST, UNKNOWN_RUN, NOT_ACCEPTABLE, STALE_CURSOR),
    },
    openapi_extra=described(ForecastQuery),
)
async def list_forecasts(
    request: Request,
    parts: Parts,
    caller: Reader,
    wanted: Annotated[ForecastQuery, Depends(asked(ForecastQuery))],
) -> Response:
    """Read the published forecasts, sorted by location, product and day."""
    one_series = wanted.location_id is not None and wanted.product_id is not None
    at_hand = wanted.cursor is None and wanted.run_id is None and parts.forecasts.at_hand(wanted.customer_id)
    if at_hand and (one_series or wanted.limit <= INLINE_ROWS_MAX):
        return forecasts_page(request, parts, caller, wanted)
    return await anyio.to_thread.run_sync(forecasts_page, request, parts, caller, wanted)


def forecasts_page(request: Request, parts: Service, caller: Caller, wanted: ForecastQuery) -> Response:
    """The answer to a request for forecasts. Blocks when the run is not at hand."""
    check_days(wanted.start, wanted.end)
    chosen = choose(request.headers.get("accept"), wanted.form, tuple(Format))
    columns = chosen_quantiles(wanted.quantiles, QUANTILES)
    selection = Selection(
        wanted.location_id, wanted.product_id, wanted.start, wanted.end, caller.location_ids
    )
    query = ("forecasts", wanted.customer_id, selection, wanted.run_id)
    run, status, position = run_to_read(parts, wanted, query)
    headers = origin_headers(run, status, chosen, caller)
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    rows, following = run.page(selection, position, wanted.limit)
    if len(columns) < len(QUANTILES):
        rows = rows.select(*KEYS, "mean", *columns)
    onward = None if following is None else cursors.encode(query, run.origin.run_id, following)
    shown = with_origin(run, rows, chosen)
    page = Page("forecasts", shown, about_of(run, status), onward, DESCRIPTIONS["forecasts"])
    return page_response(request, page, chosen, headers)


class SeriesKey(BaseModel):
    """One location and product."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    location_id: str = Field(max_length=ID_CHARS_MAX, examples=["berlin-1"])
    product_id: str = Field(max_length=ID_CHARS_MAX, examples=["milk-1l"])


class SeriesRequest(BaseModel):
    """Series to look up at once, and the days and quantiles that are wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    customer_id: CustomerId = Field(description="The retailer.", examples=["corner-shops"])
    series: list[SeriesKey] = Field(
        min_length=1, max_length=SERIES_MAX, description="Which; each counts once."
    )
    start: Start = None
    end: End = None
    quantiles: Quantiles = None
    run_id: str | None = Field(None, pattern=RUN_ID, description="An earlier run instead of the current one.")


SERIES = TypeAdapter(SeriesRequest)


@router.post(
    "/v1/forecasts/series",
    response_model=SeriesAnswer,
    responses={
        200: {"content": FORMATS, "description": "The forecasts of the series, in the order asked."},
        **problems(NO_FORECAST, UNKNOWN_RUN, NOT_ACCEPTABLE, UPLOAD_STALLED, BODY_TOO_LARGE),
    },
    openapi_extra=described_body(SERIES),
)
def look_up_series(
    request: Request,
    parts: Parts,
    caller: Reader,
    wanted: Annotated[SeriesRequest, Depends(sent(SERIES))],
    form: Ask = None,
) -> Response:
    """Look up the forecasts of up to a thousand series at once."""
    caller.check_customer(wanted.customer_id)
    for one in wanted.series:
        caller.check_location(one.location_id)
    check_days(wanted.start, wanted.end)
    chosen = choose(request.headers.get("accept"), form, tuple(Format))
    columns = chosen_quantiles(wanted.quantiles, QUANTILES)
    run, status = named_run(parts, wanted.customer_id, wanted.run_id)
    keys = [(one.location_id, one.product_id) for one in wanted.series]
    rows, missing = run.series(keys, wanted.start, wanted.end)
    shown = with_origin(run, rows.select(*KEYS, "mean", *columns), chosen)
    unknown = [{"location_id": location, "product_id": product} for location, product in missing]
    about = {**about_of(run, status), "unknown": unknown}
    headers = {**origin_headers(run, status, chosen, caller), "Headrace-Unknown": str(len(missing))}
    del headers["ETag"]  # Of an answer to POST nobody keeps a copy.
    page = Page("forecasts", shown, about, None, DESCRIPTIONS["forecasts"])
    return page_response(request, page, chosen, headers)


@router.get(
    "/v1/forecasts/groups",
    response_model=GroupsAnswer,
    responses={
        200: {"content": FORMATS, "description": "Expected sums by group and day, all of one run."},
        **problems(NO_FORECAST, UNKNOWN_RUN, NOT_ACCEPTABLE),
    },
)
def list_groups(
    request: Request,
    parts: Parts,
    caller: Reader,
    customer_id: Customer,
    by: Annotated[
        str,
        QueryParameter(
            max_length=100,
            description="What makes a group, by commas: some of location, region, kind, product, category, department; "
            "one group of all when empty.",
            examples=["region,department"],
        ),
    ] = "",
    location_id: Location = None,
    product_id: Product = None,
    start: Start = None,
    end: End = None,
    run_id: RunId = None,
    form: Ask = None,
) -> Response:
    """Read what whole groups are expected to sell, by day.

    The mean of a sum is the sum of the means, which is exact. The quantiles of a sum are not the sums of quantiles, so
    none are given: they follow from how the series move together, which single forecasts do not say. Groups are those
    of the locations and products as they stand now; what is in none is in the group null. Quantities are added up
    whatever their unit, so ask by category or department where units differ.
    """
    check_days(start, end)
    chosen = choose(request.headers.get("accept"), form, tuple(Format))
    groups = groups_asked(by)
    run, status = named_run(parts, customer_id, run_id)
    headers = origin_headers(run, status, chosen, caller)
    del headers["ETag"]  # The groups may change while the run stays.
    rows, _ = run.page(Selection(location_id, product_id, start, end, caller.location_ids), 0, len(run.codes))
    locations, products = parts.master.locations(customer_id).rows, parts.master.products(customer_id).rows
    sums = group_means(rows, locations, products, groups)
    page = Page(
        "groups", with_origin(run, sums, chosen), about_of(run, status), None, DESCRIPTIONS["forecasts"]
    )
    return page_response(request, page, chosen, headers)


def groups_asked(by: str) -> tuple[Group, ...]:
    """What makes a group, in the order asked.

    Raises:
        Problem: 422; a word is none of them, or stands twice.
    """
    words = [word.strip() for word in by.split(",") if word.strip()]
    found = tuple(one for word in words for one in GROUPS if one.name == word)
    if len(set(found)) < len(words):
        message = f"expected some of {', '.join(one.name for one in GROUPS)}, each once; found {by!r}"
        raise Problem(INVALID_REQUEST, f"by: {message}", errors=({"parameter": "by", "message": message},))
    return found


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
        str, QueryParameter(max_length=ID_CHARS_MAX, description="The location.", examples=["berlin-1"])
    ],
    product_id: Annotated[
        str, QueryParameter(max_length=ID_CHARS_MAX, description="The product.", examples=["milk-1l"])
    ],
    start: Start = None,
    end: End = None,
    days: Annotated[
        int, QueryParameter(ge=1, le=HISTORY_DAYS_MAX, description="Days up to the end, without start.")
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
