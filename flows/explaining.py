"""The forecast of one series and day, explained from the run that made it.

Guarantee: nothing in the lake changes. Data and model are those of the run, whatever was sealed since.
"""

from datetime import date

from flows.publication import load_run_model
from flows.training_data import read_panel
from infra.blobs import BlobStore
from infra.errors import CorruptLakeError, SettingError
from lake.forecasts import ForecastRun, current, load_run
from lake.manifests import load_manifest
from ml.explanation import Explanation, explain
from ml.panel import Panel


def explain_forecast(
    store: BlobStore,
    customer_id: str,
    location_id: str,
    product_id: str,
    day: date,
    run_id: str | None = None,
) -> tuple[ForecastRun, Explanation]:
    """Explain a forecast.

    Args:
        store: The lake.
        customer_id: The customer.
        location_id: The location.
        product_id: The product.
        day: The day that is forecast.
        run_id: The run; None means the one in use.

    Raises:
        SettingError: There is no such run, series or day in it; the text says what there is.
        CorruptLakeError: The model was changed, or what it was made from is gone.
    """
    run = current(store, customer_id) if run_id is None else load_run(store, customer_id, run_id)
    if run is None:
        raise SettingError(f"expected a run of customer {customer_id}, found none; see /v1/forecasts/runs")
    ahead = (day - run.origin).days
    if not 1 <= ahead <= run.horizon_days:
        raise SettingError(
            f"--day: expected one of the {run.horizon_days} days after {run.origin}, which run {run.run_id} forecasts"
        )
    manifest = load_manifest(store, customer_id, run.manifest)
    if manifest is None:
        raise CorruptLakeError(f"run {run.run_id}: expected manifest {run.manifest}, found none")
    panel = read_panel(store, manifest, run.origin, run.horizon_days)
    _check_series(panel, location_id, product_id)
    return run, explain(load_run_model(store, run), panel, location_id, product_id, ahead)


def _check_series(panel: Panel, location_id: str, product_id: str) -> None:
    for option, column, given in (
        ("--location", "location_id", location_id),
        ("--product", "product_id", product_id),
    ):
        known = panel.series[column].unique().sort()
        if given not in known:
            raise SettingError(f"{option}: expected one such as {', '.join(known.head(3))}, found {given}")
