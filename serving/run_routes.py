"""The runs that made the forecasts: which there are, where each comes from, and whole runs in one answer.

Guarantee: a run that its gate refused is listed with the reasons, and never served. The rows of a run are streamed: no
more than a piece of the answer is in memory, however large it is.
"""

from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response

from lake.forecasts import ForecastRun
from serving.access import Reader, WholeReader
from serving.answers import LineageAnswer, RunAnswer, RunsAnswer, SourceAnswer, problems
from serving.forecast_routes import is_known, named_run, origin_headers, with_origin
from serving.forecast_run import KEYS, QUANTILES
from serving.negotiation import MEDIA_TYPES, Format, choose
from serving.parameters import Ask, Customer, Quantiles, RunPath, chosen_quantiles
from serving.problems import NO_FORECAST, NOT_ACCEPTABLE, UNKNOWN_RUN, Problem
from serving.service import Parts, Service
from serving.tables import DESCRIPTIONS, Page, streamed_response

router = APIRouter(tags=["Forecasts"])

CURRENT = "current"
STREAMED = (Format.ARROW, Format.PARQUET, Format.CSV)
PIECE_ROWS_MAX = 65_536


def run_answer(run: ForecastRun, current: str | None) -> RunAnswer:
    """A run as the answers show it.

    Args:
        run: The run.
        current: Id of the run that is served.
    """
    return RunAnswer(
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
    shown = [run_answer(run, current) for run in found]
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


def named_or_current(run_id: str) -> str | None:
    """The run that an address names; None for the current one."""
    return None if run_id == CURRENT else run_id


def known_record(parts: Service, customer_id: str, run_id: str) -> tuple[ForecastRun, str | None]:
    """What a run says of itself, published or not, and which is current.

    Raises:
        Problem: 404; there is none.
    """
    current = parts.runs.current(customer_id)
    wanted = named_or_current(run_id) or current
    if wanted is None:
        raise Problem(NO_FORECAST, f"The customer {customer_id} has no published run.")
    run = parts.runs.find(customer_id, wanted)
    if run is None:
        raise Problem(UNKNOWN_RUN, f"The customer {customer_id} has no run {run_id}.")
    return run, current


@router.get(
    "/v1/forecasts/runs/{run_id}",
    response_model=LineageAnswer,
    responses=problems(NO_FORECAST, UNKNOWN_RUN),
)
def show_run(parts: Parts, _: WholeReader, run_id: RunPath, customer_id: Customer) -> LineageAnswer:
    """Show where the forecasts of a run come from: its model, the manifest of its data, and the deliveries in them."""
    run, current = known_record(parts, customer_id, run_id)
    found = parts.lineage.of_run(run)
    sources = []
    for source in found.sources:
        delivery = parts.deliveries.get(source.delivery_id)
        known = delivery is not None and delivery.customer_id == customer_id
        sources.append(
            SourceAnswer(
                delivery_id=source.delivery_id,
                name=delivery.name if delivery is not None and known else None,
                accepted_at=delivery.accepted_at if delivery is not None and known else None,
                rows=dict(source.rows),
            )
        )
    return LineageAnswer(
        customer_id=customer_id,
        run=run_answer(run, current),
        forecasts_path=run.rows_path,
        model_path=run.model_path,
        manifest_path=found.manifest_path,
        sealed_at=found.sealed_at,
        first_sold_on=found.first_sold_on,
        last_sold_on=found.last_sold_on,
        deliveries=sources,
    )


@router.get(
    "/v1/forecasts/runs/{run_id}/rows",
    response_class=Response,
    responses={
        200: {
            "content": {MEDIA_TYPES[form]: {} for form in STREAMED},
            "description": "All forecasts of the run, sorted by location, product and day.",
        },
        304: {"description": "The run is still the one of If-None-Match."},
        **problems(NO_FORECAST, UNKNOWN_RUN, NOT_ACCEPTABLE),
    },
)
async def read_run(
    request: Request,
    parts: Parts,
    caller: Reader,
    run_id: RunPath,
    customer_id: Customer,
    quantiles: Quantiles = None,
    form: Ask = None,
) -> Response:
    """Read all forecasts of a run in one answer: as an Arrow stream, a Parquet file or CSV."""
    chosen = choose(request.headers.get("accept"), form, STREAMED)
    columns = (*KEYS, "mean", *chosen_quantiles(quantiles, QUANTILES))
    run, status = await anyio.to_thread.run_sync(named_run, parts, customer_id, named_or_current(run_id))
    headers = origin_headers(run, status, chosen, caller)
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    headers["Headrace-Rows"] = str(run.rows_of(caller.location_ids))
    pages = (
        Page(
            "forecasts",
            with_origin(run, rows.select(columns), chosen),
            run.origin.fields(),
            None,
            DESCRIPTIONS["forecasts"],
        )
        for rows in run.pieces(caller.location_ids, PIECE_ROWS_MAX)
    )
    return await anyio.to_thread.run_sync(streamed_response, request, pages, chosen, headers)
