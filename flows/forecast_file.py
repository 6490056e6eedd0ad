"""A forecast of any day as a file, made here and now from the sealed sales.

Guarantee: nothing in the lake changes, and no server is needed but the lake's. The forecast is the one that
the daily flow would have published with these settings from the same manifest: same panel, model and seed.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from flows.customer_day import train
from flows.plan import NoPlan, plan_forecast
from flows.training_data import days_sold, read_panel
from infra.blobs import BlobStore
from infra.errors import SettingError
from infra.settings import FlowSettings
from lake.forecasts import forecast_bytes
from lake.manifests import load_manifest


@dataclass(frozen=True, slots=True)
class ForecastFile:
    """A forecast as it is written.

    Attributes:
        data: The bytes of a Parquet file: location_id, product_id, date, mean, q05 … q95.
        line: What it is, in words.
    """

    data: bytes
    line: str


def make_forecast_file(
    store: BlobStore, customer_id: str, as_of: date | None, flow: FlowSettings
) -> ForecastFile:
    """Forecast the days after a day.

    Args:
        store: The lake.
        customer_id: The customer.
        as_of: Last day whose sales are used; None means the last day that is sealed.
        flow: How to forecast, and how many days.

    Raises:
        SettingError: Nothing is sealed for the customer, or too little up to that day; the text says what is.
    """
    manifest = load_manifest(store, customer_id)
    if manifest is None or manifest.last_sold_on is None:
        raise SettingError(
            f"--customer: expected one with sealed sales, found none of {customer_id!r}; `headrace daily` seals"
        )
    through = as_of or manifest.last_sold_on
    days = days_sold(manifest, through)
    plan = plan_forecast(min(days, default=None), max(days, default=None), through, flow.horizon_days)
    if isinstance(plan, NoPlan):
        raise SettingError(f"--as-of: {plan.reason}")
    # Where the last sales are of an earlier day, the days between are forecast too, and left out of the file.
    behind = (through - plan.origin).days
    longer = flow.model_copy(update={"horizon_days": flow.horizon_days + behind})
    panel = read_panel(store, manifest, plan.origin, longer.horizon_days)
    trained = train(panel, longer)
    rows = trained.rows.filter(pl.col("date") > through)
    model = trained.forecast.model
    about = {
        "customer_id": customer_id,
        "as_of": f"{through}",
        "model": model,
        "manifest": f"{manifest.seq}",
        "remarks": "; ".join((*plan.remarks, *trained.fitted.notes)),
    }
    series = rows.height // flow.horizon_days
    last = through + timedelta(days=flow.horizon_days)
    line = (
        f"{customer_id}: {series:,} series by {model}, {through + timedelta(days=1)} to {last}, "
        f"from manifest {manifest.seq}"
    )
    return ForecastFile(
        forecast_bytes(rows, about), f"{line} ({about['remarks']})" if about["remarks"] else line
    )
