"""Puts the HTTP service together from its parts.

Guarantee: nothing is read or connected until `create_app` is called, and the app leans only on what it is
given: the store, and the stream's side through the Protocols of `serving.ports`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from infra.blobs import BlobStore
from infra.settings import Settings
from lake.read import Lake
from serving import (
    access,
    answers,
    delivery_routes,
    edge,
    event_routes,
    forecast_routes,
    master_routes,
    problems,
    run_routes,
    service_routes,
    session_routes,
    stream_routes,
)
from serving.delivery_keys import DeliveryKeys
from serving.events import Events
from serving.forecast_store import ForecastStore
from serving.history import History
from serving.lake_runs import LakeRuns
from serving.lineage import Lineages
from serving.ports import Deliveries, Desk, Lags, MasterState, SalesWindows, StreamHealth
from serving.rates import Rates
from serving.service import Service
from serving.token_store import TokenStore
from serving.uploads import UploadSlots

DESCRIPTION = (
    "Every request but those of Service carries a token: `Authorization: Bearer TOKEN`. "
    "Deliver files of sales, locations and products; ask what became of them; read the forecasts. "
    "Days are local days of a location, moments are UTC. Lists come in pages: follow the header Link with "
    "rel=next until there is none. Tables come as JSON, CSV, an Arrow stream or Parquet, as Accept asks."
)
EVERYWHERE = answers.problems(problems.INVALID_REQUEST, problems.TOO_BUSY, problems.UNAVAILABLE)
GUARDED = answers.problems(*access.GUARDS, problems.FOREIGN_CUSTOMER, problems.FOREIGN_LOCATION)


def create_app(
    settings: Settings,
    store: BlobStore,
    desk: Desk,
    deliveries: Deliveries,
    master: MasterState,
    windows: SalesWindows,
    lags: Lags,
    health: StreamHealth,
    tokens: TokenStore,
) -> FastAPI:
    """The HTTP service.

    Args:
        settings: Bounds on deliveries.
        store: The lake.
        desk: Accepts files.
        deliveries: Knows what became of them.
        master: Holds locations and products.
        windows: Holds windowed sums.
        lags: Knows how far the jobs are behind.
        health: Says whether the stream's side can be used.
        tokens: Knows who may ask.
    """
    runs = LakeRuns(store)
    forecasts = ForecastStore(runs)
    service = Service(
        settings=settings,
        lake=Lake(store),
        runs=runs,
        forecasts=forecasts,
        history=History(store),
        lineage=Lineages(store),
        desk=desk,
        deliveries=deliveries,
        master=master,
        windows=windows,
        lags=lags,
        health=health,
        uploads=UploadSlots(),
        events=Events(deliveries, forecasts),
        keys=DeliveryKeys(store),
        tokens=tokens,
        rates=Rates(),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.forecasts.start()
        tokens.start()
        try:
            yield
        finally:
            tokens.stop()
            service.forecasts.stop()

    app = FastAPI(
        title="Headrace",
        version=version("headrace"),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # Measured by `edge`; FastAPI's own would also read the environment for where to send its figures.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.service = service
    problems.install(app)
    app.add_middleware(edge.Edge)
    # They are looked through in this order: what is asked most stands first.
    for part in (forecast_routes, run_routes, delivery_routes, event_routes, master_routes, stream_routes):
        app.include_router(part.router, responses={**EVERYWHERE, **GUARDED})
    for part in (session_routes, service_routes):
        app.include_router(part.router, responses=EVERYWHERE)
    return app
