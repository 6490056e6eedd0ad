"""What the routes share: the parts that one running service holds."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from infra.settings import Settings
from lake.read import Lake
from serving.delivery_keys import DeliveryKeys
from serving.events import Events
from serving.forecast_store import ForecastStore
from serving.history import History
from serving.lake_runs import LakeRuns
from serving.lineage import Lineages
from serving.ports import Deliveries, Desk, Lags, MasterState, SalesWindows, StreamHealth
from serving.rates import Rates
from serving.token_store import TokenStore
from serving.uploads import UploadSlots


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of one running service."""

    settings: Settings
    lake: Lake
    runs: LakeRuns
    forecasts: ForecastStore
    history: History
    lineage: Lineages
    desk: Desk
    deliveries: Deliveries
    master: MasterState
    windows: SalesWindows
    lags: Lags
    health: StreamHealth
    uploads: UploadSlots
    events: Events
    keys: DeliveryKeys
    tokens: TokenStore
    rates: Rates


async def of_request(request: Request) -> Service:
    """The service that a request came to. Not a plain function: each of those takes a turn in a thread."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


Parts = Annotated[Service, Depends(of_request)]
